"""Splits that are given beforehand: by `override`, and by an earlier assignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import Bools, Names, Units


@dataclass(frozen=True, slots=True)
class Pins:
    """Splits that are given beforehand.

    Parameters
    ----------
    place, unit
        Split by place, and by unit (a block, a group): what `override` says.
    earlier
        Split by place of an earlier assignment. Its places are not moved, and do not give way to new ones.
    strict
        Whether a unit that there is not is an error; else it is passed over, and told.
    notes
        What a person should know of where all that comes from.
    """

    place: Mapping[str, str] = field(default_factory=dict)
    unit: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.place or self.unit or self.earlier)


@dataclass(frozen=True, slots=True)
class Given:
    """What is known before the deal, row by row.

    Parameters
    ----------
    split
        (n,) names, ``''`` where units are dealt.
    pinned
        (n,) whether it is given, and not the method's rule.
    old
        (n,) whether an earlier assignment gives it.
    notes
        In words.
    """

    split: Names
    pinned: Bools
    old: Bools
    notes: tuple[str, ...] = ()


def given(rows: pd.DataFrame, own: Units, pins: Pins, fractions: Mapping[str, float]) -> Given:
    """What the rule, an earlier assignment and `override` say; units that are dealt follow their pinned places.

    Raises
    ------
    RecipeError
        A split that is not among those wanted, or a name that is neither a place nor a unit.
    """
    n, kind = len(rows), f"<U{max(map(len, fractions))}"
    split = np.full(n, "", kind) if own.split is None else own.split.astype(kind)
    none = np.zeros(n, bool)
    if not pins:
        return Given(split, none, none, pins.notes)
    places, names = pd.Series(rows["place"].astype(str)), pd.Series(own.names)
    _check(pins, names, fractions)
    first, before = _said(pins.place, places, kind), _said(pins.earlier, places, kind)
    old = (before != "") & (first == "")
    pinned = np.where(first != "", first, before)
    followed = _majority(own.names, pinned) if own.split is None else np.full(n, "", kind)
    by_unit = _said(pins.unit, names, kind)
    followed = np.where(by_unit != "", by_unit, followed)
    pinned = np.where(pinned == "", followed, pinned)
    notes = [*pins.notes]
    if strangers := sorted(set(pins.unit) - set(own.names.tolist())):
        notes.append(
            f"split.override: {len(strangers)} of {len(pins.unit) + len(pins.place)} names are no place and no unit of "
            f"this split, such as {strangers[0]}"
        )
    if old.any():
        notes.append(f"{int(old.sum())} of {n} places keep the split that they had")
    if said := int(((first != "") | (by_unit != "")).sum()):
        notes.append(f"{said} of {n} places have a split by override")
    return Given(np.where(pinned != "", pinned, split), pinned != "", old, tuple(notes))


def _check(pins: Pins, names: pd.Series, fractions: Mapping[str, float]) -> None:
    for said, splits in (("split.override", {**pins.place, **pins.unit}), ("split.previous", pins.earlier)):
        for text in sorted(set(splits.values()) - set(fractions)):
            raise RecipeError(f"{said}: {text!r} is none of the splits {', '.join(fractions)}")
    lost = sorted(set(pins.unit) - set(names)) if pins.strict else []
    if lost:
        raise RecipeError(
            f"split.override: {lost[0]!r} is no key, no place and no unit of this split",
            hint=f"units are such as {', '.join(sorted(set(names))[:3])}",
        )


def _said(by: Mapping[str, str], keys: pd.Series, kind: str) -> Names:
    if not by:
        return np.full(len(keys), "", kind)
    return np.asarray(keys.map(dict(by)).fillna("").to_numpy(dtype=kind))


def _majority(names: Names, pinned: Names) -> Names:
    """(n,) the split of most of the pinned places of each row's unit, ``''`` where none is pinned."""
    own = pinned != ""
    if not own.any():
        return np.full(len(names), "", pinned.dtype)
    counts = pd.DataFrame({"unit": names[own], "split": pinned[own]}).value_counts().reset_index(name="n")
    counts = counts.sort_values(["unit", "n", "split"], ascending=[True, False, True]).drop_duplicates("unit")
    return _said(dict(zip(counts["unit"], counts["split"], strict=True)), pd.Series(names), pinned.dtype.str)
