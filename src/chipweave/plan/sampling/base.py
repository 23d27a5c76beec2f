"""What every way of placing chips is given, and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Scene
from chipweave.plan.area import AreaOfInterest
from chipweave.recipe.places import Chips, Sampling

MAX_PLACES = 20_000_000
"""More candidates than this are refused: a wrong unit or a whole continent."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a sampler is asked.

    Parameters
    ----------
    chips
        Of the recipe: size, CRS, lattice, sampling.
    area
        Where places may lie. A sampler need not hold to it, but does well to look there alone: who asks drops the rest.
    resolve
        Path of a file that the recipe names.
    wanted
        Columns that the template of keys, or a layer's time, names: a sampler adds those that it knows.
    scenes
        Of the layer that `scene_tiles` tiles.
    dated
        Those of `wanted` that tell times: chips of one corner that differ in them are several.
    """

    chips: Chips
    area: AreaOfInterest
    resolve: Callable[[str], Path]
    wanted: frozenset[str] = frozenset()
    scenes: Sequence[Scene] = ()
    dated: frozenset[str] = frozenset()

    @property
    def sampling(self) -> Sampling:
        """How places are chosen."""
        return self.chips.sampling

    @property
    def file(self) -> tuple[Path, str]:
        """The method's file, and how an error names it."""
        name = self.sampling.file or ""
        return self.resolve(name), f"chips.sampling.file: {name}"


class Sampler(Protocol):
    """A way of placing chips: recipe and area in, corners of chips out.

    It gives frames with the columns ``crs, x, y`` (upper left corner; NaN where the CRS has no answer), and any of
    ``lon, lat`` (of the centre, where known), ``key`` (where places bring their own) and `Ask.wanted`. The same recipe
    and area give the same frames. One that draws gives frames without end, in the order in which places are taken;
    others give every place once, in any order.
    """

    def __call__(self, ask: Ask) -> Iterator[pd.DataFrame]:
        """Corners of chips."""


@dataclass(frozen=True, slots=True)
class Method:
    """A sampler.

    Parameters
    ----------
    sample
        The sampler.
    drawn
        It chooses freely, so that it goes on until `count` places have room.
    repeats
        It may give one corner twice.
    """

    sample: Sampler
    drawn: bool = False
    repeats: bool = False


def too_many(count: int, ask: Ask, hint: str) -> None:
    """Refuse absurdly many candidates.

    Raises
    ------
    RecipeError
        More than `MAX_PLACES`.
    """
    if count > MAX_PLACES:
        chips = ask.chips
        raise RecipeError(
            f"area: {count:,} chips of {chips.placed} px at {chips.metres_per_pixel:g} would fill it",
            hint=hint,
        )
