"""Blocks: cells of an equal-distance grid, or of another, go to splits whole, with a gap between two splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.plan.splits.base import BufferDrop, SplitResult, Stability, Units
from chipweave.plan.splits.cells import block_ids, cell_names
from chipweave.plan.splits.engine import settle
from chipweave.plan.splits.options import Options

__all__ = ["Blocks", "assign", "block_ids"]


class Blocks:
    """Units are cells of the ground."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "blocks"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        lon, lat = table["lon"].to_numpy(float), table["lat"].to_numpy(float)
        return Units(cell_names(lon, lat, options.cells, options.block_km))


def assign(
    table: pd.DataFrame,
    rings: NDArray[np.float64],
    *,
    block_km: float,
    fractions: Mapping[str, float],
    buffer_m: float = 0.0,
    buffer_drop: BufferDrop = "larger",
    tolerance: float = 0.05,
    seed: int = 0,
) -> SplitResult:
    """Split places by square blocks.

    Parameters
    ----------
    table, rings
        As `SplitMethod` says.
    block_km, fractions, buffer_m, buffer_drop, tolerance, seed
        As `Options` says.

    Raises
    ------
    YieldError
        A split stays empty whatever is dealt.
    RecipeError
        Fractions that cannot be shared out, or a block without a size.
    """
    options = Options(
        block_km=block_km, fractions=fractions, buffer_m=buffer_m, buffer_drop=buffer_drop, tolerance=tolerance,
        seed=seed,
    )  # fmt: skip
    return settle(Blocks(), table, rings, options)
