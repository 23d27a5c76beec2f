"""Several clear dates a chip, in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from chipweave.plan.columns import Candidate
from chipweave.plan.match import DATATAKE_GAP
from chipweave.plan.select.looking import InTurn, Look, When
from chipweave.plan.select.ranking import Choice, Limits, Measured, explained, ranking, refused, unread


@dataclass(frozen=True, slots=True)
class Series:
    """Dates within limits, the least cloudy ones first, none nearer to another than `min_gap`.

    Where these are too few, dates from the earliest on: no other choice holds more that keep the gap.

    Parameters
    ----------
    steps
        Steps of every sample; a step without a date has no data.
    need
        Dates without which a chip is dropped.
    min_gap
        Least time between two dates, to the length of a datatake: an orbit comes again in five days and some seconds
        more or less.
    """

    series: ClassVar[bool] = True
    dates: ClassVar[bool] = True
    stat: ClassVar[str] = ""
    timed: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ()

    steps: int
    need: int
    min_gap: timedelta = timedelta(0)

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:  # noqa: ARG002
        """Candidates in their turn."""
        return InTurn(self, candidates, limits)

    def enough(self, measured: Sequence[Measured], limits: Limits) -> bool:
        """When clear dates fill the series, or after `max_candidates` a step."""
        if sum(m.measured for m in measured) >= limits.max_candidates * self.steps:
            return True
        clear = [m for m in measured if m.clear]
        # A date that is not clear ranks behind all of these: it can take no step from them.
        return len(clear) >= self.steps and len(self._apart(ranking(clear, limits))) == self.steps

    def choose(self, measured: Sequence[Measured], limits: Limits, left: Sequence[Candidate] = ()) -> Choice:
        """Take dates from the top of the ranking as long as there are steps."""
        measured, rest = unread(measured, left)
        listed = ranking(measured, limits)
        good = [m for m in listed if m.within(limits)]
        taken = self._apart(good)
        if len(taken) < self.need:
            taken = self._apart(sorted(good, key=_time))
        if len(taken) < self.need:
            ranked = tuple(explained(m, limits, "", "within limits, but too few are") for m in listed)
            others = [m for m in listed if m.candidate.broken]
            reaches = len(self._apart(sorted([*good, *others], key=_time))) >= self.need
            blamed = reaches or not any(m.measured for m in listed)
            return replace(refused(ranked, limits, "steps", blamed=blamed), rest=rest)
        steps = [
            explained(m, limits, f"step {n + 1} of {len(taken)}")
            for n, m in enumerate(sorted(taken, key=_time))
        ]
        full = len(taken) == self.steps
        why = "within limits, ranked lower" if full else "within limits, too near to a clearer date"
        own = {id(m) for m in taken}
        others = [explained(m, limits, "", why) for m in listed if id(m) not in own]
        return Choice((*steps, *others), taken=len(steps), rest=rest)

    def _apart(self, ranked: Sequence[Measured]) -> list[Measured]:
        """The first ones of a ranking that keep the gap, as many as there are steps."""
        taken: list[Measured] = []
        times: list[datetime] = []
        gap = self.min_gap - DATATAKE_GAP
        for m in ranked:
            time = datetime.fromisoformat(m.candidate.time)
            if all(abs(time - other) >= gap for other in times):
                taken.append(m)
                times.append(time)
            if len(taken) == self.steps:
                break
        return taken


def _time(m: Measured) -> tuple[str, str]:
    """The order of time; ids between two of one moment."""
    return m.candidate.time, m.candidate.scenes[0]
