"""What every split method takes and gives, and the rule of the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.plan.splits.options import Options

Names = NDArray[np.str_]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
BufferDrop = Literal["larger", "both"]
Stability = Literal["stable", "pinned"]

BUFFER = "buffer"
"""Why a place gives way to a neighbour of another split."""
PERIOD = "period"
"""Why a place or a chip is left out whose date is in no split's time, or in another's."""
UNLISTED = "unlisted"
"""Why a place is left out that a list does not name."""

_USUAL = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Who goes where.

    Parameters
    ----------
    split
        (n,) name of each place's split, in the order of the rows that were given; ``''`` where the place
        gives way to a neighbour of another split, or is left out.
    block
        (n,) the unit that was dealt with the place.
    shares
        Share of the kept places, by split.
    notes
        What a person should know about the assignment, one sentence each.
    reason
        (n,) why a place has no split: `BUFFER`, `PERIOD` or `UNLISTED`; ``''`` where it has one. None where
        all that lack one are in the gap.
    fold
        (n,) number of the fold of each place, from 0; -1 in the gap. None where there are no folds.
    figures
        Numbers behind the notes: how far from the ideal a stratified split got, what ``buffer_m: auto`` took.
    """

    split: Names
    block: Names
    shares: Mapping[str, float]
    notes: Sequence[str] = field(default_factory=tuple)
    reason: Names | None = None
    fold: Ints | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reasons(self) -> Names:
        """(n,) why a place has no split, ``''`` where it has one."""
        return np.where(self.split == "", BUFFER, "") if self.reason is None else self.reason


class SplitMethod(Protocol):
    """A way to split; its options are bound beforehand (`functools.partial`).

    It is a pure function of the rows and its options: the order of the rows and the state of the process do
    not matter. `tests/contract/test_split_methods.py` holds what each must keep.
    """

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64]) -> SplitResult:
        """Split places.

        Parameters
        ----------
        table
            One row a place: `place` (unique), `lon` and `lat` of its centre in degrees.
        rings
            (n, k, 3) outlines of the same rows, as `chipweave.plan.distance.rings` gives them.

        Raises
        ------
        YieldError
            A split that was asked for would stay empty.
        """
        ...


@dataclass(frozen=True, slots=True)
class Units:
    """What a method says of places before anything is dealt.

    Parameters
    ----------
    names
        (n,) the unit that goes to one split with the place: a block, a group, a strip, a cluster.
    split
        (n,) the split that the method's own rule gives, ``''`` where units are dealt. None: all are dealt.
    left_out
        (n,) why a place can have no split, ``''`` where it can. None: all can.
    may
        (n, s) which of `splits` a place may go to. None: any.
    splits
        Names behind the columns of `may`, or of the splits that there are, where not the fractions say so.
    notes
        What a person should know.
    """

    names: Names
    split: Names | None = None
    left_out: Names | None = None
    may: Bools | None = None
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Method(Protocol):
    """A way to form units: one file each, listed by name in `chipweave.plan.splits.methods`.

    Attributes
    ----------
    stability
        ``stable``: a place's split follows from the place and the options, so a grown dataset keeps it.
        ``pinned``: it follows from who else is there; an earlier assignment has to be given to keep it.
    leaks
        Whether neighbours are parted by chance.
    noun
        What a unit is called, in the plural.
    """

    stability: ClassVar[Stability]
    leaks: ClassVar[bool]
    noun: ClassVar[str]

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:
        """Units of places; rows are sorted by place.

        Raises
        ------
        RecipeError
            An option, or a column that the method reads, is of no use.
        """
        ...


def coded(names: Names) -> tuple[Names, Ints]:
    """Distinct names, sorted, and which one each is: `numpy.unique`, in a tenth of its time where many are alike."""
    codes, known = pd.factorize(names.astype(object))
    distinct = np.array(known.tolist(), dtype=np.str_)
    order = np.argsort(distinct, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[codes]


def yielding_order(fractions: Mapping[str, float]) -> list[str]:
    """Names of splits, the one that gives way to all others first.

    The larger fraction gives way; where fractions are equal, train before val before test, then by name.
    """
    return sorted(fractions, key=lambda name: (-fractions[name], _USUAL.get(name, len(_USUAL)), name))


def usual_order(names: Sequence[str]) -> list[str]:
    """Names of splits as one lists them: train, val, test, then others as they come."""
    return sorted(names, key=lambda name: _USUAL.get(name, len(_USUAL)))


def gap(
    split: Names,
    i: Ints,
    j: Ints,
    *,
    fractions: Mapping[str, float],
    buffer_drop: BufferDrop,
    old: Bools | None = None,
) -> Bools:
    """Which places give way, judged on the assignment once and not one after another.

    Parameters
    ----------
    split
        (n,) names.
    i, j
        (m,) positions of the pairs that are closer than the buffer.
    fractions
        As requested, by split.
    buffer_drop
        ``larger``: of a pair in two splits the one of the larger fraction goes. ``both``: both go.
    old
        (n,) places of an earlier assignment: beside a new one the new one goes, whatever its split.

    Returns
    -------
    ndarray
        (n,) bool, true for the places that go.
    """
    order = {name: k for k, name in enumerate(yielding_order(fractions))}
    names, which = coded(split)
    rank = np.array([order[name] for name in names.tolist()], dtype=np.int64)[which]
    apart = rank[i] != rank[j]
    i, j = i[apart], j[apart]
    out = np.zeros(len(split), bool)
    if old is not None:
        mixed = old[i] != old[j]
        out[np.where(old[i[mixed]], j[mixed], i[mixed])] = True
        i, j = i[~mixed], j[~mixed]
    if buffer_drop == "both":
        out[i] = out[j] = True
    else:
        out[np.where(rank[i] < rank[j], i, j)] = True
    return out
