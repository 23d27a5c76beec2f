"""Folders that are busy, finished, foreign or harmed; and the rest of the command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from worlds import harness
from worlds.harness import refuse, succeed, write_recipe
from worlds.recipes import small
from worlds.server import serve


def test_a_folder_of_another_recipe_is_2_and_untouched(finished, june, tmp_path):
    _, out = finished
    before = harness.tree(out)
    other = write_recipe(tmp_path / "other.yaml", small(june, s2={"bands": ("nir",)}))
    refuse(2, "build", other, "-o", out, "--workers", 0, names=(str(out),))
    assert harness.tree(out) == before


def test_a_folder_that_is_no_dataset_of_ours_is_2(finished, tmp_path):
    recipe, _ = finished
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not touch", encoding="utf-8")
    refuse(2, "build", recipe, "-o", out, "--workers", 0, names=(str(out),))
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_a_finished_folder_is_0_and_untouched(finished):
    recipe, out = finished
    before = harness.tree(out)
    succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.tree(out) == before
    succeed("verify", out)
    assert harness.tree(out) == before


def test_two_builds_at_once_the_second_is_2(border, tmp_path):
    """Busy is an OS lock held by a living process: while the first runs 2, after it was killed the folder is free."""
    with serve(border.items("S2_32_0610"), border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small(service.url))
        out = tmp_path / "out"
        first = harness.start("build", recipe, "-o", out, "--workers", 0)
        deadline = time.monotonic() + 60
        while not service.searches and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGSTOP)
        try:
            assert first.poll() is None, "the first build was done too soon to be met"
            refuse(2, "build", recipe, "-o", out, "--workers", 0, names=("out",))
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.communicate()
        succeed("build", recipe, "-o", out, "--workers", 0)
        succeed("verify", out)


@pytest.mark.parametrize("command", ["verify", "show"])
def test_what_is_no_dataset_is_2(tmp_path, command):
    (tmp_path / "x").mkdir()
    refuse(2, command, tmp_path / "x")
    refuse(2, command, tmp_path / "not there")


def test_no_command_and_no_recipe_are_2():
    assert harness.chipweave("weave").returncode == 2
    assert harness.chipweave("build").returncode == 2


def corrupted(finished, tmp_path) -> Path:
    out = tmp_path / "copy"
    shutil.copytree(finished[1], out)
    return out


def test_a_changed_byte_in_a_shard_is_6(finished, tmp_path):
    out = corrupted(finished, tmp_path)
    shard = min((out / "shards").glob("*.tar"))
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)
    refuse(6, "verify", out, names=(shard.name,))


def test_a_missing_a_cut_and_a_stray_file_are_6(finished, tmp_path):
    out = corrupted(finished, tmp_path)
    shard = min((out / "shards").glob("*.tar"))
    body = shard.read_bytes()
    shard.unlink()
    refuse(6, "verify", out, names=(shard.name,))
    shard.write_bytes(body[:-512])
    refuse(6, "verify", out, names=(shard.name,))
    shard.write_bytes(body)
    succeed("verify", out)
    (out / "index.parquet").unlink()
    refuse(6, "verify", out, names=("index.parquet",))


def test_a_finished_folder_that_is_damaged_is_6_to_a_build_too(finished, tmp_path):
    out = corrupted(finished, tmp_path)
    for name in ("manifest.json", "ledger.parquet"):
        body = (out / name).read_bytes()
        (out / name).write_bytes(b"x")
        refuse(6, "build", finished[0], "-o", out, "--workers", 0, names=("damaged", "verify"))
        (out / name).write_bytes(body)
    succeed("build", finished[0], "-o", out, "--workers", 0)


def test_check_needs_no_network_and_no_data(tmp_path):
    """A missing data file and a room not built are warnings and 0; a catalog is never asked."""
    mapping = small("http://127.0.0.1:9/none", area={"geojson": "later.geojson"})
    mapping["parts"] = ["other.yaml"]
    done = succeed("check", write_recipe(tmp_path / "r.yaml", mapping))
    said = done.stdout + done.stderr
    assert "later.geojson" in said
    assert "parts" in said


def test_extends_merges_and_set_comes_last(june, tmp_path):
    write_recipe(tmp_path / "base.yaml", small(june))
    child = write_recipe(
        tmp_path / "child.yaml", {"extends": "base.yaml", "chips": {"size": 32}, "title": "Child"}
    )
    out = tmp_path / "out"
    succeed(
        "build",
        child,
        "-o",
        out,
        "--workers",
        0,
        "--set",
        "imagery.s2.bands=[nir, red]",
        "--set",
        "chips.size=48",
    )
    sample = next(iter(harness.read_samples(out).values()))
    assert sample.meta["layers"]["s2"]["bands"] == ["nir", "red"]
    assert (sample.meta["height"], sample.meta["width"]) == (48, 48)
    resolved = yaml.safe_load((out / "recipe.yaml").read_text())
    assert resolved["chips"]["size"] == 48
    refuse(3, "check", child, "--set", "chips.sise=3", names=("sise", "size"))


def test_plan_then_build_in_the_same_folder(june, finished, tmp_path):
    recipe, done = finished
    out = tmp_path / "out"
    planned = succeed("plan", recipe, "-o", out, "--json")
    assert isinstance(harness.strict_json(planned.stdout.encode()), dict)
    assert not list(out.glob("shards/*"))
    for name in ("places", "scenes", "chips", "matches"):
        assert (out / "plan" / f"{name}.parquet").exists(), name
    count = len(harness.read_samples(done))
    assert str(count) in planned.stdout
    succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == harness.digests(done)


def test_limit_takes_fewer_chips_and_changes_no_assignment(border, tmp_path):
    catalog = border.catalog("catalog_limit", "S2_32_0610", "S2_33_0610")
    split = {
        "method": "blocks",
        "block_km": 1,
        "fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
        "tolerance": 0.5,
    }
    mapping = small(catalog, area={"bbox": [11.925, 44.98, 12.07, 45.035]}, split=split)
    recipe = write_recipe(tmp_path / "r.yaml", mapping)
    succeed("build", recipe, "-o", tmp_path / "all", "--workers", 0)
    succeed("build", recipe, "-o", tmp_path / "few", "--workers", 0, "--limit", 5)
    every, few = harness.read_samples(tmp_path / "all"), harness.read_samples(tmp_path / "few")
    assert 1 <= len(few) < len(every)
    for key, sample in few.items():
        assert sample.meta == every[key].meta
        for name, array in sample.arrays.items():
            assert (array == every[key].arrays[name]).all()
    succeed("verify", tmp_path / "few")


@pytest.mark.parametrize("command", ["check", "build", "verify", "schema", "recipes"])
def test_json_is_one_object_on_stdout(finished, tmp_path, command):
    recipe, out = finished
    args = {
        "check": [recipe],
        "build": [recipe, "-o", tmp_path / "out", "--workers", 0],
        "verify": [out],
        "schema": [],
        "recipes": [],
    }[command]
    done = succeed(command, *args, "--json")
    assert isinstance(harness.strict_json(done.stdout.encode()), dict)


def test_json_speaks_of_errors_too(tmp_path):
    """Still at most one object on stdout; the exit code is the same."""
    done = refuse(2, "verify", tmp_path / "none", "--json")
    if done.stdout.strip():
        assert isinstance(harness.strict_json(done.stdout.encode()), dict)


def test_no_colours_in_a_pipe(finished):
    done = harness.chipweave(
        "verify", finished[1], env={k: v for k, v in harness.guarded_env().items() if k != "NO_COLOR"}
    )
    assert "\x1b[" not in done.stdout + done.stderr


def test_new_and_recipes(tmp_path):
    listed = succeed("recipes").stdout
    assert "demo" in listed
    succeed("new", "mine", cwd=tmp_path)
    (made,) = [p for p in tmp_path.rglob("*.yaml") if "mine" in p.as_posix()]
    succeed("check", made)


def test_python_is_the_same_as_the_command_line(finished, tmp_path):
    """`import chipweave as cw` as in the contract, in a process of its own."""
    recipe, out = finished
    code = (
        "import sys, chipweave as cw\n"
        "recipe = cw.load_recipe(sys.argv[1])\n"
        "cw.build(recipe, sys.argv[2], workers=0)\n"
        "ds = cw.open_dataset(sys.argv[2])\n"
        "assert cw.splits\n"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe), str(tmp_path / "out")],
        env=harness.guarded_env(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert harness.digests(tmp_path / "out") == harness.digests(out)
