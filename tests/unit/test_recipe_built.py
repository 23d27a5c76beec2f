"""What is not built is refused by name, and the JSON Schema says the same as the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chipweave.errors import NotBuiltError, RecipeError
from chipweave.recipe import (
    builtin_recipes,
    catalogs_root,
    check,
    load_recipe,
    require_built,
    schema,
    schema_text,
    unbuilt,
)
from chipweave.recipe.base import NOT_BUILT

REFERENCE = """\
version: 1
name: iberia-landcover
catalog: http://127.0.0.1:8080          # default for every layer: provider name, STAC API URL, or a path
area: {geojson: aoi.geojson}
chips: {size: 128, resolution: 10, crs: utm, sampling: {method: grid}}
imagery:
  s2:
    collection: sentinel-2-l2a
    bands: [blue, green, red, nir, rededge1, swir16, coastal]
    time: 2021-06-01/2021-08-31
    select: {method: least_cloudy}
    max_cloud: 10
    min_valid: 99
  s1:
    collection: sentinel-1-rtc
    bands: [vv, vh]
    pair: {with: s2, within_days: 10}
    unit: dB
labels:
  worldcover: {collection: esa-worldcover, edition: 2021}
  corine: {collection: corine, edition: 2018, scene_labels: {remap: bigearthnet-19}}
split: {method: blocks, block_km: 10, fractions: {train: 0.6, val: 0.2, test: 0.2}, buffer_m: 640, stratify: worldcover, seed: 7}
output: {formats: [webdataset, zarr], samples_per_shard: 256}
"""  # noqa: E501 - as the contract has it

BUILT: dict[str, Any] = {
    "version": 1,
    "catalog": "http://127.0.0.1:8080",
    "provider": "earth-search",
    "local_roots": ["."],
    "catalogs": ["."],
    "area": {"file": "a.gpkg", "layer": "x", "where": "a > 1", "rule": "within"},
    "chips": {
        "size": {"m": 1280, "px": 128},
        "resolution": 10,
        "crs": "EPSG:3035",
        "lattice": {"anchor": [5, 5], "snap": False},
        "max_overlap": 0.1,
        "subdivide": {"n": 2, "px": 64},
        "key": "{crs}-{x}-{y}",
        "majortom": True,
        "sampling": {
            "method": "points",
            "file": "p.gpkg",
            "where": "a = 1",
            "jitter_m": 5,
            "centre": "bounds",
            "count": 9,
            "seed": 3,
            "min_distance_m": 100,
            "exclude": {"near": "x.gpkg", "m": 50},
        },
    },
    "attributes": {
        "region": {"file": "r.gpkg", "column": "name", "join": "nearest"},
        "year": {"file": "r.gpkg", "column": "year"},
    },
    "text": {
        "caption": {
            "kind": "landcover_caption",
            "from": "a",
            "seed": 3,
            "prompt": True,
            "windows": ["centre"],
        },
        "objects": {
            "kind": "osm_caption",
            "from": "a",
            "focus": "largest",
            "tags": ["name"],
            "visible": {"x": 0.5},
        },
        "origin": {"kind": "metadata_caption", "decimals": 2},
        "questions": {"kind": "vqa", "from": "a", "count": 5, "types": ["count"], "area_bins": [10, 1000]},
    },
    "imagery": {
        "s2": {
            "collection": "sentinel-2-l2a",
            "bands": ["blue", "nir"],
            "catalog": "x.json",
            "provider": "earth-search",
            "where": {"cloud": "<20", "orbit": ["ascending"]},
            "time": "2021-06-01/..",
            "select": {"method": "least_cloudy"},
            "max_candidates": 3,
            "max_cloud": 1,
            "min_valid": 1,
            "mask": "blank",
            "write_mask": False,
            "bad": [3],
            "resample": {"blue": "mean", "nir": "nearest"},
            "unit": "native",
        }
    },
    "labels": {
        "a": {"collection": "corine", "edition": 2018, "catalog": "x", "provider": "y", "resample": "mode"},
        "b": {"file": "b.tif", "legend": "corine", "date": 2018, "nodata": 0, "remap": {1: 2}, "ignore": [2]},
        "c": {
            "collection": "corine",
            "remap": "bigearthnet-19",
            "max_label_age": "400d",
            "resample": "nearest",
        },
        "d": {
            "collection": "corine",
            "max_label_age": 3,
            "scene_labels": {
                "remap": "bigearthnet-19",
                "rule": "fraction",
                "min_fraction": 0.1,
                "exclude_ignored_above": 0.2,
            },
        },
        "e": {"file": "e.tif", "unit": "m", "resample": "bilinear"},
        "f": {
            "file": "f.gpkg",
            "layer": "fields",
            "date": 2023,
            "outside": 0,
            "instances": True,
            "boxes": True,
            "burn": [
                {"where": "a > 1", "value": 1, "buffer_m": -5, "all_touched": True},
                {"column": "code"},
            ],
            "boundary": {"width_px": 2, "value": 3},
            "distance": True,
            "override": {"region": {"value": {"KEN": {"outside": 9}}}, "year": {2021: {"file": "g.gpkg"}}},
        },
        "g": {"file": "h.osm.pbf", "classes": "osm-landuse"},
        "h": {"points": {"file": "p.csv", "column": "agbd", "unit": "Mg/ha", "diameter_m": 25}, "date": 2020},
        "i": {"file": "f.gpkg", "unit": "features", "reduce": ["median", "p90"]},
    },
    "keep": ["a.ignored < 0.25"],
    "split": {
        "method": "blocks",
        "block_km": 3,
        "fractions": {"a": 0.5, "b": 0.5},
        "seed": 1,
        "buffer_m": 10,
        "buffer_drop": "both",
        "tolerance": 0.1,
        "leakage": "warn",
    },
    "allow": {"failed": 0.1, "dropped": 0.9},
    "output": {
        "formats": ["zarr", "webdataset"],
        "samples_per_shard": 8,
        "shuffle": "none",
        "encoding": "npy",
    },
    "licence": "CC-BY-4.0",
    "title": "t",
    "description": "d",
    "citation": "c",
}


def load(tmp_path: Path, mapping: dict[str, Any] | str, sets: tuple[str, ...] = ()) -> Any:
    path = tmp_path / "r.yaml"
    path.write_text(
        mapping if isinstance(mapping, str) else yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8"
    )
    return load_recipe(path, sets=sets)


def test_the_reference_recipe_is_built_as_written(tmp_path: Path) -> None:
    loaded = load(tmp_path, REFERENCE)
    assert unbuilt(loaded) == []
    require_built(loaded)


def test_everything_that_is_built_passes(tmp_path: Path) -> None:
    loaded = load(tmp_path, BUILT)
    require_built(loaded)
    assert unbuilt(loaded) == []


NOT_BUILT_KEYS = [
    *["area={country: PRT}", "area={world: land}"],
    "parts=[a.yaml]",
    *["output.formats=[webdataset, geotiff]", "output.formats=[parquet]"],
    *["output.previews=true", "output.columns={rename: {a: b}}"],
]


@pytest.mark.parametrize("text", NOT_BUILT_KEYS)
def test_a_key_that_is_not_built_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    key, _, value = text.partition("=")
    if value.startswith("{") and key == "area":
        key = f"area.{value[1 : value.index(':')]}"
    with_other = {**BUILT, "imagery": {**BUILT["imagery"], "s3": {"collection": "x", "bands": ["y"]}}}
    loaded = load(tmp_path, with_other, (text,))
    assert unbuilt(loaded) == [key]
    with pytest.raises(NotBuiltError) as caught:
        require_built(loaded)
    assert f": {key}: known, but not built yet" in str(caught.value)
    assert any(key in warning for warning in check(loaded))


SPLITS = [
    "{method: groups, by: region}", "{method: bands, angle_deg: 30, band_km: 5}", "{method: bands, bands: 60}",
    "{method: checkerboard, cell_deg: 0.5, jitter: [0.5, 0]}", "{method: clusters, k: 20}", "{method: inside_tile}",
    "{method: clusters, cluster: distance, link_m: 500}", "{method: time, by: region, cutoffs: [2019, 2020-06]}",
    "{method: time, periods: {train: [2018, 2019], test: 2020/2021}, space: true}",
    "{method: list, file: a.csv}",
    "{method: list, by: region, leakage: fail}", "{method: kfold, folds: 5}", "{method: kfold, by: region}",
    "{method: random}",
    "{cells: h3, block_km: 5, buffer_m: auto, stratify: [region]}", "{override: x.csv, previous: old}",
    "{override: {p1: test}, error: region, audit: {morans_i: 0.3}}",
]  # fmt: skip


@pytest.mark.parametrize("text", SPLITS)
def test_every_way_to_split_is_built(tmp_path: Path, text: str) -> None:
    mapping = {**BUILT, "split": yaml.safe_load(text)}
    assert unbuilt(load(tmp_path, mapping)) == []
    jsonschema.Draft202012Validator(schema()).validate(mapping)


CHOICES = [
    "{method: newest}", "{method: nearest, to: 2021-06-15}", "{method: nearest, to: s3}", "{method: mosaic}",
    "{method: periods, from: {planting: p.tif, harvest: h.tif}}",
    "{method: composite, stat: medoid}", "{method: periods, every: month}", "{method: periods, every: 30d}",
    "{method: periods, windows: {b: 04/06, a: 07-01/09-30}, prefer: newest}", "{method: seasons, stat: mean}",
    "{method: series, max: 3}",
]  # fmt: skip


@pytest.mark.parametrize("text", CHOICES)
def test_every_choice_is_built(tmp_path: Path, text: str) -> None:
    with_other = {**BUILT, "imagery": {**BUILT["imagery"], "s3": {"collection": "x", "bands": ["y"]}}}
    sets = (f"imagery.s2.select={text}", "imagery.s2.time=2021-01-01/2021-12-31", "imagery.s2.widen={by: 9d}")
    assert unbuilt(load(tmp_path, with_other, sets)) == []


OWN_TIMES = [
    ("{column: a, window: [-30d, 30d]}", "{method: newest}"), ("{table: x, by: a}", "{method: mosaic}"),
    ("{years: 2017/2024}", "{method: seasons}"), ("{years: 2017/2024}", "{method: periods, every: month}"),
    ("{column: a}", "{method: event, steps: {pre: [-30d, -1d], post: {window: [0d, 9d], years: 1}}}"),
    ("{column: a, window: [-30d, 30d]}", "{method: periods, every: 10d}"), ("{column: a}", "{method: nearest}"),
]  # fmt: skip


@pytest.mark.parametrize(("time", "select"), OWN_TIMES)
def test_every_time_is_built(tmp_path: Path, time: str, select: str) -> None:
    sets = (f"imagery.s2.time={time}", f"imagery.s2.select={select}", "imagery.s2.widen={by: 14d, times: 3}")
    assert unbuilt(load(tmp_path, BUILT, sets)) == []


WRONG = [
    ("2021-01/2021-12", "{method: event, steps: {a: [0d, 1d]}}", "needs a date a chip"),
    ("{column: a}", "{method: event}", "an event needs steps"),
    (
        "{column: a, window: [-5d, 5d]}",
        "{method: event, steps: {a: [-6d, 1d]}}",
        "beyond time.window, -5d to 5d",
    ),
    ("{column: a}", "{method: event, steps: {a: [1d, 0d]}}", "ends before it begins"),
    ("2021-01/2021-12", "{method: nearest}", "nearest needs a date"),
    ("2021-01/2021-12", "{method: nearest, to: s9}", "'s9'"),
    ("2021-06-01/..", "{method: seasons}", "both of its ends"),
    ("2021-06-01/2021-08-31", "{method: seasons}", "nothing of spring, 03-01/05-31"),
    ("2021-01/2021-12", "{method: periods}", "exactly one of every, windows, from"),
    ("2021-01/2021-12", "{method: periods, every: week}", "month, quarter, year"),
    ("2021-06-01/2021-06-30", "{method: periods, every: 31d}", "not one period of 31d"),
    ("2021-01/2021-12", "{method: periods, windows: {a: 13/14}}", "13 is no month"),
    ("{column: a, window: [-30d, 30d]}", "{method: periods, every: month}", "time of years alone"),
    ("2021-01/2021-12", "{method: seasons, stat: mean, prefer: newest}", "no date to prefer"),
    ("2021-01/2021-12", "{method: periods, from: {greenup: g.tif}}", "give all of greenup, maturity"),
    ("2021-06-01/..", "{method: periods, from: {harvest: g.tif}}", "both of its ends"),
    ("2021-01/2021-12", "{method: newest, stat: mean}", "no option of method 'newest'"),
]


@pytest.mark.parametrize(("time", "select", "text"), WRONG)
def test_what_does_not_go_together_is_said(tmp_path: Path, time: str, select: str, text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, BUILT, (f"imagery.s2.time={time}", f"imagery.s2.select={select}"))
    assert text in str(caught.value)


def test_writing_a_default_is_fine(tmp_path: Path) -> None:
    defaults = (
        *(
            "chips.lattice.snap=true",
            "chips.majortom=false",
            "chips.sampling.seed=0",
        ),
        *(
            "imagery.s2.native=false",
            "imagery.s2.register=off",
            "imagery.s2.unit=native",
            "imagery.s2.dilate_m=0.0",
        ),
        *("labels.a.ignore=[]", "output.previews=false", "parts=[]", "output.encoding=npy"),
    )
    assert unbuilt(load(tmp_path, BUILT, defaults)) == []


def test_the_starter_is_the_reference_recipe_as_far_as_it_is_built(tmp_path: Path) -> None:
    wanted = load(
        tmp_path, REFERENCE, ("imagery.s1=", "labels.corine.scene_labels=", "split.stratify=")
    ).mapping
    found = load_recipe(builtin_recipes()["landcover"]).mapping
    differ = {key for key in wanted | found if wanted.get(key) != found.get(key)}
    assert differ == {"name", "catalog", "area"}


def marked(part: Any) -> int:
    """How often the schema says that something is not built."""
    if isinstance(part, dict):
        return (NOT_BUILT in part) + sum(marked(value) for value in part.values())
    return sum(marked(value) for value in part) if isinstance(part, list) else 0


# --- schema


def test_the_committed_schema_is_that_of_the_models() -> None:
    path = catalogs_root() / "recipe.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), (
        "write it anew: python -c 'from chipweave.recipe import *; "
        'open("catalogs/recipe.schema.json", "w").write(schema_text())\''
    )


def test_the_schema_is_one_and_describes_every_key() -> None:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name, model in {"Recipe": found, **found["$defs"]}.items():
        for key, value in model.get("properties", {}).items():
            target = found["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            assert value.get("description", target.get("description")), f"{name}.{key}"
    assert marked(found) > 3


@pytest.mark.parametrize("mapping", [yaml.safe_load(REFERENCE), BUILT], ids=["reference", "built"])
def test_the_schema_accepts_what_the_models_accept(mapping: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema()).validate(mapping)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("imagery", {"S2": {"collection": "x", "bands": ["y"]}}),
        ("imagery", {"s2": {"collection": "x", "bands": ["y"], "max_clouds": 3}}),
        ("chips", {"size": "128"}),
        ("split", {"fractions": {"Train": 1}}),
        ("output", {"formats": ["webdatset"]}),
        ("nam", "x"),
        ("version", 2),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(section: str, change: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate({**BUILT, section: change})
