"""In which numbers an imagery layer is worked on and written: decided once a build, from its collection and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chipweave.errors import RecipeError
from chipweave.model import Band, Collection
from chipweave.pixels.coding import Coding, default_nodata
from chipweave.pixels.gaps import Working, blank
from chipweave.pixels.radiometry import Power
from chipweave.recipe.imagery import Encode

REFLECTANCE = 0.0001
"""Reflectance of one unit of int16 (contract, section 3)."""

STRETCHED = "stretched"
"""Unit of what is stretched between quantiles of each chip's own."""

RADAR = ("linear", "dB")


@dataclass(frozen=True, slots=True)
class ValueRule:
    """How a layer's numbers come about.

    Parameters
    ----------
    dtype
        Of working arrays.
    scale, offset, unit
        Physical value of what samples hold, as they say it.
    scales
        (gain, add) by band, from source values to working ones; as they are where a band is not named.
    power
        How radar files store backscatter, else empty.
    coding
        How samples are coded, where the recipe says; else they hold working values.
    source
        (scale, offset) from working arrays to physical values, where samples hold codes.
    """

    dtype: Working
    scale: float
    unit: str
    offset: float = 0.0
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    power: Power = ""
    coding: Coding | None = None
    source: tuple[float, float] | None = None

    @property
    def physical(self) -> tuple[float, float]:
        """(scale, offset) from working arrays to physical values."""
        return self.source or (self.scale, self.offset)

    @property
    def written(self) -> str:
        """Unit of what samples hold: a stretch, which every chip has of its own, leaves none."""
        return STRETCHED if self.coding is not None and self.coding.stretch is not None else self.unit

    @property
    def stored(self) -> tuple[str, float]:
        """Type of what samples hold, and its value of no data."""
        if self.coding is not None:
            return self.coding.dtype, self.coding.nodata
        return self.dtype, float(blank((), self.dtype))


def value_rule(
    layer: str, collection: Collection, bands: Sequence[str], wish: str, encode: Encode | None = None
) -> ValueRule:
    """Rule of one layer; `wish` is the recipe's `unit`.

    Raises
    ------
    RecipeError
        Bands of different units in one layer, a unit that the collection's values cannot be brought to, or an
        encoding that cannot be.
    """
    known = [band for name in bands for band in collection.bands if band.name == name]
    unit = _unit(layer, collection, known)
    if wish not in {"native", unit} and not (wish in RADAR and unit in RADAR):
        raise RecipeError(
            f"imagery.{layer}.unit: {wish}: {collection.name} holds {unit}",
            hint="leave it out, or say native",
        )
    codes = encode is not None and bool(
        encode.model_fields_set - {"fill"}
    )  # holes may be filled of any layer
    if unit in RADAR:
        power: Power = "dB" if unit == "dB" else "linear"
        rule = ValueRule("float32", 1.0, unit if wish == "native" else wish, power=power)
    else:
        rule = _plain(layer, collection, known, unit, physical=wish != "native", coded=codes)
    if encode is None or not codes:
        return rule
    coding = _coding(f"imagery.{layer}.encode", encode)
    stretched = coding.stretch is not None
    scale, offset = (1.0, 0.0) if stretched else coding.physical(rule.scale, rule.offset)
    return replace(rule, scale=scale, offset=offset, coding=coding, source=(rule.scale, rule.offset))


def _unit(layer: str, collection: Collection, bands: Sequence[Band]) -> str:
    first, unit = bands[0], bands[0].unit or collection.unit
    for band in bands[1:]:
        other = band.unit or collection.unit
        if other != unit:
            raise RecipeError(
                f"imagery.{layer}.bands: {first.name} is in {unit}, {band.name} in {other}",
                hint="give them layers of their own: the bands of a layer share one unit",
            )
    return unit


def _plain(
    layer: str, collection: Collection, bands: Sequence[Band], unit: str, *, physical: bool, coded: bool
) -> ValueRule:
    """Of what is no radar: int16 of reflectance and of plain numbers, floats of everything else.

    What is coded afterwards does not pass through int16: it is worked on as source values, or, where `physical` is
    asked for, as physical ones.
    """
    scales = {
        band.name: (
            collection.scale if band.scale is None else band.scale,
            collection.offset if band.offset is None else band.offset,
        )
        for band in bands
    }
    if coded and not physical:
        if len(set(scales.values())) > 1:
            raise RecipeError(
                f"imagery.{layer}.encode: the source values of its bands do not mean the same",
                hint=f"say unit: {unit}, then physical values are encoded",
            )
        scale, offset = scales[bands[0].name]
        return ValueRule("float32", scale, unit, offset)
    if coded or unit not in {"reflectance", "DN"}:
        return ValueRule("float32", 1.0, unit, scales=scales)
    one = REFLECTANCE if unit == "reflectance" else 1.0
    # Without the last digits that a division by 0.0001 invents.
    own = {name: (round(gain / one, 9), round(add / one, 9)) for name, (gain, add) in scales.items()}
    return ValueRule("int16", one, unit, scales=own)


def _coding(where: str, wish: Encode) -> Coding:
    dtype = wish.dtype or "float32"
    nodata = default_nodata(dtype) if wish.nodata is None else float(wish.nodata)
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.floating):
        fits = bool(np.isnan(nodata)) or float(kind.type(nodata)) == nodata
    else:
        limits = np.iinfo(kind)
        fits = nodata.is_integer() and limits.min <= nodata <= limits.max
    if not fits:
        raise RecipeError(f"{where}.nodata: {wish.nodata} is no {dtype}")
    stretch = (
        None if wish.stretch is None else (wish.stretch.quantile[0] / 100, wish.stretch.quantile[1] / 100)
    )
    return Coding(dtype, wish.scale, wish.offset, wish.add, wish.clip, nodata, stretch)


def filled_share(wish: Encode | None) -> float:
    """Share of a chip, 0 to 1, up to which its holes are filled."""
    if wish is None or wish.fill is None:
        return 0.0
    return 1.0 if wish.fill.max is None else float(wish.fill.max.rstrip("%")) / 100
