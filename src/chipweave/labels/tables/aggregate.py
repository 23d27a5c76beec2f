"""Chips and records summed up by region: class histograms and weighted means, as of counties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.labels.vectors.filters import unknown_field


def class_histograms(index: pd.DataFrame, layer: str, by: Sequence[str]) -> pd.DataFrame:
    """How much of each class lies in the chips of each region.

    Parameters
    ----------
    index
        Rows of `index.parquet`: ``<layer>_fractions`` (a mapping of code to share), ``height``, ``width``,
        ``transform``, and the columns of `by`. Chips without a region are left out.
    layer
        A class label.
    by
        Columns that name a region, such as an attribute ``county``, and perhaps ``split``.

    Returns
    -------
    pandas.DataFrame
        Sorted, one row a region and class: the columns of `by`, ``code`` (text), ``chips`` (of the region),
        ``area_m2`` (in the chips' CRS) and ``share`` of all pixels of the region's chips.

    Raises
    ------
    RecipeError
        A column that is not there; the nearest is told.
    """
    column = f"{layer}_fractions"
    for name in (column, *by):
        if name not in index:
            raise unknown_field("index.parquet", name, [str(c) for c in index.columns])
    rows = index.dropna(subset=list(by))
    steps = np.array([abs(t[0] * t[4]) for t in rows["transform"]], np.float64)
    area = steps * rows["height"].to_numpy(np.float64) * rows["width"].to_numpy(np.float64)
    shares = pd.DataFrame(rows[column].tolist(), index=rows.index).astype(np.float64)
    keys = [rows[name] for name in by]
    chips = rows.groupby(keys).size().rename("chips")
    whole = pd.Series(area, rows.index).groupby(keys).sum()
    sums = shares.mul(area, axis=0).groupby(keys).sum().reset_index()
    long = sums.melt(id_vars=list(by), var_name="code", value_name="area_m2")
    found = long.join(chips, on=list(by)).join(whole.rename("whole"), on=list(by))
    found = found.sort_values([*by, "code"], key=_in_order, kind="stable", ignore_index=True)
    found["share"] = found["area_m2"] / found["whole"]
    return found[[*by, "code", "chips", "area_m2", "share"]]


def region_means(table: pd.DataFrame, values: Sequence[str], by: Sequence[str], weight: str) -> pd.DataFrame:
    """Weighted means of figures by region: of records by area, of survey clusters by households.

    Parameters
    ----------
    table
        Rows with the columns named here. Rows without a region, a weight or a value do not count for it.
    values
        Columns of numbers.
    by
        Columns that name a region.
    weight
        Column of weights, 0 or more.

    Returns
    -------
    pandas.DataFrame
        Sorted, one row a region: the columns of `by`, ``rows``, `weight` (its sum), and the mean of each value, NaN
        where no row has one.

    Raises
    ------
    RecipeError
        A column that is not there, or a weight below 0.
    """
    for name in (*values, *by, weight):
        if name not in table:
            raise unknown_field("table", name, [str(c) for c in table.columns])
    rows = table.dropna(subset=[*by, weight])
    heavy = rows[weight].astype(np.float64)
    if (heavy < 0).any():
        raise RecipeError(f"{weight}: a weight is below 0")
    keys = [rows[name] for name in by]
    out = pd.DataFrame({"rows": rows.groupby(keys).size(), weight: heavy.groupby(keys).sum()})
    for name in values:
        own = rows[name].astype(np.float64)
        total = (own * heavy).groupby(keys).sum()
        weights = heavy.where(own.notna(), 0.0).groupby(keys).sum()
        out[name] = total / weights.where(weights > 0)
    return out.reset_index()


def _in_order(column: pd.Series) -> pd.Series:
    """Codes as numbers, and everything else as it is."""
    return column.astype(int) if column.name == "code" else column
