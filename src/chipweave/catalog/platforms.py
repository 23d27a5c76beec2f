"""Which satellite an item is of, and what only that tells: keys by number, and Landsat's reflectance above the air."""

from __future__ import annotations

import math
import re
from typing import Final

from chipweave.catalog.offset import Radiometry
from chipweave.catalog.stac import Item, item_id, number, properties

_LANDSAT = re.compile(r"^L[COTEM](?:0)?([1-9])(?=[_0-9])")
"""Beginning of a Landsat product's name: LC08_L2SP_…"""

_OPERA = re.compile(r"^OPERA_L2_RTC-S1_T(\d{3})-\d+-[A-Z0-9]+_\d{8}T\d{6}Z_\d{8}T\d{6}Z_S1([A-D])_")
"""Track and satellite of a burst."""

_SENTINEL2 = re.compile(r"S2[A-D]_MSIL[12][AC]_\d{8}T\d{6}_N\d{4}_R(\d{3})_")

MOST_TRACKS: Final = 1 << 31

ONE_SCALE: Final = ("landsat-8", "landsat-9")
"""Satellites whose Level-1 files hold reflectance by one scale and offset, all scenes alike."""


def platform_of(item: Item) -> str:
    """Platform in the form of ``landsat-8``, from the properties or a Landsat product's name; else empty."""
    p = properties(item)
    for said in (p.get("platform"), p.get("eo:platform")):
        if isinstance(said, str) and said:
            return said.lower().replace("_", "-")
    names = (p.get("landsat:landsat_product_id"), p.get("landsat:scene_id"), item_id(item))
    found = next((m for name in names if isinstance(name, str) and (m := _LANDSAT.match(name))), None)
    if found is None and (burst := _OPERA.match(item_id(item))):
        return f"sentinel-1{burst.group(2).lower()}"
    return f"landsat-{found.group(1)}" if found else ""


def track_of(item: Item) -> int | None:
    """Number of the track that an item's satellite flew, as stated or by its product's name; None where not told."""
    p = properties(item)
    stated = number(p.get("sat:relative_orbit"))
    if stated is not None:
        return int(stated) if stated.is_integer() and 0 < stated < MOST_TRACKS else None
    burst = _OPERA.match(item_id(item))
    names = (p.get("s2:product_uri"), item_id(item))
    named = burst or next((m for n in names if isinstance(n, str) and (m := _SENTINEL2.search(n))), None)
    return int(named.group(1)) or None if named else None


def landsat_toa(item: Item, scale: float, offset: float) -> Radiometry:
    """Gain and add of a Level-1 band of Landsat 8 or 9: what it stores, for the sun as high as it stood.

    ``(stored * gain + add) * scale + offset`` is reflectance at the top of the atmosphere: what the product's own scale
    and offset give, over the sine of the sun's elevation in the middle of the scene.

    Raises
    ------
    ValueError
        The item is of another satellite, or does not say where the sun stood.
    """
    platform = platform_of(item)
    if platform not in ONE_SCALE:
        raise ValueError(
            f"is of {platform or 'no satellite that it names'}, whose scale stands in each scene's own metadata alone"
        )
    p = properties(item)
    height = number(p.get("view:sun_elevation"))
    height = number(p.get("eo:sun_elevation")) if height is None else height
    if height is None or not 0.0 < height <= 90.0:
        raise ValueError("does not say how high the sun stood")
    gain = 1.0 / math.sin(math.radians(height))
    return Radiometry(gain, (gain - 1.0) * offset / scale)
