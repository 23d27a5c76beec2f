"""A radar layer beside an optical one: the pass that goes with its date, and what becomes of a chip without one."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from worlds import checks, harness, recipes, sensor_checks, sensor_world

EARLY, LATE = "S2_0612", "S2_0622"
DOWN, UP, NEXT = "S1A_IW_GRDH_1SDV_20210611", "S1B_IW_GRDH_1SDV_20210614", "S1A_IW_GRDH_1SDV_20210623"
JUNE = "2021-06-01/2021-06-30"


def optical(time: str = JUNE, **more) -> dict:
    return {"collection": "sentinel-2-l2a", "bands": ["red"], "time": time, **more}


def radar(within: float = 3, **more) -> dict:
    pair = {"with": "s2", "within_days": within, **more.pop("pair", {})}
    return {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "pair": pair, "unit": "dB", **more}


def make(tmp, world, layers, *, catalog=None, code=0):
    """Build; the samples and the ledger."""
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(catalog or world.catalog(f"catalog_{tmp.name}"), window, layers)
    if code:
        harness.refuse(
            code, "build", harness.write_recipe(tmp / "r.yaml", mapping), "-o", tmp / "out", "--workers", 0
        )
        return {}, harness.ledger(tmp / "out")
    out = harness.build(tmp, mapping)
    harness.succeed("verify", out)
    return harness.read_samples(out), harness.ledger(out)


def days(samples, layer: str = "s1") -> set[tuple[str, ...]]:
    """By step, the item of each sample without what follows its day."""
    return {tuple(step[0][:25] for step in s.meta["layers"][layer]["items"]) for s in samples.values()}


def test_the_nearest_pass_is_taken_and_its_pixels_are_true(sensors, tmp_path):
    samples, _ = make(tmp_path, sensors, {"s2": optical("2021-06-12"), "s1": radar()})
    assert days(samples) == {(DOWN,)}  # 1.2 days before; the ascending one is 2.3 days after
    tally = checks.Tally()
    for sample in samples.values():
        tally += sensor_checks.check_layer(sample, "s1", sensors.shots)
    assert tally.pixels > 30_000


def test_two_orbits_are_two_layers(sensors, tmp_path):
    layers = {
        "s1_up": radar(where={"orbit": "ascending"}),
        "s1_down": radar(where={"orbit": "descending"}),
        "s2": optical("2021-06-12"),
    }
    samples, _ = make(tmp_path, sensors, layers)
    assert (days(samples, "s1_up"), days(samples, "s1_down")) == ({(UP,)}, {(DOWN,)})
    first = next(iter(samples.values()))
    assert list(first.meta["layers"]) == ["s1_up", "s1_down", "s2", "s2_mask"]  # the recipe's order


def test_the_search_needs_no_time_of_its_own(sensors, tmp_path):
    make(tmp_path, sensors, {"s2": optical("2021-06-12"), "s1": radar()})
    frozen = pd.read_parquet(tmp_path / "out" / "plan" / "scenes.parquet", columns=["id", "chipweave:layer"])
    own = frozen[frozen["chipweave:layer"] == "s1"]["id"].str[:25]
    assert set(own) == {DOWN, UP}  # those of 12 June and three days on either side


def test_a_chip_without_a_partner_is_dropped_and_the_ledger_says_so(sensors, tmp_path):
    _, ledger = make(tmp_path, sensors, {"s2": optical("2021-06-12"), "s1": radar(1)}, code=5)
    assert set(zip(ledger["state"], ledger["stage"], ledger["reason"], ledger["layer"], strict=True)) <= {
        ("dropped", "survey", "pair", "s1"), ("dropped", "lock", "no_scene", "s1"),
    }  # fmt: skip


@pytest.mark.parametrize("time", ["2021-06-12", "2021-06-01/2021-06-02"])
def test_or_it_is_there_as_an_empty_member(sensors, tmp_path, time):
    layers = {
        "s2": optical("2021-06-12"),
        "s1": {**radar(1, pair={"if_missing": "nodata"}), "time": time},
    }
    samples, ledger = make(tmp_path, sensors, layers)
    assert len(samples) >= 9
    assert set(ledger["state"]) == {"written"}
    for sample in samples.values():
        own = sample.meta["layers"]["s1"]
        assert (own["present"], own["items"], own["datetime"]) == (False, [[""]], [""])
        assert (own["valid_fraction"], own["cloud_fraction"]) == (0.0, 0.0)
        assert np.isnan(sample.arrays["s1"]).all()
        assert sample.arrays["s1"].shape == (2, 64, 64)
        assert sample.meta["layers"]["s2"]["present"]


def test_the_other_layer_may_choose_again(sensors, tmp_path):
    only_up = {"where": {"orbit": "ascending"}}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    samples, _ = make(
        tmp_path / "a", sensors, {"s2": optical(), "s1": radar(**only_up, pair={"if_missing": "reselect"})}
    )
    assert days(samples, "s2") == {(EARLY,)}  # the clearer one has no ascending pass near it
    assert days(samples) == {(UP,)}
    fewer, ledger = make(tmp_path / "b", sensors, {"s2": optical(), "s1": radar(**only_up)})
    assert days(fewer, "s2") == {(EARLY,)}
    assert len(fewer) < len(samples)  # where the clearer date is cloudy
    assert set(ledger[ledger["state"] == "dropped"]["reason"]) == {"pair"}


def test_each_date_of_a_series_has_its_own_and_all_share_an_orbit(sensors, tmp_path):
    layers = {
        "s2": optical(select={"method": "series", "max": 2}),
        "s1": radar(4, pair={"same": ["orbit_state", "relative_orbit"]}),
    }
    samples, _ = make(tmp_path, sensors, layers)
    assert days(samples, "s2") == {(EARLY, LATE)}
    assert days(samples) == {(DOWN, NEXT)}
    for sample in samples.values():
        assert sample.arrays["s1"].shape == (2, 2, 64, 64)
        assert sample.meta["layers"]["s1"]["dims"] == ["time", "band", "y", "x"]


def test_a_partner_follows_when_a_broken_file_moves_its_date(sensors, tmp_path):
    """The later date's red band is no raster: it looks well in survey, and gives way when it is woven."""
    (tmp_path / "broken.tif").write_bytes(b"no raster")
    path = sensors.catalog(f"catalog_{tmp_path.name}")
    items = json.loads(path.read_text())
    for item in items["features"]:
        if item["id"] == LATE:
            red = next(k for k in ("red", "B04") if k in item["assets"])
            item["assets"][red]["href"] = str(sensors.folder / "nothing.tif")
    (sensors.folder / "nothing.tif").write_bytes(b"no raster")
    own = sensors.folder / f"broken_{tmp_path.name}.json"
    own.write_text(json.dumps(items))
    samples, _ = make(tmp_path, sensors, {"s2": optical(), "s1": radar()}, catalog=own)
    assert days(samples, "s2") == {(EARLY,)}
    assert days(samples) == {(DOWN,)}  # not 23 June, which went with the date that broke


def test_the_yield_is_told_before_a_pixel_is_read(sensors, tmp_path):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(
        sensors.catalog(f"catalog_{tmp_path.name}"), window, {"s2": optical("2021-06-12"), "s1": radar(2)}
    )
    done = harness.succeed("plan", harness.write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out")
    lines = done.stderr.splitlines()
    [said] = [n for n, line in enumerate(lines) if "pair: s1 within 2 days of s2" in line]
    assert "(100.0 %) at best; days between the nearest two: 1:" in lines[said]
    assert said < min(n for n, line in enumerate(lines) if "survey" in line and "candidates" in line)


def test_layers_that_go_round_are_refused(tmp_path):
    mapping = recipes.recipe("catalog", {"bbox": [0, 0, 1, 1]})
    mapping["imagery"] = {
        "a": {"collection": "sentinel-1-rtc", "bands": ["vv"], "pair": {"with": "b", "within_days": 1}},
        "b": {"collection": "sentinel-1-rtc", "bands": ["vv"], "pair": {"with": "a", "within_days": 1}},
    }
    harness.refuse(3, "check", harness.write_recipe(tmp_path / "r.yaml", mapping), names=("a -> b -> a",))
