"""STAC items of the analytic world, as the catalogs of this Earth tell them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from worlds.analytic import KEYS, LabelRaster, Scene, lonlat


def footprint(crs: str, bounds) -> dict:
    """Outline in lon/lat, 16 points a side: straight in the projection, not in degrees."""
    west, south, east, north = bounds
    t = np.linspace(0, 1, 17)[:-1]
    x = np.concatenate(
        [west + (east - west) * t, np.full(16, east), east - (east - west) * t, np.full(16, west)]
    )
    y = np.concatenate(
        [np.full(16, south), south + (north - south) * t, np.full(16, north), north - (north - south) * t]
    )
    lon, lat = lonlat(crs, x, y)
    ring = [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def bbox_of(geometry: dict) -> list[float]:
    ring = np.asarray(geometry["coordinates"][0])
    return [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]


def item(ident: str, collection: str, crs: str, bounds, properties: dict, assets: dict, **more) -> dict:
    """A STAC item; `more` goes to the top level."""
    geometry = footprint(crs, bounds)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": ident,
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox_of(geometry),
        "properties": properties,
        "links": [],
        "assets": assets,
        **more,
    }


def _s2_asset(scene: Scene, band: str, href: str, gsd: int) -> dict:
    key = KEYS[band][0]
    asset: dict[str, object] = {
        "href": href,
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data", "reflectance"],
        "gsd": gsd,
    }
    if scene.style == "v11":
        asset["bands"] = [{"name": key, "eo:common_name": band}]
    else:
        asset["eo:bands"] = [{"name": key, "common_name": band}]
    if scene.offset in ("applied", "stated"):
        # Earth Search states the offset of an asset whose pixels no longer have it: applying it again is wrong.
        asset["raster:bands"] = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
    return asset


def s2_item(scene: Scene) -> dict:
    """The scene as the catalogs tell it: keys of Earth Search (``earth``) or of Planetary Computer and CDSE."""
    assets = {}
    for band, (key, gsd) in KEYS.items():
        name = band if scene.style == "earth" else key
        if band not in scene.lacks:
            assets[name] = _s2_asset(scene, band, f"./{scene.id}/{key}.tif", gsd)
    if "scl" not in scene.lacks:
        name = "scl" if scene.style == "earth" else "SCL"
        assets[name] = {
            "href": f"./{scene.id}/SCL.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
        }
    # The true-colour picture of every catalog: it claims the bands too, and is the wrong file (here: no file).
    assets["visual"] = {
        "href": f"./{scene.id}/TCI.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["visual"],
        "eo:bands": [{"name": KEYS[b][0], "common_name": b} for b in ("red", "green", "blue")],
    }
    properties: dict[str, object] = {
        "datetime": scene.time,
        "platform": "sentinel-2a",
        "eo:cloud_cover": scene.cloud,
        "s2:processing_baseline": "02.14" if scene.offset == "old" else "05.10",
        "s2:generation_time": "2023-06-30T02:24:13.000000Z",
    }
    if scene.style == "v11":
        properties["proj:code"] = scene.crs
    else:
        properties["proj:epsg"] = scene.epsg
    if scene.offset == "applied":
        properties["earthsearch:boa_offset_applied"] = True
    made = item(scene.id, "sentinel-2-l2a", scene.crs, scene.bounds, properties, assets)
    made["stac_version"] = "1.1.0" if scene.style == "v11" else "1.0.0"
    return made


def label_item(label: LabelRaster) -> dict:
    assets = {
        "map": {
            "href": f"./{label.id}/map.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
        }
    }
    properties = {**label.properties, "proj:epsg": int(label.crs.removeprefix("EPSG:"))}
    return item(label.id, label.collection, label.crs, label.bounds, properties, assets)


def write_catalog(path: Path, items: list[dict]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    return path
