"""A batch and its work: its rows are read from the plan, its tiles are woven, its part and receipt are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from chipweave.errors import TransientSourceError
from chipweave.model import Fate, LayerSpec
from chipweave.pixels import end_tile, gdal_session
from chipweave.pixels.ahead import Wish, ahead
from chipweave.plan.handout import ChipTask, hand_out
from chipweave.plan.planning import Planned
from chipweave.plan.regions import journey
from chipweave.plan.survey import Reads
from chipweave.plan.tables import amendment_rows
from chipweave.plan.targets import cleaned, read_targets
from chipweave.shards.parts import PartWriter, SampleRow
from chipweave.shards.receipts import Receipt, load_receipt, part_name, save_receipt
from chipweave.shards.sample import Encoding
from chipweave.shards.stats import PartialStats
from chipweave.weave.coming import of_batch
from chipweave.weave.labelled import count_foreign, with_ages, with_tables
from chipweave.weave.partners import follow
from chipweave.weave.pictures import Picture, Pictures
from chipweave.weave.registering import agreements, pictures_of
from chipweave.weave.samples import Tile, count, sample_of, texts_of
from chipweave.weave.spool import Spool

SPOOLS = 16
"""Files a batch in which its series wait: a dense batch has as many tiles, one of scattered chips hundreds."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some tiles; the unit of work: a few kilobytes, as its rows are read from the plan where it is woven.

    Parameters
    ----------
    number
        In the plan.
    digest
        Of the plan that it was made from, and its number: a receipt of another does not count.
    plan
        Folder of the plan's files.
    specs, blank, encoding
        Layers as samples carry them, those whose bad pixels are blanked, and how arrays are stored.
    reads
        How layers are read; scenes come with the rows.
    tiles
        Those of its tiles that are woven, where ``--limit`` leaves some out; else None.
    compared
        Whether pictures of several splits will be held against each other.
    """

    number: int
    digest: str
    plan: Path
    specs: tuple[LayerSpec, ...]
    reads: Reads
    blank: frozenset[str]
    encoding: Encoding = "npy"
    tiles: frozenset[str] | None = None
    compared: bool = True

    def __str__(self) -> str:
        return f"batch {self.number}"

    def coming(self) -> Iterator[Wish]:
        """What it will read, in that order; its rows are kept for where it is woven."""
        _handed.clear()
        _handed[self.digest] = handed = self.handed()
        yield from of_batch(list(handed[0].values()), handed[1])

    def handed(self) -> tuple[Mapping[str, Sequence[ChipTask]], Reads]:
        """Its chips by tile, and how to read them."""
        if self.digest in _handed:
            return _handed.pop(self.digest)
        tasks, reads = hand_out(self.plan, self.number, self.reads, self.tiles)
        tiles: dict[str, list[ChipTask]] = defaultdict(list)
        for task in tasks:
            tiles[task.tile].append(task)
        return tiles, reads


_handed: dict[str, tuple[Mapping[str, Sequence[ChipTask]], Reads]] = {}
"""Of the batch that this process weaves next, where what it reads was looked at."""


def batches_of(
    planned: Planned, chips: pd.DataFrame, limit: int | None, encoding: Encoding, *, compared: bool = True
) -> list[Batch]:
    """All batches of the kept chips; what `limit` leaves out of one is told by its tiles; `compared` as of `Batch`."""
    layers = planned.layers
    kept = chips[chips["state"] == "kept"]
    reads = replace(layers.reads, scenes={})
    plan, digest = planned.folder.absolute() / "plan", f"{planned.digest}:{limit}"
    tiles: dict[Hashable, frozenset[str]] = {}
    if limit is not None:
        tiles = kept.groupby("batch")["tile"].agg(frozenset).to_dict()
    return [
        Batch(
            int(n), f"{digest}:{n}", plan, layers.specs, reads, layers.blank, encoding, tiles.get(n), compared
        )
        for n in sorted(kept["batch"].unique())
    ]


def weave_batch(batch: Batch, work: Path) -> int:
    """Write a batch's part and its receipt below `work`; a batch that has them already is left alone.

    Returns
    -------
    int
        Samples written.

    Raises
    ------
    TransientSourceError
        A source did not answer, also after retries: the batch stays open.
    """
    done = load_receipt(work, batch.number, digest=batch.digest, check=True)
    if done is not None:
        return len(done.samples)
    tiles, reads = batch.handed()
    batch = replace(batch, reads=reads)
    stats, counters = PartialStats(), dict[str, int | float]()
    rows: list[SampleRow] = []
    fates: list[Fate] = []
    name = part_name(batch.number)
    with (
        gdal_session(batch.reads.catalogs),
        ExitStack() as stack,
        PartWriter(work / name, batch.encoding) as part,
    ):
        ahead.begin(batch.digest, lambda: of_batch(list(tiles.values()), reads))
        stack.enter_context(journey([[t.chip.place for t in tasks] for tasks in tiles.values()]))
        long = any(limits.rule.dates for limits in reads.limits.values())
        spools = _spools(tiles, work, stack) if long else {}
        series = _weave_series(tiles, batch, spools)
        amendments = list(series.amendments)
        for tile_name, tasks in tiles.items():
            tile = _weave_tile(tasks, batch, series)
            amendments += tile.amendments
            for task in tasks:
                key = task.chip.place.key
                pictures = tile.fates.get(key) or pictures_of(task.chip.place, tile.pictures, tile.agreed)
                if isinstance(pictures, Fate):
                    fates.append(pictures)
                    continue
                rows.append(_write(task, pictures, tile, batch, part, stats, counters))
                fates.append(Fate(key, "written", "weave"))
            del tile, pictures  # the next one needs the room
            spool = spools.pop(tile_name, None)
            if spool is not None and spool not in spools.values():
                spool.close()
        part.close()
        size, xxh3 = part.bytes, part.xxh3
    receipt = Receipt(
        batch=batch.number, part=name, bytes=size, xxh3=xxh3, samples=rows, fates=fates, stats=stats,
        counters=counters, amendments=amendment_rows(amendments), warnings=[], digest=batch.digest,
    )  # fmt: skip
    save_receipt(work, receipt)
    return len(rows)


def _write(
    task: ChipTask,
    pictures: Mapping[str, Picture],
    tile: Tile,
    batch: Batch,
    part: PartWriter,
    stats: PartialStats,
    counters: dict[str, int | float],
) -> SampleRow:
    """Count one sample and write it."""
    made = cleaned(tile.targets.pop(task.chip.place.key, {}), batch.reads.labels)
    targets = with_ages(made, pictures, batch.reads)
    targets = with_tables(targets, task.chip.place, pictures, batch.specs, batch.reads)
    count_foreign(targets, counters)
    targets |= texts_of(task, targets, pictures, batch.specs, batch.reads.texts)
    sample, facts = sample_of(task, targets, pictures, batch.specs, compared=batch.compared)
    count(sample, batch.specs, pictures, stats, counters)
    entry = part.add(sample)
    return SampleRow(entry.key, entry.split, entry.offset, entry.size, entry.members, facts, sets=entry.sets)


def weave_task(batch: Batch, work: Path) -> int | TransientSourceError:
    """As `weave_batch`; a source that did not answer comes back as a value, so that other batches go on."""
    try:
        return weave_batch(batch, work)
    except TransientSourceError as error:
        return error


def _spools(tiles: Collection[str], work: Path, stack: ExitStack) -> dict[str, Spool]:
    """One for some neighbouring tiles each, closed when the last of them is written."""
    share = -(-len(tiles) // SPOOLS)
    opened = [stack.enter_context(Spool(work)) for _ in range(0, len(tiles), share)]
    return {tile: opened[n // share] for n, tile in enumerate(tiles)}


def _weave_series(tiles: Mapping[str, Sequence[ChipTask]], batch: Batch, spools: Mapping[str, Spool]) -> Tile:
    """Layers of several dates, of all tiles together: a date is read once, and waits on disk, tile by tile."""
    done = Tile()
    waits = {t.chip.place.key: spools[name] for name, tasks in tiles.items() for t in tasks if name in spools}
    for layer in batch.reads.imagery:
        if batch.reads.limits[layer].rule.dates:
            _weave_layer(layer, list(tiles.values()), batch, done, waits)
    return done


def _weave_tile(tasks: Sequence[ChipTask], batch: Batch, series: Tile) -> Tile:
    """Everything else of one tile, where `series` gave its chips no fate."""
    reads = batch.reads
    keys = {t.chip.place.key for t in tasks}
    tile = Tile(dict(series.pictures), fates={k: f for k, f in series.fates.items() if k in keys})
    for layer in reads.imagery:
        if layer not in series.pictures:
            _weave_layer(layer, [tasks], batch, tile, {})
    tile.agreed = agreements(
        [t.chip.place for t in tasks if t.chip.place.key not in tile.fates], tile.pictures
    )
    for layer, label in reads.labels.items():
        chips = [t.chip for t in tasks if t.chip.place.key not in tile.fates]
        targets, errors = read_targets(chips, layer, label, reads.scenes[layer])
        for key, target in targets.items():
            tile.targets[key][layer] = target
        for key, error in errors.items():
            tile.fates[key] = Fate(key, "failed", "weave", "broken", layer, error.href, error.message)
    end_tile()
    return tile


def _weave_layer(
    layer: str, tiles: Sequence[Sequence[ChipTask]], batch: Batch, into: Tile, spools: Mapping[str, Spool]
) -> None:
    reads = batch.reads
    own = into.pictures[layer] = Pictures(
        layer, reads.imagery[layer], reads.limits[layer], reads.scenes[layer], layer in batch.blank, spools,
        into.fates, into.amendments,
    )  # fmt: skip
    alive = [[t for t in tasks if t.chip.place.key not in into.fates] for tasks in tiles]
    followed = [follow(layer, tasks, reads, into) for tasks in alive]
    own.weave([chips for chips, _ in followed], {k: v for _, chosen in followed for k, v in chosen.items()})
