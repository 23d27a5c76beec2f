"""What was written held against what the plan chose: the scenes, dates and steps of every sample."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chipweave.audit.plan import absent, other_recipe
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.sites import DATE
from chipweave.audit.tables import RECIPE, Index
from chipweave.errors import ChipweaveError
from chipweave.plan.native import split_native
from chipweave.plan.planning import SNAPSHOT
from chipweave.recipe import load_recipe
from chipweave.shards.ledger import NAME as LEDGER

MATCHES, AMENDMENTS = "plan/matches.parquet", "plan/amendments.parquet"
_COLUMNS = ["key", "layer", "step", "rank", "item", "datetime"]
_SCENE = ["id", "chipweave:layer", "datetime", "chipweave:edition"]
_STATES = ("written", "dropped", "failed")
_NEAR = np.timedelta64(2, "ms")
"""Times in text leave out what is less than a microsecond."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan's tables.

    Parameters
    ----------
    chosen
        Rows of the matches that were chosen.
    again
        Keys and layers for which weave chose again, and the scenes that it could not read.
    scenes
        Of the snapshot, by layer: `when` by id; None where there is no snapshot.
    folder
        The dataset.
    """

    chosen: pd.DataFrame
    again: pd.DataFrame
    scenes: dict[str, pd.DataFrame] | None
    folder: Path

    def ids(self, layer: str) -> Collection[str]:
        """Scenes that the layer may show, as far as that is known."""
        if self.scenes is None:
            return set(self.chosen.loc[self.chosen["layer"] == layer, "item"])
        return self.scenes[layer].index if layer in self.scenes else ()

    def offered(self, keys: Collection[str]) -> pd.DataFrame:
        """All candidates of some chips, chosen or not."""
        found = pq.read_table(
            self.folder / MATCHES, columns=["key", "layer", "item"], filters=[("key", "in", list(keys))]
        )
        frame: pd.DataFrame = found.to_pandas().drop_duplicates()
        return frame


def check_planned(folder: Path, index: Index) -> Check:
    """Hold what was chosen for each layer and date against what was written, dropped and failed."""
    findings = Findings("planned")
    try:
        chosen = pq.read_table(
            folder / MATCHES, columns=_COLUMNS, filters=[("chosen", "=", True)]
        ).to_pandas()
        ledger = pq.read_table(folder / LEDGER, columns=["key", "state"]).to_pandas()
        amended = pq.read_table(folder / AMENDMENTS).to_pandas()
    except BROKEN as exc:
        lacking = absent(folder)
        why = (
            f"{', '.join(lacking)} {'lie' if len(lacking) > 1 else 'lies'} not in the folder"
            if lacking
            else ""
        )
        return Check("planned", "skip", why or f"the plan cannot be read: {exc}"[:300])
    if lacking := absent(folder):
        findings.warn(
            f"{', '.join(lacking)} of the plan {'lie' if len(lacking) > 1 else 'lies'} not in the folder"
        )
    if why := other_recipe(folder):
        findings.fail(why)
    known = set(zip(amended["key"], amended["layer"], strict=True))
    numbers = _steps(chosen, ledger, known, index, _spared(folder), findings)
    late = amended[amended["stage"] == "weave"] if "stage" in amended else amended[:0]
    _compare(_Plan(chosen, late, _scenes(folder), folder), index, findings)
    total = sum(of["planned"] for of in numbers.values())
    return findings.check(
        f"{total} planned pictures and labels of {len(numbers)} layers are written, dropped or failed, and samples "
        "name the scenes that were chosen",
        **numbers,
    )


def _steps(
    chosen: pd.DataFrame,
    ledger: pd.DataFrame,
    known: set[tuple[str, str]],
    index: Index,
    spared: Collection[str],
    findings: Findings,
) -> dict[str, Any]:
    """Count what was chosen by layer, date and fate.

    `known` are keys and layers of which scenes broke, `spared` the layers that a sample need not have.
    """
    steps = chosen.drop_duplicates(["key", "layer", "step"]).copy()
    steps["date"] = steps["datetime"].fillna("").astype(str).str[:DATE]
    state = ledger.drop_duplicates("key").set_index("key")["state"]
    steps["state"] = steps["key"].map(state).fillna("lost")
    numbers: dict[str, Any] = {}
    for layer, chosen_own in steps.groupby("layer", sort=True):
        if f"{layer}_items" not in index.table.column_names:
            findings.fail(f"{layer} was planned, and no sample has it")
            continue
        own = _with_holes(chosen_own, index, str(layer), spared=layer in spared)
        table = own.groupby(["date", "state"]).size().unstack(fill_value=0)
        dates = {
            str(date): {"planned": int(row.sum()), **{s: int(row.get(s, 0)) for s in _STATES}}
            for date, row in table.iterrows()
        }
        numbers[str(layer)] = {
            **{s: int((own["state"] == s).sum()) for s in _STATES}, "planned": len(own), "dates": dates,
        }  # fmt: skip
        if empty := int((own["state"] == "empty").sum()):
            numbers[str(layer)]["empty"] = empty
            findings.warn(
                f"{empty} of {len(own)} dates of {layer} that were chosen are gaps: too little was data"
            )
        lost = own[~own["state"].isin((*_STATES, "empty"))]
        lacking = [(k, (k, layer) in known) for k in dict.fromkeys(lost["key"])]
        for key, told in lacking:
            findings.say(f"{layer} of {key} was planned and is in no sample", wrong=not told)
        if lacking:
            share = len(lacking) / max(own["key"].nunique(), 1)
            numbers[str(layer)] |= {"missing": len(lacking), "missing_share": share}
    return numbers


def _with_holes(own: pd.DataFrame, index: Index, layer: str, *, spared: bool) -> pd.DataFrame:
    """Chosen steps; those that a written sample does not show are ``lost``, or ``empty`` where that may be.

    A survey looks at masks: a date may turn out to have too few pixels in its bands, and a series does without it.
    """
    held = _held(index.table, layer)
    on = _by(index.table, layer)
    shown = held[on].drop_duplicates()
    there = own[on].merge(shown, how="left", on=on, indicator=True)["_merge"].to_numpy() == "both"
    gone = (own["state"] == "written").to_numpy() & ~there
    fine = own["key"].isin(set(held["key"])).to_numpy() | spared
    state = np.where(gone, np.where(fine, "empty", "lost"), own["state"])
    return own.assign(state=state)


def _spared(folder: Path) -> set[str]:
    """Layers that go with another one, and that a sample need not have."""
    try:
        recipe = split_native(load_recipe(folder / RECIPE)).recipe
    except (ChipweaveError, *BROKEN):
        return set()  # what `recipe` tells
    return {n for n, of in recipe.imagery.items() if of.pair is not None and of.pair.if_missing == "nodata"}


# --- scene by scene --------------------------------------------------------------------------


def _compare(plan: _Plan, index: Index, findings: Findings) -> None:
    """Hold the scenes and times that samples name against those that were chosen."""
    names = set(index.table.column_names)
    layers = sorted(n.removesuffix("_items") for n in names if n.endswith("_items"))
    layers = [layer for layer in layers if f"{layer}_datetime" in names]
    for layer in layers:
        imagery = f"{layer}_cloud_fraction" in names
        if (
            layer.endswith("_mask")
            and f"{layer.removesuffix('_mask')}_cloud_fraction" in names
            and not imagery
        ):
            _alike(layer.removesuffix("_mask"), layer, index, findings)
            continue
        _chosen_times(plan, layer, imagery=imagery, findings=findings)
        held = _held(index.table, layer)
        if not imagery:  # what is made of vectors may name what is no scene
            held = held[held["item"].isin(plan.ids(layer))]
        if len(held):
            _strangers(plan, layer, held, index, findings)
            _sample_times(plan, layer, held, index, findings, imagery=imagery)


def _alike(layer: str, mask: str, index: Index, findings: Findings) -> None:
    """A mask is of the very scenes of its layer."""
    for what in ("items", "datetime"):
        one, two = (index.table.column(f"{name}_{what}").to_pylist() for name in (layer, mask))
        other = [row for row, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
        for row in other:
            findings.fail(f"{what} of {mask} of {index.column('key')[row]} are not those of {layer}")


def _held(table: pa.Table, layer: str) -> pd.DataFrame:
    """Scenes that samples name: `row` of the index, `key`, `step`, `item`; without those of gaps."""
    steps = table.column(f"{layer}_items").combine_chunks()
    row = pc.list_parent_indices(steps).to_numpy(zero_copy_only=False)
    items = pc.list_flatten(steps)
    up = pc.list_parent_indices(items).to_numpy(zero_copy_only=False)
    first = np.searchsorted(row, row, "left")  # of each step: where those of its sample begin
    step = (np.arange(len(row)) - first)[up]
    key = table.column("key").to_numpy(zero_copy_only=False)[row[up]]
    found = pd.DataFrame(
        {"row": row[up], "key": key, "step": step, "item": pc.list_flatten(items).to_pandas()}
    )
    return found[found["item"].fillna("") != ""]


def _by(table: pa.Table, layer: str) -> list[str]:
    """What tells the steps of a layer apart: where there is one alone, its number is left out."""
    most = pc.max(pc.list_value_length(table.column(f"{layer}_items"))).as_py() or 0
    return ["key", "step"] if most > 1 else ["key"]


def _strangers(plan: _Plan, layer: str, held: pd.DataFrame, index: Index, findings: Findings) -> None:
    """Samples that name a scene which was not chosen for them, or for another step."""
    chosen = plan.chosen.loc[plan.chosen["layer"] == layer, ["key", "step", "item"]].drop_duplicates()
    again = set(plan.again["key"])
    if not len(chosen) and not held["key"].isin(again).all():
        findings.fail(f"{MATCHES} chose no {layer} for any chip, and {held['row'].nunique()} samples have it")
        return
    unknown = held.loc[~held["key"].isin(set(plan.chosen["key"])), "key"]
    if len(unknown):
        findings.warn(
            f"{MATCHES} chose nothing for {unknown.nunique()} samples that show {layer}, first {unknown.iloc[0]}"
        )
        held = held.drop(unknown.index)
    on = [*_by(index.table, layer), "item"]
    other = held[
        held.merge(chosen[on].drop_duplicates(), how="left", on=on, indicator=True)["_merge"].to_numpy()
        == "left_only"
    ]
    broken = plan.again[plan.again["layer"] == layer]
    if again and len(mine := held[held["key"].isin(again)]):
        # A chip whose scene broke, or that of a partner, took another of its candidates.
        offered = plan.offered(again)
        offered = offered.loc[offered["layer"] == layer, ["key", "item"]]
        told = mine.merge(offered, how="left", on=["key", "item"], indicator=True)["_merge"].to_numpy()
        other = pd.concat([other[~other["key"].isin(again)], mine[told == "left_only"]])
        for row in mine.merge(broken[["key", "item"]].drop_duplicates(), on=["key", "item"]).itertuples():
            findings.fail(f"{layer} of {row.key} shows {row.item}, which {AMENDMENTS} says could not be read")
    for row in other.drop_duplicates(["key", "step"]).itertuples():
        findings.fail(f"{layer} of {row.key} shows {row.item}, which was not chosen for it")


def _sample_times(
    plan: _Plan, layer: str, held: pd.DataFrame, index: Index, findings: Findings, *, imagery: bool
) -> None:
    """Each date of a sample is that of a scene of the step; a label's is the edition of its rasters."""
    if plan.scenes is None or layer not in plan.scenes:
        return
    when = plan.scenes[layer]["time" if imagery else "edition"]
    held = held.assign(time=held["item"].map(when))
    dates = index.table.column(f"{layer}_datetime").to_pylist()
    own = held.drop_duplicates(["row", "step"]).copy()
    own["said"] = [
        dates[row][step] if step < len(dates[row]) else ""
        for row, step in zip(own["row"], own["step"], strict=True)
    ]
    both = held.merge(own[["row", "step", "said"]], on=["row", "step"])
    both["ok"] = both["time"].isna() | _same(both["said"], both["time"], imagery=imagery)
    fine = both.groupby(["row", "step"], sort=False)["ok"].any()
    for row, step in fine.index[~fine.to_numpy(bool)].tolist():
        said = dates[row][step] if step < len(dates[row]) else ""
        findings.fail(f"{layer} of {index.column('key')[row]} is of {said!r}, and its scene of another time")


def _chosen_times(plan: _Plan, layer: str, *, imagery: bool, findings: Findings) -> None:
    """Each date of the plan is that of a scene of the candidate; chips whose scenes broke are passed over."""
    if plan.scenes is None:
        return
    own = plan.chosen[(plan.chosen["layer"] == layer) & ~plan.chosen["key"].isin(set(plan.again["key"]))]
    known = plan.scenes.get(layer)
    if known is None or not len(own):
        return
    for item in sorted(set(own["item"]) - set(known.index)):
        findings.fail(f"{MATCHES} chose {item} for {layer}, which {SNAPSHOT} lacks")
    own = own[own["item"].isin(known.index)]
    time = own["item"].map(known["time" if imagery else "edition"])
    said = own["datetime"].fillna("")
    ok = (
        (time.isna() | _same(said, time, imagery=imagery))
        .groupby([own["key"], own["step"], own["rank"]])
        .any()
    )
    for key, _, _ in ok.index[~ok.to_numpy(bool)].tolist():
        findings.fail(f"{MATCHES} has another time for {layer} of {key} than its scene")


def _same(said: pd.Series, time: pd.Series, *, imagery: bool) -> pd.Series:
    if not imagery:
        return said.astype(str) == time.astype(str)
    moments = pd.to_datetime(said, utc=True, errors="coerce", format="ISO8601")
    return (moments - time).abs() <= _NEAR


def _scenes(folder: Path) -> dict[str, pd.DataFrame] | None:
    """Times and editions of the snapshot's scenes by layer and id; None where it cannot be read."""
    try:
        table = pq.read_table(folder / SNAPSHOT, columns=_SCENE)
        frame = table.rename_columns(["id", "layer", "time", "edition"]).to_pandas()
    except BROKEN:
        return None  # which `holes` says
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    own = frame.drop_duplicates(["layer", "id"]).set_index("id")
    return {str(layer): rows for layer, rows in own.groupby("layer")}
