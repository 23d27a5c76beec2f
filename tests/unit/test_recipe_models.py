"""Values: defaults, chips on the ground, intervals, the language of `keep`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chipweave.recipe import Recipe
from chipweave.recipe.interval import EARLIEST, LATEST, interval
from chipweave.recipe.keep import Condition, parse
from chipweave.recipe.models import Chips, Label, Split

LEAST: dict[str, Any] = {
    "version": 1,
    "area": {"bbox": [0, 0, 1, 1]},
    "chips": {"size": 128},
    "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["blue"]}},
}


def test_classes_of_a_quota_are_codes_or_names() -> None:
    chips = {
        "size": 128,
        "sampling": {"method": "stratified", "by": "a", "quota": {80: 3, "10": 2, "forest": 1}},
    }
    mapping = {**LEAST, "chips": chips, "labels": {"a": {"collection": "corine"}}}
    recipe = Recipe.model_validate({**mapping, "balance": {"by": "a", "quota": {80: 3}}})
    assert recipe.chips.sampling.quota == {"80": 3, "10": 2, "forest": 1}
    assert recipe.balance is not None
    assert recipe.balance.quota == {"80": 3}


def test_what_is_not_said_is_the_first_value_of_the_contract() -> None:
    recipe = Recipe.model_validate({**LEAST, "split": {}, "labels": {"a": {"collection": "corine"}}})
    s2, chips, split, output = recipe.imagery["s2"], recipe.chips, recipe.split, recipe.output
    assert (chips.crs, chips.lattice.anchor, chips.lattice.snap, chips.max_overlap) == ("utm", "s2", True, 0)
    assert (chips.sampling.method, s2.select.method, s2.mask, s2.resample) == (
        "grid",
        "least_cloudy",
        "keep",
        "auto",
    )
    assert (s2.unit, s2.write_mask, s2.native, s2.register_, s2.max_candidates) == (
        "native",
        True,
        False,
        "off",
        8,
    )
    assert (s2.max_cloud, s2.min_valid, s2.bad, s2.time) == (None, 0, None, None)
    assert split is not None
    assert (split.method, split.leakage, split.buffer_drop, split.tolerance) == (
        "blocks",
        "fail",
        "larger",
        0.05,
    )
    assert split.fractions == {"train": 0.8, "val": 0.1, "test": 0.1}
    assert (output.formats, output.shuffle, output.encoding, output.previews) == (
        ("webdataset",),
        "global",
        "npy",
        False,
    )
    assert (recipe.allow.failed, recipe.allow.dropped) == (0.0, 1.0)
    assert recipe.area is not None
    assert recipe.area.rule == "centre"
    assert recipe.labels["a"].resample == "auto"
    assert list(recipe.layers) == ["s2", "a"]
    assert Recipe.model_validate(LEAST).split is None


@pytest.mark.parametrize("method", ["random", "list", "inside_tile"])
def test_methods_that_cannot_keep_distances_only_warn(method: str) -> None:
    own = {"method": method, **({"file": "a.csv"} if method == "list" else {})}
    warned, failing = (
        Split.model_validate(own),
        Split.model_validate({**own, "leakage": "fail", "buffer_m": 300}),
    )
    assert (warned.leakage, failing.leakage) == ("warn", "fail")
    assert Split.model_validate({**own, "buffer_m": 300}).kept_m == 0, (
        "nobody gives way, and verify says how near"
    )
    assert failing.kept_m == 300


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"method": "groups"}, "needs 'by'"),
        ({"method": "kfold"}, "needs 'folds', or 'by'"),
        ({"method": "kfold", "folds": 1}, "one fold holds nothing out"),
        ({"method": "list"}, "needs 'file', or 'by'"),
        ({"method": "time"}, "needs 'periods' or 'cutoffs'"),
        ({"method": "time", "cutoffs": ["2018", "2019", "2020"]}, "more than two cutoffs"),
        ({"method": "bands", "bands": 3, "band_km": 4}, "not both"),
        ({"method": "random", "angle_deg": 3}, "is no option of method 'random'"),
        ({"override": {"a": 3}}, "the name of a split"),
    ],
)
def test_options_belong_to_their_method(split: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Split.model_validate(split)


def test_what_a_method_does_not_hear_is_said() -> None:
    base = {
        "block_km": 4,
        "buffer_m": 640,
        "fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
        "stratify": "a",
    }
    said = Split.model_validate({**base, "method": "random"}).unheard()
    assert [text.split(" ")[0] for text in said] == ["split.block_km", "split.buffer_m"]
    said = Split.model_validate({**base, "method": "kfold", "by": "a"}).unheard()
    assert [text.split(" ")[0] for text in said] == ["split.stratify", "split.fractions"]
    assert Split.model_validate({**base, "method": "blocks"}).unheard() == []


def test_splits_that_have_to_come_out() -> None:
    def names(**split: object) -> tuple[str, ...]:
        return Split.model_validate(split).names

    assert names() == ("train", "val", "test")
    assert names(method="kfold", folds=3) == ("all",)
    assert names(method="list", file="a.csv") == ()
    assert names(method="time", cutoffs=["2020"]) == ("train", "test")
    assert names(method="time", periods={"old": "2019", "new": 2020}) == ("old", "new")


@pytest.mark.parametrize(
    ("chips", "pixels", "resolution"),
    [
        ({"size": 128}, 128, 10.0),
        ({"size": 64, "resolution": 20}, 64, 20.0),
        ({"size": {"m": 1200, "px": 120}}, 120, 10.0),
        ({"size": {"m": 1000, "px": 3}, "resolution": 1000 / 3}, 3, 1000 / 3),
        ({"size": 8, "resolution": 0.25, "crs": "EPSG:4326"}, 8, 0.25),
        ({"size": {"m": 1000, "px": 10}, "crs": "EPSG:3035"}, 10, 100.0),
    ],
)
def test_a_chip_on_the_ground(chips: dict[str, Any], pixels: int, resolution: float) -> None:
    found = Chips.model_validate(chips)
    assert (found.pixels, found.metres_per_pixel) == (pixels, resolution)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])
def test_metres_need_a_crs_in_metres(crs: str) -> None:
    with pytest.raises(ValidationError, match="needs a CRS in metres"):
        Chips.model_validate({"size": {"m": 1000, "px": 10}, "crs": crs, "resolution": 100})


def test_models_are_frozen() -> None:
    recipe = Recipe.model_validate(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]


def test_the_antimeridian_may_be_crossed() -> None:
    recipe = Recipe.model_validate({**LEAST, "area": {"bbox": [179, -18, -179, -16]}})
    assert recipe.area is not None
    assert recipe.area.bbox == (179, -18, -179, -16)


@pytest.mark.parametrize("method", ["points", "features", "cities", "list"])
def test_sampling_from_a_file_needs_no_area(method: str) -> None:
    chips = {"size": 128, "sampling": {"method": method, "file": "x.csv"}}
    assert Recipe.model_validate({**LEAST, "area": None, "chips": chips}).area is None


def test_a_label_of_a_file() -> None:
    label = Label.model_validate({"file": "a.tif", "date": 2018, "nodata": 255})
    assert (label.date, label.nodata, label.legend) == ("2018", 255, None)
    nodata = Label.model_validate({"file": "a.tif", "nodata": "nan"}).nodata
    assert nodata is not None
    assert nodata != nodata  # noqa: PLR0124 - not a number
    with pytest.raises(ValidationError, match="a number, or nan"):
        Label.model_validate({"file": "a.tif", "nodata": float("inf")})


# --- intervals


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


LAST = timedelta(days=1) - timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2021-06-01/2021-08-31", at(2021, 6, 1), at(2021, 8, 31) + LAST),
        ("2021-06-01", at(2021, 6, 1), at(2021, 6, 1) + LAST),
        ("2020-02", at(2020, 2, 1), at(2020, 2, 29) + LAST),
        ("2021/2022", at(2021, 1, 1), at(2022, 12, 31) + LAST),
        ("2021-06-01T10:00:00Z/2021-06-01T12:00:00+01:00", at(2021, 6, 1, 10), at(2021, 6, 1, 11)),
        ("2021-06-01T10:00:00", at(2021, 6, 1, 10), at(2021, 6, 1, 10)),
        ("2021-06-01/..", at(2021, 6, 1), LATEST),
        ("../2021-06-01", EARLIEST, at(2021, 6, 1) + LAST),
        ("../..", EARLIEST, LATEST),
    ],
)
def test_an_interval_in_utc_with_its_last_day(text: str, start: datetime, end: datetime) -> None:
    assert interval(text) == (start, end)
    assert all(moment.utcoffset() == timedelta(0) for moment in interval(text))


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "..",
            "/",
            "2021-06-01/",
            "2021-06-01/2021-05-31",
            "2021-13-01",
            "2021-02-29",
            "2021-00",
            "0001-01-01",
        ],
        *[
            "2021-6-1",
            "20210601",
            "2021-W01-1",
            "9999",
            "a/b",
            "1/2/3",
            "2021-06-01T25:00",
            "0001-01-01T00:00+05:00",
        ],
        "٢٠٢١",
    ],
)
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        interval(text)


@given(st.dates(EARLIEST.date(), LATEST.date()), st.integers(0, 400))
def test_every_interval_holds_its_days_whole(first: Any, days: int) -> None:
    last = min(first + timedelta(days=days), LATEST.date())
    start, end = interval(f"{first}/{last}")
    assert (start.date(), end.date()) == (first, last)
    assert (end - start).days == (last - first).days


# --- keep


def test_conditions() -> None:
    assert parse("corine.ignored < 0.25") == [Condition("corine", "ignored", "<", 0.25)]
    first, second = parse("worldcover.80<=.9   and s2_a.cloud_fraction != 1e-1")
    assert (first.code, first.op, first.value) == (80, "<=", 0.9)
    assert second == Condition("s2_a", "cloud_fraction", "!=", 0.1)
    assert second.code is None
    assert [Condition("a", "1", op, 0.5).holds(0.5) for op in ("<", "<=", ">", ">=", "==", "!=")] == [
        *[False, True, False, True, True, False]
    ]
    recipe = Recipe.model_validate(
        {**LEAST, "keep": ["s2.nodata < 1 and s2.valid_fraction > 0", "s2.nodata < 2"]}
    )
    assert [c.value for c in recipe.conditions] == [1, 0, 2]


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "a",
            "a.b < 1",
            "a.1 << 1",
            "a.1 < b",
            "a.1 = 1",
            "A.1 < 1",
            "a.1 < 1 or a.2 < 1",
            "a.1 < 1 and",
        ],
        *[
            "a.-1 < 1",
            "a.1 < 1e999",
            "a.1 < nan",
            "a.1 < 1; b.2 < 1",
            "a.٣ < 1",
            "a.1 < 1\nb",
            "a.9999999999 < 1",
        ],
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


@given(st.text(max_size=40))
def test_a_condition_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    again = " and ".join(f"{c.layer}.{c.field} {c.op} {c.value}" for c in found)
    assert parse(again) == found
