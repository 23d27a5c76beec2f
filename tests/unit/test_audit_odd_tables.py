"""Tables of samples as they come: points, folds, rows without names, codes with gaps, pairs beyond counting."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely

from chipweave.audit.elsewhere import Columns, audit_table
from tiny import points
from worlds.harness import refuse, succeed


def test_points_are_drawn_and_folds_are_audited(tmp_path):
    points(60).to_parquet(tmp_path / "in.parquet")
    succeed(
        "split",
        "in.parquet",
        "--method",
        "kfold",
        "--folds",
        "3",
        "--block-km",
        "5",
        "-o",
        "k.parquet",
        cwd=tmp_path,
    )
    done = succeed("audit", "k.parquet", "-o", "k.png", cwd=tmp_path)
    assert "fold 0 20, fold 1 20, fold 2 20" in done.stdout
    assert (tmp_path / "k.png").stat().st_size > 5_000
    refuse(6, "audit", "k.parquet", "--buffer-m", "90000", cwd=tmp_path, names=("leakage",))


def test_codes_of_classes_that_have_gaps_are_classes(tmp_path):
    codes = np.where(np.arange(80) % 2, 10.0, 20.0)
    codes[7] = np.nan
    frame = points(80).assign(split=["train", "test"] * 40, code=codes, height=np.arange(80) / 7)
    frame.to_parquet(tmp_path / "t.parquet")
    apart = audit_table(tmp_path / "t.parquet", Columns(label="code"))["classes"].numbers["code"]
    assert apart["jensen_shannon"] == {"train-test": 1.0}
    tenths = audit_table(tmp_path / "t.parquet", Columns(label="height"))["classes"].numbers["height"]
    assert tenths["jensen_shannon"]["train-test"] < 0.2


def test_rows_are_told_apart_without_keys(tmp_path):
    frame = points(20, split=["train", "test"] * 10, key=[None, None, *[f"k{n}" for n in range(18)]])
    twice = pd.concat([frame, points(20, 40.0, split=["test", "train"] * 10, key=["z"] * 20)])
    twice.to_parquet(tmp_path / "t.parquet")  # its index counts to 20 twice
    assert audit_table(tmp_path / "t.parquet")["leakage"].verdict == "pass"
    frame.to_parquet(tmp_path / "t.parquet")
    report = audit_table(tmp_path / "t.parquet", Columns(key="key"))
    assert "2 rows have no key" in report["table"].text
    assert report["leakage"].verdict == "pass"


def test_more_pairs_than_can_be_counted_are_told_by_the_nearest(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    frame = points(400).assign(split=rng.choice(["train", "test"], 400))
    frame.to_parquet(tmp_path / "t.parquet")
    whole = audit_table(tmp_path / "t.parquet", buffer_m=50_000)["leakage"]
    monkeypatch.setattr("chipweave.audit.geometry.MOST_PAIRS", 2_000)
    some = audit_table(tmp_path / "t.parquet", buffer_m=50_000)["leakage"]
    assert (whole.verdict, some.verdict) == ("fail", "fail")
    assert "counted_m" not in whole.numbers
    assert 0 < some.numbers["too_close"] < whole.numbers["too_close"]
    assert some.numbers["counted_m"] < 50_000
    assert some.numbers["nearest_m"] == whole.numbers["nearest_m"]
    # Many dates of few places, dealt at random: each footprint counts once a split.
    stack = pd.concat([frame[:20]] * 30, ignore_index=True)
    stack["split"] = rng.choice(["train", "test"], 600)
    stack.to_parquet(tmp_path / "t.parquet")
    assert audit_table(tmp_path / "t.parquet")["leakage"].numbers["overlapping"] == 20


def test_corners_that_are_no_numbers_are_told_with_their_row(tmp_path):
    frame = points(40).assign(split=["train", "test"] * 20)
    square = shapely.box(10, 50, 10.1, 50.1)
    corners = shapely.get_coordinates(square)
    corners[2, 1] = np.nan
    values = frame.geometry.to_numpy().copy()
    values[5] = shapely.set_coordinates(square, corners)
    frame.geometry = gpd.GeoSeries(values, crs=4326)
    frame.to_parquet(tmp_path / "t.parquet")
    with np.errstate(invalid="ignore"):
        found = audit_table(tmp_path / "t.parquet")
    assert found["table"].verdict == "fail"
    assert "first row 5" in found["table"].text
    assert found["leakage"].verdict == "pass"
    refuse(2, "split", "t.parquet", "--method", "random", "-o", "o.parquet", cwd=tmp_path, names=("row 5",))


def test_bytes_that_are_no_geometry_are_no_table(tmp_path):
    points(5).assign(split="train").to_parquet(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    spoilt = [*table["geometry"].to_pylist()[:4], b"\x01\x03\x00\x00\x00spoilt"]
    table = table.set_column(
        table.schema.get_field_index("geometry"), table.schema.field("geometry"), [spoilt]
    )
    pq.write_table(table, tmp_path / "t.parquet")
    refuse(2, "audit", "t.parquet", cwd=tmp_path, names=("is no GeoParquet",))
