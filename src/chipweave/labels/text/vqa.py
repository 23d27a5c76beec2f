"""Questions and answers of the RSVQA kind (facts-b), on the chip's own grid: which of those that may be asked are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from chipweave.labels.base import Seen
from chipweave.labels.text import asked_classes, asked_objects
from chipweave.labels.text.asked import YES, Question
from chipweave.labels.text.base import Ask, Statement
from chipweave.labels.text.words import draw, one_of

RARELY: Final = 8
"""One in so many questions of count and area may be about what is not there, where something is."""


def write(ask: Ask, seen: Seen) -> list[Statement]:
    """As many questions as are wanted and have one answer; at least one."""
    of = asked_classes if ask.target(seen).features is None else asked_objects
    pool: dict[str, list[Question]] = defaultdict(list)
    for question in of.questions(ask, seen):
        if question.kind in ask.wish.types:
            pool[question.kind].append(question)
    chosen = _chosen(ask, seen, pool)
    if not chosen:
        left = sorted(
            (q for kind in ask.wish.types for q in pool[kind]), key=lambda q: (q.closed, q.kind, q.about)
        )
        open_ones = [q for q in left if not q.closed] or left
        chosen = (
            [one_of(open_ones, *ask.drawn_from(seen, "last"))] if open_ones else [of.last_question(ask, seen)]
        )
    return [
        Statement(one_of(q.forms, *ask.drawn_from(seen, "form", i)), q.facts, q.answer, q.kind)
        for i, q in enumerate(chosen)
    ]


def _chosen(ask: Ask, seen: Seen, pool: dict[str, list[Question]]) -> list[Question]:
    """Questions slot by slot; types take turns, in an order that differs from chip to chip."""
    order = sorted(
        ask.wish.types, key=lambda kind: (draw(1 << 32, *ask.drawn_from(seen, "turn", kind)), kind)
    )
    chosen: list[Question] = []
    used: set[tuple[str, str]] = set()
    for slot in range(ask.wish.count):
        for turn in range(len(order)):
            kind = order[(slot + turn) % len(order)]
            free = [q for q in pool[kind] if (kind, q.about) not in used]
            fresh = len(free) == len(pool[kind])
            may = balanced(free, ask.drawn_from(seen, "answer", slot), fresh=fresh)
            if may:
                one = one_of(may, *ask.drawn_from(seen, "question", slot))
                chosen.append(one)
                used.add((kind, one.about))
                break
    return chosen


def balanced(free: Sequence[Question], what: tuple[object, ...], *, fresh: bool) -> list[Question]:
    """Those of one type that may be asked without telling the answer by how often it is right.

    A question of yes and no only where the chip has one of each answer, and then by a fair coin: so over any chips the
    two are as frequent. One about nothing rarely; once where there is nothing else: `fresh` says that none of the type
    was asked before.
    """
    closed = [q for q in free if q.closed]
    if closed:
        sides = [[q for q in closed if (q.answer == YES) == bool(side)] for side in (0, 1)]
        return sides[draw(2, *what)] if all(sides) else []
    nothing = [q for q in free if q.zero]
    something = [q for q in free if not q.zero]
    if nothing and ((fresh and not something) or draw(RARELY, *what) == 0):
        return nothing
    return something
