"""When: `time`, `select`, `steps` and `widen` of an imagery layer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, Tag, WithJsonSchema, model_validator

from chipweave.recipe.base import (
    Count,
    Duration,
    Name,
    Node,
    Text,
    Whole,
    Year,
    Years,
    as_text,
    expected,
    one_of,
    refused,
)
from chipweave.recipe.interval import duration, interval
from chipweave.recipe.windows import PHASES, SEASONS, check_every, check_window, closed, occurrences, periods


class TimeRule(Node):
    """A time of its own for each chip: one of column, table, years."""

    column: Text | None = Field(
        None,
        description="Attribute, or column of chips.sampling.file, with a chip's date; without one it is dropped.",
    )
    window: tuple[Duration, Duration] | None = Field(
        None,
        description="With `column`: from and to, around that date, such as [-30d, 30d]; both days included. "
        "Of an event its steps say it.",
    )
    table: Text | None = Field(None, description="Table of intervals: columns `start, end`, or `time`.")
    by: Text | None = Field(
        None,
        description="With `table`: its column, and the attribute of chips, by which it is looked up; else key.",
    )
    years: (
        Annotated[
            Annotated[Years, Tag("\0text")] | Annotated[Year, Tag("\0number")],
            one_of("years such as 2017/2024"),
        ]
        | None
    ) = Field(None, description="Years, such as 2017/2024: one sample a year, which ends its key.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [key for key in ("column", "table", "years") if getattr(self, key) is not None]
        if len(given) != 1:
            raise refused("give exactly one of column, table, years")
        if self.window is not None and self.column is None:
            raise refused("goes with 'column' only", at="window")
        if self.by is not None and self.table is None:
            raise refused("goes with 'table' only", at="by")
        if self.years is not None:
            try:
                interval(str(self.years))
            except ValueError as error:
                raise refused(f"{self.years}: {error}", at="years") from None
        if self.window is not None and _length(self.window) < timedelta(0):
            raise refused("it ends before it begins", at="window")
        return self


_SELECT_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "least_cloudy": (),
    "newest": (),
    "nearest": ("to",),
    "mosaic": (),
    "series": ("max", "min_gap"),
    "periods": ("every", "windows", "from_", "stat", "prefer"),
    "seasons": ("stat", "prefer"),
    "event": ("steps", "stat", "prefer"),
    "composite": ("stat",),
}


ONE_STEP: Final = ("least_cloudy", "newest", "nearest", "mosaic", "composite")
CROPS: Final = ("planting", "harvest")
NAMED_STEPS: Final = ("periods", "seasons", "event")


class EventStep(Node):
    """One step of an event."""

    window: tuple[Duration, Duration] = Field(
        description="From and to around the chip's date, such as [-30d, -1d]; both days included."
    )
    years: Whole = Field(0, ge=-100, le=100, description="That many years later; -1: the year before.")

    @model_validator(mode="after")
    def _order(self) -> Self:
        if _length(self.window) < timedelta(0):
            raise refused("it ends before it begins", at="window")
        return self


def _length(window: tuple[str, str]) -> timedelta:
    try:
        return duration(window[1]) - duration(window[0])
    except OverflowError:
        raise refused("is longer than time is counted", at="window") from None


def _as_step(value: object) -> object:
    return {"window": value} if isinstance(value, list | tuple) else value


def _checked(check: Callable[[str], str], what: str) -> AfterValidator:
    def validate(text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            raise expected(f"{what} ({error})") from None

    return AfterValidator(validate)


class Calendar(Node):
    """Days of the year out of rasters, at the centre of each chip: of its plants' seasons, or of its crops."""

    greenup: Text | None = Field(None, description="Raster of the first day of spring. With the next three.")
    maturity: Text | None = Field(None, description="Of summer.")
    senescence: Text | None = Field(None, description="Of autumn.")
    dormancy: Text | None = Field(None, description="Of winter, which ends with the next greenup.")
    planting: Text | None = Field(None, description="Raster of the day of planting: a step around it.")
    harvest: Text | None = Field(None, description="Raster of the day of harvest: a step around it.")
    days: Count = Field(14, le=180, description="Days before and after planting and harvest.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        phases = [name for name in PHASES if getattr(self, name) is not None]
        crops = [name for name in CROPS if getattr(self, name) is not None]
        if phases and (crops or len(phases) < len(PHASES)):
            raise refused(f"give all of {', '.join(PHASES)}, or planting and harvest")
        if not phases and not crops:
            raise refused(f"give {', '.join(PHASES)}, or planting and harvest")
        return self

    @property
    def files(self) -> dict[str, str]:
        """Rasters by the name of their day, in order."""
        found = {name: getattr(self, name) for name in (*PHASES, *CROPS)}
        return {name: file for name, file in found.items() if file is not None}


DateOrLayer = Annotated[
    Text, BeforeValidator(as_text), WithJsonSchema({"type": ["string", "integer"], "minLength": 1})
]
Every = Annotated[Text, _checked(check_every, "a length of periods")]
YearWindow = Annotated[Text, _checked(check_window, "a window of the year such as 03-01/05-31")]
EventSteps = dict[Name, Annotated[EventStep, BeforeValidator(_as_step)]]


class Select(Node):
    """Which scenes a chip takes."""

    method: Literal[
        "least_cloudy", "newest", "nearest", "mosaic", "series", "periods", "seasons", "event", "composite"
    ] = Field("least_cloudy", description="The method.")
    to: DateOrLayer | None = Field(
        None, description="nearest: a date, or a layer; where not given, the chip's own date."
    )
    max: Count | None = Field(
        None, description="series: at most this many steps; the least cloudy dates are taken."
    )
    min_gap: Duration | None = Field(
        None, description="series: least time between steps; 5d where not given."
    )
    every: Every | None = Field(
        None, description="periods: month, quarter, year, or days such as 30d: a step each, in order."
    )
    windows: dict[Name, YearWindow] | None = Field(
        None,
        description="periods: named windows of the year, such as {early: 04-01/06-15}: a step each, of the last year "
        "of `time`; where it has none within limits, of the year before.",
    )
    from_: Calendar | None = Field(
        None,
        alias="from",
        description="periods: rasters of days of the year, or of days since 1970; where a chip has none the nearest "
        "pixel's is taken.",
    )
    steps: EventSteps | None = Field(
        None,
        description="event: windows around the chip's date, such as {pre: [-30d, -1d], post: [0d, 30d]}; or "
        "{window: [-14d, 14d], years: -1}, the same season a year earlier.",
    )
    stat: Literal["median", "medoid", "mean", "max_ndvi", "least_cloudy"] | None = Field(
        None,
        description="composite: the statistic, over clear pixels; median where not given. Of periods, seasons and "
        "events: each step is such a composite.",
    )
    prefer: Literal["least_cloudy", "newest", "nearest"] | None = Field(
        None,
        description="periods, seasons, event: which date within limits a step takes; nearest to the middle of its "
        "window, or to the event. least_cloudy where not given.",
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for key, field in type(self).model_fields.items():
            if key in self.model_fields_set and key not in {"method", *_SELECT_KEYS[self.method]}:
                raise refused(f"is no option of method {self.method!r}", at=field.alias or key)
        if (
            self.method == "periods"
            and sum(x is not None for x in (self.every, self.windows, self.from_)) != 1
        ):
            raise refused("periods: give exactly one of every, windows, from")
        if self.method == "event" and not self.steps:
            raise refused("an event needs steps, such as {pre: [-30d, -1d], post: [0d, 30d]}")
        if self.windows is not None and not self.windows:
            raise refused("names no window", at="windows")
        if self.stat is not None and self.prefer is not None:
            raise refused("a composite has no date to prefer", at="prefer")
        return self

    @property
    def to_date(self) -> tuple[datetime, datetime] | None:
        """First and last moment of the date that `to` names; None where it names a layer."""
        try:
            return interval(self.to or "")
        except ValueError:
            return None


class Steps(Node):
    """How many steps a series has: every sample has as many, without data where dates are missing."""

    min: Count | None = Field(None, description="At least this many dates, else the chip is dropped.")
    max: Count | None = Field(None, description="Steps of every sample, as `max` of `select` says.")
    missing: Literal["drop", "nodata"] = Field(
        "drop",
        description="Without `min`: drop a chip that lacks a date, or leave those steps without data.",
    )

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refused(f"is more than max, {self.max}", at="min")
        return self


class Widen(Node):
    """Search again in a wider window where nothing was found."""

    by: Duration = Field(description="Wider on both sides by this, such as 14d.")
    times: Count = Field(1, description="How often, each time by as much again.", le=100)

    @model_validator(mode="after")
    def _more(self) -> Self:
        try:
            if duration(self.by) * self.times > timedelta(0):
                return self
        except OverflowError:
            raise refused("is longer than time is counted", at="by") from None
        raise refused("is less than no time" if self.by.startswith("-") else "is no time", at="by")


def check_times(time: str | TimeRule | None, select: Select, steps: Steps | None, *, widens: bool) -> None:
    """Refuse times and steps that do not go together.

    Parameters
    ----------
    time, select, steps
        Of one layer.
    widens
        Whether it widens its windows.

    Raises
    ------
    PydanticCustomError
        Says which key and why.
    """
    method, own = select.method, isinstance(time, TimeRule) and time.column is not None
    if widens and time is None:
        raise refused("there is no time to widen", at="widen")
    if method == "nearest" and select.to is None and not own:
        raise refused("nearest needs a date", at="select.to")
    if method == "event" and not own:
        raise refused("an event needs a date a chip: time: {column:, window:}", at="time")
    if isinstance(time, TimeRule):
        _own_time(time, select)
    if method not in NAMED_STEPS:
        return
    if steps is not None and steps.max is not None:
        raise refused(f"the steps of {method} follow from the method", at="steps.max")
    if method == "event":
        return
    if time is None or (isinstance(time, str) and not closed(interval(time))):
        raise refused(f"{method} needs a time with both of its ends", at="time")
    if isinstance(time, str):
        _hold(time, select)


def _own_time(rule: TimeRule, select: Select) -> None:
    """Refuse steps that a chip's own time cannot hold, or not as many for every chip."""
    if select.method == "event" and rule.window is not None:
        for name, step in (select.steps or {}).items():
            early = duration(step.window[0]) < duration(rule.window[0])
            if step.years == 0 and (early or duration(step.window[1]) > duration(rule.window[1])):
                raise refused(
                    f"reaches beyond time.window, {' to '.join(rule.window)}", at=f"select.steps.{name}"
                )
    if select.every in {"month", "quarter", "year"} and rule.years is None:
        raise refused(
            "months, quarters and years are as many for every chip in a time of years alone", at="time"
        )
    if select.every is not None and rule.years is None and rule.window is None:
        raise refused(
            "periods are as many for every chip in a window around its date, or in years", at="time"
        )


def _hold(time: str, select: Select) -> None:
    """Refuse a time in which a step could never have a scene."""
    within = interval(time)
    if select.from_ is not None:
        return
    if select.every is not None:
        try:
            periods(select.every, within)
        except ValueError as error:
            raise refused(f"{error}: {time}", at="select.every") from None
        return
    for name, window in (select.windows or SEASONS).items():
        if not list(occurrences(window, within)):
            raise refused(f"{time} holds nothing of {name}, {window}", at="time")
