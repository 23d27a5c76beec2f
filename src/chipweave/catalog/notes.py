"""Warnings of a search, each said once with how often it was met."""

from __future__ import annotations

import threading
from typing import Final

from chipweave.catalog.hrefs import shown

NAMED: Final = 3
"""Ids that a warning names before it only counts."""


class Notes:
    """Collects warnings from any thread; the same whatever the order in which they came.

    Examples
    --------
    >>> notes = Notes()
    >>> notes.of("s2: no scl, counted as clear", "B")
    >>> notes.of("s2: no scl, counted as clear", "A")
    >>> notes.texts()
    ['s2: no scl, counted as clear (2 items: A, B)']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, set[str]] = {}

    def say(self, text: str) -> None:
        """Add a warning that stands for itself."""
        with self._lock:
            self._found.setdefault(text, set())

    def of(self, text: str, item: str) -> None:
        """Add an item to a warning that may be met by many."""
        with self._lock:
            self._found.setdefault(text, set()).add(item)

    def texts(self) -> list[str]:
        """All warnings, sorted."""
        with self._lock:
            return sorted(_said(text, items) for text, items in self._found.items())


def _said(text: str, items: set[str]) -> str:
    if not items:
        return text
    count = "1 item" if len(items) == 1 else f"{len(items)} items"
    named = ", ".join(shown(item) for item in sorted(items)[:NAMED])
    return f"{text} ({count}: {named}{', ...' if len(items) > NAMED else ''})"
