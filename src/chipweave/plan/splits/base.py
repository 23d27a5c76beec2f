"""What every split method takes and gives, and the rule of the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Names = NDArray[np.str_]
BufferDrop = Literal["larger", "both"]

_USUAL = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Who goes where.

    Parameters
    ----------
    split
        (n,) name of each place's split, in the order of the rows that were given; ``''`` where the place
        gives way to a neighbour of another split.
    block
        (n,) the unit that was dealt with the place.
    shares
        Share of the kept places, by split.
    notes
        What a person should know about the assignment, one sentence each.
    """

    split: Names
    block: Names
    shares: Mapping[str, float]
    notes: Sequence[str] = field(default_factory=tuple)


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


def yielding_order(fractions: Mapping[str, float]) -> list[str]:
    """Names of splits, the one that gives way to all others first.

    The larger fraction gives way; where fractions are equal, train before val before test, then by name.
    """
    return sorted(fractions, key=lambda name: (-fractions[name], _USUAL.get(name, len(_USUAL)), name))


def gap(
    split: Names,
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    *,
    fractions: Mapping[str, float],
    buffer_drop: BufferDrop,
) -> NDArray[np.bool_]:
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

    Returns
    -------
    ndarray
        (n,) bool, true for the places that go.
    """
    order = yielding_order(fractions)
    rank = np.array([order.index(name) for name in split], dtype=np.int64)
    apart = rank[i] != rank[j]
    i, j = i[apart], j[apart]
    out = np.zeros(len(split), bool)
    if buffer_drop == "both":
        out[i] = out[j] = True
    else:
        out[np.where(rank[i] < rank[j], i, j)] = True
    return out
