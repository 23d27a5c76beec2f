"""Objects of a chip: features that have a class, measured on the chip's own grid, cut at its edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon, box

from chipweave.labels.base import NO_CLASS, Features
from chipweave.labels.text.words import class_name
from chipweave.model import Legend, Place

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

HALF: Final = 0.5 - 1e-9
"""Share of an object inside the chip from which it counts as one of the chip's: a half, less what floats lose."""

LEAST_PX: Final = 4
"""Pixels of an object that is seen, unless the recipe says so."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects that have some part inside a chip, n of them, in the order of the features.

    Parameters
    ----------
    parts
        (n,) what of each lies inside: lines of a line, areas of an area.
    dims
        (n,) 0 points, 1 lines, 2 areas.
    sizes
        (n,) m² of an area inside the chip, m of a line, 0 of a point.
    shares
        (n,) share of each that is inside, by area or length; 1 of a point.
    seen
        (n,) whether it is large enough to be seen at the chip's resolution.
    names
        (n,) of its class.
    ids, tags
        As its features have them.
    """

    parts: npt.NDArray[np.object_]
    dims: npt.NDArray[np.int64]
    sizes: Floats
    shares: Floats
    seen: Flags
    names: npt.NDArray[np.object_]
    ids: tuple[str, ...]
    tags: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> Flags:
        """(n,) whether it is one of the chip's objects: seen, and at least half of it inside."""
        return self.seen & (self.shares >= HALF)

    @property
    def whole(self) -> Flags:
        """(n,) whether it is seen, and nothing of it lies outside."""
        return self.seen & (self.shares >= 1 - 1e-9)

    def of(self, name: str) -> Flags:
        """(n,) whether it is of a class."""
        return np.asarray(self.names == name, bool)


def class_names(legend: Legend | None, layer: str) -> dict[int, str]:
    """Names of classes by code; of a layer without a legend there is one class, the layer itself, under `NO_CLASS`."""
    if legend is None:
        return {NO_CLASS: class_name(layer.replace("_", " "))}
    return {c.code: class_name(c.name) for c in legend.classes}


def chip_box(place: Place) -> Polygon:
    """The chip's footprint in its CRS."""
    side = place.size * place.resolution
    return box(place.x, place.y - side, place.x + side, place.y)


def objects_of(
    features: Features, names: Mapping[int, str], place: Place, visible: Mapping[str, float], least_px: int
) -> Objects:
    """Measure the features of a chip.

    Parameters
    ----------
    features
        Whole, in the chip's CRS, which is in metres.
    names
        Of classes, by code. Features of others are left out.
    place
        The chip's grid; a point on its right or lower edge is the neighbour's, as its pixel is.
    visible
        By class, the coarsest resolution in metres a pixel at which its objects are seen.
    least_px
        Pixels that an area has to cover, or that a line has to be long, to be seen.
    """
    one = NO_CLASS in names  # a layer without a legend
    codes = [NO_CLASS if one else int(code) for code in features.codes]
    named = np.array([code in names for code in codes], bool)
    geometry = features.geometry
    kept = np.flatnonzero(named & ~shapely.is_empty(geometry) & ~shapely.is_missing(geometry))
    whole = geometry[kept]
    dims = shapely.get_dimensions(whole).astype(np.int64)
    parts = _cut(whole, dims, place)
    sizes, totals = _sizes(parts, dims), _sizes(whole, dims)
    inside = np.where(dims == 0, ~shapely.is_empty(parts), sizes > 0)
    shares = np.divide(sizes, totals, out=np.ones_like(sizes), where=totals > 0)
    held = np.array([names[codes[i]] for i in kept], object)
    limits = {class_name(name): metres for name, metres in visible.items()}
    found = np.flatnonzero(inside)
    seen = _seen(dims, sizes, held, place.resolution, limits, least_px)
    return Objects(
        parts[found], dims[found], sizes[found], shares[found], seen[found], held[found],
        tuple(features.ids[kept[i]] for i in found), tuple(features.tags[kept[i]] for i in found),
    )  # fmt: skip


def _cut(whole: npt.NDArray[np.object_], dims: npt.NDArray[Any], place: Place) -> npt.NDArray[np.object_]:
    """What of each geometry lies in the chip; of points those in its half-open square."""
    square = chip_box(place)
    shapely.prepare(square)
    parts = whole.copy()
    across = ~shapely.covers(square, whole)
    parts[across] = shapely.intersection(whole[across], square)
    for i in np.flatnonzero(dims == 0):
        x, y = shapely.get_coordinates(parts[i]).T
        col, row = (x - place.x) / place.resolution, (place.y - y) / place.resolution
        ok = (col >= 0) & (col < place.size) & (row >= 0) & (row < place.size)
        parts[i] = shapely.multipoints(np.column_stack([x[ok], y[ok]])) if ok.any() else shapely.Point()
    return parts


def _sizes(geometry: npt.NDArray[np.object_], dims: npt.NDArray[Any]) -> Floats:
    """m² of areas, m of lines, 0 of points."""
    out = np.zeros(len(geometry))
    for dim, measure in ((1, shapely.length), (2, shapely.area)):
        out[dims == dim] = measure(geometry[dims == dim])
    return out


def _seen(
    dims: npt.NDArray[Any],
    sizes: Floats,
    names: npt.NDArray[np.object_],
    resolution: float,
    limits: Mapping[str, float],
    least_px: int,
) -> Flags:
    least = np.array([math.inf, least_px * resolution, least_px * resolution**2])[dims]
    coarsest = np.array([limits.get(name, math.inf) for name in names])
    told = np.array([name in limits for name in names], bool)
    # 1e-9: four pixels of 0.1 m are four pixels
    big = (sizes >= least * (1 - 1e-9)) | ((dims == 0) & told)
    return np.asarray(big & (coarsest >= resolution), bool)


def union_area(objects: Objects, which: Flags) -> float:
    """m² that some areas cover together, each spot once."""
    parts = objects.parts[which & (objects.dims == 2)]
    return float(shapely.area(shapely.union_all(parts))) if len(parts) else 0.0


def centre_of(part: Any) -> tuple[float, float]:
    """Centroid (x, y) of what of an object lies inside the chip."""
    point = shapely.centroid(part)
    return float(point.x), float(point.y)


def bearing(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Degrees clockwise from grid north, 0 ≤ b < 360."""
    return math.degrees(math.atan2(end[0] - start[0], end[1] - start[1])) % 360


def cell_of(point: tuple[float, float], place: Place) -> str:
    """Where a point lies in the picture, in thirds: ``top left``, …, ``centre``."""
    side = place.size * place.resolution
    across = min(int(3 * (point[0] - place.x) / side), 2)
    down = min(int(3 * (place.y - point[1]) / side), 2)
    words = [("top", "", "bottom")[down], ("left", "", "right")[across]]
    return " ".join(w for w in words if w) or "centre"


def order_of(names: Sequence[str]) -> list[str]:
    """Distinct names in their order."""
    return list(dict.fromkeys(names))
