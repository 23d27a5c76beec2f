"""What every split method keeps. A new method adds a class at the end with its own `method`."""

from __future__ import annotations

import itertools
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from pyproj import Geod, Transformer

from chipweave.errors import YieldError
from chipweave.plan import distance
from chipweave.plan.splits import METHODS, Options, SplitMethod, SplitResult, assign, split_places
from chipweave.plan.splits.spans import spans_of

GEOD = Geod(ellps="WGS84")
SIDE = 1000.0


class Layout:
    """Some square footprints, on a lattice of either of two zones that meet at 6° E, with columns to go by."""

    def __init__(self, cells: tuple[tuple[int, int, int], ...]) -> None:
        self.crs = [("EPSG:32631", "EPSG:32632")[zone] for _, _, zone in cells]
        # Column 0 of both zones is at 6° E, 50° N.
        start = {"EPSG:32631": (714_000.0, 1), "EPSG:32632": (285_000.0, -1)}
        self.x = [
            start[crs][0] - start[crs][1] * c * SIDE for (c, _, _), crs in zip(cells, self.crs, strict=True)
        ]
        self.y = [5_540_000.0 - r * SIDE for _, r, _ in cells]
        self.rings = distance.rings(self.crs, self.x, self.y, SIDE)
        centres = [self._back(k, [0.5], [0.5]) for k in range(len(cells))]
        self.table = pd.DataFrame(
            {
                "place": [f"z{z}c{c}r{r}" for c, r, z in cells],
                "lon": [float(lon[0]) for lon, _ in centres],
                "lat": [float(lat[0]) for _, lat in centres],
                "country": [("PRT", "ESP", "FRA", "ITA", None)[(c + 3 * z) // 3 % 5] for c, _, z in cells],
                "year": [2015 + (c + r) % 6 for c, r, _ in cells],
                "published": [("training", "validation", "test")[(c // 4 + r) % 3] for c, r, _ in cells],
                "lc.10": [(c % 5) / 5 for c, _, _ in cells],
                "lc.80": [1 - (c % 5) / 5 for c, _, _ in cells],
                "tile": [f"T{z}{c // 13}{r // 13}" for c, r, z in cells],
                "tile_xmin": [c // 13 * 13_000.0 for c, _, _ in cells],
                "tile_ymin": [r // 13 * 13_000.0 for _, r, _ in cells],
                "tile_xmax": [c // 13 * 13_000.0 + 13_000 for c, _, _ in cells],
                "tile_ymax": [r // 13 * 13_000.0 + 13_000 for _, r, _ in cells],
                "centroid_x": [c * SIDE + 500 for c, _, _ in cells],
                "centroid_y": [r * SIDE + 500 for _, r, _ in cells],
            }
        )  # fmt: skip

    def _back(self, k: int, right, down):
        to = Transformer.from_crs(self.crs[k], "EPSG:4326", always_xy=True)
        return to.transform(self.x[k] + SIDE * np.asarray(right), self.y[k] - SIDE * np.asarray(down))

    def outline(self, k: int):
        f = np.arange(40) / 40
        zero, one = np.zeros(40), np.ones(40)
        return self._back(k, np.concatenate([f, one, 1 - f, zero]), np.concatenate([zero, f, one, 1 - f]))

    def geod_distance(self, i: int, j: int) -> float:
        """By brute force: never less than the true one, and at most some metres more."""
        a, b = self.outline(i), self.outline(j)
        p, q = (m.ravel() for m in np.meshgrid(np.arange(160), np.arange(160), indexing="ij"))
        return float(np.min(GEOD.inv(a[0][p], a[1][p], b[0][q], b[1][q])[2]))


@lru_cache(maxsize=256)
def layout_of(cells: tuple[tuple[int, int, int], ...]) -> Layout:
    return Layout(cells)


def drawn(
    number: int, *, most: int = 60, columns: int = 13, rows: int = 13
) -> tuple[tuple[int, int, int], ...]:
    """The cells of one layout: the first few are the hard ones, of one place, two, a row, a full square."""
    rng = np.random.default_rng(number)
    if number < 2:
        return tuple((c, 0, 0) for c in range(number + 1))
    if number == 2:
        return tuple((c, 0, 0) for c in range(12))
    if number == 3:
        return tuple((c, r, 0) for c, r in itertools.product(range(8), range(8)))
    every = list(itertools.product(range(columns), range(rows), (0, 1)))
    return tuple(every[k] for k in rng.permutation(len(every))[: rng.integers(3, most)])


class SplitMethodContract:
    """Inherit, and say how the method is made."""

    splits: ClassVar[tuple[str, ...] | None] = ("train", "val", "test")
    examples: ClassVar[int] = 6
    seeded: ClassVar[bool] = True
    together: ClassVar[bool] = True
    """Whether a unit goes to one split."""
    dense: ClassVar[bool] = True
    """Whether few places are enough to fill its splits."""

    def method(self, *, buffer_m: float, buffer_drop: str, seed: int) -> SplitMethod:
        raise NotImplementedError

    def run(self, layout: Layout, **options) -> SplitResult | None:
        """The result, or None where the layout allows none."""
        try:
            return self.method(**{"buffer_m": 0.0, "buffer_drop": "larger", "seed": 0, **options})(
                layout.table, layout.rings
            )
        except YieldError as error:
            if not (error.message and error.hint):
                pytest.fail("an error says what is wrong and what would help")
            return None

    def test_every_place_once_or_in_the_gap(self):
        done = 0
        for number in range(self.examples):
            for buffer_m, drop in ((0.0, "larger"), (300.0, "larger"), (1500.0, "both")):
                cells = drawn(number)
                found = self.run(layout_of(cells), buffer_m=buffer_m, buffer_drop=drop, seed=number)
                if found is None:
                    continue
                done += 1
                assert found.split.shape == found.block.shape == found.reasons.shape == (len(cells),)
                names = set(found.split.tolist()) - {""}
                assert names == set(found.shares)
                assert self.splits is None or names == set(self.splits)
                assert (found.block != "").all()
                assert ((found.split == "") == (found.reasons != "")).all()
                if buffer_m == 0:
                    assert (found.reasons != "buffer").all()
                kept = found.split[found.split != ""]
                assert found.shares == {s: pytest.approx(float(np.mean(kept == s))) for s in names}
        assert done > self.examples // 3

    def test_places_of_a_unit_go_together(self):
        for number in range(3, self.examples):
            found = self.run(layout_of(drawn(number)), buffer_m=300.0)
            if found is not None and self.together:
                pairs = {(b, s) for b, s in zip(found.block, self.parts(found), strict=True) if s}
                assert len(pairs) == len({b for b, _ in pairs})

    @staticmethod
    def parts(found: SplitResult) -> list[str]:
        """What is kept apart: splits, or folds."""
        if found.fold is None:
            return found.split.tolist()
        return ["" if k < 0 else str(k) for k in found.fold.tolist()]

    def test_the_order_of_rows_and_other_columns_do_not_matter(self):
        for number in range(2, self.examples):
            cells = drawn(number)
            order = np.random.default_rng(number + 99).permutation(len(cells)).tolist()
            one = self.run(layout_of(cells), buffer_m=300.0)
            base = layout_of(cells)
            shuffled = object.__new__(Layout)
            shuffled.table = base.table.iloc[order].set_axis([f"row{k}" for k in order]).assign(colour=number)
            shuffled.rings = base.rings[order]
            two = self.run(shuffled, buffer_m=300.0)
            assert (one is None) == (two is None)
            if one is not None and two is not None:
                assert two.split.tolist() == one.split[order].tolist()
                assert two.block.tolist() == one.block[order].tolist()
                assert self.parts(two) == [self.parts(one)[k] for k in order]

    def test_the_seed_decides(self):
        layout = layout_of(
            tuple((2 * c, 2 * r + c % 2, 0) for c, r in itertools.product(range(12), range(12)))
        )
        first, again, other = (self.run(layout, seed=seed) for seed in (1, 1, 2))
        assert first is not None
        assert other is not None
        assert self.parts(first) == self.parts(again)
        assert (self.parts(first) != self.parts(other)) == self.seeded

    def test_no_two_splits_come_closer_than_the_buffer(self):
        done = 0
        for number in range(3, self.examples):
            drop = ("larger", "both")[number % 2]
            layout = layout_of(drawn(number, most=25, columns=10, rows=4))
            found = self.run(layout, buffer_m=1100.0, buffer_drop=drop)
            if found is None:
                continue
            parts = self.parts(found)
            for i, j in itertools.combinations([k for k, s in enumerate(parts) if s], 2):
                if parts[i] != parts[j]:
                    done += 1
                    assert self.apart(layout, i, j) >= 1100.0
        assert done or not self.dense

    def apart(self, layout: Layout, i: int, j: int) -> float:
        return float(distance.distances(layout.rings, np.array([i]), np.array([j]))[0])

    def test_nothing_is_lost_without_a_reason(self):
        """A place in the gap has a place of another part within the buffer."""
        for number in range(3, self.examples):
            layout = layout_of(drawn(number))
            found = self.run(layout, buffer_m=700.0, buffer_drop=("larger", "both")[number % 2])
            if found is None:
                continue
            everyone = np.arange(len(found.split))
            for k in np.flatnonzero(found.reasons == "buffer"):
                others = everyone[(found.block != found.block[k]) & (found.reasons != "unlisted")]
                assert distance.distances(layout.rings, np.full(len(others), k), others).min() < 700.0


class TestBlocks(SplitMethodContract):
    examples = 12

    def method(self, *, buffer_m, buffer_drop, seed):
        return partial(
            assign,
            block_km=2.5,
            fractions={"train": 0.6, "val": 0.2, "test": 0.2},
            buffer_m=buffer_m,
            buffer_drop=buffer_drop,
            seed=seed,
        )

    def apart(self, layout: Layout, i: int, j: int) -> float:
        """By brute force, where it is not far beyond doubt."""
        metres = super().apart(layout, i, j)
        return layout.geod_distance(i, j) if metres < 2500 else metres


class Named(SplitMethodContract):
    """A method by its name in the registry."""

    name: ClassVar[str]
    options: ClassVar[dict] = {}
    fractions: ClassVar[dict | None] = {"train": 0.6, "val": 0.2, "test": 0.2}

    def method(self, *, buffer_m, buffer_drop, seed):
        options = Options(
            fractions=self.fractions, buffer_m=buffer_m, buffer_drop=buffer_drop, seed=seed, **self.options
        )
        return partial(split_places, method=self.name, options=options)


class TestBlocksOfHexagons(Named):
    name, options = "blocks", {"block_km": 1.5, "cells": "h3"}


class TestBlocksOfMajorTom(Named):
    name, options = "blocks", {"block_km": 2.0, "cells": "majortom"}


class TestBlocksAlike(Named):
    """Stratified: what is promised of blocks holds all the same."""

    name, options = "blocks", {"block_km": 2.0, "stratify": ("lc", "country")}


class TestGroups(Named):
    name, options = "groups", {"by": "country"}


class TestBands(Named):
    name, options = "bands", {"bands": 12, "angle_deg": 50.0}


class TestBandsOfAWidth(Named):
    name, options = "bands", {"band_km": 1.5, "angle_deg": -20.0}


class TestCheckerboard(Named):
    name, options = "checkerboard", {"block_km": 1.5}


class TestCheckerboardOfDegrees(Named):
    name, options = "checkerboard", {"cell_deg": 0.03}
    fractions, splits = {"train": 0.5, "test": 0.5}, ("train", "test")


class TestClusters(Named):
    name = "clusters"


class TestClustersByDistance(Named):
    name, options = "clusters", {"cluster": "distance", "link_m": 900.0}


class TestInsideTile(Named):
    name, fractions, seeded, splits = "inside_tile", None, False, None


class TestTime(Named):
    name, fractions, seeded = "time", None, False
    options: ClassVar[dict] = {
        "by": "year", "periods": spans_of({"train": "2015/2017", "val": "2018", "test": "2019/2020"})
    }  # fmt: skip


class TestTimeAndSpace(Named):
    name, fractions, dense = "time", None, False
    options: ClassVar[dict] = {**TestTime.options, "space": True, "block_km": 2.0}


class TestList(Named):
    name, fractions, seeded, splits = "list", None, False, None
    options: ClassVar[dict] = {"by": "published"}


class TestKFold(Named):
    name, fractions, splits = "kfold", None, ("all",)
    options: ClassVar[dict] = {"folds": 4, "block_km": 2.0}


class TestLeaveOneGroupOut(Named):
    name, fractions, splits, seeded = "kfold", None, ("all",), False
    options: ClassVar[dict] = {"by": "country"}


class TestRandom(Named):
    name = "random"


def test_every_method_is_held_to_it():
    held = {case.name for case in Named.__subclasses__()}
    assert held == set(METHODS)


def test_every_method_says_how_it_grows():
    assert {m.stability for m in METHODS.values()} == {"stable", "pinned"}
    assert {n for n, m in METHODS.items() if m.leaks} == {"random"}
