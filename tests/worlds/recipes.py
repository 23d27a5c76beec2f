"""Recipes of the tests, as mappings."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from worlds.analytic import KEYS
from worlds.stac import footprint

BANDS = ("blue", "green", "red", "nir", "rededge1", "swir16", "coastal")
LABELS = {
    "worldcover": {"collection": "esa-worldcover", "edition": 2021},
    "corine": {"collection": "corine", "edition": 2018},
}
JUNE, JULY, SUMMER = "2021-06-01/2021-06-30", "2021-07-01/2021-07-31", "2021-06-01/2021-08-31"


def imagery(time: str = JUNE, bands=BANDS, **more) -> dict:
    """An imagery layer that keeps everything: no chip is dropped for clouds or holes unless `more` says so."""
    assert set(bands) <= set(KEYS)
    return {
        "collection": "sentinel-2-l2a",
        "bands": list(bands),
        "time": time,
        "select": {"method": "least_cloudy"},
        "max_cloud": 100,
        "min_valid": 0,
        "write_mask": True,
        **more,
    }


def recipe(catalog: object, area: dict, s2: dict | None = None, *, chips: dict | None = None, **more) -> dict:
    made = {
        "version": 1,
        "name": "analytic",
        "catalog": str(catalog),
        "area": area,
        "chips": {
            "size": 64,
            "resolution": 10,
            "crs": "utm",
            "sampling": {"method": "grid"},
            **(chips or {}),
        },
        "imagery": {"s2": s2 or imagery()},
        "labels": LABELS,
        "output": {"formats": ["webdataset"], "samples_per_shard": 16},
        **more,
    }
    return {k: v for k, v in made.items() if v is not None}


def window(path: Path, crs: str, west: float, south: float, east: float, north: float) -> dict:
    """An area: a rectangle of a projected CRS, written as GeoJSON in lon/lat beside the recipe."""
    geometry = footprint(crs, (west, south, east, north))
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return {"geojson": path.name}


AREA = {"bbox": [11.935, 44.99, 11.955, 45.005]}
"""About 1.6 x 1.7 km within every scene of June and July of zone 32: 4 to 9 chips."""


def small(catalog: object, **more) -> dict:
    """A build of seconds: one band, no labels."""
    area = more.pop("area", AREA)
    s2 = imagery(**{"bands": ("red",), **more.pop("s2", {})})
    return recipe(catalog, area, s2, **{"labels": None, **more})


def set_key(mapping: dict, dotted: str, value) -> dict:
    made = copy.deepcopy(mapping)
    at = made
    *way, last = dotted.split(".")
    for step in way:
        at = at.setdefault(step, {})
    at[last] = value
    return made


REFERENCE = """\
version: 1
name: iberia-landcover
catalog: http://127.0.0.1:8080          # default for every layer: provider name, STAC API URL, or a path
area: {geojson: aoi.geojson}
chips: {size: 128, resolution: 10, crs: utm, sampling: {method: grid}}
imagery:
  s2:
    collection: sentinel-2-l2a
    bands: [blue, green, red, nir, rededge1, swir16, coastal]
    time: 2021-06-01/2021-08-31
    select: {method: least_cloudy}
    max_cloud: 10
    min_valid: 99
labels:
  worldcover: {collection: esa-worldcover, edition: 2021}
  corine: {collection: corine, edition: 2018, scene_labels: {remap: bigearthnet-19}}
split: {method: blocks, block_km: 10, fractions: {train: 0.6, val: 0.2, test: 0.2}, buffer_m: 640, stratify: worldcover, seed: 7}
output: {formats: [webdataset, zarr], samples_per_shard: 256}
"""  # noqa: E501 - its own lines
"""The contract's, word for word, without `s1`."""
