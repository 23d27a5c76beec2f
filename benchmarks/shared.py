"""The scripts that figures are judged with, run unchanged, each in a process of its own.

They lie in a folder outside the project: that of ``CHIPWEAVE_BENCH``, else ``../shared/bench`` beside the checkout.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

NEEDED = ("cv2", "imagecodecs", "tifffile", "blosc2")
"""What world.py, limits.py and sol.py import besides what chipweave needs."""


def scripts() -> Path | None:
    """Folder of the shared scripts, or None where there is none."""
    folder = Path(os.environ.get("CHIPWEAVE_BENCH") or ROOT.parent / "shared" / "bench")
    return folder.resolve() if (folder / "sol.py").is_file() else None


def why_not() -> str:
    """What keeps the shared scripts from running here; empty where they can."""
    if scripts() is None:
        return "no shared scripts: neither CHIPWEAVE_BENCH nor ../shared/bench has them"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)} (`make bench` installs them)" if missing else ""


def run_script(
    script: Path, *args: str | Path, python: str | Path = sys.executable, timeout: float = 3600
) -> str:
    """Run a script unchanged and give what it printed.

    Raises
    ------
    RuntimeError
        It failed; the message ends with what it said.
    """
    # The folder may be read-only, and compiled kernels of the scripts must land somewhere.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(cache() / "kernels")}
    done = subprocess.run(  # noqa: S603 - our own interpreter on a script that the user named
        [str(python), str(script), *map(str, args)],
        cwd=script.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def cache() -> Path:
    """Folder for worlds and scratch: ``CHIPWEAVE_BENCH_WORLD``, else ``.bench`` in the checkout."""
    folder = Path(os.environ.get("CHIPWEAVE_BENCH_WORLD") or ROOT / ".bench").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def world() -> Path:
    """The shared world, made once."""
    folder, where = cache() / "world", scripts()
    if where is None:
        raise FileNotFoundError(why_not())
    if not (folder / "T3.json").is_file():  # the item that is written last
        run_script(where / "world.py", folder)
    return folder


def speed_of_light(data: Path, scratch: Path) -> tuple[dict[str, Any], float]:
    """What sol.py says of scenes A and D, at limits.py's rates of the same minutes.

    Returns
    -------
    sol, share
        Its figures by scene; and CPU over wall time of limits.py. It times wall, so on a busy machine its rates come
        out low, and the ratios to them look better than they are.
    """
    where = scripts()
    if where is None:
        raise FileNotFoundError(why_not())
    limits, sol = scratch / "limits.json", scratch / "sol.json"
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run_script(where / "limits.py", data, scratch, limits)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    run_script(where / "sol.py", data, limits, sol)
    return json.loads(sol.read_text("utf-8")), cpu / wall


def engine(data: Path, scene: str, spec: str) -> dict[str, Any]:
    """One engine of engines.py on one scene, in a process of its own: its JSON line."""
    where = scripts()
    if where is None:
        raise FileNotFoundError(why_not())
    line: dict[str, Any] = json.loads(run_script(where / "engines.py", data, scene, spec).splitlines()[-1])
    return line
