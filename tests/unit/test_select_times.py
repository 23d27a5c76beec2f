"""Every way in time, built: dates carry different values, so that a wrong choice shows in the pixels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from test_weave import NODATA, WEST, X, Y, add_scene, build, build_in_every_way, picture, recipe

from chipweave import coverage, run
from chipweave.errors import RecipeError, UsageError
from chipweave.plan.lockfile import read_lock
from tiny import UTM, north_up, outline, to_lonlat, write_tif
from worlds.harness import ledger

WHOLE = np.s_[:, :]
EAST = np.s_[:, 16:]
NORTH = np.s_[:16, :]


def dated(folder, date, seed, *, cloud=5.0, **more):
    """A scene of a date; its values are those of its seed, red at 1000 + 500 * seed."""
    made = add_scene(folder, f"D{date}", seed=seed, **more)
    made["properties"] |= {"datetime": f"{date}T10:00:00Z", "eo:cloud_cover": cloud}
    return made


def corner(sample):
    """(row, col) of a chip in the scenes' pixels."""
    return round((Y - sample.affine.f) / 10), round((sample.affine.c - X) / 10)


def is_of(sample, array, seed):
    row, col = corner(sample)
    np.testing.assert_array_equal(array, picture(seed)[row : row + 16, col : col + 16])


def matches(out):
    return pd.read_parquet(out / "plan" / "matches.parquet")


def chosen(out):
    """(step, item, why) of what was chosen for all chips, which must be the same."""
    own = matches(out)[lambda m: m["chosen"]]
    found = {tuple(zip(g["step"], g["item"], g["why"], strict=True)) for _, g in own.groupby("key")}
    [one] = found
    return list(one)


S2 = {"max_cloud": 20, "min_valid": 50}


def test_the_newest_within_limits_and_nothing_older_is_read(tmp_path):
    items = [
        dated(tmp_path, "2021-06-02", 1),
        dated(tmp_path, "2021-06-12", 2),
        dated(tmp_path, "2021-06-22", 3, clouds=[WHOLE], cloud=1.0),
    ]
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2={**S2, "select": {"method": "newest"}}), out)
    assert len(samples) == 16
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["shape"] == [2, 16, 16]
        is_of(sample, sample.arrays["s2"][0], 2)
    assert chosen(out) == [(0, "D2021-06-12", "newest within limits")]
    why = dict(matches(out).groupby("item")["why"].first())
    assert why["D2021-06-22"] == "cloud 1.0000 above max_cloud 0.2000"
    assert why["D2021-06-02"].startswith("not measured")


def test_the_nearest_to_a_date_of_equally_near_ones_the_least_cloudy(tmp_path):
    items = [
        dated(tmp_path, "2021-06-01", 1),
        dated(tmp_path, "2021-06-12", 2, clouds=[np.s_[:, ::16]]),
        dated(tmp_path, "2021-06-18", 3),
        dated(tmp_path, "2021-06-16", 4, clouds=[WHOLE]),
    ]
    out = tmp_path / "out"
    s2 = {**S2, "select": {"method": "nearest", "to": "2021-06-15"}}
    for sample in build(recipe(tmp_path, items, s2=s2), out).values():
        is_of(sample, sample.arrays["s2"][0], 3)
    [(_, item, why)] = chosen(out)
    assert (item, why) == ("D2021-06-18", "nearest within limits")
    assert set(matches(out).query("item == 'D2021-06-01'")["cloud_fraction"].isna()) == {True}


def test_a_mosaic_takes_the_next_date_where_pixels_are_missing(tmp_path):
    """The clearest has no west; the next one fills it, and the cloudy one gives nothing."""
    items = [
        dated(tmp_path, "2021-06-01", 1, clouds=[np.s_[::8, :]]),
        dated(tmp_path, "2021-06-10", 2, empty=[np.s_[:, :12]]),
        dated(tmp_path, "2021-06-20", 3, clouds=[WHOLE]),
    ]
    out = tmp_path / "out"
    s2 = {"max_cloud": 20, "min_valid": 100, "select": {"method": "mosaic"}}
    samples = build(recipe(tmp_path, items, s2=s2), out)
    assert len(samples) == 16
    seen = set()
    for sample in samples.values():
        row, col = corner(sample)
        right = picture(2)[row : row + 16, col : col + 16].copy()
        hole = np.arange(col, col + 16) < 24
        right[:, hole] = picture(1)[row : row + 16, col : col + 16][:, hole]
        np.testing.assert_array_equal(sample.arrays["s2"][0], right)
        said = sample.meta["layers"]["s2"]
        assert said["valid_fraction"] == 1
        [items_of] = said["items"]
        seen.add(tuple(items_of))
        own = matches(out).query("key == @sample.key and chosen").sort_values("rank")
        assert list(own["item"]) == items_of
        assert set(own["step"]) == {0}
    assert seen == {("D2021-06-10",), ("D2021-06-10", "D2021-06-01"), ("D2021-06-01",)}


def test_periods_are_steps_and_a_month_without_a_scene_is_a_gap(tmp_path):
    items = [
        dated(tmp_path, "2021-03-05", 1, clouds=[WHOLE]),
        dated(tmp_path, "2021-03-25", 2),
        dated(tmp_path, "2021-05-02", 3),
        dated(tmp_path, "2021-05-20", 4, clouds=[np.s_[::8, :]], cloud=0.0),
        dated(tmp_path, "2021-06-02", 5),
    ]
    s2 = {**S2, "time": "2021-03-01/2021-05-31", "select": {"method": "periods", "every": "month"}}
    out = tmp_path / "drop"
    with pytest.raises(Exception, match=r"."):
        build(recipe(tmp_path, items, name="drop", s2=s2), out)
    assert set(ledger(out)["reason"]) == {"steps"}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2={**s2, "steps": {"missing": "nodata"}}), out)
    assert len(samples) == 16
    for sample in samples.values():
        said = sample.meta["layers"]["s2"]
        assert said["steps"] == ["2021-03", "2021-04", "2021-05"]
        assert said["items"][:2] == [["D2021-03-25"], [""]]
        assert said["datetime"][1] == ""
        assert said["valid_fraction"] == pytest.approx(2 / 3)
        is_of(sample, sample.arrays["s2"][0, 0], 2)
        assert (sample.arrays["s2"][1] == NODATA).all()
        assert (sample.arrays["s2_mask"][1] == 255).all()
        is_of(sample, sample.arrays["s2"][2, 0], 3)
    table = matches(out)
    assert set(table.query("chosen")["step"]) == {0, 2}
    assert set(table.query("item == 'D2021-03-05'")["step"]) == {0}
    assert set(table.query("item == 'D2021-05-20'")["step"]) == {2}
    assert set(table["item"]) == {f"D{d}" for d in ("2021-03-05", "2021-03-25", "2021-05-02", "2021-05-20")}
    assert set(table.query("step == 2 and chosen")["why"]) == {"2021-05: least cloudy"}
    chips = pd.read_parquet(out / "plan" / "chips.parquet")
    assert chips["s2_valid_fraction"].tolist() == pytest.approx([2 / 3] * 16)


def test_named_windows_of_the_year_in_the_recipes_order(tmp_path):
    items = [
        dated(tmp_path, "2021-08-10", 1), dated(tmp_path, "2021-04-15", 2), dated(tmp_path, "2021-06-15", 3)
    ]  # fmt: skip
    windows = {"late": "07-15/10-31", "early": "04-01/06-01"}
    s2 = {**S2, "time": "2021", "select": {"method": "periods", "windows": windows}}
    samples = build(recipe(tmp_path, items, s2=s2), tmp_path / "out")
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["steps"] == ["late", "early"]
        is_of(sample, sample.arrays["s2"][0, 0], 1)
        is_of(sample, sample.arrays["s2"][1, 0], 2)


def test_seasons_fall_back_on_the_year_before(tmp_path):
    """Spring of 2021 is all cloud and of 2020 is clear; of summers the later one is taken, though no clearer."""
    items = [
        dated(tmp_path, "2020-04-10", 1), dated(tmp_path, "2021-04-10", 2, clouds=[WHOLE]),
        dated(tmp_path, "2020-07-10", 3), dated(tmp_path, "2021-07-10", 4, clouds=[np.s_[::8, :]]),
        dated(tmp_path, "2020-10-10", 5), dated(tmp_path, "2021-10-10", 6),
        dated(tmp_path, "2020-01-10", 7), dated(tmp_path, "2021-12-10", 8),
    ]  # fmt: skip
    s2 = {**S2, "time": "2020-01-01/2021-12-31", "select": {"method": "seasons"}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2), out)
    assert len(samples) == 16
    for sample in samples.values():
        said = sample.meta["layers"]["s2"]
        assert said["steps"] == ["spring", "summer", "autumn", "winter"]
        assert [d[:7] for d in said["datetime"]] == ["2020-04", "2021-07", "2021-10", "2021-12"]
        for step, seed in enumerate((1, 4, 6, 8)):
            is_of(sample, sample.arrays["s2"][step, 0], seed)
    said = {step: why for step, _, why in chosen(out)}
    assert said[0] == "spring: least cloudy, in window 2 of 2"
    assert said[1] == "summer: least cloudy"


def test_a_wider_window_only_where_nothing_was_found(tmp_path):
    items = [
        dated(tmp_path, "2021-05-28", 1), dated(tmp_path, "2021-06-05", 2, clouds=[WEST]),
        dated(tmp_path, "2021-05-14", 3),
    ]  # fmt: skip
    s2 = {"max_cloud": 20, "widen": {"by": "7d", "times": 3}}
    out = tmp_path / "out"
    for sample in build(recipe(tmp_path, items, s2=s2), out).values():
        west = corner(sample)[1] < 32
        is_of(sample, sample.arrays["s2"][0], 1 if west else 2)
    found = {(r.item, r.why) for r in matches(out)[lambda m: m["chosen"]].itertuples()}
    assert found == {("D2021-06-05", "least cloudy"), ("D2021-05-28", "least cloudy, in window 2 of 4")}


# Composites ---------------------------------------------------------------------------------------------------


CLOUDS = {
    "2021-06-01": [np.s_[:20, :20]], "2021-06-06": [np.s_[10:, :16]], "2021-06-11": [],
    "2021-06-16": [np.s_[:, 8:30]], "2021-06-21": [WHOLE],
}  # fmt: skip
SEEDS = dict(zip(CLOUDS, (4, 1, 7, 2, 9), strict=True))


def clear_pixels(date):
    clear = np.ones((64, 64), bool)
    for rows, cols in CLOUDS[date]:
        clear[
            tuple(slice(*(None if v is None else 2 * v for v in (s.start, s.stop))) for s in (rows, cols))
        ] = False
    return clear


@pytest.mark.parametrize("stat", ["median", "mean", "least_cloudy", "medoid"])
def test_a_composite_is_what_numpy_makes_of_clear_pixels(tmp_path, stat):
    items = [dated(tmp_path, d, SEEDS[d], clouds=c, empty=[np.s_[30:, 30:]]) for d, c in CLOUDS.items()]
    s2 = {"bands": ["red"], "select": {"method": "composite", "stat": stat}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2), out)
    stack = np.full((5, 64, 64), np.nan)
    for n, d in enumerate(CLOUDS):
        stack[n] = np.where(clear_pixels(d), picture(SEEDS[d]), np.nan)
    stack[:, 60:, 60:] = np.nan
    for sample in samples.values():
        row, col = corner(sample)
        own = stack[:, row : row + 16, col : col + 16]
        known = ~np.isnan(own).all(axis=0)
        said = sample.meta["layers"]["s2"]
        if stat in {"median", "mean"}:
            with np.errstate(invalid="ignore"):
                right = np.rint(getattr(np, f"nan{stat}")(np.where(known, own, 0), axis=0))
        elif stat == "medoid":
            apart = np.nansum(np.abs(own[:, None] - own[None]), axis=1)
            apart[np.isnan(own)] = np.inf
            right = np.take_along_axis(own, apart.argmin(axis=0)[None], axis=0)[0]
        else:
            rank = {item: n for n, item in enumerate(
                matches(out).query("key == @sample.key and chosen").sort_values("rank")["item"])}  # fmt: skip
            order = sorted((d for d in CLOUDS if f"D{d}" in rank), key=lambda d: rank[f"D{d}"])
            turned = np.stack([own[list(CLOUDS).index(d)] for d in order])
            right = np.take_along_axis(turned, (~np.isnan(turned)).argmax(axis=0)[None], axis=0)[0]
        np.testing.assert_array_equal(sample.arrays["s2"][0][known], right[known].astype(np.int16))
        assert (sample.arrays["s2"][0][~known] == NODATA).all()
        np.testing.assert_array_equal(sample.arrays["s2_mask"], np.where(known, 0, 255))
        assert said["composite"] == stat
        assert said["valid_fraction"] == known.mean()
        assert said["cloud_fraction"] == 0
        [dates], [shares] = said["dates"], said["date_shares"]
        assert dates == sorted(dates)
        assert "2021-06-21" not in {d[:10] for d in dates}
        if stat in {"least_cloudy", "medoid"}:
            assert sum(shares) == pytest.approx(known.mean())
        else:
            days = [list(CLOUDS).index(d[:10]) for d in dates]
            assert shares == pytest.approx([(~np.isnan(own[n])).mean() for n in days])
    assert len(samples) == 16


def test_a_month_each_as_a_composite_and_one_without_a_clear_pixel(tmp_path):
    items = [
        dated(tmp_path, "2021-05-01", 1), dated(tmp_path, "2021-05-11", 4), dated(tmp_path, "2021-05-21", 2),
        dated(tmp_path, "2021-06-01", 5, clouds=[WHOLE]), dated(tmp_path, "2021-07-01", 6),
    ]  # fmt: skip
    s2 = {"bands": ["red"], "time": "2021-05/2021-07", "steps": {"missing": "nodata"},
          "select": {"method": "periods", "every": "month", "stat": "median"}}  # fmt: skip
    out = tmp_path / "out"
    for sample in build(recipe(tmp_path, items, s2=s2), out).values():
        is_of(sample, sample.arrays["s2"][0, 0], 2)
        assert (sample.arrays["s2"][1] == NODATA).all()
        is_of(sample, sample.arrays["s2"][2, 0], 6)
        said = sample.meta["layers"]["s2"]
        assert said["items"] == [["D2021-05-01", "D2021-05-11", "D2021-05-21"], [""], ["D2021-07-01"]]
        assert [d[:10] for d in said["datetime"]] == ["2021-05-11", "", "2021-07-01"]
        assert said["date_shares"] == [[1.0, 1.0, 1.0], [0.0], [1.0]]


def test_min_valid_is_held_against_the_composite(tmp_path):
    """Either date has half of the ground; both have all of it. The bands of one lack a strip that its mask has."""
    items = [
        dated(tmp_path, "2021-06-01", 1, empty=[np.s_[16:, :]]),
        dated(tmp_path, "2021-06-11", 2, empty=[NORTH], hidden=[np.s_[30:, :8]]),
    ]
    s2 = {"bands": ["red"], "min_valid": 99, "select": {"method": "composite"}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2), out)
    assert len(samples) == 15
    assert set(
        ledger(out).query("state == 'dropped'")[["stage", "reason"]].itertuples(index=False, name=None)
    ) == {("weave", "valid")}


def test_the_greenest_needs_its_bands(tmp_path):
    s2 = {"bands": ["red"], "select": {"method": "composite", "stat": "max_ndvi"}}
    with pytest.raises(RecipeError, match="max_ndvi needs the bands red and nir"):
        build(recipe(tmp_path, [dated(tmp_path, "2021-06-02", 1)], s2=s2), tmp_path / "out")


def test_a_broken_date_of_a_composite_is_left_out(tmp_path):
    items = [dated(tmp_path, f"2021-06-{d:02d}", s) for d, s in ((1, 1), (11, 2), (21, 6))]
    path = tmp_path / "D2021-06-11" / "red.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    out = tmp_path / "out"
    s2 = {"bands": ["red"], "select": {"method": "composite", "stat": "least_cloudy"}}
    for sample in build(recipe(tmp_path, items, s2=s2), out).values():
        assert sample.meta["layers"]["s2"]["items"] == [["D2021-06-21"]]
        is_of(sample, sample.arrays["s2"][0], 6)
    assert set(pd.read_parquet(out / "plan" / "amendments.parquet")["item"]) <= {"D2021-06-11"}


# Chips with a time of their own ---------------------------------------------------------------------------------


def points(folder, *rows):
    """Points at pixels of the scenes (row, col) with columns."""
    features = []
    for (row, col), columns in rows:
        lon, lat = to_lonlat(UTM, X + 10 * col, Y - 10 * row)
        geometry = {"type": "Point", "coordinates": [lon, lat]}
        features.append({"type": "Feature", "properties": columns, "geometry": geometry})
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / "points.geojson").write_text(text, encoding="utf-8")
    return {"sampling": {"method": "points", "file": "points.geojson"}, "size": 16}


def test_steps_around_an_event_of_each_chip(tmp_path):
    """Two places with two dates; a season a year earlier; a third place without a date is dropped and said."""
    dates = (
        "2020-06-12", "2020-07-25", "2021-05-20", "2021-06-08", "2021-06-20", "2021-07-18", "2021-07-28", "2020-06-22"
    )  # fmt: skip
    items = [dated(tmp_path, d, n + 1) for n, d in enumerate(dates)]
    chips = points(
        tmp_path,
        ((16, 16), {"burnt": "2021-06-15"}),
        ((16, 48), {"burnt": "2021-07-20"}),
        ((48, 16), {"burnt": None}),
    )
    steps = {
        "before": {"window": ["-10d", "10d"], "years": -1}, "pre": ["-30d", "-1d"], "post": ["0d", "15d"]
    }  # fmt: skip
    s2 = {"time": {"column": "burnt"}, "select": {"method": "event", "steps": steps, "prefer": "nearest"}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2, chips=chips), out)
    found = {}
    for sample in samples.values():
        said = sample.meta["layers"]["s2"]
        assert said["steps"] == ["before", "pre", "post"]
        found[corner(sample)[1]] = [d[:10] for d in said["datetime"]]
        for step, date in enumerate(said["items"]):
            is_of(sample, sample.arrays["s2"][step, 0], [i["id"] for i in items].index(date[0]) + 1)
    assert sorted(found.values()) == [
        ["2020-06-12", "2021-06-08", "2021-06-20"], ["2020-07-25", "2021-07-18", "2021-07-28"]
    ]  # fmt: skip
    lost = ledger(out).query("state == 'dropped'")
    assert list(zip(lost["stage"], lost["reason"], strict=True)) == [("place", "no_time")]


def test_a_window_around_each_chips_own_date_is_all_that_is_looked_at(tmp_path):
    items = [dated(tmp_path, f"2021-06-{d:02d}", n + 1) for n, d in enumerate((2, 12, 22))]
    chips = points(tmp_path, ((16, 16), {"seen": "2021-06-04"}), ((16, 48), {"seen": "2021-06-20"}))
    s2 = {"time": {"column": "seen", "window": ["-3d", "3d"]}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2, chips=chips), out)
    found = {corner(s)[1]: s.meta["layers"]["s2"]["items"] for s in samples.values()}
    assert sorted(found.values()) == [[["D2021-06-02"]], [["D2021-06-22"]]]
    assert matches(out).groupby("key")["item"].agg(list).tolist() in (
        [["D2021-06-02"], ["D2021-06-22"]], [["D2021-06-22"], ["D2021-06-02"]]
    )  # fmt: skip


def test_a_sample_a_year_whose_key_ends_with_it(tmp_path):
    items = [dated(tmp_path, f"{y}-06-10", y - 2018) for y in (2019, 2020, 2021, 2022)]
    s2 = {**S2, "time": {"years": "2019/2021"}}
    out = tmp_path / "out"
    split = {"method": "blocks", "block_km": 0.2, "fractions": {"train": 0.5, "val": 0.5}, "buffer_m": 0}
    samples = build(recipe(tmp_path, items, s2=s2, split=split), out)
    assert len(samples) == 48
    for key, sample in samples.items():
        year = int(key[-4:])
        assert key[-5] == "-"
        is_of(sample, sample.arrays["s2"][0], year - 2018)
    index = pd.read_parquet(out / "index.parquet")
    assert set(index.groupby("place")["split"].nunique()) == {1}
    assert set(index.groupby("place")["key"].nunique()) == {3}


def test_intervals_out_of_a_table(tmp_path):
    items = [dated(tmp_path, f"2021-0{m}-10", m) for m in (4, 6, 8)]
    (tmp_path / "windows.csv").write_text(
        "land,start,end\nA,2021-04-01,2021-04-30\nB,2021-08-01,2021-08-31\n", "utf-8"
    )
    chips = points(tmp_path, ((16, 16), {"land": "A"}), ((16, 48), {"land": "B"}), ((48, 48), {"land": "C"}))
    s2 = {"time": {"table": "windows.csv", "by": "land"}}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2, chips=chips), out)
    found = {corner(s)[1]: s.meta["layers"]["s2"]["items"] for s in samples.values()}
    assert sorted(found.values()) == [[["D2021-04-10"]], [["D2021-08-10"]]]
    assert set(ledger(out).query("state == 'dropped'")["reason"]) == {"no_time"}
    searches = read_lock(out).searches
    assert {s["interval"] for s in searches} == {
        "2021-04-01T00:00:00Z/2021-05-01T00:00:00Z", "2021-08-01T00:00:00Z/2021-09-01T00:00:00Z"
    }  # fmt: skip


def test_what_is_no_date_or_no_column_is_said(tmp_path):
    items = [dated(tmp_path, "2021-06-02", 1)]
    chips = points(tmp_path, ((16, 16), {"seen": "yesterday"}))
    with pytest.raises(RecipeError, match=r"seen of .*'yesterday' is no date"):
        build(recipe(tmp_path, items, s2={"time": {"column": "seen"}}, chips=chips), tmp_path / "a")
    with pytest.raises(RecipeError, match="no chip has 'felt'"):
        build(recipe(tmp_path, items, name="b", s2={"time": {"column": "felt"}}, chips=chips), tmp_path / "b")


# Days of the year out of rasters -----------------------------------------------------------------------------------


def day_raster(folder, name, values, dtype=np.uint16):
    """A raster of 320 m pixels over the scenes, (2, 2), in their CRS; 65535 is no day."""
    write_tif(folder / name, np.array(values, dtype), UTM, north_up(X, Y, 320), 65535)
    return name


def test_seasons_of_the_plants_that_grow_there(tmp_path):
    """West and east have springs of their own; a pixel without days takes its neighbour's; MCD12Q2 counts from 1970."""
    since = 18628 - 1  # days from 1970 to 2021-01-01, so that 1 more is the first of January
    files = {
        "greenup": day_raster(tmp_path, "g.tif", [[60, 100], [32767, 100]]),
        "maturity": day_raster(tmp_path, "m.tif", [[130, 150], [130, 150]]),
        "senescence": day_raster(tmp_path, "s.tif", [[since + 220, since + 230]] * 2),
        "dormancy": day_raster(tmp_path, "d.tif", [[300, 320], [300, 320]]),
    }
    dates = ("2021-01-15", "2021-03-15", "2021-04-20", "2021-06-20", "2021-09-15", "2021-11-05")
    items = [dated(tmp_path, d, n + 1) for n, d in enumerate(dates)]
    s2 = {
        "time": "2021-01-01/2021-12-31", "steps": {"missing": "nodata"},
        "select": {"method": "periods", "from": files, "prefer": "newest"},
    }  # fmt: skip
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2), out)
    assert len(samples) == 16
    for sample in samples.values():
        west = corner(sample)[1] < 32
        said = sample.meta["layers"]["s2"]
        assert said["steps"] == ["spring", "summer", "autumn", "winter"]
        # In the east it greens on 10 April, in the west on 1 March; the west is dormant from 27 October on.
        right = [
            "2021-04-20",
            "2021-06-20",
            "2021-09-15" if west else "2021-11-05",
            "2021-11-05" if west else "2021-03-15",
        ]
        assert [d[:10] for d in said["datetime"]] == right
        for step, date in enumerate(right):
            is_of(sample, sample.arrays["s2"][step, 0], dates.index(date) + 1)
    chips = pd.read_parquet(out / "plan" / "chips.parquet")
    assert set(chips["s2_day_greenup"]) == {60, 100}
    assert set(chips["s2_day_senescence"]) == {220, 230}


def test_days_around_planting_and_harvest(tmp_path):
    files = {
        "planting": day_raster(tmp_path, "p.tif", [[100] * 2] * 2),
        "harvest": day_raster(tmp_path, "h.tif", [[5] * 2] * 2),
    }
    dates = ("2021-01-12", "2021-04-01", "2021-04-22", "2021-12-28")
    items = [dated(tmp_path, d, n + 1) for n, d in enumerate(dates)]
    select = {"method": "periods", "from": {**files, "days": 10}, "prefer": "nearest"}
    s2 = {"time": "2021-01-01/2021-12-31", "select": select, "widen": {"by": "3d"}}
    for sample in build(recipe(tmp_path, items, s2=s2), tmp_path / "out").values():
        assert sample.meta["layers"]["s2"]["steps"] == ["planting", "harvest"]
        assert [d[:10] for d in sample.meta["layers"]["s2"]["datetime"]] == ["2021-04-01", "2021-01-12"]


def test_a_place_without_a_day_has_no_time_and_a_file_that_is_none_is_said(tmp_path):
    items = [dated(tmp_path, "2021-06-02", 1)]
    s2 = {"time": "2021-01-01/2021-12-31", "select": {"method": "periods", "from": {"harvest": "h.tif"}}}
    day_raster(tmp_path, "h.tif", [[65535] * 2] * 2)
    with pytest.raises(Exception, match=r"."):
        build(recipe(tmp_path, items, s2=s2), tmp_path / "a")
    assert set(ledger(tmp_path / "a")["reason"]) == {"no_time"}
    (tmp_path / "h.tif").write_text("no raster")
    with pytest.raises(RecipeError, match=r"imagery\.s2\.select\.from\.harvest: h\.tif"):
        build(recipe(tmp_path, items, name="b", s2=s2), tmp_path / "b")


def test_how_much_of_a_series_is_clear(tmp_path):
    """Of three dates one is clear, one has no west, one has 4 rows of 16 in clouds."""
    items = [
        dated(tmp_path, "2021-06-01", 1), dated(tmp_path, "2021-06-11", 2, clouds=[WEST]),
        dated(tmp_path, "2021-06-21", 3, clouds=[np.s_[::8, :], np.s_[1::8, :]]),
    ]  # fmt: skip
    s2 = {"max_cloud": 50, "select": {"method": "series", "max": 3}, "steps": {"missing": "nodata"}}
    out = tmp_path / "out"
    loaded = recipe(tmp_path, items, s2=s2)
    run.plan(loaded, out, workers=0)
    found = coverage(out, "s2", spatial=80, temporal=60)
    assert len(found) == 16
    assert set(found["num_timesteps"]) == {2, 3}
    east = found[found["num_timesteps"] == 3]
    assert set(east["num_timesteps_missing"]) == {1}
    assert set(east["avg_spatial_coverage"].round(6)) == {round((100 + 100 + 75) / 3, 6)}
    assert set(east["num_timesteps_abovecov"]) == {2}
    assert set(east["temporal_coverage"].round(6)) == {round(200 / 3, 6)}
    assert (set(east["assesment_temporal"]), set(east["assesment_spatial"])) == ({"high"}, {"high"})
    west = found[found["num_timesteps"] == 2]
    assert set(west["temporal_coverage"]) == {50.0}
    assert (set(west["assesment_temporal"]), set(west["assesment_spatial"])) == ({"low"}, {"high"})
    every = coverage(out, "s2", dates="measured")
    assert set(every["num_timesteps"]) == {3}
    assert set(every["avg_spatial_coverage"].round(6)) == {round(175 / 3, 6), round(275 / 3, 6)}
    with pytest.raises(UsageError, match="names no layer 's1'"):
        coverage(out, "s1")
    with pytest.raises(UsageError, match="no such file"):
        coverage(tmp_path / "nowhere", "s2")


@pytest.mark.parametrize(
    ("threshold", "above", "temporal", "spatial"),
    [(50, 4, "high", "high"), (60, 3, "high", "high"), (70, 2, "low", "low"), (100, 1, "low", "low")],
)
def test_coverage_at_the_published_thresholds(tmp_path, threshold, above, temporal, spatial):
    """Dates that are clear to 40, 50, 60, 70 and 100 %: one that just reaches the threshold counts."""
    clear = {1: (0.6, 1.0), 2: (0.0, 0.5), 3: (0.25, 0.8), 4: (0.3, 1.0), 5: (0.0, 1.0)}
    rows = [
        {"key": "a", "layer": "s2", "step": n - 1, "rank": n, "item": f"i{n}", "chosen": True,
         "datetime": f"2021-06-{n:02d}", "cloud_fraction": cloud, "valid_fraction": valid}
        for n, (cloud, valid) in clear.items()
    ]  # fmt: skip
    (tmp_path / "plan").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "plan" / "matches.parquet")
    (own,) = coverage(tmp_path, "s2", spatial=threshold, temporal=threshold).itertuples()
    assert (own.num_timesteps, own.num_timesteps_missing, own.num_timesteps_abovecov) == (5, 4, above)
    assert (own.avg_spatial_coverage, own.temporal_coverage) == pytest.approx((64, 20 * above))
    assert (own.assesment_temporal, own.assesment_spatial) == (temporal, spatial)


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers_and_pixels_not_on_tiles(tmp_path):
    """Composites, steps with a gap, a mosaic and years, off the scenes' grid and over their edges."""
    items = [
        dated(tmp_path, "2021-05-01", 1, clouds=[np.s_[3:9, 4:11]]), dated(tmp_path, "2021-05-11", 4, at=20),
        dated(tmp_path, "2021-05-21", 2, empty=[np.s_[20:, :]]), dated(tmp_path, "2021-07-01", 6, at=-24),
    ]  # fmt: skip
    base = {"collection": "sentinel-2-l2a", "bands": ["red", "rededge1"], "min_valid": 0}
    imagery = {
        "one": {**base, "time": {"years": "2020/2021"}, "select": {"method": "composite", "stat": "medoid"}},
        "months": {
            **base, "time": "2021-05-01/2021-07-31", "steps": {"min": 1},
            "select": {"method": "periods", "every": "month", "stat": "mean"},
        },
        "laid": {**base, "time": "2021-05-01/2021-07-31", "select": {"method": "mosaic"}},
    }  # fmt: skip
    wide = outline(UTM, X - 90, Y - 690, X + 700, Y + 70)
    loaded = recipe(
        tmp_path, items, area=wide, imagery=imagery, chips={"size": 16, "lattice": {"anchor": [3, 7]}}
    )
    first = build_in_every_way(loaded, tmp_path)
    assert {key[-4:] for key in first} == {"2021"}, "2020 has no scene"


def test_several_events_of_a_place_are_samples_whose_keys_end_with_their_dates(tmp_path):
    items = [dated(tmp_path, f"2021-06-{d:02d}", n + 1) for n, d in enumerate((2, 12, 22))]
    chips = points(
        tmp_path,
        ((16, 16), {"seen": "2021-06-03"}), ((16, 16), {"seen": "2021-06-21"}), ((16, 16), {"seen": "2021-06-21"}),
        ((16, 48), {"seen": "2021-06-12"}),
    )  # fmt: skip
    s2 = {"time": {"column": "seen", "window": ["-2d", "2d"]}}
    split = {"method": "blocks", "block_km": 0.2, "fractions": {"train": 0.5, "val": 0.5}, "buffer_m": 0}
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2=s2, chips=chips, split=split), out)
    found = {
        key.rpartition("-")[2]: (corner(s)[1], s.meta["layers"]["s2"]["items"]) for key, s in samples.items()
    }
    [left, right] = sorted({col for col, _ in found.values()})
    assert found == {
        "20210603": (left, [["D2021-06-02"]]), "20210621": (left, [["D2021-06-22"]]),
        "20210612": (right, [["D2021-06-12"]]),
    }  # fmt: skip
    index = pd.read_parquet(out / "index.parquet")
    assert index.groupby("place")["key"].nunique().tolist() in ([1, 2], [2, 1])
    assert set(index.groupby("place")["split"].nunique()) == {1}
