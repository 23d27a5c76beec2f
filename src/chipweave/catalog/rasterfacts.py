"""What a raster of the user's own says of itself: its place, its bands, their numbers, and its date."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import rasterio
import rasterio.errors
from rasterio.enums import ColorInterp

from chipweave.catalog.footprint import crs_text
from chipweave.catalog.formats import open_raster
from chipweave.catalog.hrefs import is_clean
from chipweave.catalog.stac import moment
from chipweave.errors import ChipweaveError, RecipeError

RASTERS: Final = frozenset({".tif", ".tiff", ".jp2"})
"""Endings of files that are read."""

_COLOURS: Final = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
_TAGS: Final = ("datetime", "DATETIME", "acquisition_date", "ACQUISITION_DATE", "date", "DATE")
"""Tags with a date. TIFF's own says when a file was written."""

_UNITS: Final = {
    "m": "m", "metre": "m", "meter": "m", "metres": "m", "meters": "m",
    "k": "K", "kelvin": "K", "db": "dB", "decibel": "dB", "decibels": "dB",
    "dn": "DN", "reflectance": "reflectance",
}  # fmt: skip
_SMALL: Final = frozenset({"uint8", "int8", "int16"})

_DAY = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(?P<sep>[-_.]?)(0[1-9]|1[0-2])(?P=sep)(0[1-9]|[12]\d|3[01])"
    r"(?:T(\d\d)[-:]?(\d\d)[-:]?(\d\d)|[_ ](\d\d)[-:](\d\d)[-:](\d\d))?(?!\d)"
)
_DAY_OF_YEAR = re.compile(r"[A.]((?:19|20)\d\d)([0-3]\d\d)(?:T(\d\d)(\d\d)(\d\d))?(?!\d)")
_MONTH = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_](0[1-9]|1[0-2])(?!\d)")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")

Span = tuple[datetime, datetime]
"""First and last moment, UTC."""


@dataclass(frozen=True, slots=True)
class BandFacts:
    """One band of a file; `names` are those that it may go by, `b1` for the first one always among them."""

    names: tuple[str, ...]
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str


@dataclass(frozen=True, slots=True)
class RasterFacts:
    """One file: `crs` as a scene has it, `transform` six numbers in affine order, `shape` (rows, columns)."""

    path: Path
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    bands: tuple[BandFacts, ...]
    when: Span | None


def raster_facts(path: Path) -> RasterFacts:
    """Read a file's header.

    Raises
    ------
    RecipeError
        It is no GeoTIFF or JPEG 2000 that can be read, has no place on Earth, or numbers that cannot be told.
    """
    if not is_clean(str(path)):
        raise RecipeError(f"{path.name!r}: control characters in the name")
    try:
        with warnings.catch_warnings():
            # Said below, as an error: a raster without a transform has no place.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with open_raster(str(path), str(path)) as source:
                return _facts(source, path)
    except rasterio.errors.RasterioError as error:
        raise RecipeError(f"{path}: cannot be read as a raster: {str(error).splitlines()[0]}") from None
    except RecipeError:
        raise
    except ChipweaveError as error:
        raise RecipeError(error.message) from None


def _facts(source: rasterio.DatasetReader, path: Path) -> RasterFacts:
    crs = crs_text(source.crs.to_wkt()) if source.crs else ""
    if not crs or source.transform.is_identity:
        raise RecipeError(f"{path}: has no CRS, or no place in it")
    said = [str(d or "").strip() for d in source.descriptions]
    bands = tuple(_band(source, i, said) for i in range(source.count))
    for i, band in enumerate(bands, start=1):
        if not (math.isfinite(band.scale) and band.scale > 0 and math.isfinite(band.offset)):
            raise RecipeError(f"{path}: band {i} has the scale {band.scale:g} and the offset {band.offset:g}")
    when = date_of(path.stem) or _tagged(source.tags())
    return RasterFacts(path, crs, tuple(source.transform)[:6], (source.height, source.width), bands, when)


def _band(source: rasterio.DatasetReader, i: int, said: list[str]) -> BandFacts:
    dtype = str(source.dtypes[i])
    colour = _COLOURS.get(source.colorinterp[i], "")
    # A description that several bands share, such as "band", names none of them.
    name = said[i] if said[i] and said.count(said[i]) == 1 and is_clean(said[i]) else ""
    scale, offset = float(source.scales[i]), float(source.offsets[i])
    return BandFacts(
        # Of three bands of bytes GDAL says red, green and blue, whatever they are: what is written there counts.
        names=tuple(dict.fromkeys(n for n in (name or colour, f"b{i + 1}") if n)),
        dtype=dtype,
        nodata=None if source.nodatavals[i] is None else float(source.nodatavals[i]),
        scale=scale,
        offset=offset,
        unit=_unit(str(source.units[i] or "").strip(), dtype, scaled=(scale, offset) != (1.0, 0.0)),
    )


def _unit(stated: str, dtype: str, *, scaled: bool) -> str:
    """Unit as collections have it; small whole numbers without one are counts, other numbers just numbers."""
    if stated and is_clean(stated):
        return _UNITS.get(stated.lower(), stated[:32])
    return "DN" if dtype in _SMALL and not scaled else "unknown"


def _tagged(tags: Mapping[str, Any]) -> Span | None:
    return next((found for key in _TAGS if key in tags and (found := span_of(str(tags[key])))), None)


def span_of(text: str) -> Span | None:
    """First and last moment of a stated time: a moment, a day, a month, a year; None where it is none."""
    at = moment(text)
    if at is not None and ("T" in text or ":" in text):
        return at, at
    return date_of(text)


def date_of(text: str) -> Span | None:
    """The first date in a name: a moment where it has a time of day, else the whole day, month or year."""
    if match := _DAY.search(text):
        year, _, month, day = match.group(1, 2, 3, 4)
        clock = [g for g in match.groups()[4:] if g is not None]
        return _moment_or_day(f"{year}-{month}-{day}", clock)
    if match := _DAY_OF_YEAR.search(text):
        year, number = int(match.group(1)), int(match.group(2))
        day = (datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=number - 1)).date()
        clock = [g for g in match.groups()[2:] if g is not None]
        return _moment_or_day(day.isoformat(), clock) if number >= 1 and day.year == year else None
    if match := _MONTH.search(text):
        year, month = int(match.group(1)), int(match.group(2))
        first = datetime(year, month, 1, tzinfo=UTC)
        return first, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(microseconds=1)
    if match := _YEAR.search(text):
        first = datetime(int(match.group(1)), 1, 1, tzinfo=UTC)
        return first, first.replace(year=first.year + 1) - timedelta(microseconds=1)
    return None


def _moment_or_day(day: str, clock: list[str]) -> Span | None:
    at = moment(f"{day}T{':'.join(clock)}") if clock else None
    if at is not None:
        return at, at
    first = moment(day)
    return None if first is None else (first, first + timedelta(days=1) - timedelta(microseconds=1))
