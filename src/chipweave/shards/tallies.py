"""Counts and sums that are exact, so that they do not depend on the order in which they were merged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int64]

PERCENTILES = (1, 2, 50, 98, 99)
BINS = 256
"""Most bins of a histogram in `stats.json`."""

_DENSE = 1 << 17  # up to this span a bincount is quicker than sorting
_SMALL = 2  # bytes of a type whose every value has its place in a table
_FULL = np.iinfo(np.uint32).max  # numbers after which a place in a table might overflow
_PENDING = 1 << 20
_ZERO_BIN = 1 << 15
_UNIT_BITS = 1074  # 2**-1074 is the smallest double: every double is a whole number of it


class Histogram:
    """How often each integer came, exactly."""

    def __init__(self) -> None:
        self._values: list[Values] = []
        self._counts: list[Values] = []
        self._pending = 0
        self._tables: dict[np.dtype[Any], NDArray[np.uint32]] = {}
        self._tabled = 0

    def add(self, array: NDArray[Any], leave_out: int | None = None) -> None:
        """Count an integer array of any shape, but for one value."""
        if array.size == 0:
            return
        if array.dtype.itemsize <= _SMALL and array.dtype.isnative:
            self._add_small(array, leave_out)
            return
        lowest, highest = int(array.min()), int(array.max())
        if highest - lowest < _DENSE:
            dense = np.bincount(array.reshape(-1).astype(np.int64) - lowest)
            found = np.flatnonzero(dense)
            values, counts = found + lowest, dense[found]
        else:
            values, counts = np.unique(array.astype(np.int64), return_counts=True)
        if leave_out is not None:
            keep = values != leave_out
            values, counts = values[keep], counts[keep]
        self.add_counts(values, counts)

    def _add_small(self, array: NDArray[Any], leave_out: int | None) -> None:
        """Count numbers of 8 or 16 bits in tables that hold all of them, in the order of their bits."""
        from chipweave.pixels.counting import count_into  # noqa: PLC0415 - readers need no compiler

        dtype = array.dtype
        places = array.reshape(-1).view(f"u{dtype.itemsize}")
        table = self._tables.get(dtype)
        if table is None:
            table = self._tables[dtype] = np.zeros((2, 1 << 8 * dtype.itemsize), np.uint32)
        self._tabled += places.size
        if self._tabled > _FULL:
            self._drain()
            self._tabled = places.size
        limits = np.iinfo(dtype)
        if leave_out is None or not limits.min <= leave_out <= limits.max:
            count_into(places, table)
            return
        out = leave_out % table.shape[1]
        kept = table[:, out].copy()
        count_into(places, table)
        table[:, out] = kept

    def _drain(self) -> None:
        """Put what stands in the tables to the other counts."""
        for dtype, table in self._tables.items():
            whole = table.sum(axis=0, dtype=np.int64)
            found = np.flatnonzero(whole)
            if found.size:
                values = found.astype(f"u{dtype.itemsize}").view(dtype).astype(np.int64)
                rising = np.argsort(values)
                self._values.append(values[rising])
                self._counts.append(whole[found][rising])
                table[:] = 0

    def add_counts(self, values: Values, counts: Values) -> None:
        """Count each of `values` as often as `counts` says."""
        self._values.append(values)
        self._counts.append(counts)
        self._pending += values.size
        if self._pending > _PENDING:
            self.items()

    def items(self) -> tuple[Values, Values]:
        """Values that came, ascending, and how often."""
        self._drain()
        if len(self._values) != 1:
            merged = np.concatenate([np.empty(0, np.int64), *self._values])
            values, where = np.unique(merged, return_inverse=True)
            counts = np.zeros(values.size, np.int64)
            np.add.at(counts, where, np.concatenate([np.empty(0, np.int64), *self._counts]))
            self._values, self._counts = [values], [counts]
        self._pending = 0  # what is merged counts anew only when more comes
        return self._values[0], self._counts[0]

    def summary(self) -> dict[str, Any]:
        """Work out the figures of `stats.json`, all exact: percentiles are values that came."""
        values, counts = self.items()
        n = int(counts.sum())
        if n == 0:
            return _nothing()
        pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
        total = sum(v * c for v, c in pairs)
        squares = sum(v * v * c for v, c in pairs)
        low, high = pairs[0][0], pairs[-1][0]
        width = -(-(high - low + 1) // BINS)
        bins = np.zeros(-(-(high - low + 1) // width), np.int64)
        np.add.at(bins, (values - low) // width, counts)
        return {
            "count": n,
            "mean": total / n,
            "std": math.sqrt((squares * n - total * total) / (n * n)),
            "min": low,
            "max": high,
            **_percentiles(values, counts, n),
            "histogram": {
                "edges": [low + i * width for i in range(bins.size + 1)],
                "counts": bins.tolist(),
            },
        }


class FloatTally:
    """The same for floats: exact sums of each array's own sums, and a histogram on fixed bins.

    A bin is what shares sign, exponent and the first seven bits of the mantissa of a float32, so its width
    is 0.8 % of the value at most and no range need be known beforehand. Percentiles are middles of bins.
    """

    def __init__(self) -> None:
        self.bins = Histogram()
        self.total = 0
        self.squares = 0
        self.low = math.inf
        self.high = -math.inf

    def add(self, array: NDArray[Any], leave_out: float = math.nan) -> None:
        """Count the finite values of a float array, but for one."""
        flat = array.reshape(-1)
        flat = flat[np.isfinite(flat) & (flat != leave_out)].astype(np.float64)
        if flat.size == 0:
            return
        self.total += _units(float(flat.sum()))
        self.squares += _units(float(np.square(flat).sum()))
        self.low = min(self.low, float(flat.min()))
        self.high = max(self.high, float(flat.max()))
        self.bins.add(_bin_of(flat))

    def merge(self, other: FloatTally) -> None:
        """Add what another one counted."""
        self.bins.add_counts(*other.bins.items())
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def state(self) -> dict[str, Any]:
        """Everything but the bins, as plain JSON."""
        return {
            "total": hex(self.total),
            "squares": hex(self.squares),
            "range": [self.low.hex(), self.high.hex()],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], bins: Histogram) -> FloatTally:
        """Undo `state`."""
        tally = cls()
        tally.bins = bins
        tally.total, tally.squares = int(state["total"], 16), int(state["squares"], 16)
        tally.low, tally.high = (float.fromhex(x) for x in state["range"])
        return tally

    def summary(self) -> dict[str, Any]:
        """Work out the figures of `stats.json`."""
        codes, counts = self.bins.items()
        n = int(counts.sum())
        if n == 0:
            return _nothing()
        middles = np.clip(_middle_of(codes), self.low, self.high)
        mean = Fraction(self.total, n << _UNIT_BITS)
        variance = Fraction(self.squares, n << _UNIT_BITS) - mean * mean
        edges = np.linspace(self.low, self.high, BINS + 1)
        if self.low == self.high:
            edges = np.array([self.low - 0.5, self.low + 0.5])
        where = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, edges.size - 2)
        bins = np.zeros(edges.size - 1, np.int64)
        np.add.at(bins, where, counts)
        return {
            "count": n,
            "mean": float(mean),
            "std": math.sqrt(max(float(variance), 0.0)),
            "min": self.low,
            "max": self.high,
            **_percentiles(middles, counts, n),
            "histogram": {"edges": edges.tolist(), "counts": bins.tolist()},
        }


def _percentiles(values: NDArray[Any], counts: Values, n: int) -> dict[str, int | float]:
    """Smallest value with at least that share of all at or below it."""
    reached = np.cumsum(counts)
    ranks = [-(-p * n // 100) for p in PERCENTILES]
    return {
        f"p{p:02d}": values[np.searchsorted(reached, r)].item()
        for p, r in zip(PERCENTILES, ranks, strict=True)
    }


def _nothing() -> dict[str, Any]:
    names = ("mean", "std", "min", "max", *(f"p{p:02d}" for p in PERCENTILES))
    return {"count": 0, **dict.fromkeys(names), "histogram": {"edges": [], "counts": []}}


def _units(x: float) -> int:
    """Express a double as a whole number of 2**-1074."""
    numerator, denominator = x.as_integer_ratio()
    return numerator << (_UNIT_BITS + 1 - denominator.bit_length())


def _bin_of(values: NDArray[np.float64]) -> Values:
    """Take the upper half of a float32's bits, turned so that bins sort like values."""
    top = float(np.finfo(np.float32).max)
    bits = (np.clip(values, -top, top) + 0.0).astype(np.float32).view(np.uint32)  # -0.0 becomes 0.0
    turned = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (turned >> 16).astype(np.int64)


def _middle_of(bins: Values) -> NDArray[np.float64]:
    turned = (bins.astype(np.uint32) << np.uint32(16)) | np.uint32(1 << 15)
    bits = np.where(turned >> 31, turned & np.uint32((1 << 31) - 1), ~turned)
    middles = bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(bins == _ZERO_BIN, 0.0, middles)
