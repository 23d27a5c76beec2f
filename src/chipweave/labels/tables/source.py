"""A layer of records, as a worker has it: the polygons of a chip first, their statistics once its imagery is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chipweave.labels.base import NO_CLASS, Features, Target, plain_facts
from chipweave.labels.tables.reduce import Stack, reduce_features, table_document
from chipweave.labels.vectors.opened import open_store
from chipweave.labels.vectors.source import COLLECTION
from chipweave.model import Credit, LayerSpec, Place, Scene, document_spec


@dataclass(frozen=True, slots=True)
class TableRead:
    """A `PlaceSource` of polygons with statistics of their pixels.

    Parameters
    ----------
    layer
        Name of the layer.
    store
        Folder of the store.
    statistics
        Names, as `check_statistics` gives them.
    fields
        Fields of the file that records carry.
    coded
        Whether rules gave the polygons classes: the last rule that takes one has the say.
    credit
        Of the file, where it is known.
    """

    layer: str
    store: Path
    statistics: tuple[str, ...]
    fields: tuple[str, ...] = ()
    coded: bool = False
    credit: Credit | None = None

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """The table."""
        return (document_spec(self.layer, "table", "json", COLLECTION, self.credit),)

    def read(self, place: Place, scenes: Sequence[Scene]) -> Target:
        """Polygons that meet a chip; their records are made by `with_imagery`.

        Raises
        ------
        PermanentSourceError
            The store is not there, or a feature cannot be brought to the chip's CRS.
        """
        near = open_store(self.store).near(place, 0.0, self.fields)
        codes = np.full(len(near.ids), NO_CLASS, np.int32)
        for own in near.codes.T if self.coded else ():
            codes = np.where(own != NO_CLASS, own, codes).astype(np.int32)
        features = Features(near.shapes, codes, tuple(str(i) for i in near.ids.tolist()), near.fields)
        said = plain_facts([s.edition for s in scenes], [s.id for s in scenes])
        return Target({}, {self.layer: said}, {self.layer: b""}, features=features)

    def with_imagery(self, target: Target, place: Place, stacks: Mapping[str, Stack]) -> Target:
        """Records of the polygons that belong to a chip, from its imagery."""
        if target.features is None:
            raise ValueError(f"{self.layer} has no features")
        records = reduce_features(target.features, place, stacks, self.statistics)
        document = table_document(self.layer, list(stacks), self.statistics, records)
        said = {**target.said[self.layer], "records": len(records)}
        return replace(target, documents={self.layer: document}, said={self.layer: said})
