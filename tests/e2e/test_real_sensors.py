"""Real radar, Landsat and aerial files: copies to the bit, means by hand, masks by their bits."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from worlds import harness, sensor_checks
from worlds.analytic import transformer
from worlds.stac import bbox_of, footprint, write_catalog

HERE = Path(__file__).resolve()
DATA = Path(os.environ.get("CHIPWEAVE_SHARED_DATA") or HERE.parents[2].parent / "shared" / "data") / "real"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real files (CHIPWEAVE_SHARED_DATA) are not here"
)


def item(ident: str, collection: str, files: dict[str, Path], when: str, bands=(), **properties) -> dict:
    """An item with an asset a file; `bands` are the common names of a file that holds several."""
    path = next(iter(files.values()))
    with rasterio.open(path) as src:
        crs, bounds = src.crs, tuple(src.bounds)
    geometry = footprint(crs.to_wkt(), bounds)
    assets = {}
    for key, file in files.items():
        assets[key] = {"href": f"./{file.name}", "type": "image/tiff; application=geotiff", "roles": ["data"]}
        if bands:
            assets[key]["eo:bands"] = [{"name": b, "common_name": b} for b in bands]
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": ident, "collection": collection,
        "geometry": geometry, "bbox": bbox_of(geometry), "links": [], "assets": assets,
        "properties": {"datetime": when, "proj:epsg": crs.to_epsg(), **properties},
    }  # fmt: skip


def fetch(folder: Path, *paths: Path) -> list[Path]:
    """Copies beside the catalog."""
    return [Path(shutil.copy(p, folder / p.name)) for p in paths]


def build(folder: Path, items: list[dict], like: Path, layers: dict, chips: dict, **more):
    """Chips on a lattice that begins at the corner of the file `like`, over all of it."""
    write_catalog(folder / "catalog.json", items)
    with rasterio.open(like) as src:
        b, corner = src.bounds, [src.transform.c, src.transform.f]
        area = list(transform_bounds(src.crs, "EPSG:4326", *b))
    recipe = {
        "version": 1, "name": "real", "catalog": "catalog.json", "area": {"bbox": area}, "imagery": layers,
        "chips": {"crs": "utm", "lattice": {"anchor": corner}, **chips},
        "output": {"formats": ["webdataset"], "samples_per_shard": 8}, **more,
    }  # fmt: skip
    out = harness.build(folder, recipe)
    harness.succeed("verify", out)
    return harness.read_samples(out)


@lru_cache(maxsize=8)
def stored(path: Path, index: int):
    """A band as float64, NaN where the file says that there is no data; its transform and its CRS."""
    with rasterio.open(path) as src:
        values = src.read(index).astype(float)
        if src.nodata is not None:
            values[values == src.nodata] = np.nan
        return values, src.transform, src.crs.to_string()


def at(path: Path, sample, index: int = 1):
    """A file's pixels under the sample's centres, float64; NaN outside and where it says that there is no data."""
    values, affine, crs = stored(path, index)
    u, v = ~affine * transformer(sample.crs, crs).transform(*sample.centres())
    col, row = np.floor(u).astype(int), np.floor(v).astype(int)
    inside = (col >= 0) & (row >= 0) & (col < values.shape[1]) & (row < values.shape[0])
    found = values[np.clip(row, 0, values.shape[0] - 1), np.clip(col, 0, values.shape[1] - 1)]
    return np.where(inside, found, np.nan)


def moved(sample, north: float):
    """The sample that far north, in metres."""
    a, b, c, d, e, f = sample.meta["transform"]
    return replace(sample, meta={**sample.meta, "transform": [a, b, c, d, e, f + north]})


def blocks(array: np.ndarray, n: int) -> np.ndarray:
    """(rows, cols) in blocks of n x n, in the last axis."""
    rows, cols = array.shape
    return array.reshape(rows // n, n, cols // n, n).swapaxes(1, 2).reshape(rows // n, cols // n, n * n)


def test_four_years_of_opera_are_a_series_in_decibels(tmp_path):
    """One burst, linear power of NaN: each date's pixels are the file's own, once through the logarithm."""
    items, files = [], {}
    for folder in sorted((DATA / "sentinel1" / "opera_rtc_10SGD").iterdir()):
        vv, vh = (next(folder.glob(f"*292319*_{p}.tif")) for p in ("VV", "VH"))
        vv, vh = fetch(tmp_path, vv, vh)
        when = f"{folder.name}T01:59:00Z"
        ident = vv.name.removesuffix("_VV.tif")
        files[ident] = (vv, vh)
        items.append(item(ident, "opera-rtc-s1", {"VV": vv, "VH": vh}, when, platform="Sentinel-1A"))
    layer = {
        "collection": "opera-rtc-s1", "bands": ["vv", "vh"], "time": "2021-01-01/2025-12-31", "unit": "dB",
        "select": {"method": "series", "max": 4},
    }  # fmt: skip
    samples = build(tmp_path, items, vv, {"s1": layer}, {"size": 25, "resolution": 30})
    assert len(samples) >= 9
    seen = 0
    for sample in samples.values():
        meta = sample.meta["layers"]["s1"]
        assert [t[:4] for t in meta["datetime"]] == ["2021", "2022", "2023", "2025"]
        for step, (ident,) in enumerate(meta["items"]):
            for n, path in enumerate(files[ident]):
                power = at(path, sample)
                expected = sensor_checks.decibels(np.where(power > 0, power, np.nan))
                # 1e-5 dB: written as float32.
                np.testing.assert_allclose(sample.arrays["s1"][step, n], expected, atol=1e-5)
                seen += np.isfinite(expected).sum()
    assert seen > 4 * 2 * 5000


OWN = """\
name: terramesh-s1
kind: imagery
unit: dB
bands: [{name: vv, gsd: 10}, {name: vh, gsd: 10}]
credit: {licence: CC-BY-SA-4.0, url: https://huggingface.co/datasets/ibm-esa-geospatial/TerraMesh, text: TerraMesh}
"""


def test_terramesh_radar_in_decibels_is_averaged_as_power(tmp_path):
    """A collection of one's own: float64 decibels, two bands in a file; at 20 m the mean of four powers."""
    (path,) = fetch(tmp_path, DATA / "multisensor" / "terramesh_637U_59R_1_3" / "S1RTC.tif")
    own = tmp_path / "own" / "collections" / "terramesh-s1.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(OWN, encoding="utf-8")
    scene = item("S1", "terramesh-s1", {"data": path}, "2017-10-30T05:40:00Z", ("vv", "vh"))
    layer = {"collection": "terramesh-s1", "bands": ["vv", "vh"], "time": "2017-10-30"}
    layers = {"copy": layer, "mean": {**layer, "resolution": 20}, "power": {**layer, "unit": "linear"}}
    samples = build(tmp_path, [scene], path, layers, {"size": 56, "resolution": 10}, catalogs=["own"])
    assert len(samples) >= 9
    apart = []
    for sample in samples.values():
        for n in range(2):
            stored = at(path, sample, n + 1)
            np.testing.assert_allclose(sample.arrays["copy"][n], stored, atol=1e-4)
            power = 10 ** (stored / 10)
            np.testing.assert_allclose(sample.arrays["power"][n], power, rtol=1e-5)
            expected = sensor_checks.decibels(blocks(power, 2).mean(axis=-1))
            # A pixel without data in the four: other tests look at that.
            whole = np.isfinite(expected)
            np.testing.assert_allclose(sample.arrays["mean"][n][whole], expected[whole], atol=0.01)
            apart.append(np.nanmax(np.abs(expected - blocks(stored, 2).mean(axis=-1))))
    assert max(apart) > 0.5, "a mean of decibels would not have been noticed"


def test_two_years_of_one_naip_quad_are_counts(tmp_path):
    """Heights that differ by a row, tops by 2 m; the files say that 0 is no data. Copies, and at 20 m means of 16."""
    old, new = fetch(tmp_path, *sorted((DATA / "naip" / "prairie_pothole_multidate").glob("*.tif")))
    bands = ("red", "green", "blue", "nir")
    items = [
        item(p.stem, "naip", {"image": p}, f"{d}T16:00:00Z", bands)
        for p, d in ((old, "2009-08-18"), (new, "2015-09-26"))
    ]
    layer = {"collection": "naip", "bands": ["nir", "red"], "min_valid": 0}
    layers = {
        "old": {**layer, "time": "2009-08-18"},
        "new": {**layer, "time": "2015-09-26"},
        "coarse": {**layer, "time": "2009-08-18", "resolution": 20},
    }
    samples = build(tmp_path, items, old, layers, {"size": 80, "resolution": 5})
    assert len(samples) >= 60
    compared = 0
    for sample in samples.values():
        for n, index in enumerate((4, 1)):
            out = sensor_checks.values(sample, "old")[n]
            np.testing.assert_array_equal(out, at(old, sample, index), sample.key)
            # The later picture lies 2 m further south: 0.4 of the pixel above and 0.6 of the one below.
            above, below = at(new, moved(sample, 3.0), index), at(new, moved(sample, -2.0), index)
            out = sensor_checks.values(sample, "new")[n]
            both = np.isfinite(above) & np.isfinite(below)
            assert np.abs(out - (0.4 * above + 0.6 * below))[both].max(initial=0) <= 0.5 + 1e-3, sample.key
            compared += both.sum()
        four = blocks(at(old, sample, 4), 4)
        share, mean = np.isfinite(four).mean(axis=-1), np.nansum(four, axis=-1)
        mean = np.where(share >= 0.5, mean / np.maximum(np.isfinite(four).sum(axis=-1), 1), np.nan)
        out = sensor_checks.values(sample, "coarse")[0]
        np.testing.assert_array_equal(np.isnan(out), np.isnan(mean))
        assert np.nanmax(np.abs(out - mean), initial=0) <= 0.5 + 1e-6
    assert compared > 500_000


def test_a_landsat_scene_has_its_reflectance_temperature_and_bits(tmp_path):
    """Thinned to pixels of 445 x 454 m; read at 450 m by nearest, so that every value is a pixel's own."""
    folder = DATA / "landsat" / "LC08_L2SP_008059_20191201_20200825_02_T1"
    names = {"red": "SR_B4", "nir08": "SR_B5", "lwir11": "ST_B10", "qa_pixel": "QA_PIXEL"}
    paths = dict(
        zip(names, fetch(tmp_path, *(next(folder.glob(f"*_{n}.TIF")) for n in names.values())), strict=True)
    )
    scene = item(
        "LC08_L2SP_008059_20191201_02_T1", "landsat-c2-l2", paths, "2019-12-01T15:12:00Z",
        platform="landsat-8", **{"eo:cloud_cover": 40.0},
    )  # fmt: skip
    layer = {"collection": "landsat-c2-l2", "time": "2019-12-01", "min_valid": 0, "resample": "nearest"}
    layers = {
        "l8": {**layer, "bands": ["red", "nir08"]},
        "st": {**layer, "bands": ["lwir11"], "write_mask": False},
    }
    chips = {"size": 64, "resolution": 450, "crs": "EPSG:32618"}
    samples = build(tmp_path, [scene], paths["red"], layers, chips)
    assert len(samples) >= 20
    met = {"bad": 0, "fill": 0, "clear": 0}
    for sample in samples.values():
        # Nearest to an edge either side is right.
        with rasterio.open(paths["red"]) as src:
            u, v = ~src.transform * sample.centres()
        sure = (np.abs(u - np.rint(u)) > 0.05) & (np.abs(v - np.rint(v)) > 0.05)
        for name, bands, scale, offset, one in (
            ("l8", ("red", "nir08"), 2.75e-5, -0.2, 1e-4), ("st", ("lwir11",), 0.00341802, 149.0, 1.0),
        ):  # fmt: skip
            for n, band in enumerate(bands):
                expected = (at(paths[band], sample) * scale + offset) / one
                out = sensor_checks.values(sample, name)[n]
                assert (np.isnan(out) == np.isnan(expected))[sure].all(), (sample.key, band)
                # Reflectance is rounded once; kelvin are float32.
                assert (
                    np.nanmax(np.abs(out - expected)[sure], initial=0)
                    <= (0.5 if name == "l8" else 1e-4) + 1e-6
                )
        code = at(paths["qa_pixel"], sample)
        bits = np.nan_to_num(code, nan=1).astype(int)
        expected = np.where(bits & 1, 255, np.where(bits & 0b11110, 1, 0))
        np.testing.assert_array_equal(sample.arrays["l8_mask"][sure], expected[sure], sample.key)
        met["fill"] += int((expected == 255).sum())
        met["bad"] += int((expected == 1).sum())
        met["clear"] += int((expected == 0).sum())
    assert min(met.values()) > 5_000, met


def test_four_dates_of_hls_are_a_series_with_the_bits_of_fmask(tmp_path):
    """Five bands a file in a CRS without a code; Fmask was warped with them, so that its fill is -9999, not 255."""
    paths = fetch(tmp_path, *sorted((DATA / "hls" / "exeter_multidate").glob("*.tif")))
    names = ("blue", "green", "red", "nir", "fmask")
    items, files = [], {}
    with rasterio.open(paths[0]) as src:
        crs = src.crs.to_wkt(version="WKT2_2019")
    for path in paths:
        day = path.stem.split("_")[2]
        files[path.stem] = path
        made = item(path.stem, "hls2-s30", {"data": path}, f"{day}T11:27:08Z", names, **{"proj:wkt2": crs})
        items.append(made)
    layer = {
        "collection": "hls2-s30", "bands": ["red", "nir"], "time": "2021-06-01/2021-07-31", "min_valid": 0,
        "max_cloud": 100, "select": {"method": "series", "max": 4}, "steps": {"max": 4, "missing": "nodata"},
    }  # fmt: skip
    chips = {"size": 56, "resolution": 30, "crs": crs}
    samples = build(tmp_path, items, paths[0], {"hls": layer}, chips)
    assert len(samples) >= 9
    met = {"bad": 0, "clear": 0, "fill": 0}
    for sample in samples.values():
        meta = sample.meta["layers"]["hls"]
        assert meta["datetime"] == sorted(meta["datetime"])
        for step, (ident,) in enumerate(meta["items"]):
            if not ident:
                continue
            for n, index in enumerate((3, 4)):
                expected = at(files[ident], sample, index)
                out = sensor_checks.values(sample, "hls")[step, n]
                np.testing.assert_array_equal(out, expected, f"{sample.key} {ident}")
            code = at(files[ident], sample, 5)
            bits = np.nan_to_num(code, nan=0).astype(int)
            expected = np.where(np.isnan(code), 255, np.where(bits & 0b1110, 1, 0))
            np.testing.assert_array_equal(sample.arrays["hls_mask"][step], expected, sample.key)
            met["fill"] += int((expected == 255).sum())
            met["bad"] += int((expected == 1).sum())
            met["clear"] += int((expected == 0).sum())
    assert min(met.values()) > 500, met
