"""One record a polygon: pixels whose centre it holds, by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from chipweave.errors import RecipeError
from chipweave.labels.base import NO_CLASS, Features
from chipweave.labels.tables import (
    Stack,
    check_statistics,
    reduce_features,
    table_document,
    table_of,
)
from chipweave.labels.tables.aggregate import class_histograms, region_means
from chipweave.labels.tables.reduce import summary
from chipweave.model import LayerSpec, Place

PLACE = Place("a", "EPSG:32635", 500_000.0, 6_652_100.0, 10, 10.0)
"""100 m on a side at 60 degrees north."""


def spec(
    *, size: int = 10, resolution: float = 10.0, nodata: float = -32768, dtype: str = "int16"
) -> LayerSpec:
    return LayerSpec(
        "s2", "imagery", "sentinel-2-l2a", ("red", "nir"), ("time", "band", "y", "x"), dtype, (2, 2, size, size),
        resolution, nodata, scale=0.5, offset=1.0,
    )  # fmt: skip


def features(*shapes: shapely.Geometry) -> Features:
    moved = [shapely.transform(s, lambda c: c + np.array([PLACE.x, PLACE.y - 100])) for s in shapes]
    codes = np.array([7, *[NO_CLASS] * (len(shapes) - 1)], np.int32)
    ids = tuple(str(k) for k in range(len(shapes)))
    return Features(np.array(moved, object), codes, ids, tuple({"crop": f"c{k}"} for k in range(len(shapes))))


def stack() -> Stack:
    rows, cols = np.mgrid[0:10, 0:10]
    values = np.stack([np.stack([rows * 10 + cols, rows]), np.stack([cols, cols * 0 + 5])]).astype(np.int16)
    values[0, 0, 9, 0] = -32768  # the pixel at the lower left corner
    bad = np.zeros((2, 10, 10), bool)
    bad[1, 9, 1] = True
    return Stack(spec(), values, bad, ("2021-06-01T10:00:00Z", "2021-06-11T10:00:00Z"))


def test_statistics_are_those_of_pixel_centres_without_bad_ones():
    parcel = shapely.box(0, 0, 20, 20)  # four pixels: rows 8 and 9, columns 0 and 1
    sliver = shapely.box(52, 52, 54, 54)  # holds no centre
    [one, two] = reduce_features(
        features(parcel, sliver), PLACE, {"s2": stack()}, ["count", "median", "mean", "min", "p10"]
    )
    assert (one["id"], one["code"], one["area_m2"], one["share"]) == ("0", 7, 400.0, 1.0)
    assert one["tags"] == {"crop": "c0"}
    values = one["values"]["s2"]
    assert values["bands"] == ["red", "nir"]
    assert values["datetime"] == ["2021-06-01T10:00:00Z", "2021-06-11T10:00:00Z"]
    # Stored 80, 81, 91 (90 is no data) and 8, 8, 9, 9; then 0, 1, 0 (the bad one is left out) and 5, 5, 5.
    assert values["count"] == [[3, 4], [3, 3]]
    assert values["median"] == [[81 / 2 + 1, 8.5 / 2 + 1], [1.0, 3.5]]
    assert values["mean"] == [[43.0, 5.25], [pytest.approx(1 / 6 + 1), 3.5]]
    assert values["min"] == [[41.0, 5.0], [1.0, 3.5]]
    assert values["p10"][0] == [pytest.approx((80 + 0.2) / 2 + 1), 5.0]
    assert two["code"] is None
    assert two["values"]["s2"]["count"] == [[0, 0], [0, 0]]
    assert two["values"]["s2"]["median"] == [[None, None], [None, None]]


def test_holes_do_not_count_and_a_polygon_belongs_to_the_chip_of_its_inner_point():
    ring = shapely.box(0, 0, 50, 50).difference(shapely.box(10, 10, 40, 40))
    over = shapely.box(60, 60, 130, 70)  # its middle is at 95: this chip's, though 30 of 70 metres lie beyond
    away = shapely.box(90, 80, 150, 90)  # its middle is at 120
    line = shapely.LineString([(0, 0), (50, 50)])
    found = reduce_features(features(ring, over, away, line), PLACE, {"s2": stack()}, ["count"])
    assert [r["id"] for r in found] == ["0", "1"]
    assert found[0]["values"]["s2"]["count"][1] == [15, 15]  # 25 - 9, and one is bad
    assert found[1]["share"] == pytest.approx(4 / 7, abs=1e-6)
    assert found[1]["values"]["s2"]["count"][0] == [4, 4]


def test_a_layer_of_its_own_grid_and_floats():
    own = spec(size=8, resolution=20.0, nodata=float("nan"), dtype="float32")
    wide = Stack(own, np.full((2, 8, 8), np.nan, np.float32), None, ("2021",))
    wide.values[:, 5, 1] = [2.0, 4.0]  # it begins 30 m left of and above the chip: a centre at (0, 20)
    [record] = reduce_features(features(shapely.box(0, 40, 20, 60)), PLACE, {"sar": wide}, ["mean", "count"])
    assert record["values"]["sar"]["mean"] == [[None, None]]
    [record] = reduce_features(features(shapely.box(-5, 15, 5, 25)), PLACE, {"sar": wide}, ["mean", "count"])
    assert record["values"]["sar"]["count"] == [[1, 1]]
    assert record["values"]["sar"]["mean"] == [[2.0, 3.0]]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])
def test_areas_are_square_metres_where_the_grid_counts_none(crs: str) -> None:
    to = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to.transform(-74.0, 40.7)
    step = 0.0001 if crs == "EPSG:4326" else 30.0
    place = Place("a", crs, x, y, 10, step)
    shape = shapely.box(x + step, y - 8 * step, x + 7 * step, y - step).difference(
        shapely.box(x + 2 * step, y - 4 * step, x + 4 * step, y - 2 * step)
    )
    [record] = reduce_features(
        Features(np.array([shape], object), np.array([1], np.int32), ("0",), ({},)), place, {}, ["mean"]
    )
    metres = pyproj.Transformer.from_crs(crs, "+proj=aea +lat_1=40 +lat_2=41 +lon_0=-74", always_xy=True)
    truth = shapely.transform(
        shapely.segmentize(shape, step / 8), lambda c: np.stack(metres.transform(*c.T), 1)
    ).area
    assert record["area_m2"] == pytest.approx(truth, rel=1e-4)
    assert record["share"] == 1.0


def test_summary_equals_numpy():
    rng = np.random.default_rng(3)
    values, good = rng.normal(size=(4, 3, 57)), rng.random((4, 3, 57)) < 0.7
    good[0, 0] = False
    found = summary(values, good, ["median", "std", "p5", "p95", "max", "sum"])
    for t in range(4):
        for b in range(3):
            own = values[t, b][good[t, b]]
            got = [found[n][t][b] for n in found]
            if not len(own):
                assert got == [None] * 6
                continue
            want = [np.median(own), own.std(), *np.percentile(own, [5, 95]), own.max(), own.sum()]
            assert got == pytest.approx(want, rel=1e-6)


def test_statistics_that_are_not_known_are_refused():
    assert check_statistics(("mean", "p10", "mean"), "labels.parcels.reduce") == ("mean", "p10")
    for wrong in ((), ("mode",), ("p0",), ("p100",)):
        with pytest.raises(RecipeError, match=r"labels\.parcels\.reduce") as caught:
            check_statistics(wrong, "labels.parcels.reduce")
        assert "p1 to p99" in caught.value.hint


def test_records_become_one_table():
    records = reduce_features(
        features(shapely.box(0, 0, 20, 20)), PLACE, {"s2": stack()}, ["count", "median"]
    )
    document = table_document("parcels", ["s2"], ["count", "median"], records)
    empty = table_document("parcels", ["s2"], ["count", "median"], [])
    table = table_of([("a", "train", document), ("b", "val", empty), ("c", "test", document)])
    assert table["key"].to_pylist() == ["a", "c"]
    assert table["split"].to_pylist() == ["train", "test"]
    assert table["s2_count"].to_pylist()[0] == [[3, 4], [3, 3]]
    assert json.loads(table["tags"].to_pylist()[0]) == {"crop": "c0"}
    assert table.schema.equals(table_of([("b", "val", empty)]).schema)


def test_classes_and_means_by_county():
    index = pd.DataFrame({
        "county": ["a", "a", "b", None], "height": [10, 10, 20, 10], "width": [10, 10, 20, 10],
        "transform": [[10.0, 0, 0, 0, -10.0, 0]] * 4,
        "wc_fractions": [{"1": 1.0, "2": 0.0}, {"1": 0.5, "2": 0.25}, {"1": 0.0, "2": 0.5}, {"1": 1.0, "2": 0.0}],
    })  # fmt: skip
    found = class_histograms(index, "wc", ["county"])
    assert found.to_dict("list") == {
        "county": ["a", "a", "b", "b"], "code": ["1", "2", "1", "2"], "chips": [2, 2, 1, 1],
        "area_m2": [15_000.0, 2500.0, 0.0, 20_000.0], "share": [0.75, 0.125, 0.0, 0.5],
    }  # fmt: skip
    with pytest.raises(RecipeError, match="did you mean 'county'"):
        class_histograms(index, "wc", ["countys"])
    table = pd.DataFrame({"county": ["a", "a", "b", "b"], "ndvi": [0.2, 0.8, None, 0.5], "ha": [1, 3, 5, 2]})
    means = region_means(table, ["ndvi"], ["county"], "ha")
    assert means.to_dict("list") == {
        "county": ["a", "b"], "rows": [2, 2], "ha": [4.0, 7.0], "ndvi": [pytest.approx(0.65), 0.5],
    }  # fmt: skip
    with pytest.raises(RecipeError, match="below 0"):
        region_means(table.assign(ha=-1), ["ndvi"], ["county"], "ha")
