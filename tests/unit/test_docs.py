"""Documents that are made from code, or that name it, say what is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from chipweave.cli import app
from chipweave.plan.select.registry import METHODS
from chipweave.recipe import load_recipe, require_built

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """`docs/reference.py`, which is in no package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["recipe.md", "sources.md"])
def test_pages_that_are_made_from_code_are_so(made: ModuleType, page: str) -> None:
    assert set(made.PAGES) == {"recipe.md", "sources.md"}
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made.PAGES[page](), "run `make docs`"


def test_the_overview_in_the_readme_is_made_from_code(made: ModuleType) -> None:
    assert made.with_overview(README) == README, "run `make docs`"
    for name in (p.stem for p in (ROOT / "catalogs" / "collections").glob("*.yaml")):
        assert f"| `{name}` |" in README
    for method in METHODS:
        assert re.search(rf"^\| `{method}` \| \w", README, re.MULTILINE)


def test_the_reference_has_keys_of_every_depth() -> None:
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    for key in ("imagery.<name>.select.min_gap", "labels.<name>.collection", "split.buffer_m"):
        assert f"| `{key}` |" in text


def test_the_sources_are_all_there_with_bands_and_classes() -> None:
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    names = re.findall(r"^## `(.*?)`", text, re.MULTILINE)
    assert names == sorted(p.stem for p in (ROOT / "catalogs" / "collections").glob("*.yaml"))
    sentinel = text[text.index("## `sentinel-2-l2a`") :]
    assert "| `rededge1` | 20 |" in sentinel
    assert "| `scl` (the mask) | 20 |" in sentinel
    assert "`deafrica` (as `s2_l2a`, `s2_l2a_c1`), `earth-search`" in sentinel
    assert "[CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/)" in text
    assert "| 95 | Mangroves |" in text


def test_the_recipe_in_the_readme_is_one(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert text is not None
    path = tmp_path / "alps.yaml"
    path.write_text(text[1], encoding="utf-8")
    require_built(load_recipe(path))


@pytest.mark.parametrize("line", re.findall(r"^chipweave (\w+)", README, re.MULTILINE))
def test_commands_in_the_readme_exist(line: str) -> None:
    assert CliRunner().invoke(app, [line, "--help"]).exit_code == 0


@pytest.mark.parametrize("page", sorted(p.name for p in PAGES))
def test_files_that_pages_name_are_there(page: str) -> None:
    path = next(p for p in PAGES if p.name == page)
    for name in re.findall(r"\]\(([\w./-]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / name).is_file(), name


def test_the_readme_is_short_and_leads_on() -> None:
    assert "make demo" in README
    assert "make test" in README
    assert {"docs/tutorial.md", "docs/concepts.md"} <= set(re.findall(r"\]\(([\w./-]+)\)", README))
    assert len(README.splitlines()) < 200
