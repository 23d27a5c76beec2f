"""Steps whose windows are a chip's own days of the year: seasons of its plants, or days of its crop calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from chipweave.plan.select.looking import When
from chipweave.plan.select.slots import Slot
from chipweave.plan.select.windows import Windowed
from chipweave.recipe.windows import PHASES, SEASONS

_YEAR = date(2001, 1, 1)  # of 365 days


@dataclass(frozen=True, slots=True, kw_only=True)
class Phenology(Windowed):
    """Spring from greenup to maturity, and so on through the year; or some days around planting and harvest.

    Parameters
    ----------
    days
        Names of a chip's days: the phases, in their order, or others.
    around
        Days before and after each of the others.
    """

    days: tuple[str, ...]
    around: int = 14

    @property
    def names(self) -> tuple[str, ...]:
        """The seasons, or the days."""
        return tuple(SEASONS) if self.days == PHASES else self.days

    def slots(self, when: When) -> tuple[Slot, ...]:
        """Where each looks in the chip's time; nowhere where a day is not known."""
        days = [when.days.get(name, 0) for name in self.days]
        if not all(days):
            return tuple(Slot(name, ()) for name in self.names)
        if self.days == PHASES:
            ends = [day - 1 for day in (*days[1:], days[0])]
            spans = list(zip(days, ends, strict=True))
        else:
            spans = [(day - self.around, day + self.around) for day in days]
        windows = {n: f"{_text(a)}/{_text(b)}" for n, (a, b) in zip(self.names, spans, strict=True)}
        return self.of_year(windows, when.window or self.time)


def _text(day: int) -> str:
    """Month and day of a day of the year, which may lie before or after it."""
    return f"{_YEAR + timedelta(days=(day - 1) % 365):%m-%d}"
