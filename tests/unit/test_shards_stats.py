"""Statistics against NumPy on all pixels at once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chipweave.model import LayerSpec
from chipweave.shards.stats import PartialStats
from chipweave.shards.tallies import FloatTally, Histogram, _bin_of, _middle_of
from worlds.littleset import COVER, LABEL, MASK, S2, SAR, pixels, split_by_number

COUNT = 25


def gathered(specs, groups) -> PartialStats:
    """Partial statistics a group of samples, merged in the order of the groups."""
    whole = PartialStats()
    for group in groups:
        part = PartialStats()
        for number in group:
            for spec in specs:
                part.add(spec, split_by_number(number), pixels(spec, f"chip-{number:03d}"))
        whole.merge(PartialStats.from_bytes(part.to_bytes()))
    return whole


def train_pixels(spec: LayerSpec) -> np.ndarray:
    """``(band, all valid pixels)`` are ragged, so a list."""
    stack = np.stack([pixels(spec, f"chip-{i:03d}") for i in range(COUNT) if split_by_number(i) == "train"])
    bands = np.moveaxis(stack, 1, 0).reshape(stack.shape[1], -1)
    return [b[np.isfinite(b) & (b != spec.nodata)] for b in bands]


@given(
    st.lists(
        st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", ">i2", "int64"]).flatmap(
            lambda dtype: st.tuples(
                hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=7)),
                st.none() | st.sampled_from([0, 1, -1, 255, -32768, 65535, 10**6]),
            )
        ),
        max_size=5,
    )
)
@settings(max_examples=150, deadline=None)
def test_a_histogram_counts_as_numpy_does(arrays):
    """Of whatever type, in any axis order, with a value left out that may not even fit the type."""
    histogram, rest = Histogram(), [np.empty(0, np.int64)]
    for array, leave_out in arrays:
        before = array.copy()
        histogram.add(array.T, leave_out)
        assert np.array_equal(array, before)
        flat = array.astype(np.int64).reshape(-1)
        rest.append(flat[flat != leave_out] if leave_out is not None else flat)
    values, counts = np.unique(np.concatenate(rest), return_counts=True)
    for _ in range(2):  # asking does not change the answer
        got, numbers = histogram.items()
        assert got.dtype == numbers.dtype == np.int64
        np.testing.assert_array_equal(got, values)
        np.testing.assert_array_equal(numbers, counts)


def test_a_value_that_comes_more_than_four_billion_times():
    """As in forty thousand chips of one class: the tables of small types have 32 bits."""
    histogram = Histogram()
    histogram.add(np.array([7], np.uint8))
    histogram._tables[np.dtype(np.uint8)][0, 7] = 2**32 - 1
    histogram._tabled = 2**32 - 1
    histogram.add(np.full(9, 7, np.uint8))
    assert [a.tolist() for a in histogram.items()] == [[7], [2**32 + 8]]


def test_integers_are_exact():
    figures = gathered([S2], [range(COUNT)]).finish([S2])["s2"]
    assert list(figures) == ["blue", "green", "red"]
    for name, values in zip(S2.bands, train_pixels(S2), strict=True):
        f = figures[name]
        assert f["count"] == values.size
        assert f["mean"] == int(values.sum(dtype=np.int64)) / values.size
        assert f["std"] == pytest.approx(values.astype(float).std(), rel=1e-12)
        assert (f["min"], f["max"]) == (values.min(), values.max())
        for p in (1, 2, 50, 98, 99):
            want = np.percentile(values, p, method="inverted_cdf")
            assert f[f"p{p:02d}"] == want
        edges = np.array(f["histogram"]["edges"])
        assert len(edges) <= 257
        assert len(set(np.diff(edges))) == 1
        counts = np.histogram(values, np.append(edges[:-1], edges[-1] + 0))[0]
        assert counts.tolist() == f["histogram"]["counts"]
        assert sum(f["histogram"]["counts"]) == f["count"]


def test_what_was_clipped_is_counted():
    array = np.zeros((3, 2, 3), np.int16)
    array[0, 0] = [32767, -32767, 32766]
    array[1] = -32768
    stats = PartialStats()
    for part in (array, array[:, ::-1]):
        stats.add(S2, "train", part)
    found = stats.finish([S2, SAR])
    assert [found["s2"][band]["clipped"] for band in S2.bands] == [4, 0, 0]
    assert "clipped" not in found[SAR.name][SAR.bands[0]]


def test_floats_are_close():
    figures = gathered([SAR], [range(COUNT)]).finish([SAR])["s1"]
    for name, values in zip(SAR.bands, train_pixels(SAR), strict=True):
        f, exact = figures[name], values.astype(np.float64)
        assert f["count"] == exact.size
        assert f["mean"] == pytest.approx(exact.mean(), rel=1e-13)
        assert f["std"] == pytest.approx(exact.std(), rel=1e-12)
        assert (f["min"], f["max"]) == (exact.min(), exact.max())
        for p in (1, 2, 50, 98, 99):
            assert f[f"p{p:02d}"] == pytest.approx(np.percentile(exact, p, method="inverted_cdf"), rel=0.004)
        assert sum(f["histogram"]["counts"]) == f["count"]
        assert len(f["histogram"]["counts"]) == 256


def test_classes_by_split():
    out = gathered([LABEL], [range(COUNT)]).finish([LABEL])["worldcover"]
    assert out["legend"] == "worldcover"
    assert out["classes"][1] == {"code": 50, "name": "built-up", "colour": "#fa0000"}
    for split in ("train", "val", "test"):
        every = np.concatenate(
            [pixels(LABEL, f"chip-{i:03d}").ravel() for i in range(COUNT) if split_by_number(i) == split]
        )
        assert out["counts"][split] == {str(c): int((every == c).sum()) for c in COVER.codes}
        assert out["nodata"][split] == (every == 0).sum()


def test_any_grouping_and_order_gives_the_same_file():
    specs = [S2, MASK, SAR, LABEL]
    rng = np.random.default_rng(1)
    texts = set()
    for cuts in ([], [3, 9, 20], list(range(1, COUNT))):
        groups = np.split(np.arange(COUNT), cuts)
        for order in (groups, groups[::-1], [groups[i] for i in rng.permutation(len(groups))]):
            texts.add(json.dumps(gathered(specs, order).finish(specs), allow_nan=False))
    assert len(texts) == 1
    assert "s2_mask" not in json.loads(texts.pop())


def test_no_train_sample_gives_no_figures_and_strict_json():
    stats = PartialStats()
    stats.add(S2, "val", pixels(S2, "a"))
    empty = stats.finish([S2, SAR, LABEL])
    assert json.loads(json.dumps(empty, allow_nan=False)) == empty
    assert empty["s2"]["red"]["count"] == 0
    assert empty["s2"]["red"]["mean"] is None
    assert empty["worldcover"]["counts"] == {}


def test_bands_of_a_series_and_a_layer_wholly_without_data():
    spec = LayerSpec(
        "ts", "imagery", "x", ("a", "b"), ("time", "band", "y", "x"), "uint16", (4, 2, 3, 3), 10, 0
    )
    array = np.zeros(spec.shape, "<u2")
    array[:, 1] = np.arange(4)[:, None, None] + 65532
    stats = PartialStats()
    stats.add(spec, "train", array)
    out = stats.finish([spec])["ts"]
    assert out["a"]["count"] == 0
    assert (out["b"]["count"], out["b"]["min"], out["b"]["max"]) == (36, 65532, 65535)


@given(
    hnp.arrays(np.int32, st.integers(0, 60), elements=st.integers(-(2**31), 2**31 - 1)), st.integers(-5, 5)
)
@settings(max_examples=100, deadline=None)
def test_wide_integers_are_exact_too(array, leave_out):
    histogram = Histogram()
    for piece in np.array_split(array, 3):
        histogram.add(piece, leave_out)
    kept = array[array != leave_out].astype(np.int64)
    values, counts = np.unique(kept, return_counts=True)
    got = histogram.items()
    assert got[0].tolist() == values.tolist()
    assert got[1].tolist() == counts.tolist()
    if kept.size:
        summary = histogram.summary()
        exact = [int(v) for v in kept]
        assert summary["mean"] == sum(exact) / len(exact)
        assert sum(summary["histogram"]["counts"]) == kept.size
        assert len(summary["histogram"]["counts"]) <= 256


def test_sums_that_do_not_fit_64_bits():
    histogram = Histogram()
    histogram.add_counts(np.array([1, 65535]), np.array([10**12, 10**13]))
    assert histogram.summary()["mean"] == (10**12 + 65535 * 10**13) / (11 * 10**12)
    assert histogram.summary()["std"] == pytest.approx(65534 * math.sqrt(10 / 121), rel=1e-12)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_float_bins_sort_like_values_and_hold_them(values):
    array = np.sort(np.array(values, np.float64))
    bins = _bin_of(array)
    assert (np.diff(bins) >= 0).all()
    normal = np.abs(array) > 1e-37
    assert (np.abs(_middle_of(bins) - array)[normal] <= np.abs(array)[normal] * 0.004).all()
    tally = FloatTally()
    tally.add(array)
    assert tally.summary()["count"] == len(values)


def test_not_finite_floats_do_not_count():
    tally = FloatTally()
    tally.add(np.array([1.0, np.nan, np.inf, -np.inf, -9999.0, 3.0], np.float32), -9999.0)
    summary = tally.summary()
    assert (summary["count"], summary["mean"], summary["min"], summary["max"]) == (2, 2.0, 1.0, 3.0)
    one = FloatTally()
    one.add(np.full(5, 2.5))
    assert one.summary()["histogram"] == {"edges": [2.0, 3.0], "counts": [5]}
