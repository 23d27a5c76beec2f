"""stac-geoparquet: rows to items, sieved by columns first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import shapely.geometry
from shapely.errors import ShapelyError

from chipweave.catalog.footprint import boxes, extents
from chipweave.catalog.hrefs import shown
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources.base import ANYWHERE, Box, Found, Interval, meets, named, overlaps
from chipweave.catalog.stac import collection_of, defect
from chipweave.errors import RecipeError

_TOP: Final = frozenset(
    {"type", "stac_version", "stac_extensions", "id", "bbox", "geometry", "collection", "links", "assets"}
)


class ParquetSource:
    """One or more stac-geoparquet files; rows become items only where a search meets them.

    Raises
    ------
    RecipeError
        A file cannot be read, or has no `id` and `assets`.
    """

    concurrent = False

    def __init__(self, location: Path, folder: Path, files: Sequence[Path], notes: Notes) -> None:
        self.url = str(location)
        self.folder: Path | None = folder
        self._notes = notes
        self._tables = [(str(path), _read(path)) for path in files]
        self._read: dict[tuple[str, int], tuple[Found, list[Box]] | None] = {}

    def search(
        self,
        collections: Sequence[str],
        bbox: Box,
        interval: Interval | None,
        limit: int,  # noqa: ARG002 - no pages
    ) -> Iterator[Found]:
        """Sieve; see `Source`."""
        for origin, table in self._tables:
            rows: list[int] = np.flatnonzero(_sieve(table, collections, bbox)).tolist()
            self._load(origin, table, [row for row in rows if (origin, row) not in self._read])
            for row in rows:
                held = self._read[origin, row]
                if held is None or not meets(held[1], bbox) or not overlaps(held[0].item, interval):
                    continue
                if collection_of(held[0].item) in {*collections, ""}:
                    yield held[0]

    def _load(self, origin: str, table: pa.Table, rows: list[int]) -> None:
        """Make items of rows that no search has met before; broken ones are noted and stand as None."""
        for row, item in zip(rows, to_items(table.take(pa.array(rows, pa.int64()))), strict=True):
            why = defect(item)
            if why:
                self._notes.of(f"{shown(origin, 200)}: {why}, left out", named(item, row + 1))
            self._read[origin, row] = None if why else (Found(item, origin), extents(item) or [ANYWHERE])

    def collections(self) -> list[str]:
        """Names of the collections that it holds."""
        found = {
            c for _, t in self._tables if "collection" in t.column_names for c in t["collection"].to_pylist()
        }
        return sorted(c for c in found if isinstance(c, str))


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{path}: cannot be read as parquet: {str(error).splitlines()[0]}") from None
    if not {"id", "assets"} <= set(table.column_names):
        raise RecipeError(f"{path}: has no columns id and assets; it is no stac-geoparquet")
    return table


def _sieve(table: pa.Table, collections: Sequence[str], bbox: Box) -> npt.NDArray[np.bool_]:
    """Rows that may be meant: what a column does not state passes."""
    keep = pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    if "collection" in table.column_names and pa.types.is_string(table.schema.field("collection").type):
        named = pc.is_in(table["collection"], pa.array([*collections, ""]))
        keep = pc.and_(keep, pc.or_(named, pc.is_null(table["collection"])))
    kind = table.schema.field("bbox").type if "bbox" in table.column_names else None
    if (
        kind is not None
        and pa.types.is_struct(kind)
        and {"xmin", "ymin", "xmax", "ymax"} <= {f.name for f in kind}
    ):
        west, south, east, north = (
            pc.struct_field(table["bbox"], n) for n in ("xmin", "ymin", "xmax", "ymax")
        )
        hit = pc.greater(west, east)  # across ±180°: looked at more closely later
        for w, s, e, n in boxes(bbox):
            inside = pc.and_(pc.less_equal(west, e), pc.greater_equal(east, w))
            level = pc.and_(pc.less_equal(south, n), pc.greater_equal(north, s))
            hit = pc.or_(hit, pc.and_(inside, level))
        keep = pc.and_(keep, pc.fill_null(hit, True))
    return np.asarray(keep.to_numpy(), bool)


def to_items(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as raw STAC items: properties gathered again, times as text, nulls left out."""
    for row in table.to_pylist():
        held = row.pop("properties", None)
        properties = {} if not isinstance(held, dict) else _plain(held)
        properties |= {k: _plain(v) for k, v in row.items() if k not in _TOP and v is not None}
        item = {k: _plain(v) for k, v in row.items() if k in _TOP and k != "geometry" and v is not None}
        item["properties"] = properties
        if isinstance(item.get("bbox"), dict):
            item["bbox"] = _bbox(item["bbox"])
        geometry = _geometry(row.get("geometry"))
        if geometry is not None:
            item["geometry"] = geometry
        yield item


def _plain(value: Any) -> Any:
    """Value as JSON would hold it, without nulls in objects."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime | date) else value


def _bbox(value: dict[str, Any]) -> list[Any]:
    names = (
        ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")
        if "zmin" in value
        else ("xmin", "ymin", "xmax", "ymax")
    )
    return [value.get(n) for n in names]


def _geometry(value: object) -> dict[str, Any] | None:
    if not isinstance(value, bytes):
        return None
    try:
        found: dict[str, Any] = shapely.geometry.mapping(shapely.from_wkb(value))
    except ShapelyError:
        return None
    return found
