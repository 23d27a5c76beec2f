"""Layers that go with another: the nearest date of each of its dates, of one orbit where that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chipweave.plan.columns import Candidate
from chipweave.plan.pairs import dates_of, in_order, layer_rule, may_lack, with_partners
from chipweave.plan.select import Choice, Limits, Measured, When
from chipweave.plan.select.paired import Paired, PairedSeries, partnered
from chipweave.plan.targets import ChipScenes
from chipweave.recipe.models import Imagery
from tiny import place, scene

LIMITS = Limits(None, None, 8)


def at(day: float) -> datetime:
    return datetime(2021, 6, 1, tzinfo=UTC) + timedelta(days=day - 1)


def date(day: float):
    return at(day), at(day)


def candidate(name: str, day: float, **more) -> Candidate:
    held = {"coverage": 1.0, "cloud": 0.0, "same_crs": True, "broken": "", **more}
    return Candidate((name,), at(day).isoformat(), **held)


def choose(rule, candidates, when, empty=()):
    look = rule.look(candidates, Limits(None, 0.5, 8, rule), when)
    asked = []
    while (wanted := look.next()) is not None:
        name = wanted.scenes[0]
        asked.append(name)
        known = Measured(wanted) if wanted.broken else Measured(wanted, 0.0, 0.1 if name in empty else 1.0)
        look.add(known, None)
    return look.choice(), asked


def rule(**more):
    return Paired(partner="s2", within=timedelta(days=3), **more)


def names(choice):
    return [m.candidate.scenes[0] for m in choice.steps]


def test_the_nearest_is_taken_and_no_other_is_measured():
    choice, asked = choose(
        rule(),
        [candidate("far", 7.9), candidate("near", 11.2), candidate("out", 14)],
        When(partner=(date(10),)),
    )
    assert names(choice) == asked == ["near"]
    assert {m.candidate.scenes[0]: m.why for m in choice.ranked}["near"] == "nearest within limits"


def test_within_is_to_the_second():
    edge = timedelta(days=3).total_seconds() / 86_400
    for extra, expected in ((0.0, ["x"]), (1e-4, [])):
        choice, _ = choose(rule(), [candidate("x", 10 + edge + extra)], When(partner=(date(10),)))
        assert names(choice) == expected
        assert choice.reason == ("" if expected else "pair")


def test_one_without_data_gives_way_to_the_next():
    choice, asked = choose(
        rule(), [candidate("near", 10.5), candidate("next", 8)], When(partner=(date(10),)),
        empty=("near",),
    )  # fmt: skip
    assert asked == ["near", "next"]
    assert names(choice) == ["next"]


def test_a_series_has_one_beside_each_date_and_a_gap_where_there_is_none():
    series = PairedSeries(partner="s2", within=timedelta(days=3), labels=("01", "02", "03"))
    when = When(partner=(date(5), None, date(20)))
    choice, _ = choose(
        series, [candidate("a", 4), candidate("b", 6.5), candidate("c", 21), candidate("d", 12)], when
    )
    assert [(names(choice)[n], choice.step(n)) for n in range(choice.taken)] == [("a", 0), ("c", 2)]
    lost, _ = choose(series, [candidate("a", 4)], when)
    assert (lost.taken, lost.reason) == (0, "pair")


ORBITS = {"up1": ("ascending",), "up2": ("ascending",), "down1": ("descending",), "down2": ("descending",)}


def test_scenes_of_a_chip_share_their_orbit():
    series = PairedSeries(partner="s2", within=timedelta(days=3), labels=("01", "02"), same=("orbit_state",))
    own = [candidate("up1", 5), candidate("up2", 30), candidate("down1", 6), candidate("down2", 21)]
    choice, asked = choose(series, own, When(partner=(date(5), date(20)), traits=ORBITS))
    assert names(choice) == ["down1", "down2"]  # up1 is nearer, but nobody ascends near the second date
    assert asked == ["down1", "down2"]
    assert {m.candidate.scenes[0]: m.why for m in choice.ranked}["up1"] == "other orbit or platform"


def test_another_orbit_is_tried_where_one_has_no_data():
    one = rule(same=("orbit_state",))
    choice, asked = choose(
        one, [candidate("up1", 10), candidate("down1", 11)], When(partner=(date(10),), traits=ORBITS),
        empty=("up1",),
    )  # fmt: skip
    assert asked == ["up1", "down1"]
    assert names(choice) == ["down1"]


@pytest.mark.parametrize(("missing", "reason"), [("drop", "pair"), ("nodata", ""), ("reselect", "pair")])
def test_what_becomes_of_a_chip_without_a_partner(missing, reason):
    choice, _ = choose(rule(missing=missing), [candidate("out", 20)], When(partner=(date(10),)))
    assert (choice.chosen, choice.reason) == (False, reason)


def test_a_broken_partner_is_no_missing_one():
    choice, _ = choose(
        rule(missing="nodata"), [candidate("x", 10, broken="lacks vv")], When(partner=(date(10),))
    )
    assert choice.reason == "broken"


def test_the_other_layer_may_choose_among_dates_that_have_one():
    own = [candidate("clear", 1), candidate("hazy", 10)]
    assert partnered(own, [candidate("r", 12)], timedelta(days=3)) == (own[1],)
    assert partnered(own, [candidate("r", 30)], timedelta(days=3)) == tuple(own)
    assert partnered(own, [candidate("r", 12, broken="x")], timedelta(days=3)) == tuple(own)


def wish(**more):
    return Imagery.model_validate({"collection": "c", "bands": ["b"], **more})


def test_layers_choose_after_those_that_they_go_with():
    layers = {
        "s1": wish(pair={"with": "s2", "within_days": 3, "if_missing": "nodata"}),
        "l8": wish(pair={"with": "s1", "within_days": 1}),
        "s2": wish(time="2021", select={"method": "series", "max": 4}),
        "dem": wish(),
    }
    assert in_order(layers) == ["s2", "s1", "l8", "dem"]
    own = layer_rule(layers, "l8")
    assert isinstance(own, PairedSeries)
    assert (own.partner, own.within, own.steps, own.series) == ("s1", timedelta(days=1), 4, True)
    limits = {n: Limits(None, None, 8, layer_rule(layers, n)) for n in in_order(layers)}
    assert may_lack(limits) == {"s1"}


def test_a_layer_is_told_the_dates_of_its_partner():
    layers = {
        "s2": wish(time="2021"),
        "s1": wish(pair={"with": "s2", "within_days": 3, "same": ["orbit_state"]}),
    }
    limits = {n: Limits(None, None, 8, layer_rule(layers, n)) for n in layers}
    chosen = Choice((Measured(candidate("A", 10), 0.0, 1.0),), taken=1)
    chip = ChipScenes(place("p"), {"s2": (), "s1": ()}, {})
    scenes = {"up": scene("up", orbit_state="ascending")}
    [told] = with_partners([chip], "s1", limits, scenes, {"p": {"s2": chosen}})
    assert told.when["s1"].partner == (date(10),)
    assert told.when["s1"].traits == {"up": ("ascending",)}
    assert dates_of(Choice(()), 1) == (None,)
