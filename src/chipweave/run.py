"""Wires the stages over an executor: serial, or a Dask client. No logic of its own."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow.parquet as pq

from chipweave import describe, stores
from chipweave.audit.build import audit_build
from chipweave.errors import TransientSourceError
from chipweave.executor import executor
from chipweave.files import atomic_write_text
from chipweave.pixels import let_go, loaders
from chipweave.plan import lockfile, tables
from chipweave.plan.batches import take_tiles
from chipweave.plan.decide import fates_of
from chipweave.plan.lockfile import LockFile
from chipweave.plan.native import split_native
from chipweave.plan.planning import WORK, Executor, Planned, forecast, make_plan, still_open, warn
from chipweave.progress import Step, tell
from chipweave.recipe import LoadedRecipe, require_built
from chipweave.recipe.outcome import Window
from chipweave.shards import deal, index, ledger, manifest, receipts, records, stats
from chipweave.shards.damage import readable
from chipweave.shards.windows import Windows
from chipweave.weave import Batch, batches_of, label_warnings, offset_warnings, weave_task

log = logging.getLogger("chipweave")


@contextmanager
def begin(
    loaded: LoadedRecipe,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    limit: int | None = None,
    loader: str = loaders.DEFAULT,
) -> Iterator[Build]:
    """Hold a dataset's folder, and an executor, for a build whose stages the caller calls; see `build`."""
    require_built(loaded)
    loaders.check(loader)
    with (
        stores.home(out) as home,
        stores.own(home, loaded, limit, loader) as (own, finished),
        executor(workers, scheduler) as run,
    ):
        if finished:
            home.built()  # killed before the store had all of it
        yield Build(split_native(loaded), home, own, run, finished=finished)


class Build:
    """A build under way: `plan`, `weave` and `seal`, in this order. Each leaves files; what is there is not done again.

    A stage that `TransientSourceError` ended may be called again. `begin` gives one.
    """

    def __init__(
        self, loaded: LoadedRecipe, home: stores.Home, own: LockFile, run: Executor, *, finished: bool
    ) -> None:
        self.finished = finished
        self._loaded, self._home, self._folder, self._own, self._run = loaded, home, home.folder, own, run
        self._planned: Planned
        self._windows: Windows | None = None
        self._batches: Sequence[Batch] = ()
        self._woven: dict[int, receipts.Receipt] = {}

    def plan(self, *, lock: str | Path | None = None, tile_px: int | None = None) -> None:
        """Place, lock, survey and split; see `build`."""
        self._planned = make_plan(
            self._loaded, self._folder, self._own, self._run, lock=Path(lock) if lock else None, tile_px=tile_px,
            record=partial(ledger.write_ledger, self._folder / ledger.NAME),
        )  # fmt: skip
        self._home.planned()

    def forecast(self) -> dict[str, Any]:
        """What the plan would yield."""
        return forecast(self._planned, self._own) | {"folder": self._home.name}

    def weave(self, each: Callable[[int, int], object] | None = None, size: int | None = None) -> None:
        """Weave all batches, write the ledger, and hold the yield against the recipe.

        Parameters
        ----------
        each
            Weaves a group of batches, from its first number to its last: it calls `weave_group`, which it is itself
            where left out.
        size
            Batches of a group, all where left out. Windows, where the recipe has them, are the groups.

        Raises
        ------
        TransientSourceError
            Some batches are open. Other groups were woven all the same; other windows were not.
        """
        limit = self._own.limit
        chips = take_tiles(self._planned.chips, limit, _splits(self._loaded, self._planned.chips))
        recipe = self._loaded.recipe
        self._batches = batches_of(
            self._planned, chips, limit, recipe.output.encoding, compared=recipe.split is not None
        )
        self._windows = _windows(self._loaded, self._planned)

        def group(batches: Sequence[Batch]) -> list[receipts.Receipt]:
            (each or self.weave_group)(batches[0].number, batches[-1].number)
            return [self._woven[b.number] for b in batches if b.number in self._woven]

        if self._windows:
            done = self._windows.run(self._batches, group, self._run)
        else:
            done = _in_groups(self._batches, size or len(self._batches), group)
        self._woven = {r.batch: r for r in done}
        _judge(self._loaded, self._folder, chips, done)

    def weave_group(self, first: int, last: int) -> int:
        """Weave the batches from one number to another: what `weave` calls. Gives the number of samples."""
        batches = [b for b in self._batches if first <= b.number <= last]
        done = _woven(batches, work=self._planned.folder.absolute() / WORK, run=self._run)
        self._woven |= {r.batch: r for r in done}
        return sum(len(r.samples) for r in done)

    def seal(self) -> None:
        """Deal the parts into every format, then index, statistics, card and, last of all, the manifest."""
        if not self.finished:
            let_go()  # no source is read any more
            _seal(
                self._loaded, self._planned, self._own, list(self._woven.values()), self._run, self._windows
            )
        self.finished = True
        self._home.built()

    def fates(self) -> dict[str, Any]:
        """What became of the chips, if the ledger is written."""
        path = self._folder / ledger.NAME
        return ledger.tally(path) if path.exists() else {}

    def summary(self) -> dict[str, Any]:
        """The finished dataset: what `build` gives."""
        return _built(self._folder, self._own) | {"folder": self._home.name}


def plan(
    loaded: LoadedRecipe,
    out: str | Path,
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
        The dataset's folder, or its URL; a later `build` goes on from here.
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
    with begin(loaded, out, workers=workers, scheduler=scheduler, loader=loader) as job:
        if job.finished:
            return job.summary()
        job.plan(lock=lock)
        return job.forecast()


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
        Folder of the dataset, or its URL in an object store; see `chipweave.stores.home`.
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
    with begin(loaded, out, workers=workers, scheduler=scheduler, limit=limit, loader=loader) as job:
        if not job.finished:
            job.plan(lock=lock, tile_px=tile_px)
            job.weave()
            job.seal()
        return job.summary()


def _windows(loaded: LoadedRecipe, planned: Planned) -> Windows | None:
    output, folder = loaded.recipe.output, planned.folder.absolute()
    if not isinstance(output.shuffle, Window):
        return None
    return Windows(folder, folder / WORK, output.shuffle.window, output.samples_per_shard, _seed(loaded))


def _seed(loaded: LoadedRecipe) -> int:
    return loaded.recipe.split.seed if loaded.recipe.split else 0


def _splits(loaded: LoadedRecipe, chips: pd.DataFrame) -> list[str]:
    """Splits that have to come out: as the recipe names them, or as a list does."""
    asked = loaded.recipe.split.names if loaded.recipe.split else ("train",)
    return list(asked) or deal.split_order(chips.loc[chips["state"] == "kept", "split"])


def _in_groups(
    batches: Sequence[Batch], size: int, weave: Callable[[Sequence[Batch]], list[receipts.Receipt]]
) -> list[receipts.Receipt]:
    """Weave group after group; one that stays open does not keep the others from it."""
    done: list[receipts.Receipt] = []
    left: list[TransientSourceError] = []
    for start in range(0, len(batches), size or 1):
        try:
            done += weave(batches[start : start + size])
        except TransientSourceError as error:
            left.append(error)
    if left:
        raise left[0]
    return done


def _judge(loaded: LoadedRecipe, folder: Path, chips: pd.DataFrame, done: Sequence[receipts.Receipt]) -> None:
    """Write the ledger, and hold the yield against the recipe."""
    fates = fates_of(chips) + [f for r in done for f in r.fates]
    ledger.write_ledger(folder / ledger.NAME, fates)
    asked = _splits(loaded, chips)
    # What --limit leaves out is no loss that `allow` speaks of.
    judged = [f for f in fates if f.reason != "limit"]
    ledger.check_yield(judged, {row.split for r in done for row in r.samples}, asked, loaded.recipe.allow)


def _woven(batches: Sequence[Batch], work: Path, run: Executor) -> list[receipts.Receipt]:
    """Weave batches, and give the receipts of all; what an earlier run finished is looked at, and left as it is."""
    ready = sum(receipts.receipt_path(work, b.number).exists() for b in batches)
    if ready:
        log.info("weave: %d of %d batches are there already, and are looked at", ready, len(batches))
    open_batches: list[TransientSourceError] = []
    chips = 0
    tell(Step("weave", 0, len(batches), "batches", chips))
    # All of them: a part is read to tell that it is whole, and the workers read at once.
    for n, result in enumerate(run(partial(weave_task, work=work), batches), 1):
        if isinstance(result, TransientSourceError):
            open_batches.append(result)
        else:
            chips += result
        tell(Step("weave", n, len(batches), "batches", chips))
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
    warn(own, [*offset_warnings(counters), *label_warnings(counters)])
    hand, shards = _deal(loaded, folder, done, run, windows)
    known = deal.files_of(shards)
    if "zarr" in loaded.recipe.output.formats:
        from chipweave.shards import zarr_out  # noqa: PLC0415 - zarr is dear to import, and tars do without

        known |= zarr_out.deal_zarr(hand, specs, run)
    index.write_index(folder / index.NAME, index.index_rows(hand, shards), specs)
    records.write_records(folder, specs)
    atomic_write_text(folder / "stats.json", json.dumps(merged.finish(specs), indent=1) + "\n")
    amended = pq.read_table(folder / "plan" / "amendments.parquet").to_pylist()
    amended = [a for a in amended if a["stage"] != "weave"] + [a for r in done for a in r.amendments]
    tables.write_rows(folder / "plan" / "amendments.parquet", amended, tables.AMENDMENTS)
    own.versions = lockfile.versions(own.loader)
    own.save(folder)
    summary = describe.summarise(folder, [s.name for s in specs])
    describe.write_card(folder, loaded.mapping, specs, summary)
    describe.write_attribution(folder, specs, summary.years, loaded.recipe.licence)
    describe.write_stac(folder, loaded.mapping, specs, summary)
    describe.write_croissant(folder, loaded.mapping, specs, summary)
    for kept, shown in {"": summary.shards, **summary.beside}.items():
        for split, rows in shown.items():
            describe.write_wids(folder, split, rows, loaded.recipe.name, kept)
    audit_build(folder, [sample.row for sample in hand.samples])
    describe.write_report(folder)
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
    with readable(folder):
        splits = pq.read_table(folder / index.NAME, columns=["split"]).column("split").to_pylist()
        if None in splits:
            raise ValueError(f"{index.NAME} has samples of no split")
        files = json.loads((folder / manifest.NAME).read_text(encoding="utf-8"))["files"]
        return {
            "state": "built",
            **ledger.tally(folder / ledger.NAME),
            "splits": {s: splits.count(s) for s in deal.split_order(splits)},
            "bytes": sum(f["bytes"] for f in files.values()),
            "files": len(files),
            "warnings": own.warnings,
        }
