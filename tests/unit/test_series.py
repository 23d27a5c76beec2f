"""Several dates a chip: which are taken, what stands where one is missing, and that memory waits on disk."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from test_weave import (
    NODATA,
    SIDE,
    UTM,
    WC,
    WEST,
    X,
    Y,
    add_label,
    add_scene,
    build,
    build_in_every_way,
    picture,
    recipe,
)

from chipweave import open_dataset, run
from chipweave.errors import ChipweaveError
from chipweave.plan import decide
from chipweave.plan.columns import Candidate
from chipweave.plan.select import Limits, Measured, Series
from chipweave.weave import batch as batch_room
from chipweave.weave.spool import Spool
from tiny import load, north_up, outline, write_tif
from worlds.harness import chipweave, ledger

SERIES = {"select": {"method": "series", "max": 3}}


def date(day: int, cloud: float = 0.0, valid: float = 1.0, *, broken: str = "") -> Measured:
    candidate = Candidate((f"d{day:02d}",), f"2021-06-{day:02d}T10:00:00+00:00", 1.0, 0.0, True, broken)
    return Measured(candidate) if broken else Measured(candidate, cloud, valid)


def limits(
    steps: int, need: int = 1, gap: int = 0, *, max_cloud: float | None = None, most: int = 8
) -> Limits:
    return Limits(max_cloud, None, most, Series(steps, need, timedelta(days=gap)))


def taken(choice) -> list[str]:
    return [m.candidate.scenes[0] for m in choice.steps]


# Which dates ------------------------------------------------------------------------------------------------


def test_the_least_cloudy_dates_are_taken_in_the_order_of_time():
    own = limits(3)
    choice = own.rule.choose([date(9, 0.3), date(3, 0.1), date(20, 0.0), date(12, 0.2)], own)
    assert taken(choice) == ["d03", "d12", "d20"]
    assert [m.why for m in choice.ranked] == [
        "step 1 of 3", "step 2 of 3", "step 3 of 3", "within limits, ranked lower"
    ]  # fmt: skip


def test_a_date_too_near_to_a_clearer_one_is_passed_over():
    own = limits(3, gap=5)
    choice = own.rule.choose([date(10, 0.0), date(14, 0.1), date(15, 0.2), date(5, 0.3)], own)
    assert taken(choice) == ["d05", "d10", "d15"]
    assert choice.ranked[-1].why == "within limits, ranked lower"
    choice = own.rule.choose([date(10, 0.0), date(14, 0.1)], own)
    assert taken(choice) == ["d10"]
    assert choice.ranked[-1].why == "within limits, too near to a clearer date"


def test_clouds_beyond_the_limit_are_no_step_and_too_few_steps_are_no_series():
    own = limits(3, need=2, max_cloud=0.5)
    assert taken(own.rule.choose([date(1, 0.6), date(9, 0.1), date(15, 0.2)], own)) == ["d09", "d15"]
    choice = own.rule.choose([date(1, 0.6), date(9, 0.1)], own)
    assert (choice.chosen, choice.reason) == (False, "steps")
    assert {m.why for m in choice.ranked} == {
        "cloud 0.6000 above max_cloud 0.5000", "within limits, but too few are"
    }  # fmt: skip
    assert own.rule.choose([date(1, 0.6)], own).reason == "cloud"
    assert own.rule.choose([date(1, broken="gone")], own).reason == "broken"
    assert own.rule.choose([], own).reason == "no_scene"


def test_an_orbit_that_comes_again_some_seconds_early_keeps_the_gap():
    own, found = limits(3, need=3, gap=5), []
    for day, second in ((1, 21), (6, 19), (11, 22)):
        time = f"2021-06-{day:02d}T10:36:{second:02d}+00:00"
        found.append(Measured(Candidate((f"d{day}",), time, 1.0, 0.0, True), 0.0, 1.0))
    assert taken(own.rule.choose(found, own)) == ["d1", "d6", "d11"]


def test_where_the_clearest_date_leaves_too_few_others_are_taken():
    own = limits(2, need=2, gap=5)
    assert taken(own.rule.choose([date(1, 0.1), date(4, 0.0), date(7, 0.1)], own)) == ["d01", "d07"]


def test_a_broken_date_fails_a_chip_only_where_it_is_to_blame():
    own = limits(6, need=3, max_cloud=0.5)
    short = [date(1), date(8, 0.9), date(20, broken="gone")]
    assert own.rule.choose(short, own).reason == "steps"
    assert own.rule.choose([*short, date(25)], own).reason == "broken"


def test_reading_stops_when_clear_dates_fill_the_series_or_candidates_a_step_are_spent():
    own = limits(2, gap=5, most=3)
    assert not own.rule.enough([date(1), date(3)], own), "too near to each other"
    assert own.rule.enough([date(1), date(3), date(6)], own)
    assert not own.rule.enough([date(1), date(9, 0.1), date(20, valid=0.9)], own), "not clear"
    assert own.rule.enough([date(n, 0.5) for n in range(1, 7)], own), "three a step"


@given(
    st.dictionaries(st.integers(1, 28), st.sampled_from([0.0, 0.1, 0.5, 0.9]), max_size=20),
    st.integers(1, 6),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_any_series_keeps_its_rules_whatever_the_order(dates, steps, gap, random):
    own = limits(steps, gap=gap, max_cloud=0.5)
    found = [date(*d) for d in dates.items()]
    choice = own.rule.choose(found, own)
    random.shuffle(found)
    assert own.rule.choose(found, own).ranked == choice.ranked
    days = [int(name[1:]) for name in taken(choice)]
    assert days == sorted(days)
    assert len(days) <= steps
    assert all(b - a >= gap for a, b in pairwise(days))
    assert all(dates[d] <= 0.5 for d in days)
    # Where there was room, what was left out is too near to one that is taken and not cloudier.
    if len(days) < steps:
        for day, cloud in dates.items():
            if cloud <= 0.5 and day not in days:
                assert any(abs(day - d) < gap and dates[d] <= cloud for d in days)


# What is woven ----------------------------------------------------------------------------------------------


def stack(folder, *days, **more):
    return [add_scene(folder, f"D{d:02d}", day=d, seed=d, **more) for d in days]


def test_every_step_holds_the_pixels_of_its_date(tmp_path):
    """Also of a mosaic, of a date that only some chips have, and in Zarr."""
    items = [
        *stack(tmp_path, 1, 8, 20),
        add_scene(tmp_path, "D08b", day=8, seed=3, at=32, time="10:00:10"),
        add_label(tmp_path, 260),
    ]
    loaded = recipe(tmp_path, items, labels=WC, s2={**SERIES, "mask": "blank"},
                    output={"formats": ["webdataset", "zarr"], "samples_per_shard": 8})  # fmt: skip
    samples = build(loaded, tmp_path / "out")
    assert len(samples) == 16
    seen = set()
    for sample in samples.values():
        col, row = round((sample.affine.c - X) / 10), round((Y - sample.affine.f) / 10)
        said = sample.meta["layers"]["s2"]
        assert (said["dims"], said["shape"]) == (["time", "band", "y", "x"], [3, 2, 16, 16])
        assert sample.meta["layers"]["s2_mask"]["dims"] == ["time", "y", "x"]
        assert [d[:10] for d in said["datetime"]] == ["2021-06-01", "2021-06-08", "2021-06-20"]
        assert [said["items"][0], said["items"][2]] == [["D01"], ["D20"]]
        [eighth] = said["items"][1]
        seen.add(eighth)
        for step, day in enumerate((1, 8, 20)):
            seed, left = (3, col - 32) if day == 8 and eighth == "D08b" else (day, col)
            right = picture(seed)[row : row + 16, left : left + 16]
            np.testing.assert_array_equal(sample.arrays["s2"][step, 0], right)
        assert not sample.arrays["s2_mask"].any()
    assert seen == {"D08", "D08b"}
    with xr.open_zarr(tmp_path / "out" / "zarr" / "train.zarr", group="s2") as stored:
        assert stored["s2"].dims == ("sample", "time", "band", "y", "x")
        first = samples[str(stored["key"].values[0])]
        np.testing.assert_array_equal(stored["s2"][0], first.arrays["s2"])
    index = pd.read_parquet(tmp_path / "out" / "index.parquet")
    assert {len(d) for d in index["s2_datetime"]} == {3}
    assert chipweave("verify", tmp_path / "out").returncode == 0
    assert chipweave("show", tmp_path / "out", "-o", tmp_path / "sheet.png").returncode == 0
    matches = pd.read_parquet(tmp_path / "out" / "plan" / "matches.parquet")
    own = matches[(matches["layer"] == "s2") & matches["chosen"]]
    assert own.groupby("key")["step"].apply(set).map(sorted).tolist() == [[0, 1, 2]] * 16
    assert set(own["rank"]) == {0}


@pytest.mark.parametrize("missing", ["drop", "nodata"])
def test_a_missing_step_drops_the_chip_or_is_no_data(tmp_path, missing):
    """The third date covers the west alone."""
    items = [*stack(tmp_path, 1, 8), add_scene(tmp_path, "D20", day=20, seed=4, at=-32)]
    loaded = recipe(tmp_path, items, s2={**SERIES, "steps": {"missing": missing}, "min_valid": 100})
    out = tmp_path / "out"
    samples = build(loaded, out)
    fates = ledger(out)
    if missing == "drop":
        assert len(samples) == 8
        assert set(fates[fates["state"] == "dropped"]["reason"]) == {"steps"}
        return
    assert len(samples) == 16
    short = [s for s in samples.values() if s.meta["layers"]["s2"]["items"][-1] == [""]]
    assert len(short) == 8
    for sample in short:
        said = sample.meta["layers"]["s2"]
        assert said["datetime"][2] == ""
        assert said["present"]
        assert said["valid_fraction"] == pytest.approx(2 / 3)
        assert said["cloud_fraction"] == 0
        assert (sample.arrays["s2"][2] == NODATA).all()
        assert (sample.arrays["s2_mask"][2] == 255).all()
        assert (sample.arrays["s2"][:2] != NODATA).all()
    assert chipweave("verify", out).returncode == 0


def test_a_step_whose_bands_hold_less_than_its_mask_said_is_missing(tmp_path):
    """Then a chip needs `min` dates, or is a late drop."""
    items = [*stack(tmp_path, 1, 8), add_scene(tmp_path, "D20", day=20, seed=4, hidden=[WEST])]
    for least, kept in ((2, 16), (3, 8)):
        s2 = {**SERIES, "steps": {"min": least, "missing": "nodata"}, "min_valid": 100}
        out = tmp_path / f"out{least}"
        samples = build(recipe(tmp_path, items, name=f"r{least}", s2=s2), out)
        assert len(samples) == kept
        gaps = [s.meta["layers"]["s2"]["items"] for s in samples.values()]
        assert sum(items[2] == [""] for items in gaps) == kept - 8
        late = ledger(out).query("state == 'dropped'")
        assert set(zip(late["stage"], late["reason"], strict=True)) == (
            set() if kept == 16 else {("weave", "valid")}
        )


def test_a_broken_date_is_replaced_by_another(tmp_path):
    """The red band of one date is cut short: the series is chosen again without it, and says so."""
    items = stack(tmp_path, 1, 8, 15, 22)
    for item in items[:1]:
        item["properties"]["eo:cloud_cover"] = 9.0  # looked at last
    path = tmp_path / "D08" / "red.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=SERIES), out)
    assert {tuple(map(tuple, s.meta["layers"]["s2"]["items"])) for s in samples.values()} == {
        (("D01",), ("D15",), ("D22",))
    }
    passed = pd.read_parquet(out / "plan" / "amendments.parquet")
    assert set(passed["item"]) == {"D08"}
    for sample in samples.values():
        col, row = round((sample.affine.c - X) / 10), round((Y - sample.affine.f) / 10)
        np.testing.assert_array_equal(sample.arrays["s2"][0, 0], picture(1)[row : row + 16, col : col + 16])


def test_a_date_that_is_broken_in_two_zones_of_one_batch(tmp_path, monkeypatch):
    """The scenes lie over 12° E: chips of both zones are measured again, each on its own grid."""
    monkeypatch.setattr(decide, "few_tiles", lambda _: 1)
    left, top = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(12.0, 46.9)
    left, top = round(left / 20) * 20 - 200.0, round(top / 20) * 20.0
    items = []
    for day in (1, 8, 15):
        item = add_scene(tmp_path, f"D{day:02d}", day=day, seed=day)
        for key, res in (("red", 10), ("scl", 20)):
            values = picture(day) if key == "red" else np.full((32, 32), 4, np.uint8)
            write_tif(tmp_path / f"D{day:02d}" / f"{key}.tif", values, UTM, north_up(left, top, res), 0)
        footprint = outline(UTM, left, top - SIDE, left + SIDE, top)
        item["geometry"], item["bbox"] = shapely.geometry.mapping(footprint), list(footprint.bounds)
        item["properties"] = {k: v for k, v in item["properties"].items() if k != "proj:bbox"} | {
            "eo:cloud_cover": day
        }
        items.append(item)
    path = tmp_path / "D01" / "red.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 8])
    s2 = {"select": {"method": "series", "max": 2}, "bands": ["red"], "min_valid": 99}
    out = tmp_path / "out"
    area = outline(UTM, left + 40, top - SIDE + 40, left + SIDE - 40, top - 40)
    samples = build(recipe(tmp_path, items, area=area, s2=s2, chips={"size": 8}), out)
    chips = pd.read_parquet(out / "plan" / "chips.parquet").query("state == 'kept'")
    assert chips.groupby("batch")["crs"].nunique().max() == 2, "no batch holds both zones"
    assert len(samples) == len(chips) > 20
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["items"] == [["D08"], ["D15"]]


def test_two_dates_of_one_day_are_two_steps(tmp_path):
    items = [
        add_scene(tmp_path, "D01", day=1, seed=1),
        add_scene(tmp_path, "D01b", day=1, seed=2, time="13:00:00"),
    ]
    s2 = {"select": {"method": "series", "max": 2, "min_gap": "2h"}}
    samples = build(recipe(tmp_path, items, s2=s2), tmp_path / "out")
    assert {tuple(map(tuple, s.meta["layers"]["s2"]["items"])) for s in samples.values()} == {
        (("D01",), ("D01b",))
    }


def test_two_series_have_their_own_times(tmp_path):
    items = stack(tmp_path, 1, 8, 20)
    early = {"collection": "sentinel-2-l2a", "bands": ["red"], "time": "2021-06-01/2021-06-10",
             "select": {"method": "series", "max": 2}}  # fmt: skip
    late = {**early, "time": "2021-06-11/2021-06-30", "select": {"method": "series", "max": 3},
            "steps": {"missing": "nodata"}}  # fmt: skip
    loaded = recipe(tmp_path, items, imagery={"early": early, "late": late})
    run.build(loaded, tmp_path / "out", workers=0)
    with open_dataset(tmp_path / "out") as dataset:
        sample = dataset.to_xarray(dataset.keys[0])
    assert sample["early"].dims == ("early_time", "band", "y", "x")
    assert sample["late_mask"].dims == ("late_time", "y", "x")
    assert [str(t)[:10] for t in sample["late_time"].values] == ["2021-06-20", "NaT", "NaT"]
    index = pd.read_parquet(tmp_path / "out" / "index.parquet")
    assert set(index["late_valid_fraction"]) == {1 / 3}
    chips = pd.read_parquet(tmp_path / "out" / "plan" / "chips.parquet")
    assert set(chips["late_valid_fraction"]) == {1 / 3}


def test_files_that_wait_are_few_however_many_tiles(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(batch_room, "Spool", lambda folder: opened.append(Spool(folder)) or opened[-1])
    monkeypatch.setattr(batch_room, "SPOOLS", 2)
    loaded = recipe(tmp_path, stack(tmp_path, 1, 8, 20), s2=SERIES)
    assert len(build(loaded, tmp_path / "out", tile_px=16)) == 16
    chips = pd.read_parquet(tmp_path / "out" / "plan" / "chips.parquet")
    assert len(opened) <= 2 * chips["batch"].nunique() < chips["tile"].nunique()


def test_pixels_and_bytes_of_a_series_do_not_depend_on_workers_or_tiles(tmp_path):
    wide = outline(UTM, X - 90, Y - 690, X + 700, Y + 70)
    items = [*stack(tmp_path, 1, 8, 20, clouds=[np.s_[3:9, 4:11]]), add_label(tmp_path, 260)]
    s2 = {**SERIES, "steps": {"missing": "nodata"}, "mask": "blank"}
    loaded = recipe(
        tmp_path, items, area=wide, labels=WC, s2=s2, chips={"size": 16, "lattice": {"anchor": [3, 7]}}
    )
    build_in_every_way(loaded, tmp_path)


@pytest.mark.parametrize(
    ("s2", "said"),
    [
        ({"select": {"method": "series"}}, "a series needs max"),
        ({"select": {"method": "series", "max": 3}, "steps": {"max": 4}}, "select.max says 3"),
        ({"select": {"method": "series", "max": 3}, "steps": {"min": 4}}, "is more than max, 3"),
        ({"select": {"method": "series", "max": 3, "min_gap": "-5d"}}, "is less than no time"),
        (
            {"select": {"method": "series", "max": 3, "min_gap": "9999999999d"}},
            "is longer than time is counted",
        ),
        ({"steps": {"min": 1}}, "has one step"),
    ],
)
def test_a_series_that_contradicts_itself_is_refused(tmp_path, s2, said):
    mapping = {"catalog": "items.json", "area": {"bbox": [9, 46, 9.1, 46.1]},
               "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["red"], **s2}}}  # fmt: skip
    with pytest.raises(ChipweaveError, match=said) as caught:
        load(tmp_path, mapping, "r.yaml")
    assert caught.value.exit_code == 3


def test_what_waits_on_disk_comes_back(tmp_path):
    with Spool(tmp_path) as spool:
        for n in range(4):
            spool.put(("a", n), [np.full((2, 3), n, np.int16), np.full(5, n, np.uint8)])
        spool.put(("a", 1), [np.full((2, 3), 9, np.int16), np.full(5, 8, np.uint8)])
        for n, right in ((0, (0, 0)), (1, (9, 8)), (3, (3, 3))):
            values, mask = np.empty((2, 3), np.int16), np.empty(5, np.uint8)
            spool.load(("a", n), [values, mask])
            assert (set(values.ravel()), set(mask)) == ({right[0]}, {right[1]})
        assert not list(tmp_path.iterdir()), "the file has no name: a killed build leaves none"
        spool.close()
        with pytest.raises(KeyError):
            spool.load(("a", 0), [])
