"""What was measured, what a chip may be, and the ranking that all rules share; the rule of one date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from chipweave.plan.columns import Candidate, Queue
from chipweave.plan.select.looking import InTurn, Look, When

NOT_MEASURED = "not measured: enough had no bad or missing pixel, or max_candidates was reached"


class Rule(Protocol):
    """Which of a chip's candidates become its steps. A frozen dataclass: it travels with a task.

    A new rule is one file beside the others and one line in the registry; `tests/contract` holds it to the rest.
    """

    @property
    def steps(self) -> int:
        """Steps of every sample."""
        ...

    @property
    def need(self) -> int:
        """Steps without which a chip is dropped."""
        ...

    @property
    def series(self) -> bool:
        """Whether samples have a time axis."""
        ...

    @property
    def dates(self) -> bool:
        """Whether several dates of a chip are read, one after the other."""
        ...

    @property
    def stat(self) -> str:
        """Statistic of the composite that each step is of its dates; empty where a step has one date."""
        ...

    @property
    def timed(self) -> bool:
        """Whether it asks for more of a chip than its candidates: see `When`."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the steps where they have a meaning of their own, such as seasons; else none."""
        ...

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:
        """Begin the choice of one chip."""
        ...


@dataclass(frozen=True, slots=True)
class LeastCloudy:
    """One step: the candidate with the lowest chip cloud."""

    steps: ClassVar[int] = 1
    need: ClassVar[int] = 1
    series: ClassVar[bool] = False
    dates: ClassVar[bool] = False
    stat: ClassVar[str] = ""
    timed: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ()

    def look(self, candidates: Sequence[Candidate], limits: Limits, when: When) -> Look:  # noqa: ARG002
        """Candidates in their turn."""
        return InTurn(self, candidates, limits)

    def enough(self, measured: Sequence[Measured], limits: Limits) -> bool:
        """After one without bad or missing pixels, or `max_candidates`."""
        return measured[-1].clear or sum(m.measured for m in measured) >= limits.max_candidates

    def choose(self, measured: Sequence[Measured], limits: Limits, left: Sequence[Candidate] = ()) -> Choice:
        """See `least_cloudy`."""
        return least_cloudy(measured, limits, left)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a chip may be: shares between 0 and 1; None where the recipe sets no limit. `rule` chooses within them."""

    max_cloud: float | None
    min_valid: float | None
    max_candidates: int
    rule: Rule = LeastCloudy()


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate and what survey found: bad share of data pixels, data share of all; NaN where not measured."""

    candidate: Candidate
    cloud: float = float("nan")
    valid: float = float("nan")
    why: str = ""

    @property
    def measured(self) -> bool:
        """Whether its mask was read."""
        return self.cloud == self.cloud  # NaN is not itself; asked millions of times

    @property
    def clear(self) -> bool:
        """Whether it has neither bad nor missing pixels."""
        return self.cloud == 0 and self.valid == 1

    def within(self, limits: Limits) -> bool:
        """Whether it was measured and keeps the limits."""
        return (
            self.measured
            and (limits.max_cloud is None or self.cloud <= limits.max_cloud)
            and (limits.min_valid is None or self.valid >= limits.min_valid)
            and self.valid > 0
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The ranking of one chip and layer; `reason` says why none was chosen, `error` and `href` what broke.

    The first `taken` of `ranked` are the chosen ones, a step each, in the order of time. `rest` are candidates that
    were not looked at and are not in `ranked`; their place is behind all that can serve and before all that cannot.

    Where steps have windows of their own, `at` is the step of each of `ranked`: that which it is taken for, or was
    looked at for; several of one step make one picture together. `figures` are then the bad and the valid share of
    what was chosen, as means over all steps.
    """

    ranked: tuple[Measured, ...]
    taken: int = 0
    reason: str = ""
    error: str = ""
    href: str = ""
    rest: Queue | None = None
    at: tuple[int, ...] = ()
    figures: tuple[float, float] | None = None

    @property
    def chosen(self) -> bool:
        """Whether the chip has its steps."""
        return self.taken > 0

    @property
    def best(self) -> Measured:
        """The first of the ranking: the chosen one, where there is one step."""
        return self.ranked[0]

    @property
    def steps(self) -> tuple[Measured, ...]:
        """The chosen ones."""
        return self.ranked[: self.taken]

    def step(self, place: int) -> int:
        """Step of one of `ranked`, by its place there."""
        if self.at:
            return self.at[place]
        return place if place < self.taken else 0

    @property
    def depth(self) -> int:
        """Most candidates that one step takes."""
        if not self.at or not self.taken:
            return min(self.taken, 1)
        return max(Counter(self.at[: self.taken]).values())


def least_cloudy(measured: Sequence[Measured], limits: Limits, left: Sequence[Candidate] = ()) -> Choice:
    """Rank candidates of one chip: within limits first, then the lowest chip cloud.

    Ties: higher valid share, the chip's own CRS, newest, id (contract, section 3).

    Parameters
    ----------
    measured
        What was looked at.
    limits
        Of the layer.
    left
        What was not.
    """
    measured, rest = unread(measured, left)
    listed = ranking(measured, limits)
    ranked = tuple(explained(m, limits, "least cloudy" if i == 0 else "") for i, m in enumerate(listed))
    if ranked and ranked[0].within(limits):
        return Choice(ranked, taken=1, rest=rest)
    return replace(refused(ranked, limits), rest=rest)


def unread(
    measured: Sequence[Measured], left: Sequence[Candidate]
) -> tuple[Sequence[Measured], Queue | None]:
    """What is ranked, and what is left as it is: seventy dates of a chip where a few were looked at."""
    if isinstance(left, Queue) and not left.broken and any(m.measured for m in measured):
        return measured, left
    return [*measured, *map(Measured, left)], None


def ranking(measured: Sequence[Measured], limits: Limits) -> list[Measured]:
    """Not broken and within limits first, then least cloudy, with the ties of `least_cloudy`."""
    ranked = sorted(measured, key=lambda m: m.candidate.scenes[0])
    ranked.sort(key=lambda m: m.candidate.time, reverse=True)
    ranked.sort(key=lambda m: _key(m, limits))
    return ranked


def refused(ranked: tuple[Measured, ...], limits: Limits, short: str = "", *, blamed: bool = True) -> Choice:
    """No choice, and its reason: what broke, if it is to blame, else clouds or missing pixels, or `short` of some."""
    broken = next((m.candidate for m in ranked if m.candidate.broken), None)
    if broken is not None and blamed:
        return Choice(ranked, reason="broken", error=broken.broken, href=broken.scenes[0])
    if not ranked:
        return Choice((), reason="no_scene")
    if any(m.within(limits) for m in ranked):
        return Choice(ranked, reason=short)
    enough = [m for m in ranked if m.measured and m.valid > 0 and m.valid >= (limits.min_valid or 0.0)]
    return Choice(ranked, reason="cloud" if enough else "valid")


_UNREAD = {same: (False, True, True, 0.0, 0.0, not same) for same in (False, True)}
_BROKEN = {same: (True, *key[1:]) for same, key in _UNREAD.items()}


def _key(m: Measured, limits: Limits) -> tuple[bool, bool, bool, float, float, bool]:
    """Not broken, within limits, measured, least cloud, most valid, the chip's own CRS."""
    c = m.candidate
    if not m.measured:
        return (_BROKEN if c.broken else _UNREAD)[c.same_crs]
    return (bool(c.broken), not m.within(limits), False, m.cloud, -m.valid, not c.same_crs)


def explained(
    m: Measured, limits: Limits, chosen: str, other: str = "within limits, ranked lower"
) -> Measured:
    """The same with its reason: what keeps it out, else why it was `chosen`, or what it is where it was not."""
    return m if m.why else Measured(m.candidate, m.cloud, m.valid, _against(m, limits) or chosen or other)


def _against(m: Measured, limits: Limits) -> str:
    """What speaks against a candidate, or nothing."""
    if m.candidate.broken:
        return m.candidate.broken
    if not m.measured:
        return NOT_MEASURED
    if limits.min_valid is not None and m.valid < limits.min_valid:
        return f"valid {m.valid:.4f} below min_valid {limits.min_valid:.4f}"
    if m.valid == 0:
        return "no data in the chip"
    if limits.max_cloud is not None and m.cloud > limits.max_cloud:
        return f"cloud {m.cloud:.4f} above max_cloud {limits.max_cloud:.4f}"
    return ""
