"""Decoded blocks that windows to come may need: in two queues, each let go of from the oldest on.

`near` are for the next windows of the same tile, `far` for tiles to come. What is near is needed soon or never, so it
has little room; what is far waits for long, and would fall out of one common queue before its turn.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

Key = tuple[str, int, int, int]
"""File, band, and the block's row and column."""

Block = npt.NDArray[np.generic]

NEAR = 0.15
"""Share of the room that `near` keeps when `far` asks for all of it."""


class Kept:
    """Blocks by file, band, row and column, and the bytes in them."""

    def __init__(self) -> None:
        self.near: OrderedDict[Key, Block] = OrderedDict()
        self.far: OrderedDict[Key, Block] = OrderedDict()
        self.bytes = 0
        self._near_bytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self.near) + len(self.far)

    def get(self, key: Key) -> Block | None:
        """A block, if it is kept."""
        found = self.far.get(key)
        return self.near.get(key) if found is None else found

    def keep(self, key: Key, block: Block, room: int, *, far: bool) -> None:
        """Keep a block as the newest of its queue, and no more than `room` bytes of all."""
        self.drop(key)
        if block.nbytes > room:
            return
        (self.far if far else self.near)[key] = block
        self.bytes += block.nbytes
        self._near_bytes += 0 if far else block.nbytes
        self.shrink(room)

    def shrink(self, room: int) -> None:
        """Let go of the oldest until no more than `room` bytes of all are left."""
        while self.bytes > room:
            queue = self.near if self._near_bytes > NEAR * room or not self.far else self.far
            self.drop(next(iter(queue)))

    def end_tile(self) -> None:
        """Let go of all that is near: its tile is done."""
        for key in [*self.near]:
            self.drop(key)

    def drop(self, key: Key) -> None:
        """Let go of a block, if it is kept."""
        block = self.near.pop(key, None)
        if block is not None:
            self._near_bytes -= block.nbytes
        else:
            block = self.far.pop(key, None)
        if block is not None:
            self.bytes -= block.nbytes

    def drop_file(self, href: str) -> None:
        """Let go of all blocks of a file."""
        for key in [k for k in (*self.near, *self.far) if k[0] == href]:
            self.drop(key)
