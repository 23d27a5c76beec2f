"""The short ways of `pixels.bands` equal the general one to the bit, and each stored block is decoded once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import rasterio
from affine import Affine

from chipweave.labels.remap import Recode
from chipweave.model import Asset, Legend, LegendClass, MaskRule
from chipweave.pixels import bands, blocks, codes, counts, gdal_session, source_grid
from chipweave.pixels.masks import mask_codes
from chipweave.pixels.radiometry import to_int16

UTM = "EPSG:32632"
X, Y = 600000.0, 5300040.0

GRIDS = {
    "same": (UTM, Affine(10, 0, X, 0, -10, Y)),
    "twice": (UTM, Affine(20, 0, X - 20, 0, -20, Y + 40)),
    "twice, odd": (UTM, Affine(20, 0, X - 10, 0, -20, Y + 30)),
    "off": (UTM, Affine(10, 0, X - 3.7, 0, -10, Y + 2.2)),
    "sixfold": (UTM, Affine(60, 0, X - 60, 0, -60, Y + 60)),
    "next zone": ("EPSG:32633", Affine(10, 0, 151001.0, 0, -10, 5309700.0)),
    "degrees": ("EPSG:4326", Affine(1 / 9000, 0, 10.335, 0, -1 / 9000, 47.8465)),
}
WINDOWS = [(0, 0, 40, 50), (-7, 13, 33, 31), (171, 150, 60, 61), (40, 41, 1, 2), (-300, 0, 20, 20)]


def write(path, grid, values, *, nodata=None, block=64):
    crs, affine = GRIDS[grid]
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype,
        crs=crs, transform=affine, nodata=nodata, tiled=True, blockxsize=block, blockysize=block, compress="deflate",
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


def target(row, col):
    return Affine(10, 0, X + col * 10, 0, -10, Y - row * 10)


def noise(dtype, holes, seed=0, side=200):
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, (side, side), endpoint=True).astype(dtype)
    values[values == 7] = 8
    if holes:
        values[rng.random(values.shape) < 0.01] = 7
        values[:60, :70] = 7
    return values


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8"])
@pytest.mark.parametrize("holes", [False, True])
def test_reflectance_equals_the_general_way(tmp_path, grid, dtype, holes):
    assets = [
        Asset(write(tmp_path / f"{n}.tif", grid, noise(dtype, holes and n != 1, n), nodata=7), add=add)
        for n, add in enumerate((-1000.0, 0.0, 5.0))
    ]
    met = 0
    with gdal_session():
        for row, col, height, width in WINDOWS:
            window = (UTM, target(row, col), (height, width))
            own = bands.read_int16(assets, None, *window, ["bilinear"] * 3)
            for i, asset in enumerate(assets):
                expected = to_int16(*bands.read_band(asset, None, *window, "bilinear"), 1.0, asset.add)
                np.testing.assert_array_equal(own[i], expected)
            met += (own != -32768).any()
    assert met >= 3


@pytest.mark.parametrize("grid", GRIDS)
def test_rules_and_gains_of_each_band_are_its_own(tmp_path, grid):
    assets = [
        Asset(write(tmp_path / "a.tif", grid, noise("uint16", holes=True), nodata=7), gain=0.5, add=3.0),
        Asset(write(tmp_path / "b.tif", grid, noise("uint16", holes=True, seed=1), nodata=7), add=-1000.0),
        Asset(write(tmp_path / "c.tif", grid, noise("uint16", holes=False, seed=2)), add=0.5),
        Asset(write(tmp_path / "d.tif", grid, noise("uint16", holes=True, seed=3)), nodata=7, add=1.0),
    ]
    methods = ["bilinear", "nearest", "bilinear", "bilinear"]
    window = (UTM, target(3, 5), (64, 70))
    with gdal_session():
        own = bands.read_int16(assets, None, *window, methods)
        for i, (asset, method) in enumerate(zip(assets, methods, strict=True)):
            stored = bands.read_band(asset, None, *window, method)
            np.testing.assert_array_equal(own[i], to_int16(*stored, asset.gain, asset.add))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_codes_equal_the_general_way(tmp_path, grid, dtype):
    values = (noise(dtype, holes=True) % 12).astype(dtype)
    asset = Asset(write(tmp_path / "scl.tif", grid, values, nodata=7))
    rule = MaskRule("scl", bad=(3, 8, 9), nodata=(0,))
    legend = Legend("l", tuple(LegendClass(c, str(c), "#000000") for c in (1, 4, 5)), 254)
    with gdal_session():
        for row, col, height, width in WINDOWS:
            window = (UTM, target(row, col), (height, width))
            for finish in (partial(mask_codes, rule=rule), Recode.of(legend, None, legend)):
                own = codes.read_codes(asset, None, *window, "nearest", finish)
                expected = finish(*bands.read_band(asset, None, *window, "nearest"))
                assert own.dtype == expected.dtype
                np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("holes", [False, True])
def test_floats_equal_the_general_way(tmp_path, grid, holes):
    rng = np.random.default_rng(5)
    assets = []
    for n in range(2):
        values = rng.gamma(4.0, 0.02, (200, 200)).astype("float32")
        if holes:
            values[rng.random(values.shape) < 0.02] = np.nan if n else -32768.0
        assets.append(Asset(write(tmp_path / f"{n}.tif", grid, values, nodata=-32768.0)))
    with gdal_session():
        for row, col, height, width in WINDOWS:
            window = (UTM, target(row, col), (height, width))
            for asset, (out, ok) in zip(
                assets, bands.read_bands(assets, None, *window, "bilinear"), strict=True
            ):
                expected, there = bands.read_band(asset, None, *window, "bilinear")
                np.testing.assert_array_equal(ok, there)
                np.testing.assert_array_equal(out, expected)


class TestBlocks:
    @pytest.fixture
    def source(self, tmp_path):
        self.values = noise("uint16", holes=False, side=300)
        return source_grid(write(tmp_path / "a.tif", "same", self.values))

    def test_any_window_after_any_other(self, source):
        rng = np.random.default_rng(1)
        with gdal_session():
            for _ in range(60):
                row, col = rng.integers(0, 290, 2)
                height, width = (int(rng.integers(1, 301 - at)) for at in (row, col))
                got = blocks.read_block(source, int(row), int(col), height, width)
                np.testing.assert_array_equal(got, self.values[row : row + height, col : col + width])

    def test_neighbours_decode_each_block_once(self, source):
        """300 px are five blocks of 64 a side; windows of 100 px meet at none of their borders."""
        counts.reset()
        with gdal_session():
            for row in range(0, 300, 100):
                for col in range(0, 300, 100):
                    blocks.read_block(source, row, col, 100, 100)
        assert counts.decoded == 25

    def test_only_what_is_asked_for(self, source):
        counts.reset()
        with gdal_session():
            blocks.read_block(source, 70, 130, 20, 20)
        assert counts.decoded == 1

    def test_the_cache_is_bounded(self, source, monkeypatch):
        monkeypatch.setattr("chipweave.pixels.read.CACHE_BYTES", 3 * 64 * 64 * 2)
        with gdal_session():
            for row in range(0, 300, 64):
                blocks.read_block(source, row, 0, 1, 300)
                assert blocks.handles.blocks.bytes <= 3 * 64 * 64 * 2
            assert len(blocks.handles.blocks) >= 3
        assert not blocks.handles.blocks
        assert not blocks.handles.blocks.bytes

    def test_a_file_that_changed_is_read_again(self, tmp_path, source):
        with gdal_session():
            blocks.read_block(source, 0, 0, 9, 9)
            other = noise("uint16", holes=False, seed=9, side=300)
            write(tmp_path / "b.tif", "same", other)
            (tmp_path / "b.tif").replace(source.href)
            got = bands.read_band(Asset(source.href), None, UTM, GRIDS["same"][1], (9, 9), "nearest")[0]
        np.testing.assert_array_equal(got, other[:9, :9])

    def test_rectangles_hold_each_block_once(self):
        rng = np.random.default_rng(2)
        for share in (0.2, 0.6, 0.95, 1.0):
            wanted = [(i, j) for i in range(7) for j in range(9) if rng.random() < share]
            covered = [
                (i, j)
                for top, left, bottom, right in blocks._rectangles(wanted)
                for i in range(top, bottom)
                for j in range(left, right)
            ]
            assert sorted(covered) == wanted
        assert blocks._rectangles([(i, j) for i in range(3) for j in range(4)]) == [(0, 0, 3, 4)]
