"""Parts: what a batch writes, its samples of all splits one after another, ready to be dealt."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xxhash

from chipweave.errors import ChipweaveError
from chipweave.files import PIECE, atomic_path, write_all
from chipweave.shards.sample import Encoding, Sample, sample_members
from chipweave.shards.tar import records

_OPEN_PARTS = 64


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """Where a sample lies in its part.

    Parameters
    ----------
    key, split
        Of the sample.
    offset, size
        Its tar records, in bytes from the start of the part.
    members
        By field (``json`` or a layer): offset of the file's own bytes from the sample's start, and size.
    sets
        By set of shards, where licences keep layers apart: offset of its records from the sample's start, and size.
        Empty where all goes to `shards/`.
    """

    key: str
    split: str
    offset: int
    size: int
    members: dict[str, tuple[int, int]]
    sets: dict[str, tuple[int, int]] = field(default_factory=dict, kw_only=True)

    def range_of(self, own: str) -> tuple[int, int]:
        """Records of one set: offset from the sample's start, and size."""
        return self.sets[own] if self.sets else (0, self.size)

    def set_of(self, name: str) -> str:
        """The set of shards that a file is written to, by its field."""
        at = self.members[name][0]
        return next((own for own, (start, size) in self.sets.items() if start <= at < start + size), "")


@dataclass(frozen=True, slots=True)
class SampleRow(SampleEntry):
    """The same with the facts that the index needs: a mapping of plain JSON values."""

    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartSample:
    """A sample and the part it was woven into: a path below the build's scratch folder, and that one's XXH3.

    `moved` is where its bytes lie since the part is gone: a path as above, and an offset. `dealt` says the same by set
    of shards, once they lie there.
    """

    part: str
    row: SampleRow
    xxh3: str = ""
    moved: tuple[str, int] | None = None
    dealt: Mapping[str, tuple[str, int]] | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Where its bytes lie, all of them one after another: a path, and an offset."""
        return self.moved or (self.part, self.row.offset)

    def records_of(self, own: str) -> tuple[str, int, int]:
        """Where the records of one set lie: a path, an offset, and their size."""
        start, size = self.row.range_of(own)
        if self.dealt is not None:
            return (*self.dealt[own], size)
        path, base = self.place
        return path, base + start, size

    def file(self, name: str) -> tuple[str, int, int]:
        """Where a file's own bytes lie, by its field: a path, an offset, and their size."""
        own = self.row.set_of(name)
        path, base, _ = self.records_of(own)
        at, size = self.row.members[name]
        return path, base + at - self.row.range_of(own)[0], size


class PartWriter:
    """Writes a part: tar records of whole samples, without the end of an archive.

    Nothing is seen under `path` before `close`; leaving a ``with`` block by an error leaves nothing. A part is
    soon dealt and removed, so it is not waited for the disk: who resumes checks its XXH3 (`load_receipt`).

    Parameters
    ----------
    path
        The part.
    encoding
        Of its arrays.
    """

    def __init__(self, path: Path, encoding: Encoding = "npy") -> None:
        self.path = path
        self.encoding = encoding
        self.bytes = 0
        self._hash = xxhash.xxh3_64()
        self._entries: list[SampleEntry] = []
        self._keys: set[str] = set()
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(path, durable=False))
        self._file = self._stack.enter_context(temporary.open("wb", buffering=0))

    @property
    def xxh3(self) -> str:
        """Of what has been written so far, in hex."""
        return self._hash.hexdigest()

    def add(self, sample: Sample) -> SampleEntry:
        """Append a sample.

        Raises
        ------
        ChipweaveError
            Disk full, a key that this part has already, or a sample that cannot be written.
        """
        if sample.key in self._keys:
            raise ChipweaveError(f"sample {sample.key} comes twice in {self.path.name}")
        buffers, members, sets, size = records(sample_members(sample, self.encoding))
        for buffer in buffers:  # first: it brings the pixels near, for the writing
            self._hash.update(buffer)
        try:
            write_all(self._file.fileno(), buffers)
        except OSError as exc:
            self._abort(exc)
        entry = SampleEntry(
            sample.key, sample.split, self.bytes, size, members, sets=sets if len(sets) > 1 else {}
        )
        self.bytes += size
        self._keys.add(sample.key)
        self._entries.append(entry)
        return entry

    def close(self) -> list[SampleEntry]:
        """Give the part its name.

        Returns
        -------
        list of SampleEntry
            In the order of writing.
        """
        self._stack.close()
        return list(self._entries)

    def _abort(self, exc: OSError) -> None:
        if not self._stack.__exit__(type(exc), exc, exc.__traceback__):
            raise exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, exc, trace)


class PartReader:
    """Reads byte ranges of parts below a folder; keeps the last few open.

    Parameters
    ----------
    work
        The build's scratch folder.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._room = memoryview(bytearray(PIECE))
        self._fds: OrderedDict[str, int] = OrderedDict()

    def read(self, part: str, offset: int, size: int) -> bytes:
        """Bytes `offset` to `offset + size` of a part.

        Raises
        ------
        ChipweaveError
            The part ends before.
        """
        fd = self._open(part)
        pieces: list[bytes] = []
        while size > 0:
            piece = os.pread(fd, size, offset)
            if not piece:
                raise self._short(part)
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stream(self, part: str, offset: int, size: int) -> Iterator[memoryview]:
        """As `read`, a little at a time: each piece is to be used before the next one is asked for.

        A piece is written and hashed out of the processor's own cache: cheaper than out of fresh memory.
        """
        fd, left = self._open(part), size
        while left:
            done = os.preadv(fd, [self._room[:left]], offset + size - left)
            if not done:
                raise self._short(part)
            yield self._room[:done]
            left -= done

    def _short(self, part: str) -> ChipweaveError:
        return ChipweaveError(
            f"{self._work / part} is shorter than its receipt says",
            hint="remove it and run the same command again",
        )

    def _open(self, part: str) -> int:
        if part in self._fds:
            self._fds.move_to_end(part)
        else:
            if len(self._fds) >= _OPEN_PARTS:
                os.close(self._fds.popitem(last=False)[1])
            self._fds[part] = os.open(self._work / part, os.O_RDONLY)
        return self._fds[part]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])
