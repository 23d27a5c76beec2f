"""The recipe: what the user wants, every key of the contract; parts of it are in the modules beside."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from chipweave.recipe import keep as keeping
from chipweave.recipe.base import Folders, Name, Node, Slug, Text, expected, later
from chipweave.recipe.burning import Boundary, Burn
from chipweave.recipe.crosscheck import crosscheck
from chipweave.recipe.imagery import (
    Encode,
    Imagery,
    Items,
    Pair,
    Register,
    Resampling,
)
from chipweave.recipe.outcome import Allow, Balance, Columns, Output, Split, Window
from chipweave.recipe.places import Area, Attribute, Attributes, Chips, Lattice, Sampling, Size
from chipweave.recipe.targets import Label, Points, SceneLabels
from chipweave.recipe.texts import TextLayer
from chipweave.recipe.timing import Select, Steps, TimeRule, Widen

__all__ = [
    "Allow",
    "Area",
    "Attribute",
    "Balance",
    "Boundary",
    "Burn",
    "Chips",
    "Columns",
    "Encode",
    "Imagery",
    "Items",
    "Label",
    "Lattice",
    "Output",
    "Pair",
    "Points",
    "Recipe",
    "Register",
    "Resampling",
    "Sampling",
    "SceneLabels",
    "Select",
    "Size",
    "Split",
    "Steps",
    "TextLayer",
    "TimeRule",
    "Widen",
    "Window",
]


def _check_keep(text: str) -> str:
    try:
        keeping.parse(text)
    except ValueError as error:
        raise expected(f"a condition such as 'worldcover.80 < 0.9' ({error})") from None
    return text


class Recipe(Node):
    """What goes in: one YAML file that says where, what, and how it is split and packed."""

    version: Literal[1] = Field(description="Version of the recipe's language.")
    name: Slug = Field("dataset", description="Name of the dataset.")
    extends: Text | None = Field(
        None,
        description="A recipe that this one is merged into: mappings deeply, lists replaced, null removes.",
    )
    catalog: Text | None = Field(
        None,
        description="Default for every layer: provider name, STAC API URL, or a path (ItemCollection, "
        "NDJSON, stac-geoparquet, static catalog).",
    )
    provider: Text | None = Field(None, description="Treat the catalog as that provider.")
    local_roots: Folders = Field(
        (),
        description="Folders below which a remote catalog may name local files (also CHIPWEAVE_LOCAL_ROOTS).",
    )
    catalogs: Folders = Field(
        (),
        description="Folders with providers, collections and legends of your own (also CHIPWEAVE_CATALOGS).",
    )
    area: Area | None = Field(None, description="Where chips lie.")
    chips: Chips = Field(description="The chips: size, resolution, CRS, lattice, sampling.")
    attributes: Attributes = Field(
        default_factory=dict, description="Columns that chips get from files, by name."
    )
    imagery: dict[Name, Imagery] = Field(default_factory=dict, description="Imagery layers by name.")
    labels: dict[Name, Label] = Field(default_factory=dict, description="Label layers by name.")
    text: dict[Name, TextLayer] = Field(default_factory=dict, description="Text layers by name.")
    keep: tuple[Annotated[str, AfterValidator(_check_keep)], ...] = Field(
        (),
        description="Conditions over survey columns that a chip must meet, such as 'corine.ignored < 0.25'.",
    )
    balance: Balance | None = Field(None, description="Even out classes: of common ones chips are left out.")
    split: Split | None = Field(None, description="How places are dealt to splits; all is train if absent.")
    allow: Allow = Field(default_factory=Allow, description="What may be lost before a build fails.")
    output: Output = Field(default_factory=Output, description="What is written, and how.")
    licence: Text | None = Field(None, description="Licence of the dataset (SPDX), for its card.")
    title: Text | None = Field(None, description="Title of the dataset, for its card.")
    description: Text | None = Field(None, description="What the dataset is, for its card.")
    citation: Text | None = Field(None, description="How the dataset is cited, for its card.")
    parts: tuple[Text, ...] = Field(
        (),
        description="Recipes whose chips make one dataset with the same members.",
        json_schema_extra=later(),
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = crosscheck(self.model_dump(by_alias=True, exclude_unset=True))
        if found:
            raise PydanticCustomError("cross", "{first}", {"first": found[0].text, "found": found})
        return self

    @property
    def layers(self) -> dict[str, Imagery | Label | TextLayer]:
        """Every layer by name, imagery first, in the recipe's order."""
        return {**self.imagery, **self.labels, **self.text}

    @property
    def conditions(self) -> tuple[keeping.Condition, ...]:
        """All conditions of `keep`; a chip must meet each."""
        return tuple(c for expression in self.keep for c in keeping.parse(expression))
