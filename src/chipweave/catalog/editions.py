"""Which edition of a label product an item belongs to, and which one a layer takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from chipweave.catalog.stac import Item, item_id, moment, number, properties, span
from chipweave.errors import RecipeError
from chipweave.model import Collection

_CLC = re.compile(r"clc[_-]?((?:19|20)\d\d)(?!\d)", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_NAMES: Final = ("edition", "version")


def edition_of(item: Item, collection: Collection) -> int | None:
    """Edition of an item as a year: a property, a known year in its id, one in its time span, its year.

    None where the item tells nothing of it.
    """
    p = properties(item)
    for key in (collection.edition_property, *_NAMES):
        found = _stated(p.get(key) if key else None, collection, strict=key != collection.edition_property)
        if found is not None:
            return found
    return _in_id(item_id(item), collection) or _in_time(item, collection)


def _stated(value: object, collection: Collection, *, strict: bool) -> int | None:
    """Edition that a property names; one of a general name counts only where it is a known edition."""
    if value is None or isinstance(value, bool):
        return None
    text = str(value).strip()
    named = collection.edition_values.get(text, collection.edition_values.get(text.lower()))
    if named is not None:
        return named
    year = number(text)
    if year is not None and year.is_integer() and 1900 <= year <= 2200:
        return int(year) if not strict or int(year) in collection.editions else None
    return None


def _in_id(ident: str, collection: Collection) -> int | None:
    # U2018_CLC2012_V2020: updated in 2018, published in 2020, and the edition is 2012.
    named = {int(y) for y in _CLC.findall(ident)} or {int(y) for y in _YEAR.findall(ident)}
    known = named & set(collection.editions)
    return known.pop() if len(known) == 1 else None


def _in_time(item: Item, collection: Collection) -> int | None:
    p = properties(item)
    ends = moment(p.get("start_datetime")), moment(p.get("end_datetime"))
    at = span(item)
    if at is None:
        return None
    first, last = (ends[0] or at[0]).year, (ends[1] or at[1]).year
    inside = [year for year in collection.editions if first <= year <= last]
    if len(inside) == 1:
        return inside[0]
    return at[0].year


def chosen_edition(layer: str, asked: int | None, found: Iterable[int | None]) -> int | None:
    """Edition that a layer takes: the one asked for, else the only one there is.

    Raises
    ------
    RecipeError
        More than one was found and none was asked for; the message lists them.
    """
    if asked is not None:
        return asked
    years = sorted({year for year in found if year is not None})
    if len(years) > 1:
        listed = ", ".join(map(str, years))
        raise RecipeError(
            f"labels.{layer}: the catalog has the editions {listed}; the recipe does not say which",
            hint=f"set labels.{layer}.edition to one of {listed}",
        )
    return years[0] if years else None
