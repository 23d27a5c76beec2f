"""What will be read, in the order of reading, as wishes for `pixels.ahead`: hints, free for files of this machine.

Of the scenes of a chip only the first is wished for: whether the next is read hangs on the pixels of that one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from affine import Affine

from chipweave.catalog.hrefs import is_http
from chipweave.labels import LabelRead
from chipweave.model import Place, Scene
from chipweave.pixels import LayerRead, Method
from chipweave.pixels.ahead import Wish
from chipweave.pixels.masking import grown
from chipweave.pixels.mosaic import NATIVE
from chipweave.pixels.resample import Box
from chipweave.plan.regions import frames
from chipweave.plan.select import NOWHEN

if TYPE_CHECKING:
    from chipweave.plan.survey import Reads
    from chipweave.plan.targets import ChipScenes

Bands = tuple[tuple[str, int, Method], ...]
"""(href, index, method) of each band of a scene, in the order of reading."""

Parts = Sequence[tuple[Bands, float]]
"""Bands of a scene that are read together, and the metres by which their window is wider."""


def any_http(reads: Reads) -> bool:
    """Whether any file comes over http(s)."""
    return any(
        is_http(asset.href)
        for own in reads.scenes.values()
        for s in own.values()
        for asset in s.assets.values()
    )


def of_scenes(
    queues: Mapping[str, Sequence[str]],
    places: Mapping[str, Place],
    parts: Callable[[str], Parts],
    most: int | None = None,
) -> Iterator[Wish]:
    """Windows of the first scene of each chip, scene by scene.

    Parameters
    ----------
    queues
        Scenes of each chip, by key.
    places
        By key.
    parts
        What is read of a scene, by its id.
    most
        As of `regions.read_chips`.
    """
    by_scene: dict[str, list[Place]] = defaultdict(list)
    for key, items in queues.items():
        if items:
            by_scene[items[0]].append(places[key])
    for item, own in by_scene.items():
        wanted = parts(item)
        if any(is_http(href) for bands, _ in wanted for href, _, _ in bands):
            for frame in frames(own, most):
                yield from _wishes(wanted, own[0].crs, frame.affine, frame.shape)


def _wishes(parts: Parts, crs: str, affine: Affine, shape: tuple[int, int]) -> Iterator[Wish]:
    for bands, metres in parts:
        wide = grown(metres, affine, shape)[:2] if metres else (affine, shape)
        yield Wish(bands, crs, *wide)


def of_rest(
    queues: Mapping[str, Sequence[str]],
    places: Mapping[str, Place],
    parted: Callable[[], tuple[Sequence[Place], Mapping[str, Box]]],
    parts: Callable[[str], Parts],
    most: int | None,
) -> Iterator[Wish]:
    """As `of_scenes`, but of the chips that `parted` gives second only a window (row, col, height, width) of each."""
    firsts = {queue[0] for queue in queues.values() if queue}
    if not any(is_http(href) for item in firsts for bands, _ in parts(item) for href, _, _ in bands):
        return
    _, boxes = parted()
    yield from of_scenes({k: q for k, q in queues.items() if k not in boxes}, places, parts, most)
    for key, (row, col, height, width) in boxes.items():
        affine = places[key].affine * Affine.translation(col, row)
        yield from _wishes(parts(queues[key][0]), places[key].crs, affine, (height, width))


def picture_parts(scene: Scene, read: LayerRead) -> Parts:
    """What `read_scene` reads."""
    pictures = (_bands(scene, read, read.bands), 0.0)
    if read.mask is None or read.mask.band in scene.missing:
        return (pictures,)
    return (pictures, *mask_parts(scene, read))


def mask_parts(scene: Scene, read: LayerRead) -> Parts:
    """What `read_mask` reads."""
    if read.mask is None:
        return ((_bands(scene, read, read.bands[:1]), 0.0),)
    return ((_bands(scene, read, (read.mask.band,)), read.dilate_m),)


def label_parts(scene: Scene, read: LabelRead) -> Parts:
    """What `read_label` reads."""
    asset = scene.assets.get(read.band)
    if asset is None or read.loader != NATIVE:
        return ()
    return ((((asset.href, asset.index, read.method),), 0.0),)


def _bands(scene: Scene, read: LayerRead, names: Sequence[str]) -> Bands:
    if read.loader != NATIVE:
        return ()
    found = [(scene.assets.get(name), read.methods.get(name)) for name in names]
    return tuple((a.href, a.index, m) for a, m in found if a is not None and m is not None)


def of_labels(chips: Sequence[ChipScenes], layer: str, reads: Reads) -> Iterator[Wish]:
    """What `read_label_chips` reads first."""
    read, scenes = reads.labels[layer], reads.scenes[layer]
    if not isinstance(read, LabelRead):
        return  # its file is here already
    places = {chip.place.key: chip.place for chip in chips}
    queues = {chip.place.key: chip.labels[layer] for chip in chips}
    yield from of_scenes(queues, places, lambda item: label_parts(scenes[item], read))


def of_survey(
    tiles: Iterable[Sequence[ChipScenes]], reads: Reads, label_facts: Sequence[str]
) -> Iterator[Wish]:
    """What `survey_tile` reads first of each tile: the mask of each chip's first candidate, and labels."""
    if not any_http(reads):
        return
    for chips in tiles:
        for layer, read in reads.imagery.items():
            places = {chip.place.key: read.place(chip.place) for chip in chips}
            limits, queues = reads.limits[layer], {}
            for chip in chips:
                look = limits.rule.look(chip.candidates[layer], limits, chip.when.get(layer, NOWHEN))
                wanted = look.next()
                if wanted is not None and not wanted.broken:
                    queues[chip.place.key] = wanted.scenes
            yield from of_masks(queues, places, read, reads.scenes[layer])
        for layer in label_facts:
            yield from of_labels(chips, layer, reads)


def of_masks(
    queues: Mapping[str, Sequence[str]],
    places: Mapping[str, Place],
    read: LayerRead,
    scenes: Mapping[str, Scene],
) -> Iterator[Wish]:
    """Masks of the first scene of each chip; none where an item lacks its own."""
    band = read.mask.band if read.mask is not None else ""
    seen = {key: own for key, own in queues.items() if not any(band in scenes[s].missing for s in own)}
    yield from of_scenes(seen, places, lambda item: mask_parts(scenes[item], read))
