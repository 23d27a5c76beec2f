"""Whether all is there that was planned: by layer and date, against the snapshot, and against the catalog of today."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely

from chipweave import catalog
from chipweave.audit.drift import check_drift
from chipweave.audit.planned import check_planned
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import RECIPE, Index
from chipweave.errors import ChipweaveError
from chipweave.model import Scene
from chipweave.plan.native import split_native
from chipweave.plan.planning import SNAPSHOT
from chipweave.recipe import load_recipe

_NAMED = 5


def check_completeness(folder: Path, index: Index) -> list[Check]:
    """Look whether all is there: ``planned``, ``holes``, ``drift``.

    Parameters
    ----------
    folder
        The dataset.
    index
        Its index.
    """
    return [check_planned(folder, index), _holes(folder, index), check_drift(folder)]


def _holes(folder: Path, index: Index) -> Check:
    """Count samples that lack a layer although the snapshot holds scenes that cover them."""
    findings = Findings("holes")
    try:
        scenes = catalog.read_snapshot(folder / SNAPSHOT)
        pairs = _pairs(folder)
    except (ChipweaveError, *BROKEN) as exc:
        return Check("holes", "skip", f"the snapshot lies not in the folder, or cannot be read: {exc}"[:300])
    numbers: dict[str, Any] = {}
    for layer in index.layers:
        own = [s for s in scenes if s.layer == layer]
        if f"{layer}_items" not in index.table.column_names or not own:
            continue
        column = index.table.column(f"{layer}_items").to_pylist()
        rows = [n for n, steps in enumerate(column) if not any(any(s) for s in steps)]
        covered = _covered(index, rows, own, pairs.get(layer))
        numbers[layer] = {"missing": len(rows), "covered": len(covered)}
        if covered:
            keys = ", ".join(str(index.column("key")[row]) for row in covered[:_NAMED])
            findings.warn(
                f"{len(covered)} of {len(index)} samples have no {layer} although the snapshot holds scenes that cover "
                f"them{_why(folder, layer, [str(index.column('key')[row]) for row in covered])}: {keys}"
            )
    told = sum(of["missing"] for of in numbers.values())
    return findings.check(f"{told} samples lack a layer, and the snapshot has nothing for them", **numbers)


def _pairs(folder: Path) -> Mapping[str, tuple[str, float]]:
    """Layers that go with another one: its name, and how many days they may be apart."""
    loaded = split_native(load_recipe(folder / RECIPE))
    found = {}
    for name, layer in loaded.recipe.imagery.items():
        if layer.pair is not None:
            found[name] = (str(layer.pair.with_), float(layer.pair.within_days))
    return found


def _covered(index: Index, rows: list[int], scenes: list[Scene], pair: tuple[str, float] | None) -> list[int]:
    """Rows whose middle lies in a scene; of a pair in one that is near enough in time."""
    if not rows:
        return []
    tree = shapely.STRtree([s.geometry for s in scenes])
    points = shapely.centroid(index.frame.geometry.to_numpy()[rows])
    at, hits = tree.query(points, predicate="intersects")
    ok = np.ones(len(at), bool)
    if pair is not None and f"{pair[0]}_datetime" in index.table.column_names:
        said = index.table.column(f"{pair[0]}_datetime").to_pylist()
        theirs = pd.to_datetime(
            [next(iter(said[row] or [""]), "") for row in rows], utc=True, errors="coerce"
        )
        own = pd.to_datetime([s.time for s in scenes], utc=True)
        days = np.abs((own[hits] - theirs[at]) / np.timedelta64(1, "D"))
        ok = np.asarray(days <= pair[1])
    return [rows[n] for n in np.unique(at[ok])]


def _why(folder: Path, layer: str, keys: list[str]) -> str:
    """What the plan says most often of candidates of these chips."""
    try:
        table = pq.read_table(
            folder / "plan" / "matches.parquet", columns=["key", "why"],
            filters=[("layer", "=", layer), ("key", "in", keys[:1000])],
        ).to_pandas()  # fmt: skip
    except BROKEN:
        return ""  # the plan is looked at, and its damage told, by `planned`
    told = table["why"][table["why"] != ""].value_counts()
    return f" (mostly: {told.index[0]})" if len(told) else ""
