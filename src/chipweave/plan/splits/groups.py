"""Groups: all places of one country, region, city, event or owner go to one split."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import Names, Stability, Units
from chipweave.plan.splits.options import Options

NOBODY = "(none)"
"""Group of the places that have none: dealt together, since they may well belong together."""


_SEVERAL = (list, tuple, set, dict, np.ndarray)


class Groups:
    """Units are the values of a column."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "groups"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        names = group_names(table, options.by, "groups")
        lacking = int(np.sum(names == NOBODY))
        note = f"{lacking} of {len(names)} places have no {options.by}: they are dealt as one group"
        return Units(names, notes=(note,) if lacking else ())


def column(table: pd.DataFrame, name: str | None, method: str) -> pd.Series:
    """The column that a method goes by.

    Raises
    ------
    RecipeError
        None is named, or there is none of that name.
    """
    if name is None:
        raise RecipeError(f"split.by: is missing: method {method} goes by a column")
    if name not in table:
        known = ", ".join(sorted(str(c) for c in table.columns if c not in {"place", "lon", "lat"}))
        raise RecipeError(f"split.by: there is no column {name!r}", hint=f"there is {known or 'none'}")
    return table[name]


def one_value(values: pd.Series, name: str) -> pd.Series:
    """A column, unless it holds lists or mappings.

    Raises
    ------
    RecipeError
        It does.
    """
    if values.dtype == object and values.map(lambda value: isinstance(value, _SEVERAL)).any():
        raise RecipeError(
            f"split: column {name!r} holds several values a row",
            hint=f"give a column with one value a row, or shares of classes in columns {name}.<class>",
        )
    return values


def group_names(table: pd.DataFrame, name: str | None, method: str) -> Names:
    """(n,) values of a column as text, `NOBODY` where it is null or empty."""
    codes, known = pd.factorize(one_value(column(table, name, method), str(name)), use_na_sentinel=True)
    texts = np.array([*(_text(v) for v in known), NOBODY], dtype=np.str_)
    texts[texts == ""] = NOBODY
    return texts[codes]


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
