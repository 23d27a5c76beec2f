"""Steps with windows of their own, against what they are by definition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.plan.columns import Candidate, Matched
from chipweave.plan.select import Limits, Measured, When
from chipweave.plan.select.laying import bits_of, joined, laid
from chipweave.plan.select.mosaic import Mosaic
from chipweave.plan.select.nearest import Nearest
from chipweave.plan.select.periods import Periods
from chipweave.plan.select.registry import rule_of, timeless
from chipweave.plan.select.seasons import Seasons
from chipweave.plan.select.slots import distance
from chipweave.plan.times import MOST_SEARCHES, _day_text, _joined
from chipweave.recipe.imagery import Imagery
from chipweave.recipe.interval import interval
from chipweave.recipe.windows import years_back

START = datetime(2020, 1, 1, 10, tzinfo=UTC)
DATES = st.lists(
    st.tuples(
        st.integers(0, 730), st.sampled_from([0.01, 0.05, 0.2, 0.6]), st.sampled_from([0.0, 0.5, 0.9, 1.0])
    ),
    max_size=40,
    unique_by=lambda row: row[0],
)  # fmt: skip


def measure(rule, limits, rows, when=None):
    """All dates, as survey would; none is clear, so that nothing ends a search early."""
    days = {f"d{d}": (c, v) for d, c, v in rows}
    candidates = [
        Candidate((f"d{d}",), (START + timedelta(days=d)).isoformat(), 1.0, c, True) for d, c, _ in rows
    ]
    look = rule.look(candidates, limits, when or When())
    asked = []
    while (wanted := look.next()) is not None:
        asked.append(wanted.scenes[0])
        look.add(Measured(wanted, *days[wanted.scenes[0]]), None)
    return look.choice(), asked


def time_of(name: str) -> datetime:
    return START + timedelta(days=int(name[1:]))


@settings(max_examples=150, deadline=None)
@given(DATES, st.sampled_from(["least_cloudy", "newest", "nearest"]), st.floats(-60, 60))
def test_seasons_against_their_definition(rows, prefer, lat):
    rule = Seasons(time=interval("2020-01-01/2021-12-31"), prefer=prefer, need=1)
    limits = Limits(0.3, 0.6, 1000, rule)
    choice, _ = measure(rule, limits, rows, When(lat=lat))
    months = {"spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11), "winter": (12, 1, 2)}
    turned = {"spring": "autumn", "summer": "winter", "autumn": "spring", "winter": "summer"}
    right = {}
    for step, name in enumerate(months):
        own = months[name if lat >= 0 else turned[name]]
        for year in (2021, 2020):
            good = [
                (d, c, v) for d, c, v in rows
                if c <= 0.3 and v >= 0.6 and time_of(f"d{d}").year == year and time_of(f"d{d}").month in own
            ]  # fmt: skip
            if not good:
                continue
            if prefer == "newest":
                right[step] = max(d for d, _, _ in good)
            elif prefer == "least_cloudy":
                right[step] = min(good, key=lambda r: (r[1], -r[2], -r[0]))[0]
            else:
                right[step] = good
            break
    assert choice.chosen == bool(right)
    found = {choice.step(n): m.candidate.scenes[0] for n, m in enumerate(choice.steps)}
    assert found.keys() == right.keys()
    for step, day in right.items():
        if prefer == "nearest":
            assert int(found[step][1:]) in {d for d, _, _ in day}
        else:
            assert found[step] == f"d{day}"


@settings(max_examples=150, deadline=None)
@given(DATES, st.integers(0, 730))
def test_the_nearest_by_whole_days_then_the_ranking(rows, target):
    date = interval(f"{START + timedelta(days=target):%Y-%m-%d}")
    rule = Nearest(to=date)
    choice, asked = measure(rule, Limits(0.3, 0.6, 1000, rule), rows)
    good = [r for r in rows if r[1] <= 0.3 and r[2] >= 0.6]
    if not good:
        assert not choice.chosen
        return
    best = min(good, key=lambda r: (abs(r[0] - target), r[1], -r[2], -r[0]))
    assert choice.best.candidate.scenes == (f"d{best[0]}",)
    assert all(abs(int(name[1:]) - target) <= abs(best[0] - target) for name in asked), (
        "it was read for nothing"
    )


def test_days_before_and_after_are_as_far():
    day = interval("2021-06-15")
    at = [datetime(2021, 6, d, 10, tzinfo=UTC) for d in (13, 14, 15, 16, 17)]
    assert [distance(t, day) for t in at] == [2, 1, 0, 1, 2]
    moment = (at[2], at[2])
    assert distance(at[3], moment) == 86_400


def test_a_date_that_serves_two_windows_is_read_once_and_stands_twice():
    windows = {"a": "05/06", "b": "06/07"}
    rule = Periods(labels=("a", "b"), windows=windows, time=interval("2021"), need=2)
    choice, asked = measure(rule, Limits(0.3, 0.5, 8, rule), [(366 + 160, 0.05, 1.0), (366 + 190, 0.2, 1.0)])
    assert asked == ["d526", "d556"]
    assert [(choice.step(n), m.candidate.scenes[0]) for n, m in enumerate(choice.steps)] == [
        (0, "d526"),
        (1, "d526"),
    ]
    assert [m.candidate.scenes[0] for m in choice.ranked[2:]] == ["d556"]
    assert choice.depth == 1
    assert choice.figures == pytest.approx((0.05, 1.0))


def test_a_step_that_is_missing_names_what_is_to_blame():
    rule = Periods(
        labels=("2021-05", "2021-06"), every="month", time=interval("2021-05-01/2021-06-30"), need=2
    )
    limits = Limits(0.3, 0.5, 8, rule)
    choice, _ = measure(rule, limits, [(366 + 130, 0.05, 1.0), (366 + 160, 0.6, 1.0)])
    assert (choice.chosen, choice.reason) == (False, "steps")
    assert {m.why for m in choice.ranked} == {
        "within limits, but too few steps are", "cloud 0.6000 above max_cloud 0.3000"
    }  # fmt: skip
    assert choice.at == (0, 1)
    choice, _ = measure(rule, limits, [(366 + 130, 0.6, 1.0)])
    assert choice.reason == "cloud"
    gone = Candidate(("gone",), "2021-06-03T10:00:00+00:00", 1.0, 1.0, True, "gone")
    fine = Candidate(("fine",), "2021-05-03T10:00:00+00:00", 1.0, 1.0, True)
    look = rule.look([fine, gone], limits, When())
    while (wanted := look.next()) is not None:
        look.add(Measured(wanted) if wanted.broken else Measured(wanted, 0.1, 1.0), None)
    assert (look.choice().reason, look.choice().error) == ("broken", "gone")


# What dates make together ---------------------------------------------------------------------------------------


def text_mask(text: str) -> np.ndarray:
    return np.array([{".": 0, "#": 1, " ": 255}[c] for c in text], np.uint8)[None]


@given(st.lists(st.text(alphabet=".# ", min_size=13, max_size=13), min_size=1, max_size=5))
def test_bits_say_what_masks_say(texts):
    masks = [text_mask(t) for t in texts]
    bits = [bits_of(m, 0.5) for m in masks]
    assert joined(bits) == np.logical_or.reduce([m == 0 for m in masks]).mean()
    out, gave = np.full((1, 13), 255, np.uint8), []
    for n, mask in enumerate(masks):
        new = (out == 255) & (mask != 255)
        if new.any() and (out == 255).any():
            gave.append(n)
        out = np.where(new, mask, out)
    numbers, cloud, valid = laid(bits)
    assert numbers == gave
    assert valid == (out != 255).mean()
    assert cloud == ((out == 1).sum() / (out != 255).sum() if valid else 0)


def test_without_masks_footprints_tell():
    blind, half = bits_of(None, 1.0), bits_of(None, 0.4)
    assert (joined([half, blind]), joined([half])) == (1.0, 0.4)
    assert laid([half, blind, half]) == ([0, 1], 0.0, 1.0)
    assert laid([bits_of(text_mask(".."), 1.0), half])[0] == [0]


def test_a_mosaic_is_held_against_min_valid_as_a_whole():
    rule = Mosaic()
    masks = {"w": text_mask("....#     "), "e": text_mask("     #....")}
    candidates = [
        Candidate((n,), f"2021-06-0{k}T10:00:00+00:00", 1.0, 1.0, True) for k, n in enumerate(masks, 1)
    ]
    for least, chosen in ((1.0, True), (None, True)):
        look = rule.look(candidates, Limits(0.5, least, 8, rule), When())
        while (wanted := look.next()) is not None:
            look.add(Measured(wanted, 0.2, 0.5), masks[wanted.scenes[0]])
        choice = look.choice()
        assert choice.chosen == chosen
        assert [m.candidate.scenes[0] for m in choice.steps] == ["e", "w"], (
            "the newer of two alike comes first"
        )
        assert (choice.figures, choice.depth) == ((0.2, 1.0), 2)
    look = rule.look(candidates[:1], Limits(0.5, 0.6, 8, rule), When())
    look.add(Measured(look.next(), 0.2, 0.5), masks["w"])
    assert (look.choice().chosen, look.choice().reason) == (False, "valid")


# Chips with a time of their own -----------------------------------------------------------------------------------


def test_candidates_in_each_chips_own_time():
    times = [f"2021-06-{d:02d}T10:00:00+00:00" for d in (1, 5, 9)]
    matched = Matched(
        first=np.array([0, 3, 3, 5]), start=np.array([0, 2, 3, 4, 5, 6]), scenes=np.array([0, 1, 1, 2, 2, 0]),
        coverage=np.arange(5.0), cloud=np.arange(5.0), same_crs=np.ones(5, bool), broken=np.zeros(5, bool),
        ids=["a", "b", "c"], times=times, gaps=[""] * 3,
    )  # fmt: skip
    tick = lambda day: int(datetime(2021, 6, day, 10, tzinfo=UTC).timestamp()) * 1_000_000  # noqa: E731
    found = matched.between(np.array([tick(1), 0, tick(2)]), np.array([tick(5), tick(9), tick(9)]))
    assert [[c.scenes for c in found.of(n)] for n in range(3)] == [[("a", "b"), ("b",)], [], [("c",)]]
    assert found.coverage.tolist() == [0, 1, 3]
    assert len(matched.between(*np.zeros((2, 3), np.int64)).coverage) == 0


@given(st.integers(2000, 2020), st.integers(1, 1500))
def test_years_back_cover_a_time_once(year, length):
    start = datetime(year, 2, 28, tzinfo=UTC)
    within = start, start + timedelta(days=length)
    parts = years_back(within)[::-1]
    assert (parts[0][0], parts[-1][1]) == within
    assert all(b[0] - a[1] == timedelta(microseconds=1) for a, b in pairwise(parts))
    assert all(b - a < timedelta(days=366, hours=1) for a, b in parts)


def test_what_is_of_no_date_is_chosen_at_any_time():
    rule = timeless(rule_of("dem", Imagery(collection="c", bands=["z"], time="2021-06-01/2021-06-30",
                                           select={"method": "newest"})))  # fmt: skip
    choice, _ = measure(rule, Limits(None, None, 8, rule), [(3, 0.05, 1.0)])
    assert choice.chosen


# Searches ---------------------------------------------------------------------------------------------------------


def test_times_that_meet_are_searched_together_and_few_at_most():
    day = timedelta(days=1)
    spans = [(START + n * day, START + (n + 2) * day) for n in (40, 0, 1, 2, 10)]
    assert _joined(spans) == [(START, START + 4 * day), spans[4], spans[0]]
    many = [(START + n * n * day, START + (n * n + 1) * day) for n in range(2, 60)]
    found = _joined(many)
    assert len(found) == MOST_SEARCHES
    assert all(any(a <= s and e <= b for a, b in found) for s, e in many)
    gaps = [b[0] - a[1] for a, b in pairwise(found)]
    assert min(gaps) > 40 * day, "the wide gaps stay open"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2021, "2021"), (2021.0, "2021"), (20210615, "2021-06-15"), ("2021-06-15", "2021-06-15"),
        ("2021-06-15T00:00:00", "2021-06-15"), ("2021-06-15 00:00:00+00:00", "2021-06-15"),
        (datetime(2021, 6, 15, tzinfo=UTC), "2021-06-15"), (" 2021-06-15T09:30:00Z ", "2021-06-15T09:30:00Z"),
    ],
)  # fmt: skip
def test_dates_of_columns(value, text):
    assert _day_text(value) == text


def test_the_middle_of_a_window_that_the_year_cuts_is_that_of_the_whole():
    """Of a winter in a calendar year the middle is the fifteenth of January, in both of its parts."""
    rule = Seasons(time=interval("2021-01-01/2021-12-31"), prefer="nearest", need=1)
    rows = [(366 + d, 0.05, 1.0) for d in (3, 20, 50, 362)]
    choice, _ = measure(rule, Limits(None, None, 99, rule), rows, When(lat=45.0))
    assert [m.candidate.scenes[0] for m in choice.steps] == ["d386"]
    wide = Seasons(
        time=interval("2021-01-01/2021-12-31"), prefer="nearest", need=1, by=timedelta(days=30), times=1
    )
    choice, _ = measure(wide, Limits(None, None, 99, wide), [(366 - 20, 0.05, 1.0), (366 - 10, 0.05, 1.0)])
    assert [m.candidate.scenes[0] for m in choice.steps] == ["d356"]
