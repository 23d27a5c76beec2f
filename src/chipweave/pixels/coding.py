"""From working arrays to the numbers that a recipe's `encode` asks for: shifted, clipped, scaled, rounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Stretch = tuple[tuple[float, float], ...]
"""(low, high) of each band, in source values."""


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
    stretch
        Quantiles, 0 to 1, of each band's data that become 0 and the largest code of an integer type, 1 of a float; in
        place of `add`, `clip`, `scale` and `offset`.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    add: float = 0.0
    clip: tuple[float, float] | None = None
    nodata: float = math.nan
    stretch: tuple[float, float] | None = None

    def spans(self, values: npt.NDArray[np.float32]) -> Stretch:
        """What each band of a working array, (band, y, x), is stretched from; empty where nothing is stretched.

        Quantiles are interpolated linearly between the two nearest values (type 7 of Hyndman and Fan 1996). A band
        without data has (0, 0).
        """
        if self.stretch is None:
            return ()
        found = []
        for band in values:
            data = band[np.isfinite(band)].astype(np.float64)
            low, high = np.quantile(data, self.stretch) if data.size else (0.0, 0.0)
            found.append((float(low), float(high)))
        return tuple(found)

    def encode(self, values: npt.NDArray[np.float32], spans: Stretch = ()) -> npt.NDArray[Any]:
        """Code a working array, ([time,] band, y, x), in which NaN is no data; `spans` as of that method."""
        if spans:
            return self._stored(self._stretched(values.astype(np.float64), spans))
        source = values.astype(np.float64) + self.add
        if self.clip is not None:
            source = np.clip(source, *self.clip)
        return self._stored(source * self.scale + self.offset)

    def physical(self, scale: float, offset: float) -> tuple[float, float]:
        """(scale, offset) from codes to what ``source * scale + offset`` is: samples say these."""
        return scale / self.scale, offset - scale * (self.offset / self.scale + self.add)

    def _stretched(self, values: npt.NDArray[np.float64], spans: Stretch) -> npt.NDArray[np.float64]:
        kind = np.dtype(self.dtype)
        top = 1.0 if np.issubdtype(kind, np.floating) else float(np.iinfo(kind).max)
        low, high = (np.array(ends)[:, None, None] for ends in zip(*spans, strict=True))
        width = np.where(high > low, high - low, 1.0)
        return np.asarray((np.clip(values, low, high) - low) / width * top, np.float64)

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
