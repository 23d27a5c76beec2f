"""What is seen: `imagery.<layer>`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Tag, model_validator

from chipweave.recipe.base import (
    Count,
    Flag,
    Interval,
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
    one_of,
    refused,
)
from chipweave.recipe.formula import Formula
from chipweave.recipe.interval import duration, interval
from chipweave.recipe.timing import ONE_STEP, Select, Steps, TimeRule, Widen, check_times
from chipweave.recipe.windows import wider

Resampling = Literal["auto", "nearest", "bilinear", "cubic", "mean", "mode"]


class Items(Node):
    """Scenes that are pinned."""

    file: Text = Field(
        description="Item ids: text with one a line, a .csv with a column `item` or `id`, or .json: a list of them, or "
        "an ItemCollection."
    )


class Fill(Node):
    """Fill small holes."""

    method: Literal["nearest"] = Field("nearest", description="The value of the nearest pixel with data.")
    max: Percent | None = Field(
        None,
        description="Where at most this share of a picture lacks data, such as 1%; else it stays as it is.",
    )

    @model_validator(mode="after")
    def _share(self) -> Self:
        if self.max is not None and float(self.max.rstrip("%")) > 100:
            raise refused(f"{self.max} is more than all of a picture", at="max")
        return self


class Stretch(Node):
    """Stretch each band of each picture between two of its own quantiles, over the type's codes from 0 on."""

    quantile: tuple[PercentNumber, PercentNumber] = Field(description="Lower and upper, in percent.")

    @model_validator(mode="after")
    def _order(self) -> Self:
        low, high = self.quantile
        if low >= high:
            raise refused(f"{low:g} is not below {high:g}", at="quantile")
        return self


class Encode(Node):
    """How values are stored: ``clip(source + add) * scale + offset``, of source values or those of a stated `unit`."""

    dtype: (
        Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"] | None
    ) = Field(None, description="Type of the stored numbers.")
    scale: Number = Field(1.0, description="Factor.")
    offset: Number = Field(0.0, description="Offset, after the factor.")
    add: Number = Field(0.0, description="Added to source values first.")
    clip: tuple[Number, Number] | None = Field(
        None, description="Least and largest value, after `add` and before the factor."
    )
    nodata: Number | Literal["nan"] | None = Field(
        None,
        description="Code of no data, which no data takes: nan, 0 of unsigned types, the least of signed ones.",
    )
    fill: Fill | None = Field(None, description="Fill small holes, before values are encoded.")
    stretch: Stretch | None = Field(
        None,
        description="Stretch between quantiles, in place of add, clip, scale and offset; every sample says its own.",
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.scale == 0:
            raise refused("0 leaves nothing of the values", at="scale")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise refused(f"{self.clip[0]:g} is not below {self.clip[1]:g}", at="clip")
        beside = sorted({"add", "clip", "offset", "scale"} & self.model_fields_set)
        if self.stretch is not None and beside:
            raise refused(
                f"{beside[0]} beside it: the stretch says both; leave {beside[0]} out", at="stretch"
            )
        return self


class Pair(Node):
    """Take the scene that goes with another layer's."""

    with_: Text = Field(alias="with", description="The other imagery layer.")
    within_days: NotNegative = Field(description="Largest difference in time, in days.")
    same: tuple[Literal["orbit_state", "relative_orbit", "platform"], ...] = Field(
        (), description="Properties that all scenes of a chip share."
    )
    if_missing: Literal["drop", "nodata", "reselect"] = Field(
        "drop", description="What becomes of a chip without a partner."
    )


class Register(Node):
    """Tell how far a layer lies from another, chip by chip, and move it there."""

    to: Text = Field(
        description="The layer that stays, of the same pixels; a series itself: its clearest date. Where the two are "
        "of other kinds (optical, radar) fifty neighbours have to agree."
    )
    max_shift_px: Positive | None = Field(
        None,
        description="Longest shift that is believed, in pixels: shorter ones are corrected, longer ones drop the chip. "
        "Without it shifts stand in the index, and nothing is moved.",
    )


def _check_formula(text: str) -> str:
    try:
        Formula(text)
    except ValueError as error:
        raise refused(str(error)) from None
    return text


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
    edition: Year | None = Field(None, description="Edition of the collection, where it has some.")
    items: Items | None = Field(
        None, description="Pinned scenes: no others are taken. Of these `select` chooses as ever."
    )
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
    widen: Widen | None = Field(
        None, description="Search again, wider, for each step that found nothing within limits."
    )
    max_candidates: Count = Field(
        8,
        description="At most this many candidates are measured a chip; of several steps each. Of a composite all, "
        "where not given.",
    )
    max_cloud: PercentNumber | None = Field(None, description="Most cloud in a chip, in percent of its data.")
    min_valid: PercentNumber = Field(0.0, description="Least valid share of a chip, in percent.")
    mask: Literal["keep", "blank"] = Field("keep", description="blank: bad pixels become no data.")
    write_mask: Flag = Field(True, description="Write `<layer>_mask`: 0 clear, 1 bad, 255 no data.")
    bad: tuple[Annotated[Whole, Field(ge=0)], ...] | None = Field(
        None,
        description="Mask codes that are bad, instead of the collection's own; numbers of bits where it has bits.",
    )
    dilate_m: NotNegative = Field(
        0.0, description="Grow bad pixels by this many metres, before they are counted."
    )
    native: Flag = Field(
        False, description="One layer a resolution, `<layer>_10m` and so on, each on the source's own grid."
    )
    resolution: Positive | None = Field(None, description="Own grid over the same centre: metres a pixel.")
    extent_m: Positive | None = Field(
        None, description="Own grid over the same centre: its side in metres, at most the chip's."
    )
    resample: Annotated[
        Annotated[Resampling, Tag("\0text")] | Annotated[dict[Text, Resampling], Tag("\0map")],
        one_of("a method, or a mapping of band to method"),
    ] = Field(
        "auto",
        description="auto: mean where the target is at least twice as coarse, else bilinear. Or by band. cubic: of the "
        "sixteen pixels about a centre, also where the target is coarser.",
    )
    unit: Literal["native", "reflectance", "dB", "linear"] = Field(
        "native",
        description="native: as the collection has it. Radar: linear power, or dB of it; averaged as power always.",
    )
    encode: Encode | None = Field(None, description="How values are stored.")
    derive: dict[Name, Annotated[Text, AfterValidator(_check_formula)]] = Field(
        default_factory=dict,
        description="Further bands: name to formula of physical values, such as (nir - red) / (nir + red).",
    )
    pair: Pair | None = Field(None, description="Take the scene that goes with another layer's.")
    register_: Annotated[
        Annotated[Literal["off"], Tag("\0text")] | Annotated[Register, Tag("\0map")],
        one_of("off, or {to:, max_shift_px:}"),
    ] = Field(
        "off", alias="register", description="Lay this layer onto another, or tell how far it lies off."
    )

    @property
    def series_steps(self) -> int | None:
        """Steps of every sample where this is a series."""
        return self.select.max or (self.steps.max if self.steps is not None else None)

    @property
    def searched(self) -> tuple[datetime, datetime] | None:
        """First and last moment of what the catalog is asked for, where it is the same for all chips."""
        if not isinstance(self.time, str):
            return None
        found = interval(self.time)
        return wider(found, duration(self.widen.by) * self.widen.times) if self.widen is not None else found

    @model_validator(mode="after")
    def _slots(self) -> Self:
        check_times(self.time, self.select, self.steps, widens=self.widen is not None)
        return self

    @model_validator(mode="after")
    def _series(self) -> Self:
        if self.select.method in ONE_STEP and self.steps is not None:
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
