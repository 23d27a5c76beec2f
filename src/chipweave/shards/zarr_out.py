"""The dealt samples once more as Zarr v3: one store a split, one group a layer, samples in index order.

A group holds a variable of the layer's name with dimensions ``(sample, [time,] band, y, x)`` or
``(sample, y, x)``, of texts ``(sample,)``, the samples' ``key`` and, for imagery, the coordinate ``band``. The
numbers are as stored: ``scale``, ``offset`` and ``nodata`` are plain attributes and not CF's, so xarray neither
converts to float nor masks. An inner chunk is one sample; up to 64 samples make a Zarr shard, which is written
whole, once.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ZarrUserWarning

from chipweave.catalog.licences import is_share_alike, wording
from chipweave.errors import ChipweaveError, RecipeError
from chipweave.files import TEMPORARY, flush, sha256_file, writing
from chipweave.model import LayerSpec
from chipweave.shards.deal import Deal, Mapper, Piece, digest_of, serial
from chipweave.shards.parts import PartReader, PartSample
from chipweave.shards.receipts import FOLDER, FileReceipt, load_file_receipt, save_file_receipt
from chipweave.shards.sample import Array, decode_array
from chipweave.shards.stats import classes_of

RESERVED = frozenset({"key", "band", "sample", "time", "y", "x"})
"""Names that a group uses itself, so no layer may have them."""

_SAMPLES = 64
_SHARD_BYTES = 256 << 20  # uncompressed; long series take fewer samples a shard
_KEYS = 1 << 16


@dataclass(frozen=True, slots=True)
class ZarrTask:
    """One Zarr shard of one layer: picklable, so that any process may write it.

    Parameters
    ----------
    store
        The store that is being made.
    work
        The scratch folder, for parts and receipts.
    spec
        The layer.
    start
        Number of the first sample.
    number
        Of the shard.
    pieces
        Each sample's file of the layer in its part.
    digest
        Of the samples and the layout.
    """

    store: Path
    work: Path
    spec: LayerSpec
    start: int
    number: int
    pieces: tuple[Piece, ...]
    digest: str

    @property
    def file(self) -> str:
        """The shard's file below the store."""
        where = "/".join([str(self.number), *"0" * len(self.spec.shape)])
        return f"{self.spec.name}/{self.spec.name}/c/{where}"


def deal_zarr(deal: Deal, layers: Sequence[LayerSpec], mapper: Mapper = serial) -> dict[str, tuple[int, str]]:
    """Deal samples into `zarr/{split}.zarr`; a store appears when it is whole.

    Parameters
    ----------
    deal
        What is dealt.
    layers
        All layers with arrays.
    mapper
        Runs the Zarr shards, here or elsewhere: the bytes are the same.

    Returns
    -------
    dict
        By path below the dataset: bytes and SHA-256 of every file, for the manifest.

    Raises
    ------
    ChipweaveError
        Disk full, or a sample whose array is not as its layer says.
    RecipeError
        A layer is called like something that every group has.
    """
    for spec in layers:
        if spec.name in RESERVED:
            raise RecipeError(
                f"a layer cannot be called {spec.name} in a Zarr store", hint="give the layer another name"
            )
    stores = [_plan(deal, split, layers) for split, numbers in deal.order.items() if numbers]
    _remove_others(deal.folder / "zarr", {store.final for store in stores})
    files: dict[str, tuple[int, str]] = {}
    for store in stores:
        for name, value in _deal_split(store, mapper).items():
            files[f"zarr/{store.final.name}/{name}"] = value
    return files


@dataclass(frozen=True, slots=True)
class _Store:
    """The Zarr store of one split: where it will lie, where it is made, from what."""

    final: Path
    staged: Path
    receipt: Path
    work: Path
    samples: tuple[PartSample, ...]
    layers: tuple[LayerSpec, ...]
    digest: str


def _plan(deal: Deal, split: str, layers: Sequence[LayerSpec]) -> _Store:
    samples = tuple(deal.samples[i] for i in deal.order[split])
    digest = digest_of(samples, split, zarr.__version__, tuple(layers))
    return _Store(
        final=deal.folder / "zarr" / f"{split}.zarr",
        staged=deal.work / "zarr" / f"{split}-{digest[:16]}.zarr",
        receipt=deal.work / FOLDER / f"zarr-{split}.json",
        work=deal.work,
        samples=samples,
        layers=tuple(layers),
        digest=digest,
    )


def _deal_split(store: _Store, mapper: Mapper) -> dict[str, tuple[int, str]]:
    done = load_file_receipt(store.receipt, store.digest, store.final)
    if done is not None:
        return done.files
    with writing(store.final):
        if not store.staged.exists():
            _make_skeleton(store)
        written: dict[str, tuple[int, str]] = {}
        for shard in mapper(write_zarr_shard, _tasks(store)):
            written |= shard.files
        _consolidate(store)
        receipt = FileReceipt(store.digest, _survey(store.staged, written))
        save_file_receipt(store.receipt, receipt)
        store.final.parent.mkdir(parents=True, exist_ok=True)
        if store.final.exists():
            shutil.rmtree(store.final)
        store.staged.rename(store.final)
        flush(store.final.parent)
    return receipt.files


def _make_skeleton(store: _Store) -> None:
    """Make everything but the pixels; it appears at once, so a resumed build finds all of it or nothing."""
    keys = [sample.row.key for sample in store.samples]
    temporary = store.staged.parent / f"{TEMPORARY}{store.staged.name}"
    if temporary.exists():
        shutil.rmtree(temporary)
    root = zarr.create_group(temporary, zarr_format=3)
    for spec in store.layers:
        group = root.create_group(spec.name)
        _put_strings(group, "key", "sample", keys)
        if spec.document:
            _make_texts(group, spec, len(keys))
            continue
        dtype = spec.numpy_dtype
        group.create_array(
            spec.name,
            shape=(len(keys), *spec.shape),
            dtype=dtype,
            chunks=(1, *spec.shape),
            shards=(_per_shard(spec, len(keys)), *spec.shape),
            filters=None,
            compressors=[
                BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize, blocksize=0)
            ],
            fill_value=dtype.type(spec.nodata),
            dimension_names=("sample", *spec.dims),
            attributes=_attributes(spec),
        )
        if "band" in spec.dims:
            _put_strings(group, "band", "band", spec.bands)
    temporary.rename(store.staged)


def _make_texts(group: zarr.Group, spec: LayerSpec, samples: int) -> None:
    """A variable for the texts of a layer of documents, one a sample."""
    group.create_array(
        spec.name,
        shape=(samples,),
        dtype="string",
        chunks=(_per_shard(spec, samples),),
        dimension_names=("sample",),
        attributes={
            "coordinates": "key",
            "kind": spec.kind,
            "collection": spec.collection,
            "suffix": spec.suffix,
            **_owed(spec),
        },
    )


def _put_strings(group: zarr.Group, name: str, dimension: str, values: Sequence[str]) -> None:
    """Add a variable of text, in that text type of Zarr's that needs no warning: ``string``, vlen-utf8."""
    array = group.create_array(
        name,
        shape=(len(values),),
        dtype="string",
        chunks=(min(max(len(values), 1), _KEYS),),
        dimension_names=(dimension,),
    )
    array[:] = np.array(values, dtype=object)


def _attributes(spec: LayerSpec) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "coordinates": "key",
        "kind": spec.kind,
        "collection": spec.collection,
        "resolution": spec.resolution,
        "scale": spec.scale,
        "offset": spec.offset,
        "nodata": "nan" if math.isnan(spec.nodata) else _plain(spec.nodata),
        "unit": spec.unit,
        **_owed(spec),
    }
    if spec.legend is not None:
        attributes["legend"] = spec.legend.name
        attributes["classes"] = classes_of(spec.legend)
        if spec.legend.unlabeled is not None:
            attributes["unlabeled"] = spec.legend.unlabeled
    if spec.scene is not None:
        attributes["scene_legend"], attributes["scene_classes"] = spec.scene.name, classes_of(spec.scene)
    return attributes


def _owed(spec: LayerSpec) -> dict[str, Any]:
    """Licence, credit and share-alike flag, as samples say them; without years, of which a store has many."""
    if spec.credit is None:
        return {}
    told = {"licence": spec.credit.licence, "credit": wording(spec.credit, ())}
    return {**told, "share_alike": is_share_alike(spec.credit)}


def _plain(number: float) -> int | float:
    return int(number) if float(number).is_integer() else number


def _per_shard(spec: LayerSpec, samples: int) -> int:
    if spec.document:
        return max(1, min(_SAMPLES, samples))
    size = max(math.prod(spec.shape) * spec.numpy_dtype.itemsize, 1)
    return max(1, min(_SAMPLES, samples, _SHARD_BYTES // size))


def _tasks(store: _Store) -> list[ZarrTask]:
    tasks = []
    for spec in store.layers:
        step = _per_shard(spec, len(store.samples))
        for number, start in enumerate(range(0, len(store.samples), step)):
            pieces = tuple(_piece(sample, spec.name) for sample in store.samples[start : start + step])
            tasks.append(ZarrTask(store.staged, store.work, spec, start, number, pieces, store.digest))
    return tasks


def _piece(sample: PartSample, layer: str) -> Piece:
    if layer not in sample.row.members:
        raise ChipweaveError(f"sample {sample.row.key} lacks layer {layer}")
    return Piece(*sample.file(layer))


def write_zarr_shard(task: ZarrTask) -> FileReceipt:
    """Write one Zarr shard and its receipt, unless both are there already."""
    spec = task.spec
    name = hashlib.sha256(f"{task.digest}/{task.file}".encode()).hexdigest()[:24]
    receipt_path = task.work / FOLDER / f"zarr-{name}.json"
    done = load_file_receipt(receipt_path, task.digest, task.store)
    if done is not None:
        return done
    block: Array = np.empty((len(task.pieces), *spec.shape), object if spec.document else spec.numpy_dtype)
    with PartReader(task.work) as parts:
        for number, piece in enumerate(task.pieces):
            data = parts.read(piece.part, piece.offset, piece.size)
            block[number] = data.decode() if spec.document else _array(data, spec)
    path = task.store / task.file
    with writing(path), zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(task.store / spec.name / spec.name, mode="r+", zarr_format=3)
        array[task.start : task.start + len(block)] = block
        flush(path)
    receipt = FileReceipt(task.digest, {task.file: (path.stat().st_size, sha256_file(path))})
    save_file_receipt(receipt_path, receipt)
    return receipt


def _array(data: bytes, spec: LayerSpec) -> Array:
    try:
        return decode_array(data, spec.dtype, spec.shape)
    except ValueError as exc:
        raise ChipweaveError(f"a sample's {spec.name} is not what its layer says: {exc}") from exc


def _consolidate(store: _Store) -> None:
    """Copy the metadata of all members into each group and into the root.

    xarray looks in the root first, even where a group was asked for. Zarr warns that other
    implementations may not know such copies; they may leave them aside, the originals stay.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        for path in (*(spec.name for spec in store.layers), None):
            zarr.consolidate_metadata(str(store.staged), path=path, zarr_format=3)


def _survey(store: Path, known: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Bring all of a store to the disk; bytes and SHA-256 of each file."""
    files: dict[str, tuple[int, str]] = {}
    for folder, _, names in os.walk(store):
        for name in names:
            path = Path(folder) / name
            if name != "zarr.json" and not name.isdigit():
                path.unlink()  # what a killed process was writing
                continue
            relative = path.relative_to(store).as_posix()
            if relative not in known:
                flush(path)
            files[relative] = known.get(relative) or (path.stat().st_size, sha256_file(path))
        flush(Path(folder))
    return dict(sorted(files.items()))


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    for path in folder.glob("*.zarr"):
        if path not in wanted:
            shutil.rmtree(path)
