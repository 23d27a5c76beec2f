"""A layer that goes with another, where that one had to take another date because a scene of it was broken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chipweave.model import Fate, Scene
from chipweave.plan.grids import on_grid
from chipweave.plan.handout import ChipTask
from chipweave.plan.select import NOWHEN
from chipweave.plan.select.paired import Paired, traits_of
from chipweave.plan.select.taken import Taken, of_choice
from chipweave.plan.survey import Reads, choose_scenes
from chipweave.plan.targets import ChipScenes
from chipweave.recipe.windows import Span
from chipweave.weave.samples import Tile


def follow(
    layer: str, tasks: Sequence[ChipTask], reads: Reads, into: Tile
) -> tuple[dict[str, ChipScenes], dict[str, Taken]]:
    """Chips of one tile as a layer reads them, and what it reads: as planned, unless its partner's dates changed.

    Chips that then have no partner get their fate.
    """
    chips = {c.place.key: c for c in on_grid([t.chip for t in tasks], reads.imagery[layer])}
    chosen = {t.chip.place.key: t.chosen[layer] for t in tasks}
    limits = reads.limits[layer]
    rule = limits.rule
    if not isinstance(rule, Paired):
        return chips, chosen
    now = into.pictures[rule.partner].taken
    traits = traits_of(reads.scenes[layer], rule.same)
    steps = reads.limits[rule.partner].rule.steps
    for key, chip in chips.items():
        dates = _dates(now[key], reads.scenes[rule.partner], steps)
        when = replace(chip.when.get(layer, NOWHEN), partner=dates, traits=traits)
        chips[key] = replace(chip, when={**chip.when, layer: when})
    moved = [t.chip.place.key for t in tasks if now[t.chip.place.key] != t.chosen[rule.partner]]
    again, passed = choose_scenes(
        [chips[key] for key in moved], layer, reads.imagery[layer], limits, reads.scenes[layer], "weave"
    )
    into.amendments += passed
    for key, choice in again.items():
        if choice.chosen or not choice.reason:
            chosen[key] = of_choice(choice, rule)
            continue
        broken = choice.reason == "broken"
        into.fates[key] = Fate(
            key, "failed" if broken else "dropped", "weave", choice.reason, layer, choice.href, choice.error
        )
        del chips[key], chosen[key]
    return chips, chosen


def _dates(taken: Taken, scenes: Mapping[str, Scene], steps: int) -> tuple[Span | None, ...]:
    """First and last moment of each step; None of a gap."""
    times: dict[int, list[datetime]] = defaultdict(list)
    for step, items in zip(taken.at, taken.scenes, strict=True):
        times[step].append(scenes[items[0]].time)
    return tuple((min(times[n]), max(times[n])) if n in times else None for n in range(steps))
