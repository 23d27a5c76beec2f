"""Arrays of a long series wait on disk until their sample is written: memory does not grow with dates."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chipweave.errors import ChipweaveError
from chipweave.files import writing

Array = npt.NDArray[Any]


class Spool:
    """A file without a name, which ends with the process: arrays in, by name, and out again.

    Parameters
    ----------
    folder
        Where it lies: the build's scratch.

    Raises
    ------
    ChipweaveError
        Disk full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with writing(folder):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `__exit__`
        self._places: dict[Hashable, int] = {}
        self._end = 0

    def put(self, name: Hashable, arrays: Sequence[Array]) -> None:
        """Keep arrays under a name; those that it had before, of the same sizes, are overwritten."""
        at = self._places.setdefault(name, self._end)
        with writing(self._folder):
            for array in arrays:
                left = np.ascontiguousarray(array).data.cast("B")
                while left:
                    done = os.pwrite(self._file.fileno(), left, at)
                    left, at = left[done:], at + done
        self._end = max(self._end, at)

    def load(self, name: Hashable, arrays: Sequence[Array]) -> None:
        """Fill contiguous arrays with those of a name, in the order of `put`.

        Raises
        ------
        ChipweaveError
            The file is shorter than what was put there.
        """
        at = self._places[name]
        for array in arrays:
            left = array.data.cast("B")
            while left:
                done = os.preadv(self._file.fileno(), [left], at)
                if not done:
                    raise ChipweaveError(
                        f"scratch below {self._folder} was cut short", hint="run the same command again"
                    )
                left, at = left[done:], at + done

    def close(self) -> None:
        """Forget everything, and give its space back."""
        self._places.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
