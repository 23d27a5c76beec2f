"""The ground that is measured on: the shared world, or a small one of our own with the same names and layers.

Both hold Sentinel-2-like scenes A (the chips' own grid) and D (the next zone), Sentinel-1-like VV and VH, WorldCover
and CORINE over one square of chips, as files that are named alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds, transform_geom

from chipweave.model import Asset, Place, Scene

CRS = "EPSG:32632"
X, Y = 668960.0, 5336640.0
"""Upper left corner of the chips, as in the shared world."""

FLAT_X, FLAT_Y = 33 * 20480.0, 260 * 20480.0
"""That of the flat world: a corner of tiles, so that all of them are full."""

BANDS = {
    "blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir08": "B8A", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""Common name to the key in the world's files; the first four at 10 m, the others at 20 m."""

FINE = ("blue", "green", "red", "nir")

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]
"""(west, south, east, north)."""


@dataclass(frozen=True, slots=True)
class World:
    """A folder of files, and the square of chips on it: `side` pixels of 10 m, chips of `chip` pixels."""

    folder: Path
    side: int = 4096
    chip: int = 256
    name: str = "shared"

    @property
    def places(self) -> list[Place]:
        """All chips, row by row."""
        return self.finer(1)

    def finer(self, times: int) -> list[Place]:
        """The square in chips of pixels of 10 m over `times`: a longer job on the same ground."""
        n, step = self.side // self.chip * times, self.chip * 10.0 / times
        return [
            Place(f"{r:03d}-{c:03d}", CRS, X + c * step, Y - r * step, self.chip, 10.0 / times)
            for r in range(n)
            for c in range(n)
        ]

    @property
    def dates(self) -> Mapping[str, datetime]:
        """When the scenes were taken."""
        first = datetime(2025, 6, 1, 10, tzinfo=UTC)
        return {
            "A": first,
            "B": first,
            "C": datetime(2025, 6, 11, 10, tzinfo=UTC),
            "D": first + timedelta(minutes=5),
        }

    def path(self, name: str) -> Path:
        """One file: ``A_B02``, ``S1_vv``, ``WC``."""
        return self.folder / f"{name}.tif"

    def scene(self, name: str) -> Scene:
        """A Sentinel-2 scene as the pixels room takes it: offset -1000, as the world's items state it."""
        assets = {band: Asset(str(self.path(f"{name}_{key}")), add=-1000.0) for band, key in BANDS.items()}
        assets["scl"] = Asset(str(self.path(f"{name}_SCL")))
        return Scene(
            "s2", name, "sentinel-2-l2a", self.dates[name], shapely.box(11, 47, 12, 49), assets=assets
        )

    def label(self, name: str, band: str) -> Scene:
        """``WC`` or ``CLC`` as the labels room takes it."""
        at = datetime(2021, 1, 1, tzinfo=UTC)
        return Scene(
            name, name, name, at, shapely.box(11, 47, 12, 49), assets={band: Asset(str(self.path(name)))}
        )

    @property
    def sparse(self) -> list[Place]:
        """A few chips far apart on scene A: every 20 km of the shared world, every third chip of our own."""
        away = 8 if self.name == "shared" else 3
        first = -2 if self.name == "shared" else 0  # the shared scene begins 9 km west of its square
        step = self.chip * 10.0
        last = 3 if self.name == "shared" else -(-(self.side // self.chip) // away)
        return [
            Place(f"{r}-{c}", CRS, X + (first + c * away) * step, Y - r * away * step, self.chip, 10.0)
            for r in range(last)
            for c in range(last)
        ]

    def bounds(self, name: str) -> Box:
        """(west, south, east, north) of a file, in its own CRS."""
        return _bounds(self.path(name))[1]

    @property
    def seam(self) -> list[Place]:
        """Chips of twice the side, wider than the overlap of A and B, in three columns: on A, over the seam, on B."""
        size = 2 * self.chip
        east, west = self.bounds("A_B02")[2], self.bounds("B_B02")[0]
        spare = size * 10 - (east - west)
        if spare < 40:
            raise ValueError(f"A and B overlap by {east - west} m: no chip of {size} px needs both")
        x = west - spare // 40 * 20
        return [
            Place(f"seam-{r}-{c}", CRS, x + c * size * 10, Y - r * size * 10, size, 10.0)
            for r in range(min(3, self.side // size))
            for c in (-1, 0, 1)
        ]


def smooth(height: int, width: int, seed: int) -> Array:
    """Hills and noise around 0, about ±1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / 61.0
    hills = np.sin(x + seed) * np.cos(y - seed)
    return np.asarray(hills + 0.15 * rng.standard_normal((height, width), np.float32), np.float32)


def write_tif(path: Path, values: Array, crs: str, affine: Affine, nodata: float, block: int) -> None:
    """A tiled DEFLATE file with the predictor of its type."""
    predictor = 3 if values.dtype.kind == "f" else 2 if values.dtype.itemsize > 1 else 1
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype, crs=crs,
        transform=affine, nodata=nodata, tiled=True, blockxsize=block, blockysize=block, compress="deflate",
        predictor=predictor,
    ) as file:  # fmt: skip
        file.write(values, 1)


def small_world(folder: Path, side: int, chip: int, block: int) -> World:
    """Our own world, made once: what can be measured where the shared one is absent."""
    made = World(folder, side, chip, f"own, {side} px")
    done = folder / "done-abcd"
    if done.is_file():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    square = (X, Y - side * 10, X + side * 10, Y)
    # B's overlap with A, 40 px to spare on either side, is 19 tenths of a chip, as in the shared world.
    east = side * 10 + 800 - 19 * chip
    beside = (X + east, square[1], X + east + side * 10, Y)
    for name, crs, over in (
        ("A", CRS, square),
        ("B", CRS, beside),
        ("C", CRS, square),
        ("D", "EPSG:32633", square),
    ):
        first = ord(name) - ord("A")
        for i, (band, key) in enumerate(BANDS.items()):
            res = 10 if band in FINE else 20
            _write(made, f"{name}_{key}", crs, over, res, ("uint16", 500, 2200, 0), 100 * first + i, block)
        _write(made, f"{name}_SCL", crs, over, 20, ("uint8", 2, 6, 0), 100 * first + 20, block)
    for i, key in enumerate(("vv", "vh")):
        _write(made, f"S1_{key}", "EPSG:32633", square, 10, ("float32", 0.1, 0.3, -32768), 30 + i, block)
    _write(made, "WC", "EPSG:4326", square, 1 / 12000, ("uint8", 3, 5, 0), 40, block)
    _write(made, "CLC", "EPSG:3035", square, 100, ("uint8", 15, 22, 0), 41, block)
    done.touch()
    return made


def _write(
    made: World, name: str, crs: str, square: tuple[float, ...], res: float,
    values: tuple[str, float, float, float], seed: int, block: int,
) -> None:  # fmt: skip
    """One file that covers the square with 40 pixels to spare, on a grid of its own resolution."""
    dtype, spread, middle, nodata = values
    west, south, east, north = transform_bounds(CRS, crs, *square, densify_pts=21)
    west, north = (math.floor(west / res) - 40) * res, (math.ceil(north / res) + 40) * res
    width, height = math.ceil((east - west) / res) + 40, math.ceil((north - south) / res) + 40
    field = smooth(height, width, seed) * spread + middle
    if name == "WC":
        field = np.clip(np.round(field), 1, 10) * 10
    elif dtype == "uint8":
        field = np.clip(np.round(field), 1, 11 if "SCL" in name else 44)
    write_tif(
        made.path(name), field.astype(dtype), crs, from_origin(west, north, res, res), nodata,
        min(block * (2 if name == "WC" else 1), 1024),
    )  # fmt: skip


def flat_world(folder: Path, tiles: tuple[int, int], tile: int) -> Path:
    """A scene over `tiles` (rows, columns) of `tile` px, all 10 bands out of two files: for memory, not for speed.

    Returns
    -------
    Path
        Its ItemCollection.
    """
    catalog = folder / "items.json"
    if catalog.is_file():
        return catalog
    folder.mkdir(parents=True, exist_ok=True)
    height, width = tiles[0] * tile, tiles[1] * tile
    files = {}
    for name, res, dtype in (("fine", 10, "uint16"), ("coarse", 20, "uint16"), ("scl", 20, "uint8")):
        k = res // 10
        ramp = np.arange(width // k) // 512 + (4 if dtype == "uint8" else 2000)
        values = np.broadcast_to(ramp.clip(max=11 if dtype == "uint8" else 9999), (height // k, width // k))
        files[name] = folder / f"{name}.tif"
        write_tif(files[name], values.astype(dtype), CRS, from_origin(FLAT_X, FLAT_Y, res, res), 0, 512)
    hrefs = {key: files["fine" if band in FINE else "coarse"] for band, key in BANDS.items()}
    bounds = (FLAT_X, FLAT_Y - height * 10, FLAT_X + width * 10, FLAT_Y)
    item = s2_item("F", CRS, bounds, "2025-06-01T10:00:00Z", {**hrefs, "SCL": files["scl"]})
    return write_items(catalog, [item])


def flat_places(tiles: tuple[int, int], tile: int, chip: int) -> list[Place]:
    """The chips of some whole tiles of it."""
    n, step = tile // chip, chip * 10.0
    return [
        Place(f"{r}-{c}", CRS, FLAT_X + c * step, FLAT_Y - r * step, chip, 10.0)
        for r in range(tiles[0] * n)
        for c in range(tiles[1] * n)
    ]


def outline(crs: str, bounds: tuple[float, ...]) -> dict[str, Any]:
    """A rectangle of a CRS in lon/lat, densely: straight in the projection, not in degrees."""
    ring = shapely.segmentize(shapely.box(*bounds), (bounds[2] - bounds[0]) / 64)
    geometry: dict[str, Any] = transform_geom(crs, "EPSG:4326", shapely.geometry.mapping(ring))
    return geometry


def _item(
    ident: str, collection: str, crs: str, bounds: tuple[float, ...], properties: dict[str, Any],
    hrefs: Mapping[str, Path],
) -> dict[str, Any]:  # fmt: skip
    geometry = outline(crs, bounds)
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": ident, "collection": collection,
        "geometry": geometry, "bbox": list(shapely.geometry.shape(geometry).bounds), "links": [],
        "properties": {"proj:epsg": int(crs.removeprefix("EPSG:")), "proj:bbox": list(bounds), **properties},
        "assets": {key: {"href": str(path), "type": "image/tiff", "roles": ["data"]} for key, path in hrefs.items()},
    }  # fmt: skip


def s2_item(
    ident: str, crs: str, bounds: tuple[float, ...], time: str, hrefs: Mapping[str, Path], cloud: float = 0.0
) -> dict[str, Any]:
    """A Sentinel-2 item under its canonical name; its baseline says that the offset is in the values."""
    facts = {"datetime": time, "eo:cloud_cover": cloud, "s2:processing_baseline": "05.10"}
    return _item(ident, "sentinel-2-l2a", crs, bounds, facts, hrefs)


def write_items(path: Path, items: list[dict[str, Any]]) -> Path:
    """An ItemCollection."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    return path


def _bounds(path: Path) -> tuple[str, Box]:
    with rasterio.open(path) as file:
        west, south, east, north = file.bounds
        return f"EPSG:{file.crs.to_epsg()}", (west, south, east, north)


def dated(world: World, dates: int, folder: Path) -> Path:
    """An ItemCollection of scene A on so many days, each with files of its own name (links: the disk holds one)."""
    items = []
    for day in range(1, dates + 1):
        hrefs = {key: folder / f"{day:02d}_{key}.tif" for key in (*BANDS.values(), "SCL")}
        for key, path in hrefs.items():
            path.unlink(missing_ok=True)
            path.hardlink_to(world.path(f"A_{key}"))
        crs, bounds = _bounds(hrefs["B02"])
        items.append(s2_item(f"A{day:02d}", crs, bounds, f"2025-06-{day:02d}T10:00:00Z", hrefs, float(day)))
    return write_items(folder / "items.json", items)


def catalog(world: World, scenes: str) -> Path:
    """An ItemCollection, beside the world's files, of some of its scenes and both label products."""
    path = world.folder / f"catalog-{scenes}.json"
    items = []
    for name in scenes:
        hrefs = {key: world.path(f"{name}_{key}") for key in (*BANDS.values(), "SCL")}
        crs, bounds = _bounds(hrefs["B02"])
        items.append(s2_item(name, crs, bounds, f"{world.dates[name]:%Y-%m-%dT%H:%M:%SZ}", hrefs))
    for name, collection, facts in (
        (
            "WC",
            "esa-worldcover",
            {"datetime": "2021-01-01T00:00:00Z", "esa_worldcover:product_version": "2.0.0"},
        ),
        ("CLC", "corine", {"datetime": "2018-01-01T00:00:00Z", "corine:edition": 2018}),
    ):
        crs, bounds = _bounds(world.path(name))
        items.append(_item(name, collection, crs, bounds, facts, {"map": world.path(name)}))
    return write_items(path, items)
