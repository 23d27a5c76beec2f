"""Open files and read blocks of them: rasterio underneath, one handle a thread and file.

Every failure leaves as a `TransientSourceError` (retry) or a `PermanentSourceError` (take another scene).
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
import stamina
from affine import Affine
from rasterio.windows import Window

from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError
from chipweave.pixels.lattice import Grid

DRIVERS = ("GTiff", "JP2OpenJPEG")
"""Formats that may be read: a VRT from a catalog could name any file of this machine."""

MAX_HANDLES = 128
"""Open files a thread keeps; the least recently used one is closed."""

_SESSION = {
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 256,
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.3",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_PAM_ENABLED": "NO",
}

_PASSING = re.compile(
    r"HTTP response code:? ?(408|429|5\d\d)|timed? ?out|timeout|Could not resolve"
    r"|Couldn't connect|Could not connect|Connection (refused|reset)|CURL error|Failed to connect|Recv failure",
    re.IGNORECASE,
)
_BUSY = re.compile(r"Too many open files", re.IGNORECASE)
"""Of this machine, not of the file: no reason to take another scene."""

_REFUSED = re.compile(r"HTTP response code:? ?(401|403)", re.IGNORECASE)


@contextmanager
def gdal_session() -> Iterator[None]:
    """GDAL set up as reading here wants it; entered once around a unit of work."""
    with rasterio.Env(**_SESSION):
        try:
            yield
        finally:
            _handles.close()


def is_remote(href: str) -> bool:
    """Whether GDAL reads the href over a network."""
    return "://" in href and not href.startswith("file://")


def classify(error: Exception, href: str) -> SourceError:
    """What a failed read means for its catcher; `href` is shown without its query."""
    shown = href.split("?", maxsplit=1)[0]
    chain = [str(error)]
    cause: BaseException | None = error.__cause__ or error.__context__
    while cause is not None and len(chain) < 5:
        chain.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    text = " | ".join(chain).replace(href, "").replace(shown, "")
    said = f"{shown}: {chain[-1][:300]}".replace(href, shown)
    if is_remote(href) and (_PASSING.search(text) or _REFUSED.search(text)):
        return TransientSourceError(said, hint="run the same command again to resume", href=shown)
    if isinstance(error, MemoryError) or _BUSY.search(text):
        return TransientSourceError(said, href=shown)
    return PermanentSourceError(said, href=shown)


class _Handles(threading.local):
    """Open datasets of one thread."""

    def __init__(self) -> None:
        self.open: OrderedDict[str, rasterio.DatasetReader] = OrderedDict()

    def get(self, href: str) -> rasterio.DatasetReader:
        found = self.open.get(href)
        if found is None:
            # Side-car files of a remote asset would each cost a request; local ones may carry the CRS.
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR" if is_remote(href) else "FALSE"):
                found = rasterio.open(href)
            if found.driver not in DRIVERS:
                found.close()
                raise PermanentSourceError(
                    f"{href}: is {found.driver}, not one of {', '.join(DRIVERS)}", href=href
                )
            self.open[href] = found
            if len(self.open) > MAX_HANDLES:
                self.open.popitem(last=False)[1].close()
        self.open.move_to_end(href)
        return found

    def drop(self, href: str) -> None:
        found = self.open.pop(href, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        while self.open:
            self.open.popitem()[1].close()


_handles = _Handles()


@dataclass(frozen=True, slots=True)
class SourceGrid:
    """What a file's header says of one band."""

    href: str
    index: int
    grid: Grid
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    nodata: float | None


@contextmanager
def _source_errors(href: str) -> Iterator[None]:
    try:
        yield
    except (
        rasterio.errors.RasterioError,
        rasterio.errors.RasterioIOError,
        OSError,
        IndexError,
        MemoryError,
    ) as error:
        _handles.drop(href)
        raise classify(error, href) from error


def _header(href: str, index: int) -> SourceGrid:
    with _source_errors(href):
        dataset = _handles.get(href)
        if not 1 <= index <= dataset.count:
            raise PermanentSourceError(
                f"{href}: has {dataset.count} bands, band {index} was asked for", href=href
            )
        if dataset.crs is None or dataset.transform == Affine.identity():
            raise PermanentSourceError(f"{href}: has no georeference", href=href)
        epsg = dataset.crs.to_epsg(confidence_threshold=100)
        crs = f"EPSG:{epsg}" if epsg else dataset.crs.to_wkt()
        return SourceGrid(
            href=href,
            index=index,
            grid=Grid(crs, dataset.transform),
            shape=(dataset.height, dataset.width),
            dtype=np.dtype(dataset.dtypes[index - 1]),
            nodata=dataset.nodatavals[index - 1],
        )


def source_grid(href: str, index: int = 1) -> SourceGrid:
    """Grid, type and nodata of a band, from the file itself.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        Where the file cannot be opened, has no such band or no georeference.
    """
    for attempt in _attempts(href):
        with attempt:
            return _header(href, index)
    raise AssertionError(href)  # pragma: no cover - stamina returns or raises


def read_block(source: SourceGrid, row: int, col: int, height: int, width: int) -> npt.NDArray[np.generic]:
    """Stored values of a block that lies inside the file.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `source_grid`; a truncated or undecodable block is permanent.
    """
    window = Window(col, row, width, height)
    for attempt in _attempts(source.href):
        with attempt, _source_errors(source.href):
            return np.asarray(_handles.get(source.href).read(source.index, window=window))
    raise AssertionError(source.href)  # pragma: no cover - stamina returns or raises


def _attempts(href: str) -> Iterable[stamina.Attempt]:
    # GDAL retries HTTP codes by itself; this is for what it does not: cut connections and slow bodies.
    tries = 3 if is_remote(href) else 1
    return stamina.retry_context(
        on=TransientSourceError, attempts=tries, wait_initial=0.2, wait_max=2.0, timeout=60
    )


def data_mask(values: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Where stored values are data: not `nodata`, and finite."""
    if np.issubdtype(values.dtype, np.floating):
        good: npt.NDArray[np.bool_] = np.isfinite(values)
        if nodata is None or np.isnan(nodata):
            return good
        return np.asarray(good & np.not_equal(values, values.dtype.type(nodata)), np.bool_)
    if nodata is None or not float(nodata).is_integer():
        return np.ones(values.shape, np.bool_)
    return np.asarray(np.not_equal(values, int(nodata)), np.bool_)  # an int: no copy as float64
