"""`stac/`: the collection and its items, read back by what others read them with."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import rustac
import shapely
import shapely.geometry
import stac_geoparquet.arrow
from pystac.validation import JsonSchemaSTACValidator
from pystac.validation.local_validator import get_local_schema_cache

import fakes
from chipweave.audit import verify
from chipweave.describe import stac, stac_items, summarise, write_attribution, write_card, write_stac
from chipweave.shards.manifest import write_manifest
from chipweave.shards.sample import decode_npy

LAYERS = fakes.layer_specs(16)
RECIPE = {"name": "fake", "title": "A <b>fake</b>"}


def described(folder, layers=LAYERS, recipe=RECIPE):
    """Write `stac/`; the collection, the table of items, and the index's rows by key."""
    summary = summarise(folder, [spec.name for spec in layers])
    collection, samples = write_stac(folder, recipe, layers, summary)
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    return json.loads(collection.read_bytes()), pq.read_table(samples), {row["key"]: row for row in rows}


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2018", "2018-01-01T00:00:00Z", "2018-12-31T23:59:59Z"),
        ("2018-07", "2018-07-01T00:00:00Z", "2018-07-31T23:59:59Z"),
        ("2018-12", "2018-12-01T00:00:00Z", "2018-12-31T23:59:59Z"),
        (" 2018-02-28 ", "2018-02-28T00:00:00Z", "2018-02-28T23:59:59Z"),
        ("2018-07-01T10:00:00+02:00", "2018-07-01T08:00:00Z", "2018-07-01T08:00:00Z"),
    ],
)
def test_a_labels_date_may_be_whatever_a_recipe_takes(text, first, last):
    times = stac_items.times_of(
        pa.RecordBatch.from_pydict({"worldcover_datetime": pa.array([[text]], pa.list_(pa.string()))}), LAYERS
    )
    assert times.extent() == [first, last]


def items_of(table):
    return list(stac_geoparquet.arrow.stac_table_to_items(table))


def check(document):
    """Hold an item or a collection against STAC's own schemas; those of extensions are not at hand."""
    is_collection = document["type"] == "Collection"
    kind = pystac.STACObjectType.COLLECTION if is_collection else pystac.STACObjectType.ITEM
    validator = JsonSchemaSTACValidator()
    validator.schema_cache.update(get_local_schema_cache())
    pystac.validation.validate_dict(json.loads(json.dumps(document)), kind, "1.1.0", [], validator=validator)


def moment(text):
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return fakes.make(tmp_path_factory.mktemp("stac") / "ds")


@pytest.fixture(scope="module")
def whole(dataset):
    return described(dataset)


def test_the_collection_is_valid_and_says_what_the_index_says(whole, dataset):
    collection, _, rows = whole
    check(collection)
    read = pystac.Collection.from_dict(collection)
    assert (read.id, read.title) == ("fake", "A <b>fake</b>")
    assert read.license == "CC-BY-4.0"
    bounds = shapely.total_bounds([shapely.from_wkb(row["geometry"]) for row in rows.values()])
    assert read.extent.spatial.bboxes == [bounds.tolist()]
    assert read.extent.to_dict()["temporal"]["interval"] == [["2021-07-14T11:21:09Z", "2021-07-14T11:21:09Z"]]
    assert read.keywords == ["esa-worldcover", "sentinel-2-l2a"]
    assert read.summaries.lists == {"chipweave:split": ["train", "val", "test"], "proj:code": ["EPSG:32629"]}
    assert [b["name"] for b in collection["item_assets"]["s2"]["bands"]] == ["blue", "green", "red", "nir"]
    mirror = collection["assets"]["items"]
    assert mirror["roles"] == ["collection-mirror"]
    assert mirror["type"] == "application/vnd.apache.parquet"
    assert (dataset / "stac" / mirror["href"]).is_file()


def test_the_table_is_stac_geoparquet(whole):
    collection, table, _ = whole
    told = json.loads(table.schema.metadata[b"stac-geoparquet"])
    assert told == {"version": "1.1.0", "collections": {"fake": collection}}
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["primary_column"] == "geometry"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert "crs" not in geo["columns"]["geometry"]  # then it is OGC:CRS84, which the specification asks for
    for name in ("datetime", "start_datetime", "end_datetime"):
        assert table.schema.field(name).type == pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize("reader", ["stac_geoparquet", "rustac"])
def test_items_say_what_the_index_says(whole, dataset, reader):
    _, table, rows = whole
    if reader == "rustac":
        items = rustac.read_sync(str(dataset / "stac" / "samples.parquet"))["features"]
    else:
        items = items_of(table)
    assert [item["id"] for item in items] == list(rows)
    clouded = 0
    for item in items:
        check(item)
        row, properties = rows[item["id"]], item["properties"]
        footprint = shapely.from_wkb(row["geometry"])
        assert shapely.geometry.shape(item["geometry"]).equals(footprint)
        assert list(item["bbox"]) == list(footprint.bounds)
        assert item["collection"] == "fake"
        when = moment(row["s2_datetime"][0])
        assert [moment(properties[n]) for n in ("datetime", "start_datetime", "end_datetime")] == [when] * 3
        assert properties["proj:code"] == row["crs"]
        assert list(properties["proj:shape"]) == [row["height"], row["width"]]
        assert list(properties["proj:transform"]) == row["transform"]
        assert properties["chipweave:split"] == row["split"]
        assert properties["eo:cloud_cover"] == pytest.approx(100 * row["s2_cloud_fraction"], abs=1e-6)
        clouded += properties["eo:cloud_cover"] > 0
        assert set(item["assets"]) == {"json", "s2", "s2_mask", "worldcover"}
        assert {n: a["roles"][0] for n, a in item["assets"].items()} == {
            "json": "metadata", "s2": "data", "s2_mask": "metadata", "worldcover": "labels"
        }  # fmt: skip
    assert 0 < clouded < len(items)


def test_extensions_are_named_as_pystac_knows_them(whole):
    item = pystac.Item.from_dict(items_of(whole[1])[0])
    assert item.ext.proj.code == "EPSG:32629"
    assert item.ext.proj.shape == [16, 16]
    assert item.ext.eo.cloud_cover is not None


def test_the_byte_range_of_an_asset_is_its_member(whole, dataset):
    for item in items_of(whole[1]):
        for name, asset in item["assets"].items():
            with (dataset / "stac" / asset["href"]).open("rb") as file:
                file.seek(asset["chipweave:offset"])
                data = file.read(asset["chipweave:size"])
            if name == "json":
                assert json.loads(data)["key"] == item["id"]
            else:
                assert decode_npy(data).shape == ((4, 16, 16) if name == "s2" else (16, 16))


def test_a_search_finds_the_samples_of_a_place(whole, dataset):
    _, _, rows = whole
    key, row = next(iter(rows.items()))
    middle = shapely.from_wkb(row["geometry"]).centroid
    near = [middle.x - 1e-6, middle.y - 1e-6, middle.x + 1e-6, middle.y + 1e-6]
    found = [i["id"] for i in items_of(whole[1]) if shapely.box(*i["bbox"]).intersects(shapely.box(*near))]
    assert key in found
    again = rustac.read_sync(str(dataset / "stac" / "samples.parquet"))
    assert len(again["features"]) == len(rows)


def test_the_same_index_gives_the_same_bytes_and_memory_is_a_batch(whole, dataset, tmp_path, monkeypatch):
    before = {p.name: p.read_bytes() for p in (dataset / "stac").iterdir()}
    assert sorted(before) == ["collection.json", "samples.parquet"]
    folder = shutil.copytree(dataset, tmp_path / "ds")
    described(folder)
    assert {p.name: p.read_bytes() for p in (folder / "stac").iterdir()} == before
    monkeypatch.setattr(stac, "_ROWS", 4)
    _, table, rows = described(folder)
    assert pq.ParquetFile(folder / "stac" / "samples.parquet").num_row_groups == math.ceil(len(rows) / 4)
    assert table.equals(whole[1])


def test_a_dataset_without_tars_points_into_its_zarr_groups(tmp_path, monkeypatch):
    folder = fakes.make(tmp_path / "ds", tars=False)
    monkeypatch.setattr(stac, "_ROWS", 4)
    collection, table, _ = described(folder)
    check(collection)
    zarr = pytest.importorskip("zarr")
    for item in items_of(table):
        check(item)
        assert set(item["assets"]) == {"s2", "s2_mask", "worldcover"}
        asset = item["assets"]["worldcover"]
        group = zarr.open_group(folder / "stac" / asset["href"], mode="r")
        assert str(group["key"][asset["chipweave:sample"]]) == item["id"]
        assert asset["type"].startswith("application/vnd.zarr")


def changed(folder, tmp_path, change):
    """A copy of the dataset whose index `change` has altered, a row at a time."""
    copied = shutil.copytree(folder, tmp_path / "ds")
    table = pq.read_table(copied / "index.parquet")
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        change(number, row)
    names = [name for name in table.column_names if name in rows[0]]
    schema = pa.schema([table.schema.field(name) for name in names], table.schema.metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema), copied / "index.parquet")
    return copied


def test_labels_alone_have_the_year_of_their_edition(dataset, tmp_path):
    def forget(number, row):
        for name in [n for n in row if n.startswith("s2_")]:
            del row[name]

    collection, table, _ = described(changed(dataset, tmp_path, forget), LAYERS[2:])
    check(collection)
    year = ["2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z"]
    assert collection["extent"]["temporal"]["interval"] == [year]
    assert not any("/eo/" in uri for uri in collection["stac_extensions"])
    for item in items_of(table):
        check(item)
        properties = item["properties"]
        assert properties["datetime"] is None
        ends = [moment(properties[n]) for n in ("start_datetime", "end_datetime")]
        assert ends == [moment(text) for text in year]
        assert "eo:cloud_cover" not in properties
        assert set(item["assets"]) == {"json", "worldcover"}


def test_a_series_lasts_from_its_first_to_its_last_date(dataset, tmp_path):
    def prolong(number, row):
        row["s2_datetime"] = {
            0: ["2021-07-14T11:21:09.5Z", "", "2019-02-28T10:00:00Z", "2022-01-01T00:00:00+01:00"],
            1: [""],  # no scene served it: the label's year is what is known
            2: [""],
        }.get(number, ["2021-07-14T11:21:09Z"])
        if number == 2:
            row["s2_mask_datetime"] = row["worldcover_datetime"] = [""]
        elif number == 1:
            row["s2_mask_datetime"] = [""]

    collection, table, _ = described(changed(dataset, tmp_path, prolong))
    series, label, unknown, single = (item["properties"] for item in items_of(table)[:4])
    check(items_of(table)[0])
    assert series["datetime"] is None
    assert moment(series["start_datetime"]) == moment("2019-02-28T10:00:00Z")
    assert moment(series["end_datetime"]) == moment("2021-12-31T23:00:00Z")
    assert moment(label["start_datetime"]) == moment("2021-01-01T00:00:00Z")
    assert {unknown[n] for n in ("datetime", "start_datetime", "end_datetime")} == {None}
    assert moment(single["datetime"]) == moment("2021-07-14T11:21:09Z")
    assert collection["extent"]["temporal"]["interval"] == [["2019-02-28T10:00:00Z", "2021-12-31T23:59:59Z"]]


def test_a_crs_without_a_code_and_a_footprint_across_180(dataset, tmp_path):
    wkt = 'PROJCRS["nobody\'s"]'
    torn = shapely.union_all([shapely.box(179.9, 10, 180, 11), shapely.box(-180, 10, -179.8, 11)])

    def odd(number, row):
        if number == 0:
            row["crs"], row["geometry"] = wkt, torn.wkb

    collection, table, _ = described(changed(dataset, tmp_path, odd))
    first, second = items_of(table)[:2]
    check(first)
    assert (first["properties"]["proj:code"], first["properties"]["proj:wkt2"]) == (None, wkt)
    assert second["properties"]["proj:code"] == "EPSG:32629"
    assert list(first["bbox"]) == [179.9, 10, -179.8, 11]
    assert collection["summaries"]["proj:code"] == ["EPSG:32629"]


def test_radar_has_no_clouds_and_an_unknown_licence_is_other(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "ds")
    radar = (dataclasses.replace(LAYERS[0], unit="dB", nodata=math.nan, dtype="float32"), *LAYERS[1:])
    collection, table, _ = described(folder, radar, {"name": "fake", "licence": "our own"})
    check(collection)
    assert collection["license"] == "other"
    assert "eo:cloud_cover" not in table.column_names
    assert collection["item_assets"]["s2"]["nodata"] == "nan"
    assert {link["rel"] for link in collection["links"]} == {"license", "describedby"}


def test_hostile_text_stays_text(dataset, tmp_path):
    evil = "x\n# <img src=x onerror=alert(1)> [go](javascript:1)\x1b[0m\u202e"
    layers = [dataclasses.replace(spec, collection=evil, unit=evil) for spec in LAYERS]
    folder = shutil.copytree(dataset, tmp_path / "ds")
    for description in (evil, ""):
        collection, _, _ = described(
            folder, layers, {"name": "fake", "title": evil, "description": description}
        )
        check(collection)
        told = json.dumps(collection, ensure_ascii=False)
        assert not any(c in told for c in "\x1b\u202e")
        assert "<img" not in collection["description"]
        assert "](javascript" not in collection["description"].replace(r"\]", "")


def test_the_files_are_part_of_a_dataset_that_verifies(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "ds")
    described(folder)
    summary = summarise(folder, [spec.name for spec in LAYERS])
    write_card(folder, RECIPE, LAYERS, summary)
    write_attribution(folder, LAYERS, summary.years)
    write_manifest(folder)
    assert verify(folder).ok
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    assert {"stac/collection.json", "stac/samples.parquet"} <= set(listed)
    for link in json.loads((folder / "stac/collection.json").read_bytes())["links"]:
        assert (folder / "stac" / link["href"]).is_file()
