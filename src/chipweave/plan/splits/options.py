"""What split methods are told, as plain values: the recipe's `split`, or what a caller of `chipweave.splits` says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chipweave.errors import RecipeError

Cells = Literal["square", "h3", "mgrs", "s2_tile", "wrs", "majortom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of all methods; each reads its own.

    Parameters
    ----------
    fractions
        Of the places that are kept, by split; scaled to sum to one. A fraction of zero asks for no such split. None:
        ``list`` and ``time`` take the splits that there are.
    seed
        Of every random choice.
    buffer_m
        Footprints of two splits are at least this far apart, metres on the ellipsoid; None: the range of the
        variogram of `labels`.
    buffer_drop
        Who gives way at a border: see `chipweave.plan.splits.gap`.
    tolerance
        How far a share may be from its fraction.
    error_m
        How far a place may be from where it says; it adds to the buffer on both sides. A column ``error_m`` of the
        table says it place by place.
    stratify
        Columns, or layers whose class shares are columns ``layer.code``, to be alike in all splits.
    labels
        The same, whose variogram ``buffer_m: auto`` looks at.
    by
        ``groups``, ``kfold``: column of the group. ``list``: column of the split. ``time``: column of the date.
    block_km, cells
        ``blocks``, and wherever ground is dealt: about the side of a cell in kilometres, and what cells are.
    bands, band_km, angle_deg
        ``bands``: how many strips over the places, or how wide each is; the direction in which they run, degrees
        clockwise from north.
    cell_deg, jitter
        ``checkerboard``: side of a cell in degrees instead of `block_km`; how far the board is moved east and north, in
        cells (None: the seed says).
    cluster, k, link_m
        ``clusters``: ``kmeans`` into `k`, or ``distance``, which joins what is closer than `link_m` to a neighbour.
    periods, cutoffs, space
        ``time``: first and last moment of each split's time spans, in microseconds since 1970; whether splits share no
        ground either.
    folds
        ``kfold``: how many; None: one a group.
    """

    fractions: Mapping[str, float] | None = None
    seed: int = 0
    buffer_m: float | None = 0.0
    buffer_drop: Literal["larger", "both"] = "larger"
    tolerance: float = 0.05
    error_m: float = 0.0
    stratify: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    by: str | None = None
    block_km: float = 10.0
    cells: Cells = "square"
    bands: int | None = None
    band_km: float | None = None
    angle_deg: float = 0.0
    cell_deg: float | None = None
    jitter: tuple[float, float] | None = None
    cluster: Literal["kmeans", "distance"] = "kmeans"
    k: int | None = None
    link_m: float = 1000.0
    periods: Mapping[str, tuple[tuple[int, int], ...]] | None = None
    space: bool = False
    folds: int | None = None

    def wanted(self) -> dict[str, float]:
        """Fractions that ask for something, scaled to one; train, val, test 0.8, 0.1, 0.1 where nothing is said.

        Raises
        ------
        RecipeError
            They are no parts of a whole.
        """
        return wanted({"train": 0.8, "val": 0.1, "test": 0.1} if self.fractions is None else self.fractions)


def wanted(fractions: Mapping[str, float]) -> dict[str, float]:
    """Fractions that ask for something, scaled to one.

    Raises
    ------
    RecipeError
        They are no parts of a whole.
    """
    bad = [name for name, part in fractions.items() if not (math.isfinite(part) and part >= 0)]
    total = math.fsum(fractions.values())
    if bad or total <= 0:
        raise RecipeError(f"split.fractions {dict(fractions)}: parts of a whole are numbers from 0 to 1")
    return {name: part / total for name, part in fractions.items() if part > 0}
