"""Labels of a tile's chips: rasters by windows that neighbours share, other sources place by place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.labels import LabelRead, PlaceSource, Target, clean_target, read_label, target_of
from chipweave.model import Place, Scene
from chipweave.plan.columns import Candidate
from chipweave.plan.regions import Arrays, read_chips
from chipweave.plan.select import When

LabelSource = LabelRead | PlaceSource


@dataclass(frozen=True, slots=True)
class ChipScenes:
    """A place, the candidates of each imagery layer, and the rasters of each label layer, all in order.

    `when` says, by layer, what its rule asks for beside candidates.
    """

    place: Place
    candidates: Mapping[str, Sequence[Candidate]]
    labels: Mapping[str, tuple[str, ...]]
    when: Mapping[str, When] = field(default_factory=dict)


def read_targets(
    chips: Sequence[ChipScenes], layer: str, source: LabelSource, scenes: Mapping[str, Scene]
) -> tuple[dict[str, Target], dict[str, PermanentSourceError]]:
    """One label layer of some chips of a tile.

    Returns
    -------
    targets, errors
        By chip key; a chip that no scene of the layer serves is in neither.
    """
    if isinstance(source, LabelRead):
        arrays, items, errors = read_label_chips(chips, layer, source, scenes)
        return {k: target_of(layer, a, items[k], scenes, source) for k, (a, *_) in arrays.items()}, errors
    targets: dict[str, Target] = {}
    errors = {}
    for chip in chips:
        try:
            targets[chip.place.key] = source.read(chip.place, [scenes[i] for i in chip.labels[layer]])
        except PermanentSourceError as error:
            errors[chip.place.key] = error
    return targets, errors


def cleaned(targets: Mapping[str, Target], labels: Mapping[str, LabelSource]) -> dict[str, Target]:
    """Label targets of one chip, after the votes of segments that are other layers' instances."""
    out = dict(targets)
    for name, target in targets.items():
        read = labels[name]
        if isinstance(read, LabelRead) and read.cleanup is not None:
            segments = targets[read.cleanup.segments].arrays[f"{read.cleanup.segments}_instances"]
            out[name] = clean_target(name, target, segments, read)
    return out


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
                merged = read.compose([*before, got[0]])
                parts[place.key] = [(merged,)]
                if not before or read.empty(before[0]).all():
                    items[place.key] = (item,)  # what came before gave no pixel
                elif (read.empty(merged) != read.empty(before[0])).any():
                    items[place.key] += (item,)
        left = {
            k: q
            for k, q in left.items()
            if q and k not in errors and (not parts[k] or read.empty(parts[k][0][0]).any())
        }
    return {k: p[0] for k, p in parts.items() if k not in errors and p}, dict(items), errors
