"""What was woven for a tile, chip by chip: samples, the facts that the index keeps, and what is counted on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chipweave.labels import class_shares, scene_labels
from chipweave.model import Fate, LayerSpec, Place, Scene
from chipweave.pixels.fused import darkest
from chipweave.plan.handout import ChipTask
from chipweave.plan.regions import Arrays
from chipweave.plan.survey import Amendment
from chipweave.shards.sample import Sample
from chipweave.shards.stats import PartialStats
from chipweave.weave.pictures import Picture, Pictures

MUCH_BELOW = -200
"""Reflectance ×10⁴ that hardly any dark pixel has: many of them mean an offset subtracted twice."""

MUCH_ABOVE = 900
"""Reflectance ×10⁴ that some dark pixel stays below: none of them means an offset not subtracted."""


@dataclass(slots=True)
class Tile:
    """What was woven for the chips of one tile, by layer and chip key; `fates` of those that came to nothing."""

    pictures: dict[str, Pictures] = field(default_factory=dict)
    classes: dict[str, dict[str, tuple[Arrays, tuple[str, ...]]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    fates: dict[str, Fate] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)


def sample_of(
    task: ChipTask,
    tile: Tile,
    pictures: Mapping[str, Picture],
    specs: Sequence[LayerSpec],
    scenes: Mapping[str, Mapping[str, Scene]],
) -> tuple[Sample, dict[str, Any]]:
    """The sample of one chip, and the facts of it that the index keeps.

    Parameters
    ----------
    task, tile
        The chip, and what was woven beside it.
    pictures
        Its own, by imagery layer.
    specs, scenes
        Layers in the order of a sample, and scenes by layer and id.
    """
    place = task.chip.place
    arrays: dict[str, npt.NDArray[Any]] = {}
    layers: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for spec in specs:
        array, own = _layer(spec, place.key, tile, pictures, scenes)
        arrays[spec.name] = np.ascontiguousarray(array, spec.numpy_dtype)
        layers[spec.name] = {**_described(spec, place), **own}
        wanted = ("datetime", "items", "cloud_fraction", "valid_fraction", "fractions", "scene_labels")
        facts[spec.name] = {name: own[name] for name in wanted if name in own}
    head = {
        "crs": place.crs, "transform": [float(v) for v in place.affine[:6]],
        "height": place.size, "width": place.size, "bbox": [float(v) for v in task.bbox],
    }  # fmt: skip
    meta = {"key": place.key, "split": task.split, **head, "layers": layers}
    licences = sorted({s.credit.licence for s in specs if s.credit is not None})
    row = {
        "place": task.footprint or place.key,
        "columns": dict(task.columns),
        **head,
        "geometry_wkb_hex": task.geometry_wkb_hex,
        "licences": licences,
        "layers": facts,
    }
    return Sample(place.key, task.split, meta, arrays), row


def _described(spec: LayerSpec, place: Place) -> dict[str, Any]:
    """What a layer says of itself in every sample, in the contract's order."""
    place = place.on(spec.shape[-1], spec.resolution)
    return {
        "kind": spec.kind, "collection": spec.collection, "bands": list(spec.bands), "dims": list(spec.dims),
        "dtype": spec.dtype, "shape": list(spec.shape), "resolution": float(spec.resolution),
        "transform": [float(v) for v in place.affine[:6]], "scale": float(spec.scale), "offset": float(spec.offset),
        "nodata": "nan" if np.isnan(spec.nodata) else int(spec.nodata), "unit": spec.unit,
    }  # fmt: skip


def _layer(
    spec: LayerSpec,
    key: str,
    tile: Tile,
    pictures: Mapping[str, Picture],
    scenes: Mapping[str, Mapping[str, Scene]],
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    if spec.kind in {"imagery", "mask"}:
        picture = pictures[spec.name if spec.kind == "imagery" else spec.name.removesuffix("_mask")]
        own = {
            "datetime": [s.time for s in picture.steps], "items": [list(s.items) for s in picture.steps],
            "present": any(s.items != ("",) for s in picture.steps),
        }  # fmt: skip
        if spec.kind == "imagery":
            own |= _steps(picture)
            return picture.values, {**own, "valid_fraction": picture.valid, "cloud_fraction": picture.cloud}
        if picture.mask is None:
            raise ValueError(f"{spec.name} of {key} was not read")
        known = sum(s.known for s in picture.steps)  # nothing is known of a step that is a gap
        return picture.mask, {**own, "valid_fraction": known / picture.mask.size}
    (classes, *_), items = tile.classes[spec.name][key]
    if spec.legend is None:
        raise ValueError(f"{spec.name} has no legend")
    shares = class_shares(classes, spec.legend)
    return classes, {
        "datetime": [scenes[spec.name][items[0]].edition], "items": [list(items)], "present": True,
        "valid_fraction": float(np.count_nonzero(classes != spec.legend.nodata)) / classes.size,
        "legend": spec.legend.name, "fractions": shares, "scene_labels": scene_labels(shares),
    }  # fmt: skip


def _steps(picture: Picture) -> dict[str, Any]:
    """Names of the steps where they mean something; of a composite its dates, and the share of the chip of each."""
    said: dict[str, Any] = {"steps": list(picture.names)} if picture.names else {}
    if picture.stat:
        dates = [list(s.dates) for s in picture.steps]
        said |= {
            "composite": picture.stat,
            "dates": dates,
            "date_shares": [list(s.shares) for s in picture.steps],
        }
    return said


def count(
    sample: Sample,
    specs: Sequence[LayerSpec],
    pictures: Mapping[str, Picture],
    stats: PartialStats,
    counters: dict[str, int | float],
) -> None:
    """Statistics of a sample; and per scene, how dark its dark pixels are: a shifted offset shows there."""
    for spec in specs:
        array = sample.arrays[spec.name]
        stats.add(spec, sample.split, array)
        if spec.kind != "imagery":
            continue
        planes = array if "time" in spec.dims else array[None]
        if array.dtype != np.int16:
            continue  # floats are not clipped
        for values, step in zip(planes, pictures[spec.name].steps, strict=True):
            clipped, *dark = darkest(values, MUCH_BELOW, MUCH_ABOVE)
            name = f"clipped:{spec.name}"
            counters[name] = counters.get(name, 0) + clipped
            if spec.unit != "reflectance" or len(step.items) != 1 or not step.items[0]:
                continue
            for what, n in zip(("n", "below", "dark"), dark, strict=True):
                name = f"{what}:{spec.name}:{step.items[0]}"
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
