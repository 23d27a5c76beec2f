"""The variogram and Moran's I against fields whose answer is known; what stratified dealing and `auto` make of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from test_splits import THIRDS, grid

from chipweave.errors import RecipeError, YieldError
from chipweave.plan import distance
from chipweave.plan.splits import Options, split_places
from chipweave.plan.splits.balance import deal_balanced
from chipweave.plan.splits.deal import Layout
from chipweave.plan.splits.variogram import morans_i, neighbours, shape, variogram


def field(table, rings, model: str, range_m: float, *, nugget: float = 0.0, layers: int = 40):
    """Gaussian fields of a covariance, several at each place: what the variogram of one realisation scatters by."""
    centres = rings.mean(axis=1)
    cover = 1 - shape(model, cdist(centres, centres), range_m)
    root = np.linalg.cholesky(cover + 1e-9 * np.eye(len(table)))
    rng = np.random.default_rng(5)
    noise = math.sqrt(nugget) * rng.normal(size=(len(table), layers))
    return root @ rng.normal(size=(len(table), layers)) + noise


@pytest.mark.parametrize(("model", "km"), [("spherical", 6.0), ("spherical", 12.0), ("exponential", 9.0)])
@pytest.mark.parametrize("nugget", [0.0, 0.5])
def test_the_range_of_a_known_field_is_found(model, km, nugget):
    table, rings = grid(30, side=1000.0)
    values = field(table, rings, model, km * 1000, nugget=nugget)
    found = variogram(table["lon"], table["lat"], values, reach_m=20_000)
    assert found.model == model
    assert found.reached
    assert found.range_m == pytest.approx(km * 1000, rel=0.15)
    assert found.sill == pytest.approx(40 * (1 + nugget), rel=0.15)
    assert found.nugget == pytest.approx(40 * nugget, abs=6)


def test_noise_has_no_range_and_a_slope_never_ends():
    table, _ = grid(30, side=1000.0)
    noise = np.random.default_rng(1).normal(size=(900, 60))
    flat = variogram(table["lon"], table["lat"], noise)
    assert flat.model == "flat" or flat.sill - flat.nugget < 0.05 * flat.sill or flat.range_m < 1500
    slope = variogram(table["lon"], table["lat"], table["lon"].to_numpy())
    assert not slope.reached
    same = variogram(table["lon"], table["lat"], np.ones(900))
    assert (same.model, same.range_m) == ("flat", 0.0)
    with pytest.raises(ValueError, match="finite"):
        variogram(table["lon"], table["lat"], np.full(900, np.nan))
    with pytest.raises(ValueError, match="three"):
        variogram(table["lon"][:2], table["lat"][:2], np.ones(2))


def test_gamma_is_half_the_mean_squared_difference():
    table, _ = grid(3, 1, side=1000.0)
    found = variogram(table["lon"], table["lat"], np.array([0.0, 1.0, 4.0]), reach_m=2500)
    assert found.lag_m == pytest.approx([1000, 2000], rel=2e-3)
    assert found.gamma.tolist() == pytest.approx([(0.5 + 4.5) / 2, 8.0])
    assert found.pairs.tolist() == [2, 1]


def test_morans_i_by_hand():
    table, _ = grid(8, side=1000.0)
    i, j = neighbours(table["lon"].to_numpy(), table["lat"].to_numpy(), 1100.0)
    assert len(i) == 2 * 8 * 7, "the four beside each"
    x, y = np.arange(64) % 8, np.arange(64) // 8
    assert morans_i((x + y) % 2, i, j) == pytest.approx(-1.0)
    halves = (x >= 4).astype(float)  # 56 + 56 pairs, of which 8 join the halves
    assert morans_i(halves, i, j) == pytest.approx((112 - 16) / 112)
    assert morans_i(np.stack([halves, 1 - halves], axis=1), i, j) == pytest.approx((112 - 16) / 112)
    assert math.isnan(morans_i(np.ones(64), i, j))
    assert math.isnan(morans_i(halves, i[:0], j[:0]))


def test_auto_takes_the_range_of_the_labels():
    table, rings = grid(40)
    wave = (np.sin(table["lon"] * 40) > 0).astype(float)
    table = table.assign(**{"lc.1": wave, "lc.2": 1 - wave})
    options = Options(fractions=THIRDS, buffer_m=None, labels=("lc",), block_km=8)
    found = split_places(table, rings, method="blocks", options=options)
    metres = found.figures["variogram"]["range_m"]
    own = variogram(*(table.sort_values("place")[c].to_numpy() for c in ("lon", "lat")),
                    table.sort_values("place")[["lc.1", "lc.2"]].to_numpy())  # fmt: skip
    assert metres == pytest.approx(own.range_m, abs=0.1)
    assert f"auto is {metres:g} m" in found.notes[0]
    kept = np.flatnonzero(found.split != "")
    groups = np.unique(found.split[kept], return_inverse=True)[1]
    assert len(distance.near_pairs(rings[kept], metres - 1e-3, groups=groups)[0]) == 0
    assert len(kept) < 1600
    with pytest.raises(RecipeError, match="none with classes"):
        split_places(table, rings, method="blocks", options=Options(buffer_m=None))
    with pytest.raises(YieldError, match="have no variogram"):
        split_places(table[:2], rings[:2], method="blocks", options=options)


# --- stratified ---------------------------------------------------------------------


def striped(n=48):
    """Classes in patches, two regions of unlike size, and years."""
    table, rings = grid(n)
    x, y = np.arange(n * n) % n, np.arange(n * n) // n
    water = np.where((x // 6 + y // 6) % 5 == 0, 0.8, 0.05)
    crops = (1 - water) * (x / n)
    own = {"lc.10": 1 - water - crops, "lc.40": crops, "lc.80": water}
    return table.assign(
        **own, region=np.where(x < n // 4, "coast", "inland"), year=2016 + (y // 4) % 5
    ), rings


@pytest.mark.parametrize("buffer_m", [0.0, 640.0])
def test_classes_regions_and_years_are_alike_in_all_splits(buffer_m):
    table, rings = striped()
    common = {"fractions": THIRDS, "block_km": 4.0, "buffer_m": buffer_m, "seed": 2}
    plain = split_places(table, rings, method="blocks", options=Options(**common))
    alike = split_places(
        table, rings, method="blocks", options=Options(**common, stratify=("lc", "region", "year"))
    )

    def worst(split):
        off = []
        amounts = [table[c].to_numpy() for c in ("lc.10", "lc.40", "lc.80")]
        amounts += [(table["region"] == r).to_numpy(float) for r in ("coast", "inland")]
        amounts += [(table["year"] == y).to_numpy(float) for y in range(2016, 2021)]
        for amount in amounts:
            kept = {s: amount[split == s].sum() for s in THIRDS}
            off += [abs(kept[s] / sum(kept.values()) - THIRDS[s]) for s in THIRDS]
        return max(off)

    assert worst(alike.split) < 0.05
    assert worst(alike.split) < worst(plain.split) / 2
    assert all(abs(alike.shares[s] - THIRDS[s]) <= 0.05 for s in THIRDS)
    assert alike.figures["stratify"]["worst"] == pytest.approx(worst(alike.split), abs=1e-6)
    assert any(
        note.startswith("stratified by lc, region, year: farthest from alike is") for note in alike.notes
    )
    for block in set(alike.block):
        assert len(set(alike.split[alike.block == block]) - {""}) <= 1


def test_one_class_and_rare_ones_are_told():
    table, rings = striped(20)
    one = split_places(
        table.assign(kind="all"),
        rings,
        method="blocks",
        options=Options(fractions=THIRDS, block_km=3.0, stratify=("kind",)),
    )
    assert one.figures["stratify"]["worst"] == pytest.approx(
        max(abs(one.shares[s] - THIRDS[s]) for s in THIRDS)
    )
    rare = np.zeros(400)
    rare[7] = 1
    found = split_places(
        table.assign(kind=rare),
        rings,
        method="blocks",
        options=Options(fractions=THIRDS, block_km=3.0, stratify=("kind",)),
    )
    assert any("1 rare ones are not counted" in note for note in found.notes)
    with pytest.raises(RecipeError, match="no column 'colour'"):
        split_places(table, rings, method="blocks", options=Options(stratify=("colour",)))
    with pytest.raises(RecipeError, match="400 values"):
        split_places(table, rings, method="blocks", options=Options(stratify=("place",)))


def test_stratified_keeps_what_is_fixed_and_fills_every_split():
    n = 60
    none = np.empty(0, np.int64)
    fixed = np.full(n, -1, np.int64)
    fixed[:10] = 2
    layout = Layout.of(np.array([f"b{k}" for k in range(n)]), np.repeat(np.arange(n), 5), none, none, drop_both=False,
                       fixed=fixed)  # fmt: skip
    strata = 5.0 * np.stack([np.arange(n) % 2, 1 - np.arange(n) % 2], axis=1)  # a cluster a block
    found = deal_balanced(layout, np.array([0.6, 0.2, 0.2]), strata, tolerance=0.05, seed=0)
    assert found.empty == 0
    assert (found.splits[:10] == 2).all()
    assert np.abs(found.shares - np.array([[0.6], [0.2], [0.2]])).max() < 0.05


@pytest.mark.slow
def test_a_hundred_thousand_blocks():
    n = 100_000
    rng = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    layout = Layout.of(np.array([f"b{k}" for k in range(n)]), np.arange(n), none, none, drop_both=False)
    strata = rng.dirichlet(np.full(12, 0.2), n)
    found = deal_balanced(layout, np.array([0.8, 0.1, 0.1]), strata, tolerance=0.05, seed=0)
    assert np.abs(found.shares - np.array([[0.8], [0.1], [0.1]])).max() < 0.002
