"""A recipe to begin with."""

from __future__ import annotations

import re
from pathlib import Path

from chipweave.errors import UsageError
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.data import builtin_recipes

DEFAULT = "landcover"

_EDITOR = re.compile(r"\A# yaml-language-server:.*\n")
_NAME_LINE = re.compile(r"^name:[ \t]*\S+", re.MULTILINE)


def new(name: str, like: str = DEFAULT, folder: str | Path = ".") -> Path:
    """Write ``NAME.yaml`` from a built-in recipe, its comments kept.

    Parameters
    ----------
    name
        Name of the dataset and of the file: letters, digits, ``_`` and ``-``.
    like
        Name of a built-in recipe.
    folder
        Where to write; it is made if absent.

    Raises
    ------
    UsageError
        The name cannot be one, there is no such built-in recipe, or the file is there already.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise UsageError(f"{name[:100]!r} cannot be a recipe's name: letters, digits, _ and - only")
    known = builtin_recipes()
    if like not in known:
        raise UsageError(
            f"there is no built-in recipe {like!r}; did you mean {nearest(like, known)!r}?",
            hint="`chipweave recipes` lists them",
        )
    text = _EDITOR.sub("", known[like].read_text(encoding="utf-8"))
    path = Path(folder) / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_NAME_LINE.sub(f"name: {_quoted(name)}", text, count=1))
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="choose another name, or remove it first") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _quoted(name: str) -> str:
    """Quotes where YAML would read a name as a number, a truth or nothing."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name)
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return name if plain and name.lower() not in words else f'"{name}"'
