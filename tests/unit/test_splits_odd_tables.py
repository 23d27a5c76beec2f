"""Tables as they come: repeated corners, columns named like ours, several rows a place, keys with zeros, the poles."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Geod
from typer.testing import CliRunner

from chipweave.audit.elsewhere import Columns as AuditColumns
from chipweave.audit.elsewhere import audit_table
from chipweave.audit.outline import rings_of
from chipweave.audit.splits import buffer_of
from chipweave.audit.tables import load_rules
from chipweave.cli import app
from chipweave.errors import RecipeError, UsageError, YieldError
from chipweave.plan import distance
from chipweave.plan.splits import Options, split_places
from chipweave.plan.splits import deal as deal_room
from chipweave.plan.splits.clusters import chained
from chipweave.splits import Columns, split_file, split_table
from tiny import points

HALVES = {"train": 0.5, "test": 0.5}


# --- footprints -------------------------------------------------------------------


def five_corners(x: float, y: float = 5_000_000.0) -> shapely.Polygon:
    """A square of 100 m whose second corner comes twice: valid, as some writers make it."""
    ring = [(x, y), (x + 100, y), (x + 100, y), (x + 100, y + 100), (x, y + 100)]
    return shapely.Polygon(ring)


def test_a_corner_that_comes_twice_hides_no_distance(tmp_path):
    frame = gpd.GeoDataFrame(
        {"split": ["train", "test"]}, geometry=[five_corners(500_000), five_corners(500_300)], crs=32633
    )
    one, two = np.array([0]), np.array([1])
    assert distance.distances(rings_of(frame.geometry), one, two) == pytest.approx([200 / 0.9996], abs=0.01)
    frame.to_parquet(tmp_path / "t.parquet")
    assert audit_table(tmp_path / "t.parquet", buffer_m=640)["leakage"].numbers["too_close"] == 1
    with pytest.raises(YieldError, match="a split stays empty"):
        split_table(frame[["geometry"]], "random", leakage="fail", buffer_m=640, fractions=HALVES)


def test_an_outline_that_crosses_itself_counts_as_its_hull(tmp_path):
    bows = [
        shapely.Polygon([(x, 0), (x + 0.1, 0.1), (x + 0.1, 0), (x, 0.1 + lift)])
        for x, lift in ((0, 0), (0.02, 0.03))
    ]
    frame = gpd.GeoDataFrame({"split": ["train", "test"]}, geometry=bows, crs=4326)
    frame.to_parquet(tmp_path / "t.parquet")
    assert audit_table(tmp_path / "t.parquet")["leakage"].numbers["overlapping"] == 1


@pytest.mark.parametrize(("segments", "short"), [(16, 1e-3), (40, 4.0), (200, 4.0)])
def test_outlines_of_many_corners_come_out_no_farther_apart(segments, short):
    """Circles of 640 m a metre to a kilometre apart, in all directions: those of 64 corners exactly."""
    rng = np.random.default_rng(segments)
    shapes, true = [], []
    for angle, gap in zip(rng.uniform(0, 2 * np.pi, 40), rng.uniform(1, 1000, 40), strict=True):
        far = 1280 + gap
        x, y = 500_000 + far * np.cos(angle), 5_000_000 + far * np.sin(angle)
        pair = [shapely.Point(at).buffer(640, quad_segs=segments) for at in ((500_000, 5_000_000), (x, y))]
        shapes += pair
        true.append(shapely.distance(*pair) / 0.9996)
    rings = rings_of(gpd.GeoSeries(shapes, crs=32632))
    found = distance.distances(rings, np.arange(0, 80, 2), np.arange(1, 80, 2))
    assert np.all(found <= np.array(true) + 1e-3)
    assert np.all(found >= np.array(true) - short)


def test_a_point_at_a_pole_is_a_place():
    shapes = gpd.GeoSeries([shapely.Point(0, -90), shapely.Point(77, -89.99)], crs=4326)
    metres = distance.distances(rings_of(shapes), np.array([0]), np.array([1]))
    assert metres == pytest.approx([Geod(ellps="WGS84").inv(0, -90, 77, -89.99)[2]], abs=0.01)


def test_footprints_across_the_date_line_need_not_be_cut():
    """Squares of zone 60 in lon/lat, whose corners lie on both sides of ±180°: splits are those of the zone."""
    x, y = (
        a.ravel() for a in np.meshgrid(np.arange(15) * 1280.0 + 810_000, np.arange(15) * 1280.0 + 2_000_000)
    )
    squares = gpd.GeoDataFrame(geometry=shapely.box(x, y, x + 1280, y + 1280), crs=32660)
    turned = squares.to_crs(4326)
    wide = turned.bounds["maxx"] - turned.bounds["minx"] > 180
    assert wide.any()
    assert not wide.all()
    options = {"block_km": 5, "buffer_m": 500, "fractions": HALVES}
    own, other = split_table(squares, "blocks", **options), split_table(turned, "blocks", **options)
    assert own.counts["train"] > 50
    assert own.counts["gap"] == other.counts["gap"]
    for done in (own, other):
        kept = done.frame.to_crs(32660)
        one, two = (kept[kept["split"] == name].union_all() for name in ("train", "test"))
        assert one.distance(two) > 499


def test_where_a_place_lies_hangs_on_itself_alone():
    """A checkerboard is stable: a footprint of many corners elsewhere in the table moves nobody's centre."""
    x, y = (
        a.ravel() for a in np.meshgrid(np.arange(20) * 900.0 + 500_000, np.arange(20) * 900.0 + 4_000_000)
    )
    wedges = [shapely.Polygon([(a, b), (a + 800, b), (a, b + 200)]) for a, b in zip(x, y, strict=True)]
    frame = gpd.GeoDataFrame(geometry=wedges, crs=32633)
    circle = gpd.GeoDataFrame(
        geometry=[shapely.Point(530_000, 4_030_000).buffer(300, quad_segs=8)], crs=32633
    )
    options = {"block_km": 1, "fractions": HALVES, "jitter": [0, 0]}
    alone = split_table(frame, "checkerboard", **options).frame["split"]
    grown = split_table(pd.concat([frame, circle], ignore_index=True), "checkerboard", **options).frame[
        "split"
    ]
    assert alone.tolist() == grown[:-1].tolist()
    middle = frame.geometry.centroid.to_crs(4326)
    assert alone.tolist() == split_table(
        gpd.GeoDataFrame(geometry=middle), "checkerboard", **options
    ).frame["split"].tolist()  # fmt: skip


# --- columns ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["place", "lon", "lat", "error_m", "tile"])
def test_a_column_may_be_named_like_one_of_ours(name):
    frame = points(90, **{name: [k % 9 for k in range(90)]})
    done = split_table(frame, "groups", by=name, fractions=HALVES, buffer_m=10)
    assert done.frame.groupby(name)["split"].nunique().tolist() == [1] * 9
    even = split_table(frame, "blocks", stratify=name, block_km=5, fractions=HALVES)
    assert even.result.figures["stratify"]["worst"] < 0.2
    with pytest.raises(RecipeError, match=f"no column '{name}'"):
        split_table(frame.drop(columns=name), "groups", by=name)


def test_columns_of_lists_and_words_for_metres_are_refused(tmp_path):
    frame = points(30, classes=[["a", "b"], ["c"]] * 15, off=["far"] * 30, split=["train", "test"] * 15)
    for method, options in (
        ("groups", {"by": "classes"}), ("blocks", {"stratify": "classes"}), ("list", {"by": "classes"}),
        ("kfold", {"by": "classes"}),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match="'classes' holds several values"):
            split_table(frame, method, **options)
    for said in ({"columns": Columns(error="off")}, {"error": "off"}):
        with pytest.raises(RecipeError, match="'off' \\(error\\) holds no metres in row 0"):
            split_table(frame, "blocks", **said)
    with pytest.raises(RecipeError, match="'gap' is what rows in no split"):
        split_table(frame, "blocks", fractions={"train": 0.5, "gap": 0.5})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="'classes' holds several values"):
        audit_table(tmp_path / "t.parquet", AuditColumns(label="classes"))
    with pytest.raises(UsageError, match="buffer_m is inf"):
        audit_table(tmp_path / "t.parquet", buffer_m=float("inf"))
    with pytest.raises(UsageError, match="is a folder"):
        split_file(tmp_path / "t.parquet", tmp_path, "blocks")


def test_what_has_no_effect_is_told():
    frame = points(60, day=["2020"] * 60, off=[5000.0] * 60)
    said = Columns(time="day", labels=("day",), error="off", crs="day")
    notes = " ".join(split_table(frame, "random", columns=said).result.notes)
    for word in ("time: day", "labels: day", "tile and crs", "error: off"):
        assert f"{word} has no effect" in notes or f"{word} have no effect" in notes
    # A random split leaves nobody out, however far positions may be off.
    assert split_table(frame, "random", columns=said, jitter_m=5000).counts["gap"] == 0
    assert split_table(frame, "random", leakage="fail", jitter_m=5000, fractions=HALVES).counts["gap"] > 0


def test_a_buffer_that_nobody_keeps_needs_no_variogram(tmp_path):
    """`random` with a warning leaves nobody out: its lock has no range to verify against."""
    for split, range_m in (
        ("{method: random, buffer_m: auto}", 0.0),
        ("{buffer_m: auto, block_km: 4}", 700.0),
    ):
        (tmp_path / "recipe.yaml").write_text(f"split: {split}\n")
        found = {"variogram": {"range_m": range_m}} if range_m else {}
        (tmp_path / "chipweave.lock").write_text(json.dumps({"split": found}))
        rules, check = load_rules(tmp_path)
        assert check.verdict == "pass", check.text
        assert buffer_of(rules) == range_m


def test_two_names_for_one_option_are_refused():
    arguments = (
        "split",
        "in.parquet",
        "--method",
        "groups",
        "--by",
        "a",
        "--group",
        "b",
        "-o",
        "out.parquet",
    )
    found = CliRunner().invoke(app, arguments).exception
    assert isinstance(found, UsageError)
    assert "--by and --group" in found.message


# --- several rows a place -----------------------------------------------------------


def test_a_place_of_several_geometries_keeps_its_distance_with_all_of_them():
    rng = np.random.default_rng(3)
    x, y = np.repeat(rng.uniform(0, 60_000, (2, 120)), 3, axis=1) + rng.uniform(0, 1200, (2, 360))
    frame = gpd.GeoDataFrame(
        {"farm": [f"f{k // 3}" for k in range(360)]},
        geometry=gpd.points_from_xy(500_000 + x, 4_000_000 + y), crs=32633,
    )  # fmt: skip
    options = {"columns": Columns(place="farm"), "block_km": 8, "buffer_m": 1500, "fractions": HALVES}
    done = split_table(frame, "blocks", **options)
    assert done.frame.groupby("farm")["split"].nunique().max() == 1
    one, two = (done.frame[done.frame["split"] == name].union_all() for name in ("train", "test"))
    assert one.distance(two) * 1.0004 > 1499
    assert any("120 places have several geometries" in note for note in done.result.notes)
    turned = split_table(frame[::-1], "blocks", **options).frame["split"]
    assert turned.reindex(frame.index).tolist() == done.frame["split"].tolist()


def test_rows_of_a_place_that_disagree():
    frame = points(80)
    two = pd.concat(
        [frame.assign(part="train", off=0.0), frame.assign(part="test", off=12_000.0)], ignore_index=True
    )
    for method, options in (("groups", {"by": "part"}), ("list", {"by": "part"}), ("kfold", {"by": "part"})):
        with pytest.raises(RecipeError, match=r"80 places have several values of part.*\(test, train\)"):
            split_table(two, method, **options)
    options = {"block_km": 4, "stratify": "part", "columns": Columns(error="off"), "fractions": HALVES}
    done = split_table(two, "blocks", **options).frame["split"]
    assert done[:80].tolist() == done[80:].tolist()
    assert split_table(two[::-1], "blocks", **options).frame["split"].sort_index().tolist() == done.tolist()
    assert "gap" in done.tolist(), "the larger error holds"


def test_patches_of_two_tiles_go_where_each_says():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(500_000, 509_000, 200), rng.uniform(4_000_000, 4_009_000, 200)
    frame = gpd.GeoDataFrame(geometry=gpd.points_from_xy(x, y), crs=32633)

    def tiled(name: str, west: float, south: float) -> gpd.GeoDataFrame:
        return frame.assign(
            tile=name, tile_xmin=west, tile_ymin=south, tile_xmax=west + 20_000, tile_ymax=south + 20_000
        )

    both = pd.concat([tiled("a", 495_000, 3_995_000), tiled("b", 499_000, 3_999_500)], ignore_index=True)
    found = split_table(both, "inside_tile").frame["split"].to_numpy()
    for rows, west, south in ((slice(200), 495_000, 3_995_000), (slice(200, 400), 499_000, 3_999_500)):
        edge = np.minimum.reduce([x - west, west + 20_000 - x, y - south, south + 20_000 - y])
        wish = np.where(edge < 5000 * (2 - 2**0.5), "train", np.where(edge < 5000, "val", "test"))
        assert found[rows].tolist() == wish.tolist()


# --- growth -------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["id", None])
def test_a_table_grows_from_what_split_wrote(tmp_path, key):
    frame = points(300)
    frame[:200].to_parquet(tmp_path / "old.parquet")
    frame[::-1].to_parquet(tmp_path / "new.parquet")
    points(40, 80.0).to_parquet(tmp_path / "else.parquet")
    options = {"columns": Columns(key=key), "block_km": 9, "buffer_m": 900}

    def split(name: str, **more) -> tuple[list[str], pd.Series]:
        out = tmp_path / f"{name}-split.parquet"
        notes = split_file(tmp_path / f"{name}.parquet", out, "blocks", **options, **more)["notes"]
        return notes, gpd.read_parquet(out).set_index("id")["split"]

    _, old = split("old")
    earlier = {"previous": str(tmp_path / "old-split.parquet")}
    notes, new = split("new", seed=9, **earlier)
    kept = old[old != "gap"]
    assert new[kept.index].tolist() == kept.tolist()
    assert f"{len(kept)} of 300 places keep the split that they had" in notes
    notes, _ = split("else", **earlier)
    assert any("has none of these 40 places" in note for note in notes) == (key is None)


def test_keys_with_zeros_and_lists_by_the_own_key(tmp_path):
    frame = points(90)
    listed = frame[["id"]].assign(split=["train", "validation", "test"] * 30)
    listed.to_csv(tmp_path / "list.csv", index=False)
    said = {"columns": Columns(key="id"), "base": tmp_path}
    done = split_table(frame, "list", file="list.csv", **said)
    assert done.frame["split"].tolist() == ["train", "val", "test"] * 30
    pd.DataFrame({"id": ["0007", "nobody"], "split": ["test", "val"]}).to_csv(tmp_path / "o.csv", index=False)
    done = split_table(frame, "blocks", override="o.csv", **said)
    assert done.frame["split"][7] == "test"
    assert any("1 of 2 names are no place" in note and "nobody" in note for note in done.result.notes)


# --- deals --------------------------------------------------------------------------


def test_time_and_ground_hold_their_fractions_of_what_is_kept():
    frame = points(1500, day=np.random.default_rng(2).choice(["2018", "2020"], 1500, p=[0.7, 0.3]))
    for part in (0.6, 0.8):
        done = split_table(
            frame, "time", columns=Columns(time="day"), cutoffs=["2020"], space=True, block_km=8,
            fractions={"train": part, "test": 1 - part},
        )  # fmt: skip
        assert done.result.shares["train"] == pytest.approx(part, abs=0.05)
    ten = points(10, day=["2018", "2019", "2020", "2021"] * 2 + ["2018"] * 2)
    few = split_table(ten, "time", columns=Columns(time="day"), cutoffs=["2020"], space=True, block_km=1)
    assert min(few.result.shares.values()) > 0


def test_small_fractions_of_a_checkerboard_come_out():
    frame = points(4000)
    done = split_table(
        frame, "checkerboard", block_km=2, fractions={"train": 0.98, "val": 0.01, "test": 0.01}
    )
    assert done.result.shares["train"] == pytest.approx(0.98, abs=0.02)


def test_chains_across_all_the_world_are_refused():
    rings = np.repeat(rings_of(points(1).geometry), 50_000, axis=0)
    with pytest.raises(YieldError, match=r"split\.link_m: within 100000 m"):
        chained(rings, 100_000.0)


def test_folds_are_named_by_number():
    table = pd.DataFrame({"place": ["a", "b"], "lon": [1.0, 2.0], "lat": [1.0, 2.0]})
    rings = rings_of(gpd.GeoSeries(gpd.points_from_xy(table["lon"], table["lat"]), crs=4326))
    with pytest.raises(YieldError, match="in fold 0, fold 1, fold 2, fold 3, …, fold 29 each"):
        split_places(table, rings, method="kfold", options=Options(folds=30))


# --- values -------------------------------------------------------------------------


def test_text_in_shares_and_gaps_in_numbers():
    frame = points(300, **{"w.1": ["x"] * 300, "w.2": [0.5] * 300})
    with pytest.raises(RecipeError, match=r"'w\.1' holds no numbers"):
        split_table(frame, "blocks", stratify="w")
    height = pd.array([None if k % 7 == 0 else k * 1.5 for k in range(300)], dtype="Float64")
    for values in (height, [np.inf if k % 7 == 0 else k * 1.5 for k in range(300)]):
        done = split_table(frame.assign(height=values), "blocks", stratify="height")
        assert done.result.figures["stratify"]["worst"] < 0.1
    keyed = frame.assign(number=np.arange(300.0))
    done = split_table(keyed, "blocks", columns=Columns(key="number"), override={"3": "test"})
    assert done.frame["split"][3] == "test"


def test_a_column_fold_that_is_no_fold_is_left_alone(tmp_path):
    frame = points(60, fold=list(range(60)))
    split_file(_written(frame, tmp_path / "a.parquet"), tmp_path / "b.parquet", "blocks", block_km=9)
    done = split_table(
        gpd.read_parquet(tmp_path / "b.parquet"), "blocks", previous=str(tmp_path / "b.parquet")
    )
    assert any("60 of 60 places keep" in note for note in done.result.notes)
    assert any("a column split: it is written anew" in note for note in done.result.notes)


def _written(frame: gpd.GeoDataFrame, path):
    frame.to_parquet(path)
    return path


@pytest.mark.parametrize("crs", [32632, 3857])
def test_an_earlier_split_may_be_in_another_crs(tmp_path, crs):
    """Corners that were turned into another CRS and back differ in their last digit."""
    rng = np.random.default_rng(1)
    corners = zip(rng.uniform(9, 11, 80), rng.uniform(50, 52, 80), strict=True)
    frame = gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + 0.01, y + 0.01) for x, y in corners], crs=4326)
    before = split_table(frame, "blocks", block_km=20, seed=1, fractions=HALVES).frame
    before.to_crs(crs).to_parquet(tmp_path / "before.parquet")
    again = split_table(
        frame, "blocks", block_km=20, seed=2, fractions=HALVES, previous=str(tmp_path / "before.parquet")
    ).frame
    assert list(again["split"]) == list(before["split"])


def test_one_part_of_a_shape_of_parts_is_the_shape():
    squares = [shapely.box(10 + n / 5, 50, 10.1 + n / 5, 50.1) for n in range(20)]
    shapes = [shape for square in squares for shape in (square, shapely.MultiPolygon([square]))]
    done = split_table(gpd.GeoDataFrame(geometry=shapes, crs=4326), "random", seed=3)
    assert len(done.result.split) == 20
    assert list(done.frame["split"][::2]) == list(done.frame["split"][1::2])


def test_a_place_without_a_name_is_refused_and_a_row_off_the_earth_named():
    frame = points(10).assign(site=["a", "b", None, *"cdefghi"[:7]])
    with pytest.raises(RecipeError, match="names no place in row 2"):
        split_table(frame, "random", columns=Columns(place="site"))
    frame = points(10)
    values = frame.geometry.to_numpy().copy()
    values[7] = shapely.Point(9, 95)
    frame.geometry = gpd.GeoSeries(values, crs=4326)
    with pytest.raises(UsageError, match="row 7 leaves the domain"):
        split_table(frame, "random")


def test_more_folds_than_places_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(deal_room, "_spread", None)  # nobody looks for what cannot be
    with pytest.raises(YieldError, match="22 places lie in 22 units"):
        split_table(points(22), "kfold", folds=23, block_km=1)


def test_places_seen_in_several_times_fill_the_splits_that_lack_some():
    dates = [*["2018"] * 10, "2018", "2020", "2018", "2022"]
    frame = points(14).assign(time=dates)
    frame["site"] = [*map(str, range(10)), "x", "x", "y", "y"]
    done = split_table(frame, "time", columns=Columns(place="site", time="time"), cutoffs=["2020", "2022"])
    assert done.counts["val"] == 1
    assert done.counts["test"] == 1


def test_a_range_of_labels_dealt_at_random_is_told_to_be_weak():
    rng = np.random.default_rng(2)
    notes = [
        note
        for seed in range(6)
        for note in _notes(points(300, crop=rng.permutation(np.arange(300) % 3)), seed)
        if note.startswith("buffer_m")
    ]
    assert notes
    assert all("it is flat" in n or "may be chance" in n or "not reached" in n for n in notes)


def _notes(frame, seed):
    try:
        return split_table(
            frame, "blocks", block_km=10, seed=seed, buffer_m="auto", columns=Columns(labels=("crop",))
        ).result.notes
    except YieldError:
        return ()
