"""The reference recipe, and those who read its result with no code of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
from worlds import checks, harness, recipes
from worlds.analytic import (
    Classes,
    LabelRaster,
    label_item,
    lonlat,
    make_world,
    s2_item,
    transformer,
    worldcover,
    write_catalog,
)
from worlds.fields import Field
from worlds.harness import read_samples, succeed, write_recipe
from worlds.server import serve

WORLDCOVER = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]

REFERENCE = """\
version: 1
name: iberia-landcover
catalog: http://127.0.0.1:8080          # default for every layer: provider name, STAC API URL, or a path
area: {geojson: aoi.geojson}
chips: {size: 128, resolution: 10, crs: utm, sampling: {method: grid}}
imagery:
  s2:
    collection: sentinel-2-l2a
    bands: [blue, green, red, nir, rededge1, swir16, coastal]
    time: 2021-06-01/2021-08-31
    select: {method: least_cloudy}
    max_cloud: 10
    min_valid: 99
labels:
  worldcover: {collection: esa-worldcover, edition: 2021}
  corine: {collection: corine, edition: 2018}
split: {method: blocks, block_km: 10, fractions: {train: 0.6, val: 0.2, test: 0.2}, buffer_m: 640, seed: 7}
output: {formats: [webdataset, zarr], samples_per_shard: 256}
"""
"""The contract's, word for word, without `s1`, `remap`, `scene_labels` and `stratify`."""


@pytest.fixture(scope="module")
def reference(wide, tmp_path_factory):
    """Built from a STAC API on loopback; also what was asked of the API."""
    world, squares = wide
    tmp = tmp_path_factory.mktemp("reference")
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in squares]
    (tmp / "aoi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with serve(world.items(), world.folder) as service:
        (tmp / "recipe.yaml").write_text(REFERENCE.replace("http://127.0.0.1:8080", service.url), encoding="utf-8")
        out = tmp / "out"
        done = succeed("build", tmp / "recipe.yaml", "-o", out, "--workers", 0, plain=True)
        yield out, service, done


@pytest.fixture(scope="module")
def samples(reference):
    return read_samples(reference[0])


def test_the_reference_recipe_runs_as_written(reference, samples, wide):
    out, _, done = reference
    world, _ = wide
    assert done.stdout.strip()
    rows = harness.ledger(out)
    assert set(rows["state"]) <= {"written", "dropped"}
    assert 40 <= len(samples) == (rows["state"] == "written").sum()
    assert len(rows) == 96
    tally = checks.Tally()
    for sample in samples.values():
        tally += checks.check_imagery(sample, "s2", {s.id: s for s in world.scenes.values() if _meets(sample, s)})
        checks.check_fractions(sample, "s2", blank=False)
    assert tally.pixels > 2_000_000


def _meets(sample, scene) -> bool:
    """Scenes are small and far apart: only those of the chip's place are candidates."""
    a, b, c, d = sample.bounds
    x, y = transformer(sample.crs, scene.crs).transform((a + c) / 2, (b + d) / 2)
    west, south, east, north = scene.bounds
    return west < x < east and south < y < north


def test_verify_says_so(reference):
    succeed("verify", reference[0])


def test_requests_hold_collection_area_time_and_limit_only(reference):
    """Everything else is filtered here: a `query` is answered by nothing at some APIs. Times are RFC 3339."""
    _, service, _ = reference
    assert service.searches
    for body in service.searches:
        assert set(body) <= {"collections", "bbox", "intersects", "datetime", "limit", "token"}, body
        assert body["collections"]
        assert "bbox" in body or "intersects" in body
        for text in body.get("datetime", "").split("/"):
            assert not text or text == ".." or "T" in text, text
    # Never one search a chip (72 and more of them), paging counted.
    assert len([b for b in service.searches if "token" not in b]) <= 12


def test_a_real_stac_server_gives_the_same_pixels(wide, reference, samples, tmp_path):
    """rustac's API over local files, allowed by CHIPWEAVE_LOCAL_ROOTS."""
    world, _ = wide
    items = world.items()
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(world.folder / asset["href"].removeprefix("./"))
    catalog = write_catalog(tmp_path / "items.json", items)
    (tmp_path / "aoi.geojson").write_text((reference[0].parent / "aoi.geojson").read_text())
    with rustac(catalog) as url:
        (tmp_path / "recipe.yaml").write_text(REFERENCE.replace("http://127.0.0.1:8080", url), encoding="utf-8")
        env = harness.guarded_env(CHIPWEAVE_LOCAL_ROOTS=str(world.folder))
        succeed("build", tmp_path / "recipe.yaml", "-o", tmp_path / "out", "--workers", 0, env=env)
    made = read_samples(tmp_path / "out")
    assert made.keys() == samples.keys()
    for key, sample in made.items():
        assert sample.split_of_shard == samples[key].split_of_shard
        for name, array in sample.arrays.items():
            np.testing.assert_array_equal(array, samples[key].arrays[name])


class rustac:  # noqa: N801 - reads as the command that it is
    """``rustac serve`` on a free port of loopback, until the block ends."""

    def __init__(self, catalog: Path):
        self.catalog = catalog

    def __enter__(self) -> str:
        import socket
        import urllib.request

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{s.getsockname()[1]}"
        command = [str(Path(sys.executable).with_name("rustac")), "serve", "--addr", address, "--create-collections"]
        self.process = subprocess.Popen(
            [*command, str(self.catalog)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/", timeout=2).close()
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, "rustac did not start"
                time.sleep(0.05)
            else:
                return f"http://{address}"

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


# --- what a sample says ----------------------------------------------------------------------------------------


def kinds(value):
    """The type of a JSON value, all the way down; numbers are numbers."""
    if isinstance(value, dict):
        return {k: kinds(v) for k, v in value.items()}
    if isinstance(value, list):
        assert value, "an empty list"
        found = [kinds(v) for v in value]
        assert all(f == found[0] for f in found), f"a list of several types: {value}"
        return [found[0]]
    assert value is not None
    return type(value).__name__


def test_every_sample_has_the_same_members_keys_and_types(samples):
    first = next(iter(samples.values()))
    assert set(first.members) == {"json", "s2.npy", "s2_mask.npy", "worldcover.npy", "corine.npy"}
    for sample in samples.values():
        assert sample.members == first.members
        assert kinds(sample.meta) == kinds(first.meta)


def test_the_json_says_what_the_contract_says(samples):
    for sample in samples.values():
        meta = sample.meta
        assert meta["key"] == sample.key
        assert sample.shard.startswith(f"{meta['split']}-")
        assert meta["crs"] in ("EPSG:32632", "EPSG:32633")
        assert meta["transform"][0] == -meta["transform"][4] == 10
        assert meta["transform"][1] == meta["transform"][3] == 0
        assert meta["height"] == meta["width"] == 128
        west, south, east, north = sample.bounds
        x, y = np.meshgrid([west, east], [south, north])
        lon, lat = lonlat(meta["crs"], x, y)
        w, s, e, n = meta["bbox"]
        # The corners are in the box, and the box is no larger than they need (sides bend by 1e-6 degrees).
        np.testing.assert_allclose([w, s, e, n], [lon.min(), lat.min(), lon.max(), lat.max()], atol=2e-6)
        for name in ("s2", "s2_mask", "worldcover", "corine"):
            layer, array = meta["layers"][name], sample.arrays[name]
            assert layer["kind"] == {"s2": "imagery", "s2_mask": "mask"}.get(name, "label")
            assert layer["shape"] == list(array.shape)
            assert np.dtype(layer["dtype"]) == array.dtype
            assert array.flags.c_contiguous
            assert array.dtype.byteorder in "<|="
            assert layer["dims"] == (["band", "y", "x"] if name == "s2" else ["y", "x"])
            assert layer["resolution"] == 10
            assert layer["transform"] == meta["transform"]
            assert layer["present"] is True
            assert isinstance(layer["unit"], str)
            assert layer["items"]
            assert isinstance(layer["items"][0], list)
            assert 0 <= layer["valid_fraction"] <= 1


def test_the_json_of_imagery(samples):
    for sample in samples.values():
        layer = sample.meta["layers"]["s2"]
        assert layer["collection"] == "sentinel-2-l2a"
        assert layer["bands"] == list(recipes.BANDS)
        assert (layer["dtype"], layer["scale"], layer["offset"], layer["nodata"]) == ("int16", 0.0001, 0, -32768)
        assert 0 <= layer["cloud_fraction"] <= 0.1
        assert layer["valid_fraction"] >= 0.99
        assert len(layer["datetime"]) == len(layer["items"]) == 1
        assert pd.Timestamp(layer["datetime"][0]).tz is not None
        mask = sample.meta["layers"]["s2_mask"]
        assert (mask["dtype"], mask["nodata"]) == ("uint8", 255)
        assert set(np.unique(sample.arrays["s2_mask"])) <= {0, 1, 255}


def test_the_json_of_labels(samples, wide):
    world, _ = wide
    for sample in samples.values():
        for name, year, codes in (("worldcover", "2021", WORLDCOVER), ("corine", "2018", list(range(1, 45)))):
            layer = sample.meta["layers"][name]
            assert (layer["legend"], layer["datetime"], layer["nodata"]) == (name, [year], 0)
            assert layer["dtype"] in ("uint8", "uint16")
            checks.check_label_figures(sample, name, tuple(codes))
        checks.check_label(sample, "corine", world.labels["U2018_CLC2018_V2020"])
        checks.check_label(sample, "worldcover", world.labels["WC_2021_00"])


def test_splits_are_apart(reference, samples):
    """Footprints of different splits are at least 640 m apart on the ellipsoid; every split has its share."""
    geod = pyproj.Geod(ellps="WGS84")
    by_split: dict[str, list] = {}
    for sample in samples.values():
        by_split.setdefault(sample.meta["split"], []).append(sample)
    assert set(by_split) == {"train", "val", "test"}
    for split, wanted in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        # 24 patches of at most four chips, in fewer than 50 blocks: a block more or less is 1/24, two are too many.
        assert abs(len(by_split[split]) / len(samples) - wanted) < 2 / 24 + 1e-9
    sides = {s.key: _ring(s) for s in samples.values()}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        for one in by_split[a]:
            for two in by_split[b]:
                lon1, lat1 = sides[one.key]
                lon2, lat2 = sides[two.key]
                n = len(lon1)
                pairs = (np.repeat(lon1, n), np.repeat(lat1, n), np.tile(lon2, n), np.tile(lat2, n))
                # Points every 160 m along the sides: the true distance may be 80 m less twice over, at the most.
                assert geod.inv(*pairs)[2].min() >= 640
    rows = harness.ledger(reference[0])
    assert set(rows.loc[rows["state"] == "dropped", "reason"]) <= {"buffer", "cloud", "valid"} | set(rows["reason"])


def _ring(sample):
    west, south, east, north = sample.bounds
    t = np.linspace(0, 1, 9)[:-1]
    x = np.concatenate([west + (east - west) * t, np.full(8, east), east - (east - west) * t, np.full(8, west)])
    y = np.concatenate([np.full(8, south), south + (north - south) * t, np.full(8, north), north - (north - south) * t])
    return lonlat(sample.crs, x, y)


# --- files beside the shards -----------------------------------------------------------------------------------


def test_index_is_readable_and_rewritable_by_geopandas(reference, samples, tmp_path):
    out, _, _ = reference
    index = gpd.read_parquet(out / "index.parquet")
    assert index.crs.to_epsg() == 4326
    assert index.index.name is None
    assert set(index["key"]) == set(samples)
    assert index["key"].is_unique
    index.to_parquet(tmp_path / "again.parquet")
    again = gpd.read_parquet(tmp_path / "again.parquet")
    assert list(again.columns) == list(index.columns)
    assert len(again) == len(index)
    expected = {"key", "place", "split", "fold", "shard", "json_offset", "json_size", "geometry", "crs", "transform"}
    expected |= {"height", "width", "majortom", "licences", "s2_cloud_fraction"}
    for layer in ("s2", "worldcover", "corine"):
        expected |= {f"{layer}_{c}" for c in ("offset", "size", "datetime", "items", "valid_fraction")}
    expected |= {f"{layer}_{c}" for layer in ("worldcover", "corine") for c in ("fractions", "scene_labels")}
    assert expected <= set(index.columns), expected - set(index.columns)


def test_index_tells_where_every_member_lies(reference, samples):
    """Offsets and sizes give a member's bytes without the tar; columns say what the JSON says."""
    out, _, _ = reference
    import io

    for row in gpd.read_parquet(out / "index.parquet").to_dict("records"):
        sample = samples[row["key"]]
        body = (out / row["shard"]).read_bytes()
        text = body[row["json_offset"] : row["json_offset"] + row["json_size"]]
        assert harness.strict_json(text) == sample.meta
        for layer in ("s2", "s2_mask", "worldcover", "corine"):
            at, size = row[f"{layer}_offset"], row[f"{layer}_size"]
            np.testing.assert_array_equal(np.load(io.BytesIO(body[at : at + size])), sample.arrays[layer])
        assert row["split"] == sample.meta["split"]
        assert row["crs"] == sample.crs
        assert list(row["transform"]) == sample.meta["transform"]
        assert row["geometry"].is_valid
        np.testing.assert_allclose(row["geometry"].bounds, sample.meta["bbox"], atol=1e-6)
        layers = sample.meta["layers"]
        assert row["s2_cloud_fraction"] == layers["s2"]["cloud_fraction"]
        assert [list(step) for step in row["s2_items"]] == layers["s2"]["items"]
        assert list(row["s2_datetime"]) == layers["s2"]["datetime"]
        assert row["worldcover_fractions"] == layers["worldcover"]["fractions"]
        assert list(row["corine_scene_labels"]) == layers["corine"]["scene_labels"]


def test_stats_are_those_of_the_arrays_of_train(reference, samples):
    stats = harness.strict_json((reference[0] / "stats.json").read_bytes())
    train = [s for s in samples.values() if s.meta["split"] == "train"]
    text = json.dumps(stats)
    for n, band in enumerate(recipes.BANDS):
        values = np.concatenate([s.arrays["s2"][n].ravel() for s in train]).astype(float)
        values = values[values != -32768]
        found = _find(stats, band)
        assert found["count"] == values.size
        # Integer sums are exact; the rest is double rounding, and as many digits as are printed.
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert found["std"] == pytest.approx(values.std(), rel=1e-4)
        assert (found["min"], found["max"]) == (values.min(), values.max())
        for name, q in (("p01", 1), ("p02", 2), ("p50", 50), ("p98", 98), ("p99", 99)):
            # A histogram's bin decides how fine a percentile is: at most 1 % of the band's range is asked.
            assert abs(found[name] - np.percentile(values, q)) <= 0.01 * np.ptp(values) + 1, (band, name)
    assert "worldcover" in text
    assert "corine" in text


def _find(tree, name):
    """The mapping of that band in the statistics, wherever it stands."""
    if isinstance(tree, dict):
        if name in tree and isinstance(tree[name], dict) and "mean" in tree[name]:
            return tree[name]
        if tree.get("band", tree.get("name")) == name and "mean" in tree:
            return tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            found = _find(part, name)
            if found:
                return found
    return None


def test_manifest_names_every_file_with_its_sum(reference):
    import hashlib

    out, _, _ = reference
    manifest = harness.strict_json((out / "manifest.json").read_bytes())
    assert set(manifest) == {"version", "files"}
    assert set(manifest["files"]) == set(harness.tree(out)) - {"manifest.json"}
    for path, told in manifest["files"].items():
        body = (out / path).read_bytes()
        assert told == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}, path


def test_card_and_credits_name_the_sources_and_the_real_years(reference):
    out, _, _ = reference
    credit = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "Contains modified Copernicus Sentinel data 2021" in credit
    assert "ESA WorldCover" in credit
    assert "European Environment Agency" in credit
    assert (out / "README.md").read_text(encoding="utf-8").strip()
    assert (out / "recipe.yaml").exists()
    assert (out / "chipweave.lock").exists()


def test_geometry_is_the_footprint(reference, samples):
    for row in gpd.read_parquet(reference[0] / "index.parquet").itertuples():
        sample = samples[row.key]
        lon, lat = _ring(sample)
        # 1e-5 of a chip: the outline may have fewer points than this one, and sides bend that much.
        true = shapely.Polygon(np.column_stack([lon, lat]))
        assert row.geometry.symmetric_difference(true).area < 1e-4 * true.area


# --- readers ---------------------------------------------------------------------------------------------------


def reader(code: str, *args: object, tmp: Path) -> dict:
    """Run a script that knows nothing of us; its last line is JSON."""
    env = harness.guarded_env(HF_HOME=str(tmp / "hf"), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1")
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys\nassert 'chipweave' not in sys.modules\n", *map(str, args)],
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
        assert (total, classes) == (int(sample.arrays["s2"].astype("i8").sum()), int(sample.arrays["worldcover"].sum()))
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
    g = Field(border.frame, 0.0, ((1.0, 20000.0, 0.0, np.radians(90 - k * x)), (1.0, 20000.0, 90.0, np.radians(90 - k * y))))
    shape = worldcover(border.frame, area)
    pond = LabelRaster(
        "WC_pond", shape.collection, shape.crs, shape.affine, shape.shape, Classes(g, (1.97,), (30, 80)), 2021, shape.properties
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


def test_where_a_label_has_no_data_the_sample_says_that_it_is_absent(border, tmp_path):
    """The same members everywhere: a missing partner is a nodata array, `present: false`, and empty strings in lists."""
    label = worldcover(border.frame, (11.945, 44.97, 12.0, 45.04), ident="WC_east")
    make_world(border.folder, border.frame, [], [label])
    items = [s2_item(border.scenes["S2_32_0610"]), label_item(label)]
    catalog = write_catalog(border.folder / "catalog_half_label.json", items)
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", 730240, 4986560, 734080, 4988480)
    labels = {"worldcover": {"collection": "esa-worldcover", "edition": 2021}}
    out = harness.build(tmp_path, recipes.recipe(catalog, window, recipes.imagery(bands=("red",)), labels=labels))
    samples = read_samples(out)
    absent = [s for s in samples.values() if not s.meta["layers"]["worldcover"]["present"]]
    assert 4 <= len(absent) < len(samples)
    for sample in samples.values():
        layer, array = sample.meta["layers"]["worldcover"], sample.arrays["worldcover"]
        assert list(layer["fractions"]) == [str(c) for c in WORLDCOVER]
        if layer["present"]:
            assert (array != 0).any()
            continue
        assert (array == 0).all()
        assert (layer["items"], layer["datetime"]) == ([[""]], [""])
        assert set(layer["fractions"].values()) == {0.0}
        assert set(layer["scene_labels"]) == {0}
        assert layer["valid_fraction"] == 0.0
    first = next(iter(samples.values()))
    for sample in samples.values():
        assert kinds(sample.meta) == kinds(first.meta)
        # Half of a chip may be covered: what is not is nodata, and the rest is right.
        x, y = sample.centres()
        lon, _ = lonlat(sample.crs, x, y)
        # 1e-4 degrees: a WorldCover pixel and a little.
        assert (sample.arrays["worldcover"][lon < 11.945 - 1e-4] == 0).all()
        assert (sample.arrays["worldcover"][lon > 11.945 + 1e-4] != 0).all()
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
        assert told["dims"] == ["sample", "band", "y", "x"][: 1 + first.ndim] if layer == "s2" else ["sample", "y", "x"]
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
