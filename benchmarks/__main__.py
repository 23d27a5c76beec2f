"""``make bench``: read, resample and cut chips of a demo scene, against GDAL's own warp of the same chips.

Writes ``benchmarks/latest.json``. Ratios compare CPU time in one run on one machine; they survive a noisy one.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from chipweave.model import Asset, Place, Scene
from chipweave.pixels import LayerRead, gdal_session, read_scene
from chipweave.plan.regions import Arrays, read_chips

ROUNDS = 5
SIDE, CHIP = 2048, 128
BANDS = ("blue", "green", "red", "nir")


def make_scene(folder: Path) -> Scene:
    """Four bands of noise over hills, tiled DEFLATE, on a UTM grid."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / 90.0
    assets = {}
    for i, band in enumerate(BANDS):
        values = 1500 + 400 * np.sin(x + i) * np.cos(y) + rng.normal(0, 40, (SIDE, SIDE))
        path = folder / f"{band}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint16", crs="EPSG:32632", nodata=0,
            transform=from_origin(300000, 5200000, 10, 10), tiled=True, blockxsize=512, blockysize=512,
            compress="deflate", predictor=2,
        ) as file:  # fmt: skip
            file.write(values.astype("uint16"), 1)
        assets[band] = Asset(str(path))
    from datetime import UTC, datetime  # noqa: PLC0415

    import shapely  # noqa: PLC0415

    return Scene(
        "s2", "bench", "bench", datetime(2021, 6, 1, tzinfo=UTC), shapely.box(6, 46, 7, 47), assets=assets
    )


def places(crs: str, x: float, y: float) -> list[Place]:
    """A block of 12 x 12 chips."""
    step = CHIP * 10
    return [
        Place(f"{r}-{c}", crs, x + c * step, y - r * step, CHIP, 10.0) for r in range(12) for c in range(12)
    ]


def ours(scene: Scene, chips: list[Place]) -> None:
    """All chips through chipweave's tile-wise reading."""
    read = LayerRead(BANDS, dict.fromkeys(BANDS, "bilinear"), 0)

    def window(crs: str, affine: rasterio.Affine, shape: tuple[int, int]) -> Arrays:
        return (read_scene(scene, read, crs, affine, shape).values,)

    with gdal_session():
        for _place, arrays in read_chips(chips, window):
            if isinstance(arrays, Exception):
                raise arrays
            np.ascontiguousarray(arrays[0])


def gdal(scene: Scene, chips: list[Place]) -> None:
    """All chips through a WarpedVRT each band, a window a chip."""
    first = chips[0]
    side = 12 * CHIP
    grid = {"crs": first.crs, "transform": first.affine, "width": side, "height": side}
    for band in BANDS:
        with (
            rasterio.open(scene.assets[band].href) as file,
            WarpedVRT(file, resampling=Resampling.bilinear, nodata=0, **grid) as warped,
        ):
            for i in range(len(chips)):
                row, col = divmod(i, 12)
                warped.read(1, window=rasterio.windows.Window(col * CHIP, row * CHIP, CHIP, CHIP))


def cpu(function: Callable[[], None]) -> float:
    """CPU milliseconds a chip."""
    start = time.process_time()
    function()
    return (time.process_time() - start) * 1000 / 144


def main() -> int:
    """Measure, print a table, write the file."""
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(Path(folder))
        cases = {
            "same_grid": places("EPSG:32632", 301280, 5198720),
            "next_zone": places("EPSG:32631", 758080, 5203200),
        }
        results: dict[str, float] = {}
        for name, chips in cases.items():
            ours(scene, chips)  # compiles the kernels
            rounds = [
                (cpu(lambda c=chips: ours(scene, c)), cpu(lambda c=chips: gdal(scene, c)))
                for _ in range(ROUNDS)
            ]
            mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
            results |= {
                f"cpu_ms_chip_{name}": round(mine, 3),
                f"warpedvrt_cpu_ms_chip_{name}": round(theirs, 3),
                f"cpu_vs_warpedvrt_{name}": round(theirs / mine, 2),
            }
    Path(__file__).with_name("latest.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, value in results.items():
        sys.stdout.write(f"{name:<36} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
