"""Blocks: cells of an equal-distance grid go to splits whole, with a gap between two splits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from chipweave.errors import RecipeError, YieldError
from chipweave.plan.distance import near_pairs
from chipweave.plan.splits.base import BufferDrop, Names, SplitResult, gap, yielding_order
from chipweave.plan.splits.deal import Layout, deal

_RADIUS_KM = 6371.0088
_ENOUGH_BLOCKS = 50
"""From here on shares are promised to be within the tolerance."""


def block_ids(lon: ArrayLike, lat: ArrayLike, block_km: float) -> Names:
    """Cells of the equal-distance grid: rows by latitude, columns by the row's circumference.

    Parameters
    ----------
    lon, lat
        (n,) degrees; longitudes may be given beyond ±180.
    block_km
        About the side of a cell, kilometres.

    Returns
    -------
    ndarray
        (n,) text like ``r0123c0456``, rows from the south pole, columns from -180°.
    """
    lons, lats = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    if not (math.isfinite(block_km) and block_km > 0):
        raise RecipeError(f"split.block_km is {block_km}: a block needs a positive size")
    rows = math.ceil(math.pi * _RADIUS_KM / block_km)
    row = np.clip(np.floor((lats + 90) / 180 * rows).astype(np.int64), 0, rows - 1)
    middle = np.radians((row + 0.5) / rows * 180 - 90)
    around = 2 * math.pi * _RADIUS_KM * np.cos(middle)
    columns = np.maximum(np.ceil(around / block_km), 1).astype(np.int64)
    turn = np.mod(lons + 180, 360) / 360
    column = np.minimum(np.floor(turn * columns).astype(np.int64), columns - 1)
    return np.array([f"r{r:04d}c{c:04d}" for r, c in zip(row, column, strict=True)], dtype=np.str_)


def assign(
    table: pd.DataFrame,
    rings: NDArray[np.float64],
    *,
    block_km: float,
    fractions: Mapping[str, float],
    buffer_m: float = 0.0,
    buffer_drop: BufferDrop = "larger",
    tolerance: float = 0.05,
    seed: int = 0,
) -> SplitResult:
    """Split places by blocks.

    Parameters
    ----------
    table, rings
        As `SplitMethod` says.
    block_km
        About the side of a block, kilometres.
    fractions
        Of the places that are kept, by split; scaled to sum to one. A fraction of zero asks for no such
        split.
    buffer_m
        Places of two splits are at least this far apart (footprints, metres on the ellipsoid).
    buffer_drop
        Who gives way at a border: see `gap`.
    tolerance
        How far a share may be from its fraction.
    seed
        Of the order in which blocks are dealt.

    Raises
    ------
    YieldError
        A split stays empty whatever is dealt.
    RecipeError
        Fractions that cannot be shared out, or a block without a size.
    """
    wanted = _wanted(fractions)
    order = _order(table)
    ids = block_ids(table["lon"].to_numpy(float)[order], table["lat"].to_numpy(float)[order], block_km)
    blocks, of = np.unique(ids, return_inverse=True)
    i, j = near_pairs(rings[order], buffer_m if len(wanted) > 1 else 0.0, groups=of)
    ranked = yielding_order(wanted)
    layout = Layout.of(blocks, of, i, j, drop_both=buffer_drop == "both")
    found = deal(layout, np.array([wanted[name] for name in ranked]), tolerance=tolerance, seed=seed)
    if found is None:
        raise _empty(layout, ranked, block_km, buffer_m)
    named = np.array(ranked, dtype=np.str_)[found][of]
    keep = ~gap(named, i, j, fractions=wanted, buffer_drop=buffer_drop)
    back = np.argsort(order)
    split = np.where(keep, named, "")[back]
    shares = {name: float(np.sum(split == name) / np.sum(keep)) for name in wanted}
    return SplitResult(split, ids[back], shares, _notes(shares, wanted, len(blocks), tolerance, split))


def _order(table: pd.DataFrame) -> NDArray[np.int64]:
    """Rows by place: the order that they come in must not matter."""
    if len(table) == 0:
        raise YieldError(
            "there is no place to split", hint="look at the ledger: every chip was dropped before"
        )
    places = table["place"].astype(str).to_numpy(dtype=np.str_)
    if len(np.unique(places)) < len(places):
        raise ValueError("one row a place: `place` holds duplicates")
    return np.argsort(places, kind="stable")


def _wanted(fractions: Mapping[str, float]) -> dict[str, float]:
    """Fractions that ask for something, scaled to one."""
    bad = [name for name, part in fractions.items() if not (math.isfinite(part) and part >= 0)]
    total = math.fsum(fractions.values())
    if bad or total <= 0:
        raise RecipeError(f"split.fractions {dict(fractions)}: parts of a whole are numbers from 0 to 1")
    return {name: part / total for name, part in fractions.items() if part > 0}


def _empty(layout: Layout, names: list[str], block_km: float, buffer_m: float) -> YieldError:
    number = layout.n_blocks
    kind = "block" if number == 1 else "blocks"
    return YieldError(
        f"a split stays empty: {layout.n_places} places lie in {number} {kind} of about {block_km:g} km, and "
        f"with a gap of {buffer_m:g} m no way to deal them leaves a chip in {', '.join(sorted(names))} each",
        hint="make split.block_km or split.buffer_m smaller, or the area larger",
    )


def _notes(
    shares: Mapping[str, float], wanted: Mapping[str, float], n_blocks: int, tolerance: float, split: Names
) -> tuple[str, ...]:
    notes = []
    lost = int(np.sum(split == ""))
    if lost:
        notes.append(f"{lost} of {len(split)} places give way to a neighbour of another split (buffer)")
    worst = max(wanted, key=lambda name: abs(shares[name] - wanted[name]))
    if abs(shares[worst] - wanted[worst]) > tolerance:
        few = f"; there are only {n_blocks} blocks" if n_blocks < _ENOUGH_BLOCKS else ""
        notes.append(f"{worst} holds {shares[worst]:.1%} where {wanted[worst]:.1%} was asked for{few}")
    return tuple(notes)
