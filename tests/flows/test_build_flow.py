"""`flows/build.py`, run: the same dataset as the command's, what is retried, and what is shown."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from chipweave import cli, demo, run
from chipweave.errors import PermanentSourceError, TransientSourceError, UsageError, YieldError
from chipweave.recipe import builtin_recipes, load_recipe
from worlds import harness

ROOT = Path(__file__).parents[2]
RECIPE = builtin_recipes()["demo"]
SMALL = [
    "chips.size=24", "split.block_km=0.5", "split.buffer_m=0", "split.tolerance=0.5", "imagery.s2.max_cloud=60",
    "imagery.s2.min_valid=50", "output.formats=[webdataset]", "labels.osm=", "labels.fields=", "text=",
]  # fmt: skip
WINDOWS = [*SMALL, "output.shuffle={window: 3}", "output.samples_per_shard=20"]
GROUP = 3

pytestmark = pytest.mark.usefixtures("prefect_server", "no_waiting")


def room():
    """The flow. Prefect is imported by the tests that need it, not when tests are collected: it sets up logging."""
    from flows import build

    return build


def get_client():
    from prefect.client.orchestration import get_client as client

    return client(sync_client=True)


@pytest.fixture(scope="module")
def catalog(earth):
    with demo.serve(earth) as served:
        yield served.stac_url


@pytest.fixture
def no_waiting(monkeypatch, prefect_server):
    for name in ("plan", "weave", "seal"):
        monkeypatch.setattr(room(), name, getattr(room(), name).with_options(retry_delay_seconds=0))


@pytest.fixture(scope="module")
def plainly(catalog, tmp_path_factory):
    """Built as the command does it."""
    return build_plainly(catalog, tmp_path_factory.mktemp("plainly") / "out", SMALL)


def build_plainly(catalog, out, sets):
    run.build(load_recipe(RECIPE, sets=sets, catalog=catalog), out, workers=0)
    return out


@pytest.fixture
def flow(catalog, tmp_path):
    """Run the flow into the test's folder."""

    def call(sets=SMALL, **more):
        how = {"workers": 0, "catalog": catalog, "sets": sets, "group": GROUP} | more
        return room().build(str(RECIPE), str(tmp_path / "out"), **how)

    return call


def last_run():
    """The last flow run, its tasks in their order, and its artifacts; what becomes of tasks is told with a delay."""
    with get_client() as client:

        def ask(what, **body):
            return client.request("POST", f"/{what}/filter", json=body).json()

        newest = ask("flow_runs", limit=1, sort="EXPECTED_START_TIME_DESC")[0]
        here = {"flow_run_id": {"any_": [newest["id"]]}}
        for _ in range(200):
            tasks = ask("task_runs", task_runs=here, sort="EXPECTED_START_TIME_ASC")
            if all(t["end_time"] for t in tasks):
                break
            time.sleep(0.1)
        return newest, tasks, ask("artifacts", artifacts=here | {"type": {"any_": ["markdown"]}})


def test_it_makes_the_same_bytes_as_the_command_and_shows_the_yield(flow, plainly, tmp_path):
    result = flow()
    out = tmp_path / "out"
    assert harness.digests(out) == harness.digests(plainly)
    assert result["written"] == len(harness.read_samples(out))
    newest, tasks, artifacts = last_run()
    assert newest["state_name"] == "Completed"
    names = [t["name"] for t in tasks]
    assert (names[0][:5], names[-1][:5]) == ("plan-", "seal-")
    assert names[1:-1] == ["weave-0-2", "weave-3-5", "weave-6-7"]
    (artifact,) = artifacts
    assert artifact["key"] == "yield-demo"
    dropped = [f"| dropped: `{reason}` | {n:,} |" for reason, n in result["dropped"].items()]
    assert dropped
    for line in (f"| placed | {result['placed']:,} |", f"| written | {result['written']:,} |", "| failed | 0 |",
                 *dropped, *(f"| {s} | {n:,} |" for s, n in result["splits"].items())):  # fmt: skip
        assert line in artifact["data"].splitlines()
    before = harness.tree(out)
    assert flow() == result
    assert harness.tree(out) == before
    assert last_run()[1] == []


@pytest.mark.slow
def test_windows_are_the_groups(flow, catalog, tmp_path):
    flow(WINDOWS, group=1)
    assert [t["name"] for t in last_run()[1]][1:-1] == ["weave-0-2", "weave-3-5", "weave-6-7"]
    out = build_plainly(catalog, tmp_path / "plainly", WINDOWS)
    assert harness.digests(tmp_path / "out") == harness.digests(out)


def faulty(monkeypatch, name, error, times):
    """Let the first calls of a task of `run` end with an error; give the list of all calls."""
    calls, right = [], getattr(run, name)

    def wrong(task, **kwargs):
        calls.append(task)
        if len(calls) <= times:
            if isinstance(error, TransientSourceError):
                return error  # as `weave_task` gives it
            raise error
        return right(task, **kwargs)

    monkeypatch.setattr(run, name, wrong)
    return calls


def test_what_may_pass_is_tried_again(flow, plainly, tmp_path, monkeypatch):
    faulty(monkeypatch, "weave_task", TransientSourceError("503"), 1)
    flow()
    assert harness.digests(tmp_path / "out") == harness.digests(plainly)
    newest, tasks, _ = last_run()
    assert newest["state_name"] == "Completed"
    assert {t["name"]: t["run_count"] for t in tasks if "weave" in t["name"]} == {
        "weave-0-2": 2,
        "weave-3-5": 1,
        "weave-6-7": 1,
    }


@pytest.mark.parametrize(
    "error", [PermanentSourceError("404"), pytest.param(OSError(28, "disk full"), marks=pytest.mark.slow)]
)
def test_what_will_not_pass_fails_at_once(flow, error, monkeypatch):
    calls = faulty(monkeypatch, "weave_task", error, 99)
    with pytest.raises(type(error), match=str(error.args[-1])):
        flow()
    assert len(calls) == 1
    newest, tasks, _ = last_run()
    assert newest["state_name"] == "Failed"
    assert [t["run_count"] for t in tasks] == [1, 1]


@pytest.mark.slow
def test_what_does_not_pass_in_time_leaves_a_group_open_and_the_next_run_goes_on(
    flow, plainly, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        calls = faulty(patch, "weave_task", TransientSourceError("503"), GROUP * (1 + len(room().DELAYS)))
        with pytest.raises(TransientSourceError, match="weave: 3 of 3 batches are open: 503"):
            flow()
    assert len(calls) == GROUP * (1 + len(room().DELAYS)) + 5
    receipts = tmp_path / "out" / ".work" / "receipts"
    done = {p.name: p.stat().st_mtime_ns for p in receipts.glob("batch-*.json")}
    assert len(done) == 5, "the other groups were not woven"
    flow()
    assert harness.digests(tmp_path / "out") == harness.digests(plainly)


@pytest.mark.slow
def test_an_interrupted_flow_goes_on(flow, plainly, tmp_path, monkeypatch):
    def interrupt(*_):
        raise SystemExit(130)  # what Ctrl-C does on the command line

    with monkeypatch.context() as patch:
        patch.setattr(room(), "seal", room().seal.with_options())
        patch.setattr(room().seal, "fn", interrupt)
        with pytest.raises(SystemExit):
            flow()
    assert not (tmp_path / "out" / "manifest.json").exists()
    calls = faulty(monkeypatch, "weave_task", UsageError("no"), 0)
    flow()
    assert len(calls) == 8
    assert harness.digests(tmp_path / "out") == harness.digests(plainly)


def test_a_yield_that_is_too_small_is_shown_too(flow):
    with pytest.raises(YieldError):
        flow([*SMALL, "allow.dropped=0.1"])
    newest, _, (artifact,) = last_run()
    assert newest["state_name"] == "Failed"
    assert "more than allow.dropped" in artifact["data"]
    assert "| dropped: `no_scene` |" in artifact["data"]


def test_an_errors_cause_is_not_told(flow, monkeypatch, caplog):
    def leak(*_, **__):
        raise PermanentSourceError("x: 403") from OSError("GET http://x/?sig=planted-token")

    monkeypatch.setattr(run, "weave_task", leak)
    with pytest.raises(PermanentSourceError) as caught:
        flow()
    assert caught.value.__cause__ is None
    assert "x: 403" in caplog.text
    assert "Traceback" in caplog.text
    assert "planted-token" not in caplog.text


def left(*args) -> int:
    """Exit code of the script, run here."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main([str(a) for a in args], program=room().app)
    finally:
        signal.signal(signal.SIGINT, handler)
    return end.value.code


@pytest.mark.slow
def test_as_a_script_it_leaves_as_the_command_does(prefect_server, plainly, catalog, tmp_path, capsys):
    sets = [part for key in SMALL for part in ("--set", key)]
    out = tmp_path / "out"
    args = (RECIPE, "-o", out, "--catalog", catalog)
    done = subprocess.run(
        [sys.executable, ROOT / "flows" / "build.py", *map(str, args), "--workers", "1", *sets, "--json"],
        capture_output=True, text=True, timeout=300, check=False,
        env=harness.guarded_env(PREFECT_API_URL=prefect_server),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(out)
    assert harness.digests(out) == harness.digests(plainly)
    assert left(*args) == 2
    assert "belongs to another recipe" in capsys.readouterr().err
    assert left(*args, *sets) == 0
    assert "| failed | 0 |" in capsys.readouterr().out


def test_a_wrong_recipe_is_told_without_a_server(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(room(), "build", None)
    assert left(RECIPE, "-o", tmp_path / "out", "--set", "chips.sise=24") == 3
    assert "size" in capsys.readouterr().err


def test_what_compose_deploys_is_the_flow_with_its_parameters(prefect_server):
    """Compose's own command, against this server; deploying stores no secret and pulls nothing from elsewhere."""
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    deploy, worker = compose["services"]["deploy"], compose["services"]["worker"]["command"]
    env = harness.guarded_env(
        PREFECT_API_URL=prefect_server, CHIPWEAVE_SCHEDULER=deploy["environment"]["CHIPWEAVE_SCHEDULER"],
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    )  # fmt: skip
    done = subprocess.run(deploy["command"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with get_client() as client:
        deployed = client.request("GET", "/deployments/name/chipweave-build/nightly").json()
    assert deployed["entrypoint"] == "flows/build.py:build"
    assert deployed["parameters"] == {
        "recipe": "recipes/nightly.yaml",
        "out": "data/nightly",
        "scheduler": "tcp://scheduler:8786",
    }
    asked = inspect.signature(room().build.fn).parameters
    assert set(deployed["parameter_openapi_schema"]["properties"]) == set(asked)
    assert deployed["enforce_parameter_schema"]
    assert deployed["work_pool_name"] in worker
    assert [s["schedule"]["cron"] for s in deployed["schedules"]] == ["0 2 * * *"]
    assert [*deployed["pull_steps"][0].values()] == [{"directory": str(ROOT)}]


def test_the_page_says_what_the_flow_does(monkeypatch):
    page = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("python flows/")]
    asked = {}
    monkeypatch.setattr(room(), "load_recipe", lambda *_, **__: None)
    monkeypatch.setattr(room(), "build", lambda *args, **more: asked.update(more, args=args) or RESULT)
    assert left(*shlex.split(line)[2:]) == 0
    assert asked["args"] == ("recipe.yaml", "dataset")
    assert asked["workers"] == 4
    assert room().DELAYS == (30, 2 * 60, 10 * 60)
    assert "retried after 30 s, 2 min and 10 min" in page
    assert f"one `weave-FIRST-LAST` for each {room().GROUP} batches" in page


RESULT = {
    "folder": "dataset",
    "placed": 1,
    "written": 1,
    "failed": 0,
    "dropped": {},
    "splits": {},
    "warnings": [],
}
