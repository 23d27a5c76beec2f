"""A raw STAC item as a `Scene` of one layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from shapely.geometry.base import BaseGeometry

from chipweave.catalog.bands import Hit, find_bands
from chipweave.catalog.editions import edition_of
from chipweave.catalog.footprint import crs_of, footprint
from chipweave.catalog.headers import header_outline
from chipweave.catalog.hrefs import LocalRule, UnusableHrefError, is_clean, is_http, resolve, shown
from chipweave.catalog.notes import Notes
from chipweave.catalog.offset import (
    NOTHING_TO_DO,
    Radiometry,
    band_facts,
    baseline_of,
    sentinel2,
    stated_values,
)
from chipweave.catalog.platforms import landsat_toa, platform_of, track_of
from chipweave.catalog.providers import Offering
from chipweave.catalog.request import DATELESS, LayerRequest
from chipweave.catalog.sources.base import Found
from chipweave.catalog.stac import (
    Item,
    assets,
    item_id,
    mapping,
    moment,
    number,
    properties,
    self_link,
    span,
)
from chipweave.errors import PermanentSourceError
from chipweave.model import Asset, Collection, Scene

MAX_HREF: Final = 8192
_STAMP = re.compile(r"_(\d{8}T\d{6})(?:Z|\.SAFE)?$")
_SEQUENCE = re.compile(r"_(\d{1,2})_L2A$")


class RefusedItemError(ValueError):
    """An item that is left out with a warning; the text says why."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What turns items of one catalog into scenes of one layer.

    Parameters
    ----------
    request
        The layer.
    collection
        Its collection.
    offering
        How the catalog's provider has it.
    rule
        Which local files items may name.
    notes
        Where guesses and gaps are noted.
    alternate
        Which of an asset's alternate hrefs is taken where it has one.
    """

    request: LayerRequest
    collection: Collection
    offering: Offering
    rule: LocalRule
    notes: Notes
    alternate: str = ""

    def scene(self, found: Found) -> Scene:
        """Read one item.

        Raises
        ------
        RefusedItemError
            It cannot be used: no place, no time, or an href that may not be stored.
        PermanentSourceError
            It names a local file outside the allowed folders.
        """
        item = found.item
        hits = find_bands(item, self.request.bands, self._known(item), self.offering.keys)
        raw = assets(item)
        held = {band: self._asset(found, raw[hit.key], band, hit) for band, hit in hits.items()}
        usable = {band: asset for band, asset in held.items() if asset is not None}
        first = raw[next(iter(hits.values())).key] if hits else _any_data(item)
        crs = crs_of(item, first, mgrs=self.collection.offset_rule == "sentinel-2")
        outline = footprint(item, first, crs)
        if outline is None:
            crs, outline = self._by_header(item_id(item), usable)
        time, edition = self._time(item)
        cloud = number(properties(item).get("eo:cloud_cover"))
        return Scene(
            layer=self.request.layer,
            id=item_id(item),
            collection=self.collection.name,
            time=time,
            geometry=outline,
            crs=crs,
            cloud=float("nan") if cloud is None else cloud,
            platform=_text(properties(item).get("platform")) or _text(platform_of(item)),
            processed=processed(item),
            edition=edition,
            orbit_state=_text(properties(item).get("sat:orbit_state")).lower(),
            relative_orbit=track_of(item),
            assets={band: usable[band] for band in self.request.bands if band in usable},
            missing=tuple(band for band in self.request.bands if band not in usable),
        )

    def _known(self, item: Item) -> Collection:
        """The collection, with what its bands are called on the item's own satellite."""
        own = self.offering.platforms.get(platform_of(item)) if self.offering.platforms else None
        if not own:
            return self.collection
        bands = (replace(b, keys=(*b.keys, *own.get(b.name, ()))) for b in self.collection.bands)
        return replace(self.collection, bands=tuple(bands))

    def _by_header(self, ident: str, usable: Mapping[str, Asset]) -> tuple[str, BaseGeometry]:
        """CRS and outline of an item that tells nothing of its place: those of its first file."""
        for asset in usable.values():
            try:
                found = header_outline(asset.href)
            except PermanentSourceError:
                continue  # another of its files may tell; none is said below
            self.notes.of(f"{self.request.layer}: no place stated, taken from a file's header", ident)
            return found
        raise RefusedItemError("states no place on Earth, nor does a file of it")

    def _time(self, item: Item) -> tuple[datetime, str]:
        if self.request.kind == "label" and not self.collection.static:
            year = edition_of(item, self.collection)
            if year is None:
                raise RefusedItemError("states neither an edition nor a time")
            return datetime(year, 1, 1, tzinfo=UTC), str(year)
        at = span(item)
        if at is None and not self.collection.static:
            raise RefusedItemError("states no time")
        return (at[0] if at else DATELESS), ""

    def _asset(self, found: Found, raw: Mapping[str, Any], band: str, hit: Hit) -> Asset | None:
        """The asset as it is read, None where its href is of a kind that is not."""
        item = found.item
        other = (
            mapping(mapping(raw.get("alternate")).get(self.alternate)).get("href") if self.alternate else None
        )
        href = other if isinstance(other, str) and other else raw["href"]
        if len(href) > MAX_HREF or not is_clean(href):
            raise RefusedItemError(f"has an unusable href in asset {shown(hit.key)!r}")
        ident, layer = item_id(item), self.request.layer
        try:
            there = resolve(href, origin=found.origin, self_link=self_link(item), rule=self.rule, item=ident)
        except UnusableHrefError as error:
            self.notes.of(f"{layer}: no usable {band}, {error}", ident)
            return None
        if (is_http(href) or href.startswith("s3:")) and len(there) < len(href.partition("#")[0]):
            self.notes.of(f"{layer}: hrefs come signed or with a secret, which is not kept", ident)
        mask = self.collection.mask.band if self.collection.mask else ""
        rule = NOTHING_TO_DO if band == mask else self._radiometry(item, raw, hit)
        if rule.note:
            self.notes.of(f"{layer}: {rule.note}", ident)
        return Asset(there, hit.index, rule.gain, rule.add, stated_nodata(raw, hit.index))

    def _radiometry(self, item: Item, raw: Mapping[str, Any], hit: Hit) -> Radiometry:
        """From what a file stores to source values, by the collection's rule."""
        known = self.collection
        if known.offset_rule == "sentinel-2":
            return sentinel2(item, raw, hit.index, self.offering.offset)
        if known.offset_rule == "stated":
            return stated_values(raw, hit.index)
        if known.offset_rule == "landsat-toa":
            try:
                return landsat_toa(item, known.scale, known.offset)
            except ValueError as error:
                raise RefusedItemError(str(error)) from None
        return NOTHING_TO_DO


def stated_nodata(asset: Mapping[str, Any], index: int) -> float | None:
    """Value of no data that an item states for band `index` (from 1) of an asset, NaN included; else None."""
    for facts, _ in band_facts(asset, index):
        for key in ("nodata", "file:nodata"):
            value = facts.get(key)
            value = value[0] if isinstance(value, list) and value else value
            if (isinstance(value, str) and value.strip().lower() == "nan") or (
                isinstance(value, float) and math.isnan(value)
            ):
                return float("nan")
            if (found := number(value)) is not None:
                return found
    return None


def processed(item: Item) -> str:
    """When and how an item was processed, as text that sorts: baseline, time, sequence; or empty."""
    p = properties(item)
    baseline = baseline_of(item)
    times = (
        p.get("s2:generation_time"),
        p.get("processing:datetime"),
        _stamp(item),
        p.get("created"),
        p.get("updated"),
    )
    when = next((m for t in times if (m := moment(t))), None)
    sequence = _SEQUENCE.search(item_id(item))
    if baseline is None and when is None:
        return ""
    parts = [f"{baseline or 0.0:05.2f}", f"{when:%Y-%m-%dT%H:%M:%S.%fZ}" if when else ""]
    return " ".join([*parts, f"{int(sequence.group(1)):02d}" if sequence else "00"])


def _stamp(item: Item) -> str | None:
    """Time at the end of a product's name: when it was made."""
    for text in (properties(item).get("s2:product_uri"), item_id(item)):
        match = _STAMP.search(text) if isinstance(text, str) else None
        if match:
            return match.group(1)
    return None


def _any_data(item: Item) -> Mapping[str, Any]:
    """An asset that tells where the item lies, for an item that lacks every band that is asked for."""
    return next((a for a in assets(item).values() if "proj:transform" in a or "proj:bbox" in a), {})


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 256 and is_clean(value) else ""
