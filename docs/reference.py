"""``make docs``: the pages that are made from code and catalogs.

`docs/recipe.md`, the reference of keys, comes from the JSON Schema of the models; `docs/sources.md`, the table of
collections, from `catalogs/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chipweave.catalog.collections import load_collection, offering_at
from chipweave.catalog.legends import load_legend
from chipweave.catalog.providers import all_providers
from chipweave.model import Collection
from chipweave.recipe import schema
from chipweave.recipe.base import NOT_BUILT
from chipweave.recipe.data import catalogs_root, listing

HEAD = """# Recipe reference

Made by `make docs` from the models; `chipweave schema` prints the JSON Schema. A key marked *later* is known and
checked, and refused by `plan` and `build` until its room is built.

| key | meaning | default |
|---|---|---|
"""

SOURCES_HEAD = """# Sources

Made by `make docs` from `catalogs/`. A recipe names a collection as it stands here, and bands by their common names,
whatever a catalog calls them. What providers ask for stands in [catalogs.md](catalogs.md). Any other raster serves as a
label: `{file:, legend:, date:}`.
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
    """The page of keys."""
    whole = schema()
    lines = [f"| `{k}` | {_cell(m)} | {d} |" for k, m, d in rows(whole, whole.get("$defs", {}))]
    return HEAD + "\n".join(lines) + "\n"


def sources() -> str:
    """The page of collections."""
    return SOURCES_HEAD + "".join(_section(load_collection(name)) for name in listing("collections"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _section(known: Collection) -> str:
    credit = known.credit
    facts = {
        "kind": known.kind,
        "in a sample": _stored(known),
        "no data in the source": "" if known.nodata is None else f"{known.nodata:g}",
        "clouds": _mask(known),
        "editions": ", ".join(map(str, known.editions)),
        "providers": _providers(known.name),
        "licence": f"[{credit.licence}]({credit.url})" if credit.url else credit.licence,
        "credit": credit.text,
        "cited as": credit.citation,
    }
    lines = [f"\n## `{known.name}`: {known.title}\n", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value]
    lines += ["", "| band | pixel of the source, m |", "|---|---|"]
    mask = known.mask.band if known.mask else ""
    lines += [f"| `{b.name}`{' (the mask)' if b.name == mask else ''} | {b.gsd:g} |" for b in known.bands]
    if known.legend:
        lines += ["", f"| code of `{known.legend}` | class |", "|---|---|"]
        classes = load_legend(known.legend, catalogs_root()).classes
        lines += [f"| {c.code} | {_cell(c.name)} |" for c in classes]
    return "\n".join(lines) + "\n"


def _stored(known: Collection) -> str:
    if known.kind == "label":
        return f"codes of the legend `{known.legend}`, `(y, x)`"
    rule = f"; the stored offset is taken off (rule `{known.offset_rule}`)" if known.offset_rule else ""
    return f"reflectance in steps of {known.scale:g}, int16, `(band, y, x)`{rule}"


def _mask(known: Collection) -> str:
    if known.mask is None:
        return ""
    bad, nodata = (", ".join(map(str, codes)) for codes in (known.mask.bad, known.mask.nodata))
    return f"bad where `{known.mask.band}` is {bad}; no data where it is {nodata}"


def _providers(name: str) -> str:
    """Who has it, and what they call it where that is another name."""
    found = []
    for provider in all_providers():
        if name in provider.collections:
            names = ", ".join(f"`{n}`" for n in offering_at(provider, name).name if n != name)
            found.append(f"`{provider.name}`" + (f" (as {names})" if names else ""))
    return ", ".join(found) or "none of those that ship: a catalog or a file of your own"


PAGES = {"recipe.md": text, "sources.md": sources}
"""What each page is made by."""

if __name__ == "__main__":
    for page, make in PAGES.items():
        Path(__file__).with_name(page).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"{page}: written\n")
