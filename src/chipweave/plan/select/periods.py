"""A step a period: months, quarters, so many days, or named windows of the year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chipweave.plan.select.looking import When
from chipweave.plan.select.slots import Slot
from chipweave.plan.select.windows import Windowed
from chipweave.recipe.windows import periods


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods(Windowed):
    """Steps of one length, or named ones, in their order.

    Parameters
    ----------
    labels
        Names of the steps.
    every
        Length of a period, as `chipweave.recipe.windows.periods` takes it; empty where there are `windows`.
    windows
        By name: windows of the year.
    """

    labels: tuple[str, ...]
    every: str = ""
    windows: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return self.labels

    def slots(self, when: When) -> tuple[Slot, ...]:
        """Where each looks in the chip's time."""
        within = when.window or self.time
        if not self.every:
            return self.of_year(self.windows, within)
        return self.of_spans(dict(periods(self.every, within)[: self.steps]))
