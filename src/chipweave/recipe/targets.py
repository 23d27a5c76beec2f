"""What is to be learned: `labels.<layer>` and `text.<layer>`."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AllowInfNan, ConfigDict, Field, Tag, field_validator, model_validator

from chipweave.recipe.base import (
    Count,
    Date,
    Flag,
    LaterNode,
    Name,
    Node,
    NotNegative,
    Number,
    Seed,
    Share,
    Text,
    Whole,
    Year,
    expected,
    later,
    one_of,
    refused,
)
from chipweave.recipe.imagery import Resampling


class SceneLabels(LaterNode):
    """Labels of the whole chip, from its class shares."""

    remap: Text | None = Field(
        None, description="Legend that classes are mapped to first, such as bigearthnet-19."
    )
    rule: Literal["presence", "fraction", "majority"] = Field("presence", description="When a class counts.")
    min_fraction: Share = Field(0.0, description="Least share of a class that counts.")
    exclude_ignored_above: Share | None = Field(
        None, description="Largest share of ignored pixels; a chip with more has no scene labels."
    )


class Burn(LaterNode):
    """One rule of rasterising vectors; rules are burned in order."""

    where: Text | None = Field(None, description="Attribute filter, as in SQL; all features if absent.")
    value: Whole | None = Field(None, description="Code that is burned.")
    column: Text | None = Field(None, description="Column that holds the code.")
    buffer_m: Number = Field(0.0, description="Buffer around each feature in metres.")
    all_touched: Flag = Field(False, description="Burn every pixel that is touched, not only centres inside.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.column is None):
            raise refused("give exactly one of value, column")
        return self


class Boundary(LaterNode):
    """Mark the edges of features."""

    width_px: Count = Field(description="Width in pixels.")
    value: Whole = Field(description="Code of an edge.")


class Points(LaterNode):
    """Sparse labels at points."""

    file: Text = Field(description="Vector file or table of points.")
    column: Text = Field(description="Column with the value.")
    unit: Text | None = Field(None, description="Unit of the value.")


class Override(LaterNode):
    """What applies instead for some values of an attribute."""

    value: dict[Text, dict[Text, Any]] = Field(description="Value of the attribute to the keys that change.")


class Label(Node):
    """One label layer: from a collection, a file, or points."""

    collection: Text | None = Field(
        None, description="Collection by its canonical name, such as esa-worldcover."
    )
    file: Text | None = Field(None, description="Raster or vector file, or an extract x.osm.pbf.")
    legend: Text | None = Field(
        None, description="With `file`: legend of its classes, a name or a YAML file."
    )
    date: Date | None = Field(None, description="With `file`: what date it shows: a year, a month or a day.")
    nodata: Annotated[float, AllowInfNan()] | None = Field(
        None,
        description="With `file`: value of no data, if the file does not say; a number, or nan.",
        json_schema_extra={"anyOf": [{"type": "number"}, {"const": "nan"}, {"type": "null"}]},
    )
    edition: Year | None = Field(None, description="Edition of the collection, such as 2021.")
    catalog: Text | None = Field(
        None, description="Instead of the top one: provider name, STAC API URL, or a path."
    )
    provider: Text | None = Field(None, description="Treat this layer's catalog as that provider.")
    max_label_age: (
        Annotated[
            Annotated[NotNegative, Tag("\0number")] | Annotated[Text, Tag("\0text")],
            one_of("years, or a duration such as 400d"),
        ]
        | None
    ) = Field(None, description="Largest age of a label against the imagery.", json_schema_extra=later())
    remap: (
        Annotated[
            Annotated[Text, Tag("\0text")] | Annotated[dict[int, Whole], Tag("\0map")],
            one_of("a legend, or a mapping of code to code"),
        ]
        | None
    ) = Field(None, description="Legend, or codes, that classes are mapped to.", json_schema_extra=later())
    ignore: tuple[Whole, ...] = Field(
        (), description="Codes that count as ignored.", json_schema_extra=later()
    )
    resample: Resampling = Field(
        "auto",
        description="auto: mode where the target is at least twice as coarse, else nearest.",
        json_schema_extra=later("bilinear", "cubic", "mean"),
    )
    scene_labels: SceneLabels | None = Field(
        None, description="Labels of the whole chip.", json_schema_extra=later()
    )
    burn: tuple[Burn, ...] = Field(
        (), description="Rules that rasterise vectors, in order.", json_schema_extra=later()
    )
    outside: Whole | None = Field(None, description="Code where no feature lies.", json_schema_extra=later())
    boundary: Boundary | None = Field(
        None, description="Mark the edges of features.", json_schema_extra=later()
    )
    instances: Flag = Field(False, description="Number each feature.", json_schema_extra=later())
    boxes: Flag = Field(False, description="Write each feature's box.", json_schema_extra=later())
    override: dict[Text, Override] | None = Field(
        None, description="{attribute: {value: {…}}}: what applies instead.", json_schema_extra=later()
    )
    classes: Text | None = Field(None, description="Scheme of OSM classes.", json_schema_extra=later())
    points: Points | None = Field(None, description="Sparse labels at points.", json_schema_extra=later())
    unit: Literal["features"] | None = Field(
        None, description="features: a table with one row a polygon.", json_schema_extra=later()
    )
    reduce: tuple[Name, ...] = Field(
        (), description="With `unit: features`: statistics, such as median.", json_schema_extra=later()
    )

    @field_validator("nodata", mode="before")
    @classmethod
    def _number_or_nan(cls, value: object) -> object:
        if value == "nan" or value is None:
            return None if value is None else float("nan")
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
            raise expected("a number, or nan")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("collection", "file", "points") if getattr(self, key) is not None]
        if len(given) != 1:
            said = (
                f"{' and '.join(given)} exclude each other" if given else "nothing says where it comes from"
            )
            raise refused(f"{said}; give exactly one of collection, file")
        if self.file is None:
            for key in ("legend", "date", "nodata"):
                if getattr(self, key) is not None:
                    raise refused("goes with 'file' only", at=key)
        if self.file is not None and self.edition is not None:
            raise refused("goes with 'collection' only; a file has a 'date'", at="edition")
        return self


class TextLayer(LaterNode):
    """One text layer; a kind has further options of its own."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["landcover_caption", "osm_caption", "metadata_caption", "vqa"] = Field(
        description="What is written."
    )
    from_: Text | None = Field(None, alias="from", description="Layer that it is written from.")
    seed: Seed = Field(0, description="Seed of every random choice here.")
