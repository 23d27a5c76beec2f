"""Field parcels as a label of a build: burned, numbered, boxed, with other rules in another country."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import yaml

import chipweave as cw
from chipweave.errors import RecipeError
from chipweave.model import Place
from support.polygons import painted, star

AREA = (24.98, 60.19, 25.03, 60.215)


def fields(rng: np.random.Generator, count: int) -> list[shapely.Geometry]:
    w, s, e, n = AREA
    at = zip(rng.uniform(w, e, count), rng.uniform(s, n, count), strict=True)
    return [star(rng, x, y, 0.003, 7) for x, y in at]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(5)
    shapes = fields(rng, 30)
    crops = ["wheat", "rye", "grass"] * 10
    gpd.GeoDataFrame({"crop": crops, "code": np.arange(30) % 5 + 10}, geometry=shapes, crs=4326).to_parquet(
        folder / "fields.parquet"
    )
    middle = (AREA[0] + AREA[2]) / 2
    halves = [shapely.box(AREA[0] - 1, 60, middle, 61), shapely.box(middle, 60, AREA[2] + 1, 61)]
    gpd.GeoDataFrame({"land": ["west", "east"]}, geometry=halves, crs=4326).to_file(folder / "lands.gpkg")
    return folder


def recipe(folder: Path, **label) -> Path:
    document = {
        "version": 1, "name": "fields", "area": {"bbox": list(AREA)},
        "chips": {"size": 64, "resolution": 10, "crs": "utm"},
        "attributes": {"land": {"file": "lands.gpkg", "column": "land", "join": "within"}},
        "labels": {"fields": {"file": "fields.parquet", "date": 2023, **label}},
        "split": {"method": "blocks", "block_km": 1, "fractions": {"train": 0.7, "val": 0.3}, "seed": 1},
        "output": {"formats": ["webdataset", "zarr"], "samples_per_shard": 16},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, field = member.name.partition(".")
                held = tar.extractfile(member)
                assert held is not None
                found.setdefault(key, {})[field] = held.read()
    return found


def array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data))


def test_a_build_burns_numbers_and_boxes_fields(folder: Path, tmp_path: Path) -> None:
    burn = [{"where": "crop <> 'grass'", "column": "code"}, {"where": "crop = 'grass'", "value": 3}]
    path = recipe(
        folder, burn=burn, outside=0, instances=True, boxes=True, distance=True,
        override={"land": {"east": {"outside": 99, "boundary": {"width_px": 2, "value": 98}}}},
    )  # fmt: skip
    cw.build(cw.load_recipe(path), tmp_path / "a", workers=0)
    assert cw.verify(tmp_path / "a").ok
    found = samples(tmp_path / "a")
    index = pd.read_parquet(tmp_path / "a" / "index.parquet", columns=["key", "land"]).set_index("key")[
        "land"
    ]
    frame = gpd.read_parquet(folder / "fields.parquet")
    grass = (frame["crop"] == "grass").to_numpy()
    order = np.concatenate([np.flatnonzero(~grass), np.flatnonzero(grass)])
    codes, shapes = np.where(grass, 3, frame["code"]), frame.geometry.to_numpy()
    assert len(found) > 8
    for key, members in found.items():
        said = json.loads(members["json"])
        a = said["transform"]
        place = Place(key, said["crs"], a[2], a[5], 64, 10.0)
        w, s, e, n = said["bbox"]
        near = [
            k
            for k in order
            if shapely.intersects(shapes[k], shapely.box(w - 0.01, s - 0.01, e + 0.01, n + 0.01))
        ]
        truth = painted(shapes[near], codes[near], place, "EPSG:4326")
        numbers = painted(shapes[near], np.array(near) + 1, place, "EPSG:4326")
        got, instances = array(members["fields.npy"]), array(members["fields_instances.npy"])
        if index[key] == "east":
            clear = got != 98
            np.testing.assert_array_equal(got[clear], np.where(truth == 0, 99, truth)[clear])
            metres = array(members["fields_distance.npy"])
            np.testing.assert_array_equal((got == 98)[metres > 0], (metres <= 10)[metres > 0])
        else:
            np.testing.assert_array_equal(got, truth)
        np.testing.assert_array_equal(instances > 0, numbers > 0)
        pairs = set(zip(instances.ravel().tolist(), numbers.ravel().tolist(), strict=True)) - {(0, 0)}
        assert len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs}), "one number, one field"
        layers = said["layers"]
        assert layers["fields"]["datetime"] == ["2023"]
        assert layers["fields"]["items"] == [["fields"]]
        assert set(layers["fields"]["fractions"]) == {"0", "3", "10", "11", "12", "13", "14", "98", "99"}
        assert layers["fields_features"]["kind"] == "vector"
        told = json.loads(members["fields_features.geojson"])["features"]
        assert {f["properties"]["instance"] for f in told} - {0} == {p[0] for p in pairs}
        assert [f["properties"]["crop"] for f in told if f["properties"]["code"] == 3].count("rye") == 0
        boxes = json.loads(members["fields_boxes.json"])["annotations"]
        assert [b["area"] for b in boxes] == [int((instances == k + 1).sum()) for k in range(len(boxes))]
    assert {*index} == {"west", "east"}


def test_a_legend_names_the_classes_and_the_codes_that_may_be(folder: Path, tmp_path: Path) -> None:
    (folder / "crops.yaml").write_text(
        "name: crops\nnodata: 255\nclasses:\n- {value: 0, name: none}\n- {value: 1, name: wheat}\n"
        "- {value: 2, name: rye}\n- {value: 7, name: grass}\n"
    )
    everywhere = gpd.GeoDataFrame(geometry=[shapely.box(24, 60, 26, 61)], crs=4326)
    everywhere.to_crs(3035).to_file(folder / "other.gpkg")
    other = {"file": "other.gpkg", "burn": [{"value": 7}]}
    path = recipe(
        folder,
        burn=[{"column": "crop"}],
        legend="crops.yaml",
        outside=0,
        override={"land": {"value": {"east": other}}},
    )
    cw.build(cw.load_recipe(path), tmp_path / "a", workers=0)
    index = pd.read_parquet(
        tmp_path / "a" / "index.parquet", columns=["key", "land", "fields_items"]
    ).set_index("key")
    seen: dict[str, set[int]] = {"west": set(), "east": set()}
    for key, members in samples(tmp_path / "a").items():
        land = index["land"][key]
        seen[land] |= set(np.unique(array(members["fields.npy"])).tolist())
        assert index["fields_items"][key][0].tolist() == ["other" if land == "east" else "fields"]
    assert seen == {"west": {0, 1, 2, 7}, "east": {7}}
    path = recipe(folder, burn=[{"column": "code"}], legend="crops.yaml", outside=0)
    with pytest.raises(
        RecipeError, match=r"labels.fields.burn.0.column: 10, 11, 12, 13, 14: no class of legend crops"
    ):
        cw.build(cw.load_recipe(path), tmp_path / "b", workers=0)


def test_numbers_of_a_column_with_gaps_choose_rules(folder: Path, tmp_path: Path) -> None:
    """They are floats: 4201234 must not read as 4.20123e+06."""
    lands = gpd.read_file(folder / "lands.gpkg").assign(number=[4201234.0, np.nan], share=[0.1234567, 2.0])
    lands.to_file(folder / "numbers.gpkg")
    other = {"number": {4201234: {"outside": 9}}, "share": {"2": {"outside": 8}}}
    path = recipe(folder, burn=[{"value": 1}], outside=0, override=other)
    document = yaml.safe_load(path.read_text())
    document["attributes"] |= {n: {"file": "numbers.gpkg", "column": n, "join": "within"} for n in other}
    path.write_text(yaml.safe_dump(document))
    cw.build(cw.load_recipe(path), tmp_path / "a", workers=0)
    land = pd.read_parquet(tmp_path / "a" / "index.parquet", columns=["key", "land"]).set_index("key")["land"]
    seen: dict[str, set[int]] = {"west": set(), "east": set()}
    for key, members in samples(tmp_path / "a").items():
        seen[land[key]] |= set(np.unique(array(members["fields.npy"])).tolist())
    assert seen == {"west": {1, 9}, "east": {1, 8}}


def test_ground_without_a_feature_is_no_object_whatever_its_class_becomes(
    folder: Path, tmp_path: Path
) -> None:
    """Outside, here and where an attribute says so, has a class, though nobody may count it."""
    other = {"land": {"east": {"outside": 3}}}
    path = recipe(folder, burn=[{"value": 1}], outside=0, remap={0: 5, 1: 6, 3: 7}, override=other)
    document = yaml.safe_load(path.read_text())
    document["text"] = {"asked": {"kind": "vqa", "from": "fields", "count": 20, "visible": {"fields": 10}}}
    path.write_text(yaml.safe_dump(document))
    cw.build(cw.load_recipe(path), tmp_path / "a", workers=0)
    asked = [
        q for m in samples(tmp_path / "a").values() for q in json.loads(m["asked_facts.json"])["questions"]
    ]
    assert asked
    assert not [q["question"] for q in asked if "background" in q["question"]]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({}, "labels.fields.burn: is missing"),
        ({"burn": [{"column": "crpo"}]}, "there is no field 'crpo'; did you mean 'crop'"),
        ({"burn": [{"value": 1}], "nodata": 3}, "labels.fields.nodata: is of rasters"),
        ({"burn": [{"value": 1}], "resample": "mode"}, "labels.fields.resample: is of rasters"),
        ({"burn": [{"value": 1}], "layer": "x", "override": {"lnad": {"x": {"outside": 1}}}},
         "labels.fields.override.lnad: got 'lnad', expected an attribute of this recipe; did you mean 'land'"),
        ({"burn": [{"value": 1}], "override": {"land": {"west": {"file": "no.gpkg"}}}}, "no.gpkg: no such file"),
        ({"burn": [{"value": 1}], "ignore": [5]}, "labels.fields.ignore: 5 is no class"),
    ],
)  # fmt: skip
def test_wrong_wishes_are_refused_by_name(folder: Path, tmp_path: Path, label: dict, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        cw.build(cw.load_recipe(recipe(folder, **label)), tmp_path / "a", workers=0)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == 3


def test_keys_of_vectors_on_a_raster_are_refused(folder: Path, tmp_path: Path) -> None:
    from tiny import north_up, write_tif

    write_tif(folder / "a.tif", np.ones((64, 64), np.uint8), "EPSG:32635", north_up(387_000, 6_680_000, 100))
    path = recipe(folder, file="a.tif", instances=True)
    with pytest.raises(RecipeError, match=r"labels.fields.instances: is of vectors, and a.tif is a raster"):
        cw.build(cw.load_recipe(path), tmp_path / "a", workers=0)
