"""The rules of the house (CONTRIBUTING): arrows between rooms point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "chipweave"
ORDER = (
    "errors", "model", "files", "progress", "plain", "recipe", "catalog", "pixels", "labels", "plan", "shards", "weave",
    "describe", "audit", "splits", "stores", "executor", "run", "demo", "console", "cli_tables", "cli_verify", "cli",
    "__main__",
)  # fmt: skip
IO_LIBRARIES = {
    "rasterio", "pyarrow", "zarr", "geopandas", "pyogrio", "pystac_client", "rustac", "xarray", "dask", "distributed",
    "prefect", "obstore", "yaml", "httpx", "requests", "socket", "urllib", "os", "pathlib", "json",
}  # fmt: skip
MODULES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module == "chipweave":
                yield from (f"chipweave.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_those_on_its_left_only(path: Path) -> None:
    own = room(path)
    if own == "__init__":
        return  # the public face names all rooms, and imports none before it is asked
    assert own in ORDER, f"{own} is no room of the design"
    for name in imports(path):
        if name.startswith("chipweave."):
            other = name.split(".")[1]
            if other.startswith("__version"):
                continue
            assert ORDER.index(other) <= ORDER.index(own), (
                f"{path.name} imports {name}, which is on its right"
            )
            if own in {"errors", "model"}:
                assert other == own, f"{own} imports {name}"


@pytest.mark.parametrize("name", ["errors", "model"])
def test_the_nouns_do_no_io(name: str) -> None:
    found = {i.split(".")[0] for i in imports(SOURCE / f"{name}.py")}
    assert not found & IO_LIBRARIES


@pytest.mark.parametrize(("library", "where"), [("distributed", "executor"), ("prefect", "flows")])
def test_schedulers_stay_in_their_room(library: str, where: str) -> None:
    users = {room(p) for p in MODULES if any(i.split(".")[0] == library for i in imports(p))}
    assert users <= {where}
