"""Stratified dealing: blocks to splits so that classes, regions or years are alike in all of them.

Each block is a row of amounts: its places, and how much of each stratum they hold. Blocks are dealt, the heavy ones
first, to the split that is furthest behind in what the block holds; then single blocks are moved while that helps, all
moves being weighed at once. What the gap takes is put back into the targets, and the deal repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.plan.splits.deal import Layout, seeded_order

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Amounts = NDArray[np.floating[Any]]

_ROUNDS = 10
_WORK = 4e8
"""Numbers that all moves together may look at: some seconds."""
_TRIES = 1_500
"""Most single blocks whose move is tried against the gap itself, at the end."""
_SIZE = 4.0
"""How much more the number of places counts than all strata together."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """A deal, and how far each stratum's shares are from the fractions.

    Parameters
    ----------
    splits
        (b,) of the blocks.
    empty
        Splits that keep nothing.
    shares
        (s, c) share of each stratum that each split keeps.
    """

    splits: Ints
    empty: int
    shares: Floats


def deal_balanced(
    layout: Layout, fractions: Floats, strata: Amounts, *, tolerance: float, seed: int
) -> Balanced:
    """Deal blocks so that each split holds its fraction of the places and of every stratum.

    Parameters
    ----------
    layout
        Blocks and their contacts.
    fractions
        (s,) in yielding order, positive, summing to one.
    strata
        (k, c) how much of each stratum each cluster of the layout holds, not negative.
    tolerance
        How far the shares of places may be from their fractions.
    seed
        Of the order among blocks of about one weight.
    """
    amounts = np.column_stack([layout.size.astype(np.float32), strata.astype(np.float32, copy=False)])
    blocks: Floats = np.stack(
        [np.bincount(layout.own, column, layout.n_blocks) for column in amounts.T], axis=1
    ).astype(np.float64)
    whole = np.maximum(blocks.sum(axis=0), 1e-12)
    # Strata count like the square root of what there is of them: rare ones matter, and cannot rule.
    rank = np.sqrt(whole[1:] / whole[1:].sum())
    worth = np.concatenate([[_SIZE], rank / rank.sum()]) / whole**2
    order = _heavy_first(blocks[:, 0], seeded_order(layout.names, seed, 0))
    targets = fractions[:, None] * whole
    best: tuple[tuple[float, ...], Ints] | None = None
    for _ in range(_ROUNDS if len(layout.near) else 1):
        splits = _moved(
            blocks, worth, targets, _greedy(blocks, worth, targets, order, layout.fixed), layout.fixed
        )
        score, kept = _score(layout, splits, amounts, fractions, tolerance)
        if best is None or score < best[0]:
            best = score, splits
        # A split with nothing left is asked for as if half a place had been.
        wish = fractions[:, None] * np.maximum(kept.sum(axis=0), 0.5)
        targets = targets * np.clip(wish / np.maximum(kept, 0.5 * fractions[:, None]), 0.5, 2.0) ** 0.7
        targets *= whole / targets.sum(axis=0)
    assert best is not None  # noqa: S101 - there is at least one round
    splits = _tried(layout, best[1], amounts, fractions, tolerance, order)
    _, kept = _score(layout, splits, amounts, fractions, tolerance)
    shares = kept[:, 1:] / np.maximum(kept[:, 1:].sum(axis=0), 1e-12)
    return Balanced(splits, int(np.sum(kept[:, 0] == 0)), shares)


def _heavy_first(weight: Floats, order: Ints) -> Ints:
    """An order with the heavy blocks first; among those of about one weight as it was."""
    size = np.floor(np.log2(np.maximum(weight[order], 1)) * 2)
    return np.asarray(order[np.argsort(-size, kind="stable")], np.int64)


def _greedy(blocks: Floats, worth: Floats, targets: Floats, order: Ints, fixed: Ints) -> Ints:
    splits = np.maximum(fixed, 0)
    behind = -targets
    for s in range(len(targets)):
        behind[s] += blocks[fixed == s].sum(axis=0)
    rows, weighed = blocks, blocks * worth
    for block in order[fixed[order] < 0].tolist():
        to = int((behind @ weighed[block]).argmin())
        splits[block] = to
        behind[to] += rows[block]
    return splits


def _moved(blocks: Floats, worth: Floats, targets: Floats, splits: Ints, fixed: Ints) -> Ints:
    """Move single blocks, the best move first, while the distance from the targets shrinks."""
    splits = splits.copy()
    n, number = len(blocks), len(targets)
    weighed = blocks * worth
    own = np.einsum("bc,bc->b", blocks, weighed)
    excess = np.stack([blocks[splits == s].sum(axis=0) for s in range(number)]) - targets
    rows = np.arange(n)
    free = fixed < 0
    for _ in range(int(min(2_000, _WORK / blocks.size / number))):
        pull = weighed @ excess.T
        gain = 2 * (pull - pull[rows, splits][:, None]) + 2 * own[:, None]
        gain[rows, splits] = 0.0
        gain[~free] = 0.0
        block, to = divmod(int(gain.argmin()), number)
        if gain[block, to] >= -1e-12:
            break
        excess[splits[block]] -= blocks[block]
        excess[to] += blocks[block]
        splits[block] = to
    return splits


def _score(
    layout: Layout, splits: Ints, amounts: Amounts, fractions: Floats, tolerance: float
) -> tuple[tuple[float, ...], Floats]:
    """Empty splits, shares beyond half the tolerance, then how unlike strata are; and what is kept, (s, 1 + c)."""
    stays = layout.stays(splits)
    own = splits[layout.own]
    kept = np.stack(
        [amounts[stays & (own == s)].sum(axis=0, dtype=np.float64) for s in range(len(fractions))]
    )
    shares = kept / np.maximum(kept.sum(axis=0), 1e-12)
    off = np.abs(shares - fractions[:, None])
    rank = np.sqrt(kept[:, 1:].sum(axis=0))
    unlike = float((off[:, 1:].max(axis=0) * rank).sum() / max(rank.sum(), 1e-12)) if len(rank) else 0.0
    beyond = max(float(off[:, 0].max()) - tolerance / 2, 0.0)
    return (float(np.sum(kept[:, 0] == 0)), beyond, unlike + float(off[:, 0].max()) / 4), kept


def _tried(
    layout: Layout, splits: Ints, amounts: Amounts, fractions: Floats, tolerance: float, order: Ints
) -> Ints:
    """Move single blocks while what is left after the gap gets closer: for few blocks, where every one matters."""
    best, score = splits, _score(layout, splits, amounts, fractions, tolerance)[0]
    steps = int(min(_TRIES, _WORK / 4 // (amounts.size + len(layout.near))))
    free = order[layout.fixed[order] < 0].tolist()
    moved = True
    while moved and steps > 0:
        moved = False
        for block in free:
            for to in range(len(fractions)):
                if to == best[block] or steps <= 0:
                    continue
                steps -= 1
                trial = best.copy()
                trial[block] = to
                this = _score(layout, trial, amounts, fractions, tolerance)[0]
                if this < score:
                    best, score, moved = trial, this, True
    return best
