"""Whether the geometry of a sample is the outline of its grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Shapes = NDArray[np.object_]

OFF = 1e-3
"""Share of a chip's side that its geometry may leave the outline by: an outline is the same points, or more of them."""
CUT = 2e-2
"""The same where a geometry is cut at ±180°, which it is on straight lines between its points."""

_AN_EDGE = 8
_TOGETHER = 20_000


def misplaced(
    crs: NDArray[np.str_], transforms: Floats, height: Floats, width: Floats, shapes: Shapes
) -> Bools:
    """Samples whose geometry is another place than their grid, or larger or smaller than it.

    Parameters
    ----------
    crs, transforms, height, width
        (n,) of the grids; transforms are (n, 6) in the order of affine.
    shapes
        (n,) in lon/lat.
    """
    out = np.zeros(len(shapes), bool)
    for name in np.unique(crs):
        to = Transformer.from_crs(str(name), "EPSG:4326", always_xy=True)
        for rows in _pieces(np.flatnonzero(crs == name)):
            lon, lat = _outlines(transforms[rows], height[rows], width[rows], to)
            out[rows] = _off(lon, lat, shapes[rows])
    return out


def _pieces(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _TOGETHER):
        yield rows[start : start + _TOGETHER]


def _outlines(transforms: Floats, height: Floats, width: Floats, to: Transformer) -> tuple[Floats, Floats]:
    """(n, k + 1) degrees: points on the edges, from each corner on, and last of all the middle."""
    along = np.arange(_AN_EDGE) / _AN_EDGE
    zero, one = np.zeros(_AN_EDGE), np.ones(_AN_EDGE)
    col = np.concatenate([along, one, 1 - along, zero, [0.5]]) * width[:, None]
    row = np.concatenate([zero, along, one, 1 - along, [0.5]]) * height[:, None]
    a, b, c, d, e, f = (transforms[:, k, None] for k in range(6))
    lon, lat = to.transform(a * col + b * row + c, d * col + e * row + f)
    return np.asarray(lon, float), np.asarray(lat, float)


def _off(lon: Floats, lat: Floats, shapes: Shapes) -> Bools:
    middle = lon[:, -1]
    lon = _turned(lon, middle[:, None])
    known = np.isfinite(lon).all(axis=1) & np.isfinite(lat).all(axis=1)
    # Around a pole an outline in degrees says nothing: there the middle alone is looked at.
    known &= np.ptp(lon, axis=1) < 180
    inside = np.zeros(len(shapes), bool)
    for turn in (-360, 0, 360):
        inside |= shapely.intersects_xy(shapes, middle + turn, lat[:, -1])
    out = ~inside
    rows = np.flatnonzero(known & inside)
    if len(rows):
        out[rows] = _leaves(lon[rows, :-1], lat[rows, :-1], _whole(shapes[rows], middle[rows]))
    return out


def _leaves(lon: Floats, lat: Floats, shapes: Shapes) -> Bools:
    """Whether corners lie off a geometry's outline, or its points off the expected one."""
    edges = shapely.boundary(shapes)
    far = np.zeros(len(shapes))
    for corner in range(0, lon.shape[1], _AN_EDGE):
        far = np.maximum(far, shapely.distance(edges, shapely.points(lon[:, corner], lat[:, corner])))
    rings = np.asarray(shapely.linearrings(np.stack([lon, lat], axis=-1)), object)
    points, which = shapely.get_coordinates(shapes, return_index=True)
    np.maximum.at(far, which, shapely.distance(rings[which], shapely.points(points)))
    side = np.minimum(np.ptp(lon, axis=1), np.ptp(lat, axis=1))
    cut = np.abs(points[:, 0]) == 180  # an edge of the map, or of a part
    may = np.full(len(shapes), OFF)
    may[which[cut]] = CUT
    return np.asarray(~(far <= may * side), bool)


def _whole(shapes: Shapes, middle: Floats) -> Shapes:
    """Geometries whose longitudes lie around those of their middles; those of several parts as one."""
    points, which = shapely.get_coordinates(shapes, return_index=True)
    points[:, 0] = _turned(points[:, 0], middle[which])
    out: Shapes = shapely.set_coordinates(shapes.copy(), points)
    several = shapely.get_type_id(out) == shapely.GeometryType.MULTIPOLYGON
    out[several] = [shapely.union_all(shapely.get_parts(shape)) for shape in out[several]]
    return out


def _turned(lon: Floats, middle: Floats) -> Floats:
    return middle + (lon - middle + 180) % 360 - 180
