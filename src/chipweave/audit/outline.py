"""Outlines of any geometry, as `chipweave.plan.distance` measures between them."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from chipweave.plan.distance import earth_centred

Floats = NDArray[np.float64]
Polygons = NDArray[np.object_]

MOST_CORNERS = 64
"""Those of a circle as geopandas draws it. A geometry with more, of several parts, or that crosses itself counts as its
convex hull, and that as an outline about it: no distance comes out too large."""
LONGEST_M = 2000.0
MOST_PIECES = 64
_SPECK_M = 1e-3
_DEGREE_M = 111_195.0
_PAST_POLE = 1e-7
"""Degrees: the speck about a point at a pole reaches beyond it."""


class OffEarthError(ValueError):
    """A geometry lies where its CRS has no earth; `row` is its number."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} leaves the domain of its CRS")
        self.row = row


def whole(shapes: gpd.GeoSeries) -> NDArray[np.bool_]:
    """(n,) geometries that are there, not empty, and whose coordinates are all numbers."""
    values = shapes.to_numpy()
    points, row = shapely.get_coordinates(values, return_index=True)
    found = ~(shapely.is_missing(values) | shapely.is_empty(values))
    found[row[~np.isfinite(points).all(axis=1)]] = False
    return np.asarray(found, bool)


def rings_of(geometry: gpd.GeoSeries) -> Floats:
    """Outlines in earth-centred coordinates.

    Parameters
    ----------
    geometry
        (n,) points, lines or polygons, none of them empty, with a CRS.

    Returns
    -------
    ndarray
        (n, k, 3) float64 metres on the WGS84 ellipsoid; `k` is a multiple of four and the same for all.

    Raises
    ------
    OffEarthError
        A corner has no place on the earth.
    """
    crs: Any = geometry.crs
    unit = _DEGREE_M if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    corners = _corners(geometry.to_numpy(), _SPECK_M / unit, turned=crs.is_geographic)
    edges = np.roll(corners, -1, axis=1) - corners
    longest = float(np.hypot(edges[..., 0], edges[..., 1]).max(initial=0.0)) * unit
    pieces = int(np.clip(np.ceil(longest / LONGEST_M), 1, MOST_PIECES))
    along = np.arange(pieces)[:, None] / pieces
    fine = (corners[:, :, None] + edges[:, :, None] * along).reshape(len(corners), -1, 2)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(fine[..., 0], fine[..., 1])
    lon = np.where(np.isfinite(lon), lon, np.nan)
    points = earth_centred(lon, np.where(np.abs(lat) < 90 + _PAST_POLE, lat, np.nan))
    if not np.isfinite(points).all():
        raise OffEarthError(int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0]))
    return points


def _corners(shapes: Polygons, speck: float, *, turned: bool) -> Floats:
    """(n, k, 2) corners of every geometry, in its own CRS; `k` is a multiple of four."""
    rings = shapely.get_exterior_ring(_simple(shapes, speck, turned=turned))
    counts = shapely.get_num_coordinates(rings) - 1  # the last repeats the first
    points = shapely.get_coordinates(rings)
    starts = np.concatenate([[0], np.cumsum(counts + 1)])[:-1]
    most = -(-int(counts.max(initial=4)) // 4) * 4
    out = np.empty((len(rings), most, 2))
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        out[rows] = _filled(points[starts[rows][:, None] + np.arange(count)], most)
    return out


def _simple(shapes: Polygons, speck: float, *, turned: bool) -> Polygons:
    """Polygons of one ring with few corners."""
    out = np.asarray(shapes, object).copy()
    whole = shapely.get_type_id(out) == shapely.GeometryType.POLYGON
    if turned:  # a footprint across ±180° whose corners were not turned
        west, _, east, _ = shapely.bounds(out).T
        for row in np.flatnonzero(whole & (east - west > 180)):
            out[row] = _turned(out[row])
    whole &= shapely.get_num_coordinates(shapely.get_exterior_ring(out)) <= MOST_CORNERS + 1
    whole[whole] = shapely.is_valid(out[whole])  # an outline that crosses itself has no inside to speak of
    for row in np.flatnonzero(~whole):
        out[row] = _hull(out[row], turned=turned)
    flat = shapely.get_type_id(out) != shapely.GeometryType.POLYGON
    flat |= shapely.area(out) <= speck**2
    if flat.any():
        # A point or a line has no ring: one of a millimetre about it has.
        out[flat] = shapely.convex_hull(shapely.buffer(out[flat], speck, quad_segs=1, cap_style="square"))
    return out


def _hull(shape: Any, *, turned: bool) -> Any:
    west, _, east, _ = shape.bounds
    if turned and east - west > 180:  # in two parts at ±180°
        shape = _turned(shape)
    hull = shapely.convex_hull(shape)
    return _around(hull) if shapely.get_num_coordinates(hull) > MOST_CORNERS + 1 else hull


def _around(hull: Any) -> Any:
    """An outline of few corners about a convex one, within its bounds: every edge touches it."""
    west, south, east, north = hull.bounds
    middle, half = np.array([west + east, south + north]) / 2, np.array([east - west, north - south]) / 2
    angle = 2 * np.pi * np.arange(MOST_CORNERS) / MOST_CORNERS
    x, y = np.cos(angle), np.sin(angle)
    reach = np.max((shapely.get_coordinates(hull) - middle) / half @ np.stack([x, y]), axis=0)
    # Where the line that touches it at one angle meets that at the next.
    then = np.roll(np.stack([x, y, reach]), -1, axis=1)
    corners = np.stack([reach * then[1] - then[2] * y, then[2] * x - reach * then[0]], axis=1)
    corners /= np.sin(angle[1])
    return shapely.convex_hull(shapely.MultiPoint(np.clip(corners, -1, 1) * half + middle))


def _turned(shape: Any) -> Any:
    """A shape at ±180° with all of its longitudes in the east."""
    return shapely.transform(shape, lambda xy: np.where([True, False] & (xy < 0), xy + 360, xy))


def _filled(rings: Floats, most: int) -> Floats:
    """Rings of one number of corners with more points on their longest edge, which changes no outline."""
    more = most - rings.shape[1]
    if not more:
        return rings
    gaps = np.roll(rings, -1, axis=1) - rings
    first = np.argmax(np.hypot(gaps[..., 0], gaps[..., 1]), axis=1) + 1
    order = (first[:, None] + np.arange(rings.shape[1])) % rings.shape[1]
    turned = np.take_along_axis(rings, order[..., None], axis=1)
    along = (np.arange(more) + 1)[:, None] / (more + 1)
    between = turned[:, -1:] + (turned[:, :1] - turned[:, -1:]) * along
    return np.concatenate([turned, between], axis=1)
