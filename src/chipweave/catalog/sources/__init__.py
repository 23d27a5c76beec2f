"""Catalogs of every kind behind one Protocol: STAC APIs, item files, stac-geoparquet, static catalogs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chipweave.catalog.hrefs import is_http, shown
from chipweave.catalog.notes import Notes
from chipweave.catalog.providers import UNKNOWN, Provider
from chipweave.catalog.sources.base import Box, Found, Interval, Source
from chipweave.catalog.sources.files import (
    ShelfSource,
    items_in,
    parse_document,
    read_file,
    refusal,
    walk_folder,
)
from chipweave.catalog.sources.local import is_local, open_local
from chipweave.catalog.sources.parquet import ParquetSource
from chipweave.catalog.sources.static import is_catalog, walk
from chipweave.errors import ChipweaveError, PermanentSourceError, RecipeError

__all__ = ["Box", "Found", "Interval", "Source", "open_source"]

_ROOTS = ("catalog.json", "collection.json")


def open_source(location: str, notes: Notes, provider: Provider = UNKNOWN) -> Source:
    """Open a catalog of whatever kind it shows itself to be.

    Parameters
    ----------
    location
        http(s) URL of an API, an item file or a static catalog; or a path of an item file (ItemCollection,
        list, one item, NDJSON), of stac-geoparquet, of a static catalog, or of a folder of any of these.
    notes
        Where broken items and documents are noted.
    provider
        Who answers, which tells how and how often an API may be asked.

    Raises
    ------
    RecipeError
        The path does not exist or is no catalog.
    TransientSourceError, PermanentSourceError
        The URL did not answer, refused, or is no catalog.
    """
    return _open_url(location, notes, provider) if is_http(location) else _open_path(location, notes)


def _open_url(url: str, notes: Notes, provider: Provider) -> Source:
    # A fifth of a second of imports that catalogs in files save.
    from chipweave.catalog.sources.api import ApiSource, answers, is_api  # noqa: PLC0415
    from chipweave.catalog.sources.http import make_io, read_text  # noqa: PLC0415

    try:
        document = parse_document(read_text(make_io(url), url), url)
    except PermanentSourceError:
        # Some APIs have no landing page, or one for people: what counts is that searches are answered.
        if answers(url):
            return ApiSource(url, {}, notes, provider)
        raise
    found = items_in(document, url, notes)
    if found is not None:
        return ShelfSource(url, None, found, notes)
    landing = document if isinstance(document, dict) else {}
    if is_api(landing) or answers(url):
        return ApiSource(url, landing, notes, provider)
    if is_catalog(document):
        return ShelfSource(url, None, walk(url, document, None, notes), notes)
    raise refusal(url, "is no STAC API and no catalog")


def _open_path(location: str, notes: Notes) -> Source:
    path = Path(os.path.abspath(location))  # noqa: PTH100 - symlinks stay as the user wrote them
    if path.is_dir():
        return _open_folder(path, notes)
    if not path.is_file():
        raise RecipeError(f"catalog {shown(path, 300)}: no such file or folder")
    if is_local(path):
        return open_local(path, notes)
    if _is_parquet(path):
        return ParquetSource(path, path.parent, [path], notes)
    return _open_document(path, path.parent, notes)


def _open_folder(folder: Path, notes: Notes) -> Source:
    root = next((folder / name for name in _ROOTS if (folder / name).is_file()), None)
    if root is not None:
        return _open_document(root, folder, notes)
    files = walk_folder(folder)
    documents = [p for p in files if not _is_parquet(p)]
    if files and not documents:
        return ParquetSource(folder, folder, files, notes)
    if not files and is_local(folder):
        return open_local(folder, notes)
    if not files:
        raise refusal(str(folder), "is a folder without items")
    return ShelfSource(str(folder), folder, _folder_items(documents, notes), notes)


def _folder_items(paths: list[Path], notes: Notes) -> Iterator[Found]:
    for path in paths:
        try:
            found = items_in(parse_document(read_file(path), str(path)), str(path), notes)
        except ChipweaveError as error:
            notes.say(f"{error.message}: left out")
            continue
        yield from found or ()


def _open_document(path: Path, folder: Path, notes: Notes) -> Source:
    document: Any = parse_document(read_file(path), str(path))
    found = items_in(document, str(path), notes)
    if found is None and not is_catalog(document):
        raise refusal(str(path), "holds no STAC items and is no catalog")
    below = found if found is not None else walk(str(path), document, folder, notes)
    return ShelfSource(
        str(path if path.parent == folder and path.name not in _ROOTS else folder), folder, below, notes
    )


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"
