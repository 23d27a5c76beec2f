"""What comes out: `balance`, `split` (from its own file), `allow`, `output`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Tag, model_validator

from chipweave.recipe.base import (
    Count,
    Flag,
    LaterNode,
    Node,
    Positive,
    Quota,
    Share,
    Text,
    distinct,
    later,
    one_of,
    refused,
)
from chipweave.recipe.splitting import Split, SplitAudit

__all__ = ["Allow", "Balance", "Columns", "Format", "Output", "Split", "SplitAudit", "Window"]


class Balance(Node):
    """Even out classes."""

    by: Text = Field(description="Layer or attribute.")
    max_ratio: Positive | None = Field(
        None, description="Largest ratio of the commonest to the rarest class."
    )
    quota: Quota | None = Field(None, description="Chips a class: one number, or by class.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.max_ratio is None) == (self.quota is None):
            raise refused("give exactly one of max_ratio, quota")
        return self


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
