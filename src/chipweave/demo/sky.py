"""Clouds, their shadows, thin veils and the edge of the swath, on each day that the satellite comes by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from chipweave.demo.noise import F32, Frame, fractal, smoothstep
from chipweave.demo.paint import BANDS
from chipweave.demo.terrain import FINE

_SKY = Frame(FINE.x0, FINE.y0, 50.0, 461, 761)
_CAST = (-310.0, 540.0)  # metres from a cloud to its shadow: the sun stands in the south-south-east

SLANT = 0.22
"""Metres that the swath's edge goes east for a metre north."""

_CLOUD = (0.66, 0.64, 0.65, 0.70, 0.48)  # reflectance in the order of BANDS
_VEIL = (0.36, 0.32, 0.30, 0.34, 0.22)

NO_DATA, SHADOW, VEGETATION, BARE_SOIL, WATER = 0, 3, 4, 5, 6
CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS = 8, 9, 10


@dataclass(frozen=True)
class Pass:
    """One pass of the satellite.

    Parameters
    ----------
    time
        Start of the datatake, UTC.
    platform, baseline, orbit
        Of the product. From baseline 04.00 on the stored values are shifted by 1000.
    cloud, veil
        Share of the world under clouds and under thin cirrus.
    edge
        Where the swath ends, metres east in the middle of the world; None where all is seen.
    """

    time: datetime
    platform: str
    baseline: str
    orbit: int
    cloud: float
    veil: float = 0.0
    edge: float | None = None

    @property
    def shift(self) -> int:
        """What is added to reflectance x 10 000 in the stored values."""
        return 1000 if float(self.baseline) >= 4 else 0

    def sees(self, x: F32, y: F32) -> npt.NDArray[np.bool_]:
        """Whether points lie in the swath, whose edge runs from north-north-east to south-south-west."""
        if self.edge is None:
            return np.ones(x.shape, dtype=bool)
        return x - np.float32(SLANT) * y > np.float32(self.edge)


PASSES = (
    Pass(datetime(2021, 6, 12, 10, 36, 21, tzinfo=UTC), "sentinel-2a", "03.01", 108, 0.035),
    Pass(datetime(2021, 7, 22, 10, 36, 19, tzinfo=UTC), "sentinel-2b", "03.01", 108, 0.22, 0.06),
    Pass(datetime(2022, 6, 17, 10, 36, 31, tzinfo=UTC), "sentinel-2a", "04.00", 108, 0.02),
    Pass(datetime(2022, 7, 27, 10, 46, 29, tzinfo=UTC), "sentinel-2b", "04.00", 8, 0.015, 0.02, -10_300.0),
)


@dataclass(frozen=True)
class Air:
    """What is between ground and satellite at n points: shares in [0, 1], and whether it is seen at all."""

    cloud: F32
    veil: F32
    shadow: F32
    seen: npt.NDArray[np.bool_]


class Sky:
    """The sky over the world of one seed, at each pass."""

    def __init__(self, seed: int) -> None:
        layers = [layer for number in range(len(PASSES)) for layer in _layers(seed, number)]
        self._stack = np.stack(layers, axis=-1).astype(np.float32)

    def air(self, x: F32, y: F32, bumps: tuple[F32, F32, F32]) -> list[Air]:
        """What lies over points (n,) in metres of the plane at each pass; the ground's `bumps` fray the clouds."""
        layers = _SKY.sample(self._stack, x, y)
        fray = np.float32(0.16) * bumps[0] + np.float32(0.07) * bumps[1]
        found = []
        for number, passing in enumerate(PASSES):
            thick, cast, veil = layers[3 * number : 3 * number + 3]
            cloud = smoothstep(0.0, 1.0, thick + fray)
            shadow = smoothstep(0.1, 0.9, cast) * (1 - cloud)
            found.append(Air(cloud, smoothstep(0.0, 1.0, veil), shadow, passing.sees(x, y)))
        return found


def _layers(seed: int, number: int) -> tuple[F32, F32, F32]:
    """Thickness of clouds, what of it throws a shadow here, and thickness of the veil: 0 to 1, and beyond."""
    passing = PASSES[number]
    rng = np.random.default_rng([seed, 50, number])
    heap = fractal(rng, _SKY, 2_600.0, 1.75) + 0.8 * fractal(rng, _SKY, 14_000.0, 2.2)
    thick = np.clip((heap - np.quantile(heap, 1 - passing.cloud)) * 1.6 + 0.5, -1, 2)
    steps = (-_CAST[1] / _SKY.step, -_CAST[0] / _SKY.step)
    rows, cols = np.meshgrid(np.arange(_SKY.ny) + steps[0], np.arange(_SKY.nx) + steps[1], indexing="ij")
    cast = ndimage.map_coordinates(thick, (rows, cols), order=1, mode="nearest")
    wisp = fractal(rng, _SKY, 12_000.0, 1.9)
    veil = np.clip((wisp - np.quantile(wisp, 1 - passing.veil)) * 0.5 + 0.5, -1, 2)
    return thick, cast, veil if passing.veil else np.full_like(veil, -1)


@lru_cache(maxsize=2)
def sky(seed: int) -> Sky:
    """The sky of a seed, made once a process."""
    return Sky(seed)


def through(clear: F32, air: Air, bands: tuple[str, ...]) -> F32:
    """Reflectance (band, n) above the clouds, from that of the ground; changes `clear` in place."""
    under = np.flatnonzero((air.cloud > 0) | (air.veil > 0) | (air.shadow > 0))
    if not len(under):
        return clear
    cloud, veil, shadow = air.cloud[under], air.veil[under], air.shadow[under]
    bright = np.float32(0.7) + np.float32(0.55) * cloud
    for row, name in enumerate(bands):
        k = BANDS.index(name)
        v = clear[row, under] * (1 - np.float32(0.62) * shadow)
        v += (np.float32(_VEIL[k]) - v) * veil * np.float32(0.35)
        v += (np.float32(_CLOUD[k]) * bright - v) * cloud
        clear[row, under] = v
    return clear


def classify(air: Air, water: F32, red: F32, nir: F32) -> npt.NDArray[np.uint8]:
    """Scene classification (SCL) of points, from the very things that made the picture.

    Parameters
    ----------
    air
        Above the points.
    water
        Share of water in [0, 1].
    red, nir
        Clear-sky reflectance.
    """
    green = (nir - red) / np.maximum(nir + red, np.float32(1e-6)) > np.float32(0.4)
    code = np.where(green, np.uint8(VEGETATION), np.uint8(BARE_SOIL))
    code[water > 0.5] = WATER
    code[air.shadow > 0.4] = SHADOW
    code[air.veil > 0.2] = CIRRUS
    code[air.cloud > 0.12] = CLOUD_MEDIUM
    code[air.cloud > 0.6] = CLOUD_HIGH
    code[~air.seen] = NO_DATA
    return code
