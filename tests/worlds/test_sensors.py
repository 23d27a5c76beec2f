"""The world of all sensors and its checks: files are samples of the functions, and wrong layers are refused."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from worlds import sensor_checks, sensor_world
from worlds.analytic import lonlat
from worlds.harness import Sample
from worlds.reference import blank_sample
from worlds.sensors import QA, QA_CLEAR, file_of


@pytest.mark.parametrize(
    "ident", [s.id for s in sensor_world.landsat_shots() + sensor_world.aerial_shots()[1:]]
)
def test_files_are_point_samples_and_say_how_they_are_stored(sensors, ident):
    """One row of a file through rasterio, scale and offset as the item has them, against the function."""
    shot = sensors.shots[ident]
    band = "red"
    with rasterio.open(sensors.folder / file_of(shot, band)) as src:
        row = src.read(1)[50].astype(float)
        x, y = src.transform * (np.arange(src.width) + 0.5, np.full(src.width, 50.5))
    truth = shot.truth(band, *lonlat(shot.crs, x, y))
    value = (row * shot.sensor.scale + shot.sensor.offset) / shot.sensor.one
    plain = shot.kinds[band][50] == ""
    assert plain.sum() > 80
    # Half a stored step by rounding.
    assert np.abs(value - truth)[plain].max() <= 0.5 * shot.sensor.scale / shot.sensor.one + 1e-6


def test_clear_codes_have_no_bad_bit_and_bad_ones_have_one():
    """As the product's guide counts bits: 1 dilated cloud, 2 cirrus, 3 cloud, 4 shadow; 0 is fill."""
    for kind, code in QA.items():
        bits = {bit for bit in range(16) if code >> bit & 1}
        assert bool(bits & {1, 2, 3, 4}) == (kind not in (*QA_CLEAR, "fill")), kind
        assert (0 in bits) == (kind == "fill")


def plain(sensors, ident: str, layer: str, unit: str, bands) -> tuple[Sample, dict]:
    """A chip whose pixels are those of a shot, bilinear, by the slow way of the checks."""
    shot = sensors.shots[ident]
    sample = blank_sample(shot.crs, shot.x + 1003, shot.y - 1007, 32, shot.res)
    power = [sensor_checks.bilinear_of_pixels(sensor_checks.power_of(shot, b), shot, sample) for b in bands]
    array = sensor_checks.decibels(np.array(power)) if unit == "dB" else np.array(power)
    sample.arrays[layer] = array.astype(np.float32)
    sample.meta["layers"][layer] = {
        "bands": list(bands), "items": [[shot.id]], "datetime": [shot.time], "unit": unit, "dtype": "float32",
        "scale": 1.0, "offset": 0.0, "nodata": "nan", "valid_fraction": float((~np.isnan(array)).all(0).mean()),
        "shape": list(array.shape), "transform": sample.meta["transform"],
    }  # fmt: skip
    return sample, {shot.id: shot}


@pytest.fixture
def chip(sensors):
    (ident,) = [i for i in sensors.shots if "20210623" in i]
    return plain(sensors, ident, "s1", "dB", ("vv", "vh"))


def test_the_check_accepts_a_plain_weave(chip):
    sample, shots = chip
    assert sensor_checks.check_layer(sample, "s1", shots).pixels == 2 * 32 * 32


def test_the_check_refuses_a_shift_a_wrong_date_zeros_and_infinities(chip):
    sample, shots = chip
    with pytest.raises(AssertionError, match="beyond the bound"):
        sensor_checks.check_layer(sample, "s1", shots, moved=5.0)
    good = sample.arrays["s1"]
    sample.arrays["s1"] = good + np.float32(0.5)
    with pytest.raises(AssertionError, match="beyond the bound"):
        sensor_checks.check_layer(sample, "s1", shots)
    sample.arrays["s1"] = np.where(good > -10, np.float32(np.nan), good)
    with pytest.raises(AssertionError, match="data where they should not be"):
        sensor_checks.check_layer(sample, "s1", shots)
    sample.arrays["s1"] = np.where(good > -10, np.float32(-np.inf), good)
    with pytest.raises(AssertionError, match="infinite"):
        sensor_checks.check_layer(sample, "s1", shots)
    sample.arrays["s1"] = good.astype(np.float64)
    with pytest.raises(AssertionError, match="float64"):
        sensor_checks.check_layer(sample, "s1", shots)


def test_a_mean_by_hand(sensors):
    """Two target pixels of 20 m over eight source pixels, three of the second's without data."""
    (shot,) = [s for s in sensors.shots.values() if "20210623" in s.id]
    sample = blank_sample(shot.crs, shot.x, shot.y, 2, 20.0)
    array = np.full((shot.rows, shot.cols), np.nan)
    array[:2, :2] = [[1.0, 2.0], [3.0, 6.0]]
    array[0, 2] = 5.0
    array[2, :2] = [7.0, 9.0]
    mean = sensor_checks.mean_of_pixels(array, shot, sample)
    np.testing.assert_array_equal(mean, [[3.0, np.nan], [8.0, np.nan]])
