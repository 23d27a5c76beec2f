"""What every kind of catalog does: answer a search with raw items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from chipweave.catalog.footprint import boxes, extents
from chipweave.catalog.hrefs import shown
from chipweave.catalog.notes import Notes
from chipweave.catalog.stac import Item, collection_of, defect, item_id, span
from chipweave.recipe.interval import EARLIEST, LATEST

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east crosses ±180°."""

Interval = tuple[datetime, datetime]
"""First and last moment, UTC, both inclusive."""

ANYWHERE: Final[Box] = (-180.0, -90.0, 180.0, 90.0)
"""Where an item may lie that tells nothing of its place: whoever needs it looks into its files."""


@dataclass(frozen=True, slots=True)
class Found:
    """A raw item, and where it was read: the URL or absolute path that relative hrefs start from."""

    item: dict[str, Any]
    origin: str


class Source(Protocol):
    """A catalog that can be searched.

    `url` is its URL or path as it may be shown; `folder` the folder of a catalog given as a path, else None;
    `concurrent` whether searches may run side by side.
    """

    url: str
    folder: Path | None
    concurrent: bool

    def search(
        self, collections: Sequence[str], bbox: Box, interval: Interval | None, limit: int
    ) -> Iterator[Found]:
        """Items of the collections that may meet the box, within the interval; `limit` is a page's size.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            The catalog did not answer, or refused.
        """
        ...


def overlaps(item: Item, interval: Interval | None) -> bool:
    """Whether an item's time meets an interval; one without a time meets only no interval."""
    if interval is None:
        return True
    at = span(item)
    return at is not None and at[0] <= interval[1] and at[1] >= interval[0]


@dataclass
class Shelf:
    """Items in memory, sieved by collection, box and time.

    An item that names no collection belongs to whichever is asked for; one that names no place may lie anywhere.
    """

    found: list[Found] = field(default_factory=list)
    _rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _boxes: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))

    @classmethod
    def of(cls, found: Iterable[Found], notes: Notes) -> Shelf:
        """Shelve items; one that is broken is noted and left out."""
        kept: list[Found] = []
        rows: list[int] = []
        areas: list[Box] = []
        for entry, one in enumerate(found, start=1):
            if why := defect(one.item):
                notes.of(f"{shown(one.origin, 200)}: {why}, left out", named(one.item, entry))
                continue
            places = extents(one.item) or [ANYWHERE]
            rows += [len(kept)] * len(places)
            areas += places
            kept.append(one)
        return cls(kept, np.asarray(rows, np.int64), np.asarray(areas, np.float64).reshape(-1, 4))

    def search(self, collections: Sequence[str], bbox: Box, interval: Interval | None) -> Iterator[Found]:
        """Items that pass, in their order on the shelf."""
        hit = np.zeros(len(self._rows), bool)
        west, south, east, north = self._boxes.T
        for w, s, e, n in boxes(bbox):
            hit |= (west <= e) & (east >= w) & (south <= n) & (north >= s)
        for row in np.unique(self._rows[hit]):
            one = self.found[int(row)]
            if collection_of(one.item) in {*collections, ""} and overlaps(one.item, interval):
                yield one

    def collections(self) -> list[str]:
        """Names of all collections on the shelf."""
        return sorted({collection_of(one.item) for one in self.found} - {""})


def meets(places: Iterable[Box], bbox: Box) -> bool:
    """Whether any of some boxes meets a box that may cross ±180°."""
    return any(
        pw <= e and pe >= w and ps <= n and pn >= s for w, s, e, n in boxes(bbox) for pw, ps, pe, pn in places
    )


def named(item: object, entry: int) -> str:
    """A broken item as a message names it: by its id, else by its place."""
    return (item_id(item) if isinstance(item, dict) else "") or f"entry {entry}"


def rfc3339(interval: Interval | None) -> str | None:
    """Interval for a request: ends with time of day, whole seconds, never narrower; ``..`` where open."""
    if interval is None:
        return None
    first, last = interval
    up = last.replace(microsecond=0) + timedelta(seconds=1) if last.microsecond else last
    start = ".." if first <= EARLIEST else _text(first)
    end = ".." if last >= LATEST else _text(up)
    return f"{start}/{end}" if (start, end) != ("..", "..") else None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
