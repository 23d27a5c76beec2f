"""A little dataset straight from the shards room: random pixels under honest metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from chipweave.model import Fate, LayerSpec, Legend, LegendClass
from chipweave.shards.deal import deal_webdataset, make_deal
from chipweave.shards.index import index_rows, write_index
from chipweave.shards.manifest import write_manifest
from chipweave.shards.parts import PartWriter, SampleRow
from chipweave.shards.receipts import Receipt, part_name, save_receipt
from chipweave.shards.sample import Sample
from chipweave.shards.stats import PartialStats
from chipweave.shards.zarr_out import deal_zarr

PX = 16
COVER = Legend(
    "worldcover",
    (
        LegendClass(10, "tree cover", "#006400"),
        LegendClass(50, "built-up", "#fa0000"),
        LegendClass(80, "water", "#0064c8"),
    ),
    nodata=0,
)
CUBE, PLANE = ("band", "y", "x"), ("y", "x")
S2 = LayerSpec(
    name="s2",
    kind="imagery",
    collection="sentinel-2-l2a",
    bands=("blue", "green", "red"),
    dims=CUBE,
    dtype="int16",
    shape=(3, PX, PX),
    resolution=10.0,
    nodata=-32768.0,
    scale=0.0001,
    unit="reflectance",
)
MASK = LayerSpec("s2_mask", "mask", "sentinel-2-l2a", (), PLANE, "uint8", (PX, PX), 10.0, 255.0)
SAR = LayerSpec(
    name="s1",
    kind="imagery",
    collection="sentinel-1-rtc",
    bands=("vv", "vh"),
    dims=CUBE,
    dtype="float32",
    shape=(2, PX, PX),
    resolution=10.0,
    nodata=float("nan"),
    unit="dB",
)
LABEL = LayerSpec(
    "worldcover", "label", "esa-worldcover", (), PLANE, "uint8", (PX, PX), 10.0, 0.0, legend=COVER
)
LAYERS = (S2, MASK, LABEL)


def pixels(spec: LayerSpec, key: str, code: int | None = None) -> np.ndarray:
    """Pixels of a layer that hang on the key alone, a few of them without data."""
    seed = hashlib.sha256(f"{spec.name}/{key}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    if spec.kind == "label":
        codes = np.array([spec.nodata, *spec.legend.codes] if code is None else [code])
        return rng.choice(codes, spec.shape).astype(spec.numpy_dtype)
    if spec.kind == "mask":
        return rng.choice([0, 1, 255], spec.shape).astype(spec.numpy_dtype)
    spread = rng.normal(0, 1, spec.shape)
    values = spread * 4 - 12 if spec.dtype == "float32" else np.abs(spread) * 2000
    return np.where(rng.random(spec.shape) < 0.1, spec.nodata, values).astype(spec.numpy_dtype)


def facts_of(number: int, layers=LAYERS) -> dict[str, Any]:
    west, south = -9.0 + number * 0.01, 38.0
    bbox = [west, south, west + 0.005, south + 0.005]
    about: dict[str, Any] = {}
    for spec in layers:
        fact: dict[str, Any] = {
            "datetime": ["2021"] if spec.kind == "label" else ["2021-06-07T11:21:19Z"],
            "items": [[f"{spec.name}-item", "other"]],
            "valid_fraction": 0.9,
        }
        if spec.kind == "imagery":
            fact["cloud_fraction"] = number / 1000
        if spec.legend:
            fact["fractions"] = {str(c): 1 / len(spec.legend.codes) for c in spec.legend.codes}
            fact["scene_labels"] = [1] * len(spec.legend.codes)
        about[spec.name] = fact
    return {
        "place": f"29N-{number}",
        "crs": "EPSG:32629",
        "transform": [10.0, 0.0, 480000.0 + number * PX * 10, 0.0, -10.0, 4205000.0],
        "height": PX,
        "width": PX,
        "bbox": bbox,
        "geometry_wkb_hex": shapely.box(*bbox).wkb_hex,
        "licences": ["CC-BY-4.0", "other"],
        "layers": about,
    }


def sample_of(number: int, split: str, layers=LAYERS, code: int | None = None) -> Sample:
    key, facts = f"chip-{number:03d}", facts_of(number, layers)
    meta = {
        "key": key,
        "split": split,
        **{k: facts[k] for k in ("crs", "transform", "height", "width", "bbox")},
    }
    meta["layers"] = {
        spec.name: {
            "kind": spec.kind,
            "collection": spec.collection,
            **({"bands": list(spec.bands)} if spec.bands else {"bands": [spec.name]}),
            "dims": list(spec.dims),
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "resolution": spec.resolution,
            "transform": facts["transform"],
            "scale": spec.scale,
            "offset": spec.offset,
            "nodata": "nan" if np.isnan(spec.nodata) else int(spec.nodata),
            "unit": spec.unit,
            "present": True,
            **({"legend": spec.legend.name} if spec.legend else {}),
            **facts["layers"][spec.name],
        }
        for spec in layers
    }
    return Sample(key, split, meta, {spec.name: pixels(spec, key, code) for spec in layers})


def weave(
    work: Path, batch: int, numbers, layers=LAYERS, code: int | None = None, encoding: str = "npy"
) -> Receipt:
    """Write a part and its receipt."""
    stats = PartialStats()
    rows: list[SampleRow] = []
    name = part_name(batch)
    with PartWriter(work / name, encoding) as writer:
        for number in numbers:
            sample = sample_of(number, split_by_number(number), layers, code)
            entry = writer.add(sample)
            for spec in layers:
                stats.add(spec, sample.split, sample.arrays[spec.name])
            rows.append(
                SampleRow(
                    entry.key, entry.split, entry.offset, entry.size, entry.members, facts_of(number, layers)
                )
            )
        writer.close()
    fates = [Fate(row.key, "written", "weave") for row in rows]
    receipt = Receipt(batch, name, writer.bytes, writer.xxh3, rows, fates, stats, {"seconds": 0.5})
    save_receipt(work, receipt)
    return receipt


def split_by_number(number: int) -> str:
    return ("train", "train", "val", "train", "test")[number % 5]


def build(
    folder: Path,
    count: int = 23,
    batches: int = 4,
    *,
    layers=LAYERS,
    code: int | None = None,
    shuffle: str = "global",
    per_shard: int = 4,
    with_zarr: bool = True,
    encoding: str = "npy",
) -> list[Receipt]:
    """Make a whole dataset: what `seal` will do."""
    work = folder / ".work"
    cuts = np.array_split(np.arange(count), batches)
    receipts = [weave(work, b, map(int, ns), layers, code, encoding) for b, ns in enumerate(cuts)]
    deal = make_deal(folder, work, receipts, shuffle, seed=7)
    shards = deal_webdataset(deal, per_shard)
    known = deal_zarr(deal, layers) if with_zarr else {}
    write_index(folder / "index.parquet", index_rows(deal, shards), layers)
    write_manifest(folder, known | {s.path: (s.bytes, s.sha256) for s in shards})
    return receipts


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is not hidden."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    }
