"""How far one picture lies from another of the very same source, and how much brighter it is: least squares.

For pictures that differ by little but a shift (dx, dy) and a constant c, ``second = first - dx ∂x first - dy ∂y first
+ c`` (Lucas and Kanade 1981). Unlike phase correlation that works on smooth pictures, and says what c is; it takes the
same values in both, so it serves pictures of one source only. Where that does not hold, `agreement` counts pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 200
"""Pixels that both must have."""
_ROUNDS = 4
_FAR = 4.0
"""Residuals beyond so many of their usual size do not count: seams and clouds are no shift."""
_CONDITION = 1e-4
"""Least eigenvalue of the gradients over the largest: below, edges run in one direction."""
NEAR = 0.1
"""How far a pixel may be from the other's and count as near it, as a share of how much the picture varies."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What one picture is to another.

    Parameters
    ----------
    dx, dy
        Pixels that the second lies right of and below the first; NaN where no shift can be told.
    add
        What the second has more, in units of the values.
    spread
        Standard deviation of the first.
    left
        Usual size of what is left between the two when shift and constant are taken away, over `spread`.
    """

    dx: float
    dy: float
    add: float
    spread: float
    left: float


def flow(first: Floats, second: Floats) -> Flow | None:
    """Shift and constant between two pictures (y, x), NaN where there is no data; None where too little is shared."""
    gx, gy = (np.gradient((first + second) / 2, axis=axis) for axis in (1, 0))
    ok = np.isfinite(first) & np.isfinite(second) & np.isfinite(gx) & np.isfinite(gy)
    if np.count_nonzero(ok) < FEWEST:
        return None
    difference, spread = (second - first)[ok], float(np.std(first[ok]))
    if spread <= 0:
        return Flow(np.nan, np.nan, float(np.median(difference)), 0.0, 0.0)
    design = np.stack([-gx[ok], -gy[ok], np.ones(int(ok.sum()))], axis=1)
    gram = design[:, :2].T @ design[:, :2]
    low, high = np.linalg.eigvalsh(gram)
    if low <= _CONDITION * high:
        add = float(np.median(difference))
        return Flow(np.nan, np.nan, add, spread, float(np.median(np.abs(difference - add))) / spread)
    weight = np.ones(len(difference))
    found = np.zeros(3)
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(design * weight[:, None], difference * weight, rcond=None)[0]
        rest = np.abs(difference - design @ found)
        usual = 1.4826 * float(np.median(rest))
        weight = (rest <= _FAR * max(usual, 1e-12 * spread)).astype(float)
    return Flow(float(found[0]), float(found[1]), float(found[2]), spread, float(np.median(rest)) / spread)


def stiff(first: Floats, second: Floats) -> tuple[float, float]:
    """Usual size of what is left between two pictures when only a constant is taken away, and that constant."""
    difference = second - first
    constant = float(np.nanmedian(difference))
    return float(np.nanmedian(np.abs(difference - constant))), constant


def agreement(first: Floats, second: Floats, floor: float) -> float:
    """Share of the shared pixels in which two pictures are near each other; what is below `floor` always is."""
    both = np.isfinite(first) & np.isfinite(second)
    values = first[both]
    # By quantiles: a few bright spots do not make room for all.
    low, high = np.quantile(values, [0.05, 0.95])
    near = max(NEAR * float(high - low) / 3.29, floor)
    return float(np.mean(np.abs(second[both] - values) <= near))
