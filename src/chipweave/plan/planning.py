"""Planning, stage by stage: place, lock, survey, split, batch. Each leaves a file; what is there is not done again."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from chipweave import catalog
from chipweave.errors import RecipeError, TransientSourceError, UsageError, YieldError
from chipweave.files import sha256_file
from chipweave.model import Fate, Scene
from chipweave.pixels import gdal_session, spare
from chipweave.plan import lockfile, tables
from chipweave.plan.area import EVERYWHERE, AreaOfInterest, read_area
from chipweave.plan.decide import ChipTable, batch_chips, fates_of, label_layers_of
from chipweave.plan.even import balanced
from chipweave.plan.grids import times_finer
from chipweave.plan.layers import BuildLayers, build_layers
from chipweave.plan.lockfile import LockFile
from chipweave.plan.onto import enough_neighbours
from chipweave.plan.place import area_cells, place_chips, search_cells
from chipweave.plan.quota import take_quota
from chipweave.plan.splitting import split_chips
from chipweave.plan.survey import Amendment
from chipweave.plan.surveying import Survey, rows_path, survey_task
from chipweave.plan.times import with_searches
from chipweave.plan.yields import pair_yields
from chipweave.progress import Step, tell
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.timing import TimeRule

log = logging.getLogger("chipweave")

T = TypeVar("T")
R = TypeVar("R")

WORK = ".work"
"""Scratch folder of a build, below the dataset."""

STORES = "labels"
"""What is made of vector labels before chips are read from them, below the scratch folder."""

SNAPSHOT = "plan/scenes.parquet"
"""The frozen scenes, below the dataset."""

KEPT_OF_SURVEY = 32 << 20
"""Blocks that a serial build keeps for weaving: those of the last tiles, which are woven first."""

PLAN_FILES = ("places.parquet", "scenes.parquet", "chips.parquet", "matches.parquet")


class Executor(Protocol):
    """Runs a function over tasks, anywhere; results come in the tasks' order."""

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
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
    area, stores = read_area(loaded), out / WORK / STORES
    if (folder / "chips.parquet").exists():
        scenes = catalog.read_snapshot(out / SNAPSHOT)
        chips = pq.read_table(folder / "chips.parquet").to_pandas()
        layers = build_layers(
            loaded, requests, scenes, centre_of(area, chips), own.loader, stores, folder / "places.parquet"
        )
        return Planned(out, chips, layers, _digest(out, own))
    tiled = _tiled(loaded, out, own, requests, area, lock)
    places, wkb = _place(loaded, area, folder / "places.parquet", tiled.scenes if tiled is not None else ())
    centre = centre_of(area, places)
    requests = tuple(with_searches(requests, places, loaded))
    _freeze(out, own, requests, search_cells(places), centre, lock, tiled)
    layers = build_layers(
        loaded,
        requests,
        catalog.read_snapshot(out / SNAPSHOT),
        centre,
        own.loader,
        stores,
        folder / "places.parquet",
    )
    warn(own, layers.notes)
    own.methods = {layer: dict(m) for layer, m in layers.methods.items()}
    facts = label_layers_of(loaded, list(layers.reads.labels))
    digest = hashlib.sha256((own.sha256 + own.loader + sha256_file(out / SNAPSHOT)).encode()).hexdigest()
    survey = Survey(places, wkb, layers.reads, facts, digest, tile_px)
    table = _decide(loaded, out, own, survey, run, tile_px, record)
    del survey, places, wkb  # of all places: what comes next needs the room
    spare(KEPT_OF_SURVEY)
    return Planned(out, table, layers, _digest(out, own))


def _decide(
    loaded: LoadedRecipe,
    out: Path,
    own: LockFile,
    survey: Survey,
    run: Executor,
    tile_px: int | None,
    record: Callable[[Sequence[Fate]], None],
) -> pd.DataFrame:
    """Survey the places, draw quotas and splits, batch; the table of chips, whose file says that the plan stands."""
    folder, work = out / "plan", out / WORK
    table, amendments = run_survey(loaded, survey, run, work)
    tables.write_rows(folder / "amendments.parquet", tables.amendment_rows(amendments), tables.AMENDMENTS)
    by = loaded.recipe.chips.sampling.by
    if by is not None:
        table = take_quota(loaded, table, survey.reads.labels[by].specs[0].legend)
    if loaded.recipe.balance is not None:
        even = survey.reads.labels.get(loaded.recipe.balance.by)
        table = balanced(loaded, table, even.specs[0].legend if even is not None else None)
    table = _split(loaded, table, own, record)
    table = write_decided(folder, table, survey, work, tile_px)
    enough_neighbours(survey.reads.imagery, table)
    broken = table[table["state"] == "failed"]
    if len(broken):
        first = broken.iloc[0]
        warn(own, [f"{len(broken)} chips cannot be built, first {first['key']}: {first['error']}"])
    own.stamp("planned")
    own.save(out)
    tables.write_chips(folder / "chips.parquet", table)
    shutil.rmtree(work / "survey", ignore_errors=True)  # nothing reads it once the plan stands
    return table


def _split(
    loaded: LoadedRecipe, table: pd.DataFrame, own: LockFile, record: Callable[[Sequence[Fate]], None]
) -> pd.DataFrame:
    """Assign splits; where none can be made the ledger says what became of every chip."""
    try:
        assigned, result = split_chips(loaded, table)
    except YieldError:
        record(fates_of(table))
        raise
    if result is not None:
        own.split = dict(result.figures)
        warn(own, result.notes)
    return assigned


def centre_of(area: AreaOfInterest, places: pd.DataFrame) -> tuple[float, float]:
    """A point (lon, lat) by which areas of pixels are judged: of the area, or where there is none of its places."""
    if area is not EVERYWHERE:
        return area.centre
    places = places.drop_duplicates("place")
    order = np.lexsort((places["place"].to_numpy(dtype=np.str_), places["lat"].abs()))
    middle = places.iloc[int(order[len(order) // 2])]
    return float(middle["lon"]), float(middle["lat"])


def _tiled(
    loaded: LoadedRecipe,
    out: Path,
    own: LockFile,
    requests: Sequence[catalog.LayerRequest],
    area: AreaOfInterest,
    other: Path | None,
) -> catalog.LockResult | None:
    """Scenes that are cut into places, which are searched for before there are any; None where none are.

    Raises
    ------
    RecipeError
        The whole earth would be searched.
    """
    sampling = loaded.recipe.chips.sampling
    if sampling.method != "scene_tiles":
        return None
    mine = [r for r in requests if r.layer == sampling.of]
    if isinstance(loaded.recipe.imagery[mine[0].layer].time, TimeRule):
        raise RecipeError(
            f"imagery.{sampling.of}.time: its scenes are tiled before chips have a time of their own",
            hint="give an interval such as 2021-06-01/2021-08-31",
        )
    frozen = out / SNAPSHOT if (out / SNAPSHOT).exists() and own.searches else None
    if other is not None and frozen is None:
        _their_lock(other)
        frozen = other / "plan" / "scenes.parquet"
    if frozen is not None:
        scenes = [s for s in catalog.read_snapshot(frozen) if s.layer == sampling.of]
        return catalog.LockResult(scenes, [], [])
    if area is EVERYWHERE and loaded.recipe.imagery[mine[0].layer].items is None:
        raise RecipeError(
            f"area: is missing: all scenes of {sampling.of} on earth would be tiled",
            hint=f"give an area, or name the scenes in imagery.{sampling.of}.items",
        )
    return catalog.lock(mine, area_cells(area), area.centre)


def _place(
    loaded: LoadedRecipe, area: AreaOfInterest, path: Path, scenes: Sequence[Scene]
) -> tuple[pd.DataFrame, pa.Array]:
    """Place chips and write them: their table, and their footprints, which are objects nowhere else."""
    with gdal_session(loaded.catalogs):  # scenes that are tiled are asked for their grid
        places = place_chips(loaded, area, scenes)
    tables.write_places(path, places)
    log.info("place: %d chips", int((places["reason"] == "").sum()))
    wkb = pa.array(shapely.to_wkb(places.geometry.to_numpy()), pa.binary())
    return pd.DataFrame(places.drop(columns="geometry")), wkb


def run_survey(
    loaded: LoadedRecipe, survey: Survey, run: Executor, work: Path
) -> tuple[pd.DataFrame, list[Amendment]]:
    """Survey every chip that all layers may serve: the table of chips, and the scenes that were passed over.

    Raises
    ------
    TransientSourceError
        Sources did not answer; what was surveyed is kept.
    """
    placed, looked_at = len(survey.places), 0
    log.info("survey: %d places in %d tiles", placed, survey.tiles)
    for line in pair_yields(survey):
        log.info("pair: %s", line)
    tell(Step("survey", 0, placed, "places"))
    table = ChipTable(loaded, survey.places)
    amendments: list[Amendment] = []
    open_tiles: list[TransientSourceError] = []
    for result in run(partial(survey_task, work=work), survey.tasks()):
        if isinstance(result, TransientSourceError):
            open_tiles.append(result)
            continue
        surveyed = survey.settle(result)
        table.settle(surveyed)
        looked_at += len(surveyed.rows)
        tell(Step("survey", looked_at, placed, "places"))
        amendments += surveyed.amendments
    still_open("survey", open_tiles, survey.tasks_made)
    if looked_at < placed:  # the others have no scene, or are another zone's
        tell(Step("survey", placed, placed, "places"))
    table.no_scene(survey.lacking, survey.layers)
    log.info(
        "survey: %d chips, out of %d candidates", int((survey.task >= 0).sum()), survey.candidates
    )  # fmt: skip
    return table.frame(), amendments


def write_decided(
    folder: Path, table: pd.DataFrame, survey: Survey, work: Path, tile_px: int | None
) -> pd.DataFrame:
    """Batch the chips and write `matches.parquet` in their order; the table in that order."""
    # `table` has the rows of the places, in which the survey speaks.
    rules = [limits.rule for limits in survey.reads.limits.values()]
    steps = max((rule.steps for rule in rules), default=1)
    dates = int(survey.count.max(initial=1)) if any(rule.stat for rule in rules) else 1
    times = times_finer(table, survey.reads.imagery.values())
    numbered = batch_chips(table.assign(_row=np.arange(len(table))), tile_px, steps, dates, times)
    rows = numbered.pop("_row").to_numpy()
    tables.write_matches(
        folder / "matches.parquet", partial(rows_path, work), survey.task[rows], survey.start[rows],
        survey.count[rows], numbered["batch"].to_numpy(),
    )  # fmt: skip
    return numbered


def _freeze(
    out: Path,
    own: LockFile,
    requests: Sequence[catalog.LayerRequest],
    cells: Sequence[tuple[float, float, float, float]],
    centre: tuple[float, float],
    other: Path | None,
    tiled: catalog.LockResult | None,
) -> None:
    """Freeze the scenes, once: from a search, or from another dataset's snapshot; what was `tiled` is there already."""
    path = out / SNAPSHOT
    if path.exists() and own.searches:
        return
    if other is not None:
        theirs = _their_lock(other)
        wanted = {r.layer for r in requests}
        scenes = [s for s in catalog.read_snapshot(other / "plan" / "scenes.parquet") if s.layer in wanted]
        own.searches = [{**s, "lock": theirs.sha256} for s in theirs.searches]
    else:
        known = {s.layer for s in tiled.scenes} if tiled is not None else set()
        result = catalog.lock([r for r in requests if r.layer not in known], cells, centre)
        scenes, own.searches = list(result.scenes), list(result.searches)
        if tiled is not None:
            scenes = sorted([*scenes, *tiled.scenes], key=lambda s: (s.layer, s.time, s.id))
            own.searches = [*tiled.searches, *own.searches]
            warn(own, tiled.warnings)
        warn(own, result.warnings)
    for request in requests:
        log.info("lock: %s: %d scenes", request.layer, sum(s.layer == request.layer for s in scenes))
    catalog.write_snapshot(scenes, path)
    own.stamp("locked")
    own.save(out)


def _their_lock(other: Path) -> LockFile:
    theirs = lockfile.read_lock(other)
    if theirs is None:
        raise UsageError(f"--lock {other}: is no dataset")
    return theirs


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


def _digest(out: Path, own: LockFile) -> str:
    """Of everything that weave's bytes follow from."""
    parts = [own.sha256, own.loader, *(f"{k}={v}" for k, v in sorted(lockfile.versions(own.loader).items()))]
    parts += [sha256_file(out / "plan" / name) for name in PLAN_FILES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def forecast(planned: Planned, own: LockFile) -> dict[str, Any]:
    """What a build of this plan would yield."""
    chips = planned.chips
    kept = chips[chips["state"] == "kept"]
    dropped = chips[chips["state"] == "dropped"]
    return {
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
