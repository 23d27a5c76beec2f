"""The cross-spectrum of two gradient fields, and the shift at which its phases agree best.

A shift d turns the phase at frequency k by -k·d. The best d is where ``C(d) = Re Σ W(k) X(k) exp(i k·d)`` is largest:
first on whole pixels, then by Newton's method on C itself, which needs no interpolation. `W` whitens, and trusts each
ring of frequencies as far as the two are coherent in it (Hannan and Thomson 1971, of delays).

What the borders of a chip cut off leaks into other frequencies and keeps the phase of where it came from, which draws
a shift towards zero. So the second field is moved by what was found, and what is left is found anew.

C is also a sum over pixels. How far the parts of a chip pull its slope to either side, where it is zero as a whole,
says how far the shift can be wrong (White 1980: the "sandwich").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Complexes = npt.NDArray[np.complex64]
Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

HIGHEST = 0.3
"""Cycles a pixel above which nothing is believed: what a sensor folds back from beyond 0.5 moves the other way."""

RING = 1 / 32
"""Width of a ring, in cycles a pixel."""

TAPER = 8
"""Pixels over which a chip fades at its borders."""

PARTS = 8
"""Parts of a chip, a side, that are held against each other."""

ROUNDS = 4
"""Times that a field is moved by what was found, at most."""

NEAR_PX = 0.02
"""A rest of a shift that is found without a tenth of it being lost: no further round."""

TAPS = 6
"""Pixels to either side from which a moved field is interpolated."""

STEPS = 8
"""Newton steps at most; three do."""

FURTHEST_PX = 1.5
"""A maximum further from the best whole pixel is another one."""

FOUND_PX = 1e-4
"""A step this small is the last one."""

MOST_COHERENT = 0.95
"""What coherence is held below: of equal pictures it is 1, and their weight would have no end."""


class Plane(NamedTuple):
    """Half a plane of frequencies, as `rfft2` has them.

    `kx`, `ky` in radians a pixel, (1, m) and (n, 1); `ring` numbers the rings, the last one is left out; `fold` is
    how often a column stands for itself and its conjugate.
    """

    kx: Floats
    ky: Floats
    ring: npt.NDArray[np.int64]
    fold: Floats


@lru_cache(maxsize=16)
def plane(height: int, width: int) -> Plane:
    """Frequencies of an array of that many rows and columns; both are even."""
    fx, fy = np.fft.rfftfreq(width)[None], np.fft.fftfreq(height)[:, None]
    radius = np.hypot(fx, fy)
    ring = (radius / RING).astype(np.int64)
    ring[(radius > HIGHEST) | (radius == 0)] = int(HIGHEST / RING) + 1
    fold = np.full(fx.shape, 2.0, np.float32)
    fold[0, 0] = fold[0, -1] = 1.0
    turn = 2 * np.pi
    return Plane((turn * fx).astype(np.float32), (turn * fy).astype(np.float32), ring, fold)


@lru_cache(maxsize=16)
def taper(height: int, width: int) -> Floats:
    """1 inside, fading to 0 at the borders."""
    sides = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in (height, width)]
    rise = [np.sin(np.pi / 2 * np.minimum(side / TAPER, 1.0)) ** 2 for side in sides]
    return np.asarray(np.outer(*rise), np.float32)


def _fft() -> ModuleType:
    """SciPy's transforms: dear to import, and hardly a build measures shifts."""
    import scipy.fft  # noqa: PLC0415

    found: ModuleType = scipy.fft
    return found


@dataclass(frozen=True, slots=True)
class Spectra:
    """Spectra of two fields, (component, n, m), and their cross-spectrum, (n, m).

    `power` is the root of the product of both powers, a ring; `count` how many frequencies a ring has; `shape` is the
    array's.
    """

    first: Complexes
    second: Complexes
    cross: Complexes
    power: Doubles
    count: Doubles
    shape: tuple[int, int]

    @property
    def plane(self) -> Plane:
        """Its frequencies."""
        return plane(*self.shape)


def spectrum(field: Floats) -> Complexes:
    """Spectrum of a field (component, y, x) that is zero where there is no data, (component, n, m)."""
    height, width = field.shape[-2:]
    shape = (_fast(height), _fast(width))
    return np.asarray(_fft().rfft2(field * taper(height, width), s=shape, axes=(-2, -1)), np.complex64)


def pair(first: Complexes, second: Complexes) -> Spectra:
    """Two spectra of one shape, held against each other."""
    shape = (first.shape[-2], 2 * (first.shape[-1] - 1))
    p = plane(*shape)
    powers = [_rings((np.square(s.real) + np.square(s.imag)).sum(axis=0), p) for s in (first, second)]
    count = _rings(np.ones(p.ring.shape, np.float32), p)
    cross = np.asarray((np.conj(first) * second).sum(axis=0), np.complex64)
    return Spectra(first, second, cross, np.sqrt(powers[0] * powers[1]), count, shape)


def _fast(n: int) -> int:
    """An even length, as large or a little larger, that is quick to transform."""
    return int(2 * _fft().next_fast_len((n + 1) // 2, real=True))


def _rings(values: npt.NDArray[np.floating], p: Plane) -> Doubles:
    """Sums over rings of frequencies."""
    sums = np.bincount(p.ring.ravel(), (values * p.fold).ravel(), minlength=int(HIGHEST / RING) + 2)
    return np.asarray(sums, np.float64)


def _turn(p: Plane, dx: float, dy: float) -> Complexes:
    """exp(i k·d)."""
    across, down = np.exp(1j * (p.kx * np.float32(dx))), np.exp(1j * (p.ky * np.float32(dy)))
    return np.asarray(down * across, np.complex64)


def weights(found: Spectra, at: tuple[float, float] | None) -> Floats:
    """Weight of each frequency, from how coherent the two are at a shift; where that is None, by a rule of thumb."""
    p = found.plane
    norm, count = found.power.copy(), np.maximum(found.count, 1)
    # What rounding leaves of a picture without noise is no signal.
    norm[norm < 1e-6 * norm[:-1].max()] = 0.0
    norm[-1] = 0.0
    white = np.divide(count, norm, out=np.zeros_like(norm), where=norm > 0)
    if at is None:
        # Noise rules where pixels are small against what they show.
        trust = np.exp(-0.5 * np.square((np.arange(len(norm)) + 0.5) * RING / 0.15))
    else:
        coherent = _rings(np.real(found.cross * _turn(p, *at)), p) * white / count
        # By chance a ring is as coherent as one over the root of what it holds: half of it is its conjugate.
        coherent = np.clip(coherent - np.sqrt(2 / count), 0.0, MOST_COHERENT)
        trust = coherent / (1 - np.square(coherent))
    return np.asarray((trust * white)[p.ring], np.float32)


class Peak(NamedTuple):
    """The highest place of a correlation surface within reach, in whole pixels.

    `height` is in units of the surface's rms far from it, `rival` the next best place within reach, as a share of it.
    """

    dx: int
    dy: int
    height: float
    rival: float


def peak(found: Spectra, weight: Floats, reach: float) -> Peak:
    """Where the correlation is highest within `reach` pixels on either axis."""
    far = math.ceil(reach) + 1
    surface = _fft().irfft2(found.cross * weight, s=found.shape)
    span = min(4 * far, min(found.shape) // 2 - 1)  # far enough to tell what chance makes
    lags = np.arange(-span, span + 1)
    surface = surface[np.ix_(lags, lags)]
    near = surface[span - far : span + far + 1, span - far : span + far + 1]
    row, col = np.unravel_index(int(near.argmax()), near.shape)
    dx, dy, top = int(col) - far, int(row) - far, float(near[row, col])
    if top <= 0:
        return Peak(dx, dy, 0.0, 0.0)
    apart = np.hypot(lags[:, None] - dy, lags[None] - dx)
    # How wide the peak is: up to where it has fallen to a third all around, or rises to another.
    wide, rim = 1, top
    while wide < far:
        last, rim = rim, float(surface[(apart > wide) & (apart <= wide + 1)].max())
        if wide > 1 and (rim < top / 3 or rim > last):
            break
        wide += 1
    noise = float(np.sqrt(np.mean(np.square(surface[apart > 2 * wide]))))
    others = near[apart[span - far : span + far + 1, span - far : span + far + 1] > wide]
    rival = float(others.max()) / top if others.size else 0.0
    return Peak(dx, dy, top / noise if noise > 0 else 0.0, max(rival, 0.0))


class Top(NamedTuple):
    """A maximum of C, and minus the second derivatives there, (2, 2) in x and y."""

    dx: float
    dy: float
    bend: Doubles

    @property
    def roundness(self) -> float:
        """Least curvature over largest."""
        sizes = np.linalg.eigvalsh(self.bend)
        return float(sizes[0] / sizes[1])


def climb(found: Spectra, weight: Floats) -> Top | None:
    """The maximum of C next to no shift at all; None where Newton's method leaves the pixel."""
    p = found.plane
    total = found.cross * (weight * p.fold)
    at = np.zeros(2)
    for _ in range(STEPS):
        slope, bend = _derivatives(total, p, at)
        sizes = np.linalg.eigvalsh(bend)
        if not sizes[0] > 1e-9 * sizes[1]:
            return None
        step = np.linalg.solve(bend, slope)
        at = at + step
        if np.abs(at).max() > FURTHEST_PX:
            return None
        if np.abs(step).max() < FOUND_PX:
            break
    return Top(float(at[0]), float(at[1]), bend)


class Fine(NamedTuple):
    """A shift below a pixel or so, its standard error in the worse direction, least over largest curvature."""

    dx: float
    dy: float
    error: float
    roundness: float


def refine(first: Floats, second: Floats) -> Fine | None:
    """The shift of two fields that lie within a pixel of each other; None where none is settled on."""
    at = np.zeros(2)
    stays = spectrum(first)
    for _ in range(ROUNDS):
        found = pair(stays, spectrum(moved(second, *at) if at.any() else second))
        rough = climb(found, weights(found, (0.0, 0.0)))
        if rough is None:
            return None
        weight = weights(found, (rough.dx, rough.dy))
        top = climb(found, weight)
        if top is None:
            return None
        at = at + np.array([top.dx, top.dy])
        if np.abs(at).max() > FURTHEST_PX:
            return None
        if max(abs(top.dx), abs(top.dy)) < NEAR_PX:
            return Fine(float(at[0]), float(at[1]), _error(found, weight, top), top.roundness)
    return None


def moved(field: Floats, dx: float, dy: float) -> Floats:
    """A field (component, y, x) at (x + dx, y + dy), by a sinc under Hann's window; nothing lies beyond its borders."""
    out = field
    for axis, by in ((-1, dx), (-2, dy)):
        reach = np.arange(-TAPS, TAPS + 1) - by
        kernel = np.sinc(reach) * np.cos(np.pi / 2 * np.clip(reach / (TAPS - 1.5), -1, 1)) ** 2
        kernel = (kernel / kernel.sum()).astype(np.float32)
        n = field.shape[axis]
        wide = np.moveaxis(
            np.pad(out, [(TAPS, TAPS) if a == field.ndim + axis else (0, 0) for a in range(field.ndim)]),
            axis,
            0,
        )
        total = sum(k * wide[i : i + n] for i, k in enumerate(kernel) if k)
        out = np.moveaxis(np.asarray(total, np.float32), 0, axis)
    return out


def _error(found: Spectra, weight: Floats, top: Top) -> float:
    """Standard error of a maximum in its worse direction, in pixels, as the parts of the chip disagree on it."""
    inverse = np.linalg.inv(top.bend)
    spread = np.linalg.eigvalsh(inverse @ _pull(found, weight, top) @ inverse)[-1]
    return float(np.sqrt(max(spread, 0.0)))


def _derivatives(total: Complexes, p: Plane, at: Doubles) -> tuple[Doubles, Doubles]:
    """Gradient of C at a shift, and minus its second derivatives."""
    turned = total * _turn(p, float(at[0]), float(at[1]))
    real, imag = np.real(turned), np.imag(turned)

    # Sums of numpy's, not products of matrices: these may depend on how many threads there are.
    def total_of(values: Floats) -> float:
        return float(values.sum(dtype=np.float64))

    slope = -np.array([total_of(imag * p.kx), total_of(imag * p.ky)])
    across = real * p.kx
    xx, xy, yy = total_of(across * p.kx), total_of(across * p.ky), total_of(real * np.square(p.ky))
    return slope, np.array([[xx, xy], [xy, yy]])


def _pull(found: Spectra, weight: Floats, top: Top) -> Doubles:
    """Covariance of the slope of C, from what the parts of the chip give to it."""
    p = found.plane
    # Nothing is left beyond `HIGHEST`: three quarters as many pixels a side hold it all.
    height, width = shape = _fast(found.shape[0] * 3 // 4), _fast(found.shape[1] * 3 // 4)
    low = np.s_[..., np.r_[: height // 2, -(height // 2) : 0], : width // 2 + 1]
    root = np.sqrt(weight)
    f, g = (found.first * root)[low], (found.second * (root * _turn(p, top.dx, top.dy)))[low]
    k = np.stack(np.broadcast_arrays(1j * p.kx, 1j * p.ky))[:, None][low]
    f, g = (_fft().irfft2(np.concatenate([s[None], s * k]), s=shape) for s in (f, g))
    # Of equal pictures f and g this is nothing everywhere; f · ∂g, of the same sum, would be half of ∂(f²).
    pulls = ((f[:1] * g[1:]).sum(axis=1) - (f[1:] * g[:1]).sum(axis=1)) / 2
    parts = _sums(pulls) * float(height * width)
    parts -= parts.mean(axis=(1, 2), keepdims=True)
    # Neighbours are not independent: Bartlett's weights (Newey and West 1987) take them in, in both directions.
    smooth = parts.copy()
    for axis in (1, 2):
        padded = np.pad(smooth, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        smooth = smooth + 0.5 * (np.delete(padded, [-1, -2], axis) + np.delete(padded, [0, 1], axis))
    out = (parts[:, None] * smooth[None]).sum(axis=(2, 3))
    return np.asarray((out + out.T) / 2)


def _sums(values: Floats) -> Doubles:
    """Sums over the parts of a chip, (…, PARTS, PARTS)."""
    at = [np.linspace(0, n, PARTS, endpoint=False).astype(np.int64) for n in values.shape[-2:]]
    rows = np.add.reduceat(values, at[0], axis=-2, dtype=np.float64)
    return np.asarray(np.add.reduceat(rows, at[1], axis=-1))
