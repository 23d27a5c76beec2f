"""Files over http(s) of one thread: those that are open, and those whose header was only asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import rasterio

if TYPE_CHECKING:
    from chipweave.catalog.remote import RemoteFile

REMOTE_BYTES: Final = 256 << 20
"""Bytes of files over http(s) that a thread keeps as they are opened: a server without ranges gives whole ones."""

Blocks = Sequence[tuple[int, int]]
"""(row, column) of stored blocks."""


class WebFiles:
    """Those of `read.Handles`.

    Attributes
    ----------
    open
        In the order in which they were opened.
    begun
        Their headers were asked for, and nobody has waited for them yet.
    turn, last
        Of what is read now, and of what was asked for last: counts of wishes (see `pixels.ahead`).
    reads
        Is told, as ``reads(href, index, blocks)``, what is read before it is waited for.
    """

    def __init__(self) -> None:
        self.open: dict[str, RemoteFile] = {}
        self.begun: dict[str, RemoteFile] = {}
        self.turn = self.last = 0
        self._turns: dict[str, int] = {}
        self.reads: Callable[[str, int, Blocks], None] | None = None

    def get(self, href: str) -> RemoteFile:
        """A file with its header, the one that was asked for or a new one.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            See `RemoteFile`.
        """
        begun = self.begun.pop(href, None)
        if begun is not None:
            begun.settle()
        found = self.open[href] = begun or _file()(href)
        return found

    def begin(self, href: str) -> bool | None:
        """Ask for a file's header: whether it came; None while it is to come.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            It cannot be asked for.
        """
        if href in self.open:
            return True
        if href not in self.begun:
            self.begun[href] = _file()(href, later=True)
        return self.begun[href].ready

    def read(self, href: str, dataset: rasterio.DatasetReader, index: int, blocks: Blocks) -> None:
        """Wait for stored blocks, which are read next; what was asked for before them is read no more."""
        turn = self.open[href].ahead_of(dataset, index, blocks)
        if turn > self.turn:
            self.turn = turn
            for other in self.open.values():
                other.forget(turn)

    def later(
        self,
        href: str,
        dataset: rasterio.DatasetReader,
        index: int,
        blocks: Blocks,
        turn: int,
        most: int | None,
    ) -> bool:
        """Ask for stored blocks; False where more than `most` bytes would then be under way."""
        room = None if most is None else most - self.coming
        asked = self.open[href].later(dataset, index, blocks, turn, room)
        if asked:
            self._turns[href] = turn
        return asked

    @property
    def coming(self) -> int:
        """Bytes of blocks that were asked for and are not read yet."""
        return sum(file.coming for file in self.open.values())

    def comes(self, href: str) -> bool:
        """Whether a file is still to be read, as far as is known."""
        return self._turns.get(href, 0) > self.turn

    @property
    def beyond(self) -> str | None:
        """The file that must be let go of, where too many bytes are kept."""
        many = len(self.open) > 1 and sum(file.held for file in self.open.values()) > REMOTE_BYTES
        return next(iter(self.open)) if many else None

    def failure(self, href: str) -> BaseException | None:
        """What kept the bytes of a file from GDAL, if something did; forgotten once it is told."""
        file = self.open.get(href)
        if file is None or file.failure is None:
            return None
        found, file.failure = file.failure, None
        return found

    def drop(self, href: str) -> None:
        """Let go of a file, and of what is still to come of it."""
        self._turns.pop(href, None)
        for files in (self.open, self.begun):
            file = files.pop(href, None)
            if file is not None:
                file.forget()

    def close(self) -> None:
        """Let go of all of them."""
        for href in [*self.open, *self.begun]:
            self.drop(href)


def _file() -> type[RemoteFile]:
    from chipweave.catalog.remote import RemoteFile  # noqa: PLC0415 - local files do without HTTP

    return RemoteFile
