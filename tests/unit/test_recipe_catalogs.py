"""What ships beside the code: built-in recipes, folders of catalogs; and `new` and `check`, which use them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chipweave.errors import UsageError
from chipweave.recipe import builtin_recipes, catalogs_root, check, load_recipe, new, require_built, schema
from chipweave.recipe.data import find, listing

LABELS = {"a": {"collection": "corine", "catalog": "x"}, "b": {"file": "b.tif", "legend": "corine"}}
RECIPE: dict[str, Any] = {
    "version": 1,
    "catalog": "http://127.0.0.1:8080",
    "catalogs": ["."],
    "area": {"file": "a.gpkg"},
    "chips": {"size": 128},
    "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["blue"], "catalog": "x.json"}},
    "labels": LABELS,
}


def load(tmp_path: Path, mapping: dict[str, Any] | str, sets: tuple[str, ...] = ()) -> Any:
    path = tmp_path / "r.yaml"
    path.write_text(
        mapping if isinstance(mapping, str) else yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8"
    )
    return load_recipe(path, sets=sets)


def test_built_in_recipes_are_built_and_valid() -> None:
    found = builtin_recipes()
    assert {"demo", "landcover"} <= set(found)
    for path in found.values():
        loaded = load_recipe(path)
        require_built(loaded)
        assert loaded.recipe.name == path.stem
        jsonschema.Draft202012Validator(schema()).validate(loaded.mapping)


def test_catalogs_are_found_installed_and_in_a_checkout(tmp_path: Path) -> None:
    assert catalogs_root() == Path(__file__).parents[2] / "catalogs"
    package = tmp_path / "site" / "chipweave"
    (package / "recipe").mkdir(parents=True)
    (package / "_catalogs").mkdir()
    import chipweave.recipe.data as module

    copied = package / "recipe" / "data.py"
    copied.write_text(Path(module.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("installed_data", copied)
    assert spec is not None
    assert spec.loader is not None
    installed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert installed.catalogs_root() == package / "_catalogs"


def test_folders_of_the_user_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in (("env", ["demo", "mine"]), ("own", ["mine"])):
        (tmp_path / folder / "recipes").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "recipes" / f"{name}.yaml").touch()
    monkeypatch.setenv("CHIPWEAVE_CATALOGS", f"{tmp_path / 'nowhere'}:{tmp_path / 'env'}")
    own = [tmp_path / "own"]
    assert find("recipes", "mine", own) == tmp_path / "own" / "recipes" / "mine.yaml"
    assert find("recipes", "mine") == tmp_path / "env" / "recipes" / "mine.yaml"
    assert find("recipes", "demo", own) == tmp_path / "env" / "recipes" / "demo.yaml"
    assert find("recipes", "landcover", own) == catalogs_root() / "recipes" / "landcover.yaml"
    assert listing("recipes", own)["mine"] == tmp_path / "own" / "recipes" / "mine.yaml"
    assert list(listing("recipes", own)) == sorted(listing("recipes", own))
    assert builtin_recipes()["demo"] == catalogs_root() / "recipes" / "demo.yaml"


@pytest.mark.parametrize("name", ["", "../recipes/demo", "/etc/passwd", "a/b", ".demo", "x" * 300, "none"])
def test_a_name_that_is_no_name_is_not_found(name: str) -> None:
    assert find("recipes", name) is None


@pytest.mark.parametrize("like", ["landcover", "demo"])
def test_new_writes_a_recipe_to_begin_with(tmp_path: Path, like: str) -> None:
    path = new("my-2021", like, tmp_path / "sub")
    assert path == tmp_path / "sub" / "my-2021.yaml"
    loaded = load_recipe(path)
    assert loaded.recipe.name == "my-2021"
    require_built(loaded)
    text = path.read_text(encoding="utf-8")
    assert "$schema" not in text
    assert text.count("#") >= 2
    with pytest.raises(UsageError, match="is there already"):
        new("my-2021", like, tmp_path / "sub")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["2021", "true", "no", "-a", "1e5", "0x1"])
def test_a_name_that_yaml_would_read_otherwise_is_quoted(tmp_path: Path, name: str) -> None:
    assert load_recipe(new(name, "demo", tmp_path)).recipe.name == name


@pytest.mark.parametrize(("name", "like"), [("a/b", "demo"), ("", "demo"), ("é", "demo"), ("ok", "dmo")])
def test_new_refuses(tmp_path: Path, name: str, like: str) -> None:
    with pytest.raises(UsageError):
        new(name, like, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_new_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no built-in recipe 'lndcover'; did you mean 'landcover'"):
        new("a", "lndcover", tmp_path)


def test_check_warns_of_missing_files_and_unbuilt_keys_only(tmp_path: Path) -> None:
    sets = ("catalog=earth-serch", "output.previews=true", "labels.b.legend=corin")
    warnings = check(load(tmp_path, RECIPE, sets))
    said = [w.replace(f"{tmp_path}/", "").split(": ", 1)[1] for w in warnings]
    assert {"area.file: there is no file 'a.gpkg'", "labels.b.file: there is no file 'b.tif'"} < set(said)
    assert any(s.startswith("catalog: there is no file 'earth-serch'") for s in said)
    assert any(s.startswith("labels.b.legend: there is no file 'corin'") for s in said)
    assert "output.previews: known, but not built yet" in said
    for name in ("a.gpkg", "b.tif", "x.json", "x", "earth-serch", "corin"):
        (tmp_path / name).write_text("{}")
    assert len(check(load(tmp_path, RECIPE, sets))) == 1


def test_check_knows_the_names_of_the_users_folders(tmp_path: Path) -> None:
    (tmp_path / "own" / "providers").mkdir(parents=True)
    (tmp_path / "own" / "providers" / "mine.yaml").touch()
    loaded = load(
        tmp_path,
        {**RECIPE, "labels": {}},
        ("catalogs=own", "imagery.s2.catalog=mine", "area={bbox: [0, 0, 1, 1]}"),
    )
    assert [w for w in check(loaded) if "file" in w] == []
