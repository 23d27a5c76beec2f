"""Short-lived tokens: fetched once a container, kept until shortly before they end, and never shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from chipweave.catalog.hrefs import is_clean, is_loopback, redact
from chipweave.catalog.pace import Pace
from chipweave.catalog.secrets import keep_secret
from chipweave.catalog.stac import moment
from chipweave.errors import PermanentSourceError, SourceError, TransientSourceError

MARGIN: Final = 120.0
"""Seconds before its end at which a token is renewed: a file that is opened now is read for a while."""

SHARE: Final = 0.25
"""Share of a token's life before its end at which it is renewed, where that is less than `MARGIN`."""

UNKNOWN_LIFE: Final = 600.0
"""Seconds that a token lives which does not say, and that a container without tokens is not asked about again."""

_PASSING: Final = frozenset({401, 403, 408, 425, 429})
"""A refusal to sign is no fault of the scene: another one would be refused too."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is added to a URL's query, empty where files need none; and until when it is used."""

    text: str = field(repr=False)
    until: float


_lock = threading.Lock()
_locks: dict[str, threading.Lock] = {}
_kept: dict[str, Token] = {}


def token_for(url: str, headers: Mapping[str, str], pace: Pace) -> Token:
    """Token that a service gives under a URL: the one that is kept, or a new one.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        The service did not answer, refused, or gave something else.
    """
    with _lock:
        mine = _locks.setdefault(url, threading.Lock())
    with mine:  # threads that need the same token ask for it once
        found = _kept.get(url)
        if found is None or time.time() >= found.until:
            pace.wait()
            found = _kept[url] = _fetch(url, headers)
        return found


def forget(url: str) -> None:
    """Fetch the token anew when it is needed next."""
    _kept.pop(url, None)


def _fetch(url: str, headers: Mapping[str, str]) -> Token:
    # Files that need no token do without these imports.
    import requests  # noqa: PLC0415

    from chipweave.catalog.web import PASSING_ERRORS, WebSession  # noqa: PLC0415

    now = time.time()
    try:
        with WebSession(1) as session:
            session.trust_env = not is_loopback(urlsplit(url).hostname or "")
            answer = session.get(url, headers=dict(headers))
        status = answer.status_code
        body = answer.json() if status == 200 else None
    except requests.exceptions.InvalidJSONError:
        raise _no_token(url) from None
    except PASSING_ERRORS as error:
        raise TransientSourceError(
            f"{redact(url)} cannot be reached for a token: {type(error).__name__}",
            hint="run the same command again to resume",
            href=redact(url),
        ) from None
    except requests.exceptions.RequestException as error:
        raise PermanentSourceError(
            f"{redact(url)} gave no token: {type(error).__name__}", href=redact(url)
        ) from None
    if status == 404:
        return Token("", now + UNKNOWN_LIFE)
    if status != 200:
        raise _refusal(url, status)
    return _read(url, body, now)


def _refusal(url: str, status: int) -> SourceError:
    said = f"{redact(url)} answered HTTP {status} instead of a token"
    if status in _PASSING or status >= 500:
        return TransientSourceError(said, hint="run the same command again later", href=redact(url))
    return PermanentSourceError(said, href=redact(url))


def _no_token(url: str) -> TransientSourceError:
    # No fault of the scene either.
    return TransientSourceError(
        f"{redact(url)} gave no token", hint="run the same command again later", href=redact(url)
    )


def _read(url: str, body: Any, now: float) -> Token:
    text = body.get("token") if isinstance(body, dict) else None
    if (
        not isinstance(text, str)
        or not text
        or len(text) > 8192
        or not is_clean(text)
        or set(text) & set(" #")
    ):
        raise _no_token(url)
    end = moment(body.get("msft:expiry") or body.get("expiry"))
    life = (end - datetime.fromtimestamp(now, UTC)).total_seconds() if end is not None else UNKNOWN_LIFE
    if life <= 0:
        raise TransientSourceError(
            f"{redact(url)} gave a token that is over already",
            hint="see whether this machine's clock is right",
            href=redact(url),
        )
    return Token(keep_secret(text.lstrip("?&")), now + life - min(MARGIN, SHARE * life))
