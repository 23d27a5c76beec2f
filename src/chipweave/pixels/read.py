"""Open files: rasterio underneath, one handle a thread and file, and a few decoded blocks kept beside them.

Every failure leaves as a `TransientSourceError` (retry) or a `PermanentSourceError` (take another scene).
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.errors
from affine import Affine
from rasterio.enums import MaskFlags

from chipweave.catalog import access
from chipweave.catalog.formats import check_header, open_raster
from chipweave.catalog.hrefs import is_http, redact
from chipweave.errors import PermanentSourceError
from chipweave.model import Asset
from chipweave.pixels.failures import REFUSED, attempts, classify, is_remote
from chipweave.pixels.kept import Kept
from chipweave.pixels.lattice import Grid
from chipweave.pixels.stored import SourceGrid, no_data, with_room
from chipweave.pixels.webfiles import WebFiles

if TYPE_CHECKING:
    from chipweave.catalog.remote import RemoteFile

MAX_HANDLES = 128
"""Open files a thread keeps; the least recently used one is closed."""

CACHE_BYTES = 256 << 20
"""Decoded blocks that a thread keeps: the lower borders of four tiles in a row, of four dates of eleven layers each."""

_FAST = "LIBERTIFF"
"""GDAL's thread-safe GeoTIFF reader (since 3.11): it decodes a block straight, without GDAL's own cache."""

_SESSION = {
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 16,
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.3",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    # Else GDAL remembers that a file could not be opened, and a retry never asks again.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
    "GDAL_PAM_ENABLED": "NO",
}

_depth = 0


@contextmanager
def gdal_session(catalogs: Sequence[Path] = ()) -> Iterator[None]:
    """GDAL set up as reading here wants it; around a unit of work.

    Inside another session files stay open at its end, and with them the blocks that the next unit of work shares.

    Parameters
    ----------
    catalogs
        Further `catalogs/` folders, whose providers say how files behind a login are opened.
    """
    with access.rules_of(catalogs), rasterio.Env(**_SESSION), keep_open():
        yield


@contextmanager
def keep_open() -> Iterator[None]:
    """Keep this thread's files open from one session to the next, until the block ends."""
    global _depth  # noqa: PLW0603 - one count a process: sessions of all threads
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            let_go()


def let_go(*, ahead: bool = True) -> None:
    """Close this thread's files, forget their blocks and give the room back: what comes next reads others.

    The C library keeps what was freed between things that stay: 50 MB after a hundred files. Without `ahead` those
    stay of which something was asked for that is still to be read.
    """
    handles.close(ahead=ahead)
    _trim()


def end_tile() -> None:
    """Forget the blocks that only more windows of the same tile would need."""
    handles.blocks.end_tile()


def spare(room: int) -> None:
    """Keep no more than `room` bytes of blocks, and give the room of others back."""
    handles.blocks.shrink(room)
    _trim()


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc has it
        trim(0)


class _Life:
    """Lives as long as the thread that has it."""


def _close_all(datasets: dict[str, rasterio.DatasetReader], context: Context) -> None:
    while datasets:
        context.run(datasets.popitem()[1].close)


class Handles(threading.local):
    """Open datasets of one thread, the headers that were read, and decoded blocks by (file, band, row, column)."""

    def __init__(self) -> None:
        self.open: OrderedDict[str, rasterio.DatasetReader] = OrderedDict()
        self.state: dict[str, tuple[int, int, int]] = {}
        self.headers: dict[tuple[str, int], SourceGrid] = {}
        self.blocks = Kept()
        self.web = WebFiles()
        # rasterio keeps in the context of who opens a file what it needs when the file is closed.
        self._own = Context()
        # A thread that ends, and a process, close what is still open in that context too.
        self._life = _Life()
        weakref.finalize(self._life, _close_all, self.open, self._own)

    def get(self, href: str) -> rasterio.DatasetReader:
        """Open a file, or the handle that is open."""
        found = self.open.get(href)
        if found is None and is_http(href):
            found = self.open[href] = self._own.run(_open_web, self.web.get(href))
            self.state[href] = _state(href)
            while (oldest := self.web.beyond) is not None:
                self.drop(oldest)
        if found is None:
            how = access.opening(href) if is_remote(href) else None
            found = self.open[href] = _open(href, how)
            self.state[href] = _state(href)
        self.open.move_to_end(href)
        if len(self.open) > MAX_HANDLES:
            self.drop(next(iter(self.open)))
        return found

    def reading(self, source: SourceGrid, blocks: Sequence[tuple[int, int]]) -> rasterio.DatasetReader:
        """As `get`; of a file over http(s) the stored blocks (row, column) that are read next are there then."""
        web = self.web
        if not is_http(source.href):
            return self.get(source.href)
        if web.reads is not None:
            web.reads(source.href, source.index, blocks)
        found = self.get(source.href)  # after others were opened: the oldest may have been closed
        web.read(source.href, found, source.index, blocks)
        return found

    def done(self, source: SourceGrid, blocks: Sequence[tuple[int, int]]) -> None:
        """Let go of what was fetched of blocks that were read, unless other bands are stored with it."""
        file = self.web.open.get(source.href)
        if file is not None:
            file.done(source.index, blocks, alone=self.open[source.href].count == 1)

    def later(
        self, source: SourceGrid, blocks: Sequence[tuple[int, int]], turn: int, most: int | None
    ) -> bool:
        """Ask for stored blocks of an open file: see `WebFiles.later`."""
        return self.web.later(source.href, self.get(source.href), source.index, blocks, turn, most)

    def fresh(self, href: str) -> None:
        """Forget a file that another has taken the place of."""
        if href in self.open and self.state[href] != _state(href):
            self.drop(href)

    def plain(self, href: str) -> rasterio.DatasetReader | None:
        """Open a file again with GDAL's usual driver; None where that is the one in use."""
        if href not in self.open or self.open[href].driver != _FAST:
            return None
        self.open.pop(href).close()
        found = self.open[href] = rasterio.open(href, driver="GTiff")
        return found

    def drop(self, href: str) -> None:
        """Let go of a file and its blocks."""
        found = self.open.pop(href, None)
        self.web.drop(href)
        if found is None:
            return
        self._own.run(found.close)
        del self.state[href]
        for index in [i for h, i in self.headers if h == href]:
            del self.headers[href, index]
        self.blocks.drop_file(href)

    def close(self, *, ahead: bool = True) -> None:
        """Let go of everything; without `ahead` but for files of which something is still to come."""
        for href in [h for h in self.open if ahead or not self.web.comes(h)]:
            self.drop(href)
        if ahead:
            self.web.close()


def _state(href: str) -> tuple[int, int, int]:
    """What tells a local file from another under its name."""
    if is_remote(href) or href.startswith("/vsi"):
        return 0, 0, 0
    found = os.stat(href.removeprefix("file://"))  # noqa: PTH116 - a path object costs more than the look
    return found.st_ino, found.st_size, found.st_mtime_ns


def _open(href: str, how: access.Opening | None = None) -> rasterio.DatasetReader:
    """Open a GeoTIFF or JPEG 2000, local GeoTIFFs with the fast reader where GDAL has it and it suffices.

    `how` is set for a remote file.
    """
    if has_fast() and how is None and href.lower().endswith((".tif", ".tiff")):
        try:
            found = rasterio.open(href, driver=_FAST)
        except rasterio.errors.RasterioError:
            found = None  # the usual driver says what is wrong, or reads it after all
        if found is not None:
            # It would decode a block of interleaved bands once a band.
            if found.crs is not None and found.count == 1 and not _mask_beside(href):
                return found
            found.close()  # the CRS may stand in a side-car file, which the fast reader does not look at
    # Side-car files of a remote asset would each cost a request; local ones may carry the CRS.
    # Over http(s) see `_open_web`: what comes here is in a bucket.
    if how is not None:
        with how.env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            return open_raster(how.name, redact(href))
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"):
        return open_raster(href, href)


def _mask_beside(href: str) -> bool:
    return os.path.exists(href.removeprefix("file://") + ".msk")  # noqa: PTH110 - a path object costs more


def _open_web(remote: RemoteFile) -> rasterio.DatasetReader:
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        return remote.open()


@lru_cache(maxsize=1)
def has_fast() -> bool:
    """Whether the GDAL at hand has the fast GeoTIFF reader."""
    with rasterio.Env() as env:
        return _FAST in env.drivers()


handles = Handles()
"""Of the thread that asks."""


@contextmanager
def source_errors(href: str) -> Iterator[None]:
    """Turn what reading a file raises into a `SourceError`, and let go of the file."""
    try:
        yield
        told = handles.web.failure(href)
        if told is not None:  # GDAL may make do with what it got
            handles.drop(href)
            raise told
    except (
        rasterio.errors.RasterioError,
        rasterio.errors.RasterioIOError,
        OSError,
        IndexError,
        MemoryError,
    ) as error:
        told = handles.web.failure(href)
        handles.drop(href)
        if told is not None:
            raise told from None
        found = classify(error, href)
        if not is_remote(href):
            raise found from error
        if REFUSED.search(found.message):
            access.refused(href)  # perhaps what it was signed with is over: it is signed anew
        raise found from None  # the cause may quote a signed URL


def _header(href: str, index: int) -> SourceGrid:
    with source_errors(href):
        handles.fresh(href)
        known = handles.headers.get((href, index))
        if known is not None:
            return known
        dataset = handles.get(href)
        if not 1 <= index <= dataset.count:
            raise PermanentSourceError(
                f"{href}: has {dataset.count} bands, band {index} was asked for", href=href
            )
        if dataset.crs is None or dataset.transform == Affine.identity():
            raise PermanentSourceError(f"{href}: has no georeference", href=href)
        check_header(dataset, index, href)
        epsg = dataset.crs.to_epsg(confidence_threshold=100)
        crs = f"EPSG:{epsg}" if epsg else dataset.crs.to_wkt()
        dtype, nodata = np.dtype(dataset.dtypes[index - 1]), dataset.nodatavals[index - 1]
        hidden = None
        # Not an alpha band: writers take the fourth of four bands for one, which often is infrared. And a mask that
        # stands beside a value of no data is not seen by each of GDAL's readers.
        if nodata is None and dataset.mask_flag_enums[index - 1] == [MaskFlags.per_dataset]:
            dtype, hidden = with_room(dtype, href)
        header = handles.headers[href, index] = SourceGrid(
            href=href,
            index=index,
            grid=Grid(crs, dataset.transform),
            shape=(dataset.height, dataset.width),
            dtype=dtype,
            nodata=nodata,
            block=dataset.block_shapes[index - 1],
            hidden=hidden,
        )
        return header


def source_grid(href: str, index: int = 1) -> SourceGrid:
    """Grid, type and nodata of a band, from the file itself.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where the file cannot be opened, has no such band or no georeference.
    """
    for attempt in attempts(href):
        with attempt:
            return _header(href, index)
    raise AssertionError(href)  # pragma: no cover - stamina returns or raises


def source_of(asset: Asset, default_nodata: float | None) -> tuple[SourceGrid, float | None]:
    """Header of an asset's band, and the value that means no data: the item's, the file's, or `default_nodata`.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        See `source_grid`.
    """
    source = source_grid(asset.href, asset.index)
    stated = asset.nodata if asset.nodata is not None else source.nodata
    return no_data(source, default_nodata if stated is None else stated)
