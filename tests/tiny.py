"""Small rasters and the scenes that name them: for unit tests of what reads, chooses and weaves."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import rasterio
import shapely
import yaml
from affine import Affine
from shapely.geometry.base import BaseGeometry

from chipweave.catalog.footprint import projected
from chipweave.model import Asset, Place, Scene
from chipweave.recipe import load_recipe

UTM = "EPSG:32632"
LAEA = (
    'PROJCRS["mine",BASEGEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,'
    '298.257223563,LENGTHUNIT["metre",1]]],PRIMEM["Greenwich",0,ANGLEUNIT["degree",0.0174532925199433]]],'
    'CONVERSION["x",METHOD["Lambert Azimuthal Equal Area"],'
    'PARAMETER["Latitude of natural origin",47.5,ANGLEUNIT["degree",0.0174532925199433]],'
    'PARAMETER["Longitude of natural origin",9.25,ANGLEUNIT["degree",0.0174532925199433]],'
    'PARAMETER["False easting",0,LENGTHUNIT["metre",1]],PARAMETER["False northing",0,LENGTHUNIT["metre",1]]],'
    'CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
)
"""A CRS of somebody's own, without a code."""


def north_up(x: float, y: float, res: float) -> Affine:
    return Affine(res, 0.0, x, 0.0, -res, y)


def write_tif(path: Path, array: np.ndarray, crs: str, affine: Affine, nodata: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=array.shape[1], height=array.shape[0], count=1, dtype=array.dtype,
        crs=crs, transform=affine, nodata=nodata, tiled=True, blockxsize=64, blockysize=64,
    ) as out:  # fmt: skip
        out.write(array, 1)
    return path


def outline(crs: str, west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Footprint in lon/lat of a rectangle."""
    found = projected(crs, ((west, north), (east, north), (east, south), (west, south)))
    assert found is not None
    return found


def scene(ident: str = "A", geometry: BaseGeometry | None = None, **more) -> Scene:
    """A scene over the whole world, unless `geometry` says otherwise; `time` may be ISO text."""
    time = more.pop("time", "2021-06-10T10:00:00")
    return Scene(
        layer=more.pop("layer", "s2"),
        id=ident,
        collection=more.pop("collection", "sentinel-2-l2a"),
        time=datetime.fromisoformat(time).replace(tzinfo=UTC),
        geometry=shapely.box(-180, -90, 180, 90) if geometry is None else geometry,
        **{"crs": UTM, "cloud": 5.0, "platform": "sentinel-2a", **more},
    )


def assets(**paths: Path) -> dict[str, Asset]:
    return {band: Asset(str(path)) for band, path in paths.items()}


def place(key: str = "p", *, x: float = 500_000.0, y: float = 5_000_000.0, size: int = 16, **more) -> Place:
    return Place(key, more.pop("crs", UTM), x, y, size, more.pop("resolution", 10.0))


def load(folder: Path, mapping: dict, name: str = "recipe.yaml"):
    """A loaded recipe with what every recipe needs."""
    full = {"version": 1, "name": "t", "chips": {"size": 16, "resolution": 10}, **mapping}
    if not {"imagery", "labels"} & set(full):
        full["labels"] = {"worldcover": {"collection": "esa-worldcover", "edition": 2021, "catalog": "."}}
    path = folder / name
    path.write_text(yaml.safe_dump(full, sort_keys=False), encoding="utf-8")
    return load_recipe(path)


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def to_lonlat(crs: str, x, y):
    return transformer(crs, "EPSG:4326").transform(x, y)


def points(n: int, west: float = 10.0, *, south: float = 50.0, **columns) -> gpd.GeoDataFrame:
    """Points of a region of two degrees, always the same."""
    rng = np.random.default_rng(n)
    shapes = gpd.points_from_xy(west + rng.uniform(0, 2, n), south + rng.uniform(0, 2, n))
    return gpd.GeoDataFrame(columns or {"id": [f"{k:04d}" for k in range(n)]}, geometry=shapes, crs=4326)
