"""The small language of `keep`: ``layer.field op number``, joined by ``and``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

FIELDS: Final = ("ignored", "nodata", "cloud_fraction", "valid_fraction", "age_days", "agreement")
"""Survey columns of a layer, beside its class codes."""

IMAGERY_FIELDS: Final = ("nodata", "cloud_fraction", "valid_fraction")
LABEL_FIELDS: Final = ("ignored", "nodata", "valid_fraction", "age_days")
VOTED_FIELDS: Final = (*LABEL_FIELDS, "agreement")
"""Of a label whose classes are cleaned up by segments."""

OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

_CONDITION = re.compile(
    r"(?P<layer>[a-z][a-z0-9_]*)\.(?P<field>[A-Za-z_]\w*|\d{1,9})\s*(?P<op><=|>=|==|!=|<|>)\s*"
    r"(?P<value>[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a survey column with a number; `field` is a class code or one of `FIELDS`."""

    layer: str
    field: str
    op: str
    value: float

    @property
    def code(self) -> int | None:
        """The class code whose share is compared, or None where `field` is a named column."""
        return int(self.field) if self.field.isdigit() else None

    def holds(self, measured: float) -> bool:
        """Whether a measured share meets the condition."""
        return OPERATORS[self.op](measured, self.value)


def parse(expression: str) -> list[Condition]:
    """Conditions of an expression; all of them must hold.

    Parameters
    ----------
    expression
        For example ``corine.ignored < 0.25 and worldcover.80 < 0.9``.

    Raises
    ------
    ValueError
        Not of that form; the text names the part that is wrong.
    """
    return [_condition(part.strip()) for part in re.split(r"\band\b", expression)]


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not 'layer.field op number', as in 'worldcover.80 < 0.9'")
    layer, field, op, value = match.group("layer", "field", "op", "value")
    if not field.isdigit() and field not in FIELDS:
        raise ValueError(f"{field!r} is neither a class code nor one of {', '.join(FIELDS)}")
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is too large")
    return Condition(layer, str(int(field)) if field.isdigit() else field, op, float(value))
