"""What a collection means, whatever a catalog calls it (`catalogs/collections/*.yaml`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from chipweave.catalog.documents import Entry, read_entry, unknown
from chipweave.catalog.providers import Names, Offering, Provider, all_providers
from chipweave.model import Band, Collection, Credit, MaskRule
from chipweave.recipe.data import find, listing


class _Band(Entry):
    name: str = Field(min_length=1)
    gsd: float = Field(gt=0)
    keys: Names = ()


class _Mask(Entry):
    band: str
    bad: tuple[int, ...]
    nodata: tuple[int, ...] = ()


class _Credit(Entry):
    licence: str
    url: str = ""
    text: str
    citation: str = ""
    share_alike: bool = False


class _CollectionFile(Entry):
    name: str = ""
    title: str = ""
    kind: Literal["imagery", "label"]
    bands: tuple[_Band, ...] = Field(min_length=1)
    nodata: float | None = None
    scale: float = Field(1.0, gt=0)
    offset_rule: Literal["", "sentinel-2"] = ""
    mask: _Mask | None = None
    legend: str = ""
    editions: tuple[int, ...] = ()
    edition_property: str = ""
    edition_values: dict[str | int, int] = Field(default_factory=dict)
    credit: _Credit
    providers: dict[str, Offering] = Field(default_factory=dict)


def load_collection(name: str, extra: Sequence[Path] = ()) -> Collection:
    """Collection by its canonical name, its bands with the keys of every known provider.

    Parameters
    ----------
    name
        Canonical name, such as ``sentinel-2-l2a``.
    extra
        Further `catalogs/` folders, before the user's and our own.

    Raises
    ------
    RecipeError
        No such collection (it names the nearest), or its file is wrong.
    """
    held = _read(name, extra)
    offerings = [
        *held.providers.values(),
        *(p.collections[name] for p in all_providers(extra) if name in p.collections),
    ]
    mask = MaskRule(held.mask.band, held.mask.bad, held.mask.nodata) if held.mask else None
    return Collection(
        name=name,
        title=held.title or name,
        kind=held.kind,
        bands=tuple(_band(b, offerings) for b in held.bands),
        nodata=held.nodata,
        credit=Credit(**held.credit.model_dump()),
        scale=held.scale,
        offset_rule=held.offset_rule,
        mask=mask,
        legend=held.legend,
        editions=held.editions,
        edition_property=held.edition_property,
        edition_values={str(k): v for k, v in held.edition_values.items()},
    )


def offering_at(provider: Provider, name: str, extra: Sequence[Path] = ()) -> Offering:
    """How a provider has a collection: by the provider's file, else by the collection's own."""
    if name in provider.collections or not provider.name:
        return provider.offering(name)
    found = _read(name, extra).providers.get(provider.name)
    return found.model_copy(update={"name": found.name or (name,)}) if found else provider.offering(name)


def _read(name: str, extra: Sequence[Path]) -> _CollectionFile:
    path = find("collections", name, extra)
    if path is None:
        raise unknown("collection", name, list(listing("collections", extra)))
    return read_entry(path, _CollectionFile)


def _band(held: _Band, offerings: Sequence[Offering]) -> Band:
    keys = [*held.keys, *(key for o in offerings for key in o.keys.get(held.name, ()))]
    return Band(held.name, tuple(k for k in dict.fromkeys(keys) if k != held.name), held.gsd)
