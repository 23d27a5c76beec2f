"""Bands: parallel strips over the ground, at an angle, as M3LEO deals them."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import Stability, Units
from chipweave.plan.splits.cells import RADIUS_KM, spelled
from chipweave.plan.splits.options import Options

_BANDS = 60
"""Strips where nothing is said: M3LEO's ``60bands``."""

Floats = NDArray[np.float64]


class Bands:
    """Units are strips: of a width in kilometres, laid from a fixed line, or so many over the places."""

    stability: ClassVar[Stability] = "pinned"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "bands"

    def __call__(self, table: pd.DataFrame, rings: Floats, options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        if options.bands is not None and options.band_km is not None:
            raise RecipeError("split: give bands or band_km, not both")
        across = across_km(table["lon"].to_numpy(float), table["lat"].to_numpy(float), options.angle_deg)
        if options.band_km is not None:
            number = np.floor(across / options.band_km).astype(np.int64)
        else:
            low, high = float(across.min()), float(across.max())
            count = _BANDS if options.bands is None else options.bands
            width = (high - low) / count
            number = (
                np.zeros(len(across), np.int64)
                if width <= 0
                else np.minimum(np.floor((across - low) / width).astype(np.int64), count - 1)
            )
        return Units(spelled(number[:, None], lambda n: f"band{n:04d}" if n >= 0 else f"band-{-n:04d}"))


def across_km(lon: Floats, lat: Floats, angle_deg: float) -> Floats:
    """Kilometres to the right of a line through (0° E, 0° N) that runs `angle_deg` clockwise from north.

    Measured in the sinusoidal plane, in which every place has its true distance from the equator and along its parallel
    from Greenwich, or from the middle of the places' longitudes in whole tens of degrees.
    """
    middle = 10 * round(float(np.degrees(np.arctan2(*_mean(lon)))) / 10)
    away = np.mod(lon - middle + 180, 360) - 180
    east = np.radians(away) * np.cos(np.radians(lat)) * RADIUS_KM
    north = np.radians(lat) * RADIUS_KM
    turn = math.radians(angle_deg)
    return np.asarray(east * math.cos(turn) - north * math.sin(turn), np.float64)


def _mean(lon: Floats) -> tuple[float, float]:
    """Sine and cosine of the mean direction."""
    turn = np.radians(lon)
    return float(np.round(np.sin(turn).mean(), 9)), float(np.round(np.cos(turn).mean(), 9))
