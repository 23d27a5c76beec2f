"""Radar on the analytic world: every pixel, linear power and decibels, and which pass is taken."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from worlds import checks, harness, recipes, sensor_checks, sensor_world
from worlds.sensor_builds import Built, make
from worlds.sensor_checks import DECIBEL, decibels, power_of
from worlds.sensor_world import radar

DOWN, UP, LATER = "2021-06-10/2021-06-12", "2021-06-14/2021-06-14", "2021-06-20/2021-06-25"
SPECKLED = "2021-07-05/2021-07-05"


def chosen(built: Built) -> set[str]:
    """Every item that a sample names."""
    return {i for s in built.samples.values() for i in s.meta["layers"]["s1"]["items"][0]}


@pytest.fixture(scope="module")
def on_grid(sensors, tmp_path_factory):
    """On the shots' own grid, in decibels: copies, from two slices of one pass."""
    tmp = tmp_path_factory.mktemp("radar_on_grid")
    return make(tmp, sensors, {"s1": radar(DOWN, unit="dB")})


@pytest.fixture(scope="module")
def off_grid(sensors, tmp_path_factory):
    """3 m and 7 m off it, in decibels; nodata without a tag."""
    tmp = tmp_path_factory.mktemp("radar_off_grid")
    return make(tmp, sensors, {"s1": radar(LATER, unit="dB")}, chips={"lattice": {"anchor": [3, 7]}})


@pytest.fixture(scope="module")
def next_zone(sensors, tmp_path_factory):
    """From the next zone's grid, as linear power, which is the collection's own unit; nodata is NaN."""
    tmp = tmp_path_factory.mktemp("radar_next_zone")
    return make(tmp, sensors, {"s1": radar(UP)})


ALL = ["on_grid", "off_grid", "next_zone"]
OFF = ["off_grid", "next_zone"]


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_every_pixel_is_within_the_bound(built):
    tally = built.tally
    assert len(built.samples) >= 9
    assert tally.pixels > 60_000
    # Zero power, negative power, holes and the swath's edge were met, and pixels beside them.
    assert tally.empty > 100


@pytest.mark.parametrize("built", OFF, indirect=True)
def test_pixels_beside_a_hole_are_blends_of_data_alone(built):
    assert built.tally.edge > 40


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_a_truth_half_a_pixel_off_is_out_of_bounds(built):
    """The proof that the tests above can fail."""
    built.fails_when_moved(5.0)


@pytest.mark.parametrize(
    ("built", "unit"), [("on_grid", "dB"), ("off_grid", "dB"), ("next_zone", "linear")], indirect=["built"]
)
def test_samples_say_their_unit_and_have_no_mask(built, unit):
    for sample in built.samples.values():
        meta = sample.meta["layers"]["s1"]
        assert meta["unit"] == unit
        assert meta["collection"] == "sentinel-1-rtc"
        assert meta["bands"] == ["vv", "vh"]
        assert "s1_mask" not in sample.arrays
        # What no mask tells is not bad.
        assert meta["cloud_fraction"] == 0.0


def test_a_pass_in_two_slices_is_one_picture(on_grid):
    """Chips over the seam name both slices; of those within the first, with all pixels there, only one is used."""
    used = {tuple(s.meta["layers"]["s1"]["items"][0]) for s in on_grid.samples.values()}
    assert {len(ids) for ids in used} == {1, 2}
    assert all("20210611" in i for ids in used for i in ids)


def test_where_there_is_no_power_there_is_no_data(on_grid, sensors):
    """Zero and negative power, in one band or in both, and never as a number of minus many decibels."""
    (shot, *_) = [s for s in sensors.shots.values() if s.holes and "20210611" in s.id]
    met = {"zero": 0, "negative": 0}
    for sample in on_grid.samples.values():
        array = sample.arrays["s1"]
        assert np.nanmin(array) > -25  # the weakest VH is -21.5 dB
        (first, *_) = sensor_checks.taken(sample, "s1", sensors.shots)
        x, y = sample.centres()
        for n, band in enumerate(("vv", "vh")):
            kinds = shot.at(shot.kinds[band], x, y, "")
            # Of the seam's chips the other slice has data there.
            alone = y > sensor_world.TOP - 2000
            for kind in met:
                at = (kinds == kind) & alone
                assert np.isnan(array[n][at]).all()
                met[kind] += int(at.sum())
        assert first.collection == "sentinel-1-rtc"
    assert met["zero"] >= 55
    assert met["negative"] >= 56


# --- decibels are of linear power --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(sensors, tmp_path_factory):
    """Speckled radar at 40 m, in decibels and as power: a mean of sixteen pixels that differ by several decibels."""
    tmp = tmp_path_factory.mktemp("radar_coarse")
    layers = {"s1": radar(SPECKLED, unit="dB"), "power": radar(SPECKLED, unit="linear")}
    return make(tmp, sensors, layers, chips={"size": 32, "resolution": 40})


def speckled(world, collection="sentinel-1-rtc"):
    (shot,) = [s for s in world.shots.values() if s.speckle and s.collection == collection]
    return shot


def of_linear_power(built, rule) -> list[float]:
    """Hold every band to a rule over its linear power; by sample and band, how far off the rule over decibels is."""
    shot, apart = speckled(built.world), []
    for sample in built.samples.values():
        for n, band in enumerate(("vv", "vh")):
            power = power_of(shot, band)
            expected = decibels(rule(power, shot, sample))
            out = sample.arrays["s1"][n].astype(float)
            np.testing.assert_array_equal(np.isnan(out), np.isnan(expected), f"{sample.key} {band}")
            assert np.nanmax(np.abs(out - expected)) <= 0.01, (sample.key, band)
            apart.append(np.nanmean(np.abs(out - rule(decibels(power), shot, sample))))
    return apart


def test_means_are_of_linear_power(coarse):
    """Against a direct computation from the file's pixels; a mean of decibels is out by over a decibel."""
    apart = of_linear_power(coarse, sensor_checks.mean_of_pixels)
    for sample in coarse.samples.values():
        linear = sample.arrays["power"].astype(float)
        np.testing.assert_allclose(decibels(linear), sample.arrays["s1"], atol=0.01)
    assert sum(np.isfinite(s.arrays["s1"]).sum() for s in coarse.samples.values()) > 4_000
    # The proof that this test can fail: what averaging decibels would give is far beyond its bound.
    assert min(apart) > 1.0


def test_a_target_pixel_with_half_its_pixels_without_power_has_none(coarse):
    shot = speckled(coarse.world)
    part = 0
    for sample in coarse.samples.values():
        share = sensor_checks.mean_of_pixels(shot.valid["vv"].astype(float), shot, sample)
        out = sample.arrays["s1"][0]
        assert np.isnan(out[share < 0.5]).all()
        assert not np.isnan(out[share >= 0.5]).any()
        part += int(((share > 0) & (share < 1)).sum())
    assert part > 10


@pytest.fixture(scope="module")
def moved(sensors, tmp_path_factory):
    """Speckled radar 3 m and 7 m off its grid."""
    tmp = tmp_path_factory.mktemp("radar_moved")
    layers = {"s1": radar(SPECKLED, unit="dB")}
    area = (732700, 4987200, 734000, 4988500)
    return make(tmp, sensors, layers, area=area, chips={"lattice": {"anchor": [3, 7]}})


def test_bilinear_is_of_linear_power(moved):
    apart = of_linear_power(moved, sensor_checks.bilinear_of_pixels)
    assert len(apart) >= 8
    assert min(apart) > 0.5


OWN = """\
name: own-radar-db
title: Radar of the user's own, stored as decibels
kind: imagery
nodata: -99
unit: dB
backscatter: gamma0
bands:
  - {name: vv, gsd: 10}
  - {name: vh, gsd: 10}
credit: {licence: CC0-1.0, url: https://example.org, text: nobody}
"""


@pytest.mark.parametrize("unit", ["native", "dB", "linear"])
def test_files_in_decibels_are_averaged_as_power_too(sensors, tmp_path, unit):
    """A collection of the user's own whose files hold decibels: its nodata is -99, and zero power is minus infinity."""
    own = tmp_path / "catalogs" / "collections" / "own-radar-db.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(OWN, encoding="utf-8")
    layer = {"collection": "own-radar-db", "bands": ["vv", "vh"], "unit": unit, "min_valid": 0}
    built = make(
        tmp_path, sensors, {"s1": {**layer, "time": "2021-07-11/2021-07-11"}}, catalogs=["catalogs"],
        area=(732100, 4987300, 733500, 4988700), chips={"size": 32, "resolution": 20},
    )  # fmt: skip
    shot = speckled(sensors, "own-radar-db")
    assert len(built.samples) >= 4
    for sample in built.samples.values():
        meta = sample.meta["layers"]["s1"]
        assert meta["unit"] == ("linear" if unit == "linear" else "dB")
        for n, band in enumerate(("vv", "vh")):
            expected = sensor_checks.mean_of_pixels(power_of(shot, band), shot, sample)
            out = sensor_checks.values(sample, "s1")[n]
            np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
            told = decibels(out) if meta["unit"] == "linear" else out
            assert np.nanmax(np.abs(told - decibels(expected))) <= 0.01


# --- units and passes ------------------------------------------------------------------------------------------


def test_linear_and_decibels_of_one_scene_are_one_thing(sensors, tmp_path):
    layers = {"s1": radar(LATER, unit="dB"), "linear": radar(LATER, unit="linear"), "native": radar(LATER)}
    built = make(tmp_path, sensors, layers, area=(732700, 4987200, 734000, 4988500))
    for sample in built.samples.values():
        np.testing.assert_array_equal(sample.arrays["linear"], sample.arrays["native"])
        told = sample.arrays["linear"].astype(float)
        # 1e-5 dB: float32 keeps seven digits of twenty decibels.
        np.testing.assert_allclose(decibels(told), sample.arrays["s1"], atol=1e-5)
        assert sample.meta["layers"]["native"]["unit"] == "linear"


def test_the_time_says_which_pass(sensors, tmp_path):
    """Passes differ by over a decibel, so that the wrong one cannot be within the bound."""
    gains = {
        round(DECIBEL * np.log(s.gain), 1) for s in sensors.shots.values() if s.orbit[1] and not s.speckle
    }
    assert min(abs(a - b) for a in gains for b in gains if a != b) > 1
    for time, day in ((DOWN, "20210611"), (UP, "20210614"), (LATER, "20210623")):
        built = make(
            tmp_path / day, sensors, {"s1": radar(time, unit="dB")}, area=(732700, 4987800, 734000, 4988500)
        )
        assert built.tally.pixels > 8_000
        assert all(day in i for i in chosen(built))


@pytest.mark.parametrize(
    ("where", "days"),
    [
        ({"sat:orbit_state": "ascending"}, {"20210614"}),
        ({"platform": "SENTINEL-1B"}, {"20210614"}),
        ({"sat:relative_orbit": 168}, {"20210611", "20210623"}),
    ],
)
def test_a_recipe_says_which_orbit(sensors, tmp_path, where, days):
    """Of all passes of June the ascending one, or the track that descends: the pass that shows most of the chip."""
    layers = {"s1": radar("2021-06-01/2021-06-30", unit="dB", where=where)}
    built = make(tmp_path, sensors, layers, area=(732700, 4987800, 734000, 4988500))
    assert built.tally.pixels > 8_000
    assert {i.split("_")[4][:8] for i in chosen(built)} == days
    if len(days) == 1:
        return
    early, late = ([s for s in sensors.shots.values() if f"_{day}T" in s.id] for day in sorted(days))
    for sample in built.samples.values():
        x, y = sample.centres()
        shares = [
            np.mean([np.any([s.at(s.valid["vv"] & s.valid["vh"], x, y) for s in takes], axis=0)])
            for takes in (early, late)
        ]
        (ids,) = sample.meta["layers"]["s1"]["items"]
        # The same share: the newer one.
        assert all(("20210623" in i) == (shares[1] >= shares[0]) for i in ids), (sample.key, shares)


def test_zarr_verify_and_statistics_know_that_nan_is_no_data(sensors, tmp_path):
    """Both formats of chips with holes: verify has nothing against them, and no NaN is in a statistic."""
    layers = {"s1": radar(DOWN, unit="dB")}
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 16}
    built = make(tmp_path, sensors, layers, area=(732700, 4987800, 734000, 4988900), output=output)
    harness.succeed("verify", built.out)
    keys = list(built.samples)
    group = xr.open_zarr(built.out / "zarr" / "train.zarr", group="s1")
    arrays = np.stack([built.samples[k].arrays["s1"] for k in group["key"].values.tolist()])
    np.testing.assert_array_equal(group["s1"].values, arrays)
    assert np.isnan(arrays).sum() > 50
    assert sorted(group["key"].values.tolist()) == sorted(keys)
    told = harness.strict_json((built.out / "stats.json").read_bytes())["s1"]
    for n, band in enumerate(("vv", "vh")):
        data = arrays[:, n][~np.isnan(arrays[:, n])].astype(float)
        assert told[band]["count"] == data.size
        # 1e-4 dB: sums of float32 values in float64.
        assert abs(told[band]["mean"] - data.mean()) < 1e-4
        assert abs(told[band]["std"] - data.std()) < 1e-4
        assert told[band]["min"] == pytest.approx(data.min(), abs=1e-5)


def test_radar_beside_sentinel_2_on_one_grid(sensors, tmp_path):
    """Two sensors of one place in one sample, each of them right; the optical layer keeps its mask and its type."""
    optical = {**recipes.imagery("2021-06-20/2021-06-25", bands=("red", "swir16")), "max_cloud": 100}
    layers = {"s2": optical, "s1": radar(UP, unit="dB")}
    built = make(tmp_path, sensors, layers, area=(732700, 4987200, 734000, 4988500))
    built.layer = "s1"
    assert built.tally.pixels > 8_000
    for sample in built.samples.values():
        assert sample.arrays["s2"].dtype == np.int16
        checks.check_imagery(sample, "s2", sensors.scenes)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"max_cloud": 10}, ("imagery.s1", "no mask", "sentinel-1-rtc")),
        ({"mask": "blank"}, ("imagery.s1", "no mask")),
        ({"unit": "reflectance"}, ("imagery.s1.unit", "reflectance", "linear")),
        ({"bands": ["vv", "red"]}, ("red",)),
    ],
)
def test_what_radar_has_not_is_refused(sensors, tmp_path, more, names):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(sensors.catalog("refused"), window, {"s1": radar(DOWN, **more)})
    recipe = harness.write_recipe(tmp_path / "recipe.yaml", mapping)
    harness.refuse(3, "plan", recipe, "-o", tmp_path / "out", names=names)


def test_decibels_of_an_optical_layer_are_refused(sensors, tmp_path):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    optical = {**recipes.imagery("2021-06-20/2021-06-25", bands=("red",)), "unit": "dB"}
    mapping = sensor_world.recipe(sensors.catalog("refused_optical"), window, {"s2": optical})
    recipe = harness.write_recipe(tmp_path / "recipe.yaml", mapping)
    harness.refuse(3, "plan", recipe, "-o", tmp_path / "out", names=("imagery.s2.unit", "dB", "reflectance"))
