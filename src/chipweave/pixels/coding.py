"""From working arrays to the numbers that a recipe's `encode` asks for: shifted, clipped, scaled, rounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Coding:
    """``clip(source + add) * scale + offset``, in `dtype`.

    Integers are rounded half to even and held within their type. Data never takes the code of no data: a value that
    would moves to the next one, upwards where there is one.

    Parameters
    ----------
    dtype
        Of what is written, such as ``uint8``.
    scale, offset, add
        The factor, what is added after it, and what is added before clipping.
    clip
        Least and largest value after `add`, or None.
    nodata
        The code of no data; NaN for floats alone.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    add: float = 0.0
    clip: tuple[float, float] | None = None
    nodata: float = math.nan

    def encode(self, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Code a working array, ([time,] band, y, x), in which NaN is no data."""
        source = values.astype(np.float64) + self.add
        if self.clip is not None:
            source = np.clip(source, *self.clip)
        return self._stored(source * self.scale + self.offset)

    def physical(self, scale: float, offset: float) -> tuple[float, float]:
        """(scale, offset) from codes to what ``source * scale + offset`` is: samples say these."""
        return scale / self.scale, offset - scale * (self.offset / self.scale + self.add)

    def _stored(self, coded: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        hole = np.isnan(coded)
        kind = np.dtype(self.dtype)
        if np.issubdtype(kind, np.floating):
            out = coded.astype(kind)
            if not math.isnan(self.nodata):
                own = kind.type(self.nodata)
                out = np.where(out == own, np.nextafter(own, kind.type(np.inf)), out)
                out[hole] = own
            return out
        limits = np.iinfo(kind)
        whole = np.rint(np.where(hole, 0.0, coded))
        np.clip(whole, limits.min, limits.max, out=whole)  # float64 holds the limits of 32 bits exactly
        code = self.nodata
        beside = code + 1 if code < limits.max else code - 1
        whole[whole == code] = beside
        whole[hole] = code
        return whole.astype(kind)


def default_nodata(dtype: str) -> float:
    """Code of no data where a recipe names none: NaN, 0 of unsigned types, the least of signed ones."""
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.floating):
        return math.nan
    return float(np.iinfo(kind).min)
