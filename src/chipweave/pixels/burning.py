"""Outlines on a pixel grid: which pixel centres they hold, which pixels they touch, how far pixels are from them.

Coordinates are in pixels: (u, v) of a point right of and below the grid's upper left corner, so that the centre of
pixel (row, col) is (col + 0.5, row + 0.5).

A centre on a left or upper edge is inside, one on a right or lower edge is not, and an edge is followed from its upper
end whichever polygon it bounds: where two polygons share a border every centre belongs to exactly one of them.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from chipweave.pixels.jit import inlined, kernel

POINT, LINE, AREA = 0, 1, 2
"""Kinds of a shape: its dimensions."""

BLOCK: Final = 16
"""Side of the squares of pixels that look for their nearest edges together."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Owners = npt.NDArray[np.int32]
AnyArray = npt.NDArray[Any]


@inlined
def _toggle(a: float, va: float, b: float, vb: float, flips: AnyArray) -> None:
    """Mark where an edge is crossed in each row of centres; a grid's left and right sides stand for all beyond."""
    height, width = flips.shape[0], flips.shape[1] - 1
    if va > vb:
        a, va, b, vb = b, vb, a, va
    first, last = max(math.ceil(va - 0.5), 0), min(math.ceil(vb - 0.5) - 1, height - 1)
    if first > last:
        return
    slope = (b - a) / (vb - va)
    for row in range(first, last + 1):
        col = math.ceil(a + (row + 0.5 - va) * slope - 0.5)
        flips[row, min(max(col, 0), width)] ^= 1


@inlined
def _touch(a: float, va: float, b: float, vb: float, area: bool, out: AnyArray) -> None:
    """Mark pixels that an edge passes: of an area's edge those whose inside it passes, of a line every one."""
    height, width = out.shape[0], out.shape[1]
    if va > vb:
        a, va, b, vb = b, vb, a, va
    first = math.floor(va)
    last = math.ceil(vb) - 1 if area else math.floor(vb)
    for row in range(max(first, 0), min(last, height - 1) + 1):
        low, high = a, b
        if vb > va:
            slope = (b - a) / (vb - va)
            low = a + max(row - va, 0.0) * slope
            high = b if row + 1 >= vb else a + (row + 1 - va) * slope
        if low > high:
            low, high = high, low
        west = math.floor(low)
        east = math.ceil(high) - 1 if area else math.floor(high)
        for col in range(max(west, 0), min(east, width - 1) + 1):
            out[row, col] = 1


@kernel
def burn_shapes(
    edges: FloatArray,
    starts: IntArray,
    kinds: npt.NDArray[np.uint8],
    touched: bool,
    values: IntArray,
    owners_of: IntArray,
    classes: AnyArray,
    owners: Owners,
) -> None:  # pragma: no cover - compiled
    """Burn shapes one after another, later ones over earlier ones.

    Parameters
    ----------
    edges
        (m, 4) from (u, v) to (u, v); of a point both are the same.
    starts
        (n + 1,) shape i has the edges ``starts[i]`` up to ``starts[i + 1]``; of an area those of all its rings.
    kinds
        (n,) `POINT`, `LINE` or `AREA`.
    touched
        Whether an area burns every pixel that it shares ground with, and not only those whose centre it holds. Lines
        and points, which hold no centre, always burn what they touch.
    values, owners_of
        (n,) what is written of each into `classes` and `owners`.
    classes, owners
        (h, w) changed in place.
    """
    height, width = classes.shape
    flips = np.zeros((height, width + 1), np.uint8)
    marks = np.zeros((height, width), np.uint8)
    for i in range(len(starts) - 1):
        area = kinds[i] == AREA
        low, high = np.inf, -np.inf
        left, right = np.inf, -np.inf
        for e in range(starts[i], starts[i + 1]):
            a, va, b, vb = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
            low, high = min(low, va, vb), max(high, va, vb)
            left, right = min(left, a, b), max(right, a, b)
            if area and va != vb:
                _toggle(a, va, b, vb, flips)
            if touched or not area:
                _touch(a, va, b, vb, area, marks)
        if not low <= high:
            continue
        west, east = max(math.floor(left), 0), min(math.ceil(right), width - 1)
        for row in range(max(math.floor(low), 0), min(math.floor(high), height - 1) + 1):
            inside = 0
            for col in range(west, east + 1):
                inside ^= flips[row, col]
                if inside | marks[row, col]:
                    classes[row, col] = values[i]
                    owners[row, col] = owners_of[i]
                flips[row, col] = 0
                marks[row, col] = 0
            flips[row, width] = 0


@inlined
def _square(u: float, v: float, a: float, va: float, b: float, vb: float) -> float:
    """Squared distance of a point from an edge."""
    du, dv = b - a, vb - va
    length = du * du + dv * dv
    t = 0.0
    if length > 0:
        t = min(max(((u - a) * du + (v - va) * dv) / length, 0.0), 1.0)
    du, dv = u - (a + t * du), v - (va + t * dv)
    return du * du + dv * dv


@kernel
def burn_band(
    edges: FloatArray, half: float, value: int, classes: AnyArray
) -> None:  # pragma: no cover - compiled
    """Write a value where a pixel's centre lies within `half` pixels of an edge, in place."""
    height, width = classes.shape
    for e in range(len(edges)):
        a, va, b, vb = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
        top, bottom = math.ceil(min(va, vb) - half - 0.5), math.floor(max(va, vb) + half - 0.5)
        left, right = math.ceil(min(a, b) - half - 0.5), math.floor(max(a, b) + half - 0.5)
        for row in range(max(top, 0), min(bottom, height - 1) + 1):
            for col in range(max(left, 0), min(right, width - 1) + 1):
                if _square(col + 0.5, row + 0.5, a, va, b, vb) <= half * half:
                    classes[row, col] = value


@kernel
def distances(edges: FloatArray, height: int, width: int) -> FloatArray:  # pragma: no cover - compiled
    """(h, w) pixels from each pixel's centre to the nearest edge; infinite without edges.

    Squares of pixels first sort out the edges that cannot be nearest to any of theirs.
    """
    out = np.full((height, width), np.inf)
    near = np.empty(len(edges), np.float64)
    reach = math.sqrt(2.0) * (BLOCK - 1) / 2
    for row0 in range(0, height, BLOCK):
        for col0 in range(0, width, BLOCK):
            u, v = col0 + BLOCK / 2, row0 + BLOCK / 2
            least = np.inf
            for e in range(len(edges)):
                near[e] = math.sqrt(_square(u, v, edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]))
                least = min(least, near[e])
            for e in range(len(edges)):
                if near[e] > least + 2 * reach + 1e-6:
                    continue
                for row in range(row0, min(row0 + BLOCK, height)):
                    for col in range(col0, min(col0 + BLOCK, width)):
                        square = _square(
                            col + 0.5, row + 0.5, edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
                        )
                        out[row, col] = min(out[row, col], square)
    found: FloatArray = np.sqrt(out)
    return found
