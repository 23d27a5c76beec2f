"""Extracts of OpenStreetMap, and Overture files: whether one is whole, of what date it is, and what box it covers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.errors import PermanentSourceError, RecipeError

LARGE: Final = 8 << 20
"""Of a file of more bytes than this, without a date in its header, the nodes are not looked at for the newest one."""

BATCH: Final = 4096
"""Rows of a Parquet file that are held at a time."""

PARQUET: Final = frozenset({".parquet", ".geoparquet"})

_MAX_HEADER: Final = 64 << 10
_MAX_BLOB: Final = 32 << 20
"""Of a block, in bytes: https://wiki.openstreetmap.org/wiki/PBF_Format."""


class Extract(NamedTuple):
    """Of what date a file is (ISO 8601, or empty), and the box (w, s, e, n) in lon/lat that it states, or None."""

    date: str
    box: tuple[float, float, float, float] | None


def extract_of(path: Path) -> Extract:
    """Date and box of an extract, `.osm.pbf`, or of an Overture file in Parquet.

    The date is what the header states, else that of the newest object, or of the newest of Overture's sources.

    Raises
    ------
    PermanentSourceError
        Cut short, or none of them.
    RecipeError
        No such file, one with the history of objects, or one that is not in lon/lat.
    """
    return _overture(path) if path.suffix.lower() in PARQUET else _pbf(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of the reader as ours."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        raise broken(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def broken(path: Path, why: str) -> PermanentSourceError:
    """Error for a file that is no whole extract."""
    return PermanentSourceError(
        f"{path}: not a whole OpenStreetMap extract: {why}", hint="download it again", href=str(path)
    )


def require_whole(path: Path) -> None:
    """Follow the blocks of a PBF file to its end.

    The reader itself takes up to three stray bytes for the end of a file, and stops only at the block that is cut.
    A file that was cut exactly between two blocks cannot be told from a whole one.

    Raises
    ------
    PermanentSourceError
        No PBF file, or it ends inside a block.
    RecipeError
        No such file.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    at = blocks = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(4)
            length = struct.unpack(">I", head)[0] if len(head) == 4 else 0
            if len(head) == 4 and not 0 < length <= _MAX_HEADER:
                raise broken(path, "no PBF file" if at == 0 else f"no block begins at byte {at}")
            kind, data = _block_header(file.read(length))
            if blocks == 0 and kind != b"OSMHeader" and len(head) == 4:
                raise broken(path, "no PBF file: it begins with no header")
            if len(head) < 4 or not 0 <= data <= _MAX_BLOB or at + 4 + length + data > size:
                raise broken(path, f"cut short: the block at byte {at} is not all there")
            at, blocks = at + 4 + length + data, blocks + 1
    if blocks < 2:
        raise broken(path, "empty" if size == 0 else "nothing but a header")


def _block_header(data: bytes) -> tuple[bytes, int]:
    """Type and size of the data of a block, from its BlobHeader message; a size of -1 where it is none."""
    kind, size, at = b"", -1, 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            if tag & 7 == 2:
                length, at = _varint(data, at)
                kind = data[at : at + length] if tag >> 3 == 1 else kind
                at += length
            elif tag & 7 == 0:
                value, at = _varint(data, at)
                size = value if tag >> 3 == 3 else size
            else:
                return kind, -1
    except IndexError:
        return kind, -1
    return kind, size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _pbf(path: Path) -> Extract:
    import osmium  # noqa: PLC0415 - only where an extract is read

    require_whole(path)
    with reading(path):
        with osmium.io.Reader(str(path), osmium.osm.osm_entity_bits.NOTHING) as reader:
            header = reader.header()
            box = header.box()
            history = header.has_multiple_object_versions
            stated = header.get("osmosis_replication_timestamp") or header.get("timestamp")
        if history:
            raise RecipeError(f"{path}: a file with history", hint="extract one date: osmium time-filter")
        bounds = None
        if box.valid():
            low, high = box.bottom_left, box.top_right
            bounds = (low.lon, low.lat, high.lon, high.lat)
        return Extract(instant(stated) or _newest(path), bounds)


def instant(text: str) -> str:
    """A time with its zone as ISO 8601 in UTC; empty where the text is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if found.tzinfo else ""


def _newest(path: Path) -> str:
    import osmium  # noqa: PLC0415

    bits = osmium.osm.osm_entity_bits
    looked = bits.WAY | bits.RELATION if path.stat().st_size > LARGE else bits.NODE | bits.WAY | bits.RELATION
    objects: Any = osmium.FileProcessor(str(path), looked)
    stamps = (o.timestamp for o in objects)
    newest = max(stamps, default=datetime(1970, 1, 1, tzinfo=UTC))
    return newest.strftime("%Y-%m-%dT%H:%M:%SZ") if newest.year > 1970 else ""


@contextmanager
def parquet_reading(path: Path) -> Iterator[None]:
    """Errors of Parquet's reader as ours."""
    try:
        yield
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise PermanentSourceError(
            f"{path}: not a whole Parquet file: {str(error).splitlines()[0]}", hint="download it again",
            href=str(path),
        ) from error  # fmt: skip


def _overture(path: Path) -> Extract:
    with parquet_reading(path), pq.ParquetFile(path) as file:
        names = set(file.schema_arrow.names)
        if not {"id", "geometry"} <= names:
            raise RecipeError(f"{path}: no Overture file: it has no columns id and geometry")
        geo = _geo(path, file)
        crs = geo.get("crs")
        code = crs.get("id", {}) if isinstance(crs, dict) else {}
        if isinstance(crs, dict) and (code.get("authority"), str(code.get("code"))) not in {
            ("OGC", "CRS84"), ("EPSG", "4326"),
        }:  # fmt: skip
            raise RecipeError(f"{path}: not in lon/lat, as Overture files are")
        box = geo.get("bbox")
        newest = ""
        if "sources" in names:
            for batch in file.iter_batches(BATCH, columns=["sources"]):
                for sources in batch.column(0).to_pylist():
                    newest = max([newest, *(str(s.get("update_time") or "") for s in sources or ())])
        bounds = None
        if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box):
            bounds = (box[0], box[1], box[2], box[3])
        return Extract(instant(newest), bounds)


def _geo(path: Path, file: Any) -> dict[str, Any]:
    """What GeoParquet metadata say of the geometries."""
    text = (file.schema_arrow.metadata or {}).get(b"geo", b"{}")
    try:
        found = json.loads(text).get("columns", {}).get("geometry", {})
    except (ValueError, AttributeError):
        raise RecipeError(f"{path}: its metadata on geometries are no JSON") from None
    return found if isinstance(found, dict) else {}
