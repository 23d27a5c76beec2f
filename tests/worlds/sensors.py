"""The analytic world of every sensor: radar, Landsat and aerial shots, each point samples on a grid of its own.

A `Shot` is one item of a catalog. What is missing or bad lies in rectangles of its own pixels, so that everything
at a target pixel can be said from its coordinates alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from worlds.analytic import SPIKE, lonlat, write_raster
from worlds.fields import Field, Frame

QA = {
    "clear": 21824, "water": 21952, "maybe": 22080, "snow": 30048, "cloud": 22280, "shadow": 23888,
    "cirrus": 54596, "dilated": 21826, "fill": 1,
}  # fmt: skip
"""QA_PIXEL as Landsat Collection 2 really has it: bits for what it is, and pairs of bits for how sure that is."""
QA_BAD = ("cloud", "shadow", "cirrus", "dilated")
"""Kinds whose pixels are spiked. Snow, water and a cloud of medium confidence stay valid."""
HOT = 372.0
"""What a bad pixel's temperature is."""
QA_CLEAR = ("clear", "water", "maybe", "snow")

NO_POWER = {"zero": 0.0, "negative": -3e-4}
"""What radar files hold where there is no signal to speak of, and which is no data whatever the tag says."""
BLACK = "black"
"""Aerial: a rectangle of zeros, which are data."""


@dataclass(frozen=True)
class Sensor:
    """How a kind of product stores its values: ``physical = stored * scale + offset``.

    `unit` is that of the truth, of which one is `one` in a written array: reflectance is written as int16 x 0.0001.
    `nodata` is what holes hold; `tagged` whether file and item say so.
    """

    collection: str
    dtype: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0
    one: float = 1.0
    nodata: float | None = None
    tagged: bool = True


RTC = Sensor("sentinel-1-rtc", "float32", "linear", nodata=-32768.0)
RTC_NAN = Sensor("sentinel-1-rtc", "float32", "linear", nodata=float("nan"))
RTC_ZERO = Sensor("sentinel-1-rtc", "float32", "linear", nodata=0.0, tagged=False)
RTC_DB = Sensor("own-radar-db", "float32", "dB", nodata=-99.0)
LANDSAT = Sensor("landsat-c2-l2", "uint16", "reflectance", 2.75e-5, -0.2, 1e-4, 0.0)
THERMAL = Sensor("landsat-c2-l2", "uint16", "K", 0.00341802, 149.0, 1.0, 0.0)
AERIAL = Sensor("naip", "uint8", "DN")


def radar_fields(frame: Frame) -> dict[str, Field]:
    """Linear gamma0: VV from 0.04 to 0.28, VH from 0.007 to 0.053, so all of it above zero."""
    vv = Field(frame, 0.16, ((0.07, 1700.0, 35.0, 0.2), (0.05, 1300.0, 120.0, 1.0)))
    vh = Field(frame, 0.03, ((0.013, 1500.0, 75.0, 0.9), (0.010, 1250.0, 165.0, 2.0)))
    return {"vv": vv, "vh": vh}


def landsat_fields(frame: Frame) -> dict[str, Field]:
    """Reflectance x 10 000 (blue dips below zero, as dark water does), and surface temperature in kelvin."""
    made = {}
    for n, (name, base) in enumerate({"blue": 700, "red": 1900, "nir08": 2900, "swir16": 2400}.items()):
        waves = ((500.0, 2000.0, 15.0 + 41 * n, 0.5 * n), (350.0, 2600.0, 100.0 + 33 * n, 1.0 + 0.4 * n))
        made[name] = Field(frame, float(base), waves)
    made["lwir11"] = Field(frame, 298.0, ((9.0, 2300.0, 60.0, 0.3), (5.0, 3100.0, 150.0, 1.2)))
    return made


def aerial_fields(frame: Frame) -> dict[str, Field]:
    """Counts of 8 bits that change by several a metre: half a metre off shows."""
    made = {}
    for n, name in enumerate(("red", "green", "blue", "nir")):
        waves = ((62.0, 64.0 + 5 * n, 20.0 + 40 * n, 0.4 * n), (40.0, 90.0, 110.0 + 25 * n, 1.0 + n))
        made[name] = Field(frame, 126.0, waves)
    return made


@dataclass(frozen=True)
class Hole:
    """A rectangle of a shot's pixels: a key of `QA` or `NO_POWER`, `BLACK`, or ``none`` for no data.

    `bands` are those that it touches, all where empty.
    """

    kind: str
    col: int
    row: int
    width: int
    height: int
    bands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """One item: upper left corner (x, y) in `epsg`, `cols` x `rows` pixels of `res` metres.

    The truth is ``field * gain + shift``, which tells dates apart. `swath`: pixels with col + 0.4 row >= swath are
    without data. `speckle`: a seed where each radar pixel is multiplied by noise of its own: no truth to be held
    against then, but the file.
    """

    id: str
    sensor: Sensor
    epsg: int
    x: float
    y: float
    res: float
    cols: int
    rows: int
    time: str
    fields: dict[str, Field]
    gain: float = 1.0
    shift: float = 0.0
    holes: tuple[Hole, ...] = ()
    swath: float | None = None
    speckle: int = 0
    orbit: tuple[str, int] = ("", 0)
    platform: str = ""
    style: str = "pc"

    @property
    def crs(self) -> str:
        return f"EPSG:{self.epsg}"

    @property
    def collection(self) -> str:
        return self.sensor.collection

    @property
    def when(self) -> datetime:
        return datetime.fromisoformat(self.time)

    @property
    def affine(self) -> Affine:
        return Affine(self.res, 0.0, self.x, 0.0, -self.res, self.y)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.x, self.y - self.rows * self.res, self.x + self.cols * self.res, self.y

    def sensor_of(self, band: str) -> Sensor:
        return THERMAL if band == "lwir11" else self.sensor

    def truth(self, band: str, lon, lat):
        """What a written pixel at that point should be: linear power, reflectance x 10 000, kelvin or counts."""
        if band == "lwir11":
            return self.fields[band].value(lon, lat) + self.shift / 100
        return self.fields[band].value(lon, lat) * self.gain + self.shift

    def bound(self, band: str, lon, lat, whole):
        """The largest |out - truth| that the issue allows, in units of the truth, but for the 1 DN or 0.01 dB."""
        f, h = self.fields[band], self.res
        fx, fy = f.gradient(lon, lat)
        fxx, fyy, _ = f.second(lon, lat)
        allowed = 0.05 * h * np.hypot(fx, fy) + h * h / 8 * (np.abs(fxx) + np.abs(fyy))
        # Where the 2 x 2 is not whole the weights that are left may sit half a pixel off along each axis.
        return self.gain * (allowed + np.where(whole, 0.0, 0.5 * h * (np.abs(fx) + np.abs(fy))))

    @cached_property
    def kinds(self) -> dict[str, np.ndarray]:
        """By band and ``""`` for all of them, (rows, cols): what lies there, as text; empty where nothing does."""
        row, col = np.mgrid[: self.rows, : self.cols]
        made = {band: np.full((self.rows, self.cols), "", "<U8") for band in ("", *self.fields)}
        for hole in self.holes:
            for band in hole.bands or tuple(made):
                made[band][hole.row : hole.row + hole.height, hole.col : hole.col + hole.width] = hole.kind
        if self.swath is not None:
            for kinds in made.values():
                kinds[col + 0.4 * row >= self.swath] = "none"
        return made

    @cached_property
    def valid(self) -> dict[str, np.ndarray]:
        """By band and ``""`` (of the mask), (rows, cols): where there is data."""
        gone = ("none", "fill", *NO_POWER)
        return {band: ~np.isin(kinds, gone) for band, kinds in self.kinds.items()}

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude of every pixel's centre."""
        x = self.x + (np.arange(self.cols) + 0.5) * self.res
        y = self.y - (np.arange(self.rows) + 0.5) * self.res
        return lonlat(self.crs, *np.meshgrid(x, y))

    def stored(self, band: str) -> np.ndarray:
        """What the file holds, (rows, cols)."""
        sensor, kinds = self.sensor_of(band), self.kinds[band]
        value = self.truth(band, *self.grid)
        if self.speckle:
            rng = np.random.default_rng([self.speckle, len(band), ord(band[-1])])
            value = value * rng.gamma(1.5, 1 / 1.5, value.shape)
        value = np.where(np.isin(kinds, QA_BAD), HOT if band == "lwir11" else SPIKE, value)
        value = np.where(kinds == BLACK, 0.0, value)
        if sensor.unit == "dB":
            value = 10 * np.log10(value)
        value = (value * sensor.one - sensor.offset) / sensor.scale
        if sensor.dtype != "float32":
            value = np.rint(value)
            assert (value >= (0 if sensor.nodata is None else 1)).all(), (self.id, band, value.min())
        for kind, power in NO_POWER.items():
            value = np.where(kinds == kind, -np.inf if sensor.unit == "dB" else power, value)
        if sensor.nodata is not None:
            value = np.where(np.isin(kinds, ("none", "fill")), sensor.nodata, value)
        return value.astype(sensor.dtype)

    def codes(self) -> np.ndarray:
        """QA_PIXEL, (rows, cols): stripes of every clear code, and what the holes are."""
        stripes = np.array([QA[kind] for kind in QA_CLEAR], np.uint16)
        codes = np.tile(stripes[(np.arange(self.cols) // 7) % len(stripes)], (self.rows, 1))
        kinds = self.kinds[""]
        for kind, code in QA.items():
            codes[kinds == kind] = code
        codes[kinds == "none"] = QA["fill"]
        return codes

    def at(self, array: np.ndarray, x, y, outside: Any = False):
        """`array` (rows, cols) at the pixels under points in the shot's CRS."""
        col = np.floor((x - self.x) / self.res).astype(int)
        row = np.floor((self.y - y) / self.res).astype(int)
        inside = (col >= 0) & (row >= 0) & (col < self.cols) & (row < self.rows)
        found = array[np.clip(row, 0, self.rows - 1), np.clip(col, 0, self.cols - 1)]
        return np.where(inside, found, outside)


def file_of(shot: Shot, band: str) -> str:
    """Where a band lies below the world's folder: aerial bands share a file."""
    return f"{shot.id}/image.tif" if shot.collection == "naip" else f"{shot.id}/{band}.tif"


def write_shot(shot: Shot, folder: Path) -> None:
    """All files of a shot."""
    tag = shot.sensor.nodata if shot.sensor.tagged else None
    if shot.collection == "naip":
        image = np.stack([shot.stored(band) for band in shot.fields])
        write_raster(folder / file_of(shot, "red"), image, shot.crs, shot.affine, tag)
        return
    # Landsat's files say that their coordinates are those of pixel centres; GDAL then moves them by half a pixel.
    tags = {"AREA_OR_POINT": "Point"} if shot.collection == "landsat-c2-l2" else {}
    for band in shot.fields:
        write_raster(folder / file_of(shot, band), shot.stored(band), shot.crs, shot.affine, tag, tags)
    if shot.collection == "landsat-c2-l2":
        write_raster(folder / shot.id / "qa_pixel.tif", shot.codes(), shot.crs, shot.affine, None, tags)
