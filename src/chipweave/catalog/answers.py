"""What servers answer to a request for a range: bytes, or what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import requests

from chipweave.catalog.web import PASSING
from chipweave.errors import PermanentSourceError, TransientSourceError

HINT: Final = "run the same command again to resume"

ENDLESS: Final = 1 << 50
"""Size of a file whose server does not tell it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes from a place in a file, and what the server says of the whole."""

    start: int
    data: bytes
    size: int
    etag: str
    modified: str


class RefusedError(TransientSourceError):
    """401 or 403: what the file was signed with is perhaps over."""


def checked(answer: requests.Response, start: int, stop: int, shown: str) -> Answer:
    """Bytes that a server gave for a range; `shown` is the file in messages.

    Raises
    ------
    TransientSourceError
        It falters, or the bytes broke off; `RefusedError` where it says no.
    PermanentSourceError
        It gives something else.
    """
    status, data = answer.status_code, answer.content
    headers = answer.headers
    # 407 is a proxy's.
    if status in PASSING or status >= 500 or status in {401, 403, 407}:
        kind = RefusedError if status in {401, 403} else TransientSourceError
        raise kind(f"{shown}: answered HTTP {status}{_rest(headers)}", hint=HINT, href=shown)
    told = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if status == 200:  # it knows no ranges: this is all
        return Answer(0, data, len(data), *told)
    if status == 416 and start == 0:
        raise PermanentSourceError(f"{shown}: is empty", href=shown)
    if status != 206:
        raise PermanentSourceError(f"{shown}: answered HTTP {status}", href=shown)
    first, last, size = _content_range(headers.get("Content-Range", ""))
    if first != start or last < first or (size >= 0 and last >= size):
        raise PermanentSourceError(f"{shown}: the server gives other bytes than were asked for", href=shown)
    if len(data) != last - first + 1 or (last < stop - 1 and last != size - 1):
        raise TransientSourceError(f"{shown}: the answer broke off", hint=HINT, href=shown)
    return Answer(start, data, size if size >= 0 else ENDLESS, *told)


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
