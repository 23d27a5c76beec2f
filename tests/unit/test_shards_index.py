"""Index, reader, manifest, ledger."""

from __future__ import annotations

import dataclasses
import json
import tarfile

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from geopandas.testing import assert_geodataframe_equal

from chipweave.errors import ChipweaveError, UsageError, VerifyError
from chipweave.model import Fate, LayerSpec
from chipweave.shards.deal import located, make_deal
from chipweave.shards.index import IndexRow, index_rows, read_index, write_index
from chipweave.shards.ledger import read_ledger, write_ledger
from chipweave.shards.manifest import write_manifest
from chipweave.shards.reader import Reader
from worlds.littleset import LAYERS, MASK, S2, SAR, build, facts_of, sample_of, tree


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    build(folder)
    return folder


@pytest.fixture
def spoilt(tmp_path):
    build(tmp_path, 5, 1, with_zarr=False)
    return tmp_path


def test_columns_and_types_of_the_contract(dataset):
    schema = pq.read_schema(dataset / "index.parquet")
    text, texts = pa.string(), pa.list_(pa.string())
    want = {
        "key": text, "place": text, "split": text, "fold": pa.int32(), "shard": text,
        "json_offset": pa.int64(), "json_size": pa.int64(),
        "s2_offset": pa.int64(), "s2_size": pa.int64(),
        "s2_mask_offset": pa.int64(), "s2_mask_size": pa.int64(),
        "worldcover_offset": pa.int64(), "worldcover_size": pa.int64(),
        "geometry": pa.binary(), "crs": text, "transform": pa.list_(pa.float64()),
        "height": pa.int32(), "width": pa.int32(),
        "s2_datetime": texts, "s2_items": pa.list_(texts),
        "s2_cloud_fraction": pa.float64(), "s2_valid_fraction": pa.float64(),
        "s2_mask_datetime": texts, "s2_mask_items": pa.list_(texts), "s2_mask_valid_fraction": pa.float64(),
        "worldcover_datetime": texts, "worldcover_items": pa.list_(texts),
        "worldcover_valid_fraction": pa.float64(),
        "worldcover_fractions": pa.struct([(c, pa.float64()) for c in ("10", "50", "80")]),
        "worldcover_scene_labels": pa.list_(pa.int8()),
        "majortom": text, "licences": texts,
    }  # fmt: skip
    assert {f.name: f.type for f in schema} == want
    assert schema.names == list(want)


def test_it_is_read_as_geopandas_reads_it(dataset, tmp_path):
    """Also where geopandas wrote it again, or where its CRS is said to be another."""
    gpd.read_parquet(dataset / "index.parquet").to_crs(3035).to_parquet(tmp_path / "index.parquet")
    for folder in (dataset, tmp_path):
        ours, theirs = read_index(folder), gpd.read_parquet(folder / "index.parquet")
        assert ours.crs == theirs.crs
        assert_geodataframe_equal(ours, theirs)


def test_rows_are_in_dealt_order_and_offsets_are_of_the_files_themselves(dataset):
    index = read_index(dataset)
    rank = index["split"].map({"train": 0, "val": 1, "test": 2})
    assert rank.is_monotonic_increasing
    for (_, shard), rows in index.groupby([rank, "shard"]):
        assert rows["json_offset"].is_monotonic_increasing
        with tarfile.open(dataset / shard) as tar:
            found = {info.name: (info.offset_data, info.size) for info in tar.getmembers()}
        for row in rows.to_dict("records"):
            for field in ("json", "s2", "s2_mask", "worldcover"):
                name = f"{row['key']}.{field}" + ("" if field == "json" else ".npy")
                assert found.pop(name) == (row[f"{field}_offset"], row[f"{field}_size"])
        assert not found
    assert index["shard"].drop_duplicates().tolist() == sorted(
        index["shard"].unique(),
        key=lambda s: (["train", "val", "test"].index(s.split("/")[1].split("-")[0]), s),
    )


def test_geopandas_reads_and_rewrites_it(dataset, tmp_path):
    index = gpd.read_parquet(dataset / "index.parquet")
    assert index.crs.to_epsg() == 4326
    assert index.crs == "EPSG:4326"
    row = index.set_index("key").loc["chip-007"]
    assert row.geometry.bounds == pytest.approx(facts_of(7)["bbox"])
    assert row["worldcover_fractions"] == {"10": 1 / 3, "50": 1 / 3, "80": 1 / 3}
    index.to_parquet(tmp_path / "again.parquet")
    again = gpd.read_parquet(tmp_path / "again.parquet")
    # `transform` is a column here; GeoDataFrame has a method of that name
    assert again["transform"].map(list).tolist() == index["transform"].map(list).tolist()
    assert again["s2_items"].map(lambda v: [list(x) for x in v]).tolist() == [[["s2-item", "other"]]] * len(
        index
    )
    assert again.geometry.geom_equals(index.geometry).all()
    plain = [c for c in index.columns if index[c].map(np.isscalar).all()]
    pd.testing.assert_frame_equal(
        pd.DataFrame(again[plain]).astype(object), pd.DataFrame(index[plain]).astype(object)
    )
    pd.read_parquet(dataset / "index.parquet").to_parquet(tmp_path / "plain.parquet")


def test_the_index_names_its_geometry_well(dataset):
    geo = json.loads(pq.read_schema(dataset / "index.parquet").metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["bbox"] == pytest.approx([-9.0, 38.0, -9.0 + 0.22 + 0.005, 38.005])


def test_rows_in_any_order_give_the_same_bytes(dataset, tmp_path):
    receipts = build(tmp_path / "a", 12, 2, with_zarr=False)
    deal = make_deal(tmp_path / "a", tmp_path / "a" / ".work", receipts, "global", 7)
    rows = index_rows(deal, [])
    assert [r.row.key for r in rows] != sorted(r.row.key for r in rows)
    placed = [IndexRow(r.row, "shards/x.tar", i * 512) for i, r in enumerate(rows)]
    write_index(tmp_path / "1", placed, LAYERS)
    write_index(tmp_path / "2", placed[::-1], LAYERS)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_an_index_without_tars_keeps_the_order_of_the_deal(tmp_path):
    receipts = build(tmp_path, 12, 2, with_zarr=False)
    rows = index_rows(make_deal(tmp_path, tmp_path / ".work", receipts, "global", 7), [])
    write_index(tmp_path / "index.parquet", rows, LAYERS)
    index = read_index(tmp_path)
    assert index["key"].tolist() == [r.row.key for r in rows]
    assert (index[["json_offset", "s2_offset"]] == -1).all(axis=None)
    with Reader(tmp_path) as reader, pytest.raises(UsageError, match="zarr"):
        reader.read(reader.keys[0])


def test_facts_that_some_samples_lack_are_refused(tmp_path):
    rows = [IndexRow(s.row, "shards/a.tar", i) for i, s in enumerate(located(build(tmp_path, 4, 1)))]
    del rows[2].row.facts["layers"]["s2"]["cloud_fraction"]
    with pytest.raises(ChipweaveError, match=r"chip-002 .* s2: cloud_fraction"):
        write_index(tmp_path / "i.parquet", rows, LAYERS)
    with pytest.raises(ChipweaveError, match="at least one"):
        write_index(tmp_path / "i.parquet", [], LAYERS)


def test_the_reader_gives_what_was_woven(dataset):
    with Reader(dataset) as reader:
        assert len(reader) == 23
        assert reader.layers == ["s2", "s2_mask", "worldcover"]
        for key in reader.keys:
            meta, arrays = reader.read(key)
            sample = sample_of(int(key[-3:]), meta["split"])
            assert meta == sample.meta
            assert reader.read_meta(key) == meta
            assert list(arrays) == reader.layers
            for name, array in arrays.items():
                assert array.dtype == sample.arrays[name].dtype
                assert np.array_equal(array, sample.arrays[name])
                assert not array.flags.writeable  # pages of the shard, not a copy
                assert not array.flags.owndata
        assert "chip-000" in reader
        with pytest.raises(UsageError, match="no sample chip-999"):
            reader.read("chip-999")
    assert np.array_equal(reader.read("chip-000")[1]["s2"], sample_of(0, "train").arrays["s2"])
    reader.close()


def test_a_sample_as_xarray(dataset):
    with Reader(dataset) as reader:
        chip = reader.to_xarray("chip-004")
    assert chip.rio.crs.to_epsg() == 32629
    assert chip["s2"].rio.transform().to_gdal() == (480640.0, 10.0, 0.0, 4205000.0, 0.0, -10.0)
    assert (float(chip.x[0]), float(chip.y[0])) == (480645.0, 4204995.0)
    assert np.array_equal(chip["s2"].sel(band="red"), sample_of(4, "test").arrays["s2"][2])
    assert chip["s2"].attrs["scale"] == 0.0001
    assert chip["worldcover"].dims == ("y", "x")
    assert chip.attrs["key"] == "chip-004"


def test_layers_with_bands_or_grids_of_their_own(tmp_path):
    coarse = LayerSpec(
        "s2_20m", "imagery", "c", ("swir16",), ("band", "y", "x"), "int16", (1, 8, 8), 20.0, -32768.0
    )
    layers = (S2, MASK, SAR, coarse)
    receipts = build(tmp_path, 3, 1, layers=layers, with_zarr=False)
    assert receipts[0].samples[0].members.keys() == {"json", "s1", "s2", "s2_20m", "s2_mask"}
    with Reader(tmp_path) as reader:
        chip = reader.to_xarray("chip-001")
    assert chip["s1"].dims == ("s1_band", "y", "x")
    assert chip["s2_20m"].dims == ("s2_20m_band", "s2_20m_y", "s2_20m_x")
    assert chip["s2"].sizes == {"s2_band": 3, "y": 16, "x": 16}


def rewrite_index(folder, **columns):
    index = read_index(folder)
    for name, value in columns.items():
        index[name] = value
    index.to_parquet(folder / "index.parquet")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"s2_offset": 10**9}, "outside of the file"),
        ({"s2_offset": -512}, "outside of the file"),
        ({"s2_size": 100}, "broken"),
        ({"s2_offset": 513}, "broken"),
        ({"json_offset": 0}, "no JSON"),
        ({"shard": "../secret.tar"}, "outside of"),
        ({"shard": "/etc/passwd"}, "outside of"),
        ({"shard": "shards/none.tar"}, "cannot be read"),
        ({"key": [f"other-{i}" for i in range(5)]}, "belongs to sample"),
    ],
)
def test_an_index_that_lies_is_noticed(spoilt, columns, says):
    (spoilt.parent / "secret.tar").write_bytes(b"x" * 10**5)
    rewrite_index(spoilt, **columns)
    with Reader(spoilt) as reader, pytest.raises(VerifyError, match=says):
        reader.read(reader.keys[0])


def test_a_shard_that_is_a_link_to_elsewhere_is_not_followed(spoilt, tmp_path_factory):
    shard = spoilt / "shards" / "train-000000.tar"
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a.tar"
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    with Reader(spoilt) as reader, pytest.raises(VerifyError, match="outside of"):
        reader.read(reader.index.query("split == 'train'")["key"].iloc[0])


def test_no_dataset(tmp_path):
    with pytest.raises(UsageError, match="no chipweave dataset"):
        Reader(tmp_path)


def test_manifest_lists_all_but_itself_and_hidden_files(dataset, tmp_path):
    content = json.loads((dataset / "manifest.json").read_text())
    want = tree(dataset)
    del want["manifest.json"]
    assert content["version"] == 1
    assert {name: f["sha256"] for name, f in content["files"].items()} == want
    assert list(content["files"]) == sorted(want)
    assert all((dataset / name).stat().st_size == f["bytes"] for name, f in content["files"].items())
    assert not [name for name in want if ".work" in name or "/." in name]


def test_manifest_reads_again_what_changed_its_size(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / "b.txt").write_bytes(b"abc")
    files = write_manifest(tmp_path, {"a.txt": (3, "known"), "b.txt": (4, "stale")})
    assert files["a.txt"] == (3, "known")
    assert files["b.txt"][1].startswith("ba7816bf")


def test_ledger(tmp_path):
    fates = [
        Fate("b", "dropped", "survey", "cloud", "s2"),
        Fate("a", "written", "weave"),
        Fate("c", "failed", "weave", "source", "s2", "https://example.org/x.tif", "404"),
    ]
    write_ledger(tmp_path / "1.parquet", fates)
    write_ledger(tmp_path / "2.parquet", fates[::-1])
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    table = pq.read_table(tmp_path / "1.parquet")
    assert table.column_names == ["key", "state", "stage", "reason", "layer", "href", "error"]
    assert {f.type for f in table.schema} == {pa.string()}
    assert read_ledger(tmp_path / "1.parquet") == sorted(fates, key=lambda f: f.key)
    write_ledger(tmp_path / "none.parquet", [])
    assert read_ledger(tmp_path / "none.parquet") == []
    assert [f.name for f in dataclasses.fields(Fate)] == table.column_names
