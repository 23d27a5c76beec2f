"""What is seen: `imagery.<layer>`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, Tag, model_validator

from chipweave.recipe.base import (
    Count,
    Duration,
    Flag,
    Interval,
    LaterNode,
    Name,
    Names,
    Node,
    NotNegative,
    Number,
    Percent,
    PercentNumber,
    Positive,
    Text,
    Where,
    Whole,
    Year,
    Years,
    later,
    one_of,
    refused,
)
from chipweave.recipe.interval import duration

Resampling = Literal["auto", "nearest", "bilinear", "cubic", "mean", "mode"]


class TimeRule(LaterNode):
    """A time of its own for each chip: one of column, table, years."""

    column: Text | None = Field(None, description="Attribute or column with a chip's date.")
    window: tuple[Duration, Duration] | None = Field(
        None, description="With `column`: from and to, around that date, such as [-30d, 30d]."
    )
    table: Text | None = Field(None, description="Table of intervals.")
    by: Text | None = Field(None, description="With `table`: attribute that it is looked up by.")
    years: (
        Annotated[
            Annotated[Years, Tag("\0text")] | Annotated[Year, Tag("\0number")],
            one_of("years such as 2017/2024"),
        ]
        | None
    ) = Field(None, description="Years, such as 2017/2024: one time a year.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [key for key in ("column", "table", "years") if getattr(self, key) is not None]
        if len(given) != 1:
            raise refused("give exactly one of column, table, years")
        if self.window is not None and self.column is None:
            raise refused("goes with 'column' only", at="window")
        if self.by is not None and self.table is None:
            raise refused("goes with 'table' only", at="by")
        return self


class Items(LaterNode):
    """Scenes that are pinned."""

    file: Text = Field(description="File of item ids.")


_SELECT_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "least_cloudy": (),
    "newest": (),
    "nearest": ("to",),
    "mosaic": (),
    "series": ("max", "min_gap"),
    "periods": ("every", "windows", "from_"),
    "seasons": (),
    "event": ("steps",),
    "composite": ("stat",),
}


_ONE_STEP: Final = ("least_cloudy", "newest", "nearest", "mosaic", "composite")


class Select(Node):
    """Which scenes a chip takes."""

    method: Literal[
        "least_cloudy", "newest", "nearest", "mosaic", "series", "periods", "seasons", "event", "composite"
    ] = Field(
        "least_cloudy",
        description="The method.",
        json_schema_extra=later(*[m for m in _SELECT_KEYS if m not in {"least_cloudy", "series"}]),
    )
    to: Text | None = Field(None, description="nearest: a date or a layer.", json_schema_extra=later())
    max: Count | None = Field(
        None, description="series: at most this many steps; the least cloudy dates are taken."
    )
    min_gap: Duration | None = Field(
        None, description="series: least time between steps; 5d where not given."
    )
    every: Text | None = Field(
        None, description="periods: month, or a duration such as 30d.", json_schema_extra=later()
    )
    windows: dict[Name, Text] | None = Field(
        None, description="periods: named windows of the year.", json_schema_extra=later()
    )
    from_: Any = Field(
        None, alias="from", description="periods: phenology rasters.", json_schema_extra=later()
    )
    steps: dict[Name, Any] | None = Field(
        None,
        description="event: named steps, such as {pre2: …, pre1: …, post: …}.",
        json_schema_extra=later(),
    )
    stat: Literal["median", "medoid", "mean", "max_ndvi", "least_cloudy"] = Field(
        "median", description="composite: the statistic.", json_schema_extra=later()
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for key, field in type(self).model_fields.items():
            if key in self.model_fields_set and key not in {"method", *_SELECT_KEYS[self.method]}:
                raise refused(f"is no option of method {self.method!r}", at=field.alias or key)
        return self


class Steps(Node):
    """How many steps a series has: every sample has as many, without data where dates are missing."""

    min: Count | None = Field(None, description="At least this many dates, else the chip is dropped.")
    max: Count | None = Field(None, description="Steps of every sample, as `max` of `select` says.")
    missing: Literal["drop", "nodata"] = Field(
        "drop",
        description="Without `min`: drop a chip that lacks a date, or leave those steps without data.",
    )

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refused(f"is more than max, {self.max}", at="min")
        return self


class Widen(LaterNode):
    """Search again in a wider window where nothing was found."""

    by: Duration = Field(description="Wider on both sides by this, such as 14d.")
    times: Count = Field(1, description="How often.")


class Fill(LaterNode):
    """Fill small holes."""

    method: Literal["nearest"] = Field("nearest", description="The method.")
    max: Percent | None = Field(None, description="At most this share of a chip, such as 1%.")


class Stretch(LaterNode):
    """Stretch values between two quantiles."""

    quantile: tuple[PercentNumber, PercentNumber] = Field(description="Lower and upper, in percent.")


class Encode(LaterNode):
    """How values are stored; acts on source values."""

    dtype: (
        Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"] | None
    ) = Field(None, description="Type of the stored numbers.")
    scale: Number = Field(1.0, description="Factor.")
    offset: Number = Field(0.0, description="Offset, after the factor.")
    add: Number = Field(0.0, description="Added to source values first.")
    clip: tuple[Number, Number] | None = Field(None, description="Least and largest value.")
    nodata: Number | Literal["nan"] | None = Field(None, description="Value of no data.")
    fill: Fill | None = Field(None, description="Fill small holes.")
    stretch: Stretch | None = Field(None, description="Stretch between quantiles.")


class Pair(LaterNode):
    """Take the scene that goes with another layer's."""

    with_: Text = Field(alias="with", description="The other imagery layer.")
    within_days: NotNegative = Field(description="Largest difference in time, in days.")
    same: tuple[Literal["orbit_state", "relative_orbit", "platform"], ...] = Field(
        (), description="Properties that all scenes of a chip share."
    )
    if_missing: Literal["drop", "nodata", "reselect"] = Field(
        "drop", description="What becomes of a chip without a partner."
    )


class Register(LaterNode):
    """Shift a layer onto another."""

    to: Text = Field(description="The layer that stays.")
    max_shift_px: Positive = Field(description="Largest shift that is believed, in pixels.")


class Imagery(Node):
    """One imagery layer."""

    collection: Text = Field(description="Collection by its canonical name, such as sentinel-2-l2a.")
    bands: Names = Field(
        description="Bands by common name (blue, nir, swir16) or by a provider's key, in order."
    )
    catalog: Text | None = Field(
        None, description="Instead of the top one: provider name, STAC API URL, or a path."
    )
    provider: Text | None = Field(None, description="Treat this layer's catalog as that provider.")
    edition: Year | None = Field(None, description="Edition of the collection.", json_schema_extra=later())
    items: Items | None = Field(None, description="Pinned scenes.", json_schema_extra=later())
    where: Where = Field(
        default_factory=dict,
        description="Item properties (cloud, orbit, platform, any other): a value, '<20', or a list.",
    )
    time: (
        Annotated[
            Annotated[Interval, Tag("\0text")] | Annotated[TimeRule, Tag("\0map")],
            one_of("an interval such as 2021-06-01/2021-08-31"),
        ]
        | None
    ) = Field(
        None,
        description="2021-06-01/2021-08-31, UTC, last day included; `..` is open; or by column, table, year.",
    )
    select: Select = Field(default_factory=Select, description="Which scenes a chip takes.")
    steps: Steps | None = Field(None, description="Steps of a series.")
    widen: Widen | None = Field(None, description="Search again, wider.", json_schema_extra=later())
    max_candidates: Count = Field(
        8, description="At most this many candidates are measured a chip; of a series a step."
    )
    max_cloud: PercentNumber | None = Field(None, description="Most cloud in a chip, in percent of its data.")
    min_valid: PercentNumber = Field(0.0, description="Least valid share of a chip, in percent.")
    mask: Literal["keep", "blank"] = Field("keep", description="blank: bad pixels become no data.")
    write_mask: Flag = Field(True, description="Write `<layer>_mask`: 0 clear, 1 bad, 255 no data.")
    bad: tuple[Whole, ...] | None = Field(
        None, description="Mask codes that are bad, instead of the collection's own."
    )
    dilate_m: NotNegative = Field(
        0.0, description="Grow bad pixels by this many metres.", json_schema_extra=later()
    )
    native: Flag = Field(
        False, description="One layer a resolution, on the source's own grid.", json_schema_extra=later()
    )
    resolution: Positive | None = Field(
        None, description="Own grid over the same centre: metres a pixel.", json_schema_extra=later()
    )
    extent_m: Positive | None = Field(
        None, description="Own grid over the same centre: its side in metres.", json_schema_extra=later()
    )
    resample: Annotated[
        Annotated[Resampling, Tag("\0text")] | Annotated[dict[Text, Resampling], Tag("\0map")],
        one_of("a method, or a mapping of band to method"),
    ] = Field(
        "auto",
        description="auto: mean where the target is at least twice as coarse, else bilinear. Or by band.",
        json_schema_extra=later("cubic", "mode"),
    )
    unit: Literal["native", "reflectance", "dB", "linear"] = Field(
        "native", description="Unit of the values.", json_schema_extra=later("reflectance", "dB", "linear")
    )
    encode: Encode | None = Field(None, description="How values are stored.", json_schema_extra=later())
    derive: dict[Name, Text] = Field(
        default_factory=dict, description="Further bands: name to formula.", json_schema_extra=later()
    )
    pair: Pair | None = Field(
        None, description="Take the scene that goes with another layer's.", json_schema_extra=later()
    )
    register_: Annotated[
        Annotated[Literal["off"], Tag("\0text")] | Annotated[Register, Tag("\0map")],
        one_of("off, or {to:, max_shift_px:}"),
    ] = Field(
        "off", alias="register", description="Shift this layer onto another.", json_schema_extra=later()
    )

    @property
    def series_steps(self) -> int | None:
        """Steps of every sample where this is a series."""
        return self.select.max or (self.steps.max if self.steps is not None else None)

    @model_validator(mode="after")
    def _series(self) -> Self:
        if self.select.method in _ONE_STEP and self.steps is not None:
            raise refused(f"select.method {self.select.method!r} has one step", at="steps")
        if self.select.method != "series":
            return self
        if self.series_steps is None:
            raise refused("a series needs max: every sample has as many steps", at="select")
        try:
            gap = duration(self.select.min_gap or "0d")
        except OverflowError:
            raise refused("is longer than time is counted", at="select.min_gap") from None
        if gap < timedelta(0):
            raise refused("is less than no time", at="select.min_gap")
        if self.steps is not None:
            if self.select.max is not None and self.steps.max not in {None, self.select.max}:
                raise refused(f"select.max says {self.select.max}", at="steps.max")
            if self.steps.min is not None and self.steps.min > self.series_steps:
                raise refused(f"is more than max, {self.series_steps}", at="steps.min")
        return self

    @model_validator(mode="after")
    def _resample_bands(self) -> Self:
        if isinstance(self.resample, dict):
            for band in self.resample:
                if band not in self.bands:
                    raise refused(f"{band!r} is none of this layer's bands", at=f"resample.{band}")
        return self
