"""Label layers from files."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import rasterio.errors
from affine import Affine

from catalog_world import shared_data
from chipweave.catalog import LayerRequest, lock, request_legend
from chipweave.errors import RecipeError


def _write(path, crs="EPSG:3035", affine=Affine(100, 0, 4e6, 0, -100, 3e6), nodata=None):  # noqa: B008
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=50,
            width=40,
            count=1,
            dtype="uint8",
            crs=crs,
            transform=affine,
            nodata=nodata,
        ) as out:
            out.write(np.ones((50, 40), np.uint8), 1)
    return path


def _request(path, **more):
    return LayerRequest("lc", "label", None, bands=("classes",), file=path, **more)


def test_a_file_is_a_scene(tmp_path):
    path = _write(tmp_path / "lc.tif")
    got = lock([_request(path, nodata=0.0, date="2018")], [(0.0, 0.0, 1.0, 1.0)], None)
    (scene,) = got.scenes
    assert (scene.layer, scene.id, scene.collection, scene.crs) == ("lc", "lc", "lc", "EPSG:3035")
    assert (scene.time, scene.edition) == (datetime(2018, 1, 1, tzinfo=UTC), "2018")
    assert list(scene.assets) == ["classes"]
    asset = scene.assets["classes"]
    assert (asset.href, asset.index, asset.nodata) == (str(path), 1, 0.0)
    west, south, east, north = scene.geometry.bounds
    assert 0.03 < east - west < 0.08
    assert 0.03 < north - south < 0.08
    assert got.searches == []


def test_dates(tmp_path):
    path = _write(tmp_path / "lc.tif")
    (scene,) = lock([_request(path, date="2020-07-15")], [], None).scenes
    assert (scene.time, scene.edition) == (datetime(2020, 7, 15, tzinfo=UTC), "2020-07-15")
    (scene,) = lock([_request(path)], [], None).scenes
    assert scene.edition == ""


def test_a_folder_is_many(tmp_path):
    for name in ("b.tif", "a.TIF"):
        _write(tmp_path / "lc" / name)
    (tmp_path / "lc" / "notes.txt").write_text("x", encoding="utf-8")
    assert [s.id for s in lock([_request(tmp_path / "lc")], [], None).scenes] == ["a", "b"]
    with pytest.raises(RecipeError, match="classes of a folder of rasters are not looked up"):
        request_legend(_request(tmp_path / "lc"))


def test_no_epsg_code(tmp_path):
    crs = "+proj=laea +lat_0=50.72 +lon_0=-3.51 +datum=WGS84"
    (scene,) = lock(
        [_request(_write(tmp_path / "a.tif", crs=crs, affine=Affine(20, 0, 0, 0, -20, 0)))], [], None
    ).scenes
    assert scene.crs.startswith("PROJCRS[")
    assert scene.geometry.bounds[0] == pytest.approx(-3.51, abs=0.01)


def test_wrong_files(tmp_path):
    (tmp_path / "text.tif").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "gone.tif": r"labels\.lc\.file: .*gone\.tif: no such file",
        tmp_path / "text.tif": "cannot be read as a raster",
        tmp_path / "empty": "a folder without rasters",
        _write(tmp_path / "a.tif", crs=None): "has no CRS",
        _write(tmp_path / "b.tif", affine=Affine.identity()): "has no CRS",
        _write(
            tmp_path / "c.tif", crs="EPSG:4326", affine=Affine(1, 0, 1e9, 0, -1, 1e9)
        ): "none that lies on Earth",
    }
    for path, said in cases.items():
        with pytest.raises(RecipeError, match=said):
            lock([_request(path)], [], None)


def test_a_table_of_points_is_told_from_a_raster(tmp_path):
    (tmp_path / "points.csv").write_text("lon,lat,c\n18.4,-33.9,1\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="cannot be read as a raster") as caught:
        lock([_request(tmp_path / "points.csv")], [], None)
    assert "`points`" in caught.value.hint


def test_numbers_with_an_imaginary_part_are_refused(tmp_path):
    path = tmp_path / "slc.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=4, count=1, dtype="complex64", crs="EPSG:3035",
        transform=Affine(100, 0, 4e6, 0, -100, 3e6),
    ) as out:  # fmt: skip
        out.write(np.ones((1, 4, 4), np.complex64))
    with pytest.raises(RecipeError, match="holds complex64"):
        lock([_request(path)], [], None)


def test_real_files():
    folder = shared_data() / "real"
    path = folder / "labels" / "corine" / "clc-aachen_clipped.tif"
    request = _request(path, legend="corine", date="2018")
    (scene,) = lock([request], [], None).scenes
    assert scene.crs == "EPSG:3035"
    assert scene.geometry.covers(scene.geometry.centroid)
    assert request_legend(request).name == "corine"
    found = request_legend(_request(path))
    assert found.name == "lc"
    assert set(found.codes) <= set(range(1, 45))
    (scene,) = lock(
        [_request(folder / "labels" / "corine" / "U2018_CLC2018_V2020_20u1_FR_GLP.tif")], [], None
    ).scenes
    assert scene.crs == "EPSG:4559"
    assert scene.geometry.bounds[0] == pytest.approx(-61.8, abs=0.3)
