"""What the rules of one date share: the chip's own time or the layer's, and how it is widened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from chipweave.plan.select.looking import When
from chipweave.plan.select.slots import Slot, Slotted
from chipweave.recipe.interval import EARLIEST, LATEST
from chipweave.recipe.windows import Span, wider

ALWAYS: Span = (EARLIEST, LATEST)


def widened(windows: tuple[Span, ...], by: timedelta, times: int) -> tuple[tuple[Span, ...], ...]:
    """Levels of a step: some windows, and the same wider and wider."""
    return tuple(tuple(wider(w, by * n) for w in windows) for n in range(times + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDate(Slotted):
    """One step, out of all of the time.

    Parameters
    ----------
    time
        Of the layer; a chip's own comes first.
    """

    series: ClassVar[bool] = False

    time: Span = ALWAYS

    @property
    def names(self) -> tuple[str, ...]:
        """One step without a name."""
        return ("",)

    def target(self, when: When) -> Span | None:  # noqa: ARG002 - for those that have one
        """What `nearest` is near to."""
        return None

    def slots(self, when: When) -> tuple[Slot, ...]:
        """All of the time, then wider."""
        levels = widened((when.window or self.time,), self.by, self.times)
        return (Slot("", levels, self.target(when)),)
