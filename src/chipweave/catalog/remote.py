"""Files over http(s): their bytes are fetched here, side by side, and decoded by GDAL, which knows no URL.

Threads fetch, and know nothing else; a file, and what was fetched of it, is its reader's alone.

What went wrong is known for what it is, whatever GDAL makes of it: a server that falters (retry), one that says no,
or bytes that came as they are and are no raster (take another scene).
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import rasterio
import requests

from chipweave.catalog import access
from chipweave.catalog.answers import HINT, Answer, RefusedError, checked
from chipweave.catalog.formats import driver_of
from chipweave.catalog.hrefs import is_loopback, redact
from chipweave.catalog.opener import NAME, container
from chipweave.catalog.pieces import Piece, Pieces, stored
from chipweave.catalog.ranges import STORED, directory, joined
from chipweave.catalog.web import (
    PASSING_ERRORS,
    REST,
    RefusedRedirectError,
    TooLargeError,
    WebSession,
)
from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError

FIRST: Final = 32 << 10
"""Bytes that are fetched at once when a file is opened: the header of most."""

LEAST: Final = 16 << 10
"""Fewest bytes that are fetched where GDAL asks for less."""

STEP: Final = 1 << 20
"""Most bytes that are fetched where GDAL asks for less, and goes on where it was."""

WHOLE: Final = 64 << 20
"""Largest file that is read from a server that gives files only as a whole."""

WHOLE_AHEAD: Final = 1 << 20
"""The same for what is fetched before it is read."""

KEPT: Final = 4 << 20
"""Bytes of a file's header, and of what was read beside it, that are kept."""

THREADS: Final = 16
"""Requests of a process that run side by side for what is read later."""

URGENT: Final = 8
"""And for what is read now."""


class _WholeError(PermanentSourceError):
    """All of a file came instead of a part, and it is too large."""


class RemoteFile:
    """A file over http(s), as GDAL reads it.

    Parameters
    ----------
    href
        URL, unsigned: it is signed as it is asked for.
    later
        Whether its header is only asked for: `settle` waits for it.

    Raises
    ------
    TransientSourceError
        The server does not answer.
    PermanentSourceError
        The server has no such file, or gives no part of it.
    """

    def __init__(self, href: str, *, later: bool = False) -> None:
        self.href, self.shown = href, redact(href)
        self.failure: BaseException | None = None
        self._how = access.opening(href)
        self._near: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: list[tuple[int, bytes]] = []
        self._pieces = Pieces()
        self._known: Answer | None = None
        self._first: Future[list[Answer]] | None = None
        self._failed = 0.0
        self._step, self._end = LEAST, 0
        if later:
            self._first = _threads(os.getpid(), THREADS).submit(self._header)
        else:
            self._begin(self._get([(0, FIRST)]))

    @property
    def ready(self) -> bool | None:
        """Whether its header is there; None where it is still to come."""
        if self._first is None:
            return True
        return self._first.exception() is None if self._first.done() else None

    def settle(self) -> None:
        """Wait for its header.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            As where it is made.
        """
        if self._first is None:
            return
        first, self._first = self._first, None
        try:
            self._begin(first.result())
        except SourceError as error:
            self._again(error)
            self._begin(self._get([(0, FIRST)]))

    def _begin(self, answers: Sequence[Answer]) -> None:
        self._known, self.size = answers[0], answers[0].size
        self._near.update((answer.start, answer.data) for answer in answers)

    def _header(self) -> list[Answer]:
        """First bytes, and those of the directory where a TIFF has it elsewhere; run by a thread."""
        first = self._part((0, FIRST))
        at = directory(first.data)
        if len(first.data) <= at < first.size:
            return [first, self._part((at, min(at + FIRST, first.size)), first)]
        return [first]

    def read(self, start: int, count: int) -> bytes:
        """Bytes from a place on, fewer only at the file's end."""
        stop = min(start + count, self.size)
        if start >= stop:
            return b""
        if stop - start > STORED:
            raise PermanentSourceError(
                f"{self.shown}: {stop - start} bytes at once, which is no raster's block", href=self.shown
            )
        here = self._of(start, stop)
        if here is not None:
            return here
        # What is read on and on, as a JPEG 2000 is, comes in ever larger parts.
        self._step = min(2 * self._step, STEP) if start <= self._end <= stop else LEAST
        (got,) = self._get([(start, min(max(stop, start + self._step), self.size))])
        self._end = got.start + len(got.data)
        self._keep(got.start, got.data)
        return got.data[start - got.start : stop - got.start]  # a server may give all of it, now and then

    def ahead(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch ranges (start, stop) that will be read next, side by side; what others were fetched for is let go of.

        Bands that are stored together are read one after the other from the same ranges.
        """
        self._ahead = [(at, data) for at, data in self._ahead if any(_holds(at, data, *r) for r in ranges)]
        wanted = joined([r for r in ranges if self._of(*r) is None], self.size)
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
        return rasterio.open(NAME, driver=driver, opener=container(self))

    def ahead_of(self, dataset: rasterio.DatasetReader, index: int, blocks: Iterable[tuple[int, int]]) -> int:
        """Fetch the stored blocks (row, column) of band `index`, where the format tells where they are.

        Returns
        -------
        int
            The latest turn of those that were asked for before and came; else 0.
        """
        spans = list(stored(dataset, index, blocks).values())
        turn = 0
        for piece in self._pieces.meeting(spans):
            try:
                piece.got.result()
                turn = max(turn, piece.turn)
            except SourceError as error:
                self._pieces.remove(piece)  # who needs less than all of it may be luckier
                self._again(error, piece.how)
        self.ahead(spans)
        return turn

    def later(
        self,
        dataset: rasterio.DatasetReader,
        index: int,
        blocks: Iterable[tuple[int, int]],
        turn: int,
        room: int | None,
    ) -> bool:
        """Ask for blocks as `ahead_of` does, without waiting; not at all, and False, where they are beyond `room`.

        `turn` is the caller's count of who asks.
        """
        missing = self._pieces.missing(stored(dataset, index, blocks))
        missing = {key: span for key, span in missing.items() if self._of(*span) is None}
        spans = joined(list(missing.values()), self.size)
        if room is not None and sum(stop - start for start, stop in spans) > room:
            return False
        if time.time() >= self._how.until:
            self._how = access.opening(self.href)
        for span in spans:
            own = {key for key, (start, stop) in missing.items() if span[0] <= start and stop <= span[1]}
            got = _threads(os.getpid(), THREADS).submit(self._part, span)
            self._pieces.add(Piece(span, got, turn, own, self._how))
        return True

    @property
    def coming(self) -> int:
        """Bytes that were asked for by `later`, and are not read yet."""
        return self._pieces.size

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return self.coming + sum(len(data) for _, data in (*self._ahead, *self._near.items()))

    def done(self, index: int, blocks: Iterable[tuple[int, int]], *, alone: bool) -> None:
        """Let go of what was fetched of blocks that were read; `alone`: no other band is stored with theirs."""
        self._pieces.done((index, *block) for block in blocks)
        if alone:
            self._ahead = []

    def forget(self, turn: int | None = None) -> None:
        """Let go of what was asked for before a turn, or at all, and was not read."""
        self._pieces.forget(turn)
        if turn is None and self._first is not None:
            self._first.cancel()

    def _here(self) -> Iterator[tuple[int, bytes]]:
        """What was fetched, by its place."""
        yield from self._ahead
        yield from self._near.items()
        yield from self._pieces.here()

    def _of(self, start: int, stop: int) -> bytes | None:
        """A range of what was fetched; GDAL reads neighbours together that may have come apart."""
        parts, at = [], start
        while at < stop:
            found = next(
                ((begin, data) for begin, data in self._here() if begin <= at < begin + len(data)), None
            )
            if found is None:
                return None
            parts.append(found[1][at - found[0] : stop - found[0]])
            at += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _keep(self, start: int, data: bytes) -> None:
        self._near[start] = data
        while len(self._near) > 2 and sum(map(len, self._near.values())) > KEPT:
            # The header, which comes first, is read again and again.
            del self._near[next(at for at in self._near if at)]

    def _get(self, ranges: Sequence[tuple[int, int]]) -> list[Answer]:
        """Bytes of ranges, by what the file is signed with; once more, signed anew, where that is refused."""
        if time.time() >= self._how.until:
            self._how = access.opening(self.href)
        try:
            return self._fetch(ranges)
        except RefusedError:
            self._renew()
            return self._fetch(ranges)

    def _again(self, error: SourceError, how: access.Opening | None = None) -> None:
        """Return where it is worth to ask once more for what a thread did not get, some time ago or by `how`."""
        if isinstance(error, RefusedError):
            if how is None or how is self._how:  # else it was signed anew since
                self._renew()
            return
        old = isinstance(error, TransientSourceError) and time.monotonic() > self._failed + REST
        if not old and not isinstance(error, _WholeError):
            raise error

    def _renew(self) -> None:
        """Sign anew; by the reader's thread: those that fetch know no rules."""
        access.refused(self.href)
        self._how = access.opening(self.href)

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> list[Answer]:
        if len(ranges) == 1:
            return [self._range(ranges[0])]
        return list(_threads(os.getpid(), URGENT).map(self._range, ranges))

    def _part(self, span: tuple[int, int], known: Answer | None = None) -> Answer:
        """A range, and little more of a server that gives all of the file; run by a thread."""
        try:
            return self._range(span, known, WHOLE_AHEAD)
        except TransientSourceError:
            self._failed = time.monotonic()
            raise

    def _range(self, span: tuple[int, int], known: Answer | None = None, most: int = WHOLE) -> Answer:
        got = checked(self._ask(*span, most), *span, self.shown)
        known = known or self._known or got
        if got.size != known.size or (got.etag != known.etag and got.modified != known.modified):
            raise PermanentSourceError(f"{self.shown}: changed while it was read", href=self.shown)
        return got

    def _ask(self, start: int, stop: int, most: int) -> requests.Response:
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
            return session.send(asked, limit=max(stop - start, most), **settings)
        except PASSING_ERRORS as error:
            raise TransientSourceError(f"{self.shown}: {_said(error)}", hint=HINT, href=self.shown) from None
        except TooLargeError as error:
            raise _WholeError(f"{self.shown}: {error}", href=self.shown) from None
        except RefusedRedirectError as error:
            raise PermanentSourceError(f"{self.shown}: {error}", href=self.shown) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise PermanentSourceError(
                f"{self.shown}: cannot be asked for: {type(error).__name__}", href=self.shown
            ) from None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login beside what the request has."""
    return request


def _holds(at: int, data: bytes, start: int, stop: int) -> bool:
    """Whether bytes from a place on hold a range."""
    return at <= start and stop <= at + len(data)


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
    session = WebSession(THREADS + URGENT + 1)
    session.trust_env = not direct
    return session


@lru_cache(maxsize=2)
def _threads(process: int, number: int) -> ThreadPoolExecutor:
    """Threads for what is read later, or for what is read now, which waits for nothing else."""
    del process
    return ThreadPoolExecutor(number, thread_name_prefix="chipweave-fetch")
