"""Stored numbers to ours: ``round(stored * gain + add)``, clipped and counted, or floats; and radar's two units."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

INT16_NODATA = -32768
"""No data in optical reflectance."""

INT16_LIMIT = 32767
"""Data is clipped to plus and minus this."""

Power = Literal["", "linear", "dB"]
"""How a file stores backscatter: as power, or as ``10 log10`` of it; empty where it stores something else."""


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
    if gain == 1.0 and float(add).is_integer():
        if not np.issubdtype(
            stored.dtype, np.integer
        ):  # means of integers: halves go up, as in blends of them
            stored = np.floor(np.where(ok, stored.astype(np.float64), 0.0) + 0.5)
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


def to_float32(
    stored: npt.NDArray[np.generic], ok: npt.NDArray[np.bool_], gain: float, add: float
) -> npt.NDArray[np.float32]:
    """``stored * gain + add`` as float32, NaN where there is no data; worked out in float64."""
    if gain == 1.0 and add == 0.0:
        values = stored.astype(np.float32)
    else:
        values = (stored.astype(np.float64) * gain + add).astype(np.float32)
    np.copyto(values, np.float32(np.nan), where=~ok)
    return values


def to_power(values: npt.NDArray[Any], ok: npt.NDArray[np.bool_], stored: Power) -> None:
    """Turn backscatter into linear power, in place; what is zero or negative is no data (contract, section 3).

    Parameters
    ----------
    values
        Floats as the file stores them, any shape.
    ok
        Where they are data; changed in place.
    stored
        How the file stores them.
    """
    if stored == "dB":
        np.divide(values, 10, out=values, where=ok)
        np.power(values.dtype.type(10), values, out=values, where=ok)
    with np.errstate(invalid="ignore"):
        np.logical_and(ok, values > 0, out=ok)
        np.logical_and(ok, np.isfinite(values), out=ok)


def to_decibel(power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``10 log10`` of linear power; NaN stays. Worked out in float64, so that machines agree."""
    return np.asarray(10.0 * np.log10(power.astype(np.float64)), np.float32)
