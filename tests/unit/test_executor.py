"""Tasks on processes and on a cluster: order, windows, and what becomes of a task whose worker dies."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from test_weave import WC, add_label, add_scene, build, recipe

import errands
from chipweave import executor as room
from chipweave import run
from chipweave.errors import ChipweaveError, TransientSourceError, UsageError
from chipweave.executor import executor
from worlds import harness


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    return state != "Z"


def gone(pids: set[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(alive(p) for p in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(p) for p in pids)


@pytest.fixture(scope="module")
def two():
    """Two workers for the tests that leave them as they were."""
    with executor(2, None) as mapped:
        yield mapped


def test_serial_is_here_and_as_it_comes():
    with executor(0, None) as mapped:
        assert list(mapped(errands.where, iter([2, 1]))) == [(2, os.getpid()), (1, os.getpid())]


@pytest.mark.parametrize("address", ["nope", "host:port", "xyz://a:1"])
def test_an_address_that_is_none_is_a_wrong_call_and_leaves_no_client_open(address):
    before = set(threading.enumerate())
    with pytest.raises(UsageError, match=address), executor(None, address):
        pass
    assert set(threading.enumerate()) <= before


def test_a_single_task_starts_no_worker():
    with executor(3, None) as mapped:
        assert list(mapped(errands.where, [7])) == [(7, os.getpid())]
        assert list(mapped(errands.where, [])) == []


def test_never_more_workers_than_tasks_and_none_outlives_the_block():
    with executor(3, None) as mapped:
        pids = {pid for _, pid in mapped(errands.where, [0, 1])}
        workers = mapped._dask._client.nthreads()
        assert len(workers) == 2
        assert set(workers.values()) == {1}
        assert os.getpid() not in pids
    assert gone(pids)


def test_results_come_in_the_tasks_order_from_any_iterable(two):
    found = list(two(errands.where, (n for n in range(40))))
    assert [n for n, _ in found] == list(range(40))
    assert len({pid for _, pid in found}) == 2


def test_an_error_of_a_task_is_raised_as_it_is(two):
    with pytest.raises(ValueError, match="number 5 will not do"):
        list(two(errands.refuses, range(10)))


def test_tasks_are_taken_as_others_finish_and_not_without_end(two, tmp_path):
    """While the first is not done, the window and what may wait for it are taken, and nothing more."""
    gate, bound = tmp_path / "gate", 2 * (room.WINDOW + room.AHEAD)

    def tasks():
        for n in range(300):
            if n == bound - 1:
                gate.touch()  # only now may the first go on: that many were taken before it ended
            assert n < bound or (tmp_path / "ended").exists()
            yield n

    assert list(two(partial(errands.slow_first, gate=gate), tasks())) == list(range(300))


def test_a_killed_workers_tasks_are_done_again(two, tmp_path, caplog):
    told = tmp_path / "told"
    assert list(two(partial(errands.dies_once, told=told), range(20))) == list(range(20))
    assert told.exists()
    assert "task 3 lost its worker: it is done again" in caplog.text


@pytest.mark.parametrize("late", [False, True])
def test_results_that_go_down_with_their_workers_are_made_again(two, tmp_path, monkeypatch, late):
    """All workers die while three results wait there: known here to be finished, or (`late`) heard of only then."""
    wait, heard = room._Flight._wait, []

    def hears_late(flight):
        future = wait(flight)
        while not (tmp_path / "told").exists():
            time.sleep(0.01)
        if not heard:  # its worker is dead; the scheduler says so in a moment, and then makes it again
            deadline = time.monotonic() + 10
            while future.status == "finished" and time.monotonic() < deadline:
                time.sleep(0.001)
            heard.append(future.status)
        return future

    if late:
        monkeypatch.setattr(room._Flight, "_wait", hears_late)
    assert list(two(partial(errands.takes_all_along, folder=tmp_path), range(8))) == list(range(8))
    assert "finished" not in heard
    assert (tmp_path / "told").exists()


def test_a_task_that_always_kills_its_worker_is_named(two):
    tasks = [errands.Errand(n) for n in range(12)]
    with pytest.raises(ChipweaveError, match="errand 3 killed its worker 3 times") as caught:
        list(two(errands.dies_always, tasks))
    assert caught.value.exit_code == 1
    assert "--workers 0" in caught.value.hint
    assert [n for n, _ in two(errands.where, range(6))] == list(range(6)), "the workers are there again"


@pytest.mark.slow
def test_a_batch_that_kills_its_worker_ends_the_build_and_the_rest_is_kept(tmp_path, monkeypatch):
    loaded = recipe(tmp_path, [add_scene(tmp_path, "A"), add_label(tmp_path, 260)], labels=WC)
    right = build(loaded, tmp_path / "right", tile_px=16)
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(run, "weave_task", errands.weave_or_die)
        with pytest.raises(ChipweaveError, match="batch 2 killed its worker 3 times"):
            run.build(loaded, out, workers=2, tile_px=16)
    kept = set((out / ".work" / "receipts").glob("batch-*.json"))
    assert kept
    assert build(loaded, out, tile_px=16).keys() == right.keys()
    assert harness.digests(out) == harness.digests(tmp_path / "right")


def test_a_batch_is_a_few_kilobytes_whatever_its_chips(tmp_path, monkeypatch):
    """A task names its rows: its size does not hang on chips, candidates or scenes."""
    sizes = {}
    for days in (1, 12):
        folder = tmp_path / str(days)
        items = [add_scene(folder, f"S{d}", day=d + 1) for d in range(days)]
        loaded = recipe(folder, [*items, add_label(folder, 260)], labels=WC)
        sent = []
        monkeypatch.setattr(run, "_woven", lambda batches, sent=sent, **_: sent.extend(batches) or [])
        with pytest.raises(ChipweaveError):
            run.build(loaded, folder / "out", workers=0)
        sizes[days] = {len(pickle.dumps(b)) for b in sent}
    assert max(sizes[12]) < 6000
    assert max(sizes[12]) <= max(sizes[1]) + 8  # a folder's name is longer by a digit


@contextmanager
def dask_processes(folder):
    """A scheduler and a worker of one thread on loopback, as a user starts them: its address, and its process."""
    file, env = folder / "scheduler.json", harness.guarded_env()
    env["PYTHONPATH"] = os.pathsep.join([str(Path(errands.__file__).parent), env["PYTHONPATH"]])
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    started = [
        subprocess.Popen([*dask, "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0",
                          "--scheduler-file", str(file)], env=env, cwd=folder, stderr=subprocess.DEVNULL),
    ]  # fmt: skip
    dask[-1] = "distributed.cli.dask_worker"
    started.append(
        subprocess.Popen([*dask, "--scheduler-file", str(file), "--nworkers", "1", "--nthreads", "1", "--host",
                          "127.0.0.1", "--no-dashboard"], env=env, cwd=folder, stderr=subprocess.DEVNULL)
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield harness.strict_json(file.read_bytes())["address"], started[0]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask_processes(tmp_path_factory.mktemp("dask")) as (address, _):
        yield address


def test_a_running_scheduler_builds_the_same_bytes(cluster, tmp_path):
    loaded = recipe(tmp_path, [add_scene(tmp_path, "A"), add_label(tmp_path, 260)], labels=WC)
    build(loaded, tmp_path / "right")
    run.build(loaded, tmp_path / "out", scheduler=cluster)
    assert harness.digests(tmp_path / "out") == harness.digests(tmp_path / "right")


@pytest.mark.slow
def test_a_running_schedulers_worker_that_dies_is_replaced_too(cluster, tmp_path):
    with executor(None, cluster) as mapped:
        told = tmp_path / "told"
        assert list(mapped(partial(errands.dies_once, told=told), range(8))) == list(range(8))
        assert told.exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_build_which_can_go_on(tmp_path, monkeypatch):
    """With 4 and a hint, not never, and without a traceback; what was finished is kept."""
    loaded = recipe(tmp_path, [add_scene(tmp_path, "A"), add_label(tmp_path, 260)], labels=WC)
    out, work = tmp_path / "out", tmp_path / "out" / ".work"
    heard, handler = [], logging.Handler()
    handler.emit = heard.append
    monkeypatch.setattr(logging.getLogger("distributed.client"), "handlers", [handler])
    with dask_processes(tmp_path) as (address, scheduler):

        def kill():
            while not (work / "waits").exists():
                time.sleep(0.02)
            scheduler.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with monkeypatch.context() as patched:
            patched.setattr(run, "weave_task", errands.weave_till_told)
            with pytest.raises(
                TransientSourceError, match=f"the Dask scheduler at {address} is gone"
            ) as caught:
                run.build(loaded, out, scheduler=address, tile_px=16)
        (work / "waits").unlink()
    assert caught.value.exit_code == 4
    assert "run the same command again" in caught.value.hint
    assert not heard
    assert {p.stem for p in (work / "receipts").glob("batch-*.json")} >= {f"batch-00000{n}" for n in range(3)}
    build(loaded, out, tile_px=16)
    build(loaded, tmp_path / "right", tile_px=16)
    assert harness.digests(out) == harness.digests(tmp_path / "right")


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr(room, "ANSWER_S", 0.5)
    with pytest.raises(TransientSourceError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        executor(None, "tcp://127.0.0.1:9").__enter__()
