"""The rules by the names that a recipe calls them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from chipweave.errors import RecipeError
from chipweave.plan.select.composite import Composite
from chipweave.plan.select.event import Around, Event
from chipweave.plan.select.mosaic import Mosaic
from chipweave.plan.select.nearest import Nearest
from chipweave.plan.select.newest import Newest
from chipweave.plan.select.onedate import ALWAYS, OneDate
from chipweave.plan.select.periods import Periods
from chipweave.plan.select.phenology import Phenology
from chipweave.plan.select.ranking import LeastCloudy, Rule
from chipweave.plan.select.seasons import Seasons
from chipweave.plan.select.series import Series
from chipweave.plan.select.widened import Widened
from chipweave.recipe.imagery import Imagery
from chipweave.recipe.interval import duration, interval
from chipweave.recipe.timing import Steps, TimeRule
from chipweave.recipe.windows import periods

MIN_GAP: Final = "5d"
"""Least time between the dates of a series, where the recipe gives none (contract, section 1)."""

ALL: Final = 1 << 30
"""More candidates than any chip has."""

_YEAR: Final = interval("2019")
"""Any year: months of all are as many."""


def rule_of(layer: str, wish: Imagery) -> Rule:
    """The rule that a layer of a recipe asks for.

    Raises
    ------
    RecipeError
        What it asks for cannot be: `nearest` without a date, periods that its time does not hold.
    """
    try:
        return METHODS[wish.select.method](wish)
    except ValueError as error:
        raise RecipeError(f"imagery.{layer}.select: {error}") from None


def most_candidates(wish: Imagery) -> int:
    """How many candidates a chip, or a step of one, may have measured: of a composite all, where not said."""
    said = "max_candidates" in wish.model_fields_set
    composite = wish.select.method == "composite" or wish.select.stat is not None
    return ALL if composite and not said else wish.max_candidates


def timeless(rule: Rule) -> Rule:
    """The same for scenes of no date, for which a time chooses nothing."""
    return replace(rule, time=ALWAYS) if isinstance(rule, OneDate | Series) else rule


def _time(wish: Imagery) -> dict[str, Any]:
    """A layer's time, and how it is widened."""
    widen = wish.widen
    return {
        "time": interval(wish.time) if isinstance(wish.time, str) else ALWAYS,
        "by": duration(widen.by) if widen is not None else timedelta(0),
        "times": widen.times if widen is not None else 0,
    }


def _steps(wish: Imagery, count: int) -> dict[str, Any]:
    """What a rule of so many named steps takes from a recipe."""
    asked = wish.steps or Steps()
    need = asked.min or (count if asked.missing == "drop" else 1)
    if need > count:
        raise ValueError(f"steps.min: {need} is more than its {count} steps")
    return {
        **_time(wish),
        "need": need,
        "stat": wish.select.stat or "",
        "prefer": wish.select.prefer or "least_cloudy",
    }


def _least_cloudy(wish: Imagery) -> Rule:
    return Widened(**_time(wish)) if wish.widen is not None else LeastCloudy()


def _newest(wish: Imagery) -> Rule:
    return Newest(**_time(wish))


def _nearest(wish: Imagery) -> Rule:
    own = isinstance(wish.time, TimeRule) and wish.time.column is not None
    if wish.select.to is None and not own:
        raise ValueError("nearest needs `to`, a date")
    return Nearest(**_time(wish), to=wish.select.to_date)


def _mosaic(wish: Imagery) -> Rule:
    return Mosaic(**_time(wish))


def _composite(wish: Imagery) -> Rule:
    return Composite(**_time(wish), stat=wish.select.stat or "median")


def _series(wish: Imagery) -> Rule:
    steps, asked = wish.series_steps or 1, wish.steps or Steps()
    need = asked.min or (steps if asked.missing == "drop" else 1)
    return Series(steps, need, duration(wish.select.min_gap or MIN_GAP), **_time(wish))


def _periods(wish: Imagery) -> Rule:
    select = wish.select
    if select.from_ is not None:
        days = tuple(select.from_.files)
        return Phenology(**_steps(wish, len(days)), days=days, around=select.from_.days)
    if select.every is None:
        windows = dict(select.windows or {})
        return Periods(**_steps(wish, len(windows)), labels=tuple(windows), windows=windows)
    within = interval(wish.time) if isinstance(wish.time, str) else _own_time(wish)
    names = tuple(name for name, _ in periods(select.every, within))
    labels = names if isinstance(wish.time, str) else tuple(f"{n + 1:02d}" for n in range(len(names)))
    return Periods(**_steps(wish, len(labels)), labels=labels, every=select.every)


def _own_time(wish: Imagery) -> Any:
    """A time as long as each chip's own."""
    rule = wish.time
    if isinstance(rule, TimeRule) and rule.years is not None:
        return _YEAR
    if (
        isinstance(rule, TimeRule)
        and rule.window is not None
        and wish.select.every not in {"month", "quarter", "year"}
    ):
        first, last = (duration(text) for text in rule.window)
        return _YEAR[0] + first, _YEAR[0] + timedelta(days=1) - timedelta(microseconds=1) + last
    raise ValueError("periods of the calendar need a time of years, or the same interval for all chips")


def _seasons(wish: Imagery) -> Rule:
    return Seasons(**_steps(wish, 4))


def _event(wish: Imagery) -> Rule:
    around = {
        name: Around((step.window[0], step.window[1]), step.years)
        for name, step in (wish.select.steps or {}).items()
    }
    return Event(**_steps(wish, len(around)), around=around)


METHODS: Final[Mapping[str, Callable[[Imagery], Rule]]] = {
    "least_cloudy": _least_cloudy,
    "newest": _newest,
    "nearest": _nearest,
    "mosaic": _mosaic,
    "series": _series,
    "periods": _periods,
    "seasons": _seasons,
    "event": _event,
    "composite": _composite,
}
