"""`stats.json`, worked out again from the pixels in another way than it was made."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Array, Layer, data_of, nodata_of
from chipweave.audit.report import BROKEN, Check, Findings

NAME = "stats.json"
PERCENTILES = (1, 2, 50, 98, 99)
_RELATIVE = 1e-9
_NEAR, _LEAST = 2.0**-7, 2.0**-126
"""A bin of floats is as wide as the last of seven bits of mantissa; least, what a float32 knows."""
_RELATIVE_EDGE = 1e-6
"""How near to an edge a float may lie on its other side: what a float32 knows."""
_TOGETHER = 1 << 20
_CLIPPED = 32767
"""Where int16 is clipped, up and down."""
_TRAINED = {"train", "all"}
"""Folds are all in one split, and each is trained on."""


@dataclass
class Moments:
    """Count, mean, sum of squared distances from the mean, least and most: merged array by array (Chan 1979)."""

    count: int = 0
    mean: float = 0.0
    square: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: Array) -> None:
        """Take in an array of any shape."""
        if values.size == 0:
            return
        values = values.astype(np.float64)
        mean = float(values.mean())
        count = self.count + values.size
        apart = mean - self.mean
        own = float(np.square(values - mean).sum())
        self.square += own + apart * apart * self.count * values.size / count
        self.mean += apart * values.size / count
        self.count = count
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))


@dataclass
class Halves:
    """How often each first half of a float32 comes: sign, exponent, seven bits of mantissa."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 16, np.int64))
    waiting: list[NDArray[np.uint16]] = field(default_factory=list)

    def add(self, values: Array) -> None:
        """Take in floats of any shape; many arrays are counted at once."""
        self.waiting.append((values.astype(np.float32).reshape(-1).view(np.uint32) >> 16).astype(np.uint16))
        if sum(one.size for one in self.waiting) >= _TOGETHER:
            self.count()

    def count(self) -> None:
        """Count those that wait."""
        if self.waiting:
            self.counts += np.bincount(np.concatenate(self.waiting), minlength=1 << 16)
            self.waiting.clear()

    def agree(self, edges: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
        """Whether a histogram may be theirs: below each edge lie all that surely do, and none that surely does not."""
        self.count()
        codes = np.flatnonzero(self.counts).astype(np.uint32)
        ends = [(codes << 16).view(np.float32), ((codes << 16) | 0xFFFF).view(np.float32)]
        low, high = np.sort(np.array(ends, np.float64), axis=0)
        for edge, below in zip(edges[1:-1], np.cumsum(counts)[:-1], strict=True):
            near = _RELATIVE_EDGE * abs(edge) + _LEAST
            surely = self.counts[codes[high < edge - near]].sum()
            if not surely <= below <= self.counts[codes[low <= edge + near]].sum():
                return False
        return True


@dataclass
class Ranks:
    """How many values lie below and up to each percentile that `stats.json` names, and in its bins.

    Parameters
    ----------
    low, high
        From where to where a percentile is as good as said: of integers itself, of floats a bin of seven bits.
    start, width
        Of the histogram's bins; those of floats, a width of 0, are counted by `halves`.
    """

    low: list[float]
    high: list[float]
    start: int
    width: int
    below: NDArray[np.int64]
    upto: NDArray[np.int64]
    bins: NDArray[np.int64]
    halves: Halves | None = None
    clipped: int = 0

    @classmethod
    def of(cls, said: Mapping[str, Any], whole: bool) -> Ranks:
        """What to count for a band of which that is said.

        Raises
        ------
        One of `BROKEN`
            It cannot be used.
        """
        marks = [float(said[f"p{p:02d}"]) for p in PERCENTILES]
        near = [0.0 if whole else _NEAR * abs(mark) + _LEAST for mark in marks]
        edges = said["histogram"]["edges"]
        return cls(
            [m - n for m, n in zip(marks, near, strict=True)],
            [m + n for m, n in zip(marks, near, strict=True)],
            int(edges[0]) if whole else 0,
            int(edges[1]) - int(edges[0]) if whole else 0,
            np.zeros(len(marks), np.int64),
            np.zeros(len(marks), np.int64),
            np.zeros(len(edges) - 1, np.int64),
            None if whole else Halves(),
        )

    def add(self, values: Array) -> None:
        """Take in values of any shape."""
        self.below += [np.count_nonzero(values < x) for x in self.low]
        self.upto += [np.count_nonzero(values <= x) for x in self.high]
        if self.width > 0:
            bins = (values.astype(np.int64).reshape(-1) - self.start) // self.width
            inside = bins[(bins >= 0) & (bins < self.bins.size)]
            self.bins += np.bincount(inside, minlength=self.bins.size)
        if self.halves is not None:
            self.halves.add(values)
        elif values.dtype == np.int16:
            self.clipped += int(np.count_nonzero((values == _CLIPPED) | (values == -_CLIPPED)))

    def check(self, what: str, said: Mapping[str, Any], count: int, findings: Findings) -> None:
        """Hold percentiles and bins against what is said."""
        for n, p in enumerate(PERCENTILES):
            # The smallest value with at least that share of all at or below it.
            if not self.below[n] < -(-p * count // 100) <= self.upto[n]:
                findings.fail(f"p{p:02d} of {what} is {said[f'p{p:02d}']}, which the pixels do not give")
        edges, bins = np.asarray(said["histogram"]["edges"], float), np.asarray(said["histogram"]["counts"])
        even = np.linspace(edges[0], edges[-1], edges.size)
        same = edges.size == bins.size + 1 and np.allclose(
            edges, even, rtol=_RELATIVE, atol=_RELATIVE * np.ptp(edges)
        )
        if self.width > 0:
            same &= self.bins.tolist() == bins.tolist()
        if self.halves is not None:
            same &= bool(edges[0] <= said["min"] and said["max"] <= edges[-1]) and self.halves.agree(
                edges, bins
            )
        if not same:
            findings.fail(f"the histogram of {what} is not that of the pixels")
        if said.get("clipped", self.clipped) != self.clipped:
            findings.fail(
                f"{NAME} counts {said['clipped']} clipped pixels of {what}, there are {self.clipped}"
            )


@dataclass
class Totals:
    """Sums over the samples that were read.

    Parameters
    ----------
    said
        Contents of `stats.json`, as far as they can be used.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    ranks: dict[tuple[str, str], Ranks | None] = field(default_factory=dict)
    bands: dict[tuple[str, str], Moments] = field(default_factory=lambda: defaultdict(Moments))
    classes: dict[tuple[str, str], dict[int, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )

    def add(self, name: str, layer: Layer, split: str, array: Array) -> None:
        """Take in one layer of one sample."""
        if layer["kind"] == "imagery" and split in _TRAINED:
            nodata = nodata_of(layer)
            for band, values in zip(
                layer["bands"], np.moveaxis(array, layer["dims"].index("band"), 0), strict=True
            ):
                data = data_of(values, nodata)
                if np.issubdtype(values.dtype, np.floating):
                    data &= np.isfinite(values)
                self._add(name, band, values[data])
        elif _is_numbers(layer):
            if split in _TRAINED:
                [band] = layer["bands"]
                self._add(name, band, array[data_of(array, nodata_of(layer)) & np.isfinite(array)])
        elif layer["kind"] == "label" and np.issubdtype(array.dtype, np.integer):
            counts = self.classes[name, split]
            for code, number in zip(*np.unique(array, return_counts=True), strict=True):
                counts[int(code)] += int(number)

    def _add(self, name: str, band: str, values: Array) -> None:
        self.bands[name, band].add(values)
        if (name, band) not in self.ranks:
            self.ranks[name, band] = self._ranks(name, band, np.issubdtype(values.dtype, np.integer))
        ranks = self.ranks[name, band]
        if ranks is not None:
            ranks.add(values)

    def _ranks(self, name: str, band: str, whole: bool) -> Ranks | None:
        try:
            return Ranks.of(self.said[name][band], whole)
        except BROKEN:
            return None  # told by `check_stats`, which reads them again


def read_stats(folder: Path) -> Mapping[str, Any]:
    """Contents of `stats.json`, empty where it is none: `check_stats` says so."""
    try:
        found = json.loads((folder / NAME).read_bytes())
    except BROKEN:
        return {}
    return found if isinstance(found, dict) else {}


def _is_numbers(layer: Layer) -> bool:
    """Whether a layer is a label that is a quantity, such as a height."""
    return layer["kind"] == "label" and "legend" not in layer and layer["dtype"].startswith("float")


def check_stats(folder: Path, totals: Totals, layers: Mapping[str, Layer]) -> Check:
    """Compare `stats.json` with the totals: exactly for counts, within 1e-9 for means and deviations."""
    findings = Findings("stats")
    try:
        stats = json.loads((folder / NAME).read_bytes())
        for name, layer in layers.items():
            if layer["kind"] == "imagery" or _is_numbers(layer):
                for band in layer["bands"]:
                    what, said = f"{band} of {name}", stats[name][band]
                    _check_band(what, said, totals.bands[name, band], findings)
                    ranks = totals.ranks.get((name, band))
                    if ranks is not None and totals.bands[name, band].count:
                        ranks.check(what, said, totals.bands[name, band].count, findings)
            elif layer["kind"] == "label" and layer.get("legend"):
                _check_classes(name, stats[name], totals, findings)
    except BROKEN as exc:
        findings.fail(f"{NAME} cannot be used: {exc!r}")
    return findings.check("statistics are what the pixels of train give", bands=len(totals.bands))


def _check_band(what: str, said: Mapping[str, Any], found: Moments, findings: Findings) -> None:
    if said["count"] != found.count:
        findings.fail(f"count of {what} is {said['count']}, the pixels give {found.count}")
        return
    if found.count == 0:
        return
    scale = max(abs(found.low), abs(found.high))
    values = {
        "mean": found.mean,
        "std": math.sqrt(found.square / found.count),
        "min": found.low,
        "max": found.high,
    }
    for name, value in values.items():
        # A mean near zero is the difference of large sums: it is as sure as they are.
        if not math.isclose(said[name], value, rel_tol=_RELATIVE, abs_tol=1e-12 * scale):
            findings.fail(f"{name} of {what} is {said[name]}, the pixels give {value}")
    if sum(said["histogram"]["counts"]) != found.count:
        findings.fail(f"the histogram of {what} does not hold all pixels")
    marks = [said[p] for p in ("min", "p01", "p02", "p50", "p98", "p99", "max")]
    if marks != sorted(marks):
        findings.fail(f"percentiles of {what} do not rise")


def _check_classes(name: str, said: Mapping[str, Any], totals: Totals, findings: Findings) -> None:
    splits = {split for layer, split in totals.classes if layer == name}
    if set(said["counts"]) != splits:
        findings.fail(f"classes of {name} are counted for {sorted(said['counts'])}, not {sorted(splits)}")
        return
    for split in sorted(splits):
        found = dict(totals.classes[name, split])
        for code, number in said["counts"][split].items():
            real = found.pop(int(code), 0)
            if real != number:
                findings.fail(
                    f"{NAME} counts {number} pixels of class {code} of {name} in {split}, there are {real}"
                )
        rest = sum(found.values())
        if rest != said["nodata"][split]:
            told = said["nodata"][split]
            findings.fail(
                f"{NAME} counts {told} pixels of {name} without a class in {split}, there are {rest}"
            )
