"""Recipes of several sensors on the demo's Earth, through its STAC API: pairs, series, and grids of their own."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds

from chipweave import demo
from chipweave.demo import aerial, land, radar
from chipweave.demo.grids import lonlat_bounds, sentinel_grids
from chipweave.demo.items import aerial_id, radar_id
from chipweave.recipe import builtin_recipes
from worlds import harness, sensor_checks
from worlds.analytic import lonlat

SCALE = 0.15
SMALL = (
    "chips.size=72", "split.block_km=0.8", "split.buffer_m=0", "split.tolerance=1.0", "imagery.s2.max_cloud=60",
    "imagery.s2.min_valid=50", "output.formats=[webdataset]", "labels.osm=", "labels.fields=", "text=",
)  # fmt: skip
"""What makes of the demo's recipe one of footprints of 720 m, for a world of a few kilometres."""


@pytest.fixture(scope="module")
def catalog(earth):
    with demo.serve(earth) as served:
        yield served.stac_url


def build(catalog, tmp, *sets):
    """The demo's recipe with some keys changed; its samples."""
    out = tmp / "out"
    more = [part for key in (*SMALL, *sets) for part in ("--set", key)]
    harness.succeed(
        "build", builtin_recipes()["demo"], "-o", out, "--catalog", catalog, "--workers", 0, *more
    )
    harness.succeed("verify", out)
    return harness.read_samples(out)


@pytest.fixture(scope="module")
def samples(catalog, tmp_path_factory):
    found = build(catalog, tmp_path_factory.mktemp("three_sensors"))
    assert len(found) >= 6
    return found


def moment(meta, step: int = 0) -> datetime:
    return datetime.fromisoformat(meta["datetime"][step])


def passes() -> dict[str, radar.RadarPass]:
    return {radar_id(p): p for p in radar.PASSES}


def test_three_sensors_lie_over_one_footprint_of_720_metres(samples):
    """5 m beside 10 m: every sample has the same members, and each layer's corners are the chip's."""
    for sample in samples.values():
        shapes = {name: sample.arrays[name].shape for name in ("s2", "s1", "aerial", "worldcover", "corine")}
        assert shapes == {
            "s2": (4, 72, 72), "s1": (2, 72, 72), "aerial": (4, 144, 144), "worldcover": (72, 72), "corine": (72, 72),
        }  # fmt: skip
        assert sensor_checks.grid_of(sample, "aerial").bounds == sample.bounds
        units = {name: sample.meta["layers"][name]["unit"] for name in ("s2", "s1", "aerial")}
        assert units == {"s2": "reflectance", "s1": "dB", "aerial": "DN"}


def test_each_chip_has_the_pass_nearest_to_its_own_date(samples):
    """Within three days; by the catalog's dates alone another pass would often be as good: there are six."""
    gaps = set()
    for sample in samples.values():
        s2, s1 = (sample.meta["layers"][name] for name in ("s2", "s1"))
        gap = abs(moment(s1) - moment(s2)).total_seconds()
        whole = [p for p in radar.PASSES if p.edge is None]
        assert gap <= min(abs((p.time - moment(s2)).total_seconds()) for p in whole) + 1
        assert gap < 3 * 86_400
        gaps.add(round(gap))
    assert len(gaps) > 1, "chips of one date only: nothing was chosen"


def test_radar_is_the_lands_own_echo_in_decibels(samples):
    """Against the functions that the world paints: the mean over a chip, where speckle has little left to say."""
    earth, met = land.land(7), 0
    for sample in samples.values():
        (ident,) = sample.meta["layers"]["s1"]["items"][0]
        x, y = land.plane(*lonlat(sample.crs, *sample.centres()))
        clean = radar.backscatter(earth.ground(x, y), passes()[ident]).reshape(2, 72, 72)
        out = sample.arrays["s1"]
        assert not np.isnan(out).any()
        power = 10 ** (out.astype(float) / 10)
        # In blocks of 8 x 8: of four correlated pixels about one draw each of deviation 0.27, so 0.07; five of that.
        share = (power / clean).reshape(2, 9, 8, 9, 8).mean(axis=(2, 4))
        near = np.abs(share - 1) < 0.35
        assert near.mean() > 0.97, sample.key
        met += near.sum()
    assert met > 500


def test_aerial_pictures_are_the_land_at_five_metres(samples):
    """Counts within a few of what the camera sees at each pixel's centre, but where the ground changes at once."""
    earth = land.land(7)
    seen = set()
    for sample in samples.values():
        own = sensor_checks.grid_of(sample, "aerial")
        ground = earth.ground(*land.plane(*lonlat(sample.crs, *own.centres())))
        wanted = aerial.counts(ground).reshape(4, 144, 144).astype(float)
        off = np.abs(sample.arrays["aerial"] - wanted)
        assert np.median(off) <= 2
        assert (off > 25).mean() < 0.03, sample.key
        # The same picture, half a pixel aside, fits worse: so it lies where it should.
        for axis in (1, 2):
            assert np.abs(sample.arrays["aerial"] - np.roll(wanted, 1, axis)).mean() > off.mean() * 1.5
        seen |= set(sample.meta["layers"]["aerial"]["items"][0])
    quads = {aerial_id(q) for q in aerial.quads(lonlat_bounds(sentinel_grids(SCALE)))}
    assert 1 < len(seen) <= len(quads)
    assert seen <= quads


def test_a_series_of_both_has_the_same_steps(catalog, tmp_path):
    """All dates of Sentinel-2, a pass of radar beside each: gaps are gaps in both."""
    found = build(
        catalog, tmp_path, "imagery.s2.select={method: series, max: 4, min_gap: 5d}",
        "imagery.s2.steps={min: 2, max: 4, missing: nodata}", "imagery.s1.pair.if_missing=nodata",
    )  # fmt: skip
    assert len(found) >= 6
    steps = set()
    for sample in found.values():
        s2, s1 = (sample.meta["layers"][name] for name in ("s2", "s1"))
        assert sample.arrays["s2"].shape[0] == sample.arrays["s1"].shape[0] == 4
        for step in range(4):
            assert bool(s2["datetime"][step]) == bool(s1["datetime"][step])
            if not s2["datetime"][step]:
                assert np.isnan(sample.arrays["s1"][step]).all()
                continue
            assert abs(moment(s1, step) - moment(s2, step)).total_seconds() <= 3 * 86_400
            steps.add(s1["items"][step][0])
    assert len(steps) > 2


def test_native_sentinel_2_on_scene_tiles_of_1200_metres(earth, catalog, tmp_path):
    """As reBEN: tiles from the scene's upper left corner, each band on its own grid: copies of the file's pixels."""
    recipe = {
        "version": 1,
        "name": "tiles",
        "catalog": catalog,
        "area": {"bbox": [5.9, 47.0, 6.1, 47.1]},
        "chips": {
            "size": 120,
            "resolution": 10,
            "crs": "utm",
            "sampling": {"method": "scene_tiles", "of": "s2"},
        },
        "imagery": {
            "s2": {
                "collection": "sentinel-2-l2a",
                "bands": ["blue", "green", "red", "nir", "swir16"],
                "time": "2022-06-01/2022-06-30",
                "native": True,
            }
        },
        "output": {"formats": ["webdataset"], "samples_per_shard": 16},
    }
    samples = harness.read_samples(harness.build(tmp_path, recipe))
    west, east = sentinel_grids(SCALE)
    corners = {
        (tile.crs, tile.left + 1200 * col, tile.top - 1200 * row)
        for tile in (west, east) for col in range(2) for row in range(2)
    }  # fmt: skip
    placed = {(s.crs, s.bounds[0], s.bounds[3]) for s in samples.values()}
    # Where the tiles overlap, a chip of the higher zone gives way.
    assert {c for c in corners if c[0] == west.crs} <= placed <= corners
    for sample in samples.values():
        assert sample.arrays["s2_10m"].shape == (4, 120, 120)
        assert sample.arrays["s2_20m"].shape == (1, 60, 60)
        ids = {tuple(sample.meta["layers"][name]["items"][0]) for name in ("s2_10m", "s2_20m")}
        assert len(ids) == 1, "both groups are of one scene"
        ((ident,),) = ids
        for name in ("s2_10m", "s2_20m"):
            own, meta = sensor_checks.grid_of(sample, name), sample.meta["layers"][name]
            for n, band in enumerate(meta["bands"]):
                with rasterio.open(earth.folder / ident / f"{band}.tif") as source:
                    window = from_bounds(*own.bounds, source.transform).round_offsets().round_lengths()
                    stored = source.read(1, window=window).astype(int)
                # Baseline 04.00: 1000 is added to what the file stores.
                np.testing.assert_array_equal(
                    sample.arrays[name][n], np.where(stored == 0, -32768, stored - 1000)
                )


def test_a_pass_that_is_gone_is_no_data_and_never_zero_decibels():
    power = np.array([[0.1, 0.2], [0.01, 0.02]], np.float32)
    out = radar.stored(power, np.array([True, False]))
    assert out[:, 1].tolist() == [radar.NODATA, radar.NODATA]
    # 0.002 dB: eleven bits.
    np.testing.assert_allclose(out[:, 0], power[:, 0], rtol=5e-4)
