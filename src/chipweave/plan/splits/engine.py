"""From the units of a method to splits: what is pinned, what is dealt, who gives way, and what a person should know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError, YieldError
from chipweave.plan.distance import close_pairs, near_pairs
from chipweave.plan.splits.affordable import check_affordable
from chipweave.plan.splits.balance import deal_balanced
from chipweave.plan.splits.base import (
    BUFFER,
    PERIOD,
    Bools,
    Ints,
    Method,
    Names,
    SplitResult,
    Units,
    coded,
    gap,
    yielding_order,
)
from chipweave.plan.splits.deal import Layout, deal, to_the_least
from chipweave.plan.splits.folds import SPLIT, fold_number, fold_numbers
from chipweave.plan.splits.options import Options, wanted
from chipweave.plan.splits.pins import Given, Pins, given
from chipweave.plan.splits.strata import farthest, strata_of
from chipweave.plan.splits.variogram import variogram

_WEAK = 0.25
"""Share of the variance below which the dependence of neighbours counts as weak (Cambardella et al., 1994)."""
_ENOUGH_BLOCKS = 50
"""From here on shares are promised to be within the tolerance."""

_NAMED = 6
"""Splits that an error names."""

Floats = NDArray[np.float64]
Pairs = tuple[Ints, Ints]


@dataclass(frozen=True)
class _Case:
    """All that a split follows from; rows are sorted by place, and only those stand here that can have a split."""

    method: Method
    rows: pd.DataFrame
    units: Units
    given: Given
    fractions: Mapping[str, float]
    options: Options

    @cached_property
    def coded(self) -> tuple[Names, Ints]:
        """Names of the units, and which one each place is of."""
        return coded(self.units.names)


def settle(
    method: Method, table: pd.DataFrame, rings: Floats, options: Options, pins: Pins | None = None
) -> SplitResult:
    """Split places by a method.

    Parameters
    ----------
    method
        Forms the units.
    table, rings
        As `chipweave.plan.splits.base.SplitMethod` says; further columns as the method and `options` name them.
    options
        Its options.
    pins
        Splits that are given beforehand.

    Raises
    ------
    YieldError
        A split that was asked for would stay empty.
    RecipeError
        An option that is of no use, or a column that is not there.
    """
    order = row_order(table)
    back = np.argsort(order)
    rows, outlines = table.iloc[order].reset_index(drop=True), rings[order]
    options, told, figures = _measured(rows, options)
    units = method(rows, outlines, options)
    fractions = _fractions(units, options)
    known = given(rows, units, Pins() if pins is None else pins, fractions)
    left_out = np.full(len(rows), "", "<U16") if units.left_out is None else units.left_out.astype("<U16")
    left_out[known.pinned] = ""
    active = np.flatnonzero(left_out == "")
    if not len(active):
        raise YieldError(
            "no place is left to split" + (f": {units.notes[0]}" if units.notes else ""),
            hint="see split.by, and what it is held against",
        )
    case = _Case(method, rows, units, known, fractions, options)
    inner, why = _assigned(_taken(case, active), outlines if len(active) == len(rows) else outlines[active])
    split, reason = np.full(len(rows), "", inner.dtype), left_out
    split[active], reason[active] = inner, why
    shares = {name: float(np.sum(split == name) / max(np.sum(split != ""), 1)) for name in fractions}
    notes, further = _told(case, split, reason, shares)
    found = SplitResult(
        split[back], units.names[back], shares, (*told, *units.notes, *known.notes, *notes), reason[back], None,
        {**figures, **further},
    )  # fmt: skip
    return _in_folds(found) if _folded(units) else found


def row_order(table: pd.DataFrame) -> Ints:
    """Rows by place: the order that they come in must not matter.

    Raises
    ------
    YieldError
        There is none.
    """
    if len(table) == 0:
        raise YieldError(
            "there is no place to split", hint="look at the ledger: every chip was dropped before"
        )
    places = table["place"].astype(str).to_numpy(dtype=np.str_)
    order = np.argsort(places, kind="stable")
    if (places[order[1:]] == places[order[:-1]]).any():
        raise ValueError("one row a place: `place` holds duplicates")
    return np.asarray(order, np.int64)


def _measured(rows: pd.DataFrame, options: Options) -> tuple[Options, tuple[str, ...], dict[str, Any]]:
    """The options with a buffer in metres: that of ``auto`` is the range of the variogram of labels."""
    if options.buffer_m is not None:
        return options, (), {}
    if not options.labels:
        raise RecipeError(
            "split.buffer_m: auto: takes the range of the variogram of labels, and there is none with classes",
            hint="give metres",
        )
    if len(rows) < 3:
        raise YieldError(
            f"split.buffer_m: auto: {len(rows)} places have no variogram",
            hint="give split.buffer_m in metres",
        )
    values = strata_of(rows, options.labels).values()
    curve = variogram(rows["lon"].to_numpy(float), rows["lat"].to_numpy(float), values, seed=options.seed)
    metres = round(min(curve.range_m, float(curve.lag_m.max(initial=0.0))), 1)
    grows = 1 - curve.nugget / curve.sill if curve.sill else 0.0
    if curve.model == "flat":
        said = "it is flat: places know nothing of their neighbours"
    elif curve.reached:
        weak = "; so little may be chance: metres may serve better" if grows < _WEAK else ""
        said = f"{curve.model}, {grows:.0%} of the variance grows with distance{weak}"
    else:
        said = f"{curve.model}; the range is not reached within that distance, which is as far as these places tell"
    figures = {
        "range_m": metres, "model": curve.model, "nugget": curve.nugget, "sill": curve.sill, "reached": curve.reached,
        "labels": list(options.labels),
    }  # fmt: skip
    note = (
        f"buffer_m: auto is {metres:g} m, the range of the variogram of {', '.join(options.labels)} over "
        f"{len(rows)} places ({said})"
    )
    return replace(options, buffer_m=metres), (note,), {"variogram": figures}


def _folded(units: Units) -> bool:
    return bool(units.splits) and fold_number(units.splits[0]) >= 0


def _fractions(units: Units, options: Options) -> dict[str, float]:
    """Fractions by split: as asked for, equal for folds, else as the rule gives them."""
    if _folded(units):
        return dict.fromkeys(units.splits, 1 / len(units.splits))
    if options.fractions is not None or not units.splits:
        return options.wanted()
    if units.may is not None:  # as many as there are dates in the time of each
        return wanted(
            {name: float(n) for name, n in zip(units.splits, units.may.sum(axis=0).tolist(), strict=True)}
        )
    if units.split is None:
        return dict.fromkeys(units.splits, 1 / len(units.splits))
    names, codes = coded(units.split)
    counts = dict(zip(names.tolist(), np.bincount(codes).tolist(), strict=True))
    return wanted({name: counts.get(name, 0) for name in units.splits})


def _taken(case: _Case, active: Ints) -> _Case:
    """The case of some rows alone."""
    if len(active) == len(case.rows):
        return case
    units, known = case.units, case.given
    some = replace(units, names=units.names[active], may=None if units.may is None else units.may[active])
    there = Given(known.split[active], known.pinned[active], known.old[active])
    return replace(case, rows=case.rows.iloc[active].reset_index(drop=True), units=some, given=there)


def _assigned(case: _Case, rings: Floats) -> tuple[Names, Names]:
    """(n,) splits after the gap, and why a place has none."""
    pairs = _near(case, rings) if len(case.fractions) > 1 else (np.empty(0, np.int64), np.empty(0, np.int64))
    split = case.given.split
    if (split == "").any():
        split = _dealt(case, pairs)
    split = split.astype(f"<U{max(map(len, case.fractions))}")
    reason = np.full(len(split), "", "<U16")
    if case.units.may is not None:
        column = {name: k for k, name in enumerate(case.units.splits)}
        at = np.array([column.get(name, 0) for name in split.tolist()], np.int64)
        wrong = ~case.units.may[np.arange(len(split)), at] & ~case.given.pinned
        split[wrong], reason[wrong] = "", PERIOD
    i, j = pairs
    both = (split[i] != "") & (split[j] != "")
    named = np.where(split == "", next(iter(case.fractions)), split)
    out = gap(
        named, i[both], j[both], fractions=case.fractions, buffer_drop=case.options.buffer_drop,
        old=case.given.old if case.given.old.any() else None,
    )  # fmt: skip
    split[out], reason[out] = "", BUFFER
    return split, reason


def _near(case: _Case, rings: Floats) -> Pairs:
    """Pairs of two units, or of two known splits, that are closer than the buffer and what both may be off."""
    known = case.given.split
    splits, which = coded(known)
    sides = np.where(known != "", which, case.coded[1] + len(splits))
    buffer, error = float(case.options.buffer_m or 0.0), _errors(case)
    most = float(error.max())
    check_affordable(rings, buffer + 2 * most, sides)
    if error.min() == most:
        return near_pairs(rings, buffer + 2 * most, groups=sides)
    i, j, metres = close_pairs(rings, buffer + 2 * most, groups=sides)
    near = metres < buffer + error[i] + error[j]
    return i[near], j[near]


def _errors(case: _Case) -> Floats:
    """(n,) metres by which places may lie off."""
    error = np.full(len(case.rows), case.options.error_m)
    if "error_m" in case.rows:
        own = pd.to_numeric(case.rows["error_m"], errors="coerce").fillna(0.0).to_numpy(float)
        error = error + np.maximum(own, 0.0)
    return error


def _gap_said(case: _Case) -> str:
    """The gap for a person."""
    most = float(_errors(case).max())
    more = f" and the {2 * most:g} m that two places may lie off" if most else ""
    return f"a gap of {case.options.buffer_m or 0:g} m{more}"


def _dealt(case: _Case, pairs: Pairs) -> Names:
    """(n,) the splits of all places, units with none given being dealt."""
    options, ranked = case.options, yielding_order(case.fractions)
    known, old = case.given.split, case.given.old
    units, of = case.coded
    splits, word = coded(known)
    # Places of one unit that are pinned apart, or to which others give way, are units of their own.
    code = (of * len(splits) + word) * 2 + old
    _, first, of = np.unique(code, return_index=True, return_inverse=True)
    said = zip(case.units.names[first].tolist(), known[first].tolist(), strict=True)
    names = np.array([unit if split == "" else f"{unit}@{split}" for unit, split in said])
    rank = {name: k for k, name in enumerate(ranked)}
    fixed = np.array([rank.get(name, -1) for name in known[first].tolist()], np.int64)
    i, j = pairs
    apart = of[i] != of[j]
    may = None
    if case.units.may is not None and options.space:
        columns = [case.units.splits.index(name) for name in ranked]
        may = case.units.may[:, columns] | case.given.pinned[:, None]
    layout = Layout.of(
        names, of.astype(np.int64), i[apart], j[apart], drop_both=options.buffer_drop == "both", old=old[first],
        fixed=fixed, may=may,
    )  # fmt: skip
    found = _divided(case, layout, first, ranked)
    if found is None:
        raise _empty(case, layout, len(units), ranked)
    return np.asarray(np.array(ranked, dtype=np.str_)[found][of])


def _divided(case: _Case, layout: Layout, first: Ints, ranked: list[str]) -> Ints | None:
    """The deal: of strata, of units that may not go anywhere, or of places alone."""
    options, parts = case.options, np.array([case.fractions[name] for name in ranked])
    if case.units.may is not None and not options.space:
        columns = [case.units.splits.index(name) for name in ranked]
        return _among(layout, case.units.may[first][:, columns], parts, options)
    if options.stratify:
        strata = strata_of(case.rows, options.stratify)
        if strata.names:
            amounts = strata.sums(layout.cluster, len(layout.own), np.float32)
            even = deal_balanced(layout, parts, amounts, tolerance=options.tolerance, seed=options.seed)
            if even.empty == 0:
                return even.splits
    found = deal(layout, parts, tolerance=options.tolerance, seed=options.seed)
    if found is None and layout.may is not None:
        # Who is left out for his date takes nobody else out: that is counted when all are dealt.
        found = deal(replace(layout, may=None), parts, tolerance=options.tolerance, seed=options.seed)
    return found


def _among(layout: Layout, may: Bools, fractions: Floats, options: Options) -> Ints:
    """Deal units that may go to some splits only, (b, s): those with one choice of splits after another."""
    splits = layout.fixed.copy()
    free = layout.fixed < 0
    choices = np.unique(may[free], axis=0)
    for choice in choices[np.argsort(choices.sum(axis=1), kind="stable")]:
        units = np.flatnonzero(free & (may == choice).all(axis=1))
        to, none = np.flatnonzero(choice), np.empty(0, np.int64)
        some = np.repeat(np.arange(len(units)), layout.weight[units])
        part = Layout.of(layout.names[units], some, none, none, drop_both=False)
        dealt = deal(
            part, fractions[to] / fractions[to].sum(), tolerance=options.tolerance, seed=options.seed
        )
        splits[units] = to_the_least(layout, splits, units, to, fractions) if dealt is None else to[dealt]
    return splits


def _empty(case: _Case, layout: Layout, number: int, names: list[str]) -> YieldError:
    options, noun = case.options, case.method.noun
    square = noun == "blocks" and options.cells == "square"
    said = noun.removesuffix("s") if number == 1 else noun
    size = f" of about {options.block_km:g} km" if square else ""
    return YieldError(
        f"a split stays empty: {layout.n_places} places lie in {number} {said}{size}, and "
        f"with {_gap_said(case)} no way to deal them was found that leaves a chip in {_listed(names)} each",
        hint=f"make {'split.block_km' if square else f'the {noun}'} or split.buffer_m smaller, or the area larger",
    )


def _listed(names: Collection[str]) -> str:
    """Names of splits for a person; folds by their numbers."""
    said = [n if fold_number(n) < 0 else f"fold {fold_number(n)}" for n in sorted(names)]
    return ", ".join(said if len(said) <= _NAMED else [*said[: _NAMED - 2], "…", said[-1]])


def _told(
    case: _Case, split: Names, reason: Names, shares: Mapping[str, float]
) -> tuple[list[str], dict[str, Any]]:
    """What a person should know, in words and figures.

    Raises
    ------
    YieldError
        A split that was asked for is empty.
    """
    options, method, n = case.options, case.method, len(split)
    empty = sorted(name for name, share in shares.items() if share == 0)
    if empty:
        buffer = f", with {_gap_said(case)}" if options.buffer_m or _errors(case).any() else ""
        raise YieldError(
            f"a split stays empty: none of {n} places goes to {_listed(empty)} (by {method.noun}{buffer})",
            hint="see what the method goes by, split.buffer_m and split.fractions",
        )
    notes, figures = [], {}
    if method.leaks:
        notes.append(
            "a random split leaks: neighbours lie in different splits, so that results on test flatter a model"
        )
    if lost := int(np.sum(reason == BUFFER)):
        notes.append(f"{lost} of {n} places give way to a neighbour of another split (buffer)")
    late = int(np.sum(reason == PERIOD)) - int(
        case.units.left_out is not None and np.sum(case.units.left_out == PERIOD)
    )
    if late > 0:
        notes.append(f"{late} of {n} places have no date in the time of the split that has their ground")
    worst = max(shares, key=lambda name: abs(shares[name] - case.fractions[name]))
    asked = options.fractions is not None or case.units.split is None
    if asked and abs(shares[worst] - case.fractions[worst]) > options.tolerance:
        units = len(case.coded[0])
        few = f"; there are only {units} {method.noun}" if units < _ENOUGH_BLOCKS else ""
        notes.append(
            f"{_listed([worst])} holds {shares[worst]:.1%} where {case.fractions[worst]:.1%} was asked for{few}"
        )
    if options.stratify:
        far = farthest(strata_of(case.rows, options.stratify), split, case.fractions)
        figures["stratify"] = far.figures
        notes.append(f"stratified by {', '.join(options.stratify)}: {far.text}")
    return notes, figures


def _in_folds(found: SplitResult) -> SplitResult:
    """Folds are no splits: all that is kept is in one, and the number of its fold stands beside it."""
    folds = {str(fold_number(name)): round(share, 6) for name, share in found.shares.items()}
    return replace(
        found, split=np.where(found.split == "", "", SPLIT), shares={SPLIT: 1.0}, fold=fold_numbers(found.split),
        figures={**found.figures, "folds": folds},
    )  # fmt: skip
