"""List: splits that somebody published, by key."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import UNLISTED, Names, Stability, Units, usual_order
from chipweave.plan.splits.groups import column, one_value
from chipweave.plan.splits.options import Options

SYNONYMS = {
    "training": "train", "trn": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test",
    "tst": "test",
}  # fmt: skip
"""Words of published lists for the usual splits."""

_NOTHING = {"", "none", "nan", "gap", "unused", "excluded"}


class Listed:
    """A place goes where its list says; one that stands in none is left out."""

    stability: ClassVar[Stability] = "stable"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "lists"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        split = split_names(column(table, options.by or "split", "list"))
        known = set(split.tolist()) - {""}
        if options.fractions is not None and (extra := known - set(options.fractions)):
            raise RecipeError(
                f"split.fractions: the list has {', '.join(sorted(extra))}, which is not among them",
                hint="leave fractions out: a list says what splits there are",
            )
        lost = int(np.sum(split == ""))
        notes = (f"{lost} of {len(split)} places stand in no list and are left out",) if lost else ()
        return Units(
            np.where(split == "", "unlisted", split),
            split=split,
            left_out=np.where(split == "", UNLISTED, ""),
            splits=tuple(usual_order(sorted(known))),
            notes=notes,
        )


def split_names(values: pd.Series) -> Names:
    """(n,) names of splits as this house says them: ``validation`` is val; ``''`` where none is said."""
    codes, known = pd.factorize(one_value(values, str(values.name)), use_na_sentinel=True)
    texts = [str(v).strip().lower() for v in known]
    return np.array([*("" if t in _NOTHING else SYNONYMS.get(t, t) for t in texts), ""], dtype=np.str_)[codes]
