"""``grid``: every chip of the lattice whose centre, or footprint, the area holds; `stride` says how many px on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.pixels.lattice import reproject
from chipweave.plan.area import AreaOfInterest
from chipweave.plan.lattices import FloatArray, anchor_in, crs_name, utm_zones
from chipweave.plan.sampling.base import Ask, too_many


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Chips of the lattice: multiples of their side, or of `stride` pixels, from the anchor."""
    if ask.chips.crs != "utm":
        yield _in_crs(ask, crs_name(ask.chips.crs), ask.area.geometry)
        return
    for zone, north in _zones(ask.area):
        yield _in_zone(ask, zone, north=north)


def _zones(area: AreaOfInterest) -> list[tuple[int, bool]]:
    """(zone, northern) that may hold a chip's centre; a zone too many costs nothing."""
    found = set()
    for part in shapely.get_parts(area.geometry):
        w, s, e, n = part.bounds
        wide = 1 if n > 55 else 0  # zones of Norway and Svalbard reach over their neighbours
        first, last = int((w - 1 + 180) // 6) - wide, int((e + 1 + 180) // 6) + wide
        for zone in range(first, min(last, first + 59) + 1):
            found |= {(zone % 60 + 1, north) for north in (True, False) if (n > -0.5 if north else s < 0.5)}
    return sorted(found)


def _in_zone(ask: Ask, zone: int, *, north: bool) -> pd.DataFrame:
    area, side = ask.area, ask.chips.placed * ask.chips.metres_per_pixel
    reach = 6.0 if area.geometry.bounds[3] > 55 else 0.0
    # A footprint may lie in the area while its centre is a little beyond the zone's edge.
    pad = 2 * side / 20_000
    west, east = zone * 6 - 186 - reach - pad, zone * 6 - 180 + reach + pad
    south, top = (-pad, 84.0) if north else (-84.0, pad)
    turns = [shapely.box(max(west + t, -180), south, min(east + t, 180), top) for t in (0, 360, -360)
             if west + t < 180 and east + t > -180]  # fmt: skip
    clipped = shapely.intersection(area.geometry, shapely.union_all(turns))
    if clipped.is_empty:
        return pd.DataFrame({"crs": np.zeros(0, object), "x": np.zeros(0), "y": np.zeros(0)})
    frame = _in_crs(ask, f"EPSG:{(32600 if north else 32700) + zone}", clipped)
    lon, lat = frame["lon"].to_numpy(np.float64), frame["lat"].to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        own: pd.DataFrame = frame[(utm_zones(lon, lat) == zone) & ((lat >= 0) == north)]
    return own


def _in_crs(ask: Ask, crs: str, geometry: BaseGeometry) -> pd.DataFrame:
    """Lattice cells near a part of the area."""
    resolution = ask.chips.metres_per_pixel
    side = ask.chips.placed * resolution
    step = (ask.sampling.stride or ask.chips.placed) * resolution
    ax, ay = anchor_in(ask.chips.lattice.anchor, crs)
    cols, rows = _cells(ask, crs, (ax, ay), side, step, geometry)
    # Written so that a lattice without a stride has the very coordinates that it always had.
    x, y = ax + cols * step, ay + (rows + 1) * step + (side - step)
    lon, lat = reproject(x + side / 2, y - side / 2, crs, "EPSG:4326")
    good = np.isfinite(lon) & np.isfinite(lat)
    frame = pd.DataFrame({"crs": crs, "x": x, "y": y, "lon": lon, "lat": lat}).astype({"crs": object})
    for name, numbers in (("row", rows), ("col", cols)):
        if name in ask.wanted:
            frame[name] = numbers.astype(np.int64)
    return frame[good]


def _cells(
    ask: Ask, crs: str, anchor: tuple[float, float], side: float, step: float, geometry: BaseGeometry
) -> tuple[FloatArray, FloatArray]:
    """Columns and rows of all cells that the parts of a lon/lat geometry may meet, and a rim of one."""
    boxes = _bounds_in(crs, shapely.bounds(shapely.get_parts(geometry)))
    low = np.floor((boxes[:, :2] - anchor - (side - step)) / step).astype(np.int64) - 1
    high = np.ceil((boxes[:, 2:] - anchor) / step).astype(np.int64) + 1
    count = int(np.prod(high - low, axis=1).sum())
    too_many(count, ask, "is `chips.resolution` in the units of `chips.crs`?")
    # One number a cell, by rows: parts whose boxes overlap share cells.
    first, width = low[:, 0].min(), high[:, 0].max() - low[:, 0].min()
    numbers = [
        (np.arange(r0, r1)[:, None] * width + np.arange(c0, c1) - first).ravel()
        for (c0, r0), (c1, r1) in zip(low, high, strict=True)
    ]
    row, col = np.divmod(np.unique(np.concatenate(numbers)), width)
    return (col + first).astype(np.float64), row.astype(np.float64)


def _bounds_in(crs: str, bounds: FloatArray) -> FloatArray:
    """Bounds of lon/lat boxes (n, 4) in another CRS, from their densified outlines; fewer where some lie nowhere."""
    w, s, e, n = (bounds[:, [k]] for k in range(4))
    t = np.linspace(0, 1, 65)
    lon = np.concatenate([w + (e - w) * t, e + 0 * t, w + (e - w) * t, w + 0 * t], axis=1)
    lat = np.concatenate([s + 0 * t, s + (n - s) * t, n + 0 * t, s + (n - s) * t], axis=1)
    x, y = (a.reshape(lon.shape) for a in reproject(lon.ravel(), lat.ravel(), "EPSG:4326", crs))
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        raise RecipeError(f"area: does not lie where {crs} is defined")
    x0, y0 = (np.where(good, a, np.inf).min(axis=1) for a in (x, y))
    x1, y1 = (np.where(good, a, -np.inf).max(axis=1) for a in (x, y))
    return np.stack([x0, y0, x1, y1], axis=-1)[good.any(axis=1)]
