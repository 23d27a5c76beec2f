"""Freeze the scenes of a build: every layer's catalog searched cell by cell, sieved, sorted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely

from chipweave.catalog.access import rules_of
from chipweave.catalog.collections import LOCAL, offering_at
from chipweave.catalog.duplicates import acquisition_of, superseded
from chipweave.catalog.editions import chosen_edition, edition_of
from chipweave.catalog.footprint import boxes
from chipweave.catalog.hrefs import LocalRule, shown
from chipweave.catalog.items import Reader, RefusedItemError, processed
from chipweave.catalog.notes import Notes
from chipweave.catalog.providers import Offering, Provider, load_provider
from chipweave.catalog.rasters import file_scenes
from chipweave.catalog.request import LayerRequest
from chipweave.catalog.sources import Box, Found, Source, open_source
from chipweave.catalog.sources.base import Interval, overlaps, rfc3339
from chipweave.catalog.sources.local import LocalSource, open_local
from chipweave.catalog.stac import collection_of, item_id
from chipweave.catalog.where import refusal
from chipweave.model import Collection, Scene

WORKERS: Final = 4
"""Searches of one API that run side by side."""


@dataclass(frozen=True, slots=True)
class LockResult:
    """Frozen scenes, sorted by (layer, time, id); the searches that found them; warnings.

    Each search is a mapping with layer, url, collection, bbox, interval and found; none holds a secret.
    """

    scenes: list[Scene]
    searches: list[dict[str, Any]]
    warnings: list[str]


def lock(
    requests: Sequence[LayerRequest], cells: Sequence[Box], area_centre: tuple[float, float] | None = None
) -> LockResult:
    """Search every layer.

    Parameters
    ----------
    requests
        Layers, from `chipweave.catalog.requests`.
    cells
        Occupied lon/lat boxes (west, south, east, north); west > east crosses ±180°.
    area_centre
        Lon, lat; named where nothing is found.

    Raises
    ------
    RecipeError
        A catalog or label file that does not exist, or a label with several editions and none asked for.
    TransientSourceError, PermanentSourceError
        A catalog that did not answer or refused, or an item that names a local file it may not name.
    """
    notes = Notes()
    sources: dict[tuple[str, str], Source] = {}
    scenes: list[Scene] = []
    searches: list[dict[str, Any]] = []
    for request in requests:
        if request.collection is None:
            scenes += file_scenes(request)
            continue
        provider = load_provider(request.provider, request.extra)
        local = request.collection.name == LOCAL
        where = (request.catalog, LOCAL if local else f"at {provider.name}")
        if where not in sources:
            path = Path(request.catalog)
            sources[where] = (
                open_local(path, notes) if local else open_source(request.catalog, notes, provider)
            )
        layer = _Layer(request, request.collection, provider, sources[where], notes)
        found = layer.scenes(cells, searches)
        if not found:
            notes.say(_nothing(layer, area_centre))
        scenes += found
    scenes.sort(key=lambda s: (s.layer, s.time, s.id))
    return LockResult(scenes, searches, notes.texts())


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer, and the catalog that it searches."""

    request: LayerRequest
    collection: Collection
    provider: Provider
    source: Source
    notes: Notes

    @property
    def offering(self) -> Offering:
        return offering_at(self.provider, self.collection.name, self.request.extra)

    @property
    def times(self) -> Sequence[Interval | None]:
        """First and last moments of what is searched for; None where its collection is of no date."""
        if self.collection.static:
            return (None,)
        return self.request.times or (self.request.time,)

    def scenes(self, cells: Sequence[Box], searches: list[dict[str, Any]]) -> list[Scene]:
        """Scenes of the layer that meet a cell, unsorted; adds to `searches`."""
        offering = self.offering
        found: dict[str, Found] = {}
        jobs = [(cell, time) for cell in cells for time in self.times]
        for (cell, time), hits in zip(jobs, self._search(jobs, offering.name), strict=True):
            searches.append(self._record(cell, time, offering, len(hits)))
            for hit in hits:
                known = found.get(item_id(hit.item))
                # One item is met in several cells; another with its id only where a catalog is at odds with itself.
                if known is None or (hit.item != known.item and processed(hit.item) > processed(known.item)):
                    found[item_id(hit.item)] = hit
        self._unpinned(found)
        self._unnamed(found.values())
        if self.collection.static and self.request.time is not None:
            self.notes.say(
                f"{self.request.layer}: {self.collection.name} is of no date, its time chooses nothing"
            )
        rule = LocalRule.of(self.source.folder, self.request.local_roots)
        reader = Reader(self.request, self.collection, offering, rule, self.notes, self.provider.alternate)
        with rules_of(self.request.extra):
            scenes = _meeting(self._of_bands(list(self._read(reader, found.values()))), cells)
        return self._of_edition(_of_one_date(self._newest(scenes, found), self.collection))

    def _newest(self, scenes: list[Scene], found: Mapping[str, Found]) -> list[Scene]:
        """Without scenes that the catalog has in a newer processing too."""
        if self.collection.offset_rule != "sentinel-2":
            return scenes
        shown_by = {s.id: a for s in scenes if (a := acquisition_of(found[s.id].item)) is not None}
        gone = superseded(scenes, shown_by)
        for ident in gone:
            self.notes.of(f"{self.request.layer}: there in a newer processing too, left out", ident)
        return [s for s in scenes if s.id not in gone]

    def _search(self, jobs: Sequence[tuple[Box, Interval | None]], names: Sequence[str]) -> list[list[Found]]:
        def one(job: tuple[Box, Interval | None]) -> list[Found]:
            hits = self.source.search(names, *job, self.provider.page)
            return [hit for hit in hits if self._passes(hit, job[1])]

        if not self.source.concurrent or len(jobs) < 2:
            return [one(job) for job in jobs]
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="chipweave-search") as pool:
            return list(pool.map(one, jobs))

    def _passes(self, hit: Found, time: Interval | None) -> bool:
        asked = self.request
        if not overlaps(hit.item, time) or (asked.items is not None and item_id(hit.item) not in asked.items):
            return False
        if asked.kind == "imagery" and asked.edition not in {None, edition_of(hit.item, self.collection)}:
            return False
        why = refusal(hit.item, self.request.where)
        if why is not None and why[1]:
            text = f"{self.request.layer}: {why[0]} not stated, so where.{why[0]} is not met"
            self.notes.of(text, item_id(hit.item))
        return why is None

    def _record(self, cell: Box, time: Interval | None, offering: Offering, count: int) -> dict[str, Any]:
        return {
            "layer": self.request.layer,
            "url": self.source.url,
            "collection": ", ".join(offering.name),
            "bbox": [float(v) for v in cell],
            "interval": rfc3339(time) or "",
            "found": count,
        }

    def _unpinned(self, found: Mapping[str, Found]) -> None:
        """Say which pinned items are not here."""
        pinned = self.request.items or frozenset()
        gone = sorted(pinned - found.keys())
        if gone:
            self.notes.say(
                f"{self.request.layer}: {len(gone)} of {len(pinned)} pinned items are not found in this area and time, "
                f"first {shown(gone[0])}"
            )

    def _unnamed(self, found: Iterable[Found]) -> None:
        for hit in found:
            if not collection_of(hit.item) and not isinstance(self.source, LocalSource):
                text = f"{self.source.url}: no collection named, taken as {self.collection.name}"
                self.notes.of(text, item_id(hit.item))

    def _read(self, reader: Reader, found: Iterable[Found]) -> Iterator[Scene]:
        mask = self.collection.mask.band if self.collection.mask else ""
        for hit in found:
            try:
                scene = reader.scene(hit)
            except RefusedItemError as error:
                self.notes.of(f"{self.request.layer}: {error}, left out", item_id(hit.item))
                continue
            for band in scene.missing:
                what = f"no {mask}, counted as clear" if band == mask else f"no asset for band {band}"
                self.notes.of(f"{self.request.layer}: {what}", scene.id)
            yield scene

    def _of_bands(self, scenes: list[Scene]) -> list[Scene]:
        """Without scenes that have none of the layer's bands where others have: of another product of the same day."""
        mask = self.collection.mask.band if self.collection.mask else ""
        having = [s for s in scenes if set(s.assets) - {mask}]
        for scene in scenes if having else ():
            if not set(scene.assets) - {mask}:
                self.notes.of(f"{self.request.layer}: none of the layer's bands, left out", scene.id)
        return having or scenes

    def _of_edition(self, scenes: list[Scene]) -> list[Scene]:
        if self.request.kind != "label" or self.collection.static:
            return scenes
        years = [int(scene.edition) for scene in scenes]
        year = chosen_edition(self.request.layer, self.request.edition, years)
        kept = [scene for scene in scenes if int(scene.edition) == year]
        if scenes and not kept:
            listed = ", ".join(map(str, sorted(set(years))))
            self.notes.say(f"{self.request.layer}: the catalog has no edition {year} here, only {listed}")
        return kept


def _of_one_date(scenes: list[Scene], collection: Collection) -> list[Scene]:
    """Scenes of a collection without dates as of one moment, the latest: one picture, wherever its tiles end."""
    if not collection.static or not scenes:
        return scenes
    latest = max(scene.time for scene in scenes)
    return [replace(scene, time=latest) for scene in scenes]


def _meeting(scenes: list[Scene], cells: Sequence[Box]) -> list[Scene]:
    """Scenes whose footprint meets a cell: an API may know them by a wider box."""
    if not scenes or not cells:
        return scenes
    tree = shapely.STRtree([shapely.box(*box) for cell in cells for box in boxes(cell)])
    hits = tree.query([s.geometry for s in scenes], predicate="intersects")[0]
    return [scenes[i] for i in np.unique(hits)]


def _nothing(layer: _Layer, centre: tuple[float, float] | None) -> str:
    """What to say where a layer found no scene."""
    place = f" near {centre[0]:.2f}, {centre[1]:.2f} (lon, lat)" if centre else ""
    text = f"{layer.request.layer}: no scene of {layer.collection.name} at {layer.source.url}{place}"
    held = getattr(layer.source, "collections", None)
    names = held() if callable(held) else []
    wanted = layer.offering.name
    if names and not set(names) & set(wanted):
        return f"{text}; it holds {', '.join(shown(n) for n in names[:8])}"
    return text
