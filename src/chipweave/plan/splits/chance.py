"""Random: every place by itself. Neighbours end up in different splits; what is learnt from it is not to be trusted."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.plan.splits.base import Stability, Units
from chipweave.plan.splits.options import Options


class Chance:
    """Units are places."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = True
    noun: ClassVar[str] = "places"

    def __call__(self, table: pd.DataFrame, rings: NDArray[np.float64], options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        return Units(table["place"].to_numpy(dtype=np.str_))
