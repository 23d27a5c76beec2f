"""Scenes onto a target window, and several scenes into one picture.

`read_scene` gives one scene's bands on a window; `compose` lays the scenes of one candidate over each other in
their order: a pixel comes from the first scene in which all bands are data there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import MASK_CLEAR, MASK_NODATA, Asset, MaskRule, Scene
from chipweave.pixels.lattice import Grid, same_crs
from chipweave.pixels.masks import Mask, mask_codes
from chipweave.pixels.radiometry import INT16_NODATA, to_int16
from chipweave.pixels.read import SourceGrid, data_mask, read_block, source_grid
from chipweave.pixels.resample import Method, resample

Values = npt.NDArray[np.int16]
AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]


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
    """

    bands: tuple[str, ...]
    methods: Mapping[str, Method]
    nodata: float | None
    mask: MaskRule | None = None


@dataclass(slots=True)
class SceneArrays:
    """One scene on a window: `values` (band, y, x) int16, `mask` (y, x) uint8 or None."""

    values: Values
    mask: Mask | None


def _read_valid(
    source: SourceGrid, nodata: float | None, row: int, col: int, height: int, width: int
) -> tuple[AnyArray, BoolArray]:
    values = read_block(source, row, col, height, width)
    return values, data_mask(values, nodata)


def _aligned(source: Grid, target: Grid) -> tuple[int, int] | None:
    """(row, col) shift from target to source pixels where the two grids coincide, else None."""
    a, b = source.affine, target.affine
    if (
        a.b
        or a.d
        or abs(a.a / b.a - 1) > 1e-9
        or abs(a.e / b.e - 1) > 1e-9
        or not same_crs(source.crs, target.crs)
    ):
        return None
    col, row = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    if abs(col - round(col)) > 1e-5 or abs(row - round(row)) > 1e-5:
        return None
    return round(row), round(col)


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
    source = source_grid(asset.href, asset.index)
    stated = asset.nodata if asset.nodata is not None else source.nodata
    nodata = default_nodata if stated is None else stated
    target, row, col = Grid.anchored(crs, affine)
    shift = _aligned(source.grid, target)
    if shift is not None:
        return _copy(source, nodata, row + shift[0], col + shift[1], shape)
    return resample(
        source.grid,
        source.shape,
        target,
        (row, col, *shape),
        method,
        partial(_read_valid, source, nodata),
        source.dtype,
    )


def _copy(
    source: SourceGrid, nodata: float | None, row: int, col: int, shape: tuple[int, int]
) -> tuple[AnyArray, BoolArray]:
    out, ok = np.zeros(shape, source.dtype), np.zeros(shape, np.bool_)
    r0, c0 = max(row, 0), max(col, 0)
    r1, c1 = min(row + shape[0], source.shape[0]), min(col + shape[1], source.shape[1])
    if r1 > r0 and c1 > c0:
        values, valid = _read_valid(source, nodata, r0, c0, r1 - r0, c1 - c0)
        inner = np.s_[r0 - row : r1 - row, c0 - col : c1 - col]
        out[inner], ok[inner] = np.where(valid, values, 0), valid
    return out, ok


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
    codes, ok = read_band(
        _asset(scene, read.mask.band), nodata, crs, affine, shape, read.methods[read.mask.band]
    )
    return mask_codes(codes, ok, read.mask)


def read_scene(
    scene: Scene, read: LayerRead, crs: str, affine: Affine, shape: tuple[int, int]
) -> SceneArrays:
    """All bands of one scene on a window, as int16 reflectance, and its mask.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where any band cannot be read: a scene is taken whole or not at all.
    """
    values = np.empty((len(read.bands), *shape), np.int16)
    for i, band in enumerate(read.bands):
        asset = _asset(scene, band)
        stored, ok = read_band(asset, read.nodata, crs, affine, shape, read.methods[band])
        values[i] = to_int16(stored, ok, asset.gain, asset.add)
    mask = None
    if read.mask is not None:
        if read.mask.band in scene.missing:
            # The item lacks its mask: its data counts as clear.
            mask = np.where((values != INT16_NODATA).all(axis=0), MASK_CLEAR, MASK_NODATA).astype(np.uint8)
        else:
            mask = read_mask(scene, read, crs, affine, shape)
    return SceneArrays(values, mask)


def compose(scenes: Sequence[SceneArrays]) -> tuple[Values, Mask | None, list[bool]]:
    """Lay scenes over each other in their order.

    A pixel, its mask included, comes from the first scene in which all bands are data; where there is none, each
    band comes from the first scene that has it.

    Parameters
    ----------
    scenes
        At least one; all of one shape.

    Returns
    -------
    values, mask, used
        The picture, its mask, and for each scene whether it gave a pixel.
    """
    first = scenes[0]
    values = first.values if len(scenes) == 1 else first.values.copy()
    mask = first.mask if len(scenes) == 1 or first.mask is None else first.mask.copy()
    done = (values != INT16_NODATA).all(axis=0)
    used = [bool(done.any())] + [False] * (len(scenes) - 1)
    for i, scene in enumerate(scenes[1:], 1):
        take = ~done & (scene.values != INT16_NODATA).all(axis=0)
        used[i] = bool(take.any())
        values[:, take] = scene.values[:, take]
        if mask is not None and scene.mask is not None:
            mask[take] = scene.mask[take]
        done |= take
    used[0] |= bool((values[:, ~done] != INT16_NODATA).any())
    for i, scene in enumerate(scenes[1:], 1):
        holes = ~done & (values == INT16_NODATA) & (scene.values != INT16_NODATA)
        used[i] |= bool(holes.any())
        np.copyto(values, scene.values, where=holes)
        if mask is not None and scene.mask is not None:
            np.copyto(mask, scene.mask, where=~done & (mask == MASK_NODATA))
    return values, mask, used


def compose_masks(masks: Sequence[Mask]) -> Mask:
    """Mask of a mosaic: each pixel from the first scene that has data there."""
    out = masks[0]
    for mask in masks[1:]:
        out = np.where(out == MASK_NODATA, mask, out)
    return out
