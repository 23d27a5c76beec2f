"""Whole builds by the command line, each in a process of its own: CPU and peak memory of that process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.shared import ROOT
from benchmarks.worlds import BANDS, CRS, outline
from chipweave.model import Place

LABELS = {
    "worldcover": {"collection": "esa-worldcover", "edition": 2021},
    "corine": {"collection": "corine", "edition": 2018},
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds (user and system) and peak memory of a process and its children; what it printed."""

    cpu_s: float
    rss_mb: float
    out: str


def spend(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end. The caller must be small: a child's peak begins at its parent's size.

    Raises
    ------
    RuntimeError
        It failed; the message ends with what it said.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([*map(str, command)], stdout=out, stderr=err, cwd=ROOT, env=_env())  # noqa: S603
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            said = err.read().decode(errors="replace").strip()[-600:]
            raise RuntimeError(f"{' '.join(map(str, command[1:6]))} ended with {child.returncode}: {said}")
        return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out.read().decode())


def _env() -> dict[str, str]:
    """Ours, with bytecode kept as it is by default: else every import is compiled again, and counts."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def imagery(time: str) -> dict[str, Any]:
    """A layer of ten bands and their mask; whatever serves is taken."""
    return {
        "collection": "sentinel-2-l2a",
        "bands": list(BANDS),
        "time": time,
        "max_cloud": 100,
        "min_valid": 0,
    }


def write_recipe(
    folder: Path, catalog: Path, places: Sequence[Place], *, dense: bool = True, **more: object
) -> Path:
    """A recipe whose chips are exactly `places`; ten bands, mask and both labels unless `more` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    side = places[0].size * places[0].resolution
    if dense:
        west, north = min(p.x for p in places), max(p.y for p in places)
        east, south = max(p.x for p in places) + side, min(p.y for p in places) - side
        k = side / 4
        shapes = [outline(CRS, (west + k, south + k, east - k, north - k))]
    else:
        k = side * 3 / 8
        shapes = [outline(CRS, (p.x + k, p.y - side + k, p.x + side - k, p.y - k)) for p in places]
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in shapes]
    (folder / "area.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
    )
    recipe: dict[str, Any] = {
        "version": 1,
        "name": "bench",
        "catalog": str(catalog),
        "area": {"geojson": "area.geojson"},
        "chips": {
            "size": places[0].size,
            "resolution": places[0].resolution,
            "crs": CRS,
            "lattice": {"anchor": [places[0].x, places[0].y]},
        },
        "imagery": {"s2": imagery("2025-06-01/2025-06-30")},
        "labels": LABELS,
        "output": {"formats": ["webdataset"], "samples_per_shard": 64},
        **more,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}), encoding="utf-8")
    return path


def build(recipe: Path, out: Path, *, workers: int = 0, expect: int | None = None) -> Cost:
    """``chipweave build`` by the command line into a new folder, which is removed again.

    Raises
    ------
    RuntimeError
        It failed, or did not write `expect` samples.
    """
    shutil.rmtree(out, ignore_errors=True)
    cost = spend(
        [sys.executable, "-m", "chipweave", "build", recipe, "-o", out, "--workers", str(workers), "--json"]
    )
    _held(cost, expect)
    shutil.rmtree(out)
    return cost


def child(recipe: Path, out: Path, *flags: str, expect: int | None = None) -> tuple[Cost, Mapping[str, Any]]:
    """A build by `benchmarks.child`, which also says where its CPU went and what it decoded."""
    shutil.rmtree(out, ignore_errors=True)
    cost = spend([sys.executable, "-m", "benchmarks.child", recipe, out, *flags])
    said = _held(cost, expect)
    shutil.rmtree(out)
    return cost, said


def _held(cost: Cost, expect: int | None) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cost.out.strip().splitlines()[-1])
    if expect is not None and said["written"] != expect:
        raise RuntimeError(f"wrote {said['written']} samples, not {expect}: {said}")
    return said


def builder(recipe: Path, expect: int) -> Callable[[int, Path], None]:
    """``build(workers, folder)`` of one recipe, for `scaling.two_workers`."""

    def run(workers: int, out: Path) -> None:
        build(recipe, out, workers=workers, expect=expect)

    return run
