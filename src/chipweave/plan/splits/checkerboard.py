"""Checkerboard: cells coloured in a fixed pattern, so that a split's cells lie evenly; the board may be moved.

With two halves it is the board of MOSAIKS (train on one colour, test on the other, averaged over jittered origins).
With other fractions it has as many colours as bring them out, and the colours of row j are those of row j - 1 moved by
a step that keeps cells of one colour apart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.plan.splits.base import Names, Stability, Units, usual_order
from chipweave.plan.splits.cells import RADIUS_KM, check_size, spelled
from chipweave.plan.splits.options import Options

_MOST_COLOURS = 100
_BELT = 8.0
"""Degrees of latitude in which columns of a board in kilometres are of one width: its rows stay in step there."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Checkerboard:
    """Units are the cells of the board; their colours say the split."""

    stability: ClassVar[Stability] = "stable"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "cells"

    def __call__(self, table: pd.DataFrame, rings: Floats, options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        fractions = options.wanted()
        check_size(options.block_km)
        colours = colour_splits(fractions, options.tolerance)
        turn = _drawn(options.seed)
        east, north = options.jitter if options.jitter is not None else (turn[0], turn[1])
        lon, lat = table["lon"].to_numpy(float), table["lat"].to_numpy(float)
        cell = _cells(lon, lat, options, east, north)
        first = options.seed if options.jitter is not None else int(turn[2] * len(colours))
        colour = np.mod(cell[:, 2] + step_of(len(colours)) * cell[:, 1] + first, len(colours))
        names = spelled(cell, lambda b, r, c: f"b{b:02d}r{r}c{c}")
        return Units(names, split=colours[colour])


def colour_splits(fractions: Mapping[str, float], tolerance: float) -> Names:
    """The split of each colour: the fewest, at most 100, with which fractions come out to half the tolerance."""
    names = usual_order(list(fractions))
    parts = np.array([fractions[n] for n in names])
    best = (math.inf, np.ones(len(names), np.int64))
    for number in range(len(names), max(_MOST_COLOURS, len(names)) + 1):
        counts = _rounded(parts, number)
        off = float(np.abs(counts / number - parts).max())
        if off < best[0] - 1e-12:
            best = (off, counts)
        if off <= min(tolerance / 2, 0.01) + 1e-12:
            break
    counts = best[1]
    return np.repeat(np.array(names, dtype=np.str_), counts)


def _rounded(parts: Floats, number: int) -> Ints:
    """Whole numbers near to parts of a number, each at least one, which sum to it."""
    counts = np.maximum(np.floor(parts * number + 1e-9).astype(np.int64), 1)
    while counts.sum() < number:
        counts[int(np.argmax(parts * number - counts))] += 1
    while counts.sum() > number:
        counts[int(np.argmax(np.where(counts > 1, counts - parts * number, -np.inf)))] -= 1
    return counts


def step_of(colours: int) -> int:
    """By how many colours a row is moved against the one below: the golden section's part, without a common divisor."""
    if colours < 3:
        return 1
    wish = colours * (3 - math.sqrt(5)) / 2
    steps = [s for s in range(1, colours) if math.gcd(s, colours) == 1]
    return min(steps, key=lambda s: (abs(s - wish), s))


def _drawn(seed: int) -> tuple[float, float, float]:
    """Three numbers in [0, 1) that hang on the seed alone."""
    digest = hashlib.sha256(f"checkerboard:{seed}".encode()).digest()
    a, b, c = (int.from_bytes(digest[8 * k : 8 * k + 7], "big") / 2**56 for k in range(3))
    return a, b, c


def _cells(lon: Floats, lat: Floats, options: Options, east: float, north: float) -> Ints:
    """(n, 3) belt, row and column."""
    away = np.mod(lon + 180, 360) - 180
    if options.cell_deg is not None:
        row = np.floor(lat / options.cell_deg - north)
        column = np.floor(away / options.cell_deg - east)
        return np.stack([np.zeros(len(lon)), row, column], axis=1).astype(np.int64)
    high = math.degrees(options.block_km / RADIUS_KM)
    row = np.floor(lat / high - north)
    belt = np.floor((np.clip((row + 0.5 + north) * high, -89.9, 89.9) + 92) / _BELT)
    middle = np.radians(np.clip(belt * _BELT - 88, -88, 88))
    column = np.floor(away / (high / np.cos(middle)) - east)
    return np.stack([belt, row, column], axis=1).astype(np.int64)
