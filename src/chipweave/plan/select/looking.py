"""How survey asks a rule: which candidate of a chip it wants measured next, and in the end what it chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chipweave.pixels.masks import Mask
from chipweave.plan.columns import Candidate
from chipweave.recipe.windows import Span

if TYPE_CHECKING:
    from chipweave.plan.select.ranking import Choice, Limits, Measured


@dataclass(frozen=True, slots=True)
class When:
    """What a rule may know of a chip beside its candidates.

    Parameters
    ----------
    lat
        Latitude of its centre: seasons turn at the equator.
    window
        Its own time, where the recipe gives each chip one.
    date
        Its own date, such as that of an event.
    partner
        First and last moment of each step of the layer that this one goes with; None where that has none.
    traits
        By scene id, what scenes that go together share.
    days
        Its own days of the year, by name, such as that of greenup.
    """

    lat: float = 0.0
    window: Span | None = None
    date: Span | None = None
    partner: tuple[Span | None, ...] = ()
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    days: Mapping[str, int] = field(default_factory=dict)


NOWHEN = When()
"""Of a chip that has no time of its own."""


class Look(Protocol):
    """The choice of one chip, as it is made."""

    def next(self) -> Candidate | None:
        """Who is to be measured next; None where enough is known. Asked again it says the same."""
        ...

    def add(self, measured: Measured, mask: Mask | None) -> None:
        """Take what was measured of the last `next`, and its mask on the chip; None where there is none to read."""
        ...

    def choice(self) -> Choice:
        """The ranking, and what was chosen."""
        ...


class Turn(Protocol):
    """A rule that looks at candidates in their turn, until it has enough."""

    def enough(self, measured: Sequence[Measured], limits: Limits) -> bool:
        """Whether no further candidate is measured."""
        ...

    def choose(self, measured: Sequence[Measured], limits: Limits, left: Sequence[Candidate] = ()) -> Choice:
        """Rank what was measured and what was `left`, and choose."""
        ...


class InTurn:
    """Candidates one after the other, in the catalog's order of clouds.

    Parameters
    ----------
    rule
        Says when it is enough, and chooses.
    candidates, limits
        Of the chip and the layer.
    """

    def __init__(self, rule: Turn, candidates: Sequence[Candidate], limits: Limits) -> None:
        self._rule, self._limits, self._left = rule, limits, candidates
        self._measured: list[Measured] = []

    def next(self) -> Candidate | None:
        """The first that is left."""
        if not self._left or (self._measured and self._rule.enough(self._measured, self._limits)):
            return None
        return self._left[0]

    def add(self, measured: Measured, mask: Mask | None) -> None:  # noqa: ARG002 - as `Look` has it
        """Take it, and go on."""
        self._measured.append(measured)
        self._left = self._left[1:]

    def choice(self) -> Choice:
        """What the rule chooses of all."""
        return self._rule.choose(self._measured, self._limits, self._left)
