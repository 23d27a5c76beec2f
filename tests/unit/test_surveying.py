"""Survey at any size: tasks are made as they are taken, and what they found is put in the chips' order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely

from chipweave.labels import LabelRead
from chipweave.model import Asset, Legend, LegendClass, MaskRule
from chipweave.pixels import LayerRead
from chipweave.plan import surveying
from chipweave.plan.select import Limits
from chipweave.plan.survey import Reads
from chipweave.plan.surveying import Survey, survey_task
from tiny import UTM, outline, scene

X, Y, SIDE = 500_000.0, 5_000_000.0, 160.0
LEGEND = Legend("little", (LegendClass(1, "a", "#000000"),), nodata=0)


def world(n: int = 6, **more) -> tuple[pd.DataFrame, pa.Array, Reads]:
    """n x n chips; a scene over all of them, one over the western half, a label raster that misses the last row."""
    cells = [(c, r) for c in range(n) for r in range(n)]
    ground = [
        outline(UTM, X + c * SIDE, Y - (r + 1) * SIDE, X + (c + 1) * SIDE, Y - r * SIDE) for c, r in cells
    ]
    places = pd.DataFrame(
        {
            "key": [f"k{c}-{r}" for c, r in cells], "place": [f"k{c}-{r}" for c, r in cells], "crs": UTM,
            "x": [X + c * SIDE for c, _ in cells], "y": [Y - r * SIDE for _, r in cells], "size": 16,
            "resolution": 10.0, "reason": "",
        }
    )  # fmt: skip
    places.loc[0, "reason"] = "overlap"
    south = Y - n * SIDE
    all_over = outline(UTM, X - 9, south - 9, X + n * SIDE + 9, Y + 9)
    scenes = {
        "s2": [
            # Without their mask they count as clear: no file is read.
            scene("all", all_over, cloud=50.0, missing=("scl",)),
            scene(
                "west", outline(UTM, X - 9, south - 9, X + n / 2 * SIDE - 40, Y + 9), time="2021-07-01", cloud=1.0,
                missing=("scl",),
            ),
        ],
        "lc": [
            scene(
                "map", outline(UTM, X - 9, south + 1.5 * SIDE, X + n * SIDE + 9, Y + 9), layer="lc", edition="2021",
                assets={"map": Asset("m")},
            )
        ],
    }  # fmt: skip
    reads = Reads(
        {"s2": LayerRead(("red",), {"red": "bilinear"}, 0, MaskRule("scl", (3,), (0,)))},
        {"s2": Limits(None, None, 8)},
        {"lc": LabelRead(LEGEND, "nearest", 0, "map")},
        {layer: {s.id: s for s in own} for layer, own in scenes.items()},
    )  # fmt: skip
    return places, pa.array(shapely.to_wkb(np.array(ground)), pa.binary()), replace(reads, **more)


@pytest.mark.parametrize(("chunk", "worth"), [(20_000, 1), (7, 1), (5, 10**9), (20_000, 10**9)])
def test_every_chip_is_handed_out_once_whatever_the_chunks(monkeypatch, tmp_path, chunk, worth):
    monkeypatch.setattr(surveying, "CHUNK", chunk)
    monkeypatch.setattr(surveying, "WORTH_PX", worth)
    places, wkb, reads = world()
    survey = Survey(places, wkb, reads, (), "d", 32)
    seen, chosen = [], {}
    for task in survey.tasks():
        for tile in task.tiles:
            xs = {(p.x // 320, p.y // 320) for p in tile.places}
            assert len(tile.places) <= 4
            assert len(xs) <= 4
            for chip in tile.chips():
                seen.append(chip.place.key)
                wanted = [("west",), ("all",)] if chip.place.x < X + 3 * SIDE else [("all",)]
                assert [c.scenes for c in chip.candidates["s2"]] == wanted
                assert chip.labels == {"lc": ("map",)}
        settled = survey.settle(survey_task(task, tmp_path))
        for row, outcome in zip(settled.rows, settled.outcomes, strict=True):
            chosen[places["key"][row]] = outcome.choices["s2"]
    served = [k for k in places["key"][1:] if not k.endswith("-5")]
    assert sorted(seen) == sorted(served) == sorted(chosen)
    assert all(c == (True, "", "", "", 0.0, 1.0) for c in chosen.values())
    assert [survey.layers[n] for n in np.unique(survey.lacking[survey.lacking >= 0])] == ["lc"]
    assert sorted(places["key"][survey.lacking >= 0]) == [f"k{c}-5" for c in range(6)]
    assert (survey.task >= 0).sum() == len(served)
    assert survey.count[survey.task >= 0].min() == 2


def test_a_task_is_made_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(surveying, "CHUNK", 4)
    monkeypatch.setattr(surveying, "WORTH_PX", 1)
    survey = Survey(*world(), (), "d", 32)
    tasks = survey.tasks()
    next(tasks)
    assert survey.tasks_made == 1
    assert survey.tiles >= 9
    assert survey.candidates < 20, "the rest is not matched yet"


def test_a_task_carries_the_scenes_that_its_chips_may_use(monkeypatch):
    monkeypatch.setattr(surveying, "WORTH_PX", 1)
    held = [set(t.reads.scenes["s2"]) for t in Survey(*world(), (), "d", 16).tasks()]
    assert {"all"} in held
    assert {"all", "west"} in held


def test_what_was_surveyed_is_not_surveyed_again(monkeypatch, tmp_path):
    """A receipt serves the same chips of the same snapshot, and no others."""
    first = [survey_task(t, tmp_path) for t in Survey(*world(), (), "d", 32).tasks()]
    calls = []
    real = surveying.survey_tile
    monkeypatch.setattr(surveying, "survey_tile", lambda *a: (calls.append(1), real(*a))[1])
    again = [survey_task(t, tmp_path) for t in Survey(*world(), (), "d", 32).tasks()]
    assert repr(again) == repr(first)
    assert not calls
    for digest, tile_px in (("e", 32), ("d", 16)):
        before = len(calls)
        for task in Survey(*world(), (), digest, tile_px).tasks():
            survey_task(task, tmp_path)
        assert len(calls) > before
    [path] = sorted((tmp_path / "survey").glob("tile-000000.arrow"))
    whole = path.read_bytes()
    for rows in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(rows)
        calls.clear()
        survey_task(next(Survey(*world(), (), "d", 16).tasks()), tmp_path)
        assert calls, "a receipt without its rows is none"
        assert path.read_bytes() == whole
