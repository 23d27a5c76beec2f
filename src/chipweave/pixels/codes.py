"""Codes of a band onto a target window: by a table of what becomes of each of them, where that is the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.model import Asset
from chipweave.pixels import fused
from chipweave.pixels.bands import AnyArray, BoolArray, Stored, Target, general, overlap
from chipweave.pixels.blocks import read_block
from chipweave.pixels.lattice import shift
from chipweave.pixels.resample import LARGE, Method, clip, gather_block, inside
from chipweave.pixels.stored import SourceGrid, data_mask

Finish = Callable[[AnyArray, BoolArray], npt.NDArray[Any]]
"""``finish(codes, ok)``: stored codes, and where they are data, to what a sample holds; pixel by pixel."""


def read_codes(
    asset: Asset,
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
    finish: Finish,
) -> npt.NDArray[Any]:
    """Codes of one band on a north-up window, as `finish` makes them.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `read_band`.
    """
    band, window = Stored.of(asset, default_nodata), Target.of(crs, affine, shape)
    moved = shift(band.source.grid, window.grid)
    if band.source.dtype in (np.uint8, np.uint16) and (method == "nearest" or moved is not None):
        found = _look_up(band, window, moved, finish)
        if found is not None:
            return found
    return finish(*general(band, window, method))


def _look_up(
    band: Stored, window: Target, moved: tuple[int, int] | None, finish: Finish
) -> npt.NDArray[Any] | None:
    """Nearest by a table of what becomes of each code; None where the general way is needed."""
    source = band.source
    table, nothing = _table(finish, source.dtype, band.nodata)
    out = np.empty(window.box[2:], table.dtype)
    if moved is not None:
        out[...] = nothing
        inner = overlap(window, moved, source.shape)
        if inner is not None:
            out[inner[1]] = table[read_block(source, *inner[0], border=0)]
        return out
    halves = shift(source.grid, window.grid, 2)
    if halves is not None:
        _twice(source, window, halves, table, nothing, out)
        return out
    lattice, block = gather_block(source.grid, source.shape, window.grid, window.box, reach=0.0)
    if block is None:
        out[...] = nothing
        return out
    if block[2] * block[3] > LARGE:
        return None
    fused.nearest_codes(
        read_block(source, *block), table, nothing, block[0], block[1], lattice.nodes, out
    )  # fmt: skip
    return out


@lru_cache(maxsize=16)
def _table(finish: Finish, dtype: np.dtype[np.generic], nodata: float | None) -> tuple[npt.NDArray[Any], Any]:
    """What becomes of each code that a type can hold, and of none; of 16 bits it takes a millisecond to make."""
    every = np.arange(1 << 8 * dtype.itemsize).astype(dtype)
    table = finish(every, data_mask(every, nodata))
    return table, finish(every[:1], np.zeros(1, np.bool_))[0]


def _twice(
    source: SourceGrid,
    window: Target,
    moved: tuple[int, int],
    table: npt.NDArray[Any],
    nothing: Any,
    out: npt.NDArray[Any],
) -> None:
    """Nearest from pixels of exactly twice the side: no centre lies nearer to an edge than a quarter of them."""
    box = (window.box[0] + moved[0], window.box[1] + moved[1], *window.box[2:])
    part = clip(box, (2 * source.shape[0], 2 * source.shape[1]))
    if part is None or part[2:] != box[2:]:
        out[...] = nothing
    if part is not None:
        row, col, height, width = part
        top, left = row >> 1, col >> 1
        bottom, right = (row + height + 1) >> 1, (col + width + 1) >> 1
        shared = (row | col | height | width) & 1  # half a stored pixel: a neighbour has the other half
        block = read_block(source, top, left, bottom - top, right - left, border=shared)
        pairs = table.repeat(2).view(f"u{2 * table.itemsize}")
        line = np.empty(block.shape[1], pairs.dtype)
        fused.twice_codes(
            block, pairs, line, line.view(table.dtype), row & 1, col & 1, out[inside(box, part)]
        )  # fmt: skip
