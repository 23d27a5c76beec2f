"""Looking at samples: their types, their outlines."""

from __future__ import annotations

import numpy as np

from worlds.analytic import lonlat
from worlds.harness import Sample

WORLDCOVER = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
CORINE = tuple(range(1, 45))

CLC = tuple(
    str(n)
    for n in (
        111, 112, 121, 122, 123, 124, 131, 132, 133, 141, 142, 211, 212, 213, 221, 222, 223, 231, 241, 242, 243, 244,
        311, 312, 313, 321, 322, 323, 324, 331, 332, 333, 334, 335, 411, 412, 421, 422, 423, 511, 512, 521, 522, 523,
    )
)  # fmt: skip
"""Level-3 codes in order: the raster value of each is its place, from 1."""

NINETEEN = (
    "111 112", "121", "211 212 213", "221 222 223 241", "231", "242", "243", "244", "311", "312", "313", "321 333",
    "322 323", "324", "331", "411 412", "421 422", "511 512", "521 522 523",
)  # fmt: skip
"""Level-3 members of BigEarthNet's classes, by index (facts-a: the pipeline's own table)."""

CLASS_OF = {CLC.index(code) + 1: n for n, codes in enumerate(NINETEEN) for code in codes.split()}
"""BigEarthNet's class of the raster values that have one."""


def kinds(value):
    """The type of a JSON value, all the way down; numbers are numbers."""
    if isinstance(value, dict):
        return {k: kinds(v) for k, v in value.items()}
    if isinstance(value, list):
        assert value, "an empty list"
        found = [kinds(v) for v in value]
        assert all(f == found[0] for f in found), f"a list of several types: {value}"
        return [found[0]]
    assert value is not None
    return type(value).__name__


def ring(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Points on the outline of a sample, eight a side, in lon/lat."""
    west, south, east, north = sample.bounds
    t = np.linspace(0, 1, 9)[:-1]
    x = np.concatenate(
        [west + (east - west) * t, np.full(8, east), east - (east - west) * t, np.full(8, west)]
    )
    y = np.concatenate(
        [np.full(8, south), south + (north - south) * t, np.full(8, north), north - (north - south) * t]
    )
    return lonlat(sample.crs, x, y)
