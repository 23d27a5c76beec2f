"""Ways of placing chips, by name. A new one is a file with a `sample`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chipweave.plan.sampling import cities, grid, land_grid, listed, majortom, points, scene_tiles, uniform
from chipweave.plan.sampling.base import Ask, Method, Sampler

__all__ = ["METHODS", "Ask", "Method", "Sampler"]

METHODS: Final[Mapping[str, Method]] = {
    "grid": Method(grid.sample),
    "majortom": Method(majortom.sample, repeats=True),
    "points": Method(points.sample),
    "features": Method(points.sample),
    "random": Method(uniform.sample, drawn=True, repeats=True),
    "cities": Method(cities.sample, drawn=True, repeats=True),
    "land_grid": Method(land_grid.sample, repeats=True),
    "scene_tiles": Method(scene_tiles.sample, repeats=True),
    "list": Method(listed.sample),
    "stratified": Method(grid.sample),  # and `plan.quota`, after the survey
}
"""By what the recipe calls them."""
