"""Windows of a file from its stored blocks, each decoded once.

Blocks at the border of a window are kept for the next window, which shares them: neighbouring tiles and scattered
chips decode each block once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import rasterio.errors
from rasterio.windows import Window

from chipweave.pixels import read
from chipweave.pixels.kept import Key
from chipweave.pixels.read import SourceGrid, attempts, handles, is_remote, source_errors

BORDER = 3
"""Pixels from a window's edge within which the next window may need a block again."""


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
) -> npt.NDArray[np.generic]:
    """Stored values of a window that lies inside the file; into `out` where it is given.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `source_grid`; a truncated or undecodable block is permanent.
    """
    if out is None:
        out = np.empty((height, width), source.dtype)
    window = (row, col, height, width)
    missing = []
    for i, j in _touched(source.block, *window):
        key = (source.href, source.index, i, j)
        block = handles.blocks.get(key)
        if block is None:
            missing.append((i, j))
            continue
        _paste(block, i * source.block[0], j * source.block[1], out, row, col)
        _keep(key, block, source.block, window)
    # Over a network neighbours are asked for together; here one by one: no block is then copied to be kept.
    together = is_remote(source.href)
    for rectangle in _rectangles(missing) if together else [(i, j, i + 1, j + 1) for i, j in missing]:
        _read_blocks(source, rectangle, window, out)
    return out


class _Outlook(threading.local):
    """How far the chips that are read go on below and to the right of a window, as shares of its height and width."""

    down = right = 0.0


_outlook = _Outlook()


@contextmanager
def outlook(down: float, right: float) -> Iterator[None]:
    """Say that the windows that are read within belong to chips which go on that far; a hint, no pixel depends on it.

    Parameters
    ----------
    down, right
        Shares of a window's height and width.
    """
    before = _outlook.down, _outlook.right
    _outlook.down, _outlook.right = down, right
    try:
        yield
    finally:
        _outlook.down, _outlook.right = before


def _keep(
    key: Key, block: npt.NDArray[np.generic], side: tuple[int, int], window: tuple[int, int, int, int]
) -> None:
    """Keep a block that reaches over a window's border, for longer where it reaches over that of all chips.

    Tiles come in the order of reading: what is below or to the right of all chips is still to come.
    """
    row, col, height, width = window
    top, left = key[2] * side[0], key[3] * side[1]
    below, beside = top + side[0] + BORDER - row - height, left + side[1] + BORDER - col - width
    far = below > height * _outlook.down or beside > width * _outlook.right
    if far or below > 0 or beside > 0 or top < row + BORDER or left < col + BORDER:
        # A part of a larger array would keep all of that.
        own = block if block.base is None or block.base.nbytes == block.nbytes else block.copy()
        handles.blocks.keep(key, own, read.CACHE_BYTES, far=far)
    else:
        handles.blocks.drop(key)


def _touched(block: tuple[int, int], row: int, col: int, height: int, width: int) -> list[tuple[int, int]]:
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
            _keep((source.href, source.index, i, j), block, source.block, window)


def _decode(source: SourceGrid, window: Window) -> npt.NDArray[np.generic]:
    for attempt in attempts(source.href):
        with attempt, source_errors(source.href):
            dataset = handles.get(source.href)
            try:
                return np.asarray(dataset.read(source.index, window=window))
            except rasterio.errors.RasterioError:
                plain = handles.plain(source.href)
                if plain is None:
                    raise
                return np.asarray(plain.read(source.index, window=window))
    raise AssertionError(source.href)  # pragma: no cover - stamina returns or raises
