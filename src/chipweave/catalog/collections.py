"""What a collection means, whatever a catalog calls it (`catalogs/collections/*.yaml`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from chipweave.catalog.documents import Entry, read_entry, unknown
from chipweave.catalog.providers import Names, Offering, Provider, all_providers
from chipweave.model import Band, Collection, Credit, MaskRule
from chipweave.recipe.data import find, listing

UNITS: Final = ("reflectance", "linear", "dB", "DN", "K", "m", "degree")
"""Of imagery; a label that is numbers may be in any."""


LOCAL: Final = "local"
"""Collection that no file describes: what the user's own files say of themselves."""


class _Band(Entry):
    name: str = Field(min_length=1)
    gsd: float = Field(gt=0)
    keys: Names = ()
    scale: float | None = Field(None, gt=0)
    offset: float | None = None
    unit: str | None = Field(None, min_length=1)
    derive: Literal["", "slope", "aspect"] = ""


class _Mask(Entry):
    band: str
    bad: tuple[int, ...]
    nodata: tuple[int, ...] = ()
    bits: bool = False
    fill: int | None = None


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
    offset: float = 0.0
    unit: str = ""
    backscatter: str = ""
    static: bool = False
    offset_rule: Literal["", "sentinel-2", "landsat-toa", "stated"] = ""
    mask: _Mask | None = None
    legend: str = ""
    editions: tuple[int, ...] = ()
    edition_property: str = ""
    edition_values: dict[str | int, int] = Field(default_factory=dict)
    credit: _Credit
    platforms: dict[str, dict[str, Names]] = Field(default_factory=dict)
    providers: dict[str, Offering] = Field(default_factory=dict)
    refused: str = ""
    instead: str = ""

    @model_validator(mode="after")
    def _units(self) -> Self:
        if self.kind == "label":
            if not self.legend and not self.unit:
                raise ValueError("a label needs a legend, or the unit of its numbers")
            return self
        for unit in (self.unit, *(b.unit for b in self.bands)):
            if unit and unit not in UNITS:
                raise ValueError(f"unit {unit!r} is none of imagery: {', '.join(UNITS)}")
        return self


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
    mask = MaskRule(**held.mask.model_dump()) if held.mask else None
    return Collection(
        name=name,
        title=held.title or name,
        kind=held.kind,
        bands=tuple(_band(b, offerings) for b in held.bands),
        nodata=held.nodata,
        credit=Credit(**held.credit.model_dump()),
        scale=held.scale,
        offset=held.offset,
        unit=held.unit or "reflectance",
        backscatter=held.backscatter,
        static=held.static,
        offset_rule=held.offset_rule,
        mask=mask,
        legend=held.legend,
        editions=held.editions,
        edition_property=held.edition_property,
        edition_values={str(k): v for k, v in held.edition_values.items()},
    )


def offering_at(provider: Provider, name: str, extra: Sequence[Path] = ()) -> Offering:
    """How a provider has a collection: by the provider's file, else by the collection's own.

    Keys by platform are the collection's, with the provider's own before them.
    """
    if name == LOCAL:
        return provider.offering(name)
    held = _read(name, extra)
    own = None if name in provider.collections else held.providers.get(provider.name)
    found = own.model_copy(update={"name": own.name or (name,)}) if own else provider.offering(name)
    return (
        found.model_copy(update={"platforms": held.platforms | found.platforms}) if held.platforms else found
    )


def refusal_of(provider: Provider, name: str, extra: Sequence[Path] = ()) -> tuple[str, str] | None:
    """Why a collection is not read at a provider, and what may be read instead; None where it is read."""
    held = _read(name, extra)
    if not held.refused or offering_at(provider, name, extra).projected:
        return None
    return held.refused, held.instead


def offered_by(name: str, extra: Sequence[Path] = ()) -> dict[str, Offering]:
    """How each known provider that has a collection has it, by the provider's name."""
    held = _read(name, extra)
    known = {p.name: p for p in all_providers(extra)}
    having = [n for n, p in known.items() if name in p.collections or n in held.providers]
    return {n: offering_at(known[n], name, extra) for n in having}


def _read(name: str, extra: Sequence[Path]) -> _CollectionFile:
    path = find("collections", name, extra)
    if path is None:
        raise unknown("collection", name, list(listing("collections", extra)))
    return read_entry(path, _CollectionFile)


def _band(held: _Band, offerings: Sequence[Offering]) -> Band:
    keys = [*held.keys, *(key for o in offerings for key in o.keys.get(held.name, ()))]
    names = tuple(k for k in dict.fromkeys(keys) if k != held.name)
    return Band(held.name, names, held.gsd, held.scale, held.offset, held.unit or "", held.derive)
