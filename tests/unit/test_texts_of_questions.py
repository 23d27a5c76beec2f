"""Questions: every answer is worked out a second time from the text of its question, by plain arithmetic."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from shapely.geometry import LineString, box

from chipweave.audit.arrays import shape_of
from chipweave.labels.text.asked import area_bin, count_bin, sure_area
from chipweave.model import Legend
from written import (
    BUILDING,
    COVER,
    EQUATOR,
    FOREST,
    LAKE,
    NORTH,
    QUARRY,
    RES,
    ROAD,
    SIDE,
    SIZE,
    dumped,
    features,
    label_spec,
    place_at,
    seen_of,
    writer,
    written,
)

NAMES = {BUILDING: "building", LAKE: "lake", FOREST: "forest cover", QUARRY: "quarry"}
SAID = {
    "building": "building", "buildings": "building", "lake": "lake", "lakes": "lake", "quarry": "quarry",
    "quarries": "quarry", "forest cover": "forest cover", "area of forest cover": "forest cover",
    "areas of forest cover": "forest cover", "road": "road", "tree": "tree", "trees": "tree",
}  # fmt: skip


class Rectangles:
    """Axis-aligned rectangles (code, x0, y0, x1, y1) in metres right of and below a chip's corner, all integers."""

    def __init__(self, rng, most=9):
        self.rows = []
        codes = rng.permutation([BUILDING, LAKE, FOREST, QUARRY])[: rng.integers(1, 5)]
        for _ in range(rng.integers(1, most)):
            x, y = rng.integers(-60, 640, 2)
            w, h = rng.integers(5, 160, 2)
            self.rows.append((int(rng.choice(codes)), int(x), int(y), int(x + w), int(y + h)))

    def planted(self):
        return [(code, box(*corners)) for code, *corners in self.rows]

    def clipped(self, name):
        """(x0, y0, x1, y1), share inside, of those with some part inside."""
        out = []
        for code, x0, y0, x1, y1 in self.rows:
            a0, b0, a1, b1 = max(x0, 0), max(y0, 0), min(x1, 640), min(y1, 640)
            if NAMES[code] == name and a1 > a0 and b1 > b0:
                out.append(((a0, b0, a1, b1), (a1 - a0) * (b1 - b0) / ((x1 - x0) * (y1 - y0))))
        return out

    def counted(self, name):
        return [c for c, share in self.clipped(name) if share >= 0.5 and (c[2] - c[0]) * (c[3] - c[1]) >= 400]

    def whole(self, name):
        return [c for c, share in self.clipped(name) if share == 1 and (c[2] - c[0]) * (c[3] - c[1]) >= 400]

    def covered(self, name):
        ground = np.zeros((640, 640), bool)
        for (x0, y0, x1, y1), _ in self.clipped(name):
            ground[y0:y1, x0:x1] = True
        return int(ground.sum())


def apart(a, b):
    """Distance between two rectangles."""
    dx = max(a[0] - b[2], b[0] - a[2], 0)
    dy = max(a[1] - b[3], b[1] - a[3], 0)
    return float(np.hypot(dx, dy))


def named(text):
    return SAID[re.sub(r"^(an?|any|the) ", "", text)]


def ways(world, name, count):
    """What every way of counting gives: wholly inside, at least half inside, any part inside."""
    return {count(world.whole(name)), count(world.counted(name)), count([c for c, _ in world.clipped(name)])}


def presence(world, match):
    name = named(match[1])
    assert bool(world.counted(name)) == bool(world.clipped(name)), "else it may be seen either way"
    return "yes" if world.counted(name) else "no"


def counting(world, match):
    [answer] = ways(world, named(match[1]), lambda found: count_bin(len(found)))
    return answer


def comparison(world, match):
    word, one, other = match[1], named(match[2]), named(match[3])
    for a in ways(world, one, len):
        for b in ways(world, other, len):
            assert a != b
    more = len(world.counted(one)) > len(world.counted(other))
    return "yes" if more == (word == "more") else "no"


def area(world, match):
    m2 = world.covered(named(match[1]))
    answers = {area_bin(m2 * k, (1e2, 1e3, 1e4, 1e5, 1e6)) for k in (0.96, 1, 1.04)}
    assert len(answers) == 1, "an error of some per cent changes the answer"
    return answers.pop()


def relation(world, match):
    one, side, other = named(match[1]), match[2], named(match[3])
    [((x0, y0, x1, y1), _)] = world.clipped(other)
    beyond = {
        "to the left of": lambda c: c[2] <= x0, "to the right of": lambda c: c[0] >= x1,
        "above": lambda c: c[3] <= y0, "below": lambda c: c[1] >= y1,
    }[side]  # fmt: skip
    contrary = {
        "to the left of": lambda c: c[0] >= x1, "to the right of": lambda c: c[2] <= x0,
        "above": lambda c: c[1] >= y1, "below": lambda c: c[3] <= y0,
    }[side]  # fmt: skip
    if any(beyond(c) for c in world.counted(one)):
        return "yes"
    assert all(contrary(c) for c, _ in world.clipped(one))
    return "no"


def nearer(world, match):
    [(target, _)] = world.clipped(named(match[1]))
    names = [named(match[2]), named(match[3])]
    far = [[apart(target, c) for c, _ in world.clipped(name)] for name in names]
    near = int(np.argmin([min(f) for f in far]))
    assert min(far[1 - near]) >= 1.5 * min(far[near]) + RES, "too close a call"
    return names[near]


ORACLE = {
    "presence": (r"(?:Is there|Does the image show) (.*?)(?: in the image)?\?", presence),
    "count": (r"(?:How many|What is the number of) (.*?)(?: are there)? in the image\?", counting),
    "comparison": (r"Are there (more|fewer) (.*) than (.*) in the image\?", comparison),
    "area": (r"(?:What area|How much ground of the image) do (.*?) cover(?: in the image)?\?", area),
    "relation": (r"Is (?:there )?(.*?) (to the left of|to the right of|above|below) (.*)\?", relation),
    "nearest": (r"Which is nearer to (.*): (.*) or (.*)\?", nearer),
}


def ask(world, where, key, source):
    place = place_at(where, key)
    return written(source, seen_of(place, features(place, world.planted())))


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
def test_every_answer_equals_geometry_done_by_hand(where):
    rng = np.random.default_rng(11)
    source = writer("vqa", count=12, seed=5)
    met: Counter = Counter()
    for i in range(150):
        world = Rectangles(rng)
        text, document = ask(world, where, f"c{i}", source)
        assert len({q["question"] for q in document["questions"]}) == len(document["questions"]) <= 12
        for line, row in zip(text.splitlines(), document["questions"], strict=True):
            assert line == f"Q: {row['question']}\tA: {row['answer']}"
            pattern, answer = ORACLE[row["type"]]
            match = re.fullmatch(pattern, row["question"])
            assert match, row["question"]
            assert row["answer"] == answer(world, match), (row, world.rows)
            met[row["type"], row["answer"]] += 1
    for kind in ("presence", "comparison", "relation"):
        yes, no = met[kind, "yes"], met[kind, "no"]
        assert min(yes, no) > 12
        assert abs(yes - no) < 4 * (yes + no) ** 0.5, "a fair coin"
    assert sum(n for (kind, _), n in met.items() if kind == "nearest") > 20
    assert len([a for kind, a in met if kind == "area"]) >= 4
    zeros = met["count", "0"] + met["area", "0 m²"]
    assert zeros < 0.3 * sum(n for (kind, _), n in met.items() if kind in {"count", "area"})


def test_the_facts_behind_an_answer_are_the_numbers_done_by_hand():
    rng = np.random.default_rng(3)
    source = writer("vqa", count=20)
    for i in range(40):
        world = Rectangles(rng)
        for row in ask(world, NORTH, f"c{i}", source)[1]["questions"]:
            for fact in row["facts"]:
                if fact["measure"] == "count":
                    assert fact["value"] == len(world.counted(fact["of"]))
                elif fact["measure"] == "area":
                    assert fact["value"] == pytest.approx(world.covered(fact["of"]), abs=0.01)
                elif fact["measure"] == "distance":
                    [(target, _)] = world.clipped(
                        next(n for n in NAMES.values() if n in row["question"].split(":")[0])
                    )
                    least = min(apart(target, c) for c, _ in world.clipped(fact["of"]))
                    assert fact["value"] == pytest.approx(least, abs=1e-3)
                else:
                    assert fact["measure"] == "gap"


def test_cut_and_tiny_objects_keep_questions_from_being_asked():
    """Two of the three ways of counting differ: nobody asks whether, or how many."""
    place = place_at(NORTH)
    spec = label_spec(legend=Legend("one", (label_spec().legend.classes[0],), 0))
    hardly = features(place, [(BUILDING, box(-90, 0, 30, 100))])
    only = writer("vqa", spec, types=["presence", "count"], counts="exact")
    _, document = written(only, seen_of(place, hardly, spec=spec))
    [row] = document["questions"]
    assert row["question"] == "Do buildings that cover at least 400 m² each lie in the image?"
    assert row["answer"] == "yes", "3000 m² of it lie inside"
    tiny = features(place, [(BUILDING, box(0, 0, 10, 10))])
    assert written(only, seen_of(place, tiny, spec=spec))[1]["questions"][0]["answer"] == "no"
    half = features(place, [(BUILDING, box(-30, 0, 30, 100))])
    assert written(only, seen_of(place, half, spec=spec))[1]["questions"][0]["type"] == "presence"
    inside = features(place, [(BUILDING, box(0, 0, 30, 100))] * 3)
    rows = written(only, seen_of(place, inside, spec=spec))[1]["questions"]
    assert {r["type"]: r["answer"] for r in rows} == {"count": "3"}, "presence alone would always be a yes"


def test_lines_are_there_or_not_and_never_counted():
    place = place_at(EQUATOR)
    found = features(
        place, [(ROAD, LineString([(0, y), (640, y)])) for y in (100, 300)] + [(LAKE, box(0, 0, 90, 90))]
    )
    for seed in range(6):
        rows = written(writer("vqa", count=30, seed=seed), seen_of(place, found))[1]["questions"]
        roads = [r for r in rows if "road" in r["question"]]
        assert {r["type"] for r in roads} <= {"presence", "nearest"}


def test_an_empty_chip_is_asked_about_nothing():
    place = place_at(NORTH)
    _, document = written(writer("vqa", count=9), seen_of(place, features(place, [])))
    assert {r["answer"] for r in document["questions"]} <= {"0", "0 m²"}
    _, document = written(writer("vqa", types=["relation"]), seen_of(place, features(place, [])))
    assert [r["answer"] for r in document["questions"]] == ["no"]


def test_every_sample_has_the_same_keys_and_types_and_repeats():
    rng = np.random.default_rng(9)
    source, texts = writer("vqa", prompt=True, count=8), set()
    shapes = []
    for i in range(12):
        world = Rectangles(rng, most=7)
        place = place_at(EQUATOR, f"k{i}")
        known = features(place, world.planted())
        back = type(known)(
            known.geometry[::-1].copy(), known.codes[::-1].copy(), known.ids[::-1], known.tags[::-1]
        )
        text, document = written(source, seen_of(place, known))
        assert (text, document) == written(source, seen_of(place, back)), (
            "the order of features does not matter"
        )
        assert dumped(document) != dumped(
            written(writer("vqa", prompt=True, count=8, seed=1), seen_of(place, known))[1]
        )
        texts.add(text)
        shapes.append(shape_of(document))
    shapes.append(shape_of(written(source, seen_of(place, features(place, [])))[1]))
    raster = np.full((SIZE, SIZE), 40, np.uint8)
    spec = label_spec("cover", COVER)
    shapes.append(shape_of(written(writer("vqa", spec), seen_of(place, raster=raster, spec=spec))[1]))
    assert all(s == shapes[0] for s in shapes)
    assert len(texts) == 12


def test_bins_of_answers():
    assert [count_bin(n) for n in (0, 1, 10, 11, 100, 101, 1000, 1001)] == [
        "0", "1 to 10", "1 to 10", "11 to 100", "11 to 100", "101 to 1,000", "101 to 1,000", "more than 1,000",
    ]  # fmt: skip
    assert count_bin(12, exact=True) == "12"
    bounds = (100.0, 12_345.0, 1e6)
    assert [area_bin(m2, bounds) for m2 in (0, 99, 100, 12_344, 12_345, 2e6)] == [
        "0 m²", "less than 100 m²", "100 m² to 1.2345 ha", "100 m² to 1.2345 ha", "1.2345 ha to 1 km²",
        "more than 1 km²",
    ]  # fmt: skip
    assert sure_area(1000, 1000, bounds) == "100 m² to 1.2345 ha"
    assert sure_area(96, 96, bounds) == sure_area(104, 104, bounds) == "", "within 5 % of a bound"
    assert sure_area(0, 50, bounds) == "", "perhaps nothing"
    assert sure_area(50, 5000, bounds) == ""


# --- of a raster of classes


def raster_world(rng, holes):
    """Blocks of classes, some pixels without one, and counts by class and half done with NumPy."""
    cells = rng.choice([10, 40, 80], (4, 4), p=rng.dirichlet([1, 1, 1]))
    raster = np.kron(cells, np.ones((16, 16))).astype(np.uint8)
    if holes:
        raster[rng.random(raster.shape) < holes] = 0
    return raster


CLASSES = {"tree cover": 10, "cropland": 40, "water": 80, "mangroves": 95}


def answer_of(raster, row):
    n = {name: int((raster == code).sum()) for name, code in CLASSES.items()}
    unknown = int((raster == 0).sum())
    text = row["question"]
    if row["type"] == "presence":
        name = re.fullmatch(r"(?:Does|Is) the class (.*?) (?:occur|present) in the image\?", text)[1]
        assert n[name] >= 20 or (n[name] == 0 and not unknown)
        return "yes" if n[name] else "no"
    if row["type"] == "comparison":
        word, one, other = re.fullmatch(r"Does the image show (more|less) (.*) than (.*)\?", text).groups()
        low, high = sorted((n[one], n[other]))
        assert high > low + unknown, "pixels without a class could turn it"
        return "yes" if (n[one] > n[other]) == (word == "more") else "no"
    if row["type"] == "area":
        name = re.fullmatch(r"(?:What area does (.*) cover|How much ground of the image is (.*))\?", text)
        name = name[1] or name[2]
        low = area_bin(n[name] * 100.0, (1e2, 1e3, 1e4, 1e5, 1e6))
        assert low == area_bin((n[name] + unknown) * 100.0, (1e2, 1e3, 1e4, 1e5, 1e6))
        return low
    name, half = re.fullmatch(
        r"(?:Is|Does) most of the (.*?) (?:lie )?in the (.*?) half(?: of the image)?\?", text
    ).groups()
    part = {"top": raster[:32], "bottom": raster[32:], "left": raster[:, :32], "right": raster[:, 32:]}[half]
    share = (part == CLASSES[name]).sum() / n[name]
    assert abs(share - 0.5) >= 0.1 - 1e-9
    return "yes" if share > 0.5 else "no"


def test_answers_about_classes_equal_counts_of_pixels():
    rng = np.random.default_rng(2)
    spec = label_spec("cover", COVER)
    source = writer("vqa", spec, count=10)
    met: Counter = Counter()
    for i in range(120):
        raster = raster_world(rng, holes=(0, 0.03, 0.3)[i % 3])
        _, document = written(source, seen_of(place_at(NORTH, f"r{i}"), raster=raster, spec=spec))
        for row in document["questions"]:
            assert row["answer"] == answer_of(raster, row), row
            met[row["type"], row["answer"]] += 1
    assert {kind for kind, _ in met} == {"presence", "comparison", "area", "relation"}
    for kind in ("presence", "comparison", "relation"):
        yes, no = met[kind, "yes"], met[kind, "no"]
        assert min(yes, no) > 12
        assert abs(yes - no) < 4 * (yes + no) ** 0.5


def test_a_chip_without_a_class_is_asked_whether_it_has_one():
    spec = label_spec("cover", COVER)
    empty = np.zeros((SIZE, SIZE), np.uint8)
    text, document = written(writer("vqa", spec), seen_of(place_at(NORTH), raster=empty, spec=spec))
    assert text == "Q: Is a class known for every pixel of the image?\tA: no"
    assert document["questions"][0]["facts"][0]["value"] == 1.0


def test_seeds_give_other_questions_and_types_take_turns():
    rng = np.random.default_rng(7)
    worlds = [Rectangles(rng) for _ in range(30)]
    kinds: Counter = Counter()
    for i, world in enumerate(worlds):
        kinds.update(r["type"] for r in ask(world, NORTH, f"c{i}", writer("vqa"))[1]["questions"])
    assert set(kinds) == set(ORACLE)
    one, other = (ask(worlds[0], NORTH, "c", writer("vqa", seed=s, count=12))[0] for s in (0, 1))
    assert one != other
    assert all(a != b for a, b in pairwise(one.splitlines()))
    assert SIDE == SIZE * RES
