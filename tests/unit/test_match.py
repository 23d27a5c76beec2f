"""Matching in columns is matching a chip at a time: the same candidates to the last bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shapely

import plain_match as plain
from chipweave.model import Scene
from chipweave.pixels import LayerRead
from chipweave.plan import tables
from chipweave.plan.match import Pool
from chipweave.plan.select import Limits, Measured, least_cloudy
from chipweave.plan.survey import Found, Reads
from tiny import scene

NEEDED = ("red", "nir")
ZONES = ("EPSG:32632", "EPSG:32633")


def world(seed: int) -> tuple[list[Scene], np.ndarray, np.ndarray]:
    """Scenes whose footprints, dates, platforms, figures and gaps often coincide, and chips below them."""
    rng = np.random.default_rng(seed)
    corners, sides = rng.integers(0, 6, (5, 2)) / 4, rng.integers(1, 6, (5, 2)) / 4
    shapes = [shapely.box(*at, *(at + side)) for at, side in zip(corners, sides, strict=True)]
    shapes.append(shapely.Polygon([(0, 0), (1.3, 0.2), (1, 1.1), (0.1, 0.9)]))
    start = datetime(2021, 6, 1, 23, 50, tzinfo=UTC)
    scenes = []
    for i in range(int(rng.integers(1, 25))):
        late = timedelta(
            minutes=int(rng.integers(0, 40)),
            seconds=int(rng.choice([0, 30])),
            microseconds=int(rng.choice([0, 0, 5])),
        )
        scenes.append(
            Scene(
                "s2", f"s{rng.integers(0, 99):02d}-{i}", "c", start + late, shapes[rng.integers(0, 6)],
                crs=str(rng.choice([*ZONES, ""])), cloud=float(rng.choice([np.nan, 5, 5, 0.1, 0.2, 0.3, 100])),
                platform=str(rng.choice(["a", "b", ""])), processed=str(rng.choice(["", "1", "2"])),
                missing=tuple(rng.choice(["red", "nir", "other"], int(rng.integers(0, 2)))),
            )
        )  # fmt: skip
    grid = np.arange(0, 2.2, 0.3)
    footprints = np.array([shapely.box(x, y, x + 0.3, y + 0.3) for x in grid for y in grid])
    return scenes, footprints, rng.choice(ZONES, len(footprints)).astype(object)


@pytest.mark.parametrize("block", range(5))
def test_columns_say_what_a_chip_at_a_time_says(block):
    several = broken = 0
    for seed in range(8 * block, 8 * block + 8):
        scenes, footprints, crs = world(seed)
        matched = Pool(scenes, NEEDED).candidates(footprints, crs)
        rasters = Pool(scenes, ()).rasters(footprints, crs)
        for i, (footprint, own) in enumerate(zip(footprints, crs, strict=True)):
            wanted = plain.candidates(scenes, footprint, own, NEEDED)
            assert repr(matched.of(i)) == repr(wanted), (seed, i)
            assert rasters.of(i) == plain.rasters(scenes, footprint, own)
            several += sum(len(c.scenes) > 1 for c in wanted)
            broken += sum(bool(c.broken) for c in wanted)
    assert several > 100, "a world without ties and mosaics shows nothing"
    assert broken > 20


def test_some_chips_of_many_are_what_they_were():
    scenes, footprints, crs = world(3)
    matched = Pool(scenes, NEEDED).candidates(footprints, crs)
    rasters = Pool(scenes, ()).rasters(footprints, crs)
    chosen = np.array([40, 3, 3, 17, 0])
    some, few = matched.take(chosen), rasters.take(chosen)
    assert len(some) == len(few) == 5
    for n, i in enumerate(chosen.tolist()):
        assert repr(some.of(n)) == repr(matched.of(i))
        assert few.of(n) == rasters.of(i)
    used = {s for n in range(5) for c in some.of(n) for s in c.scenes}
    assert set(some.ids) == used, "a task carries no scene that it does not need"
    assert len(matched.take(np.empty(0, np.int64))) == 0


def test_dates_of_one_tile_share_their_footprint(monkeypatch):
    """73 dates cost the geometry of one."""
    tile = shapely.box(0, 0, 1, 1)
    dates = [
        scene(f"d{i}", shapely.from_wkb(tile.wkb), time=f"2021-06-{i + 1:02d}T10:00:00") for i in range(20)
    ]
    cuts = []
    intersection = shapely.intersection
    monkeypatch.setattr(shapely, "intersection", lambda a, b: cuts.append(len(a)) or intersection(a, b))
    footprints = np.array([shapely.box(x, 0.5, x + 0.2, 0.7) for x in (0.1, 0.9, 2.0)])
    matched = Pool(dates, ()).candidates(footprints, [ZONES[0]] * 3)
    assert np.diff(matched.first).tolist() == [20, 20, 0]
    assert matched.coverage[:20].tolist() == [1.0] * 20
    np.testing.assert_allclose(matched.coverage[20:], 0.5)
    assert cuts == [1]


def test_candidates_that_nobody_looked_at_are_ranked_as_the_others():
    """Rows of a survey that left most candidates as columns, and of one that made every object, are the same."""
    skipped = sum(_same_rows(seed) for seed in range(8))
    assert skipped > 30, "a survey that looks at all of them shows nothing"


def _same_rows(seed: int) -> int:
    scenes, footprints, crs = world(seed)
    # Scenes that lack a band, and in the later worlds first candidates that could not be read.
    matched = Pool(scenes, NEEDED if seed % 2 else ()).candidates(footprints, crs)
    limits = Limits(0.5, None, 2)
    rng = np.random.default_rng(seed)
    lazy, plainly, skipped = {}, {}, 0
    for i in range(len(footprints)):
        queue, key = matched.queue(i), f"p{i}"
        looked = [
            Measured(c, cloud, 1.0) if k or seed < 4 else Measured(replace(c, broken="cut short"))
            for k, (c, cloud) in enumerate(zip(queue[:3], rng.choice([0.1, 0.9], 3), strict=False))
        ]
        lazy[key] = Found({"s2": least_cloudy(looked, limits, queue[3:])})
        plainly[key] = Found({"s2": least_cloudy(looked, limits, matched.of(i)[3:])})
        mine, theirs = lazy[key].choices["s2"], plainly[key].choices["s2"]
        assert replace(mine, rest=None, ranked=()) == replace(theirs, ranked=())
        skipped += len(mine.rest or ())
    reads = Reads({"s2": LayerRead(("red",), {}, 0)}, {}, {}, {})
    none: dict[str, dict[str, tuple[str, ...]]] = {key: {} for key in lazy}
    few, counts = tables.match_table(lazy, none, reads)
    many, more = tables.match_table(plainly, none, reads)
    assert counts == more
    assert repr(few.to_pylist()) == repr(many.to_pylist())
    return skipped


def test_no_scenes_and_no_chips_are_no_candidates():
    footprints = np.array([shapely.box(0, 0, 1, 1)])
    assert Pool([], NEEDED).candidates(footprints, ["EPSG:4326"]).of(0) == ()
    assert Pool([], ()).rasters(footprints, ["EPSG:4326"]).of(0) == ()
    far = Pool([scene("a", shapely.box(5, 5, 6, 6))], NEEDED)
    assert far.candidates(footprints, ["EPSG:4326"]).of(0) == ()
    assert far.rasters(footprints, ["EPSG:4326"]).of(0) == ()
    assert len(far.candidates(footprints[:0], [])) == 0
