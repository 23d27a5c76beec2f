"""A table of a database is frozen once; SQLite stands in for PostGIS, whose tables of its own it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.labels.vectors import Rule
from chipweave.labels.vectors.database import freeze_table
from support.polygons import place_at, reader

sqlalchemy = pytest.importorskip("sqlalchemy")

SAID = "labels.f.file: postgresql://me@host/db"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives a function that fills a table of EWKB geometries; the URL of its database."""
    path = tmp_path / "public.db"
    create = sqlalchemy.create_engine

    def attached(url: str):
        engine = create(url)

        @sqlalchemy.event.listens_for(engine, "connect")
        def attach(connection, _record) -> None:
            connection.execute(f"ATTACH DATABASE '{path}' AS public")

        return engine

    monkeypatch.setattr(sqlalchemy, "create_engine", attached)
    monkeypatch.setattr("chipweave.labels.vectors.database.PIECE", 3)

    def fill(shapes, srids, codes) -> str:
        with create(f"sqlite:///{path}").begin() as base:
            for one in ("CREATE TABLE geometry_columns (f_table_schema, f_table_name, f_geometry_column)",
                        "INSERT INTO geometry_columns VALUES ('public', 'fields', 'shape')",
                        "CREATE TABLE spatial_ref_sys (srid INTEGER, auth_name, auth_srid INTEGER)",
                "INSERT INTO spatial_ref_sys VALUES (32635, 'EPSG', 32635), (3067, 'EPSG', 3067)",
                "CREATE TABLE fields (code INTEGER, shape BLOB, crop TEXT)"):  # fmt: skip
                base.execute(sqlalchemy.text(one))
            for shape, srid, code in zip(shapes, srids, codes, strict=True):
                held = shapely.to_wkb(shapely.set_srid(shape, srid), include_srid=True)
                base.execute(
                    sqlalchemy.text("INSERT INTO fields VALUES (:code, :shape, 'rye')"),
                    {"code": code, "shape": held},
                )
        return "sqlite://"

    return fill


def boxes(count: int) -> list[shapely.Geometry]:
    return [shapely.box(500_000 + 100 * k, 6_700_000, 500_060 + 100 * k, 6_700_060) for k in range(count)]


def test_a_table_is_read_in_pieces_and_frozen(database, tmp_path: Path) -> None:
    url = database(boxes(8), [32635] * 8, range(1, 9))
    path = freeze_table(url, "fields", tmp_path, SAID)
    place = place_at(27.0, 60.43, "EPSG:32635", 10.0, 200)
    found = reader(path, Rule("crop = 'rye'", None, "code", said="burn.0"), place=place).read(place, [])
    assert np.bincount(found.arrays["f"].ravel())[1:].tolist() == [36] * 8
    (tmp_path / "public.db").unlink()
    assert freeze_table(url, "fields", tmp_path, SAID) == path, "what is frozen is not asked for again"


def test_tables_that_are_of_no_use_are_refused(database, tmp_path: Path) -> None:
    url = database(boxes(4), [32635, 32635, 32635, 3067], range(4))
    with pytest.raises(RecipeError, match="mixes CRSs: SRID 3067, 32635"):
        freeze_table(url, "fields", tmp_path, SAID)
    with pytest.raises(RecipeError, match=r"no table public.hedges with geometries"):
        freeze_table(url, "hedges", tmp_path, SAID)
    with pytest.raises(RecipeError, match="names no table"):
        freeze_table(url, None, tmp_path, SAID)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_table_without_crs_or_without_rows_is_refused(database, tmp_path: Path) -> None:
    url = database(boxes(2), [0, 0], range(2))
    with pytest.raises(RecipeError, match="has no CRS"):
        freeze_table(url, "fields", tmp_path, SAID)
    with sqlalchemy.create_engine(url).begin() as base:
        base.execute(sqlalchemy.text("DELETE FROM public.fields"))
    with pytest.raises(RecipeError, match="is empty"):
        freeze_table(url, "fields", tmp_path, SAID)


def test_a_password_is_refused_and_never_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        freeze_table("postgresql://me:hunter2secret@host/db", "fields", tmp_path, SAID)
    assert "hunter2secret" not in f"{caught.value.message} {caught.value.hint}"
    assert "PGPASSWORD" in caught.value.hint


def test_a_database_that_does_not_answer_is_a_source_error(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(PermanentSourceError):
        freeze_table("postgresql://me@127.0.0.1:9/db", "fields", tmp_path, SAID)
