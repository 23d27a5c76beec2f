"""In which numbers layers are written: units, scales, `encode`; source values are never rounded twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from chipweave.catalog.collections import load_collection
from chipweave.errors import RecipeError
from chipweave.model import Band
from chipweave.pixels.coding import Coding, default_nodata
from chipweave.plan.values import value_rule
from chipweave.recipe.imagery import Encode

S2 = load_collection("sentinel-2-l2a")
S1 = load_collection("sentinel-1-rtc")
LANDSAT = replace(
    S2,
    name="landsat",
    scale=2.75e-5,
    offset=-0.2,
    bands=(Band("red", (), 30), Band("nir", (), 30), Band("lwir", (), 30, 0.00341802, 149.0, "K")),
)


def test_reflectance_is_int16_in_ten_thousandths():
    rule = value_rule("s2", S2, ["red", "nir"], "native")
    assert (rule.stored, rule.scale, rule.offset, rule.unit) == (
        ("int16", -32768.0),
        0.0001,
        0.0,
        "reflectance",
    )
    assert rule.scales == {"red": (1.0, 0.0), "nir": (1.0, 0.0)}
    assert value_rule("s2", S2, ["red"], "reflectance") == value_rule("s2", S2, ["red"], "native")


def test_other_scales_come_to_the_same_unit():
    rule = value_rule("l8", LANDSAT, ["red", "nir"], "native")
    assert (rule.dtype, rule.scale) == ("int16", 0.0001)
    assert rule.scales["red"] == (0.275, -2000.0)


def test_kelvin_are_floats():
    rule = value_rule("l8", LANDSAT, ["lwir"], "native")
    assert rule.stored[0] == "float32"
    assert math.isnan(rule.stored[1])
    assert (rule.unit, rule.scale, rule.scales) == ("K", 1.0, {"lwir": (0.00341802, 149.0)})


@pytest.mark.parametrize(("wish", "unit"), [("native", "linear"), ("linear", "linear"), ("dB", "dB")])
def test_radar(wish, unit):
    rule = value_rule("s1", S1, ["vv", "vh"], wish)
    assert (rule.unit, rule.power, rule.dtype, rule.scale) == (unit, "linear", "float32", 1.0)


@pytest.mark.parametrize(
    ("known", "bands", "wish", "encode", "said"),
    [
        (S2, ["red"], "dB", None, "imagery.x.unit: dB: sentinel-2-l2a holds reflectance"),
        (S1, ["vv"], "reflectance", None, "imagery.x.unit: reflectance: sentinel-1-rtc holds linear"),
        (LANDSAT, ["red", "lwir"], "native", None, "red is in reflectance, lwir in K"),
        (S2, ["red"], "native", {"dtype": "uint8", "nodata": 256}, "imagery.x.encode.nodata: 256"),
        (S2, ["red"], "native", {"dtype": "uint8", "nodata": "nan"}, "imagery.x.encode.nodata: nan"),
    ],
)
def test_what_cannot_be_is_said(known, bands, wish, encode, said):
    with pytest.raises(RecipeError) as error:
        value_rule("x", known, bands, wish, Encode.model_validate(encode) if encode else None)
    assert said in error.value.message


def test_codes_say_what_they_mean():
    wish = Encode.model_validate(
        {"dtype": "uint8", "add": 1000, "clip": [0, 5000], "scale": 0.05, "offset": 2}
    )
    rule = value_rule("s2", S2, ["red"], "native", wish)
    assert rule.stored == ("uint8", 0.0)
    source = np.array([[[-900.0, 0.0, 2500.0]]], np.float32)
    codes = rule.coding.encode(source)
    np.testing.assert_array_equal(codes, np.array([[[7, 52, 177]]], np.uint8))
    np.testing.assert_allclose(codes * rule.scale + rule.offset, source * 0.0001, atol=1e-9)


def test_a_landsat_rendering_does_not_pass_through_int16():
    """Reflectance of 0 to 0.3 in 8 bits, as SSL4EO-L has it: neighbouring codes of source values stay apart."""
    low, high = 0.2 / 2.75e-5, 0.5 / 2.75e-5
    wish = Encode.model_validate(
        {"dtype": "uint16", "add": -low, "clip": [0, high - low], "scale": 65534 / (high - low), "offset": 1}
    )
    rule = value_rule("l8", LANDSAT, ["red"], "native", wish)
    assert (rule.dtype, dict(rule.scales)) == ("float32", {})
    source = np.arange(8000, 8200, dtype=np.float32)[None, None]
    codes = rule.coding.encode(source)
    assert (np.diff(codes.astype(int)) >= 5).all()  # ten-thousandths would merge three of four
    np.testing.assert_allclose(codes * rule.scale + rule.offset, source * 2.75e-5 - 0.2, atol=2.4e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_data_never_takes_the_code_of_no_data(dtype):
    limits = np.iinfo(dtype)
    for nodata in (limits.min, limits.max, 7):
        coding = Coding(dtype, nodata=float(nodata))
        source = np.array([[[limits.min, limits.max, 7, np.nan, -np.inf, np.inf]]], np.float64).astype(
            np.float32
        )
        codes = coding.encode(source)[0, 0]
        assert codes.dtype == np.dtype(dtype)
        assert (codes == nodata).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("nodata", [math.nan, -9999.0])
def test_floats_keep_their_no_data_apart(nodata):
    codes = Coding("float32", nodata=nodata).encode(np.array([[[-9999.0, np.nan, 1.5]]], np.float32))[0, 0]
    hole = np.isnan(codes) if math.isnan(nodata) else codes == nodata
    assert hole.tolist() == [False, True, False]
    np.testing.assert_allclose(codes[[0, 2]], [-9999.0, 1.5])


def test_rounding_is_half_to_even():
    codes = Coding("int16", nodata=-32768.0).encode(np.array([[[0.5, 1.5, 2.5, -0.5]]], np.float32))
    np.testing.assert_array_equal(codes, [[[0, 2, 2, 0]]])


def test_default_codes_of_no_data():
    assert default_nodata("uint8") == 0
    assert default_nodata("int16") == -32768
    assert math.isnan(default_nodata("float16"))


def test_a_series_is_coded_step_by_step_as_a_whole():
    coding = Coding("uint8", scale=2.0, nodata=0.0)
    values = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    np.testing.assert_array_equal(coding.encode(values), np.where(values == 0, 1, values * 2))
