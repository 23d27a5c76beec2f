"""Hills, the water that runs off them, and lakes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from chipweave.demo.noise import F32, F64, Frame, fractal, pick

COARSE = Frame(-19_000.0, -11_500.0, 100.0, 231, 381)
"""Where water is routed."""
FINE = Frame(-19_000.0, -11_500.0, 25.0, 921, 1521)
"""Where relief is kept."""

_INFLOW = 9_000  # cells that drain into the main river before it enters the map
_BROOK, _STREAM = 160, 900  # cells of 1 ha that make a brook and a stream


@dataclass(frozen=True)
class Lines:
    """Centre lines as dense points.

    Parameters
    ----------
    points
        (n, 2) metres.
    half
        (n,) half widths in metres.
    tree
        Over the points.
    near
        (ny, nx) on `FINE`: whether a line may be within `reach` of a point whose nearest node this is.
    reach
        Metres from the centre line within which `margin` answers.
    """

    points: F64
    half: F32
    tree: cKDTree
    near: npt.NDArray[np.bool_]
    reach: float

    @classmethod
    def of(cls, lines: list[tuple[F64, float]], reach: float) -> Lines:
        """From (line, half width) pairs."""
        points = np.concatenate([line for line, _ in lines])
        half = np.concatenate([np.full(len(line), w, np.float32) for line, w in lines])
        hit = np.zeros((FINE.ny, FINE.nx), np.float32)
        hit.ravel()[FINE.nearest(*points.astype(np.float32).T)] = 1
        near = ndimage.uniform_filter(hit, 2 * int(reach / FINE.step + 1.5) + 1) > 1e-6
        return cls(points, half, cKDTree(points), near, reach)

    def margin(self, x: F32, y: F32) -> F32:
        """Metres inside the nearest line's edge (negative: outside); ``-reach`` where none is near."""
        out = np.full(x.shape, np.float32(-self.reach))
        at = np.flatnonzero(pick(self.near.ravel(), FINE.nearest(x, y)))
        if len(at):
            d, i = self.tree.query(np.column_stack([x[at], y[at]]), distance_upper_bound=self.reach)
            found = np.isfinite(d)
            at = at[found]
            out[at] = np.maximum(self.half[i[found]] - d[found].astype(np.float32), out[at])
        return out


@dataclass(frozen=True)
class Terrain:
    """What the land is before anybody lives there.

    Parameters
    ----------
    height
        (ny, nx) metres on `FINE`.
    lake
        (ny, nx) on `FINE`: metres inside a lake's shore, negative outside.
    valley
        (ny, nx) on `COARSE`: metres to the nearest running water.
    rivers, brooks
        Centre lines.
    """

    height: F32
    lake: F32
    valley: F32
    rivers: Lines
    brooks: Lines


def make_terrain(seed: int) -> Terrain:
    """Hills with one large river through them from east to west."""
    rng = np.random.default_rng([seed, 1])
    trough = _trough(rng)
    rough = fractal(rng, COARSE, 9_000.0, 2.0)
    height = trough * 1.0 + 55.0 * rough + 0.0016 * COARSE.x[None, :].astype(np.float32)
    filled, down, order = _flood(height, rng)
    flow = _accumulate(down, order, int(np.argmin(trough[:, -1])) * COARSE.nx + COARSE.nx - 1)
    main, tributaries = _trace(flow, down, int(np.argmin(trough[:, -1])) * COARSE.nx + COARSE.nx - 1, rng)
    rivers = Lines.of(main, 75.0)
    brooks = Lines.of(tributaries, 40.0)
    xx, yy = np.meshgrid(COARSE.x, COARSE.y)
    nodes = np.column_stack([xx.ravel(), yy.ravel()])
    to_river, to_brook = (
        cKDTree(lines.points[::8]).query(nodes, workers=2)[0].reshape(xx.shape).astype(np.float32)
        for lines in (rivers, brooks)
    )
    carved = filled - 45.0 * np.exp(-((to_river / 1100) ** 2)) - 16.0 * np.exp(-((to_brook / 320) ** 2))
    fine = _enlarge(carved.astype(np.float32)) + 5.0 * fractal(rng, FINE, 900.0, 1.7)
    lake = _lakes(to_river, rng)
    return Terrain(fine, lake, np.minimum(to_river, to_brook), rivers, brooks)


def _trough(rng: np.random.Generator) -> F32:
    """A wide valley that winds through the map."""
    bends = rng.uniform(0, 2 * np.pi, 3)
    x = COARSE.x
    middle = 1500 * np.sin(x / 5200 + bends[0]) + 1100 * np.sin(x / 2300 + bends[1]) - 800
    off = COARSE.y[:, None] - middle[None, :]
    height: F32 = (150.0 * (1 - np.exp(-((off / 3200) ** 2))) + 0.004 * np.abs(off)).astype(np.float32)
    return height


def _flood(height: F32, rng: np.random.Generator) -> tuple[F32, npt.NDArray[np.int32], list[int]]:
    """Fill hollows from the west, north and south edges inward (priority flood).

    Returns
    -------
    The filled heights, the cell each cell drains to (-1 at an outlet), and the cells in the order of filling.
    """
    ny, nx = height.shape
    wide = nx + 2  # one cell of rim all around, which counts as done: no neighbour needs a test
    level: list[float] = np.pad(height, 1).ravel().tolist()
    # Uneven rises, so that water winds where it is flat.
    rise: list[float] = rng.uniform(0.005, 0.3, len(level)).tolist()
    done = np.pad(np.zeros((ny, nx), np.uint8), 1, constant_values=1).ravel().tolist()
    down = [-1] * len(level)
    cells = np.arange(len(level)).reshape(ny + 2, wide)[1:-1, 1:-1]
    outlets = np.concatenate([cells[0], cells[-1], cells[1:-1, 0]]).tolist()
    heap = [(level[at], at) for at in outlets]
    for at in outlets:
        done[at] = 1
    heapq.heapify(heap)
    push, pop = heapq.heappush, heapq.heappop
    steps = (-wide, wide, -1, 1, -wide - 1, -wide + 1, wide - 1, wide + 1)
    order: list[int] = []
    while heap:
        here, at = pop(heap)
        order.append(at)
        for step in steps:
            to = at + step
            if not done[to]:
                done[to] = 1
                down[to] = at
                level[to] = max(level[to], here + rise[to])
                push(heap, (level[to], to))
    filled = np.asarray(level, dtype=np.float32).reshape(ny + 2, wide)[1:-1, 1:-1]
    slim = np.full(
        len(level) + 1, -1, dtype=np.int32
    )  # from cells with a rim to cells without; [-1] stays -1
    slim[cells.ravel()] = np.arange(ny * nx)
    return np.ascontiguousarray(filled), slim[np.asarray(down)[cells.ravel()]], slim[order].tolist()


def _accumulate(down: npt.NDArray[np.int32], order: list[int], source: int) -> npt.NDArray[np.int64]:
    flow = [1] * len(order)
    flow[source] += _INFLOW
    to = down.tolist()
    for at in reversed(order):
        if to[at] >= 0:
            flow[to[at]] += flow[at]
    return np.asarray(flow)


_Line = tuple[F64, float]


def _trace(
    flow: npt.NDArray[np.int64], down: npt.NDArray[np.int32], source: int, rng: np.random.Generator
) -> tuple[list[_Line], list[_Line]]:
    """Follow water from its springs, the largest first, into smooth lines: the main river, and the others."""
    wet = flow >= _BROOK
    fed = np.zeros(len(flow), dtype=bool)
    fed[down[wet & (down >= 0)]] = True
    springs = np.flatnonzero(wet & ~fed)
    length = {int(s): len(_path(int(s), down, set())) for s in springs}
    starts = [source, *sorted(length, key=lambda s: (-length[s], s))]
    seen: set[int] = set()
    main: list[_Line] = []
    others: list[_Line] = []
    joined: list[F64] = []
    for start in starts:
        cells = _path(start, down, seen)
        if len(cells) < 8:
            continue
        seen.update(cells)
        line = _smooth(np.asarray(cells), start == source, rng)
        if joined:
            line = _join(line, joined)
        joined.append(line)
        if start == source:
            main.append((line, 34.0))
        else:
            others.extend(_widths(line, flow[cells]))
    return main, others


def _path(start: int, down: npt.NDArray[np.int32], seen: set[int]) -> list[int]:
    cells = []
    at = start
    while at >= 0 and at not in seen:
        cells.append(at)
        at = int(down[at])
    return cells


def _smooth(cells: npt.NDArray[np.int64], main: bool, rng: np.random.Generator) -> F64:
    """A staircase of cells to a winding line with a point every 5 m."""
    row, col = np.divmod(cells, COARSE.nx)
    xy = np.column_stack([COARSE.x[col], COARSE.y[row]])
    xy = ndimage.gaussian_filter1d(xy, 6.0 if main else 2.0, axis=0, mode="nearest")
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    dense = np.arange(0.0, s[-1], 5.0)
    xy = np.column_stack([np.interp(dense, s, xy[:, k]) for k in (0, 1)])
    if len(xy) < 8:
        return xy
    along = np.gradient(xy, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]]) / np.hypot(*along.T)[:, None]
    wave, swing = (1500.0, 260.0) if main else (330.0, 26.0)
    bend = ndimage.gaussian_filter1d(rng.standard_normal(len(xy)), wave / 5 / 5.5, mode="nearest")
    bend *= swing / max(float(bend.std()), 1e-9)
    ends = np.clip(np.minimum(dense, dense[-1] - dense) / wave, 0, 1)
    xy += normal * (bend * ends)[:, None]
    line: F64 = ndimage.gaussian_filter1d(xy, 8.0 if main else 3.0, axis=0, mode="nearest")
    return line


def _join(line: F64, joined: list[F64]) -> F64:
    """Lead a line's end to the nearest water that is there already, if it is near."""
    water = np.concatenate([other[::3] for other in joined])
    away = np.hypot(*(water - line[-1]).T)
    goal, d = water[np.argmin(away)], float(away.min())
    if d > 900 or d < 5:
        return line
    bridge = np.linspace(line[-1], goal, max(2, int(d / 5)))
    return np.concatenate([line, bridge])


def _widths(line: F64, flow: npt.NDArray[np.int64]) -> list[_Line]:
    """Cut a line where it becomes a stream, and widen it."""
    cut = int(np.searchsorted(flow, _STREAM) / len(flow) * len(line))
    parts = [(line[:cut], 3.0), (line[cut:], 8.0)]
    return [(part, half) for part, half in parts if len(part)]


def _enlarge(coarse: F32) -> F32:
    """From `COARSE` to `FINE`, smoothly."""
    at = np.meshgrid(
        np.arange(FINE.ny) * FINE.step / COARSE.step,
        np.arange(FINE.nx) * FINE.step / COARSE.step,
        indexing="ij",
    )
    out: F32 = ndimage.map_coordinates(coarse, at, order=3, mode="nearest", output=np.float32)
    return out


def _lakes(to_river: F32, rng: np.random.Generator) -> F32:
    """Metres inside the shore: a few lakes away from the river, and some ponds."""
    x, y = FINE.x.astype(np.float32), FINE.y.astype(np.float32)
    margin = np.full((FINE.ny, FINE.nx), -400.0, np.float32)
    ragged = 0.3 * fractal(rng, FINE, 700.0, 1.6)
    dry = np.argwhere(to_river > 900)
    dry = dry[(np.abs(COARSE.x[dry[:, 1]]) < 14_000) & (np.abs(COARSE.y[dry[:, 0]]) < 7_000)]
    for count, (low, high) in ((4, (260, 520)), (30, (45, 170))):
        for _ in range(count):
            row, col = dry[rng.integers(len(dry))]
            cx, cy = COARSE.x[col], COARSE.y[row]
            a, b, turn = rng.uniform(low, high), rng.uniform(low, high) * 0.6, rng.uniform(0, np.pi)
            rows, cols = np.abs(y - cy) < 1500, np.abs(x - cx) < 1500
            box = np.ix_(rows, cols)
            dx, dy = x[None, cols] - cx, y[rows, None] - cy
            u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
            shore = (1 + ragged[box] - np.hypot(u / a, v / b)) * min(a, b)
            margin[box] = np.maximum(margin[box], shore.astype(np.float32))
    return margin
