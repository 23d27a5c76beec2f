"""Matching one chip: what `Pool` says in columns for many, as objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from chipweave.model import Scene
from chipweave.plan.columns import Candidate
from chipweave.plan.match import Pool


def candidates(
    scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str, needed: Sequence[str]
) -> tuple[Candidate, ...]:
    return Pool(scenes, needed).candidates(_one(footprint), [crs]).of(0)


def label_order(scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str) -> tuple[str, ...]:
    """Ids of the rasters of one edition, in reading order."""
    return Pool(scenes, ()).rasters(_one(footprint), [crs]).of(0)


def _one(footprint: shapely.Geometry) -> npt.NDArray[np.object_]:
    out = np.empty(1, np.object_)
    out[0] = footprint
    return out
