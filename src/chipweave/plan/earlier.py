"""Assignments that are given: an earlier dataset's, a published list, `override`; by key or by place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.errors import RecipeError
from chipweave.plan.splits.folds import SPLIT, fold_names
from chipweave.plan.splits.listed import split_names
from chipweave.plan.vectors import read_table

INDEX = "index.parquet"
PLAN = "plan/chips.parquet"
_COLUMNS = ("key", "place", "split", "fold")

Ids = Callable[[pd.DataFrame], Mapping[str, pd.Series]]
"""From a table of splits to what names its rows: ``key``, ``place``, or both."""


def read_assignment(
    path: Path, said: str, *, key: str | None = None, column: str = "split", ids: Ids | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Splits by key and by place that a dataset or a table says.

    Parameters
    ----------
    path
        Folder of a dataset (its index, or its plan where it is not finished), or a table.
    said
        How an error names it.
    key, column
        Columns of a table; without `key` it has ``key`` or ``place``, or both, or what `ids` finds.
    ids
        How rows are known, where that is not by these columns.

    Returns
    -------
    by_key, by_place : dict
        Splits as `chipweave.plan.splits.listed.split_names` spells them; those without one are not there. Folds are
        named as while they are dealt.

    Raises
    ------
    RecipeError
        No such file, or not these columns.
    """
    table = _folder(path, said) if path.is_dir() else read_table(path, said, text=True)
    named: Mapping[str, pd.Series] = {c: table[c] for c in ("key", "place") if c in table}
    if key is not None:
        named = {"place" if key == "place" else "key": table[key]} if key in table else {}
    elif ids is not None and not path.is_dir():
        named = ids(table)
    for name in [*([] if named else [key or "key"]), column]:
        if name not in table:
            raise RecipeError(
                f"{said}: has no column {name!r}",
                hint=f"it has {', '.join(str(c) for c in table.columns[:20])}",
            )
    split = split_names(table[column])
    folds = np.where(split == SPLIT, _folds(table), -1)
    if (folds >= 0).any():
        known = np.array([*fold_names(int(folds.max()) + 1), ""], dtype=np.str_)
        split = np.where(folds >= 0, known[folds], split)
    own = split != ""
    found: dict[str, dict[str, str]] = {"key": {}, "place": {}}
    for name, column_of in named.items():
        found[name] = _one_each(texts(column_of).to_numpy()[own], split[own], said, name)
    return found["key"], found["place"]


def texts(ids: pd.Series) -> pd.Series:
    """Keys as text: whole numbers are written without a point, also in a column that has gaps."""
    if pd.api.types.is_float_dtype(ids) and (ids.dropna() % 1 == 0).all():
        ids = ids.astype("Int64")
    return ids.astype(str)


def _folds(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Numbers of folds, -1 where there is none."""
    if "fold" not in table:
        return np.full(len(table), -1, np.int64)
    return pd.to_numeric(table["fold"], errors="coerce").fillna(-1).to_numpy(np.int64)


def _one_each(ids: np.ndarray[Any, Any], split: np.ndarray[Any, Any], said: str, name: str) -> dict[str, str]:
    pairs = pd.DataFrame({"id": ids, "split": split}).drop_duplicates()
    twice = pairs["id"].duplicated()
    if twice.any():
        raise RecipeError(f"{said}: {name} {pairs['id'][twice].iloc[0]!r} has two splits")
    return dict(zip(pairs["id"].tolist(), pairs["split"].tolist(), strict=True))


def _folder(path: Path, said: str) -> pd.DataFrame:
    for name in (INDEX, PLAN):
        if (path / name).is_file():
            try:
                there = [c for c in _COLUMNS if c in pq.read_schema(path / name).names]
                table: pd.DataFrame = pq.read_table(path / name, columns=there).to_pandas()
            except (OSError, pa.ArrowException) as error:
                raise RecipeError(f"{said}: {name} cannot be read: {error}") from error
            return table
    raise RecipeError(
        f"{said}: is no dataset: there is no {INDEX}", hint="name its folder, or a table of key and split"
    )


def of_places(
    by_key: Mapping[str, str], by_place: Mapping[str, str], keys: pd.Series, places: pd.Series, said: str
) -> dict[str, str]:
    """Splits by place, where chips have keys of their own.

    Raises
    ------
    RecipeError
        Two chips of a place are given two splits.
    """
    frame = pd.DataFrame(
        {"place": places.astype(str).to_numpy(), "split": keys.astype(str).map(dict(by_key)).to_numpy()}
    )
    frame["split"] = frame["split"].where(frame["split"].notna(), frame["place"].map(dict(by_place)))
    pairs = frame.dropna().drop_duplicates()
    twice = pairs["place"].duplicated()
    if twice.any():
        raise RecipeError(
            f"{said}: place {pairs['place'][twice].iloc[0]!r} has two splits",
            hint="all chips of a place share one: they show the same ground",
        )
    return dict(zip(pairs["place"].tolist(), pairs["split"].tolist(), strict=True))
