"""Which asset of an item holds a band, and at which index: by key, by common name, or as the only one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chipweave.catalog.stac import Item, assets, items_of, mapping, number, numbers, properties
from chipweave.model import Band, Collection

_PICTURES: Final = frozenset(
    {"visual", "overview", "thumbnail", "preview", "rendered", "browse", "tci", "pvi"}
)
_ASIDE: Final = frozenset({"overview", "thumbnail", "visual", "metadata", "browse"})
_DOCUMENTS = ("json", "geo+json", "xml", "pdf", "zip")
_NO_RASTER: Final = ("text/", "image/png", "image/jpeg", *(f"application/{kind}" for kind in _DOCUMENTS))
_RASTER = re.compile(r"\.(tiff?|jp2)$", re.IGNORECASE)
_GSD = re.compile(r"[_-](\d{1,4})m$")

_BY_PROVIDER, _BY_KEY, _BY_KEY_ANY_CASE, _BY_ENDING, _BY_LISTING, _BY_STACK = range(6)

Rank = tuple[int, bool, float, int, str, int]
"""Tier, whether it is JPEG2000, metres a pixel, place among the band's keys, asset key, index."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An asset that holds a band: its key, and the band's index in the file, from 1."""

    key: str
    index: int


def find_bands(
    item: Item, wanted: Sequence[str], collection: Collection, keys: Mapping[str, Sequence[str]]
) -> dict[str, Hit]:
    """Assets of an item for the wanted bands; a band that the item lacks is left out.

    Explicit keys come before listings, and an asset of one band before a stack; then what is not JPEG2000,
    and the finest resolution. An item with one data asset needs no key where one band (beside the mask) is
    wanted.

    Parameters
    ----------
    item
        Raw STAC item.
    wanted
        Common names of bands of the collection.
    collection
        Whose bands they are.
    keys
        Asset keys of the catalog's provider, by common name; empty where it is unknown.
    """
    usable = [
        _Candidate(key, asset, _listed(item, asset))
        for key, asset in assets(item).items()
        if not is_picture(key, asset)
    ]
    found = {}
    for name in wanted:
        band = collection.band(name)
        ranks = list(_ranks(usable, band, tuple(keys.get(name, ())), collection)) if band else []
        if ranks:
            found[name] = Hit(*min(ranks)[-2:])
    mask = collection.mask.band if collection.mask else ""
    data = [name for name in wanted if name != mask]
    if len(data) == 1 and data[0] not in found:
        taken = {hit.key for hit in found.values()}
        if alone := _only_data_asset([c for c in usable if c.key not in taken], data[0], collection):
            found[data[0]] = Hit(alone, 1)
    return found


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An asset that may hold bands, and the names of those that it lists, in the order of the file."""

    key: str
    asset: Mapping[str, Any]
    listed: list[set[str]]


def is_picture(key: str, asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a quick look or a document: it may claim the bands too, and holds none of them."""
    if re.split(r"[_:.-]", key.lower())[0] in _PICTURES:
        return True
    if str(asset.get("type", "")).lower().startswith(_NO_RASTER):
        return True
    roles = _roles(asset)
    return bool(roles & {"overview", "thumbnail", "visual"}) and "data" not in roles


def _roles(asset: Mapping[str, Any]) -> set[str]:
    return {str(r).lower() for r in items_of(asset.get("roles"))}


def _ranks(
    usable: Sequence[_Candidate], band: Band, provider: tuple[str, ...], collection: Collection
) -> Iterator[Rank]:
    """Rank of every asset that may hold the band; the smallest wins."""
    names = (band.name, *band.keys)
    lower = {n.lower(): i for i, n in reversed(list(enumerate(names)))}
    endings = tuple(f"_{n}" for n in lower) if len(collection.bands) > 1 else ()
    for c in usable:
        position = next((i for i, said in enumerate(c.listed) if not said.isdisjoint(lower)), None)
        tier = _tier(c.key, provider, names, lower, endings)
        if tier is None and position is None:
            continue
        if tier is None:
            tier = _BY_STACK if len(c.listed) > 1 else _BY_LISTING
        place = provider.index(c.key) if tier == _BY_PROVIDER else lower.get(c.key.lower(), len(names))
        index = (position or 0) + 1
        yield tier, _is_jp2(c.asset), _gsd(c.key, c.asset, index) or band.gsd, place, c.key, index


def _tier(
    key: str,
    provider: Sequence[str],
    names: Sequence[str],
    lower: Mapping[str, int],
    endings: tuple[str, ...],
) -> int | None:
    if key in provider:
        return _BY_PROVIDER
    if key in names:
        return _BY_KEY
    if key.lower() in lower:
        return _BY_KEY_ANY_CASE
    # Files of a SAFE product as keys: T32TMT_20200305T103021_B04_10m
    return _BY_ENDING if key.lower().endswith(endings) else None


def _listed(item: Item, asset: Mapping[str, Any]) -> list[set[str]]:
    """Names of each band that an asset lists, in the order of the file; empty where it names none."""
    whole = items_of(properties(item).get("eo:bands"))
    out: list[set[str]] = []
    for key in ("bands", "eo:bands", "raster:bands"):
        for i, entry in enumerate(items_of(asset.get(key))):
            # Before STAC 1.0 an asset pointed into the list of its item.
            points = isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < len(whole)
            said = mapping(whole[entry] if points else entry)
            names = (said.get("name"), said.get("common_name"), said.get("eo:common_name"))
            if i == len(out):
                out.append(set())
            out[i] |= {n.lower() for n in names if isinstance(n, str)}
    return out if any(out) else []


def _is_jp2(asset: Mapping[str, Any]) -> bool:
    return "jp2" in str(asset.get("type", "")).lower() or _path(asset).endswith(".jp2")


def _path(asset: Mapping[str, Any]) -> str:
    return str(asset["href"]).lower().partition("?")[0]


def _gsd(key: str, asset: Mapping[str, Any], index: int) -> float | None:
    """Metres a pixel that an asset states, None where it states none."""
    if match := _GSD.search(key):
        return float(match.group(1))
    listed = [
        mapping(b) for k in ("raster:bands", "bands") for b in items_of(asset.get(k))[index - 1 : index]
    ]
    stated = [
        where.get(k)
        for k in ("gsd", "spatial_resolution", "raster:spatial_resolution")
        for where in (asset, *listed)
    ]
    found = next((g for v in stated if (g := number(v)) and g > 0), None)
    affine = numbers(asset.get("proj:transform"))
    return found or (abs(affine[0]) if len(affine) >= 6 and affine[0] else None)


def _only_data_asset(free: Sequence[_Candidate], wanted: str, collection: Collection) -> str:
    """Key of an item's one data asset; empty where there are more, or it is another band."""
    data = [c for c in free if _is_data(c.asset)]
    if len(data) != 1:
        return ""
    (only,) = data
    others = {n.lower() for b in collection.bands if b.name != wanted for n in (b.name, *b.keys)}
    said = set.union({only.key.lower()}, *only.listed)
    return "" if len(only.listed) > 1 or said & others else only.key


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = _roles(asset)
    if "data" in roles:
        return True
    kind = str(asset.get("type", "")).lower()
    return not roles & _ASIDE and (
        kind.startswith(("image/tiff", "image/jp2")) or bool(_RASTER.search(_path(asset)))
    )
