"""Days of the year at places, out of rasters of phenology or of crop calendars."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.model import Asset
from chipweave.pixels.blocks import read_block
from chipweave.pixels.lattice import reproject
from chipweave.pixels.read import source_of
from chipweave.pixels.stored import SourceGrid, data_mask

REACH = (0, 2, 8, 32, 128)
"""Pixels in which a day is looked for around a place that has none: deserts and evergreen woods have no greenup."""

NO_DAY = 0
"""Of a place near which no pixel has a day."""

_EPOCH = date(1970, 1, 1)
_LAST = 366

_FILL = 32767
"""Days from which on a value is none: MCD12Q2's fill, and in 2059 as days since 1970."""

Ints = npt.NDArray[np.int64]


def days_at(path: Path, said: str, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> Ints:
    """(n,) day of the year, 1 to 366, of the pixel at each point or of the nearest one that has one; else `NO_DAY`.

    Parameters
    ----------
    path, said
        A raster of one band, and how the recipe names it. Values above 366 are days since 1970, as MCD12Q2 has them.
    lon, lat
        Points in degrees.

    Raises
    ------
    RecipeError
        The file cannot be read.
    """
    try:
        source, nodata = source_of(Asset(str(path)), None)
        x, y = reproject(lon, lat, "EPSG:4326", source.grid.crs)
        col, row = ~source.grid.affine * (x, y)
        found = np.full(len(lon), NO_DAY, np.int64)
        for n in np.flatnonzero(np.isfinite(col) & np.isfinite(row)):
            found[n] = _near(source, nodata, int(np.floor(row[n])), int(np.floor(col[n])))
    except PermanentSourceError as error:
        raise RecipeError(f"{said}: {error.message}") from error
    return found


def _near(source: SourceGrid, nodata: float | None, row: int, col: int) -> int:
    """Day of a pixel, or of the nearest one with a day; of equally near ones the first in reading order."""
    height, width = source.shape
    for reach in REACH:
        top, left = max(row - reach, 0), max(col - reach, 0)
        bottom, right = min(row + reach + 1, height), min(col + reach + 1, width)
        if top >= bottom or left >= right:
            continue
        values = read_block(source, top, left, bottom - top, right - left)
        days = _days(values, data_mask(values, nodata))
        rows, cols = np.nonzero(days)
        if len(rows):
            nearest = int(np.argmin((rows + top - row) ** 2 + (cols + left - col) ** 2))
            return int(days[rows[nearest], cols[nearest]])
    return NO_DAY


def _days(values: npt.NDArray[np.generic], ok: npt.NDArray[np.bool_]) -> Ints:
    """Days of the year of stored values; `NO_DAY` where there is none."""
    stored = np.where(ok, values, NO_DAY).astype(np.int64)
    days = np.where((stored >= 1) & (stored <= _LAST), stored, NO_DAY)
    for since in np.unique(stored[stored > _LAST]).tolist():
        if since < _FILL:
            days[stored == since] = (_EPOCH + timedelta(days=since)).timetuple().tm_yday
    return np.asarray(days, np.int64)
