"""Burned polygons against truths that are worked out in another way: centres in polygons, distances, areas."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from chipweave.labels.vectors import Rule
from chipweave.labels.vectors.burn import Boundary
from chipweave.labels.vectors.outlines import outlines
from chipweave.model import Place
from chipweave.pixels.burning import burn_shapes
from support.polygons import centres, held, off, painted, place_at, reader, star, write

UTM = "EPSG:32635"
SQUARE = Place("chip", UTM, 500_000.0, 6_700_000.0, 40, 10.0)


def ring(*corners: tuple[float, float]) -> shapely.Polygon:
    """A polygon of corners in pixels of `SQUARE`: (column, row)."""
    return shapely.Polygon([(SQUARE.x + 10 * c, SQUARE.y - 10 * r) for c, r in corners])


def box(w: float, n: float, e: float, s: float) -> shapely.Polygon:
    return ring((w, n), (e, n), (e, s), (w, s))


def burned(shapes: list[shapely.Geometry], *, touched: bool = False) -> np.ndarray:
    """How many of the shapes burn each pixel of `SQUARE`."""
    total = np.zeros((40, 40), np.int64)
    for shape in shapes:
        drawn = outlines(np.array([shape], np.object_), SQUARE)
        classes, owners = np.zeros((40, 40), np.uint16), np.full((40, 40), -1, np.int32)
        one = np.array([1], np.int64)
        burn_shapes(drawn.edges, drawn.starts, drawn.kinds, touched, one, one, classes, owners)
        total += classes
    return total


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.3])
def test_every_pixel_of_a_partition_belongs_to_exactly_one_part(shift: float) -> None:
    """Borders through pixel centres too: along rows, along columns, diagonal, and bent at centres."""
    at = [k + shift for k in (3, 9, 14, 22, 31)]
    points = [(c, r) for c in at for r in at]
    spans = list(itertools.pairwise(at))
    cells = [box(w, n, e, s) for w, e in spans for n, s in spans]
    halves = [
        ring(*corners)
        for w, e in spans
        for n, s in spans
        for corners in (((w, n), (e, n), (w, s)), ((e, n), (e, s), (w, s)))
    ]
    rng = np.random.default_rng(4)
    tri = shapely.delaunay_triangles(shapely.MultiPoint([*points, *rng.uniform(3, 31, (30, 2))]))
    loose = [ring(*list(t.exterior.coords)[:-1]) for t in tri.geoms]
    inside = burned([box(at[0], at[0], at[-1], at[-1])])
    assert inside.sum() == round(at[-1] - at[0]) ** 2
    for parts in (cells, halves, loose):
        np.testing.assert_array_equal(burned(parts), inside)


def test_a_centre_on_a_left_or_upper_edge_is_inside_and_on_a_right_or_lower_one_is_not() -> None:
    found = burned([box(2.5, 3.5, 6.5, 5.5)])
    assert {tuple(p) for p in np.argwhere(found)} == {(r, c) for r in (3, 4) for c in (2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("lon", "lat", "crs", "source", "reach", "resolution"),
    [
        (25.0, 60.2, UTM, UTM, 300, 10),
        (25.0, 60.2, UTM, "EPSG:4326", 0.006, 10),
        (25.0, 60.2, UTM, "EPSG:3035", 300, 10),
        (25.0, 60.2, UTM, "EPSG:4326", 3.0, 10),  # edges of 200 km and more, which bend by kilometres
        (25.0, 60.2, "EPSG:3035", "EPSG:4326", 0.002, 2.5),
        (179.999, -60.0, "EPSG:32760", "EPSG:4326", 0.01, 10),
        (-179.999, 65.0, "EPSG:32601", "EPSG:4326", 0.01, 10),
        (20.0, -75.0, "EPSG:32734", "EPSG:3031", 400, 10),
    ],
)
def test_burned_polygons_hold_the_pixel_centres_that_their_own_crs_says(
    tmp_path: Path, lon: float, lat: float, crs: str, source: str, reach: float, resolution: float
) -> None:
    place = place_at(lon, lat, crs, resolution)
    rng = np.random.default_rng(7)
    x, y = (
        float(np.mean(v)) if source != "EPSG:4326" else at
        for v, at in zip(centres(place, source), (lon, lat), strict=True)
    )
    shapes = [
        star(rng, x + rng.normal() * reach / 2, y + rng.normal() * reach / 4, reach, n) for n in range(5, 17)
    ]
    shapes[3] = shapes[3].difference(star(rng, x, y, reach / 3, 7))  # a hole, or several parts
    shapes[5] = shapely.union_all([shapes[5], shapely.affinity.translate(shapes[5], reach * 0.9)])
    if reach == 3.0:  # large ones would hold the whole chip: their edges are laid through it
        shapes = [
            shapely.Polygon([(x - reach, y + d), (x + reach, y - d), (x, y + 5)]) for d in (-0.3, 0.1, 1.5)
        ]
    codes = list(range(1, len(shapes) + 1))
    path = write(tmp_path / "a.gpkg", shapes, source, code=codes)
    read = reader(path, Rule(None, None, "code", said="burn.0"), place=place)
    found, truth = read.read(place, []).arrays["f"], painted(shapes, codes, place, source)
    assert len(np.unique(truth)) > 2
    pixel = resolution if source != "EPSG:4326" else resolution / 111_320
    close = np.min([off(s, place, source) for s in shapes], axis=0) < 0.005 * pixel
    assert close.mean() < 0.01
    np.testing.assert_array_equal(found[~close], truth[~close])


def test_all_touched_burns_every_pixel_that_shares_ground_and_no_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    shapes = [star(rng, SQUARE.x + 200, SQUARE.y - 200, 150, 9), box(2, 3, 7, 8)]  # the second on the lattice
    path = write(tmp_path / "a.fgb", shapes, UTM)
    rule = Rule(None, 1, None, all_touched=True, said="burn.0")
    found = reader(path, rule, place=SQUARE).read(SQUARE, []).arrays["f"]
    cols, rows = np.meshgrid(np.arange(40), np.arange(40))
    pixels = shapely.box(
        SQUARE.x + 10 * cols, SQUARE.y - 10 * rows - 10, SQUARE.x + 10 * cols + 10, SQUARE.y - 10 * rows
    )
    shared = shapely.area(shapely.intersection(pixels, shapely.union_all(shapes)))
    np.testing.assert_array_equal(found, shared > 1e-6)


def test_points_and_lines_burn_what_they_touch_and_buffers_are_metres(tmp_path: Path) -> None:
    line = shapely.LineString([(SQUARE.x + 15, SQUARE.y - 15), (SQUARE.x + 205, SQUARE.y - 115)])
    point = shapely.Point(SQUARE.x + 305, SQUARE.y - 305)
    path = write(tmp_path / "a.gpkg", [line, point], UTM, what=["road", "well"])
    thin = reader(path, place=SQUARE).read(SQUARE, []).arrays["f"]
    cols, rows = np.meshgrid(np.arange(40), np.arange(40))
    pixels = shapely.box(
        SQUARE.x + 10 * cols, SQUARE.y - 10 * rows - 10, SQUARE.x + 10 * cols + 10, SQUARE.y - 10 * rows
    )
    assert thin[30, 30] == 1
    np.testing.assert_array_equal(
        thin == 1, shapely.intersects(pixels, line) | shapely.intersects(pixels, point)
    )
    rules = (
        Rule("what = 'road'", 2, None, 25.0, said="burn.0"),
        Rule("what LIKE 'w%'", 3, None, 40.0, said="burn.1"),
    )
    wide = reader(path, *rules, place=SQUARE).read(SQUARE, []).arrays["f"]
    x, y = centres(SQUARE, UTM)
    near = [shapely.distance(g, shapely.points(x, y)).reshape(40, 40) for g in (line, point)]
    sure = (np.abs(near[0] - 25) > 0.1) & (np.abs(near[1] - 40) > 0.1)  # round ends are polygons
    truth = np.where(near[1] < 40, 3, np.where(near[0] < 25, 2, 0))
    np.testing.assert_array_equal(wide[sure], truth[sure])


def test_a_buffer_is_metres_on_the_ground_where_those_of_the_map_are_not(tmp_path: Path) -> None:
    """In Web Mercator at 60° N a metre on the ground is two on the map; in UTM the map's are taken."""
    for crs, metres in (("EPSG:3857", 50.0), (UTM, 100.0)):
        place = place_at(25.0, 60.0, crs, 10.0)
        middle = shapely.Point(place.x + 320, place.y - 320)
        path = write(tmp_path / f"{crs[5:]}.gpkg", [middle], crs)
        rule = Rule(None, 1, None, metres, said="burn.0")
        found = reader(path, rule, place=place).read(place, []).arrays["f"]
        assert found.sum() * 100 == pytest.approx(np.pi * 100**2, rel=0.02)


def test_rules_are_burned_in_order_and_later_features_lie_over_earlier_ones(tmp_path: Path) -> None:
    shapes = [box(5, 5, 20, 20), box(10, 10, 30, 30), box(15, 15, 18, 18)]
    path = write(tmp_path / "a.geojson", shapes, UTM, kind=["a", "b", "a"])
    first = (Rule(None, 1, None, said="burn.0"), Rule("kind = 'b'", 2, None, said="burn.1"))
    found = reader(path, *first, outside=9, place=SQUARE).read(SQUARE, []).arrays["f"]
    np.testing.assert_array_equal(found, _over([(1, shapes), (2, shapes[1:2])], 9))
    turned = reader(path, *first[::-1], outside=9, place=SQUARE).read(SQUARE, []).arrays["f"]
    np.testing.assert_array_equal(turned, _over([(2, shapes[1:2]), (1, shapes)], 9))


def _over(rules: list[tuple[int, list[shapely.Geometry]]], outside: int) -> np.ndarray:
    out = np.full((40, 40), outside)
    for code, shapes in rules:
        for shape in shapes:
            out[held(shape, SQUARE, UTM)] = code
    return out


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_the_boundary_is_as_wide_as_stated_and_of_neighbours_beyond_the_chip_too(
    tmp_path: Path, width: int
) -> None:
    shapes = [
        ring((4.3, 4.1), (20.2, 6.6), (17.7, 24.2)), ring((20.2, 6.6), (30.4, 17.0), (17.7, 24.2)),
        box(40.2, 3.3, 47, 20.1),  # wholly outside, a little right of the last column
    ]  # fmt: skip
    path = write(tmp_path / "a.gpkg", shapes, UTM)
    read = reader(path, boundary=Boundary(width, 7), place=SQUARE, distance=True)
    target = read.read(SQUARE, [])
    edge = np.min([off(s, SQUARE, UTM) for s in shapes], axis=0)
    truth = np.where(edge <= width / 2 * 10, 7, _over([(1, shapes)], 0))
    np.testing.assert_array_equal(target.arrays["f"], truth)
    inside = _over([(1, shapes)], 0) > 0
    assert target.arrays["f_distance"].dtype == np.float32
    np.testing.assert_allclose(target.arrays["f_distance"], np.where(inside, edge, 0), atol=0.01)
    assert (truth[:, 39] == 7).any() == (width >= 2)
    assert target.features is not None
    assert len(target.features) == 2


def test_instances_boxes_and_geojson_tell_the_same(tmp_path: Path) -> None:
    shapes = [
        box(-4, 3, 6, 9), ring((10.2, 10.1), (25.3, 12.4), (15.5, 29.2)), box(12, 14, 14, 16),
        box(30.6, 30.6, 30.9, 30.9), box(60, 60, 70, 70),
    ]  # fmt: skip
    path = write(
        tmp_path / "a.gpkg", shapes, UTM, crop=["wheat", "rye", "oat", "tiny", "far"], code=[5, 6, 7, 8, 9]
    )
    read = reader(
        path, Rule("crop <> 'x'", None, "code", said="burn.0"), place=SQUARE, instances=True, boxes=True
    )
    target = read.read(SQUARE, [])
    instances = target.arrays["f_instances"]
    assert instances.dtype == np.int32
    np.testing.assert_array_equal(instances, _over([(k + 1, [s]) for k, s in enumerate(shapes[:3])], 0))
    document = json.loads(target.documents["f_features"])
    told = [
        (f["properties"]["crop"], f["properties"]["code"], f["properties"]["instance"])
        for f in document["features"]
    ]
    assert told == [("wheat", 5, 1), ("rye", 6, 2), ("oat", 7, 3), ("tiny", 8, 0)]
    assert document["features"][0]["properties"]["class"] == "class 5"
    outline = shapely.geometry.shape(document["features"][0]["geometry"])
    back = shapely.transform(outline, lambda c: np.c_[_utm(c)])
    chip = shapely.box(SQUARE.x, SQUARE.y - 400, SQUARE.x + 400, SQUARE.y)
    assert shapely.hausdorff_distance(back, shapes[0].intersection(chip)) < 0.02  # seven decimals of a degree
    assert outline.exterior.is_ccw
    coco = json.loads(target.documents["f_boxes"])
    assert [a["bbox"] for a in coco["annotations"]] == [[0, 3, 6, 6], [10, 10, 15, 19], [12, 14, 2, 2]]
    assert [a["category_id"] for a in coco["annotations"]] == [5, 6, 7]
    for annotation in coco["annotations"]:
        own = instances == annotation["id"]
        assert annotation["area"] == own.sum()
        np.testing.assert_array_equal(_mask(annotation["segmentation"]), own)
    assert [s.name for s in read.specs] == ["f", "f_instances", "f_features", "f_boxes"]


def _utm(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import pyproj

    return pyproj.Transformer.from_crs(4326, UTM, always_xy=True).transform(points[:, 0], points[:, 1])


def _mask(segmentation: dict) -> np.ndarray:
    """Run lengths as COCO reads them: columns first, of what is not the object first."""
    height, width = segmentation["size"]
    runs = segmentation["counts"]
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    return np.pad(flat, (0, height * width - len(flat))).reshape(width, height).T.astype(bool)


def test_a_chip_without_features_is_outside_and_its_documents_are_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [box(500, 500, 510, 510)], UTM)
    read = reader(path, outside=3, place=SQUARE, instances=True, boxes=True, distance=True)
    target = read.read(SQUARE, [])
    assert (target.arrays["f"] == 3).all()
    assert not target.arrays["f_instances"].any()
    assert not target.arrays["f_distance"].any()
    assert json.loads(target.documents["f_features"]) == {"type": "FeatureCollection", "features": []}
    assert json.loads(target.documents["f_boxes"])["annotations"] == []
    assert target.said["f"]["fractions"]["3"] == 1.0


def test_bytes_do_not_depend_on_what_was_read_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shapes = [star(rng, 25 + rng.normal() / 50, 60.4 + rng.normal() / 90, 0.003, 9) for _ in range(400)]
    path = write(tmp_path / "a.gpkg", shapes, "EPSG:4326")
    places = [place_at(25 + k / 60, 60.4, UTM) for k in range(-2, 3)]
    more = {"instances": True, "boxes": True, "distance": True}
    from chipweave.labels.vectors import opened

    first = [reader(path, place=p, **more).read(p, []) for p in places]
    opened._opened.cache_clear()
    again = [reader(path, place=p, **more).read(p, []) for p in places[::-1]][::-1]
    assert any(t.arrays["f"].any() for t in first)
    for a, b in zip(first, again, strict=True):
        assert a.documents == b.documents
        assert all(a.arrays[n].tobytes() == b.arrays[n].tobytes() for n in a.arrays)


def test_a_parcel_cut_at_180_degrees_is_whole_on_both_sides_of_it(tmp_path: Path) -> None:
    """The cut is no edge of it: neither boundary nor distance know it, where the file is wide enough to be cut."""
    whole = shapely.box(177.0, 64.98, 183.0, 65.02)
    parts = shapely.MultiPolygon(
        [shapely.box(177.0, 64.98, 180.0, 65.02), shapely.box(-180.0, 64.98, -177.0, 65.02)]
    )
    place = place_at(179.9999, 65.0, "EPSG:32660")
    for name, shape in (("over.gpkg", whole), ("cut.gpkg", parts)):
        path = write(tmp_path / name, [shape], "EPSG:4326")
        target = reader(path, boundary=Boundary(2, 5), place=place, instances=True).read(place, [])
        assert (target.arrays["f"] == 1).all(), name
        rings = json.loads(target.documents["f_features"])["features"][0]["geometry"]
        assert rings["type"] == "MultiPolygon"
        longitudes = np.array([c[0] for polygon in rings["coordinates"] for c in polygon[0]])
        assert longitudes.min() == -180
        assert longitudes.max() == 180


def test_areas_in_several_parts_that_jump_across_180_degrees_are_brought_together(tmp_path: Path) -> None:
    """As maps of OpenStreetMap hold them: an island on one side, a lake and a shore that are cut by nothing."""
    whole = shapely.box(179.994, -16.784, 180.006, -16.776) - shapely.box(179.997, -16.782, 180.001, -16.779)
    island = shapely.box(180.008, -16.782, 180.01, -16.78)
    jumping = [
        shapely.transform(shape, lambda c: np.where(c > [180, 90], c - np.array([360, 0]), c))
        for shape in (whole, island)
    ]
    path = write(tmp_path / "a.gpkg", [shapely.MultiPolygon(jumping)], "EPSG:4326")
    for crs in ("EPSG:32760", "EPSG:32701"):
        place = place_at(180.0, -16.78, crs, 10.0, 192)
        truth = held(whole, place, "EPSG:4326") | held(island, place, "EPSG:4326")
        near = off(whole, place, "EPSG:4326") < 1e-6
        got = reader(path, place=place).read(place, []).arrays["f"] == 1
        assert truth.any()
        assert not truth.all()
        np.testing.assert_array_equal(got[~near], truth[~near])
