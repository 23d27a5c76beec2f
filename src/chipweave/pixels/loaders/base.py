"""What a loader is: stored values of some bands of one scene on a window, and where they are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.model import Asset
from chipweave.pixels.resample import Method

AnyArray = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]


class Loader(Protocol):
    """Reads bands by the contract's pixel rules (section 3), whatever package is underneath."""

    def __call__(
        self,
        assets: Sequence[Asset],
        default_nodata: float | None,
        crs: str,
        affine: Affine,
        shape: tuple[int, int],
        method: Method,
    ) -> list[tuple[AnyArray, BoolArray]]:
        """Stored values (source dtype) of some bands of one scene on a north-up window, and where they are data.

        Parameters
        ----------
        assets
            The bands' files.
        default_nodata
            Counts where neither the item nor the file states one.
        crs, affine, shape
            The window: CRS, pixel-to-CRS affine, (rows, columns).
        method
            The rule where the grids do not coincide.

        Returns
        -------
        list
            For each asset `values` and `ok`, both (rows, columns); `values` is zero where not `ok`.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            Where a file cannot be read.
        NotBuiltError
            Where the loader cannot keep the rules: it says so rather than give a wrong pixel.
        """
