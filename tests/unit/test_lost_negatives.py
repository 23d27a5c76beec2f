"""The card says where a provider subtracted the offset of Sentinel-2 in files that hold no negative numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import shapely

import fakes
from chipweave.catalog.snapshot import write_snapshot
from chipweave.describe import write_card
from chipweave.describe.negatives import subtracted
from chipweave.describe.summary import Summary
from chipweave.model import Asset, Scene


def scene(name, baseline, add, layer="s2"):
    assets = {"red": Asset("x.tif", add=add), "scl": Asset("y.tif")}
    return Scene(
        layer, name, "sentinel-2-l2a", datetime(2022, 6, 1, tzinfo=UTC), shapely.box(0, 0, 1, 1),
        processed=f"{baseline:05.2f} 2022-06-01T00:00:00.000000Z 00" if baseline else "", assets=assets,
    )  # fmt: skip


def test_items_whose_offset_is_gone_are_counted(tmp_path):
    (tmp_path / "plan").mkdir()
    scenes = [
        scene("as ESA has it", 5.09, -1000.0), scene("subtracted", 5.09, 0.0), scene("old", 2.14, 0.0),
        scene("subtracted too", 4.0, 0.0), scene("not used", 5.09, 0.0), scene("unknown", 0, 0.0),
        scene("s1", 0, 0.0, "s1"),
    ]  # fmt: skip
    write_snapshot(scenes, tmp_path / "plan" / "scenes.parquet")
    used = {"s2": {s.id for s in scenes} - {"not used", "s1"}, "s1": {"s1"}}
    assert subtracted(tmp_path, used) == {"s2": 2}
    assert subtracted(tmp_path / "elsewhere", used) == {}


def test_the_card_says_so(tmp_path):
    layers = fakes.layer_specs(16)
    summary = Summary(counts={"train": 3}, items={"s2": 5})
    assert "subtracted" not in write_card(tmp_path, {}, layers, summary).read_text(encoding="utf-8")
    text = write_card(tmp_path, {}, layers, replace(summary, subtracted={"s2": 2})).read_text(
        encoding="utf-8"
    )
    assert "`s2`: of 2 of its 5 items the offset was subtracted where they come from" in text
