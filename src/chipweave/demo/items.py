"""STAC items of the demo world, as plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from chipweave.demo import aerial, radar
from chipweave.demo.catalogue import AERIAL, CORINE, RADAR, SENTINEL, WORLDCOVER, Item
from chipweave.demo.grids import Grid
from chipweave.demo.land import LAT0, LON0, plane
from chipweave.demo.radar import RadarPass
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
    "sar": f"{_SCHEMAS}/sar/v1.0.0/schema.json",
    "sat": f"{_SCHEMAS}/sat/v1.0.0/schema.json",
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
        footprint = footprint.intersection(_swath(passing.edge, SLANT))
    return _item(ident, SENTINEL, footprint, properties, assets, ("eo", "raster", "epsg", "grid"))


def radar_id(passing: RadarPass) -> str:
    """Id in the manner of Planetary Computer: start, end, absolute orbit."""
    start, end = (passing.time + timedelta(seconds=s) for s in (-12.5, 12.5))
    name = f"S1{passing.platform[-1]}_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}"
    return f"{name}_{_absolute(passing):06d}_rtc"


def _absolute(passing: RadarPass) -> int:
    """Number of an orbit since launch: 175 in 12 days."""
    days = (passing.time - datetime(2014, 4, 16, tzinfo=UTC)).total_seconds() / 86_400
    return round(days * 175 / 12)


def radar_item(grid: Grid, passing: RadarPass) -> Item:
    """Item of one pass of the radar, as Planetary Computer tells it: projection and orbit stand at the item."""
    ident, start = radar_id(passing), passing.time - timedelta(seconds=12.5)
    a = grid.affine
    left, bottom, right, top = grid.bounds
    properties = {
        "datetime": stamp(passing.time), "start_datetime": stamp(start),
        "end_datetime": stamp(start + timedelta(seconds=25)), "created": stamp(start + timedelta(days=1)),
        "platform": passing.platform, "constellation": "Sentinel-1", "proj:epsg": grid.epsg,
        "proj:bbox": [left, bottom, right, top], "proj:shape": [grid.height, grid.width],
        "proj:transform": [a.a, a.b, a.c, a.d, a.e, a.f, 0.0, 0.0, 1.0],
        "sat:orbit_state": passing.state, "sat:relative_orbit": passing.orbit,
        "sat:absolute_orbit": _absolute(passing), "sar:instrument_mode": "IW", "sar:frequency_band": "C",
        "sar:center_frequency": 5.405, "sar:polarizations": ["VV", "VH"], "sar:product_type": "GRD",
        "sar:looks_equivalent_number": radar.LOOKS, "sar:observation_direction": "right",
    }  # fmt: skip
    raster = {"nodata": radar.NODATA, "data_type": "float32", "spatial_resolution": grid.step}
    assets = {
        band: {
            "href": f"./{ident}/{band}.tif", "type": _COG, "roles": ["data"], "raster:bands": [raster],
            "title": f"{band.upper()}: vertical transmit, {receive} receive",
            "description": "Terrain-corrected gamma naught values, linear power",
        }
        for band, receive in (("vh", "horizontal"), ("vv", "vertical"))
    }  # fmt: skip
    footprint: BaseGeometry = shapely.Polygon(grid.ring())
    if passing.edge is not None:
        footprint = footprint.intersection(_swath(passing.edge, passing.lean))
    return _item(ident, RADAR, footprint, properties, assets, ("sar", "sat", "raster", "epsg"))


def aerial_id(grid: Grid) -> str:
    """Id in the manner of NAIP: state, quad, zone, resolution in centimetres, day."""
    return f"zz_m_{grid.name}_{grid.epsg % 100}_{grid.step * 100:03.0f}_{aerial.TIME:%Y%m%d}"


def aerial_item(grid: Grid) -> Item:
    """Item of one aerial picture: four bands in one file."""
    ident, a = aerial_id(grid), grid.affine
    properties = {
        "datetime": stamp(aerial.TIME), "gsd": grid.step, "naip:year": f"{aerial.TIME:%Y}", "naip:state": "zz",
        "proj:epsg": grid.epsg, "proj:bbox": list(grid.bounds), "proj:shape": [grid.height, grid.width],
        "proj:transform": [a.a, a.b, a.c, a.d, a.e, a.f, 0.0, 0.0, 1.0],
    }  # fmt: skip
    names = zip(("Red", "Green", "Blue", "NIR"), aerial.BANDS, strict=True)
    image = {
        "href": f"./{ident}/image.tif", "type": _COG, "roles": ["data"], "title": "RGBIR COG tile",
        "eo:bands": [{"name": name, "common_name": common} for name, common in names],
    }  # fmt: skip
    return _item(ident, AERIAL, shapely.Polygon(grid.ring()), properties, {"image": image}, ("eo", "epsg"))


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


def _swath(edge: float, lean: float) -> shapely.Polygon:
    """What is seen east of the swath's edge, which goes east by `lean` a metre north, in lon/lat, linear in both."""
    (mx,), _ = plane(LON0 + 1, LAT0)
    _, (my,) = plane(LON0, LAT0 + 1)
    y = 60_000.0
    low, high = (LON0 + (edge + lean * v) / float(mx) for v in (-y, y))
    south, north = LAT0 - y / float(my), LAT0 + y / float(my)
    return shapely.Polygon([(low, south), (LON0 + 2, south), (LON0 + 2, north), (high, north)])


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
