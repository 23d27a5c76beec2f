"""What pydantic found, in words of the recipe: dotted path, what was got, what is expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from chipweave.recipe.base import PATTERNS
from chipweave.recipe.crosscheck import Path, Problem, nearest
from chipweave.recipe.models import Recipe

_UNKNOWN: Final = {"extra_forbidden", "invalid_key"}
_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "mapping_type": "a mapping",
    "string_too_short": "text that is not empty",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def problems(error: ValidationError) -> list[Problem]:
    """Problems that a validation found, without those that only follow from another."""
    details = error.errors(include_url=False)
    strangers = [_path(d["loc"], "") for d in details if d["type"] in _UNKNOWN]
    meant = {(*path[:-1], guess(path)) for path in strangers}
    found: list[Problem] = []
    for detail in details:
        if not _follows(detail, meant):
            found += _cross(detail) or [_problem(detail)]
    return found


def _follows(detail: ErrorDetails, meant: set[Path]) -> bool:
    """Whether an error only follows from another: a misspelt key, or a list whose items are wrong."""
    if detail["type"] == "too_short":
        return len(detail["input"]) >= int(detail.get("ctx", {})["min_length"])
    return detail["type"] == "missing" and _path(detail["loc"], "") in meant


def _cross(detail: ErrorDetails) -> list[Problem]:
    """Problems that the recipe's own check between keys found, carried by one error."""
    return list(detail.get("ctx", {}).get("found", ())) if detail["type"] == "cross" else []


def _problem(detail: ErrorDetails) -> Problem:
    context = detail.get("ctx", {})
    kind, got = detail["type"], detail["input"]
    loc = detail["loc"] if kind in _UNKNOWN or detail["loc"][-1:] != ("[key]",) else detail["loc"][:-1]
    path = _path(loc, str(context.get("at", "")))
    if kind in _UNKNOWN:
        return Problem(path, unknown_key(path))
    if kind == "missing":
        return Problem(path, "missing")
    if kind == "refused":
        return Problem(path, detail["msg"])
    if kind == "literal_error":
        return Problem(path, f"got {shown(got)}, expected {_choices(got, context['expected'])}")
    if kind == "string_pattern_mismatch":
        what = PATTERNS.get(context["pattern"], detail["msg"])
    elif kind in _EXPECTED:
        what = _EXPECTED[kind].format(**_round(context)) + _quoting(kind, got)
    else:
        what = detail["msg"].removeprefix("expected ").removeprefix("Input should be ")
    return Problem(path, f"got {shown(got)}, expected {what}")


def _round(context: Mapping[str, Any]) -> dict[str, Any]:
    """Limits without a needless ``.0``."""
    return {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}


def _path(loc: tuple[str | int, ...], at: str) -> Path:
    """Path of an error in the recipe: pydantic's own marks taken out, the key it points at appended."""
    kept = [part for part in loc if not (isinstance(part, str) and part.startswith("\0"))]
    return (*kept, *(int(p) if p.isdigit() else p for p in at.split(".") if p))


def _quoting(kind: str, got: object) -> str:
    if kind == "string_type" and isinstance(got, int | float):
        return "; put it in quotes"
    return "; take it out of its quotes" if isinstance(got, str) and _numeric(got) else ""


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choices(got: object, listed: str) -> str:
    """Pydantic lists choices as text: ``'a', 'b' or 'c'``."""
    known = [part for part in listed.replace(" or ", ", ").replace("'", "").split(", ") if part]
    if isinstance(got, str) and len(known) > 1:
        return f"{listed}; did you mean {nearest(got, known)!r}?"
    return listed


def shown(value: object) -> str:
    """Say a value as an error shows it: short, and as YAML would."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple) and (
        len(value) > 6 or any(isinstance(v, Mapping | list) for v in value)
    ):
        return "a list"
    text = f"[{', '.join(shown(v) for v in value)}]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown_key(path: Path) -> str:
    """Say that a key is not known where it stands, the nearest one that is, and where else it belongs."""
    word, meant = str(path[-1]), guess(path)
    text = f"unknown key; did you mean {meant!r}?" if meant else "unknown key; none is known here"
    homes = [home for home in _homes().get(word, ()) if home]
    return f"{text} ({word!r} belongs in {homes[0]})" if homes else text


def guess(path: Path) -> str:
    """Known key of the same mapping that looks most like the last one of a path."""
    return nearest(str(path[-1]), keys_at(path[:-1]))


def keys_at(path: Path) -> list[str]:
    """Keys that the models know in the mapping at a path."""
    models: list[Any] = [Recipe]
    for part in path:
        models = [found for model in models for found in _step(model, part)]
    return [
        field.alias or name
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items()
    ]


def _step(model: Any, part: str | int) -> Iterator[Any]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            if (field.alias or name) == part:
                yield from _forms(field.annotation)
    elif get_origin(model) is dict:
        yield from _forms(get_args(model)[1])
    elif get_origin(model) is tuple:
        for item in get_args(model):
            yield from _forms(item)


def _forms(annotation: Any) -> Iterator[Any]:
    """Models and containers that a value may be, out of unions and annotations."""
    origin = get_origin(annotation)
    if (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or origin in {dict, tuple}:
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _forms(part)


@cache
def _homes() -> dict[str, list[str]]:
    """Every key to the places where it is known, the shortest first; layers as ``<layer>``."""
    found: dict[str, list[str]] = {}

    def walk(annotation: Any, place: str) -> None:
        for form in _forms(annotation):
            if isinstance(form, type) and issubclass(form, BaseModel):
                for name, field in form.model_fields.items():
                    key = field.alias or name
                    found.setdefault(key, []).append(place)
                    walk(field.annotation, f"{place}.{key}" if place else key)
            elif get_origin(form) is dict:
                walk(get_args(form)[1], f"{place}.<layer>")

    walk(Recipe, "")
    return {key: sorted(places, key=lambda p: p.count(".")) for key, places in found.items()}


def report(found: Iterable[Problem], where: Any, *, most: int = 100) -> str:
    """Lines ``FILE:LINE: a.b: text`` for all problems, in the order of the files' lines, without repeats."""
    lines: dict[str, tuple[str, int]] = {}
    for problem in found:
        place = where(problem.path)
        source, _, number = place.rpartition(":")
        dotted = ".".join(str(part) for part in problem.path)
        text = ": ".join(part for part in (place, dotted, problem.text) if part)
        lines.setdefault(text, (source, int(number) if number.isdigit() else 0))
    ordered = sorted(lines, key=lines.__getitem__)
    rest = len(ordered) - most
    return "\n".join([*ordered[:most], *([f"and {rest} more"] if rest > 0 else [])])
