"""Cubic blends against a direct computation, against what a spline must reproduce, and beside holes."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.warp
from affine import Affine
from rasterio.enums import Resampling

from chipweave.model import Asset
from chipweave.pixels.bands import read_float32, read_int16
from chipweave.pixels.lattice import Grid
from chipweave.pixels.radiometry import to_int16
from chipweave.pixels.read import gdal_session
from chipweave.pixels.resample import resample
from tiny import UTM, north_up, write_tif

X, Y, SIDE = 600_000.0, 5_200_000.0, 24
SOURCE = north_up(X, Y, 10)


def warp(values, affine, shape, method="cubic", valid=None):
    valid = np.ones(values.shape, bool) if valid is None else valid

    def read(row, col, height, width):
        window = np.s_[row : row + height, col : col + width]
        return np.ascontiguousarray(values[window]), np.ascontiguousarray(valid[window])

    target, row, col = Grid.anchored(UTM, affine)
    return resample(Grid(UTM, SOURCE), values.shape, target, (row, col, *shape), method, read, values.dtype)


def keys(x):
    """The kernel as Keys gives it, a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def plain(values, valid, u, v):
    """At (column, row) in pixel centres: sixteen weights, those of holes left out, the rest brought to 1."""
    rows, cols = np.mgrid[: values.shape[0], : values.shape[1]]
    weight = keys(cols - u) * keys(rows - v) * valid
    return (weight * values).sum() / weight.sum()


def centres(affine, shape):
    """Columns and rows, in source pixel centres, of a window's centres."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    u, v = ~SOURCE * (affine * (cols, rows))
    return u - 0.5, v - 0.5


@pytest.mark.parametrize(("res", "dx", "dy"), [(10, 3.0, -4.0), (7, 1.0, 2.0), (10, 5.0, 0.0)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_it_is_the_sixteen_weights_of_keys(res, dx, dy, dtype):
    rng = np.random.default_rng(4)
    values = rng.integers(200, 9000, (SIDE, SIDE)).astype(dtype)
    valid = rng.random(values.shape) > 0.02
    affine = Affine(res, 0, X + 40 + dx, 0, -res, Y - 40 + dy)
    out, ok = warp(values, affine, (12, 12), valid=valid)
    u, v = centres(affine, (12, 12))
    seen = 0
    for at in np.ndindex(12, 12):
        i, j = int(np.floor(v[at])), int(np.floor(u[at]))
        inner = valid[i : i + 2, j : j + 2]
        if inner.all():
            assert out[at] == pytest.approx(
                plain(values.astype(float), valid, u[at], v[at]), abs=0.5
            )  # 1/65536 px
            seen += not valid[i - 1 : i + 3, j - 1 : j + 3].all()
    assert seen > 3, "no hole among the outer twelve: that rule was not tried"
    assert ok.mean() > 0.9


def test_a_straight_ramp_and_a_parabola_come_out_as_they_are():
    """Keys' kernel reproduces polynomials up to the second degree; the linear blend does not."""
    rows, cols = np.mgrid[:SIDE, :SIDE].astype(float)
    affine = Affine(10, 0, X + 53, 0, -10, Y - 57)
    u, v = centres(affine, (10, 10))

    def ground(u, v):
        return 500 + 3 * u - 2 * v + 0.7 * u * u - 0.4 * u * v + 0.3 * v * v

    out, ok = warp(ground(cols, rows), affine, (10, 10))
    assert ok.all()
    np.testing.assert_allclose(out, ground(u, v), atol=2e-3)
    linear, _ = warp(ground(cols, rows), affine, (10, 10), "bilinear")
    assert np.abs(linear - ground(u, v)).max() > 0.05


def test_gdal_gives_the_same_where_nothing_is_missing():
    values = np.random.default_rng(1).integers(0, 5000, (SIDE, SIDE)).astype(np.float32)
    affine = Affine(9, 0, X + 61, 0, -9, Y - 58)
    theirs = np.zeros((10, 10), np.float32)
    rasterio.warp.reproject(
        values, theirs, src_transform=SOURCE, src_crs=UTM, dst_transform=affine, dst_crs=UTM,
        resampling=Resampling.cubic, XSCALE=1, YSCALE=1,
    )  # fmt: skip
    ours, _ = warp(values, affine, (10, 10))
    assert np.abs(ours - theirs).max() < 1.0  # of 5000: GDAL's weights are floats of 32 bits


def test_beside_a_hole_it_is_the_linear_blend_of_what_is_there():
    values = np.full((SIDE, SIDE), 1000.0)
    values[:, 12:] = 4000.0
    valid = np.ones(values.shape, bool)
    valid[10, 10] = False
    values[10, 10] = -9e6
    affine = Affine(10, 0, X + 83, 0, -10, Y - 84)
    out, ok = warp(values, affine, (8, 8), valid=valid)
    linear, there = warp(values, affine, (8, 8), "bilinear", valid)
    np.testing.assert_array_equal(ok, there)
    u, v = centres(affine, (8, 8))
    touched = (
        (np.floor(u) <= 10) & (np.floor(u) + 1 >= 10) & (np.floor(v) <= 10) & (np.floor(v) + 1 >= 10) & ok
    )
    assert touched.sum() >= 2
    np.testing.assert_allclose(out[touched], linear[touched])
    assert out[ok].min() > 0, "the hole's value leaked"
    assert out[ok].max() <= 4000 * 1.2


def test_integers_swing_over_and_are_rounded_once(tmp_path):
    """Beside an edge a spline overshoots: no wrap around in uint16, and the clip of int16 holds."""
    values = np.full((SIDE, SIDE), 30, np.uint16)
    values[:, 12:] = 40_000
    asset = Asset(write_tif(tmp_path / "edge.tif", values, UTM, SOURCE).as_posix())
    affine = Affine(10, 0, X + 83, 0, -10, Y - 84)
    with gdal_session():
        (out,) = read_int16([asset], None, UTM, affine, (8, 8), ["cubic"])
    assert out.min() < 30
    assert out.min() > -4000
    assert out.max() == 32767
    exact, ok = warp(values, affine, (8, 8))
    np.testing.assert_array_equal(out, to_int16(exact, ok, 1.0, 0.0))
    assert (exact != np.rint(exact)).any()


def test_power_never_swings_below_zero(tmp_path):
    power = np.full((SIDE, SIDE), 1e-4, np.float32)
    power[:, 12:] = 1.0
    asset = Asset(write_tif(tmp_path / "vv.tif", power, UTM, SOURCE).as_posix())
    affine = Affine(10, 0, X + 83, 0, -10, Y - 84)
    with gdal_session():
        (out,) = read_float32([asset], None, UTM, affine, (8, 8), ["cubic"], "linear")
    assert warp(power, affine, (8, 8))[0].min() < 0, "the test cannot fail"
    assert out.min() > 0


def test_means_of_integers_are_rounded_once():
    """A gain of 0.275, as Landsat's: a mean rounded before would be up to 0.64 of a unit off."""
    rng = np.random.default_rng(2)
    values = rng.integers(7000, 20_000, (SIDE, SIDE)).astype(np.uint16)
    mean, ok = warp(values, north_up(X, Y, 20), (12, 12), "mean")
    exact = values.reshape(12, 2, 12, 2).astype(float).mean(axis=(1, 3)) * 0.275 - 2000
    out = to_int16(mean, ok, 0.275, -2000.0)
    assert np.abs(out - exact).max() <= 0.5 + 1e-9
