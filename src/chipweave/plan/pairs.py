"""Layers that go with one another: in which order they choose, and what the later one is told of the earlier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chipweave.errors import RecipeError
from chipweave.model import Scene
from chipweave.plan.select import NOWHEN, Choice, Limits, Rule
from chipweave.plan.select.paired import Paired, PairedSeries, partnered, traits_of
from chipweave.plan.select.registry import rule_of
from chipweave.recipe.imagery import Imagery
from chipweave.recipe.windows import Span

if TYPE_CHECKING:
    from chipweave.plan.targets import ChipScenes

ANY_TIME = timedelta(days=36_500)
"""How far the nearest to another layer may lie where no pair says so: a century."""


def partner_of(wish: Imagery, layers: Sequence[str]) -> str:
    """The layer that this one goes with, or empty."""
    if wish.pair is not None:
        return wish.pair.with_
    to = wish.select.to
    return to if wish.select.method == "nearest" and to is not None and to in layers else ""


def in_order(wishes: Mapping[str, Imagery]) -> list[str]:
    """Layers with those that they go with before them; the recipe's order else."""
    return in_turn({layer: partner_of(wish, list(wishes)) for layer, wish in wishes.items()})


def in_turn(after: Mapping[str, str]) -> list[str]:
    """Names with the one before them that each comes after, if not empty or itself; their order else."""
    done: dict[str, None] = {}
    for name in after:
        chain = []
        while name and name not in done and name not in chain:
            chain.append(name)
            name = after[name]  # noqa: PLW2901 - up the chain
        done |= dict.fromkeys(reversed(chain))
    return list(done)


def layer_rule(wishes: Mapping[str, Imagery], layer: str) -> Rule:
    """The rule of a layer: its own method's, or that of the layer that it goes with.

    Raises
    ------
    RecipeError
        As `rule_of`; or a layer asks for both.
    """
    wish = wishes[layer]
    partner = partner_of(wish, list(wishes))
    if not partner:
        return rule_of(layer, wish)
    pair, other = wish.pair, layer_rule(wishes, partner)
    if wish.select.method not in {"least_cloudy", "nearest"} or wish.steps is not None:
        raise RecipeError(
            f"imagery.{layer}.pair: its dates follow from {partner}'s, not from select or steps",
            hint="leave select and steps out",
        )
    names = other.names or tuple(f"{n + 1:02d}" if other.steps > 1 else "" for n in range(other.steps))
    kind = PairedSeries if other.series else Paired
    return kind(
        partner=partner,
        within=ANY_TIME if pair is None else timedelta(days=pair.within_days),
        labels=names,
        same=() if pair is None else pair.same,
        missing="drop" if pair is None else pair.if_missing,
        need=0 if pair is not None and pair.if_missing == "nodata" else other.need,
    )


def may_lack(limits: Mapping[str, Limits]) -> set[str]:
    """Layers that a chip may be without."""
    return {n for n, own in limits.items() if isinstance(own.rule, Paired) and own.rule.missing == "nodata"}


def dates_of(choice: Choice, steps: int) -> tuple[Span | None, ...]:
    """First and last moment of each step of what a layer chose; None of a gap."""
    times: dict[int, list[datetime]] = defaultdict(list)
    for place, measured in enumerate(choice.steps):
        times[choice.step(place)].append(datetime.fromisoformat(measured.candidate.time))
    return tuple((min(times[n]), max(times[n])) if n in times else None for n in range(steps))


def with_partners(
    chips: Sequence[ChipScenes],
    layer: str,
    limits: Mapping[str, Limits],
    scenes: Mapping[str, Scene],
    chosen: Mapping[str, Mapping[str, Choice]],
) -> Sequence[ChipScenes]:
    """Chips as a layer sees them: told of the dates that it goes with, or left those that others can go with.

    Parameters
    ----------
    chips
        Of one tile.
    layer, limits, scenes
        The layer that chooses next, the limits of all, and its own scenes by id.
    chosen
        By chip key and layer, what was chosen before.
    """
    for other, own in limits.items():
        rule = own.rule
        if isinstance(rule, Paired) and rule.partner == layer and rule.missing == "reselect":
            chips = [
                replace(
                    chip,
                    candidates={
                        **chip.candidates,
                        layer: partnered(chip.candidates[layer], chip.candidates[other], rule.within),
                    },
                )
                for chip in chips
            ]
    rule = limits[layer].rule
    if not isinstance(rule, Paired):
        return chips
    steps, traits = limits[rule.partner].rule.steps, traits_of(scenes, rule.same)
    out = []
    for chip in chips:
        dates = dates_of(chosen[chip.place.key][rule.partner], steps)
        when = replace(chip.when.get(layer, NOWHEN), partner=dates, traits=traits)
        out.append(replace(chip, when={**chip.when, layer: when}))
    return out
