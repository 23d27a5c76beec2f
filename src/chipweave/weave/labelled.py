"""What is said of labels beside their imagery, and counted over all samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from chipweave.labels import LabelRead, Target
from chipweave.labels.ages import AGE, age_days
from chipweave.labels.rasters import FOREIGN
from chipweave.labels.tables import Stack, TableRead
from chipweave.model import MASK_BAD, LayerSpec, Place
from chipweave.plan.survey import Reads
from chipweave.weave.pictures import Picture


def with_ages(
    targets: Mapping[str, Target], pictures: Mapping[str, Picture], reads: Reads
) -> dict[str, Target]:
    """Targets that say `age_days` of their layer, where there is imagery that has dates.

    Parameters
    ----------
    targets, pictures
        Of one chip: by label layer, and by imagery layer.
    reads
        Which imagery has dates, and which labels.
    """
    images = [
        time for name in reads.dated for step in pictures[name].steps for time in (*step.dates, step.time)
    ]
    return {name: _aged(name, target, images, reads) for name, target in targets.items()}


def _aged(name: str, target: Target, images: Collection[str], reads: Reads) -> Target:
    own, source = target.said.get(name), reads.labels[name]
    if not reads.dated or own is None or (isinstance(source, LabelRead) and source.static):
        return target
    return replace(target, said={**target.said, name: {**own, AGE: age_days(own["datetime"][0], images)}})


def count_foreign(targets: Mapping[str, Target], counters: dict[str, int | float]) -> None:
    """Count pixels of codes that a layer's legend does not know, by layer."""
    for name, target in targets.items():
        if target.facts.get(FOREIGN):
            pixels = round(target.facts[FOREIGN] * target.arrays[name].size)
            counters[f"{FOREIGN}:{name}"] = counters.get(f"{FOREIGN}:{name}", 0) + pixels


def label_warnings(counters: Mapping[str, int | float]) -> list[str]:
    """Layers that hold codes which their legends do not know."""
    counted = sorted((name, n) for name, n in counters.items() if name.startswith(f"{FOREIGN}:"))
    return [
        f"labels.{name.partition(':')[2]}: {n:.0f} pixels hold codes that its legend does not know: written as no "
        "data, counted as ignored"
        for name, n in counted
    ]


def with_tables(
    targets: Mapping[str, Target],
    place: Place,
    pictures: Mapping[str, Picture],
    specs: Sequence[LayerSpec],
    reads: Reads,
) -> dict[str, Target]:
    """Targets whose records of polygons are worked out from the imagery of the chip; bad pixels do not count."""
    tables = {n: s for n, s in reads.labels.items() if isinstance(s, TableRead) and n in targets}
    if not tables:
        return dict(targets)
    by_name = {spec.name: spec for spec in specs}
    stacks = {
        name: Stack(
            by_name[name], picture.values, None if picture.mask is None else picture.mask == MASK_BAD,
            tuple(step.time for step in picture.steps),
        )
        for name, picture in pictures.items()
    }  # fmt: skip
    done = {name: source.with_imagery(targets[name], place, stacks) for name, source in tables.items()}
    return {**targets, **done}
