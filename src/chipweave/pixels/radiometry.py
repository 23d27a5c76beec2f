"""Stored numbers to ours: one rule, ``round(stored * gain + add)``, clipped and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

INT16_NODATA = -32768
"""No data in optical reflectance."""

INT16_LIMIT = 32767
"""Data is clipped to plus and minus this."""


def to_int16(
    stored: npt.NDArray[np.generic], ok: npt.NDArray[np.bool_], gain: float, add: float
) -> npt.NDArray[np.int16]:
    """Reflectance in units of 0.0001 as int16, clipped to ±32767, no data as -32768.

    Parameters
    ----------
    stored
        Values of the file, any shape.
    ok
        Where they are data.
    gain, add
        Of the scene's band: see `Asset`.
    """
    if gain == 1.0 and float(add).is_integer() and np.issubdtype(stored.dtype, np.integer):
        wide: npt.NDArray[Any] = stored.astype(np.int64) + int(add)
    else:
        wide = np.rint(np.where(ok, stored.astype(np.float64), 0.0) * gain + add).astype(np.int64)
    values: npt.NDArray[np.int16] = np.clip(wide, -INT16_LIMIT, INT16_LIMIT, out=wide).astype(np.int16)
    np.copyto(values, np.int16(INT16_NODATA), where=~ok)
    return values


def is_plain(dtype: np.dtype[np.generic], gain: float, add: float) -> bool:
    """Whether integers of a type need but a whole number added, which compiled loops do on the way."""
    small = np.issubdtype(dtype, np.integer) and dtype.itemsize <= 2
    return bool(small and gain == 1.0 and float(add).is_integer() and abs(add) < 1 << 30)
