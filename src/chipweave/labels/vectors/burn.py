"""Rules burned on a chip's grid: classes, which feature each pixel belongs to, boundaries, distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from chipweave.labels.base import NO_CLASS, AnyArray
from chipweave.labels.vectors.opened import Near, lonlat_box
from chipweave.labels.vectors.outlines import outlines
from chipweave.labels.vectors.rules import Rule
from chipweave.model import Place
from chipweave.pixels.burning import burn_band, burn_shapes, distances
from chipweave.pixels.lattice import parse_crs, units

NOBODY: Final = -1
"""Owner of a pixel that no feature burned."""

TRUE_ENOUGH: Final = 0.01
"""A CRS whose metres differ by less from those on the ground is taken at its word: UTM's differ by 0.001 at most."""

SEGMENTS: Final = 16
"""Segments of a quarter circle around the end or corner of what is buffered: they miss it by 0.12 % of the width."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A class for edges: pixels whose centre lies within half of `width_px` pixels of the outline of an area."""

    width_px: int
    value: int


@dataclass(frozen=True, slots=True)
class Burned:
    """What rules made of a chip of (h, w) pixels.

    Parameters
    ----------
    classes
        (h, w) uint16 codes.
    owners
        (h, w) int32: number in the arrays below of the feature that burned a pixel last; `NOBODY` where none did.
    shapes, codes, near
        (n,) features that meet the chip, in the order of burning: as burned last, buffer and all; the code of each; its
        number among those that were near.
    edges
        (m, 4) of all burned areas around the chip, in pixels.
    """

    classes: npt.NDArray[np.uint16]
    owners: npt.NDArray[np.int32]
    shapes: npt.NDArray[np.object_]
    codes: npt.NDArray[np.int32]
    near: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]


def margin_of(rules: tuple[Rule, ...], boundary: Boundary | None, place: Place) -> float:
    """How far beyond a chip's edge features have a say in it, in the CRS's unit."""
    wide = max((r.buffer_m for r in rules), default=0.0)
    reach = wide / ground_scale(place) if wide > 0 else 0.0
    return reach + (boundary.width_px / 2 * place.resolution if boundary is not None else 0.0)


def ground_scale(place: Place) -> float:
    """Metres on the ground in a unit of the CRS, at the chip."""
    metres = units(place.crs)[0]
    side = place.size * place.resolution
    window = (place.x, place.y - side, place.x + side, place.y)
    w, s, e, n = lonlat_box(window, place.crs)
    factor = _factor(place.crs, round((w + e) / 2, 2), round((s + n) / 2, 2))
    return metres if abs(factor - 1) < TRUE_ENOUGH else metres / factor


@lru_cache(maxsize=4096)
def _factor(crs: str, lon: float, lat: float) -> float:
    """How much larger lengths are on the map than on the ground: the root of how much areas are."""
    parsed = parse_crs(crs)
    if not parsed.is_projected:
        return 1.0
    factors = pyproj.Proj(parsed).get_factors((lon + 180) % 360 - 180, lat)
    areal = float(factors.areal_scale)
    return areal**0.5 if np.isfinite(areal) and areal > 0 else 1.0


def burn(
    near: Near,
    rules: tuple[Rule, ...],
    picks: tuple[int, ...],
    outside: int,
    boundary: Boundary | None,
    place: Place,
) -> Burned:
    """Burn rules in order, later ones over earlier ones; of one rule the features in the file's order.

    Parameters
    ----------
    near
        Features around the chip.
    rules, picks
        The rules, and which column of `near.codes` holds the codes of each.
    outside
        Code where no feature lies.
    boundary
        Burned over all of them.
    place
        The chip.
    """
    shape = (place.size, place.size)
    classes, owners = np.full(shape, outside, np.uint16), np.full(shape, NOBODY, np.int32)
    last = np.full(len(near.shapes), NO_CLASS, np.int32)
    turn = np.full(len(near.shapes), NO_CLASS, np.int64)
    burned = near.shapes.copy()
    edges = [np.empty((0, 4))]
    for number, (rule, pick) in enumerate(zip(rules, picks, strict=True)):
        own = np.flatnonzero(near.codes[:, pick] != NO_CLASS)
        if not len(own):
            continue
        shapes = near.shapes[own]
        if rule.buffer_m:
            shapes = shapely.buffer(shapes, rule.buffer_m / ground_scale(place), quad_segs=SEGMENTS)
        codes = near.codes[own, pick]
        drawn = outlines(shapes, place)
        burn_shapes(
            drawn.edges,
            drawn.starts,
            drawn.kinds,
            rule.all_touched,
            codes.astype(np.int64),
            own,
            classes,
            owners,
        )
        edges.append(drawn.of_areas)
        burned[own], last[own], turn[own] = shapes, codes, number
    every = np.concatenate(edges)
    if boundary is not None:
        burn_band(every, boundary.width_px / 2, boundary.value, classes)
    order = _in_order(burned, turn, place)
    numbers = np.full(len(burned) + 1, NOBODY, np.int32)  # the last one is nobody's
    numbers[order] = np.arange(len(order), dtype=np.int32)
    return Burned(classes, numbers[owners], burned[order], last[order], order, every)


def _in_order(burned: AnyArray, turn: npt.NDArray[np.int64], place: Place) -> npt.NDArray[np.int64]:
    """Numbers of the features that meet a chip, by the rule that burned each last, and then as they come."""
    side = place.size * place.resolution
    square = shapely.box(place.x, place.y - side, place.x + side, place.y)
    shapely.prepare(square)
    here = np.flatnonzero((turn != NO_CLASS) & shapely.intersects(square, burned))
    found: npt.NDArray[np.int64] = here[np.argsort(turn[here], kind="stable")]
    return found


def to_edges(burned: Burned, place: Place) -> npt.NDArray[np.float32]:
    """(h, w) metres on the ground from the centres of pixels that belong to a feature to its outline; else 0."""
    height, width = burned.owners.shape
    if not len(burned.edges):
        return np.zeros((height, width), np.float32)
    pixels: AnyArray = distances(burned.edges, height, width)
    metres = pixels * place.resolution * ground_scale(place)
    return np.where(burned.owners != NOBODY, metres, 0.0).astype(np.float32)
