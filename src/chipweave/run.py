"""Wires the stages over an executor: serial, or a Dask client. No logic of its own."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow.parquet as pq

from chipweave import describe
from chipweave.errors import TransientSourceError, UsageError
from chipweave.executor import executor
from chipweave.files import atomic_write_text, folder_lock, sweep
from chipweave.pixels import loaders
from chipweave.plan import lockfile, tables
from chipweave.plan.batches import limit_tiles
from chipweave.plan.decide import fates_of
from chipweave.plan.lockfile import LockFile
from chipweave.plan.planning import SNAPSHOT, WORK, Executor, Planned, forecast, make_plan, still_open, warn
from chipweave.recipe import LoadedRecipe, require_built
from chipweave.recipe.outcome import Window
from chipweave.shards import deal, index, ledger, manifest, receipts, stats
from chipweave.shards.windows import Windows
from chipweave.weave import Batch, offset_warnings, weave_task

log = logging.getLogger("chipweave")


@contextmanager
def _own(
    folder: Path, loaded: LoadedRecipe, limit: int | None, loader: str
) -> Iterator[tuple[LockFile, bool]]:
    """Hold the folder; give its lock file, and whether it is finished.

    Raises
    ------
    UsageError
        Another recipe's or loader's folder, another process in it, or a folder that holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        lock = lockfile.read_lock(folder)
        finished = (folder / manifest.NAME).exists()
        if lock is not None and lock.sha256 != loaded.digest and not (folder / SNAPSHOT).exists():
            # Nothing was frozen for the other recipe: a corrected one may have the folder.
            shutil.rmtree(folder / "plan", ignore_errors=True)
            lock = LockFile(loaded.recipe.name, loaded.digest, limit, loader)
            lock.stamp("started")
        if lock is None:
            if any(folder.iterdir()):
                raise UsageError(f"{folder} holds something else", hint="name an empty or a new folder")
            lock = LockFile(loaded.recipe.name, loaded.digest, limit, loader)
            lock.stamp("started")
        elif lock.sha256 != loaded.digest:
            raise UsageError(
                f"{folder} belongs to another recipe ({lock.name}, {lock.sha256[:12]}; this is {loaded.digest[:12]})",
                hint="build into another folder",
            )
        elif loader != lock.loader and (folder / SNAPSHOT).exists():
            raise UsageError(
                f"{folder} was begun with --loader {lock.loader}", hint="use the same, or another folder"
            )
        elif limit != lock.limit and (finished or (folder / WORK / receipts.FOLDER).exists()):
            raise UsageError(
                f"{folder} was begun with --limit {lock.limit}", hint="use the same, or another folder"
            )
        if finished:
            shutil.rmtree(folder / WORK, ignore_errors=True)  # killed between the manifest and this
        else:
            lock.limit, lock.loader = limit, loader
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
    loader: str = loaders.DEFAULT,
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
    loader
        Who reads pixels: ``native``, ``odc`` or ``stackstac``; a folder stays with the one it was begun with.

    Returns
    -------
    dict
        The forecast: placed, kept, dropped by reason, chips by split, expected bytes.
    """
    require_built(loaded)
    loaders.check(loader)
    with _own(out, loaded, None, loader) as (own, finished), executor(workers, scheduler) as run:
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
    loader: str = loaders.DEFAULT,
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
    loader
        Who reads pixels: ``native``, ``odc`` or ``stackstac``; a folder stays with the one it was begun with.

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
    loaders.check(loader)
    with _own(folder, loaded, limit, loader) as (own, finished), executor(workers, scheduler) as run:
        if finished:
            return _built(folder, own)
        record = partial(ledger.write_ledger, folder / ledger.NAME)
        planned = make_plan(
            loaded, folder, own, run, lock=Path(lock) if lock else None, tile_px=tile_px, record=record
        )
        owed = [s.credit for s in planned.layers.specs if s.credit is not None]
        describe.check_licence(loaded.recipe.licence, owed)
        windows = _windows(loaded, planned)
        done = _weave(loaded, planned, own, run, windows)
        _seal(loaded, planned, own, done, run, windows)
        return _built(folder, own)


def _windows(loaded: LoadedRecipe, planned: Planned) -> Windows | None:
    output, folder = loaded.recipe.output, planned.folder.absolute()
    if not isinstance(output.shuffle, Window):
        return None
    return Windows(folder, folder / WORK, output.shuffle.window, output.samples_per_shard, _seed(loaded))


def _seed(loaded: LoadedRecipe) -> int:
    return loaded.recipe.split.seed if loaded.recipe.split else 0


def _weave(
    loaded: LoadedRecipe, planned: Planned, own: LockFile, run: Executor, windows: Windows | None
) -> list[receipts.Receipt]:
    """Weave all batches, write the ledger, and hold the yield against the recipe."""
    work = planned.folder.absolute() / WORK
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
    batches = _batches(planned, chips, own.limit, loaded.recipe.output.encoding)
    weave = partial(_woven, work=work, run=run)
    done = windows.run(batches, weave, run) if windows else weave(batches)
    fates = fates_of(chips) + [f for r in done for f in r.fates]
    ledger.write_ledger(planned.folder / ledger.NAME, fates)
    split = loaded.recipe.split
    asked = [n for n, f in split.fractions.items() if f > 0] if split else ["train"]
    # What --limit leaves out is no loss that `allow` speaks of.
    judged = [f for f in fates if f.reason != "limit"]
    ledger.check_yield(judged, {row.split for r in done for row in r.samples}, asked, loaded.recipe.allow)
    return done


def _woven(batches: Sequence[Batch], work: Path, run: Executor) -> list[receipts.Receipt]:
    """Weave batches, and give the receipts of all; what an earlier run finished is looked at, and left as it is."""
    ready = sum(receipts.receipt_path(work, b.number).exists() for b in batches)
    if ready:
        log.info("weave: %d of %d batches are there already, and are looked at", ready, len(batches))
    open_batches: list[TransientSourceError] = []
    # All of them: a part is read to tell that it is whole, and the workers read at once.
    for n, result in enumerate(run(partial(weave_task, work=work), batches), 1):
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
    return done


def _batches(
    planned: Planned, chips: pd.DataFrame, limit: int | None, encoding: Literal["npy", "blosc2"]
) -> list[Batch]:
    """All batches; what `--limit` leaves out of one is told by its tiles."""
    layers = planned.layers
    kept = chips[chips["state"] == "kept"]
    reads = replace(layers.reads, scenes={})
    plan, digest = planned.folder.absolute() / "plan", f"{planned.digest}:{limit}"
    tiles: dict[Any, frozenset[str]] = {}
    if limit is not None:
        tiles = kept.groupby("batch")["tile"].agg(frozenset).to_dict()
    return [
        Batch(int(n), f"{digest}:{n}", plan, layers.specs, reads, layers.blank, encoding, tiles.get(n))
        for n in sorted(kept["batch"].unique())
    ]


def _seal(
    loaded: LoadedRecipe,
    planned: Planned,
    own: LockFile,
    done: Sequence[receipts.Receipt],
    run: Executor,
    windows: Windows | None,
) -> None:
    """Deal the parts into every format, then index, statistics, card and, last of all, the manifest."""
    folder = planned.folder.absolute()
    specs = planned.layers.specs
    counters: Counter[str] = Counter()
    merged = stats.PartialStats()
    for receipt in done:
        merged.merge(receipt.stats)
        counters.update(receipt.counters)
    warn(own, offset_warnings(counters))
    hand, shards = _deal(loaded, folder, done, run, windows)
    known = {s.path: (s.bytes, s.sha256) for s in shards}
    if "zarr" in loaded.recipe.output.formats:
        from chipweave.shards import zarr_out  # noqa: PLC0415 - zarr is dear to import, and tars do without

        known |= zarr_out.deal_zarr(hand, specs, run)
    log.info("deal: %d shards", len(shards))
    index.write_index(folder / index.NAME, index.index_rows(hand, shards), specs)
    atomic_write_text(folder / "stats.json", json.dumps(merged.finish(specs), indent=1) + "\n")
    amended = pq.read_table(folder / "plan" / "amendments.parquet").to_pylist()
    amended = [a for a in amended if a["stage"] != "weave"] + [a for r in done for a in r.amendments]
    tables.write_rows(folder / "plan" / "amendments.parquet", amended, tables.AMENDMENTS)
    own.versions = lockfile.versions(own.loader)
    own.save(folder)
    summary = describe.summarise(folder, [s.name for s in specs])
    describe.write_card(folder, loaded.mapping, specs, summary)
    describe.write_attribution(folder, specs, summary.years)
    for split, rows in summary.shards.items():
        describe.write_wids(folder, split, rows, loaded.recipe.name)
    own.stamp("finished")
    own.save(folder)
    manifest.write_manifest(folder, known)
    shutil.rmtree(folder / WORK)


def _deal(
    loaded: LoadedRecipe,
    folder: Path,
    done: Sequence[receipts.Receipt],
    run: Executor,
    windows: Windows | None,
) -> tuple[deal.Deal, list[deal.ShardRow]]:
    """Deal all samples, or what the windows left, into tars where the recipe asks for them."""
    output = loaded.recipe.output
    if windows is not None:
        return windows.finish(run)
    shuffle: Literal["global", "none"] = "none" if output.shuffle == "none" else "global"
    hand = deal.make_deal(folder, folder / WORK, done, shuffle, _seed(loaded))
    tars = "webdataset" in output.formats
    return hand, deal.deal_webdataset(hand, output.samples_per_shard, run) if tars else []


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
