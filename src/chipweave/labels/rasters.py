"""Raster labels: classes in the legend's codes, or numbers in a unit; no data where the source has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.labels.base import Target
from chipweave.labels.cleanup import Vote, vote
from chipweave.labels.remap import Recode
from chipweave.labels.scene import SceneRule
from chipweave.model import Asset, LayerSpec, Legend, Scene
from chipweave.pixels.bands import BoolArray, Stored, general, read_float32
from chipweave.pixels.bands import Target as Window
from chipweave.pixels.codes import read_codes
from chipweave.pixels.counting import code_counts
from chipweave.pixels.mosaic import NATIVE, loader
from chipweave.pixels.radiometry import to_float32
from chipweave.pixels.resample import Method

AnyArray = npt.NDArray[Any]

FOREIGN = "foreign"
"""Fact: share of the pixels that hold a code which the legend does not know."""


@dataclass(frozen=True, slots=True)
class LabelRead:
    """How a raster label is read, and what is said of it.

    Parameters
    ----------
    legend
        Of what is written; None where it is numbers.
    method, nodata, band
        The rule; what is no data where no file states it; under which name its asset stands.
    loader
        Who reads it (see `pixels.loaders`).
    specs
        Its members: itself.
    recode
        From stored codes to written ones; None where the source has the legend's own.
    scene
        Of the whole chip; None: presence of the legend's classes.
    ignore
        Codes of the legend that count as ignored.
    gain, add
        Of numbers: ``stored * gain + add`` is in the unit, after what the asset itself says.
    static
        Whether it is of no date, as a model of the terrain is.
    cleanup
        Segments whose majority its classes become.
    """

    legend: Legend | None
    method: Method
    nodata: float | None
    band: str
    loader: str = NATIVE
    specs: tuple[LayerSpec, ...] = ()
    recode: Recode | None = None
    scene: SceneRule | None = None
    ignore: tuple[int, ...] = ()
    gain: float = 1.0
    add: float = 0.0
    static: bool = False
    cleanup: Vote | None = None

    @property
    def codes(self) -> Recode:
        """From stored codes to those of the working array; of a label that has classes."""
        if self.legend is None:
            raise ValueError("numbers have no codes")
        return self.recode or Recode.of(self.legend, None, self.legend)

    def empty(self, array: AnyArray) -> BoolArray:
        """Where a working array has no data, or what the legend does not know: another raster may have it."""
        if self.legend is None:
            return np.asarray(np.isnan(array), np.bool_)
        return np.asarray((array == self.legend.nodata) | (array == self.codes.foreign), np.bool_)

    def compose(self, rasters: Sequence[AnyArray]) -> AnyArray:
        """Lay working arrays of one edition over each other: each pixel from the first that has data there."""
        out = rasters[0]
        for raster in rasters[1:]:
            lacking = self.empty(out) & ~self.empty(raster)
            out = np.where(lacking, raster, out)
        return out


def read_label(scene: Scene, read: LabelRead, crs: str, affine: Affine, shape: tuple[int, int]) -> AnyArray:
    """One label raster on a north-up window as a working array, (y, x).

    Classes are in the legend's codes, and `read.codes.foreign` where the legend does not know the stored one; numbers
    are float32, NaN where there is no data.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where the raster cannot be read.
    """
    asset = scene.assets.get(read.band)
    if asset is None:
        raise PermanentSourceError(f"item {scene.id} has no asset for band {read.band}", href=scene.id)
    if read.legend is None:
        return _read_numbers(asset, read, crs, affine, shape)
    if read.loader != NATIVE:
        [(codes, ok)] = loader(read.loader)([asset], read.nodata, crs, affine, shape, read.method)
        return read.codes(codes, ok)
    return read_codes(asset, read.nodata, crs, affine, shape, read.method, read.codes)


@dataclass(frozen=True, slots=True)
class _Real(Stored):
    """Whole numbers that stand for a quantity: between two of them there are others."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type in which it is resampled."""
        return np.dtype(np.float64)

    def read(self, row: int, col: int, height: int, width: int) -> tuple[AnyArray, BoolArray]:
        """As of `Stored`, as floats."""
        values, ok = Stored.read(self, row, col, height, width)
        return values.astype(self.dtype, copy=False), ok


def _read_numbers(
    asset: Asset, read: LabelRead, crs: str, affine: Affine, shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    gain, add = asset.gain * read.gain, asset.add * read.gain + read.add
    if read.loader != NATIVE:
        [(values, ok)] = loader(read.loader)([asset], read.nodata, crs, affine, shape, read.method)
    else:
        band = _Real.of(asset, read.nodata)
        if np.issubdtype(band.source.dtype, np.floating):
            own = replace(asset, gain=gain, add=add)
            floats = read_float32([own], read.nodata, crs, affine, shape, [read.method])
            return np.asarray(floats[0], np.float32)
        values, ok = general(band, Window.of(crs, affine, shape), read.method)
    return to_float32(values, ok, gain, add)


def target_of(
    name: str, working: AnyArray, items: Sequence[str], scenes: Mapping[str, Scene], read: LabelRead
) -> Target:
    """What a raster label gives of one chip.

    Parameters
    ----------
    name
        Of the layer.
    working
        (y, x), as `read_label` gives it.
    items, scenes
        The rasters that gave pixels, by id, and all of them.
    read
        How it was read.
    """
    source = {"datetime": [scenes[items[0]].edition], "items": [list(items)], "present": True}
    if read.legend is None:
        valid = float(np.count_nonzero(~np.isnan(working))) / working.size
        facts = {"nodata": 1 - valid, "ignored": 1 - valid, "valid_fraction": valid}
        return Target({name: working}, {name: {**source, "valid_fraction": valid}}, facts=facts)
    classes, foreign = read.codes.settled(working, read.legend.dtype)
    said, facts = said_of_classes(classes, read.legend, read.scene, read.ignore)
    return Target(
        {name: classes}, {name: {**source, **said}}, facts={**facts, FOREIGN: foreign / classes.size}
    )


def clean_target(name: str, target: Target, segments: AnyArray, read: LabelRead) -> Target:
    """A class label after the vote of segments, (y, x) numbers of which 0 is none; its `agreement` is said."""
    if read.legend is None or read.cleanup is None:
        return target
    voting = [code for code in read.legend.codes if code not in read.ignore]
    done = vote(target.arrays[name], segments, voting, min_share=read.cleanup.min_share)
    said, facts = said_of_classes(done.classes, read.legend, read.scene, read.ignore)
    said |= {"changed": done.changed, "agreement": done.agreement}
    return replace(
        target, arrays={**target.arrays, name: done.classes},
        said={**target.said, name: {**target.said[name], **said}},
        facts={**target.facts, **facts, "agreement": done.agreement},
    )  # fmt: skip


def said_of_classes(
    classes: AnyArray, legend: Legend, scene: SceneRule | None = None, ignore: tuple[int, ...] = ()
) -> tuple[dict[str, Any], dict[str, float]]:
    """What ``{key}.json`` says of a class label of any source, and the facts that `keep` may ask for.

    Parameters
    ----------
    classes
        (y, x), in the legend's codes, unsigned integers of 8 or 16 bits.
    legend
        Its legend.
    scene
        How scene labels are made; None: presence of its own classes.
    ignore
        Codes of the legend that count as ignored.
    """
    size, counts = classes.size, code_counts(classes)
    shares = {str(code): float(counts[code]) / size for code in legend.codes}
    nothing = float(counts[legend.nodata]) / size
    own = (scene or SceneRule.plain(legend, ignore)).said(counts, size)
    said: dict[str, Any] = {
        "valid_fraction": float(size - counts[legend.nodata]) / size,
        "legend": legend.name,
    }
    if legend.unlabeled is not None:
        said["unlabeled"] = legend.unlabeled
    if ignore:
        said["ignore"] = list(ignore)
    said |= {"fractions": shares, **own}
    facts = {**shares, "nodata": nothing, "ignored": own["ignored"], "valid_fraction": said["valid_fraction"]}
    return said, facts
