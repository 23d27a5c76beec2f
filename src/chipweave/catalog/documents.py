"""Files of `catalogs/`: YAML held to a model, errors with file and line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chipweave.errors import RecipeError
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.document import Document, read_document


class Entry(BaseModel):
    """A mapping in a file of `catalogs/`: frozen, and strangers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def read_entry(path: Path, model: type[M]) -> M:
    """Read a YAML file.

    Raises
    ------
    RecipeError
        The file cannot be read, or does not fit the model; the message names file, line and key.
    """
    try:
        state = path.stat()
        when = state.st_mtime_ns, state.st_size
    except OSError:
        when = 0, 0  # reading it says what is wrong
    held: M = _held(path, model, *when)
    return held


@lru_cache(maxsize=256)
def _held(path: Path, model: type[M], _mtime_ns: int, _size: int) -> M:
    """A file as it was at that time: entries are frozen, and a search asks for the same ones again and again."""
    document = read_document(path)
    return held_to(document, document.mapping, model)


def held_to(document: Document, value: object, model: type[M], at: tuple[str | int, ...] = ()) -> M:
    """A value of a document, which stands `at` a place of it, as a model; errors as of `read_entry`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        loc = (*at, *(p for p in detail["loc"] if isinstance(p, str | int)))
        dotted = ".".join(str(p) for p in loc)
        raise RecipeError(f"{document.where(loc)}: {dotted}: {detail['msg']}") from None


def unknown(what: str, name: str, known: list[str]) -> RecipeError:
    """Error for a name that no file has: it names the nearest one that is known."""
    guess = nearest(name, known)
    return RecipeError(
        f"unknown {what} {name!r}" + (f"; did you mean {guess!r}?" if guess else ""),
        hint=f"known: {', '.join(known)}" if known else "",
    )
