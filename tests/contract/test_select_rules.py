"""What every rule of selection keeps. A new rule adds a line to `WISHES` with what a recipe says for it."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.plan.columns import Candidate
from chipweave.plan.pairs import layer_rule
from chipweave.plan.select import Choice, Limits, Measured, Rule, When
from chipweave.plan.select.registry import METHODS, most_candidates
from chipweave.plan.select.taken import of_choice
from chipweave.recipe.imagery import Imagery
from chipweave.recipe.interval import interval

YEAR = "2020-01-01/2021-12-31"
WISHES: dict[str, dict[str, Any]] = {
    "least_cloudy": {},
    "least_cloudy, wider": {"widen": {"by": "20d", "times": 2}, "time": "2021-06-01/2021-06-30"},
    "newest": {"select": {"method": "newest"}},
    "nearest": {"select": {"method": "nearest", "to": "2021-03-03"}},
    "nearest, own date": {
        "select": {"method": "nearest"},
        "time": {"column": "x", "window": ["-90d", "90d"]},
    },
    "mosaic": {"select": {"method": "mosaic"}},
    "series": {"select": {"method": "series", "max": 4}, "steps": {"missing": "nodata"}},
    "series, wider": {
        "select": {"method": "series", "max": 3},
        "steps": {"min": 2},
        "widen": {"by": "20d", "times": 3},
        "time": "2021-05-01/2021-06-15",
    },
    "periods": {"select": {"method": "periods", "every": "quarter"}, "steps": {"min": 2}},
    "periods, windows": {
        "select": {"method": "periods", "windows": {"b": "07/09", "a": "11/02"}, "prefer": "nearest"}
    },
    "periods, from": {
        "select": {"method": "periods", "from": {"planting": "p.tif", "harvest": "h.tif", "days": 60}},
        "steps": {"missing": "nodata"},
    },
    "periods, composite": {
        "select": {"method": "periods", "every": "60d", "stat": "mean"},
        "steps": {"min": 1},
    },
    "seasons": {"select": {"method": "seasons", "prefer": "newest"}, "steps": {"missing": "nodata"}},
    "event": {
        "select": {"method": "event", "steps": {"pre": ["-60d", "-1d"], "post": ["0d", "60d"]}},
        "time": {"column": "x"},
        "widen": {"by": "30d"},
        "steps": {"min": 1},
    },
    "composite": {"select": {"method": "composite"}},
    "paired": {"pair": {"with": "other", "within_days": 20}, "time": None},
}
WHEN = When(
    lat=-10.0, window=interval("2021-02-01/2021-11-30"), date=interval("2021-06-15"),
    partner=(interval("2021-06-15"),),
)  # fmt: skip
"""What a rule may be told; those that take it from the layer instead are given none."""


def rule_of(name: str) -> tuple[Rule, Imagery]:
    base = {"collection": "c", "bands": ["red"], "time": YEAR}
    own = Imagery.model_validate({k: v for k, v in {**base, **WISHES[name]}.items() if v is not None})
    return layer_rule({"own": own, "other": Imagery.model_validate(base)}, "own"), own


def when_of(wish: Imagery) -> When:
    days = {"planting": 100, "harvest": 250}
    return WHEN if not isinstance(wish.time, str) else When(lat=45.0, days=days)


def test_every_method_is_here():
    assert {name.partition(",")[0] for name in WISHES} >= set(METHODS)


CANDIDATES = st.lists(
    st.tuples(
        st.integers(0, 730),
        st.sampled_from([0.0, 0.05, 0.2, 0.6]),
        st.sampled_from([0.0, 0.4, 1.0]),
        st.sampled_from(["", "", "", "broken"]),
        st.booleans(),
    ),
    max_size=25,
    unique_by=lambda row: row[0],
)
"""Day, bad share, valid share, whether it is known to be broken, whether there is a mask to read."""


def drive(rule: Rule, limits: Limits, rows: list[Any], when: When) -> tuple[Choice, list[str], int]:
    """Do as survey does; what was asked for, in order, and how many were measured."""
    found, candidates = {}, []
    for day, cloud, valid, broken, masked in rows:
        time = datetime(2020, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
        name = f"d{day}"
        candidates.append(Candidate((name,), time.isoformat(), valid, cloud, True, broken))
        found[name] = (cloud, valid, masked)
    look, asked, measured = rule.look(tuple(candidates), limits, when), [], 0
    while (wanted := look.next()) is not None:
        assert look.next() == wanted, "asked again it says another"
        [name] = wanted.scenes
        asked.append(name)
        if wanted.broken:
            look.add(Measured(wanted), None)
            continue
        measured += 1
        cloud, valid, masked = found[name]
        look.add(Measured(wanted, cloud, valid), mask_of(cloud, valid) if masked else None)
    return look.choice(), asked, measured


def mask_of(cloud: float, valid: float) -> np.ndarray:
    mask = np.full(100, 255, np.uint8)
    mask[: round(100 * valid)] = 0
    mask[: round(100 * valid * cloud)] = 1
    return mask.reshape(10, 10)


@pytest.mark.parametrize("name", WISHES)
def test_it_is_a_rule(name):
    rule, _ = rule_of(name)
    assert rule.steps >= 1
    assert 0 <= rule.need <= rule.steps
    assert rule.dates >= rule.series, "a series reads several dates"
    assert not rule.series or not rule.names or len(rule.names) == rule.steps
    assert pickle.loads(pickle.dumps(rule)) == rule  # noqa: S301 - our own, and that it travels is the point


@pytest.mark.parametrize("name", WISHES)
@settings(max_examples=40, deadline=None)
@given(rows=CANDIDATES, max_cloud=st.sampled_from([None, 0.1, 0.5]), most=st.sampled_from([1, 3, 8]))
def test_it_chooses_within_limits_and_says_why(name, rows, max_cloud, most):
    rule, wish = rule_of(name)
    limits = Limits(max_cloud, 0.3, most, rule)
    choice, asked, measured = drive(rule, limits, rows, when_of(wish))
    assert len(asked) == len(set(asked)), "somebody was measured twice"
    assert measured <= most * rule.steps
    assert all(m.why for m in choice.ranked)
    ids = [m.candidate.scenes[0] for m in choice.ranked]
    assert set(asked) <= set(ids), "what was measured is in the plan"
    assert choice.chosen == bool(choice.taken)
    if not choice.chosen:
        assert choice.reason in {"no_scene", "cloud", "valid", "steps", "broken", "pair"}
        assert len(ids) == len(set(ids))
        return
    taken = choice.steps
    each = limits if not (rule.stat or name == "mosaic") else Limits(max_cloud, None, most)
    assert all(m.within(each) for m in taken)
    assert not any(m.candidate.broken for m in taken)
    steps = [choice.step(n) for n in range(choice.taken)]
    assert set(steps) <= set(range(rule.steps))
    assert len(set(steps)) >= rule.need
    assert set(ids[choice.taken :]).isdisjoint(ids[: choice.taken])
    if not rule.stat and name != "mosaic":
        assert len(steps) == len(set(steps))
    read = of_choice(choice, rule)
    assert len(read.scenes) == len(read.at) == (len(steps) if rule.stat else len(set(steps)))


@pytest.mark.parametrize("name", WISHES)
def test_nobody_is_no_choice(name):
    rule, wish = rule_of(name)
    choice, asked, _ = drive(rule, Limits(None, None, 8, rule), [], when_of(wish))
    assert not choice.chosen
    assert choice.reason
    assert not asked


def test_of_a_composite_all_are_measured_unless_the_recipe_says():
    base = {"collection": "c", "bands": ["red"], "time": YEAR}
    for select, said, most in (
        ({"method": "composite"}, {}, 1000),
        ({"method": "composite"}, {"max_candidates": 5}, 5),
        ({"method": "seasons", "stat": "mean"}, {}, 1000),
        ({"method": "seasons"}, {}, 8),
        ({"method": "mosaic"}, {}, 8),
    ):
        wish = Imagery.model_validate({**base, "select": select, **said})
        assert (most_candidates(wish) > 1000) == (most == 1000)
        assert most == 1000 or most_candidates(wish) == most
