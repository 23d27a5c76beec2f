"""Kernels are compiled once a machine, not once a worker; and once a process where nothing can be kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

import errands
from chipweave.pixels import jit
from worlds import harness

CODE = "import sys, pathlib, errands; errands.compile_all(*map(pathlib.Path, sys.argv[1:3]))"


def start(tmp_path: Path, name: str, cache: Path) -> subprocess.Popen:
    env = harness.guarded_env(NUMBA_CACHE_DIR=str(cache))
    env["PYTHONPATH"] = os.pathsep.join([str(Path(errands.__file__).parent), env["PYTHONPATH"]])
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "go"), str(tmp_path / name)], env=env, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def together(tmp_path: Path, cache: Path) -> tuple[list[tuple[int, int]], list[str]]:
    """(hits, misses) of two processes that begin to compile at the same moment, and what they said."""
    started = [start(tmp_path, name, cache) for name in ("a", "b")]
    deadline = time.monotonic() + 120
    while not all((tmp_path / f"{n}.ready").exists() for n in ("a", "b")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [p.communicate(timeout=200)[1] for p in started]
    assert [p.returncode for p in started] == [0, 0], said
    counts = [tuple(map(int, (tmp_path / n).read_text(encoding="ascii").split())) for n in ("a", "b")]
    return counts, said


@pytest.mark.slow
def test_two_processes_compile_each_kernel_once(tmp_path):
    (first, second), _ = together(tmp_path, tmp_path / "cache")
    assert first[1] + second[1] >= 2
    # What one compiles, the other loads; inner kernels come with the outer one and are not loaded apart.
    assert first[0] + second[0] >= 2
    files = list((tmp_path / "cache").rglob("*.nbc"))
    assert first[1] + second[1] == len(files), "a kernel was compiled twice"


LOAD = (
    "import sys, numpy; from chipweave.pixels.fused import whole; assert whole(numpy.zeros((2, 3, 4), 'int16')).all();"
    "stats = whole.stats; print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()),"
    "'scipy.linalg' in sys.modules)"
)


@pytest.mark.skipif(
    not numba.__version__.startswith(jit._LOADED_PLAINLY), reason="another numba loads in its own way"
)
def test_what_is_in_the_cache_is_loaded_without_what_compiling_takes(tmp_path):
    """numba's compiler brings scipy, among much else; who finds the kernels compiled has no use for it."""
    env = harness.guarded_env(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    said = [
        subprocess.run(
            [sys.executable, "-c", LOAD], env=env, text=True, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert [text.split() for text in said] == [["0", "1", "True"], ["1", "0", "False"]]


def test_the_cache_is_named_after_all_sources_of_kernels(tmp_path, monkeypatch):
    """A kernel that another file's kernel calls changes the cache of both."""
    for name in ("jit.py", "kernels.py"):
        (tmp_path / name).write_text("from chipweave.pixels.jit import kernel\n", encoding="utf-8")
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    before = jit._sources_digest()
    assert jit._sources_digest() == before
    (tmp_path / "kernels.py").write_text(
        "from chipweave.pixels.jit import kernel  # another\n", encoding="utf-8"
    )
    assert jit._sources_digest() != before


def test_where_nothing_can_be_kept_it_is_said_once(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert jit._cache_folder() == ""
    assert caplog.text.count("every process compiles kernels again") == 1
    with jit._Turn("").held():
        pass
    monkeypatch.setattr(jit.multiprocessing, "parent_process", object)
    assert jit._cache_folder() == ""
    assert caplog.text.count("every process compiles kernels again") == 1, "a worker repeats it"
