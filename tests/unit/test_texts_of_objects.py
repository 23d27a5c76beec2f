"""Captions of objects: what stands behind each sentence, against sums done by hand, at the equator and at 60° N."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from chipweave.audit.arrays import shape_of
from chipweave.errors import ChipweaveError
from chipweave.labels.text.grid import factors, north
from chipweave.labels.text.objects import chip_box, class_names, objects_of
from chipweave.model import Place
from written import (
    BUILDING,
    EQUATOR,
    FOREST,
    LAKE,
    LEGEND,
    NORTH,
    QUARRY,
    RES,
    ROAD,
    SIDE,
    SIZE,
    TREE,
    dumped,
    facts_of,
    features,
    label_spec,
    place_at,
    seen_of,
    writer,
    written,
)

CIRCLE = [
    (400 + 50 * math.sin(2 * math.pi * i / 256), 120 - 50 * math.cos(2 * math.pi * i / 256))
    for i in range(256)
]
CIRCLE_M2 = 0.5 * 256 * 50**2 * math.sin(2 * math.pi / 256)
"""Area of that 256-gon."""

PLANTED = [
    (BUILDING, box(50, 500, 150, 560)),  # 6000 m², wholly inside, lower left
    (LAKE, Polygon(CIRCLE)),  # about 7850 m², upper right
    (FOREST, box(540, 300, 700, 400)),  # 16 000 m², of which 100/160 inside
    (FOREST, box(-150, 200, 50, 250)),  # 10 000 m², of which a quarter inside
    (ROAD, LineString([(-100, 450), (300, 450), (300, 350)])),  # 500 m, of which 400 m inside
    (BUILDING, box(200, 500, 215, 510)),  # 150 m²: not to be seen
    (TREE, Point(320, 320)),
    (QUARRY, MultiPolygon([box(10, 10, 40, 40), box(700, 10, 730, 40)])),  # half of it inside, exactly
    (
        LAKE,
        Polygon(box(240, 540, 340, 640).exterior.coords, [box(260, 560, 320, 620).exterior.coords]),
    ),  # a ring
    (BUILDING, box(SIDE, 100, SIDE + 50, 150)),  # touches the edge, nothing inside
    (99, box(0, 0, 640, 640)),  # of no class
]
RING_M2 = 100 * 100 - 60 * 60


def measured(where, visible=None, least_px=4):
    place = place_at(where)
    return objects_of(features(place, PLANTED), class_names(LEGEND, "osm"), place, visible or {}, least_px)


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
def test_sizes_and_shares_are_those_worked_out_by_hand(where):
    found = measured(where)
    assert found.ids == tuple(f"way/{i}" for i in range(9)), (
        "nothing of the last two lies inside or has a class"
    )
    expected = [6000, CIRCLE_M2, 10_000, 2500, 400, 150, 0, 900, RING_M2]
    np.testing.assert_allclose(found.sizes, expected, atol=1e-3)
    np.testing.assert_allclose(found.shares, [1, 1, 0.625, 0.25, 0.8, 1, 1, 0.5, 1], atol=1e-9)
    assert found.seen.tolist() == [True, True, True, True, True, False, False, True, True]
    assert found.counted.tolist() == [True, True, True, False, True, False, False, True, True]
    assert found.whole.tolist() == [True, True, False, False, False, False, False, False, True]


def test_what_is_seen_goes_by_the_resolution():
    assert measured(NORTH, {"tree": 10.0}).seen[6], "a point is seen where the recipe says so"
    assert not measured(NORTH, {"tree": 9.0}).seen[6]
    assert not measured(NORTH, {"Building": 5.0}).seen[0]
    assert measured(NORTH, least_px=1).seen[5]
    assert not measured(NORTH, least_px=26).seen[3], "2500 m² are 25 pixels"
    assert measured(NORTH, least_px=25).seen[3]


def test_a_point_on_an_edge_belongs_to_one_chip():
    place = place_at(NORTH)
    corners = [(TREE, Point(x, y)) for x in (0, SIDE) for y in (0, SIDE)]
    found = objects_of(features(place, corners), class_names(LEGEND, "osm"), place, {}, 4)
    assert found.ids == ("way/0",), "the pixel of the upper left corner alone is the chip's"


def test_a_grid_north_is_told_from_the_true_one():
    """Against the azimuth of a meridian, worked out by walking along it."""
    for crs, lon, lat in (("EPSG:32632", 10.8, 60.0), ("EPSG:32631", 1.0, 0.2), ("EPSG:32733", 13.1, -35.0)):
        there = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
        (x0, y0), (x1, y1) = there.transform(lon, lat), there.transform(lon, lat + 0.001)
        meridian = math.degrees(math.atan2(x1 - x0, y1 - y0))
        convergence, scale = factors(crs, lon, lat)
        assert meridian + convergence == pytest.approx(0, abs=1e-3), (
            "true bearing = grid bearing + convergence"
        )
        x, y = there.transform([lon, lon + 0.01, lon + 0.01, lon], [lat, lat, lat + 0.01, lat + 0.01])
        on_grid = Polygon(zip(x, y, strict=True)).area
        ground = abs(
            pyproj.Geod(ellps="WGS84").polygon_area_perimeter(
                [lon, lon + 0.01, lon + 0.01, lon], [lat, lat, lat + 0.01, lat + 0.01]
            )[0]
        )
        assert on_grid / ground == pytest.approx(scale, rel=2e-5)
        assert abs(scale - 1) < 2.1e-3
    degrees = Place("k", "EPSG:4326", 9.0, 60.0, 64, 0.001)
    assert north(degrees) == {"north": "grid", "convergence": 0.0, "area_scale": 1.0}


def caption(where, planted, held=None, **options):
    place = place_at(where)
    return written(writer("osm_caption", **options), seen_of(place, features(place, planted, held)))


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
def test_every_fact_of_a_caption_equals_geometry_done_by_hand(where):
    planted = [
        (BUILDING, box(20, 20, 60, 80)),  # 2400 m², centroid (40, 50)
        (BUILDING, box(120, 20, 160, 80)),
        (LAKE, box(360, 370, 440, 430)),  # 4800 m², centroid (400, 400)
        (FOREST, box(300, 560, 400, 600)),  # 130 m below the lake
        (ROAD, LineString([(0, 300), (640, 300)])),  # 70 m above it
    ]
    text, document = caption(where, planted, {2: {"name": "Mill Pond", "source": "survey"}}, focus="largest")
    assert document["from"] == "osm"
    assert document["grid"]["crs"] == where[0]
    about, around, *near = document["sentences"]
    assert about["text"].startswith("A lake (name: Mill Pond) ")
    assert "the centre of the image" in about["text"]
    assert about["text"].endswith("and covers about 4,800 m².")
    assert [(f["measure"], f["value"], f["text"]) for f in about["facts"]] == [
        ("class", 0.0, "lake"),
        ("position", 0.0, "centre"),
        ("tag", 0.0, "Mill Pond"),
        ("area", 4800.0, "4,800 m²"),
        ("inside", 1.0, ""),
    ]
    assert around["text"] == (
        "The image also holds 2 buildings (4,800 m²), 1 area of forest cover (4,000 m²) and 640 m of road."
    )
    assert [(f["measure"], f["of"], f["value"]) for f in around["facts"]] == [
        ("count", "building", 2.0),
        ("area", "building", 4800.0),
        ("count", "forest cover", 1.0),
        ("area", "forest cover", 4000.0),
        ("length", "road", 640.0),
    ]
    # from edge to edge: the road runs above all of the lake, the forest lies below a part of it
    assert [n["text"] for n in near] == [
        "The nearest road is about 70 m away to the north.",
        "The nearest area of forest cover is about 130 m away to the south.",
    ]
    assert [f["value"] for f in facts_of(document, "distance")] == [70.0, 130.0]
    assert [f["value"] for f in facts_of(document, "direction")] == [0.0, 180.0]
    assert text == " ".join(s["text"] for s in document["sentences"])


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
@pytest.mark.parametrize(
    ("line", "length", "said", "axis", "ratio"),
    [
        ([(100, 100), (100, 400)], 300.0, "and is about 300 m long, straight from north to south.", 0.0, 1.0),
        ([(100, 400), (400, 100)], 300 * 2**0.5, "420 m long, straight from north-east to south-west.", 45.0, 1.0),
        ([(0, 100), (100, 100), (100, 200)], 200.0, "winding from south-east to north-west.", 135.0, 2**0.5),
        ([(400, 200), (900, 200)], 240.0, "; 240 m of it lie inside the image, straight from east to west.", 90.0, 1.0),
    ],
)  # fmt: skip
def test_a_line_is_told_by_length_bearing_and_curvature(where, line, length, said, axis, ratio):
    text, document = caption(where, [(ROAD, LineString(line))])
    assert text.endswith(said)
    [fact] = facts_of(document, "length")
    assert fact["value"] == pytest.approx(length, abs=1e-3)
    [bearing], [sinuosity] = facts_of(document, "bearing"), facts_of(document, "sinuosity")
    assert bearing["value"] % 180 == pytest.approx(axis, abs=1e-3)
    assert sinuosity["value"] == pytest.approx(ratio, abs=1e-6)


def test_the_object_nearest_the_centre_may_be_wanted():
    planted = [
        (LAKE, box(0, 0, 200, 200)),
        (QUARRY, box(300, 300, 330, 330)),
        (FOREST, box(400, 400, 600, 600)),
    ]
    assert caption(NORTH, planted, focus="central")[0].startswith("A quarry ")


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
@pytest.mark.parametrize(
    ("other", "metres", "degrees", "word"),
    [  # against the lake from (200, 200) to (300, 300)
        (box(100, 80, 140, 120), 100.0, 360 - math.degrees(math.atan2(60, 80)), "north-west"),
        (box(340, 210, 400, 250), 40.0, 90.0, "east"),
        (box(330, 330, 400, 400), 30 * 2**0.5, 135.0, "south-east"),
        (box(100, 335, 188, 400), 37.0, 180 + math.degrees(math.atan2(12, 35)), "south"),
    ],
)
def test_the_nearest_is_told_by_the_shortest_line(where, other, metres, degrees, word):
    text, document = caption(where, [(LAKE, box(200, 200, 300, 300)), (QUARRY, other)], focus="largest")
    assert [f["value"] for f in facts_of(document, "distance")] == [pytest.approx(metres, abs=1e-3)]
    assert [f["value"] for f in facts_of(document, "direction")] == [pytest.approx(degrees, abs=1e-3)]
    assert text.endswith(f"away to the {word}.")


def test_what_is_cut_and_what_touches_is_said_so():
    text, document = caption(
        NORTH, [(LAKE, box(540, 300, 700, 400)), (QUARRY, box(500, 300, 540, 400))], focus="largest"
    )
    assert "; 1 ha of it lie inside the image." in text
    assert facts_of(document, "inside")[0]["value"] == 0.625
    assert text.endswith("It touches or overlaps a quarry.")


@pytest.mark.parametrize(
    "planted",
    [
        [], [(BUILDING, box(0, 0, 15, 10))], [(TREE, Point(5, 5))], [(LAKE, box(700, 0, 900, 90))],
        [(99, box(0, 0, 600, 600))],
    ],
    ids=["nothing", "too small", "a point", "outside", "no class"],
)  # fmt: skip
def test_a_chip_without_an_object_gives_a_true_sentence(planted):
    text, document = caption(NORTH, planted)
    assert text == "No object of a known class that could be seen at 10 m a pixel lies in the image."
    assert facts_of(document, "count") == [
        {"measure": "count", "of": "", "to": "image", "value": 0.0, "unit": "count", "text": ""}
    ]


def test_which_object_it_is_about_goes_by_rule_and_seed_and_not_by_order():
    place = place_at(NORTH)
    planted = [(BUILDING, box(x, 100, x + 30, 140)) for x in range(0, 600, 60)] + [
        (LAKE, box(0, 300, 300, 500))
    ]
    known = features(place, planted)
    back = type(known)(
        known.geometry[::-1].copy(), known.codes[::-1].copy(), known.ids[::-1], known.tags[::-1]
    )
    picked = set()
    for seed in range(12):
        source = writer("osm_caption", seed=seed)
        one, other = (written(source, seen_of(place, f)) for f in (known, back))
        assert one == other
        assert one == written(source, seen_of(place, known))
        picked.add(facts_of(one[1], "class")[0]["of"])
    assert len(picked) > 3
    largest, _ = written(writer("osm_caption", focus="largest"), seen_of(place, known))
    assert largest.startswith("A lake ")
    chips = {
        dumped(written(writer("osm_caption"), seen_of(place_at(NORTH, f"c{i}"), known))[1]) for i in range(5)
    }
    assert len(chips) > 1, "the chip's key is part of the draw"


def test_tags_are_those_that_describe_or_those_that_are_wanted():
    tags = {
        0: {
            "zoo": "no",
            "name": "A",
            "source": "x",
            "addr:street": "y",
            "levels": 3,
            "roof": None,
            "ok": True,
            "b": "c",
        }
    }
    text, document = caption(NORTH, [(BUILDING, box(50, 50, 150, 150))], tags)
    assert "(name: A, b: c, levels: 3)" in text
    assert [f["to"] for f in facts_of(document, "tag")] == ["name", "b", "levels"], "yes and no say little"
    text, _ = caption(
        NORTH, [(BUILDING, box(50, 50, 150, 150))], tags, tags=["source", "missing", "roof", "name"]
    )
    assert "(source: x, name: A)" in text


HOSTILE = {
    "name": "a\nb\r\x00\x1b[31m\u202egnp.\u2028\u2029\tQ: x\tA: y {key} \"quoted\" \\",
    "big": "x" * 1_000_000,
    "rtl": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "surrogate": "\ud800",
    "k\ney": "</script>",
}  # fmt: skip


def test_hostile_tags_break_neither_lines_nor_json():
    wanted = list(HOSTILE)
    place = place_at(NORTH)
    source = writer("osm_caption", tags=wanted, prompt=True)
    target = source.write(seen_of(place, features(place, [(LAKE, box(50, 50, 150, 150))], {0: HOSTILE})))
    text, document = written(
        source, seen_of(place, features(place, [(LAKE, box(50, 50, 150, 150))], {0: HOSTILE}))
    )
    assert len(text.splitlines()) == 1
    assert all(c.isprintable() for c in text)
    assert len(text) < 600
    values = [f["text"] for f in facts_of(document, "tag")]
    assert values[0] == 'a b [31mgnp. Q: x A: y {key} "quoted" \\'
    assert values[1] == "x" * 79 + "…"
    assert values[2] == HOSTILE["rtl"], "letters of other scripts stay"
    assert len(values) == 4, "of the surrogate nothing is left"
    prompt = target.documents["t_prompt"].decode()
    assert len(prompt.splitlines()) == 3
    assert prompt.splitlines()[2] == target.documents["t_facts"].decode()
    hostile_id = features(place, [(LAKE, box(50, 50, 150, 150))])
    named = type(hostile_id)(hostile_id.geometry, hostile_id.codes, ("x\n\ty",), hostile_id.tags)
    assert "\n" not in written(writer("osm_caption"), seen_of(place, named))[0]


def test_every_sample_has_the_same_keys_and_types():
    rng = np.random.default_rng(4)
    shapes = []
    for n in (0, 0, 1, 2, 5, 12):
        corners = rng.uniform(-50, 600, (n, 2))
        planted = [
            (
                int(rng.integers(1, 7)),
                box(x, y, x + w, y + w) if rng.random() < 0.7 else LineString([(x, y), (y, x)]),
            )
            for (x, y), w in zip(corners, rng.uniform(10, 200, n), strict=True)
        ]
        place = place_at(EQUATOR, f"k{n}")
        source = writer("osm_caption", prompt=True)
        target = source.write(seen_of(place, features(place, planted)))
        shapes.append((shape_of(written(source, seen_of(place, features(place, planted)))[1]),
                       shape_of(dict(target.said["t"])), sorted(target.documents)))  # fmt: skip
    assert all(s == shapes[0] for s in shapes)


def test_a_layer_without_a_legend_is_one_class():
    place = place_at(NORTH)
    spec = label_spec("field_parcels", None)
    found = features(place, [(-1, box(100, 100, 200, 200)), (-1, box(300, 300, 400, 400))])
    text, _ = written(writer("osm_caption", spec), seen_of(place, found, spec=spec))
    assert text.startswith("A field parcel ")
    assert "1 field parcel (1 ha)" in text


def test_features_are_needed():
    with pytest.raises(ChipweaveError, match="holds no features"):
        writer("osm_caption").write(seen_of(place_at(NORTH)))


def test_the_footprint_is_that_of_the_pixels():
    place = place_at(NORTH)
    assert chip_box(place).bounds == (NORTH[1], NORTH[2] - SIZE * RES, NORTH[1] + SIZE * RES, NORTH[2])
