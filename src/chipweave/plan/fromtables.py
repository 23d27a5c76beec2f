"""Rows of tables that were made elsewhere, with the columns that a split goes by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj.exceptions import CRSError, ProjError

from chipweave.errors import RecipeError
from chipweave.plan.earlier import Ids, of_places, read_assignment, texts
from chipweave.plan.splits.inside_tile import BOUNDS, CENTRE
from chipweave.plan.tableplaces import ERROR, LIST, TIME, alias, geometry_names, names_alike
from chipweave.recipe.outcome import Split


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

    def unheard(self, split: Split) -> list[str]:
        """Columns that were named and have no effect, with the reason."""
        found = []
        if self.time is not None and split.method != "time":
            found.append(f"time: {self.time} has no effect: {split.method} goes by no date")
        if self.labels and split.buffer_m != "auto":
            found.append(f"labels: {', '.join(self.labels)} has no effect: buffer_m is not auto")
        if (self.tile, self.crs) != ("tile", "crs") and split.method != "inside_tile":
            found.append(f"tile and crs have no effect: {split.method} goes by no tile")
        if self.error is not None and not split.keeps:
            found.append(
                f"error: {self.error} has no effect: {split.method} leaves nobody out for a neighbour"
            )
        if "audit" in split.model_fields_set:
            found.append("split.audit has no effect on a table: chipweave audit looks at what comes out")
        return found


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
    rows = pd.DataFrame(index=pd.RangeIndex(len(frame)))
    strata = split.strata if split.deals else ()
    labels = (said.labels or split.strata) if split.kept_m is None else ()
    for name in dict.fromkeys(n for n in (split.by, *strata, *labels) if n is not None):
        shares = [str(c) for c in frame.columns if str(c).startswith(f"{name}.")]
        if name in frame or name == split.by or not shares:
            rows[alias(name)] = _column(frame, name, "by" if name == split.by else "stratify or labels").array
        for column in shares:
            rows[alias(name) + column.removeprefix(name)] = frame[column].array
    rows["place"] = _places(frame, split, said)
    keys = rows["place"] if said.key is None else texts(_column(frame, said.key, "key"))
    if split.method == "inside_tile":
        rows = rows.assign(**_tiles(frame, said))
    elif split.method == "time":
        name = said.time or split.by or next((n for n in ("time", "datetime", "date") if n in frame), "time")
        rows[TIME] = _column(frame, name, "time")
    elif split.method == "list" and split.file is not None:
        told = f"split.file: {split.file}"
        by_key, by_place = read_assignment(
            base / split.file, told, key=split.key if "key" in split.model_fields_set else None,
            column=split.column, ids=ids_of(frame, said),
        )  # fmt: skip
        rows[LIST] = rows["place"].map(of_places(by_key, by_place or by_key, keys, rows["place"], told))
    error = said.error or split.error
    if error is not None and split.keeps:
        rows[ERROR] = _metres(_column(frame, error, "error"))
    return rows, keys


def ids_of(frame: gpd.GeoDataFrame, said: Columns) -> Ids:
    """How rows of a table of splits are known: by what names them here, or by `key` and `place`."""

    def ids(table: pd.DataFrame) -> dict[str, pd.Series]:
        named = {"key": said.key, "place": said.place}
        found = {what: table[name] for what, name in named.items() if name is not None and name in table}
        if found:
            return found
        if said.key is None and said.place is None and isinstance(table, gpd.GeoDataFrame):
            return {"place": pd.Series(names_alike(table, frame), index=table.index)}
        return {name: table[name] for name in ("key", "place") if name in table}

    return ids


def _metres(column: pd.Series) -> pd.Series:
    """Errors in metres, 0 where none is said."""
    metres = pd.to_numeric(column, errors="coerce").astype(float)
    bad = (metres.isna() & column.notna()) | np.isinf(metres) | (metres < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise RecipeError(
            f"the table's column {column.name!r} (error) holds no metres in row {row}: {column[row]}"
        )
    return metres.fillna(0.0)


def _column(frame: gpd.GeoDataFrame, name: str, what: str) -> pd.Series:
    """A column, its rows numbered."""
    if name not in frame:
        there = ", ".join(str(c) for c in frame.columns[:20])
        raise RecipeError(
            f"the table has no column {name!r} ({what})", hint=f"it has {there}; name one with an option"
        )
    column: pd.Series = frame[name].reset_index(drop=True)
    return column


def _places(frame: gpd.GeoDataFrame, split: Split, said: Columns) -> pd.Series:
    """Names of places: a column's values, or one name for rows of one geometry."""
    if said.place is not None:
        own = _column(frame, said.place, "place")
        if own.isna().any():
            raise RecipeError(
                f"column {said.place!r} names no place in row {int(np.flatnonzero(own.isna())[0])}",
                hint="without --place rows of one geometry are one",
            )
        return texts(own)
    names = pd.Series(geometry_names(frame), dtype=object)
    if split.method == "inside_tile" and said.tile in frame:
        # Where two tiles lie over each other, each says by itself where its own patch goes.
        names = names + "/" + _column(frame, said.tile, "tile").astype(str)
    return names


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
