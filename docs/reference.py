"""``make docs``: the pages that are made from code and catalogs.

`docs/recipe.md`, the reference of keys, comes from the JSON Schema of the models; `docs/sources.md`, the table of
collections, from `catalogs/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chipweave.catalog.collections import load_collection, offered_by, refusal_of
from chipweave.catalog.legends import load_legend
from chipweave.catalog.providers import UNKNOWN, all_providers
from chipweave.model import Collection
from chipweave.plan.select import registry
from chipweave.plan.values import value_rule
from chipweave.recipe import schema
from chipweave.recipe.base import NOT_BUILT
from chipweave.recipe.data import catalogs_root, listing

HEAD = """# Recipe reference

Made by `make docs` from the models; `chipweave schema` prints the JSON Schema. A key marked *later* is known and
checked, and refused by `plan` and `build` until its room is built.

| key | meaning | default |
|---|---|---|
"""

OFFSETS = {
    "sentinel-2": "the stored offset is taken off, as the provider's rule has it",
    "landsat-toa": "the sun is brought overhead by its stated elevation",
    "stated": "scale and offset are those that each file or item states",
}
"""What each rule for stored values does."""

SOURCES_HEAD = """# Sources

Made by `make docs` from `catalogs/`. A recipe names a collection as it stands here, and bands by their common names,
whatever a catalog calls them. What providers ask for stands in [catalogs.md](catalogs.md), as does `local`: imagery in
files of your own. Any other raster serves as a label: `{file:, legend:, date:}`.
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
    names = list(listing("collections"))
    return SOURCES_HEAD + _who(names) + "".join(_section(load_collection(name)) for name in names)


def _who(names: list[str]) -> str:
    """Table of collections by provider."""
    providers = [p.name for p in all_providers()]
    lines = [f"| | {' | '.join(f'`{p}`' for p in providers)} |", f"|---|{':-:|' * len(providers)}"]
    for name in names:
        having = offered_by(name)
        read = refusal_of(UNKNOWN, name) is None
        cells = " | ".join(("yes" if read else "refused") if p in having else "" for p in providers)
        lines.append(f"| `{name}` | {cells} |")
    return "\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _section(known: Collection) -> str:
    credit = known.credit
    refusal = refusal_of(UNKNOWN, known.name)
    facts = {
        "kind": known.kind,
        "not read": f"{refusal[0]}; take {refusal[1]}" if refusal else "",
        "time": "of no date: a layer's time chooses nothing" if known.static else "",
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
        if not known.legend:
            return f"float32, {known.unit}; no data NaN, `(y, x)`"
        return f"codes of the legend `{known.legend}`, `(y, x)`"
    rule = f"; {OFFSETS[known.offset_rule]}" if known.offset_rule else ""
    mask = known.mask.band if known.mask else ""
    kinds: dict[str, list[str]] = {}
    for band in known.bands:
        if band.name != mask:
            values = value_rule("", known, [band.name], "native")
            step = f" in steps of {values.scale:g}" if values.dtype == "int16" else ""
            kinds.setdefault(f"{values.unit}{step}, {values.dtype}", []).append(f"`{band.name}`")
    said = [f"{text} ({', '.join(names)})" if len(kinds) > 1 else text for text, names in kinds.items()]
    measured = f"; {known.backscatter}" if known.backscatter else ""
    return f"{'; '.join(said)}, `(band, y, x)`{rule}{measured}"


def _mask(known: Collection) -> str:
    if known.mask is None:
        return ""
    rule = known.mask
    bad, nodata = (", ".join(map(str, codes)) for codes in (rule.bad, rule.nodata))
    if not rule.bits:
        return f"bad where `{rule.band}` is {bad}; no data where it is {nodata}"
    empty = [f"bit {nodata} is set"] if nodata else []
    empty += [] if rule.fill is None else [f"it is {rule.fill}"]
    return f"bad where `{rule.band}` has bit {bad} set; no data where {' or '.join(empty)}"


def _providers(name: str) -> str:
    """Who has it, and what they call it where that is another name."""
    found = []
    for provider, offering in offered_by(name).items():
        names = ", ".join(f"`{n}`" for n in offering.name if n != name)
        found.append(f"`{provider}`" + (f" (as {names})" if names else ""))
    return ", ".join(found) or "none of those that ship: a catalog or a file of your own"


def overview() -> str:
    """Tables of collections and of ways in time, for the README."""
    lines = ["| collection | what | at |", "|---|---|---|"]
    for name in listing("collections"):
        known = load_collection(name)
        refusal = refusal_of(UNKNOWN, name)
        having = (
            "refused: no place on a map that is to be believed" if refusal else ", ".join(offered_by(name))
        )
        lines.append(f"| `{name}` | {_cell(known.title)} | {having or 'a catalog or file of your own'} |")
    lines.append("| `local` | GeoTIFFs and JPEG 2000s of your own: a folder, a list, a table with dates | |")
    lines += ["", "| `select.method` | a chip takes |", "|---|---|"]
    for method in registry.METHODS:
        rule = getattr(registry, "".join(word.title() for word in method.split("_")))
        lines.append(f"| `{method}` | {_cell((rule.__doc__ or '').partition(chr(10))[0].rstrip('.'))} |")
    return "\n".join(lines) + "\n"


def with_overview(page: str) -> str:
    """A page with its overview made anew, between the marks."""
    first, mark, rest = page.partition(OVERVIEW[0])
    _, end, last = rest.partition(OVERVIEW[1])
    if not mark or not end:
        raise ValueError("the marks of the overview are missing")
    return f"{first}{mark}\n{overview()}{end}{last}"


PAGES = {"recipe.md": text, "sources.md": sources}
"""What each page is made by."""

OVERVIEW = ("<!-- overview: made by `make docs` -->", "<!-- end of overview -->")
"""Marks around the README's overview."""

README = Path(__file__).parents[1] / "README.md"

if __name__ == "__main__":
    for page, make in PAGES.items():
        Path(__file__).with_name(page).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"{page}: written\n")
    README.write_text(with_overview(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("README.md: written\n")
