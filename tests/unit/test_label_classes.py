"""What becomes of classes: remap tables, recoded arrays, scene labels, votes of segments, and the age of a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from chipweave.catalog.collections import load_collection
from chipweave.catalog.legends import legend_names, load_legend
from chipweave.catalog.remap import remap_of
from chipweave.errors import RecipeError
from chipweave.labels.ages import UNKNOWN, age_days, days_between, days_of
from chipweave.labels.cleanup import vote
from chipweave.labels.rasters import said_of_classes
from chipweave.labels.remap import Recode
from chipweave.labels.scene import SceneRule
from chipweave.model import Legend, LegendClass
from chipweave.recipe.data import listing
from chipweave.recipe.interval import interval
from worlds.samples import CLASS_OF

HERE = Path()


def legend_of(*codes: int, nodata: int = 0, dtype: str = "uint8", unlabeled: int | None = None) -> Legend:
    return Legend("l", tuple(LegendClass(c, f"c{c}", "#000000") for c in codes), nodata, dtype, unlabeled)


def test_bigearthnets_table_speaks_of_every_class_of_corine():
    corine = load_legend("corine", HERE)
    remap = remap_of("bigearthnet-19", corine, "x", HERE)
    assert dict(remap.table) == CLASS_OF
    assert remap.legend.codes == tuple(range(19))
    assert (remap.legend.unlabeled, remap.legend.nodata) == (254, 255)
    every = np.arange(46, dtype=np.uint8)
    got = Recode.of(corine, dict(remap.table), remap.legend)(every, every != 0)
    expected = [255, *(CLASS_OF.get(n, 254) for n in range(1, 45))]
    np.testing.assert_array_equal(got[:45], expected)
    assert (got == 254).sum() == 12
    assert got[45] not in {254, 255, *range(19)}


@pytest.mark.parametrize("name", listing("legends"))
def test_tables_of_every_legend_are_complete(name):
    """Each says what becomes of every class of the legend that it maps from."""
    document = yaml.safe_load(listing("legends")[name].read_text(encoding="utf-8"))
    tables = document.get("remap") or []
    for table in tables if isinstance(tables, list) else [tables]:
        source = load_legend(table["from"], HERE)
        remap = remap_of(name, source, "x", HERE)
        assert {c for c, _ in remap.table} | set(table.get("unlabeled", ())) == set(source.codes)
    assert remap_of(name, load_legend(name, HERE), "x", HERE).unlisted == ()


def test_classes_by_their_names():
    """A layer of polygons holds level-3 codes, as text: raster values are another numbering."""
    names = legend_names("corine", HERE)
    assert (names["112"], names["523"], names["Pastures"]) == (2, 44, 18)
    assert len(names) == 88


@pytest.mark.parametrize("name", listing("collections"))
def test_a_label_has_a_legend_or_a_unit(name):
    collection = load_collection(name)
    if collection.kind == "label":
        assert bool(collection.legend) != (collection.unit != "reflectance")
        assert collection.editions
        assert not collection.legend or load_legend(collection.legend, HERE).codes


WRONG = [
    ("{from: corine, table: {1: 0}}", "leaves out the classes 2, 3"),
    ("{from: few, table: {1: 0}}", "leaves out the classes 2"),
    ("{from: few, table: {1: 0, 2: 0, 9: 1}}", "has codes that are no classes: 9"),
    ("{from: few, table: {1: 0, 2: 0}, unlabeled: [2]}", "has twice the classes 2"),
    ("{from: few, table: {1: 0, 2: 7}}", "maps to codes that are no classes: 7"),
    ("{from: few, table: {1: 0}, unlabeled: [2]}", "no code `unlabeled`"),
    ("{from: other, table: {1: 0, 2: 0}}", "it maps those of other"),
    ("{from: few, tables: {1: 0}}", "remap"),
]


@pytest.mark.parametrize(("table", "said"), WRONG)
def test_a_table_that_is_wrong_is_refused(tmp_path, table, said):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"nodata: 255\nremap: {table}\nclasses:\n  - {{value: 0, name: a}}\n  - {{value: 1, name: b}}\n",
        encoding="utf-8",
    )
    few = load_legend("corine", HERE) if "corine" in table else Legend("few", legend_of(1, 2).classes, 0)
    with pytest.raises(RecipeError) as caught:
        remap_of("mine.yaml", few, "x", tmp_path)
    assert said in f"{caught.value} {caught.value.hint}"


def test_a_legend_may_have_several_tables(tmp_path):
    text = """nodata: 0
unlabeled: 9
remap: [{from: a, table: {1: 1, 2: 2}}, {from: b, table: {5: 2}, unlabeled: [6]}]
classes: [{value: 1, name: wet}, {value: 2, name: dry}]
"""
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    other = Legend("b", legend_of(5, 6).classes, 0)
    remap = remap_of("mine.yaml", other, "x", tmp_path)
    got = Recode.of(other, dict(remap.table), remap.legend)(
        np.array([5, 6, 0, 7]), np.array([1, 1, 0, 1], bool)
    )
    assert got[:3].tolist() == [2, 9, 0]


def test_no_data_of_a_legend_is_a_code(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("nodata: 99.0\nclasses: [{value: 0, name: wet}]\n", encoding="utf-8")
    assert load_legend("mine.yaml", tmp_path).nodata == 99
    path.write_text("nodata: 1.5\nclasses: [{value: 0, name: wet}]\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine.yaml: nodata 1.5 is no code"):
        load_legend("mine.yaml", tmp_path)


def test_codes_to_codes():
    source = legend_of(1, 2, 3, 4, nodata=0)
    remap = remap_of({1: 7, 2: 7, 3: 255, 4: 254}, source, "mine", HERE)
    assert [(c.code, c.name) for c in remap.legend.classes] == [(7, "c1 / c2")]
    assert (remap.legend.name, remap.legend.nodata, remap.legend.unlabeled, remap.unlisted) == (
        "mine",
        255,
        254,
        (),
    )
    wide = remap_of({1: 300, 2: 254}, source, "mine", HERE)
    assert (wide.legend.codes, wide.legend.dtype) == ((254, 300), "uint16")
    assert (wide.legend.nodata, wide.legend.unlabeled, wide.unlisted) == (65535, 65534, (3, 4))
    wide = remap_of({1: 300, 2: 65535, 3: 65534}, source, "mine", HERE)
    assert (wide.legend.codes, dict(wide.table), wide.unlisted) == ((300,), {1: 300, 2: 65535}, (4,))
    for wrong in ({5: 1}, {1: -1}, {1: 65534}, {1: 65536, 2: 1}, {1: 254}, {1: 255}):
        with pytest.raises(RecipeError, match=r"labels\.mine\.remap"):
            remap_of(wrong, source, "mine", HERE)


@pytest.mark.parametrize("stored", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_codes_of_any_stored_type(stored):
    """Half a class is no class; what is not data is none whatever it holds."""
    recode = Recode.of(legend_of(1, 4, 200, nodata=0), None, legend_of(1, 4, 200, nodata=0))
    codes = np.array([1, 4, 200, 3, 0, 4]).astype(stored)
    if stored is np.float32:
        codes[3] = 4.5
    got, foreign = recode.settled(recode(codes, np.array([1, 1, 1, 1, 1, 0], bool)), "uint8")
    assert got.tolist() == [1, 4, 200, 0, 0, 0]
    assert foreign == 1


def test_a_legend_that_leaves_no_code_free():
    legend = legend_of(*range(1, 256))
    recode = Recode.of(legend, None, legend)
    working = recode(np.array([0, 255, 256], np.uint16), np.ones(3, bool))
    got, foreign = recode.settled(working, "uint8")
    assert got.tolist() == [0, 255, 0]
    assert (foreign, got.dtype) == (1, np.uint8)


def test_rules_of_scene_labels():
    legend = legend_of(1, 2, 3)
    size, counts = 100, np.zeros(256, np.int64)
    counts[[0, 1, 2, 3]] = 10, 30, 30, 30
    plain = SceneRule.plain(legend)
    assert plain.said(counts, size) == {"scene_labels": [1, 1, 1], "ignored": 0.1}
    counts[[1, 2, 3]] = 9, 10, 0
    table = plain.table
    assert SceneRule(legend, table, "fraction", 0.1).said(counts, size)["scene_labels"] == [0, 1, 0]
    assert SceneRule(legend, table, "presence", 0.09).said(counts, size)["scene_labels"] == [1, 1, 0]
    assert SceneRule(legend, table, "majority").said(counts, size)["scene_labels"] == [0, 1, 0]
    assert SceneRule(legend, table, "majority", 0.2).said(counts, size)["scene_labels"] == [0, 0, 0]
    counts[[1, 2, 3]] = 10, 10, 0
    assert SceneRule(legend, table, "majority").said(counts, size)["scene_labels"] == [1, 0, 0]
    assert SceneRule.plain(legend, (1,)).said(counts, size) == {"scene_labels": [0, 1, 0], "ignored": 0.9}
    two = SceneRule(legend_of(5, 6), ((1, 6), (2, 6)), remapped=True).said(counts, size)
    assert two == {
        "scene_labels": [0, 1],
        "scene_legend": "l",
        "scene_fractions": {"5": 0.0, "6": 0.2},
        "ignored": 0.8,
    }


def test_what_is_said_of_classes():
    classes = np.array([[1, 1, 2, 0], [254, 2, 2, 2]], np.uint8)
    said, facts = said_of_classes(classes, legend_of(1, 2, unlabeled=254), ignore=(1,))
    assert said == {
        "valid_fraction": 0.875, "legend": "l", "unlabeled": 254, "ignore": [1], "fractions": {"1": 0.25, "2": 0.5},
        "scene_labels": [0, 1], "ignored": 0.5,
    }  # fmt: skip
    assert facts == {"1": 0.25, "2": 0.5, "nodata": 0.125, "ignored": 0.5, "valid_fraction": 0.875}


def test_segments_vote():
    classes = np.array([[1, 1, 2, 2], [1, 2, 2, 9], [3, 3, 0, 1]], np.uint8)
    segments = np.array([[5, 5, 7, 7], [5, 5, 7, 7], [8, 8, 8, 0]], np.int32)
    done = vote(classes, segments, (1, 2, 3))
    np.testing.assert_array_equal(done.classes, [[1, 1, 2, 2], [1, 1, 2, 9], [3, 3, 0, 1]])
    assert done.changed == pytest.approx(1 / 12)
    assert done.agreement == pytest.approx(8 / 9)
    strict = vote(classes, segments, (1, 2, 3), min_share=0.8)
    np.testing.assert_array_equal(strict.classes, classes)
    assert (strict.changed, strict.agreement) == (0.0, pytest.approx(8 / 9))
    none = vote(classes, np.zeros_like(segments), (1, 2, 3))
    assert (none.changed, none.agreement) == (0.0, 1.0)
    tie = vote(np.array([[2, 1]], np.uint8), np.array([[4, 4]]), (1, 2))
    np.testing.assert_array_equal(tie.classes, [[1, 1]])


def test_the_age_of_a_label():
    inside = age_days("2021", ["2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z"])
    assert inside == 0
    assert age_days("2018", ["2019-01-02T00:00:00Z", "2018-06-01T00:00:00Z"]) == pytest.approx(1, abs=1e-6)
    assert age_days("2018-07", ["2018-06-30T00:00:00Z", ""]) == pytest.approx(1)
    assert age_days("2018", [""]) == age_days("", ["2018-01-01T00:00:00Z"]) == UNKNOWN
    assert days_between("2018", interval("2017-12-01/2018-01-15")) == 0
    assert days_between("2018", interval("2020-01-01/2020-02-01")) == pytest.approx(365, abs=1e-6)
    assert (days_of(2), days_of("400d"), days_of("12h")) == (730.5, 400, 0.5)
