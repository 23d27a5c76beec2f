"""The leakage audit of samples that were made elsewhere: a GeoParquet with a column that names splits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from chipweave.audit.autocorrelation import check_autocorrelation
from chipweave.audit.figures import check_classes, check_scenes
from chipweave.audit.geometry import check_geometry, check_neighbours, spacing
from chipweave.audit.limits import Limits
from chipweave.audit.outline import rings_of, whole
from chipweave.audit.picture import draw
from chipweave.audit.report import BROKEN, Check, Findings, Report
from chipweave.audit.sites import DATE, Classes, Sites, side
from chipweave.errors import UsageError

GAP = "gap"
"""Name of the split that is none."""
ALL = "all"
"""Name of the split of rows whose folds stand in a column of their own."""
MOST_CLASSES = 256
"""Different values of a label up to which each is a class; numbers that take more are cut into tenths."""
_PARTS = 10
_SEVERAL = (list, tuple, set, dict, np.ndarray)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table say what; None where it has no such thing.

    Parameters
    ----------
    split
        train, val, test or another name; ``gap`` or nothing where a row is in no split.
    key
        Name of a sample; row numbers where it is None.
    group
        What must not be in two splits: a place, a city, an owner.
    label
        A class, or a number.
    time
        When it was taken.
    """

    split: str = "split"
    key: str | None = None
    group: str | None = None
    label: str | None = None
    time: str | None = None


def audit_table(
    path: str | Path,
    columns: Columns | None = None,
    *,
    buffer_m: float = 0.0,
    jitter_m: float = 0.0,
    limits: Limits | None = None,
    leakage: Literal["fail", "warn"] = "fail",
    picture: str | Path | None = None,
) -> Report:
    """Say of samples that were made elsewhere whether their splits leak.

    Checks, by name: ``table``, ``splits``, ``groups`` (where there is such a column), ``leakage``, ``neighbours``,
    ``scenes`` (dates), ``classes``, ``autocorrelation``.

    Parameters
    ----------
    path
        A GeoParquet with a geometry a sample.
    columns
        Which of its columns say what.
    buffer_m
        Metres that two splits have to be apart.
    jitter_m
        How far positions may be off: of a pair both, so twice this is added to the buffer.
    limits
        Thresholds beyond which figures fail.
    leakage
        Whether overlap, closeness and shared groups fail or warn.
    picture
        A PNG to draw.

    Raises
    ------
    UsageError
        There is no such table, or no such column, or one that holds several values a row.
    """
    columns, limits, path = columns or Columns(), limits or Limits(), Path(path)
    for name, metres in (("buffer_m", buffer_m), ("jitter_m", jitter_m)):
        if not (math.isfinite(metres) and metres >= 0):
            raise UsageError(f"{name} is {metres:g}: expected metres", hint="0 asks for no distance")
    frame = _read(path, columns)
    report: list[Check] = []
    frame, check = _usable(frame, columns)
    report.append(check)
    kept = frame[frame["split"] != GAP]
    report.append(_check_splits(frame))
    if len(kept) == 0:
        return Report(str(path), report)
    wrong = leakage == "fail"
    try:
        sites = _sites(kept, columns, jitter_m)
    except BROKEN as exc:
        findings = Findings("leakage")
        findings.fail(f"footprints cannot be measured: {exc}")
        return Report(str(path), [*report, findings.check("")])
    if columns.group is not None:
        report.append(_check_groups(kept, columns.group, wrong=wrong))
    found = spacing(sites)
    report += [
        check_geometry(sites, buffer_m, wrong=wrong),
        check_neighbours(found),
        check_scenes(sites, limits.shared_scenes),
        check_classes(sites, limits.class_distance),
        check_autocorrelation(sites, buffer_m, limits),
    ]
    told = Report(str(path), report)
    if picture is not None:
        drawn = frame[["split", "geometry"]].to_crs("EPSG:4326")
        draw(Path(picture), None, drawn, found, buffer_m, told, path.name)
    return told


def _read(path: Path, columns: Columns) -> gpd.GeoDataFrame:
    wanted = [
        c for c in (columns.split, columns.key, columns.group, columns.label, columns.time) if c is not None
    ]
    if not path.is_file():
        raise UsageError(f"{path}: there is no such table", hint="name a GeoParquet file")
    try:
        frame = gpd.read_parquet(path)
    except (ValueError, OSError, TypeError, KeyError, pa.ArrowException, shapely.GEOSException) as error:
        raise UsageError(
            f"{path}: is no GeoParquet: {' '.join(str(error).split())[:200]}",
            hint="write it with geopandas: frame.to_parquet(path)",
        ) from error
    missing = [c for c in dict.fromkeys(wanted) if c not in frame.columns]
    if missing:
        there = ", ".join(str(c) for c in frame.columns[:20])
        raise UsageError(
            f"{path}: has no column {missing[0]!r}", hint=f"it has {there}; name one with an option"
        )
    for name in (columns.label, columns.group, columns.time, columns.split):
        if name is not None and frame[name].map(lambda value: isinstance(value, _SEVERAL)).any():
            raise UsageError(
                f"{path}: column {name!r} holds several values a row",
                hint="give a column with one value a row",
            )
    if frame.crs is None:
        raise UsageError(f"{path}: its geometry names no CRS", hint="set one: frame.set_crs(…)")
    return frame


def _usable(frame: gpd.GeoDataFrame, columns: Columns) -> tuple[gpd.GeoDataFrame, Check]:
    """Rows that can be looked at, under names of our own."""
    findings = Findings("table")
    shapes = frame.geometry
    bad = ~whole(shapes)
    if bad.any():
        findings.fail(
            f"{int(bad.sum())} rows have no geometry, or corners that are no numbers, first row "
            f"{int(np.flatnonzero(bad)[0])}"
        )
    if columns.key is not None and (unnamed := int(frame[columns.key].isna().sum())):
        findings.fail(f"{unnamed} rows have no key")
    own: dict[str, Any] = {
        "split": frame[columns.split].astype(object).where(frame[columns.split].notna(), GAP).astype(str),
        "key": _keys(frame, columns.key),
    }
    for name in ("group", "label", "time"):
        column = getattr(columns, name)
        if column is not None:
            own[name] = frame[column].to_numpy()
    table = gpd.GeoDataFrame(own, geometry=shapes, crs=frame.crs)[~bad].reset_index(drop=True)
    table.loc[table["split"].isin(["", "None", "nan"]), "split"] = GAP
    if "fold" in frame and pd.api.types.is_integer_dtype(frame["fold"]):  # as `chipweave split` writes folds
        folds = frame["fold"][~bad].to_numpy()
        own = (table["split"] == ALL).to_numpy() & (folds >= 0)
        table.loc[own, "split"] = [side(ALL, int(n)) for n in folds[own]]
    twice = table["key"][table["key"].duplicated(keep=False)]
    if columns.key is not None and len(twice):
        findings.fail(f"{twice.nunique()} keys come more than once, first {twice.iloc[0]}")
    return table, findings.check(
        f"{len(table)} rows, all with a geometry and a key of their own", rows=len(table)
    )


def _keys(frame: gpd.GeoDataFrame, column: str | None) -> pd.Series[str]:
    """Names of rows: their own, else those of the table's index; numbers where these tell no rows apart."""
    index = frame.index.astype(str) if frame.index.is_unique else [f"row {n}" for n in range(len(frame))]
    names: pd.Series[str] = pd.Series(index, index=frame.index, dtype=object)
    if column is not None:
        names = (
            frame[column].astype(object).where(frame[column].notna(), "without a key: " + names).astype(str)
        )
    return names


def _check_splits(frame: gpd.GeoDataFrame) -> Check:
    findings = Findings("splits")
    counts = {str(k): int(v) for k, v in frame["split"].value_counts().sort_index().items()}
    gap = counts.pop(GAP, 0)
    if not counts:
        findings.fail("no row is in a split")
    elif len(counts) == 1:
        findings.warn(f"all rows are in one split, {next(iter(counts))}: there is nothing to hold it against")
    told = ", ".join(f"{name} {n:,}" for name, n in counts.items())
    return findings.check(f"{told}; {gap:,} in the gap", **counts, gap=gap)


def _check_groups(kept: gpd.GeoDataFrame, name: str, *, wrong: bool) -> Check:
    findings = Findings("groups")
    some = kept[kept["group"].notna()]
    splits = some.groupby(some["group"].astype(str), sort=True)["split"].nunique()
    for group in splits.index[splits > 1]:
        findings.say(f"{name} {group} is in {splits[group]} splits", wrong=wrong)
    return findings.check(f"each of {len(splits)} values of {name} is in one split", groups=len(splits))


def _sites(kept: gpd.GeoDataFrame, columns: Columns, jitter_m: float) -> Sites:
    dates = {}
    if columns.time is not None:
        rows = pd.DataFrame(
            {"row": np.arange(len(kept)), "name": kept["time"].astype(str).str[:DATE].to_numpy()}
        )
        dates[columns.time] = rows[kept["time"].notna().to_numpy()]
    empty = pd.DataFrame({"row": np.empty(0, np.int64), "name": np.empty(0, object)})
    keys = kept["key"].to_numpy(str)
    return Sites(
        keys=keys,
        splits=kept["split"].to_numpy(str),
        places=keys,
        rings=rings_of(kept.geometry),
        error_m=np.full(len(kept), jitter_m) if jitter_m else None,
        classes={columns.label: _classes(kept["label"])} if columns.label is not None else {},
        scenes=dict.fromkeys(dates, empty),
        dates=dates,
    )


def _classes(values: pd.Series[Any]) -> Classes:
    """One share of 1 a row: of its class, or of the tenth of all numbers that it lies in."""
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    # Codes of classes are whole, also in a column that has gaps and therefore holds floats.
    if number and (values.nunique() > MOST_CLASSES or not (values.dropna() % 1 == 0).all()):
        values = pd.qcut(values, _PARTS, labels=False, duplicates="drop")
    which, names = pd.factorize(values, sort=True)
    shares = np.zeros((len(values), max(len(names), 1)))
    known = which >= 0
    shares[np.flatnonzero(known), which[known]] = 1.0
    shares[~known] = np.nan
    return Classes(tuple(str(n) for n in names) or ("",), shares)
