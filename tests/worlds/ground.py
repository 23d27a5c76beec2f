"""An analytic piece of ground: its value is known at every point, so a shift is planted by sampling elsewhere."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import erfc


class Ground:
    """Fields of land (Voronoi cells) with hedges a sensor's blur wide, and waves of texture upon them; in pixels.

    Parameters
    ----------
    seed
        Of everything that is drawn.
    size
        Side of the square that is covered, about (0, 0).
    field_px
        Typical side of a field.
    blur
        Standard deviation of the sensor's blur.
    """

    def __init__(self, seed: int, size: float = 400.0, field_px: float = 14.0, blur: float = 0.7):
        rng = np.random.default_rng(seed)
        count = int((size / field_px) ** 2)
        self.sites = rng.uniform(-size / 2, size / 2, (count, 2))
        self.tree = cKDTree(self.sites)
        self.blur = blur
        self.base = rng.normal(0.0, 1.0, count)
        wavelength = np.exp(rng.uniform(np.log(5.0), np.log(60.0), 60))
        heading = rng.uniform(0, 2 * np.pi, 60)
        self.k = 2 * np.pi / wavelength * np.array([np.cos(heading), np.sin(heading)])
        self.amplitude = 0.05 * np.sqrt(wavelength / 20)
        self.wave_phase = rng.uniform(0, 2 * np.pi, 60)

    def sample(self, shape, dx=0.0, dy=0.0, date=0, changed=0.0):
        """Values at the centres of a grid whose content lies (dx, dy) right and down; a date may change fields."""
        rows, cols = np.mgrid[: shape[0], : shape[1]].astype(float)
        x, y = cols - shape[1] / 2 - dx, rows - shape[0] / 2 - dy
        rng = np.random.default_rng([date, len(self.base)])
        other = rng.random(len(self.base)) < changed
        level = np.where(other, rng.normal(0.0, 1.0, len(self.base)), self.base)
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        reach, near = self.tree.query(points, k=2)
        between = np.linalg.norm(self.sites[near[:, 0]] - self.sites[near[:, 1]], axis=1)
        edge = (reach[:, 1] ** 2 - reach[:, 0] ** 2) / (2 * between)
        mine, next_one = level[near[:, 0]], level[near[:, 1]]
        fields = mine + (next_one - mine) * 0.5 * erfc(edge / (self.blur * np.sqrt(2)))
        waves = sum(
            a * np.sin(kx * points[:, 0] + ky * points[:, 1] + p)
            for a, kx, ky, p in zip(self.amplitude, *self.k, self.wave_phase, strict=True)
        )
        return (fields + waves).reshape(shape)


def speckled(db, looks, seed):
    """Linear power of a radar picture given in dB, with the speckle of that many looks."""
    rng = np.random.default_rng(seed)
    return 10 ** (db / 10) * rng.gamma(looks, 1 / looks, db.shape)
