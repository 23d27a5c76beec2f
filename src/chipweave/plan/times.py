"""Chips with a time of their own: by a date in a column, by a table of intervals, or one sample a year.

A chip's time and date stand in the table of places as text, ``first/last``, in columns named after the layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from chipweave.catalog import LayerRequest
from chipweave.errors import RecipeError
from chipweave.plain import text_of
from chipweave.plan.calendars import NO_DAY, days_at
from chipweave.plan.columns import Ints
from chipweave.plan.places import COLUMNS
from chipweave.plan.select import Rule, Series, When
from chipweave.plan.select.slots import Slotted
from chipweave.plan.vectors import read_table
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.imagery import Imagery
from chipweave.recipe.interval import duration, interval
from chipweave.recipe.models import Recipe
from chipweave.recipe.timing import Calendar, TimeRule
from chipweave.recipe.windows import Span, around, wider

NO_TIME = "no_time"
"""Why a place is dropped whose time nothing says."""

DAY = "_day_"
"""What stands between a layer and the name of a chip's day of the year in a column's name."""

MOST_SEARCHES = 24
"""Intervals that a catalog is asked for; those that lie closest together are joined where there are more."""

_MIDNIGHT = re.compile(r"[T ]00:00(:00(\.0+)?)?(Z|\+00:00)?$")
_SIGNS = re.compile(r"[^0-9A-Za-z]")
_DIGITS = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


def time_column(layer: str) -> str:
    """Column of a layer's time."""
    return f"{layer}_time"


def date_column(layer: str) -> str:
    """Column of the date that a layer's time goes by."""
    return f"{layer}_date"


def timed_layers(recipe: Recipe) -> dict[str, TimeRule]:
    """Layers whose chips have times of their own."""
    return {n: layer.time for n, layer in recipe.imagery.items() if isinstance(layer.time, TimeRule)}


def wanted_columns(recipe: Recipe) -> frozenset[str]:
    """Columns that places need for it, beside the recipe's attributes."""
    rules = timed_layers(recipe).values()
    named = {name for rule in rules for name in (rule.column, rule.by) if name is not None}
    return frozenset(named - set(recipe.attributes) - set(COLUMNS))


def with_times(places: Any, loaded: LoadedRecipe) -> Any:
    """Places with the time of each layer that has one of its own, sorted by key; several of a place where it has years.

    Parameters
    ----------
    places
        Their table; those without a time get the reason `NO_TIME`.
    loaded
        The recipe.

    Raises
    ------
    RecipeError
        A column that is not there, a value that is no date, a table without the columns it needs, or layers whose
        years differ.
    """
    rules = timed_layers(loaded.recipe)
    if not rules and all(wish.select.from_ is None for wish in loaded.recipe.imagery.values()):
        return places
    years = {n: rule.years for n, rule in rules.items() if rule.years is not None}
    if len({str(y) for y in years.values()}) > 1:
        first, second = list(years)[:2]
        raise RecipeError(
            f"imagery.{second}.time.years: {years[second]}, but {years[first]} of {first}",
            hint="a sample is one year of all its layers",
        )
    if years:
        places = _a_year(places, interval(str(next(iter(years.values())))))
    for layer, rule in rules.items():
        if taken := {time_column(layer), date_column(layer)} & set(places.columns):
            raise RecipeError(
                f"attributes.{min(taken)}: is the name of a column of layer {layer}", hint="take another"
            )
        said, wish = f"imagery.{layer}.time", loaded.recipe.imagery[layer]
        if rule.column is not None:
            texts, dates = _dates(places, rule.column, f"{said}.column")
            if places["key"].duplicated().any():  # several dates a place: each is part of a key
                places["key"] += [f"-{_SIGNS.sub('', text)}" if text else "" for text in texts]
            window = rule.window or ("0d", "0d")  # else that day alone
            spans = [None if d is None else _span_of(wish, d, window) for d in dates]
            places[date_column(layer)] = [_text(d) for d in dates]
        elif rule.table is not None:
            spans = _looked_up(places, loaded, rule, said)
        else:
            spans = [interval(str(year)) for year in places["_year"]]
        places[time_column(layer)] = [_text(s) for s in spans]
        lost = np.array([s is None for s in spans], np.bool_) & (places["reason"] == "").to_numpy()
        places.loc[lost, "reason"] = NO_TIME
    for layer, wish in loaded.recipe.imagery.items():
        if wish.select.from_ is not None:
            _days(places, layer, wish.select.from_, loaded)
    # Times stand in their own columns: those of a file may hold any type.
    own = {name for name in wanted_columns(loaded.recipe) if not name.startswith("majortom")}
    places = places.sort_values("key", ignore_index=True)
    return places.drop(columns=[c for c in ("_year", *sorted(own)) if c in places])


def _days(places: Any, layer: str, calendar: Calendar, loaded: LoadedRecipe) -> None:
    """Days of the year of each place, a column a raster; a place that lacks one has no time."""
    lon, lat = (places[c].to_numpy(np.float64) for c in ("lon", "lat"))
    for name, file in calendar.files.items():
        said = f"imagery.{layer}.select.from.{name}: {file}"
        days = days_at(loaded.resolve(file), said, lon, lat)
        places[f"{layer}{DAY}{name}"] = days
        lost = (days == NO_DAY) & (places["reason"] == "").to_numpy()
        places.loc[lost, "reason"] = NO_TIME


def _a_year(places: Any, span: Span) -> Any:
    """Every place once a year: the year ends its key."""
    years = range(span[0].year, span[1].year + 1)
    rows = places.loc[places.index.repeat(len(years))].reset_index(drop=True)
    rows["_year"] = np.tile(np.array(years), len(places))
    rows["key"] = rows["key"] + "-" + rows["_year"].astype(str)
    return rows


def _dates(places: pd.DataFrame, column: str, said: str) -> tuple[list[str], list[Span | None]]:
    """Dates of a column, as text and as their first and last moment; empty and None where there is none."""
    if column not in places:
        raise RecipeError(
            f"{said}: no chip has {column!r}",
            hint="name one of `attributes`, or a column of chips.sampling.file",
        )
    known: dict[Any, Span | None] = {}
    texts = []
    for value, key in zip(places[column].tolist(), places["key"].tolist(), strict=True):
        text = "" if pd.isna(value) else _day_text(value)
        if text not in known:
            try:
                known[text] = interval(text) if text else None
            except ValueError as error:
                raise RecipeError(f"{said}: {column} of {key}: {error}") from None
        texts.append(text)
    return texts, [known[text] for text in texts]


def _day_text(value: Any) -> str:
    """A date as text: whole numbers are years, eight digits and midnights are days."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if hasattr(value, "isoformat"):
        value = value.isoformat()
    text = _MIDNIGHT.sub("", str(value).strip())
    match = _DIGITS.fullmatch(text)
    return "-".join(match.groups()) if match else text


def _span_of(wish: Imagery, date: Span, window: tuple[str, str]) -> Span:
    """Time of one chip; of an event all its steps lie in it."""
    steps = (wish.select.steps or {}).values()
    if not steps:
        return around(date, window)
    spans = [around(date, (s.window[0], s.window[1]), s.years) for s in steps]
    return min(s[0] for s in spans), max(s[1] for s in spans)


def _looked_up(places: pd.DataFrame, loaded: LoadedRecipe, rule: TimeRule, said: str) -> list[Span | None]:
    """Intervals out of a table: columns ``start, end``, or ``time``, by the one that `by` names."""
    by, name = rule.by or "key", f"{said}.table: {rule.table}"
    table = read_table(loaded.resolve(rule.table or ""), name)
    if by not in places:
        raise RecipeError(f"{said}.by: no chip has {by!r}", hint="name one of `attributes`")
    needed = ["time"] if "time" in table else ["start", "end"]
    if lacking := [c for c in (by, *needed) if c not in table]:
        raise RecipeError(
            f"{name}: has no column {lacking[0]!r}", hint=f"it needs {by}, and start and end, or time"
        )
    known: dict[str, Span] = {}
    for row in table[[by, *needed]].to_dict("records"):
        what, text = text_of(row[by]), "/".join(_day_text(row[c]) for c in needed)
        if what in known:
            raise RecipeError(f"{name}: {by} {what!r} stands twice")
        try:
            known[what] = interval(text)
        except ValueError as error:
            raise RecipeError(f"{name}: {by} {what!r}: {error}") from None
    return [known.get(text_of(value)) for value in places[by].tolist()]


def _text(span: Span | None) -> str:
    return "" if span is None else "/".join(moment.isoformat() for moment in span)


def span_of(text: str | None) -> Span | None:
    """Of what such a column holds."""
    if not text:
        return None
    first, last = text.split("/")
    return datetime.fromisoformat(first), datetime.fromisoformat(last)


def when_of(row: Mapping[str, Any], layer: str) -> When:
    """What a rule may know of a chip, from its row."""
    prefix = f"{layer}{DAY}"
    return When(
        lat=float(row["lat"]), window=span_of(row.get(time_column(layer))), date=span_of(row.get(date_column(layer))),
        days={name.removeprefix(prefix): int(row[name]) for name in row if name.startswith(prefix)},
    )  # fmt: skip


def when_columns(layer: str, columns: Sequence[str]) -> list[str]:
    """Those of a table that `when_of` reads."""
    own = {"lat", time_column(layer), date_column(layer)}
    return [name for name in columns if name in own or name.startswith(f"{layer}{DAY}")]


def reach_of(rule: Rule) -> timedelta:
    """How far beyond a chip's time a rule may look."""
    return rule.reach if isinstance(rule, Slotted | Series) else timedelta(0)


def ticks_of(texts: Sequence[str], rule: Rule) -> tuple[Ints, Ints]:
    """(n,) first and last microsecond, since 1970, of times in such a column, as wide as a rule may look."""
    reach = reach_of(rule)
    known: dict[str, tuple[int, int]] = {}
    for text in set(texts):
        span = span_of(text)
        first, last = wider(span, reach) if span is not None else (_EPOCH, _EPOCH - _TICK)
        known[text] = (first - _EPOCH) // _TICK, (last - _EPOCH) // _TICK
    pairs = np.array([known[text] for text in texts], np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def with_searches(
    requests: Sequence[LayerRequest], places: pd.DataFrame, loaded: LoadedRecipe
) -> list[LayerRequest]:
    """Requests that ask for the times of all chips."""
    out = []
    for request in requests:
        spans = list(_searched(request.layer, places, loaded)) if request.kind == "imagery" else []
        if not spans:
            out.append(request)
            continue
        times = _joined(spans)
        out.append(replace(request, time=(times[0][0], times[-1][1]), times=tuple(times)))
    return out


def _searched(layer: str, places: pd.DataFrame, loaded: LoadedRecipe) -> Iterator[Span]:
    """Times of all chips, as wide as they may be looked at; of a layer without one, those of its partner."""
    wish = loaded.recipe.imagery[layer]
    reach = timedelta(0)
    if wish.time is None and wish.pair is not None:
        reach, layer = timedelta(days=wish.pair.within_days), wish.pair.with_
        wish = loaded.recipe.imagery[layer]
    if time_column(layer) not in places:
        return
    if wish.widen is not None:
        reach += duration(wish.widen.by) * wish.widen.times
    texts = places.loc[places["reason"] == "", time_column(layer)].unique().tolist()
    for text in texts:
        span = span_of(text)
        if span is not None:
            yield wider(span, reach)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The same as few intervals that do not meet."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + _TICK:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    while len(found) > MOST_SEARCHES:
        near = min(range(len(found) - 1), key=lambda n: found[n + 1][0] - found[n][1])
        found[near : near + 2] = [(found[near][0], found[near + 1][1])]
    return found
