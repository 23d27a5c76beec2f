"""Dealing blocks to splits so that what is left after the gap has the shares that were asked for.

Splits are numbers here, in yielding order: 0 gives way to all others. Whether a place is kept depends on
its own block and on the blocks that it is near to, so places with the same blocks around them are one
cluster, and pairs of places are looked at only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ORDERS = 6
_ROUNDS = 12
_STEPS = 4_000
"""Most single blocks that the last touch tries."""
_WORK = 100_000_000
"""Most cluster-block contacts that the last touch looks at, all steps together: some seconds."""
_UNIT = 10**9
"""Targets are whole parts of this: deficits are whole numbers, and no rounding decides a deal."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks and who is near whom.

    Parameters
    ----------
    names
        (b,) ids of the blocks.
    weight
        (b,) places in each block.
    own, size
        (c,) block and number of places of each cluster.
    start, near
        Compressed rows: cluster k is within the buffer of blocks ``near[start[k]:start[k + 1]]``, its own
        excepted.
    drop_both
        Whether both sides of a border give way.
    cluster
        (n,) each place's cluster.
    old
        (b,) blocks of an earlier assignment: beside a new one the new one gives way.
    fixed
        (b,) the split of blocks that are not dealt, -1 where they are.
    may
        (c, s) whether a cluster can be kept in a split at all; None: in any.
    """

    names: NDArray[np.str_]
    weight: Ints
    own: Ints
    size: Ints
    start: Ints
    near: Ints
    drop_both: bool
    cluster: Ints
    old: Bools
    fixed: Ints
    may: Bools | None = None

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.weight)

    @property
    def n_places(self) -> int:
        """Number of places."""
        return int(self.weight.sum())

    @classmethod
    def of(
        cls,
        names: NDArray[np.str_],
        of: Ints,
        i: Ints,
        j: Ints,
        *,
        drop_both: bool,
        old: Bools | None = None,
        fixed: Ints | None = None,
        may: Bools | None = None,
    ) -> Layout:
        """Cluster the places.

        Parameters
        ----------
        names
            (b,) ids of the blocks.
        of
            (n,) each place's block.
        i, j
            (m,) pairs of places of different blocks that are closer than the buffer.
        drop_both
            Whether both sides of a border give way.
        old, fixed
            (b,) as the class says; none are by default.
        may
            (n, s) whether a place can be kept in a split; in any by default.
        """
        n_blocks = len(names)
        place, other = np.concatenate([i, j]), of[np.concatenate([j, i])]
        contacts = np.unique(place * n_blocks + other)
        bounds = np.searchsorted(contacts, np.arange(len(of) + 1) * n_blocks)
        around = contacts % n_blocks
        clusters: dict[tuple[int, bytes, int], int] = {}
        cluster = np.empty(len(of), np.int64)
        kinds, kind = (np.ones((1, 1), bool), np.zeros(len(of), np.int64)) if may is None else _kinds(may)
        for number, (block, own) in enumerate(zip(of.tolist(), kind.tolist(), strict=True)):
            key = (block, around[bounds[number] : bounds[number + 1]].tobytes(), own)
            cluster[number] = clusters.setdefault(key, len(clusters))
        near = [np.frombuffer(data, np.int64) for _, data, _ in clusters]
        return cls(
            names=names,
            weight=np.bincount(of, minlength=n_blocks),
            own=np.array([block for block, _, _ in clusters], np.int64),
            size=np.bincount(cluster, minlength=len(clusters)),
            start=np.concatenate([[0], np.cumsum([len(n) for n in near])]).astype(np.int64),
            near=np.concatenate([*near, np.empty(0, np.int64)]),
            drop_both=drop_both,
            cluster=cluster,
            old=np.zeros(n_blocks, bool) if old is None else old,
            fixed=np.full(n_blocks, -1, np.int64) if fixed is None else fixed,
            may=None if may is None else kinds[[own for _, _, own in clusters]],
        )

    def stays(self, splits: Ints) -> Bools:
        """Clusters that are kept after the gap, (c,), where block k goes to `splits[k]`."""
        theirs = splits[self.near]
        reach = np.diff(self.start)
        facing = np.repeat(splits[self.own], reach)
        loses = (theirs != facing) if self.drop_both else (theirs > facing)
        if self.old.any():
            mine_old, their_old = np.repeat(self.old[self.own], reach), self.old[self.near]
            loses = np.where(mine_old == their_old, loses, (theirs != facing) & their_old)
        before = np.concatenate([[0], np.cumsum(loses)])
        kept = np.asarray(before[self.start[1:]] == before[self.start[:-1]])
        return kept if self.may is None else kept & self.may[np.arange(len(kept)), splits[self.own]]

    def kept(self, splits: Ints, n_splits: int) -> Ints:
        """Places that each split keeps after the gap, (s,), where block k goes to `splits[k]`."""
        stays = self.stays(splits)
        own = splits[self.own[stays]]
        return np.bincount(own, weights=self.size[stays], minlength=n_splits).astype(np.int64)

    @property
    def bound(self) -> bool:
        """Whether some blocks are not dealt freely."""
        return bool((self.fixed >= 0).any() or self.old.any())


def _kinds(may: Bools) -> tuple[Bools, Ints]:
    """Distinct rows, and which one each is."""
    codes = may @ (1 << np.arange(may.shape[1]))
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return may[first], which.astype(np.int64)


def deal(layout: Layout, fractions: Floats, *, tolerance: float, seed: int) -> Ints | None:
    """Deal blocks by deficit, and find an assignment without an empty split if there is one.

    Parameters
    ----------
    layout
        Blocks and their contacts.
    fractions
        (s,) of the places that are kept, in yielding order, positive, summing to one.
    tolerance
        How far a share may be from its fraction; a quarter of it is aimed at.
    seed
        Of the orders in which blocks are dealt.

    Returns
    -------
    ndarray or None
        (b,) the split of each block; None where every assignment leaves a split empty, or where blocks are
        bound and none was found that does not.
    """
    if layout.n_blocks < len(fractions):
        return None
    goal = tolerance / 4
    best, score = np.maximum(layout.fixed, 0), (len(fractions), 1.0)
    for attempt in range(_ORDERS):
        for splits in _deals(layout, fractions, seeded_order(layout.names, seed, attempt)):
            this = _score(layout, splits, fractions)
            if this < score:
                best, score = splits, this
            if score <= (0, goal):
                return best
    if score[0] and not layout.bound:
        spread = _spread(layout, len(fractions), seeded_order(layout.names, seed, _ORDERS))
        if spread is None:
            return None
        best = spread
    best = _touch_up(layout, best, fractions, goal, seeded_order(layout.names, seed, _ORDERS))
    return None if layout.bound and (layout.kept(best, len(fractions)) == 0).any() else best


def to_the_least(layout: Layout, splits: Ints, units: Ints, to: Ints, fractions: Floats) -> Ints:
    """Fewer units than they may go to: each to the split that has the least so far, for what it is to have."""
    have = np.bincount(splits[splits >= 0], layout.weight[splits >= 0], len(fractions))
    found = np.empty(len(units), np.int64)
    for n in np.argsort(layout.names[units], kind="stable"):
        found[n] = to[np.argmin(have[to] / fractions[to])]
        have[found[n]] += layout.weight[units[n]]
    return found


def seeded_order(names: NDArray[np.str_], seed: int, attempt: int) -> Ints:
    """Blocks in an order that depends on their ids, the seed and nothing else."""
    text = [hashlib.blake2b(f"{seed}:{attempt}:{name}".encode(), digest_size=16).digest() for name in names]
    return np.array(sorted(range(len(text)), key=text.__getitem__), np.int64)


def _score(layout: Layout, splits: Ints, fractions: Floats) -> tuple[int, float]:
    """Empty splits, then the largest distance of a share from its fraction. Less is better."""
    kept = layout.kept(splits, len(fractions))
    return int(np.sum(kept == 0)), float(np.max(np.abs(kept / max(kept.sum(), 1) - fractions)))


def _deals(layout: Layout, fractions: Floats, order: Ints) -> Iterator[Ints]:
    """Deals of one order, each aimed higher where the gap took more from a split than from the others."""
    log_target = np.log(fractions)
    for _ in range(_ROUNDS):
        target = np.exp(log_target - log_target.max())
        parts = np.rint(target / target.sum() * _UNIT).astype(np.int64)
        splits = _deal_once(layout.weight, parts, order, layout.fixed)
        yield splits
        kept = layout.kept(splits, len(fractions))
        # A split with nothing left is asked for as if half a place had been.
        shares = np.maximum(kept, 0.5) / max(kept.sum(), 0.5)
        log_target = log_target + 0.7 * np.log(fractions / shares)


def _deal_once(weight: Ints, target: Ints, order: Ints, fixed: Ints) -> Ints:
    """Each block goes to the split that is furthest behind its part of what has been dealt so far."""
    splits = np.maximum(fixed, 0)
    parts, whole = [int(t) for t in target], int(target.sum())
    bound = fixed >= 0
    have = [int(weight[bound & (fixed == s)].sum()) for s in range(len(parts))]
    dealt = sum(have)
    order = order[~bound[order]]
    for block, places in zip(order.tolist(), weight[order].tolist(), strict=True):
        dealt += places
        behind = [part * dealt - mine * whole for part, mine in zip(parts, have, strict=True)]
        to = behind.index(max(behind))
        splits[block] = to
        have[to] += places
    return splits


def _touch_up(layout: Layout, splits: Ints, fractions: Floats, goal: float, order: Ints) -> Ints:
    """Move single blocks while that brings the shares closer, until they are close enough."""
    best, score = splits.copy(), _score(layout, splits, fractions)
    steps = min(_STEPS, _WORK // (len(layout.near) + len(layout.own)))
    free = order[layout.fixed[order] < 0].tolist()
    moved = True
    while moved:
        moved = False
        for block in free:
            for to in range(len(fractions)):
                if score <= (0, goal) or steps <= 0:
                    return best
                if to == best[block]:
                    continue
                steps -= 1
                trial = best.copy()
                trial[block] = to
                this = _score(layout, trial, fractions)
                if this < score:
                    best, score, moved = trial, this, True
    return best


def _spread(layout: Layout, n_splits: int, order: Ints) -> Ints | None:
    """Find an assignment that leaves no split empty, or show that there is none.

    Take any assignment in which every split keeps a place. It is enough to look at one kept place a split:

    - `larger`: give the block of split s's place to s, for every s but 0, and all other blocks to 0. A
      place of s gives way only to blocks of higher splits; those are now single blocks that had the same
      split before, and it was kept beside them. The place of split 0 lies in a block that still goes to 0,
      and the same holds for it. So some choice of one block for each split but the first, the rest to the
      first, also leaves no split empty, and trying all such choices is exhaustive.
    - `both`: a place is kept only where its block and all that it is near to go to one split. Give those
      blocks to s, for every s but 0, and all others to 0: every one of the places is kept still. So one
      such neighbourhood a split is chosen in place of one block.

    Choices are made from the highest split down. After each, clusters that are near to the chosen blocks,
    or in them, can be kept for no lower split: `alive` are the others. All of this holds where a place can be kept in
    some splits only (`Layout.may`): the one that is looked at for a split can be kept in it.
    """
    around = _Around.of(layout)
    dead: set[tuple[int, bytes]] = set()

    def search(left: int, alive: Bools) -> list[Ints] | None:
        if left == 0:
            return []
        state = (left, np.packbits(alive).tobytes())
        if state in dead:
            return None
        for chosen in around.choices(alive & around.fit(left), order):
            rest = alive & ~around.touched(chosen)
            if (rest & around.fit(left - 1)).any():
                found = search(left - 1, rest)
                if found is not None:
                    return [chosen, *found]
        dead.add(state)
        return None

    chosen = search(n_splits - 1, np.ones(len(layout.own), bool))
    if chosen is None:
        return None
    splits = np.zeros(layout.n_blocks, np.int64)
    for split, blocks in zip(range(n_splits - 1, 0, -1), chosen, strict=True):
        splits[blocks] = split
    return splits


@dataclass(frozen=True, slots=True)
class _Around:
    """For each block the clusters in it or near to it."""

    layout: Layout
    start: Ints
    clusters: Ints

    @classmethod
    def of(cls, layout: Layout) -> _Around:
        owner = np.repeat(np.arange(len(layout.own)), np.diff(layout.start))
        block = np.concatenate([layout.own, layout.near])
        cluster = np.concatenate([np.arange(len(layout.own)), owner])
        order = np.argsort(block, kind="stable")
        start = np.searchsorted(block[order], np.arange(layout.n_blocks + 1))
        return cls(layout, start, cluster[order])

    def touched(self, blocks: Ints) -> Bools:
        """Clusters that lie in one of the blocks or are near to one."""
        out = np.zeros(len(self.layout.own), bool)
        for block in blocks.tolist():
            out[self.clusters[self.start[block] : self.start[block + 1]]] = True
        return out

    def fit(self, split: int) -> Bools:
        """Clusters that can be kept in a split."""
        may = self.layout.may
        return np.ones(len(self.layout.own), bool) if may is None else may[:, split]

    def choices(self, alive: Bools, order: Ints) -> Iterator[Ints]:
        """Yield what one split could be given so that it keeps a place, in order."""
        layout = self.layout
        place = np.empty(layout.n_blocks, np.int64)
        place[order] = np.arange(layout.n_blocks)
        candidates = np.flatnonzero(alive)
        candidates = candidates[np.argsort(place[layout.own[candidates]], kind="stable")]
        seen: set[bytes] = set()
        for cluster in candidates.tolist():
            chosen = layout.own[cluster : cluster + 1]
            if layout.drop_both:
                chosen = np.union1d(chosen, layout.near[layout.start[cluster] : layout.start[cluster + 1]])
            if chosen.tobytes() not in seen:
                seen.add(chosen.tobytes())
                yield chosen
