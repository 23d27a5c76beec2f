"""What all recipe models share: the base class and the value types with their words for errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from chipweave.recipe.interval import interval

NOT_BUILT: Final = "x-not-built"
"""Schema keyword: true where a key's room is not built, or the list of values that are not."""


class Node(BaseModel):
    """A mapping of the recipe: frozen, and strangers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LaterNode(Node):
    """A form of a value whose room is not built; `require_built` refuses it whatever it holds."""


def later(*values: str) -> dict[str, Any]:
    """Mark a field (or only some of its values) as known but not built, for ``json_schema_extra``."""
    return {NOT_BUILT: list(values) if values else True}


def expected(what: str, at: str = "") -> PydanticCustomError:
    """Error that says what was expected, optionally `at` a dotted key below the model that raises it."""
    return PydanticCustomError("expected", "expected {what}", {"what": what, "at": at})


def refused(why: str, at: str = "") -> PydanticCustomError:
    """Error whose whole text is `why`: for rules between keys, where one value alone is not wrong."""
    return PydanticCustomError("refused", "{why}", {"why": why, "at": at})


def shape_of(value: object) -> str | None:
    """Tag of the YAML shape of a value. Its NUL, which no key may hold, tells it from keys in an error's path."""
    if isinstance(value, Mapping | BaseModel):
        return "\0map"
    if isinstance(value, bool):
        return "\0flag"
    if isinstance(value, str):
        return "\0text"
    if isinstance(value, int | float):
        return "\0number"
    return "\0list" if isinstance(value, list | tuple) else None


def one_of(what: str) -> Discriminator:
    """Choose between forms of a value by its YAML shape, so that only one form's errors are reported."""
    return Discriminator(shape_of, custom_error_type="shape", custom_error_message=f"expected {what}")


PATTERNS: Final[dict[str, str]] = {
    r"^[a-z][a-z0-9_]*$": "a name of a-z, 0-9 and _ that begins with a letter",
    r"^[A-Za-z0-9_-]+$": "a name of letters, digits, _ and -",
    r"^-?[0-9]+[dh]$": "a duration such as 30d or 12h",
    r"^[0-9]{4}(/[0-9]{4})?$": "years such as 2017/2024",
    r"^[0-9]+(\.[0-9]+)?%$": "a percentage such as 1%",
}
"""Patterns and how an error says them."""

_NAME, _SLUG, _DURATION, _YEARS, _PERCENT = PATTERNS

Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=_NAME)]
Slug = Annotated[str, Field(pattern=_SLUG)]
Duration = Annotated[str, Field(pattern=_DURATION)]
Years = Annotated[str, Field(pattern=_YEARS)]
Percent = Annotated[str, Field(pattern=_PERCENT)]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
PercentNumber = Annotated[float, Strict(), Field(ge=0, le=100)]
Count = Annotated[int, Strict(), Field(gt=0)]
Seed = Annotated[int, Strict(), Field(ge=0)]
Year = Annotated[int, Strict(), Field(ge=1900, le=2200)]
Scalar = Annotated[
    Annotated[str, Tag("\0text")]
    | Annotated[Whole | Number, Tag("\0number")]
    | Annotated[bool, Tag("\0flag")],
    one_of("text, a number, true or false"),
]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Folders = Annotated[
    tuple[Text, ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""One folder or a list of them."""


def as_text(value: object) -> object:
    """Say a whole number as the text that it stands for, for a ``BeforeValidator``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quota = Annotated[
    Annotated[Count, Tag("\0number")]
    | Annotated[dict[Annotated[str, BeforeValidator(as_text)], Count], Tag("\0map")],
    one_of("a number of chips, or a mapping of class to number"),
]
"""Chips a class: of all the same, or by its code, whole number or text, or by its name."""


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that holds a value twice, for an ``AfterValidator``."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise refused(f"{value!r} stands twice", at=str(i))
    return values


Names = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(distinct)]
"""A list of distinct names, at least one."""


def _check_interval(text: str) -> str:
    try:
        interval(text)
    except ValueError as error:
        raise expected(f"an interval such as 2021-06-01/2021-08-31 ({error})") from None
    return text


Interval = Annotated[str, AfterValidator(_check_interval)]
"""A day, or two days with a slash; `..` is an open end."""


def _check_date(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        try:
            interval(text)
        except ValueError as error:
            raise expected(f"a date such as 2018-07-01 or 2018 ({error})") from None
        if "/" in text or ".." in text:
            raise expected("one date such as 2018-07-01 or 2018")
    return text


Date = Annotated[str, BeforeValidator(_check_date), WithJsonSchema({"type": ["string", "integer"]})]
"""A year, a month or a day, as text."""

_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>)\s*[^\s<>=!].*")


def _check_where(text: str) -> str:
    if text[:1] in {"<", ">", "=", "!"} and not _COMPARISON.fullmatch(text):
        raise expected("a comparison such as '<20'")
    return text


Where = dict[
    Text,
    Annotated[
        Annotated[str, AfterValidator(_check_where), Tag("\0text")]
        | Annotated[Whole | Number, Tag("\0number")]
        | Annotated[bool, Tag("\0flag")]
        | Annotated[tuple[Scalar, ...], Tag("\0list")],
        one_of("a value, a comparison such as '<20', or a list of values"),
    ],
]
"""Item properties and what they must be: a value, a comparison such as ``<20``, or a list of values."""
