"""From the items of a world on disk to what a STAC API serves. Light: the servers' process imports it."""

from __future__ import annotations

from typing import Any, Final

Item = dict[str, Any]

SENTINEL, RADAR, AERIAL = "sentinel-2-l2a", "sentinel-1-rtc", "naip"
WORLDCOVER, CORINE = "esa-worldcover", "corine"
_TITLES: Final = {
    SENTINEL: "Sentinel-2 Level-2A of a synthetic Earth",
    RADAR: "Sentinel-1 terrain-corrected backscatter of a synthetic Earth",
    AERIAL: "Aerial pictures of a synthetic Earth",
    WORLDCOVER: "WorldCover of a synthetic Earth",
    CORINE: "CORINE Land Cover of a synthetic Earth",
}


def with_base(item: Item, base: str) -> Item:
    """The item with assets below `base`, an address without a slash at its end."""
    assets = {
        key: a | {"href": f"{base}/{a['href'].removeprefix('./')}"} for key, a in item["assets"].items()
    }
    return item | {"assets": assets}


def collections(items: list[Item]) -> list[dict[str, Any]]:
    """A STAC collection for each that the items name."""
    return [_collection(name, [i for i in items if i["collection"] == name]) for name in _TITLES]


def _collection(name: str, items: list[Item]) -> dict[str, Any]:
    west, south, east, north = zip(*(item["bbox"] for item in items), strict=True)
    times = [item["properties"] for item in items]
    start = min(p["datetime"] or p["start_datetime"] for p in times)
    end = max(p["datetime"] or p["end_datetime"] for p in times)
    bbox = [min(west), min(south), max(east), max(north)]
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "title": _TITLES[name],
        "description": f"{_TITLES[name]}, made by the chipweave demo: no real place looks like this.",
        "license": "CC0-1.0", "links": [],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[start, end]]}},
    }  # fmt: skip
