"""The grids on which each product samples the one land, and where their pixels lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer

from chipweave.demo.land import LAT0, LON0, plane
from chipweave.demo.noise import F32

_LATTICE = 16  # pixels between exact coordinate transforms; the rest is interpolated, to about 0.1 mm
_OVERLAP = 1_500.0  # metres that each Sentinel-2 tile reaches over the zones' border
SIDE = 1600
"""Pixels of 10 m on a side of a Sentinel-2 tile."""


@dataclass(frozen=True)
class Grid:
    """A north-up raster grid."""

    name: str
    epsg: int
    left: float
    top: float
    step: float
    height: int
    width: int

    @property
    def crs(self) -> str:
        """The CRS as ``EPSG:n``."""
        return f"EPSG:{self.epsg}"

    @property
    def affine(self) -> Affine:
        """Pixel corner to CRS coordinates."""
        return Affine(self.step, 0.0, self.left, 0.0, -self.step, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the CRS."""
        right, bottom = self.left + self.width * self.step, self.top - self.height * self.step
        return self.left, bottom, right, self.top

    def halved(self) -> Grid:
        """The same extent in pixels twice as large."""
        return Grid(
            self.name, self.epsg, self.left, self.top, self.step * 2, self.height // 2, self.width // 2
        )

    def ring(self, steps: int = 8) -> npt.NDArray[np.float64]:
        """Outline in lon/lat, counter-clockwise and closed: (4 * steps + 1, 2) degrees."""
        left, bottom, right, top = self.bounds
        t, zero, one = np.linspace(0, 1, steps, endpoint=False), np.zeros(steps), np.ones(steps)
        x = left + (right - left) * np.concatenate([t, one, 1 - t, zero])
        y = bottom + (top - bottom) * np.concatenate([zero, t, one, 1 - t])
        lon, lat = _transformer(self.epsg).transform(x, y)
        ring = np.column_stack([lon, lat])
        return np.vstack([ring, ring[:1]])

    def strips(self, rows: int = 32) -> Iterator[slice]:
        """Row ranges that together are the grid."""
        return (slice(start, min(start + rows, self.height)) for start in range(0, self.height, rows))

    def points(self, rows: slice) -> tuple[F32, F32]:
        """Metres in the plane of the land of the pixel centres of some rows, row by row."""
        row = np.arange(rows.start, rows.stop) + 0.5
        first, last = rows.start // _LATTICE, -(-rows.stop // _LATTICE)
        nodes_y = np.arange(first, last + 1) * _LATTICE
        nodes_x = np.arange(0, -(-self.width // _LATTICE) + 1) * _LATTICE
        xx, yy = np.meshgrid(self.left + nodes_x * self.step, self.top - nodes_y * self.step)
        lon, lat = _transformer(self.epsg).transform(xx, yy)
        down = row / _LATTICE - first
        across = (np.arange(self.width) + 0.5) / _LATTICE
        return plane(_between(lon, down, across), _between(lat, down, across))


def _between(
    nodes: npt.NDArray[np.float64], down: npt.NDArray[np.float64], across: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Interpolate nodes linearly at every pair of (down, across), both counted in nodes."""
    i, j = down.astype(np.int64), across.astype(np.int64)
    rows = nodes[i] + (nodes[i + 1] - nodes[i]) * (down - i)[:, None]
    steps = np.diff(rows, axis=1)
    return rows[:, j] + steps[:, j] * (across - j)


@lru_cache(maxsize=16)
def _transformer(epsg: int) -> Transformer:
    return Transformer.from_crs(epsg, 4326, always_xy=True)


def sentinel_grids(scale: float = 1.0) -> tuple[Grid, Grid]:
    """The two tiles, west of 6 degrees in UTM zone 31 and east of it in zone 32; they overlap by 3 km."""
    side = max(128, round(SIDE * scale / 64) * 64)
    away = side * 5.0 - _OVERLAP * scale
    west, east = (
        _centred(name, epsg, LON0 + sign * away / 76_000.0, LAT0, 10.0, side, side)
        for name, epsg, sign in (("31TGN", 32631, -1), ("32TKT", 32632, 1))
    )
    return west, east


def _centred(name: str, epsg: int, lon: float, lat: float, step: float, height: int, width: int) -> Grid:
    """A grid about a point, its corner on a multiple of twice the step."""
    x, y = _transformer(epsg).transform(lon, lat, direction="INVERSE")
    snap = step * 2
    left, top = round((x - width * step / 2) / snap) * snap, round((y + height * step / 2) / snap) * snap
    return Grid(name, epsg, left, top, step, height, width)


def lonlat_bounds(grids: tuple[Grid, ...]) -> tuple[float, float, float, float]:
    """West, south, east, north of all grids together, degrees."""
    rings = np.vstack([grid.ring() for grid in grids])
    return (*rings.min(axis=0).tolist(), *rings.max(axis=0).tolist())


def covered_bbox(west: Grid, east: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a box every point of which lies in one of the two tiles, degrees."""
    n = 8
    left, right = west.ring(n), east.ring(n)  # from the lower left corner: bottom, right, top, left
    south = max(left[: n + 1, 1].max(), right[: n + 1, 1].max())
    north = min(left[2 * n : 3 * n + 1, 1].min(), right[2 * n : 3 * n + 1, 1].min())
    edge_w, edge_e = left[3 * n :, 0].max(), right[n : 2 * n + 1, 0].min()
    w, s, e, n_ = (float(v) for v in (edge_w, south, edge_e, north))
    return ceil(w * 1e3) / 1e3, ceil(s * 1e3) / 1e3, floor(e * 1e3) / 1e3, floor(n_ * 1e3) / 1e3


def worldcover_grids(bounds: tuple[float, float, float, float]) -> tuple[Grid, ...]:
    """Tiles of 1/12000 degree side by side over lon/lat bounds, none wider than 2560 pixels."""
    left, top = np.floor(bounds[0] * 100) / 100, np.ceil(bounds[3] * 100) / 100
    width = int(np.ceil((bounds[2] - left) * 12_000))
    height = int(np.ceil((top - bounds[1]) * 12_000))
    tiles = -(-width // 2560)
    each = -(-width // tiles // 16) * 16
    return tuple(
        Grid(f"{part + 1}", 4326, left + part * each / 12_000, top, 1 / 12_000, height, each)
        for part in range(tiles)
    )


def boxed(
    name: str, epsg: int, bounds: tuple[float, float, float, float], step: float, margin: float
) -> Grid:
    """A grid of a CRS on multiples of its step around lon/lat bounds, with a margin in metres."""
    west, south, east, north = bounds
    t, one = np.linspace(0, 1, 33), np.ones(33)
    lon = np.concatenate([west + t * (east - west)] * 2 + [west * one, east * one])
    lat = np.concatenate([south * one, north * one] + [south + t * (north - south)] * 2)
    x, y = _transformer(epsg).transform(lon, lat, direction="INVERSE")
    left, right = floor((x.min() - margin) / step), ceil((x.max() + margin) / step)
    bottom, top = floor((y.min() - margin) / step), ceil((y.max() + margin) / step)
    return Grid(name, epsg, left * step, top * step, step, top - bottom, right - left)


def corine_grid(grids: tuple[Grid, ...]) -> Grid:
    """EPSG:3035 at 100 m, on multiples of 100 m, around all `grids` with a margin."""
    to_laea = Transformer.from_crs(4326, 3035, always_xy=True)
    ring = np.column_stack(to_laea.transform(*np.vstack([grid.ring() for grid in grids]).T))
    left, bottom = np.floor(ring.min(axis=0) / 100 - 3) * 100
    right, top = np.ceil(ring.max(axis=0) / 100 + 3) * 100
    return Grid(
        "CLC2018", 3035, float(left), float(top), 100.0, int((top - bottom) / 100), int((right - left) / 100)
    )
