"""The plan's files: places, matches, chips and amendments as parquet, and back.

What weave does comes from these files alone, so a resumed build reads the same plan.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.files import atomic_path, atomic_write_bytes
from chipweave.model import Place
from chipweave.plan.columns import Ints, Queue, gather
from chipweave.plan.select import NOT_MEASURED, Choice
from chipweave.plan.survey import Amendment, Found, Reads

MATCHES = pa.schema(
    [
        ("key", pa.string()),
        ("layer", pa.string()),
        ("step", pa.int32()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("datetime", pa.string()),
        ("cloud_fraction", pa.float64()),
        ("valid_fraction", pa.float64()),
        ("chosen", pa.bool_()),
        ("why", pa.string()),
        # What weave needs to choose again where a scene turns out broken.
        ("order", pa.int32()),
        ("coverage", pa.float64()),
        ("catalog_cloud", pa.float64()),
        ("same_crs", pa.bool_()),
        ("broken", pa.string()),
        # As in `chips.parquet`: a worker reads its own batch's row groups.
        ("batch", pa.int32()),
    ]
)
ROW_GROUP = 100_000
"""Most rows of a row group, and rows that are held at a time."""

SCRATCH_KEPT = 32
"""Tables of tiles that are held while matches are put in their order."""

ROWS_A_GROUP = 8192
"""Rows of a row group of places and chips: a worker reads those of its batch alone (see `handout`)."""

_COVERS = (None, None, True, "covers the chip")

AMENDMENTS = pa.schema([(name, pa.string()) for name in ("key", "layer", "item", "stage", "href", "error")])


def write_places(path: Path, places: gpd.GeoDataFrame) -> None:
    """Write places as GeoParquet."""
    with atomic_path(path) as temporary:
        places.to_parquet(temporary, index=False, compression="zstd", row_group_size=ROWS_A_GROUP)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows under a fixed schema, also where there are none; a group at a time, as millions may come."""
    sink, left = io.BytesIO(), iter(rows)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while group := [dict(row) for row in islice(left, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    atomic_write_bytes(path, sink.getvalue())


def write_chips(path: Path, chips: pd.DataFrame) -> None:
    """Write the table of chips."""
    with atomic_path(path) as temporary:
        table = pa.Table.from_pandas(chips, preserve_index=False)
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROWS_A_GROUP)


def match_table(
    found: Mapping[str, Found], labels: Mapping[str, Mapping[str, Sequence[str]]], reads: Reads
) -> tuple[pa.Table, list[int]]:
    """Rows of `matches.parquet` of surveyed chips, all but their batch, and how many each chip has.

    One row an item: of imagery the candidates in their ranking, then the rasters of each label in reading order.
    Chosen candidates have rank 0 and a step each; all others stand behind them, at step 0. Where several make one
    step together they have the ranks 0, 1, …; where steps have windows of their own, others stand at the step that
    they were looked at for.
    """
    rows: list[tuple[Any, ...]] = []
    owners: list[int] = []
    left: dict[int, list[_Left]] = defaultdict(list)
    for number, (key, own) in enumerate(found.items()):
        for layer, choice in own.choices.items():
            skip = len(choice.rest) if choice.rest is not None else 0
            rows += _imagery_rows(key, layer, choice, skip)
            if choice.rest is not None and skip:
                first = sum(not m.candidate.broken for m in choice.ranked) - choice.taken + choice.depth
                left[id(choice.rest.matched)].append(_Left(number, layer, first, choice.rest))
        for layer, items in labels[key].items():
            edition = reads.scenes[layer][items[0]].edition if items else ""
            for order, item in enumerate(items):
                rows.append((key, layer, 0, 0, item, edition, *_COVERS, order, None, None, None, ""))
        owners += [number] * (len(rows) - len(owners))
    columns = list(zip(*rows, strict=True)) or [()] * (len(MATCHES) - 1)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, list(MATCHES)[:-1], strict=True)]
    # A few hundred scenes and reasons stand in millions of rows.
    arrays = [a.dictionary_encode() if pa.types.is_string(a.type) else a for a in arrays]
    parts = [pa.table(arrays, names=MATCHES.names[:-1])]
    whose = [np.array(owners, np.int64)]
    keys = pa.array(list(found), pa.string()).dictionary_encode()
    for own_left in left.values():
        table, owner = _left_rows(own_left, keys)
        parts.append(table)
        whose.append(owner)
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    if len(parts) > 1:
        ranks = {name: n for n, name in enumerate((*reads.imagery, *reads.labels))}
        layers = table["layer"].combine_chunks()
        layer = np.array([ranks[n] for n in layers.dictionary.to_pylist()])[layers.indices.to_numpy()]
        own_turn = (table[name].to_numpy() for name in ("order", "step", "rank"))
        turn = np.lexsort((*own_turn, layer, np.concatenate(whose)))
        table = table.take(pa.array(turn))
    return table, np.bincount(np.concatenate(whose), minlength=len(found)).tolist()


@dataclass(frozen=True, slots=True)
class _Left:
    """Candidates of chip `owner` that were not looked at, ranked from `rank` on."""

    owner: int
    layer: str
    rank: int
    queue: Queue


def _left_rows(left: Sequence[_Left], keys: pa.Array) -> tuple[pa.Table, Ints]:
    """Rows of candidates that were not looked at, of one layer and tile, and the number of each row's chip."""
    matched = left[0].queue.matched
    counts = np.array([len(q.queue) for q in left], np.int64)
    numbers = np.concatenate([np.arange(q.queue.begin, q.queue.end) for q in left])
    which = np.repeat(np.arange(len(left)), counts)
    numbers = numbers[matched.newest(numbers, which)]
    rank = (
        np.array([q.rank for q in left])[which]
        + np.arange(len(numbers))
        - np.repeat(np.cumsum(counts) - counts, counts)
    )
    rows, start = gather(matched.start, numbers)
    each = np.diff(start)
    up = np.repeat(np.arange(len(numbers)), each)
    scenes, lead = matched.scenes[rows], matched.scenes[matched.start[numbers]][up]
    owner = np.array([q.owner for q in left])[which][up]
    numbers, n = numbers[up], len(up)

    def text(values: Sequence[str], index: Ints) -> pa.Array:
        return pa.array(list(values), pa.string()).dictionary_encode().take(pa.array(index))

    zero = np.zeros(n, np.int64)
    none = pa.nulls(n, pa.float64())
    arrays = [
        keys.take(pa.array(owner)), text([left[0].layer], zero), pa.array(zero.astype(np.int32)),
        pa.array(rank[up].astype(np.int32)), text(matched.ids, scenes), text(matched.times, lead), none, none,
        pa.array(np.zeros(n, np.bool_)), text([NOT_MEASURED], zero),
        pa.array((np.arange(n) - start[up]).astype(np.int32)),
        pa.array(matched.coverage[numbers]), pa.array(matched.cloud[numbers]), pa.array(matched.same_crs[numbers]),
        text([""], zero),
    ]  # fmt: skip
    return pa.table(arrays, names=MATCHES.names[:-1]), owner


def _imagery_rows(key: str, layer: str, choice: Choice, skip: int) -> list[tuple[Any, ...]]:
    """Rows of the ranking; `skip` ranks are left free before what cannot serve."""
    rows = []
    taken: Counter[int] = Counter()
    for at, m in enumerate(choice.ranked):
        chosen, step = at < choice.taken, choice.step(at)
        rank = taken[step] if chosen else at - choice.taken + choice.depth
        taken[step] += 1
        rank += skip if m.candidate.broken else 0
        c = m.candidate
        cloud, valid = (m.cloud, m.valid) if m.measured else (None, None)
        head = (key, layer, step, rank)
        figures = (c.time, cloud, valid, chosen, m.why)
        tail = (c.coverage, c.cloud, c.same_crs, c.broken)
        rows += [(*head, item, *figures, order, *tail) for order, item in enumerate(c.scenes)]
    return rows


def write_scratch(path: Path, table: pa.Table) -> None:
    """Write a table that is read once again, soon."""
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)


def write_matches(
    path: Path, scratch: Callable[[int], Path], task: Ints, start: Ints, count: Ints, batch: Ints
) -> None:
    """Write `matches.parquet` from the tables that tasks left, a row group at a time.

    Parameters
    ----------
    path
        File to write.
    scratch
        Path of a task's table.
    task, start, count
        (n,) task of each chip, and its rows in that task's table; -1 where it was not surveyed. Rows are written
        in the order of the chips, and a row group holds whole chips.
    batch
        (n,) batch of each chip.
    """
    own = np.flatnonzero(task >= 0)
    task, start, count, batch = (a[own].astype(np.int64) for a in (task, start, count, batch))

    @lru_cache(maxsize=SCRATCH_KEPT)
    def read(number: int) -> pa.Table:
        with pa.ipc.open_file(scratch(number)) as file:
            return file.read_all()

    ends = np.cumsum(count)
    with atomic_path(path) as temporary:
        writer = pq.ParquetWriter(temporary, MATCHES, compression="zstd")
        with writer:
            first = 0
            while first < len(task):
                base = int(ends[first - 1]) if first else 0
                last = max(int(np.searchsorted(ends, base + ROW_GROUP, "right")), first + 1)
                run = slice(first, last)
                table = _rows_of(read, task[run], start[run], count[run])
                batches = pa.array(np.repeat(batch[run], count[run]).astype(np.int32))
                writer.write_table(
                    table.append_column("batch", batches).cast(MATCHES), row_group_size=len(table)
                )
                first = last


def _rows_of(read: Callable[[int], pa.Table], task: Ints, start: Ints, count: Ints) -> pa.Table:
    """Rows of some chips, in their order."""
    numbers, which = np.unique(task, return_inverse=True)
    parts = [read(int(n)) for n in numbers]
    base = np.concatenate([[0], np.cumsum([len(p) for p in parts])])[which] + start
    ends = np.cumsum(count)
    rows = np.repeat(base - (ends - count), count) + np.arange(int(ends[-1]))
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return table.take(pa.array(rows))


def amendment_rows(amendments: Iterable[Amendment]) -> list[dict[str, str]]:
    """Rows of `amendments.parquet`."""
    return [asdict(a) for a in amendments]


def place_of(row: Mapping[str, Any]) -> Place:
    """Place of a row of the chips or places table."""
    return Place(
        key=str(row["key"]), crs=str(row["crs"]), x=float(row["x"]), y=float(row["y"]),
        size=int(row["size"]), resolution=float(row["resolution"]),
    )  # fmt: skip
