"""Datasets behind http(s), to be read and never written."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import requests

from chipweave.catalog.answers import HINT, checked
from chipweave.catalog.hrefs import is_http, redact
from chipweave.catalog.web import MAX_ANSWER, WebSession
from chipweave.errors import SourceError, TransientSourceError, UsageError
from chipweave.files import atomic_path

__all__ = ["WebStore", "is_http"]

PIECE: Final = 32 << 20
"""Bytes that are asked for at once; a server that knows no ranges gives a file as a whole, up to 256 MB."""

_NONE: Final = frozenset({404, 410})


class WebStore:
    """Files below a URL, as `chipweave.stores.store.Store` gives objects.

    Parameters
    ----------
    url
        Of the dataset's folder.

    Raises
    ------
    UsageError
        The URL holds a user, a query or a fragment.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.query or parts.fragment or "@" in parts.netloc or not parts.netloc:
            raise UsageError("the address of a dataset holds a host, and no query and no user")
        self.url = redact(url.rstrip("/"))
        self._session = WebSession(2)

    def read(self, name: str) -> tuple[bytes, None] | None:
        """Bytes of a file, None where there is none.

        Raises
        ------
        TransientSourceError
            The server does not answer.
        UsageError
            It answers something else.
        """
        found = self._get(name, 0)
        return None if found is None else (found[0], None)

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file; False where there is none. Raises as `read` does."""
        found = self._get(name, 0)
        if found is None:
            return False
        with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
            data, size = found
            file.write(data)
            at = len(data)
            while at < size:
                found = self._get(name, at)
                if found is None or not found[0]:
                    raise TransientSourceError(f"{self.url}/{name}: changed as it was read", hint=HINT)
                file.write(found[0])
                at += len(found[0])
        return True

    def _get(self, name: str, start: int) -> tuple[bytes, int] | None:
        """Bytes from a place on, and the size of the whole."""
        shown = f"{self.url}/{name}"
        headers = {"Range": f"bytes={start}-{start + PIECE - 1}", "Accept-Encoding": "identity"}
        try:
            answer = self._session.get(f"{self.url}/{quote(name)}", headers=headers)
            if answer.status_code in _NONE:
                return None
            if answer.status_code == 416 and start == 0:
                return b"", 0
            got = checked(answer, start, start + PIECE, shown)
        except requests.exceptions.RequestException as error:
            # Its own text may hold what the URL hides.
            raise TransientSourceError(f"{shown}: {type(error).__name__}", hint=HINT) from None
        except TransientSourceError:
            raise
        except SourceError as error:
            raise UsageError(error.message) from None
        if got.start != start:
            raise UsageError(
                f"{shown}: its server gives no part of a file, and it has more than {MAX_ANSWER} bytes"
            )
        return got.data, got.size
