"""Which scenes may serve which chip: footprints by an STRtree, grouped into datatakes, ordered inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from chipweave.model import Scene
from chipweave.pixels.lattice import same_crs

DATATAKE_GAP = timedelta(minutes=15)
"""Scenes closer in time than this are one datatake (contract, section 3)."""


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
    """Scenes of one layer whose footprint shares ground with each chip, by chip key, in the scenes' order."""
    found: dict[str, list[Scene]] = {key: [] for key in places["key"]}
    if not scenes:
        return found
    tree = shapely.STRtree([s.geometry for s in scenes])
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


def _ordered(scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str) -> list[Scene]:
    """Reading order of one datatake over one chip.

    One that covers the chip alone first, then the chip's CRS, coverage, newest processing, id.
    """
    shares = _shares(scenes, footprint)
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
    geometries = np.array([s.geometry for s in scenes], dtype=object)
    covered: npt.NDArray[np.bool_] = shapely.covers(geometries, footprint)
    area = shapely.area(footprint) or 1.0
    parts = shapely.area(shapely.intersection(geometries, footprint)) / area
    return {
        id(s): 1.0 if c else min(float(p), 0.999999) for s, c, p in zip(scenes, covered, parts, strict=True)
    }


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
    for group in datatakes(scenes):
        whole = [s for s in group if not set(s.missing) & set(needed)]
        if not whole:
            gaps = sorted(
                {f"{s.id} has no asset for {', '.join(sorted(set(s.missing) & set(needed)))}" for s in group}
            )
            out.append(_candidate(group, footprint, crs, "; ".join(gaps)))
            continue
        out.append(_candidate(_ordered(whole, footprint, crs), footprint, crs, ""))
    out.sort(key=lambda c: c.scenes[0])
    out.sort(key=lambda c: c.time, reverse=True)
    out.sort(key=lambda c: 101.0 if np.isnan(c.cloud) else c.cloud)
    return out


def _candidate(group: Sequence[Scene], footprint: shapely.Geometry, crs: str, broken: str) -> Candidate:
    clouds = [s.cloud for s in group if not np.isnan(s.cloud)]
    together = shapely.intersection(shapely.union_all([s.geometry for s in group]), footprint)
    return Candidate(
        scenes=tuple(s.id for s in group),
        time=group[0].time.isoformat(),
        coverage=min(1.0, float(shapely.area(together) / (shapely.area(footprint) or 1.0))),
        cloud=float(np.mean(clouds)) if clouds else float("nan"),
        same_crs=bool(group[0].crs and same_crs(group[0].crs, crs)),
        broken=broken,
    )


def label_order(scenes: Sequence[Scene], footprint: shapely.Geometry, crs: str) -> list[Scene]:
    """Rasters of one edition over one chip, in reading order: as in a mosaic of one datatake."""
    return _ordered(scenes, footprint, crs) if scenes else []
