"""The analytic world: every product is point samples of a known function on its own grid and CRS.

Everything that can be missing or bad (scene extent, holes, swath edge, cloud patches) lies on 60 m cells, so that
bands of 10, 20 and 60 m and the scene classification agree on what is data and what is cloud.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from worlds.fields import Classes, Field, Frame

CELL = 60
SPIKE = 9000
"""Value of every band in a bad pixel: a leak shows at once."""
BAD = (3, 8, 9, 10)
VALID_SCL = (2, 4, 5, 6, 7, 11, 1)
"""Codes that stay valid, 1 (saturated) included, painted in stripes."""

KEYS = {
    "coastal": ("B01", 60),
    "blue": ("B02", 10),
    "green": ("B03", 10),
    "red": ("B04", 10),
    "rededge1": ("B05", 20),
    "nir": ("B08", 10),
    "swir16": ("B11", 20),
}


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input(source), CRS.from_user_input(target), always_xy=True)


def lonlat(crs: str, x, y):
    return transformer(crs, "EPSG:4326").transform(x, y)


def s2_fields(frame: Frame) -> dict[str, Field]:
    """One function a band: wavelengths about 1.5 km, amplitudes 1000 to 3000, all above zero."""
    made = {}
    for n, name in enumerate(KEYS):
        amplitude = 1000 + 250 * n
        waves = (
            (0.6 * amplitude, 1500.0, 20.0 + 37 * n, 0.3 * n),
            (0.4 * amplitude, 1900.0, 110.0 + 29 * n, 1.0 + 0.7 * n),
        )
        made[name] = Field(frame, amplitude + 600, waves)
    return made


@dataclass(frozen=True)
class Patch:
    """A rectangle of 60 m cells with one SCL code; code 0 is a hole without data."""

    code: int
    col: int
    row: int
    width: int
    height: int


@dataclass(frozen=True)
class Scene:
    """A Sentinel-2-like scene: upper left corner (x, y) in `epsg`, `cols` x `rows` cells of 60 m.

    `offset` says how the +1000 of baseline 04.00 is stored and told: ``old`` (not there), ``new`` (there, told by the
    baseline alone), ``stated`` (there, and stated for the asset), ``applied`` (gone, though the asset still
    states it: Earth Search). `swath`: cells with col + 0.35 row >= swath are without data. `shift` (DN) tells dates
    apart.
    """

    id: str
    epsg: int
    x: float
    y: float
    cols: int
    rows: int
    time: str
    fields: dict[str, Field]
    offset: str = "old"
    shift: int = 0
    patches: tuple[Patch, ...] = ()
    swath: float | None = None
    style: str = "earth"
    cloud: float = 5.0
    lacks: tuple[str, ...] = ()

    @property
    def crs(self) -> str:
        return f"EPSG:{self.epsg}"

    @property
    def stored(self) -> int:
        return 1000 if self.offset in ("new", "stated") else 0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.x, self.y - self.rows * CELL, self.x + self.cols * CELL, self.y

    @cached_property
    def cells(self) -> np.ndarray:
        """SCL code of every 60 m cell, (rows, cols); 0 is no data."""
        row, col = np.mgrid[: self.rows, : self.cols]
        codes = np.asarray(VALID_SCL, np.uint8)[(col // 5) % len(VALID_SCL)]
        for p in self.patches:
            codes[p.row : p.row + p.height, p.col : p.col + p.width] = p.code
        if self.swath is not None:
            codes[col + 0.35 * row >= self.swath] = 0
        return codes

    def codes(self, res: int) -> np.ndarray:
        """`cells` on the grid of a resolution."""
        n = CELL // res
        return self.cells.repeat(n, axis=0).repeat(n, axis=1)

    def affine(self, res: int) -> Affine:
        return Affine(res, 0.0, self.x, 0.0, -res, self.y)

    def truth(self, band: str, lon, lat):
        """What a pixel at that point should say, in DN without the stored offset."""
        return self.fields[band].value(lon, lat) + self.shift

    def raster(self, band: str, lon, lat, res: int) -> np.ndarray:
        stored = np.rint(self.truth(band, lon, lat)) + self.stored
        codes = self.codes(res)
        stored[np.isin(codes, BAD)] = SPIKE + self.stored
        assert stored.min() >= 1
        stored[codes == 0] = 0
        return stored.astype(np.uint16)

    def code_at(self, x, y, res: int = 20):
        """SCL code of the cell under points in the scene's CRS; 0 outside. Any `res` gives the same."""
        col = np.floor((x - self.x) / res).astype(int)
        row = np.floor((self.y - y) / res).astype(int)
        n = CELL // res
        inside = (col >= 0) & (row >= 0) & (col < self.cols * n) & (row < self.rows * n)
        cells = self.cells
        found = cells[np.clip(row // n, 0, self.rows - 1), np.clip(col // n, 0, self.cols - 1)]
        return np.where(inside, found, 0)


@dataclass(frozen=True)
class LabelRaster:
    """A class raster: point samples of `classes` at the pixel centres of its own grid."""

    id: str
    collection: str
    crs: str
    affine: Affine
    shape: tuple[int, int]
    classes: Classes
    year: int
    properties: dict[str, object] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        a, (rows, cols) = self.affine, self.shape
        return a.c, a.f + rows * a.e, a.c + cols * a.a, a.f

    def raster(self) -> np.ndarray:
        rows, cols = self.shape
        x = self.affine.c + (np.arange(cols) + 0.5) * self.affine.a
        y = self.affine.f + (np.arange(rows) + 0.5) * self.affine.e
        return self.classes.value(*lonlat(self.crs, *np.meshgrid(x, y)))


def worldcover(frame: Frame, bounds, *, year: int = 2021, phase: float = 0.4, ident: str = "") -> LabelRaster:
    """Classes of about 1 km on the grid of WorldCover (1/12000 degree, anchored at whole degrees)."""
    west, south, east, north = bounds
    px = 1 / 12000
    col, row = np.floor(west / px), np.ceil(north / px)
    shape = (int(row - np.floor(south / px)), int(np.ceil(east / px) - col))
    g = Field(frame, 0.0, ((0.6, 2600.0, 25.0, phase), (0.4, 2100.0, 105.0, 2.0 + phase)))
    classes = Classes(g, (-0.55, -0.2, 0.1, 0.45), (10, 30, 40, 50, 80))
    version = {2020: "1.0.0", 2021: "2.0.0"}[year]
    return LabelRaster(
        ident or f"ESA_WorldCover_10m_{year}_v{version[0]}00_N45E012",
        "esa-worldcover",
        "EPSG:4326",
        Affine(px, 0.0, col * px, 0.0, -px, row * px),
        shape,
        classes,
        year,
        {
            "datetime": None,
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
            "esa_worldcover:product_version": version,
        },
    )


def corine(frame: Frame, bounds, *, year: int = 2018) -> LabelRaster:
    """Classes of several km at 100 m in EPSG:3035; raster values 1..44."""
    west, south, east, north = bounds
    x, y = transformer("EPSG:4326", "EPSG:3035").transform(
        [west, east, east, west], [south, south, north, north]
    )
    x0, y0 = np.floor(min(x) / 100) * 100, np.ceil(max(y) / 100) * 100
    shape = (int(np.ceil((y0 - min(y)) / 100)), int(np.ceil((max(x) - x0) / 100)))
    g = Field(frame, 0.0, ((0.7, 6100.0, 70.0, 0.2), (0.3, 4700.0, 160.0, 1.1)))
    classes = Classes(g, (-0.5, 0.0, 0.5), (12, 24, 2, 41))
    return LabelRaster(
        f"U2018_CLC{year}_V2020",
        "corine",
        "EPSG:3035",
        Affine(100.0, 0.0, x0, 0.0, -100.0, y0),
        shape,
        classes,
        year,
        {
            "datetime": f"{year}-01-01T00:00:00Z",
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
        },
    )


def write_raster(path: Path, array: np.ndarray, crs: str, affine: Affine, nodata: float | None) -> None:
    """GeoTIFF, tiled 256, DEFLATE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = array if array.ndim == 3 else array[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=bands.shape[2],
        height=bands.shape[1],
        count=bands.shape[0],
        dtype=bands.dtype,
        crs=crs,
        transform=affine,
        nodata=nodata,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        zlevel=1,
    ) as out:
        out.write(bands)


def write_scene(scene: Scene, folder: Path) -> None:
    """All bands and the SCL of a scene as single-band files ``folder/id/KEY.tif``."""
    grids = {}
    for res in (10, 20, 60):
        n = CELL // res
        x = scene.x + (np.arange(scene.cols * n) + 0.5) * res
        y = scene.y - (np.arange(scene.rows * n) + 0.5) * res
        grids[res] = lonlat(scene.crs, *np.meshgrid(x, y))
    for band, (key, res) in KEYS.items():
        array = scene.raster(band, *grids[res], res)
        write_raster(folder / scene.id / f"{key}.tif", array, scene.crs, scene.affine(res), 0)
    write_raster(folder / scene.id / "SCL.tif", scene.codes(20), scene.crs, scene.affine(20), 0)


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
        assets[name] = {"href": f"./{scene.id}/SCL.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}
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


@dataclass
class World:
    """A folder of files, and its items with hrefs relative to it."""

    folder: Path
    frame: Frame
    scenes: dict[str, Scene]
    labels: dict[str, LabelRaster]

    def items(self, *ids: str) -> list[dict]:
        """Items of those ids (default all), the labels always."""
        chosen = ids or tuple(self.scenes)
        return [s2_item(self.scenes[i]) for i in chosen] + [label_item(v) for v in self.labels.values()]

    def catalog(self, name: str, *ids: str) -> Path:
        """Write an ItemCollection of those scenes and all labels next to their files."""
        return write_catalog(self.folder / f"{name}.json", self.items(*ids))


def write_catalog(path: Path, items: list[dict]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    return path


def make_world(folder: Path, frame: Frame, scenes, labels) -> World:
    """Write all files of a world."""
    for scene in scenes:
        write_scene(scene, folder)
    for label in labels:
        write_raster(folder / label.id / "map.tif", label.raster(), label.crs, label.affine, 0)
    return World(folder, frame, {s.id: s for s in scenes}, {v.id: v for v in labels})


BORDER = Frame(12.0, 45.0)
"""Where zones 32 and 33 meet."""
SOUTH = Frame(15.2, -20.0)


def border_world(folder: Path) -> World:
    """Two overlapping tiles, one a zone, on two dates; a third date over the west only; both labels.

    12 E lies at x = 736 467 in zone 32 and 263 533 in zone 33; both tiles reach some 2.5 km beyond it.
    """
    fields = s2_fields(BORDER)
    clouds_a = (Patch(9, 20, 30, 12, 9), Patch(8, 32, 30, 3, 3), Patch(3, 60, 80, 15, 6), Patch(10, 118, 60, 6, 6))
    clouds_b = (Patch(9, 70, 20, 14, 14), Patch(3, 84, 24, 8, 5), Patch(0, 10, 45, 7, 5), Patch(10, 30, 100, 5, 9))
    west = {"epsg": 32632, "x": 729960.0, "y": 4992000.0, "cols": 150, "rows": 130, "fields": fields}
    east = {"epsg": 32633, "x": 260940.0, "y": 4992600.0, "cols": 150, "rows": 130, "fields": fields}
    new = {"offset": "new", "shift": 200, "style": "pc"}
    scenes = [
        Scene("S2_32_0610", time="2021-06-10T10:10:31.024Z", patches=clouds_a, **west),
        Scene("S2_33_0610", time="2021-06-10T10:10:45.024Z", patches=clouds_a[2:], style="v11", **east),
        Scene("S2_32_0720", time="2021-07-20T10:10:31.024Z", patches=clouds_b, swath=140.0, cloud=2.0, **west, **new),
        Scene("S2_33_0720", time="2021-07-20T10:10:45.024Z", patches=clouds_b[:2], cloud=2.0, **east, **new),
        Scene(
            "S2_32_0824",
            time="2021-08-24T10:10:31.024Z",
            offset="applied",
            shift=-150,
            cloud=1.0,
            **{**west, "cols": 70},
        ),
        Scene(
            "S2_32_0831",
            time="2021-08-31T23:10:31.024Z",
            offset="stated",
            shift=90,
            cloud=0.5,
            style="v11",
            **{**west, "cols": 40, "rows": 60},
        ),
    ]
    area = (11.90, 44.955, 12.10, 45.06)
    labels = [
        worldcover(BORDER, area),
        worldcover(BORDER, area, year=2020, phase=1.9),
        corine(BORDER, area),
    ]
    return make_world(folder, BORDER, scenes, labels)


def south_world(folder: Path) -> World:
    """One tile in zone 33 S, where the lattice counts from 10 000 000."""
    x, y = transformer("EPSG:4326", "EPSG:32733").transform(SOUTH.lon0, SOUTH.lat0)
    x0, y0 = np.round(x / 20) * 20 - 2400, np.round(y / 20) * 20 + 2400
    scene = Scene(
        "S2_33S_0610",
        32733,
        float(x0),
        float(y0),
        80,
        80,
        "2021-06-10T09:10:31.024Z",
        s2_fields(SOUTH),
        offset="new",
        patches=(Patch(9, 30, 30, 6, 6),),
    )
    d = 0.03
    area = (SOUTH.lon0 - d, SOUTH.lat0 - d, SOUTH.lon0 + d, SOUTH.lat0 + d)
    return make_world(folder, SOUTH, [scene], [worldcover(SOUTH, area, ident="ESA_WorldCover_10m_2021_v200_S21E015")])


WIDE = Frame(12.0, 45.0)
PATCH_M = 3840


def wide_world(folder: Path) -> tuple[World, list[dict]]:
    """24 small scenes 12 km apart on both sides of 12 E: many blocks, few pixels. Also the squares of the area.

    A scene is 3840 m wide and holds 2 x 2 chips of 1280 m; four more scenes give a second date. One chip of each
    third patch is cloudy on the first date.
    """
    fields, scenes, squares, labels = s2_fields(WIDE), [], [], []
    for col in range(6):
        for row in range(4):
            lon, lat = WIDE.to_lonlat((col - 2.5) * 12000, (row - 1.5) * 12000)
            epsg = 32632 if lon < WIDE.lon0 else 32633
            x, y = transformer("EPSG:4326", f"EPSG:{epsg}").transform(lon, lat)
            x0, y0 = np.floor(x / 1280) * 1280 - 640.0, np.ceil(y / 1280) * 1280 + 640.0
            n = len(squares)
            common = {"epsg": epsg, "x": x0, "y": y0, "cols": PATCH_M // CELL, "rows": PATCH_M // CELL, "fields": fields}
            clouds = (Patch(9, 12, 12, 12, 12),) if n % 3 == 0 else ()
            time = f"2021-07-20T10:10:{31 + (epsg - 32632) * 14:02d}.024Z"
            scenes.append(
                Scene(f"S2_{n:02d}_0720", time=time, offset="new", shift=200, style="pc", patches=clouds, **common)
            )
            if n % 6 == 0:
                scenes.append(Scene(f"S2_{n:02d}_0611", time="2021-06-11T10:10:31.024Z", **common))
            # 10 m within the lattice's lines, so that exactly the 2 x 2 centres lie inside.
            squares.append(footprint(f"EPSG:{epsg}", (x0 + 650, y0 - 3190, x0 + 3190, y0 - 650)))
            box = bbox_of(footprint(f"EPSG:{epsg}", (x0, y0 - PATCH_M, x0 + PATCH_M, y0)))
            labels.append(worldcover(WIDE, box, ident=f"WC_2021_{n:02d}"))
    west, south = WIDE.to_lonlat(-42000, -30000)
    east, north = WIDE.to_lonlat(42000, 30000)
    labels.append(corine(WIDE, (float(west), float(south), float(east), float(north))))
    return make_world(folder, WIDE, scenes, labels), squares
