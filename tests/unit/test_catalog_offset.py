"""The Sentinel-2 offset, case by case."""

from __future__ import annotations

import json

import pytest

from catalog_world import asset, make_item, shared_data
from chipweave.catalog.offset import Radiometry, baseline_of, sentinel2

FLAG = "earthsearch:boa_offset_applied"
STATED = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
ZERO = {"raster:bands": [{"scale": 0.0001, "offset": 0}]}
GDAL = {"raster:bands": [{"scale": 1.0, "offset": 0.0, "data_type": "uint16"}]}
V11 = {"raster:scale": 0.0001, "raster:offset": -0.1}
NONE, SHIFT, GUESS = (1.0, 0.0, False), (1.0, -1000.0, False), (1.0, 0.0, True)
NEW, OLD = {"s2:processing_baseline": "05.10"}, {"s2:processing_baseline": "02.14"}

CASES = {
    "flag true": ("", {FLAG: True, **NEW}, {}, NONE),
    "flag true, offset stated all the same": ("", {FLAG: True, **NEW}, STATED, NONE),
    "flag true of v0": ("", {"sentinel:boa_offset_applied": True, **NEW}, {}, NONE),
    "flag true, no baseline": ("", {FLAG: True}, {}, NONE),
    "flag false, stated": ("", {FLAG: False, **NEW}, STATED, SHIFT),
    "flag false, baseline": ("", {FLAG: False, **NEW}, {}, SHIFT),
    "flag false, old, stated zero": ("", {FLAG: False, **OLD}, ZERO, NONE),
    "flag that is no flag": ("", {FLAG: "yes", **NEW}, {}, SHIFT),
    "stated in raster:bands": ("", NEW, STATED, SHIFT),
    "stated on the asset": ("", NEW, V11, SHIFT),
    "stated in bands": ("", NEW, {"bands": [V11]}, SHIFT),
    "stated, no baseline": ("", {}, STATED, SHIFT),
    "stated without scale": ("", {}, {"raster:bands": [{"offset": -0.1}]}, SHIFT),
    "stated in stored numbers": ("", {}, {"raster:bands": [{"offset": -1000}]}, SHIFT),
    "stated as text": ("", {}, {"raster:bands": [{"scale": "0.0001", "offset": "-0.1"}]}, SHIFT),
    "stated zero beats the baseline": ("", NEW, ZERO, NONE),
    "stated against an old baseline": ("", OLD, STATED, SHIFT),
    "scale only": ("", NEW, {"raster:bands": [{"scale": 0.0001}]}, SHIFT),
    "what GDAL says of any file states nothing": ("", NEW, GDAL, SHIFT),
    "the same, old": ("", OLD, GDAL, NONE),
    "another scale": ("", {}, {"raster:bands": [{"scale": 0.0002, "offset": -0.1}]}, (2.0, -1000.0, False)),
    "another scale, baseline": ("", NEW, {"raster:bands": [{"scale": 0.0002}]}, (2.0, -2000.0, False)),
    "another scale, flag": ("", {FLAG: True}, {"raster:bands": [{"scale": 0.0002}]}, (2.0, 0.0, False)),
    "reflectance in floats": (
        "",
        {},
        {"raster:bands": [{"scale": 1, "offset": 0, "data_type": "float32"}]},
        (10000.0, 0.0, False),
    ),
    "baseline 04.00": ("", {"s2:processing_baseline": "04.00"}, {}, SHIFT),
    "baseline 03.01": ("", {"s2:processing_baseline": "03.01"}, {}, NONE),
    "baseline as a number": ("", {"s2:processing_baseline": 5.1}, {}, SHIFT),
    "baseline as in file names": ("", {"s2:processing_baseline": "N0400"}, {}, SHIFT),
    "baseline by processing:version": ("", {"processing:version": "05.00"}, {}, SHIFT),
    "version of some software": ("", {"processing:version": "5.0.1"}, {}, GUESS),
    "baseline by product": (
        "",
        {"s2:product_uri": "S2A_MSIL2A_20220601T103021_N0400_R108_T32TMT_x.SAFE"},
        {},
        SHIFT,
    ),
    "old baseline by product": (
        "",
        {"s2:product_uri": "S2A_MSIL2A_20180601T103021_N0208_R108_T32TMT_x.SAFE"},
        {},
        NONE,
    ),
    "nothing at all": ("", {}, {}, GUESS),
    "nothing that can be read": (
        "",
        {"s2:processing_baseline": "new"},
        {"raster:bands": [{"offset": "x"}]},
        GUESS,
    ),
    "earth-search: true": ("flag", {FLAG: True, **NEW}, STATED, NONE),
    "earth-search: false, new": ("flag", {FLAG: False, **NEW}, STATED, SHIFT),
    "earth-search: false, old": ("flag", {FLAG: False, **OLD}, STATED, NONE),
    "earth-search: no flag": ("flag", NEW, STATED, SHIFT),
    "earth-search: nothing": ("flag", {}, {}, GUESS),
    "planetary-computer: new": ("baseline", NEW, {}, SHIFT),
    "planetary-computer: old": ("baseline", OLD, STATED, NONE),
    "planetary-computer: against the flag": ("baseline", {FLAG: True, **NEW}, ZERO, SHIFT),
    "planetary-computer: nothing": ("baseline", {}, STATED, GUESS),
    "stated rule": ("stated", OLD, STATED, SHIFT),
    "rule none": ("none", NEW, STATED, NONE),
}


@pytest.mark.parametrize("case", CASES)
def test_table(case):
    rule, properties, facts, want = CASES[case]
    made = make_item("S2A_32TMT_20220601_0_L2A", properties=properties)
    got = sentinel2(made, asset("x.tif", **facts), 1, rule)
    assert (got.gain, got.add, bool(got.note)) == want


def test_each_band_of_a_stack_has_its_own():
    stack = asset(
        "x.tif", **{"raster:bands": [{"offset": 0, "scale": 0.0001}, {"offset": -0.1, "scale": 0.0001}]}
    )
    assert sentinel2(make_item(), stack, 1) == Radiometry(1.0, 0.0)
    assert sentinel2(make_item(), stack, 2) == Radiometry(1.0, -1000.0)
    # The list is shorter than the file: nothing is stated of band 3.
    assert sentinel2(make_item(properties=NEW), stack, 3) == Radiometry(1.0, -1000.0)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"properties": {"s2:processing_baseline": "05.00"}}, 5.0),
        ({"properties": {"sentinel:processing_baseline": "05.11"}}, 5.11),
        ({"ident": "S2B_MSIL2A_20200705T101559_N0214_R065_T32TNT_20200705T175912"}, 2.14),
        ({"properties": {"s2:granule_id": "S2B_OPER_MSI_L2A_TL_2BPS_A041856_T53NKG_N05.11"}}, 5.11),
        ({"ident": "S2B_MSIL2A_20250312T014549_R074_T53NKG_20250312T041213"}, None),
        ({"properties": {"s2:processing_baseline": True}}, None),
    ],
)
def test_baseline(change, want):
    assert baseline_of(make_item(**change)) == want


@pytest.mark.parametrize(
    ("file", "rule", "key", "adds"),
    [
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "flag", "red", {"_0_": 0.0, "_1_": 0.0}),
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "", "red", {"_0_": 0.0, "_1_": 0.0}),
        ("planetary-computer/sentinel-2-l2a/items_list.json", "baseline", "B04", {"_": -1000.0}),
        ("planetary-computer/sentinel-2-l2a/site2_2020_jun_jul_35MNM.json", "baseline", "B04", {"_": 0.0}),
        ("cdse/sentinel-2-l2a/search_4.json", "", "B04_10m", {"_": -1000.0}),
        ("earth-search-v0/sentinel-s2-l2a-cogs/search_1.json", "", "B04", {"_": 0.0}),
    ],
)
def test_recorded_answers(file, rule, key, adds):
    document = json.loads((shared_data() / "real" / "stac" / file).read_text(encoding="utf-8"))
    items = document if isinstance(document, list) else document["features"]
    for one in items:
        want = next(v for k, v in adds.items() if k in one["id"])
        assert sentinel2(one, one["assets"][key], 1, rule) == Radiometry(1.0, want)
