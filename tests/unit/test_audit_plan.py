"""The plan held against what was written: chosen scenes, times, splits, folds, grids, and the recipe of the lock."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import yaml
from shapely.affinity import scale
from test_weave import SIDE, UTM, WC, X, Y, add_label, add_scene

from chipweave import run
from chipweave.audit.completeness import check_completeness
from chipweave.audit.drift import check_drift
from chipweave.audit.planned import check_planned
from chipweave.audit.splits import check_splits
from chipweave.audit.tables import check_ledger, load_index, load_rules
from tiny import load, outline
from worlds.stac import write_catalog

MATCHES, AMENDMENTS = "plan/matches.parquet", "plan/amendments.parquet"
CHIPS, PLACES = "plan/chips.parquet", "plan/places.parquet"
BOX = {"bbox": [round(v, 5) for v in outline(UTM, X, Y - SIDE, X + SIDE, Y).bounds]}
KINDS = {
    "plain": {"split": {"method": "random", "fractions": {"train": 0.5, "test": 0.5}}},
    "series": {
        "s2": {
            "select": {"method": "series", "max": 3},
            "steps": {"min": 1, "missing": "nodata"},
            "write_mask": True,
        }
    },
    "composite": {"s2": {"select": {"method": "composite", "stat": "median"}}},
    "folds": {"split": {"method": "kfold", "folds": 2, "block_km": 0.2}},
    "native": {"s2": {"native": True}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    items = [add_scene(folder, f"S{day}", day=day, seed=day) for day in (4, 14, 24)]
    return folder, [*items, add_scene(folder, "S4b", day=4, time="10:00:20", at=24), add_label(folder, 260)]


@pytest.fixture(scope="module")
def made(world):
    """A dataset of a kind, built once."""
    found = {}

    def of(kind):
        folder, items = world
        if kind not in found:
            write_catalog(folder / "items.json", items)
            own = dict(KINDS[kind])
            layer = {
                "collection": "sentinel-2-l2a", "bands": ["red", "rededge1"], "time": "2021-06-01/2021-06-30",
                **own.pop("s2", {}),
            }  # fmt: skip
            mapping = {"catalog": "items.json", "area": BOX, "imagery": {"s2": layer}, "labels": WC, **own}
            run.build(load(folder, mapping, f"{kind}.yaml"), folder / kind, workers=0)
            found[kind] = folder / kind
        return found[kind]

    return of


@pytest.fixture
def copied(made, tmp_path):
    return lambda kind: shutil.copytree(made(kind), tmp_path / kind)


def edit(folder, name, change):
    """A table that says something else; its types stay."""
    path = folder / name
    schema = pq.read_schema(path)
    table = pa.Table.from_pandas(change(pd.read_parquet(path)), schema=schema, preserve_index=False)
    pq.write_table(table, path)


def index_of(folder):
    index, check = load_index(folder)
    assert index is not None, check.text
    return index


def planned(folder):
    return check_planned(folder, index_of(folder))


def ledger(folder):
    return check_ledger(folder, index_of(folder))


def splits(folder):
    return check_splits(index_of(folder), load_rules(folder)[0], folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_agrees_with_its_plan(made, kind):
    folder = made(kind)
    assert [c.text for c in check_completeness(folder, index_of(folder)) if c.verdict != "pass"] == []
    for check in (load_index(folder)[1], load_rules(folder)[1], ledger(folder), splits(folder)):
        assert check.verdict == "pass", check.text


def other_item(frame):
    """Thirty rows at most name what nobody has."""
    rows = frame.index[frame["chosen"] & (frame["layer"] == "s2")][:30]
    frame.loc[rows, "item"] = "S2Z_OTHER"
    return frame


def one_time(frame):
    rows = frame.index[frame["chosen"] & (frame["layer"] == "s2")]
    frame.loc[rows, "datetime"] = "2021-06-14T10:00:00+00:00"
    return frame


def other_year(frame):
    frame.loc[frame["layer"] == "worldcover", "datetime"] = "1066"
    return frame


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("plain", lambda f: f[:0], "chose no s2 for any chip"),
        ("plain", other_item, "chose S2Z_OTHER for s2, which plan/scenes.parquet lacks"),
        ("series", one_time, "has another time for s2 of"),
        ("plain", other_year, "has another time for worldcover of"),
        ("plain", lambda f: f[f["layer"] != "worldcover"], "chose no worldcover for any chip"),
        ("native", lambda f: f[f["layer"] != "s2_20m"], "chose no s2_20m for any chip"),
        ("composite", lambda f: f[~(f["chosen"] & (f["item"] == "S14"))], "shows S14, which was not chosen for it"),
    ],
)  # fmt: skip
def test_matches_that_are_not_what_was_woven(copied, kind, change, says):
    folder = copied(kind)
    edit(folder, MATCHES, change)
    check = planned(folder)
    assert check.verdict == "fail"
    assert says in check.text


def swapped(frame):
    """Two steps change places."""
    for name in ("s2_items", "s2_mask_items", "s2_datetime", "s2_mask_datetime"):
        frame[name] = [[of[1], of[0], *of[2:]] for of in frame[name]]
    return frame


def set_column(name, value):
    def change(frame):
        frame[name] = [value] * len(frame)
        return frame

    return change


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("series", swapped, "which was not chosen for it"),
        ("series", set_column("s2_mask_items", [["S4"], ["S4"], ["S4"]]), "items of s2_mask of"),
        ("composite", set_column("s2_items", [["S99"]]), "shows S99, which was not chosen for it"),
        ("plain", set_column("s2_datetime", ["2021-06-03T10:00:00Z"]), "and its scene of another time"),
        ("plain", set_column("worldcover_datetime", ["2020"]), "and its scene of another time"),
        ("native", set_column("s2_20m_items", [["nobody"]]), "s2_20m of"),
    ],
)
def test_samples_that_are_not_what_was_chosen(copied, kind, change, says):
    folder = copied(kind)
    edit_index(folder, change)
    check = planned(folder)
    assert check.verdict == "fail"
    assert says in check.text


def edit_index(folder, change):
    path = folder / "index.parquet"
    table = pq.read_table(path)
    frame = change(table.drop_columns(["geometry"]).to_pandas())
    columns = {
        f.name: table["geometry"] if f.name == "geometry" else pa.array(frame[f.name].tolist(), f.type)
        for f in table.schema
    }
    pq.write_table(pa.table(columns, schema=table.schema), path)


def test_a_chip_that_was_chosen_again_may_show_another_candidate(copied):
    """But not the scene that could not be read, nor one that was no candidate."""
    folder = copied("plain")
    rows = pd.read_parquet(folder / MATCHES).query("layer == 's2'")
    taken = dict(rows[rows["chosen"]].groupby("key")["item"].first())
    key = next(k for k in taken if "S14" in set(rows["item"][(rows["key"] == k) & ~rows["chosen"]]))

    def shown(item, day):
        def change(frame):
            mine = (frame["key"] == key).tolist()
            for name in ("s2", "s2_mask"):
                for what, new in (("items", [[item]]), ("datetime", [f"2021-06-{day:02d}T10:00:00Z"])):
                    old = frame[f"{name}_{what}"].tolist()
                    frame[f"{name}_{what}"] = [
                        new if here else of for here, of in zip(mine, old, strict=True)
                    ]
            return frame

        edit_index(folder, change)

    shown("S14", 14)
    assert f"s2 of {key} shows S14, which was not chosen for it" in planned(folder).text
    row = {"key": key, "layer": "s2", "item": taken[key], "stage": "weave", "href": "x", "error": "404"}
    pq.write_table(
        pa.Table.from_pylist([row], schema=pq.read_schema(folder / AMENDMENTS)), folder / AMENDMENTS
    )
    assert planned(folder).verdict == "pass", planned(folder).text
    shown("S99", 14)
    assert "shows S99, which was not chosen for it" in planned(folder).text
    shown(taken[key], int(taken[key].strip("Sb")))
    assert f"shows {taken[key]}, which {AMENDMENTS} says could not be read" in planned(folder).text


def test_a_date_whose_bands_turn_out_empty_is_told_and_no_fault(tmp_path):
    """Its mask said otherwise when it was chosen; a sample that shows none of its dates is a fault."""
    items = [add_scene(tmp_path, f"S{day}", day=day, seed=day) for day in (4, 24)]
    items += [add_scene(tmp_path, "S14", day=14, hidden=[np.s_[:, :16]]), add_label(tmp_path, 260)]
    write_catalog(tmp_path / "items.json", items)
    layer = {"collection": "sentinel-2-l2a", "bands": ["red", "rededge1"], "time": "2021-06-01/2021-06-30"}
    mapping = {"catalog": "items.json", "area": BOX, "imagery": {"s2": layer | KINDS["series"]["s2"]}}
    run.build(load(tmp_path, mapping), tmp_path / "out", workers=0)
    check = planned(tmp_path / "out")
    assert check.verdict == "warn"
    assert f"{check.numbers['s2']['empty']} of {check.numbers['s2']['planned']} dates of s2" in check.text
    nothing = set_column("s2_items", [[""]] * 3)
    edit_index(tmp_path / "out", lambda f: set_column("s2_mask_items", [[""]] * 3)(nothing(f)))
    assert "was planned and is in no sample" in planned(tmp_path / "out").text


@pytest.mark.parametrize(
    ("name", "value"), [("s2_datetime", ["yesterday"]), ("s2_datetime", ["2019"]), ("worldcover_datetime", ["now"])]
)  # fmt: skip
def test_times_are_times(copied, name, value):
    folder = copied("plain")
    edit_index(folder, set_column(name, value))
    check = load_index(folder)[1]
    assert check.verdict == "fail"
    assert f"{name} holds {value[0]!r}, which is no time" in check.text


# --- outlines --------------------------------------------------------------------------------


def scaled(factor):
    def change(shapes):
        return np.array([scale(shape, factor, factor) for shape in shapes], object)

    return change


@pytest.mark.parametrize("change", [scaled(10), scaled(0.1), lambda s: np.roll(s, 1)])
def test_a_geometry_is_the_outline_of_its_grid(copied, change):
    folder = copied("plain")
    path = folder / "index.parquet"
    table = pq.read_table(path)
    shapes = pa.array(shapely.to_wkb(change(shapely.from_wkb(table["geometry"].to_pylist()))), pa.binary())
    pq.write_table(
        table.set_column(table.column_names.index("geometry"), table.schema.field("geometry"), shapes), path
    )
    assert "are different places" in load_index(folder)[1].text


# --- folds, splits and grids -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_column("fold", -1), "is in fold -1: folds are 0 to 1"),
        (set_column("fold", 0), "fold 1 is empty"),
        (lambda f: f.assign(fold=f["fold"].replace({1: 9})), "is in fold 9: folds are 0 to 1"),
    ],
)
def test_folds_are_those_of_the_recipe(copied, change, says):
    folder = copied("folds")
    edit_index(folder, change)
    check = splits(folder)
    assert check.verdict == "fail"
    assert says in check.text
    assert "fold of" in ledger(folder).text


def test_folds_that_the_recipe_does_not_have(copied):
    folder = copied("plain")
    edit_index(folder, set_column("fold", 0))
    assert "is in fold 0: the recipe has no folds" in splits(folder).text


def test_a_fold_whose_chips_were_lost_late_is_told_and_no_fault(copied):
    folder = copied("folds")
    gone = set(index_of(folder).frame.query("fold == 1")["key"])

    def lost(frame):
        rows = frame["key"].isin(gone)
        frame.loc[rows, ["state", "stage", "reason"]] = ["dropped", "weave", "valid"]
        return frame

    edit(folder, "ledger.parquet", lost)
    edit_index(folder, lambda f: f.assign(fold=0))
    assert splits(folder).verdict == "warn"


def exchanged(frame):
    one = frame.index[frame["split"] == "test"][:2]
    frame.loc[one, "split"] = "train"
    return frame


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (CHIPS, exchanged, "is train in plan/chips.parquet, test in the index"),
        (CHIPS, lambda f: f.drop(index=3), "not in the plan"),
        (CHIPS, lambda f: f.assign(place="elsewhere"), "is elsewhere in plan/chips.parquet"),
        (PLACES, lambda f: f.assign(x=f["x"] + 5), "is another one in plan/places.parquet than in the index"),
        (PLACES, lambda f: f.assign(resolution=20.0), "is another one in plan/places.parquet"),
        (PLACES, lambda f: f.assign(crs="EPSG:32633"), "is EPSG:32633 in plan/places.parquet"),
        (PLACES, lambda f: f.drop(index=3), "not in plan/places.parquet"),
    ],
)
def test_chips_and_places_of_the_plan_are_those_of_the_index(copied, name, change, says):
    folder = copied("plain")
    edit(folder, name, change)
    check = ledger(folder)
    assert check.verdict == "fail"
    assert says in check.text


def test_a_plan_that_lies_not_there_is_named(copied):
    folder = copied("plain")
    (folder / PLACES).unlink()
    check = planned(folder)
    assert (check.verdict, check.text) == ("warn", f"{PLACES} of the plan lies not in the folder")
    shutil.rmtree(folder / "plan")
    check = planned(folder)
    assert check.verdict == "skip"
    assert (
        "plan/chips.parquet, plan/matches.parquet, plan/amendments.parquet lie not in the folder"
        in check.text
    )
    assert ledger(folder).verdict == "pass"


def test_a_recipe_that_is_not_the_locks(copied):
    folder = copied("plain")
    path = folder / "recipe.yaml"
    path.write_text(
        path.read_text().replace("train: 0.5", "train: 0.50001").replace("test: 0.5", "test: 0.49999")
    )
    told = "recipe.yaml is not the recipe that chipweave.lock has the SHA-256 of"
    assert (load_rules(folder)[1].verdict, load_rules(folder)[1].text) == ("warn", told)
    assert planned(folder).verdict == "fail"
    assert told in planned(folder).text
    lock = json.loads((folder / "chipweave.lock").read_text())
    lock["versions"]["chipweave"] = "0.0.1"  # which may have worked it out otherwise
    (folder / "chipweave.lock").write_text(json.dumps(lock))
    assert load_rules(folder)[1].verdict == "pass"


# --- the catalog of today --------------------------------------------------------------------


def test_a_scene_that_is_gone_is_told_of_native_groups_at_the_locks_address(made, world):
    folder = made("native")
    assert (
        yaml.safe_load((folder / "recipe.yaml").read_text())["catalog"] == "items.json"
    )  # beside the recipe
    path = world[0] / "items.json"
    before = path.read_text()
    try:
        write_catalog(path, [one for one in world[1] if one["id"] != "S14"])
        check = check_drift(folder)
    finally:
        path.write_text(before)
    assert check.verdict == "warn"
    told = {"locked": 4, "new": 0, "gone": 1, "reprocessed": 0}
    assert {n: check.numbers[n] for n in ("s2_10m", "s2_20m")} == {"s2_10m": told, "s2_20m": told}
    assert check_drift(folder).verdict == "pass"
