"""The area of a recipe, in lon/lat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from chipweave.catalog.footprint import projected
from chipweave.catalog.mgrs import square_of
from chipweave.errors import RecipeError
from chipweave.plan.vectors import read_features
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.places import needs_area

FloatArray = npt.NDArray[np.float64]

NUDGE = 1e-11
"""Degrees: a point on an outline is judged a little north-east of it, so that of two neighbours one has it."""


@dataclass(frozen=True, slots=True)
class AreaOfInterest:
    """Polygons in EPSG:4326, and which chips count as inside.

    Parameters
    ----------
    geometry
        A polygon or multipolygon within ±180°.
    rule
        ``centre`` (a chip's centre; half-open for a box), ``within`` or ``intersects`` (its footprint).
    boxes
        (w, s, e, n) where the area is a box; two where it crosses ±180°; else empty.
    """

    geometry: BaseGeometry
    rule: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()

    def holds_points(self, lon: FloatArray, lat: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether each point is inside; an area keeps its west and south edges and leaves the others."""
        if not self.boxes:
            shapely.prepare(self.geometry)
            return np.asarray(shapely.contains_xy(self.geometry, lon + NUDGE, lat + NUDGE / 2), np.bool_)
        inside = np.zeros(lon.shape, np.bool_)
        for w, s, e, n in self.boxes:
            east = (lon < e) | ((e == 180) & (lon == 180))
            inside |= (lon >= w) & east & (lat >= s) & (lat < n)
        return inside

    def holds_footprints(self, footprints: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
        """Whether each footprint is within, or meets, the area: by `rule`."""
        shapely.prepare(self.geometry)
        if self.rule == "within":
            return np.asarray(shapely.covers(self.geometry, footprints), np.bool_)
        # Touching edges share no ground.
        return np.asarray(
            shapely.intersects(self.geometry, footprints) & ~shapely.touches(self.geometry, footprints),
            np.bool_,
        )

    def near(self, lon: FloatArray, lat: FloatArray, metres: float) -> npt.NDArray[np.bool_]:
        """Whether each point is within some metres of a box around a part of the area; rather one too many."""
        found = np.zeros(lon.shape, np.bool_)
        pad = metres / 110_000.0
        for w, s, e, n in shapely.bounds(shapely.get_parts(self.geometry)).tolist():
            wide = pad / np.cos(np.radians(min(max(abs(s), abs(n)) + pad, 89.9)))
            across = [(lon + t >= w - wide) & (lon + t <= e + wide) for t in (-360, 0, 360)]
            found |= np.any(across, axis=0) & (lat >= s - pad) & (lat <= n + pad)
        return found

    @property
    def centre(self) -> tuple[float, float]:
        """A point (lon, lat) inside the largest polygon, by which areas of pixels are judged."""
        parts = shapely.get_parts(self.geometry)
        largest = parts[int(np.argmax(shapely.area(parts)))]
        point = largest.centroid if largest.covers(largest.centroid) else largest.representative_point()
        return float(point.x), float(point.y)


EVERYWHERE = AreaOfInterest(shapely.box(-180, -90, 180, 90), "centre", ((-180.0, -90.0, 180.0, 90.0),))
"""For places that come from a file or from scenes."""


def read_area(loaded: LoadedRecipe) -> AreaOfInterest:
    """Area of a recipe; the whole earth where it has none, and its places come from a file or from scenes.

    Raises
    ------
    RecipeError
        Where its file is missing, empty, unreadable, without a CRS or without polygons.
    """
    area = loaded.recipe.area
    if area is None:
        if not needs_area(loaded.mapping):
            return EVERYWHERE
        raise RecipeError("area: is missing", hint="`area: {bbox: [w, s, e, n]}`")
    if area.bbox is not None:
        w, s, e, n = area.bbox
        boxes = ((w, s, e, n),) if w < e else ((w, s, 180.0, n), (-180.0, s, e, n))
        return AreaOfInterest(shapely.union_all([shapely.box(*b) for b in boxes]), area.rule, boxes)
    if area.mgrs is not None:
        return AreaOfInterest(shapely.union_all([_square(name) for name in area.mgrs]), area.rule)
    name = area.geojson or area.file
    if name is None:
        raise RecipeError("area: names neither bbox, geojson, file nor mgrs")
    return AreaOfInterest(_read_polygons(loaded.resolve(name), str(name), area.layer, area.where), area.rule)


def _square(name: str) -> BaseGeometry:
    """Outline in lon/lat of a square of the military grid, 100 km on a side."""
    found = square_of(name)
    outline = None if found is None else projected(*found)
    if outline is None:
        raise RecipeError(f"area.mgrs: {name!r} is no square of 100 km", hint="such as 29TNE")
    return outline


def _read_polygons(path: Path, name: str, layer: str | None, where: str | None) -> BaseGeometry:
    said = f"area: {name}"
    frame = read_features(path, said, layer=layer, where=where)
    polygons = [
        p
        for p in shapely.get_parts(shapely.make_valid(shapely.union_all(frame.geometry.to_numpy())))
        if p.geom_type in {"Polygon", "MultiPolygon"} and p.area > 0
    ]
    if not polygons:
        raise RecipeError(f"{said}: holds no polygon")
    return shapely.union_all(polygons)
