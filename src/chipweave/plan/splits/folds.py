"""Folds: ground or groups dealt into k parts, each to be held out once; or one part a group (leave one group out)."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError, YieldError
from chipweave.plan.splits.base import Ints, Names, Stability, Units, coded
from chipweave.plan.splits.cells import cell_names
from chipweave.plan.splits.groups import group_names
from chipweave.plan.splits.options import Options

SPLIT = "all"
"""The split of all places: folds stand in a column of their own."""

_FOLD = re.compile(r"fold(\d{6,})")


class Folds:
    """Units are groups where `by` names them, else cells of the ground."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "units of folds"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        if options.by is None:
            if options.folds is None:
                raise RecipeError("split.folds: is missing: how many, or `by` for one fold a group")
            lon, lat = table["lon"].to_numpy(float), table["lat"].to_numpy(float)
            names = cell_names(lon, lat, options.cells, options.block_km)
        else:
            names = group_names(table, options.by, "kfold")
        if options.folds is not None:
            return Units(names, splits=fold_names(options.folds))
        groups, which = coded(names)
        if len(groups) < 2:
            raise YieldError(
                f"split.by: {options.by} has one value only: no group can be left out",
                hint="give split.folds",
            )
        folds = np.array(fold_names(len(groups)), dtype=np.str_)
        told = ", ".join(f"{k}: {g}" for k, g in enumerate(groups.tolist()[:50]))
        return Units(names, split=folds[which], splits=tuple(folds.tolist()), notes=(f"folds are {told}",))


def fold_names(number: int) -> tuple[str, ...]:
    """Names of folds while they are dealt: in order as text, too."""
    return tuple(f"fold{k:06d}" for k in range(number))


def fold_numbers(names: Names) -> Ints:
    """(n,) numbers of the folds of such names, -1 for ``''``."""
    known, which = coded(names)
    return np.array([fold_number(name) for name in known.tolist()], np.int64)[which]


def fold_number(name: str) -> int:
    """Number of the fold of such a name, -1 for any other."""
    return int(found.group(1)) if (found := _FOLD.fullmatch(name)) else -1
