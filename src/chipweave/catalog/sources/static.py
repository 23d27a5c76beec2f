"""Static catalogs: documents that link to documents, in a folder or over http(s)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chipweave.catalog.hrefs import (
    LocalRule,
    UnusableHrefError,
    beside,
    check_host,
    is_clean,
    is_http,
    joined,
    redact,
    scheme_of,
    shown,
)
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources.base import Found
from chipweave.catalog.sources.files import items_in, parse_document, read_file, refusal
from chipweave.catalog.stac import links
from chipweave.errors import RecipeError, SourceError, TransientSourceError


def is_catalog(document: object) -> bool:
    """Whether a document is a catalog or a collection: it links to children or items, and holds none."""
    if (
        not isinstance(document, dict)
        or "features" in document
        or ("assets" in document and "properties" in document)
    ):
        return False
    return document.get("type") in ("Catalog", "Collection") or any(
        True for rel in ("child", "item", "items") for _ in links(document, rel)
    )


def walk(location: str, document: Any, folder: Path | None, notes: Notes) -> Iterator[Found]:
    """Items below a catalog: its children and items, and theirs, each document once.

    Parameters
    ----------
    location, document
        URL or absolute path of the topmost document, and what it holds.
    folder
        Folder of a catalog given as a path: no document outside is read. None for a URL.
    notes
        Where documents are noted that are missing, broken or outside.

    Raises
    ------
    TransientSourceError
        A document did not answer now, and may later.
    """
    read = _reader(location, folder)
    seen = {location}
    queue = deque([(location, document)])
    while queue:
        here, parent = queue.popleft()
        found = items_in(parent, here, notes)
        if found is not None:
            yield from found
            continue
        for rel in ("child", "item", "items"):
            for href in links(parent, rel):
                try:
                    there = _join(here, href)
                except UnusableHrefError:
                    there = "\0"
                if not is_clean(there):
                    notes.say(f"a link of {shown(redact(here), 200)} that leads nowhere is left out")
                    continue
                if there in seen:
                    continue
                seen.add(there)
                try:
                    check_host(there, here, redact(here))
                    queue.append((there, read(there)))
                except TransientSourceError:
                    raise
                except (SourceError, RecipeError) as error:
                    notes.say(
                        f"a document that {shown(redact(here), 200)} links to is left out: {error.message}"
                    )


def _reader(location: str, folder: Path | None) -> Callable[[str], Any]:
    from chipweave.catalog.sources.http import make_io, read_text  # noqa: PLC0415 - see `open_source`

    io = make_io(location)
    rule = LocalRule.of(folder, ())

    def read(where: str) -> Any:
        if is_http(where):
            return parse_document(read_text(io, where), where)
        if scheme_of(where):
            raise refusal(where, "is of a scheme that is not read")
        return parse_document(read_file(Path(rule.admit(where, "(a link)"))), where)

    return read


def _join(here: str, href: str) -> str:
    """Where a link leads: a URL, or an absolute path."""
    scheme = scheme_of(href)
    if scheme == "file":
        return unquote(href.partition("//")[2] or href.partition(":")[2])
    if scheme:
        return href
    if is_http(here):
        return joined(here, href)
    return os.path.normpath(beside(here, unquote(href)))
