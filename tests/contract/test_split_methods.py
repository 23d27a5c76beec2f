"""What every split method keeps. A new method adds a class at the end with its own `method`."""

from __future__ import annotations

import itertools
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from chipweave.errors import YieldError
from chipweave.plan import distance
from chipweave.plan.splits import SplitMethod, SplitResult, assign

GEOD = Geod(ellps="WGS84")
SIDE = 1000.0


class Layout:
    """Some square footprints, on a lattice of either of two zones that meet at 6° E."""

    def __init__(self, cells: list[tuple[int, int, int]]) -> None:
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
            }
        )

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


cells = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=60, unique=True
)

drops = st.sampled_from(["larger", "both"])


class SplitMethodContract:
    """Inherit, and say how the method is made."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def method(self, *, buffer_m: float, buffer_drop: str, seed: int) -> SplitMethod:
        raise NotImplementedError

    def run(self, layout: Layout, **options) -> SplitResult | None:
        """The result, or None where the layout allows none."""
        try:
            return self.method(**{"buffer_m": 0.0, "buffer_drop": "larger", "seed": 0, **options})(
                layout.table, layout.rings
            )
        except YieldError:
            return None

    @settings(max_examples=40, deadline=None)
    @given(cells, st.sampled_from([0.0, 300.0, 1500.0]), drops, st.integers(0, 9))
    def test_every_place_once_or_in_the_gap(self, drawn, buffer_m, buffer_drop, seed):
        layout = Layout(drawn)
        found = self.run(layout, buffer_m=buffer_m, buffer_drop=buffer_drop, seed=seed)
        if found is None:
            return
        assert found.split.shape == found.block.shape == (len(drawn),)
        assert set(found.split.tolist()) - {""} == set(self.splits)
        assert (found.block != "").all()
        if buffer_m == 0:
            assert (found.split != "").all()
        kept = found.split[found.split != ""]
        assert found.shares == {s: pytest.approx(float(np.mean(kept == s))) for s in self.splits}

    @settings(max_examples=15, deadline=None)
    @given(cells, st.randoms(use_true_random=False), drops)
    def test_the_order_of_rows_and_other_columns_do_not_matter(self, drawn, random, buffer_drop):
        layout = Layout(drawn)
        order = list(range(len(drawn)))
        random.shuffle(order)
        one = self.run(layout, buffer_m=300.0, buffer_drop=buffer_drop)
        shuffled = Layout([drawn[k] for k in order])
        shuffled.table.index = pd.Index([f"row{k}" for k in order])
        shuffled.table["colour"] = random.random()
        two = self.run(shuffled, buffer_m=300.0, buffer_drop=buffer_drop)
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert two.split.tolist() == one.split[order].tolist()
            assert two.block.tolist() == one.block[order].tolist()

    def test_the_seed_decides(self):
        layout = Layout([(c, r, 0) for c, r in itertools.product(range(12), range(12))])
        first, again, other = (self.run(layout, seed=seed) for seed in (1, 1, 2))
        assert first is not None
        assert other is not None
        assert first.split.tolist() == again.split.tolist()
        assert first.split.tolist() != other.split.tolist()

    @settings(max_examples=8, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 1)),
            min_size=8,
            max_size=18,
            unique=True,
        ),
        drops,
    )
    def test_no_two_splits_come_closer_than_the_buffer(self, drawn, buffer_drop):
        layout = Layout(drawn)
        found = self.run(layout, buffer_m=1100.0, buffer_drop=buffer_drop)
        if found is None:
            return
        kept = np.flatnonzero(found.split != "")
        for i, j in itertools.combinations(kept.tolist(), 2):
            if found.split[i] != found.split[j]:
                assert layout.geod_distance(i, j) >= 1100.0

    @settings(max_examples=15, deadline=None)
    @given(cells, drops)
    def test_nothing_is_lost_without_a_reason(self, drawn, buffer_drop):
        """A place in the gap has a place of another unit within the buffer."""
        layout = Layout(drawn)
        found = self.run(layout, buffer_m=700.0, buffer_drop=buffer_drop)
        if found is None:
            return
        everyone = np.arange(len(drawn))
        for k in np.flatnonzero(found.split == "").tolist():
            others = everyone[found.block != found.block[k]]
            assert distance.distances(layout.rings, np.full(len(others), k), others).min() < 700.0


class TestBlocks(SplitMethodContract):
    def method(self, *, buffer_m, buffer_drop, seed):
        return partial(
            assign,
            block_km=2.5,
            fractions={"train": 0.6, "val": 0.2, "test": 0.2},
            buffer_m=buffer_m,
            buffer_drop=buffer_drop,
            seed=seed,
        )
