"""Steps with windows of time of their own: every step looks through its windows by itself, the preferred one first."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from chipweave.pixels.masks import Mask
from chipweave.plan.columns import Candidate
from chipweave.plan.select.laying import Bits, bits_of, joined, laid
from chipweave.plan.select.looking import Look, When
from chipweave.plan.select.ranking import Choice, Limits, Measured, explained, ranking, refused
from chipweave.recipe.windows import Span

Prefer = Literal["least_cloudy", "newest", "nearest"]
"""Which of the candidates within limits a step takes."""

PASSED = "not measured: its step had what it takes, or max_candidates was reached"

_WORDS = {
    "least_cloudy": "least cloudy",
    "newest": "newest within limits",
    "nearest": "nearest within limits",
}
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one step looks.

    Parameters
    ----------
    name
        Of the step; empty where there is one.
    levels
        Windows in the order of preference: the next ones are looked at where nothing in these is within limits. A
        level may have several, such as the two ends of a year that make a winter.
    target
        What `nearest` is near to: a moment, or a span whose whole days do not differ; the middle of the window where
        None.
    wholes
        By a window that is cut, the whole of it: its middle is that of the whole.
    """

    name: str
    levels: tuple[tuple[Span, ...], ...]
    target: Span | None = None
    wholes: Mapping[Span, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slotted(ABC):
    """A rule of steps with windows.

    Parameters
    ----------
    prefer
        Which candidate a step takes.
    need
        Steps without which a chip is dropped.
    stat
        Statistic of the composite that every step becomes; empty where a step is one date.
    by, times
        How windows are widened, and how often, where nothing in them is within limits.
    """

    series: ClassVar[bool] = True
    timed: ClassVar[bool] = True
    laid: ClassVar[bool] = False

    prefer: Prefer = "least_cloudy"
    need: int = 1
    stat: str = ""
    by: timedelta = timedelta(0)
    times: int = 0

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the steps, in their order; one empty name where there is one step."""

    @abstractmethod
    def slots(self, when: When) -> tuple[Slot, ...]:
        """Where each step of a chip looks."""

    @property
    def steps(self) -> int:
        """Steps of every sample."""
        return len(self.names)

    @property
    def reach(self) -> timedelta:
        """How far beyond its time a chip is looked at."""
        return self.by * self.times

    @property
    def dates(self) -> bool:
        """Whether several dates of a chip are read."""
        return self.series or bool(self.stat)

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:
        """Begin the choice of a chip."""
        return SlotLook(self.slots(when), candidates, limits, self)


def distance(time: datetime, target: Span) -> float:
    """From a target: in whole days from a span, so that the day before is as near as the one after; else seconds."""
    gap = max(target[0] - time, time - target[1], timedelta(0))
    return float(math.ceil(gap / _DAY)) if target[1] > target[0] else gap.total_seconds()


def middle(span: Span) -> Span:
    """The moment in the middle."""
    moment = span[0] + (span[1] - span[0]) / 2
    return moment, moment


@dataclass(slots=True)
class _Agenda:
    """What one step has still to look at: (grade, number) of candidates by level, the lowest grade first.

    A grade says what comes before clouds: nothing, how new, or how near.
    """

    slot: Slot
    levels: tuple[tuple[tuple[float, int], ...], ...]
    most: int
    every: bool
    level: int = 0
    at: int = 0
    spent: int = 0
    found: float | None = None
    clear: bool = False

    def next(self, measured: Mapping[int, Measured], limits: Limits) -> int | None:
        """Number of the next candidate; what others had measured is taken as it is."""
        while self.level < len(self.levels):
            queue = self.levels[self.level]
            while self.at < len(queue):
                grade, number = queue[self.at]
                if self._settled(grade) or self.spent >= self.most:
                    return None
                known = measured.get(number)
                if known is None:
                    return number
                self.at += 1
                self.spent += known.measured
                if known.within(limits):
                    self.found = grade if self.found is None else self.found
                    self.clear |= known.clear
            if self.found is not None:
                return None
            self.level, self.at = self.level + 1, 0
        return None

    def _settled(self, grade: float) -> bool:
        """Whether no candidate of that grade or a higher one could be taken."""
        return not self.every and self.found is not None and (self.clear or grade > self.found)

    def taken(self, measured: Mapping[int, Measured], limits: Limits) -> list[int]:
        """Numbers of those within limits, the best first; none where no window has one."""
        if self.found is None:
            return []
        # All of these have one grade: the search ends where the next one would be higher.
        looked = [number for _, number in self.levels[self.level][: self.at]]
        number_of = {id(measured[n]): n for n in looked}
        ranked = [number_of[id(m)] for m in ranking([measured[n] for n in looked], limits)]
        return [n for n in ranked if measured[n].within(limits)]

    @property
    def numbers(self) -> list[int]:
        """All its candidates, in the order in which they would be looked at."""
        return [number for level in self.levels for _, number in level]


@dataclass(slots=True)
class SlotLook:
    """The choice of one chip for a rule of slots.

    Parameters
    ----------
    slots
        Of the chip.
    candidates, limits, rule
        Of the chip and the layer.
    """

    slots: Sequence[Slot]
    candidates: Sequence[Candidate]
    limits: Limits
    rule: Slotted
    _agendas: list[_Agenda] = field(init=False)
    _measured: dict[int, Measured] = field(init=False, default_factory=dict)
    _bits: dict[int, Bits] = field(init=False, default_factory=dict)
    _least: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        # The picture that many dates make is held against min_valid, not each of them.
        if self._many:
            self._least = self.limits.min_valid or 0.0
            self.limits = replace(self.limits, min_valid=None)
        self.candidates = list(self.candidates)
        times = [datetime.fromisoformat(c.time) for c in self.candidates]
        most = self.limits.max_candidates
        self._agendas = [
            _Agenda(slot, self._levels(slot, times), most, every=bool(self.rule.stat)) for slot in self.slots
        ]

    @property
    def _many(self) -> bool:
        """Whether a step is made of several dates."""
        return bool(self.rule.stat) or self.rule.laid

    def _levels(self, slot: Slot, times: Sequence[datetime]) -> tuple[tuple[tuple[float, int], ...], ...]:
        seen: set[int] = set()
        levels = []
        for spans in slot.levels:
            own: list[tuple[float, int]] = []
            for n, time in enumerate(times):
                span = next((s for s in spans if s[0] <= time <= s[1]), None)
                if span is not None and n not in seen:
                    target = slot.target or middle(slot.wholes.get(span, span))
                    own.append((self._grade(time, target), n))
            seen.update(n for _, n in own)
            # The order of candidates, which is the catalog's of clouds, stays among equals.
            levels.append(tuple(sorted(own, key=lambda graded: graded[0])))
        return tuple(levels)

    def _grade(self, time: datetime, target: Span) -> float:
        if self.rule.prefer == "newest":
            return -time.timestamp()
        return distance(time, target) if self.rule.prefer == "nearest" else 0.0

    def _asked(self) -> int | None:
        for agenda in self._agendas:
            number = agenda.next(self._measured, self.limits)
            if number is not None:
                return number
        return None

    def next(self) -> Candidate | None:
        """The next of the first step that has not what it takes."""
        number = self._asked()
        return None if number is None else self.candidates[number]

    def add(self, measured: Measured, mask: Mask | None) -> None:
        """Take it for every step that may have it."""
        number = self._asked()
        if number is None:
            raise ValueError("nothing was asked for")
        self._measured[number] = measured
        if self._many and measured.within(self.limits):
            self._bits[number] = bits_of(mask, measured.candidate.coverage)

    def choice(self) -> Choice:
        """Every step's own, in the order of the steps; then everybody else."""
        taken: list[tuple[int, int, str]] = []  # step, number, why
        clouds: list[float] = []
        valids: list[float] = []
        filled: set[int] = set()
        for step, agenda in enumerate(self._agendas):
            numbers, cloud, valid = self._of_step(agenda.taken(self._measured, self.limits))
            if not numbers:
                continue
            filled.add(step)
            clouds.append(cloud)
            valids.append(valid)
            taken += [(step, n, self._why(agenda, at, len(numbers))) for at, n in enumerate(numbers)]
        if len(filled) < max(self.rule.need, 1):
            return self._refused(filled)
        ranked = [explained(self._measured[n], self.limits, why) for _, n, why in taken]
        others, at = self._others({n for _, n, _ in taken}, self._lower)
        figures = (sum(clouds) / len(clouds), sum(valids) / self.rule.steps)
        return Choice(
            (*ranked, *others), taken=len(taken), at=(*(s for s, _, _ in taken), *at), figures=figures
        )

    def _of_step(self, within: Sequence[int]) -> tuple[list[int], float, float]:
        """What of the candidates within limits one step takes, and the bad and valid share of what they make."""
        if not within:
            return [], math.nan, 0.0
        if not self._many:
            best = self._measured[within[0]]
            return [within[0]], best.cloud, best.valid
        if self.rule.stat:
            numbers = [n for n in within if self._bits[n].clear]
            cloud, valid = 0.0, joined([self._bits[n] for n in within])
        else:
            own, cloud, valid = laid([self._bits[n] for n in within])
            numbers = [within[n] for n in own]
        return (numbers, cloud, valid) if valid > 0 and valid >= self._least else ([], cloud, valid)

    @property
    def _lower(self) -> str:
        return "within limits, adds no pixel" if self._many else "within limits, ranked lower"

    def _why(self, agenda: _Agenda, at: int, count: int) -> str:
        if self.rule.stat:
            said = f"date {at + 1} of {count} of the {self.rule.stat.replace('_', ' ')}"
        elif self.rule.laid:
            said = f"{at + 1} of {count} that are laid over each other"
        else:
            said = _WORDS[self.rule.prefer]
        name = f"{agenda.slot.name}: " if agenda.slot.name else ""
        windows = len(agenda.levels)
        return f"{name}{said}" + (f", in window {agenda.level + 1} of {windows}" if agenda.level else "")

    def _others(self, chosen: set[int], lower: str) -> tuple[list[Measured], list[int]]:
        """Whoever was not chosen, by step, and the step that each was looked at for."""
        listed: list[Measured] = []
        at: list[int] = []
        seen = set(chosen)
        for step, agenda in enumerate(self._agendas):
            own = [n for n in agenda.numbers if n not in seen]
            seen.update(own)
            read = ranking([self._measured[n] for n in own if n in self._measured], self.limits)
            listed += [explained(m, self.limits, "", lower) for m in read]
            listed += [
                Measured(c, why=c.broken or PASSED)
                for c in (self.candidates[n] for n in own if n not in self._measured)
            ]
            at += [step] * len(own)
        return listed, at

    def _refused(self, filled: set[int]) -> Choice:
        """No choice: what broke if it is to blame, else clouds, missing pixels, or too few steps."""
        listed, at = self._others(set(), "within limits, but too few steps are")
        if self._many:
            listed = [replace(m, why="within limits, but all together hold too few valid pixels")
                      if m.within(self.limits) else m for m in listed]  # fmt: skip
        blamed = [
            step
            for step, agenda in enumerate(self._agendas)
            if step not in filled and any(self._broken(n) for n in agenda.numbers)
        ]
        reaches = len(filled) + len(blamed) >= max(self.rule.need, 1)
        ranked = tuple(listed)
        if filled and not (blamed and reaches):
            return Choice(ranked, reason="steps", at=tuple(at))
        first = refused(
            ranked, self.limits, "valid" if self._many else "steps", blamed=bool(blamed and reaches)
        )
        return replace(first, at=tuple(at))

    def _broken(self, number: int) -> bool:
        known = self._measured.get(number)
        return bool((known.candidate if known else self.candidates[number]).broken)
