"""Every loader, by the same rules (contract, section 3): what is data, which value, and what a loader must refuse."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import stamina
from affine import Affine

from chipweave.errors import NotBuiltError, PermanentSourceError, TransientSourceError, UsageError
from chipweave.model import Asset
from chipweave.pixels import gdal_session, loaders
from support.listening import listening
from tiny import LAEA, UTM, north_up, transformer, write_tif

X, Y = 700_000.0, 5_000_000.0
SIZE = 120
NEXT = "EPSG:32633"
SLACK_PX = 0.05
"""Coordinates may be off by this much of a source pixel (as in worlds/checks.py)."""


@pytest.fixture(params=loaders.NAMES)
def load(request):
    """A loader for one asset, inside a session."""
    loader = loaders.get(request.param)

    def one(asset: Asset, crs: str, affine: Affine, shape: tuple[int, int], method: str, nodata=None):
        ((values, ok),) = loader([asset], nodata, crs, affine, shape, method)
        assert values.shape == ok.shape == shape
        assert ok.dtype == bool
        assert (values[~ok] == 0).all()
        return values, ok

    one.name = request.param
    with gdal_session():
        yield one


def field(x, y):
    """About 3 DN a metre, wavelengths above 1 km."""
    return 8000 + 900 * np.sin((x - X) / 400) * np.cos((y - Y) / 300) + 0.8 * (x - X) - 0.5 * (y - Y)


BEND = 900 * (1 / 400**2 + 1 / 300**2)
SLOPE = 900 * np.hypot(1 / 400, 1 / 300) + np.hypot(0.8, 0.5)


def centres(affine: Affine, shape: tuple[int, int], crs: str = UTM, to: str = UTM):
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    return transformer(crs, to).transform(*(affine * (cols, rows)))


def world(path, res: float = 10.0, size: int = SIZE, dtype: str = "uint16", nodata: float | None = 0):
    """The field, sampled at the centres of a grid of `res` m."""
    affine = north_up(X, Y, res)
    values = field(*centres(affine, (size, size)))
    values = np.rint(values) if np.dtype(dtype).kind in "iu" else values
    return write_tif(path, values.astype(dtype), UTM, affine, nodata)


def bound(res: float) -> float:
    """1 DN by rounding twice, the slack in coordinates, and what bilinear interpolation is off by at most."""
    return 1 + SLACK_PX * res * SLOPE + res * res / 8 * BEND


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "mean", "mode"])
def test_where_grids_coincide_values_are_copied(load, tmp_path, dtype, method):
    """To the last bit, whatever the method; beyond the file there is nothing."""
    rng = np.random.default_rng(1)
    stored = (rng.integers(0, 250, (40, 50)) * (1 if dtype == "uint8" else 127)).astype(dtype)
    if dtype == "int32":
        stored += 1 << 30
    if stored.dtype.kind == "f":
        stored /= np.float64(7)
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10))
    values, ok = load(Asset(str(path)), UTM, north_up(X - 30, Y + 20, 10), (50, 60), method)
    inner = np.s_[2:42, 3:53]
    assert values.dtype == stored.dtype
    assert ok.sum() == stored.size
    assert ok[inner].all()
    np.testing.assert_array_equal(values[inner], stored)


@pytest.mark.parametrize("off", [(3.0, 7.0), (5.0, 5.0), (0.0, 1.0)])
def test_off_the_grid_the_value_at_the_centre_is_taken(load, tmp_path, off):
    affine = north_up(X + 100 + off[0], Y - 100 - off[1], 10)
    values, ok = load(Asset(str(world(tmp_path / "a.tif"))), UTM, affine, (64, 64), "bilinear")
    assert ok.all()
    error = np.abs(values - field(*centres(affine, (64, 64))))
    assert error.max() <= bound(10)
    # The bound can fail: the truth of half a pixel further on is out of it.
    assert np.abs(values - field(*centres(north_up(affine.c + 5, affine.f, 10), (64, 64)))).max() > bound(10)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_next_zone(load, tmp_path, dtype):
    path = world(tmp_path / "a.tif", dtype=dtype, size=200)
    x, y = transformer(UTM, NEXT).transform(X + 1000, Y - 1000)
    affine = north_up(round(x / 10) * 10 - 480, round(y / 10) * 10 + 480, 10)
    values, ok = load(Asset(str(path)), NEXT, affine, (96, 96), "bilinear")
    assert ok.all()
    at = centres(affine, (96, 96), NEXT, UTM)
    assert np.abs(values - field(*at)).max() <= bound(10)
    assert np.abs(values - field(at[0] + 5, at[1])).max() > bound(10)


def test_an_area_in_degrees(load, tmp_path):
    """From degrees, and on to degrees: a pixel of 0.0001 degrees is 11 m by 8 m here."""
    path = world(tmp_path / "a.tif", size=200)
    lon, lat = transformer(UTM, "EPSG:4326").transform(X + 600, Y - 600)
    affine = north_up(round(lon, 4), round(lat, 4), 0.0001)
    values, ok = load(Asset(str(path)), "EPSG:4326", affine, (64, 64), "bilinear")
    assert ok.all()
    assert np.abs(values - field(*centres(affine, (64, 64), "EPSG:4326", UTM))).max() <= bound(10)
    back = write_tif(tmp_path / "b.tif", values, "EPSG:4326", affine)
    inside = transformer("EPSG:4326", UTM).transform(affine.c + 0.003, affine.f - 0.003)
    own = north_up(np.floor(inside[0]), np.floor(inside[1]), 10)
    again, ok = load(Asset(str(back)), UTM, own, (16, 16), "bilinear")
    assert ok.all()
    # Twice interpolated, on pixels of 11 m at most.
    assert np.abs(again - field(*centres(own, (16, 16)))).max() <= bound(10) + bound(11.2)


def test_coarse_bands_on_a_fine_grid(load, tmp_path):
    """20 m to 10 m: nine sixteenths of the nearest, and so on."""
    path = world(tmp_path / "a.tif", res=20)
    affine = north_up(X + 200, Y - 200, 10)
    values, ok = load(Asset(str(path)), UTM, affine, (100, 100), "bilinear")
    assert ok.all()
    with rasterio.open(path) as src:
        stored = src.read(1).astype(float)[9:61, 9:61]
    weights = {0: (0.25, 0.75, 0.0), 1: (0.0, 0.75, 0.25)}
    expected = np.empty((100, 100))
    for r in range(100):
        for c in range(100):
            block = stored[r // 2 : r // 2 + 3, c // 2 : c // 2 + 3]
            expected[r, c] = np.array(weights[r % 2]) @ block @ np.array(weights[c % 2])
    assert np.abs(values - expected).max() <= 0.5 + 1e-3
    nearest, _ = load(Asset(str(path)), UTM, affine, (100, 100), "nearest")
    np.testing.assert_array_equal(nearest, np.kron(stored[1:51, 1:51], np.ones((2, 2))))


@pytest.mark.parametrize("told", ["file", "item", "collection", "item over file"])
def test_nodata_is_never_blended_and_ends_where_its_pixel_ends(load, tmp_path, told):
    """A spike as nodata: one part in a thousand of it would show."""
    affine = north_up(X, Y, 10)
    stored = np.full((60, 60), 100, np.uint16)
    stored[20:40, 30:] = 60_000
    path = write_tif(
        tmp_path / "a.tif", stored, UTM, affine, {"file": 60_000, "item over file": 100}.get(told)
    )
    asset = Asset(str(path), nodata=60_000 if told.startswith("item") else None)
    for method, off in (("bilinear", (3.0, 4.0)), ("nearest", (3.0, 4.0)), ("bilinear", (0.0, 0.0))):
        own = north_up(X + 50 + off[0], Y - 50 - off[1], 10)
        values, ok = load(asset, UTM, own, (50, 50), method, 60_000 if told == "collection" else None)
        x, y = centres(own, (50, 50))
        data = stored[((Y - y) // 10).astype(int), ((x - X) // 10).astype(int)] == 100
        np.testing.assert_array_equal(ok, data)
        assert data.sum() == 50 * 50 - 20 * 25
        assert (values[ok] == 100).all()


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("stated", [None, 7])
@pytest.mark.parametrize("inside", [True, False])
def test_what_the_files_own_mask_hides_is_no_data(load, tmp_path, inside, stated, method):
    stored = np.random.default_rng(4).integers(0, 9, (60, 60)).astype(np.uint8)
    hidden = np.zeros(stored.shape, np.uint8)
    hidden[:20, :30] = 1
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(
        path, "w", driver="GTiff", width=60, height=60, count=1, dtype="uint8", crs=UTM,
        transform=north_up(X, Y, 10),
    ) as out:  # fmt: skip
        out.write(stored, 1)
        out.write_mask(255 * (1 - hidden))
    lacking = (hidden == 1) | (stored == (-1 if stated is None else stated))
    same, ok = load(Asset(str(path), nodata=stated), UTM, north_up(X, Y, 10), (60, 60), method)
    np.testing.assert_array_equal(ok, ~lacking)
    np.testing.assert_array_equal(same[ok], stored[ok])
    moved = load(Asset(str(path), nodata=stated), UTM, north_up(X + 3, Y - 3, 10), (50, 50), method)[1]
    np.testing.assert_array_equal(moved, ~lacking[:50, :50])  # under the centre: no pixel is crossed


@pytest.mark.parametrize("nodata", [None, 0, 60_000])
def test_the_edge_of_a_scene_is_the_edge_of_its_pixels(load, tmp_path, nodata):
    """Half a pixel out from the last centre, by the value that is left; with a nodata tag and without."""
    path = write_tif(tmp_path / "a.tif", np.full((30, 30), 77, np.uint16), UTM, north_up(X, Y, 10), nodata)
    own = north_up(X - 96, Y + 84, 10)
    for method in ("bilinear", "nearest"):
        values, ok = load(Asset(str(path)), UTM, own, (50, 50), method)
        x, y = centres(own, (50, 50))
        np.testing.assert_array_equal(ok, (x > X) & (x < X + 300) & (y < Y) & (y > Y - 300))
        assert (values[ok] == 77).all()


def test_the_edge_in_the_next_zone(load, tmp_path):
    """A scene's edge, aslant, with spikes beyond a hole's: data as far as the source pixels go, and no blend."""
    stored = np.full((100, 100), 500, np.uint16)
    stored[40:60, 40:60] = 0
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10), 0)
    x, y = transformer(UTM, NEXT).transform(X + 500, Y - 500)
    own = north_up(round(x), round(y), 10) * Affine.translation(-70, -70)
    values, ok = load(Asset(str(path)), NEXT, own, (140, 140), "bilinear")
    u, v = (
        (c - o) / 10 * s for c, o, s in zip(centres(own, (140, 140), NEXT, UTM), (X, Y), (1, -1), strict=True)
    )
    near = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) < SLACK_PX
    inside = (u > 0) & (u < 100) & (v > 0) & (v < 100)
    hole = (u > 40) & (u < 60) & (v > 40) & (v < 60)
    np.testing.assert_array_equal(ok[~near], (inside & ~hole)[~near])
    assert (inside & ~hole).sum() > 9000
    assert (values[ok] == 500).all()


@pytest.mark.parametrize("crs", [NEXT, "EPSG:3413"])
def test_no_more_than_four_pixels_are_blended(load, tmp_path, crs):
    """In a grid turned by 4 and by 57 degrees too: a spike reaches its own neighbours, and none further."""
    stored = np.full((640, 640), 100, np.uint16)
    stored[320, 320] = 60_000
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10), 0)
    x, y = transformer(UTM, crs).transform(X + 3205, Y - 3205)
    own = north_up(round(x), round(y), 10) * Affine.translation(-10, -10)
    values, ok = load(Asset(str(path)), crs, own, (20, 20), "bilinear")
    at = centres(own, (20, 20), crs, UTM)
    u, v = np.abs((at[0] - X) / 10 - 320.5), np.abs((Y - at[1]) / 10 - 320.5)
    weight = np.clip(1 - u, 0, 1) * np.clip(1 - v, 0, 1)
    assert ok.all()
    assert (weight > 0.1).sum() >= 2
    # A coordinate that is off by SLACK_PX moves a weight by as much at most, along each axis.
    assert np.abs(values - (100 + weight * 59_900)).max() <= 2 * SLACK_PX * 59_900
    assert (values[(u > 1 + SLACK_PX) | (v > 1 + SLACK_PX)] == 100).all()


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:4326"])
def test_curves_are_followed(load, tmp_path, crs):
    """Over 50 km a line of one grid bends away from a line of another by many pixels of a chord's error."""
    affine = north_up(X, Y, 100)
    x, _ = centres(affine, (640, 640))
    path = write_tif(tmp_path / "a.tif", (x - X).astype(np.float32), UTM, affine)
    mid = transformer(UTM, crs).transform(X + 32_000, Y - 32_000)
    own = north_up(*mid, 0.001 if crs == "EPSG:4326" else 100.0)
    own *= Affine.translation(-128, -128)
    values, ok = load(Asset(str(path)), crs, own, (256, 256), "bilinear")
    assert ok.all()
    off = np.abs(values - (centres(own, (256, 256), crs, UTM)[0] - X)) / 100
    assert off.max() <= 0.02


def test_not_a_number_is_no_data(load, tmp_path):
    stored = np.full((40, 40), 5.5, np.float32)
    stored[10:20, 10:20] = np.nan
    stored[30, 30] = np.inf
    stored[35, 35] = -9999
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10), -9999)
    for off in (0.0, 2.0):
        values, ok = load(Asset(str(path)), UTM, north_up(X + off, Y - off, 10), (39, 39), "bilinear")
        np.testing.assert_array_equal(ok, (np.isfinite(stored) & (stored != -9999))[:39, :39])
        np.testing.assert_allclose(values[ok], 5.5, rtol=1e-6)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_pixels_of_nearly_one_size_are_not_taken_for_the_same(load, tmp_path, method):
    """10.005 m and 10 m: over 500 pixels they part by a quarter of a pixel."""
    affine = north_up(X, Y, 10.005)
    x, _ = centres(affine, (600, 600))
    path = write_tif(tmp_path / "a.tif", (x - X).astype(np.float32), UTM, affine)
    own = north_up(X + 400, Y - 400, 10)
    values, ok = load(Asset(str(path)), UTM, own, (512, 512), method)
    assert ok.all()
    off = np.abs(values - (centres(own, (512, 512))[0] - X)) / 10
    assert off.max() <= (0.5 if method == "nearest" else 0) + 0.01


def test_classes_are_never_blended(load, tmp_path):
    rng = np.random.default_rng(3)
    stored = rng.choice([10, 20, 95], (60, 60)).astype(np.uint8)
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10))
    own = north_up(X + 53, Y - 47, 10)
    values, ok = load(Asset(str(path)), UTM, own, (50, 50), "nearest")
    assert ok.all()
    x, y = centres(own, (50, 50))
    np.testing.assert_array_equal(values, stored[((Y - y) // 10).astype(int), ((x - X) // 10).astype(int)])
    turned = transformer(UTM, NEXT).transform(X + 300, Y - 300)
    own = north_up(round(turned[0]), round(turned[1]), 10) * Affine.translation(-20, -20)
    values, ok = load(Asset(str(path)), NEXT, own, (40, 40), "nearest")
    x, y = centres(own, (40, 40), NEXT, UTM)
    u, v = (x - X) / 10, (Y - y) / 10
    sure = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) > SLACK_PX
    assert ok.all()
    assert sure.sum() > 1000
    np.testing.assert_array_equal(values[sure], stored[v.astype(int), u.astype(int)][sure])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_coarser_grid_takes_the_mean_of_the_centres_inside(load, tmp_path, dtype):
    """Valid where at least half of them are; what lies beyond the scene counts as missing."""
    rng = np.random.default_rng(4)
    stored = rng.integers(1, 9000, (60, 60)).astype(dtype)
    stored[rng.random((60, 60)) < 0.4] = 0
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10), 0)
    values, ok = load(Asset(str(path)), UTM, north_up(X - 60, Y + 60, 40), (20, 20), "mean")
    padded = np.zeros((80, 80))
    padded[6:66, 6:66] = stored
    blocks = padded.reshape(20, 4, 20, 4)
    count = (blocks != 0).sum(axis=(1, 3))
    mean = blocks.sum(axis=(1, 3)) / np.maximum(count, 1)
    np.testing.assert_array_equal(ok, count >= 8)
    assert 50 < ok.sum() < 350
    assert np.abs(values - mean)[ok].max() <= (0.5 if dtype == "uint16" else 1e-3)


def test_a_coarser_grid_takes_the_most_frequent_class(load, tmp_path):
    rng = np.random.default_rng(5)
    stored = rng.choice([0, 1, 2, 7], (60, 60), p=[0.3, 0.3, 0.2, 0.2]).astype(np.uint8)
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10), 0)
    values, ok = load(Asset(str(path)), UTM, north_up(X, Y, 30), (20, 20), "mode")
    blocks = stored.reshape(20, 3, 20, 3).transpose(0, 2, 1, 3).reshape(20, 20, 9)
    counts = np.stack([(blocks == code).sum(axis=-1) for code in (1, 2, 7)], axis=-1)
    np.testing.assert_array_equal(ok, 2 * counts.sum(axis=-1) >= 9)
    taken = np.take_along_axis(counts, np.searchsorted([1, 2, 7], values)[..., None] % 3, axis=-1)[..., 0]
    assert np.isin(values[ok], [1, 2, 7]).all()
    assert (taken == counts.max(axis=-1))[ok].all()


def test_a_coarser_grid_of_another_zone(load, tmp_path):
    """Source centres are counted where they fall: the mean of a plane is its value at their mean."""
    affine = north_up(X, Y, 10)
    x, y = centres(affine, (120, 120))
    path = write_tif(tmp_path / "a.tif", np.rint(1000 + (x - X) * 5).astype(np.uint16), UTM, affine, 0)
    mid = transformer(UTM, NEXT).transform(X + 600, Y - 600)
    own = north_up(round(mid[0]), round(mid[1]), 30) * Affine.translation(-10, -10)
    values, ok = load(Asset(str(path)), NEXT, own, (20, 20), "mean")
    assert ok.all()
    u, v = transformer(UTM, NEXT).transform(x, y)
    col, row = ((u - own.c) // 30).astype(int), ((own.f - v) // 30).astype(int)
    inside = (col >= 0) & (col < 20) & (row >= 0) & (row < 20)
    count, total = np.zeros((20, 20)), np.zeros((20, 20))
    np.add.at(count, (row[inside], col[inside]), 1)
    np.add.at(total, (row[inside], col[inside]), 1000 + (x[inside] - X) * 5)
    # A centre on the border of two pixels may count for either: one of nine, 150 DN at most from their mean.
    error = np.abs(values - total / count)
    assert np.median(error) <= 0.5
    assert error.max() <= 20


def test_a_band_of_a_file_of_several(load, tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30, height=30, count=3, dtype="uint16", crs=UTM,
        transform=north_up(X, Y, 10), nodata=0,
    ) as out:  # fmt: skip
        for n in (1, 2, 3):
            out.write(np.full((30, 30), n * 100, np.uint16), n)
    for n in (3, 1):
        values, ok = load(Asset(str(path), n), UTM, north_up(X + 23, Y - 20, 10), (20, 20), "bilinear")
        assert ok.all()
        assert (values == n * 100).all()
    with pytest.raises(PermanentSourceError, match="3 bands"):
        load(Asset(str(path), 4), UTM, north_up(X, Y, 10), (20, 20), "bilinear")


def test_stored_values_are_not_rescaled(load, tmp_path):
    """A file's own scale and offset are for its readers; the item's are applied later, by one rule."""
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30, height=30, count=1, dtype="uint16", crs=UTM,
        transform=north_up(X, Y, 10), nodata=0,
    ) as out:  # fmt: skip
        out.write(np.full((30, 30), 1234, np.uint16), 1)
        out.scales, out.offsets = (0.5,), (-1000.0,)
    values, _ = load(
        Asset(str(path), gain=2.0, add=-7.0), UTM, north_up(X + 23, Y - 20, 10), (20, 20), "bilinear"
    )
    assert (values == 1234).all()


def test_overviews_are_not_looked_at(load, tmp_path):
    """They hold another resampling of the pixels."""
    affine = north_up(X, Y, 10)
    path = write_tif(tmp_path / "a.tif", np.full((256, 256), 300, np.uint16), UTM, affine, 0)
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
        out.write(np.full((256, 256), 400, np.uint16), 1)  # the overviews stay as they were
    for method in ("mean", "bilinear"):
        values, ok = load(Asset(str(path)), UTM, north_up(X + 20, Y - 20, 40), (50, 50), method)
        assert ok.all()
        assert (values == 400).all()


def test_pixels_do_not_depend_on_the_window(load, tmp_path):
    path = world(tmp_path / "a.tif", size=200)
    x, y = transformer(UTM, NEXT).transform(X + 1000, Y - 1000)
    own = north_up(round(x), round(y), 10) * Affine.translation(-60, -60)
    whole, ok = load(Asset(str(path)), NEXT, own, (120, 120), "bilinear")
    for r, c, h, w in ((0, 0, 50, 50), (37, 61, 64, 30)):
        part, there = load(Asset(str(path)), NEXT, own * Affine.translation(c, r), (h, w), "bilinear")
        np.testing.assert_array_equal(part, whole[r : r + h, c : c + w])
        np.testing.assert_array_equal(there, ok[r : r + h, c : c + w])


def test_a_window_beside_the_file_is_empty(load, tmp_path):
    path = world(tmp_path / "a.tif", size=20)
    for crs, x in ((UTM, X + 50_000), (NEXT, 300_000.0)):
        for method in ("nearest", "bilinear", "mean", "mode"):
            assert not load(Asset(str(path)), crs, north_up(x, Y, 30), (16, 16), method)[1].any()


def test_several_bands_come_in_their_order(tmp_path):
    assets = [
        Asset(str(world(tmp_path / f"{k}.tif", res=10 * k, dtype=t)))
        for k, t in ((1, "uint16"), (2, "int32"))
    ]
    affine = north_up(X + 103, Y - 103, 10)
    for name in loaders.NAMES:
        with gdal_session():
            both = loaders.get(name)(assets, None, UTM, affine, (32, 32), "bilinear")
        for (values, ok), asset, dtype in zip(both, assets, (np.uint16, np.int32), strict=True):
            assert values.dtype == dtype
            assert ok.all(), (name, asset)


def test_a_broken_file_is_permanently_so(load, tmp_path):
    """Cut short, not a raster, not there, of a kind that is not read, or without georeference."""
    whole = world(tmp_path / "whole.tif", size=400)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[:40_000])
    noise = tmp_path / "noise.tif"
    noise.write_bytes(b"II*\0 nothing of the kind")
    virtual = tmp_path / "a.vrt"
    with rasterio.open(whole) as src:
        rasterio.shutil.copy(src, virtual, driver="VRT")
    for path in (cut, noise, tmp_path / "absent.tif", virtual):
        for method, off in (("bilinear", 3.0), ("nearest", 0.0), ("mean", 0.0)):
            res = 20 if method == "mean" else 10
            with pytest.raises(PermanentSourceError) as caught:
                load(Asset(str(path)), UTM, north_up(X + off, Y - 2500, res), (60, 60), method)
            assert path.name in caught.value.message
            assert caught.value.href == str(path)


class _Unsteady(BaseHTTPRequestHandler):
    """Serves one file in ranges, until it is told to be busy."""

    content, busy, asked = b"", False, 0

    def do_GET(self):
        type(self).asked += 1
        if self.busy:
            self.send_error(503)
            return
        asked = self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        part = self.content[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header(
                "Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(self.content)}"
            )
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args):
        """Say nothing."""


def test_a_busy_server_is_no_broken_file(load, tmp_path):
    """Read over HTTP while it answers, signature and all; where it says 503 the file is to be asked for again."""
    _Unsteady.content, _Unsteady.busy, _Unsteady.asked = (
        world(tmp_path / "a.tif", size=400).read_bytes(),
        False,
        0,
    )
    with listening(_Unsteady) as server, rasterio.Env(GDAL_HTTP_MAX_RETRY="0"):
        asset = Asset(f"{server.url}/{load.name}.tif?sig=a&key=SECRET")
        affine = north_up(X + 103, Y - 103, 10)
        values, ok = load(asset, UTM, affine, (32, 32), "bilinear")
        assert ok.all()
        assert np.abs(values - field(*centres(affine, (32, 32)))).max() <= bound(10)
        _Unsteady.busy = True
        with stamina.set_testing(True, attempts=2), pytest.raises(TransientSourceError) as caught:
            load(Asset(asset.href.replace(".tif", "_2.tif")), UTM, affine, (32, 32), "bilinear")
    assert "SECRET" not in caught.value.message + caught.value.href


def test_a_file_without_a_code(load, tmp_path):
    """A CRS of somebody's own in the file is read; as the target's it is refused where it cannot be said."""
    x, y = transformer("EPSG:4326", LAEA).transform(9.25, 47.5)
    affine = north_up(round(x) - 600, round(y) + 600, 10)
    at = transformer(LAEA, UTM).transform(*centres(affine, (SIZE, SIZE), LAEA, LAEA))
    path = write_tif(tmp_path / "a.tif", np.rint(at[0] / 100).astype(np.uint16), LAEA, affine)
    mid = transformer(LAEA, UTM).transform(x, y)
    own = north_up(round(mid[0]) - 200, round(mid[1]) + 200, 10)
    values, ok = load(Asset(str(path)), UTM, own, (40, 40), "bilinear")
    assert ok.all()
    assert np.abs(values - centres(own, (40, 40))[0] / 100).max() <= 1
    if load.name == "stackstac":
        with pytest.raises(NotBuiltError, match="EPSG") as caught:
            load(Asset(str(path)), LAEA, affine, (40, 40), "bilinear")
        assert "--loader native" in caught.value.hint
        with pytest.raises(NotBuiltError, match="EPSG"):
            load(Asset(str(path)), UTM, north_up(own.c, own.f, 30), (10, 10), "mean")
        return
    values, _ = load(Asset(str(path)), LAEA, affine * Affine.translation(0.5, 0.5), (40, 40), "bilinear")
    assert np.abs(values - np.rint(at[0] / 100)[:40, :40]).max() <= 1


def test_types_that_a_float_cannot_hold_are_refused_or_right(load, tmp_path):
    stored = np.full((20, 20), (1 << 60) + 1, np.int64)
    path = write_tif(tmp_path / "a.tif", stored, UTM, north_up(X, Y, 10))
    if load.name == "native":
        np.testing.assert_array_equal(
            load(Asset(str(path)), UTM, north_up(X, Y, 10), (20, 20), "nearest")[0], stored
        )
        return
    with pytest.raises(NotBuiltError, match="int64"):
        load(Asset(str(path)), UTM, north_up(X, Y, 10), (20, 20), "nearest")


def test_across_the_date_line_it_is_right_or_refused(load, tmp_path):
    """A global file in degrees, and a chip across ±180: native goes round, the others say that they do not."""
    stored = np.full((180, 360), 9, np.uint8)
    path = write_tif(tmp_path / "a.tif", stored, "EPSG:4326", Affine(1, 0, -180, 0, -1, 90))
    x, y = transformer("EPSG:4326", "EPSG:32660").transform(180.0, 10.0)
    own = north_up(round(x) - 3200, round(y) + 3200, 100)
    if load.name == "native":
        values, ok = load(Asset(str(path)), "EPSG:32660", own, (64, 64), "nearest")
        assert ok.all()
        assert (values == 9).all()
        return
    with pytest.raises(NotBuiltError, match="180"):
        load(Asset(str(path)), "EPSG:32660", own, (64, 64), "nearest")


def test_a_loader_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(UsageError, match="gdal") as caught:
        loaders.get("gdal")
    assert all(name in caught.value.hint for name in ("native", "odc", "stackstac"))


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(loaders, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="odc-stac") as caught:
        loaders.get("odc")
    assert "pip install odc-stac" in caught.value.hint
    assert "chipweave.pixels.loaders" in sys.modules
