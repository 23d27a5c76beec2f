"""Landsat on the analytic world: scale and offset, bits of QA_PIXEL, its own grid, and temperature."""

from __future__ import annotations

import numpy as np
import pytest

from worlds import harness, recipes, sensor_checks, sensor_world
from worlds.checks import Tally
from worlds.sensor_builds import make
from worlds.sensors import LANDSAT, THERMAL

JUNE, STRIPED, JULY = "2021-06-15/2021-06-15", "2021-07-01/2021-07-01", "2021-07-17/2021-07-17"
BANDS = ("blue", "red", "nir08", "swir16")


def landsat(time: str, bands=BANDS, **more) -> dict:
    """A Landsat layer that keeps every chip."""
    return {
        "collection": "landsat-c2-l2", "bands": list(bands), "time": time, "max_cloud": 100, "min_valid": 0, **more,
    }  # fmt: skip


THIRTY = {"size": 16, "resolution": 30}


@pytest.fixture(scope="module")
def ten(sensors, tmp_path_factory):
    """30 m to 10 m: three target pixels in each of the source's."""
    return make(tmp_path_factory.mktemp("landsat_ten"), sensors, {"l8": landsat(JUNE)})


@pytest.fixture(scope="module")
def copied(sensors, tmp_path_factory):
    """On Landsat's own lattice, which counts from 15 m: copies."""
    tmp = tmp_path_factory.mktemp("landsat_copied")
    return make(tmp, sensors, {"l8": landsat(JUNE)}, chips=THIRTY | {"lattice": {"anchor": [15, 15]}})


@pytest.fixture(scope="module")
def half(sensors, tmp_path_factory):
    """On a lattice from 0, half a pixel off Landsat's; the date that has stripes without data."""
    tmp = tmp_path_factory.mktemp("landsat_half")
    return make(tmp, sensors, {"l8": landsat(STRIPED)}, chips=THIRTY)


ALL = ["ten", "copied", "half"]


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_every_pixel_is_within_the_bound(built):
    tally = built.tally
    assert len(built.samples) >= 9
    assert tally.pixels > 4_000
    assert tally.empty > 100


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_a_truth_half_a_pixel_off_is_out_of_bounds(built):
    built.fails_when_moved(15.0)


def test_clouds_are_bits_and_no_data_is_no_data(ten):
    """High bits stand beside every code: who took QA_PIXEL for a number would find no cloud at all."""
    tally = ten.tally
    assert tally.bad > 500
    assert tally.empty > 100


def test_copies_are_of_the_very_pixels(copied, sensors):
    """Reflectance x 10 000 from what the file stores, worked out here: rounded once."""
    (shot,) = [s for s in sensors.shots.values() if s.time.startswith("2021-06-15") and s.cols == 121]
    seen = set()
    for sample in copied.samples.values():
        x, y = sample.centres()
        for n, band in enumerate(BANDS):
            stored = shot.at(shot.stored(band).astype(float), x, y, 0.0)
            expected = (stored * LANDSAT.scale + LANDSAT.offset) / 0.0001
            out = sample.arrays["l8"][n].astype(float)
            data = stored > 0
            assert (out[~data] == sensor_checks.NODATA).all()
            # 0.5: rounded once; the rest for a half that floats put on either side.
            assert np.abs(out - expected)[data].max() <= 0.5 + 1e-6
            seen |= set(np.unique(out[data]).astype(int))
    assert min(seen) < 0, "dark water is below zero"


@pytest.fixture(scope="module")
def warm(sensors, tmp_path_factory):
    """Surface temperature as a layer of its own, beside reflectance."""
    tmp = tmp_path_factory.mktemp("landsat_warm")
    layers = {"l8": landsat(JULY), "st": landsat(JULY, bands=("lwir11",))}
    return make(tmp, sensors, layers, area=(732700, 4987200, 734000, 4988500))


def test_temperature_is_in_kelvin(warm):
    tally = Tally()
    for sample in warm.samples.values():
        meta = sample.meta["layers"]["st"]
        assert (meta["unit"], meta["dtype"], meta["nodata"]) == ("K", "float32", "nan")
        tally += sensor_checks.check_layer(sample, "st", warm.world.shots)
        assert 270 < np.nanmean(sample.arrays["st"]) < 320
        with pytest.raises(AssertionError, match="beyond the bound"):
            sensor_checks.check_layer(sample, "st", warm.world.shots, moved=15.0)
    assert tally.pixels > 8_000
    assert THERMAL.scale == 0.00341802


def test_reflectance_and_temperature_in_one_layer_are_refused(sensors, tmp_path):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(
        sensors.catalog("refused_landsat"), window, {"l8": landsat(JULY, bands=("red", "lwir11"))}
    )
    recipe = harness.write_recipe(tmp_path / "recipe.yaml", mapping)
    harness.refuse(3, "plan", recipe, "-o", tmp_path / "out", names=("imagery.l8.bands", "lwir11", "red"))


def test_a_coarser_grid_takes_the_mean(sensors, tmp_path):
    """90 m on Landsat's lattice: nine pixels each, in reflectance, spikes and all; the mask stays nearest."""
    built = make(
        tmp_path, sensors, {"l8": landsat(JUNE, bands=("red",))},
        chips={"size": 8, "resolution": 90, "lattice": {"anchor": [15, 15]}},
    )  # fmt: skip
    (shot,) = [s for s in sensors.shots.values() if s.time.startswith("2021-06-15") and s.cols == 121]
    stored = shot.stored("red").astype(float)
    reflectance = np.where(stored > 0, (stored * LANDSAT.scale + LANDSAT.offset) * 10_000, np.nan)
    compared = 0
    for sample in built.samples.values():
        expected = sensor_checks.mean_of_pixels(reflectance, shot, sample)
        out = sensor_checks.values(sample, "l8")[0]
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected), sample.key)
        # 0.64: the mean is rounded as the file stores it (0.5 x 0.275), and once more as it is written.
        assert np.nanmax(np.abs(out - expected), initial=0) <= 0.6375 + 1e-6
        compared += np.isfinite(expected).sum()
    assert compared > 400


def test_the_clearest_date_is_taken_chip_by_chip(sensors, tmp_path):
    """All three dates: by the bits in the chip, whatever the catalog's own figure, which is the same for all."""
    built = make(tmp_path, sensors, {"l8": landsat("2021-06-01/2021-07-31", bands=("red",), min_valid=99)})
    assert built.tally.pixels > 40_000
    days = set()
    for sample in built.samples.values():
        meta = sample.meta["layers"]["l8"]
        days |= {i.split("_")[3] for i in meta["items"][0]}
        assert meta["valid_fraction"] >= 0.99
        assert meta["cloud_fraction"] == 0.0, "a date without a cloud is there for every chip"
    # No chip can be whole on the date with stripes.
    assert "20210717" in days
    assert days <= {"20210615", "20210717"}
