"""What leakage is judged on: one row a sample, from an index or from a table that was made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chipweave.audit.tables import Index
from chipweave.plan.distance import rings

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

DATE = 10
"""Letters of an ISO date."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Class shares of one label layer: `codes`, and (n, codes) shares of each sample, no data left out."""

    codes: tuple[str, ...]
    shares: Floats


@dataclass(frozen=True, slots=True)
class Sites:
    """Samples of a dataset.

    Parameters
    ----------
    keys, splits, places
        (n,) names; chips of one place have one name.
    rings
        (n, k, 3) outlines, as `chipweave.plan.distance.rings` gives them.
    classes
        By label layer.
    error_m
        (n,) metres by which samples may lie off where they are said to; it adds to the buffer. None: nothing.
    scenes, dates
        By imagery layer: a table of `row` and `name`, one row for each scene or date that a sample shows.
    """

    keys: Names
    splits: Names
    places: Names
    rings: Floats
    error_m: Floats | None = None
    classes: Mapping[str, Classes] = field(default_factory=dict)
    scenes: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    dates: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) number of each sample's split."""
        return np.asarray(np.unique(self.splits, return_inverse=True)[1], np.int64)

    def pair(self, i: int, j: int) -> str:
        """Two samples in words."""
        return f"{self.keys[i]} ({self.splits[i]}) and {self.keys[j]} ({self.splits[j]})"

    def one_a_place(self) -> NDArray[np.int64]:
        """Rows of the first sample of each place and split."""
        frame = pd.DataFrame({"place": self.places, "split": self.splits})
        return np.flatnonzero(~frame.duplicated().to_numpy())


def side(split: str, fold: int) -> str:
    """What a sample must not share with others: its split, or where there are folds its fold."""
    return split if fold < 0 else f"fold {fold}"


def sites_of(index: Index, jitter_m: float = 0.0, error: str | None = None) -> Sites:
    """Sites of a dataset.

    Parameters
    ----------
    index
        Of the dataset.
    jitter_m, error
        Metres by which every sample may lie off, and the index's column of what each may besides.
    """
    off = np.full(len(index), jitter_m)
    if error is not None and error in index.frame.columns:
        own = pd.to_numeric(index.frame[error], errors="coerce").fillna(0.0).to_numpy(float)
        off = off + np.maximum(own, 0.0)
    splits = [side(s, int(f)) for s, f in zip(index.column("split"), index.column("fold"), strict=True)]
    return Sites(
        keys=index.column("key").astype(str),
        splits=np.array(splits, dtype=np.str_),
        error_m=off if off.any() else None,
        places=index.column("place").astype(str),
        rings=outlines(index),
        classes=_classes(index.table),
        scenes={layer: listed(index.table, f"{layer}_items") for layer in _imagery(index.table)},
        dates={layer: listed(index.table, f"{layer}_datetime", DATE) for layer in _imagery(index.table)},
    )


def outlines(index: Index) -> Floats:
    """Outlines of the samples of an index."""
    transforms = np.stack([np.asarray(t, float) for t in index.column("transform")])
    side = np.abs(transforms[:, 0]) * index.column("width").astype(float)
    return rings(index.column("crs").astype(str).tolist(), transforms[:, 2], transforms[:, 5], side)


def _imagery(table: pa.Table) -> Sequence[str]:
    ends = "_cloud_fraction"
    return [name.removesuffix(ends) for name in table.column_names if name.endswith(ends)]


def _classes(table: pa.Table) -> dict[str, Classes]:
    ends, found = "_fractions", {}
    for name in table.column_names:
        column = table.column(name)
        if not name.endswith(ends) or not pa.types.is_struct(column.type):
            continue
        codes = tuple(field.name for field in column.type)
        parts = [pc.struct_field(column, [code]).to_numpy() for code in codes]
        shares = np.stack(parts, axis=1).astype(float)
        found[name.removesuffix(ends)] = Classes(codes, scaled(shares))
    return found


def scaled(shares: Floats) -> Floats:
    """Shares of what has a class: rows sum to one, or are NaN where nothing has."""
    whole = shares.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, shares / whole, np.nan))


def listed(table: pa.Table, name: str, letters: int | None = None) -> pd.DataFrame:
    """Rows of a column of lists, or of lists of lists, one a value; empty values stand for what is missing."""
    if name not in table.column_names:
        return pd.DataFrame({"row": np.empty(0, np.int64), "name": np.empty(0, object)})
    values: Any = table.column(name).combine_chunks()
    rows: Any = np.arange(len(values))
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        rows = rows[pc.list_parent_indices(values).to_numpy(zero_copy_only=False)]
        values = pc.list_flatten(values)
    frame = pd.DataFrame({"row": rows, "name": values.to_pandas()})
    if letters is not None:
        frame["name"] = frame["name"].str[:letters]
    return frame[frame["name"].fillna("") != ""].drop_duplicates(ignore_index=True)
