"""How the ground looks from above on a day: reflectance by band."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from chipweave.demo.land import Ground
from chipweave.demo.noise import F32, F64, U32, mix, pick, smoothstep, unit

BANDS = ("blue", "green", "red", "nir", "swir16")

# Reflectance in the order of BANDS.
_SOIL = (0.082, 0.112, 0.146, 0.215, 0.320)
_LEAF = (0.024, 0.056, 0.026, 0.450, 0.185)
_GRASS = (0.030, 0.068, 0.038, 0.420, 0.215)
_STRAW = (0.082, 0.122, 0.162, 0.285, 0.340)
_BROAD = (0.019, 0.039, 0.021, 0.385, 0.155)
_NEEDLE = (0.014, 0.025, 0.015, 0.225, 0.085)
_SHRUBS = (0.030, 0.052, 0.040, 0.320, 0.200)
_REED = (0.036, 0.058, 0.048, 0.270, 0.150)
_ROCK = (0.165, 0.195, 0.220, 0.270, 0.320)
_GARDEN = (0.038, 0.062, 0.047, 0.290, 0.185)
_TILES = (0.080, 0.088, 0.110, 0.180, 0.215)
_SLATE = (0.110, 0.116, 0.118, 0.165, 0.180)
_HALL = (0.215, 0.225, 0.230, 0.265, 0.255)
_YARD = (0.125, 0.132, 0.138, 0.175, 0.190)
_ROAD = (0.092, 0.112, 0.122, 0.235, 0.265)
_RIVER = (0.036, 0.050, 0.034, 0.020, 0.010)

# Day of the year: (green, dry) shares of the canopy; the rest is soil.
_SEASON: dict[str, dict[int, tuple[float, float]]] = {
    "cereal": {130: (0.92, 0.0), 164: (0.82, 0.08), 175: (0.48, 0.40), 185: (0.12, 0.76), 198: (0.03, 0.85),
               203: (0.03, 0.58), 225: (0.10, 0.38)},
    "rape": {130: (0.80, 0.10), 165: (0.60, 0.28), 180: (0.22, 0.62), 192: (0.05, 0.60), 210: (0.16, 0.36)},
    "maize": {140: (0.04, 0.0), 158: (0.14, 0.0), 172: (0.45, 0.0), 190: (0.86, 0.0), 215: (0.96, 0.0)},
    "sunflower": {140: (0.05, 0.0), 162: (0.30, 0.0), 182: (0.72, 0.0), 205: (0.72, 0.06), 220: (0.5, 0.25)},
    "lucerne": {130: (0.95, 0.0), 160: (0.70, 0.10), 168: (0.35, 0.30), 190: (0.92, 0.0), 204: (0.6, 0.15),
                215: (0.9, 0.02)},
    "fallow": {130: (0.30, 0.20), 215: (0.22, 0.34)},
    "pasture": {130: (0.92, 0.04), 165: (0.82, 0.10), 205: (0.62, 0.26), 220: (0.58, 0.30)},
    "meadow": {130: (0.96, 0.02), 157: (0.90, 0.06), 161: (0.38, 0.42), 180: (0.80, 0.08), 196: (0.62, 0.2),
               202: (0.35, 0.45), 220: (0.72, 0.12)},
}  # fmt: skip
_CROPS = ("cereal", "cereal", "cereal", "rape", "maize", "maize", "sunflower", "lucerne", "fallow", "cereal")
_PHASES = 64  # steps of a parcel's lead or lag, from -14 to 14 days


def season(plant: str, day: F64) -> tuple[F64, F64]:
    """Green and dry shares of a plant's canopy on days of the year."""
    table = _SEASON[plant]
    days = list(table)
    green, dry = zip(*table.values(), strict=True)
    return np.interp(day, days, green), np.interp(day, days, dry)


class Texture:
    """What is the same on every day: how light plays on the ground, and where layers lie."""

    def __init__(self, g: Ground) -> None:
        a, b, c = g.bumps
        rows = np.sin(g.across * np.float32(2 * np.pi / 31.0)) * np.float32(0.015)
        self.grain: F32 = 1 + np.float32(0.015) * c + np.float32(0.035) * b + rows
        self.crown: F32 = 1 + np.float32(0.05) * c + np.float32(0.10) * b + np.float32(0.06) * a
        self.rock: F32 = 1 + np.float32(0.12) * (b + c)
        self.wave: F32 = 1 + np.float32(0.06) * a
        self.road: F32 = np.where(g.built > 0.3, np.float32(0.85), np.float32(1.0))
        self.grassy = (g.use > 0).astype(np.float32)
        self.trees = np.flatnonzero(g.wood > 0)
        self.conifer, self.wood = g.conifer[self.trees], g.wood[self.trees]
        self.town = np.flatnonzero(g.built > 0)
        self.built, self.shade = g.built[self.town], g.shade
        self.houses = _houses(g, self.town, self.crown[self.town])


def paint(g: Ground, texture: Texture, day: date, bands: tuple[str, ...]) -> F32:
    """Clear-sky reflectance (band, n) of the ground on `day`."""
    t = texture
    green, dry, lift = canopy(g, day)
    straw_tone = lift * t.grain
    soil_tone, green_tone = straw_tone * g.tone * (1 - green - dry), green * t.grain
    straw_tone *= dry
    out = np.empty((len(bands), len(green)), np.float32)
    for row, name in enumerate(bands):
        k = BANDS.index(name)
        v = out[row]
        np.multiply(t.grassy, np.float32(_GRASS[k] - _LEAF[k]), out=v)
        v += np.float32(_LEAF[k])
        v *= green_tone
        v += np.float32(_SOIL[k]) * soil_tone
        v += np.float32(_STRAW[k]) * straw_tone
    _over(out, bands, _REED, t.crown, g.wet)
    _over(out, bands, _SHRUBS, t.crown, g.shrub)
    crown = t.crown[t.trees]
    for row, name in enumerate(bands):
        k = BANDS.index(name)
        tree = (_BROAD[k] + t.conifer * np.float32(_NEEDLE[k] - _BROAD[k])) * crown
        below = out[row, t.trees]
        out[row, t.trees] = below + (tree - below) * t.wood
    _over(out, bands, _ROCK, t.rock, g.quarry)
    for row, name in enumerate(bands):
        below = out[row, t.town]
        out[row, t.town] = below + (t.houses[BANDS.index(name)] - below) * t.built
    out *= t.shade
    _over(out, bands, _RIVER, t.wave, g.water)
    _over(out, bands, _ROAD, t.road, g.road)
    return out


def _over(below: F32, bands: tuple[str, ...], colour: tuple[float, ...], tone: F32, weight: F32) -> None:
    """Lay a colour over (band, n), in place, where it has weight."""
    at = np.flatnonzero(weight > 0)
    if len(at):
        tone, weight = tone[at], weight[at]
        for row, name in enumerate(bands):
            v = below[row, at]
            below[row, at] = v + (np.float32(colour[BANDS.index(name)]) * tone - v) * weight


def _houses(g: Ground, town: npt.NDArray[np.int64], crown: F32) -> F32:
    """Built-up ground (all BANDS, len(town)): roofs and gardens, large halls and their yards."""
    a, b, c = (bump[town] for bump in g.bumps)
    roof, works = g.roof[town], g.works[town]
    tone = np.float32(0.82) + np.float32(0.16) * c + np.float32(0.12) * b
    tiles = smoothstep(-0.5, 0.5, a + 0.5 * b)
    hall, yard = works * smoothstep(-0.9, 0.9, b + c), np.minimum(works * 4, 1)
    out = np.empty((len(BANDS), len(town)), np.float32)
    for k in range(len(BANDS)):
        v = (_SLATE[k] + tiles * np.float32(_TILES[k] - _SLATE[k])) * tone
        v += (np.float32(_GARDEN[k]) * crown - v) * (1 - roof)
        v += (np.float32(_YARD[k]) - v) * yard
        v += (np.float32(_HALL[k]) * tone - v) * hall
        out[k] = v
    return out


def canopy(g: Ground, day: date) -> tuple[F32, F32, F32]:
    """Green and dry shares and the brightness of each parcel on `day`; crops rotate by the year."""
    of_year: U32 = mix(g.parcel, day.year)
    arable = np.minimum((unit(of_year) * len(_CROPS)).astype(np.int32), len(_CROPS) - 1)
    plant = np.where(g.use == 0, arable, len(_CROPS) + g.use.astype(np.int32) - 1)
    phase = (unit(of_year, 1) * np.float32(_PHASES - 0.01)).astype(np.int32)
    lag = np.linspace(-14, 14, _PHASES)
    doy = day.timetuple().tm_yday
    table = np.array([season(p, doy + lag) for p in (*_CROPS, "pasture", "meadow")], np.float32)
    at = (plant * np.int32(_PHASES) + phase).astype(np.int64)
    green, dry = pick(table[:, 0].ravel(), at), pick(table[:, 1].ravel(), at)
    a, b, _ = g.bumps
    vigour = (
        1
        + np.float32(0.10) * a
        + np.float32(0.05) * b
        + np.float32(0.25) * (unit(g.parcel, 2) - np.float32(0.6))
    )
    green = np.clip(green * vigour, 0, 1)
    margin = smoothstep(0.0, 7.0, g.edge)  # a strip of grass along each edge
    green = np.float32(0.7) + margin * (green - np.float32(0.7))
    dry = np.minimum(dry, 1 - green) * margin
    lift = np.float32(0.72) + np.float32(0.5) * unit(of_year, 3)
    return green, dry, lift
