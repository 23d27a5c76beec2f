"""Inside a tile: concentric squares of every tile, the outermost ring to train, the core to test, as reBEN splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import Stability, Units, usual_order
from chipweave.plan.splits.options import Options, wanted

DEFAULT = {"train": 0.5, "val": 0.25, "test": 0.25}
"""Parts of a tile's area, outer to inner."""

BOUNDS = ("tile_xmin", "tile_ymin", "tile_xmax", "tile_ymax")
"""Columns with the full tile, in the CRS of the centroids."""

CENTRE = ("centroid_x", "centroid_y")
"""Columns with a place's centroid in the tile's CRS."""

_NOISE = 1e-11
"""Of the side: a centroid that a change of CRS moved by less (a micrometre) still lies on its ring's border."""

Floats = NDArray[np.float64]


class InsideTile:
    """A place goes where its centroid lies in its tile."""

    stability: ClassVar[Stability] = "stable"
    leaks: ClassVar[bool] = False
    noun: ClassVar[str] = "rings of tiles"

    def __call__(self, table: pd.DataFrame, rings: Floats, options: Options) -> Units:  # noqa: ARG002
        """See `chipweave.plan.splits.base.Method`."""
        fractions = wanted(DEFAULT if options.fractions is None else options.fractions)
        missing = [c for c in ("tile", *BOUNDS, *CENTRE) if c not in table]
        if missing:
            raise RecipeError(
                f"split.method inside_tile: there is no column {missing[0]!r}",
                hint=f"a place needs its tile: columns tile, {', '.join(BOUNDS)}; `sampling: {{method: scene_tiles}}` "
                "brings them",
            )
        edge, side = _measured(table)
        names = usual_order(list(fractions))
        ring = np.zeros(len(table), np.int64)
        for limit in insets(fractions)[1:]:
            ring += edge >= (limit - _NOISE) * side
        split = np.array(names, dtype=np.str_)[ring]
        tiles = table["tile"].astype(str).to_numpy(dtype=np.str_)
        empty = [name for name in names if not (split == name).any()]
        note = f"no place lies in the ring of {', '.join(empty)}: that split is empty"
        return Units(
            np.char.add(np.char.add(tiles, "/"), split), split=split,
            splits=tuple(name for name in names if name not in empty), notes=(note,) if empty else (),
        )  # fmt: skip


def insets(fractions: Mapping[str, float]) -> list[float]:
    """Where rings begin, outer to inner, as parts of the tile's side from its edge; the first is 0.

    Inside a part q of the area lies a square of side √q: for a half (2 - √2)/4, for a quarter 1/4.
    """
    parts = wanted(fractions)
    inside, found = 1.0, []
    for name in usual_order(list(parts)):
        found.append((1 - math.sqrt(max(inside, 0.0))) / 2)
        inside -= parts[name]
    return found


def _measured(table: pd.DataFrame) -> tuple[Floats, Floats]:
    """Distances of centroids from their tile's edge, and the tiles' sides, in units of the CRS."""
    xmin, ymin, xmax, ymax = (pd.to_numeric(table[c], errors="coerce").to_numpy(float) for c in BOUNDS)
    x, y = (table[c].to_numpy(float) for c in CENTRE)
    side, high = xmax - xmin, ymax - ymin

    def refuse(bad: NDArray[np.bool_], why: str) -> None:
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise RecipeError(
                f"split.method inside_tile: {table['place'].iloc[k]}: {why} (tile {table['tile'].iloc[k]}: "
                f"{xmin[k]:g}, {ymin[k]:g}, {xmax[k]:g}, {ymax[k]:g})"
            )

    refuse(table["tile"].isna().to_numpy(), "it has no tile")
    refuse(~np.isfinite(side + high) | (side <= 0) | (high <= 0), "its tile has no bounds")
    refuse(np.abs(side - high) > 1e-6 * side, "its tile is no square")
    edge = np.minimum(np.minimum(x - xmin, xmax - x), np.minimum(y - ymin, ymax - y))
    refuse(
        ~(edge >= -_NOISE * side),
        "its centroid lies outside its tile: bounds are in the CRS of column crs, or the table's",
    )
    return np.asarray(edge, np.float64), np.asarray(side, np.float64)
