"""Measure before moving pixels: masks of candidate scenes, and labels where a `keep` rule asks for them.

Where a layer has no mask its first band tells what is data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.labels import LabelRead, class_shares, compose_labels, read_label
from chipweave.model import Place, Scene
from chipweave.pixels import LayerRead, compose_masks, end_tile, gdal_session, mask_shares, read_mask
from chipweave.pixels.ahead import ahead
from chipweave.pixels.masks import Mask
from chipweave.plan.columns import Candidate
from chipweave.plan.coming import of_masks
from chipweave.plan.grids import on_grid
from chipweave.plan.pairs import with_partners
from chipweave.plan.regions import Arrays, read_chips
from chipweave.plan.select import NOWHEN, Choice, Limits, Measured, When


@dataclass(frozen=True, slots=True)
class ChipScenes:
    """A place, the candidates of each imagery layer, and the rasters of each label layer, all in order.

    `when` says, by layer, what its rule asks for beside candidates.
    """

    place: Place
    candidates: Mapping[str, Sequence[Candidate]]
    labels: Mapping[str, tuple[str, ...]]
    when: Mapping[str, When] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reads:
    """How every layer is read and limited, and the scenes, by layer and id.

    `catalogs` are the recipe's own folders of providers, which say how files behind a login are opened.
    """

    imagery: Mapping[str, LayerRead]
    limits: Mapping[str, Limits]
    labels: Mapping[str, LabelRead]
    scenes: Mapping[str, Mapping[str, Scene]]
    catalogs: tuple[Path, ...] = ()


@dataclass(slots=True)
class Found:
    """What survey says of one chip: a choice a layer, and facts for `keep`; `error` where a label broke."""

    choices: dict[str, Choice] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    error: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Amendment:
    """A scene that could not be read for a chip, and was passed over."""

    key: str
    layer: str
    item: str
    stage: str
    href: str
    error: str


def survey_tile(
    chips: Sequence[ChipScenes], reads: Reads, label_facts: Sequence[str]
) -> tuple[dict[str, Found], list[Amendment]]:
    """Survey the chips of one tile.

    Parameters
    ----------
    chips
        Neighbours of one CRS, size and resolution.
    reads
        How to read.
    label_facts
        Label layers whose class shares a `keep` rule asks for.

    Returns
    -------
    found, amendments
        By chip key; and the scenes that were passed over, in chip order.
    """
    found = {chip.place.key: Found() for chip in chips}
    amendments: list[Amendment] = []
    with gdal_session(reads.catalogs):
        for layer, read in reads.imagery.items():
            scenes = reads.scenes[layer]
            own = with_partners(chips, layer, reads.limits, scenes, {k: f.choices for k, f in found.items()})
            own = on_grid(own, read)
            choices, passed = choose_scenes(own, layer, read, reads.limits[layer], scenes)
            amendments += passed
            for key, choice in choices.items():
                found[key].choices[layer] = choice
        for layer in label_facts:
            _label_facts(chips, layer, reads.labels[layer], reads.scenes[layer], found)
        end_tile()
    return found, amendments


def choose_scenes(
    chips: Sequence[ChipScenes],
    layer: str,
    read: LayerRead,
    limits: Limits,
    scenes: Mapping[str, Scene],
    stage: str = "survey",
) -> tuple[dict[str, Choice], list[Amendment]]:
    """Measure candidates in waves, the next of every undecided chip at a time, and choose.

    A chip is decided when its layer's rule has enough, such as one candidate without bad or missing pixels.
    """
    looks = {
        chip.place.key: limits.rule.look(chip.candidates[layer], limits, chip.when.get(layer, NOWHEN))
        for chip in chips
    }
    places = {chip.place.key: chip.place for chip in chips}
    amendments: list[Amendment] = []
    active = list(places)
    foreseen = stage == "survey"  # what the first wave reads: see `coming.of_survey`
    while active:
        wave = {key: wanted for key in active if (wanted := looks[key].next()) is not None}
        if not foreseen:
            queues = {key: candidate.scenes for key, candidate in wave.items() if not candidate.broken}
            ahead.expect(of_masks(queues, places, read, scenes))
        foreseen = False
        for key, result in _measure(wave, places, layer, read, scenes, stage, amendments).items():
            looks[key].add(*result)
        active = list(wave)
    return {key: look.choice() for key, look in looks.items()}, amendments


def _measure(
    wave: Mapping[str, Candidate],
    places: Mapping[str, Place],
    layer: str,
    read: LayerRead,
    scenes: Mapping[str, Scene],
    stage: str,
    amendments: list[Amendment],
) -> dict[str, tuple[Measured, Mask | None]]:
    """One candidate of each chip: its masks laid over each other until no pixel is missing."""
    results: dict[str, tuple[Measured, Mask | None]] = {}
    masks: dict[str, list[Any]] = defaultdict(list)
    left: dict[str, list[str]] = {}
    for key, candidate in wave.items():
        blind = read.mask is not None and any(read.mask.band in scenes[s].missing for s in candidate.scenes)
        if candidate.broken:
            results[key] = Measured(candidate), None
        elif blind:
            # No mask to read: it counts as clear, and its footprint tells what it covers.
            valid = 1.0 if candidate.coverage > 0.999999 else candidate.coverage
            results[key] = Measured(candidate, cloud=0.0, valid=valid), None
        else:
            left[key] = list(candidate.scenes)
    served: dict[str, list[str]] = {key: [] for key in left}
    errors: dict[str, PermanentSourceError] = {}
    while left:
        by_scene: dict[str, list[str]] = defaultdict(list)
        for key, queue in left.items():
            by_scene[queue.pop(0)].append(key)
        for item, keys in by_scene.items():
            scene = scenes[item]
            for place, got in read_chips([places[k] for k in keys], _mask_reader(scene, read)):
                if isinstance(got, PermanentSourceError):
                    errors[place.key] = got
                    amendments.append(Amendment(place.key, layer, item, stage, got.href, got.message))
                else:
                    masks[place.key].append(got[0])
                    served[place.key].append(item)
        left = {
            k: q
            for k, q in left.items()
            if q and (not masks[k] or mask_shares(compose_masks(masks[k]))[1] < 1)
        }
        ahead.expect(of_masks(left, places, read, scenes))
    for key, items in served.items():
        candidate = wave[key]
        refused = {a.item for a in amendments if a.key == key and a.layer == layer}
        kept = tuple(s for s in candidate.scenes if s not in refused)
        if not items:
            results[key] = Measured(replace(candidate, broken=errors[key].message)), None
            continue
        whole = compose_masks(masks[key])
        cloud, valid = mask_shares(whole)
        results[key] = Measured(replace(candidate, scenes=kept), cloud=cloud, valid=valid), whole
    return results


def _mask_reader(scene: Scene, read: LayerRead) -> Callable[[str, Affine, tuple[int, int]], Arrays]:
    def window(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        return (read_mask(scene, read, crs, affine, shape),)

    return window


def label_reader(scene: Scene, read: LabelRead) -> Callable[[str, Affine, tuple[int, int]], Arrays]:
    """Window reader of one label raster, for `read_chips`."""

    def window(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        return (read_label(scene, read, crs, affine, shape),)

    return window


def read_label_chips(
    chips: Sequence[ChipScenes], layer: str, read: LabelRead, scenes: Mapping[str, Scene]
) -> tuple[dict[str, Arrays], dict[str, tuple[str, ...]], dict[str, PermanentSourceError]]:
    """Label of every chip, from the rasters of its edition laid over each other.

    Returns
    -------
    classes, items, errors
        By chip key: the (y, x) array in a 1-tuple, the rasters that gave pixels, and what could not be read.
    """
    parts: dict[str, list[Arrays]] = defaultdict(list)
    items: dict[str, tuple[str, ...]] = defaultdict(tuple)
    errors: dict[str, PermanentSourceError] = {}
    left = {chip.place.key: list(chip.labels[layer]) for chip in chips if chip.labels[layer]}
    places = {chip.place.key: chip.place for chip in chips}
    while left:
        by_scene: dict[str, list[str]] = defaultdict(list)
        for key, queue in left.items():
            by_scene[queue.pop(0)].append(key)
        for item, keys in by_scene.items():
            for place, got in read_chips([places[k] for k in keys], label_reader(scenes[item], read)):
                if isinstance(got, PermanentSourceError):
                    errors[place.key] = got
                    continue
                before = [p[0] for p in parts[place.key]]
                merged = compose_labels([*before, got[0]], read.legend)
                parts[place.key] = [(merged,)]
                if not before or (before[0] == read.legend.nodata).all():
                    items[place.key] = (item,)  # what came before gave no pixel
                elif (merged != before[0]).any():
                    items[place.key] += (item,)
        left = {
            k: q
            for k, q in left.items()
            if q and k not in errors and (not parts[k] or (parts[k][0][0] == read.legend.nodata).any())
        }
    return {k: p[0] for k, p in parts.items() if k not in errors and p}, dict(items), errors


def _label_facts(
    chips: Sequence[ChipScenes],
    layer: str,
    read: LabelRead,
    scenes: Mapping[str, Scene],
    found: dict[str, Found],
) -> None:
    """Class shares as ``layer.code``, and ``layer.nodata``, ``layer.ignored``, ``layer.valid_fraction``."""
    arrays, _, errors = read_label_chips(chips, layer, read, scenes)
    for key, error in errors.items():
        found[key].error = (layer, error.href, error.message)
    for key, (classes,) in arrays.items():
        facts = {f"{layer}.{code}": share for code, share in class_shares(classes, read.legend).items()}
        nodata = float((classes == read.legend.nodata).mean())
        facts |= {
            f"{layer}.nodata": nodata,
            f"{layer}.ignored": nodata,
            f"{layer}.valid_fraction": 1 - nodata,
        }
        found[key].facts |= facts


def subset(reads: Reads, chips: Sequence[ChipScenes]) -> Reads:
    """The same with the scenes alone that these chips may use: what a worker is sent."""
    wanted: dict[str, set[str]] = {layer: set() for layer in reads.scenes}
    for chip in chips:
        for layer, own in chip.candidates.items():
            wanted[layer].update(s for c in own for s in c.scenes)
        for layer, items in chip.labels.items():
            wanted[layer].update(items)
    return replace(
        reads,
        scenes={
            layer: {i: s for i, s in own.items() if i in wanted[layer]} for layer, own in reads.scenes.items()
        },
    )
