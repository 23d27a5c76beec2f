"""From what was chosen to what is read: pictures, and the step that each of them belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chipweave.plan.select.ranking import Choice, Rule

Scenes = tuple[str, ...]
"""Scenes of one picture of a chip, in reading order."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Pictures of one chip and layer, and the step of each: one a step, but for composites, which have many."""

    scenes: tuple[Scenes, ...]
    at: tuple[int, ...]


def taken(picks: Iterable[tuple[int, Scenes]], rule: Rule) -> Taken:
    """What is read of the candidates that were chosen.

    Parameters
    ----------
    picks
        Step and scenes of each, the better of one step first.
    rule
        Of the layer: a composite reads them one by one; otherwise those of one step are laid over each other.
    """
    found = list(picks)
    if rule.stat:
        return Taken(tuple(scenes for _, scenes in found), tuple(step for step, _ in found))
    joined: dict[int, Scenes] = {}
    for step, scenes in found:
        joined[step] = joined.get(step, ()) + scenes
    return Taken(tuple(joined.values()), tuple(joined))


def of_choice(choice: Choice, rule: Rule) -> Taken:
    """The same of a choice."""
    picks = ((choice.step(n), m.candidate.scenes) for n, m in enumerate(choice.steps))
    return taken(picks, rule)
