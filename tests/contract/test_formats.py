"""Others read what is written: tar, webdataset, Hugging Face datasets, Zarr, with no code of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from worlds.harness import guarded_env
from worlds.littleset import LAYERS, S2, SAR, build, sample_of

COUNT = 23


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Samples whose labels hold one class alone in all but the last samples."""
    folder = tmp_path_factory.mktemp("formats")
    build(folder, COUNT, 3, layers=(*LAYERS, SAR), code=50, per_shard=8)
    return folder


def python(script: str, *args: object, **env: str) -> dict:
    done = subprocess.run(
        # webdataset 1.0 leaves closing its files to the garbage collector
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        env=guarded_env(**env),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return json.loads(done.stdout)


WEBDATASET = """
import json, sys, webdataset as wds
out = {}
for url in sys.argv[1:]:
    data = wds.WebDataset(url, shardshuffle=False)
    for sample in data.decode():
        fields = {k: v for k, v in sample.items() if not k.startswith("__")}
        out[sample["__key__"]] = {
            k: v if k == "json" else [str(v.dtype), list(v.shape), float(abs(v[v == v].astype("f8")).sum())]
            for k, v in fields.items()
        }
    data.close()
print(json.dumps(out))
"""


def test_webdataset_decodes_every_sample(dataset):
    shards = sorted((dataset / "shards").glob("*.tar"))
    got = python(WEBDATASET, *shards)
    assert len(got) == COUNT
    for key, fields in got.items():
        sample = sample_of(int(key[-3:]), fields["json"]["split"], (*LAYERS, SAR), code=50)
        assert fields.pop("json") == sample.meta
        assert fields == {
            f"{name}.npy": [str(a.dtype), list(a.shape), float(np.abs(a[a == a].astype("f8")).sum())]  # noqa: PLR0124
            for name, a in sample.arrays.items()
        }


HUGGING_FACE = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("default")  # its own dependencies are not ours to judge
import datasets
datasets.disable_progress_bars()
files = {"train": sys.argv[1:]}
out = []
for streaming in (False, True):
    data = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=streaming)
    rows = {}
    for row in data:
        rows[row["__key__"]] = {
            k: v if k == "json" else [list(np.shape(v))] for k, v in row.items() if not k.startswith("_")
        }
    out.append(rows)
print(json.dumps(out))
"""


def test_hugging_face_reads_plain_and_streaming(dataset, tmp_path):
    shards = sorted((dataset / "shards").glob("train-*.tar"))
    done = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE, *map(str, shards)],
        capture_output=True,
        text=True,
        env=guarded_env(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=str(tmp_path)),
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    for rows in json.loads(done.stdout):
        assert len(rows) == 14
        for key, row in rows.items():
            sample = sample_of(int(key[-3:]), "train", (*LAYERS, SAR), code=50)
            assert row.pop("json") == sample.meta
            assert row == {f"{name}.npy": [list(a.shape)] for name, a in sample.arrays.items()}


def test_tarfile_and_gnu_tar_list_the_same(dataset):
    shard = dataset / "shards" / "train-000000.tar"
    with tarfile.open(shard) as tar:
        assert tar.format == tarfile.DEFAULT_FORMAT
        names = tar.getnames()
        assert all(info.isreg() for info in tar.getmembers())
    assert len(names) == 8 * 5
    gnu = shutil.which("tar")
    if gnu is None:
        pytest.skip("no tar here")
    done = subprocess.run([gnu, "-tf", str(shard)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == names
    assert done.stderr == ""


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_xarray_opens_each_group_as_it_is_stored(dataset, split):
    store = dataset / "zarr" / f"{split}.zarr"
    for spec in (*LAYERS, SAR):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = xr.open_zarr(store, group=spec.name).load()
        layer = data[spec.name]
        assert layer.dims == ("sample", *spec.dims)
        assert layer.dtype == spec.numpy_dtype
        keys = [str(k) for k in data["key"].values]
        samples = [sample_of(int(k[-3:]), split, (*LAYERS, SAR), code=50) for k in keys]
        assert np.array_equal(
            layer.values, np.stack([s.arrays[spec.name] for s in samples]), equal_nan=spec.dtype == "float32"
        )
        assert layer.attrs["nodata"] == ("nan" if spec.dtype == "float32" else int(spec.nodata))
        assert (layer.attrs["scale"], layer.attrs["unit"]) == (spec.scale, spec.unit)
    assert data["key"].dims == ("sample",)


def test_bands_have_names_in_zarr(dataset):
    data = xr.open_zarr(dataset / "zarr" / "train.zarr", group="s2")
    assert data["band"].values.tolist() == list(S2.bands)
    red = data["s2"].sel(band="red").isel(sample=0).load()
    key = str(red["key"].values)
    assert np.array_equal(red, sample_of(int(key[-3:]), "train").arrays["s2"][2])
    label = xr.open_zarr(dataset / "zarr" / "train.zarr", group="worldcover")["worldcover"]
    assert label.attrs["legend"] == "worldcover"
    assert label.attrs["classes"][0]["name"] == "tree cover"


def test_zarr_layout(dataset):
    root = zarr.open_group(dataset / "zarr" / "train.zarr", mode="r", zarr_format=3)
    array = root["s2"]["s2"]
    assert array.metadata.zarr_format == 3
    assert array.chunks == (1, *S2.shape)
    assert array.shards == (14, *S2.shape)
    assert array.fill_value == -32768
    for path in ("", "s2", "s2_mask", "worldcover", "s1"):
        metadata = json.loads((dataset / "zarr" / "train.zarr" / path / "zarr.json").read_text())
        assert "consolidated_metadata" in metadata
    names = {p.name for p in (dataset / "zarr").rglob("*") if p.is_file()}
    assert names == {"zarr.json", "0"}


def test_json_is_strict_and_alike_in_every_sample(dataset):
    shapes = set()

    def outline(value):
        if isinstance(value, dict):
            return {k: outline(v) for k, v in value.items()}
        return [outline(v) for v in value] if isinstance(value, list) else type(value).__name__

    for shard in (dataset / "shards").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    text = tar.extractfile(name).read().decode()
                    shapes.add(json.dumps(outline(json.loads(text, parse_constant=pytest.fail))))
    assert len(shapes) == 1
