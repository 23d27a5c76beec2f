"""Whose folder it is: one recipe's, one loader's, and one process's at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from chipweave.errors import UsageError
from chipweave.files import atomic_write_text, folder_lock, sweep
from chipweave.plan import lockfile
from chipweave.plan.lockfile import LockFile
from chipweave.plan.planning import SNAPSHOT, WORK
from chipweave.recipe import LoadedRecipe
from chipweave.shards import manifest, receipts
from chipweave.stores.homes import Home


@contextmanager
def own(home: Home, loaded: LoadedRecipe, limit: int | None, loader: str) -> Iterator[tuple[LockFile, bool]]:
    """Hold the folder; give its lock file, and whether it is finished.

    Raises
    ------
    UsageError
        Another recipe's or loader's folder, another process in it, or a folder that holds something else.
    """
    folder, name = home.folder, home.name
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        lock = lockfile.read_lock(folder)
        finished = (folder / manifest.NAME).exists()
        frozen = finished or (folder / SNAPSHOT).exists()
        if lock is not None and lock.sha256 != loaded.digest and not frozen:
            # Nothing was frozen for the other recipe: a corrected one may have the folder.
            shutil.rmtree(folder / "plan", ignore_errors=True)
            lock = LockFile(loaded.recipe.name, loaded.digest, limit, loader)
            lock.stamp("started")
        if lock is None:
            if any(folder.iterdir()):
                raise UsageError(f"{name} holds something else", hint="name an empty or a new folder")
            lock = LockFile(loaded.recipe.name, loaded.digest, limit, loader)
            lock.stamp("started")
        elif lock.sha256 != loaded.digest:
            raise UsageError(
                f"{name} belongs to another recipe ({lock.name}, {lock.sha256[:12]}; this is {loaded.digest[:12]})",
                hint="build into another folder",
            )
        elif loader != lock.loader and (folder / SNAPSHOT).exists():
            raise UsageError(
                f"{name} was begun with --loader {lock.loader}", hint="use the same, or another folder"
            )
        elif limit != lock.limit and (finished or (folder / WORK / receipts.FOLDER).exists()):
            begun = "without --limit" if lock.limit is None else f"with --limit {lock.limit}"
            raise UsageError(f"{name} was begun {begun}", hint="do the same, or use another folder")
        if finished:
            shutil.rmtree(folder / WORK, ignore_errors=True)  # killed between the manifest and this
        else:
            lock.limit, lock.loader = limit, loader
            sweep(folder)
            atomic_write_text(folder / "recipe.yaml", loaded.to_yaml())
            lock.save(folder)
        yield lock, finished
