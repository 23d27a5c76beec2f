"""What each split method goes by, against values worked out by hand."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from test_splits import THIRDS, grid

from chipweave.errors import RecipeError, YieldError
from chipweave.plan import distance
from chipweave.plan.splits import METHODS, Options, split_places
from chipweave.plan.splits.affordable import expected_pairs
from chipweave.plan.splits.bands import across_km
from chipweave.plan.splits.cells import cell_names
from chipweave.plan.splits.checkerboard import colour_splits, step_of
from chipweave.plan.splits.inside_tile import insets
from chipweave.plan.splits.listed import split_names
from chipweave.plan.splits.spans import period_names, spans_between, spans_of
from chipweave.splits import split_table

ZONES = [32629, 32633, 32635, 32721, 32760]
TILE = (300_000.0, 5_590_200.0, 409_800.0, 5_700_000.0)


def split(table, rings, method, **options):
    return split_places(table, rings, method=method, options=Options(**options))


# --- inside_tile --------------------------------------------------------------------


def test_rings_of_a_tile_as_published():
    """facts-a: insets of 16 079.8 m and, from there, 11 370.2 m; the core is half as wide as the tile."""
    first, second, third = (part * 109_800 for part in insets({"train": 0.5, "val": 0.25, "test": 0.25}))
    assert first == 0
    assert second == pytest.approx(16_079.8, abs=0.05)
    assert third - second == pytest.approx(11_370.2, abs=0.05)
    assert third == 27_450.0
    assert insets({"train": 0.36, "val": 0.28, "test": 0.36}) == pytest.approx([0, 0.1, 0.2])


def patches() -> gpd.GeoDataFrame:
    """Patches of 1200 m whose centroid lies at a ring's border, from each side of the tile, in five zones."""
    xmin, ymin, xmax, ymax = TILE
    depths = [(600.0, "train"), (16_079.83, "train"), (16_079.84, "val"), (27_449.99, "val"), (27_450.0, "test"),
              (27_450.01, "test"), (54_900.0, "test")]  # fmt: skip
    middle_x, middle_y = (xmin + xmax) / 2, (ymin + ymax) / 2
    rows = []
    for zone in ZONES:
        for depth, name in depths:
            for side, (x, y) in enumerate(
                [
                    (xmin + depth, middle_y),
                    (xmax - depth, middle_y),
                    (middle_x, ymin + depth),
                    (middle_x, ymax - depth),
                ]
            ):
                box = shapely.box(x - 600, y - 600, x + 600, y + 600)
                rows.append({"key": f"{zone}-{depth}-{side}", "crs": zone, "wish": name, "shape": box})
    frame = pd.DataFrame(rows).assign(tile="33UUP")
    for name, value in zip(("tile_xmin", "tile_ymin", "tile_xmax", "tile_ymax"), TILE, strict=True):
        frame[name] = value
    parts = [
        gpd.GeoDataFrame(part.drop(columns="shape"), geometry=list(part["shape"]), crs=zone)
        for zone, part in frame.groupby("crs", sort=False)
    ]
    # In the CRS of the first zone, all of them: bounds are in that of the column.
    return pd.concat([part.to_crs(4326) for part in parts], ignore_index=True)


def test_inside_tile_at_every_border_in_five_zones():
    frame = patches()
    done = split_table(frame, "inside_tile").frame
    assert done["split"].tolist() == frame["wish"].tolist()
    own = frame[frame["crs"] == 32633].to_crs(32633)
    again = split_table(own.drop(columns="crs"), "inside_tile").frame  # the table's own CRS
    assert again["split"].tolist() == own["wish"].tolist()
    asked = split_table(
        own.assign(crs="EPSG:32633"), "inside_tile", fractions={"test": 0.25, "val": 0.25, "train": 0.5}
    )
    assert asked.frame["split"].tolist() == own["wish"].tolist(), "outer to inner is train, val, test"


def test_a_whole_tile_as_reben_cuts_it():
    """91 by 91 patches from the upper left: the half beyond 16.08 km is train, the middle 46 by 46 test."""
    x, y = np.meshgrid(TILE[0] + np.arange(91) * 1200.0, TILE[3] - np.arange(91) * 1200.0)
    boxes = shapely.box(x.ravel(), y.ravel() - 1200, x.ravel() + 1200, y.ravel())
    frame = gpd.GeoDataFrame({"tile": "33UUP"}, index=range(91 * 91), geometry=boxes, crs=32633)
    bounds = dict(zip(("tile_xmin", "tile_ymin", "tile_xmax", "tile_ymax"), TILE, strict=True))
    done = split_table(frame.assign(**bounds), "inside_tile")
    names = done.frame["split"].to_numpy().reshape(91, 91)
    assert done.counts == {"train": 91**2 - 65**2, "val": 65**2 - 46**2, "test": 46**2, "gap": 0}
    assert names[45, 12:14].tolist() == ["train", "val"]
    assert names[45, 22:24].tolist() == ["val", "test"]
    assert names[45, 68:70].tolist() == ["test", "val"]
    assert names[77:79, 45].tolist() == ["val", "train"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tile_xmax": 409_000.0}, "is no square"),
        ({"tile_xmin": np.nan}, "has no bounds"),
        ({"tile": None}, "has no tile"),
        ({"crs": 32634}, "lies outside its tile"),
        ({"crs": "EPSG:1"}, "is no CRS"),
    ],
)
def test_tiles_that_cannot_be(change, said):
    frame = patches().query("crs == 32633").assign(**change)
    with pytest.raises(RecipeError, match=said):
        split_table(frame, "inside_tile")


def test_a_ring_without_a_place_is_told():
    frame = patches().query("wish == 'train'")
    done = split_table(frame, "inside_tile")
    assert set(done.frame["split"]) == {"train"}
    assert any("ring of val, test" in note for note in done.result.notes)


# --- cells --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "lon", "lat", "name"),
    [
        ("mgrs", 12.4924, 41.8902, "33TTG"),  # the Colosseum
        ("mgrs", -70.6483, -33.4378, "19HCC"),  # Santiago
        ("mgrs", 5.3242, 60.3930, "32VKN"),  # Bergen, in a zone made wider
        ("s2_tile", 9.25, 47.5, "32TNT"),
        ("mgrs", 10.0, 86.0, "N_20_15"),
        ("wrs", -75.08, 1.44, "p008r059"),
        ("wrs", 154.47, -28.87, "p088r080"),
        ("majortom", 0.05, 0.05, "0U_0R"),
        ("majortom", -0.05, -0.05, "1D_1L"),
        ("h3", -122.4183, 37.7752, "85283083fffffff"),  # resolution 5 of H3's own first example
    ],
)
def test_cells_that_are_known(cells, lon, lat, name):
    assert (
        cell_names([lon, lon + 360], [lat, lat], cells, 15.0 if cells == "h3" else 10.0).tolist()
        == [name] * 2
    )


def test_cells_that_are_not():
    with pytest.raises(RecipeError, match="none of square, h3"):
        cell_names([0], [0], "round", 10)
    with pytest.raises(RecipeError, match="positive"):
        cell_names([0], [0], "h3", 0)


# --- bands, checkerboard ------------------------------------------------------------


def test_bands_run_at_their_angle():
    km = 2 * np.pi * 6371.0088 / 360
    assert across_km(np.array([1.0]), np.array([0.0]), 0.0) == pytest.approx(km)
    assert across_km(np.array([0.0]), np.array([1.0]), 90.0) == pytest.approx(-km)
    along = across_km(np.array([0.5, 1.0]), np.array([0.5, 1.0]) * 1.0, 45.0)
    assert np.abs(along).max() < 0.02
    assert across_km(np.array([179.9, -179.9]), np.zeros(2), 0.0) == pytest.approx([-0.1 * km, 0.1 * km])
    table, rings = grid(30)
    found = split(table, rings, "bands", bands=10, angle_deg=0.0, fractions={"train": 0.5, "test": 0.5})
    lon = pd.Series(table["lon"]).groupby(found.block).agg(["min", "max"]).sort_index()
    assert len(lon) == 10
    assert (lon["max"].to_numpy()[:-1] <= lon["min"].to_numpy()[1:] + 0.01).all()


def test_a_checkerboard_of_halves_is_one():
    table, rings = grid(30)
    found = split(
        table, rings, "checkerboard", cell_deg=0.05, jitter=(0.0, 0.0), fractions={"train": 0.5, "test": 0.5}
    )
    parity = (np.floor(table["lon"] / 0.05) + np.floor(table["lat"] / 0.05)).astype(int) % 2
    assert found.split.tolist() == np.where(parity == 0, "train", "test").tolist()
    moved = split(
        table, rings, "checkerboard", cell_deg=0.05, jitter=(0.5, 0.0), fractions={"train": 0.5, "test": 0.5}
    )
    parity = (np.floor(table["lon"] / 0.05 - 0.5) + np.floor(table["lat"] / 0.05)).astype(int) % 2
    assert moved.split.tolist() == np.where(parity == 0, "train", "test").tolist()


def test_colours_bring_fractions_out():
    assert colour_splits({"train": 0.5, "test": 0.5}, 0.05).tolist() == ["train", "test"]
    assert colour_splits(THIRDS, 0.05).tolist() == ["train"] * 3 + ["val", "test"]
    assert len(colour_splits({"train": 0.8, "val": 0.1, "test": 0.1}, 0.05)) == 10
    assert [step_of(n) for n in (2, 5, 10)] == [1, 2, 3]
    table, rings = grid(60)
    found = split(table, rings, "checkerboard", block_km=3, fractions=THIRDS, seed=3)
    assert all(abs(found.shares[s] - THIRDS[s]) < 0.05 for s in THIRDS)


# --- groups, list, time, folds ------------------------------------------------------


def test_groups_go_whole_and_nobody_is_one():
    table, rings = grid(12)
    table["country"] = np.array(["PRT", "ESP", "FRA", None], object)[np.arange(144) % 12 // 3]
    found = split(table, rings, "groups", by="country", fractions={"train": 0.5, "test": 0.5})
    assert {len(set(found.split[found.block == b])) for b in set(found.block)} == {1}
    assert "(none)" in set(found.block)
    assert any("36 of 144 places have no country" in note for note in found.notes)
    with pytest.raises(RecipeError, match="no column 'region'"):
        split(table, rings, "groups", by="region")
    with pytest.raises(YieldError, match="4 groups"):
        split(table, rings, "groups", by="country", fractions={f"s{k}": 0.2 for k in range(5)})
    with pytest.raises(YieldError, match="1 group,"):
        split(table.assign(country="PRT"), rings, "groups", by="country")


def test_words_of_published_lists():
    said = split_names(pd.Series(["training", "Validation", "val", "TEST", None, "none", "dev", "held"]))
    assert said.tolist() == ["train", "val", "val", "test", "", "", "val", "held"]


def test_a_list_is_followed_and_who_is_not_in_it_is_left_out():
    table, rings = grid(4)
    table["split"] = ["train", "validation", "test", None] * 4
    found = split(table, rings, "list", by="split")
    assert found.split.tolist() == ["train", "val", "test", ""] * 4
    assert set(found.reasons) == {"", "unlisted"}
    assert found.shares == {
        "train": pytest.approx(1 / 3),
        "val": pytest.approx(1 / 3),
        "test": pytest.approx(1 / 3),
    }
    with pytest.raises(RecipeError, match="the list has val"):
        split(table, rings, "list", by="split", fractions={"train": 0.5, "test": 0.5})
    with pytest.raises(YieldError, match="no place is left"):
        split(table.assign(split=None), rings, "list", by="split")


def test_dates_fall_into_periods():
    periods = spans_of({"train": ["2018", "2020"], "test": "2021-06-01/2021-08-31"})
    dates = pd.Series(
        ["2018-12-31", "2019-01-01", 2020, "2021-08-31", "2021", None, pd.Timestamp("2021-06-01T12:00Z")]
    )
    assert period_names(dates, periods).tolist() == ["train", "", "train", "test", "", "", "test"]
    cut = spans_between(["2019", "2021-03-01"], ["train", "val", "test"])
    dates = pd.Series(["2018-12-31", "2019-01-01", "2021-02-28", "2021-03-01", "2150-01-01"])
    assert period_names(dates, cut).tolist() == ["train", "val", "val", "test", "test"]
    with pytest.raises(RecipeError, match="share a time"):
        spans_of({"train": "2018/2019", "test": "2019-12-31"})
    with pytest.raises(RecipeError, match="do not follow"):
        spans_between(["2021", "2019"], ["train", "val", "test"])
    with pytest.raises(RecipeError, match="is no date"):
        period_names(pd.Series(["soon"]), cut)


def test_a_place_with_dates_of_several_splits_is_dealt_to_one_of_them():
    table, rings = grid(20)
    table["time"] = [[2018], [2018, 2020], [2020], [2018, 2019, 2020]] * 100
    periods = spans_of({"train": "2018", "val": "2019", "test": "2020"})
    found = split(table, rings, "time", by="time", periods=periods, block_km=4)
    assert set(found.split[0::4]) == {"train"}
    assert set(found.split[2::4]) == {"test"}
    assert set(found.split[1::4]) == {"train", "test"}
    assert set(found.split[3::4]) == {"train", "val", "test"}
    with pytest.raises(YieldError, match="in the time of late"):
        split(table, rings, "time", by="time", periods=spans_of({"train": "2018", "late": "2030"}))


def test_time_and_space_share_neither():
    table, rings = grid(30)
    table["year"] = 2018 + np.arange(900) % 3
    periods = spans_of({"train": "2018/2019", "test": "2020"})
    found = split(table, rings, "time", by="year", periods=periods, space=True, block_km=5)
    blocks = {name: set(found.block[found.split == name]) for name in ("train", "test")}
    assert not blocks["train"] & blocks["test"]
    years = {name: set(table["year"][found.split == name]) for name in ("train", "test")}
    assert years == {"train": {2018, 2019}, "test": {2020}}
    assert "period" in set(found.reasons)


def test_folds_are_alike_and_groups_are_left_out_one_by_one():
    table, rings = grid(30)
    found = split(table, rings, "kfold", folds=5, block_km=4, buffer_m=300.0)
    assert set(found.split) == {"all", ""}
    counts = np.bincount(found.fold[found.fold >= 0], minlength=5)
    assert counts.min() > 0.9 * counts.max()
    i, j = np.triu_indices(900, 1)
    apart = (found.fold[i] >= 0) & (found.fold[j] >= 0) & (found.fold[i] != found.fold[j])
    near = distance.near_pairs(rings, 300.0, groups=found.fold)
    assert not ((found.fold[near[0]] >= 0) & (found.fold[near[1]] >= 0)).any()
    assert apart.any()
    table["country"] = np.array(["PRT", "ESP", "FRA"])[np.arange(900) % 30 // 10]
    out = split(table, rings, "kfold", by="country")
    assert dict(zip(table["country"], out.fold.tolist(), strict=True)) == {"ESP": 0, "FRA": 1, "PRT": 2}
    assert any("0: ESP, 1: FRA, 2: PRT" in note for note in out.notes)
    assert "fold 1" not in " ".join(out.notes)


def test_random_says_that_it_leaks():
    table, rings = grid(10)
    found = split(table, rings, "random", fractions=THIRDS)
    assert found.shares == THIRDS
    assert any("leaks" in note for note in found.notes)


def test_clusters_lie_together():
    table, rings = grid(30)
    found = split(table, rings, "clusters", k=9, fractions={"train": 0.6, "test": 0.4})
    assert len(set(found.block)) == 9
    spread = [np.hypot(*(np.ptp(rings[found.block == b].mean(axis=1), axis=0)[:2])) for b in set(found.block)]
    assert max(spread) < 0.6 * np.hypot(*np.ptp(rings.mean(axis=1), axis=0)[:2])
    x = (np.arange(30) % 30)[:, None] + np.zeros(30, int)
    isles = (x % 10 < 8).T.ravel()  # three groups of columns, streets of two between them
    table, rings = table[isles].reset_index(drop=True), rings[isles]
    chained = split(
        table, rings, "clusters", cluster="distance", link_m=1000.0, fractions={"train": 0.7, "test": 0.3}
    )
    assert len(set(chained.block)) == 3


# --- what cannot be -----------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(METHODS))
def test_one_place_is_answered(method):
    """One chip, one class, one block, one date: an answer or an error with a hint, never a crash."""
    table, rings = grid(1)
    table = table.assign(
        country="PRT", split="train", time="2020", tile="a", tile_xmin=0.0, tile_ymin=0.0, tile_xmax=1e4, tile_ymax=1e4,
        centroid_x=10.0, centroid_y=10.0,
    )  # fmt: skip
    by = {"groups": "country", "kfold": "country", "list": "split", "time": "time"}.get(method)
    own = {"fractions": None} if method in {"list", "inside_tile", "time"} else {"fractions": {"train": 1.0}}
    if method == "time":
        own["periods"] = spans_of({"train": "2020"})
    if method == "kfold":
        with pytest.raises(YieldError, match="no group can be left out"):
            split(table, rings, method, by=by, **own)
        return
    found = split(table, rings, method, by=by, buffer_m=1e6, **own)
    assert found.split.tolist() == ["train"]
    if own.get("fractions"):
        match = (
            "none of 1 places goes" if method == "checkerboard" else "a split stays empty: 1 places lie in 1"
        )
        with pytest.raises(YieldError, match=match) as caught:
            split(table, rings, method, by=by, fractions=THIRDS)
        assert caught.value.hint


def test_a_buffer_larger_than_the_area():
    table, rings = grid(20)
    for method, options in (
        ("blocks", {"block_km": 3.0}),
        ("checkerboard", {"block_km": 3.0}),
        ("random", {}),
    ):
        with pytest.raises(YieldError, match="1e\\+06 m"):
            split(table, rings, method, fractions=THIRDS, buffer_m=1e6, **options)


def test_a_buffer_with_more_neighbours_than_can_be_looked_at(monkeypatch):
    table, rings = grid(20)
    every, apart = expected_pairs(rings, 2000.0, np.arange(400) % 20 // 10)
    pairs = len(distance.near_pairs(rings, 2000.0)[0])
    assert every == pytest.approx(pairs, rel=2.0)
    assert apart < every / 3
    monkeypatch.setattr("chipweave.plan.splits.affordable._MOST_PAIRS", 100)
    with pytest.raises(YieldError, match="more pairs of 400 places than can be kept apart"):
        split(table, rings, "blocks", fractions=THIRDS, buffer_m=2000.0, block_km=5)
