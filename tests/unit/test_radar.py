"""Backscatter is blended and averaged as linear power, whatever the file stores; zero power is no data."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from chipweave.errors import NotBuiltError
from chipweave.model import Asset
from chipweave.pixels import LayerRead, gdal_session, read_mask, read_scene
from chipweave.pixels.bands import read_float32
from chipweave.pixels.radiometry import to_decibel
from tiny import UTM, north_up, scene, write_tif

SIDE = 96
HERE = north_up(600_000.0, 5_300_000.0, 10.0)


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    """Speckle over four decades; a strip of zeros, one of a negative power, one of no data."""
    rng = np.random.default_rng(3)
    values = (10.0 ** rng.uniform(-4, 0, (SIDE, SIDE))).astype(np.float32)
    values[20:23], values[:, 40:42], values[60:64, 60:90] = 0.0, -0.001, np.nan
    return values


def stored(path, power, how):
    """A file of that power, in one of the forms that providers use."""
    if how == "dB":
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(power > 0, 10 * np.log10(power), -9999).astype(np.float32)
        return Asset(str(write_tif(path, values, UTM, HERE, -9999))), "dB"
    if how == "-32768":
        return Asset(
            str(
                write_tif(
                    path, np.where(np.isnan(power), -32768, power).astype(np.float32), UTM, HERE, -32768
                )
            )
        ), "linear"
    if how == "untagged zero":
        return Asset(str(write_tif(path, np.nan_to_num(power), UTM, HERE))), "linear"
    return Asset(str(write_tif(path, power, UTM, HERE, np.nan))), "linear"


HOW = ["nan", "-32768", "untagged zero", "dB"]


def read(asset, affine, shape, method, kind):
    with gdal_session():
        return read_float32([asset], -32768, UTM, affine, shape, [method], kind)[0]


@pytest.mark.parametrize("how", HOW)
def test_copied_where_grids_coincide(tmp_path, power, how):
    asset, kind = stored(tmp_path / "vv.tif", power, how)
    got = read(asset, HERE, (SIDE, SIDE), "bilinear", kind)
    data = power > 0
    np.testing.assert_array_equal(np.isnan(got), ~data)
    np.testing.assert_allclose(got[data], power[data], rtol=3e-6 if how == "dB" else 0)


@pytest.mark.parametrize("how", HOW)
def test_means_are_of_power(tmp_path, power, how):
    asset, kind = stored(tmp_path / "vv.tif", power, how)
    got = read(asset, north_up(600_000.0, 5_300_000.0, 40.0), (24, 24), "mean", kind)
    blocks = np.where(power > 0, power, np.nan).astype(np.float64).reshape(24, 4, 24, 4).swapaxes(1, 2)
    enough = np.isfinite(blocks).sum(axis=(2, 3)) >= 8
    np.testing.assert_array_equal(np.isfinite(got), enough)
    truth = np.nanmean(blocks[enough], axis=(1, 2))
    np.testing.assert_allclose(got[enough], truth, rtol=2e-6)
    # Decibels averaged as they are would be some dB lower: the tolerance above could not miss it.
    wrong = 10 ** np.nanmean(np.log10(blocks[enough]), axis=(1, 2))
    assert np.abs(wrong / truth - 1).mean() > 0.2


@pytest.mark.parametrize("how", HOW)
def test_blends_are_of_power_and_never_with_no_data(tmp_path, power, how):
    asset, kind = stored(tmp_path / "vv.tif", power, how)
    got = read(asset, HERE * Affine.translation(0.25, 0.5), (SIDE - 1, SIDE - 1), "bilinear", kind)
    p = np.where(power > 0, power, np.nan).astype(np.float64)
    near = [p[i : SIDE - 1 + i, j : SIDE - 1 + j] for i in (0, 1) for j in (0, 1)]
    weights = np.array([0.375, 0.125, 0.375, 0.125])[:, None, None]
    good = np.isfinite(near)
    with np.errstate(invalid="ignore"):
        truth = (np.where(good, near, 0) * weights).sum(axis=0) / (good * weights).sum(axis=0)
    # Centres lie on the border of two rows: the pixel that holds it is the lower one.
    there = np.isfinite(near[2])
    np.testing.assert_array_equal(np.isfinite(got), there)
    np.testing.assert_allclose(got[there], truth[there], rtol=5e-6)


def radar(power, decibel=False, loader="native"):
    return LayerRead(
        ("vv",), {"vv": "bilinear"}, -32768, dtype="float32", power=power, decibel=decibel, loader=loader
    )


@pytest.mark.parametrize("how", HOW)
def test_its_first_band_tells_what_is_data(tmp_path, power, how):
    asset, kind = stored(tmp_path / "vv.tif", power, how)
    with gdal_session():
        mask = read_mask(scene(assets={"vv": asset}), radar(kind), UTM, HERE, (SIDE, SIDE))
    np.testing.assert_array_equal(mask, np.where(power > 0, 0, 255))


def test_decibels_come_last(tmp_path, power):
    asset, kind = stored(tmp_path / "vv.tif", power, "nan")
    layer = radar(kind, decibel=True)
    with gdal_session():
        arrays = read_scene(scene(assets={"vv": asset}), layer, UTM, HERE, (SIDE, SIDE))
    data = power > 0
    np.testing.assert_array_equal(arrays.values[0][data], power[data])
    got = layer.finish(arrays.values).values[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[data], 10 * np.log10(power[data].astype(np.float64)), atol=1e-5)
    assert np.isnan(got[~data]).all()


def test_decibels_of_known_powers():
    got = to_decibel(np.array([1.0, 0.5, 0.001, np.nan], np.float32))
    np.testing.assert_allclose(got, [0.0, -3.0103, -30.0, np.nan], atol=1e-4)


def test_other_loaders_say_that_they_read_no_radar(tmp_path, power):
    asset, kind = stored(tmp_path / "vv.tif", power, "nan")
    with gdal_session(), pytest.raises(NotBuiltError, match="--loader odc: reads no radar"):
        read_scene(scene(assets={"vv": asset}), radar(kind, loader="odc"), UTM, HERE, (8, 8))
