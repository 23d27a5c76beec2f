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
from chipweave.labels import Target, TextSource
from chipweave.labels.ages import AGE, age_days
from chipweave.model import Place, Scene
from chipweave.pixels import LayerRead, compose_masks, end_tile, gdal_session, mask_shares, read_mask
from chipweave.pixels.ahead import ahead
from chipweave.pixels.masks import Mask
from chipweave.plan.columns import Candidate
from chipweave.plan.coming import of_masks
from chipweave.plan.grids import on_grid
from chipweave.plan.pairs import with_partners
from chipweave.plan.regions import Arrays, read_chips
from chipweave.plan.select import NOWHEN, Choice, Limits, Measured
from chipweave.plan.targets import ChipScenes, LabelSource, cleaned, read_targets


@dataclass(frozen=True, slots=True)
class Reads:
    """How every layer is read and limited, what writes text of them, and the scenes, by layer and id.

    `dated` are imagery layers that have dates, `aged` labels whose time to those is limited, and
    `catalogs` the recipe's own folders of providers, which say how files behind a login are opened.
    """

    imagery: Mapping[str, LayerRead]
    limits: Mapping[str, Limits]
    labels: Mapping[str, LabelSource]
    scenes: Mapping[str, Mapping[str, Scene]]
    catalogs: tuple[Path, ...] = ()
    texts: Mapping[str, TextSource] = field(default_factory=dict)
    dated: tuple[str, ...] = ()
    aged: tuple[str, ...] = ()


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
        made: dict[str, dict[str, Target]] = defaultdict(dict)
        for layer in label_facts:
            targets, errors = read_targets(chips, layer, reads.labels[layer], reads.scenes[layer])
            for key, error in errors.items():
                found[key].error = (layer, error.href, error.message)
            for key, target in targets.items():
                made[key][layer] = target
        for key, own_targets in made.items():
            for layer, target in cleaned(own_targets, reads.labels).items():
                found[key].facts |= {f"{layer}.{name}": value for name, value in target.facts.items()}
        for layer in reads.aged:
            for chip in chips:
                found[chip.place.key].facts[f"{layer}.{AGE}"] = _age(
                    chip, layer, reads, found[chip.place.key]
                )  # fmt: skip
        end_tile()
    return found, amendments


def _age(chip: ChipScenes, layer: str, reads: Reads, found: Found) -> float:
    """Days between a label and the imagery that was chosen for its chip."""
    items = chip.labels[layer]
    edition = reads.scenes[layer][items[0]].edition if items else ""
    taken = (m.candidate for name in reads.dated if name in found.choices for m in found.choices[name].steps)
    return age_days(edition, [candidate.time for candidate in taken])


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
