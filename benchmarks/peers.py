"""rslearn on its own job, and the same job by ours: same files, items, windows, bands, labels and date."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from benchmarks import builds, shared
from benchmarks.worlds import CRS, s2_item, write_items
from chipweave.model import Place

EAST, NORTH = 600_000.0, 5_300_040.0
"""Corner of the data that peer_rslearn_run.py makes."""

BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11", "swir22": "B12"}


class Missing(Exception):  # noqa: N818 - not an error: a figure that this machine cannot give
    """What a figure needs is not here; the text says what."""


def interpreter() -> Path:
    """Python of the environment that holds rslearn.

    Raises
    ------
    Missing
        There is none.
    """
    folder = Path(os.environ.get("CHIPWEAVE_BENCH_PEERS") or shared.ROOT / ".venv-peers")
    python = shared.ROOT / folder / "bin" / "python"  # an absolute folder stays as it is
    if not python.exists():
        raise Missing("rslearn is not installed; `make bench-peers` installs it apart")
    return python


def windows(size: int, chip: int) -> list[Place]:
    """The windows that rslearn makes of its box: snapped outwards to multiples of their side."""
    step, margin = chip * 10.0, chip * 10.0
    west, east = EAST + margin, EAST + size * 10 - margin
    north, south = NORTH - margin, NORTH - (size * 10 - margin)
    cols = range(math.floor(west / step), math.ceil(east / step))
    rows = range(math.ceil(north / step), math.floor(south / step), -1)
    return [Place(f"{r}-{c}", CRS, c * step, r * step, chip, 10.0) for r in rows for c in cols]


def catalog(work: Path, size: int, scenes: int) -> Path:
    """An ItemCollection of the files that peer_rslearn_run.py made."""
    items = []
    for number in range(scenes):
        day = 3 + 5 * number
        ident = f"S2X_32TFAKE_202306{day:02d}"
        hrefs = {key: work / "cogs" / f"{ident}_{key}.tif" for key in (*BANDS.values(), "SCL")}
        bounds = (EAST, NORTH - size * 10, EAST + size * 10, NORTH)
        cloud = float(number * 37 % 60)
        items.append(s2_item(ident, CRS, bounds, f"2023-06-{day:02d}T10:20:00Z", hrefs, cloud))
    return write_items(work / "items.json", items)


def rslearn(size: int, rounds: int, scenes: int = 4, chip: int = 256) -> dict[str, Any]:
    """CPU a window of rslearn's prepare, ingest and materialize over that of our whole build.

    Raises
    ------
    Missing
        rslearn or the shared scripts are not here.
    RuntimeError
        The two did not do the same windows.
    """
    python, where = interpreter(), shared.scripts()
    if where is None:
        raise Missing(shared.why_not())
    work = shared.cache() / f"rslearn-{size}"
    places = windows(size, chip)
    theirs, ours = [], []
    for number in range(rounds):
        said = shared.run_script(
            where / "peer_rslearn_run.py", "--work", work, "--size", str(size), "--scenes", str(scenes),
            "--chip", str(chip), "--workers", "0", python=python,
        )  # fmt: skip
        result = json.loads(said[said.index("\n{\n") :])
        if result["windows"] != len(places):
            raise RuntimeError(f"rslearn made {result['windows']} windows, not {len(places)}")
        theirs.append(sum(result["cpu_s"][stage] for stage in ("prepare", "ingest", "materialize")))
        if number == 0:
            _ours(work, places, size, scenes)  # compiles what is not in the cache yet
        ours.append(_ours(work, places, size, scenes))
    ratios = sorted(t / o for t, o in zip(theirs, ours, strict=True))
    return {
        "cpu_vs_rslearn_e2e": ratios[len(ratios) // 2],
        "rslearn_windows": len(places),
        "rslearn_cpu_ms_chip": sorted(theirs)[rounds // 2] * 1e3 / len(places),
        "rslearn_ours_cpu_ms_chip": sorted(ours)[rounds // 2] * 1e3 / len(places),
    }


def _ours(work: Path, places: list[Place], size: int, scenes: int) -> float:
    imagery = {
        "collection": "sentinel-2-l2a",
        "bands": list(BANDS),
        "time": "2023-06-01/2023-06-30",
        "max_cloud": 100,
        "min_valid": 0,
    }
    label = {"file": str(work / "labels" / "worldcover.tif"), "legend": "worldcover", "date": 2021}
    recipe = builds.write_recipe(
        work, catalog(work, size, scenes), places, imagery={"s2": imagery}, labels={"worldcover": label}
    )
    return builds.build(recipe, work / "ours", expect=len(places)).cpu_s
