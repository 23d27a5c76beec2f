"""What a file's header says of a band, and which of its stored values are data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from chipweave.errors import PermanentSourceError
from chipweave.pixels.lattice import Grid

MAX_MASKED = 4
"""Bytes of whole numbers that a file with a mask of its own may hold: there are types of twice the width."""


@dataclass(frozen=True, slots=True)
class SourceGrid:
    """What a file's header says of one band.

    Attributes
    ----------
    dtype
        Type of what is read: the stored one, or a wider one that has room for `hidden`.
    nodata
        Value that means no data, if the file states one.
    block
        (rows, columns) of a stored block.
    hidden
        What a pixel that the file's own mask hides is read as; None where it has no such mask.
    """

    href: str
    index: int
    grid: Grid
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    nodata: float | None
    block: tuple[int, int]
    hidden: float | None = None


def with_room(dtype: np.dtype[np.generic], href: str) -> tuple[np.dtype[np.generic], float]:
    """Type that holds a value which no stored one has, and that value.

    Raises
    ------
    PermanentSourceError
        There is none.
    """
    if np.issubdtype(dtype, np.floating):
        return dtype, float("nan")
    if not np.issubdtype(dtype, np.integer) or dtype.itemsize > MAX_MASKED:
        raise PermanentSourceError(f"{href}: a mask beside {dtype}, which is not read", href=href)
    wider = np.dtype(f"i{2 * dtype.itemsize}")
    return wider, float(np.iinfo(wider).min)


def no_data(source: SourceGrid, nodata: float | None) -> tuple[SourceGrid, float | None]:
    """A band and the one value that means no data in it, if `nodata` is what is stated of it."""
    if source.hidden is None:
        return source, nodata
    if nodata is None:
        return source, source.hidden
    if np.issubdtype(source.dtype, np.floating):
        return source, nodata  # NaN is no data besides
    # One value for what is hidden and what is stated, unless no pixel can hold the latter.
    holds = np.iinfo(source.dtype.name)
    if float(nodata).is_integer() and holds.min <= nodata <= holds.max:
        return replace(source, hidden=nodata), nodata
    return source, source.hidden


def data_mask(values: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Where stored values are data: not `nodata`, and finite."""
    if np.issubdtype(values.dtype, np.floating):
        good: npt.NDArray[np.bool_] = np.isfinite(values)
        if nodata is None or np.isnan(nodata):
            return good
        return np.asarray(good & np.not_equal(values, values.dtype.type(nodata)), np.bool_)
    if nodata is None or not float(nodata).is_integer():
        return np.ones(values.shape, np.bool_)
    return np.asarray(np.not_equal(values, int(nodata)), np.bool_)  # an int: no copy as float64
