"""Wires the stages over an executor: serial, or a Dask client. No logic of its own."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow.parquet as pq

from chipweave import describe
from chipweave.errors import TransientSourceError, UsageError
from chipweave.files import atomic_write_text, folder_lock, sweep
from chipweave.plan import lockfile, tables
from chipweave.plan.batches import limit_tiles
from chipweave.plan.decide import fates_of
from chipweave.plan.lockfile import LockFile
from chipweave.plan.planning import SNAPSHOT, WORK, Executor, Planned, forecast, make_plan, still_open, warn
from chipweave.plan.survey import subset
from chipweave.recipe import LoadedRecipe, require_built
from chipweave.shards import deal, index, ledger, manifest, receipts, stats, zarr_out
from chipweave.weave import Batch, ChipTask, offset_warnings, weave_batch

log = logging.getLogger("chipweave")

T = TypeVar("T")
R = TypeVar("R")


def _serial(function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    for task in tasks:
        yield function(task)


@contextmanager
def executor(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """Serial where `workers` is 0, a Dask cluster at `scheduler`, else a local one of `workers` processes.

    Parameters
    ----------
    workers
        Processes; None is one a core.
    scheduler
        Address of a running scheduler, such as ``tcp://host:8786``; its workers must see the output folder.

    Raises
    ------
    TransientSourceError
        The scheduler does not answer.
    """
    if workers == 0 and scheduler is None:
        yield _serial
        return
    import dask  # noqa: PLC0415 - a second of import that serial builds save
    from distributed import Client, LocalCluster  # noqa: PLC0415

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="10s")
        except OSError as error:
            raise TransientSourceError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield partial(_on_dask, client)
        return
    count = workers or os.cpu_count() or 1
    with (
        # What goes wrong in a task comes back with it; what workers say while they shut down helps nobody.
        dask.config.set({"logging": {"distributed": "critical"}}),
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield partial(_on_dask, client)


def _on_dask(client: Any, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    """A batch a task: seconds of work, arguments of a few kilobytes, never pixels back."""
    futures = [client.submit(function, task, pure=False) for task in tasks]
    try:
        for future in futures:
            yield future.result()
            future.release()
    finally:
        client.cancel(futures)


@contextmanager
def _own(folder: Path, loaded: LoadedRecipe, limit: int | None) -> Iterator[tuple[LockFile, bool]]:
    """Hold the folder; give its lock file, and whether it is finished.

    Raises
    ------
    UsageError
        Another recipe's folder, another process in it, or a folder that holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        lock = lockfile.read_lock(folder)
        finished = (folder / manifest.NAME).exists()
        if lock is not None and lock.sha256 != loaded.digest and not (folder / SNAPSHOT).exists():
            # Nothing was frozen for the other recipe: a corrected one may have the folder.
            shutil.rmtree(folder / "plan", ignore_errors=True)
            lock = LockFile(loaded.recipe.name, loaded.digest, limit)
            lock.stamp("started")
        if lock is None:
            if any(folder.iterdir()):
                raise UsageError(f"{folder} holds something else", hint="name an empty or a new folder")
            lock = LockFile(loaded.recipe.name, loaded.digest, limit)
            lock.stamp("started")
        elif lock.sha256 != loaded.digest:
            raise UsageError(
                f"{folder} belongs to another recipe ({lock.name}, {lock.sha256[:12]}; this is {loaded.digest[:12]})",
                hint="build into another folder",
            )
        elif limit != lock.limit and (finished or (folder / WORK / receipts.FOLDER).exists()):
            raise UsageError(
                f"{folder} was begun with --limit {lock.limit}", hint="use the same, or another folder"
            )
        if finished:
            shutil.rmtree(folder / WORK, ignore_errors=True)  # killed between the manifest and this
        else:
            lock.limit = limit
            sweep(folder)
            atomic_write_text(folder / "recipe.yaml", loaded.to_yaml())
            lock.save(folder)
        yield lock, finished


def plan(
    loaded: LoadedRecipe,
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    lock: Path | None = None,
) -> dict[str, Any]:
    """Place, lock and survey; write the plan below `out` and say what a build would yield.

    Parameters
    ----------
    loaded
        The recipe.
    out
        The dataset's folder; a later `build` goes on from here.
    workers, scheduler
        See `executor`.
    lock
        A dataset whose snapshot is taken instead of a search.

    Returns
    -------
    dict
        The forecast: placed, kept, dropped by reason, chips by split, expected bytes.
    """
    require_built(loaded)
    with _own(out, loaded, None) as (own, finished), executor(workers, scheduler) as run:
        if finished:
            return _built(out, own)
        record = partial(ledger.write_ledger, out / ledger.NAME)
        return forecast(make_plan(loaded, out, own, run, lock=lock, record=record), own)


def build(
    loaded: LoadedRecipe,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    limit: int | None = None,
    lock: str | Path | None = None,
    tile_px: int | None = None,
) -> dict[str, Any]:
    """Build a dataset: plan, weave, deal, seal, describe. A build that was stopped goes on where it was.

    Parameters
    ----------
    loaded
        The recipe, from `load_recipe`.
    out
        Folder of the dataset.
    workers, scheduler
        See `executor`.
    limit
        Build whole tiles with about this many chips; no assignment changes.
    lock
        A dataset whose snapshot is taken instead of a search.
    tile_px
        Side of a tile in pixels; no pixel depends on it.

    Returns
    -------
    dict
        Folder, samples by split, dropped by reason, failed, bytes, warnings.

    Raises
    ------
    ChipweaveError
        One of its kinds; the folder is left so that the same call goes on.
    """
    require_built(loaded)
    folder = Path(out)
    with _own(folder, loaded, limit) as (own, finished), executor(workers, scheduler) as run:
        if finished:
            return _built(folder, own)
        record = partial(ledger.write_ledger, folder / ledger.NAME)
        planned = make_plan(
            loaded, folder, own, run, lock=Path(lock) if lock else None, tile_px=tile_px, record=record
        )
        owed = [s.credit for s in planned.layers.specs if s.credit is not None]
        describe.check_licence(loaded.recipe.licence, owed)
        done = _weave(loaded, planned, own, run)
        _seal(loaded, planned, own, done, run)
        return _built(folder, own)


def _weave(loaded: LoadedRecipe, planned: Planned, own: LockFile, run: Executor) -> list[receipts.Receipt]:
    """Weave all batches, write the ledger, and hold the yield against the recipe."""
    work = planned.folder / WORK
    chips = planned.chips
    if own.limit is not None and (chips["state"] == "kept").any():
        kept = chips["state"] == "kept"
        names = list(loaded.recipe.split.fractions) if loaded.recipe.split else ["train"]
        taken = limit_tiles(chips[kept], own.limit, names)
        chips = chips.copy()
        chips.loc[kept & ~chips["tile"].isin(taken), ["state", "stage", "reason"]] = [
            "dropped",
            "limit",
            "limit",
        ]
    batches = _batches(planned, chips, f"{planned.digest}:{own.limit}")
    ready = [receipts.load_receipt(work, b.number, digest=b.digest) is not None for b in batches]
    if any(ready):
        log.info("weave: %d of %d batches are there already", sum(ready), len(batches))
    open_batches: list[TransientSourceError] = []
    for n, result in enumerate(run(partial(_weave_task, work=work), batches), 1):
        if isinstance(result, TransientSourceError):
            open_batches.append(result)
        else:
            log.info("weave: batch %d of %d, %d samples", n, len(batches), result)
    still_open("weave", open_batches, len(batches))
    done = []
    for batch in batches:
        receipt = receipts.load_receipt(work, batch.number, digest=batch.digest)
        if receipt is None:
            raise TransientSourceError(
                f"batch {batch.number} left no receipt", hint="run the same command again"
            )
        done.append(receipt)
    fates = fates_of(chips) + [f for r in done for f in r.fates]
    ledger.write_ledger(planned.folder / ledger.NAME, fates)
    split = loaded.recipe.split
    asked = [n for n, f in split.fractions.items() if f > 0] if split else ["train"]
    # What --limit leaves out is no loss that `allow` speaks of.
    judged = [f for f in fates if f.reason != "limit"]
    ledger.check_yield(judged, {row.split for r in done for row in r.samples}, asked, loaded.recipe.allow)
    return done


def _weave_task(batch: Batch, work: Path) -> int | TransientSourceError:
    try:
        return weave_batch(batch, work)
    except TransientSourceError as error:
        return error


def _batches(planned: Planned, chips: pd.DataFrame, digest: str) -> list[Batch]:
    layers = planned.layers
    kept = chips[chips["state"] == "kept"]
    scenes, chosen = tables.read_choices(
        planned.folder / "plan" / "matches.parquet",
        kept,
        list(layers.reads.imagery),
        list(layers.reads.labels),
    )
    wkb = pq.read_table(planned.folder / "plan" / "places.parquet", columns=["key", "geometry"]).to_pydict()
    geometry = dict(zip(wkb["key"], wkb["geometry"], strict=True))
    batches = []
    for number in sorted(kept["batch"].unique()):
        rows = kept[kept["batch"] == number]
        tasks = tuple(
            ChipTask(
                scenes[r.key], chosen[r.key], r.split, r.tile, (r.w, r.s, r.e, r.n), geometry[r.key].hex()
            )
            for r in _rows(rows)
        )
        reads = subset(layers.reads, [t.chip for t in tasks])
        batches.append(Batch(int(number), f"{digest}:{number}", tasks, layers.specs, reads, layers.blank))
    return batches


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    return iter(table.itertuples())


def _seal(
    loaded: LoadedRecipe,
    planned: Planned,
    own: LockFile,
    done: Sequence[receipts.Receipt],
    run: Executor,
) -> None:
    """Deal the parts into every format, then index, statistics, card and, last of all, the manifest."""
    folder, work, output = planned.folder, planned.folder / WORK, loaded.recipe.output
    specs = planned.layers.specs
    counters: Counter[str] = Counter()
    merged = stats.PartialStats()
    for receipt in done:
        merged.merge(receipt.stats)
        counters.update(receipt.counters)
    warn(own, offset_warnings(counters))
    seed = loaded.recipe.split.seed if loaded.recipe.split else 0
    hand = deal.make_deal(folder, work, done, output.shuffle, seed)  # type: ignore[arg-type]
    known: dict[str, tuple[int, str]] = {}
    shards = (
        deal.deal_webdataset(hand, output.samples_per_shard, run) if "webdataset" in output.formats else []
    )
    known |= {s.path: (s.bytes, s.sha256) for s in shards}
    if "zarr" in output.formats:
        known |= zarr_out.deal_zarr(hand, specs, run)
    log.info("deal: %d shards", len(shards))
    index.write_index(folder / index.NAME, index.index_rows(hand, shards), specs)
    atomic_write_text(folder / "stats.json", json.dumps(merged.finish(specs), indent=1) + "\n")
    amended = pq.read_table(folder / "plan" / "amendments.parquet").to_pylist()
    amended = [a for a in amended if a["stage"] != "weave"] + [a for r in done for a in r.amendments]
    tables.write_rows(folder / "plan" / "amendments.parquet", amended, tables.AMENDMENTS)
    own.versions = lockfile.versions()
    own.save(folder)
    summary = describe.summarise(folder, [s.name for s in specs])
    describe.write_card(folder, loaded.mapping, specs, summary)
    describe.write_attribution(folder, specs, summary.years)
    for split, rows in summary.shards.items():
        describe.write_wids(folder, split, rows, loaded.recipe.name)
    own.stamp("finished")
    own.save(folder)
    manifest.write_manifest(folder, known)
    shutil.rmtree(work)


def _built(folder: Path, own: LockFile) -> dict[str, Any]:
    fates = ledger.read_ledger(folder / ledger.NAME)
    splits = pq.read_table(folder / index.NAME, columns=["split"]).column("split").to_pylist()
    files = json.loads((folder / manifest.NAME).read_text(encoding="utf-8"))["files"]
    return {
        "folder": str(folder),
        "state": "built",
        "placed": len(fates),
        "written": sum(f.state == "written" for f in fates),
        "failed": sum(f.state == "failed" for f in fates),
        "dropped": dict(sorted(Counter(f.reason for f in fates if f.state == "dropped").items())),
        "splits": {s: splits.count(s) for s in deal.split_order(splits)},
        "bytes": sum(f["bytes"] for f in files.values()),
        "files": len(files),
        "warnings": own.warnings,
    }
