"""The plan's tables and the recipe that lie in the folder, held against the index and the lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from chipweave.audit.report import BROKEN, Findings
from chipweave.errors import ChipweaveError
from chipweave.recipe import load_recipe

CHIPS, PLACES = "plan/chips.parquet", "plan/places.parquet"
FILES = (PLACES, "plan/scenes.parquet", CHIPS, "plan/matches.parquet", "plan/amendments.parquet")
"""What a build leaves of its plan. A dataset may be published without."""

_GRID = ("crs", "x", "y", "size", "resolution")
_NAMING = {"file", "files", "geojson", "near", "table"}
"""Keys that name a file whose bytes count in the hash of a recipe, where they stand in one of these sections."""
_HASHED = ("area", "chips", "attributes", "imagery")


def absent(folder: Path) -> list[str]:
    """Files of the plan that are not there."""
    return [name for name in FILES if not (folder / name).is_file()]


def check_tables(folder: Path, index: pd.DataFrame, keys: set[str], findings: Findings) -> None:
    """Hold chips and places of the plan, as far as they are there, against the ledger's keys and the index.

    Parameters
    ----------
    folder
        The dataset.
    index
        Its index.
    keys
        Of the ledger: one a placed chip.
    findings
        What is wrong is added.
    """
    for name in (CHIPS, PLACES):
        if not (folder / name).is_file():
            continue
        try:
            wanted = ("key", "place", "split", "fold", *_GRID)
            there = set(pq.read_schema(folder / name).names)
            plan = pq.read_table(folder / name, columns=[n for n in wanted if n in there]).to_pandas()
            planned = set(plan["key"])
        except BROKEN as exc:
            findings.fail(f"{name} cannot be read: {exc}")
            continue
        _check_keys(name, planned, keys, findings)
        if plan["key"].duplicated().any():
            findings.fail(f"{name} has {plan['key'][plan['key'].duplicated()].iloc[0]} more than once")
            continue
        _check_rows(name, plan.set_index("key"), index, findings)


def _check_keys(name: str, planned: set[str], keys: set[str], findings: Findings) -> None:
    where = "the plan" if name == CHIPS else name
    for key in sorted(planned ^ keys):
        told = "planned but not in the ledger" if key in planned else f"not in {where}"
        findings.fail(f"chip {key} is {told}")


def _check_rows(name: str, plan: pd.DataFrame, index: pd.DataFrame, findings: Findings) -> None:
    """Hold split, fold, place and grid of samples against the plan's, by key."""
    own = index[index["key"].isin(plan.index)]
    plan = plan.loc[own["key"]]
    if name == CHIPS and "split" in plan:
        _tell(name, "split", own, plan["split"].to_numpy(), own["split"].to_numpy(), findings)
        fold = plan["fold"].to_numpy() if "fold" in plan else np.full(len(own), -1)
        _tell(name, "fold", own, fold, own["fold"].to_numpy(), findings)
    if "place" in plan:
        _tell(name, "place", own, plan["place"].to_numpy(), own["place"].to_numpy(), findings)
    if not set(_GRID) <= set(plan) or not len(own):
        return
    _tell(name, "crs", own, plan["crs"].to_numpy(), own["crs"].to_numpy(), findings)
    x, y, size, step = (plan[n].to_numpy(float) for n in _GRID[1:])
    zero = np.zeros(len(own))
    grid = np.stack([step, zero, x, zero, -step, y, size, size], axis=1)
    transforms = np.stack([np.asarray(t, float) for t in own["transform"]])
    mine = np.column_stack([transforms, own["height"].to_numpy(float), own["width"].to_numpy(float)])
    off = np.abs(grid - mine) > 1e-6 * step[:, None]
    for key in own["key"].to_numpy()[off.any(axis=1)].tolist():
        findings.fail(f"the grid of {key} is another one in {name} than in the index")


def _tell(name: str, what: str, own: pd.DataFrame, theirs: Any, mine: Any, findings: Findings) -> None:
    for row in np.flatnonzero(theirs != mine).tolist():
        findings.fail(
            f"{what} of {own['key'].iloc[row]} is {theirs[row]} in {name}, {mine[row]} in the index"
        )


def other_recipe(folder: Path) -> str:
    """In words, that the recipe in the folder is not the one whose hash the lock has; empty if it is, or none can say.

    Nobody can where the recipe names tables or outlines that count in its hash, for these lie elsewhere, and where
    another version worked the hash out.
    """
    try:
        lock = json.loads((folder / "chipweave.lock").read_bytes())
        said, by = lock["recipe"]["sha256"], lock["versions"]["chipweave"]
        loaded = load_recipe(folder / "recipe.yaml")
        if by != version("chipweave") or any(_names_file(loaded.mapping.get(n)) for n in _HASHED):
            return ""
        same = loaded.digest == said
    except (ChipweaveError, *BROKEN):
        return ""  # what cannot be read is told elsewhere
    return "" if same else "recipe.yaml is not the recipe that chipweave.lock has the SHA-256 of"


def _names_file(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(k in _NAMING or _names_file(v) for k, v in value.items())
    return isinstance(value, list) and any(_names_file(v) for v in value)
