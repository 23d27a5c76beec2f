"""Files that pin the scenes of a layer: ids of items, nothing else is taken."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from chipweave.errors import RecipeError

COLUMNS = ("item", "id", "product_id", "scene")
"""Columns of a table in which ids are looked for, in this order; a table of one column needs none of these names."""


def pinned_ids(path: Path, where: str) -> frozenset[str]:
    """Ids out of a file.

    Parameters
    ----------
    path
        Text with an id a line (``#`` begins a remark), a table (``.csv``, ``.tsv``), or JSON (``.json``, ``.geojson``):
        a list of ids, or an ItemCollection.
    where
        Name of the key, for errors.

    Raises
    ------
    RecipeError
        No such file, or none that holds ids.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where}: {path}: cannot be read: {error}") from None
    read = {".csv": _table, ".tsv": _table, ".json": _json, ".geojson": _json}.get(
        path.suffix.lower(), _lines
    )
    try:
        found = frozenset(read(text))
    except (ValueError, csv.Error) as error:
        raise RecipeError(f"{where}: {path}: {error}") from None
    if not found:
        raise RecipeError(f"{where}: {path}: names no item", hint="an id a line, or a column called item")
    return found


def _lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _table(text: str) -> list[str]:
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in head else ",")
    names = [name for name in rows.fieldnames or () if name]
    column = next((name for name in COLUMNS if name in names), names[0] if len(names) == 1 else "")
    if not column:
        raise ValueError(f"has none of the columns {', '.join(COLUMNS)}, but {', '.join(names)}")
    return [value for row in rows if (value := (row[column] or "").strip())]


def _json(text: str) -> list[str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if isinstance(content, dict):
        features = content.get("features")
        content = (
            [f.get("id") for f in features if isinstance(f, dict)] if isinstance(features, list) else None
        )
    if not isinstance(content, list) or not all(isinstance(one, str) and one for one in content):
        raise ValueError("is neither a list of ids nor an ItemCollection")
    return content
