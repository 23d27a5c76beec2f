"""Windows of batches: exact shards, bounded scratch, the same bytes after any kill."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass

import numpy as np
import pytest

from chipweave.errors import RecipeError
from chipweave.recipe import require_built
from chipweave.shards import windows as windows_module
from chipweave.shards.deal import make_deal, serial
from chipweave.shards.receipts import load_receipt
from chipweave.shards.windows import Windows
from chipweave.shards.zarr_out import deal_zarr
from tiny import load
from worlds.littleset import LAYERS, sample_of, split_by_number, tree, weave

COUNT, PER_BATCH, SIZE, PER_SHARD = 61, 4, 3, 5
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Batch:
    number: int
    digest: str = ""


BATCHES = [Batch(n) for n in range(-(-COUNT // PER_BATCH))]


@pytest.fixture(autouse=True)
def _patient_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


class Loom:
    """Weaves batches that have no receipt yet; remembers which, and the most scratch it saw."""

    def __init__(self, folder):
        self.work, self.woven, self.most = folder / ".work", [], 0

    def __call__(self, group):
        receipts = []
        for batch in group:
            found = load_receipt(self.work, batch.number)
            if found is None:
                first = batch.number * PER_BATCH
                found = weave(self.work, batch.number, range(first, min(first + PER_BATCH, COUNT)))
                self.woven.append(batch.number)
            receipts.append(found)
            here = sum(p.stat().st_size for p in (self.work / "parts").iterdir())
            self.most = max(self.most, here)
        return receipts


def run(folder, mapper=serial, size=SIZE, zarr=True, seed=7):
    loom = Loom(folder)
    windows = Windows(folder, folder / ".work", size, PER_SHARD, seed)
    done = windows.run(BATCHES, loom, mapper)
    deal, rows = windows.finish(mapper)
    if zarr:
        deal_zarr(deal, LAYERS, mapper)
    return loom, done, deal, rows


def keys_of(path):
    with tarfile.open(path) as tar:
        return [n.removesuffix(".json") for n in tar.getnames() if n.endswith(".json")]


def dealt(folder, split):
    return [keys_of(p) for p in sorted((folder / "shards").glob(f"{split}-*.tar"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_shards_are_exact_across_windows(whole):
    folder, _ = whole
    for split in SPLITS:
        shards = dealt(folder, split)
        numbers = [int(k[-3:]) for keys in shards for k in keys]
        assert sorted(numbers) == [i for i in range(COUNT) if split_by_number(i) == split]
        assert {len(keys) for keys in shards[:-1]} <= {PER_SHARD}
        assert 1 <= len(shards[-1]) <= PER_SHARD
        names = sorted(p.name for p in (folder / "shards").glob(f"{split}-*.tar"))
        assert names == [f"{split}-{i:06d}.tar" for i in range(len(names))]


def test_a_window_is_shuffled_in_itself(whole):
    folder, _ = whole
    train = [int(k[-3:]) for keys in dealt(folder, "train") for k in keys]
    window_of = [n // (PER_BATCH * SIZE) for n in train]
    assert window_of == sorted(window_of)
    for window in range(max(window_of)):
        inside = [n for n, w in zip(train, window_of, strict=True) if w == window]
        assert inside != sorted(inside)


def test_samples_are_what_was_woven_and_zarr_holds_the_same(whole):
    import xarray as xr

    from chipweave.shards.sample import sample_members

    folder, _ = whole
    for split in SPLITS:
        keys = [k for shard in dealt(folder, split) for k in shard]
        for path in (folder / "shards").glob(f"{split}-*.tar"):
            with tarfile.open(path) as tar:
                for key in keys_of(path):
                    for member in sample_members(sample_of(int(key[-3:]), split)):
                        assert tar.extractfile(member.name).read() == member.join()
        for spec in LAYERS:
            data = xr.open_zarr(folder / "zarr" / f"{split}.zarr", group=spec.name)
            assert data["key"].values.tolist() == keys
            want = np.stack([sample_of(int(k[-3:]), split).arrays[spec.name] for k in keys])
            assert np.array_equal(data[spec.name].values, want)


def test_scratch_holds_a_window_and_less_than_a_shard_of_each_split(whole):
    _, (loom, done, _, _) = whole
    most = max(row.size for receipt in done for row in receipt.samples)
    # A window's parts; what was left of the one before, in its part. (One more part may await removal.)
    assert loom.most <= most * (SIZE * PER_BATCH + len(SPLITS) * (PER_SHARD - 1))
    assert loom.most < sum(receipt.bytes for receipt in done) / 2


def test_parts_are_freed(whole):
    folder, _ = whole
    assert [p.name for p in (folder / ".work" / "parts").iterdir()] == ["left-000005.part"]


def test_one_window_of_all_batches_is_one_permutation(tmp_path):
    run(tmp_path, size=1000, zarr=False)
    train = [k for keys in dealt(tmp_path, "train") for k in keys]
    assert train != sorted(train)
    assert len(set(train)) == len(train)


def test_the_order_hangs_on_the_seed(tmp_path, whole):
    run(tmp_path, zarr=False, seed=8)
    assert dealt(tmp_path, "train") != dealt(whole[0], "train")


class Killed(BaseException):
    """As if the process had ended here."""


class Fuse:
    """Ends the process at the n-th of some steps."""

    def __init__(self, left):
        self.left = left

    def burn(self, *_):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def wrap(self, function):
        def wrapped(*args, **kwargs):
            self.burn()
            result = function(*args, **kwargs)
            self.burn()
            return result

        return wrapped


def steps(monkeypatch, fuse):
    """Every step of closing a window, and every shard, may be the last."""
    monkeypatch.setattr(windows_module, "atomic_write_bytes", fuse.wrap(windows_module.atomic_write_bytes))
    monkeypatch.setattr(windows_module, "xxh3_file", fuse.wrap(windows_module.xxh3_file))
    monkeypatch.setattr(Windows, "_free", fuse.wrap(Windows._free))

    def mapper(function, tasks, /):
        for task in tasks:
            fuse.burn()
            yield function(task)

    return mapper


@pytest.mark.parametrize("after", range(0, 60, 3))
def test_a_kill_anywhere_changes_no_byte(tmp_path, monkeypatch, whole, after):
    reference = {k: v for k, v in tree(whole[0]).items() if k.startswith("shards/")}
    with monkeypatch.context() as patched:
        mapper = steps(patched, Fuse(after))
        try:
            first = None
            first, *_ = run(tmp_path, mapper, zarr=False)
        except Killed:
            assert first is None
    loom, *_ = run(tmp_path, zarr=False)
    assert tree(tmp_path) == reference
    if after > 30:
        assert 0 not in loom.woven  # what was dealt is not woven again


def test_a_spoilt_shard_of_a_closed_window_is_made_again(tmp_path, whole):
    reference = {k: v for k, v in tree(whole[0]).items() if k.startswith("shards/")}
    loom = Loom(tmp_path)
    windows = Windows(tmp_path, tmp_path / ".work", SIZE, PER_SHARD, 7)
    windows.run(BATCHES, loom, serial)
    shard = tmp_path / "shards" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    loom, *_ = run(tmp_path, zarr=False)
    assert loom.woven == [b.number for b in BATCHES]  # its parts are gone
    assert tree(tmp_path) == reference


def test_spoilt_leftovers_are_noticed(tmp_path, whole):
    reference = {k: v for k, v in tree(whole[0]).items() if k.startswith("shards/")}
    windows = Windows(tmp_path, tmp_path / ".work", SIZE, PER_SHARD, 7)
    windows.run(BATCHES, Loom(tmp_path), serial)
    left = next((tmp_path / ".work" / "parts").glob("left-*.part"))
    spoilt = bytearray(left.read_bytes())
    spoilt[700] ^= 1
    left.write_bytes(spoilt)
    run(tmp_path, zarr=False)
    assert tree(tmp_path) == reference


def test_a_finished_window_is_not_woven_again(tmp_path):
    windows = Windows(tmp_path, tmp_path / ".work", SIZE, PER_SHARD, 7)
    windows.run(BATCHES, Loom(tmp_path), serial)
    loom, *_ = run(tmp_path, zarr=False)
    assert loom.woven == []
    other, *_ = run(tmp_path, size=SIZE + 1, zarr=False)
    assert other.woven == [b.number for b in BATCHES]


def test_a_global_shuffle_draws_each_shard_from_at_least_16_tiles(tmp_path):
    """A part a batch, a batch a tile: 40 of them, shards of 64 samples."""
    work = tmp_path / ".work"
    receipts = [weave(work, b, range(b * 20, b * 20 + 20)) for b in range(40)]
    deal = make_deal(tmp_path, work, receipts, "global", 0)
    for numbers in deal.order.values():
        for start in range(0, len(numbers) - 63, 64):
            tiles = {deal.samples[n].part for n in numbers[start : start + 64]}
            assert len(tiles) >= 16
    shutil.rmtree(work)


def test_a_window_of_16_tiles_mixes_all_of_them(tmp_path):
    """What a window guarantees: a shard draws from the tiles of its windows, so a window should span 16."""
    work = tmp_path / ".work"
    windows = Windows(tmp_path, work, 20, 64, 0)

    def loom(group):
        return [weave(work, b.number, range(b.number * 20, b.number * 20 + 20)) for b in group]

    windows.run([Batch(n) for n in range(40)], loom, serial)
    deal, rows = windows.finish(serial)
    full = [row for row in rows if len(row.samples) == 64]
    assert len(full) >= 10
    assert all(len({deal.samples[n].part for n in row.samples}) >= 16 for row in full)


def test_a_window_is_built_and_needs_tars(tmp_path):
    loaded = load(
        tmp_path, {"area": {"bbox": [0, 0, 1, 1]}, "output": {"shuffle": {"window": 3}, "encoding": "blosc2"}}
    )
    require_built(loaded)
    with pytest.raises(RecipeError, match=r"output\.shuffle.*needs webdataset"):
        load(
            tmp_path,
            {"area": {"bbox": [0, 0, 1, 1]}, "output": {"shuffle": {"window": 3}, "formats": ["zarr"]}},
        )
