"""Reading raw STAC items of any version (0.6 to 1.1), whatever they leave out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from chipweave.catalog.hrefs import is_clean

Item = Mapping[str, Any]
"""A STAC item as parsed from JSON; nothing about it is trusted."""

MAX_ID = 256
"""Longest id that is accepted."""


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items_of(value: object) -> list[Any]:
    """The value if it is a JSON array, else an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def number(value: object) -> float | None:
    """A finite number, also from text such as ``"12.5"``; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(value: object) -> list[float]:
    """A list of finite numbers, empty where any entry is none."""
    found = [number(v) for v in items_of(value)]
    return [v for v in found if v is not None] if None not in found else []


def properties(item: Item) -> Mapping[str, Any]:
    """Properties of an item, empty where it has none."""
    return mapping(item.get("properties"))


def assets(item: Item) -> Mapping[str, Mapping[str, Any]]:
    """Assets with an href, by key."""
    found = mapping(item.get("assets"))
    return {
        str(key): asset
        for key, asset in found.items()
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and asset["href"]
    }


def item_id(item: Item) -> str:
    """Id of an item, empty where it has none."""
    found = item.get("id")
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def collection_of(item: Item) -> str:
    """Collection of an item by the catalog's own name; before STAC 0.8 it stood in the properties."""
    found = item.get("collection") or properties(item).get("collection") or properties(item).get("c:id")
    return found if isinstance(found, str) else ""


def defect(item: object) -> str:
    """Why something is no usable item; empty for a good one."""
    if not isinstance(item, Mapping):
        return "is no JSON object"
    ident = item_id(item)
    if not ident:
        return "has no id"
    if len(ident) > MAX_ID:
        return f"has an id of more than {MAX_ID} characters"
    if not is_clean(ident):
        return "has an id with control characters"
    if not assets(item):
        return "has no assets"
    return ""


def self_link(item: Item) -> str:
    """Href of the item's `self` link, or empty."""
    for link in links(item, "self"):
        return link
    return ""


def links(document: Item, rel: str) -> Iterator[str]:
    """Hrefs of all links of a relation; links of old catalogs may be a mapping by relation."""
    found = document.get("links")
    entries = found.values() if isinstance(found, Mapping) else items_of(found)
    for link in entries:
        if isinstance(link, Mapping) and link.get("rel") == rel and isinstance(link.get("href"), str):
            yield link["href"]


def moment(value: object) -> datetime | None:
    """A point in time, UTC; without an offset it is taken as UTC. None where it is no time."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def span(item: Item) -> tuple[datetime, datetime] | None:
    """First and last moment of an item, None where it states no time.

    `datetime` counts where it is set; where it is null, `start_datetime` and `end_datetime`.
    """
    p = properties(item)
    at = moment(p.get("datetime"))
    if at is not None:
        return at, at
    start, end = moment(p.get("start_datetime")), moment(p.get("end_datetime"))
    first, last = start or end, end or start
    if first is None or last is None:
        return None
    return first, max(first, last)
