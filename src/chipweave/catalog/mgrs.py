"""Tiles of the military grid, by which Sentinel-2 is cut: which one an item names, its zone, and its square."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import pyproj

from chipweave.catalog.stac import Item, number, properties

SIDE: Final = 109_800.0
"""Metres of a Sentinel-2 tile's side: its 100 km square, and what it shares with the next ones."""

SQUARE: Final = 100_000.0
"""Metres of a square's side."""

_PIXEL: Final = 40.0

_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without I and O, which look like numbers."""

_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"
_TILE = re.compile(r"(?:^|[^A-Za-z0-9]|T)(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z][A-HJ-NP-V])(?![A-Za-z])")


def tile_of(item: Item) -> str:
    """Tile that an item names, such as ``32TMT`` or, where its square is not told, ``32T``; else empty."""
    p = properties(item)
    zone = number(p.get("mgrs:utm_zone") or p.get("sentinel:utm_zone"))
    letter = p.get("mgrs:latitude_band") or p.get("sentinel:latitude_band")
    square = p.get("mgrs:grid_square") or p.get("sentinel:grid_square")
    if zone is None or not isinstance(letter, str) or len(letter) != 1:
        texts = (p.get("s2:mgrs_tile"), p.get("grid:code"), item.get("id"), p.get("s2:product_uri"))
        found = next((m for t in texts if isinstance(t, str) and (m := _TILE.search(t))), None)
        if found is None:
            return ""
        zone, letter, square = float(found.group(1)), found.group(2), found.group(3)
    if not 1 <= zone <= 60 or letter.upper() not in _BANDS:
        return ""
    known = isinstance(square, str) and re.fullmatch("[A-HJ-NP-Z][A-HJ-NP-V]", square)
    return f"{int(zone):02d}{letter.upper()}{square if known else ''}"


def mgrs_crs(item: Item) -> str:
    """UTM zone of the tile that an item names, as ``EPSG:326zz`` or ``EPSG:327zz``; else empty."""
    tile = tile_of(item)
    return f"EPSG:{(32600 if tile[2] >= 'N' else 32700) + int(tile[:2])}" if tile else ""


def tile_corners(tile: str) -> tuple[tuple[float, float], ...]:
    """Corners of a Sentinel-2 tile in its zone, to about 60 m; empty where the square is not told or not there.

    The square's letters count 100 km columns, three sets of eight from zone to zone, and rows of 100 km, which
    begin anew every 2000 km and at F in even zones (STANAG 2211, NGA.STND.0037).
    """
    if len(tile) != 5:
        return ()
    zone = int(tile[:2])
    column = _LETTERS.index(tile[3]) - (zone - 1) % 3 * 8
    if not 0 <= column < 8:
        return ()
    row = (_LETTERS.index(tile[4]) - (0 if zone % 2 else 5)) % 20
    first = _first_northing(zone, tile[2])
    x, y = (column + 1) * SQUARE, row * SQUARE
    while y + SQUARE <= first:
        y += 2_000_000.0
    # A tile begins at its square's upper left corner, give or take a pixel of 60 m.
    left, top = x - _PIXEL, y + SQUARE + _PIXEL
    return ((left, top), (left + SIDE, top), (left + SIDE, top - SIDE), (left, top - SIDE))


def square_of(name: str) -> tuple[str, tuple[tuple[float, float], ...]] | None:
    """CRS and corners of a square of 100 km, such as ``29TNE``; None where there is none of that name.

    A square ends where its zone does; these corners go on beyond, as its Sentinel-2 tile does.
    """
    match = re.fullmatch(r"(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z][A-HJ-NP-V])", name)
    if match is None or not 1 <= int(match.group(1)) <= 60:
        return None
    tile = f"{int(match.group(1)):02d}{match.group(2)}{match.group(3)}"
    corners = tile_corners(tile)
    if not corners:
        return None
    left, top = corners[0][0] + _PIXEL, corners[0][1] - _PIXEL
    crs = f"EPSG:{(32600 if tile[2] >= 'N' else 32700) + int(tile[:2])}"
    return crs, ((left, top), (left + SQUARE, top), (left + SQUARE, top - SQUARE), (left, top - SQUARE))


@lru_cache(maxsize=512)
def _first_northing(zone: int, band: str) -> float:
    """Northing at which a latitude band begins, on its zone's central meridian."""
    crs = pyproj.CRS.from_epsg((32600 if band >= "N" else 32700) + zone)
    lat = -80.0 + 8.0 * _BANDS.index(band)
    return float(pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(zone * 6.0 - 183.0, lat)[1])
