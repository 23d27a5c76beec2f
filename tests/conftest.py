"""What every test gets: sockets closed but for loopback; and the worlds, made once a session."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "guard"), str(HERE.parent)]  # the last for `benchmarks`

import loopback  # noqa: E402

from worlds.harness import zygote  # noqa: E402

# PROJ may otherwise fetch grids, and what a checkout's user has set must not steer the tests.
os.environ["PROJ_NETWORK"] = "OFF"
for _name in [n for n in os.environ if n.startswith("CHIPWEAVE_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True, scope="session")
def closed_sockets(tmp_path_factory):
    """Refuse every connection that leaves this machine, here and in Python subprocesses that get `guarded_env`.

    A refusal inside a subprocess could be swallowed there: each is written to a file, which must stay empty.
    """
    log = tmp_path_factory.mktemp("guard") / "outside.log"
    os.environ["LOOPBACK_GUARD_LOG"] = str(log)
    loopback.close()
    yield
    zygote.close()
    loopback.reopen()
    del os.environ["LOOPBACK_GUARD_LOG"]
    assert not log.exists(), f"tried to leave this machine:\n{log.read_text()}"


@pytest.fixture(scope="session")
def earth(tmp_path_factory):
    """A demo world of a few kilometres, made once for all processes of a test run."""
    from chipweave import demo

    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with (folder / "earth.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return demo.make_world(folder / "earth", scale=0.15)


@pytest.fixture(scope="session")
def border(tmp_path_factory):
    """The analytic world where UTM zones 32 and 33 meet."""
    from worlds.places import border_world

    return border_world(tmp_path_factory.mktemp("border"))


@pytest.fixture(scope="session")
def south(tmp_path_factory):
    """The analytic world on the southern hemisphere."""
    from worlds.places import south_world

    return south_world(tmp_path_factory.mktemp("south"))


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A world of many blocks and few pixels, and the squares of its area."""
    from worlds.places import wide_world

    return wide_world(tmp_path_factory.mktemp("wide"))


@pytest.fixture(scope="session")
def sensors(tmp_path_factory):
    """The analytic world of radar, Landsat and aerial imagery beside Sentinel-2."""
    from worlds.sensor_world import sensor_world

    return sensor_world(tmp_path_factory.mktemp("sensors"))
