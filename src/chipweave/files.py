"""Files that are either whole or not there, and folders with one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import xxhash

from chipweave.errors import ChipweaveError, UsageError

TEMPORARY = ".tmp-"
"""How a file begins that is not finished: hidden, so neither the manifest nor a reader sees it."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_PLACE = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""A file where a folder should be, and the like: no file can lie there, whoever tries."""

_IOV = 512  # buffers a writev call; Linux allows 1024
PIECE = 1 << 19
"""Bytes that stay in a core's own cache from reading to writing."""


def friendly_os_error(exc: OSError, path: str | Path) -> ChipweaveError:
    """Say in a user's words why a file could not be written.

    Parameters
    ----------
    exc
        What the system said.
    path
        The file that was meant.

    Returns
    -------
    ChipweaveError
        Exit 1 for a full disk and the unforeseen, `UsageError` (exit 2) where nothing may or can be written.
    """
    if exc.errno in _FULL:
        return ChipweaveError(
            f"disk full while writing {path}",
            hint="free some space and run the same command again: finished work is kept",
        )
    reason = exc.strerror or str(exc)
    if exc.errno in _REFUSED | _NO_PLACE:
        return UsageError(f"cannot write {path}: {reason}", hint="choose a folder that you may write to")
    return ChipweaveError(f"cannot write {path}: {reason}")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn "disk full" and "not allowed" from the body into errors that name `path`."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL | _REFUSED:
            raise friendly_os_error(exc, path) from exc
        raise


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name, else it is removed.

    The temporary name keeps the suffix. File and folder are flushed to the disk before and after the
    rename, so after a power cut the file is whole or not there. The folder is made where it is missing.

    Parameters
    ----------
    path
        Of the file.
    durable
        False for scratch whose contents are checked before they are used: it is not waited for the disk.

    Raises
    ------
    ChipweaveError
        Disk full.
    UsageError
        The folder may not be written, or `path` is one.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name the file that is to be written")
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                flush(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            flush(path.parent)


def flush(path: Path) -> None:
    """Ask the system to bring a file, or a folder's list of names, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write_bytes(path: Path, data: bytes | bytearray | memoryview, *, durable: bool = True) -> None:
    """Write `data` so that `path` is never seen half-written; `durable` as of `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line ends as given, so that `path` is never seen half-written."""
    atomic_write_bytes(path, text.encode("utf-8"))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def xxh3_file(path: Path) -> str:
    """XXH3 of a file's bytes, in hex: finds damage at the speed of memory. It proves nothing against intent."""
    found = xxhash.xxh3_64()
    with path.open("rb", buffering=0) as file:
        room = memoryview(bytearray(PIECE))
        while done := file.readinto(room):
            found.update(room[:done])
    return found.hexdigest()


def write_all(fd: int, buffers: Sequence[bytes | memoryview]) -> None:
    """Write all buffers in order, however many bytes the system takes at a time."""
    pending = [memoryview(b).cast("B") for b in buffers if len(b)]
    start = 0
    while start < len(pending):
        done = os.writev(fd, pending[start : start + _IOV])
        while start < len(pending) and done >= len(pending[start]):
            done -= len(pending[start])
            start += 1
        if done:
            pending[start] = pending[start][done:]


def sweep(folder: Path) -> list[Path]:
    """Remove what a killed build left unfinished below `folder`; call it under the folder's lock.

    Returns
    -------
    list of Path
        What was removed.
    """
    found = sorted(folder.rglob(f"{TEMPORARY}*"))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return found


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one writer: a lock of the operating system on the folder itself.

    No file marks it, so nothing stays behind when a process is killed.

    Raises
    ------
    UsageError
        A living process holds the folder.
    ChipweaveError
        The file system cannot lock.
    """
    with writing(folder):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UsageError(
                f"{folder} is busy: another chipweave process is writing there",
                hint="wait until it is done, or name another folder",
            ) from exc
        except OSError as exc:
            raise ChipweaveError(
                f"{folder} cannot be locked: {exc.strerror}", hint="use a local or POSIX file system"
            ) from exc
        yield
    finally:
        os.close(fd)
