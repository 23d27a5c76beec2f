"""``land_grid``: a chip about every so many km in both directions, wherever the area is; the area says what land is."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from chipweave.plan.sampling.base import Ask
from chipweave.plan.sampling.majortom import cells


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Middles of the cells of an equal-distance grid: rows by latitude, columns by the row's circumference."""
    assert ask.sampling.km is not None  # noqa: S101 - the recipe's model asks for it
    yield from cells(ask, ask.sampling.km)
