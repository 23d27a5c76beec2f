"""What comes out: `balance`, `split`, `allow`, `output`."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, Tag, field_validator, model_validator

from chipweave.recipe.base import (
    Count,
    Flag,
    LaterNode,
    Name,
    Node,
    NotNegative,
    Positive,
    Seed,
    Share,
    Text,
    distinct,
    later,
    one_of,
    refused,
)

_WARN_ONLY: Final = ("random", "list", "inside_tile")
"""Methods that cannot keep distances, so that leakage is only a warning unless the recipe says otherwise."""


class Balance(LaterNode):
    """Even out classes."""

    by: Text = Field(description="Layer or attribute.")
    max_ratio: Positive | None = Field(
        None, description="Largest ratio of the commonest to the rarest class."
    )
    quota: (
        Annotated[
            Annotated[Count, Tag("\0number")] | Annotated[dict[str, Count], Tag("\0map")],
            one_of("a number of chips, or a mapping of class to number"),
        ]
        | None
    ) = Field(None, description="Chips a class: one number, or by class.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.max_ratio is None) == (self.quota is None):
            raise refused("give exactly one of max_ratio, quota")
        return self


class Split(Node):
    """How places are dealt to splits."""

    method: Literal[
        "blocks",
        "groups",
        "bands",
        "checkerboard",
        "clusters",
        "inside_tile",
        "time",
        "list",
        "kfold",
        "random",
    ] = Field(
        "blocks",
        description="The method.",
        json_schema_extra=later(
            "groups", "bands", "checkerboard", "clusters", "inside_tile", "time", "list", "kfold", "random"
        ),
    )
    by: Text | None = Field(None, description="Attribute that groups places.", json_schema_extra=later())
    block_km: Positive = Field(10.0, description="blocks: side of a block in kilometres.")
    fractions: dict[Name, Positive] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1},
        description="Share of kept chips by split; they sum to 1.",
    )
    seed: Seed = Field(0, description="Seed of every random choice here.")
    buffer_m: Annotated[
        Annotated[NotNegative, Tag("\0number")] | Annotated[Literal["auto"], Tag("\0text")],
        one_of("metres, or 'auto'"),
    ] = Field(
        0.0,
        description="Least distance between footprints of two splits, in metres. auto: from a variogram.",
        json_schema_extra=later("auto"),
    )
    buffer_drop: Literal["larger", "both"] = Field(
        "larger", description="At a border: the chip of the larger split gives way, or both chips do."
    )
    stratify: Text | None = Field(
        None,
        description="Layer or attribute whose shares are alike in all splits.",
        json_schema_extra=later(),
    )
    tolerance: Share = Field(0.05, description="How far the shares may be from `fractions`.")
    leakage: Literal["fail", "warn"] = Field(
        "fail", description="What leakage does; warn if absent for random, list and inside_tile."
    )
    override: (
        Annotated[
            Annotated[Text, Tag("\0text")] | Annotated[dict[Text, Any], Tag("\0map")],
            one_of("a file, or a mapping"),
        ]
        | None
    ) = Field(None, description="Places whose split is given.", json_schema_extra=later())

    @field_validator("fractions")
    @classmethod
    def _whole(cls, fractions: dict[str, float]) -> dict[str, float]:
        total = math.fsum(fractions.values())
        if abs(total - 1.0) > 1e-6:
            raise refused(f"they sum to {total:g}, not to 1")
        return fractions

    @model_validator(mode="before")
    @classmethod
    def _leakage_default(cls, data: object) -> object:
        if isinstance(data, dict) and "leakage" not in data and data.get("method") in _WARN_ONLY:
            return {**data, "leakage": "warn"}
        return data


class Allow(Node):
    """What share of placed chips may be lost before a build fails."""

    failed: Share = Field(0.0, description="Largest share of failed chips.")
    dropped: Share = Field(1.0, description="Largest share of dropped chips.")


class Window(Node):
    """Shuffle inside a window, so that scratch stays bounded."""

    window: Count = Field(description="Batches that are dealt together.")


class Columns(LaterNode):
    """Columns of the index."""

    rename: dict[Text, Text] = Field(default_factory=dict, description="Old name to new name.")


Format = Literal["webdataset", "zarr", "geotiff", "parquet"]


class Output(Node):
    """What is written, and how."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        ("webdataset",),
        description="What is written.",
        json_schema_extra=later("geotiff", "parquet"),
    )
    samples_per_shard: Count = Field(256, description="Samples in a shard.")
    shuffle: Annotated[
        Annotated[Literal["global", "none"], Tag("\0text")] | Annotated[Window, Tag("\0map")],
        one_of("global, none or {window: N}"),
    ] = Field("global", description="How samples are shuffled before they are packed.")
    encoding: Literal["npy", "blosc2"] = Field("npy", description="How an array is stored in a shard.")
    previews: Flag = Field(False, description="A PNG beside each layer.", json_schema_extra=later())
    columns: Columns | None = Field(None, description="Columns of the index.", json_schema_extra=later())

    @model_validator(mode="after")
    def _window_needs_tars(self) -> Self:
        if isinstance(self.shuffle, Window) and "webdataset" not in self.formats:
            # What a window frees is read again from the tars; without them nothing could be freed.
            raise refused("a window needs webdataset among output.formats", at="shuffle")
        return self
