"""Pixels read again from their source, by GDAL's own warp on an explicit grid: a way that no build takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from chipweave.audit.arrays import Layer
from chipweave.audit.report import BROKEN
from chipweave.catalog import load_collection, read_snapshot
from chipweave.catalog.hrefs import redact
from chipweave.errors import ChipweaveError
from chipweave.model import Collection, Scene
from chipweave.pixels.lattice import Grid
from chipweave.pixels.loaders import packages
from chipweave.pixels.resample import Method

Floats = NDArray[np.float64]

METHODS: tuple[Method, ...] = ("nearest", "bilinear", "cubic", "mean", "mode")
TOLERANCE = 1e-3
"""Pixels by which GDAL may approximate; at 0 it makes no file at all."""
SNAPSHOT, LOCK, RECIPE = "plan/scenes.parquet", "chipweave.lock", "recipe.yaml"
PLAIN = {
    *("collection", "edition", "catalog", "provider", "max_label_age", "resample", "ignore", "scene_labels"),
    *("licence", "credit"),
}
"""Keys of a label in a recipe that leave its codes as they are."""


@dataclass
class Sources:
    """The sources of a dataset, by its own snapshot.

    Attributes
    ----------
    scenes
        By layer and id.
    unreached
        Files that could not be read, without secrets, and why.
    read
        Bands and labels that were.
    drawn
        Labels that come from no raster.
    recipe
        As it lies in the dataset; empty where it cannot be read.
    """

    scenes: Mapping[tuple[str, str], Scene]
    methods: Mapping[str, Mapping[str, str]]
    unreached: dict[str, str] = field(default_factory=dict)
    read: int = 0
    drawn: set[str] = field(default_factory=set)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    _known: dict[str, Collection | None] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Sources:
        """Read the snapshot of a dataset.

        Raises
        ------
        ChipweaveError, or one of `BROKEN`
            It has none that can be used.
        """
        scenes = {(s.layer, s.id): s for s in read_snapshot(folder / SNAPSHOT)}
        methods = json.loads((folder / LOCK).read_bytes()).get("methods", {})
        return cls(scenes, methods, recipe=_recipe(folder))

    def readable(self, layer: Layer) -> list[str]:
        """Bands of an imagery layer that its collection has files of."""
        collection = self._collection(str(layer["collection"]))
        if collection is None:
            return []
        names = dict.fromkeys(str(band) for band in layer["bands"])
        return [b for b in names if (known := collection.band(b)) is not None and not known.derive]

    def _encode(self, name: str) -> Mapping[str, Any]:
        """What the recipe says of how an imagery layer is coded; a native one says it of all its parts."""
        imagery = self.recipe.get("imagery") or {}
        own = name if name in imagery else next((n for n in imagery if name.startswith(f"{n}_")), "")
        return (imagery.get(own) or {}).get("encode") or {}

    def filled(self, name: str) -> bool:
        """Whether an imagery layer may have data where its source has none."""
        return bool(self._encode(name).get("fill"))

    def bounds(self, name: str, layer: Layer, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Least and largest physical value that an imagery layer can hold."""
        kind = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else np.finfo(dtype)
        ends = np.array([float(kind.min), float(kind.max)])
        encode = self._encode(name)
        if encode.get("clip"):
            coded = np.sort(
                np.array(encode["clip"], float) * encode.get("scale", 1.0) + encode.get("offset", 0.0)
            )
            ends = np.clip(coded, *ends)
        low, high = np.sort(ends * float(layer["scale"]) + float(layer["offset"]))
        return float(low), float(high)

    def copied(self, name: str, layer: Layer) -> bool:
        """Whether a label has the very codes of its collection: nothing in the recipe makes others of them."""
        said = (self.recipe.get("labels") or {}).get(name)
        if not isinstance(said, dict) or not {k for k, v in said.items() if v is not None} <= PLAIN:
            return False
        try:
            return bool(load_collection(str(layer["collection"])).legend == layer["legend"])
        except ChipweaveError:
            return False

    def bands(self, name: str, layer: Layer, crs: str, step: int, wanted: Sequence[str]) -> dict[str, Floats]:
        """Physical values of some bands of one step of an imagery layer, (y, x), NaN where there is no data.

        Bands that are worked out of others, or that the snapshot does not know, are left out.
        """
        items, scenes = layer["items"][step], []
        for item in items:
            if (name, item) not in self.scenes:
                self.unreached[item] = "is not in the snapshot"
                return {}
            scenes.append(self.scenes[name, item])
        collection = self._collection(str(layer["collection"]))
        if collection is None:
            return {}
        window = Affine(*layer["transform"])
        out = {}
        for band in wanted:
            known = collection.band(band)
            if known is None or known.derive or any(band not in s.assets for s in scenes):
                continue
            found = self._laid(name, scenes, band, collection, crs, window, layer["shape"][-2:])
            if found is not None:
                out[band] = _as_unit(found, collection, band, str(layer["unit"]))
        return out

    def _collection(self, name: str) -> Collection | None:
        """What a collection means, None where nobody here knows."""
        if name not in self._known:
            try:
                self._known[name] = load_collection(name)
            except ChipweaveError as error:
                self.unreached[name] = error.message
                self._known[name] = None
        return self._known[name]

    def classes(self, name: str, layer: Layer, crs: str) -> Floats | None:
        """Codes of a label as its source has them, NaN where it has none; None where it could not be read.

        Only what was read from rasters can be read so: of vectors there is no second way.
        """
        if not self.methods.get(name):
            self.drawn.add(name)
            return None
        scenes = [s for item in layer["items"][0] if (s := self.scenes.get((name, item))) is not None]
        if len(scenes) < len(layer["items"][0]):
            self.unreached[str(layer["items"][0][0])] = "is not in the snapshot"
            return None
        band = next((b for s in scenes for b in s.assets), "")
        return self._laid(name, scenes, band, None, crs, Affine(*layer["transform"]), layer["shape"][-2:])

    def _laid(
        self,
        name: str,
        scenes: Sequence[Scene],
        band: str,
        collection: Collection | None,
        crs: str,
        affine: Affine,
        shape: Sequence[int],
    ) -> Floats | None:
        """One band of some scenes, the next only where pixels are missing; None where one could not be read."""
        said = self.methods.get(name, {}).get(band, "")
        method: Method = next(
            (m for m in METHODS if m == said), "bilinear" if collection is not None else "nearest"
        )
        take = partial(fetch, blend=Resampling.cubic) if method == "cubic" else fetch
        rule: Method = "bilinear" if method == "cubic" else method
        out = np.full(tuple(shape), np.nan)
        for scene in scenes:
            asset = scene.assets.get(band)
            if asset is None:
                return None
            try:
                values, ok = packages.load_band(
                    take, asset, collection.nodata if collection is not None else None, crs, affine,
                    (int(shape[0]), int(shape[1])), rule,
                )  # fmt: skip
            except (ChipweaveError, *BROKEN) as error:
                why = error.message if isinstance(error, ChipweaveError) else type(error).__name__
                self.unreached[redact(asset.href)] = why
                return None
            free = np.isnan(out) & ok
            out[free] = values[free].astype(float) * asset.gain + asset.add
        self.read += 1
        return out


def _recipe(folder: Path) -> Mapping[str, Any]:
    """The recipe of a dataset; another check says what is wrong with it."""
    try:
        recipe = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    except (*BROKEN, yaml.YAMLError):
        return {}
    return recipe if isinstance(recipe, dict) else {}


def fetch(
    file: str,
    dtype: np.dtype[np.floating],
    grid: Grid,
    shape: tuple[int, int],
    rule: packages.Rule,
    blend: Resampling = Resampling.bilinear,
) -> packages.Floats:
    """See `chipweave.pixels.loaders.packages.Fetch`: GDAL warps onto exactly this grid, all but exactly."""
    how = blend if rule == "bilinear" else Resampling.nearest
    with (
        rasterio.open(file) as source,
        WarpedVRT(
            source, crs=grid.crs, transform=grid.affine, width=shape[1], height=shape[0], resampling=how,
            tolerance=TOLERANCE, nodata=np.nan, dtype=dtype.name,
        ) as warped,
    ):  # fmt: skip
        values: packages.Floats = warped.read(1)
    return values


def _as_unit(values: Floats, collection: Collection, band: str, unit: str) -> Floats:
    """Source values as physical ones of a layer's unit."""
    known = collection.band(band)
    scale = collection.scale if known is None or known.scale is None else known.scale
    offset = collection.offset if known is None or known.offset is None else known.offset
    own = (known.unit if known is not None else "") or collection.unit
    physical = values * scale + offset
    if own == "linear":
        physical = np.where(physical > 0, physical, np.nan)
        return np.asarray(10 * np.log10(physical)) if unit == "dB" else physical
    if own == "dB" and unit == "linear":
        return np.asarray(10 ** (physical / 10))
    return np.asarray(physical)


def physical_of(array: NDArray[Any], layer: Layer) -> Floats:
    """Physical values of a layer's array, NaN where there is no data."""
    values = array.astype(float)
    nodata = float("nan") if layer["nodata"] == "nan" else float(layer["nodata"])
    return np.asarray(np.where(values == nodata, np.nan, values) * layer["scale"] + layer["offset"])
