"""``stratified``: of a lattice's chips as many of each class as asked for; the survey says of what class one is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Legend
from chipweave.plan.thin import Thinner, turns
from chipweave.recipe import LoadedRecipe

REASON = "quota"


def stratum_of(facts: Mapping[str, float], layer: str) -> int:
    """Code of the class that covers most of a chip, the lower of equals; -1 where none covers any."""
    prefix = f"{layer}."
    shares = [
        (-share, int(name.removeprefix(prefix)))
        for name, share in facts.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdigit() and share > 0
    ]
    return min(shares)[1] if shares else -1


def take_quota(loaded: LoadedRecipe, chips: pd.DataFrame, legend: Legend | None) -> pd.DataFrame:
    """The chips, of which those beyond the quota of their class are dropped for the reason ``quota``.

    Parameters
    ----------
    loaded
        The recipe: `quota`, `seed`, `min_distance_m` (between all places that stay), `count` (of all).
    chips
        As surveyed: columns of places, ``state`` and ``stratum``.
    legend
        Of the layer whose classes are the strata.

    Raises
    ------
    RecipeError
        A quota for a class that the legend does not have, or a layer without classes.
    """
    sampling = loaded.recipe.chips.sampling
    if legend is None:
        raise RecipeError(
            f"chips.sampling.by: {sampling.by} has no classes", hint="name a layer that has a legend"
        )
    assert sampling.quota is not None  # noqa: S101 - the recipe's model asks for it
    quota = quota_by_code("chips.sampling.quota", sampling.quota, legend)
    kept = np.flatnonzero((chips["state"] == "kept").to_numpy())
    order = kept[np.argsort(turns(chips.iloc[kept], sampling.seed), kind="stable")]
    strata = chips["stratum"].to_numpy()
    taken: list[int] = []
    if sampling.min_distance_m > 0:
        taken = _apart(chips, order, strata, quota, sampling.min_distance_m)
    else:
        for code, most in quota.items():
            taken += order[strata[order] == code][:most].tolist()
    if sampling.count is not None:
        chosen = set(taken)
        taken = [row for row in order.tolist() if row in chosen][: sampling.count]
    gone = np.setdiff1d(kept, np.array(taken, np.int64))
    chips = chips.copy()
    chips.loc[chips.index[gone], ["state", "stage", "reason"]] = ["dropped", "survey", REASON]
    return chips


def _apart(
    chips: pd.DataFrame,
    order: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    strata: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    quota: Mapping[int, int],
    metres: float,
) -> list[int]:
    """Rows by class, the class with the smallest quota first, each at a distance from all before."""
    thinner, taken = Thinner(metres, None), []
    for code, most in sorted(quota.items(), key=lambda item: (item[1], item[0])):
        own = order[strata[order] == code]
        taken += own[thinner.add(chips.iloc[own], most)].tolist()
    return taken


def quota_by_code(key: str, asked: int | Mapping[str, int], legend: Legend) -> dict[int, int]:
    """Places by class code, from one number for all or from names or codes.

    Raises
    ------
    RecipeError
        A class that the legend does not have, at that `key` of the recipe.
    """
    if isinstance(asked, int):
        return dict.fromkeys(legend.codes, asked)
    names = {c.name.lower(): c.code for c in legend.classes} | {str(code): code for code in legend.codes}
    unknown = [name for name in asked if name.lower() not in names]
    if unknown:
        raise RecipeError(
            f"{key}: {unknown[0]}: {legend.name} has no such class",
            hint=f"its classes are {', '.join(f'{c.code} ({c.name})' for c in legend.classes)}",
        )
    return {names[name.lower()]: most for name, most in asked.items()}
