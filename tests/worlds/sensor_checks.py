"""Judge every pixel of radar, Landsat and aerial layers against the analytic world, in the unit that they say."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from worlds.analytic import transformer
from worlds.checks import SLACK_PX, Tally, compare
from worlds.harness import Sample
from worlds.sensors import BLACK, QA_BAD, Shot

DECIBEL = 10 / np.log(10)
NODATA = -32768
WRITTEN = {
    "linear": ("float32", 1.0, "nan"),
    "dB": ("float32", 1.0, "nan"),
    "K": ("float32", 1.0, "nan"),
    "reflectance": ("int16", 0.0001, NODATA),
    "DN": ("int16", 1.0, NODATA),
}
"""By unit: type, scale and nodata of what is written (contract, section 3)."""


def values(sample: Sample, layer: str) -> np.ndarray:
    """The layer as float64 with NaN for no data, after its type and its facts are held to the contract."""
    meta, array = sample.meta["layers"][layer], sample.arrays[layer]
    dtype, scale, nodata = WRITTEN[meta["unit"]]
    said = (str(array.dtype), meta["dtype"], meta["scale"], meta["offset"], meta["nodata"])
    assert said == (dtype, dtype, scale, 0.0, nodata), (layer, said)
    out = array.astype(float)
    if nodata == NODATA:
        out[array == NODATA] = np.nan
    assert not np.isinf(out).any(), f"{sample.key} {layer}: infinite"
    return out


def grid_of(sample: Sample, layer: str) -> Sample:
    """The sample with the grid of one of its layers, which may be of its own."""
    meta = sample.meta["layers"][layer]
    height, width = meta["shape"][-2:]
    return replace(
        sample, meta={**sample.meta, "transform": meta["transform"], "height": height, "width": width}
    )


def taken(sample: Sample, layer: str, shots: dict[str, Shot]) -> list[Shot]:
    """The shots that the sample names, and the rest of their datatake (less than 15 minutes away)."""
    meta = sample.meta["layers"][layer]
    (ids,) = meta["items"]
    used = [shots[i] for i in ids]
    (told,) = meta["datetime"]
    assert told[:19] in {s.time[:19] for s in used}, f"{told} is the time of none of {ids}"
    near = [
        s
        for s in shots.values()
        if s not in used
        and s.collection == used[0].collection
        and abs((s.when - used[0].when).total_seconds()) < 900
    ]
    return used + near


def around(shot: Shot, array: np.ndarray, x, y):
    """A (rows, cols) array under points: its value, and whether another lies within 0.05 px of the point."""
    here = shot.at(array, x, y)
    d = SLACK_PX * shot.res
    near = [shot.at(array, x + i * d, y + j * d) for i in (-1, 1) for j in (-1, 1)]
    return here, np.any([n != here for n in near], axis=0)


def four(shot: Shot, array: np.ndarray, x, y) -> list[tuple[np.ndarray, np.ndarray]]:
    """The 2 x 2 source pixels about points: which have a weight, and the array there (False outside)."""
    u, v = (x - shot.x) / shot.res - 0.5, (shot.y - y) / shot.res - 0.5
    c0, r0 = np.floor(u + 1e-6), np.floor(v + 1e-6)
    on_col, on_row = np.abs(u - c0) < 1e-5, np.abs(v - r0) < 1e-5
    found = []
    for j in (0, 1):
        for i in (0, 1):
            cx, cy = shot.x + (c0 + i + 0.5) * shot.res, shot.y - (r0 + j + 0.5) * shot.res
            weight = ~((on_col & (i == 1)) | (on_row & (j == 1)))
            found.append((weight, shot.at(array, cx, cy)))
    return found


def check_layer(sample: Sample, layer: str, shots: dict[str, Shot], *, moved: float = 0.0) -> Tally:
    """Assert every pixel of a layer that was copied or interpolated; `moved` shifts the truth east, in metres."""
    out, takes = values(sample, layer), taken(sample, layer, shots)
    x, y = grid_of(sample, layer).centres()
    lon, lat = transformer(sample.crs, "EPSG:4326").transform(x + moved, y)
    at = [transformer(sample.crs, s.crs).transform(x, y) for s in takes]
    tally = Tally()
    meta = sample.meta["layers"][layer]
    for n, band in enumerate(meta["bands"]):
        tally += _check_band(
            f"{sample.key} {layer}.{band}", band, out[n], meta["unit"], takes, at, (lon, lat)
        )
    every = ~np.isnan(out).any(axis=0)
    # 1e-6: the figure may be rounded for print.
    assert abs(meta["valid_fraction"] - every.mean()) < 1e-6, (sample.key, layer, meta["valid_fraction"])
    return tally


def _check_band(name, band, out, unit, takes, at, where) -> Tally:
    lon, lat = where
    seen = [around(s, s.valid[band], x, y) for s, (x, y) in zip(takes, at, strict=True)]
    under, unsure = (np.any([pair[k] for pair in seen], axis=0) for k in (0, 1))
    valid = ~np.isnan(out)
    wrong = (valid != under) & ~unsure
    assert not wrong.any(), f"{name}: {wrong.sum()} pixels are data where they should not be, or the reverse"

    # A bad pixel is spiked, and a neighbour of one may hold a share of that: only the rest is compared.
    spiked = {s.id: np.isin(s.kinds[band], (*QA_BAD, BLACK)) for s in takes}
    clear, whole = valid.copy(), np.ones(out.shape, bool)
    for shot, (x, y), (here, _) in zip(takes, at, seen, strict=True):
        for weight, is_spiked in four(shot, spiked[shot.id], x, y):
            clear &= ~(weight & is_spiked & here)
        for weight, is_data in four(shot, shot.valid[band], x, y):
            whole &= ~weight | is_data | ~here
    truth = takes[0].truth(band, lon, lat)
    allowed = np.max([s.bound(band, lon, lat, whole) for s in takes], axis=0)
    if unit == "dB":
        # A linear error e at power p is 10/ln 10 * e / (p - e) decibels at the most; and the 0.01 dB.
        allowed = 0.01 + DECIBEL * allowed / np.maximum(truth - allowed, 1e-9)
        truth = 10 * np.log10(truth)
    else:
        # 1 DN; of floats, what 0.01 dB is of a power, and one stored step of a temperature.
        allowed = allowed + {"linear": truth * 0.01 / DECIBEL, "K": 0.00341802}.get(unit, 1.0)
    tally = compare(name, out, truth, allowed, clear, unsure, whole)
    tally.empty = int((~valid).sum())
    return tally


def check_mask(sample: Sample, layer: str, shots: dict[str, Shot]) -> int:
    """0 clear, 1 bad, 255 no data, from the bits of QA_PIXEL under the centre; gives how many are bad."""
    mask, takes = sample.arrays[f"{layer}_mask"], taken(sample, layer, shots)
    x, y = grid_of(sample, layer).centres()
    expected = np.full(mask.shape, 255)
    unsure = np.zeros(mask.shape, bool)
    for shot in takes:
        kinds = shot.kinds[""]
        code = np.where(np.isin(kinds, QA_BAD), 1, 0) + np.where(shot.valid[""], 0, 255)
        at = transformer(sample.crs, shot.crs).transform(x, y)
        here, near = around(shot, code + 1, *at)  # 0 is outside
        unsure |= near
        expected = np.where(expected == 255, np.where(here == 0, 255, here - 1), expected)
    wrong = (mask != expected) & ~unsure
    assert not wrong.any(), (
        f"{sample.key} {layer}: {wrong.sum()} of {mask.size} mask pixels; has {np.unique(mask[wrong])}, "
        f"should be {np.unique(expected[wrong])}"
    )
    data = (mask != 255).sum()
    cloud = (mask == 1).sum() / data if data else 0.0
    assert abs(sample.meta["layers"][layer]["cloud_fraction"] - cloud) < 1e-6, sample.key
    return int((mask == 1).sum())


def power_of(shot: Shot, band: str) -> np.ndarray:
    """Linear power as the file gives it, float64, NaN where it has none."""
    stored = shot.stored(band).astype(float)
    with np.errstate(over="ignore"):
        power = 10 ** (stored / 10) if shot.sensor.unit == "dB" else stored
    return np.where(shot.valid[band], power, np.nan)


@lru_cache(maxsize=4)
def _pixel_centres(
    x: float, y: float, res: float, rows: int, cols: int, crs: str, to: str
) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel centre of a grid in another CRS, each (rows, cols)."""
    xx, yy = np.meshgrid(x + (np.arange(cols) + 0.5) * res, y - (np.arange(rows) + 0.5) * res)
    return (xx, yy) if crs == to else transformer(crs, to).transform(xx, yy)


def mean_of_pixels(array: np.ndarray, shot: Shot, sample: Sample) -> np.ndarray:
    """What `mean` must give: over the source centres inside each target pixel, NaN where fewer than half are data.

    `array` (rows, cols) float64 with NaN. Every centre is sent to the sample's grid one by one.
    """
    xx, yy = _pixel_centres(shot.x, shot.y, shot.res, shot.rows, shot.cols, shot.crs, sample.crs)
    a, height, width = sample.affine, sample.meta["height"], sample.meta["width"]
    # A centre on the very edge belongs to one side by an ulp: these worlds have none there (see the callers).
    col = np.floor((xx - a.c) / a.a).astype(int)
    row = np.floor((yy - a.f) / a.e).astype(int)
    inside = (col >= 0) & (row >= 0) & (col < width) & (row < height)
    flat = (row * width + col)[inside]
    value = array[inside]
    data = ~np.isnan(value)
    every = np.bincount(flat, minlength=height * width)
    count = np.bincount(flat[data], minlength=height * width)
    total = np.bincount(flat[data], value[data], minlength=height * width)
    mean = np.where((every > 0) & (2 * count >= every), total / np.maximum(count, 1), np.nan)
    return mean.reshape(height, width)


def bilinear_of_pixels(array: np.ndarray, shot: Shot, sample: Sample) -> np.ndarray:
    """What `bilinear` must give from `array`, NaN where the pixel under the centre has no data.

    Only for a sample in the shot's own CRS: the weights are then exact.
    """
    assert sample.crs == shot.crs
    x, y = sample.centres()
    u, v = (x - shot.x) / shot.res - 0.5, (shot.y - y) / shot.res - 0.5
    c0, r0 = np.floor(u), np.floor(v)
    total, weight = np.zeros(x.shape), np.zeros(x.shape)
    for j in (0, 1):
        for i in (0, 1):
            w = np.abs(1 - i - (u - c0)) * np.abs(1 - j - (v - r0))
            cx, cy = shot.x + (c0 + i + 0.5) * shot.res, shot.y - (r0 + j + 0.5) * shot.res
            value = shot.at(array, cx, cy, np.nan)
            data = ~np.isnan(value)
            total += np.where(data, w * np.where(data, value, 0), 0)
            weight += np.where(data, w, 0)
    here = shot.at(array, x, y, np.nan)
    return np.where(np.isnan(here), np.nan, total / np.where(weight > 0, weight, 1))


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10, NaN staying NaN."""
    with np.errstate(invalid="ignore"):
        return 10 * np.log10(power)
