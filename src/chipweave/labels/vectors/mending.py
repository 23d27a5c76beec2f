"""Geometries as they come, made such as can be burned: valid, flat, of one dimension; and where on Earth they lie."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.labels.base import AnyArray
from chipweave.pixels.burning import AREA
from chipweave.pixels.lattice import parse_crs, reproject

MAX_VERTICES: Final = 2_000_000
"""Vertices of one feature: more are refused, since every chip that it meets reads all of them."""

DATUM_DEGREES: Final = 0.01
"""By how much longitudes and latitudes of two datums may differ, generously."""

Shapes = npt.NDArray[np.object_]
Boxes = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_LONLAT: Final = "EPSG:4326"


def mend(
    shapes: Shapes, ids: Numbers, said: str, counts: Counter[str]
) -> tuple[Shapes, npt.NDArray[np.bool_]]:
    """Valid geometries in two dimensions, each of points, lines or areas alone; which are left.

    Parameters
    ----------
    shapes, ids
        (n,) geometries, None where there is none, and their numbers in the file.
    said
        How an error names the file.
    counts
        Gets what was ``mended``, and what was dropped: ``no geometry``, ``not finite``, ``without extent``.

    Raises
    ------
    RecipeError
        A feature has too many vertices.
    """
    sizes = shapely.get_num_coordinates(shapes)
    if len(sizes) and sizes.max() > MAX_VERTICES:
        worst = int(np.argmax(sizes))
        raise RecipeError(
            f"{said}: feature {ids[worst]} has {int(sizes[worst]):,} vertices, more than {MAX_VERTICES:,}",
            hint="cut it into pieces, or simplify it (ogr2ogr -simplify)",
        )
    kept = sizes > 0  # of none, and of an empty one, there are 0
    counts["no geometry"] += int((~kept).sum())
    shapes = np.asarray(shapely.force_2d(shapes), np.object_)
    shapes[~kept] = None
    finite = np.ones(len(shapes), np.bool_)
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    finite[owner[~np.isfinite(points).all(axis=1)]] = False
    counts["not finite"] += int((kept & ~finite).sum())
    kept &= finite
    shapes[~kept] = None
    wrong = np.flatnonzero(kept & ~np.asarray(shapely.is_valid(shapes), np.bool_))
    mixed = np.flatnonzero(kept & (shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION))
    if len(wrong):
        wanted = shapely.get_dimensions(shapes[wrong])
        made = np.asarray(shapely.make_valid(shapes[wrong]), np.object_)
        shapes[wrong] = [of_one(shape, int(dim)) for shape, dim in zip(made, wanted, strict=True)]
    for k in mixed:
        shapes[k] = of_one(shapes[k], int(shapely.get_dimensions(shapes[k])))
    gone = kept & (shapely.get_num_coordinates(shapes) == 0)
    counts["without extent"] += int(gone.sum())
    counts["mended"] += int((kept & ~gone)[wrong].sum())
    kept &= ~gone
    shapes[~kept] = None
    return shapes, kept


def of_one(shape: BaseGeometry, dimension: int) -> BaseGeometry | None:
    """The parts of a geometry that have a dimension, as one; None where there is none."""
    parts = _simple_parts(shape)
    same = parts[(shapely.get_dimensions(parts) == dimension) & ~shapely.is_empty(parts)]
    if not len(same):
        return None
    if len(same) == 1:
        single: BaseGeometry = same[0]
        return single
    joined = (shapely.multipoints, shapely.multilinestrings, shapely.multipolygons)[dimension](same)
    whole: BaseGeometry = joined if shapely.is_valid(joined) else shapely.union_all(same)
    return whole


def unwrapped(shapes: Shapes, crs: str, counts: Counter[str]) -> Shapes:
    """Geometries in degrees that jump across ±180° go on beyond it instead; before they are mended.

    A jump is an edge of more than half a turn between points that do not lie on ±180° themselves. A hole of an area
    that jumps may lie outside of it before, and inside after.
    """
    if not parse_crs(crs).is_geographic:
        return shapes
    w, _, e, _ = shapely.bounds(shapes).T
    wide = np.flatnonzero((e - w > 180) & (w > -180) & (e < 180))
    out = shapes.copy()
    for k in wide:
        parts = _simple_parts(shapes[k])
        rings = shapely.get_rings(parts) if shapely.get_dimensions(shapes[k]) == AREA else parts
        if any((np.abs(np.diff(shapely.get_coordinates(r)[:, 0])) > 180).any() for r in rings):
            out[k] = shapely.transform(
                shapes[k], lambda c: np.where(c < [0, -1e9], c + np.array([360, 0]), c)
            )
            counts["unwrapped"] += 1
    return out


def _simple_parts(shape: BaseGeometry) -> Shapes:
    """Points, lines and polygons that a geometry is made of."""
    parts = shapely.get_parts(np.array([shape], np.object_))
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts = shapely.get_parts(parts)
    return np.asarray(parts, np.object_)


def lonlat_boxes(shapes: Shapes, ids: Numbers, crs: str, said: str) -> Boxes:
    """(n, 4) west, south, east, north in lon/lat around valid geometries: never too small, at times a little too large.

    West is from -180 up to 180; east may lie beyond 180.

    Raises
    ------
    RecipeError
        A feature lies where its CRS has no coordinates: the file mixes CRSs, or states the wrong one.
    """
    if not len(shapes):
        return np.empty((0, 4))
    bounds = np.asarray(shapely.bounds(shapes), np.float64)
    geographic = parse_crs(crs).is_geographic
    _refuse_mixed(bounds, ids, crs, geographic, said)
    if geographic:
        pad = 0.0 if crs == _LONLAT else DATUM_DEGREES
        boxes = bounds + np.array([-pad, -pad, pad, pad])
    else:
        boxes = _projected(shapes, bounds, ids, crs, said)
    turn = np.floor((boxes[:, 0] + 180) / 360) * 360
    boxes[:, 0] -= turn
    boxes[:, 2] -= turn
    return np.asarray(boxes, np.float64)


def _refuse_mixed(bounds: Boxes, ids: Numbers, crs: str, geographic: bool, said: str) -> None:
    if geographic:
        beyond = (
            (bounds[:, 1] < -90.01) | (bounds[:, 3] > 90.01) | (bounds[:, 0] < -540) | (bounds[:, 2] > 540)
        )
        off = np.asarray(beyond, np.bool_)
        what = "beyond any longitude and latitude"
    else:
        # Nothing real lies within 180 m of the origin of a projection.
        off = np.asarray((np.abs(bounds) <= [180, 90, 180, 90]).all(axis=1), np.bool_)
        what = "in degrees, as it looks"
    if off.any():
        first = int(np.flatnonzero(off)[0])
        at = ", ".join(f"{v:.6g}" for v in bounds[first])
        raise RecipeError(
            f"{said}: {int(off.sum())} of {len(off)} features lie {what}, though the CRS is {_short(crs)}; "
            f"the first is {ids[first]} at {at}",
            hint="the file mixes CRSs, or states the wrong one: bring it to one CRS (ogr2ogr -s_srs … -t_srs …)",
        )


def _short(crs: str) -> str:
    return crs if len(crs) < 40 else parse_crs(crs).name


def _projected(shapes: Shapes, bounds: Boxes, ids: Numbers, crs: str, said: str) -> Boxes:
    """Boxes of what is not in degrees: by the corners of small features, by all points of others."""
    w, s, e, n = bounds.T
    scale = parse_crs(crs).axis_info[0].unit_conversion_factor or 1.0
    corners = [reproject(x.copy(), y.copy(), crs, _LONLAT) for x, y in ((w, s), (e, s), (e, n), (w, n))]
    lon, lat = (np.array([c[k] for c in corners]) for k in (0, 1))
    with np.errstate(invalid="ignore"):
        boxes = np.stack([lon.min(axis=0), lat.min(axis=0), lon.max(axis=0), lat.max(axis=0)], axis=1)
        large = np.maximum(e - w, n - s) * scale > 20_000
        small = np.isfinite(boxes).all(axis=1) & ~large & (boxes[:, 2] - boxes[:, 0] < 90)
        # The sides of a box of 20 km bend by 1 % of its size at most, up to latitudes of 85°.
        reach = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) * 0.02 + 1e-6
        boxes += np.stack([-reach, -reach, reach, reach], axis=1)
    for k in np.flatnonzero(~small):
        boxes[k] = _followed(shapes[k], bounds[k], int(ids[k]), crs, said)
    return boxes


def _followed(shape: BaseGeometry, bounds: AnyArray, ident: int, crs: str, said: str) -> AnyArray:
    """Box of one feature, its edges followed, and on both sides of ±180° where it lies there."""
    step = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 256
    fine = shapely.segmentize(shape, step) if step > 0 else shape
    x, y = shapely.get_coordinates(fine).T
    lon, lat = reproject(x.copy(), y.copy(), crs, _LONLAT)
    good = np.isfinite(lon) & np.isfinite(lat)
    if not good.all():
        raise RecipeError(
            f"{said}: feature {ident} lies where its CRS, {_short(crs)}, has no coordinates: {x[~good][0]:.6g}, "
            f"{y[~good][0]:.6g}",
            hint="the file mixes CRSs, or states the wrong one",
        )
    reach = max(float(np.ptp(lat)), 0.01) * 0.02
    if np.ptp(lon) > 180:  # around a pole, or over ±180°
        over = np.where(lon < 0, lon + 360, lon)
        if np.ptp(over) > 180 or _holds_pole(shape, crs):
            north, south = _holds(shape, crs, 90.0), _holds(shape, crs, -90.0)
            return np.array(
                [-180, -90 if south else lat.min() - reach, 180, 90 if north else lat.max() + reach]
            )
        lon = over
    return np.array([lon.min() - reach, lat.min() - reach, lon.max() + reach, lat.max() + reach])


def _holds_pole(shape: BaseGeometry, crs: str) -> bool:
    return _holds(shape, crs, 90.0) or _holds(shape, crs, -90.0)


def _holds(shape: BaseGeometry, crs: str, lat: float) -> bool:
    x, y = reproject(np.array([0.0]), np.array([lat]), _LONLAT, crs)
    return bool(np.isfinite(x).all() and np.isfinite(y).all() and shapely.intersects_xy(shape, x[0], y[0]))
