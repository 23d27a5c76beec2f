"""``cities``: places scattered around cities, more of them the nearer (Gaussian), as SSL4EO drew its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyproj

from chipweave.errors import RecipeError
from chipweave.plan.lattices import corners_at
from chipweave.plan.sampling.base import Ask
from chipweave.plan.sampling.points import centres
from chipweave.plan.vectors import read_features

BATCH = 4096

_GEOD = pyproj.Geod(ellps="WGS84")


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """A city at random, and a point around it, without end: metres east and north are normal, not degrees.

    Raises
    ------
    RecipeError
        The file cannot be read, or no city lies near the area.
    """
    if ask.sampling.std_km is None:
        raise RecipeError("chips.sampling.std_km: is missing", hint="SSL4EO took 50 km")
    path, said = ask.file
    lon, lat = centres(read_features(path, said), "point")
    # The same cities in another order are the same cities.
    order = np.lexsort((lat, lon))
    lon, lat = lon[order], lat[order]
    std = 1000.0 * ask.sampling.std_km
    near = ask.area.near(lon, lat, 6 * std)
    if not near.any():
        raise RecipeError(f"{said}: none of its {len(lon)} cities lies near the area")
    lon, lat = lon[near], lat[near]
    random = np.random.Generator(np.random.PCG64(ask.sampling.seed))
    while True:
        city = random.integers(0, len(lon), BATCH)
        east, north = random.normal(0.0, std, (2, BATCH))
        azimuth = np.degrees(np.arctan2(east, north))
        at_lon, at_lat, _ = _GEOD.fwd(lon[city], lat[city], azimuth, np.hypot(east, north))
        yield corners_at(np.asarray(at_lon, np.float64), np.asarray(at_lat, np.float64), ask.chips)
