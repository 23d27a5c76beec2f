"""Rows of tables that were made elsewhere, with the columns that a split goes by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from chipweave.errors import RecipeError
from chipweave.plan.earlier import of_places, read_assignment
from chipweave.plan.splits.inside_tile import BOUNDS, CENTRE
from chipweave.recipe.outcome import Split

LIST: Final = "split:list"
TIME: Final = "split:time"
"""Columns with what a list says, and with dates."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table say what.

    Parameters
    ----------
    key
        Name of a row; without it the geometry is its name.
    place
        What must stay together beside rows of one geometry.
    time
        Date of a row, for method ``time``.
    tile
        Name of a row's tile; its bounds are the columns ``<tile>_xmin``, ``_ymin``, ``_xmax``, ``_ymax``.
    crs
        CRS of those bounds, row by row (``EPSG:32633`` or 32633); that of the table where there is no such column.
    error
        How far a position may be off, metres.
    labels
        Columns whose variogram gives ``buffer_m: auto``; those of `stratify` where it is empty.
    """

    key: str | None = None
    place: str | None = None
    time: str | None = None
    tile: str = "tile"
    crs: str = "crs"
    error: str | None = None
    labels: tuple[str, ...] = ()


def rows_of(
    frame: gpd.GeoDataFrame, split: Split, said: Columns, base: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """The table's rows with their place, the columns that the method goes by, and their keys.

    Parameters
    ----------
    frame
        The table; every row has a geometry.
    split, said
        What is asked, and which columns say what.
    base
        Folder that its paths are relative to.

    Raises
    ------
    RecipeError
        A column is not there, or of no use.
    """
    wanted = {name for name in (split.by, *split.strata, *said.labels) if name is not None}
    shares = [c for c in frame.columns if str(c).startswith(tuple(f"{name}." for name in wanted) or ("\0",))]
    rows = pd.DataFrame({n: frame[n].array for n in [*sorted(wanted & set(frame.columns)), *shares]})
    rows["place"] = _places(frame, said)
    keys = rows["place"] if said.key is None else _column(frame, said.key, "key").astype(str)
    if split.method == "inside_tile":
        rows = rows.assign(**_tiles(frame, said))
    elif split.method == "time":
        name = said.time or split.by or next((n for n in ("time", "datetime", "date") if n in frame), "time")
        rows[TIME] = _column(frame, name, "time")
    elif split.method == "list" and split.file is not None:
        told = f"split.file: {split.file}"
        by_key, by_place = read_assignment(base / split.file, told, key=split.key, column=split.column)
        rows[LIST] = rows["place"].map(of_places(by_key, by_place or by_key, keys, rows["place"], told))
    if said.error is not None:
        rows["error_m"] = pd.to_numeric(_column(frame, said.error, "error"), errors="coerce")
    return rows, keys


def _column(frame: gpd.GeoDataFrame, name: str, what: str) -> pd.Series:
    """A column, its rows numbered."""
    if name not in frame:
        there = ", ".join(str(c) for c in frame.columns[:20])
        raise RecipeError(
            f"the table has no column {name!r} ({what})", hint=f"it has {there}; name one with an option"
        )
    column: pd.Series = frame[name].reset_index(drop=True)
    return column


def _places(frame: gpd.GeoDataFrame, said: Columns) -> NDArray[np.str_]:
    """(n,) names of places: a column's values, or one name for rows of one geometry."""
    if said.place is not None:
        return np.asarray(_column(frame, said.place, "place").astype(str).to_numpy(dtype=np.str_))
    shapes = shapely.to_wkb(shapely.normalize(frame.geometry.to_numpy()))
    codes, known = pd.factorize(shapes)
    names = np.array([hashlib.blake2b(shape, digest_size=12).hexdigest() for shape in known], dtype=np.str_)
    return np.asarray(names[codes]) if len(known) else np.empty(0, np.str_)


def _tiles(frame: gpd.GeoDataFrame, said: Columns) -> dict[str, Any]:
    """Tiles and their bounds, and centroids in the CRS of these."""
    named = [f"{said.tile}{name.removeprefix('tile')}" for name in BOUNDS]
    own: dict[str, Any] = {"tile": _column(frame, said.tile, "tile")}
    own |= {name: _column(frame, column, "tile bounds") for name, column in zip(BOUNDS, named, strict=True)}
    shapes, x, y = frame.geometry, np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    if said.crs not in frame:
        points = shapely.centroid(shapes.to_numpy())
        return own | dict(zip(CENTRE, (shapely.get_x(points), shapely.get_y(points)), strict=True))
    codes, known = pd.factorize(frame[said.crs])
    if (codes < 0).any():
        raise RecipeError(f"column {said.crs!r} is empty in row {int(np.flatnonzero(codes < 0)[0])}")
    for number, text in enumerate(known):
        name = f"EPSG:{int(text)}" if str(text).removesuffix(".0").isdigit() else str(text)
        rows = np.flatnonzero(codes == number)
        try:
            points = shapely.centroid(shapes.iloc[rows].to_crs(name).to_numpy())
        except (CRSError, ProjError) as error:
            raise RecipeError(f"column {said.crs!r}: {name!r} is no CRS that PROJ knows: {error}") from None
        x[rows], y[rows] = shapely.get_x(points), shapely.get_y(points)
    return own | dict(zip(CENTRE, (x, y), strict=True))
