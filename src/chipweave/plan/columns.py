"""Candidates of chips as columns, and as objects where somebody looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import overload

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Scenes of one datatake over one chip, in reading order.

    `coverage` is the share of the chip that their footprints cover together; `cloud` the catalog's own figure in
    percent (NaN where unknown); `same_crs` whether the first is in the chip's CRS; `broken` why it cannot serve
    (bands that an item lacks), else empty.
    """

    scenes: tuple[str, ...]
    time: str
    coverage: float
    cloud: float
    same_crs: bool
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Lists:
    """Rasters of n chips in reading order: those of chip i are ``scenes[first[i]:first[i + 1]]``, by number."""

    first: Ints
    scenes: Ints
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, chip: int) -> tuple[str, ...]:
        """Ids of one chip's."""
        return tuple(self.ids[s] for s in self.scenes[self.first[chip] : self.first[chip + 1]])

    def take(self, chips: Ints) -> Lists:
        """Those of some of the chips, with no more ids than they need."""
        rows, first = gather(self.first, chips)
        used, scenes = np.unique(self.scenes[rows], return_inverse=True)
        return Lists(first, scenes, [self.ids[s] for s in used.tolist()])


@dataclass(frozen=True, slots=True)
class Matched:
    """Candidates of n chips as columns, in order.

    Parameters
    ----------
    first
        (n + 1,) chip i has the candidates ``first[i]`` up to ``first[i + 1]``.
    start
        (m + 1,) candidate k has the scenes ``scenes[start[k]:start[k + 1]]``.
    scenes
        (k,) numbers of scenes, in reading order.
    coverage, cloud, same_crs, broken
        (m,) as `Candidate` says; `broken` is only whether.
    ids, times, gaps
        By number of a scene: its id, its time as ISO text, and which bands it lacks, in words.
    """

    first: Ints
    start: Ints
    scenes: Ints
    coverage: Floats
    cloud: Floats
    same_crs: Bools
    broken: Bools
    ids: Sequence[str]
    times: Sequence[str]
    gaps: Sequence[str]

    def __len__(self) -> int:
        return len(self.first) - 1

    def take(self, chips: Ints) -> Matched:
        """Those of some of the chips, with no more ids than they need."""
        own, first = gather(self.first, chips)
        rows, start = gather(self.start, own)
        used, scenes = np.unique(self.scenes[rows], return_inverse=True)
        names = [[texts[s] for s in used.tolist()] for texts in (self.ids, self.times, self.gaps)]
        return Matched(
            first,
            start,
            scenes,
            self.coverage[own],
            self.cloud[own],
            self.same_crs[own],
            self.broken[own],
            *names,
        )

    def between(self, first: Ints, last: Ints) -> Matched:
        """Those whose time lies between two moments of each chip, (n,) each, in microseconds since 1970, inclusive."""
        ticks = np.array([_ticks(text) for text in self.times], np.int64)
        owner = np.repeat(np.arange(len(self)), np.diff(self.first))
        time = ticks[self.scenes[self.start[:-1]]] if len(owner) else np.empty(0, np.int64)
        own = np.flatnonzero((time >= first[owner]) & (time <= last[owner]))
        rows, start = gather(self.start, own)
        return Matched(
            run_starts(np.bincount(owner[own], minlength=len(self))), start, self.scenes[rows], self.coverage[own],
            self.cloud[own], self.same_crs[own], self.broken[own], self.ids, self.times, self.gaps,
        )  # fmt: skip

    def one(self, number: int) -> Candidate:
        """One candidate, by its number among all."""
        own = self.scenes[self.start[number] : self.start[number + 1]].tolist()
        why = "; ".join(sorted({self.gaps[s] for s in own})) if self.broken[number] else ""
        return Candidate(
            tuple([self.ids[s] for s in own]), self.times[own[0]], float(self.coverage[number]),
            float(self.cloud[number]), bool(self.same_crs[number]), why,
        )  # fmt: skip

    def of(self, chip: int) -> tuple[Candidate, ...]:
        """Candidates of one chip."""
        return tuple(self.queue(chip))

    def queue(self, chip: int) -> Queue:
        """The same, each made when it is looked at."""
        return Queue(self, int(self.first[chip]), int(self.first[chip + 1]))

    def newest(self, numbers: Ints, owner: Ints) -> Ints:
        """Order of some candidates that nothing but time and CRS tells apart: by owner, own CRS, newest, id."""
        lead = self.scenes[self.start[numbers]]
        return np.lexsort(
            (ranks(self.ids)[lead], -ranks(self.times)[lead], ~self.same_crs[numbers], owner)
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queue(Sequence[Candidate]):
    """Candidates `begin` up to `end` of `matched`, made when they are looked at: most never are."""

    matched: Matched
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    @overload
    def __getitem__(self, at: int) -> Candidate: ...

    @overload
    def __getitem__(self, at: slice) -> Queue: ...

    def __getitem__(self, at: int | slice) -> Candidate | Queue:
        if isinstance(at, slice):
            begin, end, step = at.indices(len(self))
            if step != 1:
                raise IndexError("a queue has no steps")
            return Queue(self.matched, self.begin + begin, self.begin + max(end, begin))
        number = range(self.begin, self.end)[at]
        return self.matched.one(number)

    @property
    def broken(self) -> bool:
        """Whether one of them cannot serve."""
        return bool(self.matched.broken[self.begin : self.end].any())


def _ticks(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _TICK


def gather(starts: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Positions of the members of some of the runs that begin at `starts`, and where each run then begins."""
    counts = starts[chosen + 1] - starts[chosen]
    return np.repeat(starts[chosen], counts) + within(counts), run_starts(counts)


def ranks(texts: Iterable[str]) -> Ints:
    """Ranks of texts as Python sorts them."""
    listed = list(texts)
    rank = {text: n for n, text in enumerate(sorted(set(listed)))}
    return np.array([rank[text] for text in listed], np.int64)


def within(counts: Ints) -> Ints:
    """0, 1, … for each run of a length."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)


def run_starts(counts: Ints) -> Ints:
    """Where runs of given lengths begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def unique_rows(rows: Ints) -> tuple[Ints, Ints]:
    """Distinct rows (t, k) in order, and which of them each row is; a sort of columns, not of records."""
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    which = np.empty(len(rows), np.int64)
    which[order] = np.cumsum(new) - 1
    return ordered[new], which
