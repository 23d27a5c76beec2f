"""Scenes onto a target window, and several scenes into one picture.

`read_scene` gives one scene's bands on a window; `compose` lays the scenes of one candidate over each other in
their order: a pixel comes from the first scene in which all bands are data there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import NotBuiltError, PermanentSourceError
from chipweave.model import MASK_CLEAR, MASK_NODATA, Asset, MaskRule, Place, Scene
from chipweave.pixels.align import Onto
from chipweave.pixels.bands import read_float32, read_int16
from chipweave.pixels.coding import Coding, Stretch
from chipweave.pixels.filling import fill_nearest
from chipweave.pixels.gaps import Values, Working, blank, holes, whole
from chipweave.pixels.masking import cut, default_nodata, grown, mask_on
from chipweave.pixels.masks import Mask, mask_codes
from chipweave.pixels.radiometry import Power, to_decibel, to_float32, to_int16
from chipweave.pixels.resample import Method
from chipweave.pixels.terrain import derived, with_margin
from chipweave.recipe.formula import Formula

if TYPE_CHECKING:
    from chipweave.pixels.loaders.base import Loader

BoolArray = npt.NDArray[np.bool_]

NATIVE = "native"
"""The loader that is chipweave's own."""


_NOWHERE: BoolArray = np.zeros((0, 0), np.bool_)


class Finished(NamedTuple):
    """A picture as a sample holds it.

    `filled` is the share of its pixels that took their nearest neighbour's value, `full` (y, x) where it then is data
    (empty where nothing may be filled), and `stretch` (low, high) of each band, where it is stretched.
    """

    values: Values
    filled: float = 0.0
    full: BoolArray = _NOWHERE
    stretch: Stretch = ()


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
    dtype
        Of its working arrays.
    scales
        (gain, add) of a band, from its source values to those of a working array; as they are where it is not named.
    power
        How radar files store backscatter; working arrays then hold linear power.
    decibel
        Whether samples hold decibels of that.
    dilate_m
        Metres by which bad pixels grow onto clear ones.
    derive
        What is worked out of heights, by band: see `pixels.terrain`; of all bands or of none.
    coding
        How samples are coded, where the recipe says.
    grid
        (pixels a side, metres a pixel) of a grid of its own, over the chip's centre.
    physical
        (scale, offset) from working arrays to physical values.
    indices
        Further bands, by name, as formulas of physical values; they stand behind the others.
    fill
        Share of a picture's pixels up to which those without data take their nearest neighbour's value.
    onto
        What it is laid onto, where the recipe asks for that.
    """

    bands: tuple[str, ...]
    methods: Mapping[str, Method]
    nodata: float | None
    mask: MaskRule | None = None
    loader: str = NATIVE
    dtype: Working = "int16"
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    power: Power = ""
    decibel: bool = False
    dilate_m: float = 0.0
    derive: Mapping[str, str] = field(default_factory=dict)
    coding: Coding | None = None
    grid: tuple[int, float] | None = None
    physical: tuple[float, float] = (1.0, 0.0)
    indices: tuple[tuple[str, Formula], ...] = ()
    fill: float = 0.0
    onto: Onto | None = None

    @property
    def depth(self) -> int:
        """Bands of a sample."""
        return len(self.bands) + len(self.indices)

    def with_indices(self, values: Values) -> Values:
        """A picture, (band, y, x), and its further bands, which have no data where their formula has no value."""
        if not self.indices:
            return values
        scale, offset = self.physical
        known = {
            name: np.where(holes(band), np.nan, band.astype(np.float64) * scale + offset)
            for name, band in zip(self.bands, values, strict=True)
        }
        convert = to_int16 if self.dtype == "int16" else to_float32
        own = []
        for _, formula in self.indices:
            found = np.broadcast_to((formula.of(known) - offset) / scale, values.shape[1:])
            ok = np.isfinite(found)
            own.append(convert(np.where(ok, found, 0.0), ok, 1.0, 0.0))
        return np.concatenate([values, np.stack(own)])

    def place(self, chip: Place) -> Place:
        """Its own grid over a chip."""
        return chip if self.grid is None else chip.on(*self.grid)

    def asset(self, scene: Scene, band: str) -> Asset:
        """Asset of a band whose `gain` and `add` lead to working arrays.

        Raises
        ------
        PermanentSourceError
            The item lacks it.
        """
        asset = _asset(scene, band)
        gain, add = self.scales.get(band, (1.0, 0.0))
        if (gain, add) == (1.0, 0.0):
            return asset
        return replace(asset, gain=asset.gain * gain, add=asset.add * gain + add)

    def finish(self, values: Values) -> Finished:
        """What a sample holds, from a working array, (band, y, x)."""
        filled, full = 0.0, _NOWHERE
        if self.fill:
            values, new = fill_nearest(values, self.fill)
            filled, full = float(np.count_nonzero(new)) / new.size, whole(values)
        if self.decibel:
            values = to_decibel(values)
        if self.coding is None:
            return Finished(values, filled, full)
        spans = self.coding.spans(values)
        return Finished(self.coding.encode(values, spans), filled, full, spans)

    def there(self, values: Values) -> BoolArray:
        """Where all bands of (band, y, x), as a sample holds them, are data."""
        if self.coding is None:
            return whole(values)
        code = self.coding.nodata
        gone = np.isnan(values) if np.isnan(code) else values == code
        return np.asarray(~gone.any(axis=0), np.bool_)

    def empty(self, shape: tuple[int, ...]) -> Values:
        """Array without data, as a sample holds it."""
        if self.coding is None:
            return blank(shape, self.dtype)
        return np.full(shape, self.coding.nodata, self.coding.dtype)


@dataclass(slots=True)
class SceneArrays:
    """One scene on a window: `values` (band, y, x), a working array, `mask` (y, x) uint8 or None."""

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
    """Mask of one scene on a window; all 255 beyond its edge. Without a rule, where the layer's first band is data."""
    if read.mask is None:
        first = read_scene(scene, replace(read, bands=read.bands[:1]), crs, affine, shape)
        return np.where(whole(first.values), MASK_CLEAR, MASK_NODATA).astype(np.uint8)
    if not read.dilate_m:
        return _quality(scene, read, read.mask, crs, affine, shape)
    wide, size, rows, cols = grown(read.dilate_m, affine, shape)
    return cut(_quality(scene, read, read.mask, crs, wide, size), read.dilate_m, affine, rows, cols)


def _quality(
    scene: Scene, read: LayerRead, rule: MaskRule, crs: str, affine: Affine, shape: tuple[int, int]
) -> Mask:
    """Mask of one scene on a window, as its quality band has it."""
    asset, method = _asset(scene, rule.band), read.methods[rule.band]
    if read.loader == NATIVE:
        return mask_on(asset, rule, crs, affine, shape, method)
    if rule.bits and method == "mode":
        raise NotBuiltError(
            f"--loader {read.loader}: takes no mode of clear and bad from bits", hint="leave --loader out"
        )
    [(codes, ok)] = loader(read.loader)([asset], default_nodata(rule), crs, affine, shape, method)
    return mask_codes(codes, ok, rule)


def read_scene(
    scene: Scene, read: LayerRead, crs: str, affine: Affine, shape: tuple[int, int]
) -> SceneArrays:
    """All bands of one scene on a window, as a working array, and its mask.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where any band cannot be read: a scene is taken whole or not at all.
    NotBuiltError
        Where a loader that is not our own would blend decibels, or powers of zero.
    """
    values: Values
    if read.derive:
        wide, size = with_margin(affine, shape)
        plain = replace(read, bands=read.bands[:1], derive={}, mask=None)
        heights = read_scene(scene, plain, crs, wide, size).values[0].astype(np.float32)
        return SceneArrays(derived(heights, affine, [read.derive[band] for band in read.bands]), None)
    assets = [read.asset(scene, band) for band in read.bands]
    methods = [read.methods[band] for band in read.bands]
    if read.loader != NATIVE:
        values = _loaded(read, assets, methods, crs, affine, shape)
    elif read.dtype == "int16":
        values = read_int16(assets, read.nodata, crs, affine, shape, methods)
    else:
        values = read_float32(assets, read.nodata, crs, affine, shape, methods, read.power)
    mask = None
    if read.mask is not None:
        if read.mask.band in scene.missing:
            # The item lacks its mask: its data counts as clear.
            mask = np.where(whole(values), MASK_CLEAR, MASK_NODATA).astype(np.uint8)
        else:
            mask = read_mask(scene, read, crs, affine, shape)
    return SceneArrays(values, mask)


def _loaded(
    read: LayerRead,
    assets: Sequence[Asset],
    methods: Sequence[Method],
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
) -> Values:
    """The same by a loader that is not our own."""
    if read.power:
        raise NotBuiltError(f"--loader {read.loader}: reads no radar", hint="leave --loader out")
    values = np.empty((len(assets), *shape), read.dtype)
    load = loader(read.loader)
    for i, (asset, method) in enumerate(zip(assets, methods, strict=True)):
        [(stored, ok)] = load([asset], read.nodata, crs, affine, shape, method)
        convert = to_int16 if read.dtype == "int16" else to_float32
        values[i] = convert(stored, ok, asset.gain, asset.add)
    return values


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
        used = bool(full.any()) or not bool(holes(first.values).all())
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
    gave[0] |= not bool(holes(values[:, ~full]).all())
    for i, scene in enumerate(scenes[1:], 1):
        filled = ~full & holes(values) & ~holes(scene.values)
        gave[i] |= bool(filled.any())
        np.copyto(values, scene.values, where=filled)
        if mask is not None and scene.mask is not None:
            np.copyto(mask, scene.mask, where=~full & (mask == MASK_NODATA))
    return values, mask, gave, whole(values)


def compose_masks(masks: Sequence[Mask]) -> Mask:
    """Mask of a mosaic: each pixel from the first scene that has data there."""
    out = masks[0]
    for mask in masks[1:]:
        out = np.where(out == MASK_NODATA, mask, out)
    return out
