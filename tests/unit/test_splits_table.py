"""`chipweave split TABLE` and `chipweave.splits`: tables that were made elsewhere."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import chipweave as cw
from chipweave.errors import RecipeError, UsageError
from chipweave.plan import distance
from chipweave.splits import Columns, option_values, split_table
from worlds.harness import chipweave, refuse, succeed


def table(n=24, side=1280.0, crs=32629) -> gpd.GeoDataFrame:
    x, y = np.meshgrid(400_000 + np.arange(n) * side, 4_500_000 - np.arange(n) * side)
    x, y = x.ravel(), y.ravel()
    own = {
        "name": [f"p{k}" for k in range(n * n)], "country": np.array(["PRT", "ESP"])[(x > 410_000).astype(int)],
        "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n * n) % 700, "D"),
        "class": np.array(["a", "b", "c"])[np.arange(n * n) % 3],
    }  # fmt: skip
    return gpd.GeoDataFrame(own, geometry=shapely.box(x, y - side, x + side, y), crs=crs)


def test_the_command_writes_the_table_with_its_splits(tmp_path):
    frame = table()
    frame.to_parquet(tmp_path / "in.parquet")
    done = succeed(
        "split", "in.parquet", "--method", "blocks", "--block-km", "5", "--buffer-m", "640", "--seed", "7",
        "--fractions", "train=0.6,val=0.2,test=0.2", "--key", "name", "-o", "out.parquet", "--json", cwd=tmp_path,
    )  # fmt: skip
    said = json.loads(done.stdout)
    out = gpd.read_parquet(tmp_path / "out.parquet")
    assert out.drop(columns="split").equals(frame)
    assert out.crs == frame.crs
    assert said["splits"] == {k: int((out["split"] == k).sum()) for k in ("train", "val", "test", "gap")}
    assert said["rows"] == said["places"] == 576
    assert said["method"] == "blocks"
    assert said["stability"] == "pinned"
    assert any("give way" in note for note in said["notes"])
    kept = out[out["split"] != "gap"]
    corners = kept.geometry.bounds
    rings = distance.rings(["EPSG:32629"] * len(kept), corners["minx"], corners["maxy"], 1280.0)
    sides = pd.factorize(kept["split"])[0]
    assert distance.close_pairs(rings, 3000.0, groups=sides)[2].min() >= 640.0
    # Rows in another order, and in another CRS: the same splits.
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "in.parquet")
    succeed("split", "in.parquet", "--block-km", "5", "--buffer-m", "640", "--seed", "7", "--set",
            "fractions.train=0.6", "--set", "fractions.val=0.2", "--set", "fractions.test=0.2", "-o", "b.parquet",
            cwd=tmp_path)  # fmt: skip
    again = gpd.read_parquet(tmp_path / "b.parquet").set_index("name")["split"]
    assert again.reindex(out["name"]).tolist() == out["split"].tolist()


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (["missing.parquet"], 2, ("no such table",)),
        (["text.parquet"], 2, ("is no GeoParquet",)),
        (["plain.parquet"], 2, ("is no GeoParquet",)),
        (["nocrs.parquet"], 2, ("names no CRS",)),
        (["holes.parquet"], 2, ("1 rows", "first row 3")),
        (["in.parquet", "--method", "block"], 3, ("split.method", "blocks")),
        (["in.parquet", "--method", "groups"], 3, ("'by'",)),
        (["in.parquet", "--method", "groups", "--by", "region"], 3, ("region",)),
        (["in.parquet", "--method", "inside_tile"], 3, ("'tile'",)),
        (["in.parquet", "--fractions", "train=0.6,val=0.2"], 3, ("sum to 0.8",)),
        (["in.parquet", "--set", "angel_deg=3"], 3, ("angle_deg",)),
        (["in.parquet", "--set", "angle_deg=3"], 3, ("no option of method 'blocks'",)),
        (["in.parquet", "--set", "folds"], 2, ("key=value",)),
        (["in.parquet", "--folds"], 2, ("--folds", "its value")),
        (["in.parquet", "more.parquet"], 2, ("more.parquet",)),
        (["in.parquet", "--method", "bands", "--angel-deg", "3"], 3, ("angle_deg",)),
        (["in.parquet", "--buffer-m", "1e6"], 5, ("stays empty", "1e+06 m")),
        (["in.parquet", "--method", "time", "--time", "class", "--set", "cutoffs=[2020]"], 3, ("no date",)),
        (["in.parquet", "--override", "none.csv"], 3, ("none.csv",)),
        (["one.parquet"], 5, ("1 places",)),
        (["none.parquet"], 5, ("no row",)),
    ],
)
def test_what_cannot_be_is_answered(tmp_path, arguments, code, names):
    frame = table(6)
    frame.to_parquet(tmp_path / "in.parquet")
    frame[:1].to_parquet(tmp_path / "one.parquet")
    frame[:0].to_parquet(tmp_path / "none.parquet")
    frame.drop(columns="geometry").to_parquet(tmp_path / "plain.parquet")
    frame.set_crs(None, allow_override=True).to_parquet(tmp_path / "nocrs.parquet")
    frame.assign(geometry=[*frame.geometry[:3], None, *frame.geometry[4:]]).to_parquet(
        tmp_path / "holes.parquet"
    )
    (tmp_path / "text.parquet").write_text("no table")
    refuse(code, "split", *arguments, "-o", "out.parquet", cwd=tmp_path, names=names)
    assert not (tmp_path / "out.parquet").exists()


def test_a_table_is_not_written_over_itself(tmp_path):
    table(4).to_parquet(tmp_path / "in.parquet")
    before = (tmp_path / "in.parquet").read_bytes()
    refuse(2, "split", "in.parquet", "-o", "in.parquet", cwd=tmp_path, names=("the table itself",))
    assert (tmp_path / "in.parquet").read_bytes() == before


def test_every_key_of_split_is_an_option(tmp_path):
    table(12).to_parquet(tmp_path / "in.parquet")
    common = ("-o", "out.parquet", "--json")
    done = succeed(
        "split",
        "in.parquet",
        "--method",
        "kfold",
        "--folds",
        "3",
        "--cells=h3",
        "--block-km",
        "2",
        *common,
        cwd=tmp_path,
    )
    assert set(json.loads(done.stdout)["figures"]["folds"]) == {"0", "1", "2"}
    succeed(
        "split",
        "in.parquet",
        "--method",
        "bands",
        "--bands",
        "6",
        "--angle-deg",
        "-30",
        *common,
        cwd=tmp_path,
    )


def test_ten_rows_say_what_became_of_them(tmp_path):
    table()[:10].to_parquet(tmp_path / "in.parquet")
    said = succeed("split", "in.parquet", "--method", "random", "-o", "out.parquet", cwd=tmp_path).stdout
    assert "train" in said
    assert "leaks" in said
    chipweave("split", "--help")


def test_points_lines_and_both_sides_of_the_date_line_are_split():
    lon = np.concatenate([np.linspace(179.5, 179.99, 50), np.linspace(-179.99, -179.5, 50)])
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, np.full(100, -17.0)), crs=4326)
    done = cw.splits.split_table(
        points, "blocks", block_km=2, buffer_m=300, fractions={"train": 0.5, "test": 0.5}
    )
    assert done.counts["train"] > 20
    assert done.counts["test"] > 20
    kept = done.frame[done.frame["split"] != "gap"].to_crs(32701)
    for _, row in kept.iterrows():
        others = kept[kept["split"] != row["split"]]
        assert others.distance(row["geometry"]).min() > 299
    chains = cw.splits.split_table(
        points, "clusters", cluster="distance", link_m=2500, fractions={"train": 1.0}
    )
    assert len(set(chains.result.block)) == 1, "no seam at 180°"


def test_rows_of_one_geometry_are_one_place():
    frame = table(10)
    twice = pd.concat([frame, frame.assign(name=frame["name"] + "b")], ignore_index=True)
    done = split_table(twice, "random")
    assert len(done.result.split) == 100
    assert done.frame["split"][:100].tolist() == done.frame["split"][100:].tolist()
    done = split_table(
        frame, "random", columns=Columns(place="country"), fractions={"train": 0.5, "test": 0.5}
    )
    assert done.frame.groupby("country")["split"].nunique().tolist() == [1, 1]


def test_dates_of_one_place_stay_apart_from_other_splits():
    frame = pd.concat([table(12).assign(when=str(year)) for year in (2018, 2020)], ignore_index=True)
    done = split_table(frame, "time", columns=Columns(time="when"), cutoffs=["2019"], block_km=4)
    found = done.frame
    assert set(zip(found["when"], found["split"], strict=True)) == {
        ("2018", "train"), ("2018", "gap"), ("2020", "test"), ("2020", "gap"),
    }  # fmt: skip
    of_place = found[found["split"] != "gap"].groupby(found.geometry.to_wkb())["split"].nunique()
    assert of_place.max() == 1


def test_lists_overrides_and_earlier_tables_are_followed(tmp_path):
    frame = table(16)
    listed = frame[["name"]].assign(part=np.array(["training", "validation", "test"])[np.arange(256) % 3])
    listed[:-6].rename(columns={"name": "id"}).to_csv(tmp_path / "list.csv", index=False)
    said = Columns(key="name")
    done = split_table(frame, "list", columns=said, base=tmp_path, file="list.csv", key="id", column="part")
    assert done.counts == {"train": 84, "val": 83, "test": 83, "gap": 6}
    assert any("6 of 256 places stand in no list" in note for note in done.result.notes)
    first = split_table(frame[:128], "blocks", columns=said, block_km=5, buffer_m=300)
    first.frame[["name", "split"]].rename(columns={"name": "key"}).to_csv(tmp_path / "first.csv", index=False)
    grown = split_table(
        frame, "blocks", columns=said, base=tmp_path, block_km=5, buffer_m=300, previous="first.csv"
    )
    old = first.frame["split"].to_numpy()
    assert (grown.frame["split"][:128].to_numpy()[old != "gap"] == old[old != "gap"]).all()
    pinned = split_table(frame, "blocks", columns=said, block_km=5, override={"p17": "test"})
    assert pinned.frame["split"][17] == "test"
    with pytest.raises(RecipeError, match="'p999' is no key"):
        split_table(frame, "blocks", columns=said, block_km=5, override={"p999": "test"})


def test_strata_errors_and_folds_of_a_table():
    frame = table().assign(off=np.where(np.arange(576) % 2, 0.0, 500.0))
    done = split_table(
        frame, "blocks", block_km=4, buffer_m=200, stratify=["class", "country"], columns=Columns(error="off")
    )
    assert done.result.figures["stratify"]["worst"] < 0.05
    strict = split_table(frame, "blocks", block_km=4, buffer_m=200, jitter_m=700)
    assert strict.counts["gap"] > split_table(frame, "blocks", block_km=4, buffer_m=200).counts["gap"]
    folds = split_table(frame, "kfold", folds=4, block_km=4).frame
    assert set(folds["split"]) == {"all"}
    assert folds["fold"].dtype == np.int32
    assert folds["fold"].value_counts().min() > 100
    auto = split_table(frame, "blocks", block_km=10, buffer_m="auto", columns=Columns(labels=("country",)))
    assert auto.result.figures["variogram"]["range_m"] > 2000


def test_options_of_a_command_line_are_read():
    assert option_values({"fractions": "train=0.6,test=0.4", "by": "2020", "seed": None, "buffer_m": "1e3"}, []) == {
        "fractions": {"train": 0.6, "test": 0.4}, "by": "2020", "buffer_m": 1000.0,
    }  # fmt: skip
    assert option_values({}, ["periods.train=2018/2019", "jitter=[0.5, 0]", "by=no"]) == {
        "periods": {"train": "2018/2019"}, "jitter": [0.5, 0], "by": "no",
    }  # fmt: skip
    for bad in ("x", "a=[", "by.b=1"):
        with pytest.raises(UsageError):
            option_values({"by": "c"}, [bad])


def test_the_public_names_are_there():
    for name in cw.splits.__all__:
        assert getattr(cw.splits, name) is not None
    assert set(cw.splits.METHODS) >= {"blocks", "inside_tile", "random"}
