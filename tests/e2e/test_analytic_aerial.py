"""Aerial pictures on the analytic world: counts of 8 bits from one file of four bands, at 0.6 m and 1 m."""

from __future__ import annotations

import numpy as np
import pytest

from worlds import checks, recipes, sensor_builds, sensor_checks, sensor_world
from worlds.sensor_builds import Built
from worlds.sensors import BLACK

OLD, NEW = "2019-07-01/2019-07-31", "2021-07-01/2021-07-31"
ORDER = ("nir", "red", "blue", "green")
"""Not the file's order, which is red, green, blue, nir."""


def aerial(time: str, bands=ORDER, **more) -> dict:
    return {"collection": "naip", "bands": list(bands), "time": time, "min_valid": 0, **more}


def make(tmp, world, layers, *, area=sensor_world.AERIAL_AREA, chips=None) -> Built:
    return sensor_builds.make(tmp, world, layers, area=area, chips={"resolution": 1, **(chips or {})})


@pytest.fixture(scope="module")
def copied(sensors, tmp_path_factory):
    """1 m to 1 m on the same grid."""
    return make(tmp_path_factory.mktemp("aerial_copied"), sensors, {"aerial": aerial(OLD)})


@pytest.fixture(scope="module")
def moved(sensors, tmp_path_factory):
    """1 m on a grid 0.3 m and 0.7 m off, across the picture's edge."""
    west, south, east, north = sensor_world.AERIAL_AREA
    area = (west - 100, south, east, north + 100)
    chips = {"lattice": {"anchor": [0.3, 0.7]}}
    tmp = tmp_path_factory.mktemp("aerial_moved")
    return make(tmp, sensors, {"aerial": aerial(OLD)}, area=area, chips=chips)


@pytest.fixture(scope="module")
def finer(sensors, tmp_path_factory):
    """0.6 m of ETRS89 to 0.5 m of WGS 84."""
    tmp = tmp_path_factory.mktemp("aerial_finer")
    return make(tmp, sensors, {"aerial": aerial(NEW)}, chips={"resolution": 0.5, "size": 128})


ALL = ["copied", "moved", "finer"]


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_every_pixel_is_within_the_bound(built):
    tally = built.tally
    assert len(built.samples) >= 9
    assert tally.pixels > 100_000


@pytest.mark.parametrize(
    ("built", "metres"), [("copied", 0.5), ("moved", 0.5), ("finer", 0.3)], indirect=["built"]
)
def test_a_truth_half_a_pixel_off_is_out_of_bounds(built, metres):
    built.fails_when_moved(metres)


def test_counts_stay_counts_and_zero_is_one_of_them(copied, sensors):
    """int16 of scale 1; black pixels are data: an aerial picture has no value for no data."""
    black = 0
    (shot,) = [s for s in sensors.shots.values() if s.holes and s.collection == "naip"]
    for sample in copied.samples.values():
        meta = sample.meta["layers"]["aerial"]
        assert (meta["unit"], meta["dtype"], meta["scale"]) == ("DN", "int16", 1.0)
        assert meta["bands"] == list(ORDER)
        assert "aerial_mask" not in sample.arrays
        at = shot.at(shot.kinds[""], *sample.centres(), "") == BLACK
        assert (sample.arrays["aerial"][:, at] == 0).all()
        black += int(at.sum())
    assert black == 20 * 12


def test_beyond_the_picture_is_no_data(moved):
    assert moved.tally.empty > 1_000
    for sample in moved.samples.values():
        assert sample.arrays["aerial"].min() >= 0 or (sample.arrays["aerial"] == sensor_checks.NODATA).any()


@pytest.mark.parametrize(("time", "year"), [(OLD, "2019"), (NEW, "2021")])
def test_ten_metres_are_the_mean_of_a_hundred_pixels(sensors, tmp_path, time, year):
    """Against the file's own pixels: 100 a target pixel at 1 m, 256 to 289 at 0.6 m."""
    built = make(
        tmp_path, sensors, {"aerial": aerial(time)}, area=(732600, 4987400, 732900, 4987700),
        chips={"size": 8, "resolution": 10},
    )  # fmt: skip
    (shot,) = [s for s in sensors.shots.values() if s.collection == "naip" and s.time[:4] == year]
    assert len(built.samples) >= 9
    for sample in built.samples.values():
        assert sample.meta["layers"]["aerial"]["items"] == [[shot.id]]
        for n, band in enumerate(ORDER):
            expected = sensor_checks.mean_of_pixels(shot.stored(band).astype(float), shot, sample)
            out = sensor_checks.values(sample, "aerial")[n]
            np.testing.assert_array_equal(np.isnan(out), np.isnan(expected), f"{sample.key} {band}")
            # 0.5: the mean of whole numbers, rounded once.
            assert np.nanmax(np.abs(out - expected)) <= 0.5 + 1e-6, (sample.key, band)


def test_the_newest_of_two_years_is_taken_where_nothing_else_tells_them_apart(sensors, tmp_path):
    built = make(tmp_path, sensors, {"aerial": aerial("2018-01-01/2022-12-31")})
    assert built.tally.pixels > 30_000
    for sample in built.samples.values():
        (ids,) = sample.meta["layers"]["aerial"]["items"]
        assert ids == ["it_m_4501201_ne_32_060_20210712"]


def test_aerial_radar_and_optical_each_on_its_own_grid_over_one_footprint(sensors, tmp_path):
    """160 m of ground: 1 m, 10 m and 20 m side by side, each with the true values at its own pixels' centres."""
    optical = {**recipes.imagery("2021-06-20/2021-06-25", bands=("red", "nir")), "max_cloud": 100}
    radar = {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "unit": "dB", "min_valid": 0}
    layers = {
        "s2": optical,
        "s1": {**radar, "pair": {"with": "s2", "within_days": 3}, "resolution": 20},
        "aerial": aerial(OLD, resolution=1),
        "middle": aerial(OLD, resolution=1, extent_m=80),
    }
    built = make(tmp_path, sensors, layers, chips={"size": 16, "resolution": 10})
    assert len(built.samples) >= 2
    (shot,) = [s for s in sensors.shots.values() if s.orbit[1] and "20210623" in s.id]
    for sample in built.samples.values():
        shapes = {name: sample.arrays[name].shape for name in layers}
        assert shapes == {"s2": (2, 16, 16), "s1": (2, 8, 8), "aerial": (4, 160, 160), "middle": (4, 80, 80)}
        checks.check_imagery(sample, "s2", sensors.scenes)
        for name in ("aerial", "middle"):
            assert sensor_checks.check_layer(sample, name, sensors.shots).pixels > 10_000
            with pytest.raises(AssertionError, match="beyond the bound"):
                sensor_checks.check_layer(sample, name, sensors.shots, moved=0.5)
        np.testing.assert_array_equal(sample.arrays["middle"], sample.arrays["aerial"][:, 40:120, 40:120])
        own = sensor_checks.grid_of(sample, "s1")
        assert own.bounds == sample.bounds
        assert sample.meta["layers"]["s1"]["items"] == [[shot.id]]
        for n, band in enumerate(("vv", "vh")):
            power = sensor_checks.power_of(shot, band)
            expected = sensor_checks.decibels(sensor_checks.mean_of_pixels(power, shot, own))
            np.testing.assert_allclose(sample.arrays["s1"][n], expected, atol=0.01)
