"""``random``: places drawn evenly over the ground of the area."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import shapely

from chipweave.pixels.lattice import reproject
from chipweave.plan.lattices import FloatArray, corners_at
from chipweave.plan.sampling.base import Ask

EQUAL_AREA = "EPSG:6933"
"""Cylindrical, equal-area: evenly there is evenly on the ellipsoid."""

BATCH = 4096
"""Points that are drawn at a time; no place depends on how many are asked for."""


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Points in the area, without end."""
    parts = shapely.get_parts(ask.area.geometry)
    shapely.prepare(parts)
    boxes = shapely.bounds(parts)
    x0, y0 = reproject(boxes[:, 0], boxes[:, 1], "EPSG:4326", EQUAL_AREA)
    x1, y1 = reproject(boxes[:, 2], boxes[:, 3], "EPSG:4326", EQUAL_AREA)
    share = (x1 - x0) * (y1 - y0)
    random = np.random.Generator(np.random.PCG64(ask.sampling.seed))
    while True:
        part = random.choice(len(parts), BATCH, p=share / share.sum())
        u, v = random.random(BATCH), random.random(BATCH)
        lon, lat = _back(x0[part] + u * (x1 - x0)[part], y0[part] + v * (y1 - y0)[part])
        # Boxes of parts may overlap: a point counts for the part that it was drawn for.
        held = np.asarray(shapely.contains_xy(parts[part], lon, lat), np.bool_)
        yield corners_at(lon[held], lat[held], ask.chips)


def _back(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    return reproject(x, y, EQUAL_AREA, "EPSG:4326")
