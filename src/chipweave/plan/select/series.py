"""Several clear dates a chip, in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from chipweave.plan.columns import Candidate
from chipweave.plan.select.ranking import Choice, Limits, Measured, explained, ranking, refused, unread


@dataclass(frozen=True, slots=True)
class Series:
    """Dates within limits, the least cloudy ones first, none nearer to another than `min_gap`.

    Parameters
    ----------
    steps
        Steps of every sample; a chip with fewer dates has no data in its last ones.
    need
        Dates without which a chip is dropped.
    min_gap
        Least time between two dates.
    """

    series: ClassVar[bool] = True

    steps: int
    need: int
    min_gap: timedelta = timedelta(0)

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
        taken = self._apart([m for m in listed if m.within(limits)])
        if len(taken) < self.need:
            ranked = tuple(explained(m, limits, "", "within limits, but too few are") for m in listed)
            return replace(refused(ranked, limits, "steps"), rest=rest)
        steps = [
            explained(m, limits, f"step {n + 1} of {len(taken)}")
            for n, m in enumerate(sorted(taken, key=lambda m: (m.candidate.time, m.candidate.scenes[0])))
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
        for m in ranked:
            time = datetime.fromisoformat(m.candidate.time)
            if all(abs(time - other) >= self.min_gap for other in times):
                taken.append(m)
                times.append(time)
            if len(taken) == self.steps:
                break
        return taken
