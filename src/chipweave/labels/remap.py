"""From the codes that a raster stores to those that a sample holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.model import Legend

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recode:
    """What becomes of stored codes, pixel by pixel; equal ones are known to be equal, so that tables are kept.

    Parameters
    ----------
    pairs
        (stored code, code that is written), in the order of stored codes: one for every class of the source, and one
        for its no data.
    nodata
        Written where there is no data.
    foreign
        Written where there is data of no class of the source: a code of the working array alone (see `settled`).
    dtype
        Of the working array.
    """

    pairs: tuple[tuple[int, int], ...]
    nodata: int
    foreign: int
    dtype: str

    @classmethod
    def of(cls, source: Legend, table: Mapping[int, int] | None, legend: Legend) -> Recode:
        """Classes of `source` by a table to those of `legend`, the others unlabeled; as they are without a table."""
        rest = legend.nodata if legend.unlabeled is None else legend.unlabeled
        pairs = {c: c if table is None else table.get(c, rest) for c in source.codes}
        pairs.setdefault(source.nodata, legend.nodata)  # a file may lack its tag
        return cls(tuple(sorted(pairs.items())), legend.nodata, *_foreign(legend))

    def __call__(self, codes: AnyArray, ok: npt.NDArray[np.bool_]) -> AnyArray:
        """Codes as a file stores them, of any type, and where they are data; (y, x) or (n,)."""
        stored, written = _table(self.pairs, self.dtype)
        at = np.minimum(np.searchsorted(stored, codes), stored.size - 1)
        found = np.where(stored[at] == codes, written[at], written.dtype.type(self.foreign))
        return np.where(ok, found, written.dtype.type(self.nodata))

    def settled(self, classes: AnyArray, dtype: str) -> tuple[AnyArray, int]:
        """The working array as a sample holds it, foreign codes as no data, and how many of them there were."""
        strange = classes == self.foreign
        count = int(np.count_nonzero(strange))
        if count:
            classes = np.where(strange, classes.dtype.type(self.nodata), classes)
        return classes.astype(dtype, copy=False), count


@lru_cache(maxsize=64)
def _table(pairs: tuple[tuple[int, int], ...], dtype: str) -> tuple[AnyArray, AnyArray]:
    stored = np.array([p[0] for p in pairs], np.int64)
    return stored, np.array([p[1] for p in pairs], dtype)


def _foreign(legend: Legend) -> tuple[int, str]:
    """The largest code that the legend leaves free, and the type that holds all of them."""
    taken = {legend.nodata, legend.unlabeled, *legend.codes}
    largest = int(np.iinfo(legend.dtype).max)
    free = next((c for c in range(largest, -1, -1) if c not in taken), None)
    return (
        (free, legend.dtype) if free is not None else (largest + 1, "uint32" if largest > 255 else "uint16")
    )
