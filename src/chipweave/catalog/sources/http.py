"""Requests to a catalog over http(s): short retries, errors of ours, no secrets in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests.exceptions
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from chipweave.catalog.hrefs import ENV_HOSTS, is_loopback, redact
from chipweave.catalog.secrets import keep_secrets_of
from chipweave.catalog.web import (
    CONNECT,
    PASSING,
    PASSING_ERRORS,
    RefusedRedirectError,
    TooLargeError,
    WebSession,
    patience,
)
from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError

_HINTS: Final[Mapping[type, str]] = {
    RefusedRedirectError: f"list the host in {ENV_HOSTS} if you trust this catalog",
    TooLargeError: "search a smaller area, or use a copy of its items",
}


class CatalogIO(StacApiIO):
    """Session of pystac-client that reads JSON as leniently as Python does.

    A faster parser, where one is installed, would refuse a page for one odd character in one item.
    """

    def json_loads(self, txt: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Parse a JSON text."""
        found: dict[str, Any] = json.loads(txt, *args, **kwargs)
        return found


def make_io(url: str) -> CatalogIO:
    """Session of pystac-client for a catalog; five tries within about three seconds, unless it asks for more time.

    Loopback is reached directly, whatever proxy the environment names.
    """
    keep_secrets_of(url)
    io = CatalogIO(timeout=(CONNECT, patience()))
    headers = io.session.headers
    io.session = WebSession()
    io.session.headers.update(headers)
    if is_loopback(urlsplit(url).hostname or ""):
        io.session.trust_env = False
    return io


def status_of(error: APIError) -> int | None:
    """HTTP status of an answer that pystac-client refused, None where there was no answer."""
    found = getattr(error, "status_code", None)
    return found if isinstance(found, int) else None


def as_source_error(error: APIError, url: str) -> SourceError:
    """The error as ours, transient where a retry may help. It never quotes the library, only the URL."""
    shown, status = redact(url), status_of(error)
    if status is not None:
        said = f"{shown} answered HTTP {status}"
        if status in PASSING or status >= 500:
            return TransientSourceError(said, hint="run the same command again later", href=shown)
        return PermanentSourceError(
            said, hint="check the catalog's URL and whether it needs a login", href=shown
        )
    cause = error.__context__ or error.__cause__
    if isinstance(cause, RefusedRedirectError | TooLargeError):
        return PermanentSourceError(f"{shown}: {cause}", hint=_HINTS[type(cause)], href=shown)
    if isinstance(cause, PASSING_ERRORS):
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
