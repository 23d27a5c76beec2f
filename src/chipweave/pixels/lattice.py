"""Exact coordinates on a coarse lattice that is anchored to a grid, not to a window.

Coordinates of a grid A in the pixels of a grid B are computed with PROJ at every 32nd pixel of A (more often where
its pixels are large), counted from A's own origin, and interpolated linearly between. Two windows of A that share a
pixel share its lattice cell, so they see the same coordinate to the last bit: pixels do not depend on the size of a
tile. The interpolation is wrong by (320 m)² / 8 / 6400 km, about 2 mm. Longitudes go on across ±180°.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyproj
import pyproj.network
from affine import Affine

from chipweave.pixels import kernels
from chipweave.pixels.kernels import SNAP

pyproj.network.set_network_enabled(active=False)  # type: ignore[attr-defined]

STEP = 32
"""Most pixels between two nodes of the lattice."""

NODE_M = 400.0
"""Most metres between two nodes: a straight line over them misses the curve by 3 mm."""

DEGREE_M = 111_320.0
"""A degree of longitude at the equator."""

FloatArray = npt.NDArray[np.float64]
FixedArray = npt.NDArray[np.int64]


@lru_cache(maxsize=256)
def parse_crs(text: str) -> pyproj.CRS:
    """CRS of an ``EPSG:n`` or WKT text; parsed once a process."""
    return pyproj.CRS.from_user_input(text)


@lru_cache(maxsize=1024)
def same_crs(a: str, b: str) -> bool:
    """Whether two CRS texts mean the same CRS, axis order aside."""
    return a == b or bool(parse_crs(a).equals(parse_crs(b), ignore_axis_order=True))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)


def reproject(x: FloatArray, y: FloatArray, source: str, target: str) -> tuple[FloatArray, FloatArray]:
    """Coordinates of `source` in `target`; infinite where the projection has no answer."""
    if same_crs(source, target):
        return x, y
    u, v = _transformer(source, target).transform(x, y, errcheck=False)
    return np.asarray(u, np.float64), np.asarray(v, np.float64)


@dataclass(frozen=True, slots=True)
class Grid:
    """An unbounded pixel grid: `affine` maps (col, row) to the coordinates of `crs`."""

    crs: str
    affine: Affine

    @classmethod
    def anchored(cls, crs: str, affine: Affine) -> tuple[Grid, int, int]:
        """The grid of a north-up window, with its origin moved to within a pixel of (0, 0) of the CRS.

        Returns
        -------
        grid, row, col
            The grid, and the window's first row and column in it.
        """
        width, height = affine.a, -affine.e
        col = math.floor(affine.c / width + 1e-6)
        row = math.floor(-affine.f / height + 1e-6)
        # Rounded, so that windows of one lattice agree on the sub-pixel offset in spite of float noise.
        dx = round((affine.c / width - col) * SNAP * 16) / (SNAP * 16) * width
        dy = round((-affine.f / height - row) * SNAP * 16) / (SNAP * 16) * height
        return cls(crs, Affine(width, 0.0, dx, 0.0, -height, -dy)), row, col


def shift(source: Grid, target: Grid, times: int = 1) -> tuple[int, int] | None:
    """(row, col) from target pixels to source pixels cut in `times` a side, where these coincide, else None."""
    a, b = source.affine, target.affine
    if (
        a.b
        or a.d
        or abs(a.a / b.a / times - 1) > 1e-9
        or abs(a.e / b.e / times - 1) > 1e-9
        or not same_crs(source.crs, target.crs)
    ):
        return None
    col, row = (b.c - a.c) / a.a * times, (b.f - a.f) / a.e * times
    if abs(col - round(col)) > 1e-5 or abs(row - round(row)) > 1e-5:
        return None
    return round(row), round(col)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nodes over rows ``[row, row + height)`` and columns ``[col, col + width)`` of a grid.

    `u` and `v` are columns and rows in the other grid's pixels, at node (i, j): row ``(first_row + i) * step``.
    Where the other grid is in degrees, `turn` is a whole turn in 1/65536 px and `low` where its columns begin;
    else both are 0.
    """

    row: int
    col: int
    height: int
    width: int
    first_row: int
    first_col: int
    step: int
    turn: int
    low: int
    u: FloatArray
    v: FloatArray

    @property
    def nodes(self) -> tuple[FloatArray, FloatArray, int, int, int, int, int, int, int]:
        """What compiled loops take of it."""
        return (
            self.u, self.v, self.first_row, self.first_col, self.row, self.col, self.step, self.turn, self.low
        )  # fmt: skip

    def fixed(self) -> tuple[FixedArray, FixedArray]:
        """Columns and rows of every pixel centre in 1/65536 px; hugely negative where nothing maps."""
        return self._fixed(self.row, self.col, self.height, self.width)

    def _fixed(self, row: int, col: int, height: int, width: int) -> tuple[FixedArray, FixedArray]:
        qu, qv = kernels.fixed_coordinates(
            self.u, self.v, self.first_row, self.first_col, row, col, height, width, self.step, self.turn, self.low
        )  # fmt: skip
        return qu, qv

    def bounds(self) -> tuple[float, float, float, float] | None:
        """(u_min, v_min, u_max, v_max) over the window's pixel centres; None where nothing maps."""
        # A smooth map of a window takes its extremes on the outline.
        rows = {(r, self.col, 1, self.width) for r in (self.row, self.row + self.height - 1)}
        cols = {(self.row, c, self.height, 1) for c in (self.col, self.col + self.width - 1)}
        sides = [self._fixed(*side) for side in sorted(rows | cols)]
        u, v = (np.concatenate([side[k].ravel() for side in sides]) for k in (0, 1))
        good = u > kernels.FAR
        if not good.any():
            return None
        u, v = u[good] / SNAP, v[good] / SNAP
        return float(u.min()), float(v.min()), float(u.max()), float(v.max())


@lru_cache(maxsize=256)
def units(crs: str) -> tuple[float, float]:
    """Metres in a unit of a CRS, and a whole turn of longitude in its units; 0 where it is not in degrees."""
    parsed = parse_crs(crs)
    factor = float(parsed.axis_info[0].unit_conversion_factor) if parsed.axis_info else 1.0
    if not parsed.is_geographic:
        return factor, 0.0
    turn = round(2 * math.pi / factor, 9)
    return DEGREE_M * 360 / turn, turn


def _step(grid: Grid) -> int:
    a = grid.affine
    metres = max(math.hypot(a.a, a.d), math.hypot(a.b, a.e)) * units(grid.crs)[0]
    return max(1, min(STEP, int(NODE_M / metres)))


def make_lattice(
    of: Grid, onto: Grid, row: int, col: int, height: int, width: int, centre: float | None = None
) -> Lattice:
    """Where the pixels of a window of grid `of` lie in the pixels of grid `onto`.

    Parameters
    ----------
    of, onto
        The two grids.
    row, col, height, width
        The window, in pixels of `of`.
    centre
        Where `onto` is in degrees: the column about which its longitudes are counted, half a turn on either
        side; by default the one of longitude 0.
    """
    step = _step(of)
    r0, r1 = row // step, -(-(row + height) // step)
    c0, c1 = col // step, -(-(col + width) // step)
    cols, rows = np.meshgrid(
        np.arange(c0, c1 + 1, dtype=np.float64) * step, np.arange(r0, r1 + 1, dtype=np.float64) * step
    )
    a = of.affine
    x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
    x, y = reproject(x, y, of.crs, onto.crs)
    inverse = ~onto.affine
    with np.errstate(invalid="ignore"):
        u = inverse.a * x + inverse.b * y + inverse.c
        v = inverse.d * x + inverse.e * y + inverse.f
    turn, low = 0, 0
    if (whole := units(onto.crs)[1]) and not (onto.affine.b or onto.affine.d):
        pixels = whole * abs(inverse.a)
        turn = round(pixels * SNAP)
        low = math.floor(((inverse.c if centre is None else centre) - pixels / 2) * SNAP)
    return Lattice(
        row, col, height, width, r0, c0, step, turn, low, np.ascontiguousarray(u), np.ascontiguousarray(v)
    )
