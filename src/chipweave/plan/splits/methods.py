"""The methods by name. Adding one touches its own file and this list."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.bands import Bands
from chipweave.plan.splits.base import Method, SplitResult
from chipweave.plan.splits.blocks import Blocks
from chipweave.plan.splits.chance import Chance
from chipweave.plan.splits.checkerboard import Checkerboard
from chipweave.plan.splits.clusters import Clusters
from chipweave.plan.splits.engine import settle
from chipweave.plan.splits.folds import Folds
from chipweave.plan.splits.groups import Groups
from chipweave.plan.splits.inside_tile import InsideTile
from chipweave.plan.splits.listed import Listed
from chipweave.plan.splits.options import Options
from chipweave.plan.splits.pins import Pins
from chipweave.plan.splits.spans import InTime

METHODS: Final[MappingProxyType[str, Method]] = MappingProxyType(
    {
        "blocks": Blocks(),
        "groups": Groups(),
        "bands": Bands(),
        "checkerboard": Checkerboard(),
        "clusters": Clusters(),
        "inside_tile": InsideTile(),
        "time": InTime(),
        "list": Listed(),
        "kfold": Folds(),
        "random": Chance(),
    }
)


def split_places(
    table: pd.DataFrame,
    rings: NDArray[np.float64],
    *,
    method: str,
    options: Options,
    pins: Pins | None = None,
) -> SplitResult:
    """Split places by a method of `METHODS`; see `chipweave.plan.splits.engine.settle`.

    Raises
    ------
    RecipeError
        There is no such method.
    """
    if method not in METHODS:
        raise RecipeError(f"split.method: {method!r} is none of {', '.join(METHODS)}")
    return settle(METHODS[method], table, rings, options, pins)
