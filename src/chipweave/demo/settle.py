"""Towns, villages, and the roads between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from chipweave.demo.noise import F32, F64, Frame, fractal
from chipweave.demo.terrain import COARSE, FINE, Lines, Terrain

_ROADS = Frame(COARSE.x0, COARSE.y0, 200.0, 116, 191)  # every second node of COARSE


@dataclass(frozen=True)
class Settlement:
    """Where people live.

    Parameters
    ----------
    built
        (ny, nx) on `FINE`: 1 in the middle of a town, 0 at its edge, negative outside.
    town
        (ny, nx) on `FINE`: number of the nearest town.
    turn, size
        Direction of each town's streets, radians, and its radius in metres.
    roads
        Centre lines.
    """

    built: F32
    town: npt.NDArray[np.int32]
    turn: F32
    size: F32
    roads: Lines


def settle(seed: int, terrain: Terrain) -> Settlement:
    """Towns by the river, villages on flat ground, roads along the easiest ways."""
    rng = np.random.default_rng([seed, 2])
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(terrain.height, 6)[::4, ::4], COARSE.step))
    sites, radius = _sites(rng, terrain, slope)
    roads = _roads(rng, sites, radius, slope, terrain)
    x, y = np.meshgrid(FINE.x.astype(np.float32), FINE.y.astype(np.float32))
    ragged = 0.22 * fractal(rng, FINE, 1_500.0, 1.3)
    nearest = cKDTree(sites).query(np.column_stack([x[::8, ::8].ravel(), y[::8, ::8].ravel()]))[1]
    town = nearest.reshape(x[::8, ::8].shape).repeat(8, 0).repeat(8, 1)[: FINE.ny, : FINE.nx]
    built = np.full(x.shape, -3.0, np.float32)
    along = _near_roads(roads)
    for (cx, cy), r in zip(sites, radius, strict=True):
        rows, cols = np.abs(FINE.y - cy) < 3 * r, np.abs(FINE.x - cx) < 3 * r
        box = np.ix_(rows, cols)
        d = np.hypot(x[box] - cx, y[box] - cy) / r
        built[box] = np.maximum(built[box], 1 - d + ragged[box] + 0.35 * along[box] * np.exp(-((d / 2) ** 2)))
    built -= (terrain.lake > -30) * np.float32(2.0)
    turn = rng.uniform(0, np.pi / 2, len(sites)).astype(np.float32)
    return Settlement(built, town.astype(np.int32), turn, radius.astype(np.float32), roads)


def _sites(rng: np.random.Generator, terrain: Terrain, slope: F32) -> tuple[F64, F64]:
    """Places with enough room between them, the best first: (n, 2) metres, and their radii."""
    river = np.exp(-(((terrain.valley - 300) / 700) ** 2))
    score = 0.8 * river - 9 * slope + 0.7 * rng.random(slope.shape)
    score[ndimage.gaussian_filter(terrain.lake, 4)[::4, ::4] > -60] = -9
    order = np.argsort(-score, axis=None)
    row, col = np.divmod(order, COARSE.nx)
    at = np.column_stack([COARSE.x[col], COARSE.y[row]])
    chosen: list[F64] = []
    radius: list[float] = []
    for count, (low, high), apart in ((4, (900, 1500), 7000), (16, (330, 560), 2600), (75, (70, 220), 1150)):
        found = 0
        for place in at:
            gap = np.hypot(*(np.asarray(chosen) - place).T).min() if chosen else np.inf
            if gap >= apart and not (apart > 5000 and max(abs(place) - (15_000, 8_000)) > 0):
                chosen.append(place)
                radius.append(float(rng.uniform(low, high)))
                found += 1
                if found == count:
                    break
    return np.asarray(chosen), np.asarray(radius)


def _roads(
    rng: np.random.Generator,
    sites: F64,
    radius: F64,
    slope: F32,
    terrain: Terrain,
) -> Lines:
    """The cheapest way from each place to its neighbours, steep ground and water avoided."""
    cost = 1 + 14 * slope[::2, ::2] + 0.6 * rng.random(slope[::2, ::2].shape)
    cost += 2.5 * (terrain.valley[::2, ::2] < 150)
    cost += 40 * (terrain.lake[::8, ::8] > -60)
    graph = _graph(cost.astype(np.float64))
    near = _ROADS.nearest(sites[:, 0].astype(np.float32), sites[:, 1].astype(np.float32))
    away, before = csgraph.dijkstra(graph, directed=False, indices=near, return_predecessors=True)
    between = away[:, near]
    tree = csgraph.minimum_spanning_tree(between).tocoo()
    pairs = {(int(min(a, b)), int(max(a, b))) for a, b in zip(tree.row, tree.col, strict=True)}
    for a in range(len(sites)):
        for b in np.argsort(between[a])[1 : 4 if radius[a] > 300 else 2]:
            pairs.add((min(a, int(b)), max(a, int(b))))
    for a in range(4):
        pairs.update((a, b) for b in range(a + 1, 4))
    used: set[tuple[int, int]] = set()
    lines: list[tuple[F64, float]] = []
    for a, b in sorted(pairs, key=lambda p: (-min(radius[p[0]], radius[p[1]]), p)):
        half = 5.5 if min(radius[a], radius[b]) > 300 else 3.2
        lines.extend((_bend(piece), half) for piece in _unused(before[a], int(near[b]), used))
    return Lines.of(lines, 12.0)


def _graph(cost: F64) -> sparse.csr_matrix:
    ny, nx = cost.shape
    index = np.arange(ny * nx).reshape(ny, nx)
    rows, cols, weights = [], [], []
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = index[: ny - dr, max(0, -dc) : nx - max(0, dc)]
        b = index[dr:, max(0, dc) : nx + min(0, dc)]
        rows.append(a.ravel())
        cols.append(b.ravel())
        weights.append(((cost.ravel()[a] + cost.ravel()[b]) * (np.hypot(dr, dc) / 2)).ravel())
    values = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(cols)))
    return sparse.csr_matrix(values, shape=(ny * nx, ny * nx))


def _unused(before: npt.NDArray[np.int32], at: int, used: set[tuple[int, int]]) -> list[list[int]]:
    """The way back from `at`, without the stretches that have a road already."""
    pieces: list[list[int]] = []
    piece = [at]
    while before[at] >= 0:
        to = int(before[at])
        if (min(at, to), max(at, to)) in used:
            pieces.append(piece)
            piece = [to]
        else:
            used.add((min(at, to), max(at, to)))
            piece.append(to)
        at = to
    return [p for p in [*pieces, piece] if len(p) > 1]


def _bend(nodes: list[int]) -> F64:
    """Round the corners of a way over nodes; a point every 5 m, its ends where they were."""
    row, col = np.divmod(np.asarray(nodes), _ROADS.nx)
    xy = np.column_stack([_ROADS.x[col], _ROADS.y[row]])
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    dense = np.append(np.arange(0.0, s[-1], 5.0), s[-1])
    xy = np.column_stack([np.interp(dense, s, xy[:, k]) for k in (0, 1)])
    soft = ndimage.gaussian_filter1d(xy, 28.0, axis=0, mode="nearest")
    hold = np.clip(np.minimum(dense, dense[-1] - dense) / 250, 0, 1)[:, None]
    line: F64 = xy + (soft - xy) * hold
    return line


def _near_roads(roads: Lines) -> F32:
    """1 on a road, falling to 0 within about 200 m: towns grow along them."""
    hit = np.zeros((FINE.ny, FINE.nx), np.float32)
    hit.ravel()[FINE.nearest(*roads.points.astype(np.float32).T)] = 1
    near: F32 = np.minimum(ndimage.gaussian_filter(hit, 4.0) * 8, 1)
    return near
