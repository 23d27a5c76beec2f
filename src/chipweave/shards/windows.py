"""Windows: some batches are woven, dealt and freed before the next are begun, so that scratch stays small.

The order of a split is that of its windows one after another, and within a window a seeded permutation. Shards
are cut from that order without regard for windows: what is left of a window and fills no shard is set aside in
a part of its own and goes first in the next one's. So shards are as exact and gap-free as without windows, and
their bytes hang on the plan alone. Scratch holds a window's parts and, of each split, less than one shard.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Protocol, TypeVar

from chipweave.files import atomic_path, atomic_write_bytes, write_all, xxh3_file
from chipweave.shards.deal import (
    Deal,
    Mapper,
    Piece,
    ShardRow,
    coalesce,
    deal_webdataset,
    located,
    order,
    shard_path,
    shard_receipt,
    shard_task,
    split_order,
)
from chipweave.shards.parts import PartReader, PartSample
from chipweave.shards.receipts import FOLDER, FileReceipt, Receipt, load_file_receipt, load_receipt
from chipweave.shards.sample import encode_json


class Numbered(Protocol):
    """A batch, as far as windows care."""

    @property
    def number(self) -> int:
        """Its number in the plan."""

    @property
    def digest(self) -> str:
        """Of what it is made from."""


B = TypeVar("B", bound=Numbered)


class Windows:
    """Deals while weaving goes on.

    Parameters
    ----------
    folder, work
        The dataset and its scratch folder, on one file system.
    size
        Batches of a window.
    samples_per_shard
        All shards but a split's last one hold that many.
    seed
        Of the recipe.
    """

    def __init__(self, folder: Path, work: Path, size: int, samples_per_shard: int, seed: int) -> None:
        self.folder, self.work = folder, work
        self.size, self.samples_per_shard, self.seed = size, samples_per_shard, seed
        self._reset()

    def _reset(self) -> None:
        self._number = 0
        self._samples: list[PartSample] = []
        self._order: dict[str, list[int]] = {}
        self._known: dict[str, FileReceipt] = {}
        self._chain = ""

    @property
    def deal(self) -> Deal:
        """All samples so far, in the order in which they are dealt."""
        return Deal(
            self.folder, self.work, self._samples, {s: self._order[s] for s in split_order(self._order)}
        )

    def run(
        self, batches: Sequence[B], weave: Callable[[Sequence[B]], Sequence[Receipt]], mapper: Mapper
    ) -> list[Receipt]:
        """Weave and deal a window after another; what an earlier run finished is taken as it is.

        Parameters
        ----------
        batches
            All of them, in the order of the plan.
        weave
            Weaves some batches and gives their receipts.
        mapper
            Runs the shards.

        Returns
        -------
        list of Receipt
            Of all batches. The parts are gone; `finish` deals the rest.
        """
        groups = list(_in_groups(batches, self.size))
        done = self._resume(groups)
        for group in groups[self._number :]:
            receipts = weave(group)
            done += receipts
            self._take(receipts)
            deal_webdataset(self.deal, self.samples_per_shard, mapper, known=self._known, last=False)
            self._set_aside(group)
            self._free(receipts)
        return done

    def finish(self, mapper: Mapper) -> tuple[Deal, list[ShardRow]]:
        """Deal what is left; all samples then lie in the shards, and the deal says where."""
        rows = deal_webdataset(self.deal, self.samples_per_shard, mapper, known=self._known)
        for row in rows:
            every = {"": row, **row.beside}
            paths = {own: os.path.relpath(self.folder / one.path, self.work) for own, one in every.items()}
            for n, number in enumerate(row.samples):
                dealt = {own: (paths[own], one.offsets[n]) for own, one in every.items()}
                self._samples[number] = replace(self._samples[number], dealt=dealt)
        return self.deal, rows

    def _take(self, receipts: Sequence[Receipt]) -> None:
        """Add a window's samples to the order."""
        first = len(self._samples)
        fresh = located(receipts)
        entries = [(sample.row.split, sample.row.key, i) for i, sample in enumerate(fresh)]
        self._samples += fresh
        for split, numbers in order(entries, "global", self.seed, self._number).items():
            self._order.setdefault(split, []).extend(first + i for i in numbers)

    def _left(self) -> list[int]:
        """Numbers of the samples that are in no full shard."""
        size = self.samples_per_shard
        return [
            n for s in split_order(self._order) for n in self._order[s][len(self._order[s]) // size * size :]
        ]

    def _aside(self, number: int) -> Path:
        return self.work / "parts" / f"left-{number:06d}.part"

    def _note(self, number: int) -> Path:
        return self.work / FOLDER / f"window-{number:06d}.json"

    def _set_aside(self, group: Sequence[Numbered]) -> None:
        """Copy what is left into a part of its own; the note that is written last makes the window count."""
        path, left = self._aside(self._number), self._left()
        pieces = [Piece(*self._samples[n].place, self._samples[n].row.size) for n in left]
        with (
            PartReader(self.work) as parts,
            atomic_path(path) as temporary,
            temporary.open("wb", buffering=0) as file,
        ):
            for piece in coalesce(pieces):
                for data in parts.stream(piece.part, piece.offset, piece.size):
                    write_all(file.fileno(), [data])
        self._chain = self._next(group)
        note = {"digest": self._chain, "xxh3": xxh3_file(path)}
        atomic_write_bytes(self._note(self._number), encode_json(note, path.name))
        self._close(left)

    def _close(self, left: Sequence[int]) -> None:
        part, offset = self._aside(self._number).relative_to(self.work).as_posix(), 0
        for n in left:
            self._samples[n] = replace(self._samples[n], moved=(part, offset))
            offset += self._samples[n].row.size
        self._number += 1

    def _next(self, group: Sequence[Numbered]) -> str:
        """Digest of all that the windows so far, and this one, are made from."""
        made = [
            self._chain,
            self.size,
            self.samples_per_shard,
            self.seed,
            [(b.number, b.digest) for b in group],
        ]
        return hashlib.sha256(repr(made).encode()).hexdigest()

    def _free(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            if receipt.part:
                (self.work / receipt.part).unlink(missing_ok=True)
        if self._number > 1:
            self._aside(self._number - 2).unlink(missing_ok=True)

    def _resume(self, groups: Sequence[Sequence[Numbered]]) -> list[Receipt]:
        """Take in the windows that were closed. If anything of them is amiss, begin again."""
        done: list[Receipt] = []
        self._reset()
        for group in groups:
            note = self._read_note(group)
            if note is None:
                break
            receipts = [load_receipt(self.work, b.number, digest=b.digest, freed=True) for b in group]
            found = [receipt for receipt in receipts if receipt is not None]
            if len(found) < len(group):
                return self._begin_again()
            done += found
            self._take(found)
            if not self._dealt():
                return self._begin_again()
            self._chain = note["digest"]
            self._close(self._left())
        if self._number and not self._whole(note_of=self._number - 1):
            return self._begin_again()
        self._free(done)
        return done

    def _read_note(self, group: Sequence[Numbered]) -> dict[str, str] | None:
        try:
            note = json.loads(self._note(self._number).read_bytes())
            same = note["digest"] == self._next(group) and isinstance(note["xxh3"], str)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note if same else None

    def _dealt(self) -> bool:
        """Whether all full shards so far are there as their receipts say."""
        deal, size = self.deal, self.samples_per_shard
        for split, numbers in deal.order.items():
            for shard, own in product(range(len(numbers) // size), deal.sets):
                path = shard_path(split, shard, own)
                if path in self._known:
                    continue
                task = shard_task(deal, path, numbers[shard * size : (shard + 1) * size], own)
                receipt = load_file_receipt(shard_receipt(task), task.digest, self.folder)
                if receipt is None:
                    return False
                self._known[path] = receipt
        return True

    def _whole(self, note_of: int) -> bool:
        try:
            said = json.loads(self._note(note_of).read_bytes())["xxh3"]
            return bool(xxh3_file(self._aside(note_of)) == said)
        except OSError:
            return False

    def _begin_again(self) -> list[Receipt]:
        for note in (self.work / FOLDER).glob("window-*.json"):
            note.unlink()
        self._reset()
        return []


def _in_groups(items: Sequence[B], size: int) -> Iterable[list[B]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
