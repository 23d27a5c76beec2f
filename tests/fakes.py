"""A small valid dataset, written by the real writers, from pixels that are made up; and ways to spoil it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import yaml
from pyproj import Transformer

from chipweave import describe
from chipweave.files import atomic_write_text
from chipweave.model import Credit, Fate, LayerSpec, Legend, LegendClass, Place, document_spec
from chipweave.plan.distance import rings
from chipweave.plan.splits import assign
from chipweave.shards.deal import deal_webdataset, make_deal
from chipweave.shards.index import index_rows, write_index
from chipweave.shards.ledger import write_ledger
from chipweave.shards.manifest import write_manifest
from chipweave.shards.parts import PartWriter, SampleRow
from chipweave.shards.receipts import Receipt, part_name
from chipweave.shards.sample import Sample
from chipweave.shards.stats import PartialStats
from chipweave.shards.zarr_out import deal_zarr

SENTINEL = Credit(
    "LicenseRef-Copernicus-Sentinel",
    "https://example.org/sentinel",
    "Contains modified Copernicus Sentinel data {years}",
)
WORLDCOVER = Credit(
    "CC-BY-4.0",
    "https://example.org/worldcover",
    "© ESA WorldCover project / Contains modified Copernicus Sentinel data ({years})",
    "Zanaga, D. et al.",
)
LEGEND = Legend(
    "worldcover",
    (
        LegendClass(10, "Tree cover", "#006400"),
        LegendClass(30, "Grassland", "#ffff4c"),
        LegendClass(40, "Cropland", "#f096ff"),
        LegendClass(50, "Built-up", "#fa0000"),
        LegendClass(80, "Permanent water bodies", "#0064c8"),
        LegendClass(95, "Mangroves", "#00cf75"),
    ),
    nodata=0,
)
REFLECTANCE = {10: (250, 450, 300, 3200), 30: (500, 900, 700, 3800), 40: (700, 1100, 1300, 3000)}
REFLECTANCE |= {50: (1400, 1600, 1800, 2300), 80: (500, 450, 250, 120), 0: (900, 900, 900, 900)}


DOCUMENTS = (
    document_spec("caption", "text", "txt", "esa-worldcover", WORLDCOVER),
    document_spec("caption_facts", "text", "json", "esa-worldcover", WORLDCOVER),
)


def layer_specs(px: int) -> tuple[LayerSpec, ...]:
    bands = ("blue", "green", "red", "nir")
    at = {"shape": (px, px), "resolution": 10.0, "dims": ("y", "x"), "dtype": "uint8"}
    return (
        LayerSpec(
            "s2", "imagery", "sentinel-2-l2a", bands, ("band", "y", "x"), "int16", (4, px, px), 10.0, -32768,
            scale=0.0001, unit="reflectance", credit=SENTINEL,
        ),
        LayerSpec("s2_mask", "mask", "sentinel-2-l2a", ("mask",), nodata=255, credit=SENTINEL, **at),
        LayerSpec(
            "worldcover", "label", "esa-worldcover", ("map",), nodata=0, legend=LEGEND, credit=WORLDCOVER, **at
        ),
    )  # fmt: skip


@dataclass
class Woven:
    """A sample and the facts that the index keeps."""

    sample: Sample
    facts: dict[str, Any]


@dataclass
class Options:
    """What the fake is made of."""

    side: int = 6
    px: int = 16
    block_km: float = 0.45
    buffer_m: float = 100.0
    fractions: dict[str, float] = field(default_factory=lambda: {"train": 0.5, "val": 0.25, "test": 0.25})
    zarr: bool = True
    tars: bool = True
    crs: str = "EPSG:32629"
    origin: tuple[float, float] = (500_000.0, 4_400_000.0)
    mask: str = "keep"
    leakage: str = "fail"
    encoding: str = "npy"
    documents: bool = False

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        return (*layer_specs(self.px), *(DOCUMENTS if self.documents else ()))


Change = Callable[[list[Woven]], list[Woven]]


def make(folder: Path, change: Change | None = None, **options: Any) -> Path:
    """Write a whole dataset; `change` may alter its samples before they are written."""
    o = Options(**options)
    places = [
        Place(
            f"c{c:02d}r{r:02d}", o.crs, o.origin[0] + 10 * o.px * c, o.origin[1] - 10 * o.px * r, o.px, 10.0
        )
        for r in range(o.side)
        for c in range(o.side)
    ]
    split, fates = _split(places, o)
    woven = [weave(place, split[place.key], o) for place in places if split[place.key]]
    if change is not None:
        woven = change(woven)
    seal(folder, woven, fates, o.specs, o)
    return folder


def _split(places: Sequence[Place], o: Options) -> tuple[dict[str, str], list[Fate]]:
    lon, lat = zip(*(centre(p) for p in places), strict=True)
    table = pd.DataFrame({"place": [p.key for p in places], "lon": lon, "lat": lat})
    outlines = rings([p.crs for p in places], [p.x for p in places], [p.y for p in places], o.px * 10.0)
    found = assign(
        table,
        outlines,
        block_km=o.block_km,
        fractions=o.fractions,
        buffer_m=o.buffer_m,
        tolerance=0.2,
        seed=7,
    )
    split = dict(zip(table["place"], found.split.tolist(), strict=True))
    fates = [
        Fate(key, "written", "weave") if s else Fate(key, "dropped", "split", "buffer")
        for key, s in split.items()
    ]
    # One place that was never read, one that could not be.
    fates.append(Fate("c90r90", "dropped", "survey", "cloud", "s2"))
    return split, fates


def centre(place: Place) -> tuple[float, float]:
    half = place.size * place.resolution / 2
    back = Transformer.from_crs(place.crs, "EPSG:4326", always_xy=True)
    return back.transform(place.x + half, place.y - half)


def weave(place: Place, split: str, o: Options) -> Woven:
    """Pixels of one place: classes from smooth fields, imagery from classes, some cloud, a swath's edge."""
    classes, image, mask = pixels(place, o)
    if o.mask == "blank":
        image = np.where(mask == 1, np.int16(-32768), image)
    arrays = {"s2": image, "s2_mask": mask, "worldcover": classes}
    data = mask != 255
    valid = float(np.count_nonzero(data)) / data.size
    cloud = float(np.count_nonzero(mask == 1)) / max(np.count_nonzero(data), 1)
    shares = {str(c.code): float(np.count_nonzero(classes == c.code)) / classes.size for c in LEGEND.classes}
    own = {
        "s2": {
            "datetime": ["2021-07-14T11:21:09Z"], "items": [[f"S2A_{place.key[:3]}"]], "present": True,
            "valid_fraction": valid, "cloud_fraction": cloud,
        },
        "s2_mask": {
            "datetime": ["2021-07-14T11:21:09Z"], "items": [[f"S2A_{place.key[:3]}"]], "present": True,
            "valid_fraction": valid,
        },
        "worldcover": {
            "datetime": ["2021"], "items": [["WC_N39W009"]], "present": True,
            "valid_fraction": float(np.count_nonzero(classes)) / classes.size, "legend": "worldcover",
            "fractions": shares, "scene_labels": [int(s > 0) for s in shares.values()],
        },
    }  # fmt: skip
    said = {"datetime": ["2021"], "items": [["WC_N39W009"]], "present": True, "valid_fraction": 1.0}
    layers = {s.name: {**described(s, place), **own.get(s.name, said)} for s in o.specs}
    caption = f"{place.key}: “{max(shares, key=lambda c: shares[c])}” covers most of it.\n".encode()
    texts = {"caption": ("txt", caption), "caption_facts": ("json", json.dumps(shares).encode())}
    outline = lonlat_outline(place)
    head = {
        "crs": place.crs, "transform": [float(v) for v in place.affine[:6]],
        "height": place.size, "width": place.size, "bbox": [float(v) for v in outline.bounds],
    }  # fmt: skip
    meta = {"key": place.key, "split": split, **head, "layers": layers}
    wanted = ("datetime", "items", "cloud_fraction", "valid_fraction", "fractions", "scene_labels")
    facts = {
        "place": place.key, **head, "geometry_wkb_hex": outline.wkb_hex, "licences": ["CC-BY-4.0"],
        "layers": {n: {k: v[k] for k in wanted if k in v} for n, v in layers.items()},
    }  # fmt: skip
    return Woven(Sample(place.key, split, meta, arrays, texts if o.documents else {}), facts)


def described(spec: LayerSpec, place: Place) -> dict[str, Any]:
    if spec.document:
        return {"kind": spec.kind, "collection": spec.collection, "dtype": "utf-8", "suffix": spec.suffix}
    return {
        "kind": spec.kind, "collection": spec.collection, "bands": list(spec.bands), "dims": list(spec.dims),
        "dtype": spec.dtype, "shape": list(spec.shape), "resolution": float(spec.resolution),
        "transform": [float(v) for v in place.affine[:6]], "scale": float(spec.scale),
        "offset": float(spec.offset), "nodata": int(spec.nodata), "unit": spec.unit,
    }  # fmt: skip


def lonlat_outline(place: Place) -> shapely.Polygon:
    f = np.arange(8) / 8
    zero, one, side = np.zeros(8), np.ones(8), place.size * place.resolution
    back = Transformer.from_crs(place.crs, "EPSG:4326", always_xy=True)
    lon, lat = back.transform(
        place.x + side * np.concatenate([f, one, 1 - f, zero]),
        place.y - side * np.concatenate([zero, f, one, 1 - f]),
    )
    return shapely.Polygon(np.stack([lon, lat], axis=1))


def pixels(place: Place, o: Options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    steps = (np.arange(o.px) + 0.5) * 10
    x, y = np.meshgrid(place.x + steps - o.origin[0], o.origin[1] - place.y + steps)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(place.key.encode()).digest()[:8], "big"))
    wet = np.sin(x / 911) + np.sin(y / 700 + 1.3 * np.sin(x / 1500)) + 0.3 * np.sin((x + y) / 170)
    town = np.sin(x / 1301 + 2) * np.sin(y / 1171 + 1)
    field_number = np.floor(x / 90 + np.sin(y / 400)) * 7 + np.floor(y / 70 + np.sin(x / 300)) * 13
    classes = np.where(wet > 0.7, 10, np.where(field_number % 3 == 0, 30, 40))
    classes = np.where(town > 0.75, 50, classes)
    classes = np.where(np.abs(wet + 0.9) < 0.12, 80, classes).astype(np.uint8)
    classes[(x < 25) & (y < 45)] = 0
    table = np.zeros((256, 4))
    for code, values in REFLECTANCE.items():
        table[code] = values
    tone = 1 + 0.18 * np.sin(field_number * 1.7) * np.isin(classes, (30, 40)) + 0.05 * np.sin(x / 60 + y / 45)
    image = table[classes] * tone[..., None] + rng.normal(0, 35, (*x.shape, 4))
    cloud = np.sin(x / 300 - 1) * np.cos(y / 300 - 1) > 0.86
    image[cloud] = 5500 + 500 * np.sin(x[cloud] / 120)[:, None] + rng.normal(0, 60, (cloud.sum(), 4))
    edge = x + 0.3 * y < 90
    image[edge] = -32768
    mask = np.where(edge, 255, cloud).astype(np.uint8)
    return classes, np.moveaxis(np.rint(image).astype(np.int16), -1, 0).copy(), mask


def seal(folder: Path, woven: Sequence[Woven], fates: Sequence[Fate], specs, o: Options) -> None:
    """Parts, deal, index, ledger, statistics, recipe, lock, manifest."""
    work = folder / ".work"
    stats, rows = PartialStats(), []
    (work / "parts").mkdir(parents=True)
    with PartWriter(work / part_name(0), o.encoding) as part:
        for one in woven:
            entry = part.add(one.sample)
            rows.append(
                SampleRow(
                    entry.key,
                    entry.split,
                    entry.offset,
                    entry.size,
                    entry.members,
                    one.facts,
                    sets=entry.sets,
                )
            )
            for spec in layer_specs(o.px):
                stats.add(spec, one.sample.split, one.sample.arrays[spec.name])
        part.close()
    receipt = Receipt(0, part_name(0), part.bytes, part.xxh3, rows, [], stats)
    deal = make_deal(folder, work, [receipt], "global", 7)
    shards = deal_webdataset(deal, 5) if o.tars else []
    if o.zarr:
        deal_zarr(deal, specs)
    write_index(folder / "index.parquet", index_rows(deal, shards), specs)
    write_ledger(folder / "ledger.parquet", fates)
    atomic_write_text(folder / "stats.json", json.dumps(stats.finish(specs), allow_nan=False))
    recipe = {
        "version": 1, "name": "fake", "area": {"bbox": [-9, 39, -8, 40]},
        "imagery": {"s2": {"collection": "sentinel-2-l2a", "mask": o.mask, "write_mask": True}},
        "labels": {"worldcover": {"collection": "esa-worldcover", "edition": 2021}},
        "split": {
            "method": "blocks", "block_km": o.block_km, "buffer_m": o.buffer_m, "seed": 7,
            "fractions": o.fractions, "leakage": o.leakage,
        },
        "output": {
            "formats": [*(["webdataset"] if o.tars else []), *(["zarr"] if o.zarr else [])],
            "encoding": o.encoding,
        },
    }  # fmt: skip
    atomic_write_text(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    lock = {"recipe": "0" * 64, "versions": {"chipweave": "0.1.0", "numpy": np.__version__}, "limit": None}
    atomic_write_text(folder / "chipweave.lock", json.dumps(lock))
    (folder / "plan").mkdir()
    pd.DataFrame({"key": [f.key for f in fates]}).to_parquet(folder / "plan/chips.parquet")
    shutil.rmtree(work)
    _document(folder, recipe, specs)
    write_manifest(folder)


def _document(folder: Path, recipe: dict[str, Any], specs) -> None:
    """What stands beside the samples of every dataset."""
    summary = describe.summarise(folder, [s.name for s in specs])
    (folder / "README.md").write_text("A dataset that is made up.\n")
    (folder / "ATTRIBUTION.md").write_text("Nobody.\n")
    describe.write_stac(folder, recipe, specs, summary)
    describe.write_croissant(folder, recipe, specs, summary)
    for split, rows in summary.shards.items():
        describe.write_wids(folder, split, rows, recipe["name"])


def reseal(folder: Path) -> None:
    """Make the manifest agree with what lies in the folder, so that other checks have to find the damage.

    The index may be what was damaged: Croissant names it by its bytes.
    """
    path, index = folder / "croissant.json", folder / "index.parquet"
    if path.is_file() and index.is_file():
        text = path.read_text()
        said = json.loads(text)["distribution"][0]["sha256"]
        path.write_text(text.replace(said, hashlib.sha256(index.read_bytes()).hexdigest()))
    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder)
