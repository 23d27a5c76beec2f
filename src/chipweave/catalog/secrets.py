"""Secrets of this process: remembered so that no message or log repeats one."""

from __future__ import annotations

import logging
import threading
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from chipweave.recipe.loaded import is_secret

LEAST: Final = 6
"""Characters below which a text is no secret: masking it would garble every message."""

_lock = threading.Lock()
_known: set[str] = set()

_LOGGERS: Final = (
    "rasterio",
    *(
        f"rasterio.{n}"
        for n in ("_base", "_env", "_err", "_io", "_filepath", "_vsiopener", "env", "session", "io", "vrt")
    ),
    *(f"urllib3.{n}" for n in ("connectionpool", "connection", "util.retry", "response")),
    "requests",
    "pystac_client.stac_api_io",
    "stamina",
)


def keep_secret(text: str) -> str:
    """Mask this text in whatever is said from now on; gives it back."""
    parts = {text, unquote(text), *(value for _, value in parse_qsl(text) if len(value) >= 16)}
    with _lock:
        if not _known:
            _mask_logs()
        _known.update(part for part in parts if len(part) >= LEAST)
    return text


def keep_secrets_of(url: str) -> None:
    """Mask the password, and the parameters of a URL that look like secrets."""
    try:
        parts = urlsplit(url)
        found = [parts.password, *(v for k, v in parse_qsl(parts.query) if is_secret(k))]
    except ValueError:
        return  # nothing is asked at a URL that is none
    for one in filter(None, found):
        keep_secret(one)


def scrub(text: str) -> str:
    """The text with every known secret masked."""
    if not _known:
        return text
    with _lock:
        longest_first = sorted(_known, key=len, reverse=True)
    for secret in longest_first:
        text = text.replace(secret, "***")
    return text


class _Masked(logging.Filter):
    """Masks secrets in what libraries log: options by name and value, and URLs that are asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        clean = scrub(said)
        if clean != said:
            record.msg, record.args = clean, ()
        return True


def _mask_logs() -> None:
    masked = _Masked()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(masked)
