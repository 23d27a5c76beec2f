"""The parts of the benchmark. Each runs in a process of its own, so that none is measured in another's memory.

``python -m benchmarks.parts NAME OUT [--quick] [--rounds N]`` does one and writes a JSON object of figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import shapely

from benchmarks import builds, shared
from benchmarks.peers import Missing, rslearn
from benchmarks.worlds import BANDS, Box, World, catalog, dated, flat_places, flat_world, small_world
from chipweave.model import Place

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `quick` is a rehearsal of seconds on a world of our own."""

    quick: bool
    rounds: int

    def world(self) -> World:
        """The shared world, or a small one of our own where there is none."""
        if self.quick:
            return small_world(shared.cache() / "quick", side=256, chip=64, block=64)
        if shared.why_not():
            return small_world(shared.cache() / "own", side=2048, chip=256, block=512)
        return World(shared.world())


MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of one run, removed at its end
"""A file system in memory, where there is one."""


@contextmanager
def scratch(name: str, *, gigabytes: int = 0) -> Iterator[Path]:
    """A folder that is there for one part only; in memory where so much room is asked for and there."""
    roomy = gigabytes and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > gigabytes << 30
    folder = MEMORY / f"chipweave-{name}-{os.getpid()}" if roomy else shared.cache() / f"scratch-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def middle(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """Median of each figure over the rounds."""
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def engine(size: Size) -> Figures:
    """The engine's job against the speed of light of the same minutes, and against odc-stac and stackstac."""
    world = size.world()
    with scratch("engine") as work:
        return middle([_engine_round(world, work, size) for _ in range(size.rounds)])


def _engine_round(world: World, work: Path, size: Size) -> dict[str, float]:
    judged = not size.quick and not shared.why_not()
    got: dict[str, float] = {}
    if judged:
        sol, got["limits_cpu_share"] = shared.speed_of_light(world.folder, work)
    for scene, s in (("A", "a"),) if size.quick else (("A", "a"), ("D", "d")):
        args = [
            sys.executable,
            "-m",
            "benchmarks.engine",
            world.folder,
            scene,
            str(world.side),
            str(world.chip),
        ]
        ours = json.loads(builds.spend(args).out.splitlines()[-1])
        got[f"engine_cpu_ms_{s}"] = mine = ours["cpu_ms_per_patch"]
        got[f"engine_decoded_{s}"] = ours["decoded"]
        got[f"engine_rss_mb_{s}"] = ours["rss_mb"]
        if not judged:
            continue
        got[f"sol_cpu_ms_{s}"] = sol[scene]["cpu_ms_per_patch"]
        got[f"sol_ratio_{s}"] = mine / sol[scene]["cpu_ms_per_patch"]
        for peer, spec in (("odc", "odc:cs=4096,t=2"), ("stackstac", "stackstac:cs=512,t=2")):
            theirs = shared.engine(world.folder, scene, spec)["cpu_ms_per_patch"]
            got[f"{peer}_cpu_ms_{s}"] = theirs
            got[f"cpu_vs_{peer}_{s}"] = theirs / mine
    return got


def build(size: Size) -> Figures:
    """Whole builds of the world: CPU a chip, peak memory, and blocks decoded over blocks needed."""
    world = size.world()
    with scratch("build") as work:
        n = len(world.places)
        recipe = builds.write_recipe(work / "dense", catalog(world, "A"), world.places)
        _, stages = builds.child(
            recipe, work / "out", expect=n
        )  # first: it compiles what is not in the cache yet
        costs = [builds.build(recipe, work / "out", expect=n) for _ in range(size.rounds)]
        warm = stages if size.quick else builds.child(recipe, work / "out", expect=n)[1]
        few = world.sparse
        apart = builds.write_recipe(work / "sparse", catalog(world, "A"), few, dense=False, labels=None)
        _, lone = builds.child(apart, work / "out", expect=len(few))
        seam = world.seam
        across = builds.write_recipe(work / "seam", catalog(world, "AB"), seam, labels=None)
        _, both = builds.child(across, work / "out", expect=len(seam))
        got: Figures = {
            "e2e_cpu_ms_chip": statistics.median(c.cpu_s for c in costs) * 1e3 / n,
            "peak_rss_mb": max(c.rss_mb for c in costs),
            "e2e_import_cpu_ms_chip": warm["cpu_import_s"] * 1e3 / n,
            "e2e_plan_cpu_ms_chip": warm["cpu_plan_s"] * 1e3 / n,
            "e2e_weave_and_deal_cpu_ms_chip": warm["cpu_rest_s"] * 1e3 / n,
            "decode_amplification": stages["decoded"] / _needed(world, "A", world.places, ("WC", "CLC")),
            "decode_amplification_sparse": lone["decoded"] / _needed(world, "A", few),
            "decode_amplification_seam": both["decoded"] / _needed_over_seam(world, "AB", seam),
            "blocks_surveyed": stages["surveyed"],
        }
        if not size.quick:
            zone = builds.write_recipe(work / "zone", catalog(world, "D"), world.places)
            cost = builds.build(zone, work / "out", expect=n)
            got["e2e_cpu_ms_chip_d"] = cost.cpu_s * 1e3 / n
            got["peak_rss_mb"] = max(got["peak_rss_mb"], cost.rss_mb)
        return got


def _needed(
    world: World,
    scene: str,
    places: Sequence[Place],
    labels: Sequence[str] = (),
    given: Mapping[str, Box] = MappingProxyType({}),
) -> int:
    from benchmarks.blocks import needed  # noqa: PLC0415 - its arrays are not wanted in the parent of a build

    bands: dict[Path, Any] = {world.path(f"{scene}_{key}"): "bilinear" for key in BANDS.values()}
    classes = {world.path(name): "nearest" for name in (f"{scene}_SCL", *labels)}
    return needed({**bands, **classes}, places, given)


def _needed_over_seam(world: World, scenes: str, places: Sequence[Place]) -> int:
    """Blocks of two scenes in the chips' own CRS: of the one that covers more of a chip, and what that one leaves."""
    boxes = {scene: world.bounds(f"{scene}_B02") for scene in scenes}
    shapes = {scene: shapely.box(*box) for scene, box in boxes.items()}
    turns: dict[str, list[Place]] = {scene: [] for scene in scenes}
    given: dict[str, dict[str, Box]] = {scene: {} for scene in scenes}
    for place in places:
        side = place.size * place.resolution
        ground = shapely.box(place.x, place.y - side, place.x + side, place.y)
        first, second = sorted(scenes, key=lambda scene: -shapes[scene].intersection(ground).area)
        turns[first].append(place)
        if not shapes[first].covers(ground):
            turns[second].append(place)
            given[second][place.key] = boxes[first]
    if not any(given.values()):
        raise ValueError("no chip lies over the seam")
    return sum(_needed(world, scene, turns[scene], given=given[scene]) for scene in scenes)


def memory(size: Size) -> Figures:
    """Peak memory of one worker over a row of ten full tiles, which fills its cache of blocks, and over ten rows."""
    tile, chip = (128, 64) if size.quick else (2048, 256)
    little, large = ((1, 2), (2, 2)) if size.quick else ((1, 10), (10, 10))
    # In a process of its own: a build's peak begins at the size of who started it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        made = apart.submit(
            flat_world, shared.cache() / ("flat-quick" if size.quick else "flat"), large, tile
        )
        items = made.result()
    peaks = {}
    with scratch("memory") as work:
        for tiles in (
            (little, large) if size.quick else (little, little, large)
        ):  # the first may compile kernels
            places = flat_places(tiles, tile, chip)
            recipe = builds.write_recipe(work / f"{tiles[0]}", items, places, labels=None)
            cost, _ = builds.child(recipe, work / "out", "--tile-px", str(tile), expect=len(places))
            peaks[tiles] = cost.rss_mb
    return {
        "peak_rss_ratio_10x_area": peaks[large] / peaks[little],
        "peak_rss_mb_full_tiles": peaks[large],
    }


def dates(size: Size) -> Figures:
    """24 dates a chip against one: blocks decoded over needed, and peak memory. Once: neither hangs on the machine."""
    world, number = size.world(), 3 if size.quick else 24
    peaks, decoded = {}, {}
    with scratch("dates") as work:
        items = dated(world, number, work)
        for steps in (1, 1, number):  # the first may compile kernels
            select = (
                {"method": "series", "max": steps, "min_gap": "1d"}
                if steps > 1
                else {"method": "least_cloudy"}
            )
            layers = {"s2": {**builds.imagery("2025-06-01/2025-06-30"), "select": select}}
            recipe = builds.write_recipe(work / f"{steps}", items, world.places, labels=None, imagery=layers)
            cost, said = builds.child(recipe, work / "out", expect=len(world.places))
            peaks[steps], decoded[steps] = cost.rss_mb, said["decoded"]
    return {
        "decode_amplification_24_dates": decoded[number] / (number * _needed(world, "A", world.places)),
        "peak_rss_ratio_24_dates": peaks[number] / peaks[1],
        "peak_rss_mb_24_dates": peaks[number],
    }


def workers(size: Size) -> Figures:
    """Two workers against one, and a pure CPU burn in the same minutes; and the scheduler's share.

    Two dates at half the pixel: a minute of weaving, so that what is done once a build does not drown it.
    """
    measure = _function("benchmarks.scaling", "measure")
    world = size.world()
    places = world.finer(2)
    layers = {"s2": builds.imagery("2025-06-01/2025-06-05"), "late": builds.imagery("2025-06-06/2025-06-30")}
    # A disk gives two writers what it gives one, and a pure burn has none: three gigabytes are written twice.
    with scratch("workers", gigabytes=0 if size.quick else 10) as work:
        recipe = builds.write_recipe(work / "dense", catalog(world, "AC"), places, imagery=layers)
        build = builds.builder(recipe, len(places))
        plain = builds.write_recipe(work / "plain", catalog(world, "A"), world.places)
        _, said = builds.child(plain, work / "out", expect=len(world.places))
        chip = said["cpu_rest_s"] / len(world.places)  # of the same minutes: what the scheduler's share is of
        tiny = {"steps": 200_000, "chips": (200, 2_000), "squeeze": 200.0, "idle": 0.2}
        return dict(measure(build, work, size.rounds, seconds_a_chip=chip, **(tiny if size.quick else {})))


def planning(size: Size) -> Figures:
    """A million chips and 73 dates, planned."""
    measure_all = _function("benchmarks.planning", "measure_all")
    return dict(measure_all(2_000, 3) if size.quick else measure_all(1_000_000, 73))


def splits(size: Size) -> Figures:
    """Every split method on a million places."""
    measure_all = _function("benchmarks.splits", "measure_all")
    return dict(measure_all(2_500, ("blocks", "random"), (1,)) if size.quick else measure_all())


def shards(size: Size) -> Figures:
    """Writing and random reading of shards against others' formats."""
    measure = _function("benchmarks.shards", "measure")
    with scratch("shards") as work:
        return dict(measure(work, size.rounds, 8 if size.quick else 128))


def peer(size: Size) -> Figures:
    """The whole way of rslearn against ours."""
    if size.quick:
        raise Missing("not in a rehearsal")
    return rslearn(6144, min(size.rounds, 3))


def remote(size: Size) -> Figures:
    """Builds whose files come over HTTP: what latency costs, and which bytes are asked for."""
    measure = _function("benchmarks.remote", "measure")
    with scratch("remote") as work:
        return dict(measure(size.world(), work, size.rounds, warm=not size.quick))


def labels(size: Size) -> Figures:
    """A million parcels under a plan of ten thousand chips, of which a thousand are burned."""
    measure = _function("benchmarks.labels", "measure")
    world = size.world()
    with scratch("labels") as work:
        plain = builds.write_recipe(work / "plain", catalog(world, "A"), world.places, labels=None)
        builds.child(plain, work / "out", expect=len(world.places))  # compiles what is not in the cache yet
        _, said = builds.child(plain, work / "out", expect=len(world.places))
        imagery_ms = said["cpu_rest_s"] * 1e3 / len(world.places)
        parcels, chips = (2_000, 4) if size.quick else (1_000_000, 1_000)
        return dict(measure(work, parcels, chips, imagery_ms))


def _function(module: str, name: str) -> Callable[..., Mapping[str, Any]]:
    found: Callable[..., Mapping[str, Any]] = getattr(importlib.import_module(module), name)
    return found


PARTS: Mapping[str, Callable[[Size], Figures]] = {
    "engine": engine,
    "build": build,
    "memory": memory,
    "dates": dates,
    "workers": workers,
    "planning": planning,
    "splits": splits,
    "shards": shards,
    "rslearn": peer,
    "remote": remote,
    "labels": labels,
}


def main() -> int:
    """One part; exit status 3 where this machine cannot give it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=PARTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    try:
        figures = PARTS[args.name](Size(args.quick, args.rounds))
    except Missing as reason:
        sys.stderr.write(f"{reason}\n")
        return 3
    args.out.write_text(json.dumps(figures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
