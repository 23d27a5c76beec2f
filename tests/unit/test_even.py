"""`balance`: common classes lose chips, by chance that hangs on place and seed alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from chipweave.errors import RecipeError
from chipweave.model import Legend, LegendClass
from chipweave.plan.even import COLUMN, balanced
from chipweave.recipe.outcome import Balance

LEGEND = Legend("l", (LegendClass(1, "a", "#000000"), LegendClass(2, "b", "#ffffff")), 0)


def loaded(seed: int = 0, **wish):
    recipe = SimpleNamespace(
        balance=Balance(**wish), labels={"lc": None}, split=SimpleNamespace(seed=seed) if seed else None
    )
    return SimpleNamespace(recipe=recipe)


def chips(n: int = 60) -> pd.DataFrame:
    """Of class 1 two thirds, of 2 nearly a third, one chip of none; the first chip is dropped already."""
    classes = np.where(np.arange(n) % 3 == 2, 2, 1)
    classes[5] = -1
    return pd.DataFrame(
        {
            "key": [f"k{i:03d}" for i in range(n)], "crs": "EPSG:32629", "x": np.arange(n) * 1280.0, "y": 4.2e6,
            "state": ["dropped", *["kept"] * (n - 1)], "stage": "", "reason": "", COLUMN: classes,
            "country": np.where(np.arange(n) < 40, "PT", "ES"),
        }
    )  # fmt: skip


def left(table: pd.DataFrame, by: str = COLUMN) -> dict:
    return table[table["state"] == "kept"].groupby(by).size().to_dict()


def test_a_quota_by_class_and_for_all():
    assert left(balanced(loaded(by="lc", quota=7), chips(), LEGEND)) == {-1: 1, 1: 7, 2: 7}
    assert left(balanced(loaded(by="lc", quota={"b": 4}), chips(), LEGEND)) == {-1: 1, 1: 39, 2: 4}
    told = balanced(loaded(by="lc", quota={"2": 4}), chips(), LEGEND)
    assert (told["reason"] == "balance").sum() == 19 - 4
    assert told.loc[0, "reason"] == "", "what was dropped before keeps its reason"


def test_a_ratio_holds_against_the_rarest():
    table = chips()
    table.loc[5, COLUMN] = 1
    assert left(balanced(loaded(by="lc", max_ratio=1.5), table, LEGEND)) == {1: 28, 2: 19}
    assert left(balanced(loaded(by="country", max_ratio=1), chips(), None), "country") == {"ES": 20, "PT": 20}


def test_the_draw_hangs_on_place_and_seed_alone():
    def stays(table, seed):
        even = balanced(loaded(seed=seed, by="country", quota=9), table, None)
        return set(even.loc[even["state"] == "kept", "key"])

    first = stays(chips(), 3)
    assert stays(chips().sample(frac=1, random_state=1).reset_index(drop=True), 3) == first
    assert stays(chips(), 4) != first


@pytest.mark.parametrize(
    ("wish", "legend", "match"),
    [
        ({"by": "lc", "quota": {"c": 1}}, LEGEND, r"balance\.quota: c: l has no such class"),
        ({"by": "lc", "quota": 3}, None, r"balance\.by: lc has no classes"),
        ({"by": "country", "quota": {"FR": 1}}, None, r"balance\.quota: FR: no chip has it as country"),
    ],
)
def test_what_cannot_be_balanced(wish, legend, match):
    with pytest.raises(RecipeError, match=match):
        balanced(loaded(**wish), chips(), legend)
