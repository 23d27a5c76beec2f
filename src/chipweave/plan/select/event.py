"""Steps before and after a date of the chip's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chipweave.plan.select.looking import When
from chipweave.plan.select.onedate import widened
from chipweave.plan.select.slots import Slot
from chipweave.plan.select.windows import Windowed
from chipweave.recipe.windows import around


@dataclass(frozen=True, slots=True)
class Around:
    """A window around a date: from and to, such as ``(-30d, -1d)``, so many years later, or earlier below zero."""

    window: tuple[str, str]
    years: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Windowed):
    """Named windows around the chip's date, in the recipe's order.

    Parameters
    ----------
    around
        By name of the step.
    """

    around: Mapping[str, Around]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the steps."""
        return tuple(self.around)

    def slots(self, when: When) -> tuple[Slot, ...]:
        """Where each looks; `nearest` is near to the event, in its own year or another."""
        if when.date is None:
            raise ValueError("an event needs the chip's date")
        slots = []
        for name, own in self.around.items():
            span = around(when.date, own.window, own.years)
            target = around(when.date, ("0d", "0d"), own.years)
            slots.append(Slot(name, widened((span,), self.by, self.times), target))
        return tuple(slots)
