"""Samples that were made elsewhere: any table gives a clear answer."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from chipweave.audit.elsewhere import Columns, audit_table
from chipweave.errors import UsageError

SIDE = 1280.0


def table(path, n: int, split, *, side: float = SIDE, **columns):
    """n squares row by row; `split` by row and column, and further columns the same way."""
    across = int(np.ceil(np.sqrt(n)))
    row, col = np.divmod(np.arange(n), across)
    x, y = 500_000 + col * side, 4_400_000 - row * side
    made = {name: of(row, col) for name, of in {"split": split, **columns}.items()}
    gpd.GeoDataFrame(made, geometry=shapely.box(x, y - side, x + side, y), crs=32629).to_parquet(path)
    return path


def at_random(row, col):
    return np.random.default_rng(1).choice(["train", "val", "test"], len(row), p=[0.6, 0.2, 0.2])


def in_blocks(row, col):
    """Blocks of 8 x 8 with a gap of one chip between them."""
    which = (row // 8 + col // 8 * 2) % 5
    split = np.array(["train", "train", "train", "val", "test"])[which]
    return np.where((row % 8 == 7) | (col % 8 == 7), "gap", split)


def one(row, col):
    return np.full(len(row), "train", object)


def cover(row, col):
    return np.where(np.sin(row / 4) + np.sin(col / 5) > 0, "forest", "field")


@pytest.mark.parametrize("n", [1, 10])
@pytest.mark.parametrize("split", [at_random, one, in_blocks], ids=["random", "one split", "blocks"])
@pytest.mark.parametrize(
    "label", [cover, one, lambda r, _c: np.full(len(r), np.nan)], ids=["two", "one class", "none"]
)
def test_small_tables_get_a_clear_answer(tmp_path, n, split, label):
    report = audit_table(table(tmp_path / "t.parquet", n, split, label=label), Columns(label="label"))
    assert report.ok
    json.dumps(report.to_dict(), allow_nan=False)
    if split is one:
        assert "all rows are in one split, train" in report["splits"].text
        assert report["splits"].verdict == "warn"


def test_a_random_split_leaks_and_blocks_do_not(tmp_path):
    leaking = table(tmp_path / "random.parquet", 900, at_random, label=cover)
    report = audit_table(leaking, Columns(label="label"))
    assert report.ok  # nobody asked for a buffer
    assert report["neighbours"].verdict == "warn"
    assert "test is leaking" in report["neighbours"].text
    assert report["autocorrelation"].numbers["label"]["across"] > 0.7
    asked = audit_table(leaking, buffer_m=640)
    assert not asked.ok
    assert asked["leakage"].numbers["too_close"] > 100
    assert audit_table(leaking, buffer_m=640, leakage="warn").ok
    blocks = table(tmp_path / "blocks.parquet", 900, in_blocks, label=cover)
    report = audit_table(blocks, Columns(label="label"), buffer_m=640, picture=tmp_path / "blocks.png")
    assert {c.verdict for c in report.checks} == {"pass"}
    assert report["leakage"].numbers["nearest_m"] == pytest.approx(SIDE, abs=1)
    assert audit_table(blocks, buffer_m=640, jitter_m=400)["leakage"].verdict == "fail"
    assert audit_table(blocks, buffer_m=640, jitter_m=300)["leakage"].verdict == "pass"
    assert (tmp_path / "blocks.png").stat().st_size > 10_000


def test_groups_and_keys_and_dates(tmp_path):
    path = table(
        tmp_path / "t.parquet", 64, lambda _r, c: np.where(c < 4, "train", "test"),
        city=lambda r, _c: r // 4, name=lambda _r, _c: [f"k{n}" for n in range(63)] + ["k0"],
        day=lambda r, _c: np.where(r < 4, "2021-06-01", "2021-07-01"),
    )  # fmt: skip
    report = audit_table(path, Columns(group="city", key="name", time="day"))
    assert "city 0 is in 2 splits" in report["groups"].text
    assert report["groups"].verdict == "fail"
    assert "first k0" in report["table"].text
    assert report["scenes"].numbers["day"]["shared_dates"] == 2
    assert audit_table(path, Columns(group="city"), leakage="warn")["groups"].verdict == "warn"


def test_what_is_no_table_is_a_usage_error(tmp_path):
    path = table(tmp_path / "t.parquet", 4, one)
    for columns, word in ((Columns(split="fold"), "fold"), (Columns(label="land"), "land")):
        with pytest.raises(UsageError, match=f"no column '{word}'") as caught:
            audit_table(path, columns)
        assert "it has split, geometry" in caught.value.hint
    with pytest.raises(UsageError, match="no such table"):
        audit_table(tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match="no GeoParquet"):
        audit_table(tmp_path / "broken.parquet")
    frame = gpd.read_parquet(path)
    frame.drop(columns="geometry").to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(UsageError, match="no GeoParquet"):
        audit_table(tmp_path / "plain.parquet")
    frame.set_crs(None, allow_override=True).to_parquet(tmp_path / "nowhere.parquet")
    with pytest.raises(UsageError, match="names no CRS"):
        audit_table(tmp_path / "nowhere.parquet")


def test_rows_without_geometry_or_split_are_told(tmp_path):
    frame = gpd.read_parquet(table(tmp_path / "t.parquet", 9, one))
    frame.loc[2, "geometry"] = None
    frame.loc[3, "geometry"] = shapely.Point()
    frame.loc[4, "split"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    report = audit_table(tmp_path / "t.parquet")
    assert "2 rows have no geometry, or corners that are no numbers, first row 2" in report["table"].text
    assert report["splits"].numbers["gap"] == 1
    frame.iloc[:0].to_parquet(tmp_path / "empty.parquet")
    assert "no row is in a split" in audit_table(tmp_path / "empty.parquet")["splits"].text
    frame.assign(split="gap").to_parquet(tmp_path / "gap.parquet")
    assert not audit_table(tmp_path / "gap.parquet").ok


@pytest.mark.slow
def test_a_million_rows(tmp_path):
    path = table(tmp_path / "t.parquet", 1_000_000, in_blocks, label=cover)
    report = audit_table(path, Columns(label="label"), buffer_m=640, picture=tmp_path / "t.png")
    assert report.ok
    assert report["leakage"].numbers["nearest_m"] == pytest.approx(SIDE, rel=0.05)
