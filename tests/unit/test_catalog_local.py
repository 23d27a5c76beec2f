"""Files of the user's own as a collection: their bands, dates, units, and the tables that say more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from rasterio.enums import ColorInterp

from catalog_world import shared_data
from chipweave.catalog import lock, requests
from chipweave.catalog.rasterfacts import date_of, raster_facts, span_of
from chipweave.catalog.sources.local import local_files
from chipweave.errors import NotBuiltError, RecipeError
from chipweave.pixels import LayerRead, gdal_session, read_scene
from chipweave.plan.values import value_rule
from chipweave.recipe import load_recipe
from tiny import UTM, north_up

X, Y = 500_000.0, 5_250_000.0
HERE = (8.5, 47.0, 9.5, 48.0)
DAY = timedelta(days=1) - timedelta(microseconds=1)


def write(
    path,
    *bands,
    x=X,
    y=Y,
    res=10.0,
    names=(),
    units=(),
    scale=None,
    offset=None,
    colours=(),
    crs=UTM,
    **profile,
):
    array = np.stack([np.asarray(b) for b in bands])
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = profile.pop("tags", {})
    with rasterio.open(
        path, "w", driver="GTiff", count=len(array), height=array.shape[1], width=array.shape[2], dtype=array.dtype,
        crs=crs, transform=north_up(x, y, res), **profile,
    ) as out:  # fmt: skip
        out.write(array)
        for i, name in enumerate(names, start=1):
            out.set_band_description(i, name)
        if units:
            out.units = units
        if scale is not None:
            out.scales, out.offsets = [scale] * len(array), [offset or 0.0] * len(array)
        if colours:
            out.colorinterp = colours
        out.update_tags(**tags)
    return path


def plane(value=1, dtype="uint8", size=32):
    return np.full((size, size), value, dtype)


@pytest.fixture
def asked(tmp_path):
    """Request of a recipe with one layer of local files, and its scenes."""

    def ask(catalog, bands, **layer):
        mapping = {
            "version": 1, "area": {"bbox": list(HERE)}, "chips": {"size": 16, "resolution": 10},
            "imagery": {"own": {"collection": "local", "catalog": catalog, "bands": bands, **layer}},
            "catalogs": ["mine"],
        }  # fmt: skip
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
        (request,) = requests(load_recipe(tmp_path / "recipe.yaml"))
        return request, lock([request], [HERE])

    return ask


@pytest.mark.parametrize(("name", "first", "lasts"), [
    ("exe_2024-06-02_12-21-19_EPSG27700", "2024-06-02T12:21:19", timedelta(0)),
    ("S1A_IW_20150309T173017_VV_db", "2015-03-09T17:30:17", timedelta(0)),
    ("m_3211605_ne_11_060_20200415", "2020-04-15", DAY),
    ("mt_m_4911664_se_11_060_20231117_20240103", "2023-11-17", DAY),
    ("HLS.S30.T55LCL.2024001T003701.v2.0.B04", "2024-01-01T00:37:01", timedelta(0)),
    ("MOD09A1.A2020366.h18v04", "2020-12-31", DAY),
    ("ortho_2018.06.30", "2018-06-30", DAY),
    ("basemap_2021-02_mosaic", "2021-02-01", timedelta(days=28) - timedelta(microseconds=1)),
    ("basemap_2021-12", "2021-12-01", timedelta(days=31) - timedelta(microseconds=1)),
    ("dop20_2019_rgbi", "2019-01-01", timedelta(days=365) - timedelta(microseconds=1)),
])  # fmt: skip
def test_dates_of_names(name, first, lasts):
    got = date_of(name)
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert got == (start, start + lasts)


@pytest.mark.parametrize(
    "name", ["ortho", "tile_32100_5200", "scene_20201301", "x_2021023145", "A2021399", "A2021000", "id_12019"]
)
def test_names_without_a_date(name):
    assert date_of(name) is None


def test_a_stated_time():
    moment = datetime(2021, 6, 30, 8, 15, tzinfo=UTC)
    assert span_of("2021-06-30T10:15:00+02:00") == (moment, moment)
    assert span_of("2021-06-30")[1] == datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)
    assert span_of("soon") is None


def test_bands_by_description_colour_and_place(asked, tmp_path):
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write(
        tmp_path / "photos" / "a_2020-04-15.tif", *(plane(v) for v in (10, 20, 30, 40)), names=("", "", "", "NIR"),
        colours=colours, photometric="RGB",
    )  # fmt: skip
    request, found = asked("photos", ["nir", "blue", "b1", "GREEN"], time="2020")
    (scene,) = found.scenes
    assert {b: a.index for b, a in scene.assets.items()} == {"nir": 4, "blue": 3, "b1": 1, "GREEN": 2}
    assert {a.href for a in scene.assets.values()} == {str(path)}
    assert (scene.id, scene.crs, scene.time) == ("a_2020-04-15", UTM, datetime(2020, 4, 15, tzinfo=UTC))
    assert (request.collection.unit, request.collection.static) == ("DN", False)
    assert found.warnings == []
    with pytest.raises(RecipeError, match="unknown band 'nri'; did you mean 'NIR'"):
        asked("photos", ["nri"])


def test_a_description_that_bands_share_names_none(tmp_path):
    facts = raster_facts(
        write(tmp_path / "a.tif", *[plane(1, "int32")] * 3, names=("bands", "bands", "height"))
    )
    assert [b.names for b in facts.bands] == [("b1",), ("b2",), ("height", "b3")]


def test_time_chooses_among_dated_files(asked, tmp_path):
    for day in ("2020-04-15", "2020-05-15", "2021-04-15"):
        write(tmp_path / "photos" / f"a_{day}.tif", plane())
    _, found = asked("photos", ["b1"], time="2020-05-01/2020-12-31")
    assert [s.id for s in found.scenes] == ["a_2020-05-15"]


def test_files_without_a_date_are_one_picture(asked, tmp_path):
    for n in range(3):
        write(tmp_path / "photos" / f"tile_{n}.tif", plane(), x=X + 320 * n)
    _, found = asked("photos", ["b1"], time="2020")
    assert len(found.scenes) == 3
    assert len({s.time for s in found.scenes}) == 1
    assert any("of no date" in w for w in found.warnings)


def test_one_band_of_a_lone_file_needs_no_name(asked, tmp_path):
    write(tmp_path / "dsm.tif", plane(3.5, "float32"), units=("metre",), nodata=-9999.0)
    request, found = asked("dsm.tif", ["height"])
    (scene,) = found.scenes
    assert request.collection.unit == "m"
    assert (scene.assets["height"].index, scene.assets["height"].nodata) == (1, -9999.0)


def test_a_table_says_dates_bands_scenes_and_more(asked, tmp_path):
    for n in (1, 2):
        for band, value in (("B04", 4), ("B08", 8)):
            write(tmp_path / "raw" / f"x{n}_{band}.tif", plane(value, "uint16"))
    rows = ["file,id,date,band,cloud,owner"]
    rows += [
        f"raw/x{n}_{b}.tif,scene{n},2022-0{n}-03,{b},{n * 10}.5,me" for n in (1, 2) for b in ("B04", "B08")
    ]
    (tmp_path / "files.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    _, found = asked("files.csv", ["B08", "b04"], where={"cloud": "<15", "owner": "me"}, time="2022")
    (scene,) = found.scenes
    assert (scene.id, scene.cloud, scene.time) == ("scene1", 10.5, datetime(2022, 1, 3, tzinfo=UTC))
    assert scene.assets["B08"].href.endswith("x1_B08.tif")
    assert scene.assets["b04"].href.endswith("x1_B04.tif")
    # Several bands of one file, in its order.
    write(tmp_path / "raw" / "both.tif", plane(4), plane(8))
    (tmp_path / "one.tsv").write_text(
        "file\tband\tstart\tend\nraw/both.tif\tred;nir\t2020-01\t2020-03\n", encoding="utf-8"
    )
    _, found = asked("one.tsv", ["nir"], time="2020-03-31")
    assert found.scenes[0].assets["nir"].index == 2
    (tmp_path / "list.txt").write_text("raw/both.tif\n\nraw/x1_B04.tif\n", encoding="utf-8")
    assert [f.scene for f in local_files(tmp_path / "list.txt")] == ["both", "x1_B04"]


def test_a_table_of_features_or_of_columns(asked, tmp_path):
    """What a GIS writes: the same rows as GeoJSON and as GeoParquet."""
    import geopandas as gpd
    import shapely

    write(tmp_path / "raw" / "a.tif", plane(4))
    write(tmp_path / "raw" / "b.tif", plane(8))
    rows = {
        "file": ["raw/a.tif", "raw/b.tif"],
        "date": pd.to_datetime(["2020-05-01", "2021-05-01"]),
        "cloud": [3.5, 80.0],
        "note": ["x", None],
    }
    frame = gpd.GeoDataFrame(rows, geometry=[shapely.box(9, 47, 9.1, 47.1)] * 2, crs="EPSG:4326")
    frame.to_parquet(tmp_path / "index.parquet")
    frame.assign(date=frame["date"].dt.strftime("%Y-%m-%d")).to_file(
        tmp_path / "index.geojson", driver="GeoJSON"
    )
    for name in ("index.parquet", "index.geojson"):
        _, found = asked(name, ["b1"], where={"cloud": "<10"}, time="2020")
        assert [(s.id, s.cloud, s.time.isoformat()) for s in found.scenes] == [
            ("a", 3.5, "2020-05-01T00:00:00+00:00")
        ]
    frame.drop(columns="file").to_parquet(tmp_path / "index.parquet")
    (tmp_path / "index.geojson").write_text("[]", encoding="utf-8")
    for name, says in (("index.parquet", "no column `file`"), ("index.geojson", "no collection of features")):
        with pytest.raises(RecipeError, match=says):
            asked(name, ["b1"])


@pytest.mark.parametrize(("text", "says"), [
    ("name,date\na.tif,2020\n", "has no column `file`"),
    ("file,date\nmissing.tif,2020\n", "line 2: .*no such file"),
    ("file,date\na.tif,soon\n", "line 2: 'soon' is no date"),
    ("file,date\n,2020\n", "line 2: names no file"),
    ("file,date\na.tif,2020,x\n", "line 2: more cells than columns"),
    ("file,date\n../recipe.yaml,2020\n", "is no GeoTIFF or JPEG 2000 by its name"),
    ("file,band\na.tif,red;nir\n", "has 1 bands, its table names 2: red, nir"),
    ("file\n", "names no GeoTIFF and no JPEG 2000"),
])  # fmt: skip
def test_tables_that_are_wrong(asked, tmp_path, text, says):
    write(tmp_path / "a.tif", plane())
    (tmp_path / "files.csv").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=says) as caught:
        asked("files.csv", ["b1"])
    assert "imagery.own.catalog" in caught.value.message


def test_files_that_are_none(asked, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.tif").write_bytes(b"no tiff at all")
    (tmp_path / "v.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>", encoding="utf-8")
    for catalog, says in (
        ("empty", "names no GeoTIFF"),
        ("x.tif", "neither GeoTIFF nor JPEG 2000"),
        ("v.tif", "neither GeoTIFF"),
    ):
        with pytest.raises(RecipeError, match=says):
            asked(catalog, ["b1"])
    with pytest.raises(RecipeError, match="takes a file, a folder"):
        asked("https://x.example/v1", ["b1"])
    write(tmp_path / "nowhere.tif", plane(), crs=None)
    with pytest.raises(RecipeError, match="has no CRS"):
        asked("nowhere.tif", ["b1"])


def test_units_are_the_files(asked, tmp_path):
    def two_bands(name, *units):
        write(
            tmp_path / "u" / name, plane(1, "float32"), plane(1, "float32"), names=("t", "z"), units=units
        )  # fmt: skip

    two_bands("a.tif", "kelvin", "m")
    assert asked("u", ["t"])[0].collection.unit == "K"
    with pytest.raises(RecipeError, match="bands in K and m"):
        asked("u", ["t", "z"])
    two_bands("b.tif", "degC", "m")
    with pytest.raises(RecipeError, match=r"is in K in a\.tif, and in degC in b\.tif"):
        asked("u", ["t"])
    write(tmp_path / "db.tif", plane(-120, "int16"), units=("dB",), scale=0.1)
    with pytest.raises(NotBuiltError, match="radar with a scale"):
        asked("db.tif", ["vv"])
    write(tmp_path / "upside.tif", plane(1, "int16"), scale=-0.1)
    with pytest.raises(RecipeError, match=r"has the scale -0\.1"):
        asked("upside.tif", ["b1"])


def values_of(request, scene, shape=(32, 32)):
    rule = value_rule("own", request.collection, list(scene.assets), "native")
    read = LayerRead(
        tuple(scene.assets), dict.fromkeys(scene.assets, "bilinear"), None, dtype=rule.dtype, scales=rule.scales,
        power=rule.power,
    )  # fmt: skip
    with gdal_session():
        return rule, read_scene(scene, read, scene.crs, north_up(X, Y, 10.0), shape).values


def test_numbers_come_as_the_files_mean_them(asked, tmp_path):
    stored = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60
    write(tmp_path / "counts.tif", stored, nodata=0)
    request, found = asked("counts.tif", ["b1"])
    rule, values = values_of(request, found.scenes[0])
    assert (rule.dtype, rule.unit) == ("float32", "unknown"), "more than int16 holds"
    np.testing.assert_array_equal(values[0], np.where(stored == 0, np.nan, stored))

    write(tmp_path / "scaled.tif", stored.astype(np.int16), scale=0.01, offset=273.15, units=("K",), nodata=0)
    request, found = asked("scaled.tif", ["b1"])
    rule, values = values_of(request, found.scenes[0])
    signed = stored.astype(np.int16)
    np.testing.assert_allclose(values[0], np.where(signed == 0, np.nan, signed * 0.01 + 273.15), rtol=1e-6)

    write(tmp_path / "sr.tif", stored, scale=0.0001, units=("reflectance",), nodata=0)
    request, found = asked("sr.tif", ["b1"])
    rule, values = values_of(request, found.scenes[0])
    assert (rule.dtype, rule.scale) == ("int16", 0.0001)
    np.testing.assert_array_equal(
        values[0], np.where(stored == 0, -32768, np.minimum(stored.astype(int), 32767))
    )

    write(tmp_path / "photo.tif", (stored // 240).astype(np.uint8))
    request, found = asked("photo.tif", ["b1"])
    rule, values = values_of(request, found.scenes[0])
    assert (rule.dtype, rule.unit, rule.scale) == ("int16", "DN", 1.0)
    np.testing.assert_array_equal(values[0], stored // 240)


def test_a_collection_of_the_users_own_over_a_folder(tmp_path):
    """One YAML says what the files do not: names, unit, credit; the catalog is a folder of rasters."""
    write(tmp_path / "photos" / "a_2020-04-15.tif", *(plane(v, "uint16") for v in (1000, 2000)))
    held = {
        "kind": "imagery", "scale": 0.0001, "unit": "reflectance", "nodata": 0,
        "bands": [{"name": "red", "gsd": 10, "keys": ["b1"]}, {"name": "nir", "gsd": 10, "keys": ["b2"]}],
        "credit": {"licence": "CC-BY-4.0", "text": "mine"},
    }  # fmt: skip
    file = tmp_path / "mine" / "collections" / "my-mosaic.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(held), encoding="utf-8")
    recipe = {
        "version": 1, "area": {"bbox": list(HERE)}, "chips": {"size": 16, "resolution": 10}, "catalogs": ["mine"],
        "imagery": {"own": {"collection": "my-mosaic", "catalog": "photos", "bands": ["nir"], "time": "2020"}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (request,) = requests(load_recipe(tmp_path / "recipe.yaml"))
    (scene,) = lock([request], [HERE]).scenes
    assert scene.assets["nir"].index == 2
    _, values = values_of(request, scene)
    assert (values == 2000).all()


def test_radar_of_ones_own_in_decibels(tmp_path):
    """A calibrated, geocoded scene that says nothing of its unit: the collection does."""
    folder = shared_data() / "real" / "sentinel1"
    held = {
        "kind": "imagery", "unit": "dB", "bands": [{"name": "vv", "gsd": 20, "keys": ["b1"]}],
        "credit": {"licence": "CC-BY-4.0", "text": "mine"},
    }  # fmt: skip
    file = tmp_path / "mine" / "collections" / "my-radar.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(held), encoding="utf-8")
    recipe = {
        "version": 1, "area": {"bbox": [4, 43, 5, 44]}, "chips": {"size": 16, "resolution": 20}, "catalogs": ["mine"],
        "imagery": {
            "own": {
                "collection": "my-radar", "bands": ["vv"], "time": "2015-03-09",
                "catalog": str(folder / "S1A_IW_20150309T173017_VV_db.tif"),
            },
        },
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (request,) = requests(load_recipe(tmp_path / "recipe.yaml"))
    (scene,) = lock([request], [(4.0, 43.0, 5.0, 44.0)]).scenes
    assert scene.time == datetime(2015, 3, 9, 17, 30, 17, tzinfo=UTC)
    own = scene.assets["vv"]
    with rasterio.open(own.href) as source:
        stored, affine, crs = source.read(1).astype(np.float64), source.transform, source.crs.to_string()
    rule = value_rule("own", request.collection, ["vv"], "linear")
    read = LayerRead(
        ("vv",), {"vv": "bilinear"}, None, dtype=rule.dtype, scales=rule.scales, power=rule.power
    )
    with gdal_session():
        values = read_scene(scene, read, crs, affine, stored.shape).values[0]
    np.testing.assert_allclose(values, np.where(stored == -99, np.nan, 10 ** (stored / 10)), rtol=1e-5)


def test_a_changed_file_is_read_again(tmp_path):
    write(tmp_path / "a.tif", plane(), names=("one",))
    assert local_files(tmp_path)[0].facts.bands[0].names == ("one", "b1")
    write(tmp_path / "a.tif", plane(1, size=48), names=("other",))
    assert local_files(tmp_path)[0].facts.bands[0].names == ("other", "b1")


def test_a_link_out_of_the_folder_is_refused(asked, tmp_path):
    from chipweave.errors import PermanentSourceError

    write(tmp_path / "elsewhere" / "a.tif", plane())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").symlink_to(tmp_path / "elsewhere" / "a.tif")
    with pytest.raises(PermanentSourceError, match=r"a\.tif"):
        asked("photos", ["b1"])


@pytest.mark.parametrize(("folder", "bands", "unit", "scenes"), [
    ("sentinel2/exeter_multidate", ["B08", "B02"], "unknown", 5),
    ("hls/exeter_multidate", ["B04"], "unknown", 4),
    ("naip/prairie_pothole_multidate", ["b4", "b1"], "DN", 2),
    ("sentinel1/opera_rtc_10SGD", ["vv"], "unknown", 16),
])  # fmt: skip
def test_real_folders(folder, bands, unit, scenes, tmp_path):
    path = shared_data() / "real" / folder
    recipe = {
        "version": 1, "area": {"bbox": [-179, -80, 179, 80]}, "chips": {"size": 16, "resolution": 10},
        "imagery": {"own": {"collection": "local", "catalog": str(path), "bands": bands, "time": "2000/2030"}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (request,) = requests(load_recipe(tmp_path / "recipe.yaml"))
    found = lock([request], [(-179.0, -80.0, 179.0, 80.0)])
    assert len(found.scenes) == scenes
    assert request.collection.unit == unit
    assert not any(s.missing for s in found.scenes)
    assert len({s.time for s in found.scenes}) > 1
    for scene in found.scenes[:2]:
        facts = raster_facts(Path(scene.assets[bands[0]].href))
        assert scene.geometry.area > 0
        assert facts.when is not None
        assert scene.time == facts.when[0]
