"""``balance``: of the commonest classes some chips are left out, by chance, so that no class outweighs the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Legend
from chipweave.plan.quota import quota_by_code
from chipweave.plan.thin import turns
from chipweave.recipe import LoadedRecipe

COLUMN = "class"
"""Class of a chip in the table of chips, where the recipe balances a label layer: the one that covers most of it."""

REASON = "balance"


def balanced(loaded: LoadedRecipe, chips: pd.DataFrame, legend: Legend | None) -> pd.DataFrame:
    """The chips, of which some of common classes are dropped for the reason ``balance``.

    A chip of no class, one without a class pixel or without the attribute, counts as a class of its own. Which chips
    stay is drawn by the split's seed; the same chips do in any build.

    Parameters
    ----------
    loaded
        The recipe.
    chips
        As surveyed: columns of places, ``state``, and `COLUMN` or the attribute.
    legend
        Of the label layer that is balanced, if it is one.

    Raises
    ------
    RecipeError
        A layer without classes, or a quota for a class that there is not.
    """
    wish = loaded.recipe.balance
    if wish is None:
        return chips
    kept = np.flatnonzero((chips["state"] == "kept").to_numpy())
    if wish.by in loaded.recipe.labels:
        if legend is None:
            raise RecipeError(f"balance.by: {wish.by} has no classes", hint="name a layer that has a legend")
        classes = chips[COLUMN].to_numpy()[kept].astype(str)
        quota = None
        if wish.quota is not None:
            quota = {
                str(code): most for code, most in quota_by_code("balance.quota", wish.quota, legend).items()
            }
    else:
        classes = chips[wish.by].iloc[kept].astype("string").fillna("").to_numpy(dtype=str)
        quota = _of_values(wish.quota, classes, wish.by)
    names, of = np.unique(classes, return_inverse=True)
    counts = np.bincount(of, minlength=len(names))
    most = _most(names, counts, quota, wish.max_ratio)
    seed = loaded.recipe.split.seed if loaded.recipe.split is not None else 0
    order = kept_order(chips.iloc[kept], seed)
    place = np.empty(len(order), np.int64)  # how many of its class come before a chip
    by_class = order[np.argsort(of[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place[by_class] = np.arange(len(order)) - starts[of[by_class]]
    gone = kept[place >= most[of]]
    chips = chips.copy()
    chips.loc[chips.index[gone], ["state", "stage", "reason"]] = ["dropped", "survey", REASON]
    return chips


def kept_order(chips: pd.DataFrame, seed: int) -> npt.NDArray[np.int64]:
    """Rows in an order by chance; chips of one place by their key."""
    by_key = np.argsort(chips["key"].to_numpy(dtype=np.str_), kind="stable")
    return np.asarray(by_key[np.argsort(turns(chips, seed)[by_key], kind="stable")], np.int64)


def _most(
    names: npt.NDArray[np.str_],
    counts: npt.NDArray[np.integer],
    quota: Mapping[str, int] | None,
    ratio: float | None,
) -> npt.NDArray[np.int64]:
    """Chips that may stay, by class; a class without a quota keeps all."""
    if quota is not None:
        return np.array([quota.get(str(n), c) for n, c in zip(names, counts, strict=True)], np.int64)
    if not len(counts):
        return counts.astype(np.int64)
    rarest = int(counts.min())
    return np.full(len(counts), max(int(rarest * (ratio or 1.0)), rarest), np.int64)


def _of_values(
    asked: int | Mapping[str, int] | None, values: npt.NDArray[np.str_], by: str
) -> dict[str, int] | None:
    if asked is None:
        return None
    known = sorted(set(values.tolist()))
    if isinstance(asked, int):
        return dict.fromkeys(known, asked)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise RecipeError(
            f"balance.quota: {unknown[0]}: no chip has it as {by}", hint=f"there are {', '.join(known[:20])}"
        )
    return dict(asked)
