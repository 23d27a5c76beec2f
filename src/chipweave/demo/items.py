"""STAC items of the demo world, as plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from chipweave.demo.catalogue import CORINE, SENTINEL, WORLDCOVER, Item
from chipweave.demo.grids import Grid
from chipweave.demo.land import LAT0, LON0, plane
from chipweave.demo.sky import SLANT, Pass

BANDS: Final[Mapping[str, tuple[str, str, float]]] = {
    "blue": ("B02", "Blue (band 2) - 10m", 0.490),
    "green": ("B03", "Green (band 3) - 10m", 0.560),
    "red": ("B04", "Red (band 4) - 10m", 0.665),
    "nir": ("B08", "NIR 1 (band 8) - 10m", 0.842),
    "swir16": ("B11", "SWIR 1 (band 11) - 20m", 1.610),
}
"""Asset key: name of the band, title, central wavelength in micrometres."""

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SCHEMAS = "https://stac-extensions.github.io"
_EXTENSIONS = {
    "eo": f"{_SCHEMAS}/eo/v1.1.0/schema.json",
    "raster": f"{_SCHEMAS}/raster/v1.1.0/schema.json",
    "epsg": f"{_SCHEMAS}/projection/v1.1.0/schema.json",
    "code": f"{_SCHEMAS}/projection/v2.0.0/schema.json",
    "grid": f"{_SCHEMAS}/grid/v1.1.0/schema.json",
}


def sentinel_id(tile: Grid, passing: Pass) -> str:
    """Id in the manner of Earth Search."""
    return f"S2{passing.platform[-1].upper()}_{tile.name}_{passing.time:%Y%m%d}_0_L2A"


def sentinel_item(tile: Grid, passing: Pass, shares: Mapping[int, float]) -> Item:
    """Item of one tile of one pass.

    Parameters
    ----------
    shares
        Share of each SCL code among all pixels.
    """
    seen = max(1 - shares.get(0, 0.0), 1e-9)
    cloud = 100 * sum(shares.get(code, 0.0) for code in (8, 9, 10)) / seen
    time = passing.time + timedelta(seconds=18 if tile.epsg == 32631 else 14, milliseconds=417)
    ident = sentinel_id(tile, passing)
    properties = {
        "datetime": stamp(time), "created": stamp(time + timedelta(hours=9)),
        "updated": stamp(time + timedelta(hours=9)), "platform": passing.platform,
        "constellation": "sentinel-2", "instruments": ["msi"], "gsd": 10, "eo:cloud_cover": round(cloud, 4),
        "proj:epsg": tile.epsg, "grid:code": f"MGRS-{tile.name}", "mgrs:utm_zone": int(tile.name[:2]),
        "mgrs:latitude_band": tile.name[2], "mgrs:grid_square": tile.name[3:],
        "s2:processing_baseline": passing.baseline,
        "s2:datatake_id": f"GS2{passing.platform[-1].upper()}_{passing.time:%Y%m%dT%H%M%S}_{passing.orbit:06d}"
                          f"_N{passing.baseline}",
        "s2:nodata_pixel_percentage": round(100 * shares.get(0, 0.0), 4), "sat:relative_orbit": passing.orbit,
    }  # fmt: skip
    assets = {key: _band(ident, key, tile) for key in BANDS}
    assets["scl"] = _asset(
        ident, "scl", tile.halved(), "Scene classification map (SCL)", [{"nodata": 0, "data_type": "uint8"}]
    )
    footprint: BaseGeometry = shapely.Polygon(tile.ring())
    if passing.edge is not None:
        footprint = footprint.intersection(_swath(passing.edge))
    return _item(ident, SENTINEL, footprint, properties, assets, ("eo", "raster", "epsg", "grid"))


def worldcover_item(grid: Grid) -> Item:
    """Item of one tile of the land cover."""
    properties = {
        "datetime": None, "start_datetime": "2021-01-01T00:00:00Z", "end_datetime": "2021-12-31T23:59:59Z",
        "created": "2022-10-24T12:37:50Z", "mission": "sentinel-1, sentinel-2", "proj:epsg": 4326,
        "esa_worldcover:product_tile": f"demo{grid.name}", "esa_worldcover:product_version": "2.0.0",
    }  # fmt: skip
    ident = worldcover_id(grid)
    raster = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 10}]
    assets = {"map": _asset(ident, "map", grid, "Land Cover Classes", raster)}
    return _item(ident, WORLDCOVER, shapely.Polygon(grid.ring()), properties, assets, ("raster", "epsg"))


def worldcover_id(grid: Grid) -> str:
    """Id in the manner of the product's files."""
    return f"ESA_WorldCover_10m_2021_v200_demo{grid.name}"


def corine_item(grid: Grid) -> Item:
    """Item of the CORINE raster."""
    properties = {
        "datetime": None, "start_datetime": "2018-01-01T00:00:00Z", "end_datetime": "2018-12-31T23:59:59Z",
        "created": "2020-05-13T00:00:00Z", "proj:code": grid.crs,
    }  # fmt: skip
    raster = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 100}]
    assets = {"map": _asset(corine_id(grid), "map", grid, "CORINE Land Cover, raster values 1 to 44", raster)}
    return _item(
        corine_id(grid), CORINE, shapely.Polygon(grid.ring()), properties, assets, ("raster", "code")
    )


def corine_id(grid: Grid) -> str:
    """Id that names the edition."""
    return f"{grid.name}_demo"


def _item(
    ident: str,
    collection: str,
    shape: BaseGeometry,
    properties: Item,
    assets: Item,
    extensions: tuple[str, ...],
) -> Item:
    shape = shapely.set_precision(shape, 1e-8)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": ident, "collection": collection,
        "stac_extensions": [_EXTENSIONS[name] for name in extensions],
        "bbox": [round(v, 8) for v in shape.bounds],
        "geometry": mapping(shapely.orient_polygons(shape)), "properties": properties,
        "links": [{"rel": "collection", "type": "application/json", "href": f"./{collection}.json"}],
        "assets": assets,
    }  # fmt: skip


def _asset(ident: str, key: str, grid: Grid, title: str, bands: list[Item]) -> Item:
    a = grid.affine
    return {
        "href": f"./{ident}/{key}.tif", "type": _COG, "title": title, "roles": ["data"],
        "proj:shape": [grid.height, grid.width], "proj:transform": [a.a, a.b, a.c, a.d, a.e, a.f],
        "raster:bands": bands,
    }  # fmt: skip


def _band(ident: str, key: str, tile: Grid) -> Item:
    name, title, micrometres = BANDS[key]
    grid = tile.halved() if key == "swir16" else tile
    raster = {"nodata": 0, "data_type": "uint16", "spatial_resolution": grid.step, "scale": 0.0001}
    eo = {"name": name, "common_name": key, "center_wavelength": micrometres}
    asset = _asset(ident, key, grid, title, [raster])
    return asset | {"gsd": grid.step, "eo:bands": [eo], "roles": ["data", "reflectance"]}


def _swath(edge: float) -> shapely.Polygon:
    """What the satellite sees east of the swath's edge, in lon/lat: the plane is linear in both."""
    (mx,), _ = plane(LON0 + 1, LAT0)
    _, (my,) = plane(LON0, LAT0 + 1)
    y = 60_000.0
    low, high = (LON0 + (edge + SLANT * v) / float(mx) for v in (-y, y))
    south, north = LAT0 - y / float(my), LAT0 + y / float(my)
    return shapely.Polygon([(low, south), (LON0 + 2, south), (LON0 + 2, north), (high, north)])


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
