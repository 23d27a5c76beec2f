"""The reference recipe of the contract on a STAC API on loopback: what it builds, asks, and says of each sample."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj

from worlds import checks, harness, recipes
from worlds.analytic import lonlat, transformer
from worlds.harness import read_samples, succeed
from worlds.samples import CLASS_OF, CORINE, WORLDCOVER, kinds, ring
from worlds.stac import write_catalog


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
        tally += checks.check_imagery(
            sample, "s2", {s.id: s for s in world.scenes.values() if _meets(sample, s)}
        )
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
        (tmp_path / "recipe.yaml").write_text(
            recipes.REFERENCE.replace("http://127.0.0.1:8080", url), encoding="utf-8"
        )
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
        command = [
            str(Path(sys.executable).with_name("rustac")),
            "serve",
            "--addr",
            address,
            "--create-collections",
        ]
        self.process = subprocess.Popen(
            [*command, str(self.catalog)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/", timeout=2).close()
            except OSError:
                assert time.monotonic() < deadline, "rustac did not start"
                assert self.process.poll() is None, "rustac died"
                time.sleep(0.05)
            else:
                return f"http://{address}"

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


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
        assert (layer["dtype"], layer["scale"], layer["offset"], layer["nodata"]) == (
            "int16",
            0.0001,
            0,
            -32768,
        )
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
        for name, year, codes in (("worldcover", "2021", WORLDCOVER), ("corine", "2018", CORINE)):
            layer = sample.meta["layers"][name]
            assert (layer["legend"], layer["datetime"], layer["nodata"]) == (name, [year], 0)
            assert layer["dtype"] in ("uint8", "uint16")
            checks.check_label_figures(sample, name, codes, CLASS_OF if name == "corine" else None)
        assert sample.meta["layers"]["corine"]["scene_legend"] == "bigearthnet-19"
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
    sides = {s.key: ring(s) for s in samples.values()}
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
    dropped = rows[rows["state"] == "dropped"]
    # Clouds drop six or so chips of the cloudy patches that have no second date; the buffer may drop more, by name.
    assert 2 <= (dropped["reason"] != "buffer").sum() <= 12
    assert (dropped["reason"] != "").all()
