"""Further bands by formula, and codes: what a dataset says of them is what they are."""

from __future__ import annotations

import numpy as np
import pytest

from worlds import harness, recipes, sensor_world

OPTICAL = {"collection": "sentinel-2-l2a", "bands": ["red", "nir"], "time": "2021-06-12"}
RADAR = {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "time": "2021-06-11"}
NDVI = {"ndvi": "(nir - red) / (nir + red)"}


@pytest.fixture(scope="module")
def samples(sensors, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("bands")
    eight = {"dtype": "uint8", "clip": [0, 5000], "scale": 0.05, "offset": 1}
    layers = {
        "s2": {**OPTICAL, "derive": {"ndvi": "(B08 - R) / (B08 + B04)"}},
        "plain": OPTICAL,
        "bytes": {**OPTICAL, "encode": eight, "derive": NDVI},
        "blanked": {**OPTICAL, "mask": "blank", "encode": {**eight, "nodata": 255}},
        "s1": {**RADAR, "unit": "dB", "derive": {"ratio": "vv / vh"}},
        "s1_bytes": {**RADAR, "unit": "dB", "encode": {"dtype": "uint8", "clip": [-25, 0], "scale": 10, "offset": 251}},
        "s1_filled": {**RADAR, "unit": "dB", "encode": {"fill": {"max": "5%"}}},
        "stretched": {**OPTICAL, "encode": {"dtype": "uint8", "stretch": {"quantile": [2, 98]}}},
        "steady": {
            **OPTICAL, "time": "2021-06", "select": {"method": "composite", "stat": "mean"}, "derive": NDVI,
        },
    }  # fmt: skip
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    out = harness.build(tmp, sensor_world.recipe(sensors.catalog("catalog_bands"), window, layers))
    harness.succeed("verify", out)
    return harness.read_samples(out)


def physical(sample, layer):
    """Values by band, NaN where there is no data."""
    meta, array = sample.meta["layers"][layer], sample.arrays[layer]
    values = array.astype(np.float64) * meta["scale"] + meta["offset"]
    values[np.isnan(array) if meta["nodata"] == "nan" else array == meta["nodata"]] = np.nan
    return dict(zip(meta["bands"], values, strict=True))


def test_an_index_stands_behind_the_bands_of_its_layer(samples):
    for sample in samples.values():
        got, plain = physical(sample, "s2"), physical(sample, "plain")
        assert list(got) == ["red", "nir", "ndvi"]
        np.testing.assert_array_equal(got["red"], plain["red"])
        truth = (plain["nir"] - plain["red"]) / (plain["nir"] + plain["red"])
        np.testing.assert_allclose(got["ndvi"], truth, atol=5.1e-5)
        assert np.isfinite(truth).any()


def test_small_holes_are_filled_and_large_ones_are_not(samples):
    """Against the layer beside it: what was data stays, and a hole has the value of one of the nearest pixels."""
    filled = large = 0
    for sample in samples.values():
        plain, out = sample.arrays["s1"][:2], sample.arrays["s1_filled"]
        said = sample.meta["layers"]["s1_filled"]
        gone = np.isnan(plain)
        share = gone.any(axis=0).mean()
        np.testing.assert_array_equal(out[~gone], plain[~gone])
        if 0 < share <= 0.05:
            assert said["filled_fraction"] == [pytest.approx(share)]
            assert said["valid_fraction"] == 1
            assert not np.isnan(out).any()
            assert set(out[gone]) <= set(plain[~gone])
            filled += 1
        else:
            assert said["filled_fraction"] == [0.0]
            np.testing.assert_array_equal(np.isnan(out), gone)
            large += share > 0.05
    assert filled, "no chip with a small hole"
    assert large, "no chip with a large one"


def test_a_sample_says_what_it_was_stretched_from(samples):
    for sample in samples.values():
        said, codes = sample.meta["layers"]["stretched"], sample.arrays["stretched"]
        plain = sample.arrays["plain"].astype(float)
        assert (said["unit"], said["scale"], said["offset"], said["nodata"]) == ("stretched", 1.0, 0.0, 0)
        for band, (values, (low, high)) in enumerate(zip(plain, said["stretch"][0], strict=True)):
            data = values[values != -32768]
            np.testing.assert_allclose((low, high), np.percentile(data, (2, 98)))
            right = np.maximum(np.rint(np.clip((values - low) / (high - low), 0, 1) * 255), 1)
            np.testing.assert_array_equal(codes[band], np.where(values == -32768, 0, right))


def test_a_composite_has_the_index_of_its_bands(samples):
    for sample in samples.values():
        got = physical(sample, "steady")
        truth = (got["nir"] - got["red"]) / (got["nir"] + got["red"])
        np.testing.assert_allclose(got["ndvi"], truth, atol=2e-4)


def test_a_ratio_of_powers_is_a_difference_of_decibels(samples):
    for sample in samples.values():
        got = physical(sample, "s1")
        np.testing.assert_allclose(got["ratio"], got["vv"] - got["vh"], atol=1e-4)


def test_codes_mean_what_they_say(samples):
    for sample in samples.values():
        plain = physical(sample, "plain")
        for layer in ("bytes", "blanked"):
            got = physical(sample, layer)
            assert sample.arrays[layer].dtype == np.uint8
            for band in ("red", "nir"):
                data = np.isfinite(got[band])
                assert data.any()
                if layer == "bytes":
                    np.testing.assert_array_equal(data, np.isfinite(plain[band]))
                clipped = np.clip(plain[band][data], 0, 0.5)
                np.testing.assert_allclose(got[band][data], clipped, atol=0.00101)
        mask = sample.arrays["blanked_mask"]
        assert (sample.arrays["blanked"][:, mask == 1] == 255).all()
        decibels, codes = physical(sample, "s1"), physical(sample, "s1_bytes")
        data = np.isfinite(codes["vv"])
        np.testing.assert_array_equal(data, np.isfinite(decibels["vv"]))
        np.testing.assert_allclose(codes["vv"][data], np.clip(decibels["vv"][data], -25, 0), atol=0.0501)


@pytest.mark.parametrize(
    ("derive", "names"),
    [
        ({"x": "blue / red"}, ("imagery.s2.derive.x", "blue", "red, nir")),
        ({"red": "nir * 2"}, ("imagery.s2.derive.red",)),
    ],
)
def test_bands_that_cannot_be_are_refused(sensors, tmp_path, derive, names):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(
        sensors.catalog(f"catalog_{tmp_path.name}"), window, {"s2": {**OPTICAL, "derive": derive}}
    )
    harness.refuse(
        3, "plan", harness.write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=names
    )


def test_what_is_no_formula_is_refused_by_check(tmp_path):
    mapping = recipes.recipe("catalog", {"bbox": [0, 0, 1, 1]})
    mapping["imagery"]["s2"]["derive"] = {"x": "__import__('os').system('touch owned')"}
    harness.refuse(
        3, "check", harness.write_recipe(tmp_path / "r.yaml", mapping), names=("imagery.s2.derive.x",)
    )
