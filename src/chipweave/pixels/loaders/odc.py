"""odc-stac's reading engine (odc-loader) as a reference loader.

It is asked for files and a GeoBox, below the level of STAC items: odc-stac finds its items by their outline in
lon/lat, which says nothing that the window does not say better.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.loader import RasterLoadParams, RasterSource, RioDriver

from chipweave.model import Asset
from chipweave.pixels.lattice import Grid
from chipweave.pixels.loaders import packages
from chipweave.pixels.loaders.base import AnyArray, BoolArray
from chipweave.pixels.resample import Method

# It logs what it also raises; with nobody listening Python would print that to stderr.
logging.getLogger("odc.loader").addHandler(logging.NullHandler())


def load(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> list[tuple[AnyArray, BoolArray]]:
    """See `Loader`."""
    return [packages.load_band(fetch, asset, default_nodata, crs, affine, shape, method) for asset in assets]


def fetch(
    file: str, dtype: np.dtype[np.floating], grid: Grid, shape: tuple[int, int], rule: packages.Rule
) -> packages.Floats:
    """See `packages.Fetch`."""
    box = GeoBox(shape, grid.affine, grid.crs)
    params = RasterLoadParams(dtype=dtype.name, fill_value=np.nan, use_overviews=False, resampling=rule)
    driver = RioDriver()
    state = driver.new_load(box)
    with driver.restore_env({}, state) as context:
        inner, pixels = driver.open(RasterSource(file), context).read(params, box)
    driver.finalise_load(state)
    out = np.full(shape, np.nan, dtype)
    out[inner] = pixels
    return out
