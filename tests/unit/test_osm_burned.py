"""OpenStreetMap on a chip's grid: planted at 60 degrees north, held against geometry worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely

from chipweave.catalog.legends import legend_of_names
from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.labels.osm import OsmRead, load_scheme, prepare_osm
from chipweave.labels.osm.source import BURNED, OBJECT, REACH, TAGS, turns_of
from chipweave.labels.remap import Recode
from chipweave.labels.vectors import Reading
from chipweave.model import Place, Scene
from worlds.planted_osm import PlantedOsm, box

SIZE, RES = 64, 10.0
PLACE = Place("a", "EPSG:32635", 500_000.0, 6_652_000.0 + SIZE * RES, SIZE, RES)
"""From the origin of what is planted: row 0 is 640 m north of it."""

SCENE = Scene(
    "osm",
    "planted.osm",
    "osm",
    datetime(2020, 5, 6, tzinfo=UTC),
    shapely.box(-180, -90, 180, 90),
    edition="2020-05-06",
)

RING = shapely.Polygon(box(33, 47, 300, 260), [box(103, 117, 90, 80)])


@pytest.fixture(scope="module")
def planted() -> PlantedOsm:
    p = PlantedOsm()
    p.relation(
        [p.area(box(33, 47, 300, 260))], [p.area(box(103, 117, 90, 80))], landuse="forest", name="Ring Wood"
    )
    p.area(box(0, 0, 640, 640), landuse="residential")  # the largest lies under all others
    p.area(box(213, 207, 61, 73), landuse="meadow")  # smaller than the wood it lies on, at equal priority
    p.way([(-200, 401), (900, 401)], highway="primary", width="23")
    p.way([(401, 420), (401, 620)], waterway="river", width="31")
    p.area(box(396, 396, 20, 20), building="yes")
    return p


@pytest.fixture(scope="module")
def read(planted, tmp_path_factory) -> OsmRead:
    folder = tmp_path_factory.mktemp("osm")
    scheme = load_scheme("osm-landuse", Path())
    facts, reach = prepare_osm(
        planted.write(folder / "a.osm.pbf"), scheme, folder / "stores", "labels.osm.file"
    )
    assert reach == 15.5
    assert not list((folder / "stores").glob(".tmp*"))
    reading = Reading(facts.folder, (BURNED,), (0,), 0, None, (OBJECT, TAGS, REACH))
    return OsmRead("osm", scheme.legend, reading, SIZE, RES, collection="osm", reach_m=reach)


def truth() -> tuple[np.ndarray, np.ndarray]:
    """Class at each pixel's centre, by hand; and the distance in metres of the centre from the nearest outline."""
    steps = (np.arange(SIZE) + 0.5) * RES
    x, y = np.meshgrid(steps, SIZE * RES - steps)
    layers = [
        (1, shapely.Polygon(box(0, 0, 640, 640))), (15, RING), (14, shapely.Polygon(box(213, 207, 61, 73))),
        (18, shapely.LineString([(401, 420), (401, 620)]).buffer(15.5)),
        (6, shapely.LineString([(-200, 401), (900, 401)]).buffer(11.5)), (5, shapely.Polygon(box(396, 396, 20, 20))),
    ]  # fmt: skip
    out, near = np.zeros((SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), np.inf)
    points = shapely.points(x, y)
    for code, shape in layers:
        out[shapely.contains_xy(shape, x, y)] = code
        near = np.minimum(near, shapely.distance(shape.boundary, points))
    return out, near


def test_classes_are_those_of_pixel_centres(read):
    target = read.read(PLACE, [SCENE])
    want, near = truth()
    sure = near > 0.05  # seven digits of a degree, and a grid that bends against straight lines of lon/lat
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(target.arrays["osm"][sure], want[sure])
    assert set(np.unique(want)) == {1, 5, 6, 14, 15, 18}
    said = target.said["osm"]
    assert said["datetime"] == ["2020-05-06"]
    assert said["items"] == [["planted.osm"]]
    assert said["legend"] == "osm-landuse"
    assert said["fractions"]["5"] == np.count_nonzero(want == 5) / want.size


def test_features_are_as_mapped_and_carry_ids_and_tags(read):
    features = read.read(PLACE, [SCENE]).features
    by_id = {
        f: (features.geometry[k], features.codes[k], features.tags[k]) for k, f in enumerate(features.ids)
    }
    assert set(by_id) == {"relation/1", "way/3", "way/4", "way/5", "way/6", "way/7"}
    wood, code, tags = by_id["relation/1"]
    assert (code, tags) == (15, {"landuse": "forest", "name": "Ring Wood"})
    assert wood.area == pytest.approx(300 * 260 - 90 * 80, rel=1e-3)
    road = by_id["way/5"][0]
    assert shapely.get_dimensions(road) == 1  # a line: captions say how long it is
    assert road.length == pytest.approx(1100, abs=0.1)
    assert features.ids[0] == "way/3"  # in the order of burning: the largest and lowest first
    assert features.ids[-1] == "way/7"


def test_a_line_beyond_the_chip_burns_the_pixels_that_its_width_reaches(read):
    south = Place(
        "b", PLACE.crs, PLACE.x, PLACE.y - 250, SIZE, RES
    )  # the road lies 11 m above its first row's top
    assert south.y < PLACE.y - 239
    target = read.read(replace(south, y=6_652_000.0 + 400), [SCENE])
    assert (
        target.arrays["osm"][0, 42:60] == 6
    ).all()  # its lower edge is 389.5 m up; the first row's centre 395 m


def test_the_same_store_is_found_again_and_another_scheme_makes_another(planted, tmp_path):
    path = planted.write(tmp_path / "a.osm.pbf")
    scheme = load_scheme("osm-landuse", Path())
    one, _ = prepare_osm(path, scheme, tmp_path, "osm")
    stamp = (one.folder / "features.arrow").stat().st_mtime_ns
    two, _ = prepare_osm(path, scheme, tmp_path, "osm")
    assert two.folder == one.folder
    assert (two.folder / "features.arrow").stat().st_mtime_ns == stamp
    text = "classes: [{value: 3, name: Wood}]\nrules: [{class: 3, key: landuse, values: [forest], geometry: area}]\n"
    (tmp_path / "mine.yaml").write_text(text)
    three, reach = prepare_osm(path, load_scheme("mine.yaml", tmp_path), tmp_path, "osm")
    assert (three.folder != one.folder, three.count, reach) == (True, 1, 0.0)


def test_beyond_the_extracts_box_nothing_is_known(read):
    lon = 27.0 + np.degrees(
        320 / (np.cos(np.radians(60)) * 6_378_137)
    )  # the middle of the chip: the zone's meridian
    half = replace(read, reading=replace(read.reading, outside=19), box=(26.0, 59.0, lon, 61.0), beyond=0)
    away = replace(PLACE, y=PLACE.y + 10_000)  # where no object lies
    classes = half.read(away, [SCENE]).arrays["osm"]
    assert (classes[:, :31] == 19).all()
    assert (classes[:, 33:] == 0).all()
    assert (replace(half, box=None).read(away, [SCENE]).arrays["osm"] == 19).all()


def test_smaller_objects_lie_on_larger_ones_and_priority_comes_first():
    shapes = np.array(
        [shapely.box(25, 60, 25.1, 60.1), shapely.box(25, 60, 25.2, 60.1), shapely.Point(25, 60)], object
    )
    turns = turns_of(shapes, np.array([0, 0, -1]), np.array([0.0, 0.0, 50.0]))
    assert turns.argsort().tolist() == [2, 1, 0]
    assert turns_of(shapes[:2], np.array([0, 5]), np.zeros(2)).argsort().tolist() == [0, 1]
    north, south = shapely.box(25, 80, 26, 81), shapely.box(25, 0, 25.3, 1)  # a degree is short in the north
    assert turns_of(np.array([north, south], object), np.zeros(2, int), np.zeros(2)).argsort().tolist() == [
        1,
        0,
    ]


def test_what_comes_to_nothing_leaves_nothing(planted, tmp_path):
    path = planted.write(tmp_path / "a.osm.pbf")
    (tmp_path / "mine.yaml").write_text(
        "classes: [{value: 3, name: Ice}]\nrules: [{class: 3, key: natural, values: [glacier], geometry: area}]\n"
    )
    with pytest.raises(RecipeError, match="is empty"):
        prepare_osm(
            path, load_scheme("mine.yaml", tmp_path), tmp_path / "stores", "labels.osm.file: a.osm.pbf"
        )
    data = bytearray(path.read_bytes())
    data[-20:-10] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(PermanentSourceError, match="not a whole OpenStreetMap extract"):
        prepare_osm(
            path, load_scheme("osm-landuse", Path()), tmp_path / "stores", "labels.osm.file: a.osm.pbf"
        )
    assert not [p for p in (tmp_path / "stores").iterdir() if not p.name.startswith(".tmp-")]


def test_geojson_of_instances_names_objects(read):
    found = json.loads(replace(read, instances=True).read(PLACE, [SCENE]).documents["osm_features"])
    names = {f["properties"]["id"]: f["properties"]["class"] for f in found["features"]}
    assert names["relation/1"] == "Forest"
    assert names["way/5"] == "Roads"


def test_classes_of_another_legend_are_those_of_features_too(read):
    to = legend_of_names("mine", {1: "built", 2: "green"})
    table = {c: 2 if c in {11, 12, 13, 14, 15, 16} else 1 for c in read.legend.codes}
    other = replace(read, legend=to, recode=Recode.of(read.legend, table, to))
    target = other.read(PLACE, [SCENE])
    want, near = truth()
    sure = near > 0.05
    np.testing.assert_array_equal(target.arrays["osm"][sure], np.where(np.isin(want, [14, 15]), 2, 1)[sure])
    assert dict(zip(target.features.ids, target.features.codes.tolist(), strict=True))["relation/1"] == 2
    assert set(target.features.codes.tolist()) == {1, 2}
