"""What the chip's grid says of the ground: where north is, and how true its areas are."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import pyproj

from chipweave.model import Place

MOST_OFF: Final = 0.02
"""Largest error of areas of a chip's grid that text is written on. In UTM it is 0.1 % or so: k² goes from 0.9992 on
the zone's central meridian to about 1.002 at its edge (Snyder, Map Projections, 1987, chapter 8)."""


@lru_cache(maxsize=64)
def _proj(crs: str) -> pyproj.Proj | None:
    """Of a projected CRS; None where it counts degrees."""
    known = pyproj.CRS.from_user_input(crs)
    return pyproj.Proj(known) if known.is_projected else None


def factors(crs: str, lon: float, lat: float) -> tuple[float, float]:
    """Meridian convergence in degrees, and areal scale, of a projected CRS at a point.

    True bearing = grid bearing + convergence. Area on the grid = areal scale × area on the ellipsoid. 0.0 and 1.0 in a
    CRS of degrees, and where a projection has no answer.
    """
    proj = _proj(crs)
    if proj is None:
        return 0.0, 1.0
    found = proj.get_factors(lon, lat)
    convergence, area = float(found.meridian_convergence), float(found.areal_scale)
    return (convergence, area) if math.isfinite(convergence) and math.isfinite(area) else (0.0, 1.0)


def north(place: Place) -> dict[str, str | float]:
    """Which north directions go by, and what is needed to go from the chip's grid to the ground, at its centre."""
    proj = _proj(place.crs)
    if proj is None:
        return {"north": "grid", "convergence": 0.0, "area_scale": 1.0}
    half = place.size * place.resolution / 2
    lon, lat = proj(place.x + half, place.y - half, inverse=True)
    convergence, area = factors(place.crs, float(lon), float(lat))
    return {"north": "grid", "convergence": round(convergence, 4) + 0.0, "area_scale": round(area, 6)}


@lru_cache(maxsize=64)
def unit_of(crs: str) -> str:
    """What the axes of a CRS count: ``metre``, ``degree``."""
    return str(pyproj.CRS.from_user_input(crs).axis_info[0].unit_name)


def why_untrue(crs: str, centre: tuple[float, float]) -> str:
    """Why areas and distances cannot be told on a CRS; empty where they can.

    Parameters
    ----------
    crs
        Of the recipe's chips: ``utm``, or what PROJ knows.
    centre
        (lon, lat) of the middle of the recipe's area.
    """
    if crs == "utm":
        return ""
    if unit_of(crs) != "metre":
        return f"counts in {unit_of(crs)}, not in metre"
    off = factors(crs, *centre)[1]
    return f"has areas {off:.3g} times too large there" if abs(off - 1) > MOST_OFF else ""
