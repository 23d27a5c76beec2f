"""Windows of a file from its stored blocks, each decoded once.

Blocks at the border of a window are kept for the next window, which shares them: neighbouring tiles and scattered
chips decode each block once. What no window to come shares is let go of, so that the rest has room.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import rasterio.errors
from rasterio.windows import Window

from chipweave.pixels import read
from chipweave.pixels.failures import attempts, is_remote
from chipweave.pixels.kept import Key
from chipweave.pixels.read import handles, source_errors
from chipweave.pixels.stored import SourceGrid

BORDER = 3
"""Pixels from a window's edge within which the next window may need a block again."""

ASKEW = 10
"""Part of a window's longer side that its neighbours may share where it is but the box around one that lies askew on
the file: neighbouring zones are turned against each other by less than this, as far as people live."""

OWN_MASK = 0
"""Number of the band that a file's own mask is read as."""

Sides = tuple[bool, bool, bool, bool]
"""Something of the upper, lower, left and right side."""

READING: Sides = (False, True, False, True)
"""Where others are still to come for what is read in the order of reading."""


@dataclass(slots=True)
class Counts:
    """What this process has read: stored blocks decoded, and the pixels' bytes in them."""

    decoded: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Begin again from nothing."""
        self.decoded = self.bytes = 0


counts = Counts()
"""Counts do not depend on the machine; threads share them."""


def read_block(
    source: SourceGrid,
    row: int,
    col: int,
    height: int,
    width: int,
    out: npt.NDArray[np.generic] | None = None,
    border: int | None = None,
) -> npt.NDArray[np.generic]:
    """Stored values of a window that lies inside the file; into `out`, of the source's type, where it is given.

    What the file's own mask hides is `source.hidden`.

    `border` is how many of its pixels a neighbour may ask for again; None where it may lie askew on the file.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `source_grid`; a truncated or undecodable block is permanent.
    """
    if out is None:
        out = np.empty((height, width), source.dtype)
    window = (row, col, height, width)
    missing = []
    for i, j in touched(source.block, *window):
        key = (source.href, source.index, i, j)
        block = handles.blocks.get(key)
        if block is None:
            missing.append((i, j))
            continue
        _paste(block, i * source.block[0], j * source.block[1], out, row, col)
        _keep(source, key, block, window, border)
    # Over a network neighbours are asked for together; here one by one: no block is then copied to be kept.
    together = is_remote(source.href)
    for rectangle in _rectangles(missing) if together else [(i, j, i + 1, j + 1) for i, j in missing]:
        _read_blocks(source, rectangle, window, border, out)
    if source.hidden is not None:
        mask = replace(source, index=OWN_MASK, dtype=np.dtype(np.uint8), hidden=None)
        out[read_block(mask, *window, border=border) == 0] = source.hidden
    return out


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies beyond a window, on its upper, lower, left and right side.

    Parameters
    ----------
    rest
        How far the chips of its own tile go on there, as shares of the window's height or width.
    coming
        Whether a tile lies there that is read later.
    """

    rest: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    coming: Sides = READING


class _Current(threading.local):
    outlook = Outlook()


_current = _Current()


@contextmanager
def outlook(ahead: Outlook) -> Iterator[None]:
    """Say what lies beyond the windows that are read within; a hint, no pixel depends on it."""
    before, _current.outlook = _current.outlook, ahead
    try:
        yield
    finally:
        _current.outlook = before


def _keep(
    source: SourceGrid,
    key: Key,
    block: npt.NDArray[np.generic],
    window: tuple[int, int, int, int],
    border: int | None,
) -> None:
    """Keep a block that reaches over a window's border, for longer where a tile that is still to come reads it too."""
    row, col, height, width = window
    top, left = key[2] * source.block[0], key[3] * source.block[1]
    shared = max(BORDER, max(height, width) // ASKEW) if border is None else border
    over = (  # by how many pixels; beyond the file nothing is read
        row + shared - top if row > 0 else 0,
        top + source.block[0] + shared - row - height if row + height < source.shape[0] else 0,
        col + shared - left if col > 0 else 0,
        left + source.block[1] + shared - col - width if col + width < source.shape[1] else 0,
    )
    ahead, sides = _current.outlook, (height, height, width, width)
    far = any(
        comes and pixels > max(rest * side, 0)
        for pixels, rest, side, comes in zip(over, ahead.rest, sides, ahead.coming, strict=True)
    )
    if far or max(over) > 0:
        # A part of a larger array would keep all of that.
        own = block if block.base is None or block.base.nbytes == block.nbytes else block.copy()
        handles.blocks.keep(key, own, read.CACHE_BYTES, far=far)
    else:
        handles.blocks.drop(key)


def touched(block: tuple[int, int], row: int, col: int, height: int, width: int) -> list[tuple[int, int]]:
    """(row, column) of the stored blocks that a window meets."""
    rows = range(row // block[0], (row + height - 1) // block[0] + 1)
    cols = range(col // block[1], (col + width - 1) // block[1] + 1)
    return [(i, j) for i in rows for j in cols]


def _paste(
    block: npt.NDArray[np.generic], top: int, left: int, out: npt.NDArray[np.generic], row: int, col: int
) -> None:
    """Copy what a block, whose first pixel is (top, left), holds of a window that begins at (row, col)."""
    r0, r1 = max(top, row), min(top + block.shape[0], row + out.shape[0])
    c0, c1 = max(left, col), min(left + block.shape[1], col + out.shape[1])
    out[r0 - row : r1 - row, c0 - col : c1 - col] = block[r0 - top : r1 - top, c0 - left : c1 - left]


def _rectangles(blocks: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Blocks, given row by row, as few rectangles (top, left, bottom, right), ends excluded: each is read at once."""
    done: list[tuple[int, int, int, int]] = []
    runs: dict[tuple[int, int], int] = {}  # (left, right) to its place in `done`, of the row before
    for i, row in groupby(blocks, key=itemgetter(0)):
        columns = [j for _, j in row]
        before, runs = runs, {}
        while columns:
            n = next((k for k in range(1, len(columns)) if columns[k] != columns[0] + k), len(columns))
            span = columns[0], columns[n - 1] + 1
            columns = columns[n:]
            at = before.get(span)
            if at is not None and done[at][2] == i:
                done[at] = (done[at][0], span[0], i + 1, span[1])
            else:
                at = len(done)
                done.append((i, span[0], i + 1, span[1]))
            runs[span] = at
    return done


def _read_blocks(
    source: SourceGrid,
    blocks: tuple[int, int, int, int],
    window: tuple[int, int, int, int],
    border: int | None,
    out: npt.NDArray[np.generic],
) -> None:
    """Decode a rectangle of blocks, copy what the window needs, and keep those that the next window may need."""
    height, width = source.block
    top, left = blocks[0] * height, blocks[1] * width
    bottom, right = min(blocks[2] * height, source.shape[0]), min(blocks[3] * width, source.shape[1])
    row, col = window[:2]
    decoded = _decode(source, Window(left, top, right - left, bottom - top))
    counts.decoded += (blocks[2] - blocks[0]) * (blocks[3] - blocks[1])
    counts.bytes += decoded.nbytes
    _paste(decoded, top, left, out, row, col)
    one = blocks[2] - blocks[0] == blocks[3] - blocks[1] == 1
    for i in range(blocks[0], blocks[2]):
        for j in range(blocks[1], blocks[3]):
            y, x = i * height - top, j * width - left
            block = decoded if one else decoded[y : y + height, x : x + width]
            _keep(source, (source.href, source.index, i, j), block, window, border)


def _blocks_of(source: SourceGrid, window: Window) -> Iterator[tuple[int, int]]:
    """(row, column) of the blocks of a window that consists of whole ones."""
    height, width = source.block
    for row in range(window.row_off // height, -(-(window.row_off + window.height) // height)):
        for col in range(window.col_off // width, -(-(window.col_off + window.width) // width)):
            yield row, col


def _decode(source: SourceGrid, window: Window) -> npt.NDArray[np.generic]:
    for attempt in attempts(source.href):
        with attempt, source_errors(source.href):
            if source.index == OWN_MASK:
                return np.asarray(handles.get(source.href).read_masks(1, window=window))
            own = list(_blocks_of(source, window))
            dataset = handles.reading(source, own)
            try:
                got = dataset.read(source.index, window=window)
            except rasterio.errors.RasterioError:
                plain = handles.plain(source.href)
                if plain is None:
                    raise
                got = plain.read(source.index, window=window)
            handles.done(source, own)
            return np.asarray(got)
    raise AssertionError(source.href)  # pragma: no cover - stamina returns or raises
