"""Grids of layers that have one of their own, over the chip's centre."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pyproj

from chipweave.errors import NotBuiltError, RecipeError
from chipweave.pixels import LayerRead
from chipweave.recipe import LoadedRecipe

if TYPE_CHECKING:
    from chipweave.plan.targets import ChipScenes

CLOSE = 1e-6
"""Pixels by which a layer's side may miss a whole number of them: noise of decimal fractions."""


def layer_grid(loaded: LoadedRecipe, layer: str) -> tuple[int, float] | None:
    """(pixels a side, metres a pixel) of an imagery layer with a grid of its own; None where it has the chip's.

    Raises
    ------
    RecipeError
        Its side is no whole number of pixels.
    NotBuiltError
        It is larger than the chip, or the chips' CRS is not in metres.
    """
    chips, wish = loaded.recipe.chips, loaded.recipe.imagery[layer]
    if wish.resolution is None and wish.extent_m is None:
        return None
    where = f"imagery.{layer}.{'resolution' if wish.extent_m is None else 'extent_m'}"
    if not in_metres(chips.crs):
        raise NotBuiltError(
            f"{where}: known, but not built yet where chips.crs ({chips.crs}) is not in metres"
        )
    side = chips.pixels * chips.metres_per_pixel
    resolution, extent = wish.resolution or chips.metres_per_pixel, wish.extent_m or side
    if extent > side * (1 + CLOSE):
        raise NotBuiltError(
            f"{where}: {extent:g} m is more than the chip's {side:g} m: known, but not built yet",
            hint="larger chips: splits keep chips apart, and would not see what lies beyond them",
        )
    size = extent / resolution
    if size < 1 or abs(size - round(size)) > CLOSE * max(size, 1):
        least = max(math.floor(size), 1)
        raise RecipeError(
            f"{where}: {extent:g} m are {size:.6g} pixels of {resolution:g} m, no whole number",
            hint=f"take resolution {extent / least:.10g} or {extent / (least + 1):.10g}",
        )
    return round(size), float(resolution)


def in_metres(crs: str) -> bool:
    """Whether the axes of the chips' CRS count metres."""
    return crs == "utm" or all(a.unit_name == "metre" for a in pyproj.CRS.from_user_input(crs).axis_info)


def on_grid(chips: Sequence[ChipScenes], read: LayerRead) -> Sequence[ChipScenes]:
    """Chips as a layer sees them: on its own grid, where it has one."""
    if read.grid is None:
        return chips
    return [replace(chip, place=read.place(chip.place)) for chip in chips]


def times_finer(places: pd.DataFrame, reads: Iterable[LayerRead]) -> int:
    """Pixels of the finest layer along one of the chips', rounded up: tiles and batches are sized by it."""
    own = float(places["resolution"].iloc[0])
    return math.ceil(own / min([own, *(r.grid[1] for r in reads if r.grid is not None)]) - CLOSE)


def finer(places: pd.DataFrame, times: int) -> pd.DataFrame:
    """The same places in smaller pixels."""
    if times == 1:
        return places
    return places.assign(size=places["size"] * times, resolution=places["resolution"] / times)
