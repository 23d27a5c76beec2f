"""Raster labels onto another grid: modes that are mapped, planes that stay planes, whole numbers as quantities."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from chipweave.labels import LabelRead, read_label, target_of
from chipweave.labels.remap import Recode
from chipweave.model import Asset, Legend, LegendClass
from chipweave.pixels import gdal_session
from tiny import UTM, north_up, scene, write_tif

X, Y = 600_000.0, 5_250_000.0
SOURCE = Legend("s", tuple(LegendClass(c, str(c), "#000000") for c in (1, 2, 3, 4)), 0)
MADE = Legend("m", (LegendClass(0, "a", "#000000"), LegendClass(1, "b", "#000000")), 255, "uint8", 254)


def test_the_mode_is_taken_of_the_sources_classes_and_then_mapped(tmp_path):
    """Of 40 m over 10 m: four of 1, three of 2 and three of 3 (which become one) are 1; half without data is data."""
    rng = np.random.default_rng(9)
    fine = rng.integers(0, 5, (32, 32)).astype(np.uint8)
    fine[:4, :4] = np.array([1] * 6 + [2] * 5 + [3] * 5, np.uint8).reshape(4, 4)
    fine[:4, 4:8] = np.array([0] * 8 + [4] * 8, np.uint8).reshape(4, 4)
    fine[:4, 8:12] = np.array([0] * 9 + [4] * 7, np.uint8).reshape(4, 4)
    path = write_tif(tmp_path / "a.tif", fine, UTM, north_up(X, Y, 10), 0)
    table = {1: 0, 2: 1, 3: 1}
    read = LabelRead(MADE, "mode", None, "map", recode=Recode.of(SOURCE, table, MADE))
    item = scene(layer="lc", assets={"map": Asset(str(path))})
    with gdal_session():
        got = read_label(item, read, UTM, north_up(X, Y, 40), (8, 8))
    blocks = fine.reshape(8, 4, 8, 4).swapaxes(1, 2).reshape(8, 8, 16)
    counts = np.stack([(blocks == c).sum(axis=2) for c in range(5)], axis=2)
    most = counts[:, :, 1:].argmax(axis=2) + 1
    alone = (counts[:, :, 1:] == counts[:, :, 1:].max(axis=2, keepdims=True)).sum(axis=2) == 1
    expected = np.where(counts[:, :, 0] > 8, 255, np.array([255, 0, 1, 1, 254])[most])
    np.testing.assert_array_equal(got[alone], expected[alone])
    assert got[0, :3].tolist() == [0, 254, 255]
    target = target_of("lc", got, ["A"], {"A": item}, read)
    assert target.said["lc"]["ignored"] == pytest.approx((got > 1).mean())


@pytest.mark.parametrize(
    ("stored", "gain", "add"), [(np.float32, 1.0, 0.0), (np.int16, 0.1, -5.0), (np.float64, 2.0, 1.0)]
)
def test_a_plane_in_another_crs_stays_a_plane(tmp_path, stored, gain, add):
    """Bilinear of a plane is the plane at the pixel centre; of whole numbers too, which lie between two of them."""
    to = pyproj.Transformer.from_crs(UTM, "EPSG:3035", always_xy=True)
    east, north = (round(v / 100) * 100 for v in to.transform(X, Y))
    cols, rows = np.meshgrid(np.arange(80), np.arange(80))
    plane = 300 + 2.0 * cols - 3.0 * rows
    path = write_tif(
        tmp_path / "a.tif", plane.astype(stored), "EPSG:3035", north_up(east - 2000, north + 2000, 100)
    )
    item = scene(layer="h", assets={"map": Asset(str(path), gain=gain, add=add)})
    read = LabelRead(None, "bilinear", None, "map", gain=0.5, add=1.0)
    with gdal_session():
        got = read_label(item, read, UTM, north_up(X, Y, 10), (64, 64))
    xs, ys = np.meshgrid(X + 10 * np.arange(64) + 5, Y - 10 * np.arange(64) - 5)
    u, v = to.transform(xs, ys)
    truth = 300 + 2.0 * ((u - east + 2000) / 100 - 0.5) - 3.0 * ((north + 2000 - v) / 100 - 0.5)
    np.testing.assert_allclose(got, (truth * gain + add) * 0.5 + 1.0, atol=2e-3 * gain)
    assert got.dtype == np.float32
    assert len(np.unique(got)) > 1000


def test_numbers_are_averaged_and_holes_are_nan(tmp_path):
    fine = np.arange(64, dtype=np.uint8).reshape(8, 8)
    fine[:4, :4], fine[4, 4] = 255, 255
    path = write_tif(tmp_path / "a.tif", fine, UTM, north_up(X, Y, 10), 255)
    item = scene(layer="h", assets={"map": Asset(str(path))})
    read = LabelRead(None, "mean", None, "map")
    with gdal_session():
        got = read_label(item, read, UTM, north_up(X, Y, 40), (2, 3))
    assert np.isnan(got[0, 0])
    assert np.isnan(got[:, 2]).all()
    assert got[0, 1] == fine[:4, 4:].mean()
    held = fine[4:, 4:].astype(float).ravel()[1:]
    assert got[1, 1] == pytest.approx(held.mean())
    other = np.where(np.isnan(got), np.float32(7), np.float32(9))
    np.testing.assert_array_equal(read.compose([got, other])[0], [7, got[0, 1], 7])
    said = target_of("h", got, ["A"], {"A": item}, read)
    assert said.said["h"]["valid_fraction"] == said.facts["valid_fraction"] == 0.5
