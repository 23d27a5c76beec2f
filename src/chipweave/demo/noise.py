"""Repeatable noise: the same number for the same point and seed, however the points are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U32 = npt.NDArray[np.uint32]

_SIDE = 256  # side of a noise table, a power of two: indices wrap with a mask


def smoothstep(low: float, high: float, values: F32) -> F32:
    """0 below `low`, 1 above `high`, a smooth rise between."""
    t: F32 = np.clip((values - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


def mix(a: U32, b: int | U32) -> U32:
    """Scramble two integers into one of 32 bits (murmur3's finaliser)."""
    salt = np.uint32(b * 0x85EBCA77 & 0xFFFFFFFF) if isinstance(b, int) else b * np.uint32(0x85EBCA77)
    h = a * np.uint32(0x9E3779B1) + salt
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def unit(h: U32, salt: int = 0) -> F32:
    """Hash to a number in [0, 1)."""
    if salt:
        h = mix(h, salt)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def pick(values: npt.NDArray[Any], at: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows of `values` by indices that are in range: several times faster than ``values[at]``."""
    return values.take(at, axis=0, mode="clip")


class Noise:
    """Smooth value noise in [-1, 1] over the plane, one table of random numbers a seed."""

    def __init__(self, seed: int, salt: int) -> None:
        rng = np.random.default_rng([seed, salt])
        self._table = rng.uniform(-1.0, 1.0, _SIDE * _SIDE).astype(np.float32)
        self._turn = float(rng.uniform(0.2, 1.3))

    def __call__(self, x: F32, y: F32, wavelength: float) -> F32:
        """Noise at (x, y) metres whose bumps are about `wavelength` metres apart."""
        c = np.float32(np.cos(self._turn) / wavelength)
        s = np.float32(np.sin(self._turn) / wavelength)
        u, v = x * c + y * s, y * c - x * s
        iu, iv = np.floor(u), np.floor(v)
        fu, fv = u - iu, v - iv
        fu *= fu * (np.float32(3.0) - np.float32(2.0) * fu)
        fv *= fv * (np.float32(3.0) - np.float32(2.0) * fv)
        mask = np.int64(_SIDE - 1)
        i0, j0 = iu.astype(np.int64) & mask, (iv.astype(np.int64) & mask) * np.int64(_SIDE)
        i1, j1 = (i0 + 1) & mask, (j0 + _SIDE) & np.int64(_SIDE * _SIDE - 1)
        table = self._table
        top = pick(table, j0 + i0)
        top += (pick(table, j0 + i1) - top) * fu
        low = pick(table, j1 + i0)
        low += (pick(table, j1 + i1) - low) * fu
        low -= top
        low *= fv
        low += top
        return low


@dataclass(frozen=True)
class Frame:
    """A grid of nodes over the plane: node (row, col) lies at (x0 + col * step, y0 + row * step) metres."""

    x0: float
    y0: float
    step: float
    ny: int
    nx: int

    @property
    def x(self) -> F64:
        """Abscissae of the columns."""
        return self.x0 + self.step * np.arange(self.nx, dtype=np.float64)

    @property
    def y(self) -> F64:
        """Ordinates of the rows."""
        return self.y0 + self.step * np.arange(self.ny, dtype=np.float64)

    def sample(self, stack: F32, x: F32, y: F32) -> F32:
        """Interpolate bilinearly between nodes; beyond the frame its edge goes on.

        Parameters
        ----------
        stack
            (ny, nx, k).
        x, y
            (n,) metres.

        Returns
        -------
        (k, n), contiguous.
        """
        fx = np.clip((x - np.float32(self.x0)) * np.float32(1 / self.step), 0, np.float32(self.nx - 1.001))
        fy = np.clip((y - np.float32(self.y0)) * np.float32(1 / self.step), 0, np.float32(self.ny - 1.001))
        ix, iy = fx.astype(np.int64), fy.astype(np.int64)
        fx -= ix.astype(np.float32)
        fy -= iy.astype(np.float32)
        flat = stack.reshape(self.ny * self.nx, -1)
        at = iy * self.nx + ix
        fx, fy = fx[:, None], fy[:, None]
        top, low = pick(flat, at), pick(flat, at + self.nx)
        top += (pick(flat, at + 1) - top) * fx
        low += (pick(flat, at + self.nx + 1) - low) * fx
        low -= top
        low *= fy
        low += top
        return np.ascontiguousarray(low.T)

    def nearest(self, x: F32, y: F32) -> npt.NDArray[np.int64]:
        """Flat index of the node nearest to each point."""
        col = np.clip(np.rint((x - np.float32(self.x0)) * np.float32(1 / self.step)), 0, self.nx - 1)
        row = np.clip(np.rint((y - np.float32(self.y0)) * np.float32(1 / self.step)), 0, self.ny - 1)
        at: npt.NDArray[np.int64] = row.astype(np.int64) * self.nx + col.astype(np.int64)
        return at


def fractal(rng: np.random.Generator, frame: Frame, longest: float, slope: float) -> F32:
    """Random hills of mean 0 and deviation 1 on the nodes of `frame`.

    Parameters
    ----------
    longest
        Longest wavelength, in metres: larger forms are left out.
    slope
        How fast amplitude falls with frequency: 1.5 rough, 2.2 smooth.
    """
    # A margin, else opposite edges would match.
    ny, nx = (fft.next_fast_len(side * 9 // 8, real=True) for side in (frame.ny, frame.nx))
    white = fft.rfft2(rng.standard_normal((ny, nx), dtype=np.float32), workers=2)
    ky, kx = np.fft.fftfreq(ny, frame.step), np.fft.rfftfreq(nx, frame.step)
    k = np.hypot(ky[:, None], kx[None, :]).astype(np.float32)
    k[0, 0] = 1.0
    gain = k ** np.float32(-slope) * (1 - np.exp(-((k * np.float32(longest)) ** 4)))
    gain[0, 0] = 0.0
    hills = fft.irfft2(white * gain, s=(ny, nx), workers=2)[: frame.ny, : frame.nx]
    hills -= hills.mean()
    hills /= hills.std()
    out: F32 = hills.astype(np.float32)
    return out
