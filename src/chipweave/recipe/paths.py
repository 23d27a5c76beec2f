"""Which values of a recipe name files, and how they move when one recipe extends another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from chipweave.recipe.data import find
from chipweave.recipe.windows import PHASES

Keys = tuple[str | int, ...]

_FILES: Final[tuple[Keys, ...]] = (
    ("area", "geojson"),
    ("area", "file"),
    ("local_roots", "*"),
    ("catalogs", "*"),
    ("parts", "*"),
    ("attributes", "*", "file"),
    ("chips", "sampling", "file"),
    ("chips", "sampling", "exclude", "near"),
    ("imagery", "*", "items", "file"),
    ("imagery", "*", "time", "table"),
    ("labels", "*", "file"),
    *(("imagery", "*", "select", "from", day) for day in (*PHASES, "planting", "harvest")),
    ("labels", "*", "points", "file"),
    ("labels", "*", "override", "*", "*", "file"),
    ("labels", "*", "override", "*", "value", "*", "file"),
    ("split", "override"),
    ("split", "previous"),
    ("split", "file"),
)
_NAMES_OR_FILES: Final[dict[Keys, str]] = {
    ("catalog",): "providers",
    ("imagery", "*", "catalog"): "providers",
    ("labels", "*", "catalog"): "providers",
    ("labels", "*", "legend"): "legends",
    ("labels", "*", "remap"): "legends",
    ("labels", "*", "scene_labels", "remap"): "legends",
    ("labels", "*", "classes"): "legends",
}
"""Values that may also be a name, and the folder of `catalogs/` that such names are files of."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|/vsi[a-z]+/")


class Named(NamedTuple):
    """A value that names a file; `certain` is false where it looks like a name that nobody knows."""

    keys: Keys
    value: str
    certain: bool


def named_files(mapping: Mapping[str, Any], base: Path) -> Iterator[Named]:
    """Values of a recipe that name local files or folders (URLs and known names are not among them).

    Parameters
    ----------
    mapping
        A recipe, valid or not.
    base
        Folder that relative paths are relative to.
    """
    for pattern in (*_FILES, *_NAMES_OR_FILES):
        for keys, value in _matches(mapping, pattern, ()):
            if _URL.match(value):
                continue
            if pattern in _FILES or looks_like_path(value):
                yield Named(keys, value, certain=True)
            elif not find(_NAMES_OR_FILES[pattern], value, _own_catalogs(mapping, base)):
                yield Named(keys, value, certain=exists(at(base, value)))


def _own_catalogs(mapping: Mapping[str, Any], base: Path) -> list[Path]:
    return [at(base, value) for _, value in _matches(mapping, ("catalogs", "*"), ())]


def looks_like_path(text: str) -> bool:
    """Whether a text cannot be a plain name: it has a separator, a home or a file's ending."""
    return "/" in text or os.sep in text or text.startswith("~") or bool(Path(text).suffix)


def at(base: Path, text: str) -> Path:
    """Path that a recipe in `base` means by `text`."""
    return base / os.path.expanduser(text)  # noqa: PTH111 - pathlib raises where there is no home


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that the file system refuses names nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def relocate(mapping: dict[str, Any], old: Path, new: Path) -> None:
    """Rewrite relative paths in place, so that from `new` they name what they named from `old`."""
    if old == new:
        return
    for named in list(named_files(mapping, old)):
        if named.certain and not named.value.startswith("~") and not Path(named.value).is_absolute():
            _put(mapping, named.keys, os.path.relpath(old / named.value, new))


def _matches(value: Any, pattern: Keys, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if not pattern or (pattern == ("*",) and isinstance(value, str)):
        if isinstance(value, str) and value:
            yield keys, value
        return
    head, rest = pattern[0], pattern[1:]
    if head == "*" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _matches(item, rest, (*keys, i))
    elif isinstance(value, dict):
        for key in list(value) if head == "*" else [head]:
            if key in value:
                yield from _matches(value[key], rest, (*keys, key))


def _put(mapping: Any, keys: Keys, value: str) -> None:
    for key in keys[:-1]:
        mapping = mapping[key]
    mapping[keys[-1]] = value
