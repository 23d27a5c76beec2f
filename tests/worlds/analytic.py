"""The analytic world: every product is point samples of a known function on its own grid and CRS.

Everything that can be missing or bad (scene extent, holes, swath edge, cloud patches) lies on 60 m cells, so that
bands of 10, 20 and 60 m and the scene classification agree on what is data and what is cloud.
"""

from __future__ import annotations

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


def write_raster(
    path: Path, array: np.ndarray, crs: str, affine: Affine, nodata: float | None, tags: dict | None = None
) -> None:
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
        out.update_tags(**(tags or {}))
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
