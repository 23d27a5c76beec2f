"""Categorical rasters: classes in the legend's codes, nodata where the source has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import Legend, Scene
from chipweave.pixels.codes import read_codes
from chipweave.pixels.counting import code_counts
from chipweave.pixels.masks import one_of
from chipweave.pixels.mosaic import NATIVE, loader
from chipweave.pixels.resample import Method

AnyArray = npt.NDArray[np.generic]
Classes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class LabelRead:
    """How a class label is read.

    Its legend, the rule, the nodata of its source where no file states one, its band, and who reads it (see
    `pixels.loaders`).
    """

    legend: Legend
    method: Method
    nodata: float | None
    band: str
    loader: str = NATIVE


def read_label(scene: Scene, read: LabelRead, crs: str, affine: Affine, shape: tuple[int, int]) -> Classes:
    """One label raster on a north-up window, (y, x), in the legend's codes.

    A code that the legend does not know is written as the legend's nodata.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where the raster cannot be read.
    """
    asset = scene.assets.get(read.band)
    if asset is None:
        raise PermanentSourceError(f"item {scene.id} has no asset for band {read.band}", href=scene.id)
    finish = partial(_legend_codes, legend=read.legend)
    if read.loader != NATIVE:
        [(codes, ok)] = loader(read.loader)([asset], read.nodata, crs, affine, shape, read.method)
        return finish(codes, ok)
    return read_codes(asset, read.nodata, crs, affine, shape, read.method, finish)


def _legend_codes(codes: AnyArray, ok: npt.NDArray[np.bool_], legend: Legend) -> Classes:
    known = ok & one_of(codes, legend.codes)
    return np.where(known, codes, legend.nodata).astype(legend.dtype)


def compose_labels(rasters: Sequence[AnyArray], legend: Legend) -> AnyArray:
    """Lay rasters of one edition over each other: each pixel from the first that has a class there."""
    out = rasters[0]
    for raster in rasters[1:]:
        out = np.where(out == legend.nodata, raster, out)
    return out


def class_shares(classes: AnyArray, legend: Legend) -> dict[str, float]:
    """Share of all pixels of every class of the legend, 0.0 where absent, by code as text."""
    counts = code_counts(classes)
    return {str(code): float(counts[code]) / classes.size for code in legend.codes}


def scene_labels(shares: dict[str, float], min_fraction: float = 0.0) -> list[int]:
    """1 for each class, in legend order, whose share is above 0 and at least `min_fraction`; else 0."""
    return [int(share > 0 and share >= min_fraction) for share in shares.values()]
