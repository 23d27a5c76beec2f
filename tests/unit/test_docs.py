"""Documents that are made from code, or that name it, say what is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chipweave.cli import app
from chipweave.recipe import load_recipe, require_built

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_keys_is_the_models() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert text == module.text(), "run `make docs`"
    for key in ("imagery.<name>.select.min_gap", "labels.<name>.collection", "split.buffer_m"):
        assert f"| `{key}` |" in text


def test_the_recipe_in_the_readme_is_one(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert text is not None
    path = tmp_path / "alps.yaml"
    path.write_text(text[1], encoding="utf-8")
    require_built(load_recipe(path))


@pytest.mark.parametrize("line", re.findall(r"^chipweave (\w+)", README, re.MULTILINE))
def test_commands_in_the_readme_exist(line: str) -> None:
    assert CliRunner().invoke(app, [line, "--help"]).exit_code == 0


def test_files_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / name).is_file(), name
    assert "make demo" in README
    assert "make test" in README
