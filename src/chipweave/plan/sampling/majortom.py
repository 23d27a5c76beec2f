"""``majortom``: a chip around the middle of every cell of the Major TOM grid of 10 km.

The published patches are squares of the cell's UTM zone whose middle is 5 km east and 5 km north of the cell's
south-west corner there (measured on the corners of TerraMesh's samples, which are parts of them).
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import shapely

from chipweave.plan.lattices import corners_at
from chipweave.plan.majortom import KM, EqualGrid
from chipweave.plan.sampling.base import Ask, too_many


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Cells of 10 km whose middle lies in the area."""
    yield from cells(ask, KM, by_corner=True)


def cells(ask: Ask, km: float, *, by_corner: bool = False) -> Iterator[pd.DataFrame]:
    """Chips around the middles of the cells of a grid of some km, a frame a part of the area.

    `by_corner`: middles are counted in metres from the cell's corner, where the chips are in UTM.
    """
    grid = EqualGrid(km)
    parts = shapely.get_parts(ask.area.geometry)
    # A chip's centre is within half a pixel of the middle: a footprint may still reach in from further away.
    reach = 0.01 if ask.area.rule == "centre" else ask.chips.placed * ask.chips.metres_per_pixel / 40_000
    boxes = [(w - reach, s - reach, e + reach, n + reach) for w, s, e, n in shapely.bounds(parts).tolist()]
    too_many(sum(grid.count_within(*box) for box in boxes), ask, "a larger step, or a smaller area")
    for box in boxes:
        found = grid.within(*box)
        beside = (*grid.corner(found), 500 * km) if by_corner else None
        frame = corners_at(*grid.centre(found), ask.chips, beside)
        for name, values in (("row", found.row), ("col", found.col)):
            if name in ask.wanted:
                frame[name] = values
        yield frame
