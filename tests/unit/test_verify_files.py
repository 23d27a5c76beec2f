"""Files beside the samples: what is missing, what cannot be read, what lies elsewhere, and how that is said."""

from __future__ import annotations

import http.server
import json
import shutil
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyproj import Transformer

import fakes
from chipweave.audit import verify
from chipweave.audit.report import Findings
from chipweave.audit.stats import Ranks
from chipweave.audit.zarrs import _Layer
from chipweave.cli_verify import looked_at
from chipweave.errors import TransientSourceError, UsageError, VerifyError
from chipweave.labels.scene import SceneRule
from chipweave.plan.lattices import footprints
from chipweave.shards.manifest import write_manifest
from chipweave.shards.reader import Reader
from chipweave.shards.tallies import FloatTally
from chipweave.stores import copied
from worlds.harness import chipweave as command


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """Without Zarr: quicker to read."""
    return fakes.make(tmp_path_factory.mktemp("lean") / "ds", zarr=False)


@pytest.fixture
def folder(lean, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(lean, tmp_path / "ds")


def failed(folder):
    return {c.name for c in verify(folder).checks if c.verdict == "fail"}


# --- behind http -----------------------------------------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def served(folder, monkeypatch):
    monkeypatch.setenv("CHIPWEAVE_SCRATCH", str(folder.parent / "scratch"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{folder.name}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_url_does_not_list_is_skipped_and_never_passed(folder, served):
    shutil.copy(folder / "shards/train-000000.tar", folder / "shards/train-000099.tar")
    report, after = looked_at(served, None)
    assert after is None
    assert report.ok
    assert report.folder == served
    assert report["unlisted"].verdict == "skip"
    assert "only the files that the manifest lists" in report["unlisted"].text
    assert "not looked at: unlisted" in report.verdict
    assert looked_at(str(folder), None)[0]["unlisted"].verdict == "fail"


def test_addresses_that_cannot_be_read_are_told_as_such(folder, served):
    with pytest.raises(UsageError, match="not read from file://") as caught, copied(f"file://{folder}"):
        pass
    assert "https://" in caught.value.hint
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"] |= {"../secret": {"bytes": 1, "sha256": "0"}, "/etc/x": {"bytes": 1, "sha256": "0"}}
    path.write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match=r"outside it: '\.\./secret' and 1 more"), copied(served):
        pass
    with pytest.raises(TransientSourceError) as refused, copied("http://127.0.0.1:9/data"):
        pass
    assert refused.value.hint == "run the same command again: it begins anew"


# --- what cannot be read ---------------------------------------------------------------------


@pytest.fixture
def closed(monkeypatch):
    """Close a file to reading, whoever runs the tests: root may read what has no rights."""

    def close(path: Path) -> None:
        def refusing(real):
            def opened(at, *args, **kwargs):
                if Path(at) == path:
                    raise PermissionError(13, "Permission denied", str(path))
                return real(at, *args, **kwargs)

            return opened

        monkeypatch.setattr(Path, "open", refusing(Path.open))
        monkeypatch.setattr(tarfile, "bltn_open", refusing(open))

    return close


@pytest.mark.parametrize("name", ["shards/test-000000.tar", "README.md", "stats.json", "manifest.json"])
def test_a_file_that_may_not_be_read_fails_its_check(folder, closed, name):
    (folder / "README.md").write_text("A dataset.")
    fakes.reseal(folder)
    closed(folder / name)
    report, after = looked_at(str(folder), None)
    assert after is None
    assert f"{name} cannot be read: Permission denied" in report["manifest"].text
    assert "write" not in report.to_text()
    if name.endswith(".tar"):
        assert report["tar"].verdict == report["members"].verdict == "fail"
        assert report["tar"].text == "test-000000.tar cannot be read: Permission denied"
        assert "could not be read whole" in report["members"].text
        assert "lacks" not in report["members"].text


def test_a_text_in_zarr_that_cannot_be_read_is_zarrs_fault_alone(tmp_path, monkeypatch):
    folder = fakes.make(tmp_path / "ds", documents=True)
    real = _Layer.row

    def refuse(self, number):
        if self.array.name.endswith("caption"):
            raise PermissionError(13, "Permission denied", "zarr/train.zarr/caption/caption/c/0")
        return real(self, number)

    monkeypatch.setattr(_Layer, "row", refuse)
    assert failed(folder) == {"zarr"}


def test_a_folder_that_may_not_be_read_is_an_error_that_says_read(folder, monkeypatch):
    real = Path.is_file

    def refuse(path, *args):
        if path.name == "manifest.json":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args)

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(VerifyError, match=r"manifest.json cannot be read: Permission denied"):
        looked_at(str(folder), None)


# --- the picture -----------------------------------------------------------------------------


def test_a_picture_that_cannot_be_written_keeps_the_report(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    report, after = looked_at(str(folder), tmp_path / "file" / "x.png")
    assert report.ok
    assert report["members"].verdict == "pass"
    assert isinstance(after, UsageError)
    assert "cannot write" in after.message
    report, after = looked_at(str(folder), tmp_path / "x.png")
    assert after is None
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_tells_the_report_and_then_the_error(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = command("verify", folder, "-o", tmp_path / "file" / "x.png", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["ok"] is True, "one object, the report"
    assert "error: cannot write" in done.stderr
    refused = command("verify", folder, "-o", folder / "x.png")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "lies in the dataset" in refused.stderr


@pytest.mark.parametrize("name", ["ds/x.png", "ds/report/x.png", "ds/../ds/x.png", "ds", "x.jpg"])
def test_where_no_picture_may_lie_nothing_is_done(folder, tmp_path, name, monkeypatch):
    monkeypatch.setattr("chipweave.cli_verify.verify", None)
    with pytest.raises(UsageError):
        looked_at(str(folder), tmp_path / name)
    assert not (tmp_path / name).is_file()


# --- the manifest ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            '"stats.json": {',
            '"stats.json": {"bytes": 1, "sha256": "0"}, "stats.json": {',
            "a key comes twice",
        ),
        ('"sha256"', '"md5"', "does not say bytes and sha256 of ATTRIBUTION.md"),
    ],
)
def test_a_manifest_that_can_be_read_in_two_ways_is_told(folder, old, new, text):
    path = folder / "manifest.json"
    said = path.read_text()
    assert old in said
    path.write_text(said.replace(old, new, 1))
    assert text in verify(folder)["manifest"].text
    assert failed(folder) == {"manifest"}


def test_a_member_of_zeros_is_no_npy_and_no_word_of_pickles(folder):
    row = pq.read_table(folder / "index.parquet").to_pylist()[0]
    with (folder / row["shard"]).open("r+b") as file:
        file.seek(row["s2_offset"])
        file.write(bytes(row["s2_size"]))
    fakes.reseal(folder)
    said = verify(folder)["members"].text
    assert f"s2 of {row['key']} cannot be read: not a .npy file: it does not begin as one" in said
    assert "pickle" not in said


def test_class_counts_that_differ_are_both_told(folder):
    edit_json(folder, "stats.json", lambda s: s["worldcover"]["counts"]["val"].update({"10": 7}))
    assert "counts 7 pixels of class 10 of worldcover in val, there are" in verify(folder)["stats"].text


# --- samples against their grid and the recipe -----------------------------------------------


def spoilt(tmp_path, alter, **wishes):
    """A dataset whose first sample of val was altered, after the recipe asked for something of its layers."""

    def change(woven):
        one = next(w for w in woven if w.sample.split == "val")
        alter(one)
        for name, layer in one.sample.meta["layers"].items():
            one.facts["layers"][name] |= {k: layer[k] for k in one.facts["layers"][name] if k in layer}
        return woven

    folder = fakes.make(tmp_path / "ds", change, zarr=False)
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    for name, wish in wishes.items():
        recipe["imagery" if name in recipe["imagery"] else "labels"][name].update(wish)
    path.write_text(yaml.safe_dump(recipe))
    fakes.reseal(folder)
    return folder


def said_of(one, name, **values):
    one.sample.meta["layers"][name].update(values)


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda b: [b[1], b[0], b[3], b[2]], id="latitude first"),
        pytest.param(lambda b: [b[0], b[1], b[2] + 2e-6, b[3]], id="a little to the east"),
        pytest.param(lambda b: [b[0], b[1], b[2], float("1e9")], id="nowhere"),
    ],
)
def test_a_box_that_is_not_its_grids_is_told(tmp_path, alter):
    folder = spoilt(tmp_path, lambda one: one.sample.meta.update(bbox=alter(one.sample.meta["bbox"])))
    assert failed(folder) == {"json"}
    assert "its grid gives" in verify(folder)["json"].text


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:32601", "EPSG:3995"])
def test_boxes_at_180_degrees_are_no_fault(tmp_path, crs):
    """Zone 60, whose last chips reach beyond; zone 1; and a polar grid on both sides of the meridian."""
    east = float(Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180.0, 10.0)[0])
    x = {"EPSG:32660": east - 400, "EPSG:32601": east - 400, "EPSG:3995": -400.0}[crs]
    y = 3_000_000.0 if crs == "EPSG:3995" else 1_105_000.0

    def boxed(woven):
        for one in woven:
            grid, px = one.facts["transform"], one.facts["height"]
            box = footprints(one.facts["crs"], 10.0 * px, np.array([grid[2]]), np.array([grid[5]]))
            one.facts["geometry_wkb_hex"] = box[0][0].wkb_hex
            one.sample.meta["bbox"] = one.facts["bbox"] = box[1][0].tolist()
        return woven

    folder = fakes.make(tmp_path / "ds", boxed, zarr=False, crs=crs, origin=(x, y), buffer_m=0.0)
    with Reader(folder) as reader:
        boxes = [reader.read(key)[0]["bbox"] for key in reader.keys]
    assert any(west > east for west, _, east, _ in boxes), "none crosses: nothing is proved"
    assert "bbox" not in verify(folder)["json"].text


def test_scene_labels_say_what_the_shares_say_in_both_directions(tmp_path):
    def none(one):
        said_of(one, "worldcover", scene_labels=[0, 0, 0, 0, 0, 0])

    folder = spoilt(tmp_path / "a", none)
    assert failed(folder) == {"shares"}
    assert "have 0 of class" in verify(folder)["shares"].text


@pytest.mark.parametrize(
    ("wish", "rule"),
    [
        (
            {"scene_labels": {"rule": "fraction", "min_fraction": 0.3}},
            SceneRule(fakes.LEGEND, (), "fraction", 0.3),
        ),
        ({"scene_labels": {"rule": "majority"}}, SceneRule(fakes.LEGEND, (), "majority")),
        ({"ignore": [30, 40]}, None),
    ],
)
def test_scene_labels_follow_the_recipes_rule(tmp_path, wish, rule):
    """The rule's labels pass; those of mere presence do not, for one sample of all."""

    def labelled(woven):
        for one in woven:
            of = one.sample.meta["layers"]["worldcover"]
            shares = {int(code): share for code, share in of["fractions"].items()}
            labels = (
                rule.labels(shares, 1)
                if rule
                else [int(s > 0 and c not in {30, 40}) for c, s in shares.items()]
            )
            of["scene_labels"] = one.facts["layers"]["worldcover"]["scene_labels"] = labels
        return woven

    folder = fakes.make(tmp_path / "ds", labelled, zarr=False)
    assert failed(folder) == {"shares"}, "the recipe asks for presence"
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["labels"]["worldcover"].update(wish)
    path.write_text(yaml.safe_dump(recipe))
    fakes.reseal(folder)
    assert failed(folder) == set()


def empty(one):
    one.sample.arrays["s2"][:] = -32768
    one.sample.arrays["s2_mask"][:] = 255
    said_of(one, "s2", valid_fraction=0.0, cloud_fraction=0.0)
    said_of(one, "s2_mask", valid_fraction=0.0)


def half(one):
    array, mask = one.sample.arrays["s2"], one.sample.arrays["s2_mask"]
    array[:, :8] = -32768
    mask[:] = 0
    mask[:8] = 255
    valid = float((array != -32768).all(axis=0).mean())
    said_of(one, "s2", valid_fraction=valid, cloud_fraction=0.0)
    said_of(one, "s2_mask", valid_fraction=0.5)


def clouded(one):
    array, mask = one.sample.arrays["s2"], one.sample.arrays["s2_mask"]
    array[array == -32768] = 700
    mask[:] = 1
    said_of(one, "s2", valid_fraction=1.0, cloud_fraction=1.0)
    said_of(one, "s2_mask", valid_fraction=1.0)


@pytest.mark.parametrize(
    ("alter", "wish", "text"),
    [
        pytest.param(empty, {}, "is present but has no pixel with data", id="nothing"),
        pytest.param(half, {"min_valid": 80}, "the recipe's min_valid is 0.8", id="too little"),
        pytest.param(clouded, {"max_cloud": 90}, "the recipe's max_cloud is 0.9", id="too much cloud"),
        pytest.param(half, {"min_valid": 40}, "", id="enough"),
        pytest.param(clouded, {"max_cloud": 100}, "", id="clouds that are wanted"),
        pytest.param(clouded, {"max_cloud": 90, "select": {"method": "composite"}}, "", id="a composite"),
        pytest.param(half, {"min_valid": 80, "select": {"method": "series"}}, "", id="a series"),
        pytest.param(half, {"min_valid": 80, "register": {"to": "s1"}}, "", id="moved"),
        pytest.param(clouded, {"max_cloud": 90, "dilate_m": 20}, "", id="grown clouds"),
    ],
)
def test_pictures_are_what_the_recipe_asks_for(tmp_path, alter, wish, text):
    folder = spoilt(tmp_path, alter, s2=wish)
    report = verify(folder)
    found = [one for one in report["shares"].text.split("; ") if text and text in one]
    assert bool(found) == bool(text), report["shares"].text
    if not text:
        assert report["shares"].verdict == "pass"


# --- beside the samples ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["README.md", "ATTRIBUTION.md", "croissant.json", "stac/collection.json", "stac/samples.parquet"]
)
def test_a_document_that_is_missing_or_empty_is_told(folder, name):
    (folder / name).write_text("")
    fakes.reseal(folder) if name != "croissant.json" else write_manifest(folder)
    assert failed(folder) == {"documents"}
    assert f"{name} is empty" in verify(folder)["documents"].text
    (folder / name).unlink()
    write_manifest(folder)
    assert failed(folder) == {"documents"}
    assert f"{name} is missing" in verify(folder)["documents"].text


def edit_json(folder, name, change):
    path = folder / name
    content = json.loads(path.read_bytes())
    changed = change(content)
    path.write_text(json.dumps([] if changed == [] else content))
    write_manifest(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["distribution"][0].update(sha256="0" * 64), "another SHA-256 of index.parquet"),
        (lambda c: c["distribution"][0].pop("sha256"), "does not name index.parquet"),
        (
            lambda c: c["distribution"].append({"contentUrl": "../x", "sha256": "0"}),
            "names ../x, which leads out",
        ),
        (lambda c: c["distribution"].append({"contentUrl": "x", "sha256": "0"}), "names x, which is missing"),
        (lambda c: c.pop("distribution"), "cannot be read"),
        (lambda _: [], "cannot be read: not an object"),
    ],
)
def test_croissant_is_of_this_index(folder, change, text):
    edit_json(folder, "croissant.json", change)
    assert failed(folder) == {"documents"}
    assert text in verify(folder)["documents"].text


def test_documents_that_are_garbage_or_of_another_index_are_told(folder):
    path = folder / "stac/samples.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.slice(1), path)
    write_manifest(folder)
    assert "is in one of them" in verify(folder)["documents"].text
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), path)
    write_manifest(folder)
    assert "22 items, the index 21 samples" in verify(folder)["documents"].text
    path.write_bytes(b"PAR1")
    (folder / "stac/collection.json").write_text('{"a": NaN}')
    write_manifest(folder)
    said = verify(folder)["documents"].text
    assert "stac/samples.parquet cannot be read" in said
    assert "stac/collection.json cannot be read: NaN is no JSON" in said


@pytest.mark.parametrize("formats", [["webdataset", "zarr"], ["zarr"]])
def test_a_format_that_the_recipe_asks_for_is_there(folder, formats):
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["output"]["formats"] = formats
    path.write_text(yaml.safe_dump(recipe))
    write_manifest(folder)
    assert "zarr/ is missing" in verify(folder)["documents"].text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["shardlist"].append(c["shardlist"][0]), "not each once, in order"),
        (lambda c: c["shardlist"].reverse(), "not each once, in order"),
        (lambda c: c["shardlist"].pop(), "shards/train-000001.tar is in one of them"),
        (lambda c: c["shardlist"][0].update(url="shards/x.tar"), "is in one of them"),
        (
            lambda c: c["shardlist"][0].update(nsamples=1),
            "says 1 samples of shards/train-000000.tar, which has 5",
        ),
        (
            lambda c: c["shardlist"][1].update(filesize=1),
            "says 1 bytes of shards/train-000001.tar, which has",
        ),
        (lambda c: c.pop("shardlist"), "wids-train.json cannot be read"),
    ],
)
def test_every_shard_stands_in_its_list_once_and_in_order(folder, change, text):
    edit_json(folder, "wids-train.json", change)
    assert failed(folder) == {"shards"}
    assert text in verify(folder)["shards"].text


def test_a_list_that_is_missing_is_told_and_a_shard_that_is_does_not_make_it_unreadable(folder):
    (folder / "wids-train.json").unlink()
    write_manifest(folder)
    assert "wids-train.json is missing" in verify(folder)["shards"].text
    (folder / "shards/val-000000.tar").unlink()
    said = verify(folder)
    assert "shards/val-000000.tar is missing" in said["shards"].text
    assert "wids-val" not in said["shards"].text
    assert "shards/val-000000.tar is missing" in said["tar"].text


# --- statistics ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["radar", "around zero", "one value", "far apart", "many"])
def test_histograms_of_floats_are_counted_again(kind):
    rng = np.random.default_rng(7)
    values = {
        "radar": rng.normal(-12, 4, 50_000),
        "around zero": rng.normal(0, 1e-3, 5_000),
        "one value": np.full(100, 2.5),
        "far apart": rng.lognormal(0, 9, 20_000),
        "many": rng.uniform(0, 40, 1_500_000),
    }[kind].astype(np.float32)
    tally = FloatTally()
    for part in np.array_split(values, 7):
        tally.add(part)
    said = tally.summary()

    def found(said):
        ranks = Ranks.of(said, whole=False)
        for part in np.array_split(values, 11):
            ranks.add(part)
        findings = Findings("stats")
        ranks.check("vv", said, values.size, findings)
        return findings.failed

    assert found(said) == 0
    if kind in {"one value", "many"}:  # one bin; bins that are finer than what is counted
        return
    counts = said["histogram"]["counts"]
    at = int(np.argmax(np.abs(np.diff(counts))))
    swapped = [*counts[:at], counts[at + 1], counts[at], *counts[at + 2 :]]
    assert found(said | {"histogram": {**said["histogram"], "counts": swapped}}) == 1
    moved = [edge + 0.1 * np.ptp(said["histogram"]["edges"]) for edge in said["histogram"]["edges"]]
    assert found(said | {"histogram": {**said["histogram"], "edges": moved}}) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: b.update(clipped=b["clipped"] + 3), "there are 0"),
        (lambda b: b["histogram"]["edges"].__setitem__(-1, 9e4), "is not that of the pixels"),
    ],
)
def test_edges_and_clipped_pixels_are_counted_again(folder, change, text):
    edit_json(folder, "stats.json", lambda s: change(s["s2"]["red"]))
    assert failed(folder) == {"stats"}
    assert text in verify(folder)["stats"].text


def test_pixels_that_are_clipped_are_no_fault(tmp_path):
    def change(woven):
        for one in woven:
            array, data = one.sample.arrays["s2"], one.sample.arrays["s2_mask"] != 255
            array[0][data & (np.indices(data.shape)[0] > 11)] = 32767
            array[1][data & (np.indices(data.shape)[1] > 11)] = -32767
        return woven

    folder = fakes.make(tmp_path / "ds", change, zarr=False)
    stats = json.loads((folder / "stats.json").read_bytes())
    assert stats["s2"]["blue"]["clipped"] > 0 < stats["s2"]["green"]["clipped"]
    assert failed(folder) == set()
