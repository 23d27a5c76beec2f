"""What threads fetch of a file before it is read: ranges, and the stored blocks in them that somebody waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import rasterio

from chipweave.catalog.access import Opening
from chipweave.catalog.answers import Answer

Key = tuple[int, int, int]
"""Band, row and column of a stored block."""

Span = tuple[int, int]
"""First byte, and the one behind the last."""


@dataclass(slots=True)
class Piece:
    """A range that a thread fetches, until none of the blocks in it is `wanted`.

    `turn` is that of who asked, `how` what was asked with.
    """

    span: Span
    got: Future[Answer]
    turn: int
    wanted: set[Key]
    how: Opening

    @property
    def data(self) -> bytes:
        """What came; nothing where it is still to come, or did not."""
        came = self.got.done() and not self.got.cancelled() and self.got.exception() is None
        return self.got.result().data if came else b""

    def holds(self, span: Span) -> bool:
        """Whether a range lies in it."""
        return self.span[0] <= span[0] and span[1] <= self.span[1]

    def meets(self, span: Span) -> bool:
        """Whether a range shares a byte with it."""
        return self.span[0] < span[1] and span[0] < self.span[1]


class Pieces:
    """Those of one file; they are its reader's alone, threads fill in bytes."""

    def __init__(self) -> None:
        self._own: list[Piece] = []

    @property
    def size(self) -> int:
        """Bytes that were asked for and are not read yet."""
        return sum(p.span[1] - p.span[0] for p in self._own)

    def add(self, piece: Piece) -> None:
        """Wait for one more."""
        self._own.append(piece)

    def remove(self, piece: Piece) -> None:
        """Wait for it no longer."""
        self._own.remove(piece)

    def meeting(self, spans: Iterable[Span]) -> list[Piece]:
        """Those that share a byte with some ranges."""
        wanted = list(spans)
        return [p for p in self._own if any(p.meets(span) for span in wanted)]

    def here(self) -> Iterator[tuple[int, bytes]]:
        """What came, by its place."""
        return ((p.got.result().start, p.data) for p in self._own if p.data)

    def missing(self, places: Mapping[Key, Span]) -> dict[Key, Span]:
        """Blocks that are in none of them. Those that are in one are wanted of it: bands may be stored together."""
        left = dict(places)
        for piece in self._own:
            own = {key for key, span in left.items() if piece.holds(span)}
            piece.wanted |= own
            for key in own:
                del left[key]
        return left

    def done(self, read: Iterable[Key]) -> None:
        """Let go of blocks that were read."""
        gone = set(read)
        for piece in self._own:
            piece.wanted -= gone
        self._own = [p for p in self._own if p.wanted]

    def forget(self, turn: int | None = None) -> None:
        """Let go of what was asked for before a turn, or of all."""
        for piece in self._own:
            if turn is None or piece.turn < turn:
                piece.got.cancel()
        self._own = [p for p in self._own if turn is not None and p.turn >= turn]


def stored(
    dataset: rasterio.DatasetReader, index: int, blocks: Iterable[tuple[int, int]]
) -> dict[Key, tuple[int, int]]:
    """Where blocks (row, column) of a band are stored, as far as the format tells: (start, stop)."""
    found = {}
    for row, col in blocks:
        name = f"{col}_{row}"
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", bidx=index)
        size = dataset.get_tag_item(f"BLOCK_SIZE_{name}", "TIFF", bidx=index)
        if offset is not None and size is not None:
            found[index, row, col] = (int(offset), int(offset) + int(size))
    return found
