"""Files that hide pixels by a mask of their own, inside or beside them: as if these pixels held a value of no data."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from test_catalog_web import ranged, serve

from chipweave.catalog.footprint import projected
from chipweave.labels import LabelRead, read_label
from chipweave.labels.remap import Recode
from chipweave.model import Asset, Legend, LegendClass
from chipweave.pixels import bands, counts, gdal_session, source_grid
from chipweave.shards.reader import Reader
from tiny import UTM, north_up, scene, write_tif
from worlds import harness

X, Y, SIDE = 600_000.0, 5_250_000.0, 150
WINDOWS = {
    "same": (UTM, north_up(X + 50, Y - 30, 10.0), (130, 90)),
    "beyond": (UTM, north_up(X - 200, Y + 90, 10.0), (60, 70)),
    "off": (UTM, north_up(X + 53, Y - 38, 10.0), (80, 90)),
    "halves": (UTM, north_up(X + 50, Y - 30, 5.0), (100, 101)),
    "coarse": (UTM, north_up(X + 60, Y - 60, 60.0), (20, 20)),
    "next zone": ("EPSG:32633", north_up(147_400.0, 5_259_150.0, 10.0), (80, 80)),
}
METHODS = ("nearest", "bilinear", "cubic", "mean", "mode")


def stored(dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(0, 100, (SIDE, SIDE)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -9000), min(info.max, 20000), (SIDE, SIDE), endpoint=True).astype(dtype)


def seen(seed=1):
    """Where the mask lets through: not at a corner, and not at single pixels."""
    found = np.random.default_rng(seed).random((SIDE, SIDE)) > 0.03
    found[:40, :30] = False
    return found


def masked(path, values, mask, *, inside=True, nodata=None, count=1, **more):
    profile = {
        "driver": "GTiff", "width": SIDE, "height": SIDE, "count": count, "dtype": values.dtype, "crs": UTM,
        "transform": north_up(X, Y, 10.0), "tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": nodata,
        "compress": "deflate",
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "w", **profile | more) as out:
        for band in range(count):
            out.write(values, band + 1)
        out.write_mask(mask)
    assert path.with_name(path.name + ".msk").is_file() is not inside
    return str(path)


def coded(path, values, mask, code, dtype):
    """The same pixels without a mask, in a type that has room for a code."""
    wide = values.astype(dtype)
    wide[~mask] = code
    return str(write_tif(path, wide, UTM, north_up(X, Y, 10.0), nodata=code))


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("dtype", "wider", "code"),
    [
        ("uint8", "int16", -7),
        ("int16", "int32", -40000),
        ("uint16", "int32", -7),
        ("int32", "float64", -9e9),
        ("float32", "float32", np.nan),
    ],
)
def test_what_is_hidden_is_no_data_under_every_rule(tmp_path, dtype, wider, code, inside):
    values, mask = stored(np.dtype(dtype)), seen()
    own = Asset(masked(tmp_path / "own.tif", values, mask, inside=inside))
    twin = Asset(coded(tmp_path / "twin.tif", values, mask, code, wider))
    with gdal_session():
        for name, window in WINDOWS.items():
            for method in METHODS:
                if wider == "float64" and method in {"bilinear", "cubic", "mean"}:
                    continue  # of whole numbers these are rounded
                got, ok = bands.read_band(own, None, *window, method)
                expected, known = bands.read_band(twin, None, *window, method)
                np.testing.assert_array_equal(ok, known, err_msg=f"{name} {method}")
                np.testing.assert_array_equal(got[ok], expected[ok], err_msg=f"{name} {method}")
                assert not ok.all()
                assert ok.any()


@pytest.mark.parametrize("window", WINDOWS)
def test_the_short_ways_leave_it_out_as_well(tmp_path, window):
    assets = [
        Asset(masked(tmp_path / f"{n}.tif", stored(np.dtype("uint8"), n), seen(n)), add=-3.0 * n)
        for n in range(3)
    ]
    twins = [
        Asset(coded(tmp_path / f"{n}t.tif", stored(np.dtype("uint8"), n), seen(n), -1, "int16"), add=-3.0 * n)
        for n in range(3)
    ]
    args = (None, *WINDOWS[window], ["bilinear"] * 3)
    with gdal_session():
        own, twin = bands.read_int16(assets, *args), bands.read_int16(twins, *args)
        floats = bands.read_float32(assets, *args), bands.read_float32(twins, *args)
    np.testing.assert_array_equal(own, twin)
    np.testing.assert_array_equal(*floats)
    assert (own == -32768).any()
    assert (own != -32768).any()


def test_a_stated_value_of_no_data_counts_beside_the_mask(tmp_path):
    values, mask = stored(np.dtype("uint8")), seen()
    path = masked(tmp_path / "a.tif", values, mask)
    window = (UTM, north_up(X, Y, 10.0), (SIDE, SIDE))
    with gdal_session():
        for nodata, default in ((9.0, None), (9.0, 3.0), (None, 9.0)):
            got, ok = bands.read_band(Asset(path, nodata=nodata), default, *window, "nearest")
            np.testing.assert_array_equal(ok, mask & (values != 9))
            np.testing.assert_array_equal(got[ok], values[ok])
        for nodata in (float("nan"), 2.5, 1e12):  # which no stored pixel holds
            np.testing.assert_array_equal(
                bands.read_band(Asset(path, nodata=nodata), None, *window, "nearest")[1], mask
            )
        floats = masked(tmp_path / "f.tif", values.astype(np.float32), mask)
        ok = bands.read_band(Asset(floats, nodata=9.0), None, *window, "nearest")[1]
        np.testing.assert_array_equal(ok, mask & (values != 9))


def test_a_file_that_states_no_data_is_read_by_that_alone_whatever_driver_opens_it(tmp_path):
    values, mask = stored(np.dtype("uint8")), seen()
    window = (UTM, north_up(X, Y, 10.0), (SIDE, SIDE))
    with gdal_session():
        for inside in (True, False):
            path = masked(tmp_path / f"{inside}.tif", values, mask, inside=inside, nodata=9)
            ok = bands.read_band(Asset(path), None, *window, "nearest")[1]
            np.testing.assert_array_equal(ok, values != 9)


def test_an_alpha_band_is_a_band(tmp_path):
    """The fourth of four bands of bytes is tagged so by GDAL itself, infrared or not."""
    values = np.random.default_rng(3).integers(0, 4, (4, SIDE, SIDE)).astype(np.uint8)
    path = tmp_path / "rgbn.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=4, dtype="uint8", crs=UTM,
        transform=north_up(X, Y, 10.0),
    ) as out:  # fmt: skip
        out.write(values)
        assert out.colorinterp[3].name == "alpha"
    with gdal_session():
        for band in range(4):
            got, ok = bands.read_band(
                Asset(str(path), band + 1), None, UTM, north_up(X, Y, 10.0), (SIDE, SIDE), "nearest"
            )
            assert ok.all()
            np.testing.assert_array_equal(got, values[band])


def test_the_bands_of_a_file_share_its_mask_which_is_decoded_once(tmp_path):
    path = masked(tmp_path / "a.tif", stored(np.dtype("uint8")), seen(), count=3, interleave="band")
    window = (UTM, north_up(X + 13, Y - 17, 10.0), (64, 64))
    with gdal_session():
        counts.reset()
        for band in (1, 2, 3):
            bands.read_band(Asset(path, band), None, *window, "bilinear")
    assert counts.decoded == 4 * 4


def test_over_http_it_is_the_same(tmp_path):
    values, mask = stored(np.dtype("uint16")), seen()
    path = masked(tmp_path / "a.tif", values, mask)
    with serve(ranged((tmp_path / "a.tif").read_bytes())) as server, gdal_session():
        far = bands.read_band(Asset(f"{server.url}/a.tif"), None, *WINDOWS["off"], "bilinear")
        near = bands.read_band(Asset(path), None, *WINDOWS["off"], "bilinear")
    np.testing.assert_array_equal(far[0], near[0])
    np.testing.assert_array_equal(far[1], near[1])
    assert not near[1].all()


def test_classes_that_are_hidden_are_no_class(tmp_path):
    codes = np.random.default_rng(2).integers(1, 4, (SIDE, SIDE)).astype(np.uint8)
    legend = Legend("s", tuple(LegendClass(c, str(c), "#000000") for c in (1, 2, 3)), 0)
    mask = seen()
    item = scene(layer="lc", assets={"map": Asset(masked(tmp_path / "a.tif", codes, mask))})
    read = LabelRead(legend, "nearest", None, "map", recode=Recode.of(legend, None, legend))
    with gdal_session():
        got = read_label(item, read, UTM, north_up(X, Y, 10.0), (SIDE, SIDE))
    np.testing.assert_array_equal(got, np.where(mask, codes, 0))


def test_whole_numbers_for_which_no_wider_type_has_room_are_refused(tmp_path):
    path = masked(tmp_path / "a.tif", np.zeros((SIDE, SIDE), np.int64), seen())
    with gdal_session(), pytest.raises(Exception, match="a mask beside int64, which is not read"):
        source_grid(path)


@pytest.mark.parametrize("inside", [True, False])
def test_a_build_of_a_photo_with_a_mask(tmp_path, inside):
    """Three bands of bytes with a white frame that the mask hides: each value is a value, the frame is none."""
    values, mask = stored(np.dtype("uint8")), seen()
    masked(tmp_path / "dop_2021-07-01.tif", values, mask, inside=inside, count=3, photometric="RGB")
    centre = projected(UTM, ((X + 50, Y - 50), (X + 900, Y - 50), (X + 900, Y - 900), (X + 50, Y - 900)))
    recipe = {
        "version": 1, "area": {"bbox": list(centre.bounds), "rule": "intersects"},
        "chips": {"size": 32, "resolution": 10, "lattice": {"anchor": [X, Y]}, "crs": UTM},
        "imagery": {"photo": {"collection": "local", "catalog": ".", "bands": ["red", "blue"], "time": "2021"}},
    }  # fmt: skip
    out = harness.build(tmp_path, recipe)
    with Reader(out) as reader:
        assert len(reader.keys) >= 9
        for key in reader.keys:
            said, arrays = reader.read(key)
            west, north = said["transform"][2], said["transform"][5]
            row, col = round((Y - north) / 10), round((west - X) / 10)
            inner = np.s_[row : row + 32, col : col + 32]
            expected = np.where(mask[inner], values[inner].astype(np.int16), -32768)
            for band in arrays["photo"]:
                np.testing.assert_array_equal(band, expected, err_msg=key)
    assert harness.chipweave("verify", out, "--alignment").returncode == 0
