"""Slope and aspect of heights, on the grid that a sample has them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from affine import Affine

Heights = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MARGIN: Final = 1
"""Pixels beyond a window whose heights count in it."""


def with_margin(affine: Affine, shape: tuple[int, int]) -> tuple[Affine, tuple[int, int]]:
    """Window that is wider by `MARGIN` on every side."""
    return affine * Affine.translation(-MARGIN, -MARGIN), (shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN)


def slope(east: Doubles, north: Doubles) -> Doubles:
    """Degrees from the horizontal, of the rise in metres a metre to the east and to the north of the grid."""
    return np.asarray(np.degrees(np.arctan(np.hypot(east, north))), np.float64)


def aspect(east: Doubles, north: Doubles) -> Doubles:
    """Degrees clockwise from the grid's north of the way downhill, below 360; 0 where it is flat."""
    found = np.asarray(np.degrees(np.arctan2(-east, -north)) % 360.0, np.float64)
    # A hair west of north is 360 once it is float32.
    return np.where(((east == 0) & (north == 0)) | (found.astype(np.float32) >= 360.0), 0.0 * found, found)


DERIVED: Final[Mapping[str, Callable[[Doubles, Doubles], Doubles]]] = {"slope": slope, "aspect": aspect}
"""What can be worked out of heights."""


def derived(heights: Heights, affine: Affine, what: list[str]) -> Heights:
    """Slope and aspect, (band, y, x), of heights with their margin.

    A rise is that between the two neighbours; where one has no height, that to the other one. NaN where the pixel has
    no height, or none beside it in a row or a column.

    Parameters
    ----------
    heights
        Metres, (rows, columns) with `MARGIN` around the window; NaN where there is none.
    affine
        Of the grid, in metres.
    what
        Names in `DERIVED`.
    """
    z = heights.astype(np.float64)
    inner = z[1:-1, 1:-1]
    east = _rise(z[1:-1, :-2], inner, z[1:-1, 2:]) / affine.a
    north = _rise(z[2:, 1:-1], inner, z[:-2, 1:-1]) / -affine.e
    return np.stack([DERIVED[name](east, north) for name in what]).astype(np.float32)


def _rise(before: Doubles, here: Doubles, after: Doubles) -> Doubles:
    """Rise a pixel along a line."""
    both = (after - before) / 2.0
    one = np.where(np.isnan(before), after - here, here - before)
    return np.where(np.isnan(here), np.nan, np.where(np.isnan(both), one, both))
