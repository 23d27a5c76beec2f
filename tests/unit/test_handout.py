"""A worker reads its own rows of the plan, and little else."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_weave import WC, add_label, add_scene, recipe

from chipweave import run
from chipweave.catalog import read_snapshot
from chipweave.errors import ChipweaveError
from chipweave.pixels import LayerRead
from chipweave.plan import handout
from chipweave.plan.handout import hand_out
from chipweave.plan.select import Limits
from chipweave.plan.survey import Reads


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    items = [add_scene(folder, f"S{d}", day=d) for d in (1, 5, 9)]
    run.plan(recipe(folder, [*items, add_label(folder, 260)], labels=WC), folder / "out", workers=0)
    return folder / "out" / "plan"


READS = Reads(
    {"s2": LayerRead(("red",), {"red": "bilinear"}, 0)},
    {"s2": Limits(None, None, 9)},
    {"worldcover": None},
    {},
)


def test_batches_hold_every_kept_chip_once_with_its_candidates_in_their_order(plan):
    chips, matches = pd.read_parquet(plan / "chips.parquet"), pd.read_parquet(plan / "matches.parquet")
    kept = chips[chips["state"] == "kept"]
    seen = []
    for number in sorted(kept["batch"].unique()):
        tasks, reads = hand_out(plan, int(number), READS)
        assert [t.chip.place.key for t in tasks] == kept[kept["batch"] == number]["key"].tolist()
        for task in tasks:
            own = matches[(matches["key"] == task.chip.place.key) & (matches["layer"] == "s2")].sort_values(
                "rank"
            )
            assert [c.scenes for c in task.chip.candidates["s2"]] == [(i,) for i in own["item"]]
            assert {n: t.scenes for n, t in task.chosen.items()} == {
                "s2": tuple((i,) for i in own[own["chosen"]]["item"])
            }
            assert task.chosen["s2"].at == (0,)
            assert task.chip.labels == {"worldcover": ("wc",)}
        assert set(reads.scenes) == {"s2", "worldcover"}
        seen += [t.chip.place.key for t in tasks]
    assert sorted(seen) == sorted(kept["key"])


def test_scenes_are_those_of_the_snapshot_whatever_is_kept(plan, monkeypatch):
    right = {(s.layer, s.id): s for s in read_snapshot(plan / "scenes.parquet")}
    for limit in (handout.SCENES_KEPT, 1):
        monkeypatch.setattr(handout, "SCENES_KEPT", limit)
        handout._snapshot.cache_clear()
        for number in (0, 1, 0):
            _, reads = hand_out(plan, number, READS)
            found = {(layer, i): s for layer, own in reads.scenes.items() for i, s in own.items()}
            assert repr(found) == repr({key: right[key] for key in found})  # a label's cloud is NaN
            assert len(found) == 4
        held = handout._snapshot(*handout._stamped(plan / "scenes.parquet"))._kept
        assert len(held) == min(limit, 4)


def test_tiles_that_are_left_out_are(plan):
    tasks, _ = hand_out(plan, 0, READS)
    assert tasks
    assert hand_out(plan, 0, READS, frozenset())[0] == ()
    assert hand_out(plan, 0, READS, {t.tile for t in tasks})[0] == tasks


def test_only_row_groups_that_may_hold_the_values_are_read(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"key": [f"{n:03d}" for n in range(100)], "n": range(100)}), path, row_group_size=10
    )
    read, real = [], pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_groups",
        lambda self, groups, **k: read.append(groups) or real(self, groups, **k),
    )
    table = handout._read(path, "key", ["041", "012", "049", "nobody"], ["n"])
    assert table["n"].to_pylist() == [12, 41, 49]
    assert read == [[1, 4]]
    assert handout._read(path, "key", ["nobody"], ["n"]).num_rows == 0


def test_a_plan_that_names_what_its_snapshot_lacks_is_refused(plan):
    with pytest.raises(ChipweaveError, match="lacks"):
        handout._snapshot(*handout._stamped(plan / "scenes.parquet")).scenes({"s2": ["nobody"]})
