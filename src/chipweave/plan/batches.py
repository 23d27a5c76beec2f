"""Tiles of neighbouring chips, and batches of tiles: the units of reading, and of work, retry and resume."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

TILE_PX = 2048
"""Side of a tile in pixels of the chips (design, section 3)."""

FEW_TILES = 8
"""With fewer tiles than this they are halved, so that small builds spread over workers and resume too."""

BATCH_PX = 4_000_000
"""Chip pixels from which a batch is full: seconds of work."""

Ints = npt.NDArray[np.int64]


def tile_names(chips: pd.DataFrame, tile_px: int | None = None) -> pd.Series[str]:
    """Tile of each chip, ``CRS:row:column``; chips of one tile share CRS, size and resolution.

    Parameters
    ----------
    chips
        Columns ``crs, x, y, size, resolution``.
    tile_px
        Side of a tile; by default `TILE_PX`, halved while there are few tiles. No pixel depends on it.
    """
    size = int(chips["size"].iloc[0])
    side = tile_px or TILE_PX
    while True:
        across = max(side // size, 1)
        names: pd.Series[str] = _names(chips, across)
        if tile_px is not None or across == 1 or names.nunique() >= FEW_TILES:
            return names
        side //= 2


def _names(chips: Any, across: int) -> Any:
    # Half a chip off the corner: a lattice's float noise must not move a chip to the next tile.
    step = chips["size"] * chips["resolution"]
    col = np.floor((chips["x"] / step + 0.5) / across).astype(np.int64)
    row = np.floor((-chips["y"] / step + 0.5) / across).astype(np.int64)
    return chips["crs"] + ":" + row.map("{:+09d}".format) + ":" + col.map("{:+09d}".format)


def batch_numbers(chips: pd.DataFrame) -> Ints:
    """Batch of each chip: consecutive tiles, in the order of their names, until one is full.

    Parameters
    ----------
    chips
        Columns ``tile, size``.
    """
    weight = chips["size"].astype(np.int64) ** 2
    tiles = weight.groupby(chips["tile"]).sum().sort_index()
    numbers, batch, filled = {}, 0, 0
    for tile, pixels in tiles.items():
        if filled and filled + pixels > BATCH_PX:
            batch, filled = batch + 1, 0
        numbers[tile] = batch
        filled += int(pixels)
    # Few batches would leave workers idle and little to resume: then each tile is one.
    if batch + 1 < FEW_TILES:
        numbers = {tile: i for i, tile in enumerate(tiles.index)}
    return np.array([numbers[tile] for tile in chips["tile"]], np.int64)


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
