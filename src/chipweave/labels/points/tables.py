"""Files of points, a piece at a time: vector files, and tables with coordinates in lon/lat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from chipweave.errors import RecipeError
from chipweave.labels.vectors import Rule, StoreFacts
from chipweave.labels.vectors.files import PARQUET, PIECE, Opened, Piece, open_vectors, plain, telling
from chipweave.labels.vectors.filters import unknown_field
from chipweave.labels.vectors.rules import HIGHEST, MAX_CODES
from chipweave.labels.vectors.store import store_of

TEXTS: Final = {".csv": ",", ".tsv": "\t"}
"""Endings of tables in text, and what parts their columns."""

LON: Final = ("lon", "lng", "longitude", "long", "x")
LAT: Final = ("lat", "latitude", "y")
"""What columns of coordinates are called, upper or lower case."""

JITTER: Final = "jitter_m"
"""Column that says by how many metres a point may have been moved, as those of surveys are."""

CODE: Final = "code"
VALUE: Final = "value"
MARKED: Final = Rule(None, None, CODE, said="points")
"""The one rule of a store of points: a point without a value has no code, and is left out."""

_FIELDS: Final = {CODE: "INTEGER", VALUE: "REAL", JITTER: "REAL"}


@dataclass(frozen=True, slots=True)
class PointTable(Opened):
    """A file of points; `inner` reads it where it is a vector file, else `lon` and `lat` are its columns.

    Parameters
    ----------
    column
        Which holds the value.
    codes
        Codes of texts, of classes; None where values are numbers.
    """

    column: str
    inner: Opened | None = None
    lon: str = ""
    lat: str = ""
    codes: Mapping[str, int] | None = None

    @property
    def jittered(self) -> bool:
        """Whether it says how far its points were moved."""
        return JITTER in self.fields

    def raw(self) -> Iterator[Piece]:
        """All points with the columns of value and jitter, as they are.

        Raises
        ------
        RecipeError
            The file is broken, or holds other than points.
        """
        wanted = [self.column, *([JITTER] if self.jittered and self.column != JITTER else [])]
        for piece in self.inner.pieces(wanted) if self.inner is not None else self._rows(wanted):
            dims = shapely.get_dimensions(piece.shapes)
            if (dims > 0).any():
                worst = int(np.argmax(dims))
                kind = shapely.GeometryType(int(shapely.get_type_id(piece.shapes[worst]))).name.lower()
                raise RecipeError(
                    f"{self.said}: feature {piece.ids[worst]} is a {kind}, no point",
                    hint="areas and lines are burned: give them as `file` with `burn`",
                )
            yield piece

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """All points with their code, value and jitter.

        Raises
        ------
        RecipeError
            The file is broken, holds other than points, or a value that is none.
        """
        for piece in self.raw():
            values, some = _numbers(piece.columns[self.column], self.codes, self.said, self.column)
            code = np.where(some, values, 0) if self.codes is not None else np.ones(len(values))
            table = {CODE: pa.array(code.astype(np.int64), mask=~some), VALUE: pa.array(values, mask=~some)}
            if self.jittered:
                moved, known = _numbers(piece.columns[JITTER], None, self.said, JITTER)
                table[JITTER] = pa.array(moved, mask=~(known & (moved >= 0)))
            yield Piece(piece.shapes, piece.ids, {c: table[c] for c in columns})

    def _rows(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Rows of a table; a row without coordinates has no geometry."""
        wanted = list(dict.fromkeys([self.lon, self.lat, *columns]))
        first = 0
        with telling(self.said):
            for frame in _frames(self.path, wanted):
                x, y = (
                    pd.to_numeric(frame[c], errors="coerce").to_numpy(np.float64)
                    for c in (self.lon, self.lat)
                )
                good = np.isfinite(x) & np.isfinite(y)
                away = good & ((np.abs(x) > 180) | (np.abs(y) > 90))
                if away.any():
                    k = int(np.flatnonzero(away)[0])
                    raise RecipeError(
                        f"{self.said}: row {first + k + 1} lies at {x[k]:.6g}, {y[k]:.6g}, which is not in lon/lat",
                        hint="give a vector file with its CRS for projected coordinates",
                    )
                shapes = np.full(len(frame), None, np.object_)
                shapes[good] = shapely.points(x[good], y[good])
                table = {c: plain(pa.array(frame[c], from_pandas=True)) for c in columns}
                yield Piece(shapes, np.arange(first, first + len(frame), dtype=np.int64), table)
                first += len(frame)


def _frames(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    if path.suffix.lower() in TEXTS:
        with pd.read_csv(path, sep=TEXTS[path.suffix.lower()], usecols=columns, chunksize=PIECE) as chunks:
            yield from chunks
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PIECE, columns=columns):
            yield batch.to_pandas()


def _numbers(
    column: pa.Array, codes: Mapping[str, int] | None, said: str, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values of a column, or the codes that they stand for, and which there are."""
    some = ~np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False), np.bool_)
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if codes is None and text:
        raise RecipeError(
            f"{said}: column {name} holds text, no numbers", hint="leave `unit` out if these are classes"
        )
    if pa.types.is_null(column.type):
        return np.zeros(len(column)), some
    if codes is None:
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        return np.where(some, values, 0.0), some & np.isfinite(values)
    held = column.take(pa.array(np.flatnonzero(some)))
    known = {v: _code(v, codes, said, name) for v in pc.unique(held).to_pylist()}
    out = np.zeros(len(column))
    out[some] = [known[v] for v in held.to_pylist()]
    return out, some


def _code(value: Any, codes: Mapping[str, int], said: str, name: str) -> int:
    text = value.strip() if isinstance(value, str) else _whole(value)
    if text is None or text not in codes:
        raise RecipeError(
            f"{said}: column {name} holds {value!r}, which is no class of the layer's legend",
            hint="name a legend that has it by code or by name, or a `unit` where values are numbers",
        )
    return codes[text]


def _whole(value: Any) -> str | None:
    number = float(value)
    return str(int(number)) if number.is_integer() and 0 <= number <= HIGHEST else None


def coordinate_columns(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Columns with longitude and latitude; None where none is called so."""
    known = {name.strip().lower(): name for name in names}
    lon, lat = (next((known[n] for n in wanted if n in known), None) for wanted in (LON, LAT))
    return lon, lat


def open_points(path: Path, said: str, column: str) -> PointTable:
    """Look at a file of points: a vector file, or a table (CSV, TSV, Parquet) with columns ``lon, lat``.

    Raises
    ------
    RecipeError
        Missing, unreadable, without coordinates, or without the column (the nearest is told).
    """
    if not path.exists():
        raise RecipeError(f"{said}: no such file (looked for {path})")
    suffix = path.suffix.lower()
    with telling(said):
        if suffix in TEXTS:
            fields = [str(c) for c in pd.read_csv(path, sep=TEXTS[suffix], nrows=0).columns]
            inner = None
        elif suffix in PARQUET and b"geo" not in (pq.read_schema(path).metadata or {}):
            fields, inner = list(pq.read_schema(path).names), None
        else:
            inner = open_vectors(path, said)
            fields = [name for name, kind in inner.fields.items() if kind]
    lon, lat = coordinate_columns(fields) if inner is None else ("", "")
    if lon is None or lat is None:
        raise RecipeError(f"{said}: has no columns lon and lat", hint=f"it has {', '.join(fields[:40])}")
    if column not in fields:
        raise unknown_field(f"{said}: column", column, fields)
    own = {k: v for k, v in _FIELDS.items() if k != JITTER or JITTER in fields}
    return PointTable(path, said, None, inner.crs if inner else "EPSG:4326", own, column, inner, lon, lat)


@dataclass(frozen=True, slots=True)
class Values:
    """What a column holds: numbers or not, all whole or not, and its classes if it may be one of classes."""

    numbers: bool
    whole: bool
    texts: tuple[str, ...]


def values_of(table: PointTable) -> Values:
    """Look through the column of a file: whole numbers and texts are kept, up to `MAX_CODES` of them.

    Raises
    ------
    RecipeError
        The file is broken, or the column holds nothing at all.
    """
    numbers, whole, rows = True, True, 0
    seen: set[str] = set()
    for piece in table.raw():
        column = piece.columns[table.column]
        for value in pc.unique(column).to_pylist():
            if value is None or (isinstance(value, float) and not np.isfinite(value)):
                continue
            rows += 1
            numbers = numbers and not isinstance(value, str)
            text = value.strip() if isinstance(value, str) else _whole(value)
            whole = whole and (text is not None)
            if whole and text is not None and len(seen) <= MAX_CODES:
                seen.add(text)
    if not rows:
        raise RecipeError(f"{table.said}: column {table.column} holds no value")
    return Values(numbers, whole, tuple(sorted(seen)))


def prepare_points(table: PointTable, into: Path) -> StoreFacts:
    """Make the store of a file of points below a folder, or find it there.

    Raises
    ------
    RecipeError
        The file is broken, holds other than points, or a value that is none.
    """
    asked = json.dumps([table.column, None if table.codes is None else sorted(table.codes.items())])
    digest = hashlib.sha256(asked.encode()).hexdigest()[:20]
    named = PointTable(
        table.path, table.said, f"points by {digest}", table.crs, table.fields, table.column, table.inner,
        table.lon, table.lat, table.codes,
    )  # fmt: skip
    columns = [VALUE, *([JITTER] if table.jittered else [])]
    return store_of(named, (MARKED,), into, columns=columns)
