"""Clean-up of a class label by segments: each becomes what most of its pixels are.

After the second stage of SAModified (noisy maps of land cover, segments of the image): the share of the winner in its
segment is kept as a figure of quality.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Vote:
    """What a recipe's `cleanup` asks for: the layer whose instances vote, and what the winner must have."""

    segments: str
    min_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A label after the vote.

    Parameters
    ----------
    classes
        (y, x) as it was given, but for the pixels of segments that voted.
    changed
        Share of all pixels that are another class now.
    agreement
        Share of the pixels in segments that were of their segment's class before; 1.0 where no segment lies.
    """

    classes: AnyArray
    changed: float
    agreement: float


def vote(
    classes: AnyArray,
    segments: AnyArray,
    voting: Collection[int],
    *,
    none: float = 0,
    min_share: float = 0.5,
) -> Cleaned:
    """Give each segment the class of most of its pixels; the lowest code wins where several have as many.

    Parameters
    ----------
    classes
        (y, x) codes. Those that are not `voting` (no data, ignored) have no vote, and are kept.
    segments
        (y, x) number of the segment of each pixel.
    voting
        Codes that are classes.
    none
        Number that is no segment: such pixels are kept.
    min_share
        Least share of a segment's votes that the winner must have; else the segment is kept as it is.
    """
    codes = np.array(sorted(voting), np.int64)
    at = np.minimum(np.searchsorted(codes, classes), codes.size - 1)
    counted = (codes[at] == classes) & (segments != none)
    if not counted.any():
        return Cleaned(classes, 0.0, 1.0)
    _, number = np.unique(segments[counted], return_inverse=True)
    votes = np.bincount(number * codes.size + at[counted], minlength=(int(number.max()) + 1) * codes.size)
    votes = votes.reshape(-1, codes.size)
    winner, most, all_of = votes.argmax(axis=1), votes.max(axis=1), votes.sum(axis=1)
    wins = most >= min_share * all_of
    own = at[counted]
    agreed = own == winner[number]
    changed = ~agreed & wins[number]
    out = classes.copy()
    out[counted] = np.where(changed, codes[winner[number]], classes[counted]).astype(classes.dtype)
    return Cleaned(out, int(changed.sum()) / classes.size, int(agreed.sum()) / agreed.size)
