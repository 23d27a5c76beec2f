"""Disks that fill up, scratch that is spoilt, clocks that jump: nothing is lost, and the next run goes on."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.faults import serve_faulty
from worlds import harness, recipes
from worlds.harness import refuse, succeed, write_recipe

BEST = "S2_33_0720"


def items_of(border) -> list[dict]:
    return border.items("S2_32_0610", "S2_33_0610", BEST)


def mapping_of(url: object) -> dict:
    s2 = recipes.imagery("2021-06-01/2021-07-31", ("red", "nir"), max_cloud=80)
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 16}
    return recipes.recipe(url, {"bbox": [11.94, 44.985, 12.05, 45.02]}, s2, output=output, labels=None)


@pytest.fixture(scope="module")
def whole(border, tmp_path_factory) -> dict[str, str]:
    """An undisturbed build."""
    tmp = tmp_path_factory.mktemp("whole")
    with serve_faulty(items_of(border), border.folder) as service:
        return harness.digests(harness.build(tmp, mapping_of(service.url)))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def nonsense(path: Path) -> None:
    path.write_text('{"batch": "\x1b[31m", "part": "../../../etc/passwd"}')


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [("receipts/*.json", truncate)]
    + [pytest.param("receipts/*", h, marks=pytest.mark.slow) for h in (flip, empty, gone, nonsense)]
    + [pytest.param("parts/*", h, marks=pytest.mark.slow) for h in (flip, truncate, empty, gone)],
)
def test_spoilt_scratch_is_made_again(border, whole, tmp_path, pattern, harm):
    """A build that stopped with some batches open; what it had finished is harmed, and dated to years to come."""
    out = tmp_path / "out"
    with serve_faulty(items_of(border), border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", mapping_of(service.url))
        service.choose = lambda path: 503 if path.endswith(f"{BEST}/B08.tif") else None
        refuse(4, "build", recipe, "-o", out, "--workers", 0)
        found = sorted((out / ".work").glob(pattern))
        assert found, "no batch was finished: nothing is proved"
        for n, path in enumerate(found):
            harm(path)
            if path.exists():
                os.utime(path, (time.time() + 1e8 * (-1) ** n,) * 2)
        service.choose = lambda _path: None
        succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == whole
    assert harness.chipweave("verify", out).returncode == 0


def limited(size: int, *args: object) -> subprocess.CompletedProcess:
    """The command line, where no file may grow beyond some bytes: a disk that is full for large files."""
    return subprocess.run(
        [sys.executable, "-m", "chipweave", *map(str, args)],
        env=harness.guarded_env(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.mark.parametrize(
    "size", [100_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (2_000, 20_000, 400_000))]
)
def test_a_disk_that_fills_up_is_1_and_goes_on_later(border, whole, tmp_path, size):
    out = tmp_path / "out"
    with serve_faulty(items_of(border), border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", mapping_of(service.url))
        done = limited(size, "build", recipe, "-o", out, "--workers", 0)
        assert done.returncode == 1, done.stderr[-3000:]
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        assert len(done.stderr.splitlines()) <= 20
        assert not (out / "manifest.json").exists()
        succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == whole


@pytest.mark.parametrize("place", ["file", "below a file", "proc"])
def test_a_place_that_cannot_be_written_is_told(june, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    out = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "out",
        "proc": Path("/proc/none/out"),
    }[place]
    done = harness.chipweave("build", write_recipe(tmp_path / "r.yaml", recipes.small(june)), "-o", out)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert str(out) in done.stderr or "/proc/none" in done.stderr or str(tmp_path / "file") in done.stderr
    assert (tmp_path / "file").read_text() == "mine"
