"""Files over http(s): their bytes are fetched here, side by side, and decoded by GDAL, which knows no URL.

What went wrong is known for what it is, whatever GDAL makes of it: a server that falters (retry), one that says no,
or bytes that came as they are and are no raster (take another scene).
"""

from __future__ import annotations

import io
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import rasterio
import requests
from rasterio.abc import FileContainer

from chipweave.catalog import access
from chipweave.catalog.formats import driver_of
from chipweave.catalog.hrefs import is_loopback, redact
from chipweave.catalog.web import (
    PASSING,
    PASSING_ERRORS,
    RefusedRedirectError,
    TooLargeError,
    WebSession,
)
from chipweave.errors import PermanentSourceError, TransientSourceError

FIRST: Final = 32 << 10
"""Bytes that are fetched at once when a file is opened: the header of most."""

LEAST: Final = 16 << 10
"""Fewest bytes that are fetched where GDAL asks for less."""

GAP: Final = 64 << 10
"""Bytes between two stored blocks that are fetched rather than asked around."""

MOST: Final = 4 << 20
"""Most bytes of one request for several blocks."""

STORED: Final = 512 << 20
"""Bytes of a stored block, or of anything else that a file wants to be read at once, that are refused."""

WHOLE: Final = 64 << 20
"""Largest file that is read from a server that gives files only as a whole."""

KEPT: Final = 4 << 20
"""Bytes of a file's header, and of what was read beside it, that are kept."""

THREADS: Final = 8
"""Requests of a process that run side by side."""

_HINT = "run the same command again to resume"
_NAME = "file.tif"


@dataclass(frozen=True, slots=True)
class _Answer:
    """Bytes from a place in a file, and what the server says of the whole."""

    start: int
    data: bytes
    size: int
    etag: str
    modified: str


class _RefusedError(TransientSourceError):
    """401 or 403: what the file was signed with is perhaps over."""


class RemoteFile:
    """A file over http(s), as GDAL reads it.

    Parameters
    ----------
    href
        URL, unsigned: it is signed as it is asked for.

    Raises
    ------
    TransientSourceError
        The server does not answer.
    PermanentSourceError
        The server has no such file, or gives no part of it.
    """

    def __init__(self, href: str) -> None:
        self.href, self.shown = href, redact(href)
        self.failure: BaseException | None = None
        self._how = access.opening(href)
        self._near: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: list[tuple[int, bytes]] = []
        (first,) = self._get([(0, FIRST)])
        self._known = first
        self.size = first.size
        self._near[0] = first.data

    def read(self, start: int, count: int) -> bytes:
        """Bytes from a place on, fewer only at the file's end."""
        stop = min(start + count, self.size)
        if start >= stop:
            return b""
        if stop - start > STORED:
            raise PermanentSourceError(
                f"{self.shown}: {stop - start} bytes at once, which is no raster's block", href=self.shown
            )
        for at, data in (*self._ahead, *self._near.items()):
            if _holds(at, data, start, stop):
                return data[start - at : stop - at]
        (got,) = self._get([(start, min(max(stop, start + LEAST), self.size))])
        self._keep(got.start, got.data)
        return got.data[start - got.start : stop - got.start]  # a server may give all of it, now and then

    def ahead(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch ranges (start, stop) that will be read next, side by side; what others were fetched for is let go of.

        Bands that are stored together are read one after the other from the same ranges.
        """
        merged = _merged(ranges, self.size)
        self._ahead = [(at, data) for at, data in self._ahead if any(_holds(at, data, *r) for r in merged)]
        wanted = [r for r in merged if not self._has(*r)]
        if wanted:
            self._ahead += [(a.start, a.data) for a in self._get(wanted)]

    def open(self) -> rasterio.DatasetReader:
        """Open the file with the driver of its first bytes.

        Raises
        ------
        PermanentSourceError
            It is of no format that is read.
        TransientSourceError
            It is behind a login, and a page came.
        """
        first = self.read(0, 16)
        if self._how != access.Opening(self.href) and first.lstrip().startswith(b"<"):
            raise TransientSourceError(
                f"{self.shown}: the server gives a page instead of the file",
                hint="see whether your login there still holds, then run the same command again",
                href=self.shown,
            )
        driver = driver_of(first, self.shown)
        return rasterio.open(_NAME, driver=driver, opener=_Container(self))

    def ahead_of(
        self, dataset: rasterio.DatasetReader, index: int, blocks: Iterator[tuple[int, int]]
    ) -> None:
        """Fetch the stored blocks (row, column) of band `index`, where the format tells where they are."""
        ranges = []
        for row, col in blocks:
            name = f"{col}_{row}"
            offset = dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", bidx=index)
            size = dataset.get_tag_item(f"BLOCK_SIZE_{name}", "TIFF", bidx=index)
            if offset is not None and size is not None:
                ranges.append((int(offset), int(offset) + int(size)))
        self.ahead(ranges)

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return sum(len(data) for _, data in (*self._ahead, *self._near.items()))

    def done(self) -> None:
        """Let go of what was fetched ahead: it was read."""
        self._ahead = []

    def _has(self, start: int, stop: int) -> bool:
        return any(_holds(at, data, start, stop) for at, data in (*self._ahead, *self._near.items()))

    def _keep(self, start: int, data: bytes) -> None:
        self._near[start] = data
        while len(self._near) > 2 and sum(map(len, self._near.values())) > KEPT:
            # The header, which comes first, is read again and again.
            del self._near[next(at for at in self._near if at)]

    def _get(self, ranges: Sequence[tuple[int, int]]) -> list[_Answer]:
        """Bytes of ranges, by what the file is signed with; once more, signed anew, where that is refused."""
        if time.time() >= self._how.until:
            self._how = access.opening(self.href)
        try:
            return self._fetch(ranges)
        except _RefusedError:
            access.refused(self.href)
            # By this thread: those that fetch know no rules.
            self._how = access.opening(self.href)
            return self._fetch(ranges)

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> list[_Answer]:
        if len(ranges) == 1:
            return [self._range(ranges[0])]
        return list(_threads(os.getpid()).map(self._range, ranges))

    def _range(self, span: tuple[int, int]) -> _Answer:
        got = self._checked(self._ask(*span), *span)
        known = getattr(self, "_known", got)
        if got.size != known.size or (got.etag != known.etag and got.modified != known.modified):
            raise PermanentSourceError(f"{self.shown}: changed while it was read", href=self.shown)
        return got

    def _ask(self, start: int, stop: int) -> requests.Response:
        how = self._how
        url = how.name.removeprefix("/vsicurl/")
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        if "GDAL_HTTP_BEARER" in how.options:
            headers["Authorization"] = f"Bearer {how.options['GDAL_HTTP_BEARER']}"
        direct = is_loopback(urlsplit(url).hostname or "")
        session = _session(os.getpid(), direct)
        # Else a login of the user's netrc would take the token's place, or go out in the clear.
        bare = "Authorization" in headers or not (direct or url.lower().startswith("https:"))
        try:
            asked = session.prepare_request(
                requests.Request("GET", url, headers=headers, auth=_as_it_is if bare else None)
            )
            settings = session.merge_environment_settings(str(asked.url), {}, True, None, None)
            return session.send(asked, limit=max(stop - start, WHOLE), **settings)
        except PASSING_ERRORS as error:
            raise TransientSourceError(f"{self.shown}: {_said(error)}", hint=_HINT, href=self.shown) from None
        except (RefusedRedirectError, TooLargeError) as error:
            raise PermanentSourceError(f"{self.shown}: {error}", href=self.shown) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise PermanentSourceError(
                f"{self.shown}: cannot be asked for: {type(error).__name__}", href=self.shown
            ) from None

    def _checked(self, answer: requests.Response, start: int, stop: int) -> _Answer:
        status, data = answer.status_code, answer.content
        headers = answer.headers
        # 407 is a proxy's.
        if status in PASSING or status >= 500 or status in {401, 403, 407}:
            kind = _RefusedError if status in {401, 403} else TransientSourceError
            raise kind(f"{self.shown}: answered HTTP {status}{_rest(headers)}", hint=_HINT, href=self.shown)
        told = headers.get("ETag", ""), headers.get("Last-Modified", "")
        if status == 200:  # it knows no ranges: this is all
            return _Answer(0, data, len(data), *told)
        if status == 416 and start == 0:
            raise PermanentSourceError(f"{self.shown}: is empty", href=self.shown)
        if status != 206:
            raise PermanentSourceError(f"{self.shown}: answered HTTP {status}", href=self.shown)
        first, last, size = _content_range(headers.get("Content-Range", ""))
        if first != start or last < first or (size >= 0 and last >= size):
            raise PermanentSourceError(
                f"{self.shown}: the server gives other bytes than were asked for", href=self.shown
            )
        if len(data) != last - first + 1 or (last < stop - 1 and last != size - 1):
            raise TransientSourceError(f"{self.shown}: the answer broke off", hint=_HINT, href=self.shown)
        return _Answer(start, data, size if size >= 0 else _ENDLESS, *told)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login beside what the request has."""
    return request


def _holds(at: int, data: bytes, start: int, stop: int) -> bool:
    """Whether bytes from a place on hold a range."""
    return at <= start and stop <= at + len(data)


_ENDLESS: Final = 1 << 50
"""Size of a file whose server does not tell it."""


def _merged(ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Ranges as few requests; what lies outside of the file is left to whoever reads it."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(r for r in set(ranges) if 0 <= r[0] < r[1] <= size and r[1] - r[0] <= STORED):
        if merged and start - merged[-1][1] <= GAP and stop - merged[-1][0] <= MOST:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _content_range(text: str) -> tuple[int, int, int]:
    """First and last byte, and the size of the whole (-1 where it is not told)."""
    span, _, size = text.strip().removeprefix("bytes").strip().partition("/")
    first, _, last = span.partition("-")
    if not (first.isdigit() and last.isdigit()):
        return -1, -1, -1
    return int(first), int(last), int(size) if size.isdigit() else -1


def _rest(headers: Any) -> str:
    asked = str(headers.get("Retry-After") or "")
    return f" (to be asked again after {asked[:40]})" if asked.isprintable() and asked else ""


def _said(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "cannot be reached"
    return "the answer broke off"


@lru_cache(maxsize=4)
def _session(process: int, direct: bool) -> WebSession:
    """Session of this process; `direct` past all proxies."""
    del process  # a fork would share its parent's connections
    session = WebSession(THREADS)
    session.trust_env = not direct
    return session


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    del process
    return ThreadPoolExecutor(THREADS, thread_name_prefix="chipweave-fetch")


class _Handle(io.RawIOBase):
    """What GDAL seeks and reads; nothing is raised into it: it would be lost there."""

    def __init__(self, remote: RemoteFile) -> None:
        super().__init__()
        self._remote, self._at = remote, 0

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._remote.read(self._at, size if size >= 0 else self._remote.size)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too: whoever asked GDAL raises it
            self._remote.failure = error
            return b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._remote.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _Container(FileContainer):  # type: ignore[misc]
    """The one file that GDAL finds."""

    def __init__(self, remote: RemoteFile) -> None:
        self._remote = remote

    def open(self, path: str, mode: str = "r", **_: object) -> _Handle:
        if not self.isfile(path) or not mode.startswith("r") or "+" in mode:
            raise FileNotFoundError(path)
        return _Handle(self._remote)

    def isfile(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] == _NAME

    def isdir(self, path: str) -> bool:
        return not self.isfile(path)

    def ls(self, path: str) -> list[str]:
        del path
        return [_NAME]

    def mtime(self, path: str) -> int:
        del path
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)

    def size(self, path: str) -> int:
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return self._remote.size
