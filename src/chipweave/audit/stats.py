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

from chipweave.audit.arrays import Array, Layer, data_of, nodata_of
from chipweave.audit.report import BROKEN, Check, Findings

NAME = "stats.json"
_RELATIVE = 1e-9
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
class Totals:
    """Sums over the samples that were read."""

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
                self.bands[name, band].add(values[data])
        elif _is_numbers(layer):
            if split in _TRAINED:
                [band] = layer["bands"]
                self.bands[name, band].add(array[data_of(array, nodata_of(layer)) & np.isfinite(array)])
        elif layer["kind"] == "label" and np.issubdtype(array.dtype, np.integer):
            counts = self.classes[name, split]
            for code, number in zip(*np.unique(array, return_counts=True), strict=True):
                counts[int(code)] += int(number)


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
                    _check_band(f"{band} of {name}", stats[name][band], totals.bands[name, band], findings)
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
            if found.pop(int(code), 0) != number:
                findings.fail(f"pixels of class {code} of {name} in {split}: {number} are not there")
        if sum(found.values()) != said["nodata"][split]:
            findings.fail(f"pixels of {name} without a class in {split} are not {said['nodata'][split]}")
