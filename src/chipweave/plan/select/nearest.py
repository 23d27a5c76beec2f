"""The date that is nearest to another."""

from __future__ import annotations

from dataclasses import dataclass

from chipweave.plan.select.looking import When
from chipweave.plan.select.onedate import OneDate
from chipweave.plan.select.slots import Prefer
from chipweave.recipe.windows import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest(OneDate):
    """One step: the candidate within limits that is nearest to a date; of equally near ones the least cloudy.

    Parameters
    ----------
    to
        The date, as its first and last moment; the chip's own date where None.
    """

    prefer: Prefer = "nearest"
    to: Span | None = None

    def target(self, when: When) -> Span | None:
        """The date."""
        return self.to or when.date
