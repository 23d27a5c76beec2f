"""What a failed read means, and whether it is tried again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from chipweave.catalog.hrefs import is_http
from chipweave.catalog.secrets import scrub
from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError

_PASSING = re.compile(
    r"HTTP response code:? ?(408|429|5\d\d)|timed? ?out|timeout|Could not resolve"
    r"|Couldn't connect|Could not connect|Connection (refused|reset)|CURL error|Failed to connect|Recv failure"
    r"|reduce your request rate|encountered an internal error|too many requests|(quota|limit)\b.{0,20} exceeded"
    r"|try again",
    re.IGNORECASE,
)
_BUSY = re.compile(r"Too many open files", re.IGNORECASE)
"""Of this machine, not of the file: no reason to take another scene."""

REFUSED = re.compile(
    r"HTTP response code:? ?(401|403)|Invalid AWS response|Access Denied|Access Key Id you provided"
    r"|request signature we calculated|token .{0,40}(expired|malformed|invalid)|current time is too large",
    re.IGNORECASE,
)
"""What a server says over http, and what S3 does."""


_GONE = re.compile(r"HTTP response code:? ?4\d\d|does not exist", re.IGNORECASE)


class UnsureError(PermanentSourceError):
    """GDAL got bytes over a network that make no sense to it, or too few, and does not say why.

    Asked again, a server that falters says so as the file is opened; where it does not the file is broken.
    """


def is_remote(href: str) -> bool:
    """Whether GDAL reads the href over a network."""
    return "://" in href and not href.startswith("file://")


def classify(error: Exception, href: str) -> SourceError:
    """What a failed read means for its catcher; `href` is shown without its query."""
    shown = href.split("?", maxsplit=1)[0]
    chain = [scrub(str(error))]
    cause: BaseException | None = error.__cause__ or error.__context__
    while cause is not None and len(chain) < 5:
        chain.append(scrub(str(cause)))
        cause = cause.__cause__ or cause.__context__
    text = " | ".join(chain).replace(href, "").replace(shown, "")
    said = f"{shown}: {chain[-1][:300]}".replace(href, shown)
    if is_remote(href) and (_PASSING.search(text) or REFUSED.search(text)):
        return TransientSourceError(said, hint="run the same command again to resume", href=shown)
    if isinstance(error, MemoryError) or _BUSY.search(text):
        return TransientSourceError(said, href=shown)
    unsure = is_remote(href) and not _GONE.search(text)
    return (UnsureError if unsure else PermanentSourceError)(said, href=shown)


_ONCE = (nullcontext(),)


def attempts(href: str, *, by_gdal: bool = False) -> Iterable[AbstractContextManager[object]]:
    """Try again while a remote file does not answer; over http(s) whoever asks does that (`catalog.web`).

    Parameters
    ----------
    href
        Of the file.
    by_gdal
        Whether GDAL asks over http(s) too.
    """
    if not is_remote(href) or (is_http(href) and not by_gdal):
        return _ONCE
    import stamina  # noqa: PLC0415 - it brings asyncio, which files of this machine do without

    # GDAL retries HTTP codes by itself; this is for what it does not: cut connections and slow bodies.
    return stamina.retry_context(
        on=(TransientSourceError, UnsureError), attempts=3, wait_initial=0.2, wait_max=2.0, timeout=60
    )
