"""Distances between footprints, on the ellipsoid.

A footprint is a square of a projected (or geographic) grid. Two footprints may lie in different zones, on
both sides of ±180° or near a pole, so nothing here is done in a map plane: outlines become short straight
segments between points of the WGS84 ellipsoid in earth-centred coordinates, and the distance is that of the
nearest two segments. A straight segment runs below the surface, so only the horizontal part of the gap
counts, and the chord is turned into an arc. What remains (edges bent on the ground, the mean radius) is
well below a centimetre per kilometre.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Polygons = NDArray[np.object_]

_A = 6_378_137.0
_F = 1 / 298.257223563
_B = _A * (1 - _F)
_E2 = _F * (2 - _F)
_MEAN_RADIUS = 6_371_008.8

_LONGEST_SEGMENT = 2_000.0
"""Metres. Keeps the straight segments less than 8 cm below the surface."""
_BEND = 2e-4
"""Metres that a segment may leave the bent edge it stands for."""
_MOST_SEGMENTS = 64
"""An edge is never cut finer than this: very large footprints need no millimetres."""
_TOUCH = 1e-4
"""Metres below which two outlines touch."""
_SLACK = 1.0
"""Metres added to search radii: more than the depth of a segment below the surface."""
_CHUNK = 2_000_000
"""Segment pairs looked at together: about 50 MB."""

_ROWS = 50_000
"""Footprints that are outlined together: some ten megabytes."""
_NEAR = 512
"""Footprints whose neighbours are looked for together."""

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, -1.0], [0.0, -1.0]])
"""Clockwise from the upper left, in sides: y runs down."""


def rings(crs: Sequence[str], x: ArrayLike, y: ArrayLike, side: ArrayLike) -> Floats:
    """Outlines of square footprints in earth-centred coordinates.

    Parameters
    ----------
    crs
        One CRS a footprint: ``EPSG:n`` or WKT.
    x, y
        Upper left corners, (n,), in units of the CRS.
    side
        Length of a side in units of the CRS: one number, or (n,).

    Returns
    -------
    ndarray
        (n, k, 3) float64 metres on the WGS84 ellipsoid, clockwise from the upper left corner, not closed. `k`
        is a multiple of four and the same for all: every segment is at most 2 km long and leaves its edge, as
        the CRS draws it, by at most 0.2 mm (but an edge of less than 128 km has at most 64 segments).

    Raises
    ------
    ValueError
        Lengths differ, or a corner has no place on the earth.
    """
    left, top = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    sides = np.broadcast_to(np.asarray(side, float), left.shape)
    if not len(crs) == len(left) == len(top):
        raise ValueError(f"{len(crs)} CRSs, {len(left)} x and {len(top)} y: one of each a footprint")
    if len(left) == 0:
        return np.empty((0, 4, 3))
    codes = np.asarray(crs, dtype=object)
    runs = [slice(start, start + _ROWS) for start in range(0, len(left), _ROWS)]
    pieces = max(_segments_an_edge(_outline(codes[r], left[r], top[r], sides[r], 2)) for r in runs)
    found = np.empty((len(left), 4 * pieces, 3))
    for run in runs:
        found[run] = _outline(codes[run], left[run], top[run], sides[run], pieces)
    return found


def _segments_an_edge(coarse: Floats) -> int:
    """How often to cut an edge, from rings with one point (the middle) between two corners."""
    start, middle = coarse[:, 0::2], coarse[:, 1::2]
    end = np.roll(start, -1, axis=1)
    off = middle - (start + end) / 2
    normal = _normals(middle)
    off -= np.sum(off * normal, axis=-1, keepdims=True) * normal
    bend = float(np.max(np.linalg.norm(off, axis=-1)))
    length = float(np.max(np.linalg.norm(end - start, axis=-1)))
    # Cutting an arc in m pieces divides what it leaves its chord by m squared.
    pieces = max(length / _LONGEST_SEGMENT, np.sqrt(bend / _BEND), 1.0)
    return int(min(np.ceil(pieces), max(_MOST_SEGMENTS, np.ceil(length / _LONGEST_SEGMENT))))


def _outline(crs: NDArray[np.object_], x: Floats, y: Floats, side: Floats, pieces: int) -> Floats:
    along = np.arange(pieces)[:, None] / pieces
    edges = [c + (d - c) * along for c, d in zip(_CORNERS, np.roll(_CORNERS, -1, axis=0), strict=True)]
    unit = np.concatenate(edges)
    px = x[:, None] + side[:, None] * unit[:, 0]
    py = y[:, None] + side[:, None] * unit[:, 1]
    out = np.empty((*px.shape, 3))
    which, names = pd.factorize(crs)
    for number, name in enumerate(names):
        rows = np.flatnonzero(which == number)
        lon, lat = Transformer.from_crs(str(name), "EPSG:4326", always_xy=True).transform(px[rows], py[rows])
        out[rows] = earth_centred(lon, np.where(np.abs(lat) < 90 + 1e-9, lat, np.nan))
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).all(axis=(1, 2)))[0])
        raise ValueError(f"the footprint at ({x[bad]}, {y[bad]}) leaves the domain of {crs[bad]}")
    return out


def earth_centred(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """Points of the WGS84 ellipsoid.

    Parameters
    ----------
    lon, lat
        Degrees, of equal shape.

    Returns
    -------
    ndarray
        (..., 3) metres.
    """
    lam, phi = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    across = _A / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    flat = across * np.cos(phi)
    return np.stack([flat * np.cos(lam), flat * np.sin(lam), across * (1 - _E2) * np.sin(phi)], axis=-1)


def _normals(points: Floats) -> Floats:
    """Directions that are up at points on (or very near) the ellipsoid."""
    up = points / np.array([_A**2, _A**2, _B**2])
    return np.asarray(up / np.linalg.norm(up, axis=-1, keepdims=True))


def close_pairs(
    rings: Floats, within_m: float, groups: NDArray[np.integer] | None = None
) -> tuple[Ints, Ints, Floats]:
    """Find all pairs of footprints that are less than a distance apart.

    Parameters
    ----------
    rings
        (n, k, 3) outlines, as `rings` gives them.
    within_m
        Metres on the ellipsoid; a pair at exactly this distance is not returned.
    groups
        (n,) integers, say a block or a split each: only pairs of two groups are returned.

    Returns
    -------
    i, j : ndarray
        (m,) positions, i < j, sorted.
    metres : ndarray
        (m,) distances between outlines; 0.0 where footprints touch or overlap.
    """
    empty = np.empty(0, np.int64)
    if len(rings) < 2 or within_m <= 0:
        return empty, empty, np.empty(0)
    found = []
    for i, j in _candidates(rings, within_m, groups):
        metres = distances(rings, i, j)
        near = metres < within_m
        found.append((i[near], j[near], metres[near]))
    if not found:
        return empty, empty, np.empty(0)
    i, j, metres = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((j, i))
    return i[order], j[order], metres[order]


def near_pairs(
    rings: Floats, within_m: float, groups: NDArray[np.integer] | None = None
) -> tuple[Ints, Ints]:
    """Find the pairs of `close_pairs` without their distances.

    Two corners that are near settle most of them, and a plane between the two most of the others: few
    distances are worked out.

    Parameters
    ----------
    rings, within_m, groups
        As `close_pairs` takes them.

    Returns
    -------
    i, j : ndarray
        (m,) positions, i < j, sorted.
    """
    empty = np.empty(0, np.int64)
    if len(rings) < 2 or within_m <= 0:
        return empty, empty
    corners = rings[:, :: rings.shape[1] // 4]
    found = []
    for i, j in _candidates(rings, within_m, groups):
        near = _corners_near(corners, i, j, within_m)
        open_ones = np.flatnonzero(~near)
        open_ones = open_ones[~_parted(rings, i[open_ones], j[open_ones], within_m)]
        near[open_ones] = distances(rings, i[open_ones], j[open_ones]) < within_m
        found.append((i[near], j[near]))
    if not found:
        return empty, empty
    i, j = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((j, i))
    return i[order], j[order]


def _corners_near(corners: Floats, i: Ints, j: Ints, within_m: float) -> NDArray[np.bool_]:
    """Pairs of which two corners are so near that nothing can make the outlines' distance too long."""
    # An arc is longer than its chord by less than a thousandth up to 900 km; beyond, nothing is settled here.
    limit = min(within_m * 0.999, 900_000.0) - _SLACK
    near = np.zeros(len(i), bool)
    if limit <= 0:
        return near
    for a in range(4):
        for b in range(4):
            left = np.flatnonzero(~near)
            gap = corners[i[left], a] - corners[j[left], b]
            near[left] = _dot(gap, gap) < limit**2
    return near


def _parted(rings: Floats, i: Ints, j: Ints, within_m: float) -> NDArray[np.bool_]:
    """Pairs that two parallel planes, further apart than the distance, keep from each other."""
    one, two = rings[i], rings[j]
    along = two.mean(axis=1) - one.mean(axis=1)
    length = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    along /= length
    first = np.einsum("mkx,mx->mk", one, along).max(axis=1)
    second = np.einsum("mkx,mx->mk", two, along).min(axis=1)
    return np.asarray(second - first > within_m + _SLACK)


def _candidates(
    rings: Floats, within_m: float, groups: NDArray[np.integer] | None
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs i < j whose circles about the centres come close enough, in runs of bounded size."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and only splits by distance ask for it

    centres, radii = _circles(rings)
    tree = cKDTree(centres)
    reach = within_m + 2 * float(radii.max()) + _SLACK
    # In the order of the tree those of a run lie together, whatever the order of the rows.
    for start in range(0, len(rings), _NEAR):
        own = tree.indices[start : start + _NEAR]
        hits = cKDTree(centres[own]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        i, j = own[hits["i"]].astype(np.int64), hits["j"].astype(np.int64)
        keep = (i < j) & (hits["v"] < within_m + radii[i] + radii[j] + _SLACK)
        if groups is not None:
            keep &= groups[i] != groups[j]
        if keep.any():
            yield i[keep], j[keep]


def _circles(rings: Floats) -> tuple[Floats, Floats]:
    centres, radii = rings.mean(axis=1), np.empty(len(rings))
    for start in range(0, len(rings), _ROWS):
        run = slice(start, start + _ROWS)
        radii[run] = np.linalg.norm(rings[run] - centres[run, None], axis=-1).max(axis=1)
    return centres, radii


def distances(rings: Floats, i: Ints, j: Ints) -> Floats:
    """Distances between given pairs of footprints.

    Parameters
    ----------
    rings
        (n, k, 3) outlines.
    i, j
        (m,) positions of the two.

    Returns
    -------
    ndarray
        (m,) metres on the ellipsoid; 0.0 where footprints touch or overlap.
    """
    out = np.empty(len(i))
    step = max(1, _CHUNK // rings.shape[1] ** 2)
    for start in range(0, len(i), step):
        run = slice(start, start + step)
        one, two = rings[i[run]], rings[j[run]]
        rows, first, second = _planes(one, two)
        apart = np.ones(len(one), bool)
        apart[rows[shapely.intersects(first, second)]] = False
        part = np.zeros(len(one))
        part[apart] = _outline_distances(one[apart], two[apart])
        out[run] = part
    out[out < _TOUCH] = 0.0
    return out


def _outline_distances(first: Floats, second: Floats) -> Floats:
    """(m,) distances between outlines (m, k, 3), pair by pair."""
    reach1, reach2 = np.roll(first, -1, axis=1) - first, np.roll(second, -1, axis=1) - second
    middle1, middle2 = first + reach1 / 2, second + reach2 / 2
    half1, half2 = np.linalg.norm(reach1, axis=-1) / 2, np.linalg.norm(reach2, axis=-1) / 2
    apart = np.linalg.norm(middle1[:, :, None] - middle2[:, None], axis=-1)
    halves = half1[:, :, None] + half2[:, None]
    # Two middles are points of the outlines: their distance bounds the answer from above, and less the half
    # lengths it bounds what the two segments can give from below. Most segment pairs are settled by that.
    bound = apart.min(axis=(1, 2), keepdims=True)
    pair, s1, s2 = np.nonzero(apart - halves <= bound + _SLACK)
    gap = _segment_gaps(first[pair, s1], reach1[pair, s1], second[pair, s2], reach2[pair, s2])
    out = np.full(len(first), np.inf)
    np.minimum.at(out, pair, gap)
    return out


def _segment_gaps(p: Floats, u: Floats, q: Floats, v: Floats) -> Floats:
    """Horizontal distances between segments p + s u and q + t v (all (m, 3)), as arcs."""
    w = p - q
    a, b, c = _dot(u, u), _dot(u, v), _dot(v, v)
    d, e = _dot(u, w), _dot(v, w)
    # A corner that comes twice has a segment without length between the two: any s and t are its only point.
    det, along, other = a * c - b * b, np.where(a > 0, a, 1.0), np.where(c > 0, c, 1.0)
    parallel = det <= 1e-12 * a * c
    s = np.where(parallel, 0.0, np.clip((b * e - c * d) / np.where(parallel, 1.0, det), 0.0, 1.0))
    t = np.clip((b * s + e) / other, 0.0, 1.0)
    s = np.clip((b * t - d) / along, 0.0, 1.0)
    gap = w + s[:, None] * u - t[:, None] * v
    up = _normals(q + t[:, None] * v + gap / 2)
    across = np.sqrt(np.maximum(_dot(gap, gap) - _dot(gap, up) ** 2, 0.0))
    half = np.minimum(across / (2 * _MEAN_RADIUS), 1.0)
    return np.asarray(2 * _MEAN_RADIUS * np.arcsin(half))


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def overlap_shares(rings: Floats, i: Ints, j: Ints) -> Floats:
    """How much of the smaller of two footprints lies in the other.

    Parameters
    ----------
    rings
        (n, k, 3) outlines.
    i, j
        (m,) positions of the two.

    Returns
    -------
    ndarray
        (m,) shares 0..1 of the smaller area; neighbours that only share an edge give less than 1e-6.
    """
    out = np.zeros(len(i))
    step = max(1, _CHUNK // (16 * rings.shape[1]))
    for start in range(0, len(i), step):
        rows, first, second = _planes(rings[i[start : start + step]], rings[j[start : start + step]])
        first, second = _sound(first), _sound(second)
        smaller = np.minimum(shapely.area(first), shapely.area(second))
        out[start + rows] = shapely.area(shapely.intersection(first, second)) / smaller
    return out


def _sound(shapes: Polygons) -> Polygons:
    """Polygons that do not cross themselves, which outlines of some strange footprint may do in the plane."""
    bad = ~shapely.is_valid(shapes)
    if bad.any():
        shapes[bad] = shapely.make_valid(shapes[bad])
    return shapes


def _planes(first: Floats, second: Floats) -> tuple[Ints, Polygons, Polygons]:
    """Pairs that may overlap, as polygons of the plane that touches the earth between the two.

    Returns the rows of the pairs, and the two polygons of each.
    """
    (middle1, radius1), (middle2, radius2) = _circles(first), _circles(second)
    rows = np.flatnonzero(np.linalg.norm(middle1 - middle2, axis=-1) < radius1 + radius2 + _SLACK)
    origin = (middle1[rows] + middle2[rows]) / 2
    up = _normals(origin)
    # Any two directions in the plane do; the axis least along `up` gives the first.
    axis = np.eye(3)[np.argmin(np.abs(up), axis=1)]
    east = np.cross(axis, up)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    frame = np.stack([east, np.cross(up, east)], axis=-1)
    flat = [np.matmul(outline[rows] - origin[:, None], frame) for outline in (first, second)]
    return rows, shapely.polygons(flat[0]), shapely.polygons(flat[1])
