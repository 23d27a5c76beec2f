"""A table of PostGIS, frozen as GeoParquet: a build reads what it was planned with, whatever becomes of the table."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from chipweave.catalog.hrefs import redact
from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.files import atomic_path
from chipweave.labels.vectors.files import PIECE, plain

GEOMETRY: Final = "geometry"
"""What the geometry column is called in the frozen file."""


def freeze_table(url: str, table: str | None, into: Path, said: str) -> Path:
    """Copy of a table, made where it is not there yet.

    Parameters
    ----------
    url
        ``postgresql://user@host/database``, without a password: that is taken from PGPASSWORD or ``~/.pgpass``.
    table
        ``table``, or ``schema.table``; the schema is ``public`` if absent.
    into
        Folder of the copy.
    said
        How errors name it, such as ``labels.fields.file: postgresql://host/db``.

    Raises
    ------
    RecipeError
        A password in the URL, no table named, no such table, no geometries in it, several CRSs or none.
    PermanentSourceError
        The database does not answer, or refuses.
    """
    if urlsplit(url).password:
        raise RecipeError(
            f"{said}: a password does not belong into a recipe, which is kept beside the dataset",
            hint="write postgresql://user@host/database, and set PGPASSWORD or ~/.pgpass",
        )
    if table is None:
        raise RecipeError(f"{said}: names no table", hint="say which with `layer: schema.table`")
    digest = hashlib.sha256(f"{url}\n{table}".encode()).hexdigest()[:20]
    path = into / f"table-{digest}.parquet"
    if not path.exists():
        if importlib.util.find_spec("sqlalchemy") is None:
            raise RecipeError(f"{said}: needs SQLAlchemy", hint="pip install 'chipweave[postgis]'")
        _copy(url, table, path, said)
    return path


def _copy(url: str, table: str, path: Path, said: str) -> None:
    import sqlalchemy  # noqa: PLC0415 - an extra
    import sqlalchemy.exc  # noqa: PLC0415

    schema, _, name = table.rpartition(".")
    try:
        engine = sqlalchemy.create_engine(_driven(url))
    except (ImportError, sqlalchemy.exc.ArgumentError) as error:
        raise RecipeError(f"{said}: {error}", hint="pip install 'chipweave[postgis]'") from None
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            column = _geometry_column(connection, schema or "public", name, said)
            quote = connection.dialect.identifier_preparer.quote_identifier
            frames = gpd.read_postgis(
                sqlalchemy.text(f"SELECT * FROM {quote(schema or 'public')}.{quote(name)}"),  # noqa: S608 - quoted
                connection, geom_col=column, chunksize=PIECE,
            )  # fmt: skip
            _write(frames, column, path, said)
    except sqlalchemy.exc.SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise PermanentSourceError(f"{said}: {why}", href=redact(url)) from None
    finally:
        engine.dispose()


def _driven(url: str) -> str:
    """The URL with psycopg 3 as its driver, where it names none."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg://{url.removeprefix(scheme)}"
    return url


def _geometry_column(connection: Any, schema: str, name: str, said: str) -> str:
    import sqlalchemy  # noqa: PLC0415 - an extra

    query = "SELECT f_geometry_column FROM geometry_columns WHERE f_table_schema = :schema AND f_table_name = :name"
    found = [row[0] for row in connection.execute(sqlalchemy.text(query), {"schema": schema, "name": name})]
    if not found:
        raise RecipeError(
            f"{said}: has no table {schema}.{name} with geometries", hint="name it with `layer: schema.table`"
        )
    if len(found) > 1:
        raise RecipeError(
            f"{said}: {schema}.{name} has several geometry columns: {', '.join(found)}",
            hint="make a view with one of them",
        )
    return str(found[0])


def _write(frames: Iterator[gpd.GeoDataFrame], column: str, path: Path, said: str) -> None:
    codes: set[int] = set()
    with atomic_path(path) as temporary:
        writer = None
        for frame in frames:
            if frame.empty:
                continue
            shapes = np.asarray(frame[column].array, np.object_)
            codes |= set(np.unique(shapely.get_srid(shapes[shapes != None])).tolist())  # noqa: E711 - elementwise
            if frame.crs is None or len(codes) > 1:
                known = ", ".join(map(str, sorted(codes)))
                raise RecipeError(
                    f"{said}: " + (f"mixes CRSs: SRID {known}" if len(codes) > 1 else "has no CRS (SRID 0)"),
                    hint="bring it to one with ST_Transform, or state it with UpdateGeometrySRID",
                )
            fields = {
                str(c): plain(pa.array(frame[c], from_pandas=True))
                for c in frame.columns
                if c != column and not frame[c].map(lambda v: isinstance(v, dict | list | bytes)).any()
            }
            held = pa.table(
                {**fields, GEOMETRY: pa.array(shapely.to_wkb(shapely.set_srid(shapes, 0)), pa.binary())}
            )
            if writer is None:
                writer = pq.ParquetWriter(temporary, held.schema.with_metadata(_geo(frame.crs)))
            writer.write_table(held.cast(writer.schema))
        if writer is None:
            raise RecipeError(f"{said}: is empty: it has no feature")
        writer.close()


def _geo(crs: pyproj.CRS) -> dict[str, str]:
    about = {"encoding": "WKB", "geometry_types": [], "crs": crs.to_json_dict()}
    return {"geo": json.dumps({"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: about}})}
