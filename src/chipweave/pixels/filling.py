"""Small holes of a picture, filled from their nearest neighbours."""

from __future__ import annotations

import numpy as np

from chipweave.pixels.gaps import BoolArray, Values, holes


def fill_nearest(values: Values, most: float) -> tuple[Values, BoolArray]:
    """A picture in which every pixel without data has the value of the nearest one of its band that has data.

    Where more than `most` of it lacks data, or a band has none at all, it stays as it is: such a hole is no small one.
    Of pixels that are equally near the distance transform's own choice is taken, which is always the same.

    Parameters
    ----------
    values
        Working array, (band, y, x).
    most
        Share of the pixels, 0 to 1, of which any band may lack data.

    Returns
    -------
    values, filled
        The picture, and (y, x) where a band of it was filled.
    """
    gone = holes(values)
    anywhere = np.asarray(gone.any(axis=0), np.bool_)
    share = float(np.count_nonzero(anywhere)) / anywhere.size
    if share == 0 or share > most or gone.all(axis=(1, 2)).any():
        return values, np.zeros_like(anywhere)
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - dear to import, and few builds fill holes

    out = values.copy()
    for band, hole in zip(out, gone, strict=True):
        if hole.any():
            rows, cols = distance_transform_edt(hole, return_distances=False, return_indices=True)
            band[hole] = band[rows[hole], cols[hole]]
    return out, anywhere
