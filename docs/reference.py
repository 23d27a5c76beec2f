"""``make docs``: the reference of recipe keys, `docs/recipe.md`, from the JSON Schema of the models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chipweave.recipe import schema
from chipweave.recipe.base import NOT_BUILT

TARGET = Path(__file__).with_name("recipe.md")
HEAD = """# Recipe reference

Made by `make docs` from the models; `chipweave schema` prints the JSON Schema. A key marked *later* is known and
checked, and refused by `plan` and `build` until its room is built.

| key | meaning | default |
|---|---|---|
"""


def rows(
    node: dict[str, Any], definitions: dict[str, Any], path: str = "", *, above: bool = False
) -> Iterator[tuple[str, str, str]]:
    """(key, meaning, default) of every key below a schema node, depth first; `above`: one over it is built later."""
    for name, child in node.get("properties", {}).items():
        key = f"{path}.{name}" if path else name
        target, repeated = _target(child, definitions)
        waits = above or child.get(NOT_BUILT) is True
        later = " *later*" if waits else ""
        default = child.get("default")
        yield (
            f"{key}.<name>" if repeated else key,
            f"{child.get('description', '')}{later}",
            _default(default),
        )
        if target is not None:
            yield from rows(target, definitions, f"{key}.<name>" if repeated else key, above=waits)


def _target(child: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The mapping that a key holds, and whether it is one a name."""
    options = [child, *child.get("anyOf", []), *child.get("oneOf", []), *child.get("allOf", [])]
    for option in options:
        if "$ref" in option:
            return definitions[option["$ref"].rsplit("/", 1)[1]], False
        for inner in (option.get("additionalProperties"), *option.get("patternProperties", {}).values()):
            if isinstance(inner, dict) and "$ref" in inner:
                return definitions[inner["$ref"].rsplit("/", 1)[1]], True
    return None, False


def _default(value: Any) -> str:
    return "" if value in (None, {}, []) else f"`{value}`"


def text() -> str:
    """The whole page."""
    whole = schema()
    lines = [
        f"| `{k}` | {m.replace('|', chr(92) + '|')} | {d} |"
        for k, m, d in rows(whole, whole.get("$defs", {}))
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: written\n")
