"""An item as a scene: place, CRS, time, assets, what it lacks."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pyproj
import pytest
import shapely
from catalog_world import asset, make_item, s2_assets
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import mapping

from chipweave.catalog import LayerRequest
from chipweave.catalog.collections import load_collection
from chipweave.catalog.footprint import crs_of, extents, footprint, mgrs_crs, projected
from chipweave.catalog.hrefs import LocalRule
from chipweave.catalog.items import Reader, RefusedItemError, processed, stated_nodata
from chipweave.catalog.notes import Notes
from chipweave.catalog.providers import Offering
from chipweave.catalog.sources import Found
from chipweave.catalog.stac import defect, moment, number, span
from chipweave.errors import PermanentSourceError

S2, CORINE = load_collection("sentinel-2-l2a"), load_collection("corine")
TILE = {"proj:epsg": 32632, "proj:transform": [10, 0, 499980, 0, -10, 5300040], "proj:shape": [10980, 10980]}
LAEA = pyproj.CRS("+proj=laea +lat_0=50.72 +lon_0=-3.51 +datum=WGS84").to_wkt()


def _reader(tmp_path, bands=("blue", "red", "scl"), collection=S2, kind="imagery", notes=None, rule=None):
    request = LayerRequest("s2", kind, collection, bands=bands)
    return Reader(request, collection, Offering(), rule or LocalRule.of(tmp_path, ()), notes or Notes())


def _scene(tmp_path, item, **more):
    return _reader(tmp_path, **more).scene(Found(item, str(tmp_path / "items.json")))


def test_a_whole_scene(tmp_path):
    item = make_item("S2A_32TNT_20210610_1_L2A", properties={
        **TILE, "s2:processing_baseline": "05.00", "s2:generation_time": "2023-06-30T02:24:13Z"})  # fmt: skip
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
    item = make_item(assets={k: v for k, v in s2_assets("A").items() if k != "scl"},
                     properties={"eo:cloud_cover": None, "platform": 3})  # fmt: skip
    scene = _scene(tmp_path, item, bands=("blue", "swir16", "scl"), notes=notes)
    assert scene.missing == ("swir16", "scl")
    assert math.isnan(scene.cloud)
    assert (scene.platform, scene.crs, scene.processed) == ("", "", "")
    assert notes.texts() == ["s2: neither offset nor processing baseline stated, no offset applied (1 item: A)"]


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
        _scene(tmp_path, make_item(properties={"datetime": None}), collection=CORINE, kind="label", bands=("classes",))


def test_a_label_takes_the_first_day_of_its_edition(tmp_path):
    item = make_item("U2018_CLC2018", assets={"clc": asset("c.tif")}, properties={"datetime": "2020-05-05T00:00:00Z"})
    scene = _scene(tmp_path, item, collection=CORINE, kind="label", bands=("classes",))
    assert (scene.time, scene.edition) == (datetime(2018, 1, 1, tzinfo=UTC), "2018")
    assert (scene.assets["classes"].add, scene.assets["classes"].gain) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("facts", "want"),
    [({"raster:bands": [{"nodata": 0}]}, 0), ({"bands": [{"nodata": -9999}]}, -9999), ({"nodata": 255}, 255),
     ({"nodata": "nan"}, math.nan), ({"nodata": math.nan}, math.nan), ({"file:nodata": [0]}, 0), ({}, None),
     ({"nodata": "none"}, None), ({"raster:bands": [{"nodata": None}], "nodata": 7}, 7), ({"nodata": "0"}, 0)],
)  # fmt: skip
def test_stated_nodata(facts, want):
    got = stated_nodata(asset("x.tif", **facts), 1)
    assert got == want or (want is not None and math.isnan(want) and math.isnan(got))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"s2:processing_baseline": "02.14"}, {"s2:processing_baseline": "05.00"}),
        ({"s2:processing_baseline": "05.00", "created": "2023-01-01T00:00:00Z"},
         {"s2:processing_baseline": "05.00", "created": "2023-01-02T00:00:00Z"}),
        ({"s2:processing_baseline": "05.00", "created": "2024-01-01T00:00:00Z"},
         {"s2:processing_baseline": "05.10", "created": "2023-01-01T00:00:00Z"}),
        ({"created": "2023-01-01T02:00:00+02:00"}, {"created": "2023-01-01T00:30:00Z"}),
        ({}, {"updated": "2019-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
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


class TestFootprint:
    def test_projection_before_a_loose_geometry(self):
        item = make_item(box=(5.0, 40.0, 15.0, 50.0), properties=TILE)
        got = footprint(item, {}, "EPSG:32632")
        exact = projected("EPSG:32632", [(499980, 5300040), (609780, 5300040), (609780, 5190240), (499980, 5190240)])
        assert got.equals(exact)
        # The northern edge is a line of the projection: curved in degrees, and seen as such.
        x = np.linspace(499980, 609780, 500)
        lon, lat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(x, np.full(500, 5300040.0))
        assert shapely.distance(got.exterior, shapely.points(lon, lat)).max() < 2e-5

    def test_from_bbox_of_the_projection_and_of_an_asset(self):
        want = footprint(make_item(properties=TILE), {}, "EPSG:32632")
        box = {"proj:bbox": [499980, 5190240, 609780, 5300040]}
        assert footprint(make_item(box=(0, 0, 40, 60), properties=box), {}, "EPSG:32632").equals(want)
        assert footprint(make_item(box=(0, 0, 40, 60)), box, "EPSG:32632").equals(want)
        nine = {"proj:transform": [10, 0, 499980, 0, -10, 5300040, 0, 0, 1], "proj:shape": [10980, 10980]}
        assert footprint(make_item(box=(0, 0, 40, 60)), nine, "EPSG:32632").equals(want)

    def test_the_edge_of_a_swath_is_kept_and_widened(self):
        whole = footprint(make_item(properties=TILE), {}, "EPSG:32632")
        w, s, e, n = whole.bounds
        swath = shapely.intersection(whole, shapely.Polygon([(w, n), (w + 0.5, n), (w + 0.2, s), (w, s)]))
        got = footprint(make_item(properties=TILE, geometry=mapping(swath)), {}, "EPSG:32632")
        assert got.buffer(1e-9).covers(swath)
        assert whole.buffer(1e-9).covers(got)
        assert swath.area < got.area < 1.1 * swath.area
        assert got.distance(shapely.Point(w + 0.9, s + 0.1)) > 0.3

    @pytest.mark.parametrize("share", [0.001, 0.995])
    def test_slivers_and_whole_tiles_take_the_projection(self, share):
        whole = footprint(make_item(properties=TILE), {}, "EPSG:32632")
        w, s, e, n = whole.bounds
        part = shapely.intersection(whole, shapely.box(w, s, w + (e - w) * share, n))
        assert footprint(make_item(properties=TILE, geometry=mapping(part)), {}, "EPSG:32632").equals(whole)

    def test_geometry_else_bbox(self):
        triangle = shapely.Polygon([(8, 47), (9, 47), (8, 48)])
        assert footprint(make_item(geometry=mapping(triangle)), {}, "").equals(triangle)
        assert footprint(make_item(geometry=mapping(triangle)), {}, "EPSG:32632").equals(triangle)
        assert footprint(make_item(geometry=None), {}, "").equals(shapely.box(8, 47, 9, 48))
        assert footprint(make_item(geometry=None, bbox=[8, 47, 0, 9, 48, 100]), {}, "").equals(shapely.box(8, 47, 9, 48))
        assert footprint(make_item(geometry=None, bbox=[8, 47, 9]), {}, "") is None

    @pytest.mark.parametrize(
        "geometry",
        [{"type": "Polygon"}, {"type": "Polygon", "coordinates": []}, {"type": "Polygon", "coordinates": "x"}, {}, 3,
         {"type": "Nonsense", "coordinates": [1, 2]}, {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
         {"type": "Polygon", "coordinates": [[[0, float("nan")], [1, 1], [1, 0], [0, 0]]]}, "text", [1]],
    )  # fmt: skip
    def test_geometry_that_is_none_falls_back(self, geometry):
        assert footprint(make_item(geometry=geometry), {}, "").equals(shapely.box(8, 47, 9, 48))

    def test_a_bow_tie_and_heights(self):
        bow = {"type": "Polygon", "coordinates": [[[8, 47, 1], [9, 48, 1], [9, 47, 1], [8, 48, 1], [8, 47, 1]]]}
        got = footprint(make_item(geometry=bow), {}, "")
        assert got.is_valid
        assert not got.has_z
        assert got.area == pytest.approx(0.5)

    def test_a_point_becomes_an_area(self):
        got = footprint(make_item(geometry={"type": "Point", "coordinates": [8.5, 47.5]}), {}, "")
        assert got.area > 0
        assert got.covers(shapely.Point(8.5, 47.5))

    @pytest.mark.parametrize(
        "change",
        [
            {"geometry": mapping(shapely.box(179, -17, 181, -16))},
            {"geometry": mapping(shapely.box(-181, -17, -179, -16))},
            {"geometry": mapping(shapely.Polygon([(179, -17), (-179, -17), (-179, -16), (179, -16)]))},
            {"geometry": mapping(shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)]))},
            {"geometry": None, "bbox": [179, -17, -179, -16]},
            {"geometry": None, "bbox": [179, -17, 181, -16]},
        ],
    )  # fmt: skip
    def test_across_the_date_line(self, change):
        got = footprint(make_item(**{"bbox": [179, -17, -179, -16]} | change), {}, "")
        want = shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
        assert got.equals(want)
        assert got.is_valid

    def test_a_tile_across_the_date_line(self):
        crs = {"proj:epsg": 32760, "proj:transform": [10, 0, 799980, 0, -10, 8100040], "proj:shape": [10980, 10980]}
        got = footprint(make_item(box=(-180, -90, 180, 90), properties=crs), {}, "EPSG:32760")
        assert got.geom_type == "MultiPolygon"
        assert got.area < 2
        assert {round(abs(v)) for part in got.geoms for v in part.bounds[::2]} == {180, 179}

    def test_the_whole_globe_stays_whole(self):
        got = footprint(make_item(box=(-180, -60, 180, 85)), {}, "")
        assert got.equals(shapely.box(-180, -60, 180, 85))
        pole = {"proj:epsg": 3995, "proj:bbox": [-1e6, -1e6, 1e6, 1e6]}
        got = footprint(make_item(box=(-180, 70, 180, 90), properties=pole), {}, "EPSG:3995")
        assert got.covers(shapely.Point(17, 89.9))
        assert got.bounds[0] == -180

    def test_nonsense_projections_fall_back(self):
        for bad in ({"proj:transform": [0, 0, 0, 0, 0, 0], "proj:shape": [1, 1]}, {"proj:bbox": [1e30, 1e30, 2e30, 2e30]},
                    {"proj:transform": ["x"], "proj:shape": [1, 1]}, {"proj:shape": [5, 5]}):  # fmt: skip
            got = footprint(make_item(properties={"proj:epsg": 32632, **bad}), {}, "EPSG:32632")
            assert got.equals(shapely.box(8, 47, 9, 48))

    def test_extents_are_generous(self):
        item = make_item(box=(8, 47, 9, 48), bbox=[20, 47, 21, 48], properties=TILE)
        boxes = [shapely.box(*b) for b in extents(item)]
        for point in ((8.5, 47.5), (20.5, 47.5), (9.8, 47.0)):
            assert any(b.covers(shapely.Point(point)) for b in boxes)


@pytest.mark.parametrize(
    ("properties", "asset_facts", "want"),
    [
        ({"proj:epsg": 32632}, {}, "EPSG:32632"),
        ({"proj:code": "EPSG:3035"}, {}, "EPSG:3035"),
        ({"proj:code": "epsg:3035"}, {}, "EPSG:3035"),
        ({"proj:epsg": 4326}, {"proj:code": "EPSG:32633"}, "EPSG:32633"),
        ({"proj:epsg": None, "proj:wkt2": pyproj.CRS(27700).to_wkt()}, {}, "EPSG:27700"),
        ({"proj:projjson": pyproj.CRS(32632).to_json_dict()}, {}, "EPSG:32632"),
        ({"proj:epsg": None, "proj:wkt2": LAEA}, {}, LAEA),
        ({"proj:epsg": 99999}, {}, ""),
        ({"proj:code": "nonsense", "proj:epsg": 32632}, {}, "EPSG:32632"),
        ({"proj:epsg": -1, "proj:projjson": {"type": "x"}}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_crs(properties, asset_facts, want):
    assert crs_of(make_item(properties=properties), asset_facts) == want


@pytest.mark.parametrize(
    ("ident", "properties", "want"),
    [
        ("S2A_32TMT_20200305_1_L2A", {}, "EPSG:32632"),
        ("S2B_20EPT_20250731_0_L2A", {}, "EPSG:32720"),
        ("S2B_MSIL2A_20250312T014549_R074_T53NKG_20250312T041213", {}, "EPSG:32653"),
        ("S2B_T37MGP_20240710T073012_L2A", {}, "EPSG:32737"),
        ("x", {"grid:code": "MGRS-1CCV"}, "EPSG:32701"),
        ("x", {"s2:mgrs_tile": "60XWH"}, "EPSG:32660"),
        ("x", {"mgrs:utm_zone": 33, "mgrs:latitude_band": "U"}, "EPSG:32633"),
        ("x", {"sentinel:utm_zone": 20, "sentinel:latitude_band": "E"}, "EPSG:32720"),
        ("exe_2024-08-26_12-21-11", {}, ""),
        ("x", {"s2:mgrs_tile": "77TMT"}, ""),
    ],
)
def test_utm_zone_of_a_tile(ident, properties, want):
    item = make_item(ident, properties=properties)
    assert mgrs_crs(item) == want
    assert crs_of(item, {}, mgrs=True) == want
    assert crs_of(item, {}) == ""


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2021-06-10T10:10:31.024Z", datetime(2021, 6, 10, 10, 10, 31, 24000, tzinfo=UTC)),
        ("2025-03-12 05:23:01.601759+00:00", datetime(2025, 3, 12, 5, 23, 1, 601759, tzinfo=UTC)),
        ("2021-06-10T10:10:31.024123456Z", datetime(2021, 6, 10, 10, 10, 31, 24123, tzinfo=UTC)),
        ("2021-06-10T12:00:00+02:00", datetime(2021, 6, 10, 10, tzinfo=UTC)),
        ("2021-06-10T10:00:00", datetime(2021, 6, 10, 10, tzinfo=UTC)),
        ("yesterday", None), ("", None), (None, None), (20210610, None), ("0001-01-01T00:00:00+14:00", None),
    ],
)  # fmt: skip
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
PROPERTIES = st.sampled_from([
    "datetime", "start_datetime", "eo:cloud_cover", "platform", "proj:epsg", "proj:code", "proj:wkt2", "proj:projjson",
    "proj:transform", "proj:shape", "proj:bbox", "s2:processing_baseline", "created", "grid:code", "eo:bands",
    "earthsearch:boa_offset_applied", "mgrs:utm_zone", "s2:product_uri"])  # fmt: skip
FACTS = st.sampled_from(["href", "type", "roles", "gsd", "bands", "eo:bands", "raster:bands", "nodata", "proj:transform",
                         "proj:shape", "raster:scale", "raster:offset"])  # fmt: skip


@given(
    st.dictionaries(FIELDS, JSON, max_size=2), st.dictionaries(PROPERTIES, JSON, max_size=4),
    st.dictionaries(FACTS, JSON, max_size=4),
)  # fmt: skip
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
        1.0, 2.5, None, None, None, None, None, None]  # fmt: skip
