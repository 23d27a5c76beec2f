"""Tiles and batches: who is read together, whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.errors import PermanentSourceError, TransientSourceError
from chipweave.plan import batches
from chipweave.plan.batches import batch_numbers, limit_tiles, tile_names, tile_side
from chipweave.plan.decide import batch_chips
from chipweave.plan.regions import SPARSE, read_chips
from tiny import place

quick = settings(max_examples=20, deadline=None)


def chips(cells, *, size=128, resolution=10.0, crs="EPSG:32632", anchor=(0.0, 0.0)) -> pd.DataFrame:
    """A table of chips at (column, row) of a lattice."""
    side = size * resolution
    cells = list(cells)
    return pd.DataFrame(
        {
            "key": [f"k{c}_{r}" for c, r in cells],
            "crs": crs,
            "x": [anchor[0] + c * side for c, _ in cells],
            "y": [anchor[1] + (r + 1) * side for _, r in cells],
            "size": size,
            "resolution": resolution,
        }
    )


def square(n: int, *, at=(400, 4000)):
    return [(at[0] + c, at[1] + r) for r in range(n) for c in range(n)]


CELLS = st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), min_size=1, max_size=60, unique=True)


@quick
@given(CELLS, st.sampled_from([(128, 10.0, (0, 0)), (96, 0.6, (3, 7)), (64, 1e-4, (0.1, 0.2)), (256, 10.0, (15, 15))]),
       st.sampled_from([1, 300, 512, 2048]))  # fmt: skip
def test_a_chips_tile_is_its_places_own(cells, kind, tile_px):
    """The same in any company and order; and a tile is a square of the lattice, no wider than asked."""
    size, resolution, anchor = kind
    table = chips(cells, size=size, resolution=resolution, anchor=anchor)
    names = tile_names(table, tile_px)
    alone = [tile_names(table.iloc[[i]], tile_px).iloc[0] for i in range(len(table))]
    assert list(names) == alone
    across = max(tile_px // size, 1)
    for _, own in table.groupby(names.to_numpy()):
        for name in "xy":
            span = (own[name].max() - own[name].min()) / (size * resolution)
            assert span <= across - 1 + 1e-6
    # Neighbours of one tile: columns of a tile begin at multiples of its width.
    col = np.array([c for c, _ in cells])
    off = int(np.floor(anchor[0] / (size * resolution) + 0.5))
    np.testing.assert_array_equal(
        pd.factorize(names.str.rsplit(":", n=1).str[1])[0], pd.factorize((col + off) // across)[0]
    )


def test_chips_of_two_crs_never_share_a_tile():
    table = pd.concat([chips(square(2)), chips(square(2), crs="EPSG:32633")], ignore_index=True)
    names = tile_names(table, 4096)
    assert names.nunique() == 2 * chips(square(2)).pipe(tile_names, 4096).nunique()


def test_few_tiles_are_halved_until_there_is_work_for_several():
    assert tile_names(chips(square(16))).nunique() >= batches.FEW_TILES
    assert tile_names(chips(square(2))).nunique() == 4
    large = tile_names(chips(square(64)))
    assert large.value_counts().max() == 256
    assert len(set(tile_names(chips(square(1))))) == 1
    assert tile_names(chips(square(3), size=4096)).nunique() == 9


@quick
@given(CELLS, st.randoms(use_true_random=False), st.sampled_from([None, 256, 1024]))
def test_batches_hold_every_chip_once_in_whole_tiles_whatever_the_order(cells, random, tile_px):
    table = chips(cells).assign(state="kept")
    table.loc[table.index[::7], "state"] = "dropped"
    order = list(range(len(table)))
    random.shuffle(order)
    first = batch_chips(table, tile_px)
    second = batch_chips(table.iloc[order].reset_index(drop=True), tile_px)
    pd.testing.assert_frame_equal(first, second)
    assert sorted(first["key"]) == sorted(table["key"])
    kept = first[first["state"] == "kept"]
    assert (first[first["state"] != "kept"]["batch"] == -1).all()
    assert sorted(kept["batch"].unique()) == list(range(kept["batch"].nunique()))
    assert all(len(set(b)) == 1 for _, b in kept.groupby("tile")["batch"])


def numbered(table: pd.DataFrame, tile_px: int | None = None) -> pd.DataFrame:
    side = tile_side(table, tile_px)
    table = table.assign(tile=tile_names(table, side))
    return table.assign(batch=batch_numbers(table, side))


def spans(table: pd.DataFrame) -> pd.DataFrame:
    """Width and height of each batch, in pixels."""
    own = table.groupby("batch")[["x", "y"]].agg(lambda c: c.max() - c.min())
    return own / table["resolution"].iloc[0] + table["size"].iloc[0]


def test_a_batch_is_a_square_of_tiles():
    """64 tiles of a side, from a corner of the lattice of squares: 256 squares, none cut."""
    table = numbered(chips(square(64, at=(0, 0)), size=2048))
    assert table["batch"].nunique() == 256
    assert (spans(table) == 8192).all(axis=None)
    assert (table.groupby("batch").size() == 16).all()


def test_few_batches_are_halved_until_there_is_work_for_several():
    for n, side in ((64, 4096), (32, 2048), (16, 1024), (160, 8192)):
        table = numbered(chips(square(n, at=(0, 0))))
        assert table["batch"].nunique() >= batches.FEW_TILES, n
        assert spans(table).max(axis=None) <= side, n
    assert numbered(chips(square(2)))["batch"].nunique() == 4


def test_sparse_chips_are_joined_until_they_are_work():
    """One chip every 20 km: neither a batch each, nor fewer batches than there are workers."""
    table = numbered(chips([(16 * c, 16 * r) for r in range(40) for c in range(40)], size=128))
    pixels = table.groupby("batch")["size"].agg(lambda s: int((s**2).sum()))
    assert pixels.iloc[:-1].min() >= batches.WORTH_PX
    assert pixels.max() < 2 * batches.WORTH_PX
    few = numbered(chips([(300 * c, 300 * r) for r in range(6) for c in range(6)]))
    assert batches.FEW_TILES <= few["batch"].nunique() < 36


def test_a_batch_never_holds_more_than_it_should(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_PX", 5 * 2048**2)
    table = numbered(chips(square(20, at=(0, 0)), size=2048))
    assert table.groupby("batch").size().max() <= 5
    huge = numbered(chips(square(3), size=8192))
    assert huge["batch"].nunique() == 9, "a chip is not cut"


# --limit ----------------------------------------------------------------------------------------------------


def tiles(**held: dict[str, int]) -> pd.DataFrame:
    rows = [(t, s) for t, splits in held.items() for s, n in splits.items() for _ in range(n)]
    return pd.DataFrame(rows, columns=["tile", "split"])


SPLITS = ("train", "val", "test")


def test_a_limit_takes_whole_tiles_and_serves_every_split():
    table = tiles(**{f"t{i}": {"train": 10} for i in range(20)}, v={"val": 3}, w={"test": 2, "train": 1})
    for limit in (1, 5, 14):
        taken = limit_tiles(table, limit, SPLITS)
        held = table[table["tile"].isin(taken)]
        assert set(held["split"]) == set(SPLITS), "an empty split would be exit 5"
        assert limit <= len(held) <= limit + 25
        assert taken <= set(table["tile"])
    assert limit_tiles(table, 10**6, SPLITS) == set(table["tile"])


@quick
@given(
    st.lists(
        st.dictionaries(st.sampled_from(SPLITS), st.integers(1, 6), min_size=1), min_size=1, max_size=15
    ),
    st.integers(1, 60),
    st.randoms(use_true_random=False),
)
def test_limits_are_met_alike_in_any_order_of_rows(held, limit, random):
    table = tiles(**{f"t{i}": h for i, h in enumerate(held)})
    taken = limit_tiles(table, limit, SPLITS)
    rows = list(range(len(table)))
    random.shuffle(rows)
    assert limit_tiles(table.iloc[rows], limit, SPLITS) == taken
    got = table[table["tile"].isin(taken)]
    assert len(got) >= min(limit, len(table))
    assert set(got["split"]) == set(table["split"])
    # No tile too many: the last one was wanted for its chips, or for a split that nothing else served.
    if len(taken) > len(SPLITS):
        assert len(got) - max(table.groupby("tile").size()[list(taken)]) < limit


@pytest.mark.timeout(20)
def test_many_tiles_are_limited_quickly():
    """A loop over all tiles for each one taken takes minutes here."""
    table = tiles(**{f"t{i}": {"train": 1} for i in range(4000)})
    assert len(limit_tiles(table, 3900, SPLITS)) == 3900


# Common windows -----------------------------------------------------------------------------------------------


def mark(crs, affine, shape):
    """Pixels that know where on the ground they lie."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return np.round(affine.c / 10).astype(int) + cols, np.round(affine.f / 10).astype(int) - rows


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30, unique=True))
def test_chips_get_their_own_pixels_from_common_windows(cells):
    places = [place(f"{c}_{r}", x=160.0 * c, y=160.0 * (r + 1)) for c, r in cells]
    area = 0

    def read(crs, affine, shape):
        nonlocal area
        area += shape[0] * shape[1]
        return mark(crs, affine, shape)

    got = list(read_chips(places, read))
    assert sorted(p.key for p, _ in got) == sorted(p.key for p in places)
    for p, arrays in got:
        for mine, theirs in zip(arrays, mark(p.crs, p.affine, (16, 16)), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert area <= SPARSE * 256 * len(cells)


def test_a_broken_block_spoils_its_own_chips_alone():
    places = [place(str(c), x=160.0 * c, y=160.0) for c in range(4)]
    calls = []

    def read(crs, affine, shape):
        calls.append(shape)
        if affine.c <= 320 < affine.c + shape[1] * 10:
            raise PermanentSourceError("cut short")
        return mark(crs, affine, shape)

    got = {p.key: arrays for p, arrays in read_chips(places, read)}
    assert isinstance(got["2"], PermanentSourceError)
    assert [k for k, v in got.items() if not isinstance(v, PermanentSourceError)] == ["0", "1", "3"]
    assert calls == [(16, 64), *[(16, 16)] * 4]

    def busy(crs, affine, shape):
        raise TransientSourceError("busy")

    with pytest.raises(TransientSourceError):
        list(read_chips(places, busy))


def test_chips_that_wait_as_many_dates_make_smaller_batches():
    table = chips(square(64, at=(0, 0)), size=512).assign(state="kept")
    few, many = (batch_chips(table, dates=n) for n in (12, 48))
    assert few.groupby("batch").size().max() <= 8192**2 / 512**2
    assert few.groupby("batch").size().max() == 4 * many.groupby("batch").size().max()
    assert few["batch"].tolist() == batch_chips(table)["batch"].tolist()
