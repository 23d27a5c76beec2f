"""Which chips are burned by other rules: a number for each of them, by a hash of its key, in a small file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.files import atomic_path
from chipweave.labels.base import AnyArray

MOST: Final = 65_535
"""Ways to burn a layer."""

_KIND: Final = np.dtype([("key", "<u8"), ("number", "<u2")])


def write_choices(path: Path, keys: Sequence[str], numbers: npt.NDArray[np.int64]) -> None:
    """Write the chips whose number is not 0.

    Parameters
    ----------
    path
        The file.
    keys, numbers
        (n,) of chips.

    Raises
    ------
    RecipeError
        Two keys have the same hash, which two of 10⁷ have once in 400 000 datasets.
    """
    own = np.flatnonzero(numbers)
    table = np.empty(len(own), _KIND)
    table["key"] = [_hash(keys[k]) for k in own.tolist()]
    table["number"] = numbers[own]
    table.sort(order="key")
    if (np.diff(table["key"]) == 0).any():
        raise RecipeError("two keys of chips are the same, or have the same hash", hint="change chips.key")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, table)


def choice_of(path: Path, key: str) -> int:
    """Number of a chip; 0 where it is not listed.

    Raises
    ------
    PermanentSourceError
        The file is not there.
    """
    try:
        table = _table(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise PermanentSourceError(
            f"{path}: cannot be read: {error.strerror}", hint="run the build again", href=str(path)
        ) from None
    wanted = _hash(key)
    at = int(np.searchsorted(table["key"], np.uint64(wanted)))
    return int(table["number"][at]) if at < len(table) and int(table["key"][at]) == wanted else 0


def _hash(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode())


@lru_cache(maxsize=16)
def _table(path: Path, changed: int) -> AnyArray:
    del changed
    found: AnyArray = np.load(path)
    return found
