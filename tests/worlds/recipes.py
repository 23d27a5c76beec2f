"""Recipes of the tests, as mappings."""

from __future__ import annotations

import json
from pathlib import Path

from worlds.analytic import KEYS, footprint

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
        "chips": {"size": 64, "resolution": 10, "crs": "utm", "sampling": {"method": "grid"}, **(chips or {})},
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
