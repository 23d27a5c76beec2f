"""Bands of one scene onto a target window, each by the shortest way that gives the contract's pixels.

Grids that coincide are copied; a source of exactly twice the pixel is blended by fixed weights; everything else is
gathered over the lattice, the bands of one grid together. Types or rules beyond these take the general way of
`resample`, which the short ways equal to the bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.model import Asset
from chipweave.pixels import fused
from chipweave.pixels.blocks import read_block
from chipweave.pixels.lattice import Grid, Lattice, make_lattice, shift
from chipweave.pixels.radiometry import INT16_NODATA, Power, is_plain, to_float32, to_int16, to_power
from chipweave.pixels.read import source_of
from chipweave.pixels.resample import LARGE, Box, Method, clip, gather_block, inside, resample
from chipweave.pixels.stored import SourceGrid, data_mask

AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Target:
    """A target window: its anchored grid, (row, col, height, width) in it, and as it was asked for."""

    grid: Grid
    box: Box
    crs: str
    affine: Affine

    @classmethod
    def of(cls, crs: str, affine: Affine, shape: tuple[int, int]) -> Target:
        """Window of a CRS, pixel-to-CRS affine and (rows, columns)."""
        grid, row, col = Grid.anchored(crs, affine)
        return cls(grid, (row, col, *shape), crs, affine)


@dataclass(frozen=True, slots=True)
class Stored:
    """One band to be read: its header, the value that means no data, and how it stores backscatter, if it does."""

    source: SourceGrid
    nodata: float | None
    power: Power = ""

    @classmethod
    def of(cls, asset: Asset, default_nodata: float | None, power: Power = "") -> Stored:
        """Band of an asset; its header is read."""
        return cls(*source_of(asset, default_nodata), power)

    def read(self, row: int, col: int, height: int, width: int) -> tuple[AnyArray, BoolArray]:
        """Values of a block of the file, and where they are data; backscatter as linear power."""
        values = read_block(self.source, row, col, height, width)
        if self.power:
            values = values.astype(self.dtype, copy=False)
        return values, self.settle(values)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type in which it is resampled: the file's, but floats for power."""
        stored = self.source.dtype
        return np.dtype(np.float32) if self.power and not np.issubdtype(stored, np.floating) else stored

    def settle(self, values: AnyArray) -> BoolArray:
        """Where stored values are data; backscatter becomes linear power, in place."""
        ok = data_mask(values, self.nodata)
        if self.power:
            to_power(values, ok, self.power)
        return ok

    def stored(
        self,
        row: int,
        col: int,
        height: int,
        width: int,
        out: AnyArray | None = None,
        border: int | None = None,
    ) -> tuple[AnyArray, bool]:
        """Values of a block, and whether any of them may be no data; `border` as of `read_block`."""
        values = read_block(self.source, row, col, height, width, out, border)
        return values, self.code is not None and bool((values == self.code).any())

    @property
    def code(self) -> int | None:
        """The integer that means no data, if one can."""
        if self.nodata is None or not float(self.nodata).is_integer():
            return None
        return int(self.nodata)


def read_band(
    asset: Asset,
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> tuple[AnyArray, BoolArray]:
    """Stored values of one band on a north-up window, and where they are data.

    Parameters
    ----------
    asset
        The band's file.
    default_nodata
        Counts where neither the item nor the file states one.
    crs, affine, shape
        The window: CRS, pixel-to-CRS affine, (rows, columns).
    method
        The rule where the grids do not coincide.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        See `read.source_grid`.
    """
    return general(Stored.of(asset, default_nodata), Target.of(crs, affine, shape), method)


def general(band: Stored, window: Target, method: Method) -> tuple[AnyArray, BoolArray]:
    """A band on a window by the rules of `resample`, or copied where the grids coincide."""
    source = band.source
    moved = shift(source.grid, window.grid)
    if moved is None:
        args = (source.grid, source.shape, window.grid, window.box)
        values, ok = resample(*args, method, band.read, band.dtype)
        if method == "cubic" and band.power:
            below = np.less_equal(values, 0)  # beside what shines it swings below zero, which no power is
            linear = resample(*args, "bilinear", band.read, band.dtype)[0]
            values = np.where(below, linear, values)
        return values, ok
    out, ok = np.zeros(window.box[2:], band.dtype), np.zeros(window.box[2:], np.bool_)
    inner = overlap(window, moved, source.shape)
    if inner is not None:
        block, where = inner
        values, valid = band.read(*block)
        out[where], ok[where] = np.where(valid, values, 0), valid
    return out, ok


def overlap(
    window: Target, moved: tuple[int, int], shape: tuple[int, int]
) -> tuple[Box, tuple[slice, slice]] | None:
    """Block of a coinciding grid that a window covers, and its place in the window; None where they do not meet."""
    box = (window.box[0] + moved[0], window.box[1] + moved[1], *window.box[2:])
    block = clip(box, shape)
    return None if block is None else (block, inside(box, block))


def read_bands(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> list[tuple[AnyArray, BoolArray]]:
    """`read_band` of several bands of one scene; floats of one grid share their coordinates."""
    return _together([Stored.of(a, default_nodata) for a in assets], Target.of(crs, affine, shape), method)


def _together(bands: Sequence[Stored], window: Target, method: Method) -> list[tuple[AnyArray, BoolArray]]:
    out: list[tuple[AnyArray, BoolArray]] = [(np.empty(0), np.empty(0, np.bool_))] * len(bands)
    for members in _by_grid(bands, range(len(bands))):
        first = bands[members[0]].source
        gathered = None
        if (
            method == "bilinear"
            and np.issubdtype(first.dtype, np.floating)
            and shift(first.grid, window.grid) is None
        ):
            gathered = _float_bilinear([bands[i] for i in members], window)
        for n, i in enumerate(members):
            out[i] = (
                general(bands[i], window, method) if gathered is None else (gathered[0][n], gathered[1][n])
            )
    return out


def _by_grid(bands: Sequence[Stored], numbers: Sequence[int]) -> list[list[int]]:
    """Numbers of bands, those of one grid and type together, in order."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for i in numbers:
        source = bands[i].source
        groups[source.grid, source.shape, source.dtype].append(i)
    return list(groups.values())


def _float_bilinear(bands: Sequence[Stored], window: Target) -> tuple[AnyArray, BoolArray] | None:
    """Floats of one grid over one lattice; None where the general way is needed."""
    lattice, block = gather_block(
        bands[0].source.grid, bands[0].source.shape, window.grid, window.box, reach=0.5
    )
    out = np.zeros((len(bands), *window.box[2:]), bands[0].source.dtype)
    ok = np.zeros(out.shape, np.bool_)
    if block is None:
        return out, ok
    if len(bands) * block[2] * block[3] > LARGE:
        return None
    stack = np.empty((len(bands), *block[2:]), bands[0].source.dtype)
    for values, band in zip(stack, bands, strict=True):
        read_block(band.source, *block, values)
    valid = np.stack([b.settle(values) for values, b in zip(stack, bands, strict=True)])
    fused.bilinear_floats(
        stack, valid, np.asarray(~valid.all(axis=(1, 2))), block[0], block[1], lattice.nodes, out, ok
    )  # fmt: skip
    return out, ok


def read_float32(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    methods: Sequence[Method],
    power: Power = "",
) -> npt.NDArray[np.float32]:
    """Bands of one scene on a north-up window as float32, (band, y, x); NaN where there is no data.

    Parameters
    ----------
    assets, methods
        A band each; `gain` and `add` of the asset are applied.
    default_nodata, crs, affine, shape
        As `read_band`.
    power
        How the files store backscatter, where they do: it is blended and averaged as linear power, and comes as such.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where any band cannot be read.
    """
    window = Target.of(crs, affine, shape)
    bands = [Stored.of(asset, default_nodata, power) for asset in assets]
    out = np.empty((len(bands), *shape), np.float32)
    for method in dict.fromkeys(methods):
        members = [i for i, m in enumerate(methods) if m == method]
        got = _together([bands[i] for i in members], window, method)
        for i, (values, ok) in zip(members, got, strict=True):
            out[i] = to_float32(values, ok, assets[i].gain, assets[i].add)
    return out


def read_int16(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    methods: Sequence[Method],
) -> npt.NDArray[np.int16]:
    """Bands of one scene as int16 reflectance, (band, y, x); -32768 where there is no data. Else as `read_float32`."""
    window = Target.of(crs, affine, shape)
    bands = [Stored.of(asset, default_nodata) for asset in assets]
    out = np.empty((len(bands), *shape), np.int16)
    short = [i for i, a in enumerate(assets) if is_plain(bands[i].source.dtype, a.gain, a.add)]
    left = set(range(len(bands)))
    for members in _by_grid(bands, short):
        source = bands[members[0]].source
        own = [bands[i] for i in members]
        adds = [int(assets[i].add) for i in members]
        copied = shift(source.grid, window.grid)
        if copied is not None:
            for i, band, add in zip(members, own, adds, strict=True):
                _copy(band, window, copied, add, out[i])
            left -= set(members)
            continue
        smooth = [n for n, i in enumerate(members) if methods[i] == "bilinear"]
        picked = [members[n] for n in smooth]
        if _blend([own[n] for n in smooth], window, [adds[n] for n in smooth], out, picked):
            left -= set(picked)
    for i in sorted(left):
        values, ok = general(bands[i], window, methods[i])
        out[i] = to_int16(values, ok, assets[i].gain, assets[i].add)
    return out


def _copy(band: Stored, window: Target, moved: tuple[int, int], add: int, out: npt.NDArray[np.int16]) -> None:
    inner = overlap(window, moved, band.source.shape)
    if inner is None or inner[0][2:] != window.box[2:]:
        out[...] = INT16_NODATA
    if inner is not None:
        values = read_block(band.source, *inner[0], border=0)
        code = band.code
        fused.copy_int16(values, code is not None, code or 0, add, out[inner[1]])


def _blend(
    bands: Sequence[Stored],
    window: Target,
    adds: Sequence[int],
    out: npt.NDArray[np.int16],
    places: Sequence[int],
) -> bool:
    """Bilinear of bands of one grid into ``out[places]``; False where the general way is needed."""
    if not bands:
        return True
    source = bands[0].source
    halves = shift(source.grid, window.grid, 2)
    if halves is not None and _double(bands, window, halves, adds, out, places):
        return True
    lattice, block = gather_block(source.grid, source.shape, window.grid, window.box, reach=0.5)
    if block is None:
        out[list(places)] = INT16_NODATA
        return True
    if len(bands) * block[2] * block[3] > LARGE:
        return False
    stack = np.empty((len(bands), *block[2:]), source.dtype)
    checked = np.zeros(len(bands), np.bool_)
    for n, band in enumerate(bands):
        _, checked[n] = band.stored(*block, stack[n])
    nodata = np.array([b.code or 0 for b in bands], np.int64)
    fused.bilinear_int16(
        stack, checked, nodata, np.array(adds, np.int64), block[0], block[1], lattice.nodes,
        out, np.array(places, np.int64),
    )  # fmt: skip
    return True


def _double(
    bands: Sequence[Stored],
    window: Target,
    moved: tuple[int, int],
    adds: Sequence[int],
    out: npt.NDArray[np.int16],
    places: Sequence[int],
) -> bool:
    """Bilinear from pixels of exactly twice the side; False where the window meets the file's edge."""
    row, col = window.box[0] + moved[0], window.box[1] + moved[1]
    r0, c0 = (row - 1) >> 1, (col - 1) >> 1
    r1, c1 = (row + window.box[2]) >> 1, (col + window.box[3]) >> 1
    shape = bands[0].source.shape
    if r0 < 0 or c0 < 0 or r1 >= shape[0] or c1 >= shape[1]:
        return False
    block = (r0, c0, r1 - r0 + 1, c1 - c0 + 1)
    if block[2] * block[3] > LARGE:
        return False
    lattice: Lattice | None = None
    for band, add, place in zip(bands, adds, places, strict=True):
        values, holes = band.stored(*block, border=2)  # one beyond each edge
        if not holes:
            fused.double_int16(values, add, row - 2 * r0, col - 2 * c0, out[place])
            continue
        lattice = lattice or make_lattice(
            window.grid, band.source.grid, *window.box, centre=shape[1] / 2
        )  # fmt: skip
        fused.bilinear_int16(
            values[None], np.ones(1, np.bool_), np.array([band.code], np.int64), np.array([add], np.int64),
            r0, c0, lattice.nodes, out, np.array([place], np.int64),
        )  # fmt: skip
    return True
