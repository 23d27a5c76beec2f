"""Files of `catalogs/`: YAML held to a model, errors with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chipweave.errors import RecipeError
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.document import read_document


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
    document = read_document(path)
    try:
        return model.model_validate(document.mapping)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        loc = tuple(p for p in detail["loc"] if isinstance(p, str | int))
        dotted = ".".join(str(p) for p in loc)
        raise RecipeError(f"{document.where(loc)}: {dotted}: {detail['msg']}") from None


def unknown(what: str, name: str, known: list[str]) -> RecipeError:
    """Error for a name that no file has: it names the nearest one that is known."""
    guess = nearest(name, known)
    return RecipeError(
        f"unknown {what} {name!r}" + (f"; did you mean {guess!r}?" if guess else ""),
        hint=f"known: {', '.join(known)}" if known else "",
    )
