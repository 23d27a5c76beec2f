"""The land: what lies at a point, as functions of longitude and latitude."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from chipweave.demo.noise import F32, U32, Frame, Noise, fractal, pick, smoothstep, unit
from chipweave.demo.parcels import parcels
from chipweave.demo.settle import Settlement, settle
from chipweave.demo.terrain import FINE, Terrain, make_terrain

LON0, LAT0 = 6.0, 47.06
"""The middle of the demo world."""
_MX, _MY = 111_320.0 * float(np.cos(np.radians(LAT0))), 110_574.0 + 600.0  # metres a degree there, about

TREE, SHRUB, GRASS, CROP, BUILT, BARE, WATER, WETLAND = 10, 20, 30, 40, 50, 60, 80, 90
"""Codes of WorldCover."""

_SHADE, _WOOD, _LAKE, _BUILT, _CONIFER, _WU, _WV, _TONE, _QUARRY = range(9)


def plane(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[F32, F32]:
    """Metres east and north of the middle of the world, from degrees."""
    x = (np.asarray(lon, np.float64) - LON0) * _MX
    y = (np.asarray(lat, np.float64) - LAT0) * _MY
    return x.astype(np.float32).ravel(), y.astype(np.float32).ravel()


@dataclass(frozen=True)
class Ground:
    """What lies at each of n points; weights in [0, 1], laid over each other in the order of the fields.

    `use` is the parcel's: 0 arable, 1 pasture, 2 meadow. `bumps` are noises of about 90, 35 and 15 m.
    """

    parcel: U32
    use: npt.NDArray[np.uint8]
    edge: F32
    across: F32
    wet: F32
    shrub: F32
    wood: F32
    conifer: F32
    quarry: F32
    built: F32
    roof: F32
    works: F32
    water: F32
    road: F32
    tone: F32
    shade: F32
    bumps: tuple[F32, F32, F32]


class Land:
    """One synthetic Earth: everything follows from `seed`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.terrain: Terrain = make_terrain(seed)
        self.towns: Settlement = settle(seed, self.terrain)
        self._noise = tuple(Noise(seed, salt) for salt in range(10, 16))
        self._stack, self._by_parcel = _channels(seed, self.terrain, self.towns)

    def classes(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """WorldCover code at each point, in the shape of `lon`."""
        return cover(self.ground(*plane(lon, lat))).reshape(np.shape(lon))

    def corine(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """CORINE raster value (1..44) at each point, in the shape of `lon`."""
        return self.corine_at(*plane(lon, lat)).reshape(np.shape(lon))

    def corine_at(self, x: F32, y: F32) -> npt.NDArray[np.uint8]:
        """The same at points (n,) given in metres of the plane."""
        frame, codes = self._corine
        return pick(codes.ravel(), frame.nearest(x, y))

    def ground(self, x: F32, y: F32) -> Ground:
        """What lies at points (n,) given in metres of the plane."""
        s = FINE.sample(self._stack, x, y)
        a, b, c = (self._noise[k](x, y, w) for k, w in enumerate((90.0, 35.0, 15.0)))
        p = parcels(x + s[_WU], y + s[_WV], self.seed)
        wood_there, arable_there = pick(self._by_parcel, FINE.nearest(p.x, p.y)).T
        hay = unit(p.ident, 5)
        use = np.where(arable_there + 0.8 * hay > 0.4, 0, np.where(hay < 0.22, 1, 2)).astype(np.uint8)
        use[s[_BUILT] > -0.1] = 1
        built, roof, works, street = self._town(x, y, s[_BUILT], b, c)
        river = np.maximum(self.terrain.rivers.margin(x, y) + 5 * b, self.terrain.brooks.margin(x, y))
        wood = self._woods(s, wood_there, p.ident, p.edge, use, river, a, b)
        wood *= 1 - smoothstep(-0.25, 0.05, s[_BUILT] + 0.08 * a)
        water = smoothstep(-6.0, 5.0, np.maximum(river, s[_LAKE] + 6 * b))
        road = smoothstep(-5.0, 4.0, self.towns.roads.margin(x, y))
        track = smoothstep(-5.0, 1.0, 1.5 - p.track) * 0.7 * (1 - wood)
        road = np.maximum(road, np.maximum(track, street) * (1 - water))
        conifer = smoothstep(
            -0.25, 0.25, s[_CONIFER] + 0.25 * a + 1.2 * (unit(p.ident, 6) - 0.5) * (s[_WOOD] < 0.8)
        )
        shrub = smoothstep(0.0, 0.12, s[_WOOD] + 0.3 * a + 0.12 * b - 0.02) * (use > 0) * (wood_there < 0)
        return Ground(
            parcel=p.ident, use=use, edge=p.edge, across=p.across, wet=smoothstep(-90.0, -10.0, s[_LAKE] + 25 * a),
            shrub=shrub * (1 - smoothstep(-0.3, 0.0, s[_BUILT])), wood=wood, conifer=conifer,
            quarry=smoothstep(-6.0, 6.0, s[_QUARRY] + 16 * a + 5 * b), built=built, roof=roof, works=works,
            water=water, road=road, tone=s[_TONE] + 0.12 * a, shade=s[_SHADE],
            bumps=(a, b, c),
        )  # fmt: skip

    def _woods(
        self,
        s: F32,
        there: F32,
        ident: U32,
        edge: F32,
        use: npt.NDArray[np.uint8],
        river: F32,
        a: F32,
        b: F32,
    ) -> F32:
        """Woods on slopes and poor ground, hedges around pastures, trees along the water."""
        lot = (unit(ident, 7) - np.float32(0.5)) * np.float32(0.5)
        inclined = 0.62 * s[_WOOD] + 0.38 * there + lot * (s[_WOOD] < 0.6) + 0.12 * a + 0.05 * b
        wood = smoothstep(-0.03, 0.03, inclined)
        fond = np.where(use > 0, unit(ident, 8) - np.float32(0.45), np.float32(0.0))
        hedge = smoothstep(0.0, 0.35, np.float32(0.55) * fond + 0.3 * a + 0.12 * b)
        wood = np.maximum(wood, smoothstep(-8.0, 0.0, 1.0 - edge) * hedge)
        bank = smoothstep(-26.0, -8.0, river)
        bank *= smoothstep(-0.35, 0.05, a + np.float32(0.4) * b)
        trees: F32 = np.maximum(wood, bank)
        return trees

    def _town(self, x: F32, y: F32, inside: F32, b: F32, c: F32) -> tuple[F32, F32, F32, F32]:
        """Weights of built-up ground, of roofs within it, of large halls, and of streets."""
        zero = np.zeros(x.shape, np.float32)
        built, roof, works, street = zero, zero.copy(), zero.copy(), zero.copy()
        near = np.flatnonzero(inside > -0.8)
        if not len(near):
            return built, roof, works, street
        x, y, inside, b, c = x[near], y[near], inside[near], b[near], c[near]
        town = pick(self.towns.town.ravel(), FINE.nearest(x, y))
        turn = self.towns.turn[town]
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        lots = parcels(
            u * 1.7 + 25 * self._noise[3](x, y, 700.0), v * 1.7 + 25 * self._noise[4](x, y, 600.0), 91
        )
        d, kind = lots.edge / np.float32(1.7), unit(lots.ident, 4)
        rim = inside + np.float32(0.3) * self._noise[4](x, y, 420.0)
        halls = smoothstep(0.3, 0.4, self._noise[5](x, y, 1900.0)) * smoothstep(-0.5, -0.4, rim)
        halls *= 1 - smoothstep(0.2, 0.4, rim)
        big = self.towns.size[town] > 800
        halls = np.where(big, halls, np.float32(0.0)) * (kind > 0.25)
        weight = smoothstep(-0.06, 0.10, inside + 0.16 * b + 0.3 * (kind - 0.5))
        weight *= kind > 0.05 + 0.08 * (inside < 0.5)
        built[near] = np.maximum(weight, halls)
        dense = 0.5 * self._noise[3](x, y, 27.0) + 0.3 * c + 0.8 * inside + 0.9 * (kind - 0.6)
        roof[near] = smoothstep(-0.8, 0.8, dense)
        works[near] = halls * smoothstep(9.0, 16.0, d + 3 * b)
        street[near] = smoothstep(-6.0, 0.5, 1.0 - d) * np.maximum(weight, halls) * np.float32(0.7)
        return built, roof, works, street

    @cached_property
    def _corine(self) -> tuple[Frame, npt.NDArray[np.uint8]]:
        frame = Frame(FINE.x0, FINE.y0, 50.0, FINE.ny // 2, FINE.nx // 2)
        x, y = np.meshgrid(frame.x.astype(np.float32), frame.y.astype(np.float32))
        ground = self.ground(x.ravel(), y.ravel())
        river = self.terrain.rivers.margin(x.ravel(), y.ravel()).reshape(x.shape) > -28
        lake = FINE.sample(self._stack[..., _LAKE : _LAKE + 1], x.ravel(), y.ravel())[0].reshape(x.shape) > 0
        inside = FINE.sample(self._stack[..., _BUILT : _BUILT + 1], x.ravel(), y.ravel())[0].reshape(x.shape)
        return frame, generalise(ground, x.shape, river, lake, inside)


@lru_cache(maxsize=2)
def land(seed: int) -> Land:
    """The land of a seed, made once a process."""
    return Land(seed)


def cover(g: Ground) -> npt.NDArray[np.uint8]:
    """WorldCover code of each point: the uppermost thing that covers half of it."""
    code = np.where(g.use == 0, np.uint8(CROP), np.uint8(GRASS))
    code[g.wet > 0.5] = WETLAND
    code[g.shrub > 0.5] = SHRUB
    code[g.wood > 0.5] = TREE
    code[g.quarry > 0.5] = BARE
    town = g.built > 0.5
    code[town] = np.where(g.roof[town] + g.works[town] > 0.3, np.uint8(BUILT), np.uint8(GRASS))
    code[g.water > 0.5] = WATER
    code[g.road > 0.5] = BUILT
    return code


def generalise(
    g: Ground,
    shape: tuple[int, ...],
    river: npt.NDArray[np.bool_],
    lake: npt.NDArray[np.bool_],
    inside: F32,
) -> npt.NDArray[np.uint8]:
    """CORINE from the ground on a grid of 50 m: what prevails within about 350 m."""

    def share(of: npt.NDArray[np.bool_]) -> F32:
        mean: F32 = ndimage.uniform_filter(of.reshape(shape).astype(np.float32), 7, mode="nearest")
        return mean

    wood, built = g.wood > 0.5, g.built > 0.5
    open_ground = ~wood & ~built & ~(g.water > 0.5)
    trees, town = share(wood), share(built)
    arable, grass = share(open_ground & (g.use == 0)), share(open_ground & (g.use > 0))
    needles = share(wood & (g.conifer > 0.5)) / np.maximum(trees, 0.05)
    forest = np.where(needles > 0.65, 24, np.where(needles < 0.35, 23, 25))
    wet, halls = share(g.wet > 0.5), share(g.works > 0.5)
    rules = (
        (lake & (share(lake.ravel()) > 0.25), 41), (river, 40), (share(g.quarry > 0.5) > 0.35, 7),
        (halls > 0.22, 3), ((town > 0.45) & (inside > 0.72), 1), (town > 0.3, 2), (wet > 0.55, 35),
        (trees > 0.6, forest), (share(g.shrub > 0.5) > 0.4, 29), (arable > 0.6, 12), (grass > 0.55, 18),
        (trees > 0.3, 21),
    )  # fmt: skip
    code = np.select([test for test, _ in rules], [np.broadcast_to(v, shape) for _, v in rules], 20)
    return code.astype(np.uint8)


def _channels(seed: int, terrain: Terrain, towns: Settlement) -> tuple[F32, F32]:
    """What is interpolated at points (ny, nx, 9), and what holds for a whole parcel (ny * nx, 2)."""
    rng = np.random.default_rng([seed, 3])
    smooth = ndimage.gaussian_filter(terrain.height, 5)
    dy, dx = np.gradient(terrain.height, FINE.step)
    slope = np.hypot(*np.gradient(smooth, FINE.step))
    valley = _refine(terrain.valley)
    high = (smooth - smooth.mean()) / smooth.std()
    wood = 0.75 * fractal(rng, FINE, 3_200.0, 1.6) + 5.5 * (slope - 0.075) + 0.35 * high
    wood += 0.35 * np.tanh((valley - 500) / 400) - 0.9 * np.exp(-(((towns.built - 1) / 1.1) ** 2))
    wood = np.clip(wood - np.quantile(wood, 0.67), -2.5, 2.5)
    arable = 0.55 - 7 * (slope - 0.05) + 0.35 * fractal(rng, FINE, 6_000.0, 2.0)
    arable -= 0.7 * np.exp(-((valley / 220) ** 2)) + 0.25 * high
    conifer = 0.7 * fractal(rng, FINE, 3_500.0, 1.8) + 0.4 * high - 0.35
    bend = [150.0 * fractal(rng, FINE, 9_000.0, 2.8) for _ in range(2)]
    tone = 1.0 + 0.1 * fractal(rng, FINE, 3_000.0, 1.8)
    shade = np.clip(1.0 + 0.62 * (-0.55 * dx + 0.8 * dy), 0.72, 1.18)
    quarry = _quarries(rng, towns.built, valley)
    stack = (shade, wood, terrain.lake, towns.built, conifer, *bend, tone, quarry)
    by_parcel = np.stack([wood.ravel(), arable.ravel()], axis=1).astype(np.float32)
    return np.stack([layer.astype(np.float32) for layer in stack], axis=-1), by_parcel


def _refine(coarse: F32) -> F32:
    """From the coarse frame of the terrain to `FINE`, linearly."""
    rows, cols = np.arange(FINE.ny) / 4, np.arange(FINE.nx) / 4
    at = np.meshgrid(rows, cols, indexing="ij")
    out: F32 = ndimage.map_coordinates(coarse, at, order=1, mode="nearest", output=np.float32)
    return out


def _quarries(rng: np.random.Generator, built: F32, valley: F32) -> F32:
    """Metres inside one of three quarries, away from houses and water."""
    margin = np.full(built.shape, -400.0, np.float32)
    free = np.argwhere((built < -1.5) & (valley > 500))
    free = free[(np.abs(FINE.x[free[:, 1]]) < 14_000) & (np.abs(FINE.y[free[:, 0]]) < 7_000)]
    for _ in range(3):
        row, col = free[rng.integers(len(free))]
        d = np.hypot(FINE.x[None, :] - FINE.x[col], (FINE.y[:, None] - FINE.y[row]) * rng.uniform(0.8, 1.7))
        margin = np.maximum(margin, (rng.uniform(120, 230) - d).astype(np.float32))
    return margin
