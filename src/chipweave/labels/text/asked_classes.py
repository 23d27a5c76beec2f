"""Questions about classes of a raster: asked only where pixels without a class cannot change the answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

import numpy as np

from chipweave.labels.base import AnyArray, Seen
from chipweave.labels.text.asked import NO, YES, Question, sure_area
from chipweave.labels.text.base import IMAGE, Ask, Fact
from chipweave.labels.text.landcover import LEAST_PX
from chipweave.labels.text.objects import class_names
from chipweave.labels.text.words import area_text, percent
from chipweave.pixels.counting import code_counts

MORE: Final = 1.1
"""How many times as much the larger of two has to be."""

MOST, LITTLE = 0.6, 0.4
"""Share of a class in a half of the chip from which most of it is there, and to which it is not."""


def questions(ask: Ask, seen: Seen) -> Iterator[Question]:
    """All that may be asked of a chip's classes."""
    raster = np.ascontiguousarray(ask.target(seen).arrays[ask.source.name])
    names = class_names(ask.source.legend, ask.source.name)
    counts = _counts(raster, names)
    unknown = raster.size - sum(counts.values())
    least = ask.wish.min_px or LEAST_PX
    pixel = ask.source.resolution**2
    yield from _presence(counts, unknown, raster.size, least)
    yield from _comparison(counts, unknown, raster.size, least)
    for name, n in counts.items():
        m2 = n * pixel
        answer = sure_area(m2, m2 + unknown * pixel, ask.wish.area_bins)
        if answer:
            forms = (f"What area does {name} cover?", f"How much ground of the image is {name}?")
            yield Question("area", name, forms, answer, (Fact("area", name, IMAGE, m2, "m2", area_text(m2)),))
    yield from _halves(raster, names, counts, unknown, least)


def last_question(ask: Ask, seen: Seen) -> Question:
    """One that has an answer whatever there is."""
    raster = np.ascontiguousarray(ask.target(seen).arrays[ask.source.name])
    counts = _counts(raster, class_names(ask.source.legend, ask.source.name))
    share = 1 - sum(counts.values()) / raster.size
    fact = Fact("unlabelled", "", IMAGE, share, "share", f"{percent(share)} %")
    forms = ("Is a class known for every pixel of the image?",)
    return Question("presence", "unlabelled", forms, NO if share else YES, (fact,))


def _counts(raster: AnyArray, names: dict[int, str]) -> dict[str, int]:
    """Pixels by class name, in the order of the legend."""
    found = code_counts(raster)
    out = dict.fromkeys(names.values(), 0)
    for code, name in names.items():
        out[name] += int(found[code])
    return out


def _share(name: str, n: int, size: int) -> Fact:
    return Fact("share", name, IMAGE, n / size, "share", f"{percent(n / size)} %")


def _presence(counts: dict[str, int], unknown: int, size: int, least: int) -> Iterator[Question]:
    for name, n in counts.items():
        if n >= least or (n == 0 and unknown == 0):
            forms = (
                f"Does the class {name} occur in the image?",
                f"Is the class {name} present in the image?",
            )
            yield Question("presence", name, forms, YES if n else NO, (_share(name, n, size),))


def _comparison(counts: dict[str, int], unknown: int, size: int, least: int) -> Iterator[Question]:
    present = [name for name, n in counts.items() if n >= least]
    for one, other in permutations(present, 2):
        more = _clearly(counts[one], counts[other] + unknown, least)
        less = _clearly(counts[other], counts[one] + unknown, least)
        if not (more or less):
            continue
        facts = (_share(one, counts[one], size), _share(other, counts[other], size))
        for word, holds in (("more", more), ("less", less)):
            forms = (f"Does the image show {word} {one} than {other}?",)
            yield Question("comparison", " ".join(sorted((one, other))), forms, YES if holds else NO, facts)


def _clearly(larger: int, smaller: int, least: int) -> bool:
    return larger >= MORE * smaller and larger - smaller >= least


def _halves(
    raster: AnyArray, names: dict[int, str], counts: dict[str, int], unknown: int, least: int
) -> Iterator[Question]:
    """Whether most of a class lies in a half of the chip."""
    rows, cols = raster.shape[0] // 2, raster.shape[1] // 2
    first = {
        "top": _counts(np.ascontiguousarray(raster[:rows]), names),
        "left": _counts(np.ascontiguousarray(raster[:, :cols]), names),
    }
    for name, n in counts.items():
        if n < least:
            continue
        for half, other in (("top", "bottom"), ("left", "right")):
            here = first[half][name]
            for word, inside in ((half, here), (other, n - here)):
                yes, no = inside / (n + unknown) >= MOST, (inside + unknown) / (n + unknown) <= LITTLE
                if yes or no:
                    share = inside / n
                    fact = Fact("share_inside", name, f"{word} half", share, "share", f"{percent(share)} %")
                    forms = (
                        f"Is most of the {name} in the {word} half of the image?",
                        f"Does most of the {name} lie in the {word} half?",
                    )
                    yield Question("relation", f"{half} {name}", forms, YES if yes else NO, (fact,))
