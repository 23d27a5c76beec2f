"""Layers that licences keep apart: shards of their own, the same keys in the same order, and all who read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import yaml
from test_weave import SIDE, UTM, X, Y, add_label, add_scene, recipe

from chipweave import open_dataset, run, verify
from chipweave.errors import RecipeError
from tiny import outline
from worlds.harness import digests, guarded_env, read_samples, read_shard

OWN = {
    "file": "wc/map.tif", "legend": "worldcover", "date": 2021, "licence": "ODbL-1.0",
    "credit": "© mappers, {years}",
}  # fmt: skip
LABELS = {
    "worldcover": {"collection": "esa-worldcover", "edition": 2021},
    "own": OWN,
    "other": {**OWN, "licence": "CC-BY-SA-4.0", "credit": "others"},
}
SPLIT = {
    "method": "blocks", "block_km": 0.2, "fractions": {"train": 0.6, "val": 0.4}, "buffer_m": 0, "tolerance": 1,
}  # fmt: skip
SETS = ("shards", "shards-cc-by-sa-4.0", "shards-odbl")


def made(folder: Path, **more):
    """A recipe of imagery, free classes, and two maps under licences that go along with what is made from them."""
    items = [add_scene(folder, "A"), add_label(folder, 260)]
    area = outline(UTM, X, Y - SIDE, X + SIDE, Y)
    return recipe(folder, items, area=area, **{"labels": LABELS, "split": SPLIT, **more})


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("licences")


@pytest.fixture(scope="module")
def out(room) -> Path:
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 4}
    run.build(made(room, output=output), room / "out", workers=0)
    return room / "out"


def tars(out: Path, own: str) -> list[Path]:
    return sorted((out / own).glob("*.tar"))


def test_each_set_has_the_same_shards_keys_and_order(out):
    assert tuple(sorted(p.name for p in out.glob("shards*"))) == SETS
    names = [p.name for p in tars(out, "shards")]
    assert len(names) > 3
    for own in SETS[1:]:
        assert [p.name for p in tars(out, own)] == names
    for name in names:
        keys = [[s.key for s in read_shard(out / own / name)] for own in SETS]
        assert keys[0] == keys[1] == keys[2]


def test_no_set_holds_or_tells_anything_of_another(out):
    held = {
        "shards": ["s2", "s2_mask", "worldcover"],
        "shards-odbl": ["own"],
        "shards-cc-by-sa-4.0": ["other"],
    }
    for own, layers in held.items():
        for path in tars(out, own):
            for sample in read_shard(path):
                assert sorted(sample.members) == sorted(["json", *(f"{n}.npy" for n in layers)])
                assert list(sample.meta["layers"]) == layers
                assert sample.meta["crs"] == UTM


def test_a_sample_says_licence_credit_and_whether_it_goes_along(out):
    sample = next(iter(read_samples(out).values()))
    told = {
        name: tuple(of[k] for k in ("licence", "credit", "share_alike"))
        for name, of in sample.meta["layers"].items()
    }
    assert told["own"] == ("ODbL-1.0", "© mappers, 2021", True)
    assert told["other"] == ("CC-BY-SA-4.0", "others", True)
    assert told["worldcover"][::2] == ("CC-BY-4.0", False)
    assert told["s2"][::2] == ("LicenseRef-Copernicus-Sentinel", False)
    assert "2021" in told["s2"][1]


ZIPPED = """
import glob, json, sys, webdataset as wds
read = lambda own: wds.WebDataset(sorted(glob.glob(f"{sys.argv[1]}/{own}/*.tar")), shardshuffle=False).decode()
print(json.dumps([
    [[s["__key__"], s["json"]["key"], int(s["own.npy"].sum())] for s in read("shards-odbl")],
    [[a["__key__"], b["__key__"], int(a["s2.npy"].sum()), bool((a["worldcover.npy"] == b["own.npy"]).all())]
     for a, b in zip(read("shards"), read("shards-odbl"), strict=True)]]))
"""


def test_webdataset_reads_each_alone_and_all_zipped(out):
    # webdataset 1.0 leaves closing its files to the garbage collector.
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", ZIPPED, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=guarded_env(), check=False)
    assert done.returncode == 0, done.stderr
    alone, zipped = json.loads(done.stdout)
    samples = read_samples(out)
    assert len(alone) == len(zipped) == len(samples) == 16
    for key, said, total in alone:
        assert said == key
        assert total == samples[key].arrays["own"].sum()
    for key, beside, total, same in zipped:
        assert key == beside
        assert total == samples[key].arrays["s2"].sum()
        assert same


def test_the_index_leads_to_every_file_and_the_reader_follows(out):
    index = pd.read_parquet(out / "index.parquet")
    for row in index.to_dict("records"):
        assert row["own_shard"] == row["shard"].replace("shards/", "shards-odbl/")
        assert row["other_shard"] == row["shard"].replace("shards/", "shards-cc-by-sa-4.0/")
        data = (out / row["own_shard"]).read_bytes()
        at, size = row["own_json"]
        assert json.loads(data[at : at + size])["key"] == row["key"]
        assert data[row["own_offset"] :].startswith(b"\x93NUMPY")
    assert not {"s2_shard", "worldcover_shard"} & set(index.columns)
    with open_dataset(out) as dataset:
        for key, sample in read_samples(out).items():
            meta, arrays = dataset.read(key)
            assert meta == sample.meta
            assert arrays.keys() == sample.arrays.keys() == {"s2", "s2_mask", "worldcover", "own", "other"}
            np.testing.assert_array_equal(arrays["own"], sample.arrays["own"])


def test_the_other_files_know_of_them(out):
    samples = read_samples(out)
    for split in ("train", "val"):
        store = xr.open_zarr(out / "zarr" / f"{split}.zarr", group="own")
        assert (store["own"].attrs["licence"], store["own"].attrs["share_alike"]) == ("ODbL-1.0", True)
        for key, array in zip(store["key"].values.tolist(), store["own"].values, strict=True):
            np.testing.assert_array_equal(array, samples[key].arrays["own"])
        wids = json.loads((out / f"wids-odbl-{split}.json").read_text())
        assert sum(s["nsamples"] for s in wids["shardlist"]) == store.sizes["sample"]
    front, body = (out / "README.md").read_text(encoding="utf-8").removeprefix("---\n").split("\n---\n", 1)
    assert [c["config_name"] for c in yaml.safe_load(front)["configs"]] == ["default", "cc-by-sa-4.0", "odbl"]
    assert "`shards-odbl/` (own): ODbL-1.0" in body
    assert 'for name in ("shards", "shards-odbl")' in body
    assert "© mappers, 2021" in (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    patterns = {
        f["name"]: f.get("includes") for f in json.loads((out / "croissant.json").read_text())["distribution"]
    }
    assert patterns["shards-odbl"] == "shards-odbl/*.tar"
    assert "own" in json.loads((out / "stats.json").read_text())
    items = pq.read_table(out / "stac" / "samples.parquet")["assets"].to_pylist()
    assert items[0]["own"]["href"].startswith("../shards-odbl/")
    assert items[0]["s2"]["href"].startswith("../shards/")


def test_in_windows_the_samples_are_the_same(out, room):
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 3, "shuffle": {"window": 1}}
    there = room / "windows"
    run.build(made(room, output=output), there, workers=0, tile_px=32)
    assert verify(there).ok
    one, two = read_samples(out), read_samples(there)
    assert one.keys() == two.keys()
    assert all(s.meta == two[key].meta for key, s in one.items())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def swapped(path: Path) -> None:
    """Another shard of the same set in its place."""
    shutil.copy(path.parent / "train-000001.tar", path)


def of_another_set(path: Path) -> None:
    shutil.copy(path.parents[1] / "shards" / path.name, path)


@pytest.mark.parametrize("harm", [flip, swapped, of_another_set, Path.unlink])
def test_a_damaged_set_is_found(out, tmp_path, harm):
    """By what the files hold, not their checksums alone: the manifest is taken away."""
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / "manifest.json").unlink()
    before = {c.name for c in verify(copy).checks if c.verdict == "fail"}
    harm(copy / "shards-odbl" / "train-000000.tar")
    found = {c.name for c in verify(copy).checks if c.verdict == "fail"}
    assert found - before


def test_the_index_may_not_lead_elsewhere(out, tmp_path):
    copy = shutil.copytree(out, tmp_path / "copy")
    table = pq.read_table(copy / "index.parquet")
    at = table.column_names.index("own_shard")
    table = table.set_column(at, "own_shard", pa.array([f"../{s}" for s in table["own_shard"].to_pylist()]))
    pq.write_table(table, copy / "index.parquet")
    assert not verify(copy).ok


def test_verify_is_content_and_bytes_do_not_hang_on_workers(out, room):
    assert verify(out).ok
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 4}
    run.build(made(room, output=output), room / "again", workers=0, tile_px=32)
    assert digests(room / "again") == digests(out)


@pytest.mark.parametrize(
    ("licence", "labels", "says"),
    [
        ("CC-BY-4.0", {"own": OWN}, "ODbL-1.0 asks that what is made from it carries ODbL-1.0 too"),
        ("ODbL-1.0", LABELS, "CC-BY-SA-4.0 asks that what is made from it carries CC-BY-SA-4.0 too"),
        ("CC0-1.0", {"worldcover": LABELS["worldcover"]}, "asks for attribution"),
    ],
)
def test_a_licence_weaker_than_a_sources_is_refused_when_it_is_planned(tmp_path, licence, labels, says):
    loaded = made(tmp_path, licence=licence, labels=labels)
    with pytest.raises(RecipeError, match=says) as caught:
        run.plan(loaded, tmp_path / "out", workers=0)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out" / "plan" / "chips.parquet").exists()


def test_layers_of_one_licence_need_no_set(tmp_path):
    """Where nothing else is beside them, or nothing goes along with what is made."""
    run.build(
        made(tmp_path, labels={"own": OWN}, s2=None, imagery=None, split=None), tmp_path / "out", workers=0
    )
    assert [p.name for p in (tmp_path / "out").glob("shards*")] == ["shards"]
    assert "Licence: ODbL-1.0" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ({"collection": "esa-worldcover", "edition": 2021, "licence": "CC0-1.0"}, "goes with 'file' only"),
        ({"file": "x.tif", "legend": "worldcover", "credit": "me"}, "goes with 'licence'"),
        ({"file": "x.osm.pbf", "licence": "CC0-1.0"}, "ODbL-1.0"),
    ],
)
def test_who_states_a_licence_that_is_not_his_to_state_is_refused(tmp_path, label, says):
    with pytest.raises(RecipeError, match=says):
        made(tmp_path, labels={"own": label})
