"""How vectors become a label: `labels.<layer>.burn` and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from chipweave.plain import text_of
from chipweave.recipe.base import Count, Flag, Node, Number, Text, Whole, refused


class Burn(Node):
    """One rule of rasterising vectors; rules are burned in order."""

    where: Text | None = Field(None, description="Attribute filter, as in SQL; all features if absent.")
    value: Annotated[Whole, Field(ge=0, le=65535)] | None = Field(None, description="Code that is burned.")
    column: Text | None = Field(
        None, description="Column that holds the code, or the name of a class of the layer's legend."
    )
    buffer_m: Number = Field(
        0.0, description="Buffer around each feature in metres on the ground; below 0 it shrinks."
    )
    all_touched: Flag = Field(
        False, description="Burn every pixel that an area shares ground with, not only centres inside."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.column is None):
            raise refused("give exactly one of value, column")
        return self


class Boundary(Node):
    """Mark the edges of features."""

    width_px: Count = Field(
        description="Width in pixels: an edge is each pixel whose centre lies within half of it."
    )
    value: Annotated[Whole, Field(ge=0, le=65535)] = Field(description="Code of an edge.")


Outside = Annotated[Whole, Field(ge=0, le=65535)]
"""Code where no feature lies."""


class Changes(Node):
    """What applies instead for chips whose attribute has a value."""

    file: Text | None = Field(None, description="Another vector file.")
    layer: Text | None = Field(None, description="Layer of that file, where it has several.")
    burn: tuple[Burn, ...] | None = Field(None, description="Other rules.")
    outside: Outside | None = Field(None, description="Another code where no feature lies.")
    boundary: Boundary | None = Field(None, description="Another marking of edges.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise refused("changes nothing")
        if self.layer is not None and self.file is None:
            raise refused("goes with 'file' only", at="layer")
        return self


def _by_value(written: object) -> object:
    """Values of attributes as text, as attributes are compared; a `value` between is left out."""
    if not isinstance(written, Mapping):
        return written
    return {name: _texts(own) for name, own in written.items()}


def _texts(own: object) -> object:
    if not isinstance(own, Mapping):
        return own
    inner = own["value"] if list(own) == ["value"] and _holds_mappings(own["value"]) else own
    return {text_of(value): changes for value, changes in inner.items()}


def _holds_mappings(found: object) -> bool:
    """Whether these are changes by value, and not the changes of one value."""
    names = {*Changes.model_fields}
    return isinstance(found, Mapping) and not names & {str(k) for k in found}


class ByValue(Node):
    """Changes by the value of an attribute."""

    value: dict[Text, Changes] = Field(description="Value of the attribute to what applies instead.")


Overrides = Annotated[
    dict[Text, dict[Text, Changes]],
    BeforeValidator(_by_value, json_schema_input_type=dict[Text, ByValue | dict[Text, Changes]]),
]
"""By attribute and its value: what applies instead."""
