"""Masks by bits, on coarser grids, and grown by metres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import NotBuiltError
from chipweave.model import MaskRule
from chipweave.pixels import LayerRead, read_mask
from chipweave.pixels.masking import default_nodata, mask_on
from chipweave.pixels.masks import any_bit, dilate, disk, mask_codes
from tiny import UTM, assets, north_up, scene, write_tif

QA = MaskRule("qa_pixel", (1, 2, 3, 4), (0,), bits=True)
FMASK = MaskRule("fmask", (1, 2, 3), (), bits=True, fill=255)
X, Y = 600_000.0, 5_200_000.0


def test_landsat_codes():
    """Codes as they stand in files: fill, clear, water, cloud, shadow, dilated, cirrus, snow."""
    codes = np.array([1, 21824, 21952, 22280, 23888, 21826, 54596, 30048], np.uint16)
    expected = [255, 0, 0, 1, 1, 1, 1, 0]
    np.testing.assert_array_equal(mask_codes(codes, np.ones(8, bool), QA), expected)
    # Water (128) is not fill, whose bit it lacks; nor is 0, which no bit of is set.
    np.testing.assert_array_equal(mask_codes(np.array([0, 128], np.uint16), np.ones(2, bool), QA), [0, 0])


def test_fmask_codes():
    """Low aerosol alone, cloud, beside cloud, shadow, snow, water, fill, which has all bits set, and no data."""
    codes = np.array([64, 66, 68, 72, 80, 96, 255, 64], np.uint8)
    ok = np.array([True] * 7 + [False])
    np.testing.assert_array_equal(mask_codes(codes, ok, FMASK), [0, 1, 1, 1, 0, 0, 255, 255])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "int32", "uint32"]),
    st.sets(st.integers(0, 15), max_size=5),
    st.integers(0, 2**32),
)
def test_bits_against_python(dtype, bits, seed):
    info = np.iinfo(dtype)
    codes = np.random.default_rng(seed).integers(info.min, info.max, (5, 7), dtype=dtype, endpoint=True)
    expected = [[any(int(code) >> bit & 1 for bit in bits) for code in row] for row in codes]
    np.testing.assert_array_equal(any_bit(codes, bits), expected)


def test_what_is_no_data_where_nobody_says():
    assert default_nodata(QA) is None, "a bit's number is no code"
    assert default_nodata(FMASK) == 255.0
    assert default_nodata(MaskRule("scl", (3,), (0,))) == 0.0


def _file(tmp_path, codes, res=10.0):
    return assets(qa=write_tif(tmp_path / "qa.tif", codes, UTM, north_up(X, Y, res)))["qa"]


@pytest.mark.parametrize("res", [10.0, 20.0, 7.0])
def test_a_table_of_bits_gives_what_the_rule_gives(tmp_path, res):
    """Copied, from pixels of twice the side, and gathered: the short way by a table of all codes."""
    codes = np.random.default_rng(1).integers(0, 1 << 16, (40, 40)).astype(np.uint16)
    asset = _file(tmp_path, codes, res)
    got = mask_on(asset, QA, UTM, north_up(X + 20, Y - 20, 10.0), (20, 20), "nearest")
    at = np.floor((20 + 10 * (np.arange(20) + 0.5)) / res).astype(int)
    mine = codes[np.ix_(at, at)]
    np.testing.assert_array_equal(got, mask_codes(mine, np.ones(mine.shape, bool), QA))


def test_the_mode_is_of_what_pixels_are_and_not_of_their_codes(tmp_path):
    """Nine codes of 10 m in a pixel of 30 m: no code is bad as often as the commonest clear one, and most are bad."""
    cloudy = [[21824, 21824, 21824], [22280, 22018, 23888], [54596, 21826, 22281 & ~1]]
    clear = [[22280, 22280, 22280], [21824, 21952, 30048], [21888, 21956 & ~4, 21760]]
    empty = [[1, 1, 1], [1, 1, 21824], [21824, 21824, 22280]]
    half = [[1, 1, 1], [1, 22280, 21824], [22280, 22018, 23888]]
    codes = np.hstack([np.array(p, np.uint16) for p in (cloudy, clear, empty, half)])
    got = mask_on(_file(tmp_path, codes), QA, UTM, north_up(X, Y, 30.0), (1, 6), "mode")
    np.testing.assert_array_equal(got, [[1, 0, 255, 1, 255, 255]])
    # The codes' own mode would have said otherwise.
    values, counts = np.unique(np.array(cloudy), return_counts=True)
    assert mask_codes(values[counts.argmax()][None], np.ones(1, bool), QA)[0] == 0


def test_codes_that_are_classes_keep_their_mode(tmp_path):
    scl = MaskRule("scl", (8, 9), (0,))
    codes = np.array([[4, 4, 4], [4, 8, 8], [8, 9, 9]], np.uint8)
    assert mask_on(_file(tmp_path, codes), scl, UTM, north_up(X, Y, 30.0), (1, 1), "mode")[0, 0] == 0


def test_another_loader_says_that_it_cannot(tmp_path):
    asset = _file(tmp_path, np.full((9, 9), 21824, np.uint16))
    read = LayerRead((), {"qa_pixel": "mode"}, None, QA, loader="rioxarray")
    with pytest.raises(NotBuiltError, match="no mode of clear and bad"):
        read_mask(scene(assets={"qa_pixel": asset}), read, UTM, north_up(X, Y, 30.0), (3, 3))


def _grown(mask, metres, width, height):
    """By distances between all pairs of pixels."""
    bad, out = np.argwhere(mask == 1), mask.copy()
    for r, c in np.argwhere(mask == 0):
        if len(bad) and (np.hypot((bad[:, 0] - r) * height, (bad[:, 1] - c) * width) <= metres + 1e-6).any():
            out[r, c] = 1
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 9.9, 10.0, 15.0, 20.0, 33.0, 71.0]),
    st.sampled_from([(10.0, 10.0), (7.5, 10.0), (10.0, 3.0)]),
)
def test_growing_is_a_disk(seed, metres, pixel):
    mask = np.random.default_rng(seed).choice(np.array([0, 1, 255], np.uint8), (13, 17), p=[0.9, 0.04, 0.06])
    np.testing.assert_array_equal(dilate(mask, disk(metres, pixel)), _grown(mask, metres, *pixel))


def test_bad_pixels_grow_into_a_window_from_beyond_it(tmp_path):
    """A window's mask is the same, however it is cut; no data stays, and the file's edge is no wall."""
    rng = np.random.default_rng(4)
    codes = rng.choice(np.array([1, 21824, 22280], np.uint16), (60, 60), p=[0.1, 0.87, 0.03])
    own = scene(assets={"qa_pixel": _file(tmp_path, codes)})
    read = LayerRead((), {"qa_pixel": "nearest"}, None, QA, dilate_m=45.0)
    whole = read_mask(own, read, UTM, north_up(X, Y, 10.0), (60, 60))
    plain = mask_codes(codes, np.ones(codes.shape, bool), QA)
    np.testing.assert_array_equal(whole, _grown(plain, 45.0, 10.0, 10.0))
    assert (whole == 1).sum() > 2 * (plain == 1).sum()
    for r, c, h, w in ((0, 0, 8, 8), (20, 30, 7, 11), (52, 52, 8, 8), (10, 0, 1, 60)):
        part = read_mask(own, read, UTM, north_up(X + 10 * c, Y - 10 * r, 10.0), (h, w))
        np.testing.assert_array_equal(part, whole[r : r + h, c : c + w])
