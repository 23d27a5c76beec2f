"""Several dates of one chip into one picture, pixel by pixel, out of clear pixels alone.

A pixel that is clear at no date has no data. All sums are float64; int16 is rounded half to even at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from chipweave.pixels.gaps import Values, blank

Stat = Literal["median", "medoid", "mean", "max_ndvi", "least_cloudy"]
"""`medoid`: the date whose bands are nearest to those of all others, by the sum of Euclidean distances."""

ONE_DATE = frozenset({"medoid", "max_ndvi", "least_cloudy"})
"""Statistics whose every pixel is that of one date."""

RED, NIR = ("red",), ("nir", "nir08")
"""Bands of the vegetation index, by their common names."""

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

ROWS_PX = 1 << 16
"""Pixels that are worked on at a time: what a statistic holds is a few times a strip, not a chip of many dates."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A composite.

    Parameters
    ----------
    values
        (band, y, x), of the dates' type.
    gave
        (date,) pixels that each date gave; of a median or a mean those in which it took part.
    """

    values: Values
    gave: IntArray


def index_bands(bands: Sequence[str]) -> tuple[int, int] | None:
    """Places of red and near infrared, or None where one is not there."""
    red, nir = (next((n for n, b in enumerate(bands) if b in names), None) for names in (RED, NIR))
    return None if red is None or nir is None else (red, nir)


def composite(
    dates: Sequence[Values], clear: Sequence[BoolArray], stat: Stat, ndvi: tuple[int, int] | None = None
) -> Composed:
    """One picture of several dates.

    Parameters
    ----------
    dates
        Working arrays (band, y, x) of one shape and type: int16, or float32. Of equally good dates the first one gives
        a pixel: for `least_cloudy` they come in the order of the ranking, else in that of time.
    clear
        (y, x) of each date: where it takes part, data in all bands and not bad.
    stat
        The statistic.
    ndvi
        Places of red and near infrared among the bands, for `max_ndvi`.

    Raises
    ------
    ValueError
        No date, or `max_ndvi` without `ndvi`.
    """
    if not dates:
        raise ValueError("a composite needs a date")
    if stat == "max_ndvi" and ndvi is None:
        raise ValueError("max_ndvi needs red and near infrared")
    bands, height, width = dates[0].shape
    out = blank((bands, height, width), dates[0].dtype)
    gave = np.zeros(len(dates), np.int64)
    step = max(ROWS_PX // width, 1)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        stack = np.stack([d[:, rows] for d in dates])
        ok = np.stack([c[rows] for c in clear])
        if stat in ONE_DATE:
            source = _source(stack, ok, stat, ndvi)
            values = np.take_along_axis(stack, np.maximum(source, 0)[None, None], axis=0)[0]
            np.copyto(out[:, rows], values, where=source >= 0)
            gave += np.bincount(source[source >= 0], minlength=len(dates))
            continue
        figure = _median(stack, ok) if stat == "median" else _mean(stack, ok)
        if out.dtype == np.int16:
            figure = np.rint(figure)
        with np.errstate(invalid="ignore"):
            np.copyto(out[:, rows], figure.astype(out.dtype), where=ok.any(axis=0))
        gave += ok.sum(axis=(1, 2))
    return Composed(out, gave)


def _mean(stack: Values, ok: BoolArray) -> npt.NDArray[np.float64]:
    """Of (date, band, y, x) over dates where `ok` (date, y, x); 0 where none is."""
    total = np.zeros(stack.shape[1:], np.float64)
    for values, good in zip(stack, ok, strict=True):
        np.add(total, values, out=total, where=good)
    mean: npt.NDArray[np.float64] = total / np.maximum(ok.sum(axis=0), 1)
    return mean


def _median(stack: Values, ok: BoolArray) -> npt.NDArray[np.float64]:
    """The same for the median; of an even number the mean of the two in the middle."""
    high = np.iinfo(np.int16).max if stack.dtype == np.int16 else np.inf
    # What does not take part stands behind all that does; of int16's greatest number any one is as good.
    ordered = np.sort(np.where(ok[:, None], stack, stack.dtype.type(high)), axis=0)
    count = ok.sum(axis=0)
    low, up = np.maximum(count - 1, 0) // 2, count // 2
    first, second = (
        np.take_along_axis(ordered, np.minimum(n, len(stack) - 1)[None, None], axis=0)[0].astype(np.float64)
        for n in (low, up)
    )
    median: npt.NDArray[np.float64] = (first + second) / 2
    return median


def _source(stack: Values, ok: BoolArray, stat: Stat, ndvi: tuple[int, int] | None) -> IntArray:
    """Number of the date that gives each pixel, -1 where none does."""
    if stat == "least_cloudy":
        cost = np.broadcast_to(np.zeros(1), ok.shape)
    elif stat == "max_ndvi" and ndvi is not None:
        cost = -_ndvi(stack, *ndvi)
    else:
        cost = _apart(stack, ok)
    cost = np.where(ok & ~np.isnan(cost), cost, np.inf)
    best = cost.argmin(axis=0)
    # A clear pixel whose figure is not defined still serves where there is no other.
    first = ok.argmax(axis=0)
    none = np.isinf(np.take_along_axis(cost, best[None], axis=0)[0])
    return np.where(ok.any(axis=0), np.where(none, first, best), -1).astype(np.int64)


def _ndvi(stack: Values, red: int, nir: int) -> npt.NDArray[np.float64]:
    """(nir - red) / (nir + red) of each date, NaN where the sum is zero."""
    r, n = (stack[:, band].astype(np.float64) for band in (red, nir))
    with np.errstate(divide="ignore", invalid="ignore"):
        figure = (n - r) / (n + r)
    return np.asarray(np.where(n + r == 0, np.nan, figure), np.float64)


def _apart(stack: Values, ok: BoolArray) -> npt.NDArray[np.float64]:
    """Sum of each date's distances, in the space of the bands, to all other dates that are clear there."""
    total = np.zeros(ok.shape, np.float64)
    for i in range(len(stack)):
        own = stack[i].astype(np.float64)
        for j in range(i + 1, len(stack)):
            both = ok[i] & ok[j]
            far = np.sqrt(((own - stack[j]) ** 2).sum(axis=0))
            np.add(total[i], far, out=total[i], where=both)
            np.add(total[j], far, out=total[j], where=both)
    return total
