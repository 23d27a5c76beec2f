"""The compiled inner loops. Coordinates are fixed-point (1/65536 px), integer data is blended in integers.

All take a block `src` (h, w) of a source file whose first pixel is (`src_row`, `src_col`) of that file, `valid`
of the same shape, and the nodes of a lattice (see `lattice.py`). Gathering kernels (`nearest`, `bilinear`) run
over target pixels; scattering ones (`mean_*`, `mode_targets`) over source pixels, in the source's own order, so
that sums do not depend on the window.
"""

# Loops over pixels are the point here: numba compiles them, and splitting them would cost an array each.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.pixels.jit import inlined, kernel

SNAP = 1 << 16
"""Coordinates are rounded to 1/65536 px, so that exact quarters and halves stay exact."""

FAR = -(1 << 62)
"""The coordinate of a pixel that maps nowhere."""

FloatArray = npt.NDArray[np.float64]
AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]

_SNAP = np.float64(SNAP)
ONE = np.int64(SNAP)
HALF = np.int64(SNAP // 2)
BITS = np.int64(16)
"""Of a coordinate's fraction."""

LOW = np.int64(SNAP - 1)
"""The mask of these bits."""

ROUND = np.int64(1 << 31)
"""Half of what all weights of a blend make together."""

_FAR = np.int64(FAR)


@kernel
def row_coordinates(
    nodes_u: FloatArray,
    nodes_v: FloatArray,
    first_row: int,
    first_col: int,
    row: int,
    col: int,
    step: int,
    turn: int,
    low: int,
    qu: npt.NDArray[np.int64],
    qv: npt.NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Fixed-point (u, v) of the pixel centres of one row of a window, from column `col` on; `FAR` where nothing maps.

    Where `turn` is not 0, u goes round after so many fixed-point units, and is counted from `low` on.
    """
    width = qu.shape[0]
    around = turn / _SNAP
    parts = np.empty(step, np.float64)
    for k in range(step):
        parts[k] = (k + 0.5) / step
    i = row // step
    fr = (row - i * step + 0.5) / step
    i -= first_row
    c = 0
    while c < width:  # a cell of the lattice at a time
        j = (col + c) // step
        within = col + c - j * step
        stop = min(c + step - within, width)
        j -= first_col
        u00, u10, u01, u11 = nodes_u[i, j], nodes_u[i + 1, j], nodes_u[i, j + 1], nodes_u[i + 1, j + 1]
        if turn != 0:
            u10 -= around * np.floor((u10 - u00) / around + 0.5)
            u01 -= around * np.floor((u01 - u00) / around + 0.5)
            u11 -= around * np.floor((u11 - u00) / around + 0.5)
        ul = u00 + (u10 - u00) * fr
        ur = u01 + (u11 - u01) * fr
        vl = nodes_v[i, j] + (nodes_v[i + 1, j] - nodes_v[i, j]) * fr
        vr = nodes_v[i, j + 1] + (nodes_v[i + 1, j + 1] - nodes_v[i, j + 1]) * fr
        # Not a number where one of the nodes is infinite.
        if not abs(ul) + abs(ur) + abs(vl) + abs(vr) < 1e12:
            for k in range(c, stop):
                qu[k] = _FAR
                qv[k] = _FAR
        else:
            # Slices: so the compiler sees that it may do many pixels at once.
            cell_u, cell_v, along = qu[c:stop], qv[c:stop], parts[within : within + stop - c]
            for k in range(stop - c):
                cell_u[k] = np.int64(np.floor((ul + (ur - ul) * along[k]) * _SNAP + 0.5))
                cell_v[k] = np.int64(np.floor((vl + (vr - vl) * along[k]) * _SNAP + 0.5))
            # They rise or fall all along the cell: with both ends in, all are.
            first, last = cell_u[0], cell_u[stop - c - 1]
            if turn != 0 and (min(first, last) < low or max(first, last) >= low + turn):
                for k in range(c, stop):
                    if qu[k] < low or qu[k] >= low + turn:
                        qu[k] = (qu[k] - low) % turn + low
        c = stop


@kernel
def fixed_coordinates(
    nodes_u: FloatArray,
    nodes_v: FloatArray,
    first_row: int,
    first_col: int,
    row: int,
    col: int,
    height: int,
    width: int,
    step: int,
    turn: int,
    low: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # pragma: no cover - compiled
    """`row_coordinates` of every row of a window."""
    qu = np.empty((height, width), np.int64)
    qv = np.empty((height, width), np.int64)
    for r in range(height):
        row_coordinates(
            nodes_u, nodes_v, first_row, first_col, row + r, col, step, turn, low, qu[r], qv[r]
        )  # fmt: skip
    return qu, qv


@kernel
def nearest(
    src: AnyArray,
    valid: BoolArray,
    src_row: int,
    src_col: int,
    qu: AnyArray,
    qv: AnyArray,
    out: AnyArray,
    ok: BoolArray,
) -> None:  # pragma: no cover - compiled
    """Value of the source pixel under each target centre."""
    h, w = src.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            i = (qv[r, c] >> BITS) - src_row
            j = (qu[r, c] >> BITS) - src_col
            if 0 <= i < h and 0 <= j < w and valid[i, j]:
                out[r, c] = src[i, j]
                ok[r, c] = True


@inlined
def blend_int(
    src: AnyArray, valid: BoolArray, i0: int, j0: int, fu: int, fv: int
) -> Any:  # pragma: no cover - compiled
    """Blend of four integers from (i0, j0) on, weights renormalised over data neighbours, rounded half up."""
    h, w = src.shape
    total = np.int64(0)
    weight = np.int64(0)
    for di in range(2):
        wi = fv if di == 1 else ONE - fv
        ii = i0 + di
        if wi == 0 or ii < 0 or ii >= h:
            continue
        for dj in range(2):
            wj = fu if dj == 1 else ONE - fu
            jj = j0 + dj
            if wj == 0 or jj < 0 or jj >= w or not valid[ii, jj]:
                continue
            total += wi * wj * np.int64(src[ii, jj])
            weight += wi * wj
    # A division costs more than all the rest.
    return (total + ROUND) >> 32 if weight == ONE * ONE else (total + (weight >> 1)) // weight


@inlined
def blend_float(
    src: AnyArray, valid: BoolArray, i0: int, j0: int, fu: float, fv: float
) -> float:  # pragma: no cover - compiled
    """Blend of four floats from (i0, j0) on, weights renormalised over data neighbours."""
    h, w = src.shape
    total = 0.0
    weight = 0.0
    for di in range(2):
        wi = fv if di == 1 else float(ONE) - fv
        ii = i0 + di
        if wi == 0 or ii < 0 or ii >= h:
            continue
        for dj in range(2):
            wj = fu if dj == 1 else float(ONE) - fu
            jj = j0 + dj
            if wj == 0 or jj < 0 or jj >= w or not valid[ii, jj]:
                continue
            total += wi * wj * float(src[ii, jj])
            weight += wi * wj
    return total / weight


@kernel
def bilinear_int(
    src: AnyArray,
    valid: BoolArray,
    src_row: int,
    src_col: int,
    qu: AnyArray,
    qv: AnyArray,
    out: AnyArray,
    ok: BoolArray,
) -> None:  # pragma: no cover - compiled
    """Bilinear blend of integers, weights renormalised over data neighbours, rounded half up."""
    h, w = src.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            i = (qv[r, c] >> BITS) - src_row
            j = (qu[r, c] >> BITS) - src_col
            if not (0 <= i < h and 0 <= j < w and valid[i, j]):
                continue
            pu = qu[r, c] - HALF
            pv = qv[r, c] - HALF
            j0 = (pu >> BITS) - src_col
            i0 = (pv >> BITS) - src_row
            out[r, c] = blend_int(src, valid, i0, j0, pu & LOW, pv & LOW)
            ok[r, c] = True


@kernel
def bilinear_float(
    src: AnyArray,
    valid: BoolArray,
    src_row: int,
    src_col: int,
    qu: AnyArray,
    qv: AnyArray,
    out: AnyArray,
    ok: BoolArray,
) -> None:  # pragma: no cover - compiled
    """Bilinear blend of floats, weights renormalised over data neighbours."""
    h, w = src.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            i = (qv[r, c] >> BITS) - src_row
            j = (qu[r, c] >> BITS) - src_col
            if not (0 <= i < h and 0 <= j < w and valid[i, j]):
                continue
            pu = qu[r, c] - HALF
            pv = qv[r, c] - HALF
            j0 = (pu >> BITS) - src_col
            i0 = (pv >> BITS) - src_row
            out[r, c] = blend_float(src, valid, i0, j0, float(pu & LOW), float(pv & LOW))
            ok[r, c] = True


@kernel
def mean_int(
    src: AnyArray,
    valid: BoolArray,
    qu: AnyArray,
    qv: AnyArray,
    row: int,
    col: int,
    total: npt.NDArray[np.int64],
    count: npt.NDArray[np.int32],
    inside: npt.NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    """Add each source pixel to the target pixel that holds its centre; integers, so exact."""
    for i in range(src.shape[0]):
        for j in range(src.shape[1]):
            r = (qv[i, j] >> BITS) - row
            c = (qu[i, j] >> BITS) - col
            if 0 <= r < total.shape[0] and 0 <= c < total.shape[1]:
                inside[r, c] += 1
                if valid[i, j]:
                    total[r, c] += np.int64(src[i, j])
                    count[r, c] += 1


@kernel
def mean_float(
    src: AnyArray,
    valid: BoolArray,
    qu: AnyArray,
    qv: AnyArray,
    row: int,
    col: int,
    total: FloatArray,
    count: npt.NDArray[np.int32],
    inside: npt.NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    """Add each source pixel to the target pixel that holds its centre, in the source's order."""
    for i in range(src.shape[0]):
        for j in range(src.shape[1]):
            r = (qv[i, j] >> BITS) - row
            c = (qu[i, j] >> BITS) - col
            if 0 <= r < total.shape[0] and 0 <= c < total.shape[1]:
                inside[r, c] += 1
                if valid[i, j]:
                    total[r, c] += float(src[i, j])
                    count[r, c] += 1


@kernel
def count_code(
    src: AnyArray,
    valid: BoolArray,
    code: int,
    qu: AnyArray,
    qv: AnyArray,
    row: int,
    col: int,
    count: npt.NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    """Count the source pixels of one class in the target pixel that holds their centre."""
    for i in range(src.shape[0]):
        for j in range(src.shape[1]):
            if valid[i, j] and src[i, j] == code:
                r = (qv[i, j] >> BITS) - row
                c = (qu[i, j] >> BITS) - col
                if 0 <= r < count.shape[0] and 0 <= c < count.shape[1]:
                    count[r, c] += 1
