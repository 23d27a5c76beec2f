"""Compiled loops, cached where the user may write."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from platformdirs import user_cache_dir

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> str:
    """Folder for compiled kernels, or empty where none can be written."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(user_cache_dir("chipweave")) / "kernels")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("no kernel cache at %s (%s): kernels are compiled again in every process", folder, error)
        return ""
    if not os.access(folder, os.W_OK):
        log.warning("kernel cache %s is not writable: kernels are compiled again in every process", folder)
        return ""
    return str(folder)


_FOLDER = _cache_folder()
if _FOLDER:
    numba.config.CACHE_DIR = _FOLDER  # type: ignore[attr-defined]


def kernel(function: F) -> F:
    """Compile `function` at its first call; no fastmath, so results do not depend on the compiler's mood."""
    return cast("F", numba.njit(cache=bool(_FOLDER), nogil=True, fastmath=False)(function))
