"""Zarr stores: the same samples, in the order of the index, with the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chipweave.audit.arrays import Array, Layer
from chipweave.audit.report import BROKEN, Findings
from chipweave.audit.tables import Index

_SAID = ("kind", "collection", "resolution", "scale", "offset", "nodata", "unit", "legend")


@dataclass
class _Layer:
    """One array of a store, read a Zarr shard at a time."""

    array: Any
    bands: list[str]
    start: int = 0
    block: Array | None = None

    def row(self, number: int) -> Array:
        step = (self.array.shards or self.array.chunks)[0]
        if self.block is None or not self.start <= number < self.start + len(self.block):
            self.start = number // step * step
            self.block = np.asarray(self.array[self.start : self.start + step])
        return np.asarray(self.block[number - self.start])


@dataclass
class Stores:
    """All stores of a dataset."""

    findings: Findings = field(default_factory=lambda: Findings("zarr"))
    layers: dict[tuple[str, str], _Layer] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, index: Index) -> Stores | None:
        """Open the stores and compare their keys with the index; None where the dataset has none."""
        if not (folder / "zarr").is_dir():
            return None
        stores = cls()
        keys: dict[str, list[str]] = {}
        for key, split in zip(index.column("key").tolist(), index.column("split").tolist(), strict=True):
            stores.rows[key] = len(keys.setdefault(split, []))
            keys[split].append(key)
        there = {path.stem for path in (folder / "zarr").glob("*.zarr")}
        for split in sorted(there ^ set(keys)):
            where = "has no sample of it" if split in there else "has no store"
            stores.findings.fail(f"zarr/{split}.zarr: the dataset {where}")
        for split in sorted(there & set(keys)):
            try:
                stores._open_split(folder, split, keys[split], index.layers)
            except BROKEN as exc:
                stores.findings.fail(f"zarr/{split}.zarr cannot be read: {exc!r}")
        return stores

    def _open_split(self, folder: Path, split: str, keys: list[str], names: list[str]) -> None:
        import zarr  # noqa: PLC0415 - dear to import, and every build imports this

        store = folder / "zarr" / f"{split}.zarr"
        root = zarr.open_group(store, mode="r", use_consolidated=False)
        groups = dict(root.groups())
        if set(groups) != set(names):
            self.findings.fail(f"zarr/{split}.zarr has layers {sorted(groups)}, the index {sorted(names)}")
        for name in sorted(set(groups) & set(names)):
            group: Any = zarr.open_group(store / name, mode="r", use_consolidated=False)
            copy: Any = zarr.open_consolidated(str(store), path=name, mode="r")
            # As documents: a fill value of NaN is not equal to itself.
            if copy[name].metadata.to_dict() != group[name].metadata.to_dict():
                self.findings.fail(f"zarr/{split}.zarr: consolidated metadata of {name} differ from its own")
            if [str(key) for key in group["key"][:]] != keys:
                self.findings.fail(
                    f"zarr/{split}.zarr: keys of {name} are not those of the index, in its order"
                )
            held = group[name].shape[0]
            if held != len(keys):
                self.findings.fail(f"zarr/{split}.zarr has {held} samples of {name}, not {len(keys)}")
                continue
            bands = [str(band) for band in group["band"][:]] if "band" in group else []
            self.layers[split, name] = _Layer(group[name], bands)

    def compare(self, split: str, key: str, layers: dict[str, Layer], arrays: dict[str, Array]) -> None:
        """Compare one sample of the tars with the store of its split."""
        for name, array in arrays.items():
            stored = self.layers.get((split, name))
            if stored is None:
                continue
            try:
                other = stored.row(self.rows[key])
                said = {word: stored.array.attrs[word] for word in _SAID if word in layers[name]}
            except BROKEN as exc:
                self.findings.fail(f"{name} of {key} cannot be read from zarr/{split}.zarr: {exc!r}")
                continue
            exact = not np.issubdtype(array.dtype, np.floating)
            if other.dtype != array.dtype or not np.array_equal(array, other, equal_nan=not exact):
                self.findings.fail(f"{name} of {key} differs between tar and zarr/{split}.zarr")
            if "band" in layers[name].get("dims", ()) and stored.bands != list(layers[name]["bands"]):
                self.findings.fail(f"zarr/{split}.zarr has bands {stored.bands} of {name}")
            if said != {word: layers[name][word] for word in said}:
                self.findings.fail(f"zarr/{split}.zarr says other things of {name} than the samples do")

    def compare_texts(self, split: str, key: str, texts: Mapping[str, str]) -> None:
        """Compare documents of one sample with the store of its split."""
        for name, text in texts.items():
            stored = self.layers.get((split, name))
            if stored is None:
                continue
            try:
                other = str(stored.row(self.rows[key]))
            except BROKEN as exc:
                self.findings.fail(f"{name} of {key} cannot be read from zarr/{split}.zarr: {exc!r}")
                continue
            if other != text:
                self.findings.fail(f"{name} of {key} differs between tar and zarr/{split}.zarr")

    def read(
        self, split: str, key: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Array], dict[str, str]] | None:
        """Read a sample: what the stores say of its layers, arrays, texts; None where it cannot be read."""
        layers: dict[str, dict[str, Any]] = {}
        arrays: dict[str, Array] = {}
        texts: dict[str, str] = {}
        for (of, name), stored in self.layers.items():
            if of != split:
                continue
            try:
                array = stored.row(self.rows[key])
                if "suffix" in stored.array.attrs:
                    layers[name] = {**dict(stored.array.attrs), "dtype": "utf-8"}
                    texts[name] = str(array)
                    continue
                arrays[name] = array
                layers[name] = {
                    **dict(stored.array.attrs),
                    "bands": stored.bands,
                    "dims": list(stored.array.metadata.dimension_names[1:]),
                    "dtype": array.dtype.name,
                    "shape": list(array.shape),
                }
            except BROKEN as exc:
                self.findings.fail(f"{name} of {key} cannot be read from zarr/{split}.zarr: {exc!r}")
                return None
        return layers, arrays, texts
