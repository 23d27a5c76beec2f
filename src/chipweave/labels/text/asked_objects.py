"""Questions about objects: asked only where objects that are cut or too small to be seen do not change the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Final

import numpy as np
import shapely

from chipweave.labels.base import Seen
from chipweave.labels.text.asked import NO, YES, Question, count_bin, sure_area
from chipweave.labels.text.base import IMAGE, Ask, Fact
from chipweave.labels.text.objects import LEAST_PX, Flags, Floats, Objects, order_of, union_area
from chipweave.labels.text.osm import feature_classes, seen_objects
from chipweave.labels.text.words import a, any_of, are, area_text, clean, length_text, linear, noun, thing
from chipweave.model import Place
from chipweave.recipe.texts import TextLayer

NEARER: Final = 1.5
"""How many times as far the other one has to be."""

SIDES: Final = {
    "to the left of": ("left", 0), "to the right of": ("right", 0), "above": ("above", 1), "below": ("below", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects of a class there are, whoever counts.

    `low` are those that are seen and wholly inside, `n` those that are seen and at least half inside, `high` all that
    have any part inside.
    """

    name: str
    low: int
    n: int
    high: int
    dimension: int
    lines: bool


def tallies(objects: Objects, names: Sequence[str]) -> dict[str, Tally]:
    """Of every class, in the order of the legend."""
    out: dict[str, Tally] = {}
    counted, whole = objects.counted, objects.whole
    for name in names:
        of = objects.of(name)
        dims = objects.dims[of]
        out[name] = Tally(
            name, int((whole & of).sum()), int((counted & of).sum()), int(of.sum()),
            int(dims.max()) if len(dims) else 2, bool((dims == 1).any()) or linear(name),
        )  # fmt: skip
    return out


def questions(ask: Ask, seen: Seen) -> Iterator[Question]:
    """All that may be asked of a chip's objects."""
    objects = seen_objects(ask, seen)
    names = order_of(list(feature_classes(ask).values()))
    known = tallies(objects, names)
    yield from _presence(known)
    yield from _count(known, exact=ask.wish.counts == "exact")
    yield from _comparison(known)
    yield from _area(objects, known, ask.wish)
    for name, one in known.items():
        if one.n == one.high == 1 and not one.lines:
            [i] = np.flatnonzero(objects.of(name))
            yield from _relation(objects, known, int(i), seen.place)
            yield from _nearest(objects, known, int(i), seen.place)


def last_question(ask: Ask, seen: Seen) -> Question:
    """One that has an answer whatever there is."""
    objects = seen_objects(ask, seen)
    name = next(iter(feature_classes(ask).values()))
    least = (ask.wish.min_px or LEAST_PX) * seen.place.resolution**2
    sizes = objects.sizes[objects.of(name) & (objects.dims == 2)]
    largest = float(sizes.max()) if len(sizes) else 0.0
    forms = (f"Do {noun(name, 2, 2)} that cover at least {area_text(least)} each lie in the image?",)
    fact = Fact("area", name, IMAGE, largest, "m2", "largest")
    return Question("presence", f"{name} {least}", forms, YES if largest >= least else NO, (fact,))


def _presence(known: dict[str, Tally]) -> Iterator[Question]:
    for name, one in known.items():
        if one.n == 0 < one.high:
            continue  # something too small, or hardly inside
        what = any_of(name)
        forms = (f"{are(name)} there {what} in the image?", f"Does the image show {what}?")
        fact = Fact("count", name, IMAGE, float(one.n), "count")
        yield Question("presence", name, forms, YES if one.n else NO, (fact,))


def _count(known: dict[str, Tally], *, exact: bool) -> Iterator[Question]:
    for name, one in known.items():
        if one.lines or count_bin(one.low, exact=exact) != count_bin(one.high, exact=exact):
            continue
        many = noun(name, one.dimension, 2)
        forms = (f"How many {many} are there in the image?", f"What is the number of {many} in the image?")
        fact = Fact("count", name, IMAGE, float(one.n), "count")
        yield Question("count", name, forms, count_bin(one.n, exact=exact), (fact,))


def _comparison(known: dict[str, Tally]) -> Iterator[Question]:
    """More, or fewer, of one class than of another; only where no way of counting says otherwise."""
    present = [one for one in known.values() if one.n and not one.lines]
    for one, other in permutations(present, 2):
        more, fewer = one.low > other.high, one.high < other.low
        if not (more or fewer):
            continue
        these, those = noun(one.name, one.dimension, 2), noun(other.name, other.dimension, 2)
        facts = tuple(Fact("count", x.name, IMAGE, float(x.n), "count") for x in (one, other))
        for word, holds in (("more", more), ("fewer", fewer)):
            forms = (f"Are there {word} {these} than {those} in the image?",)
            about = " ".join(sorted((one.name, other.name)))
            yield Question("comparison", about, forms, YES if holds else NO, facts)


def _area(objects: Objects, known: dict[str, Tally], wish: TextLayer) -> Iterator[Question]:
    """Of all of a class inside the chip, each spot once, however small or cut the objects."""
    for name, one in known.items():
        if one.lines or (one.high and one.dimension != 2):
            continue
        m2 = union_area(objects, objects.of(name))
        answer = sure_area(m2, m2, wish.area_bins)
        if answer:
            many = noun(name, 2, 2)
            forms = (
                f"What area do {many} cover in the image?",
                f"How much ground of the image do {many} cover?",
            )
            fact = Fact("area", name, IMAGE, m2, "m2", area_text(m2))
            yield Question("area", name, forms, answer, (fact,))


def _relation(objects: Objects, known: dict[str, Tally], i: int, place: Place) -> Iterator[Question]:
    """Whether objects of another class lie on a side of the only one of its class.

    Yes where the bounds of one are a pixel or more beyond; no where those of all are, on the other side.
    """
    bounds = shapely.bounds(objects.parts)
    gaps = sides_of(bounds, i)
    target = f"the {noun(objects.names[i], int(objects.dims[i]))}"
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}
    for name, one in known.items():
        if name == objects.names[i] or not one.n or one.lines:
            continue
        of = objects.of(name)
        for words, (side, axis) in SIDES.items():
            yes = bool((gaps[side][of & objects.counted] >= place.resolution).any())
            no = bool((gaps[opposite[side]][of] >= place.resolution).all())
            if not (yes or no):
                continue
            single = noun(name, one.dimension)
            text = (
                f"Is the {single} {words} {target}?"
                if one.high == 1
                else f"Is there {a(single)} {words} {target}?"
            )
            best = float(gaps[side][of].max())
            fact = Fact("gap", name, clean(objects.ids[i]), best, "m", side)
            yield Question(
                "relation", f"{axis} {name} {objects.names[i]}", (text,), YES if yes else NO, (fact,)
            )


def sides_of(bounds: Floats, i: int) -> dict[str, Floats]:
    """By side, metres (n,) by which the bounds of each object lie beyond those of one; negative where they do not."""
    minx, miny, maxx, maxy = bounds.T
    return {
        "left": minx[i] - maxx, "right": minx - maxx[i], "above": miny - maxy[i], "below": miny[i] - maxy,
    }  # fmt: skip


def _nearest(objects: Objects, known: dict[str, Tally], i: int, place: Place) -> Iterator[Question]:
    """Which of two classes lies nearer to the only object of its class, from edge to edge."""
    far = shapely.distance(objects.parts[i], objects.parts)
    seen, every = _least(objects, far, objects.counted), _least(objects, far, np.ones(len(objects), bool))
    target = f"the {noun(objects.names[i], int(objects.dims[i]))}"
    present = [one.name for one in known.values() if one.n and one.name != objects.names[i]]
    for pair in combinations(present, 2):
        near, other = sorted(pair, key=lambda name: seen[name])
        if every[other] < NEARER * seen[near] + place.resolution:
            continue
        facts = tuple(
            Fact("distance", name, clean(objects.ids[i]), metres, "m", length_text(metres))
            for name, metres in ((near, seen[near]), (other, every[other]))
        )
        first, second = (any_of(name) for name in pair)
        forms = (
            f"Which is nearer to {target}: {first} or {second}?",
            f"Which is nearer to {target}: {second} or {first}?",
        )
        yield Question("nearest", f"{pair[0]} {pair[1]} {objects.names[i]}", forms, thing(near), facts)


def _least(objects: Objects, far: Floats, which: Flags) -> dict[str, float]:
    """Shortest distance by class."""
    out: dict[str, float] = {}
    for name, metres in zip(objects.names[which], far[which], strict=True):
        out[name] = min(float(metres), out.get(name, np.inf))
    return out
