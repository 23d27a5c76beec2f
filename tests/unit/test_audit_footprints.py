"""A sample's geometry is known as the outline of its grid wherever that lies, and as another one where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.affinity import scale

from chipweave.audit.footprints import misplaced
from chipweave.plan.lattices import footprints

GROUND = {
    "utm": ("EPSG:32632", (3e5, 7e5), (1e5, 9e6), 640),
    "utm at 180": ("EPSG:32601", (1.6e5, 5e5), (1e5, 7.5e6), 2560),
    "wide at 180": ("EPSG:32701", (1.6e5, 3e5), (2e6, 9.9e6), 20_000),
    "laea": ("EPSG:3035", (2e6, 6e6), (1.5e6, 5e6), 5120),
    "polar": ("EPSG:3413", (-3e6, 3e6), (2e5, 3e6), 20_000),
    "degrees": ("EPSG:4326", (-180, 179.95), (-80, 85), 0.1),
}


@pytest.mark.parametrize("where", GROUND)
def test_outlines_are_known_wherever_they_lie(where):
    crs, wide, high, side = GROUND[where]
    rng, n, px = np.random.default_rng(0), 300, 64
    x, y = rng.uniform(*wide, n), rng.uniform(*high, n)
    shapes, _ = footprints(crs, side, x, y)
    zero, step = np.zeros(n), np.full(n, side / px)
    grid = (
        np.array([crs] * n),
        np.stack([step, zero, x, zero, -step, y], axis=1),
        np.full(n, 64.0),
        np.full(n, 64.0),
    )
    assert not misplaced(*grid, shapes).any()
    for factor in (0.1, 0.95, 10):
        assert misplaced(*grid, np.array([scale(s, factor, factor) for s in shapes], object)).all()
