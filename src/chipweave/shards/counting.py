"""The compiled loop of `tallies.Histogram`, apart: who only reads a dataset need not load a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.pixels.jit import kernel


@kernel
def count_into(values: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Add to ``counts[0] + counts[1]`` for each of some flat unsigned numbers, which are places in these tables.

    Two tables, because adding to a place just added to has to wait for it, and neighbours are often alike.
    """
    even = values.size // 2 * 2
    for i in range(0, even, 2):
        counts[0, values[i]] += 1
        counts[1, values[i + 1]] += 1
    if even < values.size:
        counts[0, values[even]] += 1
