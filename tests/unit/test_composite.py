"""Composites against a direct computation in NumPy, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from chipweave.pixels import composite as room
from chipweave.pixels.composite import composite

NODATA = -32768
STATS = ["median", "medoid", "mean", "max_ndvi", "least_cloudy"]


def world(dtype, dates=7, bands=3, size=19, seed=1):
    """Dates whose pixels are clear here and there, some nowhere and some at one date alone."""
    random = np.random.default_rng(seed)
    stack = random.integers(-300, 9000, (dates, bands, size, size)).astype(dtype)
    if dtype == np.float32:
        stack *= random.random(stack.shape).astype(np.float32)
    clear = random.random((dates, size, size)) < 0.5
    clear[:, 0, :] = False
    clear[:, 1, :] = False
    clear[3, 1, :] = True
    for date, ok in zip(stack, clear, strict=True):
        date[:, ~ok] = NODATA if dtype == np.int16 else np.nan
    return stack, clear


def directly(stack, clear, stat, red=0, nir=1):
    """What a composite is, said as plainly as it can be: one pixel after the other."""
    _, bands, height, width = stack.shape
    out = np.full((bands, height, width), np.nan)
    gave = np.zeros(len(stack), int)
    for y in range(height):
        for x in range(width):
            own = np.flatnonzero(clear[:, y, x])
            if not len(own):
                continue
            pixel = stack[own, :, y, x].astype(np.float64)
            if stat in {"median", "mean"}:
                out[:, y, x] = getattr(np, stat)(pixel, axis=0)
                gave[own] += 1
                continue
            if stat == "least_cloudy":
                best = 0
            elif stat == "max_ndvi":
                best = np.argmax((pixel[:, nir] - pixel[:, red]) / (pixel[:, nir] + pixel[:, red]))
            else:
                apart = np.sqrt(((pixel[:, None] - pixel[None]) ** 2).sum(axis=-1)).sum(axis=1)
                best = np.argmin(apart)
            out[:, y, x] = pixel[best]
            gave[own[best]] += 1
    return out, gave


@pytest.mark.parametrize("stat", STATS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("strip", [1, 1 << 16])
def test_it_is_what_numpy_says_of_each_pixel(stat, dtype, strip, monkeypatch):
    monkeypatch.setattr(room, "ROWS_PX", strip)
    stack, clear = world(dtype)
    made = composite(list(stack), list(clear), stat, (0, 1))
    right, gave = directly(stack, clear, stat)
    known = clear.any(axis=0)
    assert made.values.dtype == dtype
    if dtype == np.int16:
        np.testing.assert_array_equal(made.values[:, known], np.rint(right[:, known]).astype(np.int16))
        assert (made.values[:, ~known] == NODATA).all()
    else:
        np.testing.assert_array_equal(made.values[:, known], right[:, known].astype(np.float32))
        assert np.isnan(made.values[:, ~known]).all()
    np.testing.assert_array_equal(made.gave, gave)


def test_halves_are_rounded_to_even():
    dates = [np.full((1, 1, 2), v, np.int16) for v in (1, 2)]
    dates[1][..., 1] = 4
    clear = [np.ones((1, 2), bool)] * 2
    assert composite(dates, clear, "mean").values.tolist() == [[[2, 2]]]  # of 1.5 and 2.5
    assert composite(dates, clear, "median").values.tolist() == [[[2, 2]]]


def test_the_greatest_numbers_are_data_like_others():
    dates = [np.full((1, 1, 1), v, np.int16) for v in (32767, 5, 32767)]
    clear = [np.ones((1, 1), bool)] * 3
    assert composite(dates, clear, "median").values.item() == 32767
    assert composite(dates, [clear[0], clear[0], ~clear[0]], "median").values.item() == 16386  # of 16386.0
    dates = [np.full((1, 1, 1), v, np.float32) for v in (np.inf, 5)]
    assert composite(dates, [~clear[0], clear[0]], "median").values.item() == 5


def test_a_pixel_without_an_index_still_serves():
    """Red and infrared of the only clear date sum to zero: no NDVI, but data."""
    dates = [np.array([[[5]], [[-5]]], np.int16), np.array([[[1]], [[9]]], np.int16)]
    yes, no = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    assert composite(dates, [yes, no], "max_ndvi", (0, 1)).values.ravel().tolist() == [5, -5]
    assert composite(dates, [yes, yes], "max_ndvi", (0, 1)).values.ravel().tolist() == [1, 9]


def test_what_is_missing_is_said():
    one = np.zeros((2, 1, 1), np.int16)
    with pytest.raises(ValueError, match="infrared"):
        composite([one], [np.ones((1, 1), bool)], "max_ndvi")
    with pytest.raises(ValueError, match="needs a date"):
        composite([], [], "mean")
