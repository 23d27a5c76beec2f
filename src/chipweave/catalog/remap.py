"""What the classes of one legend become in another: tables of legend files, and codes as a recipe writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from chipweave.catalog.documents import Entry, held_to
from chipweave.catalog.legends import legend_path, load_legend
from chipweave.errors import RecipeError
from chipweave.model import Legend, LegendClass
from chipweave.recipe.document import Document, read_document

UNLABELED: Final = 254
"""Code of a class that is none in the legend it is mapped to; of 16 bits: 65534."""

NOTHING: Final = 255
"""Code of no data in a layer whose codes are mapped; of 16 bits: 65535."""


@dataclass(frozen=True, slots=True)
class Remap:
    """From the classes of one legend to those of another.

    Parameters
    ----------
    legend
        Of what they become.
    table
        (code, what it becomes) for every class that becomes one, or no data, in the order of codes; the others become
        `legend.unlabeled`.
    unlisted
        Classes of which nobody says what they become: they are unlabeled too.
    """

    legend: Legend
    table: tuple[tuple[int, int], ...]
    unlisted: tuple[int, ...] = ()


class _Table(Entry):
    from_: str = Field(alias="from", min_length=1)
    table: dict[int, int] = Field(min_length=1)
    unlabeled: tuple[int, ...] = ()


def remap_of(
    wish: str | Mapping[int, int], source: Legend, layer: str, base: Path, extra: Sequence[Path] = ()
) -> Remap:
    """What a recipe's `remap` asks for.

    Parameters
    ----------
    wish
        A legend, by name or path, whose file says what becomes of the classes of others; or codes to codes.
    source
        Legend of the classes that are mapped.
    layer
        Name of the label layer, which is the name of the legend where codes are mapped to codes.
    base, extra
        As of `load_legend`.

    Raises
    ------
    RecipeError
        No such legend, one that knows nothing of the source's, a table that leaves a class out or has one that the
        source has not, or a code that cannot be written.
    """
    if not isinstance(wish, str):
        return _of_codes(wish, source, layer)
    legend = load_legend(wish, base, extra)
    if legend.name == source.name:
        return Remap(legend, tuple((c, c) for c in source.codes))
    path = legend_path(wish, base, extra)
    tables = _tables(read_document(path))
    own = next((t for t in tables if t.from_ == source.name), None)
    if own is None:
        known = ", ".join(sorted(t.from_ for t in tables))
        raise RecipeError(
            f"{path}: legend {legend.name} does not say what becomes of the classes of {source.name}",
            hint=f"it maps those of {known}"
            if known
            else "map codes to codes, or take a legend that has a table",
        )
    _complete(own, source, legend, path)
    return Remap(legend, tuple(sorted(own.table.items())))


def _tables(document: Document) -> list[_Table]:
    """Tables of a legend file: one mapping, or a list of them."""
    held = document.mapping.get("remap")
    if isinstance(held, list):
        return [held_to(document, one, _Table, ("remap", n)) for n, one in enumerate(held)]
    return [] if held is None else [held_to(document, held, _Table, ("remap",))]


def _complete(own: _Table, source: Legend, legend: Legend, path: Path) -> None:
    """Refuse a table that does not speak of every class, or of others."""
    listed = [*own.table, *own.unlabeled]
    wrong = {
        "leaves out the classes": set(source.codes) - set(listed),
        "has codes that are no classes:": set(listed) - set(source.codes),
        "has twice the classes": {c for c in own.unlabeled if c in own.table},
        "maps to codes that are no classes:": set(own.table.values()) - set(legend.codes),
    }
    for what, codes in wrong.items():
        if codes:
            text = ", ".join(map(str, sorted(codes)))
            raise RecipeError(f"{path}: remap from {source.name} {what} {text}")
    if own.unlabeled and legend.unlabeled is None:
        raise RecipeError(f"{path}: remap from {source.name}: the legend has no code `unlabeled`")


def _of_codes(wish: Mapping[int, int], source: Legend, layer: str) -> Remap:
    """Codes to codes; 254 is unlabeled and 255 no data, or the two largest of 16 bits where classes need those."""
    where = f"labels.{layer}.remap"
    strange = sorted(set(wish) - set(source.codes))
    if strange:
        raise RecipeError(
            f"{where}: {strange[0]} is no class of {source.name}",
            hint=f"its classes are {', '.join(map(str, source.codes))}",
        )
    wrong = next((c for c in wish.values() if not 0 <= c <= 65535), None)
    if wrong is not None:
        raise RecipeError(f"{where}: {wrong}: codes are 0 to 65535")
    wide = max(wish.values(), default=0) > NOTHING
    unlabeled, nothing = (65534, 65535) if wide else (UNLABELED, NOTHING)
    table = {c: to for c, to in wish.items() if to != unlabeled}
    classes = tuple(
        _class(to, [c for c in source.classes if table.get(c.code) == to])
        for to in sorted(set(table.values()) - {nothing})
    )
    if not classes:
        raise RecipeError(f"{where}: no class becomes one")
    legend = Legend(layer, classes, nothing, "uint16" if wide else "uint8", unlabeled)
    return Remap(legend, tuple(sorted(table.items())), tuple(c for c in source.codes if c not in wish))


def _class(code: int, members: Sequence[LegendClass]) -> LegendClass:
    """Class that some become: named after them, in the colour of the first."""
    return LegendClass(code, " / ".join(c.name for c in members), members[0].colour)
