"""Read a scene for many chips at once: common windows where they are dense, none where they are not.

What a chip gets does not depend on the windows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import Place
from chipweave.pixels.blocks import READING, Outlook, Sides, outlook

Arrays = tuple[npt.NDArray[np.generic], ...]
ReadWindow = Callable[[str, Affine, tuple[int, int]], Arrays]
"""``read(crs, affine, (rows, columns))``: arrays whose last two axes are (y, x)."""

SPARSE = 1.25
"""A common window of more than this many times its chips' own area is cut in two."""

PHASES = 1024
"""Parts of a pixel by which lattices differ: less is float noise of their coordinates."""

Cells = npt.NDArray[np.int64]


class _Journey:
    """Tiles in the order in which they are read, as the boxes of their chips; `beyond` them, sides of all."""

    def __init__(self, tiles: Sequence[Sequence[Place]], beyond: Sides) -> None:
        self._beyond = beyond
        self._number = {place.key: n for n, tile in enumerate(tiles) for place in tile}
        self._crs = np.array([tile[0].crs for tile in tiles], np.str_)
        self._boxes = np.array([_box(tile) for tile in tiles], np.float64).reshape(-1, 4).T

    def coming(self, place: Place) -> Sides:
        """On which sides of the tile of a place others come after it."""
        n = self._number.get(place.key)
        if n is None:
            return self._beyond
        west, south, east, north = self._boxes
        own = self._crs == self._crs[n]
        column, row = own & (west < east[n]) & (east > west[n]), own & (south < north[n]) & (north > south[n])
        sides = (
            column & (north > north[n]),
            column & (south < south[n]),
            row & (west < west[n]),
            row & (east > east[n]),
        )
        up, down, left, right = (
            bool(there[n:].any()) if there.any() else otherwise
            for there, otherwise in zip(sides, self._beyond, strict=True)
        )
        return up, down, left, right


def _box(tile: Sequence[Place]) -> tuple[float, float, float, float]:
    side = tile[0].size * tile[0].resolution
    x, y = [p.x for p in tile], [p.y for p in tile]
    return min(x), min(y) - side, max(x) + side, max(y)


class _Current(threading.local):
    journey = _Journey((), READING)


_current = _Current()


@contextmanager
def journey(tiles: Sequence[Sequence[Place]], beyond: Sides = READING) -> Iterator[None]:
    """Say which tiles are read within, and in what order: blocks that a later one shares wait for it.

    A hint: no pixel depends on it.

    Parameters
    ----------
    tiles
        Places of each.
    beyond
        The sides of all of them on which other tiles are read later: squares of tiles come in the order of reading.
    """
    before, _current.journey = _current.journey, _Journey(tiles, beyond)
    try:
        yield
    finally:
        _current.journey = before


def read_chips(
    places: Sequence[Place], read: ReadWindow, most: int | None = None
) -> Iterator[tuple[Place, Arrays | PermanentSourceError]]:
    """Arrays of each place, cut from common windows.

    Parameters
    ----------
    places
        Of one CRS, size and resolution.
    read
        Called once a window; once a place where its window cannot be read: a broken block spoils its own chips
        alone.
    most
        Pixels of a window of several chips.

    Yields
    ------
    place, arrays or the permanent error
        In any order, each place once. A transient error is raised instead.
    """
    coming = _current.journey.coming(places[0])
    for frame in frames(places, most):
        try:
            with outlook(Outlook(frame.rest, coming)):
                whole = read(places[0].crs, frame.affine, frame.shape)
        except PermanentSourceError as error:
            if len(frame.group) == 1:
                yield places[frame.group[0]], error
            else:
                yield from _each([places[i] for i in frame.group], read)
            continue
        for i, (row, col) in zip(frame.group, frame.at, strict=True):
            size = places[i].size
            yield places[i], tuple(a[..., row : row + size, col : col + size] for a in whole)


@dataclass(frozen=True, slots=True)
class Frame:
    """A common window of some places.

    Parameters
    ----------
    group
        (n,) their numbers.
    at
        (n, 2) first row and column of each in it.
    affine, shape
        The window.
    rest
        How far the chips of all places go on beyond its sides: see `Outlook`.
    """

    group: npt.NDArray[np.intp]
    at: Cells
    affine: Affine
    shape: tuple[int, int]
    rest: tuple[float, float, float, float]


def frames(places: Sequence[Place], most: int | None = None) -> Iterator[Frame]:
    """The windows in which `read_chips` reads, in order; chips of several pixel lattices share none."""
    for own in _lattices(places):
        for frame in _frames([places[i] for i in own], most):
            yield replace(frame, group=own[frame.group])


def _lattices(places: Sequence[Place]) -> list[npt.NDArray[np.intp]]:
    """Numbers of the places of each pixel lattice: chips at points, or of a list, need not lie on one."""
    first = places[0]
    offsets = np.array([((p.x - first.x) / p.resolution, (p.y - first.y) / p.resolution) for p in places])
    phase = np.round((offsets - np.floor(offsets)) * PHASES).astype(np.int64) % PHASES
    _, which = np.unique(phase @ np.array([PHASES, 1]), return_inverse=True)
    return [np.flatnonzero(which == n) for n in range(int(which.max()) + 1)]


def _frames(places: Sequence[Place], most: int | None) -> Iterator[Frame]:
    first = places[0]
    left, top = min(p.x for p in places), max(p.y for p in places)
    cells = np.array(
        [(round((top - p.y) / p.resolution), round((p.x - left) / p.resolution)) for p in places], np.int64
    )
    extent = cells.max(axis=0) + first.size
    for group in windows(cells, first.size, most):
        corner = cells[group].min(axis=0)
        shape = cells[group].max(axis=0) + first.size - corner
        x, y = left + float(corner[1]) * first.resolution, top - float(corner[0]) * first.resolution
        affine = Affine(first.resolution, 0.0, x, 0.0, -first.resolution, y)
        before, after = (corner / shape).tolist(), ((extent - corner - shape) / shape).tolist()
        yield Frame(
            group, cells[group] - corner, affine, (int(shape[0]), int(shape[1])),
            (before[0], after[0], before[1], after[1]),
        )  # fmt: skip


def _each(places: Sequence[Place], read: ReadWindow) -> Iterator[tuple[Place, Arrays | PermanentSourceError]]:
    for place in places:
        try:
            yield place, read(place.crs, place.affine, (place.size, place.size))
        except PermanentSourceError as error:
            yield place, error


def windows(cells: Cells, size: int, most: int | None = None) -> Iterator[npt.NDArray[np.intp]]:
    """Chips that are read together, by number: cut at the widest gap until each common window is dense.

    Parameters
    ----------
    cells
        (row, col) of each chip's first pixel, (n, 2).
    size
        Of a chip, in pixels.
    most
        Pixels of a window of several chips.
    """
    waiting = [np.arange(len(cells))]
    while waiting:
        group = waiting.pop()
        own = cells[group]
        extent = own.max(axis=0) + size - own.min(axis=0)
        distinct = len({*map(tuple, own.tolist())})
        area = int(extent[0] * extent[1])
        if distinct == 1 or (area <= SPARSE * distinct * size**2 and area <= (most or area)):
            yield group
            continue
        first, second = _cut(own, extent)
        # The first part comes next, so that windows follow each other as the chips do.
        waiting += [group[second], group[first]]


def _cut(cells: Cells, extent: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Both sides of the widest gap along rows or columns; in the middle of the longer side where there is none."""
    best: tuple[int, int, int] | None = None
    for axis in (0, 1):
        at = np.unique(cells[:, axis])
        if len(at) > 1:
            gap = np.diff(at)
            k = int(gap.argmax())
            if best is None or gap[k] > best[0]:
                best = int(gap[k]), axis, int(at[k + 1])
            if gap[k] == gap.min() and extent[axis] >= extent[1 - axis]:
                middle = int(at[len(at) // 2])
                best = best if best[0] > gap[k] else (int(gap[k]), axis, middle)
    if best is None:
        raise ValueError("chips that lie on one another cannot be parted")
    _, axis, split = best
    return np.flatnonzero(cells[:, axis] < split), np.flatnonzero(cells[:, axis] >= split)
