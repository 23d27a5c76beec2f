"""A vector layer as a worker has it: rules, and the store that they are burned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.labels.base import Features, Target, plain_facts
from chipweave.labels.rasters import said_of_classes
from chipweave.labels.remap import Recode
from chipweave.labels.scene import SceneRule
from chipweave.labels.vectors.apart import choice_of
from chipweave.labels.vectors.burn import Boundary, Burned, burn, margin_of, to_edges
from chipweave.labels.vectors.documents import coco, feature_collection
from chipweave.labels.vectors.opened import Near, open_store
from chipweave.labels.vectors.rules import Rule
from chipweave.model import Credit, LayerSpec, Legend, Place, Scene, document_spec

COLLECTION = "file"
"""What samples say in place of a collection's name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How features are burned.

    Parameters
    ----------
    store
        Folder of the store.
    rules, picks
        The rules in order, and which of the store's columns of codes each one goes by.
    outside
        Code where no feature lies.
    boundary
        Burned over all rules, if at all.
    fields
        Fields of the file that `Features` and GeoJSON carry.
    item
        Id of its file, where it is another than the layer's.
    """

    store: Path
    rules: tuple[Rule, ...]
    picks: tuple[int, ...]
    outside: int
    boundary: Boundary | None = None
    fields: tuple[str, ...] = ()
    item: str = ""


@dataclass(frozen=True, slots=True)
class VectorRead:
    """A `PlaceSource` of a vector file.

    Parameters
    ----------
    layer
        Name of the layer.
    legend
        Its classes.
    reading
        How features are burned.
    size, resolution
        Of chips: pixels a side, and units of the CRS a pixel.
    instances
        Whether features are numbered (``<layer>_instances``) and written as GeoJSON (``<layer>_features``).
    distance
        Whether there is a layer ``<layer>_distance``.
    boxes
        Whether instances are written as COCO has them (``<layer>_boxes``).
    others, chosen
        How features are burned in chips whose attributes say so, and the file that tells which of these a chip takes.
    credit
        Of the file, where it is known.
    recode
        From burned codes to those of `legend`, where it is another than that of the rules.
    scene, ignore
        As `labels.rasters.said_of_classes` takes them.
    collection
        What samples say in place of a collection's name.
    """

    layer: str
    legend: Legend
    reading: Reading
    size: int
    resolution: float
    instances: bool = False
    distance: bool = False
    boxes: bool = False
    others: tuple[Reading, ...] = ()
    chosen: Path | None = None
    credit: Credit | None = None
    recode: Recode | None = None
    scene: SceneRule | None = None
    ignore: tuple[int, ...] = ()
    collection: str = COLLECTION

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """Its members, the layer itself first."""
        base = LayerSpec(
            name=self.layer, kind="label", collection=self.collection, bands=("classes",), dims=("y", "x"),
            dtype=self.legend.dtype, shape=(self.size, self.size), resolution=self.resolution,
            nodata=self.legend.nodata, unit="class", legend=self.legend, credit=self.credit,
        )  # fmt: skip
        if self.scene is not None and self.scene.remapped:
            base = replace(base, scene=self.scene.legend)
        found, number = [base], replace(base, kind="scalar", legend=None, scene=None)
        if self.instances:
            name = f"{self.layer}_instances"
            found.append(
                replace(number, name=name, bands=("instance",), dtype="int32", nodata=0, unit="number")
            )
        if self.distance:
            name = f"{self.layer}_distance"
            found.append(
                replace(number, name=name, bands=("distance",), dtype="float32", nodata=math.nan, unit="m")
            )
        if self.instances:
            found.append(
                document_spec(f"{self.layer}_features", "vector", "geojson", self.collection, self.credit)
            )
        if self.boxes:
            found.append(document_spec(f"{self.layer}_boxes", "vector", "json", self.collection, self.credit))
        return tuple(found)

    def reading_of(self, place: Place) -> Reading:
        """How features are burned in a chip."""
        if self.chosen is None:
            return self.reading
        number = choice_of(self.chosen, place.key)
        return self.others[number - 1] if number else self.reading

    def read(self, place: Place, scenes: Sequence[Scene]) -> Target:
        """Classes of one chip, and whatever else the layer has.

        Raises
        ------
        PermanentSourceError
            The store is not there, or a feature cannot be brought to the chip's CRS.
        """
        burned, near = self.burned(place)
        features = self._features(burned, near)
        arrays: dict[str, npt.NDArray[Any]] = {self.layer: self._classes(burned.classes)}
        documents: dict[str, bytes] = {}
        if self.instances or self.boxes:
            instances, numbers = numbered(burned)
            if self.instances:
                arrays[f"{self.layer}_instances"] = instances
                documents[f"{self.layer}_features"] = feature_collection(
                    features, numbers, place, self.legend
                )
            if self.boxes:
                own = np.flatnonzero(numbers)
                documents[f"{self.layer}_boxes"] = coco(
                    instances, features.codes[own], [features.ids[k] for k in own], place.key, self.legend
                )
        if self.distance:
            arrays[f"{self.layer}_distance"] = to_edges(burned, place)
        item = self.reading_of(place).item
        items = [item or s.id for s in scenes]
        said, facts = self._said(arrays, documents, items, [s.edition for s in scenes])
        return Target(arrays, said, documents, facts, features)

    def burned(self, place: Place) -> tuple[Burned, Near]:
        """Rules burned on one chip, and the features around it."""
        how = self.reading_of(place)
        near = open_store(how.store).near(place, margin_of(how.rules, how.boundary, place), how.fields)
        return burn(near, how.rules, how.picks, how.outside, how.boundary, place), near

    def _classes(self, burned: npt.NDArray[np.uint16]) -> npt.NDArray[Any]:
        """Burned codes in those of the legend."""
        if self.recode is None:
            return burned.astype(self.legend.dtype)
        everywhere = np.ones(burned.shape, np.bool_)
        return self.recode.settled(self.recode(burned, everywhere), self.legend.dtype)[0]

    def _features(self, burned: Burned, near: Near) -> Features:
        ids = tuple(str(i) for i in near.ids[burned.near].tolist())
        codes = burned.codes
        if self.recode is not None:
            table = dict(self.recode.pairs)
            codes = np.array([table.get(c, self.legend.nodata) for c in codes.tolist()], np.int32)
        return Features(burned.shapes, codes, ids, tuple(near.fields[k] for k in burned.near))

    def _said(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        documents: Mapping[str, bytes],
        items: Sequence[str],
        dates: Sequence[str],
    ) -> tuple[dict[str, Mapping[str, Any]], dict[str, float]]:
        """What the sample's JSON says of each member, and figures for `keep` and the splits."""
        whole = plain_facts(dates, items)
        own, facts = said_of_classes(arrays[self.layer], self.legend, self.scene, self.ignore)
        said: dict[str, Mapping[str, Any]] = {self.layer: {**whole, **own}}
        for name, array in arrays.items():
            if name != self.layer:
                valid = np.count_nonzero(array) if name.endswith("_instances") else array.size
                said[name] = {**whole, "valid_fraction": float(valid) / array.size}
        return said | dict.fromkeys(documents, whole), facts


def numbered(burned: Burned) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Features with pixels of their own numbered from 1 in the order of burning.

    Returns
    -------
    instances, numbers
        (h, w) number of the feature that owns each pixel, 0 where none does; (n,) number of each feature, 0 without
        pixels.
    """
    count = len(burned.shapes)
    owned = np.bincount(burned.owners.ravel() + 1, minlength=count + 1)[1:] > 0
    numbers = np.where(owned, np.cumsum(owned), 0).astype(np.int32)
    return np.append(numbers, np.int32(0))[burned.owners].astype(np.int32), numbers
