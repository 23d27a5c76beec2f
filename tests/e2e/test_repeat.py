"""The same bytes, whatever the number of workers, a crash, or a resume."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import chipweave as cw
from worlds import harness, recipes

OUTPUT = {"formats": ["webdataset", "zarr"], "samples_per_shard": 16}
SPLIT = {
    "method": "blocks",
    "block_km": 1.5,
    "fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
    "buffer_m": 0,
    "seed": 7,
    "tolerance": 0.5,
}
MOMENTS = 10


@pytest.fixture(scope="module")
def job(border, tmp_path_factory) -> Path:
    """A recipe with everything that could differ: two zones, mosaics, clouds, splits, both formats."""
    tmp = tmp_path_factory.mktemp("job")
    catalog = border.catalog("catalog_repeat")
    area = {"bbox": [11.925, 44.975, 12.06, 45.04]}
    s2 = recipes.imagery(recipes.SUMMER, max_cloud=60, min_valid=50, mask="blank")
    return harness.write_recipe(
        tmp / "recipe.yaml", recipes.recipe(catalog, area, s2, output=OUTPUT, split=SPLIT)
    )


def run(job: Path, out: Path, workers: int) -> float:
    begin = time.monotonic()
    harness.succeed("build", job, "-o", out, "--workers", workers)
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def serial(job, tmp_path_factory) -> tuple[Path, float]:
    """The dataset that every other must equal, and the seconds it took."""
    out = tmp_path_factory.mktemp("serial") / "out"
    return out, run(job, out, 0)


def same(out: Path, reference: Path) -> None:
    made, right = harness.digests(out), harness.digests(reference)
    assert made.keys() == right.keys()
    assert not [p for p in right if made[p] != right[p]]


def test_there_is_something_to_compare(serial):
    out, _ = serial
    files = harness.digests(out)
    for split in ("train", "val", "test"):
        assert f"shards/{split}-000000.tar" in files
        assert any(p.startswith(f"zarr/{split}.zarr/") for p in files)
    assert len(harness.read_samples(out)) >= 60


def test_shards_are_gap_free_and_full(serial):
    """Exact shards: all of `samples_per_shard` but the last of a split."""
    out, _ = serial
    for split in ("train", "val", "test"):
        names = sorted(p.name for p in (out / "shards").glob(f"{split}-*.tar"))
        assert names == [f"{split}-{n:06d}.tar" for n in range(len(names))]
        sizes = [sum(1 for _ in harness.read_shard(out / "shards" / n)) for n in names]
        assert set(sizes[:-1]) <= {16}
        assert 1 <= sizes[-1] <= 16


def test_nothing_is_left_behind(serial):
    """No scratch, and every file but the manifest is in the manifest."""
    out, _ = serial
    assert not (out / ".work").exists()
    manifest = harness.strict_json((out / "manifest.json").read_bytes())
    assert set(manifest["files"]) == set(harness.tree(out)) - {"manifest.json"}


@pytest.mark.slow  # of a series, and of a scheduler's workers, it is tested in each run
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_byte(job, serial, tmp_path, workers):
    out = tmp_path / "out"
    run(job, out, workers)
    same(out, serial[0])
    assert harness.chipweave("verify", out).returncode == 0


def test_another_folder_and_another_hour_do_not_change_a_byte(job, serial, tmp_path):
    """The recipe from elsewhere, relative catalog and all, into a folder of another name, in another time zone."""
    out = tmp_path / "deep" / "other name"
    out.parent.mkdir()
    harness.succeed(
        "build", job, "-o", out, "--workers", 0, env=harness.guarded_env(TZ="Pacific/Auckland"), cwd=tmp_path
    )
    same(out, serial[0])


@pytest.mark.parametrize("tile_px", [4096, *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 640))])
def test_pixels_do_not_depend_on_the_size_of_a_tile(job, serial, tmp_path, tile_px):
    """From a tile a chip to one tile a zone: the same samples (their order may follow the batches)."""
    out = tmp_path / "out"
    cw.build(cw.load_recipe(job), out, workers=0, tile_px=tile_px)
    made, right = harness.read_samples(out), harness.read_samples(serial[0])
    assert made.keys() == right.keys()
    for key, sample in made.items():
        assert sample.meta == right[key].meta
        for name, array in sample.arrays.items():
            np.testing.assert_array_equal(array, right[key].arrays[name])


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the whole group: no handler runs, in no worker."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finished(out: Path) -> dict[str, tuple[int, int, int]]:
    """Receipts of finished batches: inode, size and mtime of each file. A rewrite changes one of them.

    A receipt is its JSON, written last; what stands beside it under the same name belongs to it.
    """
    found = {}
    folder = out / ".work" / "receipts"
    # The whole folder may go while it is listed: the scratch is removed at the end.
    with contextlib.suppress(FileNotFoundError):
        for receipt in list(folder.glob("*.json")):
            for path in list(folder.glob(f"{receipt.stem}.*")):
                with contextlib.suppress(FileNotFoundError):
                    s = path.stat()
                    found[path.name] = (s.st_ino, s.st_size, s.st_mtime_ns)
    return found


def resume_watching(job: Path, out: Path, workers: int, before: dict) -> int:
    """Resume, looking again and again at what was finished before: none of it may be written again."""
    process = harness.start("build", job, "-o", out, "--workers", workers)
    looks = 0
    try:
        while process.poll() is None:
            now = finished(out)
            for name, was in before.items():
                # Gone is right at the end, when the scratch is removed.
                assert now.get(name, was) == was, f"{name} was done again"
                looks += name in now
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            kill(process)
    _, said = process.communicate()
    assert process.returncode == 0, said[-4000:]
    return looks


def begun(process: subprocess.Popen, out: Path) -> None:
    """Wait until the build has its folder: Python's own start is no moment of it."""
    while not out.exists() and process.poll() is None:
        time.sleep(0.002)


def receipts(out: Path) -> int:
    """Batches that are finished."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.suffix == ".json" for path in (out / ".work" / "receipts").iterdir())
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_of_ten_moments_and_resumed_gives_the_same_bytes(job, serial, tmp_path, workers):
    """Five moments are spread over the run time, five over the batches, which may take a small part of it."""
    process = harness.start("build", job, "-o", tmp_path / "timed", "--workers", workers)
    begun(process, tmp_path / "timed")
    begin, batches = time.monotonic(), 0
    while process.poll() is None:
        batches = max(batches, receipts(tmp_path / "timed"))
        time.sleep(0.001)
    process.communicate()
    took = time.monotonic() - begin
    same(tmp_path / "timed", serial[0])
    cut = with_batches = looked = 0
    for n in range(MOMENTS):
        out = tmp_path / f"out{n}"
        process = harness.start("build", job, "-o", out, "--workers", workers)
        begun(process, out)
        if n % 2:
            while receipts(out) < max(batches * n // MOMENTS, 1) and process.poll() is None:
                time.sleep(0.001)
        else:
            time.sleep(took * (n + 0.5) / MOMENTS)
        cut += process.poll() is None
        kill(process)
        before = finished(out)
        with_batches += bool(before)
        looked += resume_watching(job, out, workers, before)
        same(out, serial[0])
        assert harness.chipweave("verify", out).returncode == 0
    # The machine's speed wavers: a kill or two may come too late.
    assert cut >= MOMENTS - 2, "most kills came too late"
    assert with_batches >= MOMENTS // 2 - 1, "few kills left a finished batch: little was proved about them"
    assert looked > 0


@pytest.mark.slow
def test_killed_three_times_in_a_row(job, serial, tmp_path):
    out = tmp_path / "out"
    for share in (0.2, 0.4, 0.6):
        process = harness.start("build", job, "-o", out, "--workers", 0)
        begun(process, out)
        time.sleep(serial[1] * share)
        kill(process)
    run(job, out, 0)
    same(out, serial[0])


def test_killed_once_in_the_middle_and_resumed(job, serial, tmp_path):
    """The quick member of the family above: kill as soon as a batch is finished."""
    out = tmp_path / "out"
    process = harness.start("build", job, "-o", out, "--workers", 0)
    deadline = time.monotonic() + 120
    while not finished(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    kill(process)
    before = finished(out)
    resume_watching(job, out, 0, before)
    same(out, serial[0])


@pytest.mark.slow
def test_interrupted_by_the_user_is_130_and_can_be_resumed(job, serial, tmp_path):
    out = tmp_path / "out"
    process = harness.start("build", job, "-o", out, "--workers", 0)
    deadline = time.monotonic() + 120
    while (
        not (out / "plan" / "scenes.parquet").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    run(job, out, 0)
    same(out, serial[0])


def workers_of(process: subprocess.Popen) -> dict[int, list[str]]:
    """Processes of the build's group but itself, and the files that each has open."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(entry.name) != process.pid and os.getpgid(int(entry.name)) == process.pid:
                found[int(entry.name)] = [str(fd.readlink()) for fd in (entry / "fd").iterdir()]
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_of_a_batch_is_replaced(job, serial, tmp_path):
    """As the system does when memory is short: the build goes on, ends with 0, and its bytes are the same."""
    out = tmp_path / "out"
    process = harness.start("build", job, "-o", out, "--workers", 2)
    killed = None
    while killed is None and process.poll() is None:
        for pid, files in workers_of(process).items():
            if any("/.work/parts/" in name for name in files):
                os.kill(pid, signal.SIGKILL)
                killed = pid
                break
    _, said = process.communicate(timeout=300)
    assert killed is not None, said[-3000:]
    assert process.returncode == 0, said[-3000:]
    assert "lost its worker: it is done again" in said
    same(out, serial[0])


@pytest.mark.slow
def test_workers_end_with_a_build_that_is_interrupted(job, serial, tmp_path):
    """Ctrl-C reaches the whole group; nobody of it is left, and nobody talks of it but the build."""
    out = tmp_path / "out"
    process = harness.start("build", job, "-o", out, "--workers", 2)
    while not finished(out) and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    deadline = time.monotonic() + 20
    while workers_of(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not workers_of(process)
    run(job, out, 0)
    same(out, serial[0])
