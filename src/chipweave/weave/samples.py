"""What was woven for a tile, chip by chip: samples, the facts that the index keeps, and what is counted on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128

from chipweave.catalog.licences import is_share_alike, wording
from chipweave.labels import Seen, Shown, Target, TextSource
from chipweave.model import Fate, LayerSpec, Place, Suffix
from chipweave.pixels.fingerprint import fingerprint
from chipweave.pixels.fused import darkest
from chipweave.pixels.register import Shift
from chipweave.plan.handout import ChipTask
from chipweave.plan.survey import Amendment
from chipweave.shards.index import FACTS
from chipweave.shards.sample import Sample
from chipweave.shards.stats import PartialStats
from chipweave.weave.pictures import Picture, Pictures

MUCH_BELOW = -200
"""Reflectance ×10⁴ that hardly any dark pixel has: many of them mean an offset subtracted twice."""

MUCH_ABOVE = 900
"""Reflectance ×10⁴ that some dark pixel stays below: none of them means an offset not subtracted."""


@dataclass(slots=True)
class Tile:
    """What was woven for the chips of one tile: pictures by layer, targets by chip key and layer.

    `fates` are those of chips that came to nothing, `agreed` what neighbours say of how layers of two kinds lie.
    """

    pictures: dict[str, Pictures] = field(default_factory=dict)
    targets: dict[str, dict[str, Target]] = field(default_factory=lambda: defaultdict(dict))
    fates: dict[str, Fate] = field(default_factory=dict)
    agreed: Mapping[tuple[str, str], Shift] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)


def texts_of(
    task: ChipTask,
    targets: Mapping[str, Target],
    pictures: Mapping[str, Picture],
    specs: Sequence[LayerSpec],
    texts: Mapping[str, TextSource],
) -> dict[str, Target]:
    """What is written about one chip, by text layer."""
    if not texts:
        return {}
    by_name = {spec.name: spec for spec in specs}
    shown = {
        name: Shown(
            by_name[name].collection, by_name[name].bands, by_name[name].resolution, by_name[name].unit,
            tuple(s.time for s in picture.steps), tuple(s.items for s in picture.steps), picture.cloud, picture.valid,
        )
        for name, picture in pictures.items()
    }  # fmt: skip
    seen = Seen(task.chip.place, task.bbox, targets, by_name, shown, task.columns)
    return {name: source.write(seen) for name, source in texts.items()}


def sample_of(
    task: ChipTask,
    targets: Mapping[str, Target],
    pictures: Mapping[str, Picture],
    specs: Sequence[LayerSpec],
    *,
    compared: bool = True,
) -> tuple[Sample, dict[str, Any]]:
    """The sample of one chip, and the facts of it that the index keeps.

    Parameters
    ----------
    task
        The chip.
    targets, pictures
        What was made of it, by label or text layer, and by imagery layer.
    specs
        Members in the order of a sample.
    compared
        Whether the audit will hold its pictures against those of other splits.
    """
    place = task.chip.place
    arrays: dict[str, npt.NDArray[Any]] = {}
    documents: dict[str, tuple[Suffix, bytes]] = {}
    layers: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    made = _Made(targets)
    for spec in specs:
        own: Mapping[str, Any]
        if spec.document:
            documents[spec.name] = spec.suffix, made.documents[spec.name]
            own = made.said[spec.name]
        else:
            array, own = made.array(spec) if spec.name in made.said else _pictured(spec, place.key, pictures)
            arrays[spec.name] = np.ascontiguousarray(array, spec.numpy_dtype)
        layers[spec.name] = {**_described(spec, place), **own, **_owed(spec, own)}
        facts[spec.name] = {name: own[name] for name in FACTS if name in own}
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
    if compared:
        row |= {"pixels": pixels_digest(specs, arrays), "print": print_of(specs, arrays, layers)}
    sets = {s.name: s.shard_set for s in specs if s.shard_set}
    return Sample(place.key, task.split, meta, arrays, documents, sets), row


def pixels_digest(specs: Sequence[LayerSpec], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Digest of all imagery of a sample, by which the audit knows identical pixels; empty where there is no data."""
    digest, data = xxh3_128(), False
    for spec in specs:
        if spec.kind == "imagery":
            array = arrays[spec.name]
            data = data or bool((~np.isnan(array) if np.isnan(spec.nodata) else array != spec.nodata).any())
            digest.update(array.data)
    return digest.hexdigest() if data else ""


def print_of(
    specs: Sequence[LayerSpec],
    arrays: Mapping[str, npt.NDArray[Any]],
    layers: Mapping[str, Mapping[str, Any]],
) -> str:
    """Fingerprint of a sample, by which the audit knows pictures that are nearly the same; empty if it has none."""
    shown = sorted(
        (s for s in specs if s.kind == "imagery" and layers[s.name]["present"]), key=lambda s: s.name
    )
    found = fingerprint((s.name, arrays[s.name], s.nodata) for s in shown)
    return "" if found is None else found.text()


class _Made:
    """Members of all targets of a chip, by name."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self.documents: dict[str, bytes] = {}
        self.said: dict[str, Mapping[str, Any]] = {}
        for target in targets.values():
            self.arrays.update(target.arrays)
            self.documents.update(target.documents)
            self.said.update(target.said)

    def array(self, spec: LayerSpec) -> tuple[npt.NDArray[Any], Mapping[str, Any]]:
        """One member, and what is said of it."""
        return self.arrays[spec.name], self.said[spec.name]


def _described(spec: LayerSpec, place: Place) -> dict[str, Any]:
    """What a layer says of itself in every sample, in the contract's order."""
    if spec.document:
        return {"kind": spec.kind, "collection": spec.collection, "dtype": spec.dtype, "suffix": spec.suffix}
    place = place.on(spec.shape[-1], spec.resolution)
    return {
        "kind": spec.kind, "collection": spec.collection, "bands": list(spec.bands), "dims": list(spec.dims),
        "dtype": spec.dtype, "shape": list(spec.shape), "resolution": float(spec.resolution),
        "transform": [float(v) for v in place.affine[:6]], "scale": float(spec.scale), "offset": float(spec.offset),
        "nodata": "nan" if np.isnan(spec.nodata) else int(spec.nodata), "unit": spec.unit,
    }  # fmt: skip


def _owed(spec: LayerSpec, own: Mapping[str, Any]) -> dict[str, Any]:
    """Under which licence a layer goes, whom it asks to name, and whether what is made from it goes under it too."""
    if spec.credit is None:
        return {}
    years = [int(date[:4]) for date in own.get("datetime", ()) if date]
    return {
        "licence": spec.credit.licence, "credit": wording(spec.credit, years),
        "share_alike": is_share_alike(spec.credit),
    }  # fmt: skip


def _pictured(
    spec: LayerSpec, key: str, pictures: Mapping[str, Picture]
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """An imagery layer or its mask."""
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
    if picture.fills:
        said["filled_fraction"] = [s.filled for s in picture.steps]
    if picture.stretched:
        nothing = [(0.0, 0.0)] * picture.stretched
        said["stretch"] = [[list(ends) for ends in s.stretch or nothing] for s in picture.steps]
    if picture.laid:
        said |= {
            "shift_x": [one.x for one in picture.laid],
            "shift_y": [one.y for one in picture.laid],
            "shift_confidence": [one.confidence for one in picture.laid],
            "shift_corrected": [one.moved for one in picture.laid],
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
        if spec.document:
            continue
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
