"""Text layers through a whole build of files alone: members of every sample, their facts, and `verify` content."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

from chipweave.audit.arrays import shape_of, strict_json
from chipweave.catalog.footprint import projected
from chipweave.shards.reader import Reader
from tiny import UTM, north_up, write_tif
from worlds import harness

X, Y, SIDE = 600_000.0, 5_250_000.0, 640
"""Upper left corner, and metres of a side: 2 × 2 chips of 32 pixels."""

PLANTED = [
    ("house", (40, 40, 80, 100), "Old\nMill"),  # right of and below the corner: x0, y0, x1, y1
    ("house", (100, 40, 140, 100), None),
    (
        "pond",
        (200, 200, 260, 260),
        None,
    ),  # all of the first chip; the second has half a pond, the others nothing
    ("pond", (600, 100, 680, 160), None),
]
TEXT = {
    "caption": {
        "kind": "landcover_caption",
        "from": "cover",
        "shares": "percent",
        "windows": [],
        "prompt": True,
    },
    "origin": {"kind": "metadata_caption", "from": "cover", "place": ["region"]},
    "objects": {"kind": "osm_caption", "from": "things", "focus": "largest", "tags": ["label"]},
    "questions": {"kind": "vqa", "from": "things", "count": 9, "seed": 2},
    "classes": {"kind": "vqa", "from": "cover", "count": 4, "seed": 2},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    classes = (
        np.random.default_rng(5).choice(np.array([10, 40, 80], np.uint8), (4, 4)).repeat(16, 0).repeat(16, 1)
    )
    write_tif(folder / "cover.tif", classes, UTM, north_up(X, Y, 10.0), nodata=0)
    outline = projected(UTM, ((X, Y), (X + SIDE, Y), (X + SIDE, Y - SIDE), (X, Y - SIDE)))
    gpd.GeoDataFrame({"name": ["North\nland"]}, geometry=[outline.buffer(0.1)], crs=4326).to_file(
        folder / "regions.gpkg"
    )
    shapes = [box(X + x0, Y - y1, X + x1, Y - y0) for _, (x0, y0, x1, y1), _ in PLANTED]
    gpd.GeoDataFrame(
        {"what": [w for w, _, _ in PLANTED], "label": [n for _, _, n in PLANTED]}, geometry=shapes, crs=UTM
    ).to_file(folder / "things.gpkg")
    (folder / "things.yaml").write_text(
        "name: things\nnodata: 0\n"
        "classes: [{value: 5, name: fallow}, {value: 1, name: house}, {value: 2, name: pond}]\n",
        encoding="utf-8",
    )
    recipe = {
        "version": 1, "area": {"bbox": list(outline.bounds), "rule": "centre"},
        "chips": {"size": 32, "resolution": 10, "lattice": {"anchor": [X, Y]}, "crs": UTM},
        "attributes": {"region": {"file": "regions.gpkg", "column": "name"}},
        "labels": {
            "cover": {"file": "cover.tif", "legend": "worldcover", "date": 2021},
            "things": {
                "file": "things.gpkg", "legend": "things.yaml", "date": 2022, "burn": [{"column": "what"}],
                "outside": 5,
            },
        },
        "text": TEXT,
    }  # fmt: skip
    path = harness.write_recipe(folder / "recipe.yaml", recipe)
    out = tmp_path_factory.mktemp("built") / "out"
    harness.succeed("build", path, "-o", out, "--workers", 0)
    return out, classes


def test_every_sample_carries_its_texts_and_the_facts_behind_them(built):
    out, classes = built
    harness.succeed("verify", out)
    shapes = []
    with Reader(out) as reader:
        assert len(reader) == 4
        for key in reader.keys:
            meta = reader.read_meta(key)
            texts = {
                n: reader.read_document(key, n)
                for n, layer in meta["layers"].items()
                if layer["kind"] == "text"
            }
            assert set(texts) == {*TEXT, *(f"{n}_facts" for n in TEXT), "caption_prompt"}
            facts = {n: strict_json(texts[f"{n}_facts"].encode()) for n in TEXT}
            _classes_of_one(meta, texts, facts["caption"], classes)
            _objects_of_one(meta, texts, facts)
            for name in texts:
                layer = meta["layers"][name]
                dated = "2022" if name.startswith(("objects", "questions")) else "2021"
                assert (layer["datetime"], layer["present"]) == ([dated], True)
            shapes.append([shape_of(meta), *(shape_of(f) for f in facts.values())])
    assert all(s == shapes[0] for s in shapes)


def _at(meta):
    """Metres of the chip's corner right of and below that of all."""
    _, _, x, _, _, y = meta["transform"]
    return x - X, Y - y


def _classes_of_one(meta, texts, facts, classes):
    right, below = _at(meta)
    own = classes[round(below / 10) :, round(right / 10) :][:32, :32]
    for fact in facts["sentences"][0]["facts"]:
        code = {"tree cover": 10, "cropland": 40, "permanent water bodies": 80}[fact["of"]]
        assert fact["value"] == (own == code).mean()
        assert f"{fact['text']} {fact['of']}" in texts["caption"]
    assert texts["caption"] == " ".join(s["text"] for s in facts["sentences"])
    assert texts["caption_prompt"].endswith(texts["caption_facts"])
    assert "Of the place, region: North land." in texts["origin"]


def _objects_of_one(meta, texts, facts):
    where = tuple(round(v) for v in _at(meta))
    asked = {q["question"]: q["answer"] for q in facts["questions"]["questions"]}
    assert texts["questions"].splitlines() == [f"Q: {q}\tA: {a}" for q, a in asked.items()]
    counts = {
        f["of"]: f["value"]
        for q in facts["questions"]["questions"]
        for f in q["facts"]
        if f["measure"] == "count"
    }
    assert "fallow" not in texts["questions"], "no feature has that class"
    if where == (0, 0):
        assert texts["objects"].startswith("A pond ")
        assert "covers about 3,600 m². The image also holds 2 houses (4,800 m²)." in texts["objects"]
        # from (140, 100) to (200, 200), centroids (120, 70) and (230, 230)
        assert texts["objects"].endswith("The nearest house is about 120 m away to the north-west.")
        assert counts.items() <= {"house": 2.0, "pond": 1.0}.items()
        assert asked.get("What area do houses cover in the image?", "1,000 m² to 1 ha") == "1,000 m² to 1 ha"
    elif where == (320, 0):
        assert "2,400 m² of it lie inside the image" in texts["objects"]
        assert counts.items() <= {"house": 0.0, "pond": 1.0}.items()
    else:
        assert (
            texts["objects"]
            == "No object of a known class that could be seen at 10 m a pixel lies in the image."
        )
        assert set(asked.values()) <= {"0", "0 m²"}
