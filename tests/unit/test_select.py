"""From scenes to a choice: datatakes, order, measuring, ranking, and why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import PermanentSourceError, TransientSourceError
from chipweave.labels import LabelRead
from chipweave.model import Asset, Legend, LegendClass, MaskRule
from chipweave.pixels import LayerRead
from chipweave.plan import survey, tables, targets
from chipweave.plan.columns import Candidate
from chipweave.plan.match import Pool
from chipweave.plan.select import Limits, Measured, least_cloudy
from chipweave.plan.survey import Found, Reads, choose_scenes, subset
from chipweave.plan.targets import ChipScenes, read_label_chips
from one_chip import candidates, label_order
from tiny import UTM, outline, place, scene

FREE = Limits(None, None, 8)
SCL = MaskRule("scl", (3, 8, 9, 10), (0,))
READ = LayerRead(("red",), {"red": "bilinear", "scl": "nearest"}, 0, SCL)
CHIP = place(size=10)
GROUND = outline(UTM, 500_000, 4_999_900, 500_100, 5_000_000)
NEAR = outline(UTM, 490_000, 4_990_000, 510_000, 5_010_000)
WEST = outline(UTM, 490_000, 4_990_000, 500_050, 5_010_000)
EAST = outline(UTM, 500_050, 4_990_000, 510_000, 5_010_000)


# Datatakes --------------------------------------------------------------------------------------------------


def datatakes(scenes):
    """Ids of the scenes of each datatake, in the order of time."""
    when = {s.id: (s.time, s.id) for s in scenes}
    groups = [sorted(c.scenes, key=when.get) for c in candidates(scenes, GROUND, UTM, ("red",))]
    return sorted(groups, key=lambda g: when[g[0]])


def test_a_datatake_holds_scenes_less_than_15_minutes_apart():
    times = ["10:00:00", "10:14:59", "10:29:58", "10:44:58", "11:00:00"]
    scenes = [scene(str(i), time=f"2021-06-10T{t}") for i, t in enumerate(times)]
    # Neighbours count: 0 to 2 are half an hour; 3 is exactly 15 minutes after 2.
    assert datatakes(scenes[::-1]) == [["0", "1", "2"], ["3"], ["4"]]


def test_a_datatake_goes_on_over_midnight_and_is_one_platforms():
    late = scene("late", time="2021-06-10T23:59:50")
    early = scene("early", time="2021-06-11T00:00:10")
    other = scene("other", time="2021-06-11T00:00:00", platform="sentinel-2b")
    assert datatakes([early, other, late]) == [["late", "early"], ["other"]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab")), max_size=12))
def test_datatakes_part_the_scenes(minutes):
    start = datetime(2021, 6, 10, 22, tzinfo=UTC)
    scenes = [
        replace(scene(str(i), platform=p), time=start + timedelta(minutes=m))
        for i, (m, p) in enumerate(minutes)
    ]
    by_id = {s.id: s for s in scenes}
    groups = [[by_id[i] for i in g] for g in datatakes(scenes)]
    assert sorted(s.id for g in groups for s in g) == sorted(s.id for s in scenes)
    for group in groups:
        assert len({s.platform for s in group}) == 1
        gaps = [b.time - a.time for a, b in pairwise(group)]
        assert all(timedelta(0) <= g < timedelta(minutes=15) for g in gaps)
    for platform in "ab":
        own = [g for g in groups if g[0].platform == platform]
        for a, b in pairwise(own):
            assert b[0].time - a[-1].time >= timedelta(minutes=15)


def order(*scenes) -> list[str]:
    (candidate,) = candidates(scenes, GROUND, UTM, ("red",))
    return list(candidate.scenes)


def test_order_inside_a_datatake():
    """Alone covering, then the chip's CRS, coverage, newest processing, id."""
    other = "EPSG:32633"
    whole, part = scene("whole", NEAR, crs=other), scene("part", WEST)
    assert order(part, whole) == ["whole", "part"]
    assert order(scene("b", NEAR, crs=other), scene("c", NEAR)) == ["c", "b"]
    more = scene("more", outline(UTM, 490_000, 4_990_000, 500_080, 5_010_000), crs=other)
    assert order(more, part) == ["part", "more"]
    assert order(replace(part, crs=other), more) == ["more", "part"]
    old, new = scene("a", NEAR, processed="2021-06-11"), scene("b", NEAR, processed="2021-06-12")
    assert order(old, new) == ["b", "a"]
    assert order(scene("b", NEAR), scene("a", NEAR)) == ["a", "b"]
    assert order(scene("a", NEAR, crs=""), scene("b", NEAR)) == ["b", "a"]


def test_a_candidate_says_what_its_scenes_say_together():
    (both,) = candidates([scene("w", WEST, cloud=10.0), scene("e", EAST, cloud=30.0)], GROUND, UTM, ("red",))
    assert both.cloud == 20
    assert both.coverage == pytest.approx(1, abs=1e-6)
    assert both.same_crs
    (half,) = candidates([scene("w", WEST, cloud=float("nan"), crs="")], GROUND, UTM, ("red",))
    assert np.isnan(half.cloud)
    assert half.coverage == pytest.approx(0.5, abs=1e-3)
    assert not half.same_crs
    (one,) = candidates([scene("n", NEAR)], GROUND, UTM, ("red",))
    assert one.coverage == 1.0


def test_candidates_come_by_the_catalogs_cloud_then_newest_then_id():
    found = candidates(
        [
            scene("none", NEAR, time="2021-06-01T10:00:00", cloud=float("nan")),
            scene("old", NEAR, time="2021-06-02T10:00:00", cloud=7.0),
            scene("new", NEAR, time="2021-06-03T10:00:00", cloud=7.0),
            scene("b", NEAR, time="2021-06-04T10:00:00", cloud=1.0, platform="x"),
            scene("a", NEAR, time="2021-06-04T10:00:00", cloud=1.0, platform="y"),
        ],
        GROUND, UTM, ("red",),
    )  # fmt: skip
    assert [c.scenes[0] for c in found] == ["a", "b", "new", "old", "none"]


def test_a_scene_that_only_touches_the_chip_is_none():
    """Else its mask is read, and counts as one of `max_candidates`."""
    ground, other = shapely.box(9.0, 45.0, 9.01, 45.01), "2021-07-01T10:00:00"
    for west in (9.01, 9.01 - 1e-12):
        beside = scene("b", shapely.box(west, 44.0, 10.0, 46.0), time=other)
        found = [scene("a"), beside]
        assert all(shapely.intersects(s.geometry, ground) for s in found)
        assert [c.scenes for c in candidates(found, ground, UTM, ("red",))] == [("a",)]
        assert label_order(found, ground, UTM) == ("a",)
        assert candidates([beside], ground, UTM, ("red",)) == ()
    assert label_order([], ground, UTM) == ()


def test_scenes_are_matched_by_ground():
    far = outline(UTM, 600_000, 4_990_000, 610_000, 5_010_000)
    footprints = np.array([GROUND, far.centroid.buffer(0.001)])
    pool = Pool([scene("b", NEAR), scene("f", far), scene("a", WEST)], ("red",))
    matched = pool.candidates(footprints, [UTM, UTM])
    assert [[c.scenes for c in matched.of(i)] for i in range(2)] == [[("b", "a")], [("f",)]]


def test_a_scene_without_a_needed_band_cannot_serve():
    lacks = scene("lacks", NEAR, missing=("red",))
    spare = scene("spare", NEAR, missing=("nir", "scl"))
    assert order(lacks, spare) == ["spare"]
    (broken,) = candidates([lacks], GROUND, UTM, ("red", "nir"))
    assert broken.broken == "lacks has no asset for red"
    choice = least_cloudy([Measured(broken)], FREE)
    assert (choice.chosen, choice.reason, choice.href) == (False, "broken", "lacks")


# Ranking ----------------------------------------------------------------------------------------------------


def measured(ident: str, cloud: float, valid: float = 1.0, *, day: int = 1, same: bool = True) -> Measured:
    candidate = Candidate((ident,), f"2021-06-{day:02d}T10:00:00+00:00", 1.0, 0.0, same_crs=same)
    return Measured(candidate, cloud, valid)


def ranking(*found: Measured, limits: Limits = FREE) -> list[str]:
    return [m.candidate.scenes[0] for m in least_cloudy(found, limits).ranked]


def test_ties_are_broken_in_the_contracts_order():
    assert ranking(measured("a", 0.2), measured("b", 0.1, 0.5)) == ["b", "a"]
    assert ranking(measured("a", 0.1, 0.9), measured("b", 0.1, 0.95, same=False)) == ["b", "a"]
    assert ranking(measured("a", 0.1, day=9, same=False), measured("b", 0.1)) == ["b", "a"]
    assert ranking(measured("a", 0.1, day=1), measured("b", 0.1, day=2)) == ["b", "a"]
    assert ranking(measured("b", 0.1), measured("a", 0.1)) == ["a", "b"]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.2, 0.5]),
            st.sampled_from([0.0, 0.5, 0.9, 1.0]),
            st.integers(1, 3),
            st.booleans(),
        ),
        max_size=7,
    ),
    st.sampled_from([None, 0.1, 0.3]),
    st.sampled_from([None, 0.0, 0.9, 1.0]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_ranking_against_its_definition(rows, max_cloud, min_valid, random):
    limits = Limits(max_cloud, min_valid, 8)
    found = [measured(f"s{i}", c, v, day=d, same=s) for i, (c, v, d, s) in enumerate(rows)]
    shuffled = found[:]
    random.shuffle(shuffled)
    choice = least_cloudy(shuffled, limits)
    assert choice.ranked == least_cloudy(found, limits).ranked
    good = [
        m for m in found
        if m.valid > 0 and (max_cloud is None or m.cloud <= max_cloud) and (min_valid is None or m.valid >= min_valid)
    ]  # fmt: skip
    assert choice.chosen == bool(good)
    if not good:
        enough = [m for m in found if m.valid > 0 and m.valid >= (min_valid or 0)]
        assert choice.reason == ("no_scene" if not found else "cloud" if enough else "valid")
        return
    best = min(good, key=lambda m: (m.cloud, -m.valid, not m.candidate.same_crs, -int(m.candidate.time[8:10]),
                                    m.candidate.scenes))  # fmt: skip
    assert choice.best.candidate == best.candidate
    assert choice.best.why == "least cloudy"


def test_each_candidate_says_why():
    limits = Limits(0.1, 0.9, 8)
    found = [
        measured("a", 0.05),
        measured("b", 0.06),
        measured("c", 0.2),
        measured("d", 0.0, 0.5),
        measured("e", 0.0, 0.0),
    ]
    late = Measured(replace(found[0].candidate, scenes=("f",)))
    why = {m.candidate.scenes[0]: m.why for m in least_cloudy([*found, late], limits).ranked}
    assert why == {
        "a": "least cloudy",
        "b": "within limits, ranked lower",
        "c": "cloud 0.2000 above max_cloud 0.1000",
        "d": "valid 0.5000 below min_valid 0.9000",
        "e": "valid 0.0000 below min_valid 0.9000",
        "f": "not measured: enough had no bad or missing pixel, or max_candidates was reached",
    }


# Measuring --------------------------------------------------------------------------------------------------


class FakeMasks:
    """`read_mask` out of a table: scene -> rows of ``.`` clear, ``#`` bad, space no data; counts what is read."""

    def __init__(self, monkeypatch, **masks):
        self.masks, self.reads = masks, Counter()
        monkeypatch.setattr(survey, "read_mask", self)

    def __call__(self, item, *_args):
        self.reads[item.id] += 1
        found = self.masks[item.id]
        if isinstance(found, Exception):
            raise found
        codes = np.array([{".": 0, "#": 1, " ": 255}[c] for c in found], np.uint8)
        return np.broadcast_to(codes.repeat(10 // len(found)), (10, 10))


def chip(*taken: Candidate, key: str = "p", **more) -> ChipScenes:
    return ChipScenes(replace(CHIP, key=key, **more), {"s2": taken}, {})


def take(*names: str, cloud: float = 0.0, **more) -> Candidate:
    return Candidate(
        names, "2021-06-01T10:00:00+00:00", more.pop("coverage", 1.0), cloud, same_crs=True, **more
    )


def choose(chips, limits=FREE, read=READ, **scenes):
    names = {s for c in chips for k in c.candidates["s2"] for s in k.scenes}
    found = {n: scenes.get(n, scene(n, NEAR)) for n in names}
    return choose_scenes(chips, "s2", read, limits, found)


def test_reading_stops_at_a_candidate_without_bad_or_missing_pixels(monkeypatch):
    masks = FakeMasks(monkeypatch, a=".........#", b="..........", c="..........")
    choices, passed = choose([chip(take("a"), take("b"), take("c"))])
    assert choices["p"].best.candidate.scenes == ("b",)
    assert masks.reads == {"a": 1, "b": 1}
    assert not passed
    assert [m.measured for m in choices["p"].ranked] == [True, True, False]


@pytest.mark.parametrize("bad", ["#.........", " ........."])
def test_bad_and_missing_pixels_alike_let_it_read_on(monkeypatch, bad):
    masks = FakeMasks(monkeypatch, a=bad, b=bad, c=bad)
    choose([chip(take("a"), take("b"), take("c"))])
    assert masks.reads == {"a": 1, "b": 1, "c": 1}


def test_at_most_max_candidates_are_measured_and_the_best_of_them_wins(monkeypatch):
    masks = FakeMasks(monkeypatch, a="####......", b="##........", c="..........", d="..........")
    choices, _ = choose([chip(*map(take, "abcd"))], replace(FREE, max_candidates=2))
    assert masks.reads == {"a": 1, "b": 1}
    assert choices["p"].best.candidate.scenes == ("b",)
    assert choices["p"].best.cloud == 0.2


def test_a_candidate_that_cannot_serve_is_not_one_of_the_measured(monkeypatch):
    masks = FakeMasks(monkeypatch, b="###.......", c="##........")
    lame = take("a", broken="a has no asset for red")
    choices, _ = choose([chip(lame, take("b"), take("c"))], replace(FREE, max_candidates=2))
    assert masks.reads == {"b": 1, "c": 1}
    assert [m.candidate.scenes[0] for m in choices["p"].ranked] == ["c", "b", "a"]


def test_the_next_scene_of_a_datatake_is_read_only_where_pixels_are_missing(monkeypatch):
    masks = FakeMasks(monkeypatch, w=".....     ", e="#####..###", n="..........")
    choices, _ = choose([chip(take("w", "e", "n"))])
    assert masks.reads == {"w": 1, "e": 1}
    best = choices["p"].best
    assert (best.cloud, best.valid) == (0.3, 1.0)
    assert best.candidate.scenes == ("w", "e", "n"), "which of them gave pixels is weave's to say"


def test_neighbours_are_read_in_one_window_and_chosen_one_by_one(monkeypatch):
    """Two chips side by side share a read; what one needs no more is not read for it."""
    masks = FakeMasks(monkeypatch, a=".", b=".")
    pair = [chip(take("a"), take("b")), chip(take("a"), take("b"), key="q", x=CHIP.x + 100)]
    seen = []

    def split(item, read, crs, affine, shape):
        seen.append((item.id, shape))
        out = np.zeros(shape, np.uint8)
        if item.id == "a" and shape[1] == 20:
            out[:, 10:] = 1  # the second chip is all cloud in a
        return out

    monkeypatch.setattr(survey, "read_mask", split)
    choices, _ = choose(pair)
    assert seen == [("a", (10, 20)), ("b", (10, 10))]
    assert choices["p"].best.candidate.scenes == ("a",)
    assert choices["q"].best.candidate.scenes == ("b",)
    assert not masks.reads


def test_a_broken_scene_is_passed_over_and_said(monkeypatch):
    error = PermanentSourceError("a.tif: cut short", href="a.tif")
    FakeMasks(monkeypatch, a=error, b=".#........")
    choices, passed = choose([chip(take("a"), take("b"))])
    assert choices["p"].best.candidate.scenes == ("b",)
    assert [(p.key, p.layer, p.item, p.stage, p.href) for p in passed] == [
        ("p", "s2", "a", "survey", "a.tif")
    ]
    assert choices["p"].ranked[1].why == "a.tif: cut short"


def test_the_rest_of_a_datatake_serves_without_its_broken_scene(monkeypatch):
    FakeMasks(monkeypatch, a=PermanentSourceError("gone"), b="..........", c=".#........")
    choices, passed = choose([chip(take("a", "b"), take("c"))])
    assert choices["p"].best.candidate.scenes == ("b",)
    assert [p.item for p in passed] == ["a"]


def test_a_chip_is_failed_when_no_scene_is_left(monkeypatch):
    FakeMasks(monkeypatch, a=PermanentSourceError("gone", href="a.tif"))
    choices, passed = choose([chip(take("a"))])
    choice = choices["p"]
    assert (choice.chosen, choice.reason, choice.error) == (False, "broken", "gone")
    assert len(passed) == 1


def test_a_source_that_does_not_answer_is_never_passed_over(monkeypatch):
    FakeMasks(monkeypatch, a=TransientSourceError("busy"), b="..........")
    with pytest.raises(TransientSourceError):
        choose([chip(take("a"), take("b"))])


def test_where_an_item_lacks_its_mask_the_footprint_tells(monkeypatch):
    masks = FakeMasks(monkeypatch)
    lacking = {n: scene(n, NEAR, missing=("scl",)) for n in "abc"}
    choices, _ = choose([chip(take("a", coverage=0.6), take("b"), take("c"))], **lacking)
    assert choices["p"].best.candidate.scenes == ("b",)
    assert [m.valid for m in choices["p"].ranked] == [1.0, 0.6, pytest.approx(np.nan, nan_ok=True)]
    assert (choices["p"].best.cloud, choices["p"].best.valid) == (0.0, 1.0)
    assert not masks.reads


def test_a_layer_without_a_mask_is_asked_for_its_first_band(monkeypatch):
    masks = FakeMasks(monkeypatch, a="....    ..")
    choices, _ = choose([chip(take("a"))], read=replace(READ, mask=None))
    assert (choices["p"].best.cloud, choices["p"].best.valid) == (0.0, 0.6)
    assert masks.reads == {"a": 1}


def test_a_reads_subset_has_what_its_chips_may_use():
    chips = [chip(take("a"), take("b", "c"))]
    reads = Reads({"s2": READ}, {"s2": FREE}, {}, {"s2": {n: scene(n, NEAR) for n in "abcx"}})
    assert set(subset(reads, chips).scenes["s2"]) == set("abc")


def _handed(path, batch, layer="s2"):
    """Candidates by key, and the chosen ones, of the rows of a batch."""
    rows = pd.read_parquet(path)
    rows = rows[rows["batch"] == batch]
    rows = rows[rows["layer"] == layer]
    found = {}
    for key, own in rows.groupby("key", sort=False):
        found[key] = [
            Candidate(
                tuple(r["item"]), r["datetime"].iloc[0], *r[["coverage", "catalog_cloud"]].iloc[0].tolist(),
                bool(r["same_crs"].iloc[0]), r["broken"].iloc[0],
            )
            for _, r in own.groupby("rank")
        ]  # fmt: skip
    chosen = {key: tuple(own[own["chosen"]]["item"]) for key, own in rows.groupby("key", sort=False)}
    return found, chosen


def test_the_ranking_survives_its_table(monkeypatch, tmp_path):
    """What weave needs to choose again comes back as it was, in the order of the chips, from many tasks and groups."""
    monkeypatch.setattr(tables, "ROW_GROUP", 4)
    monkeypatch.setattr(tables, "SCRATCH_KEPT", 1)
    FakeMasks(monkeypatch, a="..#.......", b="#####.....", c="     .....", d="######....")
    reads = Reads({"s2": READ}, {"s2": FREE}, {}, {"lc": {n: scene(n, edition="2021") for n in "mk"}})
    keys, found = ["p", "q", "r", "s"], {}
    for key in keys:
        own = chip(
            take("a", "b", cloud=float("nan")), take("c", "d"), take("x", broken="x lacks red"), key=key
        )
        choices, _ = choose([own])
        found[key] = Found({"s2": choices[key]})
    counts = []
    for number, own in enumerate((["q", "p"], ["s", "r"])):
        table, rows = tables.match_table(
            {k: found[k] for k in own}, {k: {"lc": ("m", "k") if k != "s" else ()} for k in own}, reads
        )
        tables.write_scratch(tmp_path / f"{number}.arrow", table)
        counts += rows
    assert counts == [7, 7, 5, 7]
    # In the order of the batches: s, an unsurveyed one, then r, p, q.
    tables.write_matches(
        tmp_path / "matches.parquet", lambda n: tmp_path / f"{n}.arrow", task=np.array([1, -1, 1, 0, 0]),
        start=np.array([0, -1, 5, 7, 0]), count=np.array([5, -1, 7, 7, 7]), batch=np.array([-1, -1, 0, 0, 1]),
    )  # fmt: skip
    whole = pd.read_parquet(tmp_path / "matches.parquet")
    assert whole["key"].drop_duplicates().tolist() == ["s", "r", "p", "q"]
    assert whole["batch"].is_monotonic_increasing
    assert whole.columns.tolist() == tables.MATCHES.names
    file = pq.ParquetFile(tmp_path / "matches.parquet")
    assert file.schema_arrow.equals(tables.MATCHES)
    assert file.num_row_groups == 4, "a chip is never cut"
    for batch, own in ((-1, ["s"]), (0, ["r", "p"]), (1, ["q"])):
        candidates_of, chosen = _handed(tmp_path / "matches.parquet", batch)
        assert list(candidates_of) == own
        for key in own:
            assert repr(candidates_of[key]) == repr([m.candidate for m in found[key].choices["s2"].ranked])
            assert chosen[key] == ("a", "b")
    labels = whole[whole["layer"] == "lc"]
    assert labels.groupby("key")["item"].agg(list).to_dict() == {k: ["m", "k"] for k in "pqr"}
    assert set(labels["datetime"]) == {"2021"}


def test_a_plan_without_a_chip_has_its_tables(tmp_path):
    none = np.empty(0, np.int64)
    tables.write_matches(tmp_path / "none.parquet", lambda n: tmp_path / f"{n}", none, none, none, none)
    assert pd.read_parquet(tmp_path / "none.parquet").columns.tolist() == tables.MATCHES.names


# Labels -----------------------------------------------------------------------------------------------------

LABEL = LabelRead(
    Legend("little", (LegendClass(1, "a", "#000000"), LegendClass(2, "b", "#ffffff")), nodata=0),
    "nearest",
    0,
    "map",
)


class FakeLabels(FakeMasks):
    def __init__(self, monkeypatch, **rasters):
        super().__init__(monkeypatch)
        self.masks = rasters
        monkeypatch.setattr(targets, "read_label", self)

    def __call__(self, item, *_args):
        self.reads[item.id] += 1
        found = self.masks[item.id]
        if isinstance(found, Exception):
            raise found
        codes = np.array([int(c) for c in found], np.uint8)
        return np.broadcast_to(codes.repeat(10 // len(found)), (10, 10))


def labels_of(*items: str):
    chips = [ChipScenes(CHIP, {}, {"lc": items})]
    scenes = {i: scene(i, NEAR, layer="lc", edition="2021", assets={"map": Asset(i)}) for i in items}
    return read_label_chips(chips, "lc", LABEL, scenes)


def test_a_label_is_filled_from_its_rasters_and_names_those_that_gave(monkeypatch):
    fake = FakeLabels(monkeypatch, a="00", b="10", c="10", d="22", e="11")
    arrays, items, errors = labels_of("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(arrays["p"][0][0], [1] * 5 + [2] * 5)
    assert items["p"] == ("b", "d")
    assert fake.reads == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert not errors


def test_a_label_without_any_class_still_names_a_raster(monkeypatch):
    FakeLabels(monkeypatch, a="00", b="00")
    arrays, items, _ = labels_of("a", "b")
    assert (arrays["p"][0] == 0).all()
    assert len(items["p"]) == 1


def test_a_broken_label_fails_its_chip(monkeypatch):
    FakeLabels(monkeypatch, a=PermanentSourceError("gone"), b="11")
    arrays, _, errors = labels_of("a", "b")
    assert not arrays
    assert str(errors["p"]) == "gone"


def test_outlines_here_are_what_they_seem():
    """The fixtures above: WEST and EAST share out NEAR at the middle of the chip."""
    assert shapely.area(shapely.intersection(WEST, GROUND)) / GROUND.area == pytest.approx(0.5, abs=1e-3)
    assert NEAR.covers(GROUND)
