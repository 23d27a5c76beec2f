"""Where a scene lies: its outline in lon/lat, and its CRS."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import mapping

from catalog_world import make_item
from chipweave.catalog.footprint import crs_of, extents, footprint, mgrs_crs, projected

TILE = {"proj:epsg": 32632, "proj:transform": [10, 0, 499980, 0, -10, 5300040], "proj:shape": [10980, 10980]}
LAEA = pyproj.CRS("+proj=laea +lat_0=50.72 +lon_0=-3.51 +datum=WGS84").to_wkt()


class TestFootprint:
    def test_projection_before_a_loose_geometry(self):
        item = make_item(box=(5.0, 40.0, 15.0, 50.0), properties=TILE)
        got = footprint(item, {}, "EPSG:32632")
        exact = projected(
            "EPSG:32632", ((499980, 5300040), (609780, 5300040), (609780, 5190240), (499980, 5190240))
        )
        assert got.equals(exact)
        # The northern edge is a line of the projection: curved in degrees, and seen as such.
        x = np.linspace(499980, 609780, 500)
        lon, lat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(
            x, np.full(500, 5300040.0)
        )
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
        w, s, _, n = whole.bounds
        swath = shapely.intersection(whole, shapely.Polygon([(w, n), (w + 0.5, n), (w + 0.2, s), (w, s)]))
        got = footprint(make_item(properties=TILE, geometry=mapping(swath)), {}, "EPSG:32632")
        assert got.buffer(1e-9).covers(swath)
        assert whole.buffer(1e-9).covers(got)
        assert swath.area < got.area < 1.1 * swath.area
        assert got.distance(shapely.Point(w + 0.9, s + 0.1)) > 0.3

    @pytest.mark.parametrize("share", [0.001, 0.985])
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
        assert footprint(make_item(geometry=None, bbox=[8, 47, 0, 9, 48, 100]), {}, "").equals(
            shapely.box(8, 47, 9, 48)
        )
        assert footprint(make_item(geometry=None, bbox=[8, 47, 9]), {}, "") is None

    @pytest.mark.parametrize(
        "geometry",
        [
            {"type": "Polygon"},
            {"type": "Polygon", "coordinates": []},
            {"type": "Polygon", "coordinates": "x"},
            {},
            3,
            {"type": "Nonsense", "coordinates": [1, 2]},
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
            {"type": "Polygon", "coordinates": [[[0, float("nan")], [1, 1], [1, 0], [0, 0]]]},
            "text",
            [1],
        ],
    )
    def test_geometry_that_is_none_falls_back(self, geometry):
        assert footprint(make_item(geometry=geometry), {}, "").equals(shapely.box(8, 47, 9, 48))

    def test_a_bow_tie_and_heights(self):
        bow = {
            "type": "Polygon",
            "coordinates": [[[8, 47, 1], [9, 48, 1], [9, 47, 1], [8, 48, 1], [8, 47, 1]]],
        }
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
            {
                "geometry": mapping(
                    shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
                )
            },
            {"geometry": None, "bbox": [179, -17, -179, -16]},
            {"geometry": None, "bbox": [179, -17, 181, -16]},
        ],
    )
    def test_across_the_date_line(self, change):
        got = footprint(make_item(**{"bbox": [179, -17, -179, -16]} | change), {}, "")
        want = shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
        assert got.equals(want)
        assert got.is_valid

    def test_a_tile_across_the_date_line(self):
        crs = {
            "proj:epsg": 32760,
            "proj:transform": [10, 0, 799980, 0, -10, 8100040],
            "proj:shape": [10980, 10980],
        }
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
        for bad in (
            {"proj:transform": [0, 0, 0, 0, 0, 0], "proj:shape": [1, 1]},
            {"proj:bbox": [1e30, 1e30, 2e30, 2e30]},
            {"proj:transform": ["x"], "proj:shape": [1, 1]},
            {"proj:shape": [5, 5]},
        ):
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
