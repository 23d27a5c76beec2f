"""Every split method on a million places, and the curve: each size and method in a process of its own.

``python -m benchmarks.splits METHOD PLACES`` is one measurement: squares of 1280 m on the lattices of eight UTM zones,
with countries, dates, tiles, a published split and the shares of four classes, split with a gap of 200 m.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.builds import spend

SIDE = 1280.0
ZONES = tuple(f"EPSG:{32629 + k}" for k in range(8))
CASES: dict[str, dict[str, Any]] = {
    "blocks": {"block_km": 20.0},
    "blocks_h3": {"block_km": 20.0, "cells": "h3"},
    "blocks_mgrs": {"cells": "mgrs"},
    "blocks_wrs": {"cells": "wrs"},
    "blocks_majortom": {"cells": "majortom", "block_km": 20.0},
    "blocks_stratified": {"block_km": 5.0, "stratify": ("lc", "country", "year")},
    "blocks_auto": {"block_km": 50.0, "buffer_m": None, "labels": ("lc",)},
    "groups": {"by": "country"},
    "bands": {"angle_deg": 30.0},
    "checkerboard": {"block_km": 20.0},
    "clusters": {},
    "clusters_distance": {"cluster": "distance", "link_m": 500.0},
    "inside_tile": {"fractions": None, "buffer_m": 0.0},
    "time": {"by": "year", "fractions": None, "buffer_m": 0.0},
    "list": {"fractions": None, "buffer_m": 0.0},
    "kfold": {"folds": 5, "fractions": None, "block_km": 20.0},
    "random": {"buffer_m": 0.0},
}
"""Options of each method, by the name of the case; what stands before the first ``_`` is the method."""


def measure_all(
    places: int = 1_000_000, cases: Sequence[str] = tuple(CASES), parts: Sequence[int] = (100, 10, 1)
) -> dict[str, Any]:
    """Seconds and memory of every method, and seconds at a hundredth and a tenth of the places."""
    curve: dict[str, dict[str, float]] = {}
    slowest, peak = 0.0, 0.0
    for case in cases:
        curve[case] = {}
        for n in (places // part for part in parts):
            cost = spend([sys.executable, "-m", "benchmarks.splits", case, str(n)])
            said: dict[str, float] = json.loads(cost.out.strip().splitlines()[-1])
            curve[case][str(n)] = round(said["seconds"], 2)
        curve[case]["peak_mb"] = round(cost.rss_mb, 1)
        slowest, peak = max(slowest, said["seconds"]), max(peak, cost.rss_mb)
    return {"split_1m_seconds": round(slowest, 2), "split_1m_peak_mb": round(peak, 1), "split_curve": curve}


def world(places: int) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.float64]]]:
    """A table of places, and their outlines."""
    from chipweave.pixels.lattice import reproject  # noqa: PLC0415 - imports are not what is measured
    from chipweave.plan.distance import rings  # noqa: PLC0415

    side = math.ceil(math.sqrt(places))
    row, col = np.divmod(np.arange(places), side)
    wide = math.ceil(side / len(ZONES))
    zone, col = np.divmod(col, wide)
    # With streets between neighbourhoods of 16 by 16, so that chains of neighbours end.
    x = 500_000.0 + (col - wide / 2) * SIDE + col // 16 * SIDE
    y = 5_500_000.0 - (row - side / 2) * SIDE - row // 16 * SIDE
    lon, lat = np.empty(places), np.empty(places)
    for number, crs in enumerate(ZONES):
        own = zone == number
        lon[own], lat[own] = reproject(x[own] + SIDE / 2, y[own] - SIDE / 2, crs, "EPSG:4326")
    wave = (row // 4 * 7919 + col // 4 * 104_729) % 97 / 97  # patches of some kilometres
    tile_x, tile_y = np.floor(x / 109_800) * 109_800, np.floor((y - SIDE / 2) / 109_800) * 109_800
    inside = np.clip(x + SIDE / 2, tile_x, tile_x + 109_800)
    names = [f"{z}_{c}_{r}" for z, c, r in zip(zone.tolist(), col.tolist(), row.tolist(), strict=True)]
    table = pd.DataFrame(
        {
            "place": names, "lon": lon, "lat": lat, "country": (lon * 2).astype(int), "year": 2015 + (row + col) % 8,
            "split": np.array(["train", "validation", "test"])[(row // 9 + col // 7) % 3],
            "lc.1": wave, "lc.2": (1 - wave) * 0.6, "lc.3": (1 - wave) * 0.3, "lc.4": (1 - wave) * 0.1,
            "tile": (zone * 1e6 + tile_x).astype(int), "tile_xmin": tile_x, "tile_ymin": tile_y,
            "tile_xmax": tile_x + 109_800, "tile_ymax": tile_y + 109_800, "centroid_x": inside,
            "centroid_y": y - SIDE / 2,
        }
    )  # fmt: skip
    return table, rings([ZONES[z] for z in zone.tolist()], x, y, SIDE)


def one(case: str, places: int) -> dict[str, float]:
    """One measurement in this process: CPU seconds of the split alone."""
    from chipweave.plan.splits import Options, split_places  # noqa: PLC0415
    from chipweave.plan.splits.spans import spans_of  # noqa: PLC0415

    table, outlines = world(places)
    options: dict[str, Any] = {
        "fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
        "buffer_m": 200.0,
        **CASES[case],
    }
    method = case if case == "inside_tile" else case.partition("_")[0]
    if method == "time":
        options["periods"] = spans_of({"train": "2015/2018", "val": "2019/2020", "test": "2021/2022"})
    start = time.process_time()
    found = split_places(table, outlines, method=method, options=Options(**options))
    seconds = time.process_time() - start
    return {
        "seconds": seconds,
        "units": float(len(np.unique(found.block))),
        "kept": float((found.split != "").mean()),
    }


def main() -> None:
    """One measurement; prints its figures as JSON."""
    sys.stdout.write(json.dumps(one(sys.argv[1], int(sys.argv[2]))) + "\n")


if __name__ == "__main__":
    main()
