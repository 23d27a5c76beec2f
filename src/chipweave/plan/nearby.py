"""What lies near, or around, places: features of a vector file, on the ground."""

from __future__ import annotations

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from chipweave.pixels.lattice import reproject
from chipweave.plan.distance import earth_centred
from chipweave.plan.lattices import utm_codes

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Shapes = npt.NDArray[np.object_]

SPACING_M = 250.0
"""Metres between the points by which the outline of a line or polygon is told near."""

EDGE_M = 0.1
"""Metres by which a neighbour may reach over a chip's edge: the noise of its way through lon/lat."""

_DEGREE_M = 110_574.0
"""A degree of latitude at the equator, where it is shortest."""


def excluded(places: gpd.GeoDataFrame, shapes: Shapes, metres: float) -> BoolArray:
    """Which footprints come closer than some metres to a geometry, or overlap it.

    Parameters
    ----------
    places
        Places with `lon`, `lat`, `w`, `s`, `e`, `n` and footprints in lon/lat.
    shapes
        Geometries in lon/lat.
    metres
        On the ground: distances are those of the UTM zone of the chip's centre.
    """
    out = np.zeros(len(places), np.bool_)
    footprints = places.geometry.to_numpy()
    for crs, rows in _zones(places):
        boxes = places[["w", "s", "e", "n"]].to_numpy(np.float64)[rows]
        south, north = boxes[:, 1].min(), boxes[:, 3].max()
        high = np.cos(np.radians(min(max(abs(south), abs(north)) + metres / _DEGREE_M, 89.0)))
        pad_lat = metres / _DEGREE_M * 1.01 + 1e-6
        window = _window(boxes, pad_lat / high, pad_lat)
        near = shapes[shapely.intersects(shapes, window)]
        if not len(near):
            continue
        there = _in(shapely.segmentize(shapely.intersection(near, window), 0.01), crs)
        here = _in(footprints[rows], crs)
        tree = shapely.STRtree(there)
        if metres > 0:
            i, j = tree.query(here, predicate="dwithin", distance=metres)
            # At exactly that distance there is room.
            hit = i[shapely.distance(here[i], there[j]) < metres]
        else:
            hit, _ = tree.query(shapely.buffer(here, -EDGE_M, join_style="mitre"), predicate="intersects")
        out[rows[np.unique(hit)]] = True
    return out


def _zones(places: pd.DataFrame) -> Iterator[tuple[str, IntArray]]:
    lon, lat = places["lon"].to_numpy(np.float64), places["lat"].to_numpy(np.float64)
    codes = utm_codes(lon, lat)
    for code in np.unique(codes).tolist():
        yield f"EPSG:{code}", np.flatnonzero(codes == code)


def _window(boxes: npt.NDArray[np.float64], pad_lon: float, pad_lat: float) -> shapely.Geometry:
    """Lon/lat box around some boxes of one zone, widened; cut at ±180° and going on beyond."""
    south, north = max(boxes[:, 1].min() - pad_lat, -90.0), min(boxes[:, 3].max() + pad_lat, 90.0)
    crosses = boxes[:, 0] > boxes[:, 2]
    west, east = boxes[:, 0].copy(), boxes[:, 2] + 360.0 * crosses
    if crosses.any():  # of zones 1 and 60: counted east of Greenwich
        west, east = np.where(west < 0, west + 360, west), np.where(boxes[:, 0] < 0, east + 360, east)
    w, e = west.min() - pad_lon, east.max() + pad_lon
    if e - w >= 360:
        return shapely.box(-180, south, 180, north)
    parts = [(max(w + t, -180.0), min(e + t, 180.0)) for t in (-360, 0, 360)]
    return shapely.union_all([shapely.box(a, south, b, north) for a, b in parts if a < b])


def _in(shapes: Shapes, crs: str) -> Shapes:
    """Geometries of lon/lat in a UTM zone."""

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = reproject(points[:, 0].copy(), points[:, 1].copy(), "EPSG:4326", crs)
        return np.stack([np.where(np.isfinite(x), x, 1e9), np.where(np.isfinite(y), y, 1e9)], axis=-1)

    moved = np.asarray(shapely.transform(shapes, move), np.object_)
    return np.asarray(shapely.make_valid(moved), np.object_)


def holding(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], shapes: Shapes) -> IntArray:
    """Number of the first polygon that holds each point, -1 where none does."""
    found = np.full(len(lon), len(shapes), np.int64)
    points, polygons = shapely.STRtree(shapes).query(shapely.points(lon, lat), predicate="intersects")
    np.minimum.at(found, points, polygons)
    return np.where(found == len(shapes), -1, found)


def nearest(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], shapes: Shapes) -> IntArray:
    """Number of the geometry nearest to each point on the ground; the first of equals.

    A polygon that holds the point is nearest. Outlines count by points every 250 m, so two outlines that differ by
    less than half of that may be taken for each other.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and few recipes ask for it

    found = holding(lon, lat, shapes)
    rest = np.flatnonzero(found < 0)
    if not len(rest):
        return found
    fine = shapely.segmentize(shapes, SPACING_M / _DEGREE_M)
    points, owner = shapely.get_coordinates(fine, return_index=True)
    tree = cKDTree(earth_centred(points[:, 0], points[:, 1]))
    metres, which = tree.query(earth_centred(lon[rest], lat[rest]), k=min(2, len(points)))
    if len(points) == 1:
        found[rest] = owner[which]
        return found
    tie = metres[:, 1] <= metres[:, 0]
    found[rest] = np.where(tie, np.minimum(owner[which[:, 0]], owner[which[:, 1]]), owner[which[:, 0]])
    return found
