"""A slow, plain weave in NumPy: by it the worlds and the checks are tested before they test anything else."""

from __future__ import annotations

import numpy as np
import rasterio
from affine import Affine

from worlds.analytic import BAD, KEYS, LabelRaster, Scene, transformer
from worlds.checks import NODATA
from worlds.harness import Sample
from worlds.places import World


def bilinear(array, u, v):
    """Bilinear at fractional indices (u, v), weights renormalised over data (not 0); NaN where the nearest is none."""
    rows, cols = array.shape

    def pick(r, c):
        inside = (r >= 0) & (c >= 0) & (r < rows) & (c < cols)
        value = array[np.clip(r, 0, rows - 1), np.clip(c, 0, cols - 1)].astype(float)
        return np.where(inside, value, 0.0)

    c0, r0 = np.floor(u).astype(int), np.floor(v).astype(int)
    total, weight = np.zeros(u.shape), np.zeros(u.shape)
    for j in (0, 1):
        for i in (0, 1):
            w = np.abs(1 - i - (u - c0)) * np.abs(1 - j - (v - r0))
            value = pick(r0 + j, c0 + i)
            total += np.where(value != 0, w * value, 0)
            weight += np.where(value != 0, w, 0)
    nearest = pick(np.floor(v + 0.5).astype(int), np.floor(u + 0.5).astype(int))
    return np.where(nearest != 0, total / np.where(weight > 0, weight, 1), np.nan)


def nearest(array, u, v):
    rows, cols = array.shape
    r, c = np.floor(v + 0.5).astype(int), np.floor(u + 0.5).astype(int)
    inside = (r >= 0) & (c >= 0) & (r < rows) & (c < cols)
    return np.where(inside, array[np.clip(r, 0, rows - 1), np.clip(c, 0, cols - 1)], 0)


def _indices(affine: Affine, x, y):
    u, v = ~affine @ (x, y) if hasattr(affine, "__matmul__") else ~affine * (x, y)
    return u - 0.5, v - 0.5


def blank_sample(crs: str, x: float, y: float, size: int, res: float) -> Sample:
    meta = {"crs": crs, "transform": [res, 0, x, 0, -res, y], "height": size, "width": size, "layers": {}}
    return Sample(f"t{x:.0f}_{y:.0f}", meta, {}, (), "")


def weave(world: World, scenes: list[Scene], sample: Sample, bands=tuple(KEYS), *, blank=False) -> Sample:
    """Fill layer `s2` and its mask from the files of the world."""
    x, y = sample.centres()
    layers = []
    mask = np.zeros(x.shape, int)
    for band in bands:
        key, _ = KEYS[band]
        out = np.full(x.shape, np.nan)
        for scene in scenes:
            with rasterio.open(world.folder / scene.id / f"{key}.tif") as src:
                got = bilinear(src.read(1), *_indices(src.transform, *_to(sample, scene.crs, x, y)))
            out = np.where(np.isnan(out), got - scene.stored, out)
        layers.append(np.where(np.isnan(out), NODATA, np.rint(np.nan_to_num(out))))
    for scene in scenes:
        with rasterio.open(world.folder / scene.id / "SCL.tif") as src:
            code = nearest(src.read(1), *_indices(src.transform, *_to(sample, scene.crs, x, y)))
        mask = np.where(mask == 0, code, mask)
    mask = np.where(mask == 0, 255, np.isin(mask, BAD))
    array = np.stack(layers)
    every = (array != NODATA).all(axis=0).mean()
    if blank:
        array[:, mask == 1] = NODATA
    sample.arrays["s2"], sample.arrays["s2_mask"] = array.astype(np.int16), mask.astype(np.uint8)
    data = (mask != 255).sum()
    sample.meta["layers"]["s2"] = {
        "bands": list(bands),
        "items": [[s.id for s in scenes]],
        "datetime": [scenes[0].time],
        "cloud_fraction": float((mask == 1).sum() / data) if data else 0.0,
        "valid_fraction": float(every),
    }
    return sample


def weave_label(world: World, label: LabelRaster, sample: Sample, name: str) -> Sample:
    with rasterio.open(world.folder / label.id / "map.tif") as src:
        x, y = _to(sample, label.crs, *sample.centres())
        sample.arrays[name] = nearest(src.read(1), *_indices(src.transform, x, y))
    return sample


def _to(sample: Sample, crs: str, x, y):
    return transformer(sample.crs, crs).transform(x, y) if crs != sample.crs else (x, y)
