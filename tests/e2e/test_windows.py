"""`shuffle: {window: N}` and `encoding: blosc2` through the command line: exact shards, the same samples, resume."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from chipweave.shards.reader import Reader
from worlds import harness, recipes

SPLIT = {
    "method": "blocks",
    "block_km": 1.5,
    "fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
    "buffer_m": 0,
    "seed": 7,
    "tolerance": 0.5,
}
AREA = {"bbox": [11.925, 44.975, 12.06, 45.04]}
WINDOWED = {
    "formats": ["webdataset", "zarr"],
    "samples_per_shard": 7,
    "shuffle": {"window": 3},
    "encoding": "blosc2",
}


@pytest.fixture(scope="module")
def jobs(border, tmp_path_factory) -> dict[str, Path]:
    """The same chips twice: in windows as blosc2, and as by default."""
    tmp = tmp_path_factory.mktemp("jobs")
    catalog = border.catalog("catalog_windows")
    s2 = recipes.imagery(recipes.SUMMER, max_cloud=60, min_valid=50)
    made = {}
    for name, output in (("windows", WINDOWED), ("plain", {"samples_per_shard": 7})):
        recipe = recipes.recipe(catalog, AREA, s2, output=output, split=SPLIT)
        made[name] = harness.write_recipe(tmp / f"{name}.yaml", recipe)
    return made


@pytest.fixture(scope="module")
def windowed(jobs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("windowed") / "out"
    harness.succeed("build", jobs["windows"], "-o", out, "--workers", 0)
    return out


def test_it_verifies_and_shards_are_exact(windowed):
    assert harness.chipweave("verify", windowed).returncode == 0
    assert not (windowed / ".work").exists()
    with Reader(windowed) as reader:
        for _, rows in reader.index.groupby("split"):
            sizes = rows.groupby("shard").size().tolist()
            assert len(sizes) > 1
            assert set(sizes[:-1]) == {7}


def test_the_samples_are_those_of_a_plain_build(jobs, windowed, tmp_path):
    out = tmp_path / "out"
    harness.succeed("build", jobs["plain"], "-o", out, "--workers", 0)
    with Reader(out) as plain, Reader(windowed) as other:
        assert sorted(plain.keys) == sorted(other.keys)
        assert plain.keys != other.keys
        for key in plain.keys:
            (meta, arrays), (meta_there, arrays_there) = plain.read(key), other.read(key)
            assert meta == meta_there
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, arrays_there[name])


@pytest.mark.slow
def test_workers_do_not_change_a_byte(jobs, windowed, tmp_path):
    out = tmp_path / "out"
    harness.succeed("build", jobs["windows"], "-o", out, "--workers", 1)
    assert harness.digests(out) == harness.digests(windowed)


@pytest.mark.slow
def test_a_kill_after_a_window_does_not_change_a_byte(jobs, windowed, tmp_path):
    """SIGKILL once the first window was closed: its parts are gone, and it is not woven again."""
    out = tmp_path / "out"
    receipts = out / ".work" / "receipts"
    process = harness.start("build", jobs["windows"], "-o", out, "--workers", 0)
    deadline = time.monotonic() + 120
    while not (receipts / "window-000000.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "the build was done before a window was closed"
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first = receipts / "batch-000000.json"
    stamp = first.stat().st_mtime_ns
    process = harness.start("build", jobs["windows"], "-o", out, "--workers", 0)
    looks = 0
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # the scratch goes at the end
            assert first.stat().st_mtime_ns == stamp, "a window that was closed was woven again"
            looks += 1
        time.sleep(0.01)
    _, said = process.communicate()
    assert process.returncode == 0, said[-4000:]
    assert looks > 0
    assert harness.digests(out) == harness.digests(windowed)
