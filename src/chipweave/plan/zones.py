"""Chips that lie over one of a lower-numbered UTM zone, where zones meet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from chipweave.pixels.lattice import reproject
from chipweave.plan.lattices import FloatArray, IntArray


def overlapping(places: pd.DataFrame, max_overlap: float) -> npt.NDArray[np.bool_]:
    """Chips that share more than `max_overlap` of their ground with a kept chip of a lower-numbered zone."""
    codes = places["crs"].str.removeprefix("EPSG:").astype(int).to_numpy()
    x, y = places["x"].to_numpy(np.float64), places["y"].to_numpy(np.float64)
    side = float(places["size"].iloc[0] * places["resolution"].iloc[0])
    dropped = np.zeros(len(places), np.bool_)
    done: list[int] = []
    # North before south: at the equator two lattices of one zone meet.
    for code in sorted(set(codes.tolist()), key=lambda c: (c % 100, c)):
        own = np.flatnonzero(codes == code)
        # Zones that can meet: Svalbard has every other one only, and 60 meets 1.
        for lower in [c for c in done if (code - c) % 100 in {0, 1, 2, 58, 59}]:
            other = np.flatnonzero((codes == lower) & ~dropped)
            shares = _shares_ground(x, y, side, own, other, f"EPSG:{code}", f"EPSG:{lower}", max_overlap)
            dropped[own[shares]] = True
        done.append(code)
    return dropped


def _shares_ground(
    x: FloatArray,
    y: FloatArray,
    side: float,
    own: IntArray,
    other: IntArray,
    crs: str,
    lower: str,
    limit: float,
) -> npt.NDArray[np.bool_]:
    """For each of `own`: whether it overlaps one of `other` by more than `limit` of a chip, judged in `lower`."""
    hit = np.zeros(len(own), np.bool_)
    cx, cy = reproject(x[own] + side / 2, y[own] - side / 2, crs, lower)
    good = np.flatnonzero(np.isfinite(cx) & np.isfinite(cy))
    if not len(good) or not len(other):
        return hit
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and an area in one zone has no use for it

    tree = cKDTree(np.c_[x[other] + side / 2, y[other] - side / 2])
    near = tree.query_ball_point(np.c_[cx[good], cy[good]], r=1.5 * side)
    for i, found in zip(good, near, strict=True):
        if not found:
            continue
        k = own[i]
        ring = reproject(
            x[k] + np.array([0, 1, 1, 0]) * side, y[k] - np.array([0, 0, 1, 1]) * side, crs, lower
        )
        mine = shapely.polygons(np.stack(ring, axis=-1))
        theirs = shapely.box(x[other[found]], y[other[found]] - side, x[other[found]] + side, y[other[found]])
        # A millionth of a chip is the noise of the projections, not ground.
        hit[i] = bool((shapely.area(shapely.intersection(mine, theirs)) / side**2 > max(limit, 1e-6)).any())
    return hit
