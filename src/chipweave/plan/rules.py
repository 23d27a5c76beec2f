"""What a chip must meet to be kept: the recipe's `keep`, and what its label layers ask for."""

from __future__ import annotations

from chipweave.errors import RecipeError
from chipweave.labels.ages import AGE, days_of
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.keep import Condition, parse

Rules = list[tuple[str, list[Condition]]]
"""Reason in the ledger where one does not hold, and conditions."""


def rules_of(loaded: LoadedRecipe) -> Rules:
    """All rules of a recipe, in the order in which they are tried."""
    rules: Rules = [(f"keep: {text}", parse(text)) for text in loaded.recipe.keep]
    for name, label in loaded.recipe.labels.items():
        most = label.scene_labels.exclude_ignored_above if label.scene_labels else None
        if most is not None:
            rules.append(("ignored", [Condition(name, "ignored", "<=", most)]))
        if label.max_label_age is not None:
            rules.append(("label_age", [Condition(name, AGE, "<=", days_of(label.max_label_age))]))
    return rules


def aged_layers(loaded: LoadedRecipe) -> tuple[str, ...]:
    """Label layers whose time to the imagery a rule asks for."""
    asked = {c.layer for _, conditions in rules_of(loaded) for c in conditions if c.field == AGE}
    return tuple(name for name in loaded.recipe.labels if name in asked)


def read_in_survey(loaded: LoadedRecipe) -> frozenset[str | None]:
    """Label layers whose pixels survey reads: for a rule, or to place or balance chips by class.

    Raises
    ------
    RecipeError
        `balance` names a layer of imagery.
    """
    asked: set[str | None] = {
        c.layer for _, conditions in rules_of(loaded) for c in conditions if c.field != AGE
    }
    asked |= {loaded.recipe.chips.sampling.by}
    if loaded.recipe.balance is not None:
        by = loaded.recipe.balance.by
        if by in loaded.recipe.imagery:
            raise RecipeError(
                f"balance.by: {by} is imagery, which has no classes", hint="name a label or an attribute"
            )
        asked |= {by}
    return frozenset(asked)


def voting_on(loaded: LoadedRecipe) -> dict[str, str]:
    """Layers whose classes are cleaned up, and those whose instances vote on them."""
    return {name: label.cleanup.segments for name, label in loaded.recipe.labels.items() if label.cleanup}
