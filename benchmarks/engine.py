"""The engine's job, that of engines.py, through our own rooms: read, resample, cut; nothing is written.

``python -m benchmarks.engine FOLDER SCENE SIDE CHIP`` does it once, in one thread, and prints a JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from benchmarks.worlds import BANDS, World
from chipweave.catalog.collections import load_collection
from chipweave.catalog.legends import load_legend
from chipweave.errors import PermanentSourceError
from chipweave.labels.rasters import LabelRead, read_label
from chipweave.model import Asset, MaskRule, Place
from chipweave.pixels import LayerRead, counts, gdal_session, read_scene
from chipweave.pixels.bands import read_bands
from chipweave.plan.regions import Arrays, ReadWindow, read_chips

TILE_PX = 2048
"""As in design, section 3."""


def s2_read() -> LayerRead:
    """Ten bands and the scene classification."""
    mask = load_collection("sentinel-2-l2a").mask
    if not isinstance(mask, MaskRule):
        raise TypeError("sentinel-2-l2a has no mask")
    return LayerRead(tuple(BANDS), {**dict.fromkeys(BANDS, "bilinear"), "scl": "nearest"}, 0, mask)


def readers(world: World, scene: str) -> list[ReadWindow]:
    """What reads the five layers of a window."""
    s2, how = world.scene(scene), s2_read()
    s1 = [Asset(str(world.path(f"S1_{band}"))) for band in ("vv", "vh")]

    def optical(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        got = read_scene(s2, how, crs, affine, shape)
        if got.mask is None:
            raise ValueError("no mask was read")
        return got.values, got.mask

    def radar(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        return tuple(values for values, _ok in read_bands(s1, -32768.0, crs, affine, shape, "bilinear"))

    def label(name: str, legend: str) -> ReadWindow:
        source = world.label(name, "map")
        read = LabelRead(load_legend(legend, Path()), "nearest", 0.0, "map")
        return lambda crs, affine, shape: (read_label(source, read, crs, affine, shape),)

    return [optical, radar, label("WC", "worldcover"), label("CLC", "corine")]


def tiles(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Chips by tiles of `TILE_PX`, from the first chip's corner on."""
    first = places[0]
    side = TILE_PX * first.resolution
    groups: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for p in places:
        groups[int((first.y - p.y + 0.5) // side), int((p.x - first.x + 0.5) // side)].append(p)
    yield from groups.values()


def run(reads: Sequence[ReadWindow], places: Sequence[Place]) -> float:
    """All layers of all chips, each copied once into a sample's buffer.

    Returns
    -------
    float
        A sum over a few pixels of every layer: the work was done, and is the same each time.
    """
    buffers: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
    total = 0.0
    with gdal_session():
        for group in tiles(places):
            for i, read in enumerate(reads):
                for _place, arrays in read_chips(group, read):
                    if isinstance(arrays, PermanentSourceError):
                        raise arrays
                    for k, array in enumerate(arrays):
                        if (i, k) not in buffers:
                            buffers[i, k] = np.empty(array.shape, array.dtype)
                        buffer = buffers[i, k]
                        buffer[...] = array
                        total += float(buffer[..., ::16, ::16].sum(dtype=np.float64))
    return total


def measure(world: World, scene: str) -> dict[str, Any]:
    """CPU of the job; the kernels are compiled, or taken from their cache, before."""
    places = world.places
    reads = readers(world, scene)
    run(reads, places[-1:])
    counts.reset()
    before = resource.getrusage(resource.RUSAGE_SELF)
    total = run(reads, places)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_ms_per_patch": cpu * 1e3 / len(places),
        "decoded": counts.decoded,
        "rss_mb": after.ru_maxrss / 1024,
        "sum": total,
    }


if __name__ == "__main__":
    folder, name, side, chip = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(World(Path(folder), int(side), int(chip)), name)) + "\n")
