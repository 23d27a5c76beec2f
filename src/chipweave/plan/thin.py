"""Places that keep a distance, or do not cover each other: the first come stays.

Distances are geodesics of the WGS84 ellipsoid, told by chords between points of it; a k-d tree finds who is near, so a
million places take seconds.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from chipweave.pixels.lattice import reproject
from chipweave.plan.distance import earth_centred, overlap_shares, rings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_RADIUS = 6_371_008.8
_FIRST = 512
"""Places that are looked at first; then as many again as were kept, so that pairs stay few."""

_NOISE = 1e-6
"""Share of a chip that projections make up: neighbours that touch have no ground in common."""

_MOST_CHORD = 2 * _RADIUS


def chord(metres: float) -> float:
    """Straight distance between two points of the earth whose geodesic has a length."""
    return float(_MOST_CHORD * np.sin(min(metres / _RADIUS, np.pi) / 2))


class Thinner:
    """Takes places in their order, and keeps those that have room beside the ones that it kept before.

    Parameters
    ----------
    min_distance_m
        Least distance between centres; 0 for none.
    max_overlap
        Largest share of a chip that an earlier one may cover; None where none is asked for.
    """

    def __init__(self, min_distance_m: float, max_overlap: float | None) -> None:
        self._near = chord(min_distance_m)
        self._limit = None if max_overlap is None or max_overlap >= 1 else max(max_overlap, _NOISE)
        self._kept = pd.DataFrame()
        self._radius = 0.0

    def add(self, places: pd.DataFrame, most: int | None = None) -> BoolArray:
        """Whether each place stays.

        Parameters
        ----------
        places
            Columns ``crs, x, y, size, resolution, lon, lat``, in the order in which they come.
        most
            How many may stay; those after them go.
        """
        stays = np.zeros(len(places), np.bool_)
        if self._near <= 0 and self._limit is None:
            stays[:most] = True
            return stays
        points = earth_centred(places["lon"].to_numpy(np.float64), places["lat"].to_numpy(np.float64))
        corners = places[["crs", "x", "y", "size", "resolution"]].reset_index(drop=True)
        if self._limit is not None:
            self._radius = max(self._radius, _radius(corners, points))
        own = corners.assign(px=points[:, 0], py=points[:, 1], pz=points[:, 2])
        left = np.arange(len(places))
        if len(self._kept):
            left = left[~self._beside(own, self._kept)]
        count = 0
        while len(left) and (most is None or count < most):
            head, left = np.split(left, [min(max(_FIRST, 2 * count), len(left))])
            i, j = self._pairs(own.iloc[head])
            chosen = head[first_come(len(head), i, j)]
            chosen = chosen if most is None else chosen[: most - count]
            stays[chosen] = True
            count += len(chosen)
            left = left[~self._beside(own.iloc[left], own.iloc[chosen])]
        self._kept = pd.concat([self._kept, own[stays]], ignore_index=True) if len(self._kept) else own[stays]
        return stays

    @property
    def _reach(self) -> float:
        return max(self._near, 2 * self._radius if self._limit is not None else 0.0)

    def _pairs(self, places: pd.DataFrame) -> tuple[IntArray, IntArray]:
        """Pairs i < j that cannot both stay."""
        from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import; most builds lay a grid

        points = _points(places)
        pairs = cKDTree(points).query_pairs(self._reach, output_type="ndarray").astype(np.int64)
        i, j = pairs[:, 0], pairs[:, 1]
        clash = self._clash(places, i, places, j)
        return i[clash], j[clash]

    def _beside(self, places: pd.DataFrame, kept: pd.DataFrame) -> BoolArray:
        """Which places cannot stay beside some that were kept."""
        from scipy.spatial import cKDTree  # noqa: PLC0415 - see above

        out = np.zeros(len(places), np.bool_)
        if not len(places) or not len(kept):
            return out
        points, tree = _points(places), cKDTree(_points(kept))
        if self._near > 0:
            out |= tree.query(points, distance_upper_bound=self._near)[0] < self._near
        if self._limit is not None and 2 * self._radius > self._near:
            rest = np.flatnonzero(~out)
            found = cKDTree(points[rest]).sparse_distance_matrix(tree, self._reach, output_type="ndarray")
            i, j = rest[found["i"].astype(np.int64)], found["j"].astype(np.int64)
            out[i[self._clash(places, i, kept, j)]] = True
        return out

    def _clash(self, one: pd.DataFrame, i: IntArray, two: pd.DataFrame, j: IntArray) -> BoolArray:
        """Whether each pair is too near, or covers too much of each other."""
        apart = np.linalg.norm(_points(one)[i] - _points(two)[j], axis=-1)
        clash = np.asarray(apart < self._near, np.bool_)
        if self._limit is None:
            return clash
        open_ones = np.flatnonzero(~clash & (apart < 2 * self._radius))
        a, b = one.iloc[i[open_ones]], two.iloc[j[open_ones]]
        shares = _same_grid(a, b)
        odd = np.flatnonzero(np.isnan(shares))
        if len(odd):
            both = pd.concat([a.iloc[odd], b.iloc[odd]])
            side = (both["size"] * both["resolution"]).to_numpy(np.float64)
            outlines = rings(both["crs"].tolist(), both["x"].to_numpy(), both["y"].to_numpy(), side)
            shares[odd] = overlap_shares(outlines, np.arange(len(odd)), np.arange(len(odd)) + len(odd))
        clash[open_ones] = shares > self._limit
        return clash


def _points(places: pd.DataFrame) -> FloatArray:
    return places[["px", "py", "pz"]].to_numpy(np.float64)


def _radius(corners: pd.DataFrame, points: FloatArray) -> float:
    """Largest distance of a corner from its chip's centre, and a little more."""
    found = 0.0
    for crs, rows in corners.groupby("crs", sort=False).indices.items():
        x, y = corners["x"].to_numpy(np.float64)[rows], corners["y"].to_numpy(np.float64)[rows]
        side = (corners["size"] * corners["resolution"]).to_numpy(np.float64)[rows]
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            lon, lat = reproject(x + dx * side, y - dy * side, str(crs), "EPSG:4326")
            good = np.isfinite(lon) & np.isfinite(lat)
            reach = np.linalg.norm(earth_centred(lon[good], lat[good]) - points[rows][good], axis=-1)
            found = max(found, float(reach.max(initial=0.0)))
    return found * 1.001


def _same_grid(a: pd.DataFrame, b: pd.DataFrame) -> FloatArray:
    """Shares that pairs of one CRS have in common; NaN where the two are in different ones."""
    side = (a["size"] * a["resolution"]).to_numpy(np.float64)
    dx = np.abs(a["x"].to_numpy(np.float64) - b["x"].to_numpy(np.float64))
    dy = np.abs(a["y"].to_numpy(np.float64) - b["y"].to_numpy(np.float64))
    shares = np.maximum(side - dx, 0) * np.maximum(side - dy, 0) / side**2
    return np.where(a["crs"].to_numpy() == b["crs"].to_numpy(), shares, np.nan)


def first_come(n: int, i: IntArray, j: IntArray) -> BoolArray:
    """Who stays of n in order, where of each pair (i < j) only one can: as if they came one after another."""
    stays, goes = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    while True:
        goes[j[stays[i]]] = True
        open_ones = ~goes[i] & ~goes[j] & ~stays[j]
        i, j = i[open_ones & ~stays[i]], j[open_ones & ~stays[i]]
        waits = np.zeros(n, np.bool_)
        waits[j] = True
        new = ~stays & ~goes & ~waits
        if not new.any():
            return stays
        stays |= new


def turns(places: pd.DataFrame, seed: int) -> npt.NDArray[np.uint64]:
    """A number for each place, as good as random: the same for the same place and seed in any build and order.

    Parameters
    ----------
    places
        Columns ``crs, x, y``.
    seed
        Of the recipe.
    """
    codes, names = pd.factorize(places["crs"])
    labels = np.array([_text_number(str(name)) for name in names], np.uint64)
    x, y = (np.round(places[c].to_numpy(np.float64) * 1e6).astype(np.int64).view(np.uint64) for c in "xy")
    return mixed(mixed(mixed(labels[codes] ^ mixed(np.uint64(seed % 2**64))) ^ x) ^ y)


def mixed(value: npt.NDArray[np.uint64] | np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    z = np.atleast_1d(np.asarray(value, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def uniform(numbers: npt.NDArray[np.uint64]) -> FloatArray:
    """Numbers of 64 bits as floats in [0, 1)."""
    return np.asarray((numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53, np.float64)


def _text_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
