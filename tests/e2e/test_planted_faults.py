"""Faults are planted one by one, signatures renewed, and each is found by the check that is there for it alone."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import yaml
from affine import Affine

import chipweave as cw
import fakes
from chipweave.audit import verify
from chipweave.audit.build import audit_build
from chipweave.errors import TransientSourceError, UsageError, VerifyError
from chipweave.pixels.fingerprint import fingerprint
from chipweave.stores import copied
from worlds import recipes
from worlds.analytic import Scene, corine, s2_fields, worldcover
from worlds.fields import Frame
from worlds.harness import chipweave as command
from worlds.places import make_world

ALL = {"leakage": True, "alignment": True, "completeness": True, "number": 10}


def failed(folder) -> set[str]:
    return {c.name for c in verify(folder, **ALL).checks if c.verdict == "fail"}


# --- samples and tables ----------------------------------------------------------------------


def made(folder, change=None):
    """Chips of 640 m with a buffer of 640 m, and a plan that says what was chosen for each."""
    planned: dict[str, dict] = {}

    def noted(woven):
        planned.update({w.sample.key: json.loads(json.dumps(w.facts["layers"])) for w in woven})
        return change(woven) if change is not None else woven

    options = {"px": 64, "side": 7, "block_km": 1.9, "buffer_m": 640.0, "zarr": False}
    fakes.make(folder, noted, **options)
    rows = [
        {
            "key": key, "layer": layer, "step": 0, "rank": 0, "item": facts["items"][0][0],
            "datetime": facts["datetime"][0], "chosen": True, "why": "",
        }
        for key, layers in planned.items() for layer, facts in layers.items() if layer != "s2_mask"
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "plan/matches.parquet", index=False)
    pd.DataFrame({"key": [], "layer": []}).to_parquet(folder / "plan/amendments.parquet", index=False)
    fakes.reseal(folder)
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sound") / "ds")


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "ds")


def test_a_sound_dataset_fails_nothing_and_says_what_could_not_be_looked_at(sound):
    report = verify(sound, **ALL)
    assert report.ok
    assert {c.name for c in report.checks if c.verdict == "skip"} == {"source", "labels", "holes", "drift"}
    assert "not looked at: source, labels, holes, drift" in report.verdict
    assert report["planned"].numbers["s2"]["dates"].keys() == {"2021-07-14"}
    assert report["planned"].numbers["s2"]["written"] == report["index"].numbers["samples"]


def test_values_that_nobody_can_use_are_found_and_no_crash(tmp_path):
    def change(woven):
        for one in woven:
            one.sample.meta["layers"]["s2"].update(scale="much", resolution="ten")
        return woven

    folder = made(tmp_path / "ds", change)
    (folder / "plan/matches.parquet").write_bytes(b"PAR1 no")
    fakes.reseal(folder)
    report = verify(folder, **ALL)
    assert not report.ok
    assert report["planned"].verdict == "skip"
    assert "cannot be looked at" in report["members"].text


def put_at(woven, x: float, y: float):
    """The same sample elsewhere: its grid, its box and its outline, in all that says where it is."""
    t = woven.facts["transform"]
    place = fakes.Place("moved", woven.facts["crs"], t[2] + x, t[5] + y, woven.facts["height"], t[0])
    outline = fakes.lonlat_outline(place)
    new = {"transform": [float(v) for v in place.affine[:6]], "bbox": [float(v) for v in outline.bounds]}
    woven.facts.update(new, geometry_wkb_hex=outline.wkb_hex)
    woven.sample.meta.update(new)
    for layer in woven.sample.meta["layers"].values():
        layer["transform"] = new["transform"]


def test_a_test_chip_moved_300_m_into_trains_buffer(tmp_path):
    def change(woven):
        near = None
        for one in (w for w in woven if w.sample.split == "test"):
            for two in (w for w in woven if w.sample.split == "train"):
                x, y = (two.facts["transform"][k] - one.facts["transform"][k] for k in (2, 5))
                if y == 0 and abs(x) == 1280:  # one chip lies between them, which is in the gap
                    near = one, np.sign(x)
        put_at(near[0], 300 * near[1], 0)
        return woven

    report = verify(made(tmp_path / "ds", change), **ALL)
    assert {c.name for c in report.checks if c.verdict == "fail"} == {"leakage"}
    assert "less than 640 m" in report["leakage"].text
    assert report["leakage"].numbers["between_m"]["train-test"] == pytest.approx(340, abs=1)


def test_the_same_chip_under_two_keys(tmp_path):
    def change(woven):
        one = next(w for w in woven if w.sample.split == "train")
        meta = {**json.loads(json.dumps(one.sample.meta)), "key": "twin", "split": "test"}
        twin = replace(one.sample, key="twin", split="test", meta=meta)
        return [*woven, fakes.Woven(twin, dict(one.facts))]

    folder = made(tmp_path / "ds", change)
    for name in ("ledger.parquet", "plan/chips.parquet"):
        table = pd.read_parquet(folder / name)
        more = table[table["key"] == table["key"].iloc[0]].assign(key="twin")
        if "state" in more:
            more = more.assign(state="written", stage="weave", reason="")
        pd.concat([table, more]).to_parquet(folder / name, index=False)
    fakes.reseal(folder)
    report = verify(folder, **ALL)
    assert {c.name for c in report.checks if c.verdict == "fail"} == {"leakage"}
    for words in ("have the same pixels", "is in 2 splits", "overlap"):
        assert words in report["leakage"].text
    assert report["near_duplicates"].numbers["examples"][0]["two"] == "twin"


def test_a_layer_missing_in_a_twentieth_of_the_samples(tmp_path):
    """Samples say so themselves, and all of them agree: only the plan knows better."""

    def change(woven):
        for one in woven[::20]:
            for name, nodata in (("s2", -32768), ("s2_mask", 255)):
                one.sample.arrays[name][:] = nodata
                lost = {"items": [[""]], "datetime": [""], "valid_fraction": 0.0}
                lost |= {"cloud_fraction": 0.0} if name == "s2" else {}
                one.sample.meta["layers"][name].update(lost, present=False)
                one.facts["layers"][name].update(lost)
        return woven

    report = verify(made(tmp_path / "ds", change), **ALL)
    assert {c.name for c in report.checks if c.verdict == "fail"} == {"planned"}
    found = report["planned"].numbers["s2"]
    assert found["missing_share"] == pytest.approx(0.05, abs=0.03)
    assert found["planned"] > found["written"] + found["dropped"] + found["failed"]
    assert "s2 of " in report["planned"].text


def test_files_of_a_layer_missing_in_some_samples(folder):
    path = folder / "shards/train-000000.tar"
    data = path.read_bytes()
    path.write_bytes(data.replace(b".s2.npy\0", b".s9.npy\0", 2))
    fakes.reseal(folder)
    assert {"members", "tar"} & failed(folder)


def test_a_flipped_byte(folder):
    path = folder / "shards/test-000000.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b".worldcover.npy\0") + 512 + 128 + 1000
    data[at] ^= 0xFF
    path.write_bytes(data)
    assert "manifest" in failed(folder)
    fakes.reseal(folder)  # and where somebody signed it again
    assert {"nodata", "shares", "stats"} & failed(folder)


def test_index_rows_of_two_datasets_swapped(folder, tmp_path):
    other = made(tmp_path / "other", lambda woven: [put_at(w, 64_000, 0) or w for w in woven])
    one, two = (pq.read_table(f / "index.parquet") for f in (folder, other))
    assert one["key"] == two["key"]
    for rows in (pa.concat_tables([one.slice(0, 3), two.slice(3, 1), one.slice(4)]), two):
        pq.write_table(rows, folder / "index.parquet")
        fakes.reseal(folder)
        assert "json" in failed(folder)


# --- pixels against their source -------------------------------------------------------------

FRAME = Frame(11.98, 45.0)
SCENES = ("S2_west", "S2_east", "S2_middle")


def little_world(folder):
    """Three scenes side by side, and their labels."""
    x0, y0 = 420_000.0, 4_986_000.0
    fields = s2_fields(FRAME)
    scenes = [
        Scene(
            name,
            32632 + 1,
            x0 + 2400 * n,
            y0,
            40,
            32,
            f"2021-06-10T10:1{n}:31.024Z",
            fields,
            offset="new",
            style="pc",
        )
        for n, name in enumerate(SCENES)
    ]
    box = [float(v) for v in scenes_box(scenes)]
    return make_world(folder, FRAME, scenes, [worldcover(FRAME, box), corine(FRAME, box)])


def scenes_box(scenes):
    from worlds.stac import bbox_of, footprint

    x0, _, _, y1 = scenes[0].bounds
    _, y0, x1, _ = scenes[-1].bounds
    return bbox_of(footprint(scenes[0].crs, (x0, y0, x1, y1)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return little_world(tmp_path_factory.mktemp("world"))


def built(world, out, **split):
    mapping = recipes.recipe(
        world.catalog("catalog"),
        {"bbox": [float(v) for v in scenes_box(list(world.scenes.values()))]},
        recipes.imagery(bands=("red", "nir"), min_valid=99),
        chips={"size": 40},
        split={
            "method": "blocks", "block_km": 0.8, "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "buffer_m": 300,
            "seed": 3, "tolerance": 1.0, **split,
        },
    )  # fmt: skip
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(mapping))
    cw.build(cw.load_recipe(path), out, workers=0)
    return out


@pytest.fixture(scope="module")
def honest(world, tmp_path_factory):
    return built(world, tmp_path_factory.mktemp("honest") / "out")


@contextmanager
def spoilt(path, change):
    """A file that says something else for a while."""
    before = path.read_bytes()
    with rasterio.open(path, "r+") as file:
        change(file)
    yield
    path.write_bytes(before)


def moved(x: float, y: float):
    def change(file):
        file.transform = Affine.translation(x, y) * file.transform

    return change


def brighter(file):
    array = file.read(1)
    file.write(np.where(array > 0, array + 1000, 0).astype(array.dtype), 1)


@pytest.fixture(scope="module")
def wrong(world, tmp_path_factory):
    """Built while one scene lay half a pixel off, one had its offset twice, and the labels lay a pixel off."""
    paths = [world.folder / s / f"{band}.tif" for s in SCENES for band in ("B04", "B08")]
    label = next(v for v in world.labels.values() if v.collection == "esa-worldcover")
    with (
        spoilt(paths[0], moved(5, 0)), spoilt(paths[1], moved(5, 0)),
        spoilt(paths[2], brighter), spoilt(paths[3], brighter),
        spoilt(world.folder / label.id / "map.tif", moved(0, 10 / 111_200)),
    ):  # fmt: skip
        return built(world, tmp_path_factory.mktemp("wrong") / "out")


def test_an_honest_build_fails_nothing_and_its_source_agrees(honest):
    report = verify(honest, **ALL)
    assert report.ok, report.to_text()
    assert {c.name for c in report.checks if c.verdict == "skip"} == set()
    for name in ("source", "labels", "planned", "holes", "drift"):
        assert report[name].verdict == "pass", report[name].text
    assert len(report["source"].numbers["scenes"]) >= 3
    assert all(
        abs(of["dx"]) < 0.01 and abs(of["add"]) < 1e-4 for of in report["source"].numbers["scenes"].values()
    )
    said = json.loads((honest / "report/leakage.json").read_text())
    assert said["ok"] is True
    own = {c["name"]: c for c in said["checks"]}
    assert set(own) >= {"leakage", "neighbours", "scenes", "classes", "autocorrelation"}
    assert own["near_duplicates"]["verdict"] == "pass"
    # Taken as the samples were woven, it is what reading them again gives.
    assert own["near_duplicates"]["text"] == report["near_duplicates"].text
    assert report["near_duplicates"].numbers["pictures"] > 0


def test_a_scene_half_a_pixel_off_an_offset_left_and_labels_a_pixel_off(wrong):
    report = verify(wrong, **ALL)
    assert {c.name for c in report.checks if c.verdict == "fail"} == {"source", "labels"}
    scenes = report["source"].numbers["scenes"]
    west, east, middle = (scenes[f"s2: {name}"] for name in SCENES)
    # The picture was taken from 5 m further west than it should: it lies half a pixel to the right.
    assert (west["dx"], west["dy"]) == (pytest.approx(0.5, abs=0.05), pytest.approx(0, abs=0.05))
    assert west["add"] == pytest.approx(0, abs=2e-3)
    assert east["add"] == pytest.approx(0.1, abs=1e-3)
    assert (east["dx"], east["dy"]) == (pytest.approx(0, abs=0.02), pytest.approx(0, abs=0.02))
    assert (middle["dx"], middle["add"]) == (pytest.approx(0, abs=0.01), pytest.approx(0, abs=1e-4))
    assert report["source"].numbers["problems"] == 2
    cover = report["labels"].numbers["scenes"]["worldcover"]
    assert (cover["dx"], cover["dy"]) == (0, -1)
    assert (
        report["labels"].numbers["scenes"]["corine"]["best"]
        == report["labels"].numbers["scenes"]["corine"]["agreement"]
    )


def test_what_the_catalog_has_more_today_is_told(honest, world, tmp_path):
    folder = shutil.copytree(honest, tmp_path / "out")
    catalog = world.folder / "catalog.json"
    before = catalog.read_text()
    try:
        world.catalog("catalog", *SCENES[:2])
        report = verify(folder, completeness=True)
        assert report["drift"].verdict == "warn"
        assert report["drift"].numbers["s2"] == {"locked": 3, "new": 0, "gone": 1, "reprocessed": 0}
        catalog.unlink()
        report = verify(folder, completeness=True)
        assert report["drift"].verdict == "skip"
        assert report.ok
    finally:
        catalog.write_text(before)


def test_a_random_split_is_called_leaking_and_blocks_pass(honest, world, tmp_path):
    blocks = verify(honest, leakage=True)
    assert {blocks[name].verdict for name in ("leakage", "neighbours")} == {"pass"}
    assert blocks["leakage"].numbers["nearest_m"] >= 300
    folder = built(world, tmp_path / "random", method="random", buffer_m=0)
    random = verify(folder, leakage=True)
    assert random.ok  # it warns by nature
    assert random["neighbours"].verdict == "warn"
    assert "is leaking: half of it has a sample of train within 400 m" in random["neighbours"].text
    assert random["leakage"].numbers["nearest_m"] == 0
    path = folder / "recipe.yaml"
    path.write_text(path.read_text().replace("buffer_m: 0", "buffer_m: 300"))
    fakes.reseal(folder)
    asked = verify(folder)["leakage"]
    assert (asked.verdict, asked.numbers["too_close"] > 10) == ("warn", True)
    done = command("audit", folder / "index.parquet", "--key", "key", "--buffer-m", "300", "--json")
    assert done.returncode == 6
    said = json.loads(done.stdout)
    assert [c["name"] for c in said["checks"] if c["verdict"] == "fail"] == ["leakage"]
    assert "leakage" in said["verdict"]


def test_thresholds_of_the_recipe_fail_a_dataset_and_a_build(honest, tmp_path):
    folder = shutil.copytree(honest, tmp_path / "out")
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["split"]["audit"] = {
        "class_distance": 0.001,
        "shared_scenes": 0.0,
        "variogram": 1000,
        "morans_i": -0.99,
    }
    path.write_text(yaml.safe_dump(recipe))
    fakes.reseal(folder)
    found = {c.name for c in verify(folder, leakage=True).checks if c.verdict == "fail"}
    assert found == {"classes", "scenes", "autocorrelation"}
    assert verify(folder).ok  # which does not look
    with pytest.raises(VerifyError, match="the splits leak"):
        audit_build(folder, [])
    recipe["split"]["audit"] = {"near_duplicates": 0.0}
    path.write_text(yaml.safe_dump(recipe))
    rng = np.random.default_rng(3)
    one, other = (fingerprint([("s2", rng.integers(0, 99, (2, 32, 32)), -1)]).text() for _ in range(2))

    def rows(*prints: str) -> list:
        return [
            fakes.SampleRow(f"k{n}", split, 0, 0, {}, {"print": said})
            for n, (split, said) in enumerate(zip(("train", "train", "test", "val"), prints, strict=True))
        ]

    assert audit_build(folder, rows(one, one, other, ""))["near_duplicates"].verdict == "pass"
    with pytest.raises(VerifyError, match="the splits leak"):
        audit_build(folder, rows(one, other, one, ""))


# --- a stranger's dataset, and builds that leak ----------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing."""


@contextmanager
def served(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_dataset_behind_http_is_verified_without_its_catalog(honest, tmp_path):
    folder = shutil.copytree(honest, tmp_path / "site/data")
    lock = folder / "plan/scenes.parquet"
    table = pd.read_parquet(lock)
    assert str(tmp_path) not in str(table["assets"].iloc[0])
    with served(tmp_path / "site") as url:
        done = command("verify", f"{url}/data", "--leakage", "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["ok"], said["folder"]) == (True, f"{url}/data")
        (folder / "stats.json").unlink()
        with copied(f"{url}/data/") as here:
            assert "stats.json is missing" in verify(here)["manifest"].text
        assert not here.exists()
        with pytest.raises(UsageError, match="no finished dataset"), copied(f"{url}/nothing"):
            pass
    with pytest.raises(TransientSourceError), copied(f"{url}/data"):
        pass
    with pytest.raises(UsageError, match="no user"), copied("https://me:secret@example.org/data"):
        pass


def test_a_build_that_leaks_says_so_and_is_not_sealed(world, tmp_path, caplog):
    """Chips that overlap, no buffer between blocks: ground is in two splits."""
    mapping = recipes.recipe(
        world.catalog("catalog"),
        {"bbox": [float(v) for v in scenes_box([world.scenes["S2_west"]])]},
        recipes.imagery(bands=("red",)),
        chips={"size": 40, "max_overlap": 1, "sampling": {"method": "grid", "stride": 20}},
        labels=None,
        split={
            "method": "blocks",
            "block_km": 0.8,
            "fractions": {"train": 0.5, "test": 0.5},
            "tolerance": 1.0,
        },
    )
    path, out = tmp_path / "r.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(mapping))
    done = command("build", path, "-o", out, "--workers", 0, "--json")
    assert done.returncode == 6, done.stderr
    assert "overlap" in done.stderr
    assert json.loads(done.stdout)["exit"] == 6
    assert not (out / "manifest.json").exists()
    said = json.loads((out / "report/leakage.json").read_text())
    assert said["ok"] is False
    warned = tmp_path / "warned"
    cw.build(cw.load_recipe(path, sets=["split.leakage=warn"]), warned, workers=0)
    assert "overlap" in caplog.text
    assert json.loads((warned / "report/leakage.json").read_text())["ok"] is True
    assert verify(warned).ok


def test_identical_pixels_in_two_splits_end_a_build(honest, tmp_path):
    folder = shutil.copytree(honest, tmp_path / "out")
    index = gpd.read_parquet(folder / "index.parquet")

    def row(split: str, digest: str):
        key = index.loc[index["split"] == split, "key"].iloc[0]
        return fakes.SampleRow(key, split, 0, 0, {}, {"pixels": digest})

    assert audit_build(folder, [row("train", "a"), row("test", "b"), row("val", "")]).ok
    with pytest.raises(VerifyError, match="have the same pixels") as caught:
        audit_build(folder, [row("train", "a"), row("test", "a")])
    assert caught.value.exit_code == 6
