"""Read a scene for many chips at once: their common window where they are dense, each by itself where not.

What a chip gets does not depend on which of the two happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import Place

Arrays = tuple[npt.NDArray[np.generic], ...]
ReadWindow = Callable[[str, Affine, tuple[int, int]], Arrays]
"""``read(crs, affine, (rows, columns))``: arrays whose last two axes are (y, x)."""

SPARSE = 2.5
"""A common window of more than this many times the chips' own area is not read."""


def read_chips(
    places: Sequence[Place], read: ReadWindow
) -> Iterator[tuple[Place, Arrays | PermanentSourceError]]:
    """Arrays of each place, cut from common windows.

    Parameters
    ----------
    places
        Of one CRS, size and resolution, on one lattice.
    read
        Called once where the places are dense; once a place where they are sparse, or where the common window
        cannot be read: a broken block spoils its own chips alone.

    Yields
    ------
    place, arrays or the permanent error
        A transient error is raised instead.
    """
    first = places[0]
    left, top = min(p.x for p in places), max(p.y for p in places)
    cells = [(round((top - p.y) / p.resolution), round((p.x - left) / p.resolution)) for p in places]
    height, width = (max(c[k] for c in cells) + first.size for k in (0, 1))
    whole: Arrays | None = None
    if len(places) > 1 and height * width <= SPARSE * len(places) * first.size**2:
        try:
            affine = Affine(first.resolution, 0.0, left, 0.0, -first.resolution, top)
            whole = read(first.crs, affine, (height, width))
        except PermanentSourceError:
            whole = None
    for place, (row, col) in zip(places, cells, strict=True):
        if whole is not None:
            yield place, tuple(a[..., row : row + place.size, col : col + place.size] for a in whole)
            continue
        try:
            yield place, read(place.crs, place.affine, (place.size, place.size))
        except PermanentSourceError as error:
            yield place, error
