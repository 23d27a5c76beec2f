"""Where a dataset is built, and where it is kept: in a folder, or in scratch and then in an object store."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, Protocol
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from chipweave.errors import TransientSourceError, UsageError, VerifyError
from chipweave.files import folder_lock, sha256_file
from chipweave.plan.planning import SNAPSHOT
from chipweave.progress import Step, tell
from chipweave.shards import manifest
from chipweave.stores.lease import Lease
from chipweave.stores.store import SCHEMES, Store, address, is_url
from chipweave.stores.web import WebStore, is_http

log = logging.getLogger("chipweave")

SCRATCH: Final = "CHIPWEAVE_SCRATCH"
"""Environment variable: the folder in which datasets of object stores are built. It needs twice their size."""

PLAN: Final = (
    "chipweave.lock", "recipe.yaml", "plan/places.parquet", "plan/scenes.parquet", "plan/matches.parquet",
    "plan/amendments.parquet", "plan/chips.parquet",
)  # fmt: skip
"""What a build on another machine goes on from; the last is the one that makes a plan whole."""

FINISHED: Final = ("chipweave.lock", "index.parquet", "ledger.parquet")
"""What there is to say of a finished dataset, beside its manifest."""

PUTTING: Final = "manifest.putting.json"
"""Names of what is being put, until the manifest stands: a later build removes those that are not its own."""


_PARTS: Final = frozenset({"..", ".", ""})
_LONGEST: Final = 255
"""Bytes that a file's name may have."""


class Home(Protocol):
    """Where a dataset is built, and where it is kept."""

    name: str
    folder: Path

    def planned(self) -> None:
        """The plan stands: keep it."""

    def built(self) -> None:
        """The dataset stands: keep it."""


class LocalHome:
    """A folder of this machine: a dataset is kept where it is built."""

    def __init__(self, folder: Path) -> None:
        self.name, self.folder = str(folder), folder

    def planned(self) -> None:
        """It lies where it is kept."""

    def built(self) -> None:
        """It lies where it is kept."""


@contextmanager
def home(out: str | Path) -> Iterator[Home]:
    """The folder in which a dataset is built: `out` itself, or scratch where `out` is the URL of an object store.

    Parameters
    ----------
    out
        A folder, or ``s3://bucket/prefix`` (also gs, az, abfs). Credentials, region and endpoint are the environment's.

    Raises
    ------
    UsageError
        No such kind of store, secrets in the URL, or another build holds the dataset.
    TransientSourceError
        The store does not answer.
    """
    if not is_url(out):
        yield LocalHome(Path(out))
        return
    store = Store(address(out))
    folder = scratch(store.url)
    folder.mkdir(parents=True, exist_ok=True)
    # Of the folder beside: the build locks its own.
    with folder_lock(folder), Lease(store, folder / "holder"):
        made = RemoteHome(store, folder / "dataset")
        try:
            made.fetch()
            yield made
        finally:
            if made.kept:  # also where it is another recipe's: what is here is a copy
                shutil.rmtree(folder / "dataset")


def scratch(url: str) -> Path:
    """Where the dataset of a URL is built on this machine."""
    given = os.environ.get(SCRATCH)
    base = Path(given) if given else user_cache_path("chipweave") / "builds"
    return base / hashlib.sha256(url.encode()).hexdigest()[:16]


class RemoteHome:
    """A dataset in an object store, and the scratch in which it is built.

    Attributes
    ----------
    kept
        Whether the store has the whole dataset.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.name, self.folder, self.kept = store.url, folder, False
        self._store = store

    def fetch(self) -> None:
        """Bring what the store has of the dataset into scratch that has nothing of it: its plan, or its outcome."""
        found = self._store.read(manifest.NAME)
        if found is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            for name in FINISHED:
                self._must(name)
            (self.folder / manifest.NAME).write_bytes(found[0])
            self._store.delete(PUTTING)  # killed between the manifest and this
            self.kept = True
        elif self._store.has(PLAN[-1]) and not self._continues():
            shutil.rmtree(self.folder, ignore_errors=True)
            for name in sorted(PLAN, key=lambda n: n == SNAPSHOT):  # last what tells that all is here
                self._must(name)
            log.info("%s: going on from the plan that is there", self.name)

    def _continues(self) -> bool:
        """Whether scratch has a plan, and of the recipe that the store's plan is of: else the store's comes first."""
        theirs = self._store.read(PLAN[0])
        if theirs is None or not (self.folder / SNAPSHOT).exists():
            return False
        return _recipe_of(theirs[0]) == _recipe_of((self.folder / PLAN[0]).read_bytes())

    def _must(self, name: str) -> None:
        if not self._store.fetch(name, self.folder / name):
            raise UsageError(
                f"{self.name} is no whole dataset: {name} is missing", hint="name another prefix"
            )

    def planned(self) -> None:
        """Put the plan: what the catalog said may not be said again."""
        if not self.kept:
            facts = {n: _facts(self.folder / n) for n in PLAN}
            self._store.check()
            if not all(self._store.holds(n, *facts[n]) for n in PLAN if n.startswith("plan/")):
                self._store.delete(PLAN[-1])  # of an earlier plan: it must not pass for the end of this one
            self._put(facts)

    def built(self) -> None:
        """Put what is not there yet, and the manifest last of all."""
        if self.kept:
            return
        files = _files((self.folder / manifest.NAME).read_bytes(), self.name)
        self._store.check()
        begun = self._store.read(PUTTING)
        for name in sorted(_files(begun[0], self.name).keys() - files.keys() if begun else ()):
            self._store.delete(name)
        self._put({PUTTING: _facts(self.folder / manifest.NAME)}, of=manifest.NAME)
        self._put(files, say=True)
        self._put({manifest.NAME: _facts(self.folder / manifest.NAME)})
        self._store.delete(PUTTING)
        self.kept = True

    def _put(self, files: Mapping[str, tuple[int, str]], of: str = "", *, say: bool = False) -> None:
        for number, (name, (size, sha256)) in enumerate(files.items(), 1):
            self._store.check()
            if not self._store.holds(name, size, sha256):
                self._store.put(name, self.folder / (of or name), sha256)
            if say:
                tell(Step("put", number, len(files), "files"))


def _facts(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_file(path)


def _recipe_of(lock: bytes) -> str:
    """Digest of the recipe that a lock file is of; empty where it is damaged, which is said when it is read."""
    try:
        return str(json.loads(lock)["recipe"]["sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _files(data: bytes, name: str) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of a manifest's files; a name that leads out of the dataset is no manifest's of ours."""
    try:
        files = {str(n): (int(f["bytes"]), str(f["sha256"])) for n, f in json.loads(data)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{name}: its manifest is damaged: {error}") from None
    away = [n for n in files if PurePosixPath(n).is_absolute() or not _PARTS.isdisjoint(n.split("/"))]
    if away:
        more = f" and {len(away) - 1} more" if len(away) > 1 else ""
        raise UsageError(
            f"{name}: its manifest names files outside it: {away[0][:80]!r}{more}", hint="do not use it"
        )
    odd = next((n for n in files if not _nameable(n)), None)
    if odd is not None:
        raise UsageError(f"{name}: its manifest names {odd[:80]!r}, which no file can be called")
    return files


def _nameable(path: str) -> bool:
    """Whether a file may be called so."""
    try:
        return "\0" not in path and max(map(len, path.encode().split(b"/"))) <= _LONGEST
    except UnicodeEncodeError:
        return False


@contextmanager
def copied(where: str | Path) -> Iterator[Path]:
    """A dataset as a folder of this machine: itself, or a copy of the one at a URL, which is gone afterwards.

    The URL may also be an http(s) one: there a dataset is read, and never written.

    Raises
    ------
    UsageError
        There is none.
    VerifyError
        Its manifest is none.
    TransientSourceError
        The store does not answer.
    """
    if not is_url(where):
        yield Path(where)
        return
    store = _read_from(str(where))
    folder = scratch(store.url) / f"copy-{secrets.token_hex(4)}"
    try:
        try:
            _copy(store, folder)
        except TransientSourceError as error:
            error.hint = "run the same command again: it begins anew"  # nothing of a copy is kept
            raise
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_from(where: str) -> Store | WebStore:
    """What a dataset is read from; of http(s) alone it is never written to."""
    scheme = urlsplit(where).scheme.lower()
    if scheme not in {*SCHEMES, "http", "https"}:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, "http", "https"))
        raise UsageError(f"datasets are not read from {scheme}://", hint=f"name a folder, or one of {known}")
    return WebStore(where) if is_http(where) else Store(address(where))


def _copy(store: Store | WebStore, folder: Path) -> None:
    """Copy the files that a dataset's manifest lists, and the manifest; what else lies there nobody can ask."""
    found = store.read(manifest.NAME)
    if found is None:
        raise UsageError(f"{store.url} is no finished dataset: it has no {manifest.NAME}")
    try:
        names = list(_files(found[0], store.url))
    except UsageError as error:
        raise VerifyError(error.message, hint="do not use it") from None
    for name in names:
        store.fetch(name, folder / name)  # one that is missing is for the audit to say
    folder.mkdir(parents=True, exist_ok=True)
    (folder / manifest.NAME).write_bytes(found[0])
