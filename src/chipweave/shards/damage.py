"""Datasets that somebody harmed, or that were copied in part: an error in a user's words, whatever library stumbled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml
from shapely.errors import ShapelyError

from chipweave.errors import VerifyError

STUMBLES: Final = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, FileNotFoundError, IsADirectoryError),
    *(ShapelyError, yaml.YAMLError),
)
"""What reading such a dataset raises: Arrow's, JSON's and Unicode's errors are among them."""


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Read a finished dataset that nobody has verified.

    Raises
    ------
    VerifyError
        The body met what is not as a build writes it.
    """
    try:
        yield
    except STUMBLES as exc:
        said = " ".join(str(exc).split())[:200]
        raise VerifyError(
            f"{folder} is damaged: {type(exc).__name__}: {said}",
            hint=f"`chipweave verify {folder}` says what is wrong",
        ) from exc
