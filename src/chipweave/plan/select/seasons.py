"""A step a season as meteorologists have them, with a second year to fall back on."""

from __future__ import annotations

from dataclasses import dataclass

from chipweave.plan.select.looking import When
from chipweave.plan.select.slots import Slot
from chipweave.plan.select.windows import Windowed
from chipweave.recipe.windows import SEASONS, seasons_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons(Windowed):
    """Spring, summer, autumn and winter of the chip's hemisphere, of the last year of `time` or else of one before."""

    @property
    def names(self) -> tuple[str, ...]:
        """The seasons."""
        return tuple(SEASONS)

    def slots(self, when: When) -> tuple[Slot, ...]:
        """Where each looks in the chip's time."""
        return self.of_year(seasons_of(when.lat), when.window or self.time)
