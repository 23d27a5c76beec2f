"""Recipes that published datasets are made by, each of several sensors over one footprint."""

from __future__ import annotations

import numpy as np

from worlds import harness, recipes, sensor_checks
from worlds.analytic import Scene, lonlat, s2_fields, write_scene
from worlds.places import BORDER
from worlds.sensor_items import sensor_item
from worlds.sensor_world import recipe
from worlds.sensors import AERIAL, RTC, Shot, aerial_fields, radar_fields, write_shot
from worlds.stac import s2_item, write_catalog

X, Y = 732960.0, 4989600.0
"""Upper left of a footprint of 720 m on the lattice of such chips."""


def test_naip_at_one_metre_beside_sentinel_2_and_1_over_720_metres(tmp_path):
    """As METER-ML: 720 px of 1 m, 72 px of 10 m; two years of aerial pictures, of which the newest is taken."""
    plane = {"sensor": AERIAL, "epsg": 32632, "x": X - 40, "y": Y + 50, "res": 1.0, "cols": 810, "rows": 820,
             "fields": aerial_fields(BORDER)}  # fmt: skip
    track = {"sensor": RTC, "epsg": 32632, "x": X - 360, "y": Y + 300, "res": 10.0, "cols": 130, "rows": 130,
             "fields": radar_fields(BORDER), "orbit": ("descending", 168), "platform": "SENTINEL-1A"}  # fmt: skip
    shots = [
        Shot("m_20190704", time="2019-07-04T16:00:00Z", shift=-20, **plane),
        Shot("m_20210712", time="2021-07-12T16:00:00Z", **plane),
        Shot("S1A_20210713_rtc", time="2021-07-13T05:26:24Z", gain=1.4, **track),
        Shot("S1A_20210716_rtc", time="2021-07-16T05:26:24Z", **track),
    ]
    scenes = [
        Scene(f"S2_07{day}", 32632, X - 360, Y + 300, 20, 20, f"2021-07-{day}T10:10:31Z", s2_fields(BORDER), shift=day)
        for day in (15, 25)
    ]  # fmt: skip
    for shot in shots:
        write_shot(shot, tmp_path)
    for scene in scenes:
        write_scene(scene, tmp_path)
    catalog = write_catalog(tmp_path / "items.json", [*map(sensor_item, shots), *map(s2_item, scenes)])
    layers = {
        "naip": {"collection": "naip", "bands": ["red", "green", "blue", "nir"], "resolution": 1,
                 "time": "2018-01-01/2022-12-31", "select": {"method": "newest"}},
        "s2": {"collection": "sentinel-2-l2a", "bands": ["red", "nir"], "time": "2021-07-01/2021-07-20"},
        "s1": {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "unit": "dB",
               "pair": {"with": "s2", "within_days": 3}},
    }  # fmt: skip
    area = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", X + 300, Y - 400, X + 400, Y - 300)
    out = harness.build(tmp_path, recipe(catalog, area, layers, chips={"size": 72}))
    harness.succeed("verify", out)
    (sample,) = harness.read_samples(out).values()
    assert sample.bounds == (X, Y - 720, X + 720, Y)
    assert {n: sample.arrays[n].shape for n in layers} == {
        "naip": (4, 720, 720),
        "s2": (2, 72, 72),
        "s1": (2, 72, 72),
    }
    assert sensor_checks.grid_of(sample, "naip").bounds == sample.bounds
    taken = {n: sample.meta["layers"][n]["items"] for n in layers}
    assert taken == {"naip": [["m_20210712"]], "s2": [["S2_0715"]], "s1": [["S1A_20210716_rtc"]]}
    by_id = {shot.id: shot for shot in shots}
    for layer, pixels in (("naip", 4 * 720**2), ("s1", 2 * 72**2)):
        assert sensor_checks.check_layer(sample, layer, by_id).pixels == pixels
    for n, band in enumerate(("red", "nir")):
        right = scenes[0].truth(band, *lonlat(sample.crs, *sample.centres()))
        assert np.abs(sample.arrays["s2"][n] - right).max() <= 1
