"""Planning, stage by stage: place, lock, survey, split, batch. Each leaves a file; what is there is not done again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd
import pyarrow.parquet as pq

from chipweave import catalog
from chipweave.errors import TransientSourceError, UsageError, YieldError
from chipweave.files import atomic_write_text
from chipweave.model import Fate
from chipweave.plan import lockfile, tables
from chipweave.plan.area import read_area
from chipweave.plan.batches import tile_names
from chipweave.plan.decide import batch_chips, chip_table, fates_of, label_layers_of, match_chips, split_chips
from chipweave.plan.layers import BuildLayers, build_layers
from chipweave.plan.lockfile import LockFile
from chipweave.plan.place import place_chips, search_cells
from chipweave.plan.survey import (
    Amendment,
    ChipScenes,
    Found,
    SurveyTask,
    found_from_json,
    found_to_json,
    subset,
    survey_tile,
)
from chipweave.recipe import LoadedRecipe

log = logging.getLogger("chipweave")

T = TypeVar("T")
R = TypeVar("R")

WORK = ".work"
"""Scratch folder of a build, below the dataset."""

SNAPSHOT = "plan/scenes.parquet"
"""The frozen scenes, below the dataset."""

PLAN_FILES = ("places.parquet", "scenes.parquet", "chips.parquet", "matches.parquet")


class Executor(Protocol):
    """Runs a function over tasks, anywhere; results come in the tasks' order."""

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """Run it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan on disk: the table of chips, the layers, and the digest of all its files."""

    folder: Path
    chips: pd.DataFrame
    layers: BuildLayers
    digest: str


def make_plan(
    loaded: LoadedRecipe,
    out: Path,
    own: LockFile,
    run: Executor,
    *,
    lock: Path | None = None,
    tile_px: int | None = None,
    record: Callable[[Sequence[Fate]], None],
) -> Planned:
    """Make the plan on disk, as far as it is not there yet.

    Parameters
    ----------
    loaded, out, own
        The recipe, the dataset's folder, its lock file.
    run
        Runs the survey.
    lock
        A dataset whose snapshot is taken instead of a search.
    tile_px
        Side of a tile; no pixel depends on it.
    record
        Is given every chip's fate where no split can be made: the ledger then says why.

    Raises
    ------
    ChipweaveError
        One of its kinds.
    """
    folder = out / "plan"
    folder.mkdir(exist_ok=True)
    requests = catalog.requests(loaded)
    area = read_area(loaded)
    if (folder / "chips.parquet").exists():
        scenes = catalog.read_snapshot(out / SNAPSHOT)
        layers = build_layers(loaded, requests, scenes, area.centre)
        return Planned(out, pq.read_table(folder / "chips.parquet").to_pandas(), layers, _digest(out, own))
    places = place_chips(loaded, area)
    tables.write_places(folder / "places.parquet", places)
    log.info("place: %d chips", int((places["reason"] == "").sum()))
    _freeze(out, own, requests, search_cells(places), area.centre, lock)
    scenes = catalog.read_snapshot(out / SNAPSHOT)
    layers = build_layers(loaded, requests, scenes, area.centre)
    own.methods = {layer: dict(m) for layer, m in layers.methods.items()}
    chips = match_chips(places, layers.reads)
    found, amendments = _survey(loaded, out, own, layers, chips, run, tile_px)
    table = chip_table(loaded, places, chips, found)
    tables.write_rows(folder / "matches.parquet", _match_rows(found, chips, layers), tables.MATCHES)
    tables.write_rows(folder / "amendments.parquet", tables.amendment_rows(amendments), tables.AMENDMENTS)
    try:
        table, result = split_chips(loaded, table)
        warn(own, result.notes if result is not None else ())
    except YieldError:
        record(fates_of(table))
        raise
    table = batch_chips(table, tile_px)
    own.stamp("planned")
    own.save(out)
    tables.write_chips(folder / "chips.parquet", table)
    return Planned(out, table, layers, _digest(out, own))


def _match_rows(
    found: Mapping[str, Found], chips: Mapping[str, ChipScenes], layers: BuildLayers
) -> Iterator[dict[str, Any]]:
    for key in sorted(found):
        for layer, choice in found[key].choices.items():
            yield from tables.imagery_rows(key, layer, choice)
    for key in sorted(found):
        for layer, items in chips[key].labels.items():
            if items:
                edition = layers.reads.scenes[layer][items[0]].edition
                yield from tables.label_rows(key, layer, items, edition)


def _freeze(
    out: Path,
    own: LockFile,
    requests: Sequence[catalog.LayerRequest],
    cells: Sequence[tuple[float, float, float, float]],
    centre: tuple[float, float],
    other: Path | None,
) -> None:
    """Freeze the scenes, once: from a search, or from another dataset's snapshot."""
    path = out / SNAPSHOT
    if path.exists() and own.searches:
        return
    if other is not None:
        theirs = lockfile.read_lock(other)
        if theirs is None:
            raise UsageError(f"--lock {other}: is no dataset")
        wanted = {r.layer for r in requests}
        scenes = [s for s in catalog.read_snapshot(other / "plan" / "scenes.parquet") if s.layer in wanted]
        own.searches = [{**s, "lock": theirs.sha256} for s in theirs.searches]
    else:
        result = catalog.lock(requests, cells, centre)
        scenes, own.searches = result.scenes, result.searches
        warn(own, result.warnings)
    for request in requests:
        log.info("lock: %s: %d scenes", request.layer, sum(s.layer == request.layer for s in scenes))
    catalog.write_snapshot(scenes, path)
    own.stamp("locked")
    own.save(out)


def _survey(
    loaded: LoadedRecipe,
    out: Path,
    own: LockFile,
    layers: BuildLayers,
    chips: dict[str, ChipScenes],
    run: Executor,
    tile_px: int | None,
) -> tuple[dict[str, Found], list[Amendment]]:
    """Survey every chip that all layers may serve, a tile a task, with receipts."""
    whole = {k: c for k, c in chips.items() if all(c.candidates.values()) and all(c.labels.values())}
    found = {key: Found() for key in chips}
    if not whole:
        return found, []
    facts = tuple(label_layers_of(loaded, list(layers.reads.labels)))
    digest = hashlib.sha256((own.sha256 + _sha(out / SNAPSHOT)).encode()).hexdigest()
    grid = pd.DataFrame(
        [
            {k: getattr(c.place, k) for k in ("key", "crs", "x", "y", "size", "resolution")}
            for c in whole.values()
        ]
    )
    groups = grid.assign(tile=tile_names(grid, tile_px)).groupby("tile", sort=True)["key"].apply(sorted)
    tasks = []
    for number, keys in enumerate(groups):
        own_chips = tuple(whole[k] for k in keys)
        # The keys too: a tile of another size must not take this one's receipt.
        named = hashlib.sha256("\n".join([digest, *keys]).encode()).hexdigest()
        tasks.append(SurveyTask(number, named, own_chips, subset(layers.reads, own_chips), facts))
    log.info(
        "survey: masks of up to %d candidates over %d chips in %d tiles",
        len({s for c in whole.values() for own_c in c.candidates.values() for m in own_c for s in m.scenes}),
        len(whole), len(tasks),
    )  # fmt: skip
    amendments: list[Amendment] = []
    open_tiles: list[TransientSourceError] = []
    for result in run(partial(_survey_task, work=out / WORK), tasks):
        if isinstance(result, TransientSourceError):
            open_tiles.append(result)
            continue
        got, passed = found_from_json(result)
        found |= got
        amendments += passed
    still_open("survey", open_tiles, len(tasks))
    return found, amendments


def _survey_task(task: SurveyTask, work: Path) -> dict[str, Any] | TransientSourceError:
    path = work / "survey" / f"tile-{task.number:06d}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["digest"] == task.digest:
            return content
    except (OSError, ValueError, KeyError):
        pass  # not surveyed yet, or not whole: survey it
    try:
        found, amendments = survey_tile(task.chips, task.reads, task.label_facts)
    except TransientSourceError as error:
        return error
    content = {"digest": task.digest, **found_to_json(found, amendments)}
    atomic_write_text(path, json.dumps(content))
    result: dict[str, Any] = json.loads(json.dumps(content))
    return result


def still_open(stage: str, errors: Sequence[TransientSourceError], total: int) -> None:
    """Raise where work was left open by sources that did not answer.

    Raises
    ------
    TransientSourceError
        With the first of them.
    """
    if errors:
        raise TransientSourceError(
            f"{stage}: {len(errors)} of {total} batches are open: {errors[0].message}",
            hint="run the same command again: finished batches are kept",
            href=errors[0].href,
        )


def warn(own: LockFile, warnings: Iterable[str]) -> None:
    """Say a warning once, and keep it in the lock file."""
    for text in warnings:
        if text not in own.warnings:
            own.warnings.append(text)
            log.warning("%s", text)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(out: Path, own: LockFile) -> str:
    """Of everything that weave's bytes follow from."""
    parts = [own.sha256, *(f"{k}={v}" for k, v in sorted(lockfile.versions().items()))]
    parts += [_sha(out / "plan" / name) for name in PLAN_FILES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def forecast(planned: Planned, own: LockFile) -> dict[str, Any]:
    """What a build of this plan would yield."""
    chips = planned.chips
    kept = chips[chips["state"] == "kept"]
    dropped = chips[chips["state"] == "dropped"]
    return {
        "folder": str(planned.folder),
        "state": "planned",
        "placed": len(chips),
        "kept": len(kept),
        "failed": int((chips["state"] == "failed").sum()),
        "dropped": {str(k): int(v) for k, v in dropped["reason"].value_counts().sort_index().items()},
        "splits": {str(k): int(v) for k, v in kept["split"].value_counts().items()},
        "batches": int(kept["batch"].nunique()),
        "bytes": planned.layers.sample_bytes * len(kept),
        "warnings": own.warnings,
    }
