"""Steps that go with another layer's: for each of its dates the nearest one of this layer, within some days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from chipweave.pixels.masks import Mask
from chipweave.plan.columns import Candidate
from chipweave.plan.select.looking import Look, When
from chipweave.plan.select.ranking import Choice, Limits, Measured
from chipweave.plan.select.slots import Prefer, Slot, SlotLook, Slotted
from chipweave.recipe.windows import Span

Traits = tuple[str, ...]
"""What scenes that go together share: orbit direction, track, platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired(Slotted):
    """One step, or as many as the partner has: see `PairedSeries`.

    Parameters
    ----------
    partner
        The layer whose dates these go with.
    within
        Largest difference in time.
    labels
        Names of the partner's steps, or their numbers.
    same
        Names of the traits that all of a chip's scenes of this layer share.
    missing
        What becomes of a chip without a partner. ``reselect`` lets the other layer choose among dates that have one.
    """

    series: ClassVar[bool] = False

    partner: str
    within: timedelta
    labels: tuple[str, ...] = ("",)
    same: tuple[str, ...] = ()
    missing: Literal["drop", "nodata", "reselect"] = "drop"
    prefer: Prefer = "nearest"

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the partner's steps."""
        return self.labels

    def slots(self, when: When) -> tuple[Slot, ...]:
        """Some days around each of the partner's dates; nowhere where it has none."""
        return tuple(
            Slot(name, () if date is None else (((date[0] - self.within, date[1] + self.within),),), date)
            for name, date in zip(self.labels, when.partner or (None,) * len(self.labels), strict=True)
        )

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:
        """Begin the choice of a chip."""
        return _PairLook(self, candidates, limits, when)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSeries(Paired):
    """As many steps as the partner has, each beside one of its dates; a gap where the partner has one."""

    series: ClassVar[bool] = True


@dataclass(slots=True)
class _PairLook:
    """The choice of one chip: scenes of one set of traits after the other, until one goes with every date."""

    rule: Paired
    candidates: Sequence[Candidate]
    limits: Limits
    when: When
    _looks: list[SlotLook] = field(init=False)
    _turn: int = field(init=False, default=0)
    _done: Choice | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        slots = self.rule.slots(self.when)
        wanted = sum(bool(slot.levels) for slot in slots)
        # A date that the partner lacks needs nobody.
        need = min(wanted, 1) if self.rule.missing == "nodata" else wanted
        rule = replace(self.rule, need=need)
        self._looks = [SlotLook(slots, own, self.limits, rule) for own in self._groups(slots)]

    def _groups(self, slots: Sequence[Slot]) -> list[list[Candidate]]:
        """Candidates by their traits: those that go with most dates first, then those that are nearest to them."""
        if not self.rule.same:
            return [list(self.candidates)]
        groups: dict[Traits, list[Candidate]] = defaultdict(list)
        for candidate in self.candidates:
            groups[self.when.traits.get(candidate.scenes[0], ())].append(candidate)
        if not groups:
            return [[]]
        return [groups[traits] for traits in sorted(groups, key=lambda t: (*_fit(groups[t], slots), t))]

    def next(self) -> Candidate | None:
        """The next of the traits that are looked at."""
        while True:
            look = self._looks[self._turn]
            wanted = look.next()
            if wanted is not None or self._turn == len(self._looks) - 1 or look.choice().chosen:
                return wanted
            self._turn += 1

    def add(self, measured: Measured, mask: Mask | None) -> None:
        """Take it."""
        self._looks[self._turn].add(measured, mask)

    def choice(self) -> Choice:
        """The nearest of each date; who has other traits stands behind."""
        self.next()  # the traits that it ends with
        choices = [look.choice() for look in self._looks]
        own = choices[self._turn]
        if not own.chosen:
            best = next((c for c in choices if c.reason == "broken"), choices[0])
            absent = self.rule.missing == "nodata" and best.reason != "broken"
            reason = "broken" if best.reason == "broken" else "" if absent else "pair"
            return replace(best, reason=reason, figures=(0.0, 0.0) if absent else best.figures)
        others = [
            (m if m.measured or m.candidate.broken else replace(m, why="other orbit or platform"), step)
            for number, choice in enumerate(choices)
            if number != self._turn
            for m, step in zip(choice.ranked, choice.at, strict=True)
        ]
        return replace(
            own,
            ranked=(*own.ranked, *(m for m, _ in others)),
            at=(*own.at, *(step for _, step in others)),
        )


def _fit(candidates: Sequence[Candidate], slots: Sequence[Slot]) -> tuple[int, float]:
    """Fewest dates without one of the candidates first; then the sum of the gaps in time."""
    lacking, total = 0, 0.0
    for slot in slots:
        for spans in slot.levels:
            times = [datetime.fromisoformat(c.time) for c in candidates if not c.broken]
            near = [t for t in times if any(first <= t <= last for first, last in spans)]
            if near and slot.target is not None:
                total += min(_gap(t, slot.target) for t in near)
            else:
                lacking += 1
    return lacking, total


def _gap(time: datetime, date: Span) -> float:
    """Seconds between a moment and a date."""
    return max((date[0] - time).total_seconds(), (time - date[1]).total_seconds(), 0.0)


def partnered(
    candidates: Sequence[Candidate], others: Sequence[Candidate], within: timedelta
) -> tuple[Candidate, ...]:
    """Candidates that have one of `others` within some time; all of them where none has."""
    times = [datetime.fromisoformat(c.time) for c in others if not c.broken]
    kept = tuple(
        c for c in candidates if any(abs(datetime.fromisoformat(c.time) - t) <= within for t in times)
    )
    return kept or tuple(candidates)


def traits_of(scenes: Mapping[str, object], same: Sequence[str]) -> dict[str, Traits]:
    """Traits of scenes by id."""
    return {name: tuple(str(getattr(scene, trait)) for trait in same) for name, scene in scenes.items()}
