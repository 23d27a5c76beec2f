"""How far one picture of a place lies from another: phase correlation on gradients, or an honest "unknown".

A shift is told where it stands out, where nothing else within reach fits nearly as well, where edges run in more than
one direction, and where the parts of the chip agree on it to a twentieth of a pixel (see `phase`). Everything else is
unknown, with the reason. Give the same band of both: other bands have their edges elsewhere.

Sign: `dx`, `dy` say how far the second lies right of and below the first, in pixels of their common grid:
``second(x, y) == first(x - dx, y - dy)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.pixels import phase

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

REACH = 8.0
"""Pixels on either axis beyond which no shift is believed; archives are wrong by less."""

LIMIT_PX = 0.05
"""Standard error of a shift from which it is unknown."""

SMALLEST = 32
"""Side of a chip, in pixels, below which nothing is measured."""

COVERED = 0.1
"""Share of a chip's pixels, with all their neighbours, that both must have."""

HEIGHT = 6.5
"""How far above the rms of the correlation elsewhere its peak must stand; two places get to 6."""

RIVAL = 0.5
"""Share of the peak that nothing else within reach may have; two dates have 0.1 to 0.35."""

ROUNDNESS = 0.04
"""Least curvature of the peak over its largest: below, all edges run one way."""

HUGE = 1e15
"""No sensor says as much: no data that nobody has named."""

TAME = 4.0
"""Gradients are tamed from this many times the median one."""

FAMILIES = {
    "reflectance": "optical",
    "DN": "optical",
    "linear": "radar",
    "dB": "radar",
    "K": "thermal",
    "m": "heights",
}
"""Units to what may be compared chip by chip."""

NEIGHBOURS = 50
"""Chips that must be heard before two layers of different families are said to be shifted."""

NEAR_PX = 0.5
"""Pixels from their common median within which guesses agree."""


_BARE = "too few pixels that both have"
_ALIEN = "the two do not agree"
_FAR = "further off than is believed"


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the second of two pictures lies, seen from the first.

    Parameters
    ----------
    dx, dy
        Pixels to the right and down; NaN where unknown.
    confidence
        Of one chip: 1 - standard error / 0.1 px, the larger of both directions. Of many (`agree`): the share that
        agrees. 0 where unknown.
    why
        What makes it unknown; empty where it is known.
    """

    dx: float
    dy: float
    confidence: float
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a shift to speak of."""
        return not self.why


def unknown(why: str) -> Shift:
    """No shift, and the reason."""
    return Shift(math.nan, math.nan, 0.0, why)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture of a place.

    Parameters
    ----------
    values
        (y, x) or (band, y, x); no data where not finite, or huge. The two views of a pair have the same bands.
    unit
        As of a collection; ``linear`` (radar power) is compared as its logarithm.
    ok
        (y, x): where values count, clouds taken out; all where None.
    """

    values: npt.NDArray[Any]
    unit: str = "reflectance"
    ok: Bools | None = None

    @property
    def family(self) -> str:
        """What it may be compared with, chip by chip."""
        return FAMILIES.get(self.unit, self.unit)


def estimate(first: View, second: View, reach: float = REACH) -> Shift:
    """Shift of one chip between two views of one grid; never one between two families.

    Parameters
    ----------
    first, second
        Of one shape.
    reach
        Largest shift on either axis that is believed, in pixels; at most a quarter of the chip.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    if first.family != second.family:
        return unknown(f"one chip tells nothing of {second.family} against {first.family}")
    found = _measure(first, second, reach, signed=True)
    return found if isinstance(found, Shift) else _judge(found)


def guess(first: View, second: View, reach: float = REACH) -> Shift:
    """Where a chip's correlation is highest, true or not: one voice for `agree`, and nothing else.

    Between two families the strength of edges is compared, not their sign. NaN where the chip has no say.
    """
    found = _measure(first, second, reach, signed=first.family == second.family)
    if isinstance(found, Shift):
        return found
    if max(abs(found.dx), abs(found.dy)) > found.reach:
        return unknown(_FAR)
    return Shift(found.dx, found.dy, 0.0)


def agree(guesses: Iterable[Shift]) -> Shift:
    """What neighbouring chips say together: the only way to a shift between optical and radar.

    The rule: at least 50 chips have a say (`guess`); at least half of those lie within 0.5 px of one point, their
    common median; and those elsewhere hold no second such group of a quarter its size. By chance one chip in 330 lies
    within 0.5 px of a point, with a reach of 8 px.

    It cannot see what shifts all chips alike and is no shift: layover of trees and houses leans towards the radar.
    Ask ascending and descending orbits apart.
    """
    points = np.array(sorted((g.dx, g.dy) for g in guesses if math.isfinite(g.dx)), np.float64).reshape(-1, 2)
    if len(points) < NEIGHBOURS:
        return unknown(f"{len(points)} chips have a say, {NEIGHBOURS} are needed")
    near = _near(points, points)
    centre = np.median(points[near[int(near.sum(axis=1).argmax())]], axis=0)
    among = _near(centre[None], points)[0]
    share = float(among.mean())
    if share < 0.5:
        return unknown(f"{share:.0%} of {len(points)} chips agree")
    away = ~_near(centre[None], points, 2 * NEAR_PX)[0]
    if away.any() and near[away].sum(axis=1).max() * 4 > among.sum():
        return unknown("a second group of chips says otherwise")
    centre = np.median(points[among], axis=0)
    return Shift(float(centre[0]), float(centre[1]), share)


def _near(centres: Doubles, points: Doubles, within: float = NEAR_PX) -> Bools:
    """(centres, points): whether each point lies within some pixels of each centre."""
    apart = centres[:, None] - points[None]
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]) <= within, np.bool_)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pair shows, before it is judged; `error` is the larger standard error in pixels."""

    dx: float
    dy: float
    reach: float
    peak: phase.Peak
    error: float
    roundness: float


def _judge(found: _Found) -> Shift:
    """A shift, or why it is none."""
    if found.peak.height < HEIGHT:
        return unknown(f"{_ALIEN}: the best fit stands {found.peak.height:.1f} times above chance")
    if found.peak.rival > RIVAL:
        return unknown("another shift fits nearly as well")
    if max(abs(found.dx), abs(found.dy)) > found.reach:
        return unknown(_FAR)
    if found.roundness < ROUNDNESS:
        return unknown("edges run in one direction: along them any shift fits")
    if not found.error < LIMIT_PX:
        return unknown(f"its parts differ by {found.error:.2f} px (standard error)")
    return Shift(found.dx, found.dy, 1 - found.error / (2 * LIMIT_PX))


def _measure(first: View, second: View, reach: float, *, signed: bool) -> _Found | Shift:
    """Peak and standard error of a pair; a `Shift` where there is nothing to measure."""
    a, ok_a = _field(first, signed=signed)
    b, ok_b = _field(second, signed=signed)
    if ok_a.shape != ok_b.shape or (signed and a.shape != b.shape):
        raise ValueError(f"{np.shape(first.values)} against {np.shape(second.values)}")
    reach = min(reach, (min(ok_a.shape) + 2) / 4)
    if min(ok_a.shape) + 2 < SMALLEST:
        return unknown(f"smaller than {SMALLEST} px")
    if (ok_a & ok_b).mean() < COVERED:
        return unknown(_BARE)
    if not (a.any() and b.any()):
        return unknown("no texture")
    found = phase.pair(phase.spectrum(a), phase.spectrum(b))
    top = phase.peak(found, phase.weights(found, None), reach)
    top = phase.peak(found, phase.weights(found, (top.dx, top.dy)), reach)
    # What moved whole pixels is laid back: the two then show the same ground.
    cut_a, cut_b = _laid(ok_a.shape, top.dx, top.dy)
    if (ok_a[cut_a] & ok_b[cut_b]).mean() < COVERED:
        return unknown(_BARE)
    fine = phase.refine(a[..., *cut_a], b[..., *cut_b])
    if fine is None:
        return unknown(f"{_ALIEN}: no best fit near the best pixel")
    return _Found(top.dx + fine.dx, top.dy + fine.dy, reach, top, fine.error, fine.roundness)


def _laid(shape: tuple[int, ...], dx: int, dy: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What the two have in common, in each, where the second lies (dx, dy) from the first."""
    height, width = shape
    a = np.s_[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    b = np.s_[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    return a, b


def _field(view: View, *, signed: bool) -> tuple[Floats, Bools]:
    """Gradients of a view, (component, y - 2, x - 2), and where all that they stand on is data.

    Strong ones count little more than middling ones: the edges of one cloud must not drown a landscape. Where not
    `signed`, one component: how strong the edges are.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(view.values, np.float32)
    if values.ndim == 2:
        values = values[None]
    ok = np.asarray((np.abs(values) < HUGE).all(axis=0), np.bool_)
    if view.unit == "linear":
        ok &= (values > 0).all(axis=0)
    if view.ok is not None:
        ok &= np.asarray(view.ok, np.bool_)
    values = np.where(ok, values, np.float32(1))
    if view.unit == "linear":
        values = np.log(values)
    gx, gy, ok = _sobel(values, ok)
    size = np.sqrt(gx * gx + gy * gy)
    sample = size[:, ::3, ::3][:, ok[::3, ::3]]
    usual = np.median(sample, axis=1) if sample.size else np.zeros(len(size))
    for band, middling in enumerate(usual):
        # Where most of it is flat, the mean of what is not has to do.
        typical = middling or (sample[band].mean() if sample.size else 0.0)
        scale = np.sqrt(np.square(size[band]) + np.float32(TAME * typical) ** 2)
        np.divide(ok, scale, out=scale, where=scale > 0)
        for field in (gx, gy, size):
            field[band] *= scale
    if signed:
        return np.concatenate([gx, gy]), ok
    strength = size.mean(axis=0, keepdims=True)
    if ok.any():
        strength -= ok * strength[0][ok].mean()
    return strength, ok


def _sobel(values: Floats, ok: Bools) -> tuple[Floats, Floats, Bools]:
    """Central differences smoothed across, (band, y - 2, x - 2), and where the nine that they stand on are data."""
    right, down = values[..., 2:] - values[..., :-2], values[..., 2:, :] - values[..., :-2, :]
    gx = right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]
    gy = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    rows = ok[2:] & ok[1:-1] & ok[:-2]
    return gx, gy, np.asarray(rows[:, 2:] & rows[:, 1:-1] & rows[:, :-2], np.bool_)
