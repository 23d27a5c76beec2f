"""What several dates of a chip make together, told from their masks before a pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipweave.model import MASK_BAD, MASK_NODATA
from chipweave.pixels.masks import Mask

Packed = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Bits:
    """A mask, a bit a pixel: which are data and which are bad; `pixels` is 0 where there was none to read.

    Without a mask all is clear, and `coverage` is the share that the footprint covers, wherever that is.
    """

    data: Packed
    bad: Packed
    pixels: int
    coverage: float

    @property
    def clear(self) -> bool:
        """Whether there is a clear pixel."""
        return not self.pixels or bool((self.data & ~self.bad).any())


def bits_of(mask: Mask | None, coverage: float) -> Bits:
    """Pack a mask."""
    if mask is None:
        none = np.empty(0, np.uint8)
        return Bits(none, none, 0, 1.0 if coverage > 0.999999 else coverage)
    return Bits(np.packbits(mask != MASK_NODATA), np.packbits(mask == MASK_BAD), mask.size, coverage)


def _count(packed: Packed) -> int:
    return int(np.bitwise_count(packed).sum())


def joined(parts: Sequence[Bits]) -> float:
    """Share of the pixels that are clear in one of some dates at least; of those without a mask the best alone."""
    blind = max((p.coverage for p in parts if not p.pixels), default=0.0)
    known = [p for p in parts if p.pixels]
    if not known:
        return blind
    clear = known[0].data & ~known[0].bad
    for part in known[1:]:
        clear |= part.data & ~part.bad
    return max(blind, _count(clear) / known[0].pixels)


def laid(parts: Sequence[Bits]) -> tuple[list[int], float, float]:
    """Dates laid over each other in their order until no pixel is missing.

    Parameters
    ----------
    parts
        The best first.

    Returns
    -------
    numbers, cloud, valid
        Those that add a pixel; the bad share of the data of all, and the share of the chip that is data.
    """
    numbers: list[int] = []
    have: Packed | None = None
    blind, bad, pixels = 0.0, 0, 0
    for number, part in enumerate(parts):
        if blind == 1.0 or (have is not None and _count(have) == pixels):
            break
        if not part.pixels:
            blind = max(blind, part.coverage)
            numbers.append(number)
            continue
        pixels = part.pixels
        new = part.data if have is None else part.data & ~have
        if not new.any():
            continue
        numbers.append(number)
        bad += _count(new & part.bad)
        have = part.data.copy() if have is None else have | part.data
    data = _count(have) if have is not None else 0
    valid = max(blind, data / pixels if pixels else 0.0)
    return numbers, bad / data if data else 0.0, valid
