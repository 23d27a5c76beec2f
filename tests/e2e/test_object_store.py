"""Datasets in an object store: the same bytes, one builder, resumed without a listing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import obstore
import pytest

from worlds import harness, recipes
from worlds.objects import SECRET, Objects, serve_objects

MOMENTS = 20


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store") / "requests.log"


@pytest.fixture(scope="module")
def objects(log) -> Objects:
    with serve_objects(log) as served:
        yield served


def asked(log: Path, method: str, after: int = 0) -> list[str]:
    """Paths that were asked for with a method, after so many bytes of the log."""
    return re.findall(rf'"{method} (\S+) HTTP', log.read_bytes()[after:].decode())


@pytest.fixture(scope="module")
def put(objects, finished, log, tmp_path_factory):
    """The small dataset, in the store: its URL, the scratch, what was said, and what was asked of the store."""
    scratch = tmp_path_factory.mktemp("scratch")
    url = objects.url("small/set")
    done = harness.succeed("build", finished[0], "-o", url, "--workers", 0, env=objects.env(scratch))
    return url, scratch, done, {method: asked(log, method) for method in ("GET", "PUT")}


def test_a_store_holds_the_bytes_that_a_folder_holds(put, objects, finished):
    url, scratch, done, _ = put
    found = objects.read("small/set")
    assert set(found) == set(harness.tree(finished[1])), "and neither lease nor note is left"
    assert objects.digests("small/set") == harness.digests(finished[1])
    assert url in done.stdout
    assert not [p for p in scratch.rglob("*") if p.suffix in {".tar", ".parquet"}], "scratch is given back"


def test_nothing_is_listed(put):
    requests = put[3]
    assert len(requests["PUT"]) > 10
    assert not [path for path in requests["GET"] if "list-type" in path or "prefix=" in path]


def test_no_secret_is_written_or_said(put, objects):
    _, _, done, _ = put
    assert SECRET not in done.stdout + done.stderr
    assert not [name for name, data in objects.read("small/set").items() if SECRET.encode() in data]


def test_a_finished_one_is_left_alone(put, objects, finished, log, tmp_path):
    """Also from another machine: nothing but the lease is written."""
    url, _, first, _ = put
    before = log.stat().st_size
    done = harness.succeed("build", finished[0], "-o", url, "--workers", 0, env=objects.env(tmp_path))
    assert done.stdout == first.stdout
    assert all(path.endswith(".chipweave.lease") for path in asked(log, "PUT", before))


def test_another_recipes_is_refused(put, objects, june, tmp_path):
    other = harness.write_recipe(tmp_path / "other.yaml", recipes.small(june) | {"name": "other"})
    harness.refuse(
        2, "build", other, "-o", put[0], "--workers", 0, names=(put[0],), env=objects.env(tmp_path / "s")
    )
    assert not list((tmp_path / "s").rglob("*.parquet")), "scratch is given back"


def test_it_is_verified_where_it_is(put, objects, tmp_path):
    done = harness.succeed("verify", put[0], env=objects.env(tmp_path))
    assert f"{put[0]}: ok" in done.stdout
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_damaged_one_is_found_out(put, objects, finished, tmp_path):
    """A shard with one byte changed."""
    harness.succeed(
        "build", finished[0], "-o", objects.url("hurt"), "--workers", 0, env=objects.env(tmp_path)
    )
    store = objects.below("hurt")
    data = bytearray(obstore.get(store, "shards/train-000000.tar").bytes())
    data[700] ^= 1
    obstore.put(store, "shards/train-000000.tar", bytes(data))
    assert harness.chipweave("verify", objects.url("hurt"), env=objects.env(tmp_path)).returncode == 6


def test_a_plan_is_gone_on_from_on_another_machine(june, objects, finished, log, tmp_path):
    """The catalog is gone by then, and the scratch of the first machine too."""
    catalog = tmp_path / "catalog"
    shutil.copytree(june.parent, catalog, symlinks=True) if june.is_file() else shutil.copytree(june, catalog)
    given = catalog / june.name if june.is_file() else catalog
    recipe = harness.write_recipe(tmp_path / "recipe.yaml", recipes.small(given))
    url = objects.url("moved")
    harness.succeed("plan", recipe, "-o", url, "--workers", 0, env=objects.env(tmp_path / "one"))
    shutil.rmtree(tmp_path / "one")
    before = log.stat().st_size
    done = harness.succeed("build", recipe, "-o", url, "--workers", 0, env=objects.env(tmp_path / "two"))
    assert "going on from the plan" in done.stderr
    assert "search" not in done.stderr
    assert "/bucket/moved/plan/chips.parquet" not in asked(log, "PUT", before)
    made = objects.digests("moved")
    assert {n: d for n, d in made.items() if n.startswith("shards")} == {
        n: d for n, d in harness.digests(finished[1]).items() if n.startswith("shards")
    }


def test_another_recipes_plan_is_not_replaced(june, objects, tmp_path):
    """Although scratch has a plan of the recipe at hand: the store's was put meanwhile."""
    url, env = objects.url("planned"), objects.env(tmp_path / "mine")
    mine = harness.write_recipe(tmp_path / "mine.yaml", recipes.small(june))
    harness.succeed("plan", mine, "-o", url, "--workers", 0, env=env)
    for name in objects.read("planned"):
        obstore.delete(objects.below("planned"), name)
    other = harness.write_recipe(tmp_path / "other.yaml", recipes.small(june) | {"name": "other"})
    harness.succeed("plan", other, "-o", url, "--workers", 0, env=objects.env(tmp_path / "theirs"))
    before = objects.read("planned")
    harness.refuse(2, "build", mine, "-o", url, "--workers", 0, names=(url,), env=env)
    assert objects.read("planned") == before


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("ftp://host/data", ("ftp",)),
        ("s3://bucket", ("prefix",)),
        ("s3://bucket/../other/data", ("..",)),
        ("s3://key:secret-in-url@bucket/data", ("user",)),
        ("s3://bucket/data?X-Amz-Signature=secret-in-url", ("query",)),
    ],
)
def test_an_address_that_is_none_is_refused(url, names, finished, objects, tmp_path):
    done = harness.refuse(
        2, "build", finished[0], "-o", url, "--workers", 0, names=names, env=objects.env(tmp_path)
    )
    assert "secret-in-url" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_is_not_there_is_named(finished, objects, tmp_path):
    harness.refuse(
        2, "build", finished[0], "-o", "s3://nobody/data", "--workers", 0, names=("s3://nobody/data",),
        env=objects.env(tmp_path),
    )  # fmt: skip


def test_a_store_that_does_not_answer_is_4(finished, objects, tmp_path):
    env = objects.env(tmp_path) | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    harness.refuse(4, "build", finished[0], "-o", objects.url("x"), "--workers", 0, env=env)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_twenty_moments_and_resumed_gives_the_same_bytes(finished, objects, log, tmp_path, workers):
    """Client and workers: ten moments spread over the run time, ten over the objects that are put."""
    recipe, right = finished

    def command(prefix: str) -> tuple[object, ...]:
        return "build", recipe, "-o", objects.url(prefix), "--workers", workers

    for prefix in (f"warm-{workers}", f"timed-{workers}"):
        before, begin = log.stat().st_size, time.monotonic()
        process = harness.start(*command(prefix), env=objects.env(tmp_path / prefix))
        assert process.wait() == 0
        process.communicate()
        took, puts = time.monotonic() - begin, len(asked(log, "PUT", before))
    cut = 0
    for n in range(MOMENTS):
        prefix, env = f"killed-{workers}-{n}", objects.env(tmp_path / f"s{n}")
        before, begin = log.stat().st_size, time.monotonic()
        process = harness.start(*command(prefix), env=env)
        while process.poll() is None:
            if n % 2 and len(asked(log, "PUT", before)) >= max(puts * n // MOMENTS, 1):
                break
            if not n % 2 and time.monotonic() - begin >= took * n / MOMENTS:
                break
            time.sleep(0.002)
        cut += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        harness.succeed(*command(prefix), env=env)
        assert set(objects.read(prefix)) == set(harness.tree(right))
        assert objects.digests(prefix) == harness.digests(right)
    assert cut >= MOMENTS * 3 // 4, "most kills came too late"
