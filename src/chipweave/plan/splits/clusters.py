"""Clusters: places that lie together, by k-means or because each is near to the next."""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.plan.distance import earth_centred, near_pairs
from chipweave.plan.splits.affordable import check_affordable
from chipweave.plan.splits.base import Ints, Stability, Units
from chipweave.plan.splits.cells import spelled
from chipweave.plan.splits.options import Options

_LEARN = 50_000
"""Places that k-means learns from; all are assigned."""
_STEPS = 30
_MOST = 1_000
"""Clusters where nothing is said: a tenth of the places (as GEO-Bench-2 takes), but not more than this."""

Floats = NDArray[np.float64]


class Clusters:
    """Units are clusters of centres (``kmeans``), or chains of footprints (``distance``)."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "clusters"

    def __call__(self, table: pd.DataFrame, rings: Floats, options: Options) -> Units:
        """See `chipweave.plan.splits.base.Method`."""
        if options.cluster == "distance":
            which = chained(rings, options.link_m)
        else:
            centres = earth_centred(table["lon"].to_numpy(float), table["lat"].to_numpy(float))
            k = (
                max(1, min(_MOST, math.ceil(len(table) / 10)))
                if options.k is None
                else min(options.k, len(table))
            )
            which = kmeans(centres, k, options.seed)
        # Numbered by their first place, which does not depend on the way that they were found.
        _, first, which = np.unique(which, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first))
        return Units(spelled(rank[which][:, None], lambda n: f"cluster{n:06d}"))


def chained(rings: Floats, link_m: float) -> Ints:
    """(n,) number of the chain of each footprint: two are in one where steps of less than `link_m` join them."""
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - dear to import
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    n = len(rings)
    check_affordable(rings, link_m, np.arange(n), "link_m")
    i, j = near_pairs(rings, link_m)
    graph = coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def kmeans(points: Floats, k: int, seed: int) -> Ints:
    """(n,) the nearest of k means, learnt from at most 50 000 of the points; the same for the same points in order.

    Parameters
    ----------
    points
        (n, 3) metres.
    k
        How many means; fewer come out where points coincide.
    seed
        Of where they begin.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    rng = np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(f"kmeans:{seed}".encode()).digest()[:8]))
    )
    learnt = points if len(points) <= _LEARN else points[np.sort(rng.permutation(len(points))[:_LEARN])]
    means = _spread_out(learnt, k, rng)
    for _ in range(_STEPS):
        which = cKDTree(means).query(learnt)[1]
        count = np.bincount(which, minlength=len(means))
        sums = np.stack([np.bincount(which, learnt[:, c], len(means)) for c in range(3)], axis=1)
        moved = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], means)
        if np.allclose(moved, means, rtol=0, atol=1.0):
            break
        means = moved
    return np.asarray(cKDTree(means).query(points)[1], np.int64)


def _spread_out(points: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Where means begin: drawn one by one, points far from those before more likely (k-means++, Arthur 2007).

    Each draw is a whole pass over at most 20 points a mean, which is what many means need to lie apart.
    """
    some = points if len(points) <= 20 * k else points[np.sort(rng.permutation(len(points))[: 20 * k])]
    chosen = [int(rng.integers(len(some)))]
    gap = np.sum((some - some[chosen[0]]) ** 2, axis=1)
    while len(chosen) < k and gap.max() > 0:
        at = int(np.searchsorted(np.cumsum(gap), rng.random() * gap.sum(), "right"))
        chosen.append(min(at, len(some) - 1))
        gap = np.minimum(gap, np.sum((some - some[chosen[-1]]) ** 2, axis=1))
    return some[chosen]
