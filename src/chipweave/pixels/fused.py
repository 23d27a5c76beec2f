"""Compiled loops from stored blocks straight to what a sample holds: one pass over the target, no array between.

They give what `kernels` and `radiometry` give one after the other, to the bit. `src` is (band, h, w) of blocks of one
grid, so that bands share their coordinates; its first pixel is (`src_row`, `src_col`) of the file. `nodes` are those
of `Lattice.nodes`.
"""

# Arguments are many because compiled code takes no objects.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.pixels.jit import kernel
from chipweave.pixels.kernels import BITS, HALF, LOW, ONE, ROUND, blend_float, blend_int, row_coordinates
from chipweave.pixels.radiometry import INT16_LIMIT, INT16_NODATA

FloatArray = npt.NDArray[np.float64]
AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

Nodes = tuple[FloatArray, FloatArray, int, int, int, int, int, int, int]

_LIMIT = np.int64(INT16_LIMIT)
_NODATA = np.int16(INT16_NODATA)


@kernel
def _stored(value: Any, add: Any) -> Any:  # pragma: no cover - compiled
    return min(max(value + add, -_LIMIT), _LIMIT)


@kernel
def _where(
    src: AnyArray, checked: bool, nodata: int, valid: BoolArray
) -> None:  # pragma: no cover - compiled
    """Where a block is data."""
    for i in range(src.shape[0]):
        for j in range(src.shape[1]):
            valid[i, j] = not checked or np.int64(src[i, j]) != nodata


@kernel
def _neighbours(
    qu: Ints, qv: Ints, src_row: int, src_col: int, h: int, w: int, base: Ints
) -> int:  # pragma: no cover - compiled
    """Place of each pixel's upper left neighbour in the flat block; how many have not all four in it."""
    outside = 0
    for c in range(base.shape[0]):
        i0 = ((qv[c] - HALF) >> BITS) - src_row
        j0 = ((qu[c] - HALF) >> BITS) - src_col
        base[c] = i0 * w + j0
        outside += (i0 < 0) | (i0 >= h - 1) | (j0 < 0) | (j0 >= w - 1)
    return outside


@kernel
def bilinear_int16(
    src: AnyArray,
    checked: BoolArray,
    nodata: Ints,
    add: Ints,
    src_row: int,
    src_col: int,
    nodes: Nodes,
    out: npt.NDArray[np.int16],
    places: Ints,
) -> None:  # pragma: no cover - compiled
    """Integers to int16: bilinear, rounded half up, `add` added, clipped; -32768 where there is no data.

    `checked` says of each band whether its block may hold `nodata`; band b is written to ``out[places[b]]``.
    """
    u, v, first_row, first_col, row, col, step, turn, low = nodes
    bands, h, w = src.shape
    height, width = out.shape[1:]
    qu, qv = np.empty(width, np.int64), np.empty(width, np.int64)
    base = np.empty(width, np.int64)
    fu, fv = np.empty(width, np.int64), np.empty(width, np.int64)
    # Made where a row asks for it: most blocks are data throughout.
    valid, known = np.empty(src.shape, np.bool_), np.zeros(bands, np.bool_)
    for r in range(height):
        row_coordinates(u, v, first_row, first_col, row + r, col, step, turn, low, qu, qv)
        outside = _neighbours(qu, qv, src_row, src_col, h, w, base)
        for c in range(width):
            fu[c] = (qu[c] - HALF) & LOW
            fv[c] = (qv[c] - HALF) & LOW
        for b in range(bands):
            at = places[b]
            line, block, good = out[at, r], src[b], valid[b]  # a view a pixel costs as much as its blend
            if outside == 0 and not checked[b]:
                flat = block.reshape(h * w)
                a = add[b]
                for c in range(width):
                    k = np.uint64(base[c])
                    v00, v01 = np.int64(flat[k]), np.int64(flat[k + np.uint64(1)])
                    k += np.uint64(w)
                    v10, v11 = np.int64(flat[k]), np.int64(flat[k + np.uint64(1)])
                    top = (v00 << BITS) + (v01 - v00) * fu[c]
                    low_ = (v10 << BITS) + (v11 - v10) * fu[c]
                    value = ((top << BITS) + (low_ - top) * fv[c] + ROUND) >> 32
                    line[c] = _stored(value, a)
            else:
                if not known[b]:
                    _where(block, checked[b], nodata[b], good)
                    known[b] = True
                for c in range(width):
                    i0 = ((qv[c] - HALF) >> BITS) - src_row
                    j0 = ((qu[c] - HALF) >> BITS) - src_col
                    i = (qv[c] >> BITS) - src_row
                    j = (qu[c] >> BITS) - src_col
                    if 0 <= i < h and 0 <= j < w and good[i, j]:
                        line[c] = _stored(blend_int(block, good, i0, j0, fu[c], fv[c]), add[b])
                    else:
                        line[c] = _NODATA


@kernel
def double_int16(
    src: AnyArray, add: int, row: int, col: int, out: npt.NDArray[np.int16]
) -> None:  # pragma: no cover - compiled
    """Bilinear onto a grid of half the pixel: weights are 9, 3, 3 and 1 sixteenths.

    (`row`, `col`) is the window's first pixel in half pixels from the block's corner. All neighbours are in the block
    (at least half a pixel from its edge), and all are data.
    """
    height, width = out.shape
    blend = np.empty(src.shape[1], np.int32)
    head = col & 1
    pairs = (width - head) >> 1
    k0 = (col + head) >> 1
    for r in range(height):
        y = row + r
        near = src[y >> 1]
        far = src[(y >> 1) + 1] if y & 1 else src[(y >> 1) - 1]
        for j in range(near.shape[0]):
            blend[j] = 3 * np.int32(near[j]) + np.int32(far[j])
        # Pixel 2k lies a quarter of a pixel to the left of centre k, pixel 2k + 1 as far to the right.
        # Rows as arrays of their own: so the compiler sees that it may do many pixels at once.
        left, here, right = blend[k0 - 1 :], blend[k0:], blend[k0 + 1 :]
        line = out[r, head:]
        for p in range(pairs):
            three = 3 * here[p] + 8
            line[2 * p] = _stored((left[p] + three) >> 4, add)
            line[2 * p + 1] = _stored((three + right[p]) >> 4, add)
        if head:
            out[r, 0] = _stored((3 * left[0] + here[0] + 8) >> 4, add)
        if head + 2 * pairs < width:
            line[2 * pairs] = _stored((left[pairs] + 3 * here[pairs] + 8) >> 4, add)


@kernel
def copy_int16(
    src: AnyArray, checked: bool, nodata: int, add: int, out: npt.NDArray[np.int16]
) -> None:  # pragma: no cover - compiled
    """Integers to int16 where the grids coincide."""
    for r in range(out.shape[0]):
        if checked:
            for c in range(out.shape[1]):
                value = np.int64(src[r, c])
                out[r, c] = np.int64(_NODATA) if value == nodata else _stored(value, add)
        else:
            for c in range(out.shape[1]):
                out[r, c] = _stored(np.int64(src[r, c]), add)


@kernel
def nearest_codes(
    src: AnyArray,
    codes: AnyArray,
    fill: int,
    src_row: int,
    src_col: int,
    nodes: Nodes,
    out: AnyArray,
) -> None:  # pragma: no cover - compiled
    """``codes[stored]`` of the pixel under each target centre; `fill` beyond the file's edge. `src` is (h, w)."""
    u, v, first_row, first_col, row, col, step, turn, low = nodes
    h, w = src.shape
    width = out.shape[1]
    qu, qv, base = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width, np.int64)
    flat = src.reshape(h * w)
    for r in range(out.shape[0]):
        row_coordinates(u, v, first_row, first_col, row + r, col, step, turn, low, qu, qv)
        outside = 0
        for c in range(width):
            i = (qv[c] >> BITS) - src_row
            j = (qu[c] >> BITS) - src_col
            base[c] = i * w + j
            outside += (i < 0) | (i >= h) | (j < 0) | (j >= w)
        line = out[r]
        if outside == 0:
            for c in range(width):
                line[c] = codes[flat[np.uint64(base[c])]]
            continue
        for c in range(width):
            i = (qv[c] >> BITS) - src_row
            j = (qu[c] >> BITS) - src_col
            line[c] = codes[src[i, j]] if 0 <= i < h and 0 <= j < w else fill


@kernel
def twice_codes(
    src: AnyArray, pairs: AnyArray, line: AnyArray, halves: AnyArray, row: int, col: int, out: AnyArray
) -> None:  # pragma: no cover - compiled
    """``codes[stored]`` onto a grid of half the pixel; (`row`, `col`), 0 or 1, is where `out` begins in half pixels.

    ``pairs[stored]`` is a code twice, as one number. `line` is room for a row of `src`, `halves` the same as codes.
    """
    height, width = out.shape
    for r in range(row, row + height):
        if r == row or not r & 1:
            near = src[r >> 1]
            for j in range(near.shape[0]):
                line[j] = pairs[near[j]]
        part, onto = halves[col : col + width], out[r - row]
        for c in range(width):  # an assignment of slices takes four times as long
            onto[c] = part[c]


@kernel
def bilinear_floats(
    src: AnyArray,
    valid: BoolArray,
    checked: BoolArray,
    src_row: int,
    src_col: int,
    nodes: Nodes,
    out: AnyArray,
    ok: BoolArray,
) -> None:  # pragma: no cover - compiled
    """Bilinear blend of floats, weights renormalised over data neighbours; `valid` is as `src`."""
    u, v, first_row, first_col, row, col, step, turn, low = nodes
    bands, h, w = src.shape
    height, width = out.shape[1:]
    qu, qv, base = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width, np.int64)
    fu, fv = np.empty(width, np.float64), np.empty(width, np.float64)
    w00, w01, w10, w11 = np.empty(width), np.empty(width), np.empty(width), np.empty(width)
    one = float(ONE)
    for r in range(height):
        row_coordinates(u, v, first_row, first_col, row + r, col, step, turn, low, qu, qv)
        outside = _neighbours(qu, qv, src_row, src_col, h, w, base)
        for c in range(width):
            fu[c] = float((qu[c] - HALF) & LOW)
            fv[c] = float((qv[c] - HALF) & LOW)
            w00[c], w01[c] = (one - fv[c]) * (one - fu[c]), (one - fv[c]) * fu[c]
            w10[c], w11[c] = fv[c] * (one - fu[c]), fv[c] * fu[c]
        for b in range(bands):
            line, there, block, good = out[b, r], ok[b, r], src[b], valid[b]
            if outside or checked[b]:
                for c in range(width):
                    i0 = ((qv[c] - HALF) >> BITS) - src_row
                    j0 = ((qu[c] - HALF) >> BITS) - src_col
                    i = (qv[c] >> BITS) - src_row
                    j = (qu[c] >> BITS) - src_col
                    if 0 <= i < h and 0 <= j < w and good[i, j]:
                        line[c] = blend_float(block, good, i0, j0, fu[c], fv[c])
                        there[c] = True
                continue
            flat = block.reshape(h * w)
            for c in range(width):
                k = np.uint64(base[c])
                total = w00[c] * float(flat[k]) + w01[c] * float(flat[k + np.uint64(1)])
                k += np.uint64(w)
                total += w10[c] * float(flat[k])
                total += w11[c] * float(flat[k + np.uint64(1)])
                line[c] = total * (1.0 / (one * one))  # exact: a power of two
                there[c] = True


@kernel
def whole(values: npt.NDArray[np.int16]) -> BoolArray:  # pragma: no cover - compiled
    """Where all bands of (band, y, x) are data."""
    bands, height, width = values.shape
    out = np.ones((height, width), np.bool_)
    for r in range(height):
        full = out[r]
        for b in range(bands):
            line = values[b, r]
            for c in range(width):
                full[c] = full[c] & (line[c] != _NODATA)
    return out


@kernel
def darkest(
    values: npt.NDArray[np.int16], below: int, dark: int
) -> tuple[int, int, int, int]:  # pragma: no cover - compiled
    """Values of (band, y, x) at int16's limit; pixels that are data in all bands, with one under `below`, `dark`."""
    bands, height, width = values.shape
    least = np.empty(width, np.int16)
    clipped = n = n_below = n_dark = 0
    for r in range(height):
        least[:] = _LIMIT
        for b in range(bands):
            line = values[b, r]
            for c in range(width):
                clipped += (line[c] == _LIMIT) | (line[c] == -_LIMIT)
                least[c] = min(least[c], line[c])
        for c in range(width):
            n += least[c] != _NODATA
            n_below += (least[c] < below) & (least[c] != _NODATA)
            n_dark += (least[c] < dark) & (least[c] != _NODATA)
    return clipped, n, n_below, n_dark
