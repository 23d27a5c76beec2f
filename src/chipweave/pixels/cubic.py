"""Cubic convolution (Keys 1981, a = -1/2: Catmull and Rom's spline, GDAL's `cubic`), with holes left out.

It takes sixteen pixels about a centre. Where some of the outer ones are missing the weights of the others are brought
to 1 together, and stay near what they were; where one of the inner four is missing that would not be so, and the
blend is the linear one of what is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.pixels.jit import inlined, kernel
from chipweave.pixels.kernels import BITS, HALF, LOW, SNAP, blend_float

AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]

_ONE = 1.0 / SNAP


@inlined
def _weights(t: float, out: npt.NDArray[np.float64]) -> Any:  # pragma: no cover - compiled
    """Of the four pixels about a point that lies `t` (0 to 1) beyond the second of them."""
    out[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    out[1] = (1.5 * t - 2.5) * t * t + 1.0
    out[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    out[3] = (0.5 * t - 0.5) * t * t


@inlined
def _blend(
    src: AnyArray,
    valid: BoolArray,
    i0: int,
    j0: int,
    wu: npt.NDArray[np.float64],
    wv: npt.NDArray[np.float64],
) -> Any:  # pragma: no cover - compiled
    """Blend of sixteen from (i0 - 1, j0 - 1) on; NaN where one of the inner four that counts is missing."""
    h, w = src.shape
    total, weight = 0.0, 0.0
    for di in range(4):
        for dj in range(4):
            own = wv[di] * wu[dj]
            if own == 0.0:
                continue
            i, j = i0 + di - 1, j0 + dj - 1
            if 0 <= i < h and 0 <= j < w and valid[i, j]:
                total += own * float(src[i, j])
                weight += own
            elif 1 <= di <= 2 and 1 <= dj <= 2:
                return np.nan
    return total / weight


@kernel
def cubic(
    src: AnyArray,
    valid: BoolArray,
    src_row: int,
    src_col: int,
    qu: AnyArray,
    qv: AnyArray,
    out: npt.NDArray[np.float64],
    ok: BoolArray,
) -> None:  # pragma: no cover - compiled
    """Cubic blend, arguments as of `kernels.nearest`; values are not rounded, and may lie beyond those about them."""
    h, w = src.shape
    wu, wv = np.empty(4, np.float64), np.empty(4, np.float64)
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
            _weights((pu & LOW) * _ONE, wu)
            _weights((pv & LOW) * _ONE, wv)
            value = _blend(src, valid, i0, j0, wu, wv)
            if np.isnan(value):
                value = blend_float(src, valid, i0, j0, float(pu & LOW), float(pv & LOW))
            out[r, c] = value
            ok[r, c] = True
