"""The aeroplane's pictures: counts of 8 bits in quarter quadrangles of 3.75 minutes, as NAIP cuts and files them."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil, floor
from typing import Final

import numpy as np
import numpy.typing as npt

from chipweave.demo.grids import Grid, boxed
from chipweave.demo.land import LON0, Ground
from chipweave.demo.noise import F32
from chipweave.demo.paint import Texture, paint

TIME: Final = datetime(2021, 7, 3, 16, tzinfo=UTC)
"""The day of the flight; the hour is what such catalogs say of every picture."""
BANDS: Final = ("red", "green", "blue", "nir")
"""In the order of the files."""
STEP = 5.0
"""Metres a pixel. Real ones are finer; the land has nothing finer to show."""
_QUAD = 0.0625
_MARGIN = 60.0  # metres that a picture goes beyond its quad

_FULL = (0.27, 0.26, 0.24, 0.62)  # reflectance that fills the range, in the order of BANDS


def quads(bounds: tuple[float, float, float, float]) -> tuple[Grid, ...]:
    """Pictures that together cover lon/lat bounds, each in the zone of its middle (ETRS89)."""
    west, south, east, north = bounds
    found = []
    for row in range(floor(south / _QUAD), ceil(north / _QUAD)):
        for col in range(floor(west / _QUAD), ceil(east / _QUAD)):
            box = (
                max(col * _QUAD, west), max(row * _QUAD, south),
                min((col + 1) * _QUAD, east), min((row + 1) * _QUAD, north),
            )  # fmt: skip
            epsg = 25831 if (box[0] + box[2]) / 2 < LON0 else 25832
            found.append(boxed(f"{row:03d}{col:03d}", epsg, box, STEP, _MARGIN))
    return tuple(found)


def counts(ground: Ground) -> npt.NDArray[np.uint8]:
    """What the camera counts (band, n): brighter things by the square root, as a developed picture has it."""
    light: F32 = paint(ground, Texture(ground), TIME.date(), BANDS)
    full = np.array(_FULL, np.float32)[:, None]
    values: npt.NDArray[np.uint8] = np.rint(
        255 * np.clip(np.maximum(light, 0) / full, 0, 1) ** np.float32(0.6)
    ).astype(np.uint8)
    return values
