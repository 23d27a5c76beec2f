"""Questions that may be asked of a chip, whatever they are asked of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chipweave.labels.text.base import Fact
from chipweave.labels.text.words import bound_text

YES, NO = "yes", "no"

MARGIN: Final = 0.05
"""How far an area has to be from a bound between answers, as a share of it: more than a grid's areas are off."""

_COUNTS: Final = (10, 100, 1000)
"""Last counts of the bins above 0."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with one answer.

    Parameters
    ----------
    kind
        Its type: ``presence``, ``count``, ``comparison``, ``area``, ``relation``, ``nearest``.
    about
        What it is about: two questions of a kind about the same are the same.
    forms
        Ways to put it.
    answer, facts
        And what the answer rests on.
    """

    kind: str
    about: str
    forms: tuple[str, ...]
    answer: str
    facts: tuple[Fact, ...]

    @property
    def closed(self) -> bool:
        """Whether it is answered by yes or no."""
        return self.answer in {YES, NO}

    @property
    def zero(self) -> bool:
        """Whether the answer is that there is nothing."""
        return self.answer in {"0", "0 m²"}


def count_bin(n: int, *, exact: bool = False) -> str:
    """The answer to how many."""
    if exact or n == 0:
        return str(n)
    first = 1
    for last in _COUNTS:
        if n <= last:
            return f"{first:,} to {last:,}"
        first = last + 1
    return f"more than {_COUNTS[-1]:,}"


def area_bin(m2: float, bounds: Sequence[float]) -> str:
    """The answer to what area; a bound belongs to the bin above it."""
    if m2 <= 0:
        return "0 m²"
    i = bisect_right(bounds, m2)
    if i == 0:
        return f"less than {bound_text(bounds[0])}"
    if i == len(bounds):
        return f"more than {bound_text(bounds[-1])}"
    return f"{bound_text(bounds[i - 1])} to {bound_text(bounds[i])}"


def sure_area(low: float, high: float, bounds: Sequence[float]) -> str:
    """The answer where every area from `low` to `high` gives it, with `MARGIN` to spare; else empty."""
    if high <= 0:
        return area_bin(0.0, bounds)
    if low <= 0:
        return ""
    answers = {area_bin(low * (1 - MARGIN), bounds), area_bin(high * (1 + MARGIN), bounds)}
    return answers.pop() if len(answers) == 1 else ""
