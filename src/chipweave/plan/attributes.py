"""Columns that chips get from files: of the feature that holds their centre, of the nearest one, or by key."""

from __future__ import annotations

from collections.abc import Mapping

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.plan.nearby import holding, nearest
from chipweave.plan.vectors import has_coordinates, read_features, read_table
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.places import Attribute


def attribute_columns(loaded: LoadedRecipe, places: pd.DataFrame) -> Mapping[str, pd.Series]:
    """The recipe's attributes of places, by name: text, whole numbers, numbers or flags; null where nothing is there.

    Parameters
    ----------
    loaded
        The recipe.
    places
        Columns ``lon, lat`` of centres. Tables without coordinates are joined by the column `key`, once it is there:
        before, they are left out.

    Raises
    ------
    RecipeError
        A file that cannot be read, lacks the column, or holds in it what is none of these.
    """
    found = {}
    for name, wish in loaded.recipe.attributes.items():
        path, said = loaded.resolve(wish.file), f"attributes.{name}: {wish.file}"
        table = read_table(path, said)
        if wish.column not in table or wish.column == "geometry":
            known = ", ".join(str(c) for c in table.columns if c != "geometry")
            raise RecipeError(f"{said}: has no column {wish.column!r}", hint=f"it has {known}")
        if "key" in table and not has_coordinates(table):
            if "key" in places:
                found[name] = _by_key(table, said, wish.column, places)
        elif "key" not in places:
            found[name] = _by_place(read_features(path, said), said, wish, places)
    return found


def _by_key(table: pd.DataFrame, said: str, column: str, places: pd.DataFrame) -> pd.Series:
    keys = table["key"].astype(str)
    if keys.duplicated().any():
        raise RecipeError(f"{said}: key {keys[keys.duplicated()].iloc[0]!r} stands twice")
    values = _plain(table[column], said, column).set_axis(keys)
    return values.reindex(places["key"]).set_axis(places.index)


def _by_place(features: gpd.GeoDataFrame, said: str, wish: Attribute, places: pd.DataFrame) -> pd.Series:
    find = holding if wish.join == "within" else nearest
    lon, lat = (places[c].to_numpy(np.float64) for c in ("lon", "lat"))
    which = find(lon, lat, features.geometry.to_numpy())
    return _taken(_plain(features[wish.column], said, wish.column), which, places)


def _taken(values: pd.Series, which: npt.NDArray[np.int64], places: pd.DataFrame) -> pd.Series:
    """Values by row number; null where that is -1."""
    return values.reset_index(drop=True).reindex(which).set_axis(places.index)


def _plain(column: pd.Series, said: str, name: str) -> pd.Series:
    """A column as one of four nullable types."""
    if pd.api.types.is_bool_dtype(column):
        return column.astype("boolean")
    if pd.api.types.is_integer_dtype(column):
        return column.astype("Int64")
    if pd.api.types.is_float_dtype(column):
        return column.astype("Float64")
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.map(lambda t: t.isoformat(), na_action="ignore").astype("string")
    kinds = {type(v) for v in column.dropna()}
    if all(issubclass(k, str) for k in kinds):
        return column.astype("string")
    if all(hasattr(k, "isoformat") for k in kinds):
        return column.map(lambda t: t.isoformat(), na_action="ignore").astype("string")
    raise RecipeError(
        f"{said}: column {name!r} holds {', '.join(sorted(k.__name__ for k in kinds))}: no text, numbers or flags"
    )
