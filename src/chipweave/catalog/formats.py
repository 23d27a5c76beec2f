"""Which rasters are opened, and what their headers may claim: files come from strangers."""

from __future__ import annotations

from typing import Final

import numpy as np
import rasterio
import rasterio.errors
from rasterio.enums import Interleaving

from chipweave.catalog.hrefs import redact
from chipweave.errors import PermanentSourceError

MAX_SIDE: Final = 1 << 27
"""Pixels of a side: a raster of the Earth at 30 cm. A header that claims more lies."""

MAX_BLOCK: Final = 1 << 30
"""Bytes of a stored block once it is decoded; one that is larger is a bomb, or no file to read windows of."""

_MAGIC: Final = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  \r\n": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}  # fmt: skip


def driver_of(first: bytes, shown: str) -> str:
    """GDAL's name of the format that a file's first bytes tell: no other is tried.

    A VRT from a catalog could name any file of this machine, and other formats any server.
    """
    for magic, driver in _MAGIC.items():
        if first.startswith(magic):
            return driver
    raise PermanentSourceError(f"{shown}: is neither GeoTIFF nor JPEG 2000", href=shown)


def open_raster(name: str, shown: str) -> rasterio.DatasetReader:
    """Open a file by GDAL's name for it, a path or one in a bucket; raises as `driver_of` does."""
    if name.startswith("/vsi"):
        try:
            return rasterio.open(name, driver="GTiff")
        except rasterio.errors.RasterioError:
            return rasterio.open(name, driver="JP2OpenJPEG")
    try:
        with open(name.removeprefix("file://"), "rb") as file:  # noqa: PTH123 - a path object costs more
            driver = driver_of(file.read(16), shown)
    except OSError:
        driver = "GTiff"  # GDAL says what is wrong
    return rasterio.open(name, driver=driver)


def check_header(dataset: rasterio.DatasetReader, index: int, href: str) -> None:
    """Refuse a header that would have more read, or decoded, than any file needs.

    Raises
    ------
    PermanentSourceError
        It does.
    """
    shown = redact(href)
    if max(dataset.width, dataset.height) > MAX_SIDE:
        raise PermanentSourceError(f"{shown}: claims {dataset.width} x {dataset.height} pixels", href=shown)
    rows, cols = dataset.block_shapes[index - 1]
    together = dataset.count if dataset.interleaving is Interleaving.pixel else 1
    size = rows * cols * np.dtype(dataset.dtypes[index - 1]).itemsize * together
    if size > MAX_BLOCK:
        raise PermanentSourceError(
            f"{shown}: a stored block of {size >> 20} MiB, more than {MAX_BLOCK >> 20}", href=shown
        )
