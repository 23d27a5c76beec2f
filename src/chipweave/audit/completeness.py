"""Whether all is there that was planned: by layer and date, against the snapshot, and against the catalog of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely

from chipweave import catalog
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.sites import DATE
from chipweave.audit.tables import RECIPE, Index
from chipweave.catalog.hrefs import redact
from chipweave.errors import ChipweaveError
from chipweave.model import Scene
from chipweave.plan.place import search_cells
from chipweave.plan.planning import SNAPSHOT
from chipweave.plan.times import with_searches
from chipweave.recipe import load_recipe
from chipweave.shards.ledger import NAME as LEDGER

_COLUMNS = ["key", "layer", "step", "item", "datetime"]
_STATES = ("written", "dropped", "failed")
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
    return [_planned(folder, index), _holes(folder, index), _drift(folder)]


def _planned(folder: Path, index: Index) -> Check:
    """Hold what was chosen for each layer and date against what was written, dropped and failed."""
    findings = Findings("planned")
    try:
        chosen = pq.read_table(
            folder / "plan" / "matches.parquet", columns=_COLUMNS, filters=[("chosen", "=", True)]
        ).to_pandas()
        ledger = pq.read_table(folder / LEDGER, columns=["key", "state"]).to_pandas()
        amended = pq.read_table(folder / "plan" / "amendments.parquet", columns=["key", "layer"]).to_pandas()
    except BROKEN as exc:
        return Check("planned", "skip", f"the plan lies not in the folder, or cannot be read: {exc}"[:300])
    steps = chosen.drop_duplicates(["key", "layer", "step"]).copy()
    steps["date"] = steps["datetime"].fillna("").astype(str).str[:DATE]
    state = ledger.drop_duplicates("key").set_index("key")["state"]
    steps["state"] = steps["key"].map(state).fillna("lost")
    known = set(zip(amended["key"], amended["layer"], strict=True))
    numbers: dict[str, Any] = {}
    for layer, chosen_own in steps.groupby("layer", sort=True):
        if f"{layer}_items" not in index.table.column_names:
            findings.fail(f"{layer} was planned, and no sample has it")
            continue
        own = _with_holes(chosen_own, index, str(layer))
        table = own.groupby(["date", "state"]).size().unstack(fill_value=0)
        dates = {
            str(date): {"planned": int(row.sum()), **{s: int(row.get(s, 0)) for s in _STATES}}
            for date, row in table.iterrows()
        }
        numbers[str(layer)] = {
            **{s: int((own["state"] == s).sum()) for s in _STATES}, "planned": len(own), "dates": dates,
        }  # fmt: skip
        lost = own[~own["state"].isin(_STATES)]
        lacking = [(k, (k, layer) in known) for k in dict.fromkeys(lost["key"])]
        for key, told in lacking:
            findings.say(f"{layer} of {key} was planned and is in no sample", wrong=not told)
        if lacking:
            share = len(lacking) / max(own["key"].nunique(), 1)
            numbers[str(layer)] |= {"missing": len(lacking), "missing_share": share}
    total = sum(of["planned"] for of in numbers.values())
    return findings.check(
        f"{total} planned pictures and labels of {len(numbers)} layers are written, dropped or failed",
        **numbers,
    )


def _with_holes(own: pd.DataFrame, index: Index, layer: str) -> pd.DataFrame:
    """Chosen steps; where a written sample names fewer dates than were chosen, its last ones are ``lost``."""
    column = index.table.column(f"{layer}_items").to_pylist()
    held = {key: sum(any(s) for s in steps) for key, steps in zip(index.column("key"), column, strict=True)}
    turn = own.sort_values(["key", "step"]).groupby("key").cumcount()
    here = own["key"].map(held)
    gone = (own["state"] == "written") & (here.isna() | (turn.reindex(own.index) >= here.fillna(0)))
    return own.assign(state=own["state"].where(~gone, "lost"))


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
    loaded = load_recipe(folder / RECIPE)
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
        days = np.abs((own[hits] - theirs[at]) / pd.Timedelta(days=1))
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


def _drift(folder: Path) -> Check:
    """Ask the catalog again, and say what it has more, less or otherwise than the lock."""
    try:
        locked = catalog.read_snapshot(folder / SNAPSHOT)
        today, asked = _today(folder)
    except (ChipweaveError, *BROKEN) as exc:
        why = exc.message if isinstance(exc, ChipweaveError) else f"{type(exc).__name__}: {exc}"
        return Check("drift", "skip", f"the catalog could not be asked again: {redact(why)}"[:400])
    findings = Findings("drift")
    numbers: dict[str, Any] = {}
    for layer in asked:
        old, new = ({s.id: s.processed for s in of if s.layer == layer} for of in (locked, today))
        more, less = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
        again = sorted(i for i in old.keys() & new.keys() if old[i] != new[i])
        numbers[layer] = {"locked": len(old), "new": len(more), "gone": len(less), "reprocessed": len(again)}
        if more or less or again:
            first = (more + less + again)[0]
            findings.warn(
                f"{layer}: of {len(old)} locked scenes {len(less)} are gone and {len(again)} processed again, "
                f"{len(more)} are new: {first}"
            )
    return findings.check("the catalog answers today as it did then", **numbers)


def _today(folder: Path) -> tuple[list[Scene], list[str]]:
    """What the catalog says now of what the build asked, and the layers that were asked for.

    Raises
    ------
    ChipweaveError, or one of `BROKEN`
        It cannot be asked: it does not answer, or the recipe leads to files of another machine.
    """
    loaded = load_recipe(folder / RECIPE)
    # Files of the user's own are no catalog, and lie beside his recipe, not here.
    named = {n: of for n, of in loaded.recipe.labels.items() if of.file is None}
    loaded = replace(loaded, recipe=loaded.recipe.model_copy(update={"labels": named}))
    places = pd.DataFrame(gpd.read_parquet(folder / "plan" / "places.parquet").drop(columns="geometry"))
    requests = with_searches(catalog.requests(loaded), places, loaded)
    found = catalog.lock(list(requests), search_cells(places)).scenes
    return found, sorted(request.layer for request in requests)
