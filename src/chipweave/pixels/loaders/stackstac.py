"""stackstac as a reference loader.

Its defaults move pixels (`snap_bounds`), give float64 and apply scales by guess, and under numpy 2 some of them
raise; so all is said: epsg, resolution, bounds, dtype, fill value. Its coordinates name the pixels' upper left
corners (its issue 207), so none are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import stackstac
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.env import getenv

from chipweave.errors import NotBuiltError
from chipweave.model import Asset
from chipweave.pixels.lattice import Grid
from chipweave.pixels.loaders import packages
from chipweave.pixels.loaders.base import AnyArray, BoolArray
from chipweave.pixels.resample import Method

_BESIDE = "GDAL_DISABLE_READDIR_ON_OPEN"


def load(
    assets: Sequence[Asset],
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> list[tuple[AnyArray, BoolArray]]:
    """See `Loader`.

    Raises
    ------
    NotBuiltError
        The window's CRS has no EPSG code; or, for `mean` and `mode`, that of a file has none, or it is not north-up.
    """
    return [packages.load_band(fetch, asset, default_nodata, crs, affine, shape, method) for asset in assets]


def fetch(
    file: str, dtype: np.dtype[np.floating], grid: Grid, shape: tuple[int, int], rule: packages.Rule
) -> packages.Floats:
    """See `packages.Fetch`."""
    epsg, a = _epsg(grid.crs), grid.affine
    if a.b or a.d or a.a <= 0 or a.e >= 0:
        raise NotBuiltError("--loader stackstac: knows grids that are north-up alone", hint=packages.HINT)
    bounds = (a.c, a.f + a.e * shape[0], a.c + a.a * shape[1], a.f)
    # It would never look beside a file, where a mask may lie; whether to is said by who calls.
    beside = {_BESIDE: getenv().get(_BESIDE, "FALSE")}
    # The window itself as the file's bounds: the file's header tells where it really lies.
    where = {"proj:epsg": epsg, "proj:bbox": bounds}
    item = {
        "id": "scene",
        "properties": {"datetime": "2000-01-01T00:00:00Z", **where},
        "assets": {"band": {"href": file}},
    }
    stack = stackstac.stack(
        [item],
        assets=["band"],
        epsg=epsg,
        resolution=(a.a, -a.e),
        bounds=bounds,
        snap_bounds=False,
        resampling=Resampling[rule],
        chunksize=max(shape),
        dtype=dtype,
        fill_value=dtype.type(np.nan),
        rescale=False,
        sortby_date=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        gdal_env=stackstac.DEFAULT_GDAL_ENV.updated(open=beside),
    )
    # In this thread: Dask schedules batches, nothing smaller.
    out: packages.Floats = stack.data.compute(scheduler="synchronous")[0, 0]
    return out


@lru_cache(maxsize=64)
def _epsg(crs: str) -> int:
    code: int | None = CRS.from_user_input(crs).to_epsg(confidence_threshold=100)
    if code is None:
        raise NotBuiltError(
            f"--loader stackstac: knows grids by their EPSG code alone, and there is none for {crs[:60]}",
            hint=packages.HINT,
        )
    return code
