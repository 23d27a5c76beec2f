"""Rasters of the user's own as a catalog: a file, a folder, a list of files, or a table of files, dates and bands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.catalog.notes import Notes
from chipweave.catalog.rasterfacts import RASTERS, BandFacts, RasterFacts, Span, raster_facts, span_of
from chipweave.catalog.sources.base import Found
from chipweave.catalog.sources.files import ShelfSource
from chipweave.catalog.stac import MAX_ID, mapping, properties
from chipweave.catalog.where import SHORT
from chipweave.errors import RecipeError

TABLES: Final = frozenset({".csv", ".tsv", ".txt"})
"""Endings of tables of files that are nothing else."""

INDEXES: Final = frozenset({".parquet", ".geojson"})
"""Endings of tables that may as well hold STAC items: they are tables of files where the recipe says `local`."""

MAX_FILES: Final = 100_000
"""Files of one catalog."""

_OWN: Final = ("file", "id", "date", "start", "end", "band")
"""Columns of a table that mean something here; any other is a property of the scene."""

_HINT: Final = f"columns are {', '.join(_OWN)}, and any property"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file of a catalog, and what a table says of it.

    `bands` name the file's bands in their order; empty where the file's own names hold.
    """

    facts: RasterFacts
    scene: str
    when: Span | None
    bands: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    def named(self, i: int) -> tuple[str, ...]:
        """Names that the file's band `i`, from 0, may go by."""
        own = self.facts.bands[i].names
        return (self.bands[i], own[-1]) if self.bands else own

    def band(self, name: str) -> BandFacts | None:
        """The band that goes by a name, whatever its case."""
        wanted = name.lower()
        every = range(len(self.facts.bands))
        hit = next((i for i in every if wanted in {n.lower() for n in self.named(i)}), None)
        return None if hit is None else self.facts.bands[hit]


class LocalSource(ShelfSource):
    """Scenes made of files; see `Source`."""


def is_local(path: Path) -> bool:
    """Whether a path shows itself to be rasters, or a table of them, and no catalog."""
    if path.is_dir():
        return any(p.suffix.lower() in RASTERS for p in path.rglob("*"))
    return path.suffix.lower() in RASTERS | TABLES


def open_local(path: Path, notes: Notes) -> LocalSource:
    """Catalog of a raster, a folder of rasters, or a table of them.

    Raises
    ------
    RecipeError
        The path does not exist, names no raster, or one of its files cannot be used.
    """
    folder = path if path.is_dir() else path.parent
    items = (Found(item, str(path)) for item in _items(local_files(path)))
    return LocalSource(str(path), folder, items, notes)


def local_files(path: Path) -> tuple[LocalFile, ...]:
    """Files of a catalog, with their headers, in the order of their names, or of the table.

    Raises
    ------
    RecipeError
        As `open_local`.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in RASTERS and p.is_file())
        rows = [_Row(p, _ident(p, path)) for p in found]
    elif path.suffix.lower() in TABLES | INDEXES and path.is_file():
        rows = list(_table(path))
    elif path.is_file():
        rows = [_Row(path, path.stem)]
    else:
        raise RecipeError(f"{path}: no such file or folder")
    if not rows:
        raise RecipeError(f"{path}: names no GeoTIFF and no JPEG 2000")
    if len(rows) > MAX_FILES:
        raise RecipeError(
            f"{path}: more than {MAX_FILES} files", hint="make several layers of them, or a STAC catalog"
        )
    return _read(tuple(rows), tuple(_state(row.path) for row in rows))


@dataclass(frozen=True, slots=True)
class _Row:
    """A file, and what its table says."""

    path: Path
    scene: str
    when: Span | None = None
    bands: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()


def _ident(path: Path, folder: Path) -> str:
    return "_".join(path.relative_to(folder).with_suffix("").parts)[-MAX_ID:]


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def _read(rows: tuple[_Row, ...], states: tuple[tuple[int, int], ...]) -> tuple[LocalFile, ...]:
    """Headers of files; read once for the recipe's bands and for the catalog, unless a file has changed."""
    del states
    out = []
    for row in rows:
        facts = raster_facts(row.path)
        if row.bands and len(row.bands) != len(facts.bands):
            raise RecipeError(
                f"{row.path}: has {len(facts.bands)} bands, its table names {len(row.bands)}: {', '.join(row.bands)}"
            )
        out.append(LocalFile(facts, row.scene, row.when or facts.when, row.bands, dict(row.more)))
    return tuple(out)


def _table(path: Path) -> Iterator[_Row]:
    """Rows of a table; a list of files has no columns and one file a line."""
    if path.suffix.lower() in INDEXES:
        for n, cells in enumerate(_index(path), start=1):
            if "file" not in cells:
                raise RecipeError(f"{path}: has no column `file`", hint=_HINT)
            yield _row(path, n, {str(k): _cell(v) for k, v in cells.items()})
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as text: {type(error).__name__}") from None
    if path.suffix.lower() == ".txt":
        listed = (line.strip() for line in lines)
        yield from (_row(path, n, {"file": line}) for n, line in enumerate(listed, start=1) if line)
        return
    rows = csv.DictReader(
        lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", restkey="", restval=""
    )
    if "file" not in (rows.fieldnames or ()):
        raise RecipeError(
            f"{path}: has no column `file`", hint=f"columns are {', '.join(_OWN)}, and any property"
        )
    for n, row in enumerate(rows, start=2):
        if row.get("", None) is not None:
            raise RecipeError(f"{path}, line {n}: more cells than columns")
        yield _row(path, n, {str(k).strip(): str(v).strip() for k, v in row.items()})


def _index(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a parquet table, or the properties of GeoJSON features; outlines are the files' own."""
    try:
        if path.suffix.lower() == ".parquet":
            names = [n for n in pq.read_schema(path).names if n not in {"geometry", "bbox"}]
            rows: list[Mapping[str, Any]] = pq.read_table(path, columns=names).to_pylist()
            return rows
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise RecipeError(f"{path}: cannot be read as a table: {type(error).__name__}") from None
    features = held.get("features") if isinstance(held, dict) else None
    if not isinstance(features, list):
        raise RecipeError(f"{path}: is no collection of features")
    return [properties(mapping(f)) for f in features]


def _cell(value: object) -> str:
    """A value as a table of text has it."""
    if value is None:
        return ""
    return (value.isoformat() if isinstance(value, date) else str(value)).strip()


def _row(table: Path, line: int, cells: Mapping[str, str]) -> _Row:
    where = f"{table}, line {line}"
    if not cells["file"]:
        raise RecipeError(f"{where}: names no file")
    path = table.parent / cells["file"]
    if path.suffix.lower() not in RASTERS:
        raise RecipeError(f"{where}: {cells['file']}: is no GeoTIFF or JPEG 2000 by its name")
    if not path.is_file():
        raise RecipeError(f"{where}: {path}: no such file")
    first, last = cells.get("start") or cells.get("date", ""), cells.get("end") or cells.get("date", "")
    spans = [(text, span_of(text)) for text in (first or last, last or first) if text]
    for text, span in spans:
        if span is None:
            raise RecipeError(
                f"{where}: {text!r} is no date", hint="write 2021-06-30, or 2021-06-30T10:15:00Z"
            )
    known = [span for _, span in spans if span is not None]
    bands = tuple(b.strip() for b in cells.get("band", "").split(";") if b.strip())
    more = tuple((k, v) for k, v in cells.items() if k not in _OWN and v)
    when = (known[0][0], known[-1][1]) if known else None
    return _Row(path, cells.get("id") or path.stem, when, bands, more)


def _items(files: Sequence[LocalFile]) -> Iterator[dict[str, Any]]:
    """STAC items of the files: those of one id are one scene."""
    scenes: dict[str, list[LocalFile]] = {}
    for file in files:
        scenes.setdefault(file.scene, []).append(file)
    for ident, own in scenes.items():
        assets: dict[str, Any] = {}
        properties: dict[str, Any] = {"datetime": None}
        for n, file in enumerate(own):
            assets[f"file{n}" if n else "file"] = _asset(file)
            properties |= {SHORT.get(k, k): v for k, v in file.properties.items()}
        spans = [file.when for file in own if file.when is not None]
        if spans:
            first, last = min(s[0] for s in spans), max(s[1] for s in spans)
            properties["datetime"] = first.isoformat() if first == last else None
            properties |= {"start_datetime": first.isoformat(), "end_datetime": last.isoformat()}
        yield {
            "type": "Feature", "stac_version": "1.1.0", "id": ident, "properties": properties, "assets": assets,
            "links": [], "geometry": None,
        }  # fmt: skip


def _asset(file: LocalFile) -> dict[str, Any]:
    facts, bands = file.facts, []
    for i, band in enumerate(facts.bands):
        names = dict(zip(("name", "common_name", "eo:common_name"), file.named(i), strict=False))
        stated = {"raster:scale": band.scale, "raster:offset": band.offset, "nodata": band.nodata}
        bands.append({**names, **{k: v for k, v in stated.items() if v is not None}})
    return {
        "href": str(facts.path.absolute()),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "bands": bands,
        "proj:code" if facts.crs.startswith("EPSG:") else "proj:wkt2": facts.crs,
        "proj:transform": list(facts.transform),
        "proj:shape": list(facts.shape),
    }
