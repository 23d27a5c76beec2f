"""Every sample read again, shard by shard: one at a time in memory."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chipweave.audit.arrays import (
    CONSTANT,
    NEEDED,
    Array,
    Layer,
    check_form,
    check_nodata,
    check_shares,
    data_of,
    load_b2,
    load_npy,
    nodata_of,
    shape_of,
    strict_json,
)
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.stats import Totals
from chipweave.audit.tables import Index, Rules
from chipweave.audit.tars import Ranges, read_structure
from chipweave.audit.zarrs import Stores
from chipweave.shards.sample import SUFFIXES

_FACTS = ("datetime", "items", "cloud_fraction", "valid_fraction", "fractions", "scene_labels")
_HEAD = ("key", "split", "crs", "transform", "height", "width", "bbox", "layers")

Meta = dict[str, Any]


@dataclass
class Scan:
    """What has been found so far, and what is summed over samples."""

    index: Index
    rules: Rules
    stores: Stores | None
    totals: Totals = field(default_factory=Totals)
    pictures: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    twins: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0
    shape: object = None
    constant: dict[str, Any] = field(default_factory=dict)
    tar: Findings = field(default_factory=lambda: Findings("tar"))
    members: Findings = field(default_factory=lambda: Findings("members"))
    json: Findings = field(default_factory=lambda: Findings("json"))
    shares: Findings = field(default_factory=lambda: Findings("shares"))
    nodata: Findings = field(default_factory=lambda: Findings("nodata"))

    def layers(self) -> dict[str, Layer]:
        """What the layers say of themselves, by name."""
        return self.constant

    def checks(self) -> list[Check]:
        """Give the verdicts of what is looked at sample by sample."""
        n = len(self.index)
        if self.read < n:
            self.members.fail(f"{n - self.read} of {n} samples could not be read whole")
        layers = ", ".join(self.index.layers)
        told = [
            self.members.check(f"{n} samples, each with {layers}, all as their JSON says", samples=n),
            self.json.check("JSON is strict, alike in all samples, and agrees with the index"),
            self.shares.check("valid, cloud and class shares are what the pixels give"),
            self.nodata.check("no data, masks and classes hold only what they may"),
        ]
        if any(self.index.column("shard")):
            told.insert(0, self.tar.check("tars read by structure and by offset give the same files"))
        return (
            told
            if self.stores is None
            else [*told, self.stores.findings.check("zarr holds the same samples")]
        )


def scan_tars(folder: Path, scan: Scan) -> None:
    """Read every sample of every shard, by the tar's own structure and by the index."""
    shards = scan.index.column("shard").astype(str)
    starts = [0, *(np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], len(shards)], strict=True):
        path = folder / shards[start]
        if not path.is_file() or not path.stat().st_size:
            scan.tar.fail(f"{shards[start]} cannot be read")
            continue
        structure = read_structure(path, scan.tar)
        rows = scan.index.table.slice(start, stop - start).to_pylist()
        _compare(path.name, structure, rows, scan)
        for row, data in _cut(path, rows, scan):
            _look(row, data, scan)


def _compare(name: str, structure: Ranges, rows: list[Meta], scan: Scan) -> None:
    """Hold a tar's files against the offsets that the index has for them."""
    expected: Ranges = {}
    suffix = SUFFIXES[scan.rules.encoding]
    for row in rows:
        expected[f"{row['key']}.json"] = (row["json_offset"], row["json_size"])
        for layer in scan.index.layers:
            expected[f"{row['key']}.{layer}.{suffix}"] = (row[f"{layer}_offset"], row[f"{layer}_size"])
    for file in sorted(structure.keys() - expected.keys()):
        scan.members.fail(f"{name}: {file} is in no row of the index")
    for file in sorted(expected.keys() - structure.keys()):
        scan.members.fail(f"{name} lacks {file}")
    for file in structure.keys() & expected.keys():
        if structure[file] != expected[file]:
            scan.tar.fail(f"{name}: {file} does not lie where the index says")
    if [f for f in structure if f in expected] != [f for f in expected if f in structure]:
        order = [f.partition(".")[0] for f in structure if f.endswith(".json")]
        if order != [row["key"] for row in rows if f"{row['key']}.json" in structure]:
            scan.tar.fail(f"{name}: samples are not in the order of the index")


def _cut(path: Path, rows: list[Meta], scan: Scan) -> Iterator[tuple[Meta, dict[str, bytes]]]:
    """Bytes of each sample's files, by the offsets of the index."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        view = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for row in rows:
            ranges = {
                field: (row[f"{field}_offset"], row[f"{field}_size"])
                for field in ("json", *scan.index.layers)
            }
            if any(at < 0 or size < 0 or at + size > len(view) for at, size in ranges.values()):
                scan.members.fail(f"{row['key']} lies outside of {path.name}")
                continue
            yield row, {field: view[at : at + size] for field, (at, size) in ranges.items()}


def _look(row: Meta, data: Mapping[str, bytes], scan: Scan) -> None:
    key = row["key"]
    try:
        meta = strict_json(data["json"])
        _check_json(row, meta, scan)
    except BROKEN as exc:
        scan.json.fail(f"JSON of {key}: {exc}")
        return
    layers: dict[str, Layer] = meta["layers"]
    arrays: dict[str, Array] = {}
    for name in scan.index.layers:
        try:
            if scan.rules.encoding == "blosc2":
                arrays[name] = load_b2(data[name], layers[name])
            else:
                arrays[name] = load_npy(data[name])
        except BROKEN as exc:
            scan.members.fail(f"{name} of {key} is no array: {exc}")
    weigh(row, layers, arrays, scan)
    if scan.stores is not None:
        scan.stores.compare(row["split"], key, layers, arrays)


def _check_json(row: Meta, meta: Meta, scan: Scan) -> None:
    """Check structure against the first sample, and values against the index."""
    key = row["key"]
    shape = shape_of(meta)
    if scan.shape is None:
        scan.shape = shape
    if shape != scan.shape:
        scan.json.fail(f"JSON of {key} has other keys or types than the first sample's")
    missing = [name for name in _HEAD if name not in meta]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    if set(meta["layers"]) != set(scan.index.layers):
        raise ValueError(f"layers are {sorted(meta['layers'])}, in the index {sorted(scan.index.layers)}")
    for name in ("key", "split", "crs", "transform", "height", "width"):
        if meta[name] != row[name]:
            scan.json.fail(f"{name} of {key} is {meta[name]}, in the index {row[name]}")
    for layer, of in meta["layers"].items():
        for fact in _FACTS:
            if f"{layer}_{fact}" in row and row[f"{layer}_{fact}"] != of.get(fact):
                scan.json.fail(f"{fact} of {layer} of {key} differs between JSON and index")
        words = {name: of.get(name) for name in CONSTANT}
        if scan.constant.setdefault(layer, words) != words:
            odd = [name for name in CONSTANT if words[name] != scan.constant[layer][name]]
            scan.json.fail(f"{', '.join(odd)} of {layer} of {key} differ from the first sample's")


def weigh(row: Meta, layers: Mapping[str, Layer], arrays: Mapping[str, Array], scan: Scan) -> None:
    """Check one sample's arrays against what is said of them, and add them to the totals."""
    key, split = row["key"], row["split"]
    digest = hashlib.sha256()
    seen = False
    for name, array in arrays.items():
        layer, called = layers[name], f"{name} of {key}"
        scan.constant.setdefault(name, {word: layer.get(word) for word in CONSTANT})
        try:
            if not check_form(called, layer, array, scan.members):
                continue
            check_nodata(called, layer, array, scan.nodata)
            mask = arrays.get(f"{name}_mask")
            check_shares(called, layer, array, mask, scan.shares, blanked=name in scan.rules.blanked)
            scan.totals.add(name, layer, split, array)
        except BROKEN as exc:
            scan.members.fail(f"{called} cannot be checked: {exc!r}")
            continue
        if layer["kind"] == "imagery":
            seen = seen or bool(data_of(array, nodata_of(layer)).any())
            digest.update(np.ascontiguousarray(array).data)
    scan.read += set(arrays) == set(scan.index.layers)
    if seen:
        other, other_split = scan.pictures.setdefault(digest.digest(), (key, split))
        if other_split != split:
            scan.twins.append((other, key))


def scan_zarr(scan: Scan) -> None:
    """Read every sample of a dataset that has no tars from its Zarr stores."""
    if scan.stores is None:
        return
    for row in range(len(scan.index)):
        facts = scan.index.table.slice(row, 1).to_pylist()[0]
        found = scan.stores.read(facts["split"], facts["key"])
        if found is None:
            continue
        said, arrays = found
        layers = {
            name: {**of, **{fact: facts[f"{name}_{fact}"] for fact in _FACTS if f"{name}_{fact}" in facts}}
            for name, of in said.items()
        }
        for name, of in layers.items():
            of |= {
                "transform": facts["transform"],
                "present": any(item for step in of["items"] for item in step),
            }
            missing = [word for word in NEEDED if word not in of]
            if missing:
                scan.json.fail(f"{name} of {facts['key']} lacks {', '.join(missing)}")
        weigh(facts, layers, arrays, scan)
