"""Compiled loops, compiled once a machine: cached where the user may write, by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.runtime.nrt import rtsys
from platformdirs import user_cache_dir

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

_USES = b"chipweave.pixels.jit import"
"""What a source with kernels says: its bytes are part of the cache's name."""


def _sources_digest() -> str:
    """Of all files with kernels: one that calls another's is otherwise not compiled again when that one changes.

    Numba looks at the file of the outermost kernel alone.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_bytes()
        if _USES in source:
            digest.update(path.name.encode() + source)
    return digest.hexdigest()[:12]


def _cache_folder() -> str:
    """Folder for compiled kernels, or empty where none can be written: said once, by the process that began it all."""
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(user_cache_dir("chipweave")) / "kernels")
    folder, reason = base / _sources_digest(), "it is not writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder)
    except OSError as error:
        reason = str(error)
    if multiprocessing.parent_process() is None:
        log.warning("no kernel cache at %s (%s): every process compiles kernels again", base, reason)
    return ""


_FOLDER = _cache_folder()
if _FOLDER:
    numba.config.CACHE_DIR = _FOLDER  # type: ignore[attr-defined]


class _Turn:
    """One process at a time: the others wait, then load what it compiled. Kernels call kernels: it counts."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, ".lock") if folder else None
        self._mine = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        with self._mine:
            self._depth += 1
            fd = self._lock() if self._depth == 1 else -1
            try:
                yield
            finally:
                self._depth -= 1
                if fd >= 0:
                    os.close(fd)

    def _lock(self) -> int:
        """Descriptor that holds the lock, or -1 where the file system has none: then two may compile the same."""
        fd = -1
        try:
            fd = os.open(self._path or "", os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("kernel cache cannot be locked: %s", error)
            if fd >= 0:
                os.close(fd)
            return -1
        return fd


_turn = _Turn(_FOLDER)

_LOADED_PLAINLY = ("0.68.",)
"""Versions of numba whose inner workings `_load` was held against; others load in their own way."""


def inlined(function: F) -> F:
    """Write `function` into the kernels that call it: a call a pixel, which counts arrays in and out, costs more."""
    return cast("F", numba.njit(inline="always", nogil=True, fastmath=False)(function))


def _load(cache: Any, signature: Any, context: Any) -> Any:
    """Compiled code out of numba's cache; numba's own way first makes all ready that it needs to compile.

    That is half a second of CPU, scipy's import included, for every process that finds its kernels in the cache. What
    is not in it is compiled as ever: the compiler makes itself ready.
    """
    rtsys.initialize(context)  # kernels allocate
    return cache._load_overload(signature, context)  # noqa: SLF001 - see above


def kernel(function: F) -> F:
    """Compile `function` at its first call; no fastmath, so results do not depend on the compiler's mood.

    Whoever comes first compiles, for all processes of the machine: the cache is looked at under a lock, which is held
    until what was missing is in it.
    """
    dispatcher: Any = numba.njit(cache=bool(_FOLDER), nogil=True, fastmath=False)(function)
    compile_now = dispatcher.compile

    def compile_once(signature: Any) -> Any:
        with _turn.held():
            return compile_now(signature)

    dispatcher.compile = compile_once
    if _FOLDER and numba.__version__.startswith(_LOADED_PLAINLY):
        cache = dispatcher._cache  # noqa: SLF001 - see `_load`
        cache.load_overload = partial(_load, cache)
    return cast("F", dispatcher)
