"""Places of tables that were made elsewhere: their names, and what their rows say together, whatever their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.groups import one_value
from chipweave.plan.splits.inside_tile import BOUNDS, CENTRE

LIST: Final = "split:list"
TIME: Final = "split:time"
"""Columns with what a list says, and with dates."""
ERROR: Final = "error_m"

_OURS: Final = frozenset({"place", "lon", "lat", ERROR, "tile", *BOUNDS, *CENTRE})

_SEVERAL: Final = 4
"""Types of shapely from which on a geometry has parts."""
_SAME_M: Final = 1e-3
_RADIUS_M: Final = 6_371_008.8
_NOWHERE: Final = 1e30

Names = NDArray[np.str_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shapes = NDArray[np.object_]


def alias(name: str) -> str:
    """Under which a table's column goes beside those that splits are worked out with."""
    return f"table:{name}" if name in _OURS else name


def geometry_names(frame: gpd.GeoDataFrame) -> Names:
    """(n,) names of places: one for all rows of one geometry, heights left aside; one part is what it is alone."""
    shapes = frame.geometry.to_numpy()
    several = (shapely.get_type_id(shapes) >= _SEVERAL) & (shapely.get_num_geometries(shapes) == 1)
    shapes = np.where(several, shapely.get_geometry(shapes, 0), shapes)
    shapes = shapely.to_wkb(shapely.normalize(shapely.force_2d(shapes)))
    codes, known = pd.factorize(shapes)
    names = np.array([hashlib.blake2b(shape, digest_size=12).hexdigest() for shape in known], dtype=np.str_)
    return np.asarray(names[codes]) if len(known) else np.empty(0, np.str_)


def names_alike(table: gpd.GeoDataFrame, frame: gpd.GeoDataFrame) -> Names:
    """(m,) names that geometries of one table have in another, in whatever CRS: to a millimetre they are the same."""
    if table.crs is None or table.crs == frame.crs or not len(frame):
        return geometry_names(table)
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    there = table.to_crs(frame.crs)
    names = geometry_names(there)
    unit = frame.crs.axis_info[0].unit_conversion_factor * (_RADIUS_M if frame.crs.is_geographic else 1.0)
    far, row = cKDTree(_traits(frame)).query(_traits(there), distance_upper_bound=_SAME_M / unit)
    near = np.isfinite(far)
    known = geometry_names(frame)
    return np.where(near, known[np.where(near, row, 0)], names)


def _traits(frame: gpd.GeoDataFrame) -> Floats:
    """(n, 6) bounds and centroids."""
    shapes = frame.geometry.to_numpy()
    centres = shapely.centroid(shapes)
    found = np.column_stack([shapely.bounds(shapes), shapely.get_x(centres), shapely.get_y(centres)])
    return np.where(np.isfinite(found), found, _NOWHERE)


def first_rows(places: pd.Series) -> Ints:
    """Row numbers of the first row of each place, by the name of the place."""
    codes, known = pd.factorize(places)
    order = np.argsort(np.array(known, dtype=np.str_), kind="stable")
    first = np.empty(len(known), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first[order]


def one_a_place(rows: pd.DataFrame, first: Ints, whole: str | None) -> pd.DataFrame:
    """What the rows of each place say together, by the name of the place.

    Dates are all of them, errors the largest, shares of classes their mean, other values the commonest (of as common
    ones the first in order).

    Parameters
    ----------
    rows
        With `place`.
    first
        As `first_rows` gives them.
    whole
        Column of which a place has to have one value, since places go whole.

    Raises
    ------
    RecipeError
        A place has several values of `whole`, or a column holds lists.
    """
    out = rows.iloc[first].reset_index(drop=True)
    if len(first) == len(rows):
        return out
    groups = rows.groupby("place", sort=False)
    for name in [str(c) for c in rows.columns if c != "place"]:
        column = groups[name]
        if name == TIME:
            found = column.agg(list)
        elif name == ERROR:
            found = column.max()
        elif name == whole:
            _one_of(groups["place"].first().index, column.nunique(), rows, name)
            found = column.first()
        elif name in CENTRE or "." in name:
            found = column.mean()
        else:
            found = _commonest(rows, name)
        out[name] = found.reindex(out["place"]).to_numpy()
    return out


def _one_of(places: pd.Index[Any], values: pd.Series[Any], rows: pd.DataFrame, name: str) -> None:
    several = sorted(str(place) for place in places[values.to_numpy() > 1])
    if several:
        own = rows.loc[rows["place"] == several[0], name].dropna().astype(str)
        said = ", ".join(sorted(set(own))[:4])
        label = "the list's split" if name == LIST else name.removeprefix("table:")
        raise RecipeError(
            f"{len(several)} places have several values of {label}, first {several[0]} ({said})",
            hint="all rows of a place share its split: rows of one geometry are one place, or those of one --place",
        )


def _commonest(rows: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The value that most rows of each place have, of as many the first in order; none where all lack one."""
    one_value(rows[name], name)
    counts = rows.groupby(["place", name], sort=True, observed=True).size().reset_index(name="rows:number")
    best = counts.sort_values("rows:number", ascending=False, kind="stable").drop_duplicates("place")
    found: pd.Series[Any] = best.set_index("place")[name]
    return found


def shapes_of(frame: gpd.GeoDataFrame, places: pd.Series, first: Ints) -> tuple[gpd.GeoSeries, int]:
    """One geometry a place, by the name of the place, and of how many it is a collection of several."""
    shapes = frame.geometry.iloc[first].reset_index(drop=True)
    if len(first) == len(frame):
        return shapes, 0
    names = places.to_numpy(dtype=np.str_)
    pairs = pd.DataFrame({"place": names, "shape": geometry_names(frame)})
    each = first_rows(pairs["place"] + "/" + pairs["shape"])
    pairs = pairs.iloc[each].assign(row=each).sort_values(["place", "shape"])
    several = pairs[pairs["place"].duplicated(keep=False)]
    at = pd.Series(np.arange(len(first)), index=names[first])
    values = shapes.to_numpy().copy()
    for place, own in several.groupby("place", sort=False)["row"]:
        values[at[str(place)]] = _collected(frame.geometry.to_numpy()[own.to_numpy()])
    return gpd.GeoSeries(values, crs=frame.crs), several["place"].nunique()


def _collected(shapes: Sequence[Any] | Shapes) -> Any:
    return shapely.geometrycollections(np.asarray(shapes, object))
