"""Recipes whose `split` goes by labels, attributes, tiles, times, lists and earlier datasets: planned, and built."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from test_weave import SIDE, UTM, WC, X, Y, add_label, add_scene, recipe

from chipweave import run
from chipweave.errors import RecipeError, YieldError
from worlds.harness import succeed

HALVES = {"train": 0.5, "test": 0.5}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A scene of four by four chips, stripes of classes, and a file of two countries with dates."""
    folder = tmp_path_factory.mktemp("splits")
    items = [add_scene(folder, "S2A_T32TNT_1", day=d) for d in (4,)]
    wide = gpd.GeoDataFrame(
        {"country": ["PRT", "ESP"], "year": [2018, 2020], "off": [0.0, 50.0]},
        geometry=[shapely.box(X, Y - SIDE, X + SIDE / 2, Y), shapely.box(X + SIDE / 2, Y - SIDE, X + SIDE, Y)], crs=UTM,
    )  # fmt: skip
    wide.to_file(folder / "land.gpkg")
    return folder, [*items, add_label(folder, 260)]


def planned(world, name: str, split: dict, **more):
    folder, items = world
    attributes = {n: {"file": "land.gpkg", "column": n} for n in ("country", "year", "off")}
    loaded = recipe(folder, items, name=name, split=split, labels=WC, attributes=attributes, **more)
    run.plan(loaded, folder / name, workers=0)
    chips = pd.read_parquet(folder / name / "plan" / "chips.parquet").set_index("key").sort_index()
    assert not [c for c in chips.columns if "." in c], "class shares stay out of the plan"
    return chips, json.loads((folder / name / "chipweave.lock").read_text())


def test_groups_go_by_an_attribute(world):
    chips, lock = planned(world, "groups", {"method": "groups", "by": "country", "fractions": HALVES})
    assert set(zip(chips["country"], chips["split"], strict=True)) in (
        {("PRT", "train"), ("ESP", "test")}, {("PRT", "test"), ("ESP", "train")},
    )  # fmt: skip
    assert lock["split"]["method"] == "groups"
    assert lock["split"]["stability"] == "pinned"
    assert lock["split"]["shares"] == HALVES


def test_random_says_that_it_leaks_and_what_it_does_not_hear(world):
    chips, lock = planned(
        world, "random", {"method": "random", "fractions": HALVES, "buffer_m": 50, "block_km": 3}
    )
    assert (chips["state"] == "kept").all()
    assert any("a random split leaks" in text for text in lock["warnings"])
    assert any("split.buffer_m is not kept" in text for text in lock["warnings"])
    assert any("split.block_km has no effect" in text for text in lock["warnings"])


def test_labels_are_alike_and_give_the_buffer(world):
    split = {"block_km": 0.2, "fractions": HALVES, "stratify": ["worldcover", "country"], "tolerance": 0.2}
    _, lock = planned(world, "alike", split)
    told = lock["split"]["stratify"]
    assert {name.partition(".")[0].partition("=")[0] for name in told["shares"]} == {"worldcover", "country"}
    assert told["worst"] < 0.3
    assert any(text.startswith("stratified by worldcover, country") for text in lock["warnings"])
    _, lock = planned(world, "auto", {"block_km": 0.2, "fractions": {"train": 1.0}, "buffer_m": "auto"})
    assert lock["split"]["variogram"]["labels"] == ["worldcover"]
    assert any("buffer_m: auto is" in text for text in lock["warnings"])


def test_time_goes_by_an_attribute_or_by_the_layers_own_dates(world):
    own = {"method": "time", "by": "year", "cutoffs": [2019]}
    chips, _ = planned(world, "time", own)
    assert set(zip(chips["year"], chips["split"], strict=True)) == {(2018, "train"), (2020, "test")}
    with pytest.raises(RecipeError, match="no layer's chips have times"):
        planned(world, "notime", {"method": "time", "cutoffs": [2019]})
    with pytest.raises(YieldError, match="in the time of late"):
        planned(world, "late", {"method": "time", "by": "year", "periods": {"train": 2018, "late": 2030}})


def test_inside_tile_takes_the_tiles_that_scenes_are_cut_from(world):
    chips = {"size": 8, "resolution": 10, "sampling": {"method": "scene_tiles", "of": "s2"}}
    found, _ = planned(world, "tiles", {"method": "inside_tile"}, chips=chips, area=None)
    assert found[
        ["tile_xmin", "tile_ymin", "tile_xmax", "tile_ymax"]
    ].drop_duplicates().to_numpy().tolist() == [[X, Y - SIDE, X + SIDE, Y]]
    edge = np.minimum.reduce([
        found["x"] + 40 - X, X + SIDE - found["x"] - 40, Y - found["y"] + 40, found["y"] - 40 - (Y - SIDE)
    ])  # fmt: skip
    wish = np.where(edge < SIDE * (2 - 2**0.5) / 4, "train", np.where(edge < SIDE / 4, "val", "test"))
    assert found["split"].tolist() == wish.tolist()
    assert set(wish) == {"train", "val", "test"}
    with pytest.raises(RecipeError, match="cut out of tiles"):
        planned(world, "notiles", {"method": "inside_tile"})
    one = {**chips, "size": int(SIDE // 10)}  # a chip as large as the tile: all rings but the core are empty
    with pytest.raises(YieldError, match="none of 1 chips goes to train"):
        planned(world, "core", {"method": "inside_tile"}, chips=one, area=None)


def test_lists_overrides_and_earlier_datasets_are_inputs(world):
    folder, _ = world
    split = {"block_km": 0.2, "fractions": HALVES, "seed": 3}
    first, _ = planned(world, "first", split)
    listed = first.reset_index()[["key", "split"]].iloc[:-1].replace({"test": "validation"})
    listed.to_csv(folder / "list.csv", index=False)
    chips, _ = planned(world, "listed", {"method": "list", "file": "list.csv"})
    assert chips["split"].tolist() == [*first["split"].replace({"test": "val"})[:-1], ""]
    assert chips.iloc[-1][["state", "stage", "reason"]].tolist() == ["dropped", "split", "unlisted"]
    again, lock = planned(world, "again", {**split, "seed": 4, "previous": "first"})
    assert again["split"].equals(first["split"])
    assert any("16 of 16 places keep the split that they had" in text for text in lock["warnings"])
    key = first.index[0]
    other = {"train": "test", "test": "train"}[first["split"].iloc[0]]
    moved, _ = planned(world, "moved", {**split, "override": {key: other}})
    assert moved["split"].iloc[0] == other
    with pytest.raises(RecipeError, match="no key, no place and no unit"):
        planned(world, "lost", {**split, "override": {"nobody": "test"}})


def test_errors_of_position_widen_the_gap(world):
    split = {"block_km": 0.32, "fractions": HALVES, "buffer_m": 10}
    plain, _ = planned(world, "sharp", split)
    wide, _ = planned(world, "unsharp", {**split, "error": "off"})
    assert (wide["reason"] == "buffer").sum() >= (plain["reason"] == "buffer").sum() > 0


def test_folds_are_built_into_one_split(world):
    folder, items = world
    loaded = recipe(
        folder, items, name="folds", split={"method": "kfold", "folds": 2, "block_km": 0.2}, labels=WC
    )
    result = run.build(loaded, folder / "folds", workers=0)
    assert result["splits"] == {"all": 16}
    out = folder / "folds"
    assert {p.name for p in (out / "shards").iterdir()} == {"all-000000.tar", "all-000001.tar"}
    index = gpd.read_parquet(out / "index.parquet")
    assert set(index["split"]) == {"all"}
    assert index["fold"].dtype == np.int32
    assert index["fold"].value_counts().to_dict() == {0: 8, 1: 8}
    assert list(index.columns).count("fold") == 1
    chips = pd.read_parquet(out / "plan" / "chips.parquet").set_index("key")
    assert index.set_index("key")["fold"].to_dict() == chips["fold"].to_dict()
    stats = json.loads((out / "stats.json").read_text())
    assert "s2" in json.dumps(stats)
    succeed("verify", out)
