"""The radar that comes by: its passes, how the ground scatters back, and speckle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.demo.land import Ground
from chipweave.demo.noise import F32, mix, unit
from chipweave.demo.paint import canopy

BANDS = ("vv", "vh")
NODATA = -32768.0
"""As the product's files have it."""
LOOKS = 14.0
"""Equivalent number of looks. The product has 4.4; speckle is calmer here, so that a chip can be read."""

# Backscatter (gamma0, decibels) of VV and VH.
_SOIL, _LEAF, _DRY, _GRASS = (-11.0, -19.5), (-10.0, -15.5), (-12.5, -19.0), (-12.2, -18.0)
_REED, _SHRUBS, _ROCK = (-9.0, -16.0), (-10.0, -15.5), (-9.5, -18.0)
_BROAD, _NEEDLE = (-8.0, -13.0), (-9.2, -14.6)
_GARDEN, _ROOF, _HALL, _YARD = (-9.0, -15.0), (-1.5, -9.0), (3.0, -5.0), (-13.0, -21.0)
_WATER, _ROAD = (-21.0, -29.0), (-15.0, -23.0)


@dataclass(frozen=True)
class RadarPass:
    """One pass of the radar.

    Parameters
    ----------
    time
        Middle of the slice, UTC.
    platform, orbit, state
        Of the product: state is ascending or descending, orbit the number of the track.
    epsg
        Of the grid that the slice is delivered on: the zone that its middle lies in.
    wet
        How much rain there was: wet soil is brighter, in decibels.
    edge
        Where the swath begins, metres east in the middle of the world; None where all is seen.
    """

    time: datetime
    platform: str
    orbit: int
    state: str
    epsg: int
    wet: float = 0.0
    edge: float | None = None

    @property
    def lean(self) -> float:
        """Metres that the swath's edge goes east for a metre north: tracks lean west going up, east going down."""
        return -0.2 if self.state == "ascending" else 0.2

    def sees(self, x: F32, y: F32) -> npt.NDArray[np.bool_]:
        """Whether points lie in the swath."""
        if self.edge is None:
            return np.ones(x.shape, dtype=bool)
        return x - np.float32(self.lean) * y > np.float32(self.edge)


def _pass(day: str, platform: str, state: str, wet: float = 0.0, edge: float | None = None) -> RadarPass:
    hour, orbit, epsg = ("T05:44:41", 139, 32632) if state == "descending" else ("T17:23:18", 88, 32631)
    time = datetime.fromisoformat(day + hour).replace(tzinfo=UTC)
    return RadarPass(time, platform, orbit, state, epsg, wet, edge)


PASSES = (
    _pass("2021-06-12", "SENTINEL-1A", "descending", 0.6),
    _pass("2021-06-14", "SENTINEL-1B", "ascending", edge=-6_500.0),
    _pass("2021-07-24", "SENTINEL-1B", "descending", 1.8),
    _pass("2022-06-15", "SENTINEL-1A", "ascending", 1.1, edge=-6_500.0),
    _pass("2022-06-19", "SENTINEL-1A", "descending"),
    _pass("2022-07-25", "SENTINEL-1A", "descending", 0.4),
)
"""A pass within three days of each of Sentinel-2's; on the tracks' own cycle of 12 days a satellite."""


def backscatter(g: Ground, passing: RadarPass) -> F32:
    """Linear gamma0 (band, n) of the ground on a pass, without speckle."""
    green, dry, _ = canopy(g, passing.time.date())
    a, b, c = g.bumps
    of_year = mix(g.parcel, passing.time.year)
    rough = np.float32(3.6) * (unit(of_year, 9) - np.float32(0.5))
    lush = np.float32(2.0) * (unit(of_year, 10) - np.float32(0.5))
    bare = np.float32(1.0) - green - dry
    grassy = g.use > 0
    # RTC takes out most of what slopes do; a little stays, on the side that the radar looks at.
    side = np.float32(1.6 if passing.state == "ascending" else -1.6) * (g.shade - np.float32(1.0))
    crown = np.float32(0.5) * b + np.float32(0.5) * c
    roofs = np.float32(2.5) * (b + c)
    out = np.empty((len(BANDS), len(g.parcel)), np.float32)
    for k in range(len(BANDS)):
        leaf = np.where(grassy, np.float32(_GRASS[k]), np.float32(_LEAF[k]))
        soil = np.float32(_SOIL[k]) + rough + np.float32(passing.wet)
        v = bare * _power(soil) + green * _power(leaf + lush) + dry * _power(np.float32(_DRY[k]) + rough)
        v = _over(v, _REED[k] + crown, g.wet)
        v = _over(v, _SHRUBS[k] + crown, g.shrub)
        trees = _BROAD[k] + g.conifer * np.float32(_NEEDLE[k] - _BROAD[k])
        v = _over(v, trees + crown + np.float32(0.3) * a, g.wood)
        v = _over(v, _ROCK[k] + crown, g.quarry)
        town = _over(_power(np.float32(_GARDEN[k]) + crown), _ROOF[k] + roofs, g.roof)
        town = _over(town, _YARD[k] + crown, np.minimum(g.works * 4, 1))
        town = _over(town, _HALL[k] + roofs, g.works * np.float32(0.8))
        v += (town - v) * g.built
        v *= _power(side)
        v = _over(v, _WATER[k] + np.float32(0.8) * a, g.water)
        out[k] = _over(v, np.full_like(v, _ROAD[k]), g.road * np.float32(0.6))
    return out


def _power(decibels: F32) -> F32:
    """Linear power of decibels."""
    power: F32 = np.exp(decibels * np.float32(np.log(10) / 10))
    return power


def _over(below: F32, decibels: npt.NDArray[np.floating[Any]], weight: F32) -> F32:
    """Lay what scatters `decibels` over power, where it has weight."""
    at = np.flatnonzero(weight > 0)
    below[at] += (_power(decibels[at].astype(np.float32)) - below[at]) * weight[at]
    return below


def speckle(seed: int, number: int, rows: slice, width: int) -> F32:
    """Speckle (band, n) of rows of a pass, row by row: mean 1, the same at every call.

    A pixel shares half of it with each of its neighbours, as the radar resolves no single pixel.
    """
    single = np.empty((len(BANDS), rows.stop - rows.start + 1, width + 1), np.float32)
    for at in range(single.shape[1]):
        rng = np.random.default_rng([seed, 60, number, rows.start + at])
        single[:, at] = rng.standard_gamma(LOOKS / 4, (len(BANDS), width + 1), np.float32)
    pairs = single[:, :-1] + single[:, 1:]
    whole: F32 = (pairs[..., :-1] + pairs[..., 1:]) / np.float32(LOOKS)
    return whole.reshape(len(BANDS), -1)


def stored(power: F32, seen: npt.NDArray[np.bool_]) -> F32:
    """What a product stores: power of eleven significant bits (0.002 dB), so that files stay small; else no data."""
    bits = (power.astype(np.float32).view(np.uint32) + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)
    values: F32 = bits.view(np.float32)
    values[..., ~seen] = NODATA
    return values
