"""Features of a vector file, a piece at a time: whatever GDAL reads, GeoParquet, or a table of PostGIS."""

from __future__ import annotations

import glob
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import pyogrio.errors
import pyogrio.raw
import pyproj
import shapely
from pyproj.exceptions import CRSError

from chipweave.errors import RecipeError

PIECE: Final = 16_384
"""Features that are read at a time."""

PARQUET: Final = frozenset({".parquet", ".geoparquet"})

_ERRORS: Final = (
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FieldError,
    pyogrio.errors.FeatureError, pyogrio.errors.GeometryError, pa.ArrowException, ValueError, OSError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Some features: their geometries, (n,) None where there is none, their numbers in the file, and columns.

    `turns` says in which order they are burned, if not in the file's: the larger later.
    """

    shapes: npt.NDArray[np.object_]
    ids: npt.NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    turns: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A vector layer: its CRS as ``EPSG:n`` or WKT2, and its fields by name, with SQLite's word for their type.

    A field of lists, structures or bytes has no such word: it is empty.
    """

    path: Path
    said: str
    layer: str | None
    crs: str
    fields: Mapping[str, str]

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """All features with some of their fields, in the file's order.

        Raises
        ------
        RecipeError
            The file is broken further down.
        """
        try:
            yield from (_parquet_pieces if self.path.suffix.lower() in PARQUET else _ogr_pieces)(
                self, list(columns)
            )
        except RecipeError:
            raise
        except _ERRORS as error:
            raise RecipeError(f"{self.said}: cannot be read: {_first_line(error)}") from error


def open_vectors(path: Path, said: str, layer: str | None = None) -> Opened:
    """Look at a vector file.

    Parameters
    ----------
    path
        A file that GDAL reads, zipped or not, or GeoParquet.
    said
        How an error names it, such as ``labels.fields.file: a.gpkg``.
    layer
        Of a file with several.

    Raises
    ------
    RecipeError
        Missing, unreadable, without geometries or CRS, or with several layers and none named.
    """
    if not path.exists():
        raise RecipeError(f"{said}: no such file (looked for {path})")
    try:
        if path.suffix.lower() in PARQUET:
            return _parquet(path, said)
        require_whole(path, said)
        return _ogr(path, said, layer)
    except RecipeError:
        raise
    except _ERRORS as error:
        raise RecipeError(f"{said}: cannot be read: {_first_line(error)}") from error


def require_whole(path: Path, said: str) -> None:
    """Refuse a shapefile that ends before its headers say: GDAL reads what is left, and ground would look empty.

    Lengths stand in 16-bit words in `.shp` and `.shx` (ESRI Shapefile Technical Description, 1998), and as records of
    a length behind a header in `.dbf`. Other files are passed over.
    """
    if path.suffix.lower() != ".shp":
        return
    for part in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")):
        ending = part.suffix.lower()
        if ending not in {".shp", ".shx", ".dbf"} or not part.is_file():
            continue
        with telling(said), part.open("rb") as file:
            head = file.read(100)
        if ending == ".dbf":
            records, header, length = struct.unpack("<4xIHH", head[:12]) if len(head) >= 12 else (0, 12, 0)
            expected = header + records * length
        else:
            expected = 2 * struct.unpack(">24xi", head[:28])[0] if len(head) == 100 else 100
        if part.stat().st_size < expected:
            raise RecipeError(
                f"{said}: is cut short: {part.name} has {part.stat().st_size:,} of {expected:,} bytes",
                hint="copy or download it again",
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def crs_text(crs: object, said: str) -> str:
    """CRS as ``EPSG:n``, else as WKT2.

    Raises
    ------
    RecipeError
        None, or one that PROJ does not know.
    """
    if crs in {None, ""}:
        raise RecipeError(
            f"{said}: has no CRS",
            hint="write it again with its CRS (ogr2ogr -a_srs EPSG:n), or as GeoJSON in lon/lat",
        )
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise RecipeError(f"{said}: its CRS is none that PROJ knows: {_first_line(error)}") from error
    code = parsed.to_authority(min_confidence=70)
    if code is not None and code[0] == "EPSG":
        return f"EPSG:{code[1]}"
    if code == ("OGC", "CRS84"):
        return "EPSG:4326"
    return str(parsed.to_wkt("WKT2_2019"))


def _ogr(path: Path, said: str, layer: str | None) -> Opened:
    layers = pyogrio.list_layers(path)
    names = [str(name) for name, kind in layers if kind is not None]
    if not names:
        raise RecipeError(f"{said}: holds no layer with geometries")
    if layer is not None and layer not in names:
        raise RecipeError(f"{said}: has no layer {layer!r}", hint=f"it has {', '.join(names)}")
    if layer is None and len(names) > 1:
        raise RecipeError(
            f"{said}: has {len(names)} layers: {', '.join(names)}", hint="say which with `layer:`"
        )
    layer = layer or names[0]
    info = pyogrio.read_info(path, layer=layer)
    types = dict(zip(map(str, info["fields"]), info["ogr_types"], strict=True))
    fields = {name: _OGR.get(kind, "") for name, kind in types.items()}
    return Opened(path, said, layer, crs_text(info["crs"], said), fields)


_OGR: Final = {
    "OFTInteger": "INTEGER", "OFTInteger64": "INTEGER", "OFTReal": "REAL", "OFTString": "TEXT",
    "OFTDate": "TEXT", "OFTTime": "TEXT", "OFTDateTime": "TEXT",
}  # fmt: skip


def _ogr_pieces(of: Opened, columns: list[str]) -> Iterator[Piece]:
    first = 0
    with pyogrio.raw.open_arrow(
        of.path, layer=of.layer, columns=columns, return_fids=True, batch_size=PIECE, use_pyarrow=True
    ) as (meta, reader):
        fid, geometry = meta["fid_column"] or "OGC_FID", meta["geometry_name"] or "wkb_geometry"
        for batch in reader:
            ids = batch.column(fid).to_numpy(zero_copy_only=False).astype(np.int64)
            try:
                shapes = _shapes(batch.column(geometry))
            except NotImplementedError:  # arcs, which GDAL draws out when it is not asked for Arrow
                break
            yield Piece(shapes, ids, {c: plain(batch.column(c)) for c in columns})
            first += len(ids)
        else:
            return
    yield from _drawn_pieces(of, columns, first)


def _drawn_pieces(of: Opened, columns: list[str], first: int) -> Iterator[Piece]:
    """Of a layer with arcs, which become straight lines, from feature `first` on."""
    while True:
        frame = pyogrio.read_dataframe(
            of.path,
            layer=of.layer,
            columns=columns,
            skip_features=first,
            max_features=PIECE,
            fid_as_index=True,
        )
        if frame.empty:
            return
        table = {c: plain(pa.array(frame[c], from_pandas=True)) for c in columns}
        yield Piece(np.asarray(frame.geometry.array, np.object_), frame.index.to_numpy(np.int64), table)
        first += len(frame)


def _parquet(path: Path, said: str) -> Opened:
    schema = pq.read_schema(path)
    column, facts = _geo(schema, said)
    fields = {f.name: _arrow(f.type) for f in schema if f.name != column}
    # The standard: no key means lon/lat, null means unknown.
    crs = facts.get("crs", "OGC:CRS84")
    return Opened(path, said, None, crs_text(json.dumps(crs) if isinstance(crs, dict) else crs, said), fields)


def _geo(schema: pa.Schema, said: str) -> tuple[str, Mapping[str, Any]]:
    """Primary geometry column of GeoParquet, and what its metadata say of it."""
    try:
        geo = json.loads((schema.metadata or {})[b"geo"])
        column = geo["primary_column"]
        facts = geo["columns"][column]
    except (KeyError, TypeError, ValueError):
        raise RecipeError(
            f"{said}: is no GeoParquet: it has no geo metadata", hint="write it with geopandas or GDAL"
        ) from None
    if column not in schema.names or not isinstance(facts, dict):
        raise RecipeError(f"{said}: has no column {column!r}, which its geo metadata name")
    return str(column), facts


def _arrow(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _arrow(kind.value_type)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "INTEGER"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "REAL"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_temporal(kind)
    return "TEXT" if text else ""


def _parquet_pieces(of: Opened, columns: list[str]) -> Iterator[Piece]:
    with pq.ParquetFile(of.path) as file:
        column, facts = _geo(file.schema_arrow, of.said)
        known = str(facts.get("encoding", "WKB")).upper() == "WKB"
        batches = file.iter_batches(PIECE, columns=[column, *columns], use_threads=False) if known else ()
        first = 0
        for batch in batches:
            ids = np.arange(first, first + batch.num_rows, dtype=np.int64)
            yield Piece(_shapes(batch.column(column)), ids, {c: plain(batch.column(c)) for c in columns})
            first += batch.num_rows
    if not known:  # GeoArrow's own encodings, which geopandas reads whole
        frame = gpd.read_parquet(of.path)
        for k in range(0, len(frame), PIECE):
            some = frame.iloc[k : k + PIECE]
            table = {c: plain(pa.array(some[c], from_pandas=True)) for c in columns}
            yield Piece(np.asarray(some.geometry.array, np.object_), np.arange(k, k + len(some)), table)


def _shapes(column: pa.Array) -> npt.NDArray[np.object_]:
    """Geometries of WKB; None where there is none, or bytes that are none."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    values = np.asarray(storage.to_numpy(zero_copy_only=False), np.object_)
    with np.errstate(invalid="ignore"):  # coordinates that are no numbers
        return np.asarray(shapely.from_wkb(values, on_invalid="ignore"), np.object_)


def plain(column: pa.Array) -> pa.Array:
    """A column as whole numbers, numbers or text: flags as 0 and 1, times as ISO text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_boolean(kind):
        return column.cast(pa.int64())
    if pa.types.is_uint64(kind):
        return column.cast(pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, "%Y-%m-%dT%H:%M:%S")
    if pa.types.is_temporal(kind):
        return column.cast(pa.string())
    return column


@contextmanager
def telling(said: str) -> Iterator[None]:
    """Turn what reading libraries raise into the recipe's error."""
    try:
        yield
    except _ERRORS as error:
        raise RecipeError(f"{said}: cannot be read: {_first_line(error)}") from error
