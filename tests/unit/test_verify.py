"""Verify passes what is right, and finds every kind of damage, each under the check's own name."""

from __future__ import annotations

import dataclasses
import json
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr

import fakes
from chipweave.audit import verify
from chipweave.describe.report import page_of
from chipweave.describe.show import show
from chipweave.errors import UsageError, VerifyError
from chipweave.shards.reader import Reader

CHECKS = ["manifest", "unlisted", "index", "recipe", "ledger", "documents", "shards", "tar", "members"]
CHECKS += ["json", "shares", "nodata", "zarr", "stats", "splits", "leakage"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fakes.make(tmp_path_factory.mktemp("whole") / "ds")


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """Without Zarr: quicker to read."""
    return fakes.make(tmp_path_factory.mktemp("lean") / "ds", zarr=False)


@pytest.fixture
def folder(lean, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(lean, tmp_path / "ds")


@pytest.fixture
def stored(whole, tmp_path):
    """A copy with Zarr."""
    return shutil.copytree(whole, tmp_path / "ds")


def verdicts(folder):
    return {check.name: check.verdict for check in verify(folder).checks}


def failed(folder):
    return {name for name, verdict in verdicts(folder).items() if verdict == "fail"}


# --- what is right ---------------------------------------------------------------------------


def test_a_whole_dataset_passes(whole):
    report = verify(whole)
    assert [check.name for check in report.checks] == CHECKS
    assert {check.verdict for check in report.checks} == {"pass"}
    assert report.ok
    said = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert said["ok"] is True
    assert said["checks"][2] == {
        "name": "index",
        "verdict": "pass",
        "text": "21 samples, all keys different",
        "numbers": {"samples": 21, "problems": 0},
    }


@pytest.mark.parametrize(
    "options",
    [
        {"mask": "blank"},
        {"tars": False},
        {"zarr": False},
        {"buffer_m": 0.0},
        {"documents": True},
        {"documents": True, "tars": False},
    ],
)
def test_other_kinds_of_datasets_pass(tmp_path, options):
    report = verify(fakes.make(tmp_path / "ds", **options))
    assert [check.text for check in report.checks if check.verdict != "pass"] == []


def test_a_dataset_without_split_is_all_train(tmp_path):
    folder = fakes.make(tmp_path / "ds", fractions={"train": 1.0})
    edit_recipe(folder, lambda recipe: recipe.pop("split"))
    assert failed(folder) == set()
    edit_recipe(folder, lambda recipe: recipe.update(split={"fractions": {"train": 0.5, "val": 0.5}}))
    assert failed(folder) == {"splits"}


def test_verify_changes_nothing(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    verify(whole)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_no_dataset_is_a_usage_error(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="no chipweave dataset") as caught:
            verify(folder)
        assert caught.value.exit_code == 2


# --- files -----------------------------------------------------------------------------------


def test_a_flipped_bit_is_found(folder):
    path = folder / "shards/train-000001.tar"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    report = verify(folder)
    assert "train-000001.tar has another SHA-256" in report["manifest"].text


@pytest.mark.parametrize("name", ["shards/val-000000.tar", "zarr/test.zarr/s2/s2/c/0/0/0/0", "stats.json"])
def test_a_missing_or_cut_file_is_found(stored, name):
    path = stored / name
    path.write_bytes(path.read_bytes()[:-10])
    assert f"{name} has" in verify(stored)["manifest"].text
    path.unlink()
    report = verify(stored)
    assert f"{name} is missing" in report["manifest"].text
    assert len([c for c in report.checks if c.verdict == "fail"]) >= 2


def test_files_that_are_not_listed(folder):
    (folder / ".work").mkdir()
    (folder / "report").mkdir()
    (folder / "report/index.html").write_text("hello")
    report = verify(folder)
    assert report.ok
    assert report["unlisted"].verdict == "warn"
    (folder / "shards/notes.txt").write_text("hello")
    assert "shards/notes.txt is not listed" in verify(folder)["unlisted"].text
    assert failed(folder) == {"unlisted", "shards"}


def test_the_manifest_may_not_lead_out(folder):
    (folder.parent / "secret").write_text("x")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": "0"}
    path.write_text(json.dumps(manifest))
    assert "../secret leads out of the folder" in verify(folder)["manifest"].text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', '{"files": {"stats.json": 5}}', "\x00"])
def test_a_broken_manifest_is_found(folder, text):
    (folder / "manifest.json").write_text(text)
    assert "manifest" in failed(folder)


def test_a_missing_manifest_or_index_is_found(folder):
    (folder / "manifest.json").unlink()
    assert failed(folder) == {"manifest"}
    fakes.reseal(folder)
    (folder / "index.parquet").unlink()
    assert failed(folder) == {"manifest", "index"}


# --- tables ----------------------------------------------------------------------------------


def edit_index(folder, change):
    frame = gpd.read_parquet(folder / "index.parquet")
    changed = change(frame)
    (frame if changed is None else changed).to_parquet(folder / "index.parquet", index=False)
    fakes.reseal(folder)


def edit_recipe(folder, change):
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    change(recipe)
    path.write_text(yaml.safe_dump(recipe))
    fakes.reseal(folder)


def put(column, row, value):
    def change(frame):
        values = frame[column].tolist()
        values[row] = value(values[row])
        frame[column] = gpd.GeoSeries(values, crs=frame.crs) if column == "geometry" else values

    return change


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda f: pd.concat([f, f.iloc[:1]]), {"index"}, id="key twice"),
        pytest.param(put("key", 0, lambda key: f"{key}.x"), {"index", "ledger"}, id="key with a dot"),
        pytest.param(put("s2_offset", 3, lambda at: at + 512), {"tar"}, id="offset"),
        pytest.param(put("s2_size", 3, lambda size: size - 8), {"tar", "members"}, id="size"),
        pytest.param(put("json_offset", 2, lambda _: 10**9), {"members"}, id="offset outside"),
        pytest.param(put("split", 0, lambda _: "val"), {"shards", "json"}, id="split"),
        pytest.param(put("shard", 0, lambda _: "../x.tar"), {"index"}, id="shard outside"),
        pytest.param(put("shard", 0, lambda _: "shards/train-000009.tar"), {"shards"}, id="no such shard"),
        pytest.param(put("crs", 0, lambda _: "EPSG:32630"), {"index", "json"}, id="crs"),
        pytest.param(put("crs", 0, lambda _: "EPSG:nonsense"), {"index"}, id="no crs"),
        pytest.param(
            put("geometry", 0, lambda g: g.buffer(-0.1).union(g.centroid)), {"index"}, id="geometry"
        ),
        pytest.param(put("s2_cloud_fraction", 0, lambda x: x + 1e-3), {"json"}, id="cloud differs"),
        pytest.param(put("s2_datetime", 0, lambda _: ["2020-01-01"]), {"json"}, id="date differs"),
        pytest.param(put("worldcover_items", 0, lambda _: [["other"]]), {"json"}, id="item differs"),
        pytest.param(lambda f: f.drop(columns=["crs"]), {"index"}, id="no column"),
        pytest.param(lambda f: f.iloc[:-1], {"members", "ledger"}, id="row lost"),
        pytest.param(lambda f: f.iloc[::-1], {"index"}, id="order"),
        pytest.param(lambda f: f.iloc[:0], {"index"}, id="empty"),
    ],
)
def test_a_wrong_index_is_found(folder, change, names):
    if change is None:
        raise AssertionError
    edit_index(folder, change)
    assert names <= failed(folder)


def test_an_unreadable_index_is_found(folder):
    (folder / "index.parquet").write_bytes(b"PAR1 no")
    fakes.reseal(folder)
    assert failed(folder) == {"index"}


def edit_ledger(folder, change):
    frame = pq.read_table(folder / "ledger.parquet").to_pandas()
    pq.write_table(pa.Table.from_pandas(change(frame), preserve_index=False), folder / "ledger.parquet")
    fakes.reseal(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: pd.concat([f, f.iloc[:1]]), "has 2 rows"),
        (lambda f: f[f.state != "written"], "in the index but not written in the ledger"),
        (lambda f: f.assign(state=f.state.replace("dropped", "lost")), "'lost' is no state"),
        (lambda f: f.assign(reason=""), "dropped without a reason"),
        (lambda f: f.assign(state="written"), "in the ledger but not in the index"),
        (lambda f: f[f.key != "c90r90"], "chip c90r90 is planned but not in the ledger"),
        (lambda f: f.drop(columns="reason"), "cannot be read"),
    ],
)
def test_a_wrong_ledger_is_found(folder, change, text):
    edit_ledger(folder, change)
    report = verify(folder)
    assert text in report["ledger"].text
    assert failed(folder) == {"ledger"}


def test_failed_chips_are_said_and_pass(folder):
    edit_ledger(folder, lambda f: f.assign(state=f.state.where(f.key != "c90r90", "failed")))
    report = verify(folder)
    assert report.ok
    assert report["ledger"].verdict == "warn"
    assert "1 of 37 chips failed" in report["ledger"].text


@pytest.mark.parametrize("name", ["recipe.yaml", "chipweave.lock"])
def test_an_unreadable_recipe_or_lock_is_found(folder, name):
    for text in ("{", "split: {buffer_m: far}"):
        (folder / name).write_text(text)
        fakes.reseal(folder)
        assert "recipe" in failed(folder)
    (folder / name).unlink()
    fakes.reseal(folder)
    assert "recipe" in failed(folder)


# --- samples ---------------------------------------------------------------------------------


def spoil(key, change):
    """A change of `fakes.make` that alters the first sample (of a split, if `key` names one)."""

    def every(woven):
        number = next(k for k, w in enumerate(woven) if key in {"", w.sample.split, w.sample.key})
        woven[number] = change(woven[number])
        return woven

    return every


def with_meta(change, *, facts=True):
    def alter(one):
        meta = json.loads(json.dumps(one.sample.meta))
        change(meta)
        if facts:
            for name, layer in meta["layers"].items():
                one.facts["layers"][name] |= {k: layer[k] for k in one.facts["layers"][name] if k in layer}
        return dataclasses.replace(one, sample=dataclasses.replace(one.sample, meta=meta))

    return alter


def with_array(name, change):
    def alter(one):
        arrays = {n: a.copy() for n, a in one.sample.arrays.items()}
        arrays[name] = change(arrays[name])
        return dataclasses.replace(one, sample=dataclasses.replace(one.sample, arrays=arrays))

    return alter


def layer(name, **values):
    return with_meta(lambda meta: meta["layers"][name].update(values))


def painted(where, value):
    def change(array):
        array[where] = value
        return array

    return change


def without(name):
    def alter(meta):
        del meta["layers"]["s2"][name]

    return alter


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(layer("s2", valid_fraction=0.5), {"shares"}, id="valid share"),
        pytest.param(layer("s2", cloud_fraction=0.123), {"shares"}, id="cloud share"),
        pytest.param(layer("s2_mask", valid_fraction=0.5), {"shares"}, id="valid share of mask"),
        pytest.param(layer("worldcover", valid_fraction=0.5), {"shares"}, id="valid share of label"),
        pytest.param(
            with_meta(lambda m: m["layers"]["worldcover"]["fractions"].update({"80": 0.25})),
            {"shares"},
            id="class",
        ),
        pytest.param(layer("worldcover", scene_labels=[1, 1, 1, 1, 1, 1]), {"shares"}, id="scene labels"),
        pytest.param(layer("worldcover", scene_labels=[1]), {"shares"}, id="few scene labels"),
        pytest.param(
            with_array("s2_mask", painted((2, 2), 7)), {"nodata", "zarr"} - {"zarr"}, id="mask code"
        ),
        pytest.param(with_array("worldcover", painted((2, 2), 77)), {"nodata"}, id="class code"),
        pytest.param(layer("s2", present=False), {"nodata", "shares"}, id="absent with data"),
        pytest.param(layer("s2", items=[[""]]), {"nodata"}, id="present without item"),
        pytest.param(layer("s2", nodata=99999), {"nodata"}, id="nodata out of range"),
        pytest.param(layer("s2", shape=[4, 16, 17]), {"members"}, id="shape"),
        pytest.param(layer("s2", dims=["y", "x"]), {"members"}, id="dims"),
        pytest.param(layer("s2", dtype="uint16"), {"members"}, id="dtype"),
        pytest.param(layer("s2", scale=0.1), {"json"}, id="another scale"),
        pytest.param(layer("s2", bands=["blue", "green"]), {"members"}, id="bands"),
        pytest.param(layer("s2", extra=1), {"json"}, id="another key"),
        pytest.param(with_meta(without("unit")), {"members", "json"}, id="lacks a key"),
        pytest.param(layer("s2", scale=1), {"json"}, id="another type"),
        pytest.param(layer("s2", unit=None), {"json"}, id="null"),
        pytest.param(with_meta(lambda m: m.update(key="other")), {"json"}, id="key in JSON"),
        pytest.param(with_meta(lambda m: m.update(split="nowhere")), {"json"}, id="split in JSON"),
        pytest.param(with_meta(lambda m: m.update(height=3)), {"json"}, id="height in JSON"),
        pytest.param(with_meta(lambda m: m.pop("crs")), {"json"}, id="no crs"),
    ],
)
def test_a_sample_that_lies_is_found(tmp_path, change, names):
    # The second sample is spoilt: the first is what others are compared with.
    folder = fakes.make(tmp_path / "ds", spoil("val", change), zarr=False)
    assert names <= failed(folder)


def test_pixels_under_an_erased_cloud_are_found(tmp_path):
    def change(woven):
        for one in woven:
            bad = one.sample.arrays["s2_mask"] == 1
            one.sample.arrays["s2"][:, bad] = 300
        return woven

    assert failed(fakes.make(tmp_path / "right", mask="blank")) == set()
    folder = fakes.make(tmp_path / "wrong", change, mask="blank")
    assert failed(folder) == {"shares"}
    assert "bad pixels that were to be erased" in verify(folder)["shares"].text


def rewrite_tar(folder, change, shard="shards/train-000000.tar"):
    """Alter the bytes of a shard."""
    path = folder / shard
    path.write_bytes(change(bytearray(path.read_bytes())))
    fakes.reseal(folder)


def swapped(old, new):
    def change(data):
        at = data.index(old)
        data[at : at + len(old)] = new
        return data

    return change


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda d: d[:-1024], {"tar"}, id="no end"),
        pytest.param(lambda d: d + b"x" * 512, {"tar"}, id="something behind the end"),
        pytest.param(lambda d: d[: len(d) // 2], {"tar", "members"}, id="half"),
        pytest.param(lambda d: bytearray(512) + d, {"tar", "json"}, id="shifted"),
        pytest.param(lambda _: bytearray(), {"tar", "members"}, id="empty file"),
        pytest.param(swapped(b"\x93NUMPY", b"\x93NUMPI"), {"members"}, id="no npy"),
        pytest.param(swapped(b"'descr': '<i2'", b"'descr': '|O'}"), {"members"}, id="objects"),
        pytest.param(swapped(b"'descr': '<i2'", b"'descr': '>i2'"), {"members"}, id="big-endian"),
        pytest.param(swapped(b'"height":16', b'"height":17'), {"json"}, id="json differs"),
        pytest.param(swapped(b'"scale":0.0001', b'"scale":NaN   '), {"json"}, id="NaN"),
        pytest.param(swapped(b'"offset":0.0', b'"scale":0.00'), {"json"}, id="key twice"),
        pytest.param(swapped(b'{"key"', b'["key"'), {"json"}, id="no json"),
    ],
)
def test_a_damaged_tar_is_found(folder, change, names):
    rewrite_tar(folder, change)
    assert names <= failed(folder)


def test_a_pixel_that_differs_is_found(stored):
    def change(data):
        at = data.index(b"\x93NUMPY") + 128
        data[at : at + 2] = np.array([123], "<i2").tobytes()
        return data

    rewrite_tar(stored, change)
    assert {"zarr", "stats"} <= failed(stored)


def test_a_shard_that_the_index_does_not_know_is_found(folder):
    shutil.copy(folder / "shards/train-000000.tar", folder / "shards/train-000002.tar")
    fakes.reseal(folder)
    assert failed(folder) == {"shards"}


def test_a_gap_in_the_numbers_is_found(folder):
    (folder / "shards/train-000001.tar").rename(folder / "shards/train-000002.tar")
    edit_index(folder, lambda f: f.assign(shard=f.shard.str.replace("train-000001", "train-000002")))
    assert failed(folder) == {"shards"}
    assert "without a gap" in verify(folder)["shards"].text


def test_a_wrong_wids_index_is_found(folder):
    shards = [
        (f"shards/val-00000{k}.tar", n, (folder / f"shards/val-00000{k}.tar").stat().st_size)
        for k, n in ((0, 5), (1, 1))
    ]
    path = folder / "wids-val.json"
    rows = [{"url": url, "nsamples": n, "filesize": size} for url, n, size in shards]
    path.write_text(json.dumps({"wids_version": 1, "shardlist": rows}))
    fakes.reseal(folder)
    assert failed(folder) == set()
    rows[1]["nsamples"] = 2
    path.write_text(json.dumps({"wids_version": 1, "shardlist": rows}))
    fakes.reseal(folder)
    assert failed(folder) == {"shards"}


# --- zarr and statistics ---------------------------------------------------------------------


def test_a_zarr_value_that_differs_is_found(stored):
    array = zarr.open_array(stored / "zarr/val.zarr/worldcover/worldcover", mode="r+")
    array[1, 3, 3] = 95 if array[1, 3, 3] != 95 else 10
    fakes.reseal(stored)
    assert failed(stored) == {"zarr"}


def test_zarr_keys_in_another_order_are_found(stored):
    keys = zarr.open_array(stored / "zarr/train.zarr/s2/key", mode="r+")
    keys[:] = keys[:][::-1]
    fakes.reseal(stored)
    assert failed(stored) == {"zarr"}


@pytest.mark.parametrize("name", ["zarr/val.zarr", "zarr/val.zarr/s2", "zarr/val.zarr/s2/s2/zarr.json"])
def test_a_missing_zarr_part_is_found(stored, name):
    path = stored / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    fakes.reseal(stored)
    assert "zarr" in failed(stored)


def test_a_broken_zarr_chunk_is_found(stored):
    path = stored / "zarr/val.zarr/s2/s2/c/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[20:200] = bytes(180)
    path.write_bytes(data)
    fakes.reseal(stored)
    assert failed(stored) == {"zarr"}


def test_damage_is_found_without_tars(tmp_path):
    folder = fakes.make(tmp_path / "ds", spoil("val", layer("s2", valid_fraction=0.5)), tars=False)
    assert failed(folder) == {"shares"}
    shutil.rmtree(folder / "zarr/test.zarr")
    fakes.reseal(folder)
    assert {"zarr", "members"} <= failed(folder)


def edit_stats(folder, change):
    path = folder / "stats.json"
    stats = json.loads(path.read_bytes())
    change(stats)
    path.write_text(json.dumps(stats))
    fakes.reseal(folder)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s["s2"]["red"].update(mean=s["s2"]["red"]["mean"] * (1 + 1e-8)), id="mean"),
        pytest.param(lambda s: s["s2"]["red"].update(std=s["s2"]["red"]["std"] * (1 + 1e-8)), id="std"),
        pytest.param(lambda s: s["s2"]["nir"].update(count=s["s2"]["nir"]["count"] + 1), id="count"),
        pytest.param(lambda s: s["s2"]["blue"].update(min=s["s2"]["blue"]["min"] - 1), id="min"),
        pytest.param(lambda s: s["s2"]["blue"].update(max=s["s2"]["blue"]["max"] + 1), id="max"),
        pytest.param(lambda s: s["s2"]["blue"].update(p50=s["s2"]["blue"]["p98"] + 1), id="percentile"),
        pytest.param(lambda s: s["s2"]["blue"]["histogram"]["counts"].append(1), id="histogram"),
        pytest.param(lambda s: s["s2"].pop("red"), id="no band"),
        pytest.param(lambda s: s["worldcover"]["counts"]["val"].update({"10": 1}), id="class count"),
        pytest.param(lambda s: s["worldcover"]["counts"].pop("val"), id="no split"),
        pytest.param(lambda s: s["worldcover"]["nodata"].update(train=10**6), id="nodata count"),
        pytest.param(lambda s: s.clear(), id="nothing"),
    ],
)
def test_wrong_statistics_are_found(folder, change):
    edit_stats(folder, change)
    assert failed(folder) == {"stats"}


# --- splits ----------------------------------------------------------------------------------


def test_splits_that_come_too_close_are_found(folder):
    edit_recipe(folder, lambda recipe: recipe["split"].update(buffer_m=161))
    report = verify(folder)
    assert failed(folder) == {"leakage"}
    assert "less than 161 m" in report["leakage"].text
    assert 159 < report["leakage"].numbers["nearest_m"] < 161
    edit_recipe(folder, lambda recipe: recipe["split"].update(leakage="warn"))
    report = verify(folder)
    assert report.ok
    assert report["leakage"].verdict == "warn"


def test_overlap_and_a_place_in_two_splits_are_found(tmp_path):
    def change(woven):
        val = next(w for w in woven if w.sample.split == "val")
        train = next(w for w in woven if w.sample.split == "train")
        for word in ("crs", "transform", "bbox", "geometry_wkb_hex", "place"):
            val.facts[word] = train.facts[word]
        return woven

    report = verify(fakes.make(tmp_path / "ds", change, zarr=False, buffer_m=0.0))
    assert "overlap" in report["leakage"].text
    assert "is in 2 splits" in report["leakage"].text


def test_one_picture_in_two_splits_is_found(tmp_path):
    def change(woven):
        val = next(w for w in woven if w.sample.split == "val")
        train = next(w for w in woven if w.sample.split == "train")
        val.sample.arrays.update({n: train.sample.arrays[n] for n in ("s2", "s2_mask")})
        return woven

    report = verify(fakes.make(tmp_path / "ds", change))
    assert "have the same pixels" in report["leakage"].text
    assert report["leakage"].numbers["twins"] == 1


def test_pictures_without_pixels_are_no_twins(tmp_path):
    def change(woven):
        for one in woven:
            one.sample.arrays["s2"][:] = -32768
        return woven

    assert verify(fakes.make(tmp_path / "ds", change))["leakage"].verdict == "pass"


def test_an_empty_split_is_found(folder):
    edit_recipe(
        folder, lambda r: r["split"].update(fractions={"train": 0.5, "val": 0.2, "test": 0.2, "extra": 0.1})
    )
    assert failed(folder) == {"splits"}
    lock = json.loads((folder / "chipweave.lock").read_bytes())
    (folder / "chipweave.lock").write_text(json.dumps({**lock, "limit": 20}))
    fakes.reseal(folder)
    assert verdicts(folder)["splits"] == "warn"
    edit_recipe(folder, lambda r: r["split"].update(fractions={"train": 0.5, "val": 0.5}))
    assert "split test is not in the recipe" in verify(folder)["splits"].text


# --- documents -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return fakes.make(tmp_path_factory.mktemp("told") / "ds", documents=True)


def test_documents_are_read_as_they_were_written(told):
    with Reader(told) as reader:
        meta, arrays = reader.read(reader.keys[0])
        assert sorted(arrays) == ["s2", "s2_mask", "worldcover"]
        assert {"caption", "caption_facts"} < set(meta["layers"])
        assert reader.read_document(reader.keys[0], "caption").startswith(f"{reader.keys[0]}: “")
        assert json.loads(reader.read_document(reader.keys[0], "caption_facts"))
        assert sorted(reader.to_xarray(reader.keys[0])) == ["s2", "s2_mask", "worldcover"]
        with pytest.raises(UsageError, match="no layer title"):
            reader.read_document(reader.keys[0], "title")
        store = zarr.open_group(told / "zarr" / "train.zarr", mode="r")
        first = reader.index[reader.index["split"] == "train"]["key"].iloc[0]
        assert store["caption/caption"][0] == reader.read_document(first, "caption")


@pytest.mark.parametrize(
    ("layer", "text", "check"),
    [
        pytest.param("caption", b"\xff\xfe", "members", id="no UTF-8"),
        pytest.param("caption_facts", b"{1: 2}", "members", id="no JSON"),
        pytest.param("caption", b"another", "zarr", id="not what Zarr holds"),
    ],
)
def test_a_spoilt_document_is_found(told, tmp_path, layer, text, check):
    folder = shutil.copytree(told, tmp_path / "ds")
    row = pq.read_table(folder / "index.parquet").to_pylist()[0]
    size = row[f"{layer}_size"]
    with (folder / row["shard"]).open("r+b") as file:
        file.seek(row[f"{layer}_offset"])
        file.write(text[:size].ljust(size))
    fakes.reseal(folder)
    assert check in failed(folder)


# --- columns that lead nowhere ---------------------------------------------------------------


def _swap(folder, name, values):
    path = folder / "index.parquet"
    table = pq.read_table(path)
    at = table.column_names.index(name)
    pq.write_table(table.set_column(at, name, values(table[name].to_pylist())), path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("key", lambda of: pa.array([None, *of[1:]], pa.string())),
        ("key", lambda of: pa.array(range(len(of)))),
        ("s2_offset", lambda of: pa.array([None, *of[1:]], pa.int64())),
        ("json_offset", lambda of: pa.array([float(x) for x in of])),
        ("split", lambda of: pa.array([None, *of[1:]], pa.string())),
        ("geometry", lambda of: pa.array([b"\x01\x02", *of[1:]], pa.binary())),
        ("geometry", lambda of: pa.array([None, *of[1:]], pa.binary())),
    ],
)
def test_holes_and_types_of_the_index_are_told(folder, name, values):
    _swap(folder, name, values)
    assert "index" in failed(folder)


def test_a_fact_that_the_index_dropped_is_told(folder):
    table = pq.read_table(folder / "index.parquet")
    pq.write_table(table.drop_columns(["s2_items"]), folder / "index.parquet")
    assert "json" in failed(folder)


def test_a_manifest_of_another_version_is_told(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "version": 99}))
    assert "manifest" in failed(folder)


@pytest.mark.parametrize(
    ("name", "body"),
    [("index.parquet", b"PAR1"), ("stats.json", b"[]"), ("recipe.yaml", b"a: ["), ("ledger.parquet", b"")],
)
def test_what_reads_a_damaged_dataset_says_so_in_a_line(folder, tmp_path, name, body):
    (folder / name).write_bytes(body)
    with pytest.raises(VerifyError, match=r"damaged|cannot be read"):
        page_of(folder, tmp_path / "page.html")
    if name != "ledger.parquet":
        with pytest.raises(VerifyError, match="damaged"):
            show(folder, (), tmp_path / "sheet.png")
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("name", ["p01", "p50", "p99", "histogram"])
def test_percentiles_and_bins_are_counted_again(folder, name):
    path = folder / "stats.json"
    stats = json.loads(path.read_bytes())
    band = next(iter(stats["s2"].values()))
    if name == "histogram":
        counts = band["histogram"]["counts"]
        assert counts != counts[::-1]
        counts.reverse()
    else:
        marks = {"p01": "min", "p50": "p02", "p99": "max"}
        assert band[name] != band[marks[name]]
        band[name] = band[marks[name]]
    path.write_text(json.dumps(stats))
    assert "stats" in failed(folder)
