"""What one batch needs of the plan, read where it is woven: a task names its batch and carries no rows.

Files are cut into row groups, whose smallest and largest values tell which of them to read.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chipweave.catalog.snapshot import scenes_of
from chipweave.errors import ChipweaveError
from chipweave.model import Scene
from chipweave.plan.columns import Candidate
from chipweave.plan.places import COLUMNS, plain
from chipweave.plan.select.taken import Taken, taken
from chipweave.plan.survey import Reads
from chipweave.plan.tables import place_of
from chipweave.plan.targets import ChipScenes
from chipweave.plan.times import when_of

SCENES_KEPT = 2048
"""Scenes that a process keeps for its next batch: neighbours share theirs. A scene of 13 bands is about 10 kB."""

_CHIP = [
    "key",
    "place",
    "crs",
    "x",
    "y",
    "size",
    "resolution",
    "lat",
    "state",
    "split",
    "tile",
    "w",
    "s",
    "e",
    "n",
]
_MATCH = [
    "key", "layer", "step", "rank", "order", "item", "datetime", "chosen", "coverage", "catalog_cloud",
    "same_crs", "broken",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChipTask:
    """One chip of a batch: what may serve it, its split, and where it lies in lon/lat.

    `chosen` are, by imagery layer, the scenes of what is read of it; `footprint` names its place,
    whatever its key; `columns` are its attributes and Major TOM cell, where the recipe asks for them.
    """

    chip: ChipScenes
    chosen: Mapping[str, Taken]
    split: str
    tile: str
    bbox: tuple[float, float, float, float]
    geometry_wkb_hex: str
    footprint: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)


def hand_out(
    plan: Path, number: int, reads: Reads, tiles: Collection[str] | None = None
) -> tuple[tuple[ChipTask, ...], Reads]:
    """Chips of a batch, and how to read them with the scenes alone that may serve them.

    Parameters
    ----------
    plan
        Folder of the plan's files, finished.
    number
        Of the batch.
    reads
        As for the whole build; its scenes are not looked at.
    tiles
        The tiles of the batch that are woven; all where None.

    Raises
    ------
    ChipweaveError
        The plan names a scene that its snapshot lacks, or lacks the footprint of a chip.
    """
    folds = ["fold"] if "fold" in pq.read_schema(plan / "chips.parquet").names else []
    chips = _read(plan / "chips.parquet", "batch", [number], [*_CHIP, *folds])
    rows = [r for r in chips.to_pylist() if r["state"] == "kept" and (tiles is None or r["tile"] in tiles)]
    keys = [str(r["key"]) for r in rows]
    path = plan / "places.parquet"
    layers = tuple(f"{layer}_" for layer in (*reads.imagery, *reads.labels))  # a layer's own are in `matches`
    names = pq.read_schema(path).names
    further = [n for n in names if n not in {*COLUMNS, "geometry"} and not n.startswith(layers)]
    found = {r["key"]: r for r in _read(path, "key", keys, ["geometry", *further]).to_pylist()}
    if missing := [k for k in keys if k not in found]:
        raise ChipweaveError(f"{plan / 'places.parquet'} lacks {missing[0]}", hint="plan it again, elsewhere")
    matches = _matches(plan / "matches.parquet", number, keys)
    tasks = tuple(
        replace(
            _task(row | found[row["key"]], matches[row["key"]], reads),
            columns={name: plain(found[row["key"]][name]) for name in further}
            | {name: row[name] for name in folds},
        )
        for row in rows
    )
    wanted = {layer: _scene_ids(tasks, layer) for layer in (*reads.imagery, *reads.labels)}
    return tasks, replace(reads, scenes=_snapshot(*_stamped(plan / "scenes.parquet")).scenes(wanted))


def _matches(path: Path, number: int, keys: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Rows of the batch's chips by key, as they stand in the file."""
    if "batch" in pq.read_schema(path).names:
        table = _read(path, "batch", [number], _MATCH)
        table = table.filter(pc.is_in(table["key"], pa.array(keys, pa.string())))
    else:
        table = _read(path, "key", keys, _MATCH)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        found[row["key"]].append(row)
    return found


def _task(
    row: Mapping[str, Any],
    matches: Iterable[Mapping[str, Any]],
    reads: Reads,
) -> ChipTask:
    own: dict[str, dict[tuple[int, int], list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for match in matches:
        own[match["layer"]][match["rank"], match["step"]].append(match)
    chip = ChipScenes(
        place=place_of(row),
        candidates={n: _candidates(own[n][at] for at in sorted(own[n])) for n in reads.imagery},
        labels={n: tuple(r["item"] for at in sorted(own[n]) for r in own[n][at]) for n in reads.labels},
        when={n: when_of(row, n) for n, limits in reads.limits.items() if limits.rule.timed},
    )
    chosen = {}
    for n in reads.imagery:
        picks = [(at[1], _candidate(own[n][at]).scenes) for at in sorted(own[n]) if own[n][at][0]["chosen"]]
        chosen[n] = taken(picks, reads.limits[n].rule)
    box = (row["w"], row["s"], row["e"], row["n"])
    return ChipTask(chip, chosen, row["split"], row["tile"], box, row["geometry"].hex(), row["place"])


def _candidates(groups: Iterable[Sequence[Mapping[str, Any]]]) -> tuple[Candidate, ...]:
    """Each once: one that serves two steps stands twice in the plan."""
    found: dict[tuple[str, ...], Candidate] = {}
    for rows in groups:
        candidate = _candidate(rows)
        found.setdefault(candidate.scenes, candidate)
    return tuple(found.values())


def _candidate(rows: Sequence[Mapping[str, Any]]) -> Candidate:
    first = rows[0]
    return Candidate(
        scenes=tuple(str(r["item"]) for r in sorted(rows, key=lambda r: r["order"])),
        time=first["datetime"],
        coverage=first["coverage"],
        cloud=first["catalog_cloud"] if first["catalog_cloud"] is not None else float("nan"),
        same_crs=first["same_crs"],
        broken=first["broken"],
    )


def _scene_ids(tasks: Iterable[ChipTask], layer: str) -> list[str]:
    """Ids that the chips may use, each once, in a steady order."""
    ids: dict[str, None] = {}
    for task in tasks:
        for candidate in task.chip.candidates.get(layer, ()):
            ids.update(dict.fromkeys(candidate.scenes))
        ids.update(dict.fromkeys(task.chip.labels.get(layer, ())))
    return list(ids)


def _stamped(path: Path) -> tuple[Path, int, int]:
    """A file and what tells that it is still the one that was read."""
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


def _read(path: Path, column: str, values: Sequence[Any], columns: Sequence[str]) -> pa.Table:
    """Rows whose `column` is one of `values`, in the file's order; other row groups are not decoded."""
    ordered = sorted(values)
    groups = [
        n
        for n, (low, high) in enumerate(_ranges(*_stamped(path), column))
        if low is None or bisect_left(ordered, low) < bisect_right(ordered, high)
    ]
    with pq.ParquetFile(path) as file:
        # In this thread: what others of Arrow's took for a few rows they would keep.
        table = file.read_row_groups(groups, columns=[*dict.fromkeys((column, *columns))], use_threads=False)
    kept: pa.Table = table.filter(pc.is_in(table[column], pa.array(ordered, table.schema.field(column).type)))
    return kept


@lru_cache(maxsize=16)
def _ranges(path: Path, mtime_ns: int, size: int, column: str) -> tuple[tuple[Any, Any], ...]:  # noqa: ARG001
    """Smallest and largest value of a column by row group; (None, None) where the file does not say."""
    meta = pq.read_metadata(path)
    index = meta.schema.names.index(column)
    found = []
    for group in range(meta.num_row_groups):
        stats = meta.row_group(group).column(index).statistics
        found.append((stats.min, stats.max) if stats is not None and stats.has_min_max else (None, None))
    return tuple(found)


@lru_cache(maxsize=1)
def _snapshot(path: Path, mtime_ns: int, size: int) -> _Snapshot:  # noqa: ARG001 - they name the file's content
    return _Snapshot(path)


class _Snapshot:
    """Scenes of `scenes.parquet` by layer and id: an index of all, the ones that were used last as objects."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # a cluster's workers may run several threads
        self._kept: OrderedDict[int, Scene] = OrderedDict()
        with pq.ParquetFile(path) as file:
            names = file.read(columns=["chipweave:layer", "id"]).to_pydict()
            groups = range(file.metadata.num_row_groups)
            sizes = [file.metadata.row_group(g).num_rows for g in groups]
        self._rows = {key: n for n, key in enumerate(zip(names["chipweave:layer"], names["id"], strict=True))}
        self._starts = [sum(sizes[:g]) for g in groups]

    def scenes(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Scene]]:
        """Scenes by layer and id."""
        try:
            rows = {layer: {i: self._rows[layer, i] for i in ids} for layer, ids in wanted.items()}
        except KeyError as error:
            raise ChipweaveError(
                f"{self._path} lacks {error.args[0]}, which the plan names", hint="plan it again, elsewhere"
            ) from None
        with self._lock:
            held = self._held({n for own in rows.values() for n in own.values()})
        return {layer: {i: held[n] for i, n in own.items()} for layer, own in rows.items()}

    def _held(self, rows: set[int]) -> dict[int, Scene]:
        found = {n: self._kept[n] for n in rows if n in self._kept}
        found |= dict(self._load(sorted(rows - found.keys())))
        for n in sorted(rows):
            self._kept[n] = found[n]
            self._kept.move_to_end(n)
        while len(self._kept) > SCENES_KEPT:
            self._kept.popitem(last=False)
        return found

    def _load(self, rows: Sequence[int]) -> Iterator[tuple[int, Scene]]:
        if not rows:
            return
        with pq.ParquetFile(self._path) as file:
            for group, numbers in groupby(rows, key=lambda n: bisect_right(self._starts, n) - 1):
                own = list(numbers)
                table = file.read_row_group(group).take([n - self._starts[group] for n in own])
                yield from zip(own, scenes_of(table), strict=True)
