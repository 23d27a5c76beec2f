"""What is to be learned: `labels.<layer>`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AllowInfNan, Field, Tag, field_validator, model_validator

from chipweave.recipe.base import (
    Date,
    Flag,
    Name,
    Node,
    NotNegative,
    Share,
    Text,
    Whole,
    Year,
    expected,
    one_of,
    refused,
)
from chipweave.recipe.burning import Boundary, Burn, Outside, Overrides
from chipweave.recipe.imagery import Resampling

_EXTRACTS = (".pbf", ".parquet", ".geoparquet")
"""How extracts of OpenStreetMap end, and Overture files."""


class SceneLabels(Node):
    """Labels of the whole chip, from its class shares."""

    remap: Text | None = Field(
        None, description="Legend that classes are mapped to first, such as bigearthnet-19."
    )
    rule: Literal["presence", "fraction", "majority"] = Field(
        "presence",
        description="When a class counts: it is there, it has `min_fraction`, or no other has more.",
    )
    min_fraction: Share = Field(0.0, description="Least share of the chip's pixels of a class that counts.")
    exclude_ignored_above: Share | None = Field(
        None, description="Largest share of pixels without a class; a chip with more is dropped."
    )

    @model_validator(mode="after")
    def _stated(self) -> Self:
        if self.rule == "fraction" and self.min_fraction == 0:
            raise refused("rule: fraction needs a min_fraction above 0")
        return self


class Cleanup(Node):
    """Clean-up of classes by segments: each becomes what most of its pixels are."""

    segments: Name = Field(description="Label layer whose instances are the segments.")
    min_share: Share = Field(0.5, description="Least share of a segment that the winner must have.")


class Points(Node):
    """Sparse labels at points; of several in a pixel the mean, or the class of most of them."""

    file: Text = Field(
        description="Vector file of points, or a table (CSV, TSV, Parquet) with columns lon and lat. A column jitter_m "
        "says how far points were moved."
    )
    column: Text = Field(description="Column with the value: numbers, or codes or names of classes.")
    unit: Text | None = Field(
        None, description="Unit of the value, which makes it numbers; else see `legend`."
    )
    diameter_m: NotNegative = Field(
        0.0, description="Footprint around a point in metres; its pixel alone if 0."
    )


class Label(Node):
    """One label layer: from a collection, a file, or points."""

    collection: Text | None = Field(
        None, description="Collection by its canonical name, such as esa-worldcover."
    )
    file: Text | None = Field(None, description="Raster or vector file, or an extract x.osm.pbf.")
    legend: Text | None = Field(
        None, description="With `file` or `points`: legend of its classes, a name or a YAML file."
    )
    date: Date | None = Field(None, description="With `file`: what date it shows: a year, a month or a day.")
    nodata: Annotated[float, AllowInfNan()] | None = Field(
        None,
        description="With `file`: value of no data, if the file does not say; a number, or nan.",
        json_schema_extra={"anyOf": [{"type": "number"}, {"const": "nan"}, {"type": "null"}]},
    )
    licence: Text | None = Field(
        None,
        description="With `file` or `points`: licence of its data, an SPDX identifier such as CC-BY-4.0.",
    )
    credit: Text | None = Field(
        None,
        description="With `licence`: whom it asks to name, and how; {years} stands for the years that are shown.",
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
    ) = Field(
        None,
        description="Largest time between label and imagery: years, or a duration such as 400d.",
    )
    remap: (
        Annotated[
            Annotated[Text, Tag("\0text")] | Annotated[dict[int, Whole], Tag("\0map")],
            one_of("a legend, or a mapping of code to code"),
        ]
        | None
    ) = Field(
        None, description="Legend, or codes, that classes are mapped to; what is not listed is unlabeled."
    )
    ignore: tuple[Whole, ...] = Field(
        (), description="Codes that count as ignored, of the legend that is written."
    )
    resample: Resampling = Field(
        "auto",
        description="auto: of classes mode where the target is at least twice as coarse, else nearest; of numbers "
        "mean, else bilinear.",
    )
    scene_labels: SceneLabels | None = Field(None, description="Labels of the whole chip.")
    cleanup: Cleanup | None = Field(None, description="Clean-up of a raster's classes.")
    layer: Text | None = Field(None, description="With a vector `file` of several layers: which one.")
    burn: tuple[Burn, ...] = Field((), description="Rules that rasterise vectors, in order.")
    outside: Outside | None = Field(None, description="Code where no feature lies; no data if absent.")
    boundary: Boundary | None = Field(None, description="Mark the edges of features.")
    instances: Flag = Field(
        False,
        description="Number each feature: `<layer>_instances`, and `<layer>_features` as GeoJSON.",
    )
    distance: Flag = Field(False, description="Metres to the edge inside features: `<layer>_distance`.")
    boxes: Flag = Field(False, description="Write each feature's box and mask: `<layer>_boxes`, as in COCO.")
    override: Overrides = Field(
        {}, description="{attribute: {value: {…}}}: what applies instead where a chip's attribute is that."
    )
    classes: Text | None = Field(
        None,
        description="With an extract `x.osm.pbf`, or an Overture file: scheme of its classes, a name or a YAML file; "
        "osm-landuse if absent.",
    )
    points: Points | None = Field(None, description="Sparse labels at points: no data elsewhere.")
    unit: Text | None = Field(
        None,
        description="Unit of a raster `file` of numbers, such as m. Or features, of a vector `file`: a table with one "
        "row a polygon.",
    )
    reduce: tuple[Name, ...] = Field(
        (),
        description="With `unit: features`: count, mean, median, std, min, max, sum, or percentiles p1 to p99 of the "
        "pixels of each polygon, a band and date.",
    )

    def first_given(self, keys: Iterable[str]) -> str | None:
        """First of some keys that is not at its default, though it may be 0; None where all are."""
        fields = type(self).model_fields
        return next(
            (k for k in keys if getattr(self, k) != fields[k].get_default(call_default_factory=True)), None
        )

    @field_validator("nodata", mode="before")
    @classmethod
    def _number_or_nan(cls, value: object) -> object:
        if value == "nan" or value is None:
            return None if value is None else float("nan")
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
            raise expected("a number, or nan")
        return value

    @field_validator("max_label_age")
    @classmethod
    def _duration(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+[dh]", value):
            raise expected("years, or a duration such as 400d")
        return value

    @field_validator("remap")
    @classmethod
    def _some(cls, value: str | dict[int, int] | None) -> str | dict[int, int] | None:
        if isinstance(value, dict) and not value:
            raise expected("a mapping that is not empty")
        return value

    @model_validator(mode="after")
    def _numbers_or_classes(self) -> Self:
        """What only classes have does not go with the unit of numbers."""
        if self.unit in {None, "features"}:
            return self
        if self.file is None:
            raise refused("goes with 'file' only; a collection has its own", at="unit")
        for key in ("legend", "remap", "ignore", "scene_labels", "cleanup"):
            if getattr(self, key):
                raise refused(f"is of classes; unit: {self.unit} makes it numbers", at=key)
        return self

    @model_validator(mode="after")
    def _table(self) -> Self:
        """Statistics and the table that they stand in go together."""
        if (self.unit == "features") != bool(self.reduce):
            raise refused("unit: features and reduce go together", at="reduce" if self.reduce else "unit")
        return self

    @model_validator(mode="after")
    def _extract(self) -> Self:
        """A scheme of classes is for extracts."""
        if self.classes is not None and not (self.file or "").lower().endswith(_EXTRACTS):
            raise refused(f"goes with a file that ends in {', '.join(_EXTRACTS)}", at="classes")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("collection", "file", "points") if getattr(self, key) is not None]
        if len(given) != 1:
            said = (
                f"{' and '.join(given)} exclude each other" if given else "nothing says where it comes from"
            )
            raise refused(f"{said}; give exactly one of collection, file, points")
        if self.collection is not None:
            for key in ("legend", "date", "nodata", "licence", "credit"):
                if getattr(self, key) is not None:
                    raise refused("goes with 'file' only", at=key)
        if self.credit is not None and self.licence is None:
            raise refused("goes with 'licence'", at="credit")
        if self.licence is not None and (self.file or "").lower().endswith(".pbf"):
            raise refused("is that of OpenStreetMap, ODbL-1.0, which an extract has anyway", at="licence")
        if self.collection is None and self.edition is not None:
            raise refused("goes with 'collection' only; a file has a 'date'", at="edition")
        return self
