"""Which scenes may serve which chip, as columns: footprints by an STRtree, grouped into datatakes, ordered inside.

A layer's scenes become a `Pool` once; `Pool.candidates` and `Pool.rasters` match any number of chips at a time, in
arrays. Objects are made for a few chips at a time, by `Matched.of`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from chipweave.model import Scene
from chipweave.pixels.lattice import same_crs
from chipweave.plan.columns import (
    Bools,
    Floats,
    Ints,
    Lists,
    Matched,
    ranks,
    run_starts,
    unique_rows,
    within,
)

DATATAKE_GAP = timedelta(minutes=15)
"""Scenes closer in time than this are one datatake (contract, section 3)."""

NOTHING = 1e-7
"""Share of a chip's ground below which a scene only touches it: less than a pixel, were the chip 3000 px wide."""

Shapes = npt.NDArray[np.object_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Pool:
    """Scenes of one layer as columns, and an STRtree of their footprints; dates of one tile share theirs.

    Parameters
    ----------
    scenes
        Of one layer; ids are unique.
    needed
        Bands without which a scene cannot serve.
    """

    def __init__(self, scenes: Sequence[Scene], needed: Sequence[str]) -> None:
        self.ids = [s.id for s in scenes]
        self.times = [s.time.isoformat() for s in scenes]
        gaps = [", ".join(sorted(set(s.missing) & set(needed))) for s in scenes]
        self.gaps = [
            f"{name} has no asset for {gap}" if gap else "" for name, gap in zip(self.ids, gaps, strict=True)
        ]
        self._bad = np.array([bool(gap) for gap in gaps], np.bool_)
        self._cloud = np.array([s.cloud for s in scenes], np.float64)
        self._id, self._time = ranks(self.ids), ranks(self.times)
        self._processed = ranks(s.processed for s in scenes)
        self._platform = ranks(s.platform for s in scenes)
        self._ticks = np.array([(s.time - _EPOCH) // _TICK for s in scenes], np.int64)
        self._crs_names = sorted({s.crs for s in scenes})
        self._crs = ranks(s.crs for s in scenes)
        order = np.lexsort((self._id, self._ticks, self._platform))
        self._turn = np.empty(len(scenes), np.int64)
        self._turn[order] = np.arange(len(scenes))
        known: dict[bytes, int] = {}
        geometries = np.array([s.geometry for s in scenes], dtype=object)
        shape = np.array([known.setdefault(wkb, len(known)) for wkb in shapely.to_wkb(geometries)], np.int64)
        first = np.unique(shape, return_index=True)[1]
        self._shapes: Shapes = geometries[first]
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)
        # Scenes of each footprint, in the order of platform, time and id.
        self._own = order[np.argsort(shape[order], kind="stable")]
        self._own_start = run_starts(np.bincount(shape, minlength=len(self._shapes)))
        self._shape = shape

    def __len__(self) -> int:
        return len(self.ids)

    def _pairs(self, footprints: Shapes) -> tuple[Ints, Ints, Floats]:
        """Chips, footprints of scenes, and the share of the chip that each covers: exactly 1 where it covers all."""
        chips, shapes = self._tree.query(footprints)
        order = np.lexsort((shapes, chips))
        chips, shapes = chips[order].astype(np.int64), shapes[order].astype(np.int64)
        shares = np.asarray(shapely.covers(self._shapes[shapes], footprints[chips]), np.float64)
        part = np.flatnonzero(shares == 0)
        meets = shapely.intersects(self._shapes[shapes[part]], footprints[chips[part]])
        part = part[meets]
        ground = footprints[chips[part]]
        area = shapely.area(ground)
        common = shapely.area(shapely.intersection(self._shapes[shapes[part]], ground))
        shares[part] = np.minimum(common / np.where(area == 0, 1.0, area), 0.999999)
        some = shares > NOTHING
        return chips[some], shapes[some], shares[some]

    def _rows(self, footprints: Shapes) -> tuple[Ints, Ints, Floats]:
        """Chip, scene and share, sorted by chip, platform, time and id."""
        chips, shapes, shares = self._pairs(footprints)
        counts = np.diff(self._own_start)[shapes]
        scenes = self._own[np.repeat(self._own_start[shapes], counts) + within(counts)]
        chip = np.repeat(chips, counts)
        order = np.argsort(chip * len(self) + self._turn[scenes], kind="stable")
        return chip[order], scenes[order], np.repeat(shares, counts)[order]

    def _same(self, crs: Sequence[str] | npt.NDArray[Any], chip: Ints, scenes: Ints) -> Bools:
        """Whether a scene is in a chip's CRS."""
        names = np.asarray(crs, dtype=object)
        wanted = sorted(set(names.tolist()))
        code = {name: n for n, name in enumerate(wanted)}
        table = np.array([[bool(a and same_crs(a, b)) for a in self._crs_names] for b in wanted], np.bool_)
        own = np.array([code[name] for name in names.tolist()], np.int64)
        return np.asarray(table[own[chip], self._crs[scenes]], np.bool_)

    def _reading_order(self, group: Ints, scenes: Ints, shares: Floats, same: Bools, keep: Bools) -> Ints:
        """Positions of rows, each group in reading order; where `keep`, a group stays as it is.

        One that covers the chip alone first, then the chip's CRS, coverage, newest processing, id.
        """
        # Python's rounding, not NumPy's, which is not exact.
        values, which = np.unique(shares, return_inverse=True)
        rounded = np.array([round(v, 6) for v in values.tolist()], np.float64)[which]
        free = ~keep
        last = np.where(keep, np.arange(len(group)), self._id[scenes])
        keys = (-self._processed[scenes] * free, -rounded * free, ~same & free, (shares < 1.0) & free)
        return np.lexsort((last, *keys, group))

    def rasters(self, footprints: Shapes, crs: Sequence[str] | npt.NDArray[Any]) -> Lists:
        """Rasters over each chip in reading order, as in a mosaic of one datatake; `footprints` in lon/lat."""
        n = len(footprints)
        if not len(self) or not n:
            return Lists(np.zeros(n + 1, np.int64), np.empty(0, np.int64), self.ids)
        chip, scenes, shares = self._rows(footprints)
        same = self._same(crs, chip, scenes)
        order = self._reading_order(chip, scenes, shares, same, np.zeros(len(chip), np.bool_))
        return Lists(run_starts(np.bincount(chip, minlength=n)), scenes[order], self.ids)

    def candidates(self, footprints: Shapes, crs: Sequence[str] | npt.NDArray[Any]) -> Matched:
        """Candidates of each chip, the catalog's least cloudy first; ties: newest, then id.

        Parameters
        ----------
        footprints, crs
            Of the chips: lon/lat polygons (n,), and each chip's own CRS.
        """
        n = len(footprints)
        if not len(self) or not n:
            return self._none(n)
        chip, scenes, shares = self._rows(footprints)
        if not len(chip):
            return self._none(n)
        group = self._datatakes(chip, scenes)
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        bad = self._bad[scenes]
        broken = np.logical_and.reduceat(bad, starts)
        if bad.any():
            # Scenes that lack a band stand aside where another of their datatake serves.
            stay = ~bad | broken[group]
            chip, scenes, shares, group = chip[stay], scenes[stay], shares[stay], group[stay]
            starts = np.flatnonzero(np.diff(group, prepend=-1))
        counts = np.diff(starts, append=len(group))
        several = np.flatnonzero((counts > 1)[group])
        if len(several):
            same = self._same(crs, chip[several], scenes[several])
            turn = self._reading_order(
                group[several], scenes[several], shares[several], same, broken[group[several]]
            )
            scenes[several], shares[several] = scenes[several][turn], shares[several][turn]
        owner, lead = chip[starts], scenes[starts]
        cloud = self._clouds(scenes, starts, counts)
        coverage = self._coverage(footprints, owner, scenes, shares, starts, counts)
        key = np.where(np.isnan(cloud), 101.0, cloud)
        order = np.lexsort((self._id[lead], -self._time[lead], key, owner))
        rows = np.repeat(starts[order], counts[order]) + within(counts[order])
        return Matched(
            first=run_starts(np.bincount(owner, minlength=n)), start=run_starts(counts[order]), scenes=scenes[rows],
            coverage=coverage[order], cloud=cloud[order], same_crs=self._same(crs, owner[order], lead[order]),
            broken=broken[order], ids=self.ids, times=self.times, gaps=self.gaps,
        )  # fmt: skip

    def _none(self, n: int) -> Matched:
        none, no = np.empty(0, np.float64), np.empty(0, np.bool_)
        ints = np.empty(0, np.int64)
        return Matched(
            np.zeros(n + 1, np.int64), np.zeros(1, np.int64), ints, none, none, no, no, self.ids, self.times, self.gaps
        )  # fmt: skip

    def _datatakes(self, chip: Ints, scenes: Ints) -> Ints:
        """Number of each row's datatake: one platform, and never 15 minutes or more between neighbours in time."""
        new = np.ones(len(chip), np.bool_)
        new[1:] = (
            (np.diff(chip) != 0)
            | (np.diff(self._platform[scenes]) != 0)
            | (np.diff(self._ticks[scenes]) >= DATATAKE_GAP // _TICK)
        )
        return np.cumsum(new) - 1

    def _clouds(self, scenes: Ints, starts: Ints, counts: Ints) -> Floats:
        """Mean of the catalog's figures of each datatake, NaN where none has one; sums are exact, as fsum's."""
        cloud = self._cloud[scenes]
        known = ~np.isnan(cloud)
        number = np.add.reduceat(known.astype(np.int64), starts)
        total = np.add.reduceat(np.where(known, cloud, 0.0), starts)
        # NaN counts for nothing, and the dates of a corner of tiles are the same for all its chips.
        for size in np.unique(counts[number > 2]).tolist():
            own = np.flatnonzero((counts == size) & (number > 2))
            sets, which = unique_rows(scenes[starts[own][:, None] + np.arange(size)])
            sums = [math.fsum(c for c in row if not math.isnan(c)) for row in self._cloud[sets].tolist()]
            total[own] = np.array(sums, np.float64)[which]
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def _coverage(
        self, footprints: Shapes, owner: Ints, scenes: Ints, shares: Floats, starts: Ints, counts: Ints
    ) -> Floats:
        """Share of the chip that the scenes of each datatake cover together."""
        out = np.maximum.reduceat(shares, starts)
        open_ones = (out < 1.0) & (counts > 1)
        for size in np.unique(counts[open_ones]).tolist():
            own = np.flatnonzero(open_ones & (counts == size))
            shapes = self._shape[scenes[starts[own][:, None] + np.arange(size)]]
            # Dates share footprints: each chip is cut by each union once.
            sets, which = unique_rows(shapes)
            cuts, back = unique_rows(np.stack([owner[own], which], axis=-1))
            unions = np.asarray(shapely.union_all(self._shapes[sets], axis=1), np.object_)
            ground = footprints[cuts[:, 0]]
            area = shapely.area(ground)
            together = shapely.area(shapely.intersection(unions[cuts[:, 1]], ground))
            out[own] = np.minimum(1.0, together / np.where(area == 0, 1.0, area))[back]
        return out
