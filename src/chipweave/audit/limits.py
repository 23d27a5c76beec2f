"""What a recipe may hold the leakage audit to, beyond geometry and identity. Nothing, unless it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chipweave.recipe.outcome import Split


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of `split.audit`; None where a figure is only reported.

    Parameters
    ----------
    near_duplicates
        Largest share of samples that have a near-duplicate in another split, 0..1.
    morans_i
        Largest Moran's I of labels between neighbours of two splits.
    variogram
        Least buffer, as a multiple of the range of the labels' variogram.
    class_distance
        Largest Jensen-Shannon distance between the class shares of two splits, 0..1.
    shared_scenes
        Largest share of scenes that more than one split shows, 0..1.
    """

    near_duplicates: float | None = None
    morans_i: float | None = None
    variogram: float | None = None
    class_distance: float | None = None
    shared_scenes: float | None = None

    @classmethod
    def of(cls, split: Split | None) -> Self:
        """Thresholds of a recipe's `split`."""
        return cls() if split is None else cls(**split.audit.model_dump())
