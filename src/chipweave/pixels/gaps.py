"""No data in working arrays: -32768 where they are int16, NaN where they are float32."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chipweave.pixels import fused
from chipweave.pixels.radiometry import INT16_NODATA

Values = npt.NDArray[Any]
"""Bands of a scene or a picture on a window, (band, y, x): int16 or float32."""

Working = Literal["int16", "float32"]
"""Type of a layer's working arrays: int16 for optical reflectance and counts, float32 for everything else."""

BoolArray = npt.NDArray[np.bool_]


def blank(shape: tuple[int, ...], dtype: Working | np.dtype[np.generic]) -> Values:
    """Array without data."""
    kind = np.dtype(dtype)
    values: Values = np.full(shape, INT16_NODATA if kind == np.int16 else np.nan, kind)
    return values


def holes(values: Values) -> BoolArray:
    """Where an array, of any shape, has no data."""
    found: BoolArray = values == INT16_NODATA if values.dtype == np.int16 else np.isnan(values)
    return found


def whole(values: Values) -> BoolArray:
    """Where all bands of (band, y, x) are data."""
    if values.dtype == np.int16:
        full: BoolArray = fused.whole(values)
        return full
    return np.asarray(~np.isnan(values).any(axis=0), np.bool_)


def erase(values: Values, where: BoolArray) -> Values:
    """A copy without data `where` (y, x)."""
    out: Values = np.where(where, values.dtype.type(blank((), values.dtype)), values)
    return out
