"""Vector files that are broken or hostile: a clear error, or a fix that is counted; and what a store keeps."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.labels.vectors import Rule, mending, opened
from chipweave.labels.vectors import store as making
from chipweave.plan.vectors import read_features
from support.polygons import place_at, reader, star, store, write

UTM = "EPSG:32635"
X, Y = 500_000.0, 6_700_000.0


def box(w: float, s: float, e: float, n: float) -> shapely.Polygon:
    return shapely.box(X + w, Y + s, X + e, Y + n)


def burns(path: Path) -> np.ndarray:
    place = place_at(27.0, 60.43, UTM, 10.0, 64)
    assert abs(place.x - X) < 1000
    return reader(path, place=place).read(place, []).arrays["f"]


def test_invalid_and_self_crossing_polygons_are_mended_and_counted(tmp_path: Path) -> None:
    bow = shapely.Polygon([(X, Y), (X + 100, Y + 100), (X + 100, Y), (X, Y + 100)])
    spike = shapely.Polygon(
        [(X, Y), (X + 100, Y), (X + 100, Y + 50), (X + 200, Y + 50), (X + 100, Y + 50), (X, Y + 100)]
    )
    outside_hole = shapely.Polygon(box(0, 0, 100, 100).exterior, [box(200, 200, 210, 210).exterior])
    collapsed = shapely.Polygon([(X, Y), (X + 10, Y + 10), (X, Y)])
    mixed = shapely.GeometryCollection(
        [shapely.Point(X, Y), box(0, 0, 10, 10), shapely.LineString([(X, Y), (X + 9, Y)])]
    )
    shapes = [box(0, 0, 10, 10), bow, spike, outside_hole, collapsed, mixed, None, shapely.Polygon()]
    path = tmp_path / "a.parquet"
    write(path, shapes, UTM)
    facts = store(path)
    assert facts.count == 5
    assert facts.mended == 3
    assert facts.dropped == {"no geometry": 2, "without extent": 1}
    assert "3 mended" in facts.said()
    assert "2 left out (no geometry)" in facts.said()
    near = opened.open_store(facts.folder).near(place_at(27.0, 60.43, UTM, 10.0, 64), 1000.0, ())
    assert shapely.is_valid(near.shapes).all()
    assert sorted(near.ids.tolist()) == [0, 1, 2, 3, 5]
    areas = dict(zip(near.ids.tolist(), shapely.area(near.shapes).tolist(), strict=True))
    assert areas[1] == pytest.approx(5000)
    assert areas[5] == pytest.approx(100)
    assert {g.geom_type for g in near.shapes} == {"Polygon", "MultiPolygon"}


def test_coordinates_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    bad = shapely.transform(box(0, 0, 10, 10), lambda c: np.where(c == c.max(), np.nan, c))
    path = write(tmp_path / "a.parquet", [bad, box(0, 0, 10, 10)], UTM)
    assert store(path).dropped == {"not finite": 1}


def refused(path: Path, *rules: Rule, **more) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        store(path, *rules, **more)
    assert caught.value.exit_code == 3
    left = [p for p in (path.parent / "stores").glob("*") if (p / "facts.json").exists()]
    assert not left, "a refused file leaves no store"
    return caught.value


def test_a_file_without_a_crs_is_refused_with_the_fix(tmp_path: Path) -> None:
    for name in ("a.gpkg", "a.shp", "a.parquet"):
        error = refused(write(tmp_path / name, [box(0, 0, 1, 1)], None))
        assert error.message == f"{name}: has no CRS"
        assert "-a_srs" in error.hint


def test_a_file_that_mixes_crss_is_refused(tmp_path: Path) -> None:
    degrees = shapely.box(27.0, 60.4, 27.1, 60.5)
    error = refused(write(tmp_path / "a.gpkg", [box(0, 0, 9, 9), box(9, 9, 12, 12), degrees], UTM))
    assert "1 of 3 features lie in degrees" in error.message
    assert "first is 3 at 27" in error.message
    assert "ogr2ogr" in error.hint
    error = refused(write(tmp_path / "b.gpkg", [degrees, box(0, 0, 9, 9)], "EPSG:4326"))
    assert "beyond any longitude" in error.message
    far = shapely.box(9e9, 9e9, 9.1e9, 9.1e9)
    assert "has no coordinates" in refused(write(tmp_path / "c.gpkg", [far], "EPSG:3035")).message


def test_empty_layers_and_layers_of_which_nothing_is_burned_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"crop": pd.Series([], dtype="str")}, geometry=[], crs=UTM).to_file(
        empty, geometry_type="Polygon"
    )
    assert "is empty" in refused(empty).message
    path = write(tmp_path / "b.gpkg", [box(0, 0, 1, 1)], UTM, crop=["rye"])
    error = refused(path, Rule("crop = 'oat'", 1, None, said="burn.0"))
    assert "none of its 1 features is burned" in error.message
    nothing = write(tmp_path / "c.parquet", [None, shapely.Polygon()], UTM)
    assert "2 no geometry" in refused(nothing).message


def test_files_that_are_missing_or_no_vectors_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "a.gpkg").message
    (tmp_path / "b.gpkg").write_bytes(b"no GeoPackage")
    assert "b.gpkg: cannot be read" in refused(tmp_path / "b.gpkg").message
    (tmp_path / "c.parquet").write_bytes(b"PAR1no parquet")
    assert "c.parquet: cannot be read" in refused(tmp_path / "c.parquet").message
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "d.parquet")
    assert "no GeoParquet" in refused(tmp_path / "d.parquet").message
    whole = write(tmp_path / "e.gpkg", [box(k, 0, k + 1, 1) for k in range(3000)], UTM).read_bytes()
    (tmp_path / "f.gpkg").write_bytes(whole[: len(whole) // 2])
    assert "f.gpkg: cannot be read" in refused(tmp_path / "f.gpkg").message


@pytest.mark.parametrize("part", ["shp", "shx", "dbf"])
def test_a_shapefile_that_is_cut_short_is_refused(tmp_path: Path, part: str) -> None:
    """GDAL reads what is left of it, and says nothing of the features that are gone."""
    path = write(tmp_path / "a.shp", [box(k, 0, k + 1, 1) for k in range(300)], UTM, crop=["rye"] * 300)
    own = path.with_suffix(f".{part}")
    own.write_bytes(own.read_bytes()[:-100])
    assert f"is cut short: a.{part} has" in refused(path).message
    with pytest.raises(RecipeError, match=f"area: a.shp: is cut short: a.{part} has"):
        read_features(path, "area: a.shp")


def test_a_file_with_several_layers_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for k, name in enumerate(("fields", "hedges")):
        gpd.GeoDataFrame(geometry=[box(0, 0, 1 + k, 1)], crs=UTM).to_file(path, layer=name)
    error = refused(path)
    assert "2 layers: fields, hedges" in error.message
    assert "layer" in error.hint
    assert "no layer 'hedge'" in refused(path, layer="hedge").message
    assert store(path, layer="hedges").bounds != store(path, layer="fields").bounds


def test_a_field_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], UTM, crop_code=[3], area=[1.5])
    error = refused(path, Rule(None, None, "cropcode", said="labels.f.burn.0"))
    assert error.message == "labels.f.burn.0.column: there is no field 'cropcode'; did you mean 'crop_code'?"
    assert error.hint == "the file has crop_code, area"
    for where in ("aera > 1", '"aera" > 1', "crop_code = 1 AND aera < 3"):
        error = refused(path, Rule(where, 1, None, said="labels.f.burn.0"))
        assert error.message == "labels.f.burn.0.where: there is no field 'aera'; did you mean 'area'?"


@pytest.mark.parametrize(
    "where",
    [
        "1=1) UNION SELECT rowid FROM sqlite_master --", "load_extension('x') = 1",
        "area IN (SELECT 1 FROM sqlite_master)",
        "1; DROP TABLE features", "randomblob(9) > 'x'", "random() > 0", "area >", "ATTACH 'x' AS y",
        "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM t) SELECT max(n) FROM t) > 1",
    ],
)  # fmt: skip
def test_a_condition_can_ask_for_the_features_own_fields_and_nothing_else(tmp_path: Path, where: str) -> None:
    path = write(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], UTM, area=[1.5])
    assert refused(path, Rule(where, 1, None, said="labels.f.burn.0")).message.startswith(
        "labels.f.burn.0.where: "
    )


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("crop = 'rye'", [1, 5]), ("crop IN ('rye', 'oat') AND area < 3", [1, 2]),
        ("crop LIKE 'W%' OR area >= 5", [3, 5]),
        ("crop IS NULL", [4]), ("NOT (crop = 'rye')", [2, 3]), ("area BETWEEN 2 AND 4", [2, 3, 4]),
        ("upper(substr(crop, 1, 1)) = 'R'", [1, 5]), ("organic", [2, 5]), ("sown >= '2023-05-01'", [3, 4, 5]),
        ("\"odd name: x\" = 7 -- of no other", [4]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["gpkg", "parquet", "fgb"])
def test_conditions_take_features_as_sql_does_whatever_the_file(
    tmp_path: Path, where: str, ids: list[int], ending: str
) -> None:
    path = write(
        tmp_path / f"a.{ending}", [box(k, 0, k + 1, 1) for k in range(5)], UTM, number=[1, 2, 3, 4, 5],
        crop=["rye", "oat", "wheat", None, "rye"], area=[1.0, 2.0, 3.0, 4.0, 5.5],
        organic=[False, True, False, False, True],
        sown=pd.to_datetime(["2023-04-01", "2023-04-30", "2023-05-01", "2023-05-02", "2023-06-01"]),
        **{"odd name: x": [0, 0, 0, 7, 0]},
    )  # fmt: skip
    found = store(path, Rule(where, None, "number", said="burn.0"))
    assert found.codes == (tuple(ids),)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.5], "2.5"),
        ([-1, 2], "-1"),
        ([70_000, 2], "70000"),
        (["wheat", "3"], "'wheat'"),
        ([1e300, 1.0], "1e+300"),
    ],
)
def test_a_field_that_holds_no_codes_is_refused(tmp_path: Path, values: list, said: str) -> None:
    path = write(tmp_path / "a.gpkg", [box(0, 0, 1, 1), box(2, 0, 3, 1)], UTM, code=values)
    error = refused(path, Rule(None, None, "code", said="labels.f.burn.0"))
    assert f"code {said}, which is no code from 0 to 65535" in error.message


def test_a_field_may_hold_numbers_as_text_names_of_classes_or_nothing(tmp_path: Path) -> None:
    shapes = [box(k, 0, k + 1, 1) for k in range(4)]
    path = write(tmp_path / "a.gpkg", shapes, UTM, code=["007", "rye", None, "12"])
    facts = store(path, Rule(None, None, "code", said="burn.0"), names={"rye": 3})
    assert facts.codes == ((3, 7, 12),)
    assert facts.dropped == {"no code": 1}
    nested = tmp_path / "apart" / "b.parquet"
    nested.parent.mkdir()
    gpd.GeoDataFrame({"code": [[1], [2]]}, geometry=shapes[:2], crs=UTM).to_parquet(nested)
    assert "lists or structures" in refused(nested, Rule(None, None, "code", said="burn.0")).message


def test_a_polygon_with_ten_million_vertices_is_refused_by_a_stated_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = np.linspace(0, 2 * np.pi, 200_001)[:-1]
    large = shapely.Polygon(np.c_[X + 5000 * np.cos(turn), Y + 5000 * np.sin(turn)])
    path = write(tmp_path / "a.parquet", [box(0, 0, 9, 9), large], UTM)
    assert mending.MAX_VERTICES == 2_000_000
    assert store(path).count == 2
    monkeypatch.setattr(mending, "MAX_VERTICES", 100_000)
    monkeypatch.setattr(making, "_VERSION", 0)  # another digest: the store is made again
    with pytest.raises(RecipeError, match=re.escape("feature 1 has 200,001 vertices, more than 100,000")):
        store(path)


@pytest.mark.parametrize(
    "name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.parquet", "a.gpkg.zip", "a.shp.zip"]
)
def test_every_kind_of_file_gives_the_same_pixels(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(2)
    shapes = [star(rng, 27.0 + rng.normal() / 300, 60.43 + rng.normal() / 600, 0.002, 8) for _ in range(40)]
    shapes = [
        shapely.Polygon(np.round(shapely.get_coordinates(s), 7)) for s in shapes if s.geom_type == "Polygon"
    ]
    shapes = [s for s in shapes if s.is_valid]
    path = tmp_path / name
    if name.endswith(".zip"):
        inner = tmp_path / "in" / name.removesuffix(".zip")
        inner.parent.mkdir()
        write(inner, shapes, "EPSG:4326", n=range(len(shapes)))
        shutil.make_archive(str(tmp_path / "a"), "zip", inner.parent)
        (tmp_path / "a.zip").rename(path)
    else:
        write(path, shapes, "EPSG:4326", n=range(len(shapes)))
    plain = write(tmp_path / "plain.gpkg", shapes, "EPSG:4326")
    assert (burns(plain) == 1).sum() > 100
    np.testing.assert_array_equal(burns(path), burns(plain))


def test_curves_are_drawn_out(tmp_path: Path) -> None:
    path = tmp_path / "a.gml"
    path.write_text(
        '<?xml version="1.0"?><c xmlns:gml="http://www.opengis.net/gml"><gml:featureMember><f><g>'
        '<gml:Polygon srsName="EPSG:32635"><gml:exterior><gml:Ring><gml:curveMember><gml:Curve><gml:segments>'
        f"<gml:Circle><gml:posList>{X} {Y + 100} {X + 100} {Y} {X + 200} {Y + 100}</gml:posList></gml:Circle>"
        "</gml:segments></gml:Curve></gml:curveMember></gml:Ring></gml:exterior></gml:Polygon></g></f>"
        "</gml:featureMember></c>"
    )
    near = opened.open_store(store(path).folder).near(place_at(27.0, 60.43, UTM, 10.0, 64), 2000.0, ())
    assert shapely.area(near.shapes)[0] == pytest.approx(np.pi * 1e4, rel=0.005)


def test_a_store_is_found_again_and_another_file_or_question_makes_another(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9)], UTM, code=[3])
    first = store(path)
    changed = (first.folder / "facts.json").stat().st_mtime_ns
    assert store(path) == first
    assert (first.folder / "facts.json").stat().st_mtime_ns == changed
    assert store(path, Rule(None, None, "code", said="burn.0")).folder != first.folder
    write(path, [box(0, 0, 9, 8)], UTM, code=[3])
    assert store(path).folder != first.folder
    (first.folder / "facts.json").write_text("{")
    with pytest.raises(PermanentSourceError, match="no store"):
        opened.open_store(first.folder).near(place_at(27.0, 60.43, UTM), 0, ())


def test_features_lie_along_a_curve_and_a_chip_parses_its_own_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    shapes = [box(x, y, x + 90, y + 90) for x, y in rng.uniform(-200_000, 200_000, (6000, 2))]
    path = write(tmp_path / "a.parquet", shapes, UTM, code=np.arange(6000) % 7)
    monkeypatch.setattr("chipweave.labels.vectors.files.PIECE", 1000)
    monkeypatch.setattr(making, "GROUP", 64)
    facts = store(path, Rule(None, None, "code", said="burn.0"))
    assert facts.count == 6000
    parsed = []
    true = shapely.from_wkb
    monkeypatch.setattr(opened.shapely, "from_wkb", lambda raw: parsed.append(len(raw)) or true(raw))
    place = place_at(27.2, 60.5, UTM, 10.0, 1024)
    near = opened.open_store(facts.folder).near(place, 0.0, ("code",))
    square = shapely.box(place.x, place.y - 10_240, place.x + 10_240, place.y)
    truth = np.flatnonzero(shapely.intersects(square, shapes))
    assert len(truth) > 2
    assert sorted(near.ids.tolist()) == truth.tolist()
    assert [f["code"] for f in near.fields] == [k % 7 for k in near.ids.tolist()]
    assert sum(parsed) < 3 * len(truth) + 20
    groups = np.load(facts.folder / "groups.npy")
    assert np.median(np.ptp(groups[:, [0, 2]], axis=1)) < 2.5  # of 7 degrees


def test_what_is_kept_parsed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [box(900 * k, 0, 900 * k + 90, 90) for k in range(3000)]
    facts = store(write(tmp_path / "a.fgb", shapes, UTM))
    monkeypatch.setattr(opened, "KEPT_BYTES", 60_000)
    held = opened.Store(facts.folder)
    for k in range(60):
        held.near(place_at(27.0 + k * 0.02, 60.43, UTM), 0.0, ())
        assert held._held <= 60_000 or len(held._kept) == 1


def test_odd_names_of_fields_and_text_that_is_none(tmp_path: Path) -> None:
    columns = {"rowid": [4, 5], 'a"b': [1, 2], "ROW": ["x", "y"]} | {f"c{k}": [k, k] for k in range(2100)}
    path = write(tmp_path / "a.parquet", [box(0, 0, 1, 1), box(2, 0, 3, 1)], UTM, **columns)
    for where, code in (("rowid = 5", 5), ('"a""b" = 1', 4), ("c2099 = 2099 AND row = 'y'", 5)):
        assert store(path, Rule(where, None, "rowid", said="burn.0")).codes == ((code,),)
    table = pa.table(
        {
            "crop": pa.array([b"\xff\xfe"]).cast(pa.string(), safe=False),
            "geometry": pa.array([shapely.to_wkb(box(0, 0, 1, 1))]),
        }
    )
    about = {"encoding": "WKB", "geometry_types": [], "crs": None}
    geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": about}}
    for crs, said in ((None, "has no CRS"), ("EPSG:32635", "cannot be read: Invalid UTF8")):
        about["crs"] = crs
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "b.parquet")
        (tmp_path / "apart").mkdir(exist_ok=True)
        (tmp_path / "b.parquet").rename(tmp_path / "apart" / "b.parquet")
        assert (
            said
            in refused(tmp_path / "apart" / "b.parquet", Rule("crop = 'x'", 1, None, said="burn.0")).message
        )
