"""Ranges of bytes: as few requests as are worth it, and what files and servers say of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

GAP: Final = 64 << 10
"""Most bytes between two stored blocks that are fetched rather than asked around."""

OVER: Final = 0.08
"""Share of the blocks' own bytes that is fetched between them at most."""

MOST: Final = 4 << 20
"""Most bytes of one request for several blocks."""

STORED: Final = 512 << 20
"""Bytes of a stored block, or of anything else that a file wants to be read at once, that are refused."""


def joined(ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Ranges as few requests; what lies outside of the file is left to whoever reads it.

    The narrowest gaps are read over, as far as `OVER` goes.
    """
    own = sorted(r for r in set(ranges) if 0 <= r[0] < r[1] <= size and r[1] - r[0] <= STORED)
    spare = OVER * sum(stop - start for start, stop in own)
    over: set[int] = set()
    for gap, n in sorted((b[0] - a[1], n) for n, (a, b) in enumerate(pairwise(own), 1)):
        spare -= max(gap, 0)
        if gap > GAP or spare < 0:
            break
        over.add(n)
    found: list[tuple[int, int]] = []
    for n, (start, stop) in enumerate(own):
        if n in over and stop - found[-1][0] <= MOST:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def directory(first: bytes) -> int:
    """Where the first directory of a TIFF begins; -1 for other files."""
    order = {b"II": "<", b"MM": ">"}.get(first[:2])
    if order is None or len(first) < 16:
        return -1
    (version,) = struct.unpack_from(f"{order}H", first, 2)
    if version == 42:
        return int(struct.unpack_from(f"{order}I", first, 4)[0])
    return int(struct.unpack_from(f"{order}Q", first, 8)[0]) if version == 43 else -1
