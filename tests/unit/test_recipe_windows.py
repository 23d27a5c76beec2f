"""Windows of the year, years back, periods, and windows around a date: against dates worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipweave.recipe.interval import interval
from chipweave.recipe.windows import (
    SEASONS,
    TICK,
    around,
    check_every,
    check_window,
    occurrences,
    periods,
    seasons_of,
    years_back,
)


def days(spans):
    return [f"{a:%Y-%m-%d}/{b:%Y-%m-%d}" for a, b in spans]


@pytest.mark.parametrize(
    ("window", "time", "right"),
    [
        ("03-01/05-31", "2020-01-01/2021-12-31", ["2020-03-01/2020-05-31", "2021-03-01/2021-05-31"]),
        ("03/05", "2021-01-01/2021-12-31", ["2021-03-01/2021-05-31"]),
        ("12-01/02-29", "2021-01-01/2021-12-31", ["2021-01-01/2021-02-28", "2021-12-01/2021-12-31"]),
        ("12-01/02-29", "2019-12-01/2020-11-30", ["2019-12-01/2020-02-29"]),
        ("11/02", "2021-01-15/2021-12-20", ["2021-01-15/2021-02-28", "2021-11-01/2021-12-20"]),
        ("03-01/05-31", "2021-04-10/2021-05-02", ["2021-04-10/2021-05-02"]),
        ("03-01/05-31", "2021-06-01/2021-08-31", []),
        ("2020-10-01/2021-02-28", "2020-01-01/2021-12-31", ["2020-10-01/2021-02-28"]),
    ],
)
def test_a_window_of_the_year(window, time, right):
    assert check_window(window) == window
    assert days(occurrences(window, interval(time))) == right


@pytest.mark.parametrize(
    "text", ["", "13/14", "00-01/02-01", "02-30/03-01", "3-1/5-31", "2021-01-01/..", "spring"]
)
def test_what_is_no_window(text):
    with pytest.raises(ValueError, match=r"."):
        check_window(text)


def test_years_are_counted_from_the_end():
    assert days(years_back(interval("2020-03-15/2022-03-14"))) == [
        "2021-03-15/2022-03-14", "2020-03-15/2021-03-14"
    ]  # fmt: skip
    assert days(years_back(interval("2021-06-01/2022-11-30"))) == [
        "2021-12-01/2022-11-30", "2021-06-01/2021-11-30"
    ]  # fmt: skip
    assert days(years_back(interval("2021-06-01/2021-08-31"))) == ["2021-06-01/2021-08-31"]
    assert days(years_back(interval("2019-03-01/2020-02-29"))) == ["2019-03-01/2020-02-29"]


def test_seasons_turn_at_the_equator():
    assert seasons_of(45.0) == dict(SEASONS)
    south = seasons_of(-0.1)
    assert list(south) == list(SEASONS)
    assert (south["spring"], south["winter"]) == ("09-01/11-30", "06-01/08-31")
    assert seasons_of(0.0) == dict(SEASONS)


@pytest.mark.parametrize(
    ("every", "time", "names", "spans"),
    [
        ("month", "2021-06-10/2021-08-05", ["2021-06", "2021-07", "2021-08"],
         ["2021-06-10/2021-06-30", "2021-07-01/2021-07-31", "2021-08-01/2021-08-05"]),
        ("quarter", "2021-02-01/2021-07-31", ["2021-Q1", "2021-Q2", "2021-Q3"],
         ["2021-02-01/2021-03-31", "2021-04-01/2021-06-30", "2021-07-01/2021-07-31"]),
        ("year", "2020-01-01/2021-12-31", ["2020", "2021"], ["2020-01-01/2020-12-31", "2021-01-01/2021-12-31"]),
        ("30d", "2021-06-01/2021-08-31", ["2021-06-01", "2021-07-01", "2021-07-31"],
         ["2021-06-01/2021-06-30", "2021-07-01/2021-07-30", "2021-07-31/2021-08-29"]),
        ("31d", "2021-07-01/2021-07-31", ["2021-07-01"], ["2021-07-01/2021-07-31"]),
    ],
)  # fmt: skip
def test_periods_of_an_interval(every, time, names, spans):
    found = periods(check_every(every), interval(time))
    assert [name for name, _ in found] == names
    assert days(span for _, span in found) == spans


@pytest.mark.parametrize("text", ["", "0d", "week", "30", "d", "1.5d", "-3d", "30h"])
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match="month, quarter, year"):
        check_every(text)


def test_an_interval_without_a_period_or_with_too_many_is_refused():
    with pytest.raises(ValueError, match="not one period"):
        periods("40d", interval("2021-06"))
    with pytest.raises(ValueError, match="more than"):
        periods("1d", interval("2000-01-01/2021-12-31"))


@given(
    st.dates(min_value=interval("1950")[0].date()),
    st.integers(0, 2000),
    st.sampled_from(["month", "quarter", "9d"]),
)
def test_periods_follow_each_other_and_stay_within(first, length, every):
    start = interval(first.isoformat())[0] if first.year < 2190 else interval("2001-02-03")[0]
    within = (
        start,
        interval(f"{start:%Y-%m-%d}")[1] + length * (interval("2021-01-02")[0] - interval("2021-01-01")[0]),
    )
    try:
        spans = [span for _, span in periods(every, within)]
    except ValueError:
        assert (every, length < 8) == ("9d", True)
        return
    assert spans[0][0] == within[0]
    assert all(b[0] - a[1] == TICK for a, b in pairwise(spans))
    assert spans[-1][1] <= within[1]
    assert every == "9d" or spans[-1][1] == within[1]


def test_a_window_around_a_date_keeps_whole_days():
    date = interval("2021-06-10")
    assert days([around(date, ("-30d", "-1d"))]) == ["2021-05-11/2021-06-09"]
    first, last = around(date, ("0d", "2d"))
    assert (f"{first:%d %H:%M}", f"{last:%d %H:%M}") == ("10 00:00", "12 23:59")
    assert days([around(date, ("-14d", "14d"), years=-1)]) == ["2020-05-27/2020-06-24"]
    assert days([around(interval("2020-02-29"), ("0d", "0d"), years=-1)]) == ["2019-02-28/2019-02-28"]
