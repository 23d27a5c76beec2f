"""Scenes laid over each other, masks, and stored numbers made ours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import PermanentSourceError, TransientSourceError
from chipweave.labels import LabelRead, read_label, said_of_classes
from chipweave.model import Asset, Legend, LegendClass, MaskRule
from chipweave.pixels import (
    LayerRead,
    SceneArrays,
    compose,
    compose_masks,
    gdal_session,
    mask_codes,
    mask_shares,
    read_mask,
    read_scene,
)
from chipweave.pixels.fused import darkest
from chipweave.pixels.fused import whole as where_whole
from chipweave.pixels.masks import one_of
from chipweave.pixels.radiometry import INT16_NODATA, to_int16
from chipweave.pixels.read import classify, source_grid
from tiny import UTM, assets, north_up, scene, write_tif

X, Y = 600_000.0, 5_200_000.0
SCL = MaskRule("scl", (3, 8, 9, 10), (0,))
_ = INT16_NODATA


def arrays(values, mask=None) -> SceneArrays:
    return SceneArrays(
        np.array(values, np.int16)[:, None, :], None if mask is None else np.array(mask, np.uint8)[None, :]
    )


def test_a_pixel_comes_whole_from_the_first_scene_that_has_all_of_it():
    first = arrays([[1, _, _, _, 1], [2, 2, _, _, _]], [0, 1, 255, 255, 1])
    second = arrays([[10, 11, 12, _, _], [20, 21, 22, 23, _]], [1, 0, 1, 0, 0])
    third = arrays([[30, 31, 32, 33, 34], [40, 41, 42, _, 44]], [0, 0, 0, 0, 255])
    values, mask, used, full = compose([first, second, third])
    np.testing.assert_array_equal(full, (values != INT16_NODATA).all(axis=0))
    # Pixel 3: no scene has both bands, so each band is the first scene's that has it, and so is the mask.
    np.testing.assert_array_equal(values[:, 0], [[1, 11, 12, 33, 34], [2, 21, 22, 23, 44]])
    np.testing.assert_array_equal(mask[0], [0, 0, 1, 0, 255])
    assert used == [True, True, True]
    assert first.values[0, 0, 1] == _, "the scenes themselves stay as they were read"


def test_a_scene_that_gave_no_pixel_was_not_used():
    """Neither one that is covered, nor one whose lone band gave way to a whole pixel, nor an empty one."""
    lone, empty = arrays([[5, _], [_, _]]), arrays([[_, _], [_, _]])
    whole, covered = arrays([[1, 2], [3, 4]]), arrays([[7, 7], [8, 8]])
    assert compose([whole, covered])[2] == [True, False]
    assert compose([lone, empty, whole])[2] == [False, False, True]
    assert compose([empty])[2] == [False]
    assert compose([lone])[2] == [True]
    assert compose([whole])[1] is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3))
def test_compose_against_a_loop_over_pixels(seed, n, bands):
    rng = np.random.default_rng(seed)
    scenes = []
    for k in range(n):
        values = np.where(
            rng.random((bands, 4, 5)) < 0.5, INT16_NODATA, 100 * k + rng.integers(1, 99, (bands, 4, 5))
        )
        scenes.append(SceneArrays(values.astype(np.int16), rng.choice([0, 1, 255], (4, 5)).astype(np.uint8)))
    values, mask, used, full = compose(scenes)
    np.testing.assert_array_equal(full, (values != INT16_NODATA).all(axis=0))
    gave = [False] * n
    for r in range(4):
        for c in range(5):
            whole = [k for k in range(n) if (scenes[k].values[:, r, c] != _).all()]
            if whole:
                np.testing.assert_array_equal(values[:, r, c], scenes[whole[0]].values[:, r, c])
                assert mask[r, c] == scenes[whole[0]].mask[r, c]
                gave[whole[0]] = True
                continue
            for b in range(bands):
                has = [k for k in range(n) if scenes[k].values[b, r, c] != _]
                assert values[b, r, c] == (scenes[has[0]].values[b, r, c] if has else _)
                if has:
                    gave[has[0]] = True
            known = [s.mask[r, c] for s in scenes if s.mask[r, c] != 255]
            assert mask[r, c] == (known[0] if known else 255)
    assert used == gave


def test_masks_of_a_mosaic_and_what_is_counted_on_them():
    np.testing.assert_array_equal(compose_masks([np.array([255, 1, 255], np.uint8), np.array([0, 0, 255], np.uint8)]),
                                  [0, 1, 255])  # fmt: skip
    assert mask_shares(np.array([[0, 1], [1, 255]], np.uint8)) == (2 / 3, 0.75)
    assert mask_shares(np.full((2, 2), 255, np.uint8)) == (0.0, 0.0)


def test_scene_classes_to_a_mask():
    """3, 8, 9, 10 are bad, 0 is no data, 1 (saturated) and all others are clear; so is nothing without data."""
    codes = np.arange(13, dtype=np.uint8)
    expected = [255, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    np.testing.assert_array_equal(mask_codes(codes, np.ones(13, bool), SCL), expected)
    assert (mask_codes(codes, np.zeros(13, bool), SCL) == 255).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]),
    st.lists(st.integers(-5, 70_000), max_size=6),
    st.integers(0, 2**32),
)
def test_one_of_is_isin(dtype, wanted, seed):
    codes = np.random.default_rng(seed).integers(0, 255, (4, 9)).astype(dtype)
    wanted = [*wanted, int(codes[0, 0])]
    np.testing.assert_array_equal(one_of(codes, wanted), np.isin(codes.astype(int), wanted))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_reflectance_is_shifted_clipped_and_counted(dtype):
    stored = np.array([1, 999, 1000, 32767, 1001, 5], dtype)
    ok = np.array([1, 1, 1, 1, 1, 0], bool)
    out = to_int16(stored, ok, 1.0, -1000.0)
    np.testing.assert_array_equal(out, [-999, -1, 0, 31767, 1, _])
    assert out.dtype == np.int16
    assert darkest(out.reshape(1, 1, -1), 0, 0)[0] == 0
    high = to_int16(np.array([65535, 33767, 33768], np.uint16), np.ones(3, bool), 1.0, -1000.0)
    np.testing.assert_array_equal(high, [32767, 32767, 32767])
    assert darkest(high.reshape(1, 1, -1), 0, 0)[0] == 3
    low = to_int16(np.array([-32768, -32767], np.int16), np.ones(2, bool), 1.0, -1000.0)
    assert (low == -32767).all(), "clipped data never becomes no data"


def test_reflectance_with_a_gain_is_rounded():
    stored = np.array([[0.0001, 0.12344], [0.12346, np.nan]], np.float32)
    out = to_int16(stored, np.isfinite(stored), 10_000.0, 0.0)
    np.testing.assert_array_equal(out, [[1, 1234], [1235, _]])
    np.testing.assert_array_equal(
        to_int16(np.array([10, 20], np.uint16), np.ones(2, bool), 2.5, -0.5), [24, 50]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 65535), st.integers(-2000, 2000))
def test_to_int16_is_the_plain_rule(stored, add):
    out = to_int16(np.array([stored], np.uint16), np.array([True]), 1.0, float(add))
    assert out[0] == min(max(stored + add, -32767), 32767)


def files(tmp_path, size=12):
    """One scene with red at 10 m, B05 and SCL at 20 m, holes and a cloud."""
    red = np.arange(1, size * size + 1, dtype=np.uint16).reshape(size, size) + 1000
    red[0, 0] = 0
    edge = np.full((size // 2, size // 2), 2000, np.uint16)
    scl = np.full((size // 2, size // 2), 4, np.uint8)
    scl[1, 1], scl[2, 2] = 9, 0
    at = tmp_path / "scene"
    return red, assets(
        red=write_tif(at / "red.tif", red, UTM, north_up(X, Y, 10), 0),
        rededge1=write_tif(at / "b05.tif", edge, UTM, north_up(X, Y, 20)),
        scl=write_tif(at / "scl.tif", scl, UTM, north_up(X, Y, 20)),
    )


READ = LayerRead(("red", "rededge1"), {"red": "bilinear", "rededge1": "bilinear", "scl": "nearest"}, 0, SCL)
WINDOW = (UTM, north_up(X, Y, 10), (12, 12))


def test_a_scene_is_read_whole_with_its_mask(tmp_path):
    red, found = files(tmp_path)
    found["red"] = Asset(found["red"].href, add=-1000.0)
    with gdal_session():
        got = read_scene(scene(assets=found), READ, *WINDOW)
        beyond = read_scene(scene(assets=found), READ, UTM, north_up(X - 60, Y, 10), (12, 12))
    expected = red.astype(int) - 1000
    expected[0, 0] = _
    np.testing.assert_array_equal(got.values[0], expected)
    assert (got.values[1] == 2000).all()
    assert (got.mask[2:4, 2:4] == 1).all()
    assert (got.mask[4:6, 4:6] == 255).all()
    assert (got.mask == 0).sum() == 144 - 8
    assert (beyond.values[:, :, :6] == _).all()
    assert (beyond.mask[:, :6] == 255).all()
    np.testing.assert_array_equal(beyond.values[:, :, 6:], got.values[:, :, :6])


def test_a_mode_over_scene_classes_does_not_count_no_data(tmp_path):
    """On 40 m pixels, from an SCL whose file states no nodata: two of four centres are 0, two are different."""
    codes = np.array([[0, 4, 0, 0], [0, 5, 0, 9]], np.uint8)
    path = write_tif(tmp_path / "scl.tif", codes, UTM, north_up(X, Y, 20))
    read = LayerRead((), {"scl": "mode"}, 0, SCL)
    with gdal_session():
        mask = read_mask(scene(assets=assets(scl=path)), read, UTM, north_up(X, Y, 40), (1, 2))
    np.testing.assert_array_equal(mask, [[0, 255]])


def test_a_scene_without_its_mask_counts_as_clear_where_it_has_data(tmp_path):
    _red, found = files(tmp_path)
    del found["scl"]
    with gdal_session():
        got = read_scene(scene(assets=found, missing=("scl",)), READ, *WINDOW)
    assert got.mask[0, 0] == 255
    assert (got.mask == 0).sum() == 143


def test_a_scene_with_a_broken_band_is_refused_whole(tmp_path):
    _red, found = files(tmp_path)
    with gdal_session():
        for broken in (b"no picture", b""):
            (tmp_path / "bad.tif").write_bytes(broken)
            with pytest.raises(PermanentSourceError, match=r"bad\.tif"):
                read_scene(scene(assets={**found, **assets(red=tmp_path / "bad.tif")}), READ, *WINDOW)
        with pytest.raises(PermanentSourceError, match="no asset for band red"):
            read_scene(scene(assets={"rededge1": found["rededge1"]}), READ, *WINDOW)
        with pytest.raises(PermanentSourceError, match="band 2 was asked for"):
            source_grid(found["red"].href, 2)
        with pytest.raises(PermanentSourceError, match=r"gone\.tif"):
            source_grid(str(tmp_path / "gone.tif"))


def test_a_truncated_file_is_permanent_and_says_which(tmp_path):
    _red, found = files(tmp_path, 256)
    data = (tmp_path / "scene" / "red.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with gdal_session(), pytest.raises(PermanentSourceError, match=r"cut\.tif"):
        read_scene(
            scene(assets={**found, **assets(red=tmp_path / "cut.tif")}), READ, UTM, WINDOW[1], (256, 256)
        )


@pytest.mark.parametrize(
    ("href", "text", "kind"),
    [
        ("http://h/a.tif", "HTTP response code: 404", PermanentSourceError),
        ("http://h/a.tif", "HTTP response code: 503", TransientSourceError),
        ("http://h/a.tif", "HTTP response code: 429", TransientSourceError),
        ("http://h/a.tif", "HTTP response code: 403", TransientSourceError),
        ("http://h/a.tif", "Operation timed out after 60000 ms", TransientSourceError),
        ("http://h/timeout/a.tif", "http://h/timeout/a.tif: HTTP response code: 404", PermanentSourceError),
        ("http://h/a.tif", "TIFFReadEncodedTile() failed", PermanentSourceError),
        ("/data/a.tif", "No such file or directory", PermanentSourceError),
        ("/data/timeout.tif", "timeout is a part of this name: not a TIFF", PermanentSourceError),
        ("/data/a.tif", "Too many open files", TransientSourceError),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(href, text, kind):
    """A machine short of handles is no reason to take another scene."""
    error = classify(OSError(text), href + "?sig=secret" if href.startswith("http") else href)
    assert isinstance(error, kind)
    assert "secret" not in str(error)
    assert "secret" not in error.href


LEGEND = Legend("little", (LegendClass(1, "a", "#000000"), LegendClass(5, "b", "#ffffff")), nodata=255)


def test_labels_are_in_the_legends_codes(tmp_path):
    """What the source calls no data is the legend's nodata; a code that the legend does not know is told apart."""
    path = write_tif(tmp_path / "a.tif", np.array([[1, 5, 7, 0]], np.int16), UTM, north_up(X, Y, 10), 0)
    item = scene(layer="lc", assets=assets(map=path))
    read = LabelRead(LEGEND, "nearest", None, "map")
    with gdal_session():
        got = read_label(item, read, UTM, north_up(X, Y, 10), (2, 5))
        with pytest.raises(PermanentSourceError, match="no asset for band other"):
            read_label(item, LabelRead(LEGEND, "nearest", None, "other"), UTM, north_up(X, Y, 10), (1, 1))
    np.testing.assert_array_equal(got, [[1, 5, read.codes.foreign, 255, 255], [255] * 5])
    got, strange = read.codes.settled(got, "uint8")
    np.testing.assert_array_equal(got, [[1, 5, 255, 255, 255], [255] * 5])
    assert (got.dtype, strange) == (np.uint8, 1)
    assert said_of_classes(got, LEGEND)[0]["fractions"] == {"1": 0.1, "5": 0.1}


def test_labels_of_one_edition_fill_each_other():
    read = LabelRead(LEGEND, "nearest", None, "map")
    strange = read.codes.foreign
    rasters = [np.array([1, 255, strange, strange], np.uint8), np.array([5, 5, 5, 255], np.uint8)]
    np.testing.assert_array_equal(read.compose(rasters), [1, 5, 5, strange])
    np.testing.assert_array_equal(read.empty(rasters[0]), [False, True, True, True])


def test_what_is_counted_on_a_picture():
    rng = np.random.default_rng(3)
    values = rng.integers(-400, 1200, (4, 33, 47)).astype(np.int16)
    values[rng.random(values.shape) < 0.02] = INT16_NODATA
    values[0, :3], values[2, 5] = 32767, -32767
    full = (values != INT16_NODATA).all(axis=0)
    np.testing.assert_array_equal(where_whole(values), full)
    least = values.min(axis=0)[full]
    expected = (
        np.count_nonzero(np.abs(values.astype(int)) == 32767),
        full.sum(), (least < -200).sum(), (least < 900).sum(),
    )  # fmt: skip
    assert darkest(values, -200, 900) == expected
    assert 0 < expected[2] < expected[3] < expected[1]
