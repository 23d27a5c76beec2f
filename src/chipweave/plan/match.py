"""Which scenes may serve which chip: footprints by an STRtree, grouped into datatakes, ordered inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import geopandas as gpd
import numpy as np
import shapely

from chipweave.model import Scene
from chipweave.pixels.lattice import same_crs

DATATAKE_GAP = timedelta(minutes=15)
"""Scenes closer in time than this are one datatake (contract, section 3)."""

NOTHING = 1e-7
"""Share of a chip's ground below which a scene only touches it: less than a pixel, were the chip 3000 px wide."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Scenes of one datatake over one chip, in reading order.

    `coverage` is the share of the chip that their footprints cover together; `cloud` the catalog's own figure in
    percent (NaN where unknown); `same_crs` whether the first is in the chip's CRS; `broken` why it cannot serve
    (bands that an item lacks), else empty.
    """

    scenes: tuple[str, ...]
    time: str
    coverage: float
    cloud: float
    same_crs: bool
    broken: str = ""


def match_scenes(places: gpd.GeoDataFrame, scenes: Sequence[Scene]) -> dict[str, list[Scene]]:
    """Scenes of one layer whose footprint meets each chip, by chip key, in the scenes' order."""
    found: dict[str, list[Scene]] = {key: [] for key in places["key"]}
    if not scenes:
        return found
    geometries = [s.geometry for s in scenes]
    shapely.prepare(geometries)
    tree = shapely.STRtree(geometries)
    footprints = places.geometry.to_numpy()
    chips, hits = tree.query(footprints, predicate="intersects")
    order = np.lexsort((hits, chips))
    keys = places["key"].to_numpy()
    for chip, hit in zip(chips[order], hits[order], strict=True):
        found[keys[chip]].append(scenes[hit])
    return found


def datatakes(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Scenes grouped by datatake: one platform, and never 15 minutes or more between neighbours in time."""
    groups: list[list[Scene]] = []
    latest: dict[str, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (s.time, s.id)):
        group = latest.get(scene.platform)
        if group is None or scene.time - group[-1].time >= DATATAKE_GAP:
            group = latest[scene.platform] = []
            groups.append(group)
        group.append(scene)
    return groups


def _ordered(scenes: Sequence[Scene], shares: Mapping[int, float], crs: str) -> list[Scene]:
    """Reading order of one datatake over one chip.

    One that covers the chip alone first, then the chip's CRS, coverage, newest processing, id.
    """
    if len(scenes) == 1:
        return list(scenes)
    rank = sorted(scenes, key=lambda s: s.id)
    rank.sort(key=lambda s: s.processed, reverse=True)
    rank.sort(
        key=lambda s: (
            not shares[id(s)] >= 1.0,
            not (s.crs and same_crs(s.crs, crs)),
            -round(shares[id(s)], 6),
        )
    )
    return rank


def _shares(scenes: Sequence[Scene], footprint: shapely.Geometry) -> dict[int, float]:
    """Share of a chip that each scene covers, by its Python id; exactly 1 where it covers all."""
    geometries = np.array([s.geometry for s in scenes], dtype=object)
    shares = np.asarray(shapely.covers(geometries, footprint), np.float64)
    part = np.flatnonzero(shares == 0)
    area = shapely.area(footprint) or 1.0
    shares[part] = np.minimum(
        shapely.area(shapely.intersection(geometries[part], footprint)) / area, 0.999999
    )
    return {id(s): float(share) for s, share in zip(scenes, shares, strict=True)}


def candidates(
    scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str, needed: Sequence[str]
) -> list[Candidate]:
    """Candidates of a chip, the catalog's least cloudy first; ties: newest, then id.

    Parameters
    ----------
    scenes
        Of one layer, that meet the chip.
    footprint, crs
        Of the chip; lon/lat polygon, and the chip's own CRS.
    needed
        Bands without which a scene cannot serve.
    """
    out = []
    shares = _shares(scenes, footprint)
    for group in datatakes([s for s in scenes if shares[id(s)] > NOTHING]):
        whole = [s for s in group if not set(s.missing) & set(needed)]
        if whole:
            out.append(_candidate(_ordered(whole, shares, crs), shares, footprint, crs, ""))
            continue
        gaps = sorted(
            {f"{s.id} has no asset for {', '.join(sorted(set(s.missing) & set(needed)))}" for s in group}
        )
        out.append(_candidate(group, shares, footprint, crs, "; ".join(gaps)))
    out.sort(key=lambda c: c.scenes[0])
    out.sort(key=lambda c: c.time, reverse=True)
    out.sort(key=lambda c: 101.0 if math.isnan(c.cloud) else c.cloud)
    return out


def _candidate(
    group: Sequence[Scene], shares: Mapping[int, float], footprint: shapely.Geometry, crs: str, broken: str
) -> Candidate:
    clouds = [s.cloud for s in group if not math.isnan(s.cloud)]
    coverage = max(shares[id(s)] for s in group)
    if coverage < 1.0 and len(group) > 1:
        together = shapely.intersection(shapely.union_all([s.geometry for s in group]), footprint)
        coverage = min(1.0, float(shapely.area(together) / (shapely.area(footprint) or 1.0)))
    return Candidate(
        scenes=tuple(s.id for s in group),
        time=group[0].time.isoformat(),
        coverage=coverage,
        cloud=math.fsum(clouds) / len(clouds) if clouds else math.nan,
        same_crs=bool(group[0].crs and same_crs(group[0].crs, crs)),
        broken=broken,
    )


def label_order(scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str) -> list[Scene]:
    """Rasters of one edition over one chip, in reading order: as in a mosaic of one datatake."""
    shares = _shares(scenes, footprint)
    return _ordered([s for s in scenes if shares[id(s)] > NOTHING], shares, crs)
