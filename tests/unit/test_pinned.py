"""Scenes that a file pins, editions of imagery, and series in a wider time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_weave import X, Y, add_scene, build, recipe

from chipweave.catalog.pinned import pinned_ids
from chipweave.errors import RecipeError, YieldError
from chipweave.recipe.checks import check
from tiny import UTM, load, north_up, write_tif
from worlds.harness import ledger
from worlds.stac import item

PINNED = {
    "ids.txt": "# of 2021\nA\n\n  C  # the clear one\n",
    "ids.csv": "item,cloud\nA,3\nC,4\n",
    "product.csv": "product_id\nA\nC\n",
    "ids.tsv": "cloud\tid\n3\tA\n4\tC\n",
    "ids.json": '["A", "C"]',
    "items.geojson": '{"type": "FeatureCollection", "features": [{"id": "A"}, {"id": "C"}]}',
}


@pytest.mark.parametrize("name", PINNED)
def test_ids_of_any_file(tmp_path, name):
    (tmp_path / name).write_text(PINNED[name], encoding="utf-8")
    assert pinned_ids(tmp_path / name, "x") == {"A", "C"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.txt", None, "cannot be read"), ("empty.txt", "# nothing\n", "names no item"),
        ("wrong.csv", "a,b\n1,2\n", "has none of the columns item, id"), ("wrong.json", "{", "is no JSON"),
        ("other.json", '[{"a": 1}]', "neither a list of ids"), ("x.txt", b"\xff\xfe\x00", "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_pin_nothing_are_refused(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=said) as caught:
        pinned_ids(tmp_path / name, "imagery.s2.items.file")
    assert caught.value.message.startswith("imagery.s2.items.file: ")


def days(tmp_path):
    """A has some cloud, B is clear, C is clear and older."""
    return [
        add_scene(tmp_path, "A", day=20, clouds=[(slice(0, 20), slice(0, 32))]),
        add_scene(tmp_path, "B", day=10, seed=2), add_scene(tmp_path, "C", day=2, seed=3),
    ]  # fmt: skip


def taken(samples):
    return {tuple(tuple(step) for step in s.meta["layers"]["s2"]["items"]) for s in samples.values()}


def test_only_pinned_scenes_are_taken_and_those_that_lack_are_said(tmp_path, caplog):
    items = days(tmp_path)
    (tmp_path / "ids.txt").write_text("A\nC\nnot-here\n", encoding="utf-8")
    chips = {"size": 32}
    loaded = recipe(tmp_path, items, s2={"items": {"file": "ids.txt"}}, chips=chips)
    assert taken(build(loaded, tmp_path / "out")) == {(("C",),)}
    assert "s2: 1 of 3 pinned items are not found in this area and time, first not-here" in caplog.text
    assert taken(build(recipe(tmp_path, items, chips=chips, name="free"), tmp_path / "free")) == {(("B",),)}
    before = loaded.digest
    (tmp_path / "ids.txt").write_text("A\n", encoding="utf-8")
    again = recipe(tmp_path, items, s2={"items": {"file": "ids.txt"}}, chips=chips)
    assert again.digest != before, "another list is another dataset"
    assert taken(build(again, tmp_path / "again")) == {(("A",),)}


MOSAIC = """\
name: own-mosaic
kind: imagery
unit: DN
bands: [{name: red, gsd: 10}]
editions: [2019, 2021]
edition_property: own:release
credit: {licence: CC-BY-4.0, url: https://example.org, text: Own}
"""


def test_imagery_of_an_edition(tmp_path):
    """A yearly mosaic: both editions say the same dates; what the release is a property tells."""
    folder = tmp_path / "own" / "collections"
    folder.mkdir(parents=True)
    (folder / "own-mosaic.yaml").write_text(MOSAIC, encoding="utf-8")
    items = []
    for name, release, value in (("old", "2019", 7), ("new", "2021", 9)):
        write_tif(tmp_path / name / "red.tif", np.full((64, 64), value, np.uint8), UTM, north_up(X, Y, 10))
        facts = {"datetime": "2021-06-10T10:00:00Z", "own:release": release, "proj:epsg": 32632}
        assets = {"red": {"href": f"./{name}/red.tif", "type": "image/tiff", "roles": ["data"]}}
        items.append(item(name, "own-mosaic", UTM, (X, Y - 640, X + 640, Y), facts, assets))
    layer = {"collection": "own-mosaic", "bands": ["red"], "edition": 2019}
    for year, name in ((2019, "old"), (2021, "new")):
        loaded = recipe(tmp_path, items, s2={**layer, "edition": year}, catalogs=["own"], name=f"y{year}")
        assert taken(build(loaded, tmp_path / f"out{year}")) == {((name,),)}
    with pytest.raises(RecipeError, match=r"imagery\.s2\.edition: own-mosaic has the editions 2019, 2021"):
        build(recipe(tmp_path, items, s2={**layer, "edition": 2020}, catalogs=["own"]), tmp_path / "none")
    with pytest.raises(RecipeError, match=r"imagery\.s2\.edition: sentinel-2-l2a has no editions"):
        build(recipe(tmp_path, items, s2={"edition": 2021}), tmp_path / "none")


def test_a_series_looks_further_only_where_a_step_is_missing(tmp_path):
    """Two dates in June's middle; the west needs one more, for there the second one is cloudy."""
    half = (slice(0, 32), slice(0, 16))
    items = [
        add_scene(tmp_path, "early", day=1, seed=4), add_scene(tmp_path, "one", day=12, seed=1),
        add_scene(tmp_path, "two", day=18, seed=2, clouds=[half]), add_scene(tmp_path, "late", day=29, seed=3),
    ]  # fmt: skip
    layer = {
        "time": "2021-06-10/2021-06-20", "max_cloud": 10, "select": {"method": "series", "max": 2},
        "widen": {"by": "9d", "times": 2},
    }  # fmt: skip
    samples = build(recipe(tmp_path, items, s2=layer, chips={"size": 32}), tmp_path / "out")
    west, east = (
        {k: s for k, s in samples.items() if (s.bounds[0] < X + 300) == side} for side in (True, False)
    )
    assert taken(west) == {(("one",), ("late",))}
    assert taken(east) == {(("one",), ("two",))}
    rows = pd.read_parquet(tmp_path / "out" / "plan" / "matches.parquet")
    said = set(rows[rows["chosen"]]["why"])
    assert said >= {"step 1 of 2", "step 2 of 2"}
    assert any(", in window 2 of 3" in text for text in said)
    # In the east nothing beyond the time was looked at.
    east = rows[
        rows["item"].isin(["early", "late"]) & ~rows["chosen"] & rows["why"].str.startswith("not measured")
    ]
    assert len(east) >= 2
    narrow = {k: v for k, v in layer.items() if k != "widen"}
    build(recipe(tmp_path, items, s2=narrow, chips={"size": 32}, name="narrow"), tmp_path / "narrow")
    assert "steps" in set(ledger(tmp_path / "narrow")["reason"])


def test_nothing_that_is_pinned_is_here(tmp_path):
    (tmp_path / "ids.txt").write_text("elsewhere\n", encoding="utf-8")
    with pytest.raises(YieldError):
        build(recipe(tmp_path, days(tmp_path), s2={"items": {"file": "ids.txt"}}), tmp_path / "out")
    assert set(ledger(tmp_path / "out")["reason"]) == {"no_scene"}


def test_a_list_that_is_not_there_is_said_by_check(tmp_path):
    layer = {"collection": "sentinel-2-l2a", "bands": ["red"], "items": {"file": "no.txt"}}
    mapping = {"catalog": "c.json", "area": {"bbox": [0, 0, 1, 1]}, "imagery": {"s2": layer}}
    assert any("no.txt" in line for line in check(load(tmp_path, mapping, "r.yaml")))
