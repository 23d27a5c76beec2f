"""The loader of the house: rasterio reads blocks, compiled kernels resample (see `resample.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from affine import Affine

from chipweave.model import Asset
from chipweave.pixels.bands import read_bands
from chipweave.pixels.loaders.base import AnyArray, BoolArray
from chipweave.pixels.resample import Method


def load(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> list[tuple[AnyArray, BoolArray]]:
    """See `Loader`."""
    return read_bands(assets, default_nodata, crs, affine, shape, method)
