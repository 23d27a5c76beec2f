"""How alike neighbours are: the empirical variogram of values on places and its range, and Moran's I.

The variogram γ(h) is half the mean squared difference of values a distance h apart (Matheron, 1963; for several values
at a place the sum over them). It grows from the nugget to the sill; where it is there, two places know nothing of each
other. Moran's I (Moran, 1950) is the correlation of values with those of their neighbours: 1 alike, 0 by chance, -1
opposite.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipweave.plan.distance import earth_centred

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RADIUS = 6_371_008.8
_PAIRED = 2_500
"""Places of which all pairs are looked at."""
_CENTRES = 2_500
_NEIGHBOURS = 64
"""Places whose so many nearest are looked at: short distances would else be rare."""
_BINS = 40
_FEW = 30
"""Pairs that a bin needs to be believed."""
_RANGES = 400

MODELS = ("spherical", "exponential")


@dataclass(frozen=True, slots=True)
class Variogram:
    """An empirical variogram and the model that fits it best.

    Parameters
    ----------
    lag_m, gamma, pairs
        (b,) mean distance in metres, semivariance and number of pairs, by bin.
    model
        ``spherical``, ``exponential`` (its range is where it reaches 95 % of the sill), or ``flat`` where nothing
        depends on distance.
    nugget, sill
        Semivariance at distance zero, and far away (nugget included).
    range_m
        Distance from which values know nothing of each other; 0 for a flat one.
    reached
        Whether that distance lies inside of what was looked at.
    """

    lag_m: Floats
    gamma: Floats
    pairs: Ints
    model: str
    nugget: float
    sill: float
    range_m: float
    reached: bool


def variogram(
    lon: Floats, lat: Floats, values: Floats, *, seed: int = 0, reach_m: float | None = None
) -> Variogram:
    """Variogram of values on places.

    Parameters
    ----------
    lon, lat
        (n,) centres in degrees, in an order that does not depend on how rows came.
    values
        (n,) or (n, c), finite: say the shares of c classes.
    seed
        Of which places are looked at where there are many.
    reach_m
        Longest distance looked at; half the extent of the places if None, beyond which pairs tell of edges.

    Raises
    ------
    ValueError
        Fewer than three places, or a value that is not finite.
    """
    values = np.asarray(values, float).reshape(len(lon), -1)
    if len(lon) < 3:
        raise ValueError(f"{len(lon)} places have no variogram: it takes three")
    if not np.isfinite(values).all():
        raise ValueError("a variogram needs finite values")
    points = earth_centred(lon, lat)
    reach = _extent(points) / 2 if reach_m is None else reach_m
    metres, half = _pairs(points, values, seed, reach)
    lag, gamma, count = _binned(metres, half, reach)
    if not len(lag) or gamma.max(initial=0.0) <= 0:
        sill = float(values.var(axis=0).sum())
        return Variogram(lag, gamma, count, "flat", sill, sill, 0.0, reached=True)
    return _fitted(lag, gamma, count)


def _extent(points: Floats) -> float:
    """Diagonal of the box about points on the earth: about their largest distance."""
    chord = float(np.linalg.norm(np.ptp(points, axis=0)))
    return 2 * _RADIUS * math.asin(min(chord / (2 * _RADIUS), 1.0))


def _pairs(points: Floats, values: Floats, seed: int, reach: float) -> tuple[Floats, Floats]:
    """Distances and half squared differences of pairs: of all of some places, and of near ones of some others."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    n = len(points)
    rng = np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(f"pairs:{seed}".encode()).digest()[:8]))
    )
    some = np.sort(rng.permutation(n)[:_PAIRED])
    one, two = np.triu_indices(len(some), 1)
    parts = [(some[one], some[two])]
    if n > _PAIRED:
        centres = np.sort(rng.permutation(n)[:_CENTRES])
        _, near = cKDTree(points).query(points[centres], k=min(_NEIGHBOURS, n))
        i, j = np.repeat(centres, near.shape[1]), near.ravel()
        parts.append((i[i != j], j[i != j]))
    metres, half = [], []
    for i, j in parts:
        for start in range(0, len(i), 500_000):
            a, b = i[start : start + 500_000], j[start : start + 500_000]
            chord = np.linalg.norm(points[a] - points[b], axis=1)
            far = 2 * _RADIUS * np.arcsin(np.minimum(chord / (2 * _RADIUS), 1.0))
            near_enough = far <= reach
            a, b = a[near_enough], b[near_enough]
            metres.append(far[near_enough])
            half.append(np.sum((values[a] - values[b]) ** 2, axis=1) / 2)
    return np.concatenate(metres), np.concatenate(half)


def _binned(metres: Floats, half: Floats, reach: float) -> tuple[Floats, Floats, Ints]:
    """Means by bins of distance, finer at short ones; bins with few pairs are left out."""
    if not len(metres):
        return np.empty(0), np.empty(0), np.empty(0, np.int64)
    edges = reach * np.linspace(0, 1, _BINS + 1) ** 1.5
    which = np.clip(np.searchsorted(edges, metres, "right") - 1, 0, _BINS - 1)
    count = np.bincount(which, minlength=_BINS)
    enough = count >= min(_FEW, max(1, len(metres) // (4 * _BINS)))
    count = count[enough]
    lag = np.bincount(which, metres, _BINS)[enough] / count
    gamma = np.bincount(which, half, _BINS)[enough] / count
    return lag, gamma, count.astype(np.int64)


def _fitted(lag: Floats, gamma: Floats, count: Ints) -> Variogram:
    """The model with the least weighted error, its range looked for on a fine grid.

    A bin counts by its pairs and the less the farther it is (Cressie, 1985, with γ² ~ lag), since ranges show at short
    distances.
    """
    shortest = float(lag[lag > 0].min()) if (lag > 0).any() else 1.0
    weight = count / count.sum() / np.maximum(lag, shortest) ** 2
    ranges = np.geomspace(shortest / 4, max(float(lag.max()), shortest) * 3, _RANGES)
    tie = 1e-12 * float(weight @ gamma**2)
    best = (math.inf, 0.0, 0.0, "", 0.0)
    for model in MODELS:
        error, nuggets, partials = _solved(shape(model, lag, ranges[:, None]), gamma, weight)
        least = int((error <= error.min() + tie).argmax())  # the shortest of ranges that fit alike
        if error[least] + tie < best[0]:
            nugget, partial = float(nuggets[least]), float(partials[least])
            best = float(error[least]), nugget, partial, model, float(ranges[least])
    _, nugget, partial, model, reach = best
    sill = nugget + partial
    if (
        partial <= 1e-9 * max(sill, 1e-300) or reach <= shortest
    ):  # grown before the first bin: nothing shows it
        return Variogram(lag, gamma, count, "flat", sill, sill, 0.0, reached=True)
    return Variogram(lag, gamma, count, model, nugget, sill, reach, reached=reach <= float(lag.max()))


def shape(model: str, lag: Floats, range_m: float | Floats) -> Floats:
    """How much of the way from nugget to sill a model has gone at some distances, 0 to 1.

    ``spherical``: 1.5 h/a - 0.5 (h/a)³ up to the range a. ``exponential``: 1 - exp(-3 h/a), 95 % at a. Several ranges
    broadcast against the distances.
    """
    part = lag / range_m
    if model == "spherical":
        return np.asarray(np.where(part < 1, 1.5 * part - 0.5 * part**3, 1.0))
    return np.asarray(1 - np.exp(-3 * part))


def _solved(grown: Floats, gamma: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted least squares of nugget + partial × shape, neither below zero, for each of (r, b) shapes.

    Error, nugget and partial sill, (r,) each: the best of nugget alone, partial sill alone, and both.
    """
    s1, sy = weight.sum(), (weight * gamma).sum()
    sx, sxx = grown @ weight, grown**2 @ weight
    sxy = grown @ (weight * gamma)
    det = s1 * sxx - sx**2
    det = np.where(det > 1e-12 * s1 * sxx, det, math.nan)  # a shape that is flat is not told from a nugget
    none = np.zeros_like(sx)
    nuggets = np.stack([none + sy / s1, none, (sxx * sy - sx * sxy) / det])
    partials = np.stack([none, sxy / np.where(sxx > 0, sxx, math.inf), (s1 * sxy - sx * sy) / det])
    misfit = gamma - nuggets[..., None] - partials[..., None] * grown
    error = np.where((nuggets >= 0) & (partials >= 0), misfit**2 @ weight, math.inf)
    least = error.argmin(axis=0)[None]
    error, nugget, partial = (np.take_along_axis(v, least, axis=0)[0] for v in (error, nuggets, partials))
    return error, nugget, partial


def neighbours(lon: Floats, lat: Floats, within_m: float) -> tuple[Ints, Ints]:
    """Pairs of places whose centres are at most a distance apart, i < j, each once."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    chord = 2 * _RADIUS * math.sin(min(within_m / (2 * _RADIUS), math.pi / 2))
    pairs = cKDTree(earth_centred(lon, lat)).query_pairs(chord, output_type="ndarray")
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order, 0].astype(np.int64), pairs[order, 1].astype(np.int64)


def morans_i(values: Floats, i: Ints, j: Ints) -> float:
    """Moran's I of values over pairs of neighbours, all of one weight.

    Parameters
    ----------
    values
        (n,) or (n, c); several values at a place are summed over, above and below the line.
    i, j
        (m,) pairs, each once.

    Returns
    -------
    float
        From about -1 to 1; NaN where there are no pairs, or values do not differ.
    """
    z = np.asarray(values, float).reshape(len(values), -1)
    z = z - z.mean(axis=0)
    spread = float(np.sum(z**2))
    if not len(i) or spread <= 0:
        return math.nan
    return float(len(z) / len(i) * np.einsum("mc,mc->", z[i], z[j]) / spread)
