"""Which keys of a recipe have no room yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from chipweave.errors import NotBuiltError
from chipweave.recipe.base import NOT_BUILT, LaterNode
from chipweave.recipe.loaded import LoadedRecipe


def require_built(loaded: LoadedRecipe) -> None:
    """Refuse a recipe that asks for what is not built.

    Raises
    ------
    NotBuiltError
        Names the first such key (``imagery.s1.pair``), where it stands, and the others.
    """
    found = unbuilt(loaded)
    if found:
        others = f" (nor are {', '.join(found[1:6])})" if found[1:] else ""
        raise NotBuiltError(
            f"{loaded.where(found[0])}: {found[0]}: known, but not built yet{others}",
            hint="leave it out of the recipe, or wait for a version that has it",
        )


def unbuilt(loaded: LoadedRecipe) -> list[str]:
    """Dotted names of all keys that are not built and differ from their defaults, in the recipe's order."""
    return list(dict.fromkeys(_walk(loaded.recipe, loaded.mapping, "")))


def _walk(model: BaseModel, written: Any, place: str) -> Iterator[str]:
    names = {field.alias or name: name for name, field in type(model).model_fields.items()}
    for key in written:
        if key not in names:
            continue
        field = type(model).model_fields[names[key]]
        value = getattr(model, names[key])
        yield from _value(value, written[key], field, f"{place}{key}")


def _value(value: Any, written: Any, field: FieldInfo, place: str) -> Iterator[str]:
    default = field.get_default(call_default_factory=True)
    if value == default:
        return
    extra = field.json_schema_extra
    mark = extra.get(NOT_BUILT) if isinstance(extra, dict) else None
    if mark is True or (isinstance(mark, list) and _holds(value, mark)):
        yield place
    else:
        yield from _below(value, written, place)


def _holds(value: Any, words: list[Any]) -> bool:
    """Whether a value is, or a list or mapping has among its values, one of the words."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
    return any(isinstance(item, str) and item in words for item in items)


def _below(value: Any, written: Any, place: str) -> Iterator[str]:
    if isinstance(value, LaterNode):
        yield place
    elif isinstance(value, BaseModel):
        yield from _walk(value, written, f"{place}.")
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, BaseModel):
                yield from _below(item, written[key], f"{place}.{key}")
