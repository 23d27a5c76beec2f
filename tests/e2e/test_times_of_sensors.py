"""Ways in time that published datasets use, end to end: each date has values of its own, which the pixels must show."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from worlds import harness, recipes
from worlds.analytic import Patch, Scene, lonlat, s2_fields, write_raster, write_scene
from worlds.places import BORDER
from worlds.sensor_items import sensor_item
from worlds.sensor_world import LEFT, TOP, recipe
from worlds.sensors import LANDSAT, RTC, Hole, Sensor, Shot, landsat_fields, radar_fields, write_shot
from worlds.stac import item, s2_item, write_catalog

AREA = (LEFT + 300, TOP - 1200, LEFT + 1200, TOP - 300)
"""West, south, east, north in EPSG:32632: some chips of 480 m."""


def build(tmp, items, layers, *, chips=None, **more):
    """Samples of a recipe over `AREA`, and where they lie; it verifies."""
    catalog = write_catalog(tmp / "items.json", items)
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", *AREA)
    mapping = recipe(catalog, window, layers, chips=chips, **more)
    out = harness.build(tmp, {k: v for k, v in mapping.items() if v is not None})
    harness.succeed("verify", out)
    return harness.read_samples(out), out


def truth(sample, shot, band):
    """Of a shot at the sample's pixels, in the unit that the world has it in."""
    return shot.truth(band, *lonlat(sample.crs, *sample.centres()))


# Landsat: four seasons, and a second year to fall back on (SSL4EO-L) ---------------------------------------------

WINDOWS = {
    "spring": "02-18/04-19", "summer": "05-22/07-21", "autumn": "08-24/10-23", "winter": "11-21/01-20"
}  # fmt: skip


def landsat(date: str, shift: float, *, cloudy: bool = False) -> Shot:
    """Shots on Landsat's own grid; all cloud where `cloudy`."""
    holes = (Hole("cloud", 0, 0, 60, 60),) if cloudy else (Hole("cloud", 0, 0, 3, 3),)
    return Shot(
        f"LC08_L2SP_192029_{date.replace('-', '')}_02_T1", LANDSAT, 32632, LEFT - 15, TOP + 15, 30.0, 60, 60,
        f"{date}T10:04:32.1Z", landsat_fields(BORDER), shift=shift, holes=holes,
    )  # fmt: skip


def test_landsat_in_four_seasons_with_a_second_year_to_fall_back_on(tmp_path):
    """Spring and winter of the later year are cloudy, so those of the year before stand in; no date outside serves."""
    shots = [
        landsat("2020-03-20", 100), landsat("2021-03-25", 200, cloudy=True), landsat("2020-06-21", 300),
        landsat("2021-06-10", 400), landsat("2021-08-10", 500), landsat("2021-09-23", 600),
        landsat("2020-12-21", 700), landsat("2021-12-05", 800, cloudy=True), landsat("2021-01-10", 900, cloudy=True),
    ]  # fmt: skip
    for shot in shots:
        write_shot(shot, tmp_path)
    layer = {
        "collection": "landsat-c2-l2", "bands": ["red", "nir08"], "time": "2020-01-01/2021-12-31",
        "select": {"method": "periods", "windows": WINDOWS}, "max_cloud": 20, "min_valid": 90,
    }  # fmt: skip
    chips = {"size": 16, "resolution": 30, "lattice": {"anchor": [15, 15]}}
    samples, out = build(tmp_path, [sensor_item(s) for s in shots], {"l8": layer}, chips=chips)
    assert len(samples) >= 3
    right = ["2020-03-20", "2021-06-10", "2021-09-23", "2020-12-21"]
    by_date = {s.time[:10]: s for s in shots}
    for sample in samples.values():
        said = sample.meta["layers"]["l8"]
        assert [d[:10] for d in said["datetime"]] == right
        assert said["steps"] == list(WINDOWS)
        for step, date in enumerate(right):
            for band, name in enumerate(said["bands"]):
                array = sample.arrays["l8"][step, band].astype(float)
                assert np.abs(array - truth(sample, by_date[date], name)).max() <= 1
    why = (
        harness.pd.read_parquet(out / "plan" / "matches.parquet")
        .query("chosen")
        .groupby("step")["why"]
        .first()
    )
    assert why[0] == "spring: least cloudy, in window 2 of 2"
    assert why[1] == "summer: least cloudy"


# Twelve months of Sentinel-1 and Sentinel-2 --------------------------------------------------------------------------


def test_a_series_of_months_of_optical_and_radar_beside_each_other(tmp_path):
    """The best optical date a month, none in April; the mean of a month's two radar passes, taken in linear power."""
    scenes, shots = [], []
    place = {"epsg": 32632, "x": LEFT, "y": TOP, "cols": 24, "rows": 24, "fields": s2_fields(BORDER)}
    grid = {
        "sensor": RTC, "epsg": 32632, "x": LEFT, "y": TOP, "res": 10.0, "cols": 144, "rows": 144,
        "fields": radar_fields(BORDER), "orbit": ("descending", 168), "platform": "SENTINEL-1A",
    }  # fmt: skip
    for month in range(1, 13):
        clouds = (Patch(9, 0, 0, 24, 24),) if month == 4 else ()
        name = f"S2_{month:02d}"
        scenes.append(
            Scene(name, time=f"2021-{month:02d}-15T10:10:31Z", shift=50 * month, patches=clouds, **place)
        )
        for day, gain in ((5, 0.5 + 0.1 * month), (17, 3.0)):
            time = f"2021-{month:02d}-{day:02d}T05:26:24.5Z"
            shots.append(Shot(f"S1A_2021{month:02d}{day:02d}_rtc", time=time, gain=gain, **grid))
    for scene in scenes:
        write_scene(scene, tmp_path)
    for shot in shots:
        write_shot(shot, tmp_path)
    months = {"time": "2021-01-01/2021-12-31", "select": {"method": "periods", "every": "month"}}
    layers = {
        "s2": {**months, "collection": "sentinel-2-l2a", "bands": ["red"], "max_cloud": 10,
               "steps": {"min": 11}},
        "s1": {**months, "collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "unit": "dB",
               "select": {**months["select"], "stat": "mean"}},
    }  # fmt: skip
    items = [*map(s2_item, scenes), *map(sensor_item, shots)]
    samples, _ = build(tmp_path, items, layers, chips={"size": 48})
    assert len(samples) >= 1
    for sample in samples.values():
        optical, radar = sample.arrays["s2"], sample.arrays["s1"]
        assert (optical.shape, radar.shape) == ((12, 1, 48, 48), (12, 2, 48, 48))
        assert sample.meta["layers"]["s2"]["items"][3] == [""]
        assert (optical[3] == -32768).all()
        for month, scene in enumerate(scenes):
            if month != 3:
                right = scene.truth("red", *lonlat(sample.crs, *sample.centres()))
                assert np.abs(optical[month, 0] - right).max() <= 1
            for band, name in enumerate(("vv", "vh")):
                power = np.mean([truth(sample, s, name) for s in shots[2 * month : 2 * month + 2]], axis=0)
                assert np.abs(radar[month, band] - 10 * np.log10(power)).max() < 0.01
        said = sample.meta["layers"]["s1"]
        assert said["items"][0] == ["S1A_20210105_rtc", "S1A_20210117_rtc"]
        assert said["steps"] == [f"2021-{m:02d}" for m in range(1, 13)]


# HLS: two dates around an event ------------------------------------------------------------------------------------

HLS = Sensor("hls2-s30", "int16", "reflectance", 1e-4, 0.0, 1e-4, -9999.0)
FMASK = {"cloud": 2, "shadow": 8, "fill": 255, "none": 255}


def hls(date: str, shift: float, holes=()) -> Shot:
    return Shot(
        f"HLS.S30.T32TQR.{date}", HLS, 32632, LEFT, TOP, 30.0, 60, 60, f"{date}T10:13:31Z", landsat_fields(BORDER),
        shift=shift, holes=tuple(holes),
    )  # fmt: skip


def hls_item(shot: Shot, folder) -> dict:
    """Files and item of an HLS shot, with the keys that LP DAAC gives its assets."""
    assets = {}
    for key, band in (("B04", "red"), ("B8A", "nir08")):
        write_raster(folder / shot.id / f"{key}.tif", shot.stored(band), shot.crs, shot.affine, -9999)
        assets[key] = {"href": f"./{shot.id}/{key}.tif", "type": "image/tiff", "roles": ["data"]}
    codes = np.full((shot.rows, shot.cols), 64, np.uint8)
    for kind, code in FMASK.items():
        codes[shot.kinds[""] == kind] = code
    write_raster(folder / shot.id / "Fmask.tif", codes, shot.crs, shot.affine, 255)
    assets["Fmask"] = {"href": f"./{shot.id}/Fmask.tif", "type": "image/tiff", "roles": ["data"]}
    properties = {
        "datetime": shot.time,
        "platform": "sentinel-2a",
        "eo:cloud_cover": 12,
        "proj:epsg": shot.epsg,
    }
    return item(shot.id, shot.collection, shot.crs, shot.bounds, properties, assets)


def points(tmp, *rows):
    """Points a chip's half to the north-west of which its corner lies, with their dates."""
    features = []
    for col, row, burnt in rows:
        lon, lat = lonlat("EPSG:32632", LEFT + 30 * (col + 8), TOP - 30 * (row + 8))
        geometry = {"type": "Point", "coordinates": [float(lon), float(lat)]}
        features.append({"type": "Feature", "properties": {"burnt": burnt}, "geometry": geometry})
    (tmp / "fires.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_hls_before_and_after_an_event_of_each_place(tmp_path):
    """The nearest clear date on both sides; the last one before the first fire is under a cloud there."""
    cloud = Hole("cloud", 10, 10, 20, 20)
    shots = [
        hls("2021-07-02", 100), hls("2021-07-08", 200, [cloud]), hls("2021-07-19", 300), hls("2021-07-29", 400),
        hls("2021-08-25", 500), replace(hls("2021-09-03", 600), holes=(Hole("fill", 0, 0, 60, 30),)),
    ]  # fmt: skip
    items = [hls_item(s, tmp_path) for s in shots]
    points(tmp_path, (8, 8, "2021-07-12"), (24, 24, "2021-08-02"))
    layer = {
        "collection": "hls2-s30", "bands": ["red", "nir08"], "time": {"column": "burnt", "window": ["-30d", "45d"]},
        "select": {"method": "event", "steps": {"pre": ["-30d", "-1d"], "post": ["1d", "45d"]}, "prefer": "nearest"},
        "max_cloud": 10, "min_valid": 99,
    }  # fmt: skip
    chips = {
        "size": 16, "resolution": 30, "lattice": {"anchor": [LEFT % 30, TOP % 30]},
        "sampling": {"method": "points", "file": "fires.geojson"},
    }  # fmt: skip
    samples, _ = build(tmp_path, items, {"hls": layer}, chips=chips)
    found = {tuple(d[:10] for d in s.meta["layers"]["hls"]["datetime"]): s for s in samples.values()}
    assert set(found) == {("2021-07-02", "2021-07-19"), ("2021-07-29", "2021-08-25")}
    by_date = {s.time[:10]: s for s in shots}
    for dates, sample in found.items():
        for step, date in enumerate(dates):
            for band, name in enumerate(("red", "nir08")):
                array = sample.arrays["hls"][step, band].astype(float)
                assert np.abs(array - truth(sample, by_date[date], name)).max() <= 1


# Sentinel-2: one picture of a summer ------------------------------------------------------------------------------


@pytest.mark.parametrize("stat", ["median", "max_ndvi"])
def test_a_summer_in_one_picture(tmp_path, stat):
    """Clouds wander: every pixel is clear at some of six dates, and what it becomes is worked out from the truth."""
    place = {"epsg": 32632, "x": LEFT, "y": TOP, "cols": 24, "rows": 24, "fields": s2_fields(BORDER)}
    scenes = [
        Scene(
            f"S2_{n}", time=f"2021-07-{2 + 5 * n:02d}T10:10:31Z", shift=shift, cloud=float(shift),
            patches=(Patch((3, 8, 9, 10)[n % 4], 4 * n, 3 * n, 9, 12), Patch(0, 20 - 3 * n, 2, 3, 20)), **place,
        )
        for n, shift in enumerate((30, 600, 210, 90, 330, 150))
    ]  # fmt: skip
    for scene in scenes:
        write_scene(scene, tmp_path)
    layer = {
        "collection": "sentinel-2-l2a", "bands": ["red", "nir"], "time": "2021-07-01/2021-07-31",
        "select": {"method": "composite", "stat": stat},
    }  # fmt: skip
    samples, _ = build(tmp_path, list(map(s2_item, scenes)), {"s2": layer}, chips={"size": 48})
    assert samples
    for sample in samples.values():
        x, y = sample.centres()
        lon, lat = lonlat(sample.crs, x, y)
        dates = np.full((6, 2, 48, 48), np.nan)
        for n, scene in enumerate(scenes):
            clear = ~np.isin(scene.code_at(x, y), (0, 3, 8, 9, 10))
            for band, name in enumerate(("red", "nir")):
                dates[n, band] = np.where(clear, np.rint(scene.truth(name, lon, lat)), np.nan)
        if stat == "median":
            right = np.rint(np.nanmedian(dates, axis=0))
        else:
            index = (dates[:, 1] - dates[:, 0]) / (dates[:, 1] + dates[:, 0])
            right = np.take_along_axis(dates, np.nanargmax(index, axis=0)[None, None], axis=0)[0]
        assert np.abs(sample.arrays["s2"] - right).max() <= 1
        assert not sample.arrays["s2_mask"].any()
        said = sample.meta["layers"]["s2"]
        assert said["valid_fraction"] == 1
        if stat == "max_ndvi":
            assert sum(said["date_shares"][0]) == pytest.approx(1)
