"""A million field parcels as a label of ten thousand chips: what burning costs a chip, and how much memory it takes.

``python -m benchmarks.labels make PARCELS FOLDER`` writes the parcels, ``… store FOLDER`` makes their store, and
``… burn FOLDER CHIPS`` burns chips of 256 px at 10 m, neighbours one after another, each in a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.builds import spend

PER_KM2 = 15.26
"""A million parcels on the 65 536 km² of 100 × 100 chips of 2560 m."""

WEST, NORTH = 400_000.0, 5_600_000.0
CHIP_PX, RESOLUTION = 256, 10.0
VERTICES = 14


def measure(folder: Path, parcels: int, chips: int, imagery_ms: float) -> dict[str, Any]:
    """What a million parcels cost.

    Parameters
    ----------
    folder
        Scratch.
    parcels, chips
        How many there are, and how many chips are burned. A hundredth of both stands as closely on a hundredth of the
        ground: memory is held against it.
    imagery_ms
        CPU ms that a chip's imagery costs, in the same minutes.
    """
    found: dict[str, Any] = {}
    for count, own_chips in ((parcels // 100, max(chips // 100, 2)), (parcels, chips)):
        own = folder / str(count)
        own.mkdir(parents=True)
        _step("make", str(count), str(own))
        made, made_mb = _step("store", str(own))
        _step("burn", str(own), "2", str(count))  # compiles what is not in the cache yet
        burned, burned_mb = _step("burn", str(own), str(own_chips), str(count))
        end = "" if count == parcels else "_hundredth"
        found |= {
            f"vectors_store_seconds{end}": round(made["seconds"], 1),
            f"vectors_store_mb{end}": round(made_mb),
            f"vectors_burn_cpu_ms_chip{end}": round(burned["seconds"] * 1e3 / own_chips, 2),
            f"vectors_burn_mb{end}": round(burned_mb),
            f"vectors_features_chip{end}": round(burned["features"] / own_chips, 1),
        }
    told, _ = _step("tell", str(own), str(chips), str(parcels))
    found["vectors_tell_cpu_ms_chip"] = round(told["seconds"] * 1e3 / chips, 2)
    found["vectors_burn_rss_ratio"] = round(found["vectors_burn_mb"] / found["vectors_burn_mb_hundredth"], 3)
    found["vectors_burn_vs_imagery"] = round(found["vectors_burn_cpu_ms_chip"] / imagery_ms, 3)
    return found


def _step(*arguments: str) -> tuple[dict[str, float], float]:
    cost = spend([sys.executable, "-m", "benchmarks.labels", *arguments])
    said: dict[str, float] = json.loads(cost.out.strip().splitlines()[-1])
    return said, cost.rss_mb


def make(count: int, folder: Path) -> dict[str, float]:
    """Write parcels in ETRS89-LAEA, in an order that has nothing to do with where they lie."""
    import pyarrow as pa  # noqa: PLC0415 - imports are not what is measured
    import pyarrow.parquet as pq  # noqa: PLC0415
    import pyproj  # noqa: PLC0415
    import shapely  # noqa: PLC0415

    rng = np.random.default_rng(3)
    side = int(np.ceil(np.sqrt(count)))
    step = 1000 * np.sqrt(count / PER_KM2) / side
    laea = pyproj.Transformer.from_crs(32633, 3035, always_xy=True)
    columns = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": pyproj.CRS(3035).to_json_dict()}
    geo = json.dumps({"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": columns}})
    schema = pa.schema([("code", pa.int32()), ("geometry", pa.binary())], {"geo": geo})
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    order = rng.permutation(side * side)[:count]
    with pq.ParquetWriter(folder / "parcels.parquet", schema) as writer:
        for some in np.array_split(order, max(1, count // 50_000)):
            row, col = np.divmod(some, side)
            reach = step * rng.uniform(0.35, 0.5, (len(some), VERTICES))
            x = WEST + (col[:, None] + 0.5) * step + reach * np.cos(turn)
            y = NORTH - (row[:, None] + 0.5) * step + reach * np.sin(turn)
            u, v = laea.transform(x.ravel(), y.ravel())
            at = np.stack([u, v], axis=1).reshape(len(some), VERTICES, 2)
            shapes = shapely.polygons(np.concatenate([at, at[:, :1]], axis=1))
            table = {
                "code": pa.array(some % 17 + 1, pa.int32()),
                "geometry": pa.array(shapely.to_wkb(shapes)),
            }
            writer.write_table(pa.table(table, schema=schema))
    return {"parcels": float(count)}


def store(folder: Path) -> dict[str, float]:
    """Make the store of a folder's parcels."""
    from chipweave.labels.vectors import Rule, prepare_store  # noqa: PLC0415

    start = time.process_time()
    facts = prepare_store(
        folder / "parcels.parquet", [Rule(None, None, "code", said="burn")], folder / "stores", said="parcels"
    )
    (folder / "store.txt").write_text(str(facts.folder))
    return {"seconds": time.process_time() - start}


def burn(folder: Path, chips: int, parcels: int, *, tell: bool) -> dict[str, float]:
    """Classes and boundaries of chips, along rows of tiles of eight by eight; with `tell` instances and GeoJSON too."""
    from chipweave.labels.vectors import Reading, Rule, VectorRead  # noqa: PLC0415
    from chipweave.labels.vectors.burn import Boundary  # noqa: PLC0415
    from chipweave.model import Legend, LegendClass, Place  # noqa: PLC0415

    legend = Legend("parcels", tuple(LegendClass(k, str(k), "#000000") for k in range(1, 19)), 0)
    reading = Reading(
        Path((folder / "store.txt").read_text()),
        (Rule(None, None, "code"),),
        (0,),
        0,
        Boundary(1, 18),
        ("code",),
    )
    read = VectorRead("parcels", legend, reading, CHIP_PX, RESOLUTION, instances=tell)
    across = max(int(1000 * np.sqrt(parcels / PER_KM2) / (8 * CHIP_PX * RESOLUTION)), 1)
    features, seconds = 0, 0.0
    for number in range(chips):
        tile, k = divmod(number, 64)
        row, col = tile // across * 8 + k // 8, tile % across * 8 + k % 8
        x, y = WEST + col * CHIP_PX * RESOLUTION, NORTH - row * CHIP_PX * RESOLUTION
        place = Place(f"{row}_{col}", "EPSG:32633", x, y, CHIP_PX, RESOLUTION)
        start = time.process_time()
        target = read.read(place, ())
        seconds += time.process_time() - start
        features += len(target.features or ())
    return {"seconds": seconds, "features": float(features)}


def main() -> None:
    """One step; prints its figures as JSON."""
    what, *rest = sys.argv[1:]
    if what == "make":
        said = make(int(rest[0]), Path(rest[1]))
    elif what == "store":
        said = store(Path(rest[0]))
    else:
        said = burn(Path(rest[0]), int(rest[1]), int(rest[2]), tell=what == "tell")
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
