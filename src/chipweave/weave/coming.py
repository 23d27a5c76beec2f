"""What a batch will read, in the order in which it is woven: hints, on which no pixel depends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chipweave.pixels.ahead import Wish
from chipweave.plan.coming import any_http, of_labels, of_scenes, picture_parts
from chipweave.plan.handout import ChipTask
from chipweave.plan.survey import Reads
from chipweave.weave.pictures import SERIES_PX, Pictures


def of_batch(tiles: Sequence[Sequence[ChipTask]], reads: Reads) -> Iterator[Wish]:
    """Layers of several dates date by date, then everything else tile by tile."""
    if not any_http(reads):
        return
    several = {layer: limits.rule.dates for layer, limits in reads.limits.items()}
    for layer in reads.imagery:
        if several[layer]:
            yield from _pictures(layer, tiles, reads)
    for tasks in tiles:
        for layer in reads.imagery:
            if not several[layer]:
                yield from _pictures(layer, [tasks], reads)
        for layer in reads.labels:
            yield from of_labels([t.chip for t in tasks], layer, reads)


def _pictures(layer: str, tiles: Sequence[Sequence[ChipTask]], reads: Reads) -> Iterator[Wish]:
    read, scenes = reads.imagery[layer], reads.scenes[layer]
    most = SERIES_PX if reads.limits[layer].rule.dates else None
    order = Pictures(layer, read, reads.limits[layer], scenes, False, {}, {}, [])
    for step_of in order.dates({t.chip.place.key: t.chosen[layer] for tasks in tiles for t in tasks}):
        for tasks in tiles:
            own = {t.chip.place.key: read.place(t.chip.place) for t in tasks}
            queues: Mapping[str, Sequence[str]] = {key: step_of[key] for key in own if key in step_of}
            yield from of_scenes(queues, own, lambda item: picture_parts(scenes[item], read), most)
