"""Where a scene lies: its CRS and its outline in lon/lat, from the projection where the item states one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
import shapely.geometry
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from chipweave.catalog.mgrs import mgrs_crs, tile_corners, tile_of
from chipweave.catalog.stac import Item, mapping, number, numbers, properties

PER_SIDE: Final = 21
"""Points on each side of a projected outline: straight there is curved in lon/lat."""

LOOSE: Final = 0.01
"""Degrees by which an item's own outline is widened: catalogs simplify it, and pixels decide later."""

_SLIVER, _WHOLE = 0.01, 0.98
_EPSG = re.compile(r"EPSG:(\d+)", re.IGNORECASE)

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=256)
def crs_text(definition: str) -> str:
    """``EPSG:n`` where the definition is exactly that CRS, else WKT2; empty where it is none.

    Parameters
    ----------
    definition
        Anything that PROJ understands: a code, WKT, PROJJSON as text.
    """
    try:
        crs = pyproj.CRS.from_user_input(definition)
        code = _EPSG.fullmatch(definition.strip())
        epsg = int(code.group(1)) if code else crs.to_epsg(min_confidence=100)
        return f"EPSG:{epsg}" if epsg else str(crs.to_wkt())
    except (ProjError, ValueError):
        return ""


def crs_of(item: Item, asset: Mapping[str, Any], *, mgrs: bool = False) -> str:
    """CRS that an item states for an asset: ``EPSG:n``, WKT2, or empty.

    Parameters
    ----------
    item, asset
        What an asset states comes before what its item states.
    mgrs
        Fall back to the UTM zone of an MGRS tile (Sentinel-2).
    """
    for where in (asset, properties(item)):
        for key in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
            found = crs_text(_definition(key, where.get(key)))
            if found:
                return found
    return mgrs_crs(item) if mgrs else ""


def _definition(key: str, value: object) -> str:
    if key == "proj:epsg":
        code = number(value)
        return f"EPSG:{int(code)}" if code and code > 0 else ""
    if key == "proj:projjson" and isinstance(value, Mapping):
        try:
            return str(pyproj.CRS.from_json_dict(dict(value)).to_wkt())
        except (ProjError, ValueError, TypeError, KeyError):
            return ""
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=256)
def _to_lonlat(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


@lru_cache(maxsize=4096)
def projected(crs: str, corners: tuple[tuple[float, float], ...]) -> BaseGeometry | None:
    """Outline in lon/lat of a quadrilateral given in a CRS; split at ±180°. None where it has none.

    Parameters
    ----------
    crs
        CRS of the corners.
    corners
        Four (x, y), around the outline.
    """
    steps = np.linspace(0.0, 1.0, PER_SIDE)[:-1]
    ring = np.array([*corners, corners[0]], dtype=np.float64)
    sides = [a + steps[:, None] * (b - a) for a, b in pairwise(ring)]
    xy = np.concatenate([*sides, ring[:1]])
    try:
        lon, lat = _to_lonlat(crs).transform(xy[:, 0], xy[:, 1])
    except ProjError:
        return None
    return ring_polygon(np.asarray(lon, np.float64), np.asarray(lat, np.float64))


def ring_polygon(lon: Floats, lat: Floats) -> BaseGeometry | None:
    """Polygon of a closed ring in degrees whose points lie close together; None where it has no area.

    A ring around a pole becomes the whole cap; one across ±180° is split.
    """
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    unwrapped = np.unwrap(lon, period=360.0)
    if abs(unwrapped[-1] - unwrapped[0]) > 180.0:
        north = lat.mean() > 0
        return shapely.box(-180.0, lat.min() if north else -90.0, 180.0, 90.0 if north else lat.max())
    return split_date_line(shapely.Polygon(np.column_stack([unwrapped, lat])))


def split_date_line(geometry: BaseGeometry) -> BaseGeometry | None:
    """Valid polygons with longitudes in -180..180, from ones that may run beyond; None without area."""
    whole = shapely.force_2d(shapely.make_valid(geometry))
    if whole.is_empty:
        return None
    west, _, east, _ = whole.bounds
    parts = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1):
        moved = shapely.transform(whole, _shift(-360.0 * turn)) if turn else whole
        part = moved if turn == 0 and west >= -180 and east <= 180 else shapely.intersection(moved, _WORLD)
        parts += [p for p in shapely.get_parts(part) if p.geom_type == "Polygon" and p.area > 0]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


_WORLD: Final = shapely.box(-180.0, -90.0, 180.0, 90.0)


def _shift(degrees: float) -> Any:
    return lambda points: points + np.array([degrees, 0.0])


def quadrilateral(item: Item, asset: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Corners in the projection, from transform and shape or from `proj:bbox`; empty without either."""
    for where in (asset, properties(item)):
        affine, shape = numbers(where.get("proj:transform")), numbers(where.get("proj:shape"))
        if len(affine) in {6, 9} and len(shape) == 2 and min(shape) > 0:
            a, b, c, d, e, f = affine[:6]
            rows, cols = shape
            ends = ((0.0, 0.0), (cols, 0.0), (cols, rows), (0.0, rows))
            return tuple((a * u + b * v + c, d * u + e * v + f) for u, v in ends)
        box = numbers(where.get("proj:bbox"))
        if len(box) in {4, 6}:
            w, s, e, n = flat_bbox(box)
            return ((w, n), (e, n), (e, s), (w, s))
    return ()


def flat_bbox(box: Sequence[float]) -> tuple[float, float, float, float]:
    """West, south, east, north of a box with or without heights."""
    half = len(box) // 2
    return box[0], box[1], box[half], box[half + 1]


def boxes(box: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """A lon/lat box as one or, across ±180°, two boxes; empty where it is none."""
    if len(box) not in {4, 6}:
        return []
    w, s, e, n = flat_bbox(box)
    if s > n or max(map(abs, (w, e))) > 540:
        return []
    return [(w, s, e, n)] if w <= e else [(w, s, 180.0, n), (-180.0, s, e, n)]


def stated_geometry(item: Item) -> BaseGeometry | None:
    """The item's own geometry as valid polygons in -180..180; None where it has none that can be used."""
    raw = mapping(item.get("geometry"))
    try:
        found = shapely.force_2d(shapely.geometry.shape(dict(raw))) if raw else None
    except (ShapelyError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        return None
    if found is None or found.is_empty or not np.isfinite(shapely.get_coordinates(found)).all():
        return None
    if shapely.get_dimensions(shapely.make_valid(found)) < 2:
        found = found.buffer(LOOSE)
    west, _, east, _ = found.bounds
    if east - west > 180.0 and _crosses(found, numbers(item.get("bbox"))):
        found = shapely.transform(found, lambda p: np.column_stack([p[:, 0] % 360.0, p[:, 1]]))
    return split_date_line(found)


def _crosses(geometry: BaseGeometry, bbox: Sequence[float]) -> bool:
    """Whether a very wide outline really crosses ±180°: its bbox says so, or it is narrow the other way."""
    if len(bbox) in {4, 6}:
        west, _, east, _ = flat_bbox(bbox)
        if west > east:
            return True
        if east - west > 180.0 and shapely.get_num_geometries(geometry) > 1:
            return False  # already split there
    lon = shapely.get_coordinates(geometry)[:, 0] % 360.0
    # One from -180 to 180 is the whole globe, not a sliver at its seam.
    return shapely.get_num_geometries(geometry) == 1 and 1.0 < float(np.ptp(lon)) < 180.0


def footprint(item: Item, asset: Mapping[str, Any], crs: str) -> BaseGeometry | None:
    """Outline of a scene in lon/lat (EPSG:4326), or None where the item says nothing of its place.

    The projected outline where CRS and extent are stated. Where the item's own geometry is a real part of
    that (the edge of a swath), that part, a little widened. Else the item's geometry, else its bbox, else the square
    of the MGRS tile that it names.
    """
    corners = quadrilateral(item, asset) if crs else ()
    frame = projected(crs, corners) if corners else None
    own = stated_geometry(item)
    if frame is not None:
        return _part(own, frame) if own is not None else frame
    if own is not None:
        return own
    found = [shapely.box(*b) for b in boxes(numbers(item.get("bbox")))]
    return split_date_line(shapely.union_all(found)) if found else tile_outline(item)


def tile_outline(item: Item) -> BaseGeometry | None:
    """Outline in lon/lat of the MGRS tile that an item names; None where it names none."""
    corners = tile_corners(tile_of(item))
    return projected(mgrs_crs(item), corners) if corners else None


def _part(own: BaseGeometry, frame: BaseGeometry) -> BaseGeometry:
    """The item's outline where it is a real part of the frame, else the frame."""
    share = own.area / frame.area
    if not _SLIVER <= share < _WHOLE or not frame.buffer(LOOSE).covers(own):
        return frame
    part = split_date_line(shapely.intersection(own.buffer(LOOSE), frame))
    return frame if part is None else part


def extents(item: Item) -> list[tuple[float, float, float, float]]:
    """Every box in which an item may lie, by whatever it states: a sieve before the exact outline."""
    found = boxes(numbers(item.get("bbox")))
    own = stated_geometry(item)
    asset: Mapping[str, Any] = next((a for a in mapping(item.get("assets")).values() if _has_extent(a)), {})
    crs = crs_of(item, asset)
    corners = quadrilateral(item, asset) if crs else ()
    frame = projected(crs, corners) if corners else None
    for outline in (own, frame):
        if outline is not None:
            found += [p.bounds for p in shapely.get_parts(outline)]
    if not found and (tile := tile_outline(item)) is not None:
        found = [p.bounds for p in shapely.get_parts(tile)]
    return found


def _has_extent(asset: object) -> bool:
    return isinstance(asset, Mapping) and ("proj:transform" in asset or "proj:bbox" in asset)
