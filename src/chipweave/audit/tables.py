"""The index, the ledger and the recipe, read with suspicion."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from chipweave.audit.footprints import misplaced
from chipweave.audit.plan import check_tables, other_recipe
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.model import KEY
from chipweave.recipe.interval import interval
from chipweave.recipe.outcome import Output, Split
from chipweave.shards.deal import split_order
from chipweave.shards.index import NAME, read_index
from chipweave.shards.ledger import COLUMNS
from chipweave.shards.ledger import NAME as LEDGER
from chipweave.shards.sample import Encoding

RECIPE, LOCK = "recipe.yaml", "chipweave.lock"
_NEEDED = (
    *("key", "place", "split", "fold", "shard", "json_offset", "json_size"),
    *("geometry", "crs", "transform", "height", "width"),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the recipe asks of the dataset.

    Parameters
    ----------
    split
        None: all is train.
    blanked
        Imagery layers whose bad pixels were erased.
    limited
        Whether only a part of the plan was built.
    encoding
        Of the arrays in tars.
    jitter_m
        Metres by which points may lie off.
    folds
        Shares of folds, by number, as they were dealt.
    """

    split: Split | None = None
    blanked: frozenset[str] = frozenset()
    limited: bool = False
    encoding: Encoding = "npy"
    jitter_m: float = 0.0
    folds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """The index.

    Parameters
    ----------
    frame
        As geopandas reads it.
    table
        The same without geometry, for native values.
    layers
        With arrays, by name.
    """

    frame: gpd.GeoDataFrame
    table: pa.Table
    layers: list[str] = field(default_factory=list)

    def column(self, name: str) -> NDArray[Any]:
        """Values of a column."""
        return np.asarray(self.frame[name].to_numpy())

    @property
    def sets(self) -> dict[str, list[str]]:
        """Layers by the folder of their shards: `shards`, then `shards-<set>` of those that licences keep apart."""
        found: dict[str, list[str]] = {"shards": []}
        for layer in self.layers:
            own = f"{layer}_shard"
            first = str(self.frame[own].iloc[0]) if own in self.frame.columns else ""
            found.setdefault(first.rpartition("/")[0] or "shards", []).append(layer)
        return dict(sorted(found.items()))

    def __len__(self) -> int:
        return len(self.frame)


def load_index(folder: Path) -> tuple[Index | None, Check]:
    """Read the index, None where nothing can be checked further."""
    findings = Findings("index")
    try:
        whole = pq.read_table(folder / NAME)
        _check_columns(whole)
        frame, table = read_index(folder), whole.drop_columns(["geometry"])
    except BROKEN as exc:
        findings.fail(f"{NAME} cannot be read: {exc}")
        return None, findings.check("")
    missing = [name for name in _NEEDED if name not in frame.columns]
    layers = [
        c.removesuffix("_offset") for c in frame.columns if c.endswith("_offset") and c != "json_offset"
    ]
    missing += [f"{layer}_size" for layer in layers if f"{layer}_size" not in frame.columns]
    if missing or not layers or len(frame) == 0:
        findings.fail(f"{NAME} lacks {', '.join(missing) or 'layers' if len(frame) else 'rows'}")
        return None, findings.check("")
    index = Index(frame, table, layers)
    try:
        _check_rows(folder, index, findings)
    except BROKEN as exc:
        findings.fail(f"{NAME} holds values that cannot be used: {exc}")
        return None, findings.check("")
    return index, findings.check(f"{len(frame)} samples, all keys different", samples=len(frame))


def _check_columns(table: pa.Table) -> None:
    """Hold columns that lead to samples against what they have to be: their types, and no holes.

    Raises
    ------
    ValueError
        A column is otherwise.
    """
    names = set(table.column_names)
    numbers = {"fold", "height", "width", "json_offset", "json_size"}
    texts = {"key", "place", "split", "shard", "crs"}
    for layer in [n.removesuffix("_offset") for n in names if n.endswith("_offset")]:
        numbers |= {f"{layer}_offset", f"{layer}_size"}
        texts.add(f"{layer}_shard")
    for name in sorted(names & (numbers | texts | set(_NEEDED))):
        kind, holes = table.schema.field(name).type, table[name].null_count
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if (name in texts and not text) or (name in numbers and not pa.types.is_integer(kind)):
            raise ValueError(f"its column {name} is of type {kind}")
        if holes:
            raise ValueError(f"its column {name} lacks {holes} values")


def _check_rows(folder: Path, index: Index, findings: Findings) -> None:
    keys = [str(key) for key in index.column("key")]
    for key, number in Counter(keys).items():
        if number > 1:
            findings.fail(f"key {key} comes {number} times")
        if not KEY.fullmatch(key):
            findings.fail(f"key {key!r} has other signs than letters, digits, _ and -")
    root = folder.resolve()
    named = ["shard", *(f"{n}_shard" for n in index.layers if f"{n}_shard" in index.frame.columns)]
    for shard in {str(s) for name in named for s in index.column(name)} - {""}:
        if ".." in PurePosixPath(shard).parts or not (folder / shard).resolve().is_relative_to(root):
            raise ValueError(f"shard {shard} leads out of the folder")
    splits = index.column("split")
    ranks = {name: k for k, name in enumerate(split_order(splits.tolist()))}
    order = [
        (ranks[s], shard, at)
        for s, shard, at in zip(splits, index.column("shard"), index.column("json_offset"), strict=True)
    ]
    if order != sorted(order):
        findings.fail("rows are not in the order of split, shard and offset")
    _check_times(index, findings)
    _check_places(index, findings)


def _check_times(index: Index, findings: Findings) -> None:
    """Times are ISO 8601, or empty where there is nothing; of labels and texts also a year, a month or a day."""
    for name in index.table.column_names:
        layer = name.removesuffix("_datetime")
        kind = index.table.schema.field(name).type
        if layer == name or f"{layer}_items" not in index.table.column_names or not pa.types.is_list(kind):
            continue
        imagery = f"{layer}_cloud_fraction" in index.table.column_names
        said = pc.list_flatten(index.table.column(name).combine_chunks()).unique().to_pylist()
        for text in said:
            if text != "" and not _is_time(text, whole=imagery):
                findings.fail(f"{name} holds {text!r}, which is no time")


def _is_time(text: Any, *, whole: bool) -> bool:
    if not whole and isinstance(text, str) and text.isdecimal():
        return True  # an edition
    try:
        interval(text)
    except BROKEN:
        return False
    return "/" not in text and (not whole or "T" in text)


def _check_places(index: Index, findings: Findings) -> None:
    """Geometry and grid name the same place: one is the outline of the other."""
    transforms = np.stack([np.asarray(t, float) for t in index.column("transform")])
    height, width = index.column("height").astype(float), index.column("width").astype(float)
    shapes = index.frame.geometry.to_numpy()
    off = misplaced(index.column("crs").astype(str), transforms, height, width, shapes)
    for row in np.flatnonzero(off).tolist():
        findings.fail(f"geometry and transform of {index.column('key')[row]} are different places")


def load_rules(folder: Path) -> tuple[Rules, Check]:
    """Read the recipe and the lock that lie in the folder."""
    findings = Findings("recipe")
    split, blanked, limited = None, frozenset[str](), False
    encoding: Encoding = "npy"
    jitter = 0.0
    folds: dict[int, float] = {}
    try:
        recipe = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
        if recipe.get("split") is not None:
            split = Split.model_validate(recipe["split"])
        imagery: Mapping[str, Any] = recipe.get("imagery") or {}
        sampling = (recipe.get("chips") or {}).get("sampling") or {}
        jitter = float(sampling.get("jitter_m") or 0.0)
        encoding = Output.model_validate(recipe.get("output") or {}).encoding
        blanked = frozenset(name for name, of in imagery.items() if of.get("mask") == "blank")
    except (*BROKEN, yaml.YAMLError, ValidationError) as exc:
        findings.fail(f"{RECIPE} cannot be read: {' '.join(str(exc).split())}")
    try:
        lock = json.loads((folder / LOCK).read_bytes())
        limited = lock.get("limit") is not None
        folds = {int(k): float(share) for k, share in lock.get("split", {}).get("folds", {}).items()}
        if split is not None and split.kept_m is None:
            split = split.model_copy(update={"buffer_m": float(lock["split"]["variogram"]["range_m"])})
    except BROKEN as exc:
        findings.fail(f"{LOCK} cannot be read: {exc}")
    if not findings.failed and (why := other_recipe(folder)):
        findings.warn(why)
    return Rules(split, blanked, limited, encoding, jitter, folds), findings.check(
        "recipe and lock can be read"
    )


def check_ledger(folder: Path, index: Index) -> Check:
    """Check one row a placed chip, and that what was written is what the index has."""
    findings = Findings("ledger")
    try:
        rows = pq.read_table(folder / LEDGER, columns=list(COLUMNS)).to_pylist()
    except BROKEN as exc:
        findings.fail(f"{LEDGER} cannot be read: {exc}")
        return findings.check("")
    for key, number in Counter(row["key"] for row in rows).items():
        if number > 1:
            findings.fail(f"chip {key} has {number} rows")
    by_state = Counter(row["state"] for row in rows)
    for state in set(by_state) - {"written", "dropped", "failed"}:
        findings.fail(f"{state!r} is no state of a chip")
    for row in rows:
        if row["state"] == "dropped" and not row["reason"]:
            findings.fail(f"chip {row['key']} was dropped without a reason")
    written, known = {row["key"] for row in rows if row["state"] == "written"}, set(index.column("key"))
    for key in sorted(written ^ known):
        where = (
            "the ledger but not in the index" if key in written else "the index but not written in the ledger"
        )
        findings.fail(f"{key} is in {where}")
    check_tables(folder, index.frame, {row["key"] for row in rows}, findings)
    if by_state["failed"]:
        findings.warn(f"{by_state['failed']} of {len(rows)} chips failed: a source could not be read")
    numbers = {state: by_state[state] for state in ("written", "dropped", "failed")}
    told = f"{len(rows)} chips: {by_state['written']} written, {by_state['dropped']} dropped, none failed"
    return findings.check(told, **numbers)
