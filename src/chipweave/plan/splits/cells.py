"""Cells of the earth by which ground is dealt: square, hexagonal, of the military grid, of Landsat, of Major TOM."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray

from chipweave.errors import RecipeError
from chipweave.plan.distance import earth_centred
from chipweave.plan.lattices import utm_codes
from chipweave.plan.majortom import EqualGrid

Names = NDArray[np.str_]
Floats = NDArray[np.float64]

RADIUS_KM = 6371.0088
H3_AREAS: Final = (
    4357449.416, 609788.442, 86801.780, 12393.435, 1770.348, 252.904, 36.129, 5.161, 0.737, 0.105, 0.015,
)  # fmt: skip
"""Mean areas of H3 cells by resolution, km² (h3geo.org, "Tables of cell statistics")."""

_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWX"


def check_size(block_km: float) -> None:
    """Refuse a block without a size.

    Raises
    ------
    RecipeError
        It is not positive.
    """
    if not (math.isfinite(block_km) and block_km > 0):
        raise RecipeError(f"split.block_km is {block_km}: a block needs a positive size")


def cell_names(lon: ArrayLike, lat: ArrayLike, cells: str, block_km: float) -> Names:
    """The cell that each place lies in, by its centre.

    Parameters
    ----------
    lon, lat
        (n,) degrees; longitudes may be given beyond ±180.
    cells
        ``square``, ``h3``, ``mgrs``, ``s2_tile``, ``wrs`` or ``majortom``.
    block_km
        About the side of a cell in kilometres; grids whose cells have a size of their own do not look at it.

    Raises
    ------
    RecipeError
        No such cells, or a size that is not positive.
    """
    if cells not in CELLS:
        raise RecipeError(f"split.cells: {cells!r} is none of {', '.join(CELLS)}")
    check_size(block_km)
    lons, lats = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    return CELLS[cells](np.mod(lons + 180, 360) - 180, lats, block_km)


def block_ids(lon: ArrayLike, lat: ArrayLike, block_km: float) -> Names:
    """Cells of the equal-distance grid: rows by latitude, columns by the row's circumference.

    Parameters
    ----------
    lon, lat
        (n,) degrees; longitudes may be given beyond ±180.
    block_km
        About the side of a cell, kilometres.

    Returns
    -------
    ndarray
        (n,) text like ``r0123c0456``, rows from the south pole, columns from -180°.
    """
    lons, lats = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    check_size(block_km)
    rows = math.ceil(math.pi * RADIUS_KM / block_km)
    row = np.clip(np.floor((lats + 90) / 180 * rows).astype(np.int64), 0, rows - 1)
    middle = np.radians((row + 0.5) / rows * 180 - 90)
    around = 2 * math.pi * RADIUS_KM * np.cos(middle)
    columns = np.maximum(np.ceil(around / block_km), 1).astype(np.int64)
    turn = np.mod(lons + 180, 360) / 360
    column = np.minimum(np.floor(turn * columns).astype(np.int64), columns - 1)
    return spelled(np.stack([row, column], axis=1), lambda r, c: f"r{r:04d}c{c:04d}")


def spelled(numbers: NDArray[np.int64], name: Callable[..., str]) -> Names:
    """(n,) names of rows of whole numbers (n, k): each distinct row is spelled once."""
    low = numbers.min(axis=0, initial=0)
    spans = numbers.max(axis=0, initial=0) - low + 1
    code = np.zeros(len(numbers), np.int64)
    for k, span in enumerate(spans.tolist()):
        code = code * span + (numbers[:, k] - low[k])
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return np.array([name(*row) for row in numbers[first].tolist()], dtype=np.str_)[which]


def _h3(lon: Floats, lat: Floats, block_km: float) -> Names:
    """Hexagons of the H3 resolution whose mean area is nearest to that of a square block."""
    import h3.api.numpy_int as h3  # noqa: PLC0415 - only who asks for hexagons pays for it

    wish = math.log(block_km**2)
    resolution = min(range(len(H3_AREAS)), key=lambda r: abs(math.log(H3_AREAS[r]) - wish))
    cells = np.fromiter(
        (h3.latlng_to_cell(y, x, resolution) for y, x in zip(lat.tolist(), lon.tolist(), strict=True)),
        np.uint64, len(lat),
    )  # fmt: skip
    known, which = np.unique(cells, return_inverse=True)
    return np.array([f"{cell:x}" for cell in known.tolist()], dtype=np.str_)[which]


def _majortom(lon: Floats, lat: Floats, block_km: float) -> Names:
    cells = EqualGrid(block_km).cell_of(lon, lat)
    numbers = np.stack([cells.row, cells.col], axis=1)
    return spelled(
        numbers,
        lambda r, c: (
            f"{r if r >= 0 else -r}{'U' if r >= 0 else 'D'}_{c if c >= 0 else -c}{'R' if c >= 0 else 'L'}"
        ),
    )


def _mgrs(lon: Floats, lat: Floats, _block_km: float) -> Names:
    """Squares of 100 km of the military grid, such as ``32TMT`` (STANAG 2211, NGA.STND.0037).

    A Sentinel-2 tile has its square's name. Near the poles, where the grid is another, squares of 100 km of the polar
    stereographic plane are named ``N`` or ``S`` and their numbers.
    """
    out = np.full(len(lon), "", dtype="<U16")
    polar = (lat >= 84) | (lat < -80)
    for north in (True, False):
        rows = np.flatnonzero(polar & ((lat > 0) == north))
        if len(rows):
            x, y = _plane(5041 if north else 5042).transform(lon[rows], lat[rows])
            out[rows] = spelled(_hundreds(x, y), lambda a, b, hemi="N" if north else "S": f"{hemi}_{a}_{b}")
    own = np.flatnonzero(~polar)
    if not len(own):
        return out
    codes = utm_codes(lon[own], lat[own])
    for code in np.unique(codes).tolist():
        rows = own[codes == code]
        zone = code % 100
        x, y = _plane(int(code)).transform(lon[rows], lat[rows])
        band = np.clip(np.floor((lat[rows] + 80) / 8), 0, 19).astype(np.int64)
        letters, shift = _COLUMNS[(zone - 1) % 3], 0 if zone % 2 else 5

        def name(a: int, b: int, c: int, letters: str = letters, shift: int = shift, zone: int = zone) -> str:
            return f"{zone:02d}{_BANDS[c]}{letters[(a - 1) % 8]}{_ROWS[(b + shift) % 20]}"

        out[rows] = spelled(np.column_stack([_hundreds(x, y), band]), name)
    return out


def _hundreds(x: Floats, y: Floats) -> NDArray[np.int64]:
    return np.floor(np.stack([x, y], axis=1) / 100_000.0).astype(np.int64)


@lru_cache(maxsize=128)
def _plane(code: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(4326, code, always_xy=True)


def _wrs(lon: Floats, lat: Floats, _block_km: float) -> Names:
    """The nearest scene centre of Landsat's WRS-2, as ``p033r033``: paths and rows by day."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    path, row, centres = wrs_centres()
    _, nearest = cKDTree(centres).query(earth_centred(lon, lat))
    return spelled(np.stack([path[nearest], row[nearest]], axis=1), lambda p, r: f"p{p:03d}r{r:03d}")


@lru_cache(maxsize=1)
def wrs_centres() -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Paths, rows and earth-centred positions of the scene centres of WRS-2 on the descending (day) side.

    233 paths, 248 rows on a circular orbit with an inclination of 98.2°, row 60 at the equator, path 1 crossing it at
    64.6° W; the earth turns 16 times in 233 orbits (Landsat Data Users Handbook, "Worldwide Reference System").
    """
    path, row = (a.ravel() for a in np.mgrid[1:234, 1:123])
    along, tilt = np.radians((row - 60) * 360 / 248), math.radians(98.2)
    sphere = np.degrees(-np.arcsin(np.sin(along) * math.sin(tilt)))
    east = np.degrees(np.arctan2(np.sin(along) * math.cos(tilt), np.cos(along)))
    lon = -64.6 - (path - 1) * 360 / 233 + east - np.degrees(along) * 16 / 233
    # What the orbit gives is the direction from the earth's centre; a map's latitude is that of the plumb line.
    lat = np.degrees(np.arctan(np.tan(np.radians(sphere)) / (1 - 1 / 298.257223563) ** 2))
    return path.astype(np.int64), row.astype(np.int64), earth_centred(lon, lat)


CELLS: Final[dict[str, Callable[[Floats, Floats, float], Names]]] = {
    "square": block_ids, "h3": _h3, "mgrs": _mgrs, "s2_tile": _mgrs, "wrs": _wrs, "majortom": _majortom,
}  # fmt: skip
