"""From a source grid to a target window by the contract's pixel rules.

A target pixel takes the value at its centre: copied where the grids coincide, else bilinear, cubic or nearest; where
the target is coarser, the mean or the mode of the source centres inside it. Means and cubic blends of integers are
floats: they are rounded once, by whoever brings them to the unit of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chipweave.pixels import kernels
from chipweave.pixels.cubic import cubic
from chipweave.pixels.kernels import SNAP
from chipweave.pixels.lattice import FixedArray, Grid, Lattice, make_lattice

Method = Literal["nearest", "bilinear", "cubic", "mean", "mode"]
AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""(row, col, height, width)."""

ReadBlock = Callable[[int, int, int, int], tuple[AnyArray, BoolArray]]
"""``read(row, col, height, width)``: the stored values of that block, and where they are data."""

COARSER = 2.0
"""Target area over source area from which a target pixel averages (contract, section 3)."""

SLACK = 0.01
"""Source pixels by which a block is wider than its window's outermost centres ask for."""

MARGINS: Mapping[Method, int] = {"nearest": 1, "bilinear": 1, "cubic": 2}
"""Source pixels about the one under a centre that it may be blended from, by the methods that gather."""

CODES = 64
"""Different values from which their mode is found by sorting, instead of a count of each."""

LARGE = 20_000_000
"""Source pixels above which a window is done in halves: memory stays bounded where the source is much finer."""


def choose_method(
    kind: Literal["imagery", "class"], source_area: float, target_area: float, wish: str = "auto"
) -> Method:
    """How a band is resampled; areas in square metres on the ground.

    Parameters
    ----------
    kind
        ``class`` for labels and masks.
    source_area, target_area
        Of one pixel.
    wish
        The recipe's `resample`; anything but ``auto`` is taken as it is.
    """
    if wish != "auto":
        return wish  # type: ignore[return-value]  # the recipe's model allows these words alone
    coarser = target_area >= COARSER * source_area
    if kind == "class":
        return "mode" if coarser else "nearest"
    return "mean" if coarser else "bilinear"


def resample(
    source: Grid,
    source_shape: tuple[int, int],
    target: Grid,
    window: tuple[int, int, int, int],
    method: Method,
    read: ReadBlock,
    dtype: np.dtype[np.generic],
) -> tuple[AnyArray, BoolArray]:
    """Values and validity of a target window.

    Parameters
    ----------
    source, source_shape
        The file's grid, and its (rows, columns).
    target, window
        The target's grid, anchored (see `Grid.anchored`), and (row, col, height, width) in it.
    method
        The rule.
    read
        Gives blocks of the file, all inside it.
    dtype
        Of the file; the result has it too, but means and cubic blends of integers are float64.

    Returns
    -------
    values, ok
        Both (height, width); `values` is zero where not `ok`.
    """
    lattice = make_lattice(target, source, *window, centre=source_shape[1] / 2)
    gathers = method in MARGINS
    box = _block(lattice, source_shape, margin=MARGINS[method] if gathers else _reach(lattice))
    clipped = None if box is None else clip(box, source_shape)
    if box is None or clipped is None:
        return np.zeros(window[2:], _made(dtype, method)), np.zeros(window[2:], np.bool_)
    if np.prod((clipped if gathers else box)[2:], dtype=np.float64) > LARGE and max(window[2:]) > 64:
        return _halves(source, source_shape, target, window, method, read, dtype)
    if gathers:
        qu, qv = _coordinates(target, source, window, source_shape[1] / 2)
        return _gather(qu, qv, clipped, method, read, dtype)
    return _coarsen(source, source_shape, target, window, box, method, read, dtype)


def _halves(
    source: Grid,
    shape: tuple[int, int],
    target: Grid,
    window: tuple[int, int, int, int],
    method: Method,
    read: ReadBlock,
    dtype: np.dtype[np.generic],
) -> tuple[AnyArray, BoolArray]:
    """Both halves of a window, one after the other: pixels do not depend on the window."""
    row, col, height, width = window
    if height >= width:
        parts = [(row, col, height // 2, width), (row + height // 2, col, height - height // 2, width)]
    else:
        parts = [(row, col, height, width // 2), (row, col + width // 2, height, width - width // 2)]
    done = [resample(source, shape, target, part, method, read, dtype) for part in parts]
    axis = 0 if height >= width else 1
    return np.concatenate([d[0] for d in done], axis), np.concatenate([d[1] for d in done], axis)


def gather_block(
    source: Grid,
    source_shape: tuple[int, int],
    target: Grid,
    window: tuple[int, int, int, int],
    reach: float,
) -> tuple[Lattice, tuple[int, int, int, int] | None]:
    """Lattice of a target window, and the block (row, col, height, width) of the file that it takes its pixels from.

    `reach` is how far from a centre a pixel looks: 0 for nearest, half a source pixel for bilinear. The block is None
    where the window does not meet the file.
    """
    lattice = make_lattice(target, source, *window, centre=source_shape[1] / 2)
    bounds = lattice.bounds()
    if bounds is None:
        return lattice, None
    u0, v0, u1, v1 = bounds
    far = reach + SLACK
    row, col = math.floor(v0 - far), math.floor(u0 - far)
    box = (row, col, math.floor(v1 + far) + 1 - row, math.floor(u1 + far) + 1 - col)
    return lattice, clip(box, source_shape)


def source_block(source: Grid, source_shape: tuple[int, int], target: Grid, window: Box) -> Box | None:
    """Block (row, col, height, width) of the file that the mean or mode over a window is taken from."""
    lattice = make_lattice(target, source, *window, centre=source_shape[1] / 2)
    box = _block(lattice, source_shape, _reach(lattice))
    return None if box is None else clip(box, source_shape)


@lru_cache(maxsize=1)
def _coordinates(
    of: Grid, onto: Grid, window: tuple[int, int, int, int], centre: float
) -> tuple[FixedArray, FixedArray]:
    """`Lattice.fixed` of a window, kept for the next band of the same grid: as dear as resampling it."""
    return make_lattice(of, onto, *window, centre=centre).fixed()


def _made(dtype: np.dtype[np.generic], method: Method) -> np.dtype[np.generic]:
    """Type of what a method makes of a file's values."""
    exact = method in {"mean", "cubic"} and np.issubdtype(dtype, np.integer)
    return np.dtype(np.float64) if exact else dtype


def _gather(
    qu: FixedArray,
    qv: FixedArray,
    block: tuple[int, int, int, int],
    method: Method,
    read: ReadBlock,
    dtype: np.dtype[np.generic],
) -> tuple[AnyArray, BoolArray]:
    """Nearest, bilinear or cubic from a block of the file."""
    out = np.zeros(qu.shape, np.float64 if method == "cubic" else dtype)
    ok = np.zeros(qu.shape, np.bool_)
    values, valid = read(*block)
    if method == "nearest":
        kernels.nearest(values, valid, block[0], block[1], qu, qv, out, ok)
    elif method == "cubic":
        cubic(values, valid, block[0], block[1], qu, qv, out, ok)
        out = out.astype(_made(dtype, method), copy=False)
    elif np.issubdtype(dtype, np.integer):
        kernels.bilinear_int(values, valid, block[0], block[1], qu, qv, out, ok)
    else:
        kernels.bilinear_float(values, valid, block[0], block[1], qu, qv, out, ok)
    return out, ok


def _reach(lattice: Lattice) -> int:
    """Source pixels that half a target pixel can reach, plus one."""
    with np.errstate(invalid="ignore"):
        steps = [np.abs(np.diff(n, axis=k)) for n in (lattice.u, lattice.v) for k in (0, 1)]
        if lattice.turn:  # a step across ±180° is as small as any
            around = lattice.turn / SNAP
            steps = [np.abs(s - around * np.round(s / around)) for s in steps[:2]] + steps[2:]
    widest = max((float(s[np.isfinite(s)].max(initial=0.0)) for s in steps), default=0.0)
    return int(widest / lattice.step) + 2


def _block(lattice: Lattice, shape: tuple[int, int], margin: int) -> tuple[int, int, int, int] | None:
    """(row, col, height, width) of the source that a window needs, not clipped; None where they do not meet."""
    bounds = lattice.bounds()
    if bounds is None:
        return None
    u0, v0, u1, v1 = bounds
    if u1 < -margin or v1 < -margin or u0 > shape[1] + margin or v0 > shape[0] + margin:
        return None
    row, col = int(np.floor(v0)) - margin, int(np.floor(u0)) - margin
    return row, col, int(np.floor(v1)) + margin + 1 - row, int(np.floor(u1)) + margin + 1 - col


def clip(box: Box, shape: tuple[int, ...]) -> Box | None:
    """What of a box (row, col, height, width) lies in an array of `shape`; None where nothing does."""
    row, col = max(box[0], 0), max(box[1], 0)
    bottom, right = min(box[0] + box[2], shape[0]), min(box[1] + box[3], shape[1])
    return None if bottom <= row or right <= col else (row, col, bottom - row, right - col)


def inside(box: Box, part: Box) -> tuple[slice, slice]:
    """Where a clipped part lies in its box."""
    row, col = part[0] - box[0], part[1] - box[1]
    return np.s_[row : row + part[2], col : col + part[3]]


def _coarsen(
    source: Grid,
    shape: tuple[int, int],
    target: Grid,
    window: tuple[int, int, int, int],
    box: tuple[int, int, int, int],
    method: Method,
    read: ReadBlock,
    dtype: np.dtype[np.generic],
) -> tuple[AnyArray, BoolArray]:
    """Mean or mode over the source centres inside each target pixel; data where at least half of them are."""
    row, col, height, width = window
    clipped = clip(box, shape)
    if clipped is None:
        raise ValueError("the block lies outside the file")
    # Centres beyond the file's edge count as missing, so the block keeps its full, unclipped size.
    values = np.zeros(box[2:], dtype)
    valid = np.zeros(box[2:], np.bool_)
    where = inside(box, clipped)
    values[where], valid[where] = read(*clipped)
    qu, qv = make_lattice(source, target, *box).fixed()
    count = np.zeros((height, width), np.int32)
    centres = np.zeros((height, width), np.int32)
    if np.issubdtype(dtype, np.integer):
        total: npt.NDArray[Any] = np.zeros((height, width), np.int64)
        kernels.mean_int(values, valid, qu, qv, row, col, total, count, centres)
    else:
        total = np.zeros((height, width), np.float64)
        kernels.mean_float(values, valid, qu, qv, row, col, total, count, centres)
    ok = (count > 0) & (2 * count >= centres)
    if method == "mode":
        out = _mode(values, valid, qu, qv, window, ok)
    else:
        out = np.where(ok, total / np.maximum(count, 1), 0).astype(_made(dtype, method), copy=False)
    if (centres == 0).any():
        # Where the target is the finer grid no centre lies inside: the value at its own centre.
        own: Method = "nearest" if method == "mode" else "bilinear"
        at_centre, there = resample(source, shape, target, window, own, read, dtype)
        out, ok = np.where(centres == 0, at_centre, out), np.where(centres == 0, there, ok)
    return out, ok


def _mode(
    values: AnyArray,
    valid: BoolArray,
    qu: AnyArray,
    qv: AnyArray,
    window: tuple[int, int, int, int],
    ok: BoolArray,
) -> AnyArray:
    """Most frequent value; the smaller one where two are equally frequent."""
    row, col, height, width = window
    codes = np.unique(values[valid])
    if len(codes) > CODES:
        return _mode_of_many(values, valid, qu, qv, window, ok)
    best = np.zeros((height, width), np.int32)
    out = np.zeros((height, width), values.dtype)
    for code in codes:
        count = np.zeros((height, width), np.int32)
        kernels.count_code(values, valid, code, qu, qv, row, col, count)
        wins = count > best
        out[wins] = code
        best[wins] = count[wins]
    out[~ok] = 0
    return out


def _mode_of_many(
    values: AnyArray,
    valid: BoolArray,
    qu: AnyArray,
    qv: AnyArray,
    window: tuple[int, int, int, int],
    ok: BoolArray,
) -> AnyArray:
    """The same of values that are no classes: those of each target pixel in order, as runs of equal ones."""
    row, col, height, width = window
    r, c = (np.asarray(qv, np.int64) >> kernels.BITS) - row, (np.asarray(qu, np.int64) >> kernels.BITS) - col
    inside = valid & (r >= 0) & (r < height) & (c >= 0) & (c < width)
    cell, value = (r * width + c)[inside], values[inside]
    order = np.lexsort((value, cell))
    cell, value = cell[order], value[order]
    out = np.zeros(height * width, values.dtype)
    if len(cell):
        starts = np.flatnonzero(np.append(True, (np.diff(cell) != 0) | (value[1:] != value[:-1])))
        counts = np.diff(np.append(starts, len(cell)))
        # Of one pixel's runs the longest last, and of equal ones that of the smallest value, which then stays.
        last = np.lexsort((-np.arange(len(starts)), counts, cell[starts]))
        out[cell[starts][last]] = value[starts][last]
    out[~ok.ravel()] = 0
    return out.reshape(height, width)
