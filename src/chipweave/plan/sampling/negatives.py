"""Chips where nothing is: around each feature some places, at random, that keep away from every feature of the file."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from chipweave.plan.distance import earth_centred
from chipweave.plan.lattices import FloatArray, corners_at
from chipweave.plan.nearby import SPACING_M, holding
from chipweave.plan.sampling.base import Ask
from chipweave.plan.thin import mixed, uniform
from chipweave.recipe.places import Negatives

log = logging.getLogger("chipweave")

TRIES: Final = 64
"""Draws for one place; a feature in a crowd, or at the edge of the area, may find none."""

COLUMN: Final = "negative"
"""Column of places: whether nothing of the file is near."""

_DEGREE_M: Final = 110_574.0
_GEOD = pyproj.Geod(ellps="WGS84")

Shapes = npt.NDArray[np.object_]


def negatives(lon: FloatArray, lat: FloatArray, shapes: Shapes, ask: Ask, wish: Negatives) -> pd.DataFrame:
    """Places away from all features.

    Parameters
    ----------
    lon, lat
        (n,) of the chips that hold a feature: each gets `wish.per` places around it, at most `wish.within_m` away.
    shapes
        All features of the file in lon/lat: also those that the recipe's `where` leaves out.
    ask, wish
        The recipe's chips and area, and what it wants.

    Returns
    -------
    DataFrame
        Corners, as of `corners_at`, and ``of``: the row of the feature that each place was drawn around. Between a
        chip's edge and a feature there are at least `wish.away_m`.
    """
    side = ask.chips.placed * ask.chips.metres_per_pixel
    off = wish.away_m + side / 2 * np.sqrt(2.0)
    near = _Nearness(shapes)
    owner = np.repeat(np.arange(len(lon)), wish.per)
    number = np.tile(np.arange(wish.per), len(lon))
    a, b = (np.round(v * 1e9).astype(np.int64).view(np.uint64) for v in (lon, lat))
    seeds = mixed(mixed(mixed(np.uint64(ask.sampling.seed % 2**64)) ^ a) ^ b)[owner] + number.astype(
        np.uint64
    )
    found_lon, found_lat = np.full(len(owner), np.nan), np.full(len(owner), np.nan)
    left = np.arange(len(owner))
    for draw in range(TRIES):
        if not len(left):
            break
        turn = mixed(mixed(seeds[left]) ^ np.uint64(draw))
        # Evenly over the ring between `off` and `within_m`.
        share = uniform(mixed(turn))
        far = np.sqrt(off**2 + share * max(wish.within_m**2 - off**2, 0.0))
        x, y, _ = _GEOD.fwd(lon[owner[left]], lat[owner[left]], 360.0 * uniform(turn), far)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        good = ask.area.holds_points(x, y)
        good[good] = near.farther(x[good], y[good], off)
        found_lon[left[good]], found_lat[left[good]] = x[good], y[good]
        left = left[~good]
    if len(left):
        log.warning("place: %d of %d negatives found no room in %d draws", len(left), len(owner), TRIES)
    own = np.isfinite(found_lon)
    return corners_at(found_lon[own], found_lat[own], ask.chips).assign(of=owner[own])


class _Nearness:
    """How far places are from features on the ground; outlines count by points every 250 m, and are taken as nearer."""

    def __init__(self, shapes: Shapes) -> None:
        from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and few recipes ask for it

        self._shapes = shapes
        fine = shapely.segmentize(shapes, SPACING_M / _DEGREE_M)
        points = shapely.get_coordinates(fine)
        self._tree = cKDTree(earth_centred(points[:, 0], points[:, 1]))
        self._slack = 0.0 if (shapely.get_dimensions(shapes) == 0).all() else SPACING_M / 2

    def farther(self, lon: FloatArray, lat: FloatArray, metres: float) -> npt.NDArray[np.bool_]:
        """Which points lie at least so far from every feature, and in none."""
        if not len(lon):
            return np.empty(0, np.bool_)
        far, _ = self._tree.query(earth_centred(lon, lat))
        out = np.asarray(far >= metres + self._slack, np.bool_)
        out &= holding(lon, lat, self._shapes) < 0
        return out
