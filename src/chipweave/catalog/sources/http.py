"""Requests to a catalog over http(s): short retries, errors of ours, no secrets in them."""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests.exceptions
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import Retry

from chipweave.catalog.hrefs import redact
from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError

TIMEOUT: Final = (5.0, 60.0)
"""Seconds to connect, and to wait for bytes."""

BACKOFF = 0.4
"""Seconds between the second and the third try; twice that before the fourth."""

# urllib3 warns of each retry with the whole URL, its query included; the last failure is told as an error of ours.
logging.getLogger("urllib3.connectionpool").addFilter(
    lambda record: not str(record.msg).startswith("Retrying")
)

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
_PASSING_ERRORS = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class CatalogIO(StacApiIO):
    """Session of pystac-client that reads JSON as leniently as Python does.

    A faster parser, where one is installed, would refuse a page for one odd character in one item.
    """

    def json_loads(self, txt: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Parse a JSON text."""
        found: dict[str, Any] = json.loads(txt, *args, **kwargs)
        return found


def make_io(url: str) -> CatalogIO:
    """Session of pystac-client for a catalog; four tries within about three seconds.

    Loopback is reached directly, whatever proxy the environment names.
    """
    retry = Retry(
        total=3,
        read=1,
        backoff_factor=BACKOFF,
        status_forcelist=sorted(_PASSING),
        allowed_methods=None,  # a POST to /search reads only
        raise_on_status=False,
        respect_retry_after_header=False,  # may ask for minutes: the user decides about those
    )
    io = CatalogIO(timeout=TIMEOUT, max_retries=retry)
    if _is_loopback(urlsplit(url).hostname or ""):
        io.session.trust_env = False
    return io


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def status_of(error: APIError) -> int | None:
    """HTTP status of an answer that pystac-client refused, None where there was no answer."""
    found = getattr(error, "status_code", None)
    return found if isinstance(found, int) else None


def as_source_error(error: APIError, url: str) -> SourceError:
    """The error as ours, transient where a retry may help. It never quotes the library, only the URL."""
    shown, status = redact(url), status_of(error)
    if status is not None:
        said = f"{shown} answered HTTP {status}"
        if status in _PASSING or status >= 500:
            return TransientSourceError(said, hint="run the same command again later", href=shown)
        return PermanentSourceError(
            said, hint="check the catalog's URL and whether it needs a login", href=shown
        )
    cause = error.__context__ or error.__cause__
    if isinstance(cause, _PASSING_ERRORS):
        said = f"{shown} cannot be reached: {_reason(cause)}"
        return TransientSourceError(
            said, hint="check the URL and the network, then run the same command again", href=shown
        )
    return PermanentSourceError(f"{shown} cannot be asked: {type(cause or error).__name__}", href=shown)


def _reason(cause: BaseException) -> str:
    """Short reason without any URL: the innermost text of the operating system, else the kind of error."""
    if isinstance(cause, requests.exceptions.Timeout):
        return "timed out"
    texts = []
    seen: set[int] = set()
    queue: list[object] = [cause]
    while queue:
        one = queue.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.strerror:
            texts.append(one.strerror)
        queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return texts[-1].lower() if texts else "connection failed"


def read_text(io: StacApiIO, url: str) -> str:
    """Text of a document.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `as_source_error`.
    """
    try:
        return io.request(url)
    except APIError as error:
        raise as_source_error(error, url) from None


def links_by_rel(document: Mapping[str, Any], rel: str) -> list[Mapping[str, Any]]:
    """Link objects of a relation."""
    found = document.get("links")
    entries = found if isinstance(found, list) else []
    return [
        k
        for k in entries
        if isinstance(k, Mapping) and k.get("rel") == rel and isinstance(k.get("href"), str)
    ]
