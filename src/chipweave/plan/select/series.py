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
from chipweave.recipe.interval import EARLIEST, LATEST
from chipweave.recipe.windows import Span


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
    time, by, times
        The layer's time (a chip's own comes first), and how it is widened, and how often, while there are steps
        without a date: dates of a narrower time come before those of a wider one.
    """

    series: ClassVar[bool] = True
    dates: ClassVar[bool] = True
    stat: ClassVar[str] = ""
    names: ClassVar[tuple[str, ...]] = ()

    steps: int
    need: int
    min_gap: timedelta = timedelta(0)
    time: Span = (EARLIEST, LATEST)
    by: timedelta = timedelta(0)
    times: int = 0

    @property
    def timed(self) -> bool:
        """Where it may be widened a chip's own time is asked for."""
        return self.times > 0

    @property
    def reach(self) -> timedelta:
        """How far beyond its time a chip is looked at."""
        return self.by * self.times

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:
        """Candidates in their turn; those of a wider time after all others."""
        if not self.times:
            return InTurn(self, candidates, limits)
        own = replace(self, time=when.window or self.time)
        near = [(own.level(c), c) for c in candidates]
        near = sorted((pair for pair in near if pair[0] <= self.times), key=lambda pair: pair[0])
        return _Wider(own, [c for _, c in near], limits)

    def level(self, candidate: Candidate) -> int:
        """How often the time is widened until it holds a candidate; more than `times` where it never does."""
        if not self.times:
            return 0
        time = datetime.fromisoformat(candidate.time)
        beyond = max(self.time[0] - time, time - self.time[1], timedelta(0))
        return -(-beyond // self.by)

    def full(self, measured: Sequence[Measured], limits: Limits) -> bool:
        """Whether every step has a date."""
        return len(self._apart(self._good(ranking(measured, limits), limits))) == self.steps

    def _good(self, ranked: Sequence[Measured], limits: Limits) -> list[Measured]:
        """Those of a ranking that are within limits, of a narrower time first."""
        good = [m for m in ranked if m.within(limits)]
        return sorted(good, key=lambda m: self.level(m.candidate)) if self.times else good

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
        good = self._good(listed, limits)
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
            explained(m, limits, f"step {n + 1} of {len(taken)}{self._window(m)}")
            for n, m in enumerate(sorted(taken, key=_time))
        ]
        full = len(taken) == self.steps
        why = "within limits, ranked lower" if full else "within limits, too near to a clearer date"
        own = {id(m) for m in taken}
        others = [explained(m, limits, "", why) for m in listed if id(m) not in own]
        return Choice((*steps, *others), taken=len(steps), rest=rest)

    def _window(self, m: Measured) -> str:
        level = self.level(m.candidate)
        return f", in window {level + 1} of {self.times + 1}" if level else ""

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


class _Wider(InTurn):
    """As it says, but a wider time is looked at only while a step has no date."""

    def __init__(self, rule: Series, candidates: Sequence[Candidate], limits: Limits) -> None:
        super().__init__(rule, candidates, limits)
        self._series = rule

    def next(self) -> Candidate | None:
        """The first that is left, unless it is of a wider time and nothing is missing."""
        wanted = super().next()
        if wanted is None or not self._measured:
            return wanted
        if self._series.level(wanted) == self._series.level(self._measured[-1].candidate):
            return wanted
        return None if self._series.full(self._measured, self._limits) else wanted


def _time(m: Measured) -> tuple[str, str]:
    """The order of time; ids between two of one moment."""
    return m.candidate.time, m.candidate.scenes[0]
