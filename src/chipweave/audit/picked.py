"""A sample of a dataset's chips: such that every scene is looked at, as far as their number allows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from chipweave.audit.arrays import Array, Layer
from chipweave.audit.sites import listed
from chipweave.audit.tables import Index

NUMBER = 32
"""Chips that are looked at."""
EACH = 4
"""Chips of a scene from which others come first."""


@dataclass
class Picked:
    """Keeps some samples whole, as they are read: see `chipweave.audit.scan.Watcher`."""

    keys: frozenset[str]
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: dict[str, Mapping[str, Layer]] = field(default_factory=dict)
    arrays: dict[str, Mapping[str, Array]] = field(default_factory=dict)

    def see(self, row: Mapping[str, Any], layers: Mapping[str, Layer], arrays: Mapping[str, Array]) -> None:
        """Keep it, if it is one of those."""
        key = row["key"]
        if key in self.keys:
            self.rows[key], self.layers[key] = row, layers
            self.arrays[key] = {name: array.copy() for name, array in arrays.items()}


def pick(index: Index, number: int = NUMBER) -> Picked:
    """Choose chips by their names alone, a chip of every scene first, then a second of each, and so on."""
    keys = index.column("key").astype(str)
    turn = {key: hashlib.sha256(key.encode()).digest() for key in keys}
    named = [_scenes(index, layer) for layer in index.layers]
    taken: dict[str, None] = {}
    lists: list[Sequence[str]] = [of for scenes in named for of in scenes.values()]
    ordered = [sorted((str(keys[row]) for row in of), key=turn.__getitem__) for of in lists]
    for place in range(EACH):
        for own in ordered:
            if place < len(own) and len(taken) < number:
                taken.setdefault(own[place])
    for key in sorted(turn, key=turn.__getitem__):
        if len(taken) >= number:
            break
        taken.setdefault(key)
    return Picked(frozenset(taken))


def _scenes(index: Index, layer: str) -> dict[str, Any]:
    """Rows of the samples that show a scene, by scene."""
    frame: pd.DataFrame = listed(index.table, f"{layer}_items")
    return {str(name): rows["row"].tolist() for name, rows in frame.groupby("name", sort=True)}
