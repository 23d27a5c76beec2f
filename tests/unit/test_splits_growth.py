"""What was assigned stays: growth, `override`, and places that are not quite where they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_splits import THIRDS, grid

from chipweave.errors import RecipeError
from chipweave.plan import distance
from chipweave.plan.earlier import of_places, read_assignment
from chipweave.plan.splits import METHODS, Options, Pins, split_places
from chipweave.plan.splits.spans import spans_of

BUFFER = 700.0


def columns(table: pd.DataFrame) -> pd.DataFrame:
    xy = table["place"].str.split("_", expand=True).astype(float)
    return table.assign(
        country=np.array(list("ABCDEFGHIJ"))[(xy[0] // 5120 % 10).astype(int)],
        year=2015 + xy[1] // 1280 % 6, split=np.array(["train", "val", "test"])[(xy[0] // 2560 % 3).astype(int)],
        tile="t", tile_xmin=380_000.0, tile_ymin=4_430_000.0, tile_xmax=480_000.0, tile_ymax=4_530_000.0,
        centroid_x=xy[0] + 640, centroid_y=xy[1] - 640,
    )  # fmt: skip


PERIODS = spans_of({"train": "2015/2017", "val": "2018", "test": "2019/2020"})
OPTIONS: dict[str, dict] = {
    "blocks": {"block_km": 4.0}, "groups": {"by": "country"}, "bands": {"bands": 15}, "checkerboard": {"block_km": 4.0},
    "clusters": {"k": 30}, "inside_tile": {"fractions": None},
    "time": {"by": "year", "fractions": None, "periods": PERIODS},
    "list": {"by": "split", "fractions": None}, "kfold": {"folds": 3, "block_km": 4.0, "fractions": None}, "random": {},
}  # fmt: skip


@pytest.mark.parametrize("method", sorted(METHODS))
def test_what_was_assigned_stays_and_new_ones_give_way(method):
    big, outlines = grid(32)
    small, inner = grid(24)
    big, small = columns(big), columns(small)
    buffer = 0.0 if method in {"random", "time"} else BUFFER
    options = Options(**{"fractions": THIRDS, "buffer_m": buffer, **OPTIONS[method]})
    before = split_places(small, inner, method=method, options=options)
    names = before.split if before.fold is None else np.where(
        before.fold < 0, "", np.char.mod("fold%06d", before.fold)
    )  # fmt: skip
    earlier = {p: s for p, s in zip(small["place"], names.tolist(), strict=True) if s}
    after = split_places(big, outlines, method=method, options=options, pins=Pins(earlier=earlier))
    now = (
        after.split
        if after.fold is None
        else np.where(after.fold < 0, "", np.char.mod("fold%06d", after.fold))
    )
    found = dict(zip(big["place"], now.tolist(), strict=True))
    assert {p: found[p] for p in earlier} == earlier, "all of them, in the split that they had"
    assert any(f"{len(earlier)} of 1024 places keep the split that they had" in note for note in after.notes)
    kept = np.flatnonzero(now != "")
    groups = np.unique(now[kept], return_inverse=True)[1]
    assert len(distance.near_pairs(outlines[kept], buffer, groups=groups)[0]) == 0
    if METHODS[method].stability == "stable":
        alone = split_places(big, outlines, method=method, options=options)
        where = dict(zip(big["place"], alone.split.tolist(), strict=True))
        assert not [p for p in earlier if where[p] not in {earlier[p], ""}], "by construction"
    else:
        fresh = {s for p, s in found.items() if p not in earlier and s}
        assert len(fresh) > 1, "what is new is dealt, too"


def test_new_blocks_make_up_for_what_the_old_ones_lack():
    small, inner = grid(12)
    big, outlines = grid(36)
    first = split_places(
        small, inner, method="blocks", options=Options(fractions={"train": 1.0}, block_km=4.0)
    )
    earlier = dict(zip(small["place"], first.split.tolist(), strict=True))
    found = split_places(
        big,
        outlines,
        method="blocks",
        options=Options(fractions=THIRDS, block_km=4.0),
        pins=Pins(earlier=earlier),
    )
    assert all(found.shares[s] == pytest.approx(THIRDS[s], abs=0.05) for s in THIRDS)
    new = ~big["place"].isin(small["place"]).to_numpy()
    assert np.mean(found.split[new] == "train") < 0.6


def test_a_new_place_in_an_old_block_follows_it():
    table, rings = grid(16)
    options = Options(fractions=THIRDS, block_km=5.0, buffer_m=300.0)
    found = split_places(table, rings, method="blocks", options=options)
    half = np.arange(256) % 2 == 0
    earlier = {p: s for p, s in zip(table["place"][half], found.split[half].tolist(), strict=True) if s}
    again = split_places(table, rings, method="blocks", options=options, pins=Pins(earlier=earlier))
    of_block = {b: s for b, s in zip(found.block[half], found.split[half], strict=True) if s}
    for block, name in zip(again.block, again.split, strict=True):
        assert name in {"", of_block.get(block, name)}


def test_override_pins_places_and_units():
    table, rings = grid(24)
    options = Options(fractions=THIRDS, block_km=5.0, buffer_m=300.0)
    free = split_places(table, rings, method="blocks", options=options)
    place = table["place"][300]
    block = next(b for b in sorted(set(free.block)) if b != free.block[300])
    pins = Pins(place={place: "test"}, unit={block: "val"}, strict=True)
    found = split_places(table, rings, method="blocks", options=options, pins=pins)
    assert found.split[300] in {"test", ""}
    assert set(found.split[found.block == free.block[300]]) <= {"test", ""}, "its block goes with it"
    assert set(found.split[found.block == block]) <= {"val", ""}
    assert any("have a split by override" in note for note in found.notes)
    for wrong in (Pins(unit={"r0c0": "val"}, strict=True), Pins(place={place: "holdout"})):
        with pytest.raises(RecipeError, match=r"split\.override"):
            split_places(table, rings, method="blocks", options=options, pins=wrong)
    listed = table.assign(split=["train", "val"] * 288)
    options = Options(by="split")
    found = split_places(listed, rings, method="list", options=options, pins=Pins(place={place: "val"}))
    assert found.split[300] == "val"
    assert found.split[302] == "train"


def test_an_error_of_position_is_added_on_both_sides():
    table, rings = grid(20)
    options = {"fractions": THIRDS, "block_km": 6.0, "buffer_m": 500.0}

    def apart(found):
        kept = np.flatnonzero(found.split != "")
        groups = np.unique(found.split[kept], return_inverse=True)[1]
        return kept, distance.close_pairs(rings[kept], 5000.0, groups=groups)

    jittered = split_places(table, rings, method="blocks", options=Options(**options, error_m=1000.0))
    assert apart(jittered)[1][2].min() >= 2500.0
    error = np.where(np.arange(400) % 3 == 0, 2000.0, 0.0)
    by_place = split_places(table.assign(error_m=error), rings, method="blocks", options=Options(**options))
    kept, (i, j, metres) = apart(by_place)
    assert (metres >= 500 + error[kept][i] + error[kept][j]).all()
    assert metres.min() < 2500.0


def test_assignments_are_read_by_key_or_place(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"key": ["a", "b", "c"], "split": ["train", "validation", None]}).to_csv(path, index=False)
    assert read_assignment(path, "x") == ({"a": "train", "b": "val"}, {})
    pd.DataFrame({"id": ["a"], "part": ["test"]}).to_csv(path, index=False)
    assert read_assignment(path, "x", key="id", column="part") == ({"a": "test"}, {})
    with pytest.raises(RecipeError, match="has no column 'key'"):
        read_assignment(path, "x")
    pd.DataFrame({"key": ["a", "a"], "split": ["train", "test"]}).to_csv(path, index=False)
    with pytest.raises(RecipeError, match="key 'a' has two splits"):
        read_assignment(path, "x")
    with pytest.raises(RecipeError, match="no such file"):
        read_assignment(tmp_path / "none.csv", "x")
    with pytest.raises(RecipeError, match="is no dataset"):
        read_assignment(tmp_path, "x")
    keys, places = pd.Series(["a1", "a2", "b"]), pd.Series(["a", "a", "b"])
    assert of_places({"a1": "train", "b": "test"}, {}, keys, places, "x") == {"a": "train", "b": "test"}
    assert of_places({}, {"a": "val"}, keys, places, "x") == {"a": "val"}
    with pytest.raises(RecipeError, match="place 'a' has two splits"):
        of_places({"a1": "train", "a2": "test"}, {}, keys, places, "x")
