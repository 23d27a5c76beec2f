"""The Major TOM grid: cells of about equal distance, by the published formula.

Source: A. Francis and M. Czerkawski, "Major TOM: Expandable Datasets for Earth Observation", and its `grid.py`. The
earth is a sphere of 6378.137 km there. Rows are multiples of a step of latitude, columns of a row multiples of a step
of longitude that follows from the latitude of the row's south edge; a cell is named after its south-west corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RADIUS_KM = 6378.137
"""Radius of the sphere on which the grid counts."""

KM = 10.0
"""Distance of Major TOM Core's grid."""

LIMIT = 85.0
"""Rows begin between 85° south and north."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of a grid by their numbers: `row` counts north from the equator, `col` east from Greenwich."""

    row: IntArray
    col: IntArray

    @property
    def names(self) -> list[str]:
        """``123U_45L``: U and R from 0 on, D and L from 1 on."""
        rows, cols = self.row.tolist(), self.col.tolist()
        return [
            f"{r if r >= 0 else -r}{'U' if r >= 0 else 'D'}_{c if c >= 0 else -c}{'R' if c >= 0 else 'L'}"
            for r, c in zip(rows, cols, strict=True)
        ]


def _floats(values: npt.NDArray[np.floating[Any]]) -> FloatArray:
    return np.asarray(values, np.float64)


@dataclass(frozen=True, slots=True)
class EqualGrid:
    """Grid of cells of about `km` by `km`."""

    km: float = KM

    @property
    def rows(self) -> int:
        """Rows from pole to pole."""
        return math.ceil(math.pi * RADIUS_KM / self.km)

    @property
    def lat_step(self) -> float:
        """Degrees between rows."""
        return 180.0 / self.rows

    def columns(self, row: IntArray) -> IntArray:
        """Cells of rows around the earth."""
        lat = np.radians(row * self.lat_step)
        return np.asarray(np.ceil(2 * math.pi * RADIUS_KM * np.cos(lat) / self.km), np.int64)

    def has(self, row: IntArray) -> npt.NDArray[np.bool_]:
        """Whether rows belong to the grid."""
        return np.asarray(np.abs(row * self.lat_step) <= LIMIT, np.bool_)

    def corner(self, cells: Cells) -> tuple[FloatArray, FloatArray]:
        """South-west corners (lon, lat) in degrees."""
        return _floats(cells.col * (360.0 / self.columns(cells.row))), _floats(cells.row * self.lat_step)

    def centre(self, cells: Cells) -> tuple[FloatArray, FloatArray]:
        """Middles (lon, lat) in degrees, lon within ±180."""
        lon = (cells.col + 0.5) * (360.0 / self.columns(cells.row))
        return _floats(np.where(lon >= 180.0, lon - 360.0, lon)), _floats((cells.row + 0.5) * self.lat_step)

    def cell_of(self, lon: FloatArray, lat: FloatArray) -> Cells:
        """Cells that hold points; as published, a point on a line belongs to what is below and left of it."""
        row = np.ceil(lat / self.lat_step).astype(np.int64) - 1
        count = self.columns(row)
        col = np.ceil(lon / (360.0 / np.maximum(count, 1))).astype(np.int64) - 1
        # Columns begin at -180° or a little east of it; what lies west of the first is the last one's.
        return Cells(row, np.where(col < self.first(count), col + count, col))

    @staticmethod
    def first(count: IntArray) -> IntArray:
        """Westernmost column of rows of some cells.

        An even number has a column at ±180°. On which side it is named, the published code leaves to rounding.
        """
        half = count // 2
        east = (count % 2 == 0) & (half * (360.0 / np.maximum(count, 1)) + -180.0 < 0)
        return np.where(east, 1 - half, -half)

    def names_at(self, lon: FloatArray, lat: FloatArray) -> tuple[list[str], Cells]:
        """Names of the cells that hold points, empty beyond the grid's first and last row, and their numbers."""
        cells = self.cell_of(lon, lat)
        inside = self.has(cells.row)
        return [name if ok else "" for name, ok in zip(cells.names, inside.tolist(), strict=True)], cells

    def within(self, west: float, south: float, east: float, north: float) -> Cells:
        """Cells whose middle may lie in a box (``west < east``), row by row, and a rim of one."""
        first, last = math.floor(south / self.lat_step) - 1, math.ceil(north / self.lat_step) + 1
        rows = np.arange(first, last + 1, dtype=np.int64)
        rows = rows[self.has(rows)]
        found_rows, found_cols = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        counts = self.columns(rows)
        firsts = self.first(counts)
        for row, count, begin in zip(rows.tolist(), counts.tolist(), firsts.tolist(), strict=True):
            step = 360.0 / count
            low, high = math.floor(west / step) - 1, math.ceil(east / step) + 1
            cols = np.arange(low, min(high, low + count - 1) + 1, dtype=np.int64)
            cols = np.where(cols < begin, cols + count, np.where(cols >= begin + count, cols - count, cols))
            found_rows.append(np.full(len(cols), row, np.int64))
            found_cols.append(cols)
        return Cells(np.concatenate(found_rows), np.concatenate(found_cols))

    def count_within(self, west: float, south: float, east: float, north: float) -> int:
        """About how many cells `within` gives."""
        middle = math.radians(min(abs(south), abs(north)) if south * north > 0 else 0.0)
        wide = (east - west) / 360 * 2 * math.pi * RADIUS_KM * math.cos(middle) / self.km + 3
        return int(wide * ((north - south) / self.lat_step + 3))
