"""Where `catalogs/` lies: providers, collections, legends and recipes, ours and the user's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chipweave.errors import ChipweaveError

VARIABLE: Final = "CHIPWEAVE_CATALOGS"
"""Environment variable with folders of the user's own, joined by `os.pathsep`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def catalogs_root() -> Path:
    """Folder of our own catalogs: inside the installed package, or beside it in a checkout.

    Raises
    ------
    ChipweaveError
        The installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_catalogs", package.parents[1] / "catalogs"):
        if folder.is_dir():
            return folder
    raise ChipweaveError("the catalogs are missing from this installation", hint="install chipweave again")


def _roots(extra: Sequence[Path]) -> list[Path]:
    """Folders that are looked through, the first one wins: the recipe's, the user's, ours."""
    named = os.environ.get(VARIABLE, "")
    return [*extra, *(Path(p) for p in named.split(os.pathsep) if p), catalogs_root()]


def find(kind: str, name: str, extra: Sequence[Path] = ()) -> Path | None:
    """File of that name, or None.

    Parameters
    ----------
    kind
        ``providers``, ``collections``, ``legends`` or ``recipes``: a folder below each catalogs folder.
    name
        File name without ``.yaml``; a name with a separator is never found.
    extra
        Further catalogs folders; they come before CHIPWEAVE_CATALOGS, and both before our own.
    """
    if not _NAME.fullmatch(name):
        return None
    paths = (root / kind / f"{name}.yaml" for root in _roots(extra))
    return next((path for path in paths if path.is_file()), None)


def listing(kind: str, extra: Sequence[Path] = ()) -> dict[str, Path]:
    """All names of a kind and their files, sorted by name; see `find` for which file wins."""
    found: dict[str, Path] = {}
    for root in reversed(_roots(extra)):
        found |= {path.stem: path for path in (root / kind).glob("*.yaml")}
    return dict(sorted(found.items()))


def builtin_recipes() -> dict[str, Path]:
    """Recipes that ship with chipweave, by name."""
    return {path.stem: path for path in sorted((catalogs_root() / "recipes").glob("*.yaml"))}
