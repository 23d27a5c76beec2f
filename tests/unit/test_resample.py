"""The pixel rules of the contract, section 3, on small arrays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.model import Asset
from chipweave.pixels import resample as room
from chipweave.pixels.bands import read_band
from chipweave.pixels.lattice import Grid, make_lattice
from chipweave.pixels.read import gdal_session
from chipweave.pixels.resample import choose_method, resample
from tiny import UTM, north_up, to_lonlat, write_tif

DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
X, Y = 600_000.0, 5_200_000.0
quick = settings(max_examples=8, deadline=None)


def warp(values, source, crs, affine, shape, method, valid=None, source_crs=UTM):
    """`resample` of an array that lies in memory."""
    valid = np.ones(values.shape, bool) if valid is None else valid
    reads = []

    def read(row, col, height, width):
        assert row >= 0
        assert col >= 0
        assert row + height <= values.shape[0]
        assert col + width <= values.shape[1]
        reads.append((row, col, height, width))
        window = np.s_[row : row + height, col : col + width]
        return np.ascontiguousarray(values[window]), np.ascontiguousarray(valid[window])

    target, row, col = Grid.anchored(crs, affine)
    grid = Grid(source_crs, source)
    out, ok = resample(grid, values.shape, target, (row, col, *shape), method, read, values.dtype)
    exact = method in {"mean", "cubic"} and np.issubdtype(values.dtype, np.integer)
    assert out.dtype == (np.float64 if exact else values.dtype)
    assert out.shape == ok.shape == tuple(shape)
    assert (out[~ok] == 0).all()
    return out, ok, reads


def some(dtype: str, shape, seed: int, *, low=None, high=None):
    """Random values of a type, over its whole range where nothing else is said."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return (rng.normal(size=shape) * 1000).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(
        info.min if low is None else low, info.max if high is None else high, shape, dtype, True
    )


def holes(shape, seed: int, share=0.3):
    return np.random.default_rng(seed + 1).random(shape) >= share


def under(source, shape, target, out_shape):
    """Fractional (row, col) of the target's centres in the source, and the index of the pixel under each."""
    cols, rows = np.meshgrid(np.arange(out_shape[1]) + 0.5, np.arange(out_shape[0]) + 0.5)
    u, v = ~source * (target * (cols, rows))
    i, j = np.floor(v + 2**-17).astype(int), np.floor(u + 2**-17).astype(int)
    inside = (i >= 0) & (j >= 0) & (i < shape[0]) & (j < shape[1])
    return v, u, np.clip(i, 0, shape[0] - 1), np.clip(j, 0, shape[1] - 1), inside


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", DTYPES)
@quick
@given(st.integers(0, 2**32), st.integers(-12, 12), st.integers(-12, 12))
def test_where_grids_coincide_values_are_copied(method, dtype, seed, row, col):
    values, valid = some(dtype, (11, 9), seed), holes((11, 9), seed)
    target = north_up(X + 10 * col, Y - 10 * row, 10)
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, target, (7, 8), method, valid)
    wide, there = np.zeros((60, 60), dtype), np.zeros((60, 60), bool)
    wide[20:31, 20:29], there[20:31, 20:29] = np.where(valid, values, 0), valid
    window = np.s_[20 + row : 27 + row, 20 + col : 28 + col]
    np.testing.assert_array_equal(ok, there[window])
    np.testing.assert_array_equal(out, wide[window])


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_bilinear_holds_the_largest_integers(dtype):
    info = np.iinfo(dtype)
    values = np.array([[info.max, info.max, info.max], [info.min, info.min, 0]], dtype)
    valid = np.array([[True, True, True], [True, True, False]])
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, north_up(X, Y, 5), (4, 6), "bilinear", valid)
    assert ok[:, :4].all()
    assert (out[0] == info.max).all()
    assert (out[3, :3] == info.min).all()
    span = info.max - info.min
    assert abs(int(out[1, 0]) - (info.max - span // 4)) <= 1
    assert abs(int(out[2, 0]) - (info.min + span // 4)) <= 1
    # Beside the hole: weights 9, 3 and 3 of 15.
    assert abs(int(out[1, 3]) - (info.min + span * 12 // 15)) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@quick
@given(
    st.integers(-5, 5),
    st.integers(-5, 5),
    st.floats(0.31, 2.3),
    st.floats(-9, 9),
    st.floats(-9, 9),
    st.floats(-180, 180),
)
def test_bilinear_of_a_plane_is_exact_to_rounding(dtype, a, b, scale, dx, dy, turn):
    """On sources turned by any angle, mirrored ones too."""
    rows, cols = np.mgrid[:20, :24]
    values = (124 + a * (cols - 12) + b * (rows - 10)).astype(dtype)
    flip = Affine.scale(1, -1) if dx > 0 else Affine.identity()
    source = (
        Affine.translation(X, Y)
        * Affine.rotation(turn)
        * flip
        * Affine.translation(-120, 100)
        * north_up(0, 0, 10)
    )
    target = north_up(X - 150 + dx, Y + 150 + dy, 10 * scale)
    v, u, _, _, _ = under(source, values.shape, target, (30, 30))
    out, ok, _ = warp(values, source, UTM, target, (30, 30), "bilinear")
    inner = (u > 0.51) & (v > 0.51) & (u < 23.49) & (v < 19.49)
    assert inner.any()
    assert ok[inner].all()
    expected = 124 + a * (u - 12.5) + b * (v - 10.5)
    rounding = 0 if dtype == "float32" else 0.5
    assert np.abs(out - expected)[inner].max() <= rounding + (abs(a) + abs(b)) * 2**-16 + 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@quick
@given(st.integers(0, 2**32), st.floats(0.4, 2.5), st.floats(-60, 60), st.floats(-60, 60))
def test_bilinear_blends_data_alone(dtype, seed, scale, dx, dy):
    """Data where the source pixel under the centre is; within the range of data beside it; no poison leaks."""
    values, valid = some(dtype, (14, 13), seed), holes((14, 13), seed)
    poison = np.iinfo(dtype).max if dtype != "float32" else np.float32(1e30)
    values[~valid] = poison
    target = north_up(X + dx, Y + dy, 10 * scale)
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, target, (9, 9), "bilinear", valid)
    v, u, i, j, inside = under(north_up(X, Y, 10), values.shape, target, (9, 9))
    unsure = (np.abs(u - np.round(u)) < 1e-4) | (np.abs(v - np.round(v)) < 1e-4)
    np.testing.assert_array_equal((ok == (inside & valid[i, j])) | unsure, True)
    framed = np.pad(np.where(valid, values.astype(float), np.nan), 1, constant_values=np.nan)
    for r, c in np.argwhere(ok & ~unsure):
        near = framed[i[r, c] : i[r, c] + 3, j[r, c] : j[r, c] + 3]
        assert np.nanmin(near) - 1e-3 <= out[r, c] <= np.nanmax(near) + 1e-3


def test_weights_are_renormalised_over_data():
    """A centre a quarter from its source centre on both axes, with one neighbour missing: 9, 3, 3 of 15."""
    values = np.array([[100, 40], [70, 999]], np.uint16)
    valid = np.array([[True, True], [True, False]])
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, north_up(X + 5, Y - 5, 5), (1, 1), "bilinear", valid)
    assert ok[0, 0]
    assert out[0, 0] == np.floor((9 * 100 + 3 * 40 + 3 * 70) / 15 + 0.5)


def test_half_rounds_up_for_positive_and_negative_values():
    for values, expected in (([[1, 2]], 2), ([[-2, -1]], -1)):
        source = north_up(X, Y, 10)
        out, _, _ = warp(np.array(values, np.int16), source, UTM, north_up(X + 5, Y, 10), (1, 1), "bilinear")
        assert out[0, 0] == expected


@pytest.mark.parametrize("shape", [(3, 3), (6, 5)])
def test_nearest_on_a_pixels_edge_takes_the_one_right_and_below(shape):
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    target = north_up(X + 5, Y - 5, 10)  # every centre on a corner of four pixels
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, target, shape, "nearest")
    assert ok.all()
    np.testing.assert_array_equal(out, values[1 : shape[0] + 1, 1 : shape[1] + 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [2, 3, 5])
@quick
@given(st.integers(0, 2**32), st.integers(-3, 6), st.integers(-3, 6), st.floats(0, 0.9))
def test_mean_over_whole_multiples_is_the_mean_of_the_block(dtype, ratio, seed, row, col, share):
    """Data where at least half of the centres are, those beyond the file counted missing; nothing is rounded yet."""
    values, valid = some(dtype, (17, 19), seed), holes((17, 19), seed, share)
    target = north_up(X + 10 * ratio * col, Y - 10 * ratio * row, 10 * ratio)
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, target, (6, 5), "mean", valid)
    for r in range(6):
        for c in range(5):
            i, j = (r + row) * ratio, (c + col) * ratio
            block = np.s_[max(i, 0) : max(i + ratio, 0), max(j, 0) : max(j + ratio, 0)]
            inner = values[block][valid[block]]
            assert ok[r, c] == (2 * inner.size >= ratio**2)
            if not ok[r, c]:
                continue
            if dtype == "float32":
                assert out[r, c] == pytest.approx(inner.mean(dtype=float), rel=1e-6, abs=1e-3)
            else:
                assert out[r, c] == sum(map(int, inner)) / inner.size


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@quick
@given(st.integers(0, 2**32), st.integers(2, 4), st.floats(0, 0.9), st.integers(2, 5))
def test_mode_is_the_most_frequent_and_of_equals_the_smallest(dtype, seed, ratio, share, classes):
    values, valid = some(dtype, (16, 16), seed, low=0, high=classes), holes((16, 16), seed, share)
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, north_up(X, Y, 10 * ratio), (5, 5), "mode", valid)
    for r in range(5):
        for c in range(5):
            block = np.s_[r * ratio : (r + 1) * ratio, c * ratio : (c + 1) * ratio]
            inner = values[block][valid[block]]
            assert ok[r, c] == (inner.size > 0 and 2 * inner.size >= ratio**2)
            if ok[r, c]:
                counts = Counter(inner.tolist())
                assert out[r, c] == min(k for k, n in counts.items() if n == max(counts.values()))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@quick
@given(st.integers(0, 2**32), st.integers(2, 4), st.floats(0, 0.9), st.integers(2, 200))
def test_the_mode_of_many_values_is_found_by_sorting_and_is_the_same(dtype, seed, ratio, share, classes):
    values = some("uint16", (16, 16), seed, low=0, high=classes).astype(dtype)
    args = (
        values,
        north_up(X, Y, 10),
        UTM,
        north_up(X, Y, 10 * ratio),
        (5, 5),
        "mode",
        holes((16, 16), seed, share),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "CODES", 0)
        many = warp(*args)
        patch.setattr(room, "CODES", 1000)
        few = warp(*args)
    np.testing.assert_array_equal(many[0], few[0])
    np.testing.assert_array_equal(many[1], few[1])


@pytest.mark.parametrize("method", ["mean", "mode"])
def test_a_finer_target_has_no_holes(method):
    """`resample: mean` where the target is the finer grid: most pixels hold no source centre, but have a value."""
    values = some("uint16", (8, 8), 3, low=1, high=2000)
    target = north_up(X, Y, 4)
    out, ok, _ = warp(values, north_up(X, Y, 10), UTM, target, (20, 20), method)
    assert ok.all()
    own = "nearest" if method == "mode" else "bilinear"
    at_centre = warp(values, north_up(X, Y, 10), UTM, target, (20, 20), own)[0]
    held = np.ix_(*[[(k * 10 + 5) // 4 for k in range(8)]] * 2)  # where a source centre lies inside
    np.testing.assert_array_equal(out[held], values)
    at_centre[held] = values
    np.testing.assert_array_equal(out, at_centre)


def beside(crs, affine, source_crs, res, shape, back=0.4):
    """Affine of a source of `shape` whose upper left lies a part of its size off the window's."""
    lon, lat = to_lonlat(crs, affine.c, affine.f)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", source_crs, always_xy=True).transform(lon, lat)
    x0, y0 = x - back * shape[1] * res, y + back * shape[0] * res
    return north_up(np.floor(x0 / res) * res, np.ceil(y0 / res) * res, res)


def case(crs, affine, source_crs, res, shape):
    return crs, affine, source_crs, beside(crs, affine, source_crs, res, shape), shape


CASES = {
    "next zone": case("EPSG:32633", north_up(150_003.0, 5_205_007.0, 10), UTM, 10, (64, 64)),
    "degrees": case(UTM, north_up(600_003.0, 5_199_307.0, 10), "EPSG:4326", 1 / 12000, (90, 90)),
    "laea": case(UTM, north_up(600_003.0, 5_199_307.0, 10), "EPSG:3035", 25, (40, 40)),
    "rotated": (UTM, north_up(X, Y, 7), UTM, Affine.translation(X, Y - 300) * Affine.rotation(33) * Affine.scale(4, 4),
                (99, 99)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "mean", "mode"])
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=4, deadline=None)
@given(st.data())
def test_windows_cut_anywhere_equal_the_whole(case, method, dtype, data):
    crs, affine, source_crs, source, shape = CASES[case]
    values = some(dtype, shape, 5, low=0, high=9)
    valid = holes(shape, 5, 0.1)
    whole, ok, _ = warp(values, source, crs, affine, (70, 64), method, valid, source_crs)
    assert ok.any()
    assert not ok.all()
    r, c = data.draw(st.integers(0, 66)), data.draw(st.integers(0, 60))
    h, w = data.draw(st.integers(1, 70 - r)), data.draw(st.integers(1, 64 - c))
    part = affine * Affine.translation(c, r)
    out, there, _ = warp(values, source, crs, part, (h, w), method, valid, source_crs)
    np.testing.assert_array_equal(there, ok[r : r + h, c : c + w])
    np.testing.assert_array_equal(out, whole[r : r + h, c : c + w])


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "mean", "mode"])
def test_large_windows_are_done_in_parts_and_are_the_same(method, monkeypatch):
    crs, affine, source_crs, source, shape = CASES["next zone"]
    values, valid = some("uint16", shape, 6, low=0, high=9), holes(shape, 6)
    whole = warp(values, source, crs, affine, (150, 130), method, valid, source_crs)
    monkeypatch.setattr(room, "LARGE", 900)
    parts = warp(values, source, crs, affine, (150, 130), method, valid, source_crs)
    assert len(parts[2]) > 2 >= len(whole[2])
    for mine, theirs in zip(parts[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "mean", "mode"])
def test_a_source_that_is_not_north_up_is_read_as_it_lies(method):
    """South-up, and turned by a quarter: the same ground, the same pixels."""
    values, valid = some("int16", (20, 20), 8), holes((20, 20), 8)
    target, shape = north_up(X + 1, Y - 2, 21 if method in {"mean", "mode"} else 7), (9, 9)
    expected = warp(values, north_up(X, Y, 10), UTM, target, shape, method, valid)
    south_up = Affine(10, 0, X, 0, 10, Y - 200)
    quarter = Affine(0, 10, X, -10, 0, Y)
    for source, turn in ((south_up, lambda a: a[::-1]), (quarter, lambda a: a.T)):
        got = warp(turn(values), source, UTM, target, shape, method, turn(valid))
        np.testing.assert_array_equal(got[1], expected[1])
        if method != "mode":
            np.testing.assert_array_equal(got[0], expected[0])


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "mean", "mode"])
def test_a_file_that_lies_elsewhere_is_not_read(method):
    values = some("uint8", (10, 10), 1)
    for x, y in ((X + 5000, Y), (X, Y - 5000), (X - 90_000, Y + 90_000)):
        _, ok, reads = warp(values, north_up(X, Y, 10), UTM, north_up(x, y, 10), (8, 8), method)
        assert not ok.any()
        assert not reads


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_pixels_are_the_same_across_the_date_line(method):
    """Tiles of classes in degrees on both sides of ±180°, onto a chip of zone 60 that lies across it."""
    px = 1 / 1200
    west, east = some("uint8", (60, 60), 2), some("uint8", (60, 60), 3)
    target, shape = north_up(816_000.0, 8_230_000.0, 100), (40, 96)
    both = [
        warp(v, north_up(left, -16.0, px), "EPSG:32760", target, shape, method, source_crs="EPSG:4326")[:2]
        for v, left in ((west, 180 - 60 * px), (east, -180.0))
    ]
    globe = np.concatenate([west, east], axis=1)  # the same ground without a seam
    whole, ok, _ = warp(globe, north_up(180 - 60 * px, -16.0, px), "EPSG:32760", target, shape, "nearest",
                        source_crs="EPSG:4326")  # fmt: skip
    assert both[0][1].any()
    assert both[1][1].any()
    np.testing.assert_array_equal(both[0][1] | both[1][1], ok)
    assert not (both[0][1] & both[1][1]).any()
    if method == "nearest":
        np.testing.assert_array_equal(np.where(both[0][1], both[0][0], both[1][0]), whole)


@pytest.mark.parametrize(
    ("kind", "source", "target", "expected"),
    [
        ("imagery", 100, 100, "bilinear"), ("imagery", 100, 199, "bilinear"), ("imagery", 100, 200, "mean"),
        ("class", 100, 199, "nearest"), ("class", 100, 200, "mode"), ("imagery", 3600, 100, "bilinear"),
    ],
)  # fmt: skip
def test_twice_the_area_is_coarser(kind, source, target, expected):
    assert choose_method(kind, source, target) == expected
    assert choose_method(kind, source, target, "nearest") == "nearest"


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_a_files_own_nodata_is_no_data(tmp_path, dtype, shift):
    """Stated by the file, by the item, or by the collection, in this order of weight from the last."""
    values = some(dtype, (12, 12), 4, low=1, high=100)
    floats = np.issubdtype(dtype, np.floating)
    values[2:5, 3:6] = np.nan if floats else 0
    values[8, 8] = 7
    path = write_tif(tmp_path / "a.tif", values, UTM, north_up(X, Y, 10), float("nan") if floats else 0)
    untold = write_tif(tmp_path / "b.tif", values, UTM, north_up(X, Y, 10))
    window = (UTM, north_up(X + shift, Y, 10), (11, 11), "nearest")
    with gdal_session():
        own = read_band(Asset(str(path)), None, *window)[1]
        by_collection = read_band(Asset(str(untold)), 0, *window)[1]
        by_item = read_band(Asset(str(path), nodata=7), 0, *window)[1]
        out, ok = read_band(Asset(str(path)), 0, *window[:3], "bilinear")
    expected = np.ones((11, 11), bool)
    expected[2:5, 3:6] = False
    np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(by_collection, expected)
    np.testing.assert_array_equal(ok, expected)
    assert np.isfinite(out[ok].astype(float)).all()
    seven = values[:11, :11] != 7
    np.testing.assert_array_equal(by_item, (seven & expected) if floats else seven)


@pytest.mark.parametrize(
    "affine", [north_up(X, Y, 10), Affine(10, 0, X, 0, 10, Y - 90), Affine(0, 10, X, -10, 0, Y)]
)
def test_reading_a_file_is_the_same_as_its_array(tmp_path, affine):
    """Through GDAL, on the file's grid (copied) and off it; over its edges; a chip in pieces."""
    values = some("uint16", (9, 9), 9, low=1, high=4000)
    asset = Asset(str(write_tif(tmp_path / "a.tif", values, UTM, affine, 0)))
    with gdal_session():
        for shift in (0.0, 4.0):
            target = north_up(X - 20 + shift, Y + 30, 10)
            for method in ("nearest", "bilinear"):
                out, ok = read_band(asset, None, UTM, target, (14, 14), method)
                expected = warp(values, affine, UTM, target, (14, 14), method)
                np.testing.assert_array_equal(ok, expected[1])
                np.testing.assert_array_equal(out, expected[0])
                assert ok.sum() in {72, 81}
                part = read_band(asset, None, UTM, target * Affine.translation(5, 6), (4, 3), method)[0]
                np.testing.assert_array_equal(part, out[6:10, 5:8])


def test_the_block_that_is_read_fits_the_window():
    """Not a file of 10 980 px for a chip of 16."""
    values = np.ones((2000, 2000), np.uint8)
    for method, most in (("nearest", 19), ("bilinear", 19), ("mean", 56), ("mode", 56)):
        res = 10 if method in {"nearest", "bilinear"} else 30
        _, _, reads = warp(
            values, north_up(X, Y, 10), UTM, north_up(X + 5003, Y - 5003, res), (16, 16), method
        )
        ((_, _, height, width),) = reads
        assert max(height, width) <= most


def test_a_lattice_of_the_source_reaches_every_centre_inside():
    """The block of a coarse window holds all centres that fall into it, also where the grids are turned."""
    crs, affine, source_crs, source, shape = CASES["rotated"]
    target, row, col = Grid.anchored(crs, affine)
    values = np.ones(shape, np.float32)
    _, ok, reads = warp(values, source, crs, affine, (10, 10), "mean", source_crs=source_crs)
    qu, qv = make_lattice(Grid(source_crs, source), target, 0, 0, *shape).fixed()
    inside = (
        ((qu >> 16) - col >= 0) & ((qu >> 16) - col < 10) & ((qv >> 16) - row >= 0) & ((qv >> 16) - row < 10)
    )
    rows, cols = np.nonzero(inside)
    assert ok.any()
    r, c, h, w = reads[0]
    assert r <= rows.min()
    assert rows.max() < r + h
    assert c <= cols.min()
    assert cols.max() < c + w
