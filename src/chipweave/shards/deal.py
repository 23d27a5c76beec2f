"""Deal: from parts, which hold neighbours of all splits, to shards of one split that draw from many parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np

from chipweave.errors import ChipweaveError
from chipweave.files import atomic_path, write_all
from chipweave.progress import Step, tell
from chipweave.shards.parts import PartReader, PartSample
from chipweave.shards.receipts import (
    FOLDER,
    FileReceipt,
    Receipt,
    load_file_receipt,
    save_file_receipt,
)
from chipweave.shards.tar import END

SPLITS = ("train", "val", "test")
"""Order of the splits in `index.parquet`; others follow by name."""

_COALESCE = 8 << 20  # bytes that lie side by side are read at once up to this many

T = TypeVar("T")
R = TypeVar("R")


class Mapper(Protocol):
    """Runs a function over tasks, anywhere; results come in the tasks' order."""

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterable[R]:
        """Run it."""


def serial(function: Callable[[T], R], tasks: Sequence[T], /) -> list[R]:
    """Run a function over tasks in this process, one after another."""
    return [function(task) for task in tasks]


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of bytes of a part."""

    part: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to be dealt: picklable, so that any process may do it.

    Parameters
    ----------
    folder, work
        The dataset and its scratch folder.
    path
        Of the shard, below the dataset.
    pieces
        The samples, in order.
    digest
        Of the samples and their order.
    """

    folder: Path
    work: Path
    path: str
    pieces: tuple[Piece, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A dealt shard.

    Parameters
    ----------
    path
        Below the dataset, with slashes.
    split
        Its only one.
    bytes, sha256
        Of the file.
    samples
        Numbers of the samples, as they were given to `deal_webdataset`.
    offsets
        Where each sample's first record begins.
    beside
        The same samples' layers that licences keep apart: a shard of each set, by its name.
    """

    path: str
    split: str
    bytes: int
    sha256: str
    samples: tuple[int, ...]
    offsets: tuple[int, ...]
    beside: Mapping[str, ShardRow] = field(default_factory=dict)


def files_of(shards: Iterable[ShardRow]) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-256 of all shards, those of sets beside them too, by path."""
    every = (s for shard in shards for s in (shard, *shard.beside.values()))
    return {s.path: (s.bytes, s.sha256) for s in every}


def located(receipts: Sequence[Receipt]) -> list[PartSample]:
    """List the samples of all batches in plan order: by batch, then as they were woven."""
    ordered = sorted(receipts, key=lambda receipt: receipt.batch)
    return [PartSample(r.part, row, r.xxh3) for r in ordered for row in r.samples]


def split_order(splits: Iterable[str]) -> list[str]:
    """Each split once: train, val, test, then others by name."""
    return sorted(set(splits), key=lambda s: (SPLITS.index(s) if s in SPLITS else len(SPLITS), s))


def order(
    entries: Sequence[tuple[str, str, int]],
    shuffle: Literal["global", "none"],
    seed: int,
    window: int | None = None,
) -> dict[str, list[int]]:
    """In which order the samples of each split are dealt.

    Parameters
    ----------
    entries
        Split, key and position in the plan of each sample.
    shuffle
        ``global``: a permutation that hangs on the seed, the split and the set of its keys alone, not on
        batches. ``none``: as planned.
    seed
        Of the recipe.
    window
        Number of the window that these are all samples of: each has a permutation of its own.

    Returns
    -------
    dict
        By split, in the order of the index: numbers into `entries`.

    Raises
    ------
    ChipweaveError
        A key comes twice.
    """
    if len({key for _, key, _ in entries}) != len(entries):
        raise ChipweaveError("a sample's key comes twice in the plan")
    dealt: dict[str, list[int]] = {}
    for split in split_order(s for s, _, _ in entries):
        numbers = [i for i, entry in enumerate(entries) if entry[0] == split]
        if shuffle == "none":
            dealt[split] = sorted(numbers, key=lambda i: entries[i][2])
        else:
            by_key = sorted(numbers, key=lambda i: entries[i][1])
            dealt[split] = [by_key[i] for i in _generator(seed, split, window).permutation(len(by_key))]
    return dealt


def _generator(seed: int, split: str, window: int | None) -> np.random.Generator:
    name = f"{seed}/{split}" if window is None else f"{seed}/{split}/{window}"
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def digest_of(samples: Iterable[PartSample], *more: object) -> str:
    """SHA-256 of which bytes are dealt in which order."""
    digest = hashlib.sha256(repr(more).encode())
    for sample in samples:
        row = sample.row
        digest.update(f"{row.key}\n{sample.xxh3}\n{sample.part}\n{row.offset}\n{row.size}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Deal:
    """What is dealt where: every format deals the same samples in the same order.

    Parameters
    ----------
    folder, work
        The dataset and its scratch folder, on one file system.
    samples
        As `located` gives them.
    order
        As `order` gives it, numbers into `samples`.
    """

    folder: Path
    work: Path
    samples: Sequence[PartSample]
    order: Mapping[str, Sequence[int]]

    @property
    def sets(self) -> tuple[str, ...]:
        """Sets of shards, the same for all samples: `shards/` without a name, then those that licences keep apart."""
        return tuple(self.samples[0].row.sets) or ("",) if self.samples else ("",)


def make_deal(
    folder: Path, work: Path, receipts: Sequence[Receipt], shuffle: Literal["global", "none"], seed: int
) -> Deal:
    """Lay out the deal of all samples that have a receipt; see `located` and `order`."""
    samples = tuple(located(receipts))
    entries = [(sample.row.split, sample.row.key, i) for i, sample in enumerate(samples)]
    return Deal(folder, work, samples, order(entries, shuffle, seed))


def deal_webdataset(
    deal: Deal,
    samples_per_shard: int,
    mapper: Mapper = serial,
    *,
    known: dict[str, FileReceipt] | None = None,
    last: bool = True,
) -> list[ShardRow]:
    """Deal samples into `shards/{split}-%06d.tar`, gap-free, each shard atomically.

    Layers that licences keep apart go to `shards-<set>/`, under the same names, the same samples in the same order.

    Shards that an earlier run finished from the same samples are not dealt again; others that lie there
    are removed.

    Parameters
    ----------
    deal
        What is dealt.
    samples_per_shard
        All shards but a split's last one hold that many.
    mapper
        Runs the shards, here or elsewhere.
    known
        Receipts by path of shards that were dealt before and are believed; those dealt now are added.
    last
        False where more samples will follow: then only full shards are dealt, and none is removed.

    Returns
    -------
    list of ShardRow
        In index order.

    Raises
    ------
    ChipweaveError
        Disk full, or a part that is not as its receipt says.
    """
    known = {} if known is None else known
    planned: dict[str, tuple[str, str, tuple[int, ...]]] = {}
    for split, numbers in deal.order.items():
        count = len(numbers) if last else len(numbers) // samples_per_shard * samples_per_shard
        for shard, start in enumerate(range(0, count, samples_per_shard)):
            for own in deal.sets:
                chosen = tuple(numbers[start : start + samples_per_shard])
                planned[shard_path(split, shard, own)] = (split, own, chosen)
    tasks = [
        shard_task(deal, path, chosen, own) for path, (_, own, chosen) in planned.items() if path not in known
    ]
    if last:
        _remove_others(deal.folder, {deal.folder / path for path in planned})
    if tasks:
        tell(Step("deal", 0, len(tasks), "shards"))
    for n, (task, receipt) in enumerate(zip(tasks, mapper(deal_shard, tasks), strict=True), 1):
        known[task.path] = receipt
        tell(Step("deal", n, len(tasks), "shards"))
    rows: list[ShardRow] = []
    for path, (split, own, chosen) in planned.items():
        size, sha256 = known[path].files[path]
        sizes = (deal.samples[i].row.range_of(own)[1] for i in chosen[:-1])
        row = ShardRow(path, split, size, sha256, chosen, tuple(accumulate(sizes, initial=0)))
        if own:
            rows[-1] = replace(rows[-1], beside={**rows[-1].beside, own: row})
        else:
            rows.append(row)
    return rows


def shard_path(split: str, number: int, own: str = "") -> str:
    """Where a shard lies below the dataset; `own` names its set, where licences keep it apart."""
    return f"shards{'-' * bool(own)}{own}/{split}-{number:06d}.tar"


def shard_task(deal: Deal, path: str, chosen: Sequence[int], own: str = "") -> ShardTask:
    """What it takes to deal some samples, or one set's layers of them, into a shard."""
    picked = [deal.samples[i] for i in chosen]
    pieces = tuple(Piece(*s.records_of(own)) for s in picked)
    return ShardTask(deal.folder, deal.work, path, pieces, digest_of(picked, "tar", own))


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    for path in (*folder.glob("shards/*.tar"), *folder.glob("shards-*/*.tar")):
        if path not in wanted:
            path.unlink()


def shard_receipt(task: ShardTask) -> Path:
    """Where the receipt of a shard lies."""
    path = Path(task.path)
    return task.work / FOLDER / f"{path.parent.name}-{path.stem}.json"


def deal_shard(task: ShardTask) -> FileReceipt:
    """Write one shard and its receipt, unless both are there already."""
    target = task.folder / task.path
    receipt_path = shard_receipt(task)
    done = load_file_receipt(receipt_path, task.digest, task.folder)
    if done is not None:
        return done
    digest, size = hashlib.sha256(), 0
    with (
        PartReader(task.work) as parts,
        atomic_path(target) as temporary,
        temporary.open("wb", buffering=0) as file,
    ):
        for data in _stream(parts, task.pieces):
            write_all(file.fileno(), [data])
            digest.update(data)
            size += len(data)
    receipt = FileReceipt(task.digest, {task.path: (size, digest.hexdigest())})
    save_file_receipt(receipt_path, receipt)
    return receipt


def _stream(parts: PartReader, pieces: Sequence[Piece]) -> Iterator[bytes | memoryview]:
    for piece in coalesce(pieces):
        yield from parts.stream(piece.part, piece.offset, piece.size)
    yield END


def coalesce(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Join neighbours that lie side by side in one part, up to 8 MiB."""
    held: Piece | None = None
    for piece in pieces:
        if (
            held is not None
            and held.part == piece.part
            and held.offset + held.size == piece.offset
            and held.size + piece.size <= _COALESCE
        ):
            held = Piece(held.part, held.offset, held.size + piece.size)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
