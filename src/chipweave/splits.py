"""Honest splits for any table of places: the methods of a recipe's `split`, for samples that were made elsewhere.

>>> import chipweave as cw
>>> done = cw.splits.split_table("samples.parquet", "blocks", block_km=10, buffer_m=640)  # doctest: +SKIP
>>> done.frame.groupby("split").size()  # doctest: +SKIP

What is pure, tables in and names out, is here, too: `split_places` and the `Options` of its `METHODS`, `gap`,
`variogram`, `morans_i`. `docs/splits.md` tells the methods apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError
from pyproj import Transformer
from pyproj.exceptions import ProjError

from chipweave.audit.outline import OffEarthError, rings_of, whole
from chipweave.errors import RecipeError, UsageError, YieldError
from chipweave.files import atomic_path
from chipweave.plan.earlier import Ids, of_places, read_assignment
from chipweave.plan.fromtables import Columns, ids_of, rows_of
from chipweave.plan.splits import (
    METHODS,
    Options,
    Pins,
    SplitMethod,
    SplitResult,
    block_ids,
    gap,
    split_places,
    yielding_order,
)
from chipweave.plan.splits.spans import period_names
from chipweave.plan.splits.variogram import Variogram, morans_i, neighbours, variogram
from chipweave.plan.splitting import options_of, overridden, stability_of
from chipweave.plan.tableplaces import LIST, TIME, alias, first_rows, one_a_place, shapes_of
from chipweave.recipe.base import Node
from chipweave.recipe.outcome import Split
from chipweave.recipe.problems import problems

__all__ = [
    "GAP", "METHODS", "Columns", "Options", "Pins", "SplitMethod", "SplitResult", "TableSplit", "Variogram",
    "block_ids", "gap", "morans_i", "neighbours", "option_values", "split_file", "split_places", "split_table",
    "variogram", "write_table", "yielding_order",
]  # fmt: skip

GAP = "gap"
"""What stands in the column of splits where a row is in none."""

_NAMES = frozenset({"by", "override", "previous", "file", "key", "column", "error"})
"""Options that are names, whatever they look like."""

_NUMBER = re.compile(r"[+-]?[0-9.]+[eE][+-]?[0-9]+")
"""Numbers that YAML takes for text."""

_TOGETHER = 50_000
"""Outlines whose centroids are worked out together."""

Floats = NDArray[np.float64]


class _Asked(Node):
    split: Split


@dataclass(frozen=True, slots=True)
class TableSplit:
    """A table with its splits.

    Parameters
    ----------
    frame
        As it was given, with the columns `split` (train, val, test, or `GAP`) and, for folds, `fold`.
    result
        Place by place, in words and figures.
    split
        What was asked.
    """

    frame: gpd.GeoDataFrame
    result: SplitResult
    split: Split

    @property
    def counts(self) -> dict[str, int]:
        """Rows by split, the gap last."""
        found = self.frame["split"].value_counts()
        names = [*self.result.shares, GAP]
        return {name: int(found.get(name, 0)) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "method": self.split.method, "stability": stability_of(self.split), "rows": len(self.frame),
            "places": len(self.result.split), "splits": self.counts,
            "shares": {k: round(v, 6) for k, v in self.result.shares.items()}, "notes": list(self.result.notes),
            "figures": dict(self.result.figures),
        }  # fmt: skip


def split_table(
    table: gpd.GeoDataFrame | str | Path,
    method: str = "blocks",
    *,
    columns: Columns | None = None,
    jitter_m: float = 0.0,
    base: str | Path = ".",
    **options: Any,
) -> TableSplit:
    """Split the rows of a table with geometry.

    Rows of one geometry are one place, and share their split.

    Parameters
    ----------
    table
        A frame with a CRS, or the path of a GeoParquet: points or polygons, one a row.
    method, options
        As a recipe's `split`: `fractions`, `buffer_m`, `by` (a column), `seed` and so on.
    columns
        Which columns say what.
    jitter_m
        How far every position may be off; it adds to the buffer on both sides.
    base
        Folder that paths in `options` are relative to.

    Raises
    ------
    UsageError
        The table cannot be read, or has rows without a place on the earth.
    RecipeError
        An option is wrong, or a column is not there.
    YieldError
        A split would be empty.
    """
    said = columns or Columns()
    split = _asked({"method": method, **options})
    frame = _usable(table if isinstance(table, gpd.GeoDataFrame) else _read(Path(table)))
    if not len(frame):
        raise YieldError("the table has no row to split", hint="see what it was made from")
    rows, keys = rows_of(frame, split, said, Path(base))
    by = {"list": LIST, "time": TIME}.get(split.method)
    by = by if by in rows else None if split.by is None else alias(split.by)
    first = first_rows(rows["place"])
    places = one_a_place(rows, first, by)
    shapes, several = shapes_of(frame, rows["place"], first)
    rings = _rings(shapes, first)
    places["lon"], places["lat"] = _centres(rings)
    labels = tuple(map(alias, said.labels or split.strata))
    plain = options_of(split, labels, jitter_m, by)
    plain = replace(plain, stratify=tuple(map(alias, plain.stratify)))
    pins = _pins(split, keys, rows["place"], Path(base), ids_of(frame, said))
    result = split_places(places, rings, method=split.method, options=plain, pins=pins)
    notes = [*split.unheard(), *said.unheard(split)]
    if "split" in frame and split.method != "list":
        notes.append("the table had a column split: it is written anew")
    if several:
        notes.append(
            f"{several} places have several geometries: the hull of them all is kept apart from others"
        )
    which = pd.Index(places["place"]).get_indexer(rows["place"])
    result = replace(result, notes=(*notes, *result.notes))
    return TableSplit(_assigned(frame, rows, which, result, plain), result, split)


def _assigned(
    frame: gpd.GeoDataFrame,
    rows: pd.DataFrame,
    which: NDArray[np.intp],
    result: SplitResult,
    options: Options,
) -> gpd.GeoDataFrame:
    """The table with its new columns; `which` is the place of every row."""
    names = result.split[which].astype(object)
    if options.periods is not None and TIME in rows:  # a place may be seen in other periods than its own
        names[period_names(rows[TIME], options.periods) != names] = ""
    names[names == ""] = GAP
    out = frame.copy()
    out["split"] = names
    if result.fold is not None:
        out["fold"] = np.where(names == GAP, -1, result.fold[which]).astype(np.int32)
    return out


def _asked(mapping: Mapping[str, Any]) -> Split:
    """The `split` of a recipe that the options make."""
    mapping = {k: v for k, v in mapping.items() if v is not None}
    if mapping.get("method") == "list" and not {"by", "file"} & set(mapping):
        mapping["by"] = "split"
    try:
        split = _Asked.model_validate({"split": mapping}).split
    except ValidationError as error:
        found = [f"{'.'.join(str(p) for p in problem.path)}: {problem.text}" for problem in problems(error)]
        raise RecipeError(
            "; ".join(found[:5]), hint="docs/splits.md has the options of every method"
        ) from None
    if GAP in split.names:
        raise RecipeError(
            f"split.fractions: {GAP!r} is what rows in no split are called", hint="another name"
        )
    return split


def _read(path: Path) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such table", hint="name a GeoParquet file")
    try:
        return gpd.read_parquet(path)
    except (ValueError, OSError, TypeError, KeyError, pa.ArrowException, shapely.GEOSException) as error:
        raise UsageError(
            f"{path}: is no GeoParquet: {' '.join(str(error).split())[:200]}",
            hint="write it with geopandas: frame.to_parquet(path)",
        ) from error


def _usable(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    if frame.crs is None:
        raise UsageError("the table's geometry names no CRS", hint="set one: frame.set_crs(…)")
    bad = ~whole(frame.geometry)
    if bad.any():
        raise UsageError(
            f"{int(bad.sum())} rows of the table have no geometry, or corners that are no numbers, first row "
            f"{int(np.flatnonzero(bad)[0])}",
            hint="drop them: frame[~(frame.geometry.isna() | frame.geometry.is_empty)]",
        )
    return frame


def _rings(shapes: gpd.GeoSeries, rows: NDArray[np.int64]) -> Floats:
    """Outlines of shapes, each of which stands in one of these rows of the table."""
    try:
        return rings_of(shapes)
    except OffEarthError as error:
        raise UsageError(str(OffEarthError(int(rows[error.row]))), hint="see the table's CRS") from error
    except (ValueError, ProjError, shapely.GEOSException) as error:
        raise UsageError(
            f"a footprint cannot be laid on the earth: {error}", hint="see the table's CRS"
        ) from error


def _centres(rings: Floats) -> tuple[Floats, Floats]:
    """Degrees of the centroids of outlines, which corners on a straight edge do not move."""
    to = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    centres = rings.mean(axis=1)
    for start in range(0, len(rings), _TOGETHER):
        run = slice(start, start + _TOGETHER)
        one = rings[run] - centres[run, None]
        two = np.roll(one, -1, axis=1)
        normal = np.cross(one, two)
        area = np.einsum("nkx,nx->nk", normal, normal.sum(axis=1))
        whole = area.sum(axis=1)
        moved = np.einsum("nk,nkx->nx", area, one + two) / 3
        centres[run] += moved / np.where(whole > 0, whole, np.inf)[:, None]
    lon, lat, _ = to.transform(*centres.T)
    return np.asarray(lon, float), np.asarray(lat, float)


def _pins(split: Split, keys: pd.Series, places: pd.Series, base: Path, ids: Ids) -> Pins:
    """What `override` and `previous` say."""
    earlier: dict[str, str] = {}
    if split.previous is not None:
        said = f"split.previous: {split.previous}"
        earlier = of_places(*read_assignment(base / split.previous, said, ids=ids), keys, places, said)
    return overridden(split, keys, places, earlier, lambda text: base / text, ids)


def split_file(
    table: Path,
    out: Path,
    method: str,
    *,
    columns: Columns | None = None,
    jitter_m: float = 0.0,
    **options: Any,
) -> dict[str, Any]:
    """Split a GeoParquet into another: what ``chipweave split`` does.

    Returns
    -------
    dict
        As `TableSplit.to_dict`, with `table` and `out`.

    Raises
    ------
    ChipweaveError
        As `split_table`; a table is not written over itself.
    """
    if out.is_dir():
        raise UsageError(f"{out}: is a folder", hint="name the GeoParquet that is to be written")
    if out.exists() and table.exists() and out.samefile(table):
        raise UsageError(f"{out}: is the table itself", hint="write into another file")
    done = split_table(table, method, columns=columns, jitter_m=jitter_m, **options)
    write_table(done.frame, out)
    return {"table": str(table), "out": str(out), **done.to_dict()}


def option_values(given: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """Options of a command line as a recipe's `split` has them.

    Parameters
    ----------
    given
        By key; text is read as YAML, fractions also as ``train=0.6,val=0.2,test=0.2``. None: not given.
    sets
        Further ones as ``key=value``; a dot reaches into a mapping.

    Raises
    ------
    UsageError
        Text that cannot be read.
    """
    found = {k: _value(k, v) for k, v in given.items() if v is not None}
    for text in sets:
        name, mark, value = text.partition("=")
        if not mark:
            raise UsageError(f"--set {text}: expected key=value")
        inner = found
        *path, last = name.split(".")
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {text}: {part} is no mapping")
        inner[last] = _value(name, value)
    return found


def _value(name: str, text: Any) -> Any:
    if not isinstance(text, str) or name in _NAMES:
        return text
    if name == "fractions" and "=" in text:
        text = "{" + text.replace("=", ": ") + "}"
    try:
        return float(text) if _NUMBER.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{name}: {text!r} cannot be read") from None


def write_table(frame: gpd.GeoDataFrame, path: str | Path) -> None:
    """Write a table as GeoParquet, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        frame.to_parquet(temporary, compression="zstd")
