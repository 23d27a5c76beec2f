"""The area of a recipe, in lon/lat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio.errors
import shapely
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.recipe import LoadedRecipe

FloatArray = npt.NDArray[np.float64]

NUDGE = 1e-11
"""Degrees: a point on an outline is judged a little north-east of it, so that of two neighbours one has it."""

SEGMENTS = 512
"""Outlines of another CRS are followed at this many points across the area: straight there is curved here."""


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

    @property
    def centre(self) -> tuple[float, float]:
        """A point (lon, lat) inside the largest polygon, by which areas of pixels are judged."""
        parts = shapely.get_parts(self.geometry)
        largest = parts[int(np.argmax(shapely.area(parts)))]
        point = largest.centroid if largest.covers(largest.centroid) else largest.representative_point()
        return float(point.x), float(point.y)


def read_area(loaded: LoadedRecipe) -> AreaOfInterest:
    """Area of a recipe.

    Raises
    ------
    RecipeError
        Where its file is missing, empty, unreadable, without a CRS or without polygons.
    """
    area = loaded.recipe.area
    if area is None:
        raise RecipeError("area: is missing", hint="`area: {bbox: [w, s, e, n]}`")
    if area.bbox is not None:
        w, s, e, n = area.bbox
        boxes = ((w, s, e, n),) if w < e else ((w, s, 180.0, n), (-180.0, s, e, n))
        return AreaOfInterest(shapely.union_all([shapely.box(*b) for b in boxes]), area.rule, boxes)
    name = area.geojson or area.file
    if name is None:
        raise RecipeError("area: names neither bbox, geojson nor file")
    return AreaOfInterest(_read_polygons(loaded.resolve(name), str(name), area.layer, area.where), area.rule)


def _read_polygons(path: Path, name: str, layer: str | None, where: str | None) -> BaseGeometry:
    if not path.exists():
        raise RecipeError(f"area: {name}: no such file (looked for {path})")
    try:
        if path.suffix.lower() in {".parquet", ".geoparquet"}:
            frame = gpd.read_parquet(path)
        else:
            frame = gpd.read_file(path, layer=layer, where=where)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, OSError) as error:
        raise RecipeError(f"area: {name}: cannot be read: {error}") from error
    if not isinstance(frame, gpd.GeoDataFrame) or frame.geometry.is_empty.all():
        raise RecipeError(f"area: {name}: holds no geometry")
    if frame.crs is None:
        raise RecipeError(
            f"area: {name}: has no CRS", hint="write it again with its CRS, or as GeoJSON in lon/lat"
        )
    polygons = [
        p
        for p in shapely.get_parts(shapely.make_valid(shapely.union_all(_lonlat(frame, name))))
        if p.geom_type in {"Polygon", "MultiPolygon"} and p.area > 0
    ]
    if not polygons:
        raise RecipeError(f"area: {name}: holds no polygon")
    whole = shapely.union_all(polygons)
    w, s, e, n = whole.bounds
    if not (w >= -180 and e <= 180 and s >= -90 and n <= 90):
        raise RecipeError(
            f"area: {name}: bounds {w:.6g}, {s:.6g}, {e:.6g}, {n:.6g} are not in lon/lat",
            hint="a GeoJSON file is in lon/lat; give another format, or a CRS, for projected coordinates",
        )
    return whole


def _lonlat(frame: gpd.GeoDataFrame, name: str) -> npt.NDArray[np.object_]:
    """Valid geometries of a frame in lon/lat, their straight edges followed."""
    shapes = frame.geometry
    if not frame.crs.is_geographic:
        w, s, e, n = shapes.total_bounds
        shapes = shapes.segmentize(max(e - w, n - s, 1e-9) / SEGMENTS)
    try:
        found = shapes.to_crs(4326)
    except ProjError as error:
        raise RecipeError(f"area: {name}: its CRS has no way to lon/lat: {error}") from error
    return np.asarray(shapely.make_valid(found.to_numpy()), np.object_)
