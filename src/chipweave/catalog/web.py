"""Requests over http(s): patient with servers that falter, wary of those that lead astray.

All that is asked of a server goes through one kind of session. It tries again what may pass, waits as long as it is
told to where that is not too long, and reads no more than it has room for. A redirect is followed to public addresses
and to the server that gave it, never into the private network of whoever runs this.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ConnectionError, ContentDecodingError, Timeout  # noqa: A004
from requests.utils import get_environ_proxies

from chipweave.catalog.hrefs import is_loopback, is_public, is_trusted, redact

PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
"""Statuses after which the same request may be answered."""

PASSING_ERRORS: Final = (ConnectionError, Timeout, ChunkedEncodingError, ContentDecodingError)

TRIES: Final = 5

BACKOFF = 0.2
"""Seconds before the second try; twice that before each further one."""

LONGEST: Final = 30.0
"""Seconds that a server may ask to be left alone; one that asks for more is for the user to come back to."""

REST: Final = 60.0
"""Seconds for which a server that did not recover is asked only once for each thing: others wait behind it."""

CONNECT: Final = 5.0
"""Seconds to connect."""

ENV_TIMEOUT: Final = "CHIPWEAVE_HTTP_TIMEOUT"
"""Seconds to wait for bytes, and twice as many for a whole answer."""

MAX_ANSWER: Final = 256 << 20
"""Bytes of an answer, unpacked: a page of items has a hundredth of that."""

_OPEN_HEADERS: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "range", "user-agent", "cookie",
    "if-match",
})  # fmt: skip
"""What is sent on to another host; anything else may be a secret."""


class RefusedRedirectError(requests.exceptions.RequestException):
    """A server leads to where it may not; the text says where, without secrets."""


class TooLargeError(requests.exceptions.RequestException):
    """An answer of more bytes than there is room for."""


def patience() -> float:
    """Seconds to wait for bytes."""
    try:
        return max(0.1, float(os.environ.get(ENV_TIMEOUT, "")))
    except ValueError:
        return 60.0


class WebSession(requests.Session):
    """Session that tries again, reads bounded answers and looks where redirects lead.

    Parameters
    ----------
    pool
        Connections that are kept to a host.
    """

    def __init__(self, pool: int = 8) -> None:
        super().__init__()
        self.max_redirects = 8
        self._down: dict[tuple[str, str, int | None], float] = {}
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_connections=pool, pool_maxsize=pool))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, follow, read; an answer that may pass is asked for again.

        Parameters
        ----------
        request
            What is asked.
        **kwargs
            As `requests` has them; `limit`, the most bytes of an answer.

        Raises
        ------
        requests.exceptions.RequestException
            No answer after all tries, one that is too large, or one that leads astray.
        """
        if not kwargs.get("allow_redirects", True):
            return super().send(request, **kwargs)  # a step of a redirect
        limit = kwargs.pop("limit", MAX_ANSWER)
        kwargs["stream"] = True
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = (CONNECT, patience())
        origin = _origin(urlsplit(str(request.url)))
        tries = 1 if time.monotonic() < self._down.get(origin, 0.0) else TRIES
        for attempt in range(1, tries + 1):
            wait = BACKOFF * 2 ** (attempt - 1)
            try:
                answer = super().send(request, **kwargs)
                _read(answer, limit)
            except PASSING_ERRORS:
                if attempt == tries:
                    self._down[origin] = time.monotonic() + REST
                    raise
            else:
                if answer.status_code not in PASSING:
                    self._down.pop(origin, None)
                    return answer
                asked = _asked_wait(answer.headers)
                if attempt == tries or asked > LONGEST:
                    self._down[origin] = time.monotonic() + REST
                    return answer
                wait = max(wait, asked)
            time.sleep(wait)
        raise AssertionError(request.url)  # pragma: no cover - the last try returns or raises

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads, if it does and may.

        Raises
        ------
        RefusedRedirectError
            It may not.
        """
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        # Its body says nothing, and may be of any size.
        resp.close()
        resp._content, resp._content_consumed = b"", True  # noqa: SLF001
        why = redirect_refusal(resp.url, target, trust_env=self.trust_env)
        if why:
            raise RefusedRedirectError(why)
        return target

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Send no header on to another host that could be a secret; a login of the user's netrc is for its host."""
        here, there = urlsplit(str(response.request.url)), urlsplit(str(prepared_request.url))
        if _origin(here) != _origin(there):
            for name in [n for n in prepared_request.headers if n.lower() not in _OPEN_HEADERS]:
                del prepared_request.headers[name]
        if there.scheme == "https" or is_loopback(there.hostname or ""):
            super().rebuild_auth(prepared_request, response)


def redirect_refusal(here: str, there: str, *, trust_env: bool = True) -> str:
    """Why a server at `here` may not lead to `there`; empty where it may.

    Parameters
    ----------
    here, there
        URLs; `there` may be relative.
    trust_env
        Whether the environment's proxies hold: a name is then looked up by them, and not here.
    """
    try:
        there = urljoin(here, there)
    except ValueError:
        return f"{redact(here)} leads to what is no URL"
    shown = f"{redact(here)} leads to {redact(there)[:200]}"
    try:
        a, b = urlsplit(here), urlsplit(there)
        host, port = (b.hostname or "").lower(), b.port
        if b.scheme not in {"http", "https"}:
            return f"{shown}: only http and https are followed"
        if _origin(a) == _origin(b) or is_trusted(host, port):
            return ""
    except ValueError:
        return f"{shown}: that is no URL"
    if any(not is_public(one) for one in _addresses(there, host, trust_env=trust_env)):
        return f"{shown}, which is no public address"
    return ""


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def _addresses(url: str, host: str, *, trust_env: bool) -> list[str]:
    """All addresses of a host; the host itself where a proxy, or nobody, knows them."""
    if not is_public(host) or _is_address(host) or (trust_env and get_environ_proxies(url)):
        return [host]
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return [host]  # connecting will say so
    return [host, *(str(entry[4][0]) for entry in found)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to be left alone."""
    text = str(headers.get("Retry-After") or "").strip()
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _read(answer: requests.Response, limit: int) -> None:
    """Read an answer's body, unpacked.

    Raises
    ------
    TooLargeError
        It has more bytes than `limit`.
    requests.exceptions.RequestException
        It broke off, is not what it says, or takes too long.
    """
    declared = str(answer.headers.get("Content-Length") or "")
    if declared.isdigit() and int(declared) > limit and answer.ok:
        answer.close()
        raise TooLargeError(f"an answer of {int(declared)} bytes, more than {limit}")
    parts, size, end = [], 0, time.monotonic() + 2 * patience()
    try:
        # Not `read`: that waits until it has all it was asked for, and a server may send a byte a minute.
        while part := answer.raw.read1(1 << 16, decode_content=True):
            size += len(part)
            if size > limit:
                raise TooLargeError(f"an answer of more than {limit} bytes")
            if time.monotonic() > end:
                raise Timeout("the answer takes too long")
            parts.append(part)
    except requests.exceptions.RequestException:
        answer.close()
        raise
    except urllib3.exceptions.DecodeError as error:
        raise ContentDecodingError(type(error).__name__) from error
    except urllib3.exceptions.TimeoutError as error:
        raise Timeout(type(error).__name__) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ChunkedEncodingError(type(error).__name__) from error
    finally:
        answer.raw.release_conn()
    answer._content, answer._content_consumed = b"".join(parts), True  # noqa: SLF001
