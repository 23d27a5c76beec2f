"""A batch of the plan to its part, tile by tile: the only place where pixels of all layers meet.

A pure function of the plan, the files that it names and the library versions: the same bytes whatever the number
of workers, their order, a crash or a resume.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError, TransientSourceError
from chipweave.labels import class_shares, scene_labels
from chipweave.model import MASK_BAD, MASK_NODATA, Fate, LayerSpec, Place, Scene
from chipweave.pixels import LayerRead, SceneArrays, compose, gdal_session, mask_shares, read_scene
from chipweave.pixels.fused import darkest, whole
from chipweave.pixels.masks import Mask
from chipweave.pixels.mosaic import Values
from chipweave.pixels.radiometry import INT16_NODATA
from chipweave.plan.handout import ChipTask, hand_out
from chipweave.plan.match import Candidate
from chipweave.plan.regions import Arrays, ReadWindow, read_chips
from chipweave.plan.select import Limits
from chipweave.plan.survey import Amendment, ChipScenes, Reads, choose_scenes, read_label_chips
from chipweave.plan.tables import amendment_rows
from chipweave.shards.parts import PartWriter, SampleRow
from chipweave.shards.receipts import Receipt, load_receipt, part_name, save_receipt
from chipweave.shards.sample import Encoding, Sample
from chipweave.shards.stats import PartialStats

MUCH_BELOW = -200
"""Reflectance ×10⁴ that hardly any dark pixel has: many of them mean an offset subtracted twice."""

MUCH_ABOVE = 900
"""Reflectance ×10⁴ that some dark pixel stays below: none of them means an offset not subtracted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some tiles; the unit of work: a few kilobytes, as its rows are read from the plan where it is woven.

    Parameters
    ----------
    number
        In the plan.
    digest
        Of the plan that it was made from, and its number: a receipt of another does not count.
    plan
        Folder of the plan's files.
    specs, blank, encoding
        Layers as samples carry them, those whose bad pixels are blanked, and how arrays are stored.
    reads
        How layers are read; scenes come with the rows.
    tiles
        Those of its tiles that are woven, where ``--limit`` leaves some out; else None.
    """

    number: int
    digest: str
    plan: Path
    specs: tuple[LayerSpec, ...]
    reads: Reads
    blank: frozenset[str]
    encoding: Encoding = "npy"
    tiles: frozenset[str] | None = None

    def __str__(self) -> str:
        return f"batch {self.number}"


@dataclass(slots=True)
class _Picture:
    """One imagery layer of one chip: values, mask, the scenes that gave pixels, and the measured shares."""

    values: Values
    mask: Mask | None
    items: list[str]
    time: str
    valid: float
    cloud: float


@dataclass(slots=True)
class _Tile:
    """What was woven for the chips of one tile, by layer and chip key; `fates` of those that came to nothing."""

    pictures: dict[str, dict[str, _Picture]] = field(default_factory=lambda: defaultdict(dict))
    classes: dict[str, dict[str, tuple[Arrays, tuple[str, ...]]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    fates: dict[str, Fate] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)


def weave_batch(batch: Batch, work: Path) -> int:
    """Write a batch's part and its receipt below `work`; a batch that has them already is left alone.

    Returns
    -------
    int
        Samples written.

    Raises
    ------
    TransientSourceError
        A source did not answer, also after retries: the batch stays open.
    """
    done = load_receipt(work, batch.number, digest=batch.digest, check=True)
    if done is not None:
        return len(done.samples)
    handed, reads = hand_out(batch.plan, batch.number, batch.reads, batch.tiles)
    batch = replace(batch, reads=reads)
    tiles: dict[str, list[ChipTask]] = defaultdict(list)
    for task in handed:
        tiles[task.tile].append(task)
    stats, counters = PartialStats(), dict[str, int | float]()
    rows: list[SampleRow] = []
    fates: list[Fate] = []
    amendments: list[Amendment] = []
    name = part_name(batch.number)
    with gdal_session(), PartWriter(work / name, batch.encoding) as part:
        for tasks in tiles.values():
            tile = _weave_tile(tasks, batch)
            amendments += tile.amendments
            for task in tasks:
                key = task.chip.place.key
                if key in tile.fates:
                    fates.append(tile.fates[key])
                    continue
                sample, facts = _sample(task, tile, batch)
                _count(sample, batch.specs, stats, counters, tile)
                entry = part.add(sample)
                rows.append(SampleRow(entry.key, entry.split, entry.offset, entry.size, entry.members, facts))
                fates.append(Fate(key, "written", "weave"))
        part.close()
        size, xxh3 = part.bytes, part.xxh3
    receipt = Receipt(
        batch=batch.number, part=name, bytes=size, xxh3=xxh3, samples=rows, fates=fates, stats=stats,
        counters=counters, amendments=amendment_rows(amendments), warnings=[], digest=batch.digest,
    )  # fmt: skip
    save_receipt(work, receipt)
    return len(rows)


def weave_task(batch: Batch, work: Path) -> int | TransientSourceError:
    """As `weave_batch`; a source that did not answer comes back as a value, so that other batches go on."""
    try:
        return weave_batch(batch, work)
    except TransientSourceError as error:
        return error


def _weave_tile(tasks: Sequence[ChipTask], batch: Batch) -> _Tile:
    tile = _Tile()
    for layer, read in batch.reads.imagery.items():
        alive = [t for t in tasks if t.chip.place.key not in tile.fates]
        _weave_imagery(alive, layer, read, batch, tile)
    for layer, label in batch.reads.labels.items():
        alive = [t for t in tasks if t.chip.place.key not in tile.fates]
        arrays, items, errors = read_label_chips(
            [t.chip for t in alive], layer, label, batch.reads.scenes[layer]
        )
        for key, got in arrays.items():
            tile.classes[layer][key] = (got, items[key])
        for key, error in errors.items():
            tile.fates[key] = Fate(key, "failed", "weave", "broken", layer, error.href, error.message)
    return tile


def _weave_imagery(tasks: Sequence[ChipTask], layer: str, read: LayerRead, batch: Batch, tile: _Tile) -> None:
    """Read chosen scenes; where one is broken, choose again without it, until every chip has a picture or a fate."""
    scenes, limits = batch.reads.scenes[layer], batch.reads.limits[layer]
    chips = {t.chip.place.key: t.chip for t in tasks}
    chosen = {t.chip.place.key: t.chosen[layer] for t in tasks}
    while chosen:
        got, broken = _read_mosaics(chips, chosen, read, scenes)
        for key, parts in got.items():
            if key not in broken:
                _settle(key, layer, chosen[key], parts, scenes, batch, limits, tile)
        chosen = {}
        for key, (item, error) in broken.items():
            tile.amendments.append(Amendment(key, layer, item, "weave", error.href, error.message))
            chips[key] = _without(chips[key], layer, item)
        again, passed = choose_scenes([chips[k] for k in broken], layer, read, limits, scenes, "weave")
        tile.amendments += passed
        for key, choice in again.items():
            if choice.chosen:
                chosen[key] = choice.best.candidate.scenes
            else:
                error = broken[key][1]
                tile.fates[key] = Fate(key, "failed", "weave", "broken", layer, error.href, error.message)


def _without(chip: ChipScenes, layer: str, item: str) -> ChipScenes:
    left: list[Candidate] = []
    for candidate in chip.candidates[layer]:
        scenes = tuple(s for s in candidate.scenes if s != item)
        if scenes:
            left.append(replace(candidate, scenes=scenes))
    return replace(chip, candidates={**chip.candidates, layer: tuple(left)})


def _read_mosaics(
    chips: Mapping[str, ChipScenes],
    chosen: Mapping[str, tuple[str, ...]],
    read: LayerRead,
    scenes: Mapping[str, Scene],
) -> tuple[dict[str, list[SceneArrays]], dict[str, tuple[str, PermanentSourceError]]]:
    """Scenes of each chip's candidate, the next only while pixels are missing; and what could not be read."""
    got: dict[str, list[SceneArrays]] = defaultdict(list)
    broken: dict[str, tuple[str, PermanentSourceError]] = {}
    left = {key: list(items) for key, items in chosen.items()}
    holes: dict[str, npt.NDArray[np.bool_]] = {}
    while left:
        by_scene: dict[str, list[str]] = defaultdict(list)
        for key, queue in left.items():
            by_scene[queue.pop(0)].append(key)
        for item, keys in by_scene.items():
            for place, arrays in read_chips([chips[k].place for k in keys], _reader(scenes[item], read)):
                if isinstance(arrays, PermanentSourceError):
                    broken[place.key] = (item, arrays)
                    continue
                # Cut off its window: the sample needs it so, and what is counted on it runs several times as fast.
                parts = [np.ascontiguousarray(a) for a in arrays]
                scene = SceneArrays(parts[0], parts[1] if len(parts) > 1 else None)  # type: ignore[arg-type]
                got[place.key].append(scene)
                if left[place.key]:
                    holes[place.key] = ~whole(scene.values) & holes.get(place.key, np.True_)
        left = {k: q for k, q in left.items() if q and k not in broken and holes[k].any()}
    return got, broken


def _reader(scene: Scene, read: LayerRead) -> ReadWindow:
    def window(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        arrays = read_scene(scene, read, crs, affine, shape)
        return (arrays.values,) if arrays.mask is None else (arrays.values, arrays.mask)

    return window


def _settle(
    key: str,
    layer: str,
    items: Sequence[str],
    parts: Sequence[SceneArrays],
    scenes: Mapping[str, Scene],
    batch: Batch,
    limits: Limits,
    tile: _Tile,
) -> None:
    """Compose a chip's picture, hold it against `min_valid`, and blank bad pixels where the recipe says so."""
    values, mask, used, full = compose(parts)
    valid = float(np.count_nonzero(full)) / full.size
    if valid == 0 or (limits.min_valid is not None and valid < limits.min_valid):
        tile.fates[key] = Fate(
            key, "dropped", "weave", "valid", layer, "", f"valid share of the bands is {valid:.4f}"
        )
        return
    cloud = 0.0 if mask is None else mask_shares(mask)[0]
    if mask is not None and layer in batch.blank:
        values = np.where(mask == MASK_BAD, np.int16(INT16_NODATA), values)
    gave = [item for item, yes in zip(items, used, strict=False) if yes]
    time = scenes[gave[0]].time.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
    tile.pictures[layer][key] = _Picture(values, mask, gave, time, valid, cloud)


def _sample(task: ChipTask, tile: _Tile, batch: Batch) -> tuple[Sample, dict[str, Any]]:
    """The sample of one chip, and the facts of it that the index keeps."""
    place = task.chip.place
    arrays: dict[str, npt.NDArray[Any]] = {}
    layers: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for spec in batch.specs:
        array, own = _layer(spec, place.key, tile, batch.reads.scenes)
        arrays[spec.name] = np.ascontiguousarray(array, spec.numpy_dtype)
        layers[spec.name] = {**_described(spec, place), **own}
        wanted = ("datetime", "items", "cloud_fraction", "valid_fraction", "fractions", "scene_labels")
        facts[spec.name] = {name: own[name] for name in wanted if name in own}
    head = {
        "crs": place.crs, "transform": [float(v) for v in place.affine[:6]],
        "height": place.size, "width": place.size, "bbox": [float(v) for v in task.bbox],
    }  # fmt: skip
    meta = {"key": place.key, "split": task.split, **head, "layers": layers}
    licences = sorted({s.credit.licence for s in batch.specs if s.credit is not None})
    row = {
        "place": place.key,
        **head,
        "geometry_wkb_hex": task.geometry_wkb_hex,
        "licences": licences,
        "layers": facts,
    }
    return Sample(place.key, task.split, meta, arrays), row


def _described(spec: LayerSpec, place: Place) -> dict[str, Any]:
    """What a layer says of itself in every sample, in the contract's order."""
    return {
        "kind": spec.kind, "collection": spec.collection, "bands": list(spec.bands), "dims": list(spec.dims),
        "dtype": spec.dtype, "shape": list(spec.shape), "resolution": float(spec.resolution),
        "transform": [float(v) for v in place.affine[:6]], "scale": float(spec.scale), "offset": float(spec.offset),
        "nodata": "nan" if np.isnan(spec.nodata) else int(spec.nodata), "unit": spec.unit,
    }  # fmt: skip


def _layer(
    spec: LayerSpec, key: str, tile: _Tile, scenes: Mapping[str, Mapping[str, Scene]]
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    if spec.kind == "imagery":
        picture = tile.pictures[spec.name][key]
        return picture.values, {
            "datetime": [picture.time], "items": [picture.items], "present": True,
            "valid_fraction": picture.valid, "cloud_fraction": picture.cloud,
        }  # fmt: skip
    if spec.kind == "mask":
        picture = tile.pictures[spec.name.removesuffix("_mask")][key]
        if picture.mask is None:
            raise ValueError(f"{spec.name} of {key} was not read")
        return picture.mask, {
            "datetime": [picture.time], "items": [picture.items], "present": True,
            "valid_fraction": float(np.count_nonzero(picture.mask != MASK_NODATA)) / picture.mask.size,
        }  # fmt: skip
    (classes, *_), items = tile.classes[spec.name][key]
    if spec.legend is None:
        raise ValueError(f"{spec.name} has no legend")
    shares = class_shares(classes, spec.legend)
    return classes, {
        "datetime": [scenes[spec.name][items[0]].edition], "items": [list(items)], "present": True,
        "valid_fraction": float(np.count_nonzero(classes != spec.legend.nodata)) / classes.size,
        "legend": spec.legend.name, "fractions": shares, "scene_labels": scene_labels(shares),
    }  # fmt: skip


def _count(
    sample: Sample,
    specs: Sequence[LayerSpec],
    stats: PartialStats,
    counters: dict[str, int | float],
    tile: _Tile,
) -> None:
    """Statistics of a sample; and per scene, how dark its dark pixels are: a shifted offset shows there."""
    for spec in specs:
        array = sample.arrays[spec.name]
        stats.add(spec, sample.split, array)
        if spec.kind != "imagery":
            continue
        clipped, *dark = darkest(array, MUCH_BELOW, MUCH_ABOVE)
        name = f"clipped:{spec.name}"
        counters[name] = counters.get(name, 0) + clipped
        picture = tile.pictures[spec.name][sample.key]
        if spec.unit != "reflectance" or len(picture.items) != 1:
            continue
        for what, n in zip(("n", "below", "dark"), dark, strict=True):
            name = f"{what}:{spec.name}:{picture.items[0]}"
            counters[name] = counters.get(name, 0) + n


def offset_warnings(counters: Mapping[str, int | float]) -> list[str]:
    """Scenes whose dark pixels look as if their offset was not, or twice, subtracted."""
    out = []
    for name, n in sorted(counters.items()):
        what, _, scene = name.partition(":")
        if what != "n" or n < 10_000:
            continue
        if counters[f"below:{scene}"] > 0.01 * n:
            out.append(
                f"{scene}: 1 % of its pixels or more are below {MUCH_BELOW / 1e4:g}: was its offset subtracted twice?"
            )
        if counters[f"dark:{scene}"] < 0.001 * n:
            out.append(
                f"{scene}: hardly a pixel is below {MUCH_ABOVE / 1e4:g}: is its offset still in the values?"
            )
    return out
