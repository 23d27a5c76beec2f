"""Slope and aspect: of planes, of real heights against a loop, at edges, and whatever the window."""

from __future__ import annotations

import math

import numpy as np
import pytest

from catalog_world import shared_data
from chipweave.catalog.collections import load_collection
from chipweave.errors import RecipeError
from chipweave.pixels import LayerRead, compose, gdal_session, read_mask, read_scene
from chipweave.pixels.terrain import derived
from chipweave.plan.values import value_rule
from tiny import UTM, assets, north_up, scene, write_tif

X, Y = 600_000.0, 5_200_000.0
READ = LayerRead(
    ("slope", "aspect"), {"slope": "bilinear", "aspect": "bilinear"}, None, dtype="float32",
    derive={"slope": "slope", "aspect": "aspect"},
)  # fmt: skip


def dem(tmp_path, heights, name="dem.tif", x=X, y=Y, res=10.0, nodata=None):
    path = write_tif(tmp_path / name, np.asarray(heights, np.float32), UTM, north_up(x, y, res), nodata)
    return scene(name, assets=assets(slope=path, aspect=path))


def read(own, x=X, y=Y, shape=(20, 20), res=10.0):
    with gdal_session():
        return read_scene(own, READ, UTM, north_up(x, y, res), shape).values


@pytest.mark.parametrize("towards", [0.0, 37.0, 90.0, 135.0, 180.0, 225.5, 270.0, 359.0])
@pytest.mark.parametrize("steep", [0.5, 20.0, 60.0])
def test_a_plane_has_one_slope_and_one_aspect(tmp_path, towards, steep):
    """It falls `towards` that many degrees clockwise of north: edges have it too."""
    rows, cols = np.mgrid[:20, :20] * 10.0
    fall = math.tan(math.radians(steep))
    east, north = math.sin(math.radians(towards)), math.cos(math.radians(towards))
    heights = -fall * (east * cols - north * rows)
    slope, aspect = read(dem(tmp_path, heights))
    np.testing.assert_allclose(slope, steep, atol=2e-3)
    turn = (aspect - towards + 180) % 360 - 180
    assert np.abs(turn).max() < 0.1
    assert (aspect < 360).all()


def test_flat_ground_has_an_aspect_of_zero(tmp_path):
    slope, aspect = read(dem(tmp_path, np.full((20, 20), 7.0)))
    assert (slope == 0).all()
    assert (aspect == 0).all()
    assert not np.signbit(aspect).any()


def test_real_heights_against_a_loop():
    path = shared_data() / "real" / "multisensor" / "terramesh_637U_59R_1_3" / "DEM.tif"
    own = scene(assets=assets(slope=path, aspect=path))
    import rasterio

    with rasterio.open(path) as source:
        z, affine, crs = source.read(1).astype(float), source.transform, source.crs.to_string()
    with gdal_session():
        slope, aspect = read_scene(own, READ, crs, affine, z.shape).values
    for r, c in np.random.default_rng(0).integers(1, 223, (300, 2)):
        east = (z[r, c + 1] - z[r, c - 1]) / (2 * affine.a)
        north = (z[r - 1, c] - z[r + 1, c]) / (2 * -affine.e)
        assert slope[r, c] == pytest.approx(math.degrees(math.atan(math.hypot(east, north))), abs=1e-4)
        want = math.degrees(math.atan2(-east, -north)) % 360 if east or north else 0.0
        assert aspect[r, c] == pytest.approx(want, abs=1e-3)
    assert not np.isnan(slope).any()


def test_windows_agree_and_holes_stay_holes(tmp_path):
    rng = np.random.default_rng(2)
    heights = rng.normal(100, 5, (30, 30))
    heights[10:12, 10:12], heights[20, 5] = -9999, -9999
    own = dem(tmp_path, heights, nodata=-9999)
    whole = read(own, shape=(30, 30))
    np.testing.assert_array_equal(np.isnan(whole[0]), heights == -9999)
    for r, c, h, w in ((0, 0, 4, 4), (9, 9, 4, 4), (25, 3, 5, 20)):
        part = read(own, X + 10 * c, Y - 10 * r, (h, w))
        np.testing.assert_array_equal(part, whole[:, r : r + h, c : c + w])
    mask = read_mask(own, READ, UTM, north_up(X, Y, 10.0), (30, 30))
    np.testing.assert_array_equal(mask == 255, heights == -9999)


def test_there_is_no_seam_without_data_between_tiles(tmp_path):
    """Tiles do not overlap: each gives what it has beside the edge."""
    rows, cols = np.mgrid[:20, :40] * 10.0
    heights = 500 + 0.1 * cols + 0.2 * rows
    parts = [dem(tmp_path, heights[:, :20], "w.tif"), dem(tmp_path, heights[:, 20:], "e.tif", x=X + 200)]
    with gdal_session():
        found = [read_scene(p, READ, UTM, north_up(X, Y, 10.0), (20, 40)) for p in parts]
    values, _, used, full = compose(found)
    assert used == [True, True]
    assert full.all()
    np.testing.assert_allclose(values[0], math.degrees(math.atan(math.hypot(0.1, 0.2))), atol=1e-3)


def test_a_lone_height_has_no_slope():
    heights = np.full((3, 3), np.nan, np.float32)
    heights[1, 1] = 5
    assert np.isnan(derived(heights, north_up(X, Y, 10.0), ["slope"])).all()


def test_heights_and_slopes_are_layers_of_their_own():
    known = load_collection("cop-dem-glo-30")
    assert value_rule("x", known, ["slope", "aspect"], "native").unit == "degree"
    with pytest.raises(RecipeError, match="elevation is in m, slope in degree"):
        value_rule("x", known, ["elevation", "slope"], "native")
