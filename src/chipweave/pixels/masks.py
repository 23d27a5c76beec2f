"""Class codes of a quality band to clear, bad and no data; and what is counted on them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from chipweave.model import MASK_BAD, MASK_CLEAR, MASK_NODATA, MaskRule

Mask = npt.NDArray[np.uint8]


def mask_codes(codes: npt.NDArray[np.generic], ok: npt.NDArray[np.bool_], rule: MaskRule) -> Mask:
    """Mask of 0 clear, 1 bad, 255 no data from the codes of a quality band, of the same shape."""
    out = np.where(one_of(codes, rule.bad), np.uint8(MASK_BAD), np.uint8(MASK_CLEAR))
    np.copyto(out, np.uint8(MASK_NODATA), where=~ok | one_of(codes, rule.nodata))
    return out


def one_of(codes: npt.NDArray[np.generic], wanted: Collection[int]) -> npt.NDArray[np.bool_]:
    """Where `codes` are one of a few: `np.isin`, by comparisons that are ten times as fast."""
    found = np.zeros(codes.shape, np.bool_)
    for code in wanted:
        found |= np.equal(codes, code)
    return found


def mask_shares(mask: Mask) -> tuple[float, float]:
    """(bad / data, data / all) of a mask; the first is 0 where nothing is data."""
    data, bad = mask_counts(mask)
    return (bad / data if data else 0.0), data / mask.size


def mask_counts(mask: Mask) -> tuple[int, int]:
    """How many pixels of a mask are data, and how many are bad."""
    return int(np.count_nonzero(mask != MASK_NODATA)), int(np.count_nonzero(mask == MASK_BAD))
