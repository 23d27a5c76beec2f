"""Lattices of pixels and chips, the UTM zone of a place, and where a chip lies in lon/lat."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from chipweave.pixels.lattice import parse_crs, reproject
from chipweave.recipe.places import Chips

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ANCHORS = {"s2": ((0.0, 0.0), (0.0, 10_000_000.0)), "landsat": ((15.0, 15.0), (15.0, 15.0))}
"""(north, south) corner of the lattice by name (contract, section 2)."""

UTM_NORTH, UTM_SOUTH = 84.0, -84.0
"""Latitudes between which chips are laid in UTM. It ends at 80° S, but its formulas hold beyond."""

FREE_STEP = 1e-3
"""Metres to which the corner of a chip is rounded that snaps to no lattice: a key then says what is read."""

FREE_DEGREES = 1e-8
"""The same in a geographic CRS: a millimetre."""


def utm_zones(lon: FloatArray, lat: FloatArray) -> IntArray:
    """UTM zone number of points, with the exceptions of Norway (32V) and Svalbard (31X to 37X)."""
    zone = np.clip(np.floor((lon + 180) / 6).astype(np.int64) + 1, 1, 60)
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lat <= 84) & (lon >= 0) & (lon < 42)
    north = np.select([lon < 9, lon < 21, lon < 33], [31, 33, 35], 37)
    return np.asarray(np.where(svalbard, north, zone), np.int64)


def utm_codes(lon: FloatArray, lat: FloatArray) -> IntArray:
    """EPSG code of the UTM zone of points, north from the equator on."""
    return utm_zones(lon, lat) + np.where(lat >= 0, 32600, 32700)


def anchor_of(anchor: object, *, north: bool) -> tuple[float, float]:
    """Corner from which a lattice counts, by its name or as it is given."""
    if isinstance(anchor, str):
        return ANCHORS[anchor][0 if north else 1]
    assert isinstance(anchor, tuple)  # noqa: S101 - the recipe's model allows a name or two numbers
    return float(anchor[0]), float(anchor[1])


def anchor_in(anchor: object, crs: str) -> tuple[float, float]:
    """The same in a CRS."""
    return anchor_of(anchor, north=not southern(crs))


def southern(crs: str) -> bool:
    """Whether a CRS is UTM of the southern hemisphere, whose northings count from 10 000 000."""
    return parse_crs(crs).utm_zone is not None and str(parse_crs(crs).utm_zone).endswith("S")


def crs_name(crs: str) -> str:
    """``EPSG:n`` of a CRS text where it has a code, else its WKT2."""
    parsed = parse_crs(crs)
    code = parsed.to_epsg()
    return f"EPSG:{code}" if code else str(parsed.to_wkt("WKT2_2019"))


def crs_label(crs: str) -> str:
    """Short name of a CRS for keys: its EPSG number, else eight characters of a hash of its WKT."""
    code = parse_crs(crs).to_epsg()
    if code:
        return str(code)
    return "x" + hashlib.sha256(pyproj.CRS(crs).to_wkt().encode()).hexdigest()[:8]


def corners_at(
    lon: FloatArray,
    lat: FloatArray,
    chips: Chips,
    beside: tuple[FloatArray, FloatArray, float] | None = None,
) -> pd.DataFrame:
    """Chips around points: their corners on the pixel lattice, in the zone of their centre.

    Parameters
    ----------
    lon, lat
        (n,) degrees.
    chips
        Of the recipe: CRS, size, resolution and lattice.
    beside
        In UTM centres are counted from these other points (lon, lat), so many metres east and north of them.

    Returns
    -------
    DataFrame
        ``crs, x, y`` of the upper left corners, one row a point; `x` and `y` are NaN where the CRS has no answer,
        and in UTM beyond 84°.
    """
    if chips.crs != "utm":
        crs = crs_name(chips.crs)
        x, y = _corner(lon, lat, crs, chips)
        return pd.DataFrame({"crs": np.full(len(x), crs, object), "x": x, "y": y})
    x, y = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
    codes = utm_codes(lon, lat)
    turn = np.flatnonzero((lat <= UTM_NORTH) & (lat >= UTM_SOUTH))
    half = chips.placed * chips.metres_per_pixel / 2
    for _ in range(2):  # half a pixel may move a centre into the next zone
        again = []
        for code in np.unique(codes[turn]).tolist():
            own = turn[codes[turn] == code]
            crs = f"EPSG:{code}"
            if beside is None:
                x[own], y[own] = _corner(lon[own], lat[own], crs, chips)
            else:
                x[own], y[own] = _corner(beside[0][own], beside[1][own], crs, chips, beside[2])
            back_lon, back_lat = reproject(x[own] + half, y[own] - half, crs, "EPSG:4326")
            now = utm_codes(back_lon, back_lat)
            moved = now != code
            codes[own[moved]] = now[moved]
            again.append(own[moved])
        turn = np.concatenate(again) if again else turn[:0]
    names = {int(code): f"EPSG:{code}" for code in np.unique(codes)}
    return pd.DataFrame({"crs": [names[c] for c in codes.tolist()], "x": x, "y": y}).astype({"crs": object})


def _corner(
    lon: FloatArray, lat: FloatArray, crs: str, chips: Chips, away: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Upper left corners of the chips whose centres are nearest to points, or to what is `away` east and north."""
    step, lattice = chips.metres_per_pixel, chips.lattice
    half = chips.placed * step / 2
    x, y = reproject(lon, lat, "EPSG:4326", crs)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(good, x + away - half, np.nan), np.where(good, y + away + half, np.nan)
    if not lattice.snap:
        free = FREE_DEGREES if parse_crs(crs).is_geographic else FREE_STEP
        return np.floor(x / free + 0.5) * free, np.floor(y / free + 0.5) * free
    ax, ay = anchor_in(lattice.anchor, crs)
    return (
        ax + np.floor((x - ax) / step + 0.5) * step,
        ay + np.floor((y - ay) / step + 0.5) * step,
    )


def footprints(
    crs: str, side: float, x: FloatArray, y: FloatArray
) -> tuple[npt.NDArray[np.object_], FloatArray]:
    """Lon/lat polygons and (w, s, e, n) of chips; one across ±180° is cut there and has w > e."""
    t = np.array([0, 0.5])
    xs = np.concatenate([t, [1, 1], 1 - t, [0, 0]]) * side
    ys = np.concatenate([[0, 0], t, [1, 1], 1 - t]) * side
    lon, lat = reproject((x[:, None] + xs).ravel(), (y[:, None] - ys).ravel(), crs, "EPSG:4326")
    lon, lat = lon.reshape(-1, 8), lat.reshape(-1, 8)
    crosses = np.ptp(lon, axis=1) > 180 if len(lon) else np.zeros(0, np.bool_)
    unwrapped = np.where(crosses[:, None] & (lon < 0), lon + 360, lon)
    polygons = np.asarray(shapely.polygons(np.stack([unwrapped, lat], axis=-1)), np.object_)
    for i in np.flatnonzero(crosses):
        east = shapely.intersection(polygons[i], shapely.box(0, -90, 180, 90))
        west = shapely.intersection(polygons[i], shapely.box(180, -90, 360, 90))
        polygons[i] = shapely.union_all([east, shapely.transform(west, lambda c: c - [360, 0])])
    boxes = np.stack(
        [unwrapped.min(axis=1), lat.min(axis=1), unwrapped.max(axis=1), lat.max(axis=1)], axis=-1
    )
    boxes[:, 2] = np.where(boxes[:, 2] > 180, boxes[:, 2] - 360, boxes[:, 2])
    return polygons, boxes
