"""Captions of class shares, by window: the bins and windows that ChatEarthNet counted with (recipes: facts-b)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from chipweave.labels.base import AnyArray, Seen
from chipweave.labels.text.base import IMAGE, Ask, Fact, Statement
from chipweave.labels.text.objects import class_names
from chipweave.labels.text.words import a, listed, one_of, percent, upper_first
from chipweave.pixels.counting import code_counts

BINS: Final = ((10, "very small"), (20, "small"), (50, "medium"), (80, "large"), (101, "very large"))
"""First whole per cent that is too much, and its word."""

LEAST_PX: Final = 20
"""Pixels of a class that is told of, unless the recipe says so."""

PARTS: Final = ("part", "share", "portion", "fraction", "amount")
HOLDS: Final = ("holds", "shows", "has", "contains")


def bin_word(share: float) -> str:
    """Which of five words a share gets, after rounding to whole per cent."""
    return next(word for above, word in BINS if percent(share) < above)


def windows_of(size: int, wanted: Sequence[str]) -> dict[str, tuple[slice, slice]]:
    """(rows, columns) of the parts of a square; of an odd one the middle row and column go to the second half."""
    first, second, middle = slice(0, size // 2), slice(size // 2, size), slice(size // 4, size - size // 4)
    found: dict[str, tuple[slice, slice]] = {}
    if "quadrants" in wanted:
        found |= {
            "top left": (first, first),
            "top right": (first, second),
            "bottom left": (second, first),
            "bottom right": (second, second),
        }
    return found | ({"centre": (middle, middle)} if "centre" in wanted else {})


def shares_of(classes: AnyArray, names: dict[int, str], least_px: int) -> list[tuple[str, float]]:
    """Classes with at least so many pixels, most first, and their shares of pixels that have a class."""
    counts = code_counts(np.ascontiguousarray(classes))
    known = sum(int(counts[code]) for code in names)
    found = [(int(counts[code]), code) for code in names if counts[code] >= least_px]
    return [(names[code], n / known) for n, code in sorted(found, key=lambda one: (-one[0], one[1]))]


def unlabelled(classes: AnyArray, names: dict[int, str]) -> float:
    """Share of pixels without a class."""
    counts = code_counts(np.ascontiguousarray(classes))
    return 1 - sum(int(counts[code]) for code in names) / classes.size


def write(ask: Ask, seen: Seen) -> list[Statement]:
    """The whole chip, its windows, and what it comes to."""
    wish = ask.wish
    classes = ask.target(seen).arrays[ask.source.name]
    names = class_names(ask.source.legend, ask.source.name)
    missing = unlabelled(classes, names)
    if missing == 1:
        return [Statement("No land cover is known here.", (_unknown(missing),))]
    out = [_sentence(ask, seen, IMAGE, classes, names)]
    for window, part in windows_of(classes.shape[-1], wish.windows).items():
        out.append(_sentence(ask, seen, window, classes[part], names))
    if missing > 0:
        out.append(Statement(f"No class is known for {_about(missing)} of the image.", (_unknown(missing),)))
    return [*out, _theme(ask, seen, classes, names, whole=missing == 0)]


def _unknown(share: float) -> Fact:
    return Fact("unlabelled", "", IMAGE, share, "share", _about(share))


def _about(share: float) -> str:
    return f"about {percent(share)} %" if percent(share) else "less than 1 %"


def _sentence(ask: Ask, seen: Seen, window: str, classes: AnyArray, names: dict[int, str]) -> Statement:
    """Shares of classes among pixels that have one; where others have none, that is said."""
    least = ask.wish.min_px or LEAST_PX
    where = "the image" if window == IMAGE else f"the {window}"
    shares = shares_of(classes, names, least)
    if not shares:
        fact = Fact("share", "", window, 0.0, "share", "none")
        return Statement(f"No class fills {least} pixels of {where}.", (fact,))
    if unlabelled(classes, names) > 0:
        where = f"the known part of {where}"
    parts, facts = [], []
    for i, (name, share) in enumerate(shares if window == IMAGE else shares[: ask.wish.top]):
        if ask.wish.shares == "bins":
            word = bin_word(share)
            parts.append(f"{a(word)} {one_of(PARTS, *ask.drawn_from(seen, window, i))} of {name}")
        else:
            word = f"{percent(share)} %" if percent(share) else "less than 1 %"
            parts.append(f"{word} {name}")
        facts.append(Fact("share", name, window, share, "share", word))
    holds = one_of(HOLDS, *ask.drawn_from(seen, window, "verb"))
    return Statement(upper_first(f"{where} {holds} {listed(parts)}."), tuple(facts))


def _theme(ask: Ask, seen: Seen, classes: AnyArray, names: dict[int, str], *, whole: bool) -> Statement:
    """Which class covers more than half of all pixels, if one does; `whole`: all of them have a class."""
    largest = shares_of(classes, names, 1)[0]
    share = largest[1] * (1 - unlabelled(classes, names))
    known = "more than half" if share > 0.5 else "not more than half"
    facts = (Fact("largest", largest[0], IMAGE, share, "share", known),)
    if share > 0.5:
        forms = (f"Overall, it is mostly {largest[0]}.", f"As a whole, most of it is {largest[0]}.")
        return Statement(one_of(forms, *ask.drawn_from(seen, "theme")), facts)
    covers = "covers" if whole else "is known to cover"
    return Statement(f"No class {covers} more than half of it.", facts)
