"""An item as a scene: place, CRS, time, assets, what it lacks."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_world import asset, make_item, s2_assets
from chipweave.catalog import LayerRequest
from chipweave.catalog.collections import load_collection
from chipweave.catalog.footprint import extents
from chipweave.catalog.hrefs import LocalRule
from chipweave.catalog.items import Reader, RefusedItemError, processed, stated_nodata
from chipweave.catalog.notes import Notes
from chipweave.catalog.providers import Offering
from chipweave.catalog.sources import Found
from chipweave.catalog.stac import defect, moment, number, span
from chipweave.errors import PermanentSourceError

S2, CORINE = load_collection("sentinel-2-l2a"), load_collection("corine")
TILE = {"proj:epsg": 32632, "proj:transform": [10, 0, 499980, 0, -10, 5300040], "proj:shape": [10980, 10980]}


def _reader(tmp_path, bands=("blue", "red", "scl"), collection=S2, kind="imagery", notes=None, rule=None):
    request = LayerRequest("s2", kind, collection, bands=bands)
    return Reader(request, collection, Offering(), rule or LocalRule.of(tmp_path, ()), notes or Notes())


def _scene(tmp_path, item, **more):
    return _reader(tmp_path, **more).scene(Found(item, str(tmp_path / "items.json")))


def test_a_whole_scene(tmp_path):
    item = make_item(
        "S2A_32TNT_20210610_1_L2A",
        properties={**TILE, "s2:processing_baseline": "05.00", "s2:generation_time": "2023-06-30T02:24:13Z"},
    )
    item["assets"]["red"]["raster:bands"] = [{"nodata": 0}]
    scene = _scene(tmp_path, item)
    assert (scene.layer, scene.id, scene.collection) == ("s2", "S2A_32TNT_20210610_1_L2A", "sentinel-2-l2a")
    assert scene.time == datetime(2021, 6, 10, 10, 10, 31, 24000, tzinfo=UTC)
    assert (scene.crs, scene.cloud, scene.platform, scene.edition) == ("EPSG:32632", 12.5, "sentinel-2a", "")
    assert scene.processed == "05.00 2023-06-30T02:24:13.000000Z 01"
    assert list(scene.assets) == ["blue", "red", "scl"]
    red, scl = scene.assets["red"], scene.assets["scl"]
    assert red.href == str(tmp_path / scene.id / "B04.tif")
    assert (red.index, red.gain, red.add, red.nodata) == (1, 1.0, -1000.0, 0.0)
    assert (scl.gain, scl.add, scl.nodata) == (1.0, 0.0, None)
    assert scene.missing == ()


def test_what_an_item_lacks(tmp_path):
    notes = Notes()
    item = make_item(
        assets={k: v for k, v in s2_assets("A").items() if k != "scl"},
        properties={"eo:cloud_cover": None, "platform": 3},
    )
    scene = _scene(tmp_path, item, bands=("blue", "swir16", "scl"), notes=notes)
    assert scene.missing == ("swir16", "scl")
    assert math.isnan(scene.cloud)
    assert (scene.platform, scene.crs, scene.processed) == ("", "", "")
    assert notes.texts() == [
        "s2: neither offset nor processing baseline stated, no offset applied (1 item: A)"
    ]


def test_an_asset_of_a_scheme_that_is_not_read_is_missing(tmp_path):
    notes = Notes()
    item = make_item(assets={**s2_assets("A"), "red": asset("gs://bucket/B04.tif")})
    assert _scene(tmp_path, item, notes=notes).missing == ("red",)
    assert any("no usable red, scheme gs is not read (1 item: A)" in t for t in notes.texts())


def test_hrefs_that_may_not_be_stored(tmp_path):
    for href in ("a\x00.tif", "a\n.tif", "x" * 9000):
        with pytest.raises(RefusedItemError, match="unusable href in asset 'red'"):
            _scene(tmp_path, make_item(assets={**s2_assets("A"), "red": asset(href)}))
    # An asset that nobody asks for may say what it likes.
    _scene(tmp_path, make_item(assets={**s2_assets("A"), "swir22": asset("/etc/passwd\x00")}))


def test_a_local_file_outside_is_an_error_that_names_the_item(tmp_path):
    with pytest.raises(PermanentSourceError, match="item 'A' names the local file /etc/passwd"):
        _scene(tmp_path, make_item(assets={**s2_assets("A"), "red": asset("/etc/passwd")}))


def test_items_without_place_or_time(tmp_path):
    with pytest.raises(RefusedItemError, match="no place"):
        _scene(tmp_path, make_item(geometry=None, bbox=...))
    with pytest.raises(RefusedItemError, match="no time"):
        _scene(tmp_path, make_item(properties={"datetime": None}))
    with pytest.raises(RefusedItemError, match="neither an edition nor a time"):
        _scene(
            tmp_path,
            make_item(properties={"datetime": None}),
            collection=CORINE,
            kind="label",
            bands=("classes",),
        )


def test_a_label_takes_the_first_day_of_its_edition(tmp_path):
    item = make_item(
        "U2018_CLC2018", assets={"clc": asset("c.tif")}, properties={"datetime": "2020-05-05T00:00:00Z"}
    )
    scene = _scene(tmp_path, item, collection=CORINE, kind="label", bands=("classes",))
    assert (scene.time, scene.edition) == (datetime(2018, 1, 1, tzinfo=UTC), "2018")
    assert (scene.assets["classes"].add, scene.assets["classes"].gain) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("facts", "want"),
    [
        ({"raster:bands": [{"nodata": 0}]}, 0),
        ({"bands": [{"nodata": -9999}]}, -9999),
        ({"nodata": 255}, 255),
        ({"nodata": "nan"}, math.nan),
        ({"nodata": math.nan}, math.nan),
        ({"file:nodata": [0]}, 0),
        ({}, None),
        ({"nodata": "none"}, None),
        ({"raster:bands": [{"nodata": None}], "nodata": 7}, 7),
        ({"nodata": "0"}, 0),
    ],
)
def test_stated_nodata(facts, want):
    got = stated_nodata(asset("x.tif", **facts), 1)
    assert got == want or (want is not None and math.isnan(want) and math.isnan(got))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"s2:processing_baseline": "02.14"}, {"s2:processing_baseline": "05.00"}),
        (
            {"s2:processing_baseline": "05.00", "created": "2023-01-01T00:00:00Z"},
            {"s2:processing_baseline": "05.00", "created": "2023-01-02T00:00:00Z"},
        ),
        (
            {"s2:processing_baseline": "05.00", "created": "2024-01-01T00:00:00Z"},
            {"s2:processing_baseline": "05.10", "created": "2023-01-01T00:00:00Z"},
        ),
        ({"created": "2023-01-01T02:00:00+02:00"}, {"created": "2023-01-01T00:30:00Z"}),
        ({}, {"updated": "2019-01-01T00:00:00Z"}),
    ],
)
def test_newer_processing_sorts_later(older, newer):
    assert processed(make_item(properties=older)) < processed(make_item(properties=newer))


def test_sequence_of_earth_search_breaks_ties():
    same = {"s2:processing_baseline": "05.00"}
    names = [f"S2A_32TMT_20200305_{n}_L2A" for n in (0, 1, 2, 10)]
    order = [processed(make_item(n, properties=same)) for n in names]
    assert order == sorted(order)
    assert len(set(order)) == 4
    product = "S2A_MSIL2A_20200731T080611_R078_T35MNM_20200818T062751"
    assert processed(make_item(product)) == "00.00 2020-08-18T06:27:51.000000Z 00"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2021-06-10T10:10:31.024Z", datetime(2021, 6, 10, 10, 10, 31, 24000, tzinfo=UTC)),
        ("2025-03-12 05:23:01.601759+00:00", datetime(2025, 3, 12, 5, 23, 1, 601759, tzinfo=UTC)),
        ("2021-06-10T10:10:31.024123456Z", datetime(2021, 6, 10, 10, 10, 31, 24123, tzinfo=UTC)),
        ("2021-06-10T12:00:00+02:00", datetime(2021, 6, 10, 10, tzinfo=UTC)),
        ("2021-06-10T10:00:00", datetime(2021, 6, 10, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (20210610, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_moments(text, want):
    assert moment(text) == want


def test_span_of_an_item_that_ends_before_it_begins():
    p = {"datetime": None, "start_datetime": "2021-06-10T00:00:00Z", "end_datetime": "2021-06-01T00:00:00Z"}
    first, last = span(make_item(properties=p))
    assert first == last


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["id", "bbox", "geometry", "links", "collection", "stac_version"])
PROPERTIES = st.sampled_from(
    [
        "datetime",
        "start_datetime",
        "eo:cloud_cover",
        "platform",
        "proj:epsg",
        "proj:code",
        "proj:wkt2",
        "proj:projjson",
        "proj:transform",
        "proj:shape",
        "proj:bbox",
        "s2:processing_baseline",
        "created",
        "grid:code",
        "eo:bands",
        "earthsearch:boa_offset_applied",
        "mgrs:utm_zone",
        "s2:product_uri",
    ]
)
FACTS = st.sampled_from(
    [
        "href",
        "type",
        "roles",
        "gsd",
        "bands",
        "eo:bands",
        "raster:bands",
        "nodata",
        "proj:transform",
        "proj:shape",
        "raster:scale",
        "raster:offset",
    ]
)


@settings(deadline=None)
@given(
    st.dictionaries(FIELDS, JSON, max_size=2),
    st.dictionaries(PROPERTIES, JSON, max_size=4),
    st.dictionaries(FACTS, JSON, max_size=4),
)
def test_no_item_breaks_the_reader(tmp_path_factory, top, properties, facts):
    item = make_item(properties=properties, **top)
    item["assets"]["red"] |= facts
    if defect(item):
        return
    extents(item)
    try:
        scene = _scene(tmp_path_factory.getbasetemp(), item)
    except (RefusedItemError, PermanentSourceError):
        return
    assert scene.geometry.is_valid
    assert scene.geometry.area > 0
    assert json.dumps(scene.id)


def test_numbers():
    assert [number(v) for v in (1, "2.5", True, None, float("inf"), "x", [], 10**400)] == [
        1.0,
        2.5,
        None,
        None,
        None,
        None,
        None,
        None,
    ]
