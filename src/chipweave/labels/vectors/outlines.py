"""Geometries as edges in the pixels of a chip, for the kernels of `pixels.burning`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from chipweave.labels.base import AnyArray
from chipweave.model import Place
from chipweave.pixels.burning import AREA

Shapes = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Outlines:
    """Edges of n shapes in pixels: see `pixels.burning.burn_shapes`."""

    edges: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]

    @property
    def of_areas(self) -> npt.NDArray[np.float64]:
        """Edges of areas alone."""
        which = np.repeat(self.kinds == AREA, np.diff(self.starts))
        found: npt.NDArray[np.float64] = self.edges[which]
        return found


def outlines(shapes: Shapes, place: Place) -> Outlines:
    """Edges of shapes of one dimension each, in the chip's CRS, on the chip's grid."""
    kinds = shapely.get_dimensions(shapes)
    rings, owner = _lines(shapes, kinds)
    points, line = shapely.get_coordinates(rings, return_index=True)
    u = (points[:, 0] - place.x) / place.resolution
    v = (place.y - points[:, 1]) / place.resolution
    goes_on = np.append(line[1:] == line[:-1], [False]) if len(line) else np.empty(0, np.bool_)
    single = shapely.get_type_id(rings) == shapely.GeometryType.POINT
    at = np.flatnonzero(goes_on | single[line])
    to = np.where(goes_on[at], at + 1, at)
    edges = np.ascontiguousarray(np.stack([u[at], v[at], u[to], v[to]], axis=1))
    of = owner[line[at]]
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(len(shapes) + 1)).astype(np.int64)
    return Outlines(edges[order], starts, np.maximum(kinds, 0).astype(np.uint8))


def _lines(shapes: Shapes, kinds: AnyArray) -> tuple[Shapes, AnyArray]:
    """Rings, lines and points that shapes are made of, and which shape each belongs to."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    area = kinds[owner] == AREA
    rings, of = shapely.get_rings(parts[area], return_index=True)
    return (
        np.concatenate([rings, parts[~area]]),
        np.concatenate([owner[area][of], owner[~area]]),
    )
