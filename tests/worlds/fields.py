"""Smooth functions of lon/lat with known derivatives: the truth of the analytic world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """Local metres: X east, Y north of (lon0, lat0).

    One degree is worth what it is at `lat0`, so X is off by 0.2 % at 0.1 degrees north of it: far below every
    tolerance that is built on a gradient.
    """

    lon0: float
    lat0: float

    @property
    def metres(self) -> tuple[float, float]:
        """Length of a degree of longitude and of latitude (series of the WGS 84 ellipsoid)."""
        phi = np.radians(self.lat0)
        east = 111412.84 * np.cos(phi) - 93.5 * np.cos(3 * phi) + 0.118 * np.cos(5 * phi)
        north = 111132.954 - 559.822 * np.cos(2 * phi) + 1.175 * np.cos(4 * phi)
        return float(east), float(north)

    def to_local(self, lon, lat):
        """Local metres of points in degrees."""
        east, north = self.metres
        return (np.asarray(lon) - self.lon0) * east, (np.asarray(lat) - self.lat0) * north

    def to_lonlat(self, x, y):
        """Degrees of points in local metres."""
        east, north = self.metres
        return self.lon0 + np.asarray(x) / east, self.lat0 + np.asarray(y) / north


@dataclass(frozen=True)
class Field:
    """base + sum of amplitude * sin(k . r + phase); `waves` are (amplitude, wavelength m, heading deg, phase)."""

    frame: Frame
    base: float
    waves: tuple[tuple[float, float, float, float], ...]

    def _terms(self, lon, lat):
        x, y = self.frame.to_local(lon, lat)
        for amplitude, wavelength, heading, phase in self.waves:
            kx = 2 * np.pi / wavelength * np.cos(np.radians(heading))
            ky = 2 * np.pi / wavelength * np.sin(np.radians(heading))
            yield amplitude, kx, ky, kx * x + ky * y + phase

    def value(self, lon, lat):
        return self.base + sum(a * np.sin(p) for a, _, _, p in self._terms(lon, lat))

    def gradient(self, lon, lat):
        """d/dX and d/dY, per metre."""
        terms = [(a * np.cos(p), kx, ky) for a, kx, ky, p in self._terms(lon, lat)]
        return sum(c * kx for c, kx, _ in terms), sum(c * ky for c, _, ky in terms)

    def second(self, lon, lat):
        """d2/dX2, d2/dY2 and d2/dXdY, per square metre."""
        terms = [(-a * np.sin(p), kx, ky) for a, kx, ky, p in self._terms(lon, lat)]
        return (
            sum(s * kx * kx for s, kx, _ in terms),
            sum(s * ky * ky for s, _, ky in terms),
            sum(s * kx * ky for s, kx, ky in terms),
        )

    @property
    def steepest_turn(self) -> float:
        """A bound on the norm of the Hessian, everywhere."""
        return sum(abs(a) * (2 * np.pi / w) ** 2 for a, w, _, _ in self.waves)


@dataclass(frozen=True)
class Classes:
    """Level sets of a field: class `codes[i]` between `levels[i-1]` and `levels[i]`."""

    field: Field
    levels: tuple[float, ...]
    codes: tuple[int, ...]

    def __post_init__(self):
        assert len(self.codes) == len(self.levels) + 1

    def value(self, lon, lat):
        index = np.searchsorted(np.asarray(self.levels), self.field.value(lon, lat))
        return np.asarray(self.codes, np.uint8)[index]

    def sure(self, lon, lat, radius):
        """True where the class is one and the same in the whole disc of that radius (m).

        By Taylor: within the disc g moves by at most |grad g| r + M r^2 / 2, M a bound on the Hessian. This is
        the distance |g| / |grad g| of the issue, made safe against curvature.
        """
        g = self.field.value(lon, lat)
        gx, gy = self.field.gradient(lon, lat)
        reach = np.hypot(gx, gy) * radius + 0.5 * self.field.steepest_turn * radius**2
        return np.all([np.abs(g - level) > reach for level in self.levels], axis=0)
