"""What is read next, fetched while something else is decoded: latency hides behind work, and no pixel depends on it.

Whoever knows the order of reading says so as wishes. Headers of their files, then the stored blocks that their windows
need, are fetched by threads, in that order, no more than `BYTES` at a time; all else stays with the thread that reads.
What is not fetched, or was fetched in vain, costs time alone. Only files over http(s) are fetched; others cost nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from affine import Affine

from chipweave.catalog.hrefs import is_http
from chipweave.errors import ChipweaveError, SourceError
from chipweave.pixels.blocks import touched
from chipweave.pixels.lattice import Grid, shift
from chipweave.pixels.read import handles, source_grid
from chipweave.pixels.resample import Box, Method, clip, gather_block, source_block
from chipweave.pixels.stored import SourceGrid
from chipweave.pixels.webfiles import Blocks

BYTES: Final = 40 << 20
"""Bytes that a thread has under way, or waiting to be read, of what comes later: a tile of ten bands."""

SOON: Final = 60 << 20
"""The same, with what `Ahead.expect` named."""

FILES: Final = 48
"""Files whose headers a thread has fetched before they are read."""

BANDS: Final = 256
"""Bands of windows that are looked at ahead of reading."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Bands of one scene that a window will be read from.

    Parameters
    ----------
    bands
        (href, index, method) of each, in the order of reading.
    crs, affine, shape
        The window, as it is asked for.
    """

    bands: tuple[tuple[str, int, Method], ...]
    crs: str
    affine: Affine
    shape: tuple[int, int]


Wishes = Callable[[], Iterator[Wish]]
"""Gives wishes in the order of reading, each when there is room for it."""


@dataclass(frozen=True, slots=True)
class _Band:
    """One band of a wish; `turn` is its wish's place in the order of reading."""

    turn: int
    href: str
    index: int
    method: Method
    wish: Wish


class Ahead(threading.local):
    """What one thread will read."""

    def __init__(self) -> None:
        self._name: Hashable = None
        self._source: Iterator[Wish] = iter(())
        self._then: tuple[Hashable, Wishes] | None = None
        self._near: deque[_Band] = deque()
        self._web = self._busy = self._begun = False
        self._bad: set[str] = set()
        handles.web.reads = self._reads

    def begin(self, name: Hashable, wishes: Wishes) -> None:
        """Say what is read from now on; nothing new where `then` said it, by the same name, and it has begun."""
        if name != self._name or not self._begun:
            self._take(name, wishes)
        self._begun = False
        self._fetch()

    def then(self, name: Hashable, wishes: Wishes) -> None:
        """Say what is read after all that `begin` says next: the following task of this process."""
        self._then = (name, wishes)

    def expect(self, wishes: Iterable[Wish]) -> None:
        """Say what is read before all else, and was not said yet."""
        self._near.extendleft(reversed([band for wish in wishes for band in _bands(wish, handles.web.turn)]))
        self._fetch()

    @staticmethod
    def headers(hrefs: Iterable[str]) -> None:
        """Say which files are opened next, where nothing else is said."""
        for href in islice(filter(is_http, hrefs), FILES):
            with suppress(SourceError):  # whoever opens it is told
                handles.web.begin(href)

    def _take(self, name: Hashable, wishes: Wishes) -> None:
        self._name, self._source, self._web = name, wishes(), False
        self._near.clear()
        self._bad.clear()

    def _reads(self, href: str, index: int, blocks: Blocks) -> None:
        """Stored blocks are read now: they are asked for, with all of their window, if they were not."""
        if self._busy:
            return
        for n, band in enumerate(self._near):
            if band.href == href and band.index == index:
                if not set(blocks).isdisjoint(_blocks(source_grid(href, index), band)):
                    del self._near[n]
                    self._ask(band, None)
                break
        self._fetch()

    def _fetch(self) -> None:
        """Ask for as much as there is room for."""
        if self._busy:  # opening a file reads too
            return
        self._busy = True
        try:
            self._fill()
            self._headers()
            self._blocks()
        finally:
            self._busy = False

    def _fill(self) -> None:
        while len(self._near) < BANDS:
            try:
                wish = next(self._source, None)
            except ChipweaveError:
                wish = None  # of the next task, such as a plan that lacks a scene: that task says so
            if wish is None:
                # Only where files came over http(s) is it worth to look what the next task reads.
                if self._then is None or not self._web or self._near:
                    return
                self._take(*self._then)
                self._then, self._begun = None, True
                continue
            handles.web.last += 1
            self._near += _bands(wish, handles.web.last)
            self._web |= bool(self._near)

    def _headers(self) -> None:
        """All side by side; those that nobody waits for any more are let go of."""
        wanted = list(islice(dict.fromkeys(band.href for band in self._near), FILES))
        for href in handles.web.begun.keys() - {band.href for band in self._near}:
            if handles.web.begun[href].ready is not False:  # what is wrong is for whoever reads it
                handles.web.begun.pop(href).forget()
        for href in wanted:
            self._ready(href)

    def _blocks(self) -> None:
        """Where the header is there and has room."""
        waiting: list[_Band] = []
        while self._near and len(waiting) < FILES:
            band = self._near.popleft()
            if band.turn < handles.web.turn:
                continue  # too late
            ready = self._ready(band.href)
            if ready is None:
                waiting.append(band)
            elif ready and not self._ask(band, BYTES if band.turn > handles.web.turn else SOON):
                waiting.append(band)
                break
        self._near.extendleft(reversed(waiting))

    def _ready(self, href: str) -> bool | None:
        """Whether a file's header is there; None while it is to come, False where nothing comes."""
        if href in self._bad:
            return False
        try:
            return handles.web.begin(href)
        except SourceError:  # whoever reads it is told, as below
            self._bad.add(href)
            return False

    def _ask(self, band: _Band, most: int | None) -> bool:
        """Ask for the blocks of one band; False where more than `most` bytes would be under way."""
        try:
            source = source_grid(band.href, band.index)
            keys = [
                k for k in _blocks(source, band) if handles.blocks.get((band.href, band.index, *k)) is None
            ]
            return handles.later(source, keys, band.turn, most)
        except SourceError:
            self._bad.add(band.href)
            return True


def _bands(wish: Wish, turn: int) -> Iterator[_Band]:
    return (_Band(turn, *band, wish) for band in wish.bands if is_http(band[0]))


def _blocks(source: SourceGrid, band: _Band) -> list[tuple[int, int]]:
    """(row, column) of the stored blocks that a window is read from."""
    box = _box(source, band.wish, band.method)
    return [] if box is None else touched(source.block, *box)


def _box(source: SourceGrid, wish: Wish, method: Method) -> Box | None:
    grid, row, col = Grid.anchored(wish.crs, wish.affine)
    return _source_box(source.grid, source.shape, grid, (row, col, *wish.shape), method)


@lru_cache(maxsize=32)
def _source_box(
    source: Grid, shape: tuple[int, int], target: Grid, window: Box, method: Method
) -> Box | None:
    """(row, col, height, width) of a file that a window is read from, as `bands` reads it; shared by its bands."""
    moved = shift(source, target)
    if moved is not None:
        return clip((window[0] + moved[0], window[1] + moved[1], *window[2:]), shape)
    if method in {"nearest", "bilinear"}:
        return gather_block(source, shape, target, window, reach=0.5 if method == "bilinear" else 0.0)[1]
    return source_block(source, shape, target, window)


ahead = Ahead()
"""Of the thread that asks."""
