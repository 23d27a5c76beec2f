"""Places on the contract's lattice: footprints, once, with their keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.pixels.lattice import parse_crs, reproject
from chipweave.plan.area import AreaOfInterest
from chipweave.recipe import LoadedRecipe

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ANCHORS = {"s2": ((0.0, 0.0), (0.0, 10_000_000.0)), "landsat": ((15.0, 15.0), (15.0, 15.0))}
"""(north, south) corner of the lattice by name (contract, section 2)."""

MAX_PLACES = 20_000_000
"""More lattice cells than this in the area's bounds are refused: a wrong unit or a whole continent."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Chips of `size` px of `resolution` CRS units, at multiples of their side from `anchor`."""

    crs: str
    anchor: tuple[float, float]
    size: int
    resolution: float

    @property
    def side(self) -> float:
        """Side of a chip in CRS units."""
        return self.size * self.resolution


def utm_zones(lon: FloatArray, lat: FloatArray) -> IntArray:
    """UTM zone number of points, with the exceptions of Norway (32V) and Svalbard (31X to 37X)."""
    zone = np.clip(np.floor((lon + 180) / 6).astype(np.int64) + 1, 1, 60)
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lat <= 84) & (lon >= 0) & (lon < 42)
    north = np.select([lon < 9, lon < 21, lon < 33], [31, 33, 35], 37)
    return np.asarray(np.where(svalbard, north, zone), np.int64)


def place_chips(loaded: LoadedRecipe, area: AreaOfInterest) -> gpd.GeoDataFrame:
    """All places of a recipe's area.

    Returns
    -------
    GeoDataFrame
        One row a place, sorted by key, EPSG:4326 footprints: ``key, place, crs, x, y, size, resolution`` (upper
        left corner in `crs`), ``lon, lat`` of the centre, ``w, s, e, n``, and ``reason``, which is ``overlap``
        for a chip that gives way to one of a lower-numbered UTM zone, else empty.

    Raises
    ------
    RecipeError
        Where no chip lies in the area, or absurdly many would.
    """
    chips = loaded.recipe.chips
    size, resolution = chips.pixels, chips.metres_per_pixel
    if chips.crs == "utm":
        frames = [
            _in_utm(area, zone, north, size, resolution, chips.lattice.anchor) for zone, north in _zones(area)
        ]
        places = pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)
    else:
        name = crs_name(chips.crs)
        lattice = Lattice(name, _anchor(chips.lattice.anchor, north=not _southern(name)), size, resolution)
        places = _in_lattice(lattice, area, area.geometry)
    if places.empty:
        raise RecipeError(
            f"area: no chip of {size} px at {resolution:g} lies in it (rule: {area.rule})",
            hint="a larger area, smaller chips, or `rule: intersects`",
        )
    places["reason"] = ""
    if chips.crs == "utm":
        places.loc[_overlapping(places, chips.max_overlap), "reason"] = "overlap"
    places["key"] = places["place"] = _keys(places)
    frame = gpd.GeoDataFrame(places, geometry="geometry", crs=4326).sort_values("key", ignore_index=True)
    columns = [
        "key",
        "place",
        "crs",
        "x",
        "y",
        "size",
        "resolution",
        "lon",
        "lat",
        "w",
        "s",
        "e",
        "n",
        "reason",
    ]
    return frame[[*columns, "geometry"]]


def _anchor(anchor: object, *, north: bool) -> tuple[float, float]:
    if isinstance(anchor, str):
        return ANCHORS[anchor][0 if north else 1]
    assert isinstance(anchor, tuple)  # noqa: S101 - the recipe's model allows a name or two numbers
    return float(anchor[0]), float(anchor[1])


def _southern(crs: str) -> bool:
    """Whether a CRS is UTM of the southern hemisphere, whose northings count from 10 000 000."""
    return parse_crs(crs).utm_zone is not None and str(parse_crs(crs).utm_zone).endswith("S")


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


def _in_utm(
    area: AreaOfInterest, zone: int, north: bool, size: int, resolution: float, anchor: object
) -> pd.DataFrame:
    lattice = Lattice(
        f"EPSG:{(32600 if north else 32700) + zone}", _anchor(anchor, north=north), size, resolution
    )
    reach = 6.0 if area.geometry.bounds[3] > 55 else 0.0
    # A footprint may lie in the area while its centre is a little beyond the zone's edge.
    pad = 2 * lattice.side / 20_000
    west, east = zone * 6 - 186 - reach - pad, zone * 6 - 180 + reach + pad
    south, top = (-pad, 84.0) if north else (-84.0, pad)
    turns = [shapely.box(max(west + t, -180), south, min(east + t, 180), top) for t in (0, 360, -360)
             if west + t < 180 and east + t > -180]  # fmt: skip
    clipped = shapely.intersection(area.geometry, shapely.union_all(turns))
    if clipped.is_empty:
        return _empty()
    frame: pd.DataFrame = _in_lattice(lattice, area, clipped)
    lon, lat = frame["lon"].to_numpy(np.float64), frame["lat"].to_numpy(np.float64)
    own: pd.DataFrame = frame[(utm_zones(lon, lat) == zone) & ((lat >= 0) == north)]
    return own


def _empty() -> pd.DataFrame:
    return pd.DataFrame(
        columns=["crs", "x", "y", "size", "resolution", "lon", "lat", "w", "s", "e", "n", "geometry"]
    )


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


def _cells(lattice: Lattice, geometry: BaseGeometry) -> tuple[FloatArray, FloatArray]:
    """Columns and rows of all cells that the parts of a lon/lat geometry may meet, and a rim of one."""
    boxes = _bounds_in(lattice.crs, shapely.bounds(shapely.get_parts(geometry)))
    low = np.floor((boxes[:, :2] - lattice.anchor) / lattice.side).astype(np.int64) - 1
    high = np.ceil((boxes[:, 2:] - lattice.anchor) / lattice.side).astype(np.int64) + 1
    count = int(np.prod(high - low, axis=1).sum())
    if count > MAX_PLACES:
        raise RecipeError(
            f"area: {count:,} chips of {lattice.size} px at {lattice.resolution:g} would fill it",
            hint="is `chips.resolution` in the units of `chips.crs`?",
        )
    # One number a cell, by rows: parts whose boxes overlap share cells.
    first, width = low[:, 0].min(), high[:, 0].max() - low[:, 0].min()
    numbers = [
        (np.arange(r0, r1)[:, None] * width + np.arange(c0, c1) - first).ravel()
        for (c0, r0), (c1, r1) in zip(low, high, strict=True)
    ]
    row, col = np.divmod(np.unique(np.concatenate(numbers)), width)
    return (col + first).astype(np.float64), row.astype(np.float64)


def _in_lattice(lattice: Lattice, area: AreaOfInterest, geometry: BaseGeometry) -> pd.DataFrame:
    """Lattice cells near a part of the area whose centre, or footprint, the area holds."""
    side, (ax, ay) = lattice.side, lattice.anchor
    cols, rows = _cells(lattice, geometry)
    x, y = ax + cols * side, ay + (rows + 1) * side
    lon, lat = reproject(x + side / 2, y - side / 2, lattice.crs, "EPSG:4326")
    keep = np.isfinite(lon) & np.isfinite(lat)
    if area.rule == "centre":
        keep[keep] = area.holds_points(lon[keep], lat[keep])
    x, y, lon, lat = x[keep], y[keep], lon[keep], lat[keep]
    footprints, boxes = _footprints(lattice, x, y)
    frame = pd.DataFrame(
        {
            "crs": lattice.crs,
            "x": x,
            "y": y,
            "size": lattice.size,
            "resolution": lattice.resolution,
            "lon": lon,
            "lat": lat,
        }
    ).assign(w=boxes[:, 0], s=boxes[:, 1], e=boxes[:, 2], n=boxes[:, 3], geometry=footprints)
    return frame if area.rule == "centre" else frame[area.holds_footprints(footprints)]


def _footprints(lattice: Lattice, x: FloatArray, y: FloatArray) -> tuple[npt.NDArray[np.object_], FloatArray]:
    """Lon/lat polygons and (w, s, e, n) of chips; one across ±180° is cut there and has w > e."""
    side = lattice.side
    t = np.array([0, 0.5])
    xs = np.concatenate([t, [1, 1], 1 - t, [0, 0]]) * side
    ys = np.concatenate([[0, 0], t, [1, 1], 1 - t]) * side
    lon, lat = reproject((x[:, None] + xs).ravel(), (y[:, None] - ys).ravel(), lattice.crs, "EPSG:4326")
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


def _overlapping(places: pd.DataFrame, max_overlap: float) -> npt.NDArray[np.bool_]:
    """Chips that share more than `max_overlap` of their ground with a kept chip of a lower-numbered zone."""
    codes = places["crs"].str.removeprefix("EPSG:").astype(int).to_numpy()
    x, y = places["x"].to_numpy(np.float64), places["y"].to_numpy(np.float64)
    side = float(places["size"].iloc[0] * places["resolution"].iloc[0])
    dropped = np.zeros(len(places), np.bool_)
    done: list[int] = []
    # North before south: at the equator two lattices of one zone meet.
    for code in sorted(set(codes.tolist()), key=lambda c: (c % 100, c)):
        own = np.flatnonzero(codes == code)
        # Zones that can meet: Svalbard has every other one only, and 60 meets 1.
        for lower in [c for c in done if (code - c) % 100 in {0, 1, 2, 58, 59}]:
            other = np.flatnonzero((codes == lower) & ~dropped)
            shares = _shares_ground(x, y, side, own, other, f"EPSG:{code}", f"EPSG:{lower}", max_overlap)
            dropped[own[shares]] = True
        done.append(code)
    return dropped


def _shares_ground(
    x: FloatArray,
    y: FloatArray,
    side: float,
    own: IntArray,
    other: IntArray,
    crs: str,
    lower: str,
    limit: float,
) -> npt.NDArray[np.bool_]:
    """For each of `own`: whether it overlaps one of `other` by more than `limit` of a chip, judged in `lower`."""
    hit = np.zeros(len(own), np.bool_)
    cx, cy = reproject(x[own] + side / 2, y[own] - side / 2, crs, lower)
    good = np.flatnonzero(np.isfinite(cx) & np.isfinite(cy))
    if not len(good) or not len(other):
        return hit
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and an area in one zone has no use for it

    tree = cKDTree(np.c_[x[other] + side / 2, y[other] - side / 2])
    near = tree.query_ball_point(np.c_[cx[good], cy[good]], r=1.5 * side)
    for i, found in zip(good, near, strict=True):
        if not found:
            continue
        k = own[i]
        ring = reproject(
            x[k] + np.array([0, 1, 1, 0]) * side, y[k] - np.array([0, 0, 1, 1]) * side, crs, lower
        )
        mine = shapely.polygons(np.stack(ring, axis=-1))
        theirs = shapely.box(x[other[found]], y[other[found]] - side, x[other[found]] + side, y[other[found]])
        # A millionth of a chip is the noise of the projections, not ground.
        hit[i] = bool((shapely.area(shapely.intersection(mine, theirs)) / side**2 > max(limit, 1e-6)).any())
    return hit


def _number(value: float) -> str:
    """Twelve figures: 0.01 mm of a northing, 0.1 mm of a degree, and no noise of sums and products."""
    decimals = 11 - max(int(np.floor(np.log10(abs(value)))), 0) if value else 0
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if decimals else text
    return text.replace("-", "n").replace(".", "p")


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


def _keys(places: pd.DataFrame) -> pd.Series[str]:
    """``CRS-X-Y-SIZE-RESOLUTION`` of the upper left corner: the same for the same place in any build."""
    labels = {crs: crs_label(crs) for crs in places["crs"].unique()}
    return pd.Series(
        [
            f"{labels[crs]}-{_number(x)}-{_number(y)}-{size}-{_number(resolution)}"
            for crs, x, y, size, resolution in zip(
                places["crs"], places["x"], places["y"], places["size"], places["resolution"], strict=True
            )
        ],
        index=places.index,
    )


CELL_DEGREES = 1.0
"""Rows of search cells; about 100 km."""


def search_cells(places: pd.DataFrame) -> list[tuple[float, float, float, float]]:
    """Occupied cells of about 100 km as tight (w, s, e, n) boxes in lon/lat; none crosses ±180°."""
    own = places[places["reason"] == ""]
    row = np.floor(own["lat"] / CELL_DEGREES)
    width = CELL_DEGREES / np.cos(np.radians(np.clip(np.abs(row + 0.5) * CELL_DEGREES, 0, 85)))
    frame = own[["w", "s", "e", "n", "lon"]].assign(row=row, col=np.floor(own["lon"] / width))
    crossing = frame["w"] > frame["e"]
    # A footprint across ±180° is looked for on both sides of it.
    frame.loc[crossing & (frame["lon"] >= 0), "e"] = 180.0
    frame.loc[crossing & (frame["lon"] < 0), "w"] = -180.0
    cells = frame.groupby(["row", "col"]).agg({"w": "min", "s": "min", "e": "max", "n": "max"})
    boxes = [(float(w), float(s), float(e), float(n)) for w, s, e, n in cells.itertuples(index=False)]
    if crossing.any():
        south, north = float(own.loc[crossing, "s"].min()), float(own.loc[crossing, "n"].max())
        reach = float((own.loc[crossing, "e"] + 180).max()), float(own.loc[crossing, "w"].min())
        boxes += [(-180.0, south, -180.0 + reach[0], north), (reach[1], south, 180.0, north)]
    return boxes
