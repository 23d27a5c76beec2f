"""`where`: which items of a search are kept, by their properties."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chipweave.catalog.stac import Item, item_id, items_of, number, properties

SHORT: Final[Mapping[str, str]] = {
    "cloud": "eo:cloud_cover",
    "orbit": "sat:orbit_state",
    "relative_orbit": "sat:relative_orbit",
}
"""Short names of properties; any other name is the property itself."""

_COMPARISON = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*")
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison of a property with a value."""

    __test__ = False  # no test class of pytest

    symbol: str
    value: object

    def holds(self, found: object) -> bool:
        """Whether a property's value passes. Numbers compare as numbers, text without regard to case."""
        entries = items_of(found)
        if entries:
            hits = [self.holds(entry) for entry in entries]
            return all(hits) if self.symbol == "!=" else any(hits)
        if isinstance(found, bool) or isinstance(self.value, bool):
            same = _flag(found) is not None and _flag(found) == _flag(self.value)
            return same if self.symbol == "==" else not same and self.symbol == "!="
        left, right = number(found), number(self.value)
        if left is not None and right is not None:
            return _OPERATORS[self.symbol](left, right)
        return _OPERATORS[self.symbol](str(found).casefold(), str(self.value).casefold())


def _flag(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).casefold())


def tests(wanted: object) -> tuple[Test, ...]:
    """Tests of which one must hold, from a scalar, a comparison such as ``<20``, or a list of these."""
    if isinstance(wanted, list | tuple):
        return tuple(test for entry in wanted for test in tests(entry))
    match = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    return (Test(match.group(1), match.group(2)),) if match else (Test("==", wanted),)


def refusal(item: Item, where: Mapping[str, object]) -> tuple[str, bool] | None:
    """Why an item is left out: the key of `where`, and whether the item lacks it; None if it is kept.

    What an item does not state cannot pass, except that it is unequal to anything.
    """
    for key, wanted in where.items():
        name = SHORT.get(key, key)
        found = properties(item).get(name)
        if found is None:
            found = item_id(item) if name == "id" else None
        if found is None:
            if not all(test.symbol == "!=" for test in tests(wanted)):
                return key, True
        elif not any(test.holds(found) for test in tests(wanted)):
            return key, False
    return None
