"""Composites of chips: pixels that are clear at some date are counted as dates are read, pictures made at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import numpy as np
import numpy.typing as npt

from chipweave.model import MASK_CLEAR, MASK_NODATA
from chipweave.pixels import LayerRead
from chipweave.pixels.coding import Stretch
from chipweave.pixels.composite import Stat, composite, index_bands
from chipweave.pixels.gaps import Values, whole
from chipweave.pixels.masks import Mask

BoolArray = npt.NDArray[np.bool_]


def clear_of(values: Values, mask: Mask | None) -> BoolArray:
    """Where a date takes part: data in all bands, and not bad."""
    full = whole(values)
    return full if mask is None else full & (mask == MASK_CLEAR)


@dataclass(slots=True)
class Clear:
    """Pixels that are clear at some date, a bit each, by chip and step: memory does not grow with dates."""

    _bits: dict[str, dict[int, npt.NDArray[np.uint8]]] = field(default_factory=lambda: defaultdict(dict))
    _size: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, step: int, clear: BoolArray) -> None:
        """Take a date."""
        packed, own = np.packbits(clear), self._bits[key]
        own[step] = own[step] | packed if step in own else packed
        self._size[key] = clear.size

    def share(self, key: str, step: int) -> float:
        """Share of a chip that is clear at some date of a step."""
        packed = self._bits[key].get(step)
        return 0.0 if packed is None else int(np.bitwise_count(packed).sum()) / self._size[key]

    def forget(self, key: str) -> None:
        """Begin a chip anew."""
        self._bits.pop(key, None)


@dataclass(frozen=True, slots=True)
class Made:
    """One composite as its sample has it.

    `order` are places of the dates in the order of time, and `shares` the share of the chip that each gave, or in
    which it took part; `valid` the share that is data, `known` the pixels of the mask, `filled` and `stretch` as of
    `Finished`.
    """

    values: Values
    mask: Mask | None
    order: tuple[int, ...]
    shares: tuple[float, ...]
    valid: float
    known: int
    filled: float = 0.0
    stretch: Stretch = ()


def made_of(
    dates: Sequence[tuple[Values, Mask | None]], times: Sequence[datetime], read: LayerRead, stat: str
) -> Made:
    """Make a composite.

    Parameters
    ----------
    dates
        Working arrays and masks, in the order of the ranking.
    times
        Of the dates.
    read, stat
        Of the layer.
    """
    order = sorted(range(len(dates)), key=lambda n: times[n])
    turn = list(range(len(dates))) if stat == "least_cloudy" else order
    clear = [clear_of(*dates[n]) for n in turn]
    made = composite([dates[n][0] for n in turn], clear, cast("Stat", stat), index_bands(read.bands))
    values = read.with_indices(made.values)
    any_clear = np.logical_or.reduce(clear)
    if read.indices:
        any_clear &= whole(values)
    gave: Mapping[int, int] = dict(zip(turn, made.gave.tolist(), strict=True))
    known = int(np.count_nonzero(any_clear))
    mask = None
    if dates[0][1] is not None:
        mask = np.where(any_clear, MASK_CLEAR, MASK_NODATA).astype(np.uint8)
    size = any_clear.size
    own = tuple(n for n in order if gave[n])
    done = read.finish(values)
    valid = int(np.count_nonzero(any_clear | done.full)) / size if done.filled else known / size
    shares = tuple(gave[n] / size for n in own)
    return Made(done.values, mask, own, shares, valid, known, done.filled, done.stretch)
