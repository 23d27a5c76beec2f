"""Vector files and tables with coordinates, as geometries in lon/lat."""

from __future__ import annotations

import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio.errors
import shapely
import shapely.affinity
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.labels.points.tables import coordinate_columns
from chipweave.labels.vectors.files import require_whole

SEGMENTS = 512
"""Outlines of another CRS are followed at this many points across them: straight there is curved here."""

_SIGNS = {".csv": ",", ".tsv": "\t"}

TABLES = set(_SIGNS)
"""Endings of tables in text."""

_CODE = r"0\d+"
"""What looks like a number, and is a name: its zeros count."""

_PARQUET = {".parquet", ".geoparquet"}

_ERRORS = (
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FieldError,
    pyogrio.errors.FeatureError, pyogrio.errors.GeometryError,
)  # fmt: skip

Shapes = npt.NDArray[np.object_]


def read_features(
    path: Path, said: str, *, layer: str | None = None, where: str | None = None
) -> gpd.GeoDataFrame:
    """Features of a file in lon/lat (EPSG:4326), valid, those without a geometry left out.

    Parameters
    ----------
    path
        A vector file in any CRS that it states, or a table (CSV, TSV, Parquet) with columns ``lon, lat``.
    said
        How an error names it, such as ``area: a.gpkg``.
    layer
        Of a file with several.
    where
        Filter on its columns, as in SQL.

    Raises
    ------
    RecipeError
        Missing, unreadable, without geometry or CRS, or not in lon/lat where it says it is.
    """
    frame = _read(path, said, layer, where)
    if not isinstance(frame, gpd.GeoDataFrame):
        frame = _placed(frame, said)
        if where is not None:
            frame = _filtered(frame, said, where)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise RecipeError(f"{said}: holds no geometry")
    if frame.crs is None:
        raise RecipeError(f"{said}: has no CRS", hint="write it again with its CRS, or as GeoJSON in lon/lat")
    shapes = _wrapped(_lonlat(frame, said))
    found: gpd.GeoDataFrame = frame.set_geometry(
        gpd.GeoSeries(shapes, index=frame.index, crs=4326)
    ).reset_index(drop=True)
    w, s, e, n = found.total_bounds
    if not (w >= -180 and e <= 180 and s >= -90 and n <= 90):
        raise RecipeError(
            f"{said}: bounds {w:.6g}, {s:.6g}, {e:.6g}, {n:.6g} are not in lon/lat",
            hint="a GeoJSON file is in lon/lat; give another format, or a CRS, for projected coordinates",
        )
    return found


def read_table(path: Path, said: str, *, text: bool = False) -> pd.DataFrame:
    """Columns of a table or of a vector file, as they are.

    Parameters
    ----------
    path, said
        As `read_features` says.
    text
        Take all of a table in text as text: names such as ``007`` or ``NA`` stay what they are.

    Raises
    ------
    RecipeError
        Missing or unreadable.
    """
    if text and path.suffix.lower() in TABLES and path.exists():
        try:
            return pd.read_csv(path, sep=_SIGNS[path.suffix.lower()], dtype=str, keep_default_na=False)
        except (ValueError, OSError) as error:
            raise RecipeError(f"{said}: cannot be read: {error}") from error
    return _read(path, said, None, None)


def has_coordinates(table: pd.DataFrame) -> bool:
    """Whether rows of a file have a place: geometries, or columns ``lon, lat``."""
    return isinstance(table, gpd.GeoDataFrame) or None not in _coordinates(table)


def _coordinates(table: pd.DataFrame) -> tuple[str | None, str | None]:
    """Columns with longitude and latitude."""
    return coordinate_columns([str(c) for c in table.columns])


def _read(path: Path, said: str, layer: str | None, where: str | None) -> pd.DataFrame:
    if not path.exists():
        raise RecipeError(f"{said}: no such file (looked for {path})")
    suffix = path.suffix.lower()
    require_whole(path, said)
    frame: pd.DataFrame
    try:
        if suffix in _PARQUET:
            frame = _parquet(path)
            spatial = isinstance(frame, gpd.GeoDataFrame)
            return _filtered(frame, said, where) if where is not None and spatial else frame
        if suffix in TABLES:
            return _typed(path, _SIGNS[suffix])
        frame = gpd.read_file(path, layer=layer, where=where)
    except (*_ERRORS, ValueError, OSError) as error:
        raise RecipeError(f"{said}: cannot be read: {error}") from error
    return frame


def _typed(path: Path, sign: str) -> pd.DataFrame:
    """A table in text: numbers where a column holds nothing else; names such as ``007`` or ``NA`` stay as they are."""
    frame: pd.DataFrame = pd.read_csv(path, sep=sign)
    raw = pd.read_csv(path, sep=sign, dtype=str, keep_default_na=False, na_values=[""])
    for name in frame.columns:
        column = frame[name]
        number = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
        whole = number and bool((column.dropna() % 1 == 0).all())
        if name == "key" or not number or (whole and raw[name].str.fullmatch(_CODE, na=False).any()):
            frame[name] = raw[name]
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame
    try:
        frame = gpd.read_parquet(path)
    except ValueError as error:  # no geometry in it: a table
        if "geo metadata" not in str(error):
            raise
        frame = pd.read_parquet(path)
    return frame


def _filtered(frame: gpd.GeoDataFrame, said: str, where: str) -> gpd.GeoDataFrame:
    """Features that meet an SQL condition: asked of a GeoPackage, since not every format can be asked."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "asked.gpkg")
            frame.to_file(path)
            return gpd.read_file(path, where=where)
    except (*_ERRORS, ValueError) as error:
        raise RecipeError(f"{said}: where: {error}") from error


def _placed(table: pd.DataFrame, said: str) -> gpd.GeoDataFrame:
    """A table with coordinates as points."""
    lon, lat = _coordinates(table)
    if lon is None or lat is None:
        raise RecipeError(f"{said}: has no columns lon and lat", hint="name them so, or give a vector file")
    try:
        x, y = (pd.to_numeric(table[c]).to_numpy(np.float64) for c in (lon, lat))
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{said}: lon and lat are no numbers: {error}") from error
    if len(bad := np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))):
        raise RecipeError(f"{said}: row {int(bad[0]) + 1} has no lon and lat")
    return gpd.GeoDataFrame(table, geometry=np.asarray(shapely.points(x, y), np.object_), crs=4326)


def _wrapped(shapes: Shapes) -> Shapes:
    """Geometries that go on beyond ±180° cut there, and brought back; numbers that are no longitudes stay."""
    w, _, e, _ = shapely.bounds(shapes).T
    beyond = np.flatnonzero(((w < -180) | (e > 180)) & (w >= -540) & (e <= 540))
    if not len(beyond):
        return shapes
    out, whole = shapes.copy(), shapely.box(-180, -90, 180, 90)
    for k in beyond:
        moved = [shapely.affinity.translate(shapes[k], xoff=turn) for turn in (-360, 0, 360)]
        parts = [p for p in shapely.get_parts(shapely.intersection(moved, whole)) if not p.is_empty]
        same = [p for p in parts if shapely.get_dimensions(p) == shapely.get_dimensions(shapes[k])]
        if same:
            out[k] = shapely.union_all(same)
    return out


def _lonlat(frame: gpd.GeoDataFrame, said: str) -> Shapes:
    """Valid geometries of a frame in lon/lat, their straight edges followed."""
    shapes = frame.geometry
    if not frame.crs.is_geographic:
        w, s, e, n = shapes.total_bounds
        shapes = shapes.segmentize(max(e - w, n - s, 1e-9) / SEGMENTS)
    try:
        found = shapes.to_crs(4326)
    except ProjError as error:
        raise RecipeError(f"{said}: its CRS has no way to lon/lat: {error}") from error
    flat = np.asarray(shapely.force_2d(found.to_numpy()), np.object_)
    if not frame.crs.is_geographic:
        w, _, e, _ = shapely.bounds(flat).T
        for k in np.flatnonzero(e - w > 180):
            flat[k] = shapely.union_all([_unrolled(part) for part in shapely.get_parts(flat[k])])
    return np.asarray(shapely.make_valid(flat), np.object_)


def _unrolled(part: BaseGeometry) -> BaseGeometry:
    """A line or polygon that goes on beyond ±180°, where its points jump; a ring about a pole holds the pole."""
    if not isinstance(part, shapely.Polygon):
        return shapely.transform(part, _going_on)
    own = _about(part.exterior)
    for hole in part.interiors:
        # Both go on from where they begin, either way.
        turns = [shapely.affinity.translate(_about(hole), xoff=360 * turn) for turn in range(-2, 3)]
        own = shapely.difference(own, shapely.union_all(turns))
    return own


def _going_on(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack([np.unwrap(points[:, 0], period=360.0), points[:, 1]])


def _about(ring: BaseGeometry) -> BaseGeometry:
    """Ground inside a ring."""
    points = _going_on(shapely.get_coordinates(ring))
    first, last = points[0, 0], points[-1, 0]
    if abs(last - first) > 180:
        pole = 90.0 if points[:, 1].mean() > 0 else -90.0
        points = np.concatenate([points, [[last, pole], [first, pole]]])
    return shapely.make_valid(shapely.Polygon(points))
