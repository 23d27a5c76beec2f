"""A buffer across which places have more neighbours than can be looked at is refused before anybody looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chipweave.errors import YieldError

Floats = NDArray[np.float64]

_ASKED = 300
"""Footprints by which the number of pairs is told."""
_MOST_LOOKED_AT, _MOST_PAIRS = 1e9, 6e7
"""Pairs within the buffer that are looked at, and pairs of two units that are held: minutes, and a gigabyte."""


def check_affordable(
    rings: Floats, within_m: float, groups: NDArray[np.integer], key: str = "buffer_m"
) -> None:
    """Refuse a distance within which there are too many pairs of footprints.

    Parameters
    ----------
    rings, within_m, groups
        As `chipweave.plan.distance.near_pairs` takes them.
    key
        Of `split`, that says the distance.

    Raises
    ------
    YieldError
        There are.
    """
    every, apart = expected_pairs(rings, within_m, groups)
    if every > _MOST_LOOKED_AT or apart > _MOST_PAIRS:
        raise YieldError(
            f"split.{key}: within {within_m:g} m a place has about {2 * every / len(rings):,.0f} neighbours: more "
            f"pairs of {len(rings):,} places than can be kept apart",
            hint=f"a smaller split.{key}, larger units, or fewer places",
        )


def expected_pairs(rings: Floats, within_m: float, groups: NDArray[np.integer]) -> tuple[float, float]:
    """About how many pairs of footprints come that close: all, and those of two groups; told by some of them.

    Where there are too many in all, those of two groups are not counted.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    if len(rings) < 2 or within_m <= 0:
        return 0.0, 0.0
    centres = rings.mean(axis=1)
    some = np.unique(np.linspace(0, len(rings) - 1, _ASKED).astype(np.int64))
    radius = float(np.linalg.norm(rings[some] - centres[some, None], axis=-1).max())
    tree, scale, reach = cKDTree(centres), len(rings) / len(some) / 2, within_m + 2 * radius
    every = float(tree.query_ball_point(centres[some], reach, return_length=True).sum()) * scale
    if every > _MOST_LOOKED_AT:
        return every, every
    near = cKDTree(centres[some]).sparse_distance_matrix(tree, reach, output_type="ndarray")
    apart = groups[some[near["i"]]] != groups[near["j"]]
    return every, float(np.sum(apart)) * scale
