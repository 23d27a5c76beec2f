"""Matching as the contract says it, a chip at a time and without columns: what `plan.match` is held against."""

from __future__ import annotations

import math

import shapely

from chipweave.pixels.lattice import same_crs
from chipweave.plan.columns import Candidate
from chipweave.plan.match import DATATAKE_GAP, NOTHING


def datatakes(scenes):
    """Scenes grouped by datatake: one platform, and never 15 minutes or more between neighbours in time."""
    groups, latest = [], {}
    for scene in sorted(scenes, key=lambda s: (s.time, s.id)):
        group = latest.get(scene.platform)
        if group is None or scene.time - group[-1].time >= DATATAKE_GAP:
            group = latest[scene.platform] = []
            groups.append(group)
        group.append(scene)
    return groups


def shares_of(scenes, footprint):
    """Share of a chip that each scene covers, by id; those that only touch it are left out."""
    out = {}
    for s in scenes:
        if s.geometry.covers(footprint):
            out[s.id] = 1.0
        else:
            out[s.id] = min(s.geometry.intersection(footprint).area / footprint.area, 0.999999)
    return {ident: share for ident, share in out.items() if share > NOTHING}


def ordered(scenes, shares, crs):
    """Alone covering, then the chip's CRS, coverage, newest processing, id."""
    rank = sorted(scenes, key=lambda s: s.id)
    rank.sort(key=lambda s: s.processed, reverse=True)
    rank.sort(
        key=lambda s: (
            shares[s.id] < 1.0,
            not (s.crs and same_crs(s.crs, crs)),
            -round(shares[s.id], 6),
        )
    )
    return rank


def candidates(scenes, footprint, crs, needed):
    """Least cloudy of the catalog first, then newest, then id."""
    out = []
    shares = shares_of(scenes, footprint)
    for group in datatakes([s for s in scenes if s.id in shares]):
        whole = [s for s in group if not set(s.missing) & set(needed)]
        if whole:
            out.append(_candidate(ordered(whole, shares, crs), shares, footprint, crs, ""))
            continue
        gaps = {f"{s.id} has no asset for {', '.join(sorted(set(s.missing) & set(needed)))}" for s in group}
        out.append(_candidate(group, shares, footprint, crs, "; ".join(sorted(gaps))))
    out.sort(key=lambda c: c.scenes[0])
    out.sort(key=lambda c: c.time, reverse=True)
    out.sort(key=lambda c: 101.0 if math.isnan(c.cloud) else c.cloud)
    return tuple(out)


def _candidate(group, shares, footprint, crs, broken):
    clouds = [s.cloud for s in group if not math.isnan(s.cloud)]
    coverage = max(shares[s.id] for s in group)
    if coverage < 1.0 and len(group) > 1:
        together = shapely.intersection(shapely.union_all([s.geometry for s in group]), footprint)
        coverage = min(1.0, together.area / footprint.area)
    return Candidate(
        scenes=tuple(s.id for s in group),
        time=group[0].time.isoformat(),
        coverage=coverage,
        cloud=math.fsum(clouds) / len(clouds) if clouds else math.nan,
        same_crs=bool(group[0].crs and same_crs(group[0].crs, crs)),
        broken=broken,
    )


def rasters(scenes, footprint, crs):
    """Ids of labels, as in a mosaic of one datatake."""
    shares = shares_of(scenes, footprint)
    return tuple(s.id for s in ordered([s for s in scenes if s.id in shares], shares, crs))
