"""The Sentinel-2 offset: from the numbers that a file stores to reflectance in units of 0.0001."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chipweave.catalog.stac import Item, items_of, mapping, number, properties

UNIT: Final = 1e-4
"""Reflectance of one output unit."""

BASELINE_SHIFT: Final = -1000.0
"""Stored offset of processing baselines from 04.00 on, in stored numbers."""

FLAGS: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_PROPERTIES: Final = ("s2:processing_baseline", "sentinel:processing_baseline")
_NAMES: Final = ("s2:product_uri", "sentinel:product_id", "s2:granule_id", "s2:datatake_id")
_DOTTED = re.compile(r"N?(\d{1,2})\.(\d{1,2})")
_IN_NAME = re.compile(r"_N(\d{2})\.?(\d{2})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Stated:
    """What an item says of one band.

    Parameters
    ----------
    applied
        The catalog's flag that the offset was taken off the stored values, None where it has none.
    scale, offset
        As stated for the asset: ``reflectance = stored * scale + offset``; None where not stated.
    baseline
        Processing baseline as a number (4.0 for 04.00), None where unknown.
    """

    applied: bool | None = None
    scale: float | None = None
    offset: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Radiometry:
    """``stored * gain + add`` is reflectance in units of 0.0001; `note` warns where that is a guess."""

    gain: float
    add: float
    note: str = ""


def baseline_of(item: Item) -> float | None:
    """Processing baseline from the properties, else from the product's name; None where neither tells."""
    p = properties(item)
    for key in (*_PROPERTIES, "processing:version"):
        # processing:version may be that of any software: only a form such as 05.00 is a baseline.
        found = _baseline(p.get(key), loose=key in _PROPERTIES)
        if found is not None:
            return found
    for text in (*(p.get(k) for k in _NAMES), item.get("id")):
        match = _IN_NAME.search(text) if isinstance(text, str) else None
        if match:
            return int(match.group(1)) + int(match.group(2)) / 100
    return None


def _baseline(value: object, *, loose: bool) -> float | None:
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if match := _DOTTED.fullmatch(text):
        return float(f"{match.group(1)}.{match.group(2)}")
    if loose and (match := re.fullmatch(r"N?(\d{2})(\d{2})", text)):
        return int(match.group(1)) + int(match.group(2)) / 100
    return number(text) if loose and text else None


def stated_of(item: Item, asset: Mapping[str, Any], index: int) -> Stated:
    """What an item says of band `index` (from 1) of an asset."""
    p = properties(item)
    flag = next((p[k] for k in FLAGS if isinstance(p.get(k), bool)), None)
    scale, offset = _scale_offset(asset, index)
    if scale == 1.0 and not _is_float(asset, index):
        # What GDAL reports of a file without scale and offset, copied by tools into items: it states nothing.
        scale, offset = None, offset or None
    return Stated(flag, scale, offset, baseline_of(item))


def band_facts(asset: Mapping[str, Any], index: int) -> list[tuple[Mapping[str, Any], str]]:
    """Where an asset may state facts of its band `index` (from 1), and the prefix of their names there.

    In raster:bands (v1) names are plain; in `bands` (STAC 1.1) and on the asset they begin with ``raster:``.
    """
    found = []
    for key, prefix in (("raster:bands", ""), ("bands", "raster:"), ("eo:bands", "raster:")):
        listed = items_of(asset.get(key))
        if len(listed) >= index:
            found.append((mapping(listed[index - 1]), prefix))
    return [*found, (asset, "raster:")]


def _scale_offset(asset: Mapping[str, Any], index: int) -> tuple[float | None, float | None]:
    for facts, prefix in band_facts(asset, index):
        scale, offset = number(facts.get(f"{prefix}scale")), number(facts.get(f"{prefix}offset"))
        if scale is not None or offset is not None:
            return (scale if scale and scale > 0 else None), offset
    return None, None


def _is_float(asset: Mapping[str, Any], index: int) -> bool:
    return any(str(f.get("data_type", "")).startswith("float") for f, _ in band_facts(asset, index))


def _gain(stated: Stated) -> float:
    return _round(stated.scale / UNIT) if stated.scale is not None else 1.0


def _round(value: float) -> float:
    """Without the last digits that division by 0.0001 invents."""
    return float(round(value, 9)) + 0.0


def _none(stated: Stated) -> Radiometry:
    return Radiometry(_gain(stated), 0.0)


def _stated(stated: Stated) -> Radiometry | None:
    if stated.offset is None:
        return None
    gain = _gain(stated)
    if abs(stated.offset) > 1.0:  # more than any reflectance: it counts stored numbers
        return Radiometry(gain, _round(stated.offset * gain))
    return Radiometry(gain, _round(stated.offset / UNIT))


def _by_baseline(stated: Stated) -> Radiometry | None:
    if stated.baseline is None:
        return None
    gain = _gain(stated)
    return Radiometry(gain, _round(BASELINE_SHIFT * gain) if stated.baseline >= 4.0 else 0.0)


def _guess(stated: Stated, why: str) -> Radiometry:
    return Radiometry(_gain(stated), 0.0, why)


def contract_rule(stated: Stated) -> Radiometry:
    """Flag, then what is stated, then the baseline (contract, section 1)."""
    if stated.applied:
        return _none(stated)
    return (
        _stated(stated)
        or _by_baseline(stated)
        or _guess(stated, "neither offset nor processing baseline stated, no offset applied")
    )


def flag_rule(stated: Stated) -> Radiometry:
    """Earth Search: the flag decides; where it is false the values are as ESA delivers them."""
    if stated.applied is None:
        return contract_rule(stated)
    return _none(stated) if stated.applied else _by_baseline(stated) or contract_rule(stated)


def baseline_rule(stated: Stated) -> Radiometry:
    """Planetary Computer: values are as ESA delivers them, and no item says so."""
    return _by_baseline(stated) or _guess(stated, "no processing baseline stated, no offset applied")


def stated_rule(stated: Stated) -> Radiometry:
    """A provider whose items state the offset and mean it."""
    return _stated(stated) or contract_rule(stated)


def no_rule(stated: Stated) -> Radiometry:
    """A provider whose stored values have no offset."""
    return _none(stated)


RULES: Final[Mapping[str, Callable[[Stated], Radiometry]]] = {
    "": contract_rule,
    "flag": flag_rule,
    "baseline": baseline_rule,
    "stated": stated_rule,
    "none": no_rule,
}
"""Rules that a provider file may name; the empty one is the contract's own order."""


NOTHING_TO_DO: Final = Radiometry(1.0, 0.0)
"""Source values are what the file stores."""


def stated_values(asset: Mapping[str, Any], index: int) -> Radiometry:
    """Gain and add of a band by the scale and offset that its asset states; as stored where it states none."""
    scale, offset = _scale_offset(asset, index)
    return Radiometry(scale or 1.0, offset or 0.0)


def sentinel2(item: Item, asset: Mapping[str, Any], index: int, rule: str = "") -> Radiometry:
    """Gain and add of one reflectance band.

    Parameters
    ----------
    item, asset, index
        The asset that holds the band, and its index from 1.
    rule
        Name of the provider's rule in `RULES`; empty where the provider has none.
    """
    return RULES[rule](stated_of(item, asset, index))
