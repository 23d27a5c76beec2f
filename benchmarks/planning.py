"""Planning at scale: places, matching, selection, splits, batches and the plan's files, without a pixel.

``python -m benchmarks.planning CHIPS DATES FOLDER`` is one measurement in this process: a square of chips over two
UTM zones, Sentinel-2 tiles on every date, half the orbits cut through their tiles. Each of a chip's first candidates
gets figures out of a hash in place of a mask; all the rest is what `chipweave plan` does.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.builds import spend

CENTRE = (12.0, 47.5)
"""On the border of the zones 32 and 33."""

SIZE, RESOLUTION = 128, 10.0


def measure(chips: int, dates: int, scratch: Path) -> dict[str, float]:
    """Plan about `chips` chips with `dates` dates in a process of its own.

    Returns
    -------
    dict
        ``chips`` placed and ``candidates`` matched; ``seconds`` of CPU (imports left out), in all and by stage
        (``seconds_<stage>``); ``peak_mb`` of the process.
    """
    cost = spend([sys.executable, "-m", "benchmarks.planning", str(chips), str(dates), scratch])
    said: dict[str, float] = json.loads(cost.out.strip().splitlines()[-1])
    return {**said, "peak_mb": round(cost.rss_mb, 1)}


def measure_all(chips: int = 1_000_000, dates: int = 73) -> dict[str, float]:
    """Figures of `chips`, and what they cost more than half as many. Once each: a million are minutes of CPU."""
    with tempfile.TemporaryDirectory() as folder:
        half = measure(chips // 2, dates, Path(folder) / "half")
        whole = measure(chips, dates, Path(folder) / "whole")
    # The area is a square, so the counts are near to what was asked for, not equal to it.
    growth = whole["chips"] / half["chips"]
    return {
        "plan_1m_seconds": whole["seconds"],
        "plan_1m_peak_mb": whole["peak_mb"],
        "plan_2x_time_ratio": round(whole["seconds"] / half["seconds"] * 2 / growth, 3),
        "plan_1m_candidates": whole["candidates"],
    }


@dataclass(slots=True)
class _Clock:
    """CPU seconds by stage."""

    last: float = field(default_factory=time.process_time)
    stages: dict[str, float] = field(default_factory=dict)

    def mark(self, stage: str) -> None:
        """End a stage."""
        now = time.process_time()
        self.stages[f"seconds_{stage}"] = round(now - self.last, 2)
        self.last = now


def _plan(chips: int, dates: int, folder: Path) -> dict[str, float]:
    """Every stage of planning, the survey's reading aside."""
    from chipweave import catalog  # noqa: PLC0415 - imports are not what is measured
    from chipweave.plan import planning, surveying, tables  # noqa: PLC0415
    from chipweave.plan.area import read_area  # noqa: PLC0415
    from chipweave.plan.place import search_cells  # noqa: PLC0415
    from chipweave.plan.splitting import split_chips  # noqa: PLC0415

    setattr(surveying, "survey_tile", _invented)  # noqa: B010 - in place of reading masks, in this process alone
    (folder / "plan").mkdir(parents=True)
    clock = _Clock()
    loaded = _recipe(folder, chips)
    area = read_area(loaded)
    places, wkb = planning._place(loaded, area, folder / "plan" / "places.parquet", ())  # noqa: SLF001
    clock.mark("place")
    search_cells(places)
    catalog.write_snapshot(_scenes(area.geometry.bounds, dates), folder / planning.SNAPSHOT)
    reads = _reads(catalog.read_snapshot(folder / planning.SNAPSHOT))
    clock.mark("scenes")
    survey = surveying.Survey(places, wkb, reads, (), "benchmark")
    table, _ = planning.run_survey(loaded, survey, _serial, folder)
    clock.mark("match_and_select")
    table, result = split_chips(loaded, table)
    clock.mark("split")
    table = planning.write_decided(folder / "plan", table, survey, folder, None)
    tables.write_chips(folder / "plan" / "chips.parquet", table)
    clock.mark("batch_and_write")
    blocks = len(np.unique(result.block)) if result is not None else 0
    return {
        "chips": len(table), "candidates": survey.candidates, "blocks": blocks,
        "batches": int(table["batch"].max()) + 1, "seconds": round(sum(clock.stages.values()), 2), **clock.stages,
    }  # fmt: skip


def _recipe(folder: Path, chips: int) -> Any:
    from chipweave.recipe import load_recipe  # noqa: PLC0415

    side = math.sqrt(chips) * SIZE * RESOLUTION / 111_320
    lon, lat = CENTRE
    wide = side / math.cos(math.radians(lat))
    recipe = {
        "version": 1, "name": "planning", "catalog": ".",
        "area": {"bbox": [lon - wide / 2, lat - side / 2, lon + wide / 2, lat + side / 2]},
        "chips": {"size": SIZE, "resolution": RESOLUTION},
        "imagery": {
            "s2": {
                "collection": "sentinel-2-l2a", "bands": ["red"], "time": "2021-01-01/2021-12-31",
                "max_cloud": 20, "min_valid": 90,
            }
        },
        "split": {"method": "blocks", "block_km": 4.0, "buffer_m": 100},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return load_recipe(path)


def _scenes(bounds: tuple[float, float, float, float], dates: int) -> list[Any]:
    """Tiles of 109.8 km every 100 km in both zones on every date; on every third the orbit ends in them."""
    from chipweave.catalog.footprint import projected  # noqa: PLC0415
    from chipweave.model import Asset, Scene  # noqa: PLC0415
    from chipweave.pixels.lattice import reproject  # noqa: PLC0415

    w, s, e, n = bounds
    scenes: list[Any] = []
    for zone in (32, 33):
        crs = f"EPSG:326{zone}"
        west, east = (max(w, zone * 6 - 186.4), min(e, zone * 6 - 179.6))
        x, y = reproject(np.array([west, east, west, east]), np.array([s, s, n, n]), "EPSG:4326", crs)
        for left in range(int(x.min() // 1e5), int(x.max() // 1e5) + 1):
            for low in range(int(y.min() // 1e5), int(y.max() // 1e5) + 1):
                x0, y1 = left * 1e5, low * 1e5 + 109_800
                shapes: list[Any] = [
                    projected(crs, ((x0, y1), (x0 + wide, y1), (x0 + wide, y1 - 109_800), (x0, y1 - 109_800)))
                    for wide in (109_800.0, 70_000.0)
                ]
                if None in shapes:
                    continue
                for date in range(dates):
                    ident = f"S2_T{zone}_{left:02d}_{low:03d}_{date:03d}"
                    scenes.append(
                        Scene(
                            "s2", ident, "sentinel-2-l2a",
                            datetime(2021, 1, 1, 10, tzinfo=UTC) + timedelta(days=5 * date, seconds=left + low),
                            shapes[date % 3 == 0], crs, float(zlib.crc32(ident.encode()) % 100),
                            "sentinel-2a", "2021-12-31", assets={"red": Asset(f"{ident}/red.tif")},
                        )
                    )  # fmt: skip
    return scenes


def _reads(scenes: Sequence[Any]) -> Any:
    from chipweave.pixels import LayerRead  # noqa: PLC0415
    from chipweave.plan.select import Limits  # noqa: PLC0415
    from chipweave.plan.survey import Reads  # noqa: PLC0415

    read = LayerRead(("red",), {"red": "bilinear"}, 0)
    return Reads({"s2": read}, {"s2": Limits(0.2, 0.9, 8)}, {}, {"s2": {s.id: s for s in scenes}})


def _invented(chips: Sequence[Any], reads: Any, _facts: Sequence[str]) -> tuple[dict[str, Any], list[Any]]:
    """`survey_tile` with figures out of a hash: the first candidates of every chip are measured, and ranked."""
    from chipweave.plan.select import Measured, least_cloudy  # noqa: PLC0415
    from chipweave.plan.survey import Found  # noqa: PLC0415

    found = {}
    for chip in chips:
        choices = {}
        for layer, limits in reads.limits.items():
            own = chip.candidates[layer]
            n, noise = limits.max_candidates, zlib.crc32(chip.place.key.encode())
            looked = [
                Measured(c, (noise >> k) % 97 / 96, min(1.0, c.coverage)) for k, c in enumerate(own[:n])
            ]
            choices[layer] = least_cloudy(looked, limits, own[n:])
        found[chip.place.key] = Found(choices)
    return found, []


def _serial(function: Any, tasks: Any, /) -> Iterator[Any]:
    return map(function, tasks)


def main(arguments: Sequence[str]) -> None:
    """One measurement; prints its figures as JSON."""
    chips, dates, folder = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    folder.mkdir(parents=True, exist_ok=True)
    figures: Mapping[str, float] = _plan(chips, dates, folder)
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
