"""Places: on the lattice, in the zone of their centre, once, with keys that stay."""

from __future__ import annotations

import json
import re

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import RecipeError
from chipweave.plan.area import EVERYWHERE, AreaOfInterest, read_area
from chipweave.plan.lattices import utm_zones
from chipweave.plan.place import place_chips, search_cells
from tiny import LAEA, load, outline, to_lonlat, transformer

KEY = re.compile(r"[A-Za-z0-9_-]+")


def area_of(*bbox: float, rule: str = "centre") -> AreaOfInterest:
    w, s, e, n = bbox
    boxes = ((w, s, e, n),) if w < e else ((w, s, 180.0, n), (-180.0, s, e, n))
    return AreaOfInterest(shapely.union_all([shapely.box(*b) for b in boxes]), rule, boxes)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """``place(area or bbox, **chips)`` -> the frame of places."""
    folder = tmp_path_factory.mktemp("recipes")

    def make(area, **chips):
        if not isinstance(area, AreaOfInterest):
            area = area_of(*area)
        chips = {"size": 128, **chips}
        if isinstance(chips["size"], int):
            chips.setdefault("resolution", 10)
        mapping = {"area": {"bbox": [0, 0, 1, 1]}, "chips": chips}
        return place_chips(load(folder, mapping), area)

    return make


def ground(frame, crs: str):
    """Footprints in a common CRS."""
    found = []
    for row in frame.itertuples():
        side = row.size * row.resolution
        x = row.x + np.array([0, 1, 1, 0]) * side
        y = row.y - np.array([0, 0, 1, 1]) * side
        found.append(shapely.polygons(np.column_stack(transformer(row.crs, crs).transform(x, y))))
    return np.array(found)


def overlaps(shapes) -> list[float]:
    """Shares of a chip that pairs have in common, those above a thousandth."""
    i, j = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    i, j = i[i < j], j[i < j]
    shares = shapely.area(shapely.intersection(shapes[i], shapes[j])) / np.minimum(
        shapely.area(shapes[i]), shapely.area(shapes[j])
    )
    return sorted(shares[shares > 1e-3].tolist())


@pytest.mark.parametrize(
    ("bbox", "chips", "anchor"),
    [
        ((9.0, 47.0, 9.05, 47.03), {}, (0, 0)),
        ((9.0, -20.03, 9.05, -20.0), {"size": 96}, (0, 10_000_000)),
        (
            (9.0, 47.0, 9.05, 47.03),
            {"lattice": {"anchor": "landsat"}, "resolution": 30, "size": 16},
            (15, 15),
        ),
        (
            (9.0, -20.03, 9.05, -20.0),
            {"lattice": {"anchor": "landsat"}, "resolution": 30, "size": 16},
            (15, 15),
        ),
        ((9.0, 47.0, 9.05, 47.03), {"lattice": {"anchor": [3, 7]}, "resolution": 0.6, "size": 512}, (3, 7)),
        ((9.0, 47.0, 9.05, 47.03), {"crs": "EPSG:3035"}, (0, 0)),
        ((9.0, 47.0, 9.05, 47.03), {"crs": LAEA, "lattice": {"anchor": [-5, 5]}}, (-5, 5)),
        ((9.0, 47.0, 9.05, 47.03), {"crs": "EPSG:4326", "resolution": 1e-4, "size": 64}, (0, 0)),
        ((9.0, -20.03, 9.05, -20.0), {"crs": "EPSG:32732", "size": 96}, (0, 10_000_000)),
        ((9.0, 47.0, 9.05, 47.03), {"size": {"m": 500, "px": 128}}, (0, 0)),
    ],
)
def test_chips_lie_on_multiples_of_their_side_from_the_anchor(place, bbox, chips, anchor):
    frame = place(bbox, **chips)
    assert len(frame) >= 4
    side = (frame["size"] * frame["resolution"]).iloc[0]
    for name, zero in zip("xy", anchor, strict=True):
        steps = (frame[name] - zero) / side
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
    # All of them, once: the centres fill the box.
    w, s, e, n = bbox
    for row in frame.itertuples():
        lon, lat = to_lonlat(row.crs, row.x + side / 2, row.y - side / 2)
        assert (lon, lat) == pytest.approx((row.lon, row.lat), abs=1e-9)
        assert w <= lon < e
        assert s <= lat < n
    assert not overlaps(ground(frame, frame["crs"].iloc[0]))
    whole = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.box(*bbox))[0]
    each = [abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(g)[0]) for g in frame.geometry]
    assert sum(each) == pytest.approx(abs(whole), rel=0.35)


def test_the_zone_is_the_centres():
    for lon, lat, zone in [
        (-180, 0, 1), (-174.0001, 0, 1), (-174, 0, 2), (0, 0, 31), (-0.0001, 0, 30), (179.999, 0, 60), (180, 0, 60),
        (2.9, 60, 31), (3, 60, 32), (5.9, 60, 32), (11.9, 60, 32), (12, 60, 33), (3, 55.999, 31), (3, 64, 31),
        (3, 56, 32), (5, 63.999, 32), (5, -60, 31),
        (7, 75, 31), (8.999, 75, 31), (9, 75, 33), (20.9, 75, 33), (21, 75, 35), (32.9, 75, 35), (33, 75, 37),
        (41.9, 75, 37), (42, 75, 38), (9, 71.999, 32), (-0.1, 75, 30), (35, 72, 37), (35, -75, 36),
    ]:  # fmt: skip
        assert utm_zones(np.array([float(lon)]), np.array([float(lat)]))[0] == zone, (lon, lat)


@pytest.mark.parametrize(
    ("bbox", "zones"),
    [
        ((11.97, 45.0, 12.03, 45.02), {32632, 32633}),
        ((2.97, 60.0, 3.05, 60.02), {32631, 32632}),
        ((5.97, 60.0, 6.03, 60.02), {32632}),
        ((8.95, 78.0, 9.05, 78.02), {32631, 32633}),
        ((11.95, 78.0, 12.05, 78.02), {32633}),
        ((20.95, 78.0, 21.05, 78.02), {32633, 32635}),
        ((41.8, 78.0, 42.2, 78.02), {32637, 32638}),
        ((8.97, -0.03, 9.03, 0.03), {32632, 32732}),
        ((11.97, -0.03, 12.03, 0.03), {32632, 32732, 32633, 32733}),
        ((179.96, -17.02, -179.96, -17.0), {32760, 32701}),
        ((-72.03, -50.0, -71.97, -49.97), {32718, 32719}),
    ],
)
@pytest.mark.parametrize("chips", [{}, {"size": 96, "lattice": {"anchor": [330, 0]}}])
def test_where_zones_meet_ground_is_given_to_one_chip(place, bbox, zones, chips):
    frame = place(bbox, **chips)
    assert {int(c.removeprefix("EPSG:")) for c in frame["crs"]} == zones
    kept = frame[frame["reason"] == ""]
    assert {int(c.removeprefix("EPSG:")) for c in kept["crs"]} == zones
    w, e = bbox[0], bbox[2] if bbox[0] < bbox[2] else bbox[2] + 360
    middle = f"+proj=laea +lon_0={(w + e) / 2} +lat_0={(bbox[1] + bbox[3]) / 2} +datum=WGS84"
    assert overlaps(ground(kept, middle)) == []
    dropped = frame[frame["reason"] == "overlap"]
    assert len(kept) + len(dropped) == len(frame)
    # Who gives way does so to a kept chip of a lower zone, or at the equator to the north.
    shapes, codes = ground(kept, middle), kept["crs"].str[5:].astype(int).to_numpy()
    for row, shape in zip(dropped.itertuples(), ground(dropped, middle), strict=True):
        code = int(row.crs[5:])
        below = [c for c in set(codes) if (c % 100, c) < (code % 100, code)]
        assert shapely.area(shapely.intersection(shapes[np.isin(codes, below)], shape)).max() > 0


def test_max_overlap_lets_chips_stay(place):
    bbox = (11.96, 45.0, 12.04, 45.4)
    strict, loose, free = (place(bbox, max_overlap=m) for m in (0, 0.4, 1))
    counts = [(f["reason"] == "").sum() for f in (strict, loose, free)]
    assert counts[0] < counts[1] < counts[2] == len(free)
    assert len(strict) == len(loose) == len(free)
    kept = loose[loose["reason"] == ""]
    shares = overlaps(ground(kept, "EPSG:32632"))
    assert 0.05 < max(shares) <= 0.401
    gone = set(strict[strict["reason"] != ""]["key"]) - set(loose[loose["reason"] != ""]["key"])
    assert {k[:5] for k in gone} == {"32633"}


def test_far_zones_do_not_disturb_each_other(place):
    """PROJ gives numbers for points far beyond a zone: they must not count as ground shared."""
    shapes = [shapely.box(lon, 10.0, lon + 0.02, 10.02) for lon in (-177.0, -90.0, 0.0, 9.0, 100.0, 179.0)]
    frame = place(AreaOfInterest(shapely.union_all(shapes), "centre"))
    assert frame["crs"].nunique() == 6
    assert (frame["reason"] == "").all()


def test_scattered_areas_cost_what_they_cover(place, monkeypatch):
    """Two fields of one zone, 60 degrees apart: not the lattice between them."""
    monkeypatch.setattr("chipweave.plan.sampling.base.MAX_PLACES", 5000)
    both = shapely.union_all([shapely.box(9.0, 1.0, 9.03, 1.03), shapely.box(8.0, 61.0, 8.03, 61.03)])
    frame = place(AreaOfInterest(both, "centre"))
    assert frame["lat"].round().nunique() == 2
    with pytest.raises(RecipeError, match="would fill it"):
        place(AreaOfInterest(shapely.box(5, 1, 9, 50), "centre"))


@settings(max_examples=5, deadline=None)
@given(
    st.floats(-0.02, 0.02),
    st.floats(-0.02, 0.02),
    st.sampled_from([(12.0, 45.0), (9.0, 0.0), (9.0, -33.0), (3.0, 60.0)]),
)
def test_adjacent_boxes_share_out_all_chips(place, dx, dy, at):
    """Half-open: every chip of the whole is in one of four quarters, and in one alone; also as polygons."""
    lon, lat = at
    w, s, e, n = lon - 0.04, lat - 0.03, lon + 0.04, lat + 0.03
    quarters = [
        (w, s, lon + dx, lat + dy),
        (lon + dx, s, e, lat + dy),
        (w, lat + dy, lon + dx, n),
        (lon + dx, lat + dy, e, n),
    ]
    whole = sorted(place((w, s, e, n), size=64)["key"])
    assert sorted(k for q in quarters for k in place(q, size=64)["key"]) == whole
    shapes = [AreaOfInterest(shapely.box(*q), "centre") for q in quarters]
    assert sorted(k for a in shapes for k in place(a, size=64)["key"]) == whole


@pytest.mark.parametrize("polygon", [True, False])
def test_a_centre_on_an_edge_belongs_to_the_area_north_and_east_of_it(place, polygon):
    """On a lattice in degrees centres fall on edges: of four boxes that meet in a centre, one has it."""
    at = (0.5 * 64 * 2**-12 + 9.0, 0.5 * 64 * 2**-12 + 47.0)
    for dx, dy, has in ((0, 0, True), (-1, 0, False), (0, -1, False), (-1, -1, False)):
        w, s = at[0] + dx * 0.1, at[1] + dy * 0.1
        area = area_of(w, s, w + 0.1, s + 0.1)
        if polygon:
            area = AreaOfInterest(area.geometry, "centre")
        frame = place(area, crs="EPSG:4326", resolution=2**-12, size=64)
        found = ((frame["lon"] - at[0]).abs() < 1e-9) & ((frame["lat"] - at[1]).abs() < 1e-9)
        assert found.sum() == has, (dx, dy)


@pytest.mark.parametrize(
    "bbox", [(9.0, 47.0, 9.05, 47.03), (11.97, 45.0, 12.03, 45.03), (178.96, -17.03, -179.98, -17.0)]
)
def test_the_rules_are_nested_and_mean_what_they_say(place, bbox):
    found = {rule: place(area_of(*bbox, rule=rule), size=64) for rule in ("within", "centre", "intersects")}
    keys = {rule: set(frame["key"]) for rule, frame in found.items()}
    assert keys["within"] < keys["centre"] < keys["intersects"]
    box = area_of(*bbox).geometry
    for rule, frame in found.items():
        shares = shapely.area(shapely.intersection(frame.geometry.to_numpy(), box)) / shapely.area(
            frame.geometry.to_numpy()
        )
        assert shares.min() > {"within": 1 - 1e-9, "centre": 0.2, "intersects": 0}[rule]


def test_intersects_reaches_over_the_date_line(place):
    """The area begins at 180°; the chip that reaches into it from the west has its centre in zone 60."""
    frame = place(area_of(-180.0, -17.5, -179.99, -17.0, rule="intersects"), size=64)
    crossing = frame[frame["w"] > frame["e"]]
    assert "EPSG:32760" in set(crossing["crs"])
    for row in crossing.itertuples():
        west, east = sorted(shapely.get_parts(row.geometry), key=lambda p: p.bounds[0])
        assert west.bounds[0] == -180
        assert east.bounds[2] == 180
        assert row.geometry.area < 0.02**2


def test_keys_are_the_same_for_the_same_place_in_any_build(place):
    for chips in ({}, {"resolution": 0.6, "lattice": {"anchor": [3, 7]}}, {"crs": "EPSG:4326", "resolution": 1e-4},
                  {"crs": LAEA}, {"crs": "EPSG:3035"}, {"resolution": 1 / 3}):  # fmt: skip
        side = 128 * chips.get("resolution", 10)
        reach = 0.004 if side < 100 and "crs" not in chips else 0.03
        small = place((9.0, 47.0, 9.0 + reach, 47.0 + reach), **chips)
        large = place((9.0 - reach / 2, 46.99, 9.0 + 1.5 * reach, 47.0 + 1.5 * reach), **chips)
        assert set(small["key"]) <= set(large["key"])
        assert small["key"].is_unique
        assert (small["key"] == small["place"]).all()
        assert all(KEY.fullmatch(k) for k in small["key"])
        assert list(small["key"]) == sorted(small["key"])
        # The same lattice by another anchor.
        x, y = chips.get("lattice", {}).get("anchor", [0, 0])
        same = {"anchor": [x - 7 * side, y + 11 * side]}
        moved = place((9.0, 47.0, 9.0 + reach, 47.0 + reach), **{**chips, "lattice": same})
        assert list(moved["key"]) == list(small["key"])


def test_keys_of_other_sizes_and_lattices_differ(place):
    bbox = (9.0, 47.0, 9.02, 47.02)
    options = [
        {},
        {"size": 64},
        {"size": 64, "resolution": 20},
        {"lattice": {"anchor": [3, 7]}},
        {"crs": "EPSG:3035"},
        {"crs": LAEA},
    ]
    keys = [set(place(bbox, **o)["key"]) for o in options]
    assert len(set.union(*keys)) == sum(map(len, keys))


def test_no_chip_is_an_error_that_says_what_helps(place):
    with pytest.raises(RecipeError, match="no chip of 128 px"):
        place((9.0, 47.0, 9.001, 47.001))
    with pytest.raises(RecipeError, match="would fill it"):
        place((9.0, 47.0, 12.0, 50.0), crs="EPSG:4326", resolution=1e-5, size=16)
    with pytest.raises(RecipeError, match=r"does not lie where|no chip"):
        place((9.0, 89.0, 9.1, 89.1))


@pytest.mark.parametrize(
    "bbox", [(11.5, 44.0, 13.0, 46.0), (179.9, -17.1, -179.9, -17.0), (-0.5, -0.5, 0.5, 0.5)]
)
def test_search_cells_hold_every_footprint(place, bbox):
    frame = place(bbox, size=512)
    cells = shapely.union_all([shapely.box(*c) for c in search_cells(frame)])
    kept = frame[frame["reason"] == ""]
    assert shapely.covers(cells.buffer(1e-9), kept.geometry.to_numpy()).all()
    for w, s, e, n in search_cells(frame):
        assert -180 <= w < e <= 180
        assert -90 <= s < n <= 90
        assert e - w < 1.8
    assert cells.area < 2.5 * shapely.union_all(kept.geometry.to_numpy()).area


# Areas ------------------------------------------------------------------------------------------------------

SQUARE = shapely.box(9.0, 47.0, 9.1, 47.1)


def area_from(folder, name: str, frame: gpd.GeoDataFrame | dict, **more) -> AreaOfInterest:
    path = folder / name
    if isinstance(frame, dict):
        path.write_text(json.dumps(frame), encoding="utf-8")
    elif name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    key = "geojson" if name.endswith(".geojson") else "file"
    return read_area(load(folder, {"area": {key: name, **more}}))


def frame_of(*shapes, crs: str | None = "EPSG:4326", **columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns or {"n": range(len(shapes))}, geometry=list(shapes), crs=crs)


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.parquet"])
def test_areas_are_read_from_every_kind_of_file(tmp_path, name):
    two = shapely.box(9.2, 47.0, 9.3, 47.1)
    area = area_from(tmp_path, name, frame_of(SQUARE, two), rule="within")
    assert area.rule == "within"
    assert area.boxes == ()
    assert shapely.area(shapely.symmetric_difference(area.geometry, shapely.union_all([SQUARE, two]))) < 1e-12
    assert area.geometry.covers(shapely.Point(area.centre))


def mgrs(tmp_path, *names):
    return read_area(load(tmp_path, {"catalog": "c.json", "area": {"mgrs": list(names)}}))


@pytest.mark.parametrize(
    ("name", "crs", "left", "top"),
    [("31UFS", "EPSG:32631", 600_000, 5_700_000), ("29SND", "EPSG:32629", 500_000, 4_400_000),
     ("1LAH", "EPSG:32701", 100_000, 8_800_000)],
)  # fmt: skip
def test_an_area_of_squares_of_the_military_grid(tmp_path, name, crs, left, top):
    """Corners by hand from the letters; the last lies across 180 degrees: row H is the eighth, 8700 km in band L."""
    area = mgrs(tmp_path, name)
    for x, y, inside in (
        (1, -1, True),
        (-1, -1, False),
        (1, 1, False),
        (99_999, -99_999, True),
        (100_001, -50, False),
    ):
        lon, lat = to_lonlat(crs, left + x, top + y)
        assert area.holds_points(np.array([lon]), np.array([lat])).tolist() == [inside], (x, y)
    both = mgrs(tmp_path, name, "33UUP")
    assert both.geometry.area > area.geometry.area
    assert both.geometry.covers(area.geometry)


@pytest.mark.parametrize("name", ["31U", "31UZZ", "61UFS", "31IFS", "x", "31UFS4"])
def test_what_is_no_square_is_refused(tmp_path, name):
    with pytest.raises(RecipeError, match=f"area.mgrs: '{name}' is no square"):
        mgrs(tmp_path, name)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035", "EPSG:3857", LAEA])
def test_an_area_in_another_crs_is_reprojected_with_its_edges(tmp_path, crs):
    """100 km of straight edge bow by hundreds of metres in lon/lat."""
    back = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = back.transform(9.25, 47.5)
    square = shapely.box(x - 50_000, y - 50_000, x + 50_000, y + 50_000)
    area = area_from(tmp_path, "a.gpkg", frame_of(square, crs=crs))
    again = shapely.transform(
        shapely.segmentize(area.geometry, 0.01), lambda c: np.column_stack(back.transform(*c.T))
    )
    assert shapely.area(shapely.symmetric_difference(square, again)) / square.area < 1e-5
    assert shapely.hausdorff_distance(square.exterior, again.exterior) < 5


def test_where_and_layer_choose_features(tmp_path):
    far = shapely.box(20, 10, 21, 11)
    frame = frame_of(SQUARE, far, kind=["a", "b"])
    area = area_from(tmp_path, "a.gpkg", frame, where="kind = 'a'")
    assert area.geometry.bounds == SQUARE.bounds
    with pytest.raises(RecipeError, match=r"a\.gpkg: holds no"):
        area_from(tmp_path, "a.gpkg", frame, where="kind = 'c'")
    with pytest.raises(RecipeError, match=r"a\.gpkg: cannot be read"):
        area_from(tmp_path, "a.gpkg", frame, layer="other")


def test_a_polygon_that_crosses_itself_is_mended(tmp_path):
    bow = shapely.Polygon([(9, 47), (9.2, 47.2), (9.2, 47), (9, 47.2)])
    area = area_from(tmp_path, "a.geojson", frame_of(bow, shapely.box(9.05, 47.0, 9.15, 47.2)))
    assert area.geometry.is_valid
    assert area.geometry.area == pytest.approx(0.035, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "frame", "said"),
    [
        ("a.gpkg", frame_of(SQUARE, crs=None), "has no CRS"),
        ("a.gpkg", frame_of(shapely.Point(9, 47), shapely.LineString([(9, 47), (9, 48)])), "holds no polygon"),
        ("a.gpkg", frame_of(), "holds no geometry"),
        ("a.geojson", {"type": "FeatureCollection", "features": []}, "holds no geometry"),
        ("a.geojson", {"type": "Feature", "properties": {}, "geometry": None}, "holds no"),
        ("a.geojson", frame_of(shapely.Point(9, 47)), "holds no polygon"),
        ("a.geojson", {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(
            shapely.box(500_000, 5_200_000, 510_000, 5_210_000))}, "not in lon/lat"),
        ("a.geojson", {"no": "geojson"}, "cannot be read|holds no"),
        ("a.geojson", {"type": "Polygon", "coordinates": [[[9, 47], [9, 47], [9, 47], [9, 47]]]}, "holds no polygon"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_areas_that_are_none_are_refused(tmp_path, name, frame, said):
    with pytest.raises(RecipeError, match=said):
        area_from(tmp_path, name, frame)


def test_a_missing_or_unreadable_file_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.geojson: no such file"):
        read_area(load(tmp_path, {"area": {"geojson": "gone.geojson"}}))
    (tmp_path / "a.gpkg").write_bytes(b"no database")
    with pytest.raises(RecipeError, match=r"a\.gpkg: cannot be read"):
        read_area(load(tmp_path, {"area": {"file": "a.gpkg"}}))
    points = {"chips": {"size": 16, "sampling": {"method": "points", "file": "x.gpkg"}}}
    assert read_area(load(tmp_path, points)) is EVERYWHERE


def test_a_box_across_the_date_line_is_two(tmp_path):
    area = read_area(load(tmp_path, {"area": {"bbox": [179.9, -17.1, -179.9, -17]}}))
    assert area.boxes == ((179.9, -17.1, 180.0, -17.0), (-180.0, -17.1, -179.9, -17.0))
    lon, lat = np.array([179.95, -179.95, 180.0, -180.0, 0.0, -179.9]), np.full(6, -17.05)
    np.testing.assert_array_equal(area.holds_points(lon, lat), [True, True, True, True, False, False])


def test_the_outline_of_a_utm_square_in_a_geojson_is_the_square(place):
    """The worlds of the tests give areas so: all chips of the square, no other."""
    shape = outline("EPSG:32632", 499_200, 5_200_640, 506_880, 5_205_760)
    frame = place(AreaOfInterest(shape, "centre"))
    assert len(frame) == 6 * 4


@pytest.mark.parametrize(
    ("crs", "lon", "lat", "half", "hole"),
    [
        ("EPSG:3832", 180, -17, 5_000, 1_000),
        ("EPSG:3460", 180, -17, 5_000, 0),
        ("EPSG:3413", 180, 70, 5_000, 0),
        ("EPSG:3413", 0, 90, 500_000, 100_000),
        ("EPSG:3031", 10, -89, 300_000, 20_000),
    ],
)
def test_an_area_in_another_crs_may_lie_across_the_date_line_or_about_a_pole(
    tmp_path, crs, lon, lat, half, hole
):
    """Points of a square in its own plane, and of the ground around it."""
    to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to.transform(lon, lat)
    shape = shapely.box(x - half, y - half, x + half, y + half)
    if hole:
        shape = shape.difference(shapely.box(x - hole, y - hole, x + hole, y + hole))
    gpd.GeoDataFrame({"a": [1]}, geometry=[shape], crs=crs).to_file(tmp_path / "a.gpkg")
    area = read_area(load(tmp_path, {"area": {"file": "a.gpkg"}}))
    rng = np.random.default_rng(0)
    px, py = x + half * rng.uniform(-2, 2, 4000), y + half * rng.uniform(-2, 2, 4000)
    points = to.transform(px, py, direction="INVERSE")
    near = shapely.distance(shape.boundary, shapely.points(px, py)) < half / 1000
    held = area.holds_points(*(np.asarray(c) for c in points))
    np.testing.assert_array_equal(held[~near], shapely.contains_xy(shape, px, py)[~near])
    far = area.holds_points(np.array([0.0, 90.0, -90.0]), np.array([lat / 2, lat / 2, -lat / 2]))
    assert not far.any()


@pytest.mark.parametrize("box", [(0, 85, 20, 87), (0, -88, 20, -86)])
def test_beyond_utm_another_crs_is_named(place, box):
    with pytest.raises(RecipeError, match="no chip of 128 px") as error:
        place(box)
    assert "chips.crs, such as EPSG:3413" in error.value.hint
