"""Merging: `extends`, `--set`, `--catalog`; and what a loaded recipe knows: paths, digest, YAML, catalogs."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import RecipeError, UsageError
from chipweave.recipe import LoadedRecipe, load_recipe
from chipweave.recipe.document import Document
from chipweave.recipe.load import merge

GOOD: dict[str, Any] = {
    "version": 1,
    "name": "test",
    "catalog": "http://127.0.0.1:8080",
    "area": {"bbox": [0, 0, 1, 1]},
    "chips": {"size": 128, "resolution": 10},
    "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["blue"]}},
}


def write(path: Path, mapping: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = mapping if isinstance(mapping, str) else yaml.safe_dump(mapping, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, **changes: Any) -> LoadedRecipe:
    return load_recipe(write(tmp_path / "r.yaml", {**GOOD, **changes}))


# --- extends


def test_extends_merges_deeply_and_the_child_wins(tmp_path: Path) -> None:
    write(
        tmp_path / "base.yaml", {**GOOD, "split": {"block_km": 3, "fractions": {"train": 0.5, "test": 0.5}}}
    )
    child = write(
        tmp_path / "r.yaml",
        "extends: base.yaml\nname: child\nimagery: {s2: {bands: [red, nir], max_cloud: 5}}\nsplit: {seed: 4}\n",
    )
    loaded = load_recipe(child)
    assert loaded.recipe.name == "child"
    assert loaded.recipe.imagery["s2"].bands == ("red", "nir")
    assert loaded.recipe.imagery["s2"].collection == "sentinel-2-l2a"
    assert loaded.recipe.imagery["s2"].max_cloud == 5
    assert loaded.recipe.split is not None
    assert (loaded.recipe.split.block_km, loaded.recipe.split.seed) == (3, 4)
    assert "extends" not in loaded.mapping


def test_null_in_a_child_removes_what_it_inherits(tmp_path: Path) -> None:
    labels = {"a": {"collection": "corine"}, "b": {"collection": "esa-worldcover"}}
    write(tmp_path / "base.yaml", {**GOOD, "labels": labels})
    child = write(
        tmp_path / "r.yaml", "extends: base.yaml\nlabels: {a: null}\narea: {bbox: null, geojson: x}\n"
    )
    loaded = load_recipe(child)
    assert list(loaded.recipe.labels) == ["b"]
    assert loaded.mapping["area"] == {"geojson": "x"}


def test_a_problem_names_the_file_it_stands_in(tmp_path: Path) -> None:
    write(tmp_path / "base" / "base.yaml", {**GOOD, "nam": "x"})
    child = write(tmp_path / "r.yaml", "extends: base/base.yaml\n\nimagery: {s2: {max_clouds: 5}}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(child, sets=["split.seed=x", "chips.sise=3"])
    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines() == [
        "--set chips.sise: chips.sise: unknown key; did you mean 'size'?",
        "--set split.seed: split.seed: got 'x', expected a whole number",
        "base/base.yaml:18: nam: unknown key; did you mean 'name'?",
        "r.yaml:3: imagery.s2.max_clouds: unknown key; did you mean 'max_cloud'?",
    ]


def test_extends_that_goes_round_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    write(tmp_path / "b.yaml", "\nextends: sub/../a.yaml\n")
    (tmp_path / "sub").mkdir()
    with pytest.raises(RecipeError, match=r"b\.yaml:2: extends: .* leads back to a recipe that extends it"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extends: none.yaml", r"r\.yaml:1: extends: there is no file 'none\.yaml'"),
        ("extends: [a]", r"r\.yaml:1: extends: expected the path of one recipe"),
        ("extends: ''", r"r\.yaml:1: extends: expected the path of one recipe"),
        ("extends: .", "cannot be read"),
    ],
)
def test_extends_of_nothing_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path / "r.yaml", line))


def test_a_chain_without_end_is_refused(tmp_path: Path) -> None:
    for n in range(400):
        (tmp_path / f"{n}.yaml").write_text(f"extends: {n + 1}.yaml\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="more than 16 recipes"):
        load_recipe(tmp_path / "0.yaml")


def test_relative_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    parent = {
        **GOOD,
        "catalog": "scenes/items.json",
        "catalogs": "own",
        "local_roots": ["pixels", "/abs"],
        "area": {"file": "aoi.gpkg"},
        "labels": {
            "a": {"file": "land.tif", "legend": "corine"},
            "b": {"file": "~/land.tif", "legend": "mine.yaml", "scene_labels": {"remap": "few.yaml"}},
            "c": {"collection": "corine", "catalog": "https://example.org/stac"},
            "d": {"collection": "corine", "catalog": "here"},
            "e": {"collection": "corine", "catalog": "nowhere"},
        },
    }
    write(tmp_path / "base" / "base.yaml", parent)
    (tmp_path / "base" / "here").mkdir()
    child = write(tmp_path / "sets" / "r.yaml", "extends: ../base/base.yaml\nlabels: {a: {legend: l.yaml}}\n")
    loaded = load_recipe(child)
    found = loaded.mapping
    assert found["catalog"] == "../base/scenes/items.json"
    assert found["catalogs"] == "../base/own"
    assert found["local_roots"] == ["../base/pixels", "/abs"]
    assert found["area"]["file"] == "../base/aoi.gpkg"
    assert found["labels"]["a"] == {"file": "../base/land.tif", "legend": "l.yaml"}
    assert found["labels"]["b"] == {
        "file": "~/land.tif",
        "legend": "../base/mine.yaml",
        "scene_labels": {"remap": "../base/few.yaml"},
    }
    assert [found["labels"][k]["catalog"] for k in "cde"] == [
        "https://example.org/stac",
        "../base/here",
        "nowhere",
    ]
    assert loaded.resolve(found["area"]["file"]).resolve() == tmp_path / "base" / "aoi.gpkg"


def test_a_chain_of_three_keeps_its_paths(tmp_path: Path) -> None:
    write(tmp_path / "a" / "a.yaml", {**GOOD, "area": {"geojson": "x.geojson"}})
    write(tmp_path / "b" / "b.yaml", "extends: ../a/a.yaml\n")
    loaded = load_recipe(write(tmp_path / "c" / "d" / "r.yaml", "extends: ../../b/b.yaml\n"))
    assert loaded.resolve(str(loaded.mapping["area"]["geojson"])).resolve() == tmp_path / "a" / "x.geojson"


# --- --set and --catalog


def test_set_comes_last_and_replaces(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", GOOD)
    child = write(tmp_path / "r.yaml", "extends: base.yaml\nchips: {size: 64}\n")
    loaded = load_recipe(
        child,
        sets=[
            "chips.size=256",
            "area={geojson: 'a=b.geojson'}",
            "imagery.s2.bands=[red, nir]",
            "imagery.s2.time=2021-06-01",
            "chips.resolution=null",
            "labels.corine.collection=corine",
            "catalog=elsewhere",
        ],
        catalog="http://127.0.0.1:1",
    )
    recipe = loaded.recipe
    assert (recipe.chips.size, recipe.chips.resolution) == (256, None)
    assert recipe.area is not None
    assert recipe.area.geojson == "a=b.geojson"
    assert recipe.imagery["s2"].bands == ("red", "nir")
    assert recipe.imagery["s2"].time == "2021-06-01"
    assert recipe.labels["corine"].collection == "corine"
    assert recipe.catalog == "elsewhere"


@pytest.mark.parametrize("text", ["chips.size", "=3", "a..b=3", ".a=3", "a.=3"])
def test_a_set_of_another_form_is_a_wrong_call(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"is not of the form a\.b=c"):
        load_recipe(write(tmp_path / "r.yaml", GOOD), sets=[text])


def test_a_set_that_is_not_yaml_names_itself(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--set a\.b: not YAML: "):
        load_recipe(write(tmp_path / "r.yaml", GOOD), sets=["a.b=["])


def test_a_set_comes_too_late_for_extends(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--set extends: .* before --set comes"):
        load_recipe(write(tmp_path / "r.yaml", GOOD), sets=["extends=other.yaml"])


def test_a_set_of_a_code_finds_the_whole_number(tmp_path: Path) -> None:
    labels = {"a": {"collection": "corine", "remap": {10: 1}}}
    path = write(tmp_path / "r.yaml", {**GOOD, "labels": labels})
    assert load_recipe(path, sets=["labels.a.remap.10=2"]).recipe.labels["a"].remap == {10: 2}


def test_catalog_replaces_the_top_one_only(tmp_path: Path) -> None:
    labels = {"a": {"collection": "corine", "catalog": "planetary-computer"}}
    path = write(tmp_path / "r.yaml", {**GOOD, "labels": labels})
    loaded = load_recipe(path, catalog="http://127.0.0.1:9")
    assert loaded.catalog_of("s2") == "http://127.0.0.1:9"
    assert loaded.catalog_of("a") == "planetary-computer"


def test_a_catalog_named_on_the_command_line_is_relative_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "recipes" / "r.yaml", GOOD)
    here = tmp_path / "here"
    write(here / "items.json", "{}")
    monkeypatch.chdir(here)
    loaded = load_recipe(path, catalog="items.json")
    assert loaded.resolve(loaded.catalog_of("s2")).resolve() == here / "items.json"
    assert load_recipe(path, catalog="earth-search").catalog_of("s2") == "earth-search"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["x", "y z"])
    | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
TREES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def plain(tree: dict[str, Any]) -> Document:
    return Document(tree, {(): "x:1"})


def naive_merge(old: Any, new: Any) -> Any:
    """The rule of `extends`, said once more."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    kept = {k: v for k, v in old.items() if k not in new}
    inherited = {k for k, v in new.items() if v is None and k in old}
    return kept | {k: naive_merge(old.get(k), v) for k, v in new.items() if k not in inherited}


@given(TREES, TREES)
def test_merge_follows_its_rule_and_leaves_its_inputs(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy((old, new))
    assert merge(plain(old), plain(new)).mapping == naive_merge(old, new)
    assert (old, new) == before
    assert merge(plain(old), plain({})).mapping == old
    assert merge(plain({}), plain(new)).mapping == new


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["split.seed", "chips.size", "imagery.s2.max_candidates", "output.samples_per_shard"]),
    st.integers(1, 60000),
)
def test_set_is_what_writing_it_would_be(
    tmp_path_factory: pytest.TempPathFactory, dotted: str, value: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    written = copy.deepcopy(GOOD)
    inner = written
    *way, last = dotted.split(".")
    for key in way:
        inner = inner.setdefault(key, {})
    inner[last] = value
    by_set = load_recipe(write(folder / "set.yaml", GOOD), sets=[f"{dotted}={value}"])
    by_hand = load_recipe(write(folder / "hand.yaml", written))
    assert by_set.mapping == by_hand.mapping
    assert by_set.digest == by_hand.digest != load_recipe(folder / "set.yaml").digest


# --- what a loaded recipe knows


def test_the_digest_follows_the_recipe_and_the_area_file(tmp_path: Path) -> None:
    first = load(tmp_path, area={"geojson": "aoi.geojson"})
    missing = first.digest
    (tmp_path / "aoi.geojson").write_text("{}")
    there = first.digest
    (tmp_path / "aoi.geojson").write_text("{ }")
    changed = first.digest
    assert len({missing, there, changed}) == 3
    assert load(tmp_path, area={"geojson": "aoi.geojson"}).digest == changed
    assert load(tmp_path, area={"geojson": "aoi.geojson"}, title="t").digest != changed
    reordered = dict(reversed({**GOOD, "area": {"geojson": "aoi.geojson"}}.items()))
    assert load_recipe(write(tmp_path / "other.yaml", reordered)).digest == changed


def test_the_digest_sees_a_shapefile_whole(tmp_path: Path) -> None:
    (tmp_path / "aoi.shp").write_bytes(b"shapes")
    (tmp_path / "aoi.dbf").write_bytes(b"table")
    loaded = load(tmp_path, area={"file": "aoi.shp"})
    before = loaded.digest
    (tmp_path / "aoi.dbf").write_bytes(b"other")
    assert loaded.digest != before


def test_the_digest_sees_the_rasters_of_a_calendar(tmp_path: Path) -> None:
    select = {"method": "periods", "from": {"planting": "p.tif", "harvest": "h.tif"}}
    s2 = {"collection": "sentinel-2-l2a", "bands": ["blue"], "time": "2021", "select": select}
    loaded = load(tmp_path, imagery={"s2": s2})
    before = loaded.digest
    (tmp_path / "h.tif").write_bytes(b"days")
    assert loaded.digest != before


def test_the_digest_does_not_follow_secrets(tmp_path: Path) -> None:
    one, two = (load(tmp_path, catalog=f"https://u:{x}@h.org/?sig={x}&v=1").digest for x in "ab")
    assert one == two != load(tmp_path, catalog="https://h.org/?sig=a&v=1").digest


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://user:pw@h.org/stac", "https://***@h.org/stac"),
        ("https://h.org/?sv=1&sig=ab%2B&x=2", "https://h.org/?sv=1&sig=***&x=2"),
        (
            "https://h.org/?X-Amz-Signature=a&X-Amz-Date=b",
            "https://h.org/?X-Amz-Signature=***&X-Amz-Date=***",
        ),
        ("https://h.org/?access_token=a", "https://h.org/?access_token=***"),
        ("https://h.org/?subscription-key=a#f", "https://h.org/?subscription-key=***#f"),
        ("https://h.org/?design=a&tokens=3", "https://h.org/?design=a&tokens=3"),
        ("/vsicurl/https://h.org/a?token=x", "/vsicurl/https://h.org/a?token=***"),
        ("mail a@b.org?key=1", "mail a@b.org?key=1"),
    ],
)
def test_secrets_are_not_written_out(tmp_path: Path, url: str, said: str) -> None:
    loaded = load(tmp_path, catalog=url)
    assert yaml.safe_load(loaded.to_yaml())["catalog"] == said
    assert loaded.recipe.catalog == url


def test_yaml_comes_back_as_the_same_recipe(tmp_path: Path) -> None:
    tricky = ["off", "no", "1e5", "0o7", "2021-06-01", "1:30", "~", "null", "012", "=", "é: ü", "a\nb", " x "]
    tricky += ["\u2028", " a\u2029 b", "a\rb", "\ufeffa", "a\n\n b ", "\t", "'\"\u2028"]
    where = {f"p{i}": text for i, text in enumerate(tricky) if text[0] != "="}
    where |= {"many": [1, 1.5, True, "1"], "tiny": 1e-7, "large": 1e22}
    imagery = {"s2": {**GOOD["imagery"]["s2"], "where": where, "time": "2021-06-01"}}
    loaded = load(tmp_path, imagery=imagery, title="x" * 300)
    text = loaded.to_yaml()
    again = load_recipe(write(tmp_path / "again.yaml", text))
    assert again.mapping == loaded.mapping
    assert again.recipe == loaded.recipe
    assert again.to_yaml() == text
    assert yaml.safe_load(text)["imagery"]["s2"]["where"]["p0"] == "off", (
        "a YAML 1.1 reader sees the same text"
    )


def test_a_layer_s_catalog(tmp_path: Path) -> None:
    labels = {"a": {"file": "x.tif"}, "b": {"collection": "corine", "catalog": "own"}}
    imagery = {"s2": {**GOOD["imagery"]["s2"], "catalog": "mine"}}
    loaded = load_recipe(
        write(tmp_path / "r.yaml", {**GOOD, "labels": labels, "imagery": imagery}), sets=["catalog=null"]
    )
    assert [loaded.catalog_of(name) for name in ("s2", "a", "b")] == ["mine", "", "own"]
    with pytest.raises(RecipeError, match="unknown layer 's3'; did you mean 's2'"):
        loaded.catalog_of("s3")


def test_where_a_key_stands(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.where("imagery.s2.bands").endswith("r.yaml:16")
    assert loaded.where("imagery.s2.bands.0").endswith("r.yaml:17")
    assert loaded.where("imagery.s2.nothing").endswith("r.yaml:14")


def test_a_loaded_recipe_survives_the_way_to_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path / "r.yaml", {**GOOD, "catalogs": ["own"]}).parent)
    loaded = load_recipe("r.yaml")
    again = pickle.loads(pickle.dumps(loaded))  # noqa: S301 - our own bytes
    assert again == loaded
    assert again.digest == loaded.digest
    assert again.base == tmp_path
    assert again.catalogs == (tmp_path / "own",)
    with pytest.raises(AttributeError):
        again.path = tmp_path
