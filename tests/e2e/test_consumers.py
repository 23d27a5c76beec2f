"""Those who read a dataset with no code of ours: webdataset, Hugging Face datasets, xarray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from worlds import harness, recipes
from worlds.analytic import Classes, LabelRaster, lonlat, transformer, worldcover
from worlds.fields import Field
from worlds.harness import read_samples, succeed
from worlds.places import make_world
from worlds.samples import WORLDCOVER, kinds
from worlds.stac import label_item, s2_item, write_catalog


def reader(code: str, *args: object, tmp: Path) -> dict:
    """Run a script that knows nothing of us; its last line is JSON."""
    env = harness.guarded_env(
        HF_HOME=str(tmp / "hf"), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code + "\nimport sys\nassert 'chipweave' not in sys.modules\n",
            *map(str, args),
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


WEBDATASET = """
import json, sys, glob
import webdataset as wds
urls = sorted(glob.glob(sys.argv[1] + "/shards/train-*.tar"))
out = {}
for s in wds.WebDataset(urls, shardshuffle=False).decode():
    out[s["__key__"]] = [str(s["s2.npy"].dtype), list(s["s2.npy"].shape), int(s["s2.npy"].astype("i8").sum()),
                         int(s["worldcover.npy"].sum()), s["json"]["key"]]
print(json.dumps(out))
"""


def test_webdataset_reads_it(reference, samples, tmp_path):
    read = reader(WEBDATASET, reference[0], tmp=tmp_path)
    train = {k: s for k, s in samples.items() if s.meta["split"] == "train"}
    assert read.keys() == train.keys()
    for key, (dtype, shape, total, classes, again) in read.items():
        sample = train[key]
        assert (dtype, shape) == ("int16", [7, 128, 128])
        assert (total, classes) == (
            int(sample.arrays["s2"].astype("i8").sum()),
            int(sample.arrays["worldcover"].sum()),
        )
        assert again == key


HUGGINGFACE = """
import json, sys, glob
import numpy as np
from datasets import load_dataset
files = {p: sorted(glob.glob(f"{sys.argv[1]}/shards/{p}-*.tar")) for p in ("train", "val", "test")}
files = {p: f for p, f in files.items() if f}
out = {}
for streaming in (False, True):
    ds = load_dataset("webdataset", data_files=files, streaming=streaming)
    for split in files:
        for s in ds[split]:
            meta = s["json"]
            out[f"{streaming} {s['__key__']}"] = [
                meta["layers"]["worldcover"]["fractions"], meta["layers"]["worldcover"]["scene_labels"],
                int(np.asarray(s["s2.npy"]).astype("i8").sum()), meta["transform"], meta["layers"]["s2"]["items"]]
print(json.dumps(out))
"""


def hold_against_huggingface(out: Path, tmp: Path) -> None:
    found, samples = reader(HUGGINGFACE, out, tmp=tmp), read_samples(out)
    assert len(found) == 2 * len(samples)
    for name, (fractions, labels, total, affine, items) in found.items():
        sample = samples[name.split(" ")[1]]
        told = sample.meta["layers"]["worldcover"]
        assert fractions == told["fractions"]
        assert labels == told["scene_labels"]
        assert total == int(sample.arrays["s2"].astype("i8").sum())
        assert affine == sample.meta["transform"]
        assert items == sample.meta["layers"]["s2"]["items"]


def test_huggingface_datasets_reads_it_plain_and_streaming(reference, tmp_path):
    hold_against_huggingface(reference[0], tmp_path)


@pytest.fixture(scope="module")
def one_class_first(border, tmp_path_factory):
    """Grass everywhere but for a pond of 780 m in the middle: the first five samples have one class."""
    tmp = tmp_path_factory.mktemp("one_class")
    area = (11.90, 44.97, 12.0, 45.04)
    middle = transformer("EPSG:32632", "EPSG:4326").transform(732160.0, 4988480.0)
    x, y = border.frame.to_local(*middle)
    k = 360 / 20000
    g = Field(
        border.frame,
        0.0,
        ((1.0, 20000.0, 0.0, np.radians(90 - k * x)), (1.0, 20000.0, 90.0, np.radians(90 - k * y))),
    )
    shape = worldcover(border.frame, area)
    pond = LabelRaster(
        "WC_pond",
        shape.collection,
        shape.crs,
        shape.affine,
        shape.shape,
        Classes(g, (1.97,), (30, 80)),
        2021,
        shape.properties,
    )
    make_world(border.folder, border.frame, [], [pond])
    items = [s2_item(border.scenes["S2_32_0610"]), label_item(pond)]
    catalog = write_catalog(border.folder / "catalog_pond.json", items)
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 730240, 4986560, 734080, 4990400)
    mapping = recipes.recipe(
        catalog,
        window,
        recipes.imagery(bands=("red",)),
        labels={"worldcover": {"collection": "esa-worldcover", "edition": 2021}},
        output={"formats": ["webdataset"], "samples_per_shard": 100, "shuffle": "none"},
    )
    return harness.build(tmp, mapping)


def test_huggingface_reads_it_where_the_first_five_have_one_class(one_class_first, tmp_path):
    """It fixes types from the first five samples: a key first seen in the sixth would come back as all None."""
    samples = list(read_samples(one_class_first).values())
    classes = [set(np.unique(s.arrays["worldcover"]).tolist()) for s in samples]
    assert len(samples) >= 25
    assert classes[:5] == [{30}] * 5
    assert {30, 80} in classes
    hold_against_huggingface(one_class_first, tmp_path)


def test_where_a_label_does_not_reach_the_chip_is_dropped_or_says_so(border, tmp_path):
    """The contract names no key for it: the chip is dropped for the label's sake, or has it with `present: false`.

    A chip that is partly covered is right where it is, and nodata elsewhere.
    """
    label = worldcover(border.frame, (11.945, 44.97, 12.0, 45.04), ident="WC_east")
    make_world(border.folder, border.frame, [], [label])
    items = [s2_item(border.scenes["S2_32_0610"]), label_item(label)]
    catalog = write_catalog(border.folder / "catalog_half_label.json", items)
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", 730240, 4986560, 734080, 4988480)
    labels = {"worldcover": {"collection": "esa-worldcover", "edition": 2021}}
    out = harness.build(
        tmp_path, recipes.recipe(catalog, window, recipes.imagery(bands=("red",)), labels=labels)
    )
    samples, rows = read_samples(out), harness.ledger(out)
    absent = [s for s in samples.values() if not s.meta["layers"]["worldcover"]["present"]]
    dropped = rows[rows["state"] == "dropped"]
    assert 4 <= len(absent) + len(dropped) < len(rows)
    assert (dropped["layer"] == "worldcover").all()
    assert (dropped["reason"] != "").all()
    first = next(iter(samples.values()))
    partly = 0
    for sample in samples.values():
        assert kinds(sample.meta) == kinds(first.meta)
        layer, array = sample.meta["layers"]["worldcover"], sample.arrays["worldcover"]
        assert list(layer["fractions"]) == [str(c) for c in WORLDCOVER]
        assert sum(layer["fractions"].values()) == pytest.approx((array != 0).mean(), abs=1e-6)
        if not layer["present"]:
            assert (array == 0).all()
            assert (layer["items"], layer["datetime"], layer["valid_fraction"]) == ([[""]], [""], 0.0)
        lon, _ = lonlat(sample.crs, *sample.centres())
        # 1e-4 degrees: the first pixel of the grid is at a multiple of 1/12000, up to that much west of 11.945.
        assert (array[lon < 11.945 - 1e-4] == 0).all()
        assert (array[lon > 11.945 + 1e-4] != 0).all()
        partly += 0 < (array == 0).mean() < 1
    assert partly >= 2
    succeed("verify", out)


ZARR = """
import json, sys
import numpy as np, xarray as xr
out = {}
for split in ("train", "val", "test"):
    for layer in ("s2", "worldcover", "corine"):
        ds = xr.open_zarr(f"{sys.argv[1]}/zarr/{split}.zarr", group=layer)
        a = ds[layer]
        out[f"{split} {layer}"] = {"dims": list(a.dims), "dtype": str(a.dtype), "shape": list(a.shape),
            "keys": [str(k) for k in ds["key"].values], "sums": np.asarray(a.astype("i8").sum(a.dims[1:])).tolist()}
print(json.dumps(out))
"""


def test_xarray_reads_the_zarr_stores(reference, samples, tmp_path):
    """Decoded without masking, a variable of the layer's name, samples in the order of the index."""
    out, _, _ = reference
    found = reader(ZARR.replace("group=layer)", "group=layer, mask_and_scale=False)"), out, tmp=tmp_path)
    index = gpd.read_parquet(out / "index.parquet")
    for name, told in found.items():
        split, layer = name.split(" ")
        keys = index.loc[index["split"] == split, "key"].tolist()
        assert told["keys"] == keys
        first = samples[keys[0]].arrays[layer]
        assert (
            told["dims"] == ["sample", "band", "y", "x"][: 1 + first.ndim]
            if layer == "s2"
            else ["sample", "y", "x"]
        )
        assert told["dtype"] == str(first.dtype)
        assert told["shape"] == [len(keys), *first.shape]
        assert told["sums"] == [int(samples[k].arrays[layer].astype("i8").sum()) for k in keys]


def test_xarray_reads_the_zarr_stores_by_its_own_rules(reference, tmp_path):
    """With no option at all, as the contract writes it, and without a warning."""
    code = ZARR.replace("import json, sys", "import json, sys, warnings\nwarnings.simplefilter('error')")
    found = reader(code, reference[0], tmp=tmp_path)
    assert len(found) == 9


def test_show_draws_a_sheet(reference, tmp_path):
    png = tmp_path / "sheet.png"
    succeed("show", reference[0], "-o", png)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size > 10_000
