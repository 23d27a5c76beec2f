"""The demo world on disk: COGs of five products, the STAC items that describe them, and two vector files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from chipweave.demo import aerial, radar
from chipweave.demo import items as stac
from chipweave.demo.catalogue import Item
from chipweave.demo.grids import (
    Grid,
    boxed,
    corine_grid,
    covered_bbox,
    lonlat_bounds,
    sentinel_grids,
    worldcover_grids,
)
from chipweave.demo.land import Land, cover, land
from chipweave.demo.noise import F32
from chipweave.demo.paint import Texture, paint
from chipweave.demo.sky import PASSES, Sky, classify, sky, through
from chipweave.demo.vectors import Vectors
from chipweave.files import atomic_path, atomic_write_text

VERSION = 3
"""Counts up when the world of a seed changes: a folder of an older version is made anew."""

_TEN, _TWENTY = ("blue", "green", "red", "nir"), ("swir16", "red", "nir")
MARKER = "world.json"
"""What a finished world holds last of all."""


@dataclass(frozen=True)
class World:
    """A finished world.

    Parameters
    ----------
    folder
        Where it lies: ``<item id>/<asset>.tif``.
    items
        ItemCollection with hrefs relative to itself: a local catalog.
    bbox
        West, south, east, north in degrees; every point of it is on a Sentinel-2 tile.
    """

    folder: Path
    items: Path
    bbox: tuple[float, float, float, float]


def make_world(
    folder: Path, *, seed: int = 7, log: Callable[[str], None] | None = None, scale: float = 1.0
) -> World:
    """Make the demo world in `folder`, or take the one that is finished there.

    Parameters
    ----------
    folder
        Is made where it is missing.
    seed
        The same seed gives the same land, clouds and files.
    log
        Is told what is being done.
    scale
        Size of the world; tests make a small one. The land is the same.

    Raises
    ------
    ChipweaveError
        Disk full.
    UsageError
        The folder may not be written.
    """
    folder = Path(folder)
    say = log or (lambda _: None)
    west, east = sentinel_grids(scale)
    world = World(folder, folder / "items.json", covered_bbox(west, east))
    mark = json.dumps({"version": VERSION, "seed": seed, "scale": scale})
    marker = folder / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8") == mark:
        say(f"the demo world in {folder} is there already")
        return world
    marker.unlink(missing_ok=True)
    say("making hills, rivers, towns and roads")
    earth = land(seed)
    threads = min(4, os.cpu_count() or 1)
    # Files are written by threads of their own: waiting for the disk does not hold up the arithmetic.
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(threads) as writers:
        maker = _Maker(folder, earth, pool, writers, [])
        items = maker.sentinel((west, east), say)
        items += maker.radar((west, east), say)
        items += maker.aerial((west, east), say)
        items += maker.labels((west, east), say)
        say("surveying fields, woods and roads")
        Vectors(earth, lonlat_bounds((west, east)), pool).write(folder)
        for future in maker.writes:
            future.result()
    collection = {"type": "FeatureCollection", "features": items}
    atomic_write_text(world.items, json.dumps(collection, indent=1))
    atomic_write_text(marker, mark)
    return world


@dataclass(frozen=True)
class _Maker:
    folder: Path
    earth: Land
    pool: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    writes: list[Future[None]]

    def sentinel(self, tiles: tuple[Grid, ...], say: Callable[[str], None]) -> list[Item]:
        """The Sentinel-2 scenes: each pass over each tile."""
        items = []
        above = sky(self.earth.seed)
        for tile in tiles:
            say(f"taking pictures of tile {tile.name}")
            coarse = tile.halved()
            ten = np.empty((len(PASSES), len(_TEN), tile.height, tile.width), np.uint16)
            swir = np.empty((len(PASSES), coarse.height, coarse.width), np.uint16)
            scl = np.empty(swir.shape, np.uint8)
            jobs = [self.pool.submit(_fine, self.earth, above, tile, rows, ten) for rows in tile.strips()]
            jobs += [
                self.pool.submit(_coarse, self.earth, above, coarse, rows, swir, scl)
                for rows in coarse.strips()
            ]
            for job in jobs:
                job.result()
            for number, passing in enumerate(PASSES):
                ident = stac.sentinel_id(tile, passing)
                for row, band in enumerate(_TEN):
                    self._write(ident, band, tile, ten[number, row])
                self._write(ident, "swir16", coarse, swir[number])
                self._write(ident, "scl", coarse, scl[number], classes=True)
                count = np.bincount(scl[number].ravel(), minlength=12) / scl[number].size
                items.append(stac.sentinel_item(tile, passing, dict(enumerate(count.tolist()))))
        return items

    def radar(self, tiles: tuple[Grid, ...], say: Callable[[str], None]) -> list[Item]:
        """The Sentinel-1 scenes: each pass over all of the world, in the zone of its track."""
        say("listening to the radar's echo")
        items = []
        for epsg in dict.fromkeys(passing.epsg for passing in radar.PASSES):
            grid = boxed("radar", epsg, lonlat_bounds(tiles), 10.0, 200.0)
            numbers = [n for n, passing in enumerate(radar.PASSES) if passing.epsg == epsg]
            power = np.empty((len(numbers), len(radar.BANDS), grid.height, grid.width), np.float32)
            jobs = [self.pool.submit(_echo, self.earth, grid, rows, numbers, power) for rows in grid.strips()]
            for job in jobs:
                job.result()
            for number, bands in zip(numbers, power, strict=True):
                passing = radar.PASSES[number]
                for key, band in zip(radar.BANDS, bands, strict=True):
                    self._write(stac.radar_id(passing), key, grid, band, nodata=radar.NODATA)
                items.append(stac.radar_item(grid, passing))
        return items

    def aerial(self, tiles: tuple[Grid, ...], say: Callable[[str], None]) -> list[Item]:
        """The aeroplane's pictures, one after the other."""
        say("flying over it with a camera")
        items = []
        for quad in aerial.quads(lonlat_bounds(tiles)):
            picture = np.empty((len(aerial.BANDS), quad.height, quad.width), np.uint8)
            jobs = [self.pool.submit(_snap, self.earth, quad, rows, picture) for rows in quad.strips(64)]
            for job in jobs:
                job.result()
            self._write(stac.aerial_id(quad), "image", quad, picture, nodata=None)
            items.append(stac.aerial_item(quad))
        return items

    def labels(self, tiles: tuple[Grid, ...], say: Callable[[str], None]) -> list[Item]:
        """Land cover in two products."""
        say("drawing the land cover maps")
        items = []
        for grid in worldcover_grids(lonlat_bounds(tiles)):
            codes = np.empty((grid.height, grid.width), np.uint8)
            jobs = [self.pool.submit(_cover, self.earth, grid, rows, codes) for rows in grid.strips()]
            for job in jobs:
                job.result()
            self._write(stac.worldcover_id(grid), "map", grid, codes, classes=True)
            items.append(stac.worldcover_item(grid))
        grid = corine_grid(tiles)
        codes = self.earth.corine_at(*grid.points(slice(0, grid.height))).reshape(grid.height, grid.width)
        self._write(stac.corine_id(grid), "map", grid, codes, classes=True)
        return [*items, stac.corine_item(grid)]

    def _write(
        self,
        ident: str,
        key: str,
        grid: Grid,
        values: npt.NDArray[Any],
        *,
        classes: bool = False,
        nodata: float | None = 0,
    ) -> None:
        path = self.folder / ident / f"{key}.tif"
        self.writes.append(self.writers.submit(write_cog, path, grid, values, classes=classes, nodata=nodata))


def stored(reflectance: F32, seen: npt.NDArray[np.bool_], shift: int) -> npt.NDArray[np.uint16]:
    """What a product stores: reflectance x 10 000 + `shift`, at least 1; 0 where nothing is seen."""
    scaled = np.rint(reflectance * np.float32(10_000)) + shift
    values: npt.NDArray[np.uint16] = np.clip(scaled, 1, 65_535).astype(np.uint16)
    values[..., ~seen] = 0
    return values


def _fine(earth: Land, above: Sky, tile: Grid, rows: slice, out: npt.NDArray[np.uint16]) -> None:
    """The bands of 10 m of some rows of a tile, all passes."""
    x, y = tile.points(rows)
    ground = earth.ground(x, y)
    texture = Texture(ground)
    for number, (passing, air) in enumerate(zip(PASSES, above.air(x, y, ground.bumps), strict=True)):
        picture = through(paint(ground, texture, passing.time.date(), _TEN), air, _TEN)
        dn = stored(picture, air.seen, passing.shift)
        out[number, :, rows] = dn.reshape(len(_TEN), -1, tile.width)


def _coarse(
    earth: Land, above: Sky, grid: Grid, rows: slice, swir: npt.NDArray[np.uint16], scl: npt.NDArray[np.uint8]
) -> None:
    """The band of 20 m and the scene classification of some rows of a tile, all passes."""
    x, y = grid.points(rows)
    ground = earth.ground(x, y)
    texture = Texture(ground)
    for number, (passing, air) in enumerate(zip(PASSES, above.air(x, y, ground.bumps), strict=True)):
        clear = paint(ground, texture, passing.time.date(), _TWENTY)
        scl[number, rows] = classify(air, ground.water, clear[1], clear[2]).reshape(-1, grid.width)
        picture = through(clear[:1], air, _TWENTY[:1])
        swir[number, rows] = stored(picture, air.seen, passing.shift).reshape(-1, grid.width)


def _echo(earth: Land, grid: Grid, rows: slice, numbers: list[int], out: F32) -> None:
    """Both polarisations of some rows, of those passes."""
    x, y = grid.points(rows)
    ground = earth.ground(x, y)
    for at, number in enumerate(numbers):
        passing = radar.PASSES[number]
        echo = radar.backscatter(ground, passing) * radar.speckle(earth.seed, number, rows, grid.width)
        out[at, :, rows] = radar.stored(echo, passing.sees(x, y)).reshape(len(radar.BANDS), -1, grid.width)


def _snap(earth: Land, grid: Grid, rows: slice, out: npt.NDArray[np.uint8]) -> None:
    out[:, rows] = aerial.counts(earth.ground(*grid.points(rows))).reshape(len(out), -1, grid.width)


def _cover(earth: Land, grid: Grid, rows: slice, out: npt.NDArray[np.uint8]) -> None:
    out[rows] = cover(earth.ground(*grid.points(rows))).reshape(-1, grid.width)


def write_cog(
    path: Path, grid: Grid, values: npt.NDArray[Any], *, classes: bool, nodata: float | None = 0
) -> None:
    """Write one band (height, width), or several (band, height, width), as a COG of 256 px blocks with overviews."""
    bands = values if values.ndim == 3 else values[None]
    profile = {
        "driver": "COG", "dtype": values.dtype.name, "count": len(bands), "crs": grid.crs, "transform": grid.affine,
        "height": grid.height, "width": grid.width, "nodata": nodata, "blocksize": 256, "compress": "DEFLATE",
        "level": 1, "predictor": "NO" if classes else "YES", "overview_resampling": "MODE" if classes else "AVERAGE",
        "overview_predictor": "NO" if classes else "YES",
    }  # fmt: skip
    with atomic_path(path) as temporary, rasterio.open(temporary, "w", **profile) as dataset:
        dataset.write(bands, window=Window(0, 0, grid.width, grid.height))
