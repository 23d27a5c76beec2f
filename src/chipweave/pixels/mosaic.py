"""Scenes onto a target window, and several scenes into one picture.

`read_scene` gives one scene's bands on a window; `compose` lays the scenes of one candidate over each other in
their order: a pixel comes from the first scene in which all bands are data there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import MASK_CLEAR, MASK_NODATA, Asset, MaskRule, Scene
from chipweave.pixels.bands import read_codes, read_int16
from chipweave.pixels.fused import whole
from chipweave.pixels.masks import Mask, mask_codes
from chipweave.pixels.radiometry import INT16_NODATA, to_int16
from chipweave.pixels.resample import Method

if TYPE_CHECKING:
    from chipweave.pixels.loaders.base import Loader

Values = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

NATIVE = "native"
"""The loader that is chipweave's own."""


@dataclass(frozen=True, slots=True)
class LayerRead:
    """How an imagery layer is read.

    Parameters
    ----------
    bands
        Common names, in the order of the sample.
    methods
        How each band, and the mask's band, is resampled.
    nodata
        The collection's value where neither item nor file states one.
    mask
        The mask rule, or None where no mask is written in this build.
    loader
        Who reads: see `pixels.loaders`.
    """

    bands: tuple[str, ...]
    methods: Mapping[str, Method]
    nodata: float | None
    mask: MaskRule | None = None
    loader: str = NATIVE


@dataclass(slots=True)
class SceneArrays:
    """One scene on a window: `values` (band, y, x) int16, `mask` (y, x) uint8 or None."""

    values: Values
    mask: Mask | None


def loader(name: str) -> Loader:
    """Whoever reads bands under that name."""
    from chipweave.pixels import loaders  # noqa: PLC0415 - loaders stand on what is native

    return loaders.get(name)


def _asset(scene: Scene, band: str) -> Asset:
    asset = scene.assets.get(band)
    if asset is None:
        raise PermanentSourceError(f"item {scene.id} has no asset for band {band}", href=scene.id)
    return asset


def read_mask(scene: Scene, read: LayerRead, crs: str, affine: Affine, shape: tuple[int, int]) -> Mask:
    """Mask of one scene on a window; all 255 beyond its edge. `read.mask` must be set."""
    if read.mask is None:
        raise ValueError("the layer has no mask rule")
    # A file that states no nodata has the rule's: a mode over its codes must not count it as a class.
    nodata = float(read.mask.nodata[0]) if read.mask.nodata else None
    asset, method = _asset(scene, read.mask.band), read.methods[read.mask.band]
    finish = partial(mask_codes, rule=read.mask)
    if read.loader != NATIVE:
        [(codes, ok)] = loader(read.loader)([asset], nodata, crs, affine, shape, method)
        return finish(codes, ok)
    return read_codes(asset, nodata, crs, affine, shape, method, finish)


def read_scene(
    scene: Scene, read: LayerRead, crs: str, affine: Affine, shape: tuple[int, int]
) -> SceneArrays:
    """All bands of one scene on a window, as int16 reflectance, and its mask.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where any band cannot be read: a scene is taken whole or not at all.
    """
    assets = [_asset(scene, band) for band in read.bands]
    methods = [read.methods[band] for band in read.bands]
    if read.loader == NATIVE:
        values = read_int16(assets, read.nodata, crs, affine, shape, methods)
    else:
        values = np.empty((len(assets), *shape), np.int16)
        load = loader(read.loader)
        for i, (asset, method) in enumerate(zip(assets, methods, strict=True)):
            [(stored, ok)] = load([asset], read.nodata, crs, affine, shape, method)
            values[i] = to_int16(stored, ok, asset.gain, asset.add)
    mask = None
    if read.mask is not None:
        if read.mask.band in scene.missing:
            # The item lacks its mask: its data counts as clear.
            mask = np.where(whole(values), MASK_CLEAR, MASK_NODATA).astype(np.uint8)
        else:
            mask = read_mask(scene, read, crs, affine, shape)
    return SceneArrays(values, mask)


def compose(scenes: Sequence[SceneArrays]) -> tuple[Values, Mask | None, list[bool], BoolArray]:
    """Lay scenes over each other in their order.

    A pixel, its mask included, comes from the first scene in which all bands are data; where there is none, each
    band comes from the first scene that has it.

    Parameters
    ----------
    scenes
        At least one; all of one shape.

    Returns
    -------
    values, mask, used, full
        The picture, its mask, for each scene whether it gave a pixel, and where all bands are data.
    """
    first = scenes[0]
    full = whole(first.values)
    if len(scenes) == 1:
        used = bool(full.any()) or bool((first.values != INT16_NODATA).any())
        return first.values, first.mask, [used], full
    values = first.values.copy()
    mask = None if first.mask is None else first.mask.copy()
    gave = [bool(full.any())] + [False] * (len(scenes) - 1)
    for i, scene in enumerate(scenes[1:], 1):
        take = ~full & whole(scene.values)
        gave[i] = bool(take.any())
        values[:, take] = scene.values[:, take]
        if mask is not None and scene.mask is not None:
            mask[take] = scene.mask[take]
        full |= take
    gave[0] |= bool((values[:, ~full] != INT16_NODATA).any())
    for i, scene in enumerate(scenes[1:], 1):
        holes = ~full & (values == INT16_NODATA) & (scene.values != INT16_NODATA)
        gave[i] |= bool(holes.any())
        np.copyto(values, scene.values, where=holes)
        if mask is not None and scene.mask is not None:
            np.copyto(mask, scene.mask, where=~full & (mask == MASK_NODATA))
    return values, mask, gave, whole(values)


def compose_masks(masks: Sequence[Mask]) -> Mask:
    """Mask of a mosaic: each pixel from the first scene that has data there."""
    out = masks[0]
    for mask in masks[1:]:
        out = np.where(out == MASK_NODATA, mask, out)
    return out
