"""Time: before, between and after cutoffs, or spans of years; with `space`, ground that no other split has either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError, YieldError
from chipweave.plan.splits.base import PERIOD, Bools, Ints, Names, Stability, Units, usual_order
from chipweave.plan.splits.cells import cell_names
from chipweave.plan.splits.groups import column
from chipweave.plan.splits.options import Options
from chipweave.recipe.interval import interval

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

Spans = Mapping[str, tuple[tuple[int, int], ...]]


class InTime:
    """A place goes to the split in whose time its dates lie; one with dates of several is dealt among them."""

    stability: ClassVar[Stability] = "stable"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "spans of time"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        if not options.periods:
            raise RecipeError("split.periods: is missing, or cutoffs: method time goes by them")
        names = tuple(usual_order(list(options.periods)))
        may = allowed(column(table, options.by or "time", "time"), options.periods, names)
        dateless = [name for name, there in zip(names, np.asarray(may.any(axis=0)), strict=True) if not there]
        if dateless:
            raise YieldError(
                f"a split stays empty: none of {len(table)} places has a date in the time of {', '.join(dateless)}",
                hint="see split.periods or split.cutoffs, and split.by",
            )
        none = ~may.any(axis=1)
        lost = int(none.sum())
        notes = (
            (f"{lost} of {len(table)} places have no date in any split's time, and are left out",)
            if lost
            else ()
        )
        lon, lat = table["lon"].to_numpy(float), table["lat"].to_numpy(float)
        left_out = np.where(none, PERIOD, "")
        if options.space:
            cells = cell_names(lon, lat, options.cells, options.block_km)
            return Units(cells, left_out=left_out, may=may, splits=names, notes=notes)
        texts = np.array(names, dtype=np.str_)
        split = np.where(none, "", texts[np.argmax(may, axis=1)])
        several = np.flatnonzero(may.sum(axis=1) > 1)
        if not len(several):
            return Units(
                np.where(none, "(no time)", split), split=split, left_out=left_out, splits=names, notes=notes
            )
        cells = cell_names(lon[several], lat[several], options.cells, options.block_km)
        units = np.where(none, "(no time)", split).astype(f"<U{max(24, cells.dtype.itemsize // 4 + 24)}")
        which = (
            np.packbits(may[several], axis=1)[:, 0]
            if len(names) <= 8
            else may[several] @ (1 << np.arange(len(names)))
        )
        units[several] = [f"{cell}/{mask}" for cell, mask in zip(cells.tolist(), which.tolist(), strict=True)]
        return Units(
            units,
            split=np.where(may.sum(axis=1) == 1, split, ""),
            left_out=left_out,
            may=may,
            splits=names,
            notes=notes,
        )


def spans_of(periods: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Intervals as text, one or several a split, to microseconds since 1970.

    Raises
    ------
    RecipeError
        Two splits share a moment.
    """
    found = {
        name: tuple(_ticks(text) for text in ([texts] if isinstance(texts, str | int) else texts))
        for name, texts in periods.items()
    }
    flat = sorted((first, last, name) for name, spans in found.items() for first, last in spans)
    for (_, end, one), (begin, _, other) in pairwise(flat):
        if begin <= end and one != other:
            raise RecipeError(
                f"split.periods: {one} and {other} share a time", hint="end one before the other begins"
            )
    return found


def spans_between(cutoffs: Sequence[str], names: Sequence[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Spans before, between and after moments: each begins a split.

    Raises
    ------
    RecipeError
        Not one cutoff fewer than splits, or they do not follow each other.
    """
    if len(cutoffs) != len(names) - 1:
        raise RecipeError(
            f"split.cutoffs: {len(cutoffs)} of them part {len(cutoffs) + 1} splits, not {', '.join(names)}"
        )
    begins = [_ticks(text)[0] for text in cutoffs]
    if any(b <= a for a, b in pairwise(begins)):
        raise RecipeError(f"split.cutoffs: {', '.join(cutoffs)}: they do not follow each other")
    first, last = _ticks("../..")
    edges = [first, *begins]
    ends = [*(b - 1 for b in begins), last]
    return {name: ((a, b),) for name, a, b in zip(names, edges, ends, strict=True)}


def _ticks(text: object) -> tuple[int, int]:
    try:
        first, last = interval(str(text))
    except ValueError as error:
        raise RecipeError(f"split: {text!r} is no date and no span of time: {error}") from None
    return (first - _EPOCH) // _TICK, (last - _EPOCH) // _TICK


def allowed(values: pd.Series, periods: Spans, names: Sequence[str]) -> Bools:
    """(n, s) in whose time the dates of each row lie, one date or a list of them a row.

    A date that is a span (a year, ``first/last``) has to lie in it with both ends.
    """
    owner, first, last = _moments(values)
    out = np.zeros((len(values), len(names)), bool)
    for k, name in enumerate(names):
        for begin, end in periods[name]:
            out[owner[(first >= begin) & (last <= end)], k] = True
    return out


def period_names(values: pd.Series, periods: Spans) -> Names:
    """(n,) the split in whose time each row's date lies, ``''`` where in none."""
    names = list(periods)
    may = allowed(values, periods, names)
    return np.where(may.any(axis=1), np.array(names, dtype=np.str_)[np.argmax(may, axis=1)], "")


def _moments(values: pd.Series) -> tuple[Ints, Ints, Ints]:
    """Rows, and first and last moments, of all dates of a column; rows without one are not among them."""
    owner = np.arange(len(values))
    if values.map(lambda v: isinstance(v, list | tuple | np.ndarray)).any():
        values = values.reset_index(drop=True).explode()
        owner = values.index.to_numpy()
    there = values.notna().to_numpy()
    owner, values = owner[there], values[there]
    if pd.api.types.is_datetime64_any_dtype(values):
        utc = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
        ticks = utc.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
        return owner, ticks, ticks
    codes, known = pd.factorize(values)
    spans = [_ticks(_text(v)) if _text(v) else None for v in known]
    ok = np.array([s is not None for s in spans], bool)[codes] if len(codes) else np.zeros(0, bool)
    pairs = np.array([s or (0, -1) for s in spans], np.int64).reshape(-1, 2)[codes]
    return owner[ok], pairs[ok, 0], pairs[ok, 1]


def _text(value: Any) -> str:
    """A date of a table as `interval` reads it; whole numbers are years."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
