"""Every sample read again, shard by shard: one at a time in memory."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from chipweave.audit.arrays import (
    CONSTANT,
    NEEDED,
    NEEDED_OF_TEXT,
    Array,
    Layer,
    check_form,
    check_nodata,
    check_shares,
    data_of,
    is_document,
    load_b2,
    load_npy,
    load_text,
    nodata_of,
    shape_of,
    strict_json,
)
from chipweave.audit.files import unreadable
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.sites import side
from chipweave.audit.stats import Totals
from chipweave.audit.tables import Index, Rules
from chipweave.audit.tars import Ranges, read_structure
from chipweave.audit.wishes import Box, Wishes, boxes_of, check_box, check_picture, check_scene_labels
from chipweave.audit.zarrs import Stores
from chipweave.shards.index import FACTS
from chipweave.shards.sample import SUFFIXES

_FACTS = tuple(FACTS)
_HEAD = ("key", "split", "crs", "transform", "height", "width", "bbox", "layers")

Meta = dict[str, Any]


class Watcher(Protocol):
    """Looks at every sample as it is read, and keeps of it what does not grow with its pixels."""

    def see(self, row: Mapping[str, Any], layers: Mapping[str, Layer], arrays: Mapping[str, Array]) -> None:
        """Look at a sample: its row of the index, what its JSON says of layers, and their arrays."""


@dataclass
class Scan:
    """What has been found so far, and what is summed over samples."""

    index: Index
    rules: Rules
    stores: Stores | None
    totals: Totals = field(default_factory=Totals)
    watchers: Sequence[Watcher] = ()
    wishes: Wishes = field(default_factory=Wishes)
    pictures: dict[bytes, tuple[str, str, str]] = field(default_factory=dict)
    twins: list[tuple[str, str]] = field(default_factory=list)
    doubles: list[tuple[str, str]] = field(default_factory=list)
    suffixes: dict[str, str] = field(default_factory=dict)
    read: int = 0
    shape: object = None
    constant: dict[str, Any] = field(default_factory=dict)
    tar: Findings = field(default_factory=lambda: Findings("tar"))
    members: Findings = field(default_factory=lambda: Findings("members"))
    json: Findings = field(default_factory=lambda: Findings("json"))
    shares: Findings = field(default_factory=lambda: Findings("shares"))
    nodata: Findings = field(default_factory=lambda: Findings("nodata"))

    @cached_property
    def sets(self) -> dict[str, list[str]]:
        """Layers by the folder of their shards."""
        return self.index.sets

    @cached_property
    def boxes(self) -> dict[str, Box]:
        """Where samples lie by their grids, by key."""
        return boxes_of(self.index)

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
        paths = {own: folder / own / Path(shards[start]).name for own in scan.sets}
        paths["shards"] = folder / shards[start]
        try:
            _scan_shard(folder, paths, scan.index.table.slice(start, stop - start).to_pylist(), scan)
        except OSError as exc:  # told here as what it is, and by `members` as samples that were not read
            what = Path(exc.filename).name if exc.filename else shards[start]
            scan.tar.fail(unreadable(what, exc))


def _scan_shard(folder: Path, paths: Mapping[str, Path], rows: list[Meta], scan: Scan) -> None:
    """Read the samples of one shard, and of those that licences keep apart from it."""
    for path in paths.values():
        if not path.is_file() or not path.stat().st_size:
            why = "is empty" if path.is_file() else "is missing"
            scan.tar.fail(f"{path.relative_to(folder).as_posix()} {why}")
            return
    for own, path in paths.items():
        structure = read_structure(path, scan.tar)
        scan.suffixes = _suffixes(path, _json_range(rows[0], own, scan))
        _compare(path.relative_to(folder).as_posix(), own, structure, rows, scan)
    for row, data in _cut(paths, rows, scan):
        _look(row, data, scan)


def _json_range(row: Meta, own: str, scan: Scan) -> tuple[int, int]:
    """Where the JSON of a sample lies in the shard of a set: its layers say it, all the same."""
    if own == "shards":
        return row["json_offset"], row["json_size"]
    at, size = row[f"{scan.sets[own][0]}_json"]
    return at, size


def _suffixes(path: Path, where: tuple[int, int]) -> dict[str, str]:
    """How the files of documents end, by layer, as a shard's first sample says; what it says is checked later."""
    try:
        with path.open("rb") as file:
            file.seek(where[0])
            layers = strict_json(file.read(where[1]))["layers"]
        return {str(name): str(of["suffix"]) for name, of in layers.items() if "suffix" in of}
    except BROKEN:
        return {}  # its JSON is looked at, and refused, with all others


def _compare(name: str, own: str, structure: Ranges, rows: list[Meta], scan: Scan) -> None:
    """Hold a tar's files against the offsets that the index has for those of its set."""
    expected: Ranges = {}
    for row in rows:
        expected[f"{row['key']}.json"] = _json_range(row, own, scan)
        for layer in scan.sets[own]:
            if own != "shards" and tuple(row[f"{layer}_json"]) != expected[f"{row['key']}.json"]:
                scan.tar.fail(f"{name}: layers of {row['key']} name different JSONs in the index")
            suffix = scan.suffixes.get(layer, SUFFIXES[scan.rules.encoding])
            expected[f"{row['key']}.{layer}.{suffix}"] = (row[f"{layer}_offset"], row[f"{layer}_size"])
    for file in sorted(structure.keys() - expected.keys()):
        scan.members.fail(f"{name}: {file} is in no row of the index")
    for file in sorted(expected.keys() - structure.keys()):
        scan.members.fail(f"{name} lacks {file}")
    for file in structure.keys() & expected.keys():
        if structure[file] != expected[file]:
            scan.tar.fail(f"{name}: {file} does not lie where the index says")
    if [f for f in structure if f in expected] != [f for f in expected if f in structure]:
        order = [f.partition(".")[0] for f in structure if f.partition(".")[2] == "json"]
        if order != [row["key"] for row in rows if f"{row['key']}.json" in structure]:
            scan.tar.fail(f"{name}: samples are not in the order of the index")


def _cut(paths: Mapping[str, Path], rows: list[Meta], scan: Scan) -> Iterator[tuple[Meta, dict[str, bytes]]]:
    """Bytes of each sample's files, by the offsets of the index; the JSON of a set goes by its folder."""
    with ExitStack() as stack:
        views = {}
        for own, path in paths.items():
            file = stack.enter_context(path.open("rb"))
            views[own] = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for row in rows:
            ranges = [(own, _json_of(own), *_json_range(row, own, scan)) for own in scan.sets]
            for own, layers in scan.sets.items():
                ranges += [(own, name, row[f"{name}_offset"], row[f"{name}_size"]) for name in layers]
            off = [own for own, _, at, size in ranges if at < 0 or size < 0 or at + size > len(views[own])]
            if off:
                scan.members.fail(f"{row['key']} lies outside of {off[0]}/{paths[off[0]].name}")
                continue
            yield row, {field: views[own][at : at + size] for own, field, at, size in ranges}


def _look(row: Meta, data: Mapping[str, bytes], scan: Scan) -> None:
    key = row["key"]
    try:
        meta = _whole(data, scan)
        _check_json(row, meta, scan)
    except BROKEN as exc:
        scan.json.fail(f"JSON of {key}: {exc}")
        return
    layers: dict[str, Layer] = meta["layers"]
    arrays: dict[str, Array] = {}
    texts: dict[str, str] = {}
    for name in scan.index.layers:
        try:
            if is_document(layers[name]):
                texts[name] = load_text(data[name], layers[name])
            elif scan.rules.encoding == "blosc2":
                arrays[name] = load_b2(data[name], layers[name])
            else:
                arrays[name] = load_npy(data[name])
        except BROKEN as exc:
            scan.members.fail(f"{name} of {key} cannot be read: {exc}")
    weigh(row, layers, arrays, texts, scan)
    if scan.stores is not None:
        scan.stores.compare(row["split"], key, layers, arrays)
        scan.stores.compare_texts(row["split"], key, texts)


def _whole(data: Mapping[str, bytes], scan: Scan) -> Meta:
    """JSON of a sample, with the layers of all sets; each set speaks of its own alone, and of the same chip."""
    meta: Meta = {}
    for own, names in scan.sets.items():
        part = strict_json(data[_json_of(own)])
        if "layers" not in part:
            return part  # which is refused for it
        if set(part["layers"]) != set(names):
            raise ValueError(f"in {own}, layers are {sorted(part['layers'])}, in the index {sorted(names)}")
        head = {name: value for name, value in part.items() if name != "layers"}
        if meta and head != {name: value for name, value in meta.items() if name != "layers"}:
            raise ValueError(f"in {own}, it says other things of the chip than in shards")
        meta = {**part, "layers": {**meta.get("layers", {}), **part["layers"]}}
    return meta


def _json_of(own: str) -> str:
    """Name of a set's JSON among the bytes of a sample: no layer has a slash."""
    return f"{own}/json"


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
    check_box(key, meta["bbox"], scan.boxes[key], scan.json)
    owed = {of["licence"] for of in meta["layers"].values() if "licence" in of}
    if owed and "licences" in row and owed != set(row["licences"] or ()):
        scan.json.fail(f"licences of {key} are {sorted(owed)}, in the index {row['licences']}")
    for layer, of in meta["layers"].items():
        for fact in _FACTS:
            if (f"{layer}_{fact}" in row or fact in of) and row.get(f"{layer}_{fact}") != of.get(fact):
                scan.json.fail(f"{fact} of {layer} of {key} differs between JSON and index")
        words = {name: of.get(name) for name in CONSTANT}
        if scan.constant.setdefault(layer, words) != words:
            odd = [name for name in CONSTANT if words[name] != scan.constant[layer][name]]
            scan.json.fail(f"{', '.join(odd)} of {layer} of {key} differ from the first sample's")


def weigh(
    row: Meta, layers: Mapping[str, Layer], arrays: Mapping[str, Array], texts: Mapping[str, str], scan: Scan
) -> None:
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
            if layer["kind"] == "imagery":
                check_picture(called, layer, array, mask, scan.wishes.pictures.get(name), scan.shares)
            check_scene_labels(called, layer, scan.wishes.scenes.get(name), scan.shares)
            scan.totals.add(name, layer, split, array)
        except BROKEN as exc:
            scan.members.fail(f"{called} cannot be checked: {exc!r}")
            continue
        if layer["kind"] == "imagery":
            seen = seen or bool(data_of(array, nodata_of(layer)).any())
            digest.update(np.ascontiguousarray(array).data)
    for name in texts:
        scan.constant.setdefault(name, {word: layers[name].get(word) for word in CONSTANT})
    for watcher in scan.watchers:
        try:
            watcher.see(row, layers, arrays)
        except BROKEN as exc:
            scan.members.fail(f"{key} cannot be looked at: {exc!r}")
    scan.read += {*arrays, *texts} == set(scan.index.layers)
    if seen:
        mine = side(split, row["fold"])
        other, theirs, place = scan.pictures.setdefault(digest.digest(), (key, mine, row["place"]))
        if theirs != mine:
            scan.twins.append((other, key))
        elif other != key and place == row["place"]:
            scan.doubles.append((other, key))


def scan_zarr(scan: Scan) -> None:
    """Read every sample of a dataset that has no tars from its Zarr stores."""
    if scan.stores is None:
        return
    for row in range(len(scan.index)):
        facts = scan.index.table.slice(row, 1).to_pylist()[0]
        found = scan.stores.read(facts["split"], facts["key"])
        if found is None:
            continue
        said, arrays, texts = found
        layers = {
            name: {**of, **{fact: facts[f"{name}_{fact}"] for fact in _FACTS if f"{name}_{fact}" in facts}}
            for name, of in said.items()
        }
        for name, of in layers.items():
            of |= {
                "transform": facts["transform"],
                "present": any(item for step in of["items"] for item in step),
            }
            needed = NEEDED_OF_TEXT if name in texts else NEEDED
            missing = [word for word in needed if word not in of]
            if missing:
                scan.json.fail(f"{name} of {facts['key']} lacks {', '.join(missing)}")
        weigh(facts, layers, arrays, texts, scan)
