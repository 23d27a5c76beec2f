"""Writing and reading shards against webdataset's writer, GeoTIFF and zarr-python: ratios of CPU seconds.

Samples are those of a Sentinel job: ten bands of uint16, six of them from half the resolution, two of float32
and three of uint8, of 256 x 256 pixels. Both sides of a ratio do the same job, one after the other in each
round, and the median of the rounds counts. All is read from the page cache.
"""

from __future__ import annotations

import math
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
import zarr
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage
from webdataset import ShardWriter

from chipweave.model import LayerSpec
from chipweave.shards.deal import deal_webdataset, make_deal
from chipweave.shards.index import index_rows, write_index
from chipweave.shards.parts import PartWriter, SampleRow
from chipweave.shards.reader import Reader
from chipweave.shards.receipts import Receipt, part_name
from chipweave.shards.sample import Encoding, Sample
from chipweave.shards.stats import PartialStats
from chipweave.shards.zarr_out import deal_zarr

Array = NDArray[Any]

PX = 256
_DIFFERENT = 24  # samples that are made; more are these again, under other keys
_BATCH = 32


def _spec(name: str, kind: str, bands: int, dtype: str, nodata: float) -> LayerSpec:
    names = tuple(f"b{i}" for i in range(bands))
    dims = ("band", "y", "x")
    return LayerSpec(name, kind, f"bench-{name}", names, dims, dtype, (bands, PX, PX), 10.0, nodata)  # type: ignore[arg-type]


LAYERS = (
    _spec("lab", "mask", 3, "uint8", 255.0),
    _spec("s1", "imagery", 2, "float32", math.nan),
    _spec("s2", "imagery", 10, "uint16", 0.0),
)


def make_samples(count: int) -> list[Sample]:
    """Samples with the grain of the real ones: fields with edges, sensor noise, speckle, patches of classes."""
    different = [_pixels(np.random.default_rng(i)) for i in range(min(count, _DIFFERENT))]
    return [_sample(i, different[i % len(different)]) for i in range(count)]


def _pixels(rng: np.random.Generator) -> dict[str, Array]:
    def rough(sigma: float, px: int = PX) -> Array:
        field = ndimage.gaussian_filter(rng.normal(0, 1, (px, px)), sigma, mode="wrap")
        return np.asarray(field / field.std())

    fields = np.digitize(rough(9), [-1.2, -0.6, -0.2, 0.2, 0.6, 1.2])
    tone = rng.uniform(300, 3500, (10, 7))
    bands = []
    for band in range(10):
        picture = tone[band][fields] * (1 + 0.05 * rough(3))
        if band < 4:
            picture += rng.normal(0, 12, (PX, PX))
        else:  # of half the resolution, interpolated
            half = picture.reshape(PX // 2, 2, PX // 2, 2).mean((1, 3)) + rng.normal(
                0, 12, (PX // 2, PX // 2)
            )
            picture = ndimage.zoom(half, 2, order=1, grid_mode=True, mode="nearest")
        bands.append(picture.clip(1, 12000).astype(np.uint16))
    speckle = ndimage.uniform_filter(rng.gamma(4.4, 1 / 4.4, (2, PX, PX)), (0, 2, 2))
    radar = 10 * np.log10(speckle * 10 ** (rough(9) / 10)) - np.array([11, 18])[:, None, None]
    classes = np.stack([fields, np.digitize(rough(20), [-0.5, 0.5]), np.digitize(rough(14), [0.8])])
    return {"lab": classes.astype(np.uint8), "s1": radar.astype(np.float32), "s2": np.stack(bands)}


def _sample(number: int, arrays: Mapping[str, Array]) -> Sample:
    layers = {
        spec.name: {
            "kind": spec.kind, "collection": spec.collection, "bands": list(spec.bands), "dims": list(spec.dims),
            "dtype": spec.dtype, "shape": list(spec.shape), "resolution": 10.0, "nodata": str(spec.nodata),
        }
        for spec in LAYERS
    }  # fmt: skip
    meta = {"key": f"chip-{number:06d}", "split": "train", "crs": "EPSG:32632", "layers": layers}
    return Sample(meta["key"], "train", meta, arrays)  # type: ignore[arg-type]


def write_part(path: Path, samples: Iterable[Sample], encoding: Encoding = "npy") -> PartWriter:
    """Write what a batch leaves."""
    with PartWriter(path, encoding) as part:
        for sample in samples:
            part.add(sample)
        part.close()
    return part


def write_with_webdataset(folder: Path, samples: Iterable[Sample]) -> None:
    """Write the same files with webdataset's own writer."""
    with ShardWriter(f"{folder}/own-%06d.tar", maxcount=10**9, maxsize=10**15, verbose=0) as writer:
        for sample in samples:
            arrays = {f"{name}.npy": array for name, array in sample.arrays.items()}
            writer.write({"__key__": sample.key, "json": sample.meta, **arrays})


def build(folder: Path, samples: list[Sample], encoding: Encoding = "npy") -> Path:
    """Make a dataset of tars and Zarr with chipweave's own writers."""
    work = folder / ".work"
    rows = []
    with PartWriter(work / part_name(0), encoding) as part:
        for sample in samples:
            entry = part.add(sample)
            rows.append(
                SampleRow(entry.key, entry.split, entry.offset, entry.size, entry.members, _facts(sample))
            )
        part.close()
    receipt = Receipt(0, part_name(0), part.bytes, part.xxh3, rows, [], PartialStats())
    deal = make_deal(folder, work, [receipt], "global", 0)
    shards = deal_webdataset(deal, 256)
    deal_zarr(deal, LAYERS)
    write_index(folder / "index.parquet", index_rows(deal, shards), LAYERS)
    shutil.rmtree(work)
    return folder


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "place": sample.key, "crs": "EPSG:32632", "transform": [10.0, 0.0, 3e5, 0.0, -10.0, 5e6], "height": PX,
        "width": PX, "geometry_wkb_hex": shapely.box(7, 45, 7.1, 45.1).wkb_hex, "licences": [], "layers": {},
    }  # fmt: skip


def write_geotiffs(folder: Path, samples: Iterable[Sample]) -> None:
    """One DEFLATE GeoTIFF a layer, with the predictor that fits it, and one block a band."""
    folder.mkdir()
    for sample in samples:
        for spec in LAYERS:
            array = sample.arrays[spec.name]
            predictor = {"uint16": 2, "float32": 3}.get(spec.dtype, 1)
            with rasterio.open(
                folder / f"{sample.key}.{spec.name}.tif", "w", driver="GTiff", width=PX, height=PX,
                count=len(array), dtype=array.dtype, crs="EPSG:32632", transform=from_origin(3e5, 5e6, 10, 10),
                compress="deflate", predictor=predictor, interleave="band", tiled=True, blockxsize=PX,
                blockysize=PX,
            ) as file:  # fmt: skip
                file.write(array)


def _gather(count: int, order: Iterable[int], read: Callable[[int], Mapping[str, Array]]) -> None:
    """Read samples into batches, as a training loop does."""
    out = {s.name: np.empty((min(_BATCH, count), *s.shape), s.numpy_dtype) for s in LAYERS}
    for at, number in enumerate(order):
        arrays = read(number)
        for name, batch in out.items():
            batch[at % len(batch)] = arrays[name]


def _cpu(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def _against(rounds: int, **sides: Callable[[], object]) -> dict[str, float]:
    """Median CPU seconds of each side, all of them once in every round; one round before does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            spent = _cpu(side)
            if number:
                seconds[name].append(spent)
    return {name: statistics.median(spent) for name, spent in seconds.items()}


def measure_writing(scratch: Path, samples: list[Sample], rounds: int) -> dict[str, float]:
    """CPU of webdataset's ShardWriter over that of a part, of the same samples."""

    def ours(encoding: Encoding) -> None:
        write_part(scratch / "ours.part", samples, encoding)
        (scratch / "ours.part").unlink()

    def theirs() -> None:
        write_with_webdataset(scratch, samples)
        for path in scratch.glob("own-*.tar"):
            path.unlink()

    spent = _against(rounds, npy=lambda: ours("npy"), blosc2=lambda: ours("blosc2"), theirs=theirs)
    return {
        "writer_vs_shardwriter": spent["theirs"] / spent["npy"],
        "writer_vs_shardwriter_blosc2": spent["theirs"] / spent["blosc2"],
    }


def measure_reading(scratch: Path, samples: list[Sample], rounds: int) -> dict[str, float]:
    """CPU of GeoTIFF, and of Zarr through zarr-python, over that of the tars by key, in random order."""
    count = len(samples)
    order = list(range(count))
    random.Random(0).shuffle(order)  # noqa: S311 - an order, no secret
    npy, b2 = build(scratch / "npy", samples), build(scratch / "blosc2", samples, "blosc2")
    write_geotiffs(scratch / "tif", samples)

    def tif(number: int) -> dict[str, Array]:
        out = {}
        for spec in LAYERS:
            with rasterio.open(scratch / "tif" / f"{samples[number].key}.{spec.name}.tif") as file:
                out[spec.name] = file.read()
        return out

    with ExitStack() as stack:
        readers = {name: stack.enter_context(Reader(at)) for name, at in (("npy", npy), ("blosc2", b2))}
        group = zarr.open_group(npy / "zarr" / "train.zarr", mode="r")
        arrays: dict[str, Any] = {s.name: group[f"{s.name}/{s.name}"] for s in LAYERS}

        def jobs() -> dict[str, Callable[[int], Mapping[str, Array]]]:
            return {
                "npy": lambda i: readers["npy"].read(samples[i].key)[1],
                "blosc2": lambda i: readers["blosc2"].read(samples[i].key)[1],
                "tif": tif,
                "zarr": lambda i: {name: array[i] for name, array in arrays.items()},
            }

        sides = {name: (lambda read=read: _gather(count, order, read)) for name, read in jobs().items()}
        spent = _against(rounds, **sides)
    size = {at: sum(p.stat().st_size for p in (at / "shards").glob("*.tar")) for at in (npy, b2)}
    return {
        "random_read_vs_geotiff": spent["tif"] / spent["npy"],
        "random_read_vs_geotiff_blosc2": spent["tif"] / spent["blosc2"],
        "random_read_vs_zarr": spent["zarr"] / spent["npy"],
        "random_read_vs_zarr_blosc2": spent["zarr"] / spent["blosc2"],
        "blosc2_bytes_vs_npy": size[b2] / size[npy],
    }


def measure(scratch: Path, rounds: int = 5, samples: int = 128) -> dict[str, float]:
    """Ratios of CPU seconds of the other side over ours, and of bytes.

    Parameters
    ----------
    scratch
        An empty folder; about six times the samples (2 MB each) are written there.
    rounds
        That count; one goes before.
    samples
        In each round.

    Returns
    -------
    dict
        ``writer_vs_shardwriter``, ``random_read_vs_geotiff``, ``random_read_vs_zarr`` (from `.npy`; the same
        with ``_blosc2`` from `.b2`), and ``blosc2_bytes_vs_npy``.
    """
    made = make_samples(samples)
    scratch.mkdir(parents=True, exist_ok=True)
    return measure_writing(scratch, made, rounds) | measure_reading(scratch, made, rounds)
