"""Tiles of neighbouring chips, and batches of tiles: the units of reading, and of work, retry and resume."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from chipweave.plan.columns import Ints, unique_rows

TILE_PX = 2048
"""Side of a tile in pixels of the chips (design, section 3)."""

FEW_TILES = 8
"""With fewer tiles than this they are halved, so that small builds spread over workers and resume too."""


def few_tiles(steps: int) -> int:
    """The same where chips have several dates: each tile is that much more work, and every border is read anew."""
    return max(FEW_TILES // steps, 2)


BATCH_SIDE_PX = 8192
"""Side of the square of tiles that is one batch; halved while there are fewer than `FEW_TILES` batches."""

BATCH_PX = BATCH_SIDE_PX**2
"""Most chip pixels of a batch of several tiles."""

DATES = 12
"""Dates of a chip beyond which batches are smaller: a composite's all wait on disk until it is made."""

WORTH_PX = 1_000_000
"""Chip pixels below which neighbouring squares are joined: one chip every 20 km is no batch of its own."""


def tile_names(chips: pd.DataFrame, tile_px: int | None = None) -> pd.Series[str]:
    """Tile of each chip, ``CRS:row:column``; chips of one tile share CRS, size and resolution.

    Parameters
    ----------
    chips
        Columns ``crs, x, y, size, resolution``.
    tile_px
        Side of a tile; by default `TILE_PX`, halved while there are few tiles. No pixel depends on it.
    """
    return _names(chips, tile_side(chips, tile_px))


def tile_side(chips: pd.DataFrame, tile_px: int | None = None, few: int = FEW_TILES) -> int:
    """Side of the tiles in pixels that `tile_names` takes: whole chips; halved where there are less than `few`."""
    size = int(chips["size"].iloc[0])
    across = max((tile_px or TILE_PX) // size, 1)
    while tile_px is None and across > 1 and len(_cells(chips, across)[0]) < few:
        across = max(across // 2, 1)
    return across * size


def _cells(chips: pd.DataFrame, across: int) -> tuple[Ints, Ints, list[str]]:
    """Cells of `across` chips: (t, 3) CRS, row and column; each chip's; and the names of the CRS numbers."""
    crs, names = pd.factorize(chips["crs"], sort=True)
    step = (chips["size"] * chips["resolution"]).to_numpy(np.float64)
    # Half a chip off the corner: a lattice's float noise must not move a chip to the next tile.
    col = np.floor((chips["x"].to_numpy(np.float64) / step + 0.5) / across).astype(np.int64)
    row = np.floor((-chips["y"].to_numpy(np.float64) / step + 0.5) / across).astype(np.int64)
    found, which = unique_rows(np.stack([crs.astype(np.int64), row, col], axis=-1))
    return found, which, [str(name) for name in names]


def _names(chips: pd.DataFrame, side: int) -> pd.Series[str]:
    cells, which, crs = _cells(chips, side // int(chips["size"].iloc[0]))
    names = np.array([f"{crs[c]}:{row:+09d}:{col:+09d}" for c, row, col in cells.tolist()], dtype=object)
    return pd.Series(names[which], index=chips.index, dtype=object)


def batch_numbers(chips: pd.DataFrame, side: int, few: int = FEW_TILES, dates: int = 1) -> Ints:
    """Batch of each chip: a compact square of whole tiles, or sparse squares joined in rows.

    Parameters
    ----------
    chips
        Columns ``tile, size``.
    side
        Of the tiles, in pixels.
    few
        Batches are smaller where there would be less.
    dates
        Of a chip that becomes a composite: batches are smaller where these are many.
    """
    tiles, which = np.unique(chips["tile"].to_numpy(dtype=np.str_), return_inverse=True)
    parts = [name.rsplit(":", 2) for name in tiles.tolist()]
    crs = np.unique([p[0] for p in parts], return_inverse=True)[1]
    cells = np.array([[c, int(p[1]), int(p[2])] for c, p in zip(crs.tolist(), parts, strict=True)], np.int64)
    pixels = np.bincount(which, chips["size"].to_numpy(np.float64) ** 2).astype(np.int64)
    most, square = BATCH_PX, BATCH_SIDE_PX
    if dates > DATES:
        most = most * DATES // dates
        square = math.isqrt(most)
    across = max(square // side, 1)
    while True:
        found = _squares(cells, pixels, across, few, most)
        if across == 1 or found.max() + 1 >= few:
            break
        across //= 2
    # Few batches would leave workers idle and little to resume: then each tile is one.
    if found.max() + 1 < few:
        found = unique_rows(cells)[1]
    return found[which]


def _squares(cells: Ints, pixels: Ints, across: int, few: int, most: int) -> Ints:
    """Batch of each tile where squares of `across` tiles are batches, unless they hold too much or too little."""
    squares = np.concatenate([cells[:, :1], cells[:, 1:] // across], axis=1)
    order = np.lexsort((cells[:, 2], cells[:, 1], unique_rows(squares)[1]))
    own = unique_rows(squares)[1][order]
    whole = np.bincount(own, pixels[order]).astype(np.int64)
    worth = min(WORTH_PX, int(pixels.sum()) // (2 * few))
    found, batch, filled, last = np.empty(len(cells), np.int64), 0, 0, -1
    for tile, square, size in zip(order.tolist(), own.tolist(), pixels[order].tolist(), strict=True):
        begins = square != last
        full = begins and (filled >= worth or filled + whole[square] > most)
        if filled and (full or filled + size > most):
            batch, filled = batch + 1, 0
        found[tile] = batch
        filled, last = filled + size, square
    return found


def limit_tiles(chips: pd.DataFrame, limit: int, splits: Sequence[str]) -> set[str]:
    """Whole tiles that hold at least `limit` chips together and some of each split, every split served in turn.

    Parameters
    ----------
    chips
        Kept chips: columns ``tile, split``.
    limit
        Chips wanted.
    splits
        Names of the splits, in order; those without a chip are passed over.
    """
    counts = chips.groupby(["tile", "split"]).size().unstack(fill_value=0)
    order = sorted(counts.index, key=lambda tile: hashlib.sha256(str(tile).encode()).hexdigest())
    counts = counts.loc[order]
    sizes = dict(zip(order, counts.sum(axis=1).tolist(), strict=True))
    queues = {s: iter(counts.index[counts[s] > 0].tolist()) for s in splits if s in counts}
    held: dict[str, set[str]] = {
        t: set(counts.columns[row > 0]) for t, row in zip(order, counts.to_numpy(), strict=True)
    }
    taken: set[str] = set()
    served: set[str] = set()
    total = 0
    while queues and (total < limit or not served >= set(queues)):
        for split in list(queues):
            if total >= limit and split in served:
                continue
            tile = next((t for t in queues[split] if t not in taken), None)
            if tile is None:
                del queues[split]
                continue
            taken.add(tile)
            served |= held[tile]
            total += sizes[tile]
    return taken


def take_tiles(chips: pd.DataFrame, limit: int | None, splits: Sequence[str]) -> pd.DataFrame:
    """The chips, of which all but the tiles of `limit_tiles` are dropped for the reason ``limit``."""
    kept = chips["state"] == "kept"
    if limit is None or not kept.any():
        return chips
    left_out = kept & ~chips["tile"].isin(limit_tiles(chips[kept], limit, splits))
    chips = chips.copy()
    chips.loc[left_out, ["state", "stage", "reason"]] = ["dropped", "limit", "limit"]
    return chips
