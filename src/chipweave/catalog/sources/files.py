"""Items in files: an ItemCollection, a bare list, one item, NDJSON, or a folder of these."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from chipweave.catalog.hrefs import is_http, redact, shown
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources.base import Box, Found, Interval, Shelf
from chipweave.errors import PermanentSourceError, RecipeError

MAX_BYTES: Final = 512 << 20
"""Largest JSON file that is read."""

ENDINGS: Final = (".json", ".geojson", ".ndjson", ".jsonl", ".geojsonl", ".geojsonseq")


class ShelfSource:
    """Items that were read once and are sieved here.

    Parameters
    ----------
    location
        URL or path.
    folder
        Folder of a catalog given as a path, else None.
    found
        Its items; broken ones are noted and left out.
    """

    concurrent = False

    def __init__(self, location: str, folder: Path | None, found: Iterator[Found], notes: Notes) -> None:
        self.url = redact(location)
        self.folder = folder
        self._shelf = Shelf.of(found, notes)
        if not self._shelf.found:
            notes.say(f"{self.url} holds no item")

    def search(
        self,
        collections: Sequence[str],
        bbox: Box,
        interval: Interval | None,
        limit: int,  # noqa: ARG002 - no pages
    ) -> Iterator[Found]:
        """Sieve; see `Source`."""
        return self._shelf.search(collections, bbox, interval)

    def collections(self) -> list[str]:
        """Names of the collections that it holds."""
        return self._shelf.collections()


def read_file(path: Path) -> str:
    """Text of a JSON file.

    Raises
    ------
    RecipeError
        It cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(
                f"{path}: larger than {MAX_BYTES >> 20} MiB", hint="convert it to stac-geoparquet"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: is no UTF-8 text") from None


def refusal(where: str, why: str) -> RecipeError | PermanentSourceError:
    """Error for a document that is no catalog: the recipe's where it names a path, else the source's."""
    if is_http(where):
        return PermanentSourceError(f"{shown(redact(where), 200)}: {why}", href=redact(where))
    return RecipeError(
        f"{shown(where, 200)}: {why}",
        hint="catalog takes an API's URL, items as JSON, NDJSON or parquet, or a static catalog",
    )


def parse_document(text: str, where: str) -> Any:
    """Value of a JSON text, or its `Lines` where it holds one value a line.

    Raises
    ------
    RecipeError, PermanentSourceError
        It is neither.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise refusal(where, "is nested too deeply") from None
    except ValueError as error:
        if _is_lines(text):
            return Lines(text)
        raise refusal(where, f"is no JSON (line {getattr(error, 'lineno', 1)})") from None


class Lines:
    """The lines of an NDJSON text, parsed as they are asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def values(self, where: str, notes: Notes) -> Iterator[Any]:
        """Value of each line that is not empty; one that cannot be parsed is noted and left out."""
        for number, line in enumerate(self._text.split("\n"), start=1):
            bare = line.strip().lstrip("\x1e")
            if not bare:
                continue
            try:
                yield json.loads(bare)
            except (ValueError, RecursionError):
                notes.of(f"{shown(where, 200)}: no JSON, left out", f"line {number}")


def _is_lines(text: str) -> bool:
    """Whether the first line that is not empty is a JSON object by itself."""
    first = next((line.strip().lstrip("\x1e") for line in text.split("\n") if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def items_in(document: Any, origin: str, notes: Notes) -> Iterator[Found] | None:
    """Items of a document: a collection of items, a list, one item, or lines; None for anything else."""
    if isinstance(document, Lines):
        return (f for value in document.values(origin, notes) for f in _features(value, origin, notes))
    if isinstance(document, list):
        return (f for value in document for f in _features(value, origin, notes))
    if isinstance(document, dict) and (
        "features" in document or ("assets" in document and "properties" in document)
    ):
        return _features(document, origin, notes)
    return None


def _features(value: Any, origin: str, notes: Notes) -> Iterator[Found]:
    if isinstance(value, dict) and isinstance(value.get("features"), list):
        for feature in value["features"]:
            yield from _features(feature, origin, notes)
    elif isinstance(value, dict):
        yield Found(value, origin)
    else:
        notes.say(f"{shown(origin, 200)}: an entry that is no item, left out")


def walk_folder(folder: Path) -> list[Path]:
    """Files of a folder that may hold items, sorted; symlinks that lead out of it are passed over."""
    real = os.path.realpath(folder) + os.sep
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (*ENDINGS, ".parquet") and p.is_file())
    return [p for p in paths if os.path.realpath(p).startswith(real)]
