"""Holes take the value of their nearest neighbour, and only small ones; stretches are each picture's own quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chipweave.catalog.collections import load_collection
from chipweave.pixels import LayerRead
from chipweave.pixels.coding import Coding
from chipweave.pixels.filling import fill_nearest
from chipweave.pixels.gaps import holes
from chipweave.plan.values import filled_share, value_rule
from chipweave.recipe.imagery import Encode

S2, S1 = load_collection("sentinel-2-l2a"), load_collection("sentinel-1-rtc")


def picture(dtype, share, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 9000, (2, 30, 25)).astype(dtype)
    values[rng.random(values.shape) < share] = -32768 if dtype == "int16" else np.nan
    return values


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_hole_has_the_value_of_a_nearest_pixel_of_its_band(dtype):
    values = picture(dtype, 0.3)
    out, filled = fill_nearest(values, 1.0)
    gone = holes(values)
    np.testing.assert_array_equal(filled, gone.any(axis=0))
    np.testing.assert_array_equal(out[~gone], values[~gone])
    for band in range(2):
        there = np.argwhere(~gone[band])
        for r, c in np.argwhere(gone[band]):
            far = np.hypot(*(there - (r, c)).T)
            near = {values[band, i, j] for i, j in there[far == far.min()]}
            assert out[band, r, c] in near


@pytest.mark.parametrize(("most", "done"), [(0.04, True), (0.0399, False)])
def test_only_small_holes_are_filled(most, done):
    values = picture("int16", 0.0)
    values[0, 3:6, 4:9], values[1, 4:7, 4:9] = -32768, -32768  # 20 + 10 px of 750, 4 %, seen together
    values[0, 20, 0:10] = -32768
    out, filled = fill_nearest(values, most)
    assert filled.any() == done
    assert holes(out).any() != done


def test_a_band_without_any_data_cannot_be_filled():
    values = picture("float32", 0.1)
    values[1] = np.nan
    out, filled = fill_nearest(values, 1.0)
    assert out is values
    assert not filled.any()


def test_power_is_filled_before_it_becomes_decibels_and_codes_come_last():
    values = np.array([[[0.1, np.nan, 0.001]]], np.float32)
    read = LayerRead(
        ("vv",), {"vv": "nearest"}, None, dtype="float32", power="linear", decibel=True, fill=0.5
    )
    done = read.finish(values)
    np.testing.assert_allclose(done.values[0, 0], [-10, done.values[0, 0, 1], -30], atol=1e-5)
    assert done.values[0, 0, 1] in done.values[0, 0, [0, 2]]
    assert done.filled == pytest.approx(1 / 3)
    assert done.full.all()


@pytest.mark.parametrize(
    ("encode", "share"),
    [(None, 0.0), ({"clip": [0, 1]}, 0.0), ({"fill": {}}, 1.0), ({"fill": {"max": "1.5%"}}, 0.015)],
)
def test_how_much_is_filled(encode, share):
    assert filled_share(None if encode is None else Encode.model_validate(encode)) == pytest.approx(share)


def test_filling_alone_changes_no_type():
    plain = value_rule("s2", S2, ["red"], "native")
    assert value_rule("s2", S2, ["red"], "native", Encode.model_validate({"fill": {"max": "1%"}})) == plain


# Stretches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "top", "nodata"), [("uint8", 255, 0), ("int16", 32767, -32768), ("float32", 1, math.nan)]
)
def test_quantiles_become_the_ends_of_the_type(dtype, top, nodata):
    values = picture("float32", 0.1)
    encode = Encode.model_validate({"dtype": dtype, "stretch": {"quantile": [2, 98]}})
    rule = value_rule("s2", S2, ["red", "nir"], "native", encode)
    assert (rule.written, rule.scale, rule.offset) == ("stretched", 1.0, 0.0)
    spans = rule.coding.spans(values)
    for band, (low, high) in zip(values, spans, strict=True):
        np.testing.assert_allclose((low, high), np.nanpercentile(band.astype(float), (2, 98)))
    codes = rule.coding.encode(values, spans).astype(float)
    gone = np.isnan(codes) if math.isnan(nodata) else codes == nodata
    np.testing.assert_array_equal(gone, np.isnan(values))
    low, high = (np.array(ends)[:, None, None] for ends in zip(*spans, strict=True))
    right = np.clip((values.astype(float) - low) / (high - low), 0, 1) * top
    right = np.maximum(right, 1) if nodata == 0 else right  # data does not take the code of no data
    assert np.abs(codes - right)[~gone].max() <= (1e-6 if dtype == "float32" else 0.5 + 1e-9)
    assert codes[~gone].max() == top
    assert (right[~gone] == right[~gone].min()).mean() > 0.015


def test_a_flat_band_and_one_without_data_have_a_stretch_too():
    values = np.stack([np.full((4, 4), 7.0), np.full((4, 4), np.nan)]).astype(np.float32)
    coding = Coding("uint8", nodata=0.0, stretch=(0.02, 0.98))
    spans = coding.spans(values)
    assert spans == ((7.0, 7.0), (0.0, 0.0))
    codes = coding.encode(values, spans)
    assert set(codes[0].ravel()) == {1}
    assert set(codes[1].ravel()) == {0}
