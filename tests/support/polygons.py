"""Planted polygons, vector files of them, and which pixel centres they hold by another way than the one tested."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely

from chipweave.labels.vectors import Reading, Rule, StoreFacts, VectorRead, prepare_store
from chipweave.model import Legend, LegendClass, Place

CODES = Legend("codes", tuple(LegendClass(c, f"class {c}", "#000000") for c in range(1, 60)), 0)


def star(rng: np.random.Generator, x: float, y: float, radius: float, points: int) -> shapely.Geometry:
    """A polygon with long edges and narrow corners around a point."""
    turn, reach = np.sort(rng.uniform(0, 2 * np.pi, points)), radius * rng.uniform(0.3, 1, points)
    ring = np.c_[x + reach * np.cos(turn), y + reach * np.sin(turn)]
    return shapely.make_valid(shapely.Polygon(ring))


def place_at(lon: float, lat: float, crs: str, resolution: float = 10.0, size: int = 64) -> Place:
    """A chip around a point, on the lattice of its pixels."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    half = size // 2
    return Place(
        "chip",
        crs,
        (round(x / resolution) - half) * resolution,
        (round(y / resolution) + half) * resolution,
        size,
        resolution,
    )


def centres(place: Place, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in a CRS, (size²,) each."""
    at = (np.arange(place.size) + 0.5) * place.resolution
    x, y = np.meshgrid(place.x + at, place.y - at)
    moved = pyproj.Transformer.from_crs(place.crs, crs, always_xy=True).transform(x.ravel(), y.ravel())
    return np.asarray(moved[0]), np.asarray(moved[1])


def held(shape: shapely.Geometry, place: Place, crs: str) -> np.ndarray:
    """(h, w) which pixel centres a polygon of a CRS holds: centres are brought there, the polygon stays as it is."""
    x, y = centres(place, crs)
    turns = (-360.0, 0.0, 360.0) if np.abs(x).max() <= 180 and np.abs(x).max() > 179 else (0.0,)
    shapely.prepare(shape)
    hits = np.logical_or.reduce([shapely.contains_xy(shape, x + turn, y) for turn in turns])
    return hits.reshape(place.size, place.size)


def off(shape: shapely.Geometry, place: Place, crs: str) -> np.ndarray:
    """(h, w) distance of pixel centres from a polygon's outline in units of its CRS."""
    x, y = centres(place, crs)
    return shapely.distance(shape.boundary, shapely.points(x, y)).reshape(place.size, place.size)


def beside(shape: shapely.Geometry, place: Place, crs: str, within: float) -> np.ndarray:
    """(h, w) which pixel centres lie as near to a polygon's outline, in units of its CRS."""
    line = shape.boundary
    shapely.prepare(line)
    x, y = centres(place, crs)
    return shapely.dwithin(line, shapely.points(x, y), within).reshape(place.size, place.size)


def painted(shapes: Sequence[shapely.Geometry], codes: Sequence[int], place: Place, crs: str) -> np.ndarray:
    """(h, w) codes of the last polygon that holds each centre, else 0."""
    out = np.zeros((place.size, place.size), np.int64)
    for shape, code in zip(shapes, codes, strict=True):
        out[held(shape, place, crs)] = code
    return out


def write(path: Path, shapes: Sequence[Any], crs: str | None, **columns: Sequence[Any]) -> Path:
    """A vector file of geometries and columns; the ending tells which kind."""
    frame = gpd.GeoDataFrame(dict(columns), geometry=list(shapes), crs=crs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        if path.suffix == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_file(path)
    return path


def store(path: Path, *rules: Rule, **more: Any) -> StoreFacts:
    """Store of a file beside it."""
    return prepare_store(
        path, rules or (Rule(None, 1, None, said="burn.0"),), path.parent / "stores", said=path.name, **more
    )


def reader(
    path: Path, *rules: Rule, outside: int = 0, boundary: Any = None, place: Place, **more: Any
) -> VectorRead:
    """The reader of a file, each rule with a column of codes of its own."""
    rules = rules or (Rule(None, 1, None, said="burn.0"),)
    facts = store(path, *rules)
    reading = Reading(facts.folder, rules, tuple(range(len(rules))), outside, boundary, facts.kept)
    return VectorRead("f", more.pop("legend", CODES), reading, place.size, place.resolution, **more)
