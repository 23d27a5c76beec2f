"""Order, deal, receipts; what is done is not done again."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

from chipweave.errors import ChipweaveError, RecipeError
from chipweave.files import sweep
from chipweave.model import LayerSpec
from chipweave.shards import deal as deal_module
from chipweave.shards import zarr_out
from chipweave.shards.deal import Piece, coalesce, deal_webdataset, make_deal, order
from chipweave.shards.parts import PartReader
from chipweave.shards.reader import Reader
from chipweave.shards.receipts import load_receipt, receipt_path
from chipweave.shards.zarr_out import deal_zarr
from worlds import littleset
from worlds.littleset import LAYERS, S2, build, sample_of, split_by_number, tree, weave


def woven(folder, count=23, batches=4, layers=LAYERS):
    work = folder / ".work"
    cuts = np.array_split(np.arange(count), batches)
    return [weave(work, b, map(int, ns), layers) for b, ns in enumerate(cuts)]


def keys_of(path):
    with tarfile.open(path) as tar:
        return [n.removesuffix(".json") for n in tar.getnames() if n.endswith(".json")]


def dealt_keys(folder, split):
    return [k for p in sorted((folder / "shards").glob(f"{split}-*.tar")) for k in keys_of(p)]


@given(
    st.lists(st.tuples(st.sampled_from(["train", "val", "test", "all"]), st.integers(0, 99)), max_size=40),
    st.randoms(),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_global_order_hangs_on_keys_alone(raw, random, seed):
    entries = [(split, f"k{i}-{n}", i) for i, (split, n) in enumerate(raw)]
    shuffled = random.sample(entries, len(entries))
    a, b = order(entries, "global", seed), order(shuffled, "global", seed)
    names = {s: [entries[i][1] for i in numbers] for s, numbers in a.items()}
    assert names == {s: [shuffled[i][1] for i in numbers] for s, numbers in b.items()}
    assert sorted(i for numbers in a.values() for i in numbers) == list(range(len(entries)))
    assert all(entries[i][0] == s for s, numbers in a.items() for i in numbers)
    plain = order(shuffled, "none", seed)
    assert all([shuffled[i][2] for i in n] == sorted(shuffled[i][2] for i in n) for n in plain.values())


def test_order_differs_by_seed_and_split():
    entries = [(s, f"{s}{i:03d}", i) for s in ("train", "val") for i in range(50)]
    one, two = order(entries, "global", 1), order(entries, "global", 2)
    assert one != two
    assert list(one) == ["train", "val"]
    assert one["train"] != [i - 50 for i in one["val"]]
    assert one["train"] != sorted(one["train"])


def test_a_key_twice_is_refused():
    with pytest.raises(ChipweaveError, match="twice"):
        order([("train", "a", 0), ("val", "a", 1)], "global", 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(1, 3)), max_size=20))
def test_coalesced_pieces_are_the_same_bytes(raw):
    pieces = [Piece(*p) for p in raw]
    spread = [(p.part, x) for p in pieces for x in range(p.offset, p.offset + p.size)]
    joined = list(coalesce(pieces))
    assert [(p.part, x) for p in joined for x in range(p.offset, p.offset + p.size)] == spread
    pairs = pairwise(joined)
    assert all(a.part != b.part or a.offset + a.size != b.offset for a, b in pairs)


def test_shards_are_exact_gap_free_and_of_one_split(tmp_path):
    build(tmp_path, 23, 4, per_shard=4)
    names = sorted(p.name for p in (tmp_path / "shards").iterdir())
    assert names == [
        "test-000000.tar",
        *(f"train-{i:06d}.tar" for i in range(4)),
        "val-000000.tar",
        "val-000001.tar",
    ]
    for split in ("train", "val", "test"):
        numbers = [int(k.split("-")[1]) for k in dealt_keys(tmp_path, split)]
        assert sorted(numbers) == [i for i in range(23) if split_by_number(i) == split]
    sizes = [len(keys_of(tmp_path / "shards" / f"train-{i:06d}.tar")) for i in range(4)]
    assert sizes == [4, 4, 4, 2]


def test_bytes_do_not_hang_on_batches(tmp_path):
    trees = []
    for batches in (1, 3, 7):
        folder = tmp_path / str(batches)
        build(folder, 23, batches)
        trees.append(tree(folder))
    assert trees[0] == trees[1] == trees[2]


def test_without_shuffle_samples_lie_as_planned(tmp_path):
    build(tmp_path, 23, 4, shuffle="none", with_zarr=False)
    assert dealt_keys(tmp_path, "train") == [
        f"chip-{i:03d}" for i in range(23) if split_by_number(i) == "train"
    ]


@pytest.fixture(autouse=True)
def _patient_disk(monkeypatch):
    """Waiting for the disk is half of the time here, and nothing that these tests look at."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def pool():
    """Two processes that share one import of the libraries, the slow part of starting them."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["chipweave.shards.reader", "chipweave.shards.zarr_out"])
    with ProcessPoolExecutor(2, context) as workers:
        yield workers


def test_processes_write_the_same_bytes(tmp_path, pool):
    build(tmp_path / "serial")
    receipts = woven(tmp_path / "pool")
    deal = make_deal(tmp_path / "pool", tmp_path / "pool" / ".work", receipts, "global", 7)
    deal_webdataset(deal, 4, pool.map)
    deal_zarr(deal, LAYERS, pool.map)
    serial = {k: v for k, v in tree(tmp_path / "serial").items() if k.startswith(("shards/", "zarr/"))}
    assert serial == tree(tmp_path / "pool")


def test_two_processes_read_at_once(tmp_path, pool):
    build(tmp_path, with_zarr=False)
    with Reader(tmp_path) as reader:
        own = [reader.read(key) for key in reader.keys]
        theirs = list(pool.map(reader.read, reader.keys, chunksize=6))
    for (meta, arrays), (meta_there, arrays_there) in zip(own, theirs, strict=True):
        assert meta == meta_there
        assert all(np.array_equal(arrays[name], arrays_there[name]) for name in arrays)


class Killed(BaseException):
    """As if the process had ended here."""


def dying(after: int):
    """A mapper that ends with the process after some tasks."""

    def run(function, tasks, /):
        for done, task in enumerate(tasks):
            if done == after:
                raise Killed
            yield function(task)

    return run


@pytest.mark.parametrize("after", [0, 2, 6])
def test_a_deal_goes_on_where_it_was_killed(tmp_path, monkeypatch, after):
    build(tmp_path / "whole")
    folder = tmp_path / "killed"
    receipts = woven(folder)
    deal = make_deal(folder, folder / ".work", receipts, "global", 7)
    with pytest.raises(Killed):
        deal_webdataset(deal, 4, dying(after))
    (folder / "shards").mkdir(exist_ok=True)
    (folder / "shards" / ".tmp-1234-train-000003.tar").write_bytes(b"half")
    (folder / "shards" / "train-000099.tar").write_bytes(b"of an earlier plan")
    with pytest.raises(Killed):
        deal_zarr(deal, LAYERS, dying(after % 3))
    for partial in (folder / ".work" / "zarr").glob("train*/s2/s2"):
        (partial / "zarr.1234.partial").write_bytes(b"half")
    assert not (folder / "zarr" / "train.zarr").exists()

    sweep(folder)
    written = []
    monkeypatch.setattr(deal_module, "write_all", spy(deal_module.write_all, written))
    shards = deal_webdataset(deal, 4)
    again = len([1 for args in written if args[1] == [deal_module.END]])
    assert again == len(shards) - after
    deal_zarr(deal, LAYERS)
    whole = {k: v for k, v in tree(tmp_path / "whole").items() if k.startswith(("shards/", "zarr/"))}
    assert tree(folder) == whole


def spy(function, calls):
    def wrapped(*args):
        calls.append(args)
        return function(*args)

    return wrapped


def test_a_finished_deal_is_not_touched_and_a_spoilt_one_is_repaired(tmp_path):
    receipts = build(tmp_path)
    before = tree(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".tar"}
    shard = tmp_path / "shards" / "train-000001.tar"
    spoilt = bytearray(shard.read_bytes())
    spoilt[600] ^= 1
    shard.write_bytes(spoilt)
    chunk = next((tmp_path / "zarr" / "val.zarr" / "s2" / "s2" / "c").rglob("0/0/0/0"))
    chunk.write_bytes(b"")
    deal = make_deal(tmp_path, tmp_path / ".work", receipts, "global", 7)
    deal_webdataset(deal, 4)
    deal_zarr(deal, LAYERS)
    assert tree(tmp_path) == before
    assert [p for p, t in stamps.items() if p.stat().st_mtime_ns != t] == [shard]


def test_a_part_cut_after_its_receipt_is_noticed(tmp_path):
    receipts = woven(tmp_path)
    part = tmp_path / ".work" / receipts[3].part
    part.write_bytes(part.read_bytes()[:-2000])
    deal = make_deal(tmp_path, tmp_path / ".work", receipts, "none", 0)
    with pytest.raises(ChipweaveError, match="shorter than its receipt"):
        deal_webdataset(deal, 100)
    assert load_receipt(tmp_path / ".work", 3) is None


def test_receipts_come_back(tmp_path):
    receipt = woven(tmp_path)[1]
    got = load_receipt(tmp_path / ".work", 1, check=True)
    assert got is not None
    assert got.stats.finish(LAYERS) == receipt.stats.finish(LAYERS)
    for name in ("batch", "part", "bytes", "xxh3", "samples", "fates", "counters", "warnings"):
        assert getattr(got, name) == getattr(receipt, name)
    assert load_receipt(tmp_path / ".work", 1, digest="of another plan") is None
    assert load_receipt(tmp_path / ".work", 9) is None


def test_a_receipt_that_cannot_be_believed_is_no_receipt(tmp_path):
    work = tmp_path / ".work"
    receipt = woven(tmp_path)[0]
    path = receipt_path(work, 0)
    stats, part = path.with_suffix(".npz"), work / receipt.part
    kept = {p: p.read_bytes() for p in (path, stats, part)}
    content = json.loads(kept[path])
    lies = [b"", b"{", b"[]", b"null", b"\xff", kept[path][:-20]]
    lies += [json.dumps(content | {"version": 99}).encode(), json.dumps(content | {"samples": [{}]}).encode()]
    lies += [
        json.dumps(content | {"fates": [{"who": 1}]}).encode(),
        json.dumps(content | {"bytes": 1}).encode(),
    ]
    for lie in lies:
        path.write_bytes(lie)
        assert load_receipt(work, 0) is None, lie[:40]
    path.write_bytes(kept[path])
    for victim in (stats, part):
        for lie in (b"", kept[victim][:-1]):
            victim.write_bytes(lie)
            assert load_receipt(work, 0) is None
        victim.unlink()
        assert load_receipt(work, 0) is None
        victim.write_bytes(kept[victim])
    flipped = bytearray(kept[part])
    flipped[1000] ^= 1
    part.write_bytes(flipped)
    assert load_receipt(work, 0) is not None
    assert load_receipt(work, 0, check=True) is None


def test_zarr_holds_the_same_samples_in_the_same_order(tmp_path):
    build(tmp_path, 23, 4)
    for split in ("train", "val", "test"):
        keys = dealt_keys(tmp_path, split)
        root = zarr.open_group(tmp_path / "zarr" / f"{split}.zarr", mode="r")
        for spec in LAYERS:
            group = root[spec.name]
            assert group["key"][:].tolist() == keys
            want = np.stack([sample_of(int(k[-3:]), split).arrays[spec.name] for k in keys])
            assert np.array_equal(group[spec.name][:], want)
            assert group[spec.name].dtype == want.dtype


def test_zarr_writes_many_shards_a_layer_and_chunks_without_data(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_out, "_SAMPLES", 3)
    monkeypatch.setattr(
        littleset, "pixels", lambda spec, *_: np.full(spec.shape, spec.nodata).astype(spec.numpy_dtype)
    )
    build(tmp_path, 23, 2)
    files = sorted((tmp_path / "zarr" / "train.zarr" / "s2" / "s2" / "c").rglob("0/0/0"))
    assert len([f for f in files if f.is_file()]) == 5
    data = xr.open_zarr(tmp_path / "zarr" / "train.zarr", group="s2")["s2"]
    assert data.shape == (14, *S2.shape)
    assert (data == -32768).all()


def test_a_zarr_shard_is_one_write(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_out, "_SAMPLES", 3)
    written = Counter()

    def counting(plain):
        def counted(self, key, *args, **kwargs):
            written[self.root.name, key] += 1
            return plain(self, key, *args, **kwargs)

        return counted

    for name in ("set", "set_if_not_exists"):
        monkeypatch.setattr(LocalStore, name, counting(getattr(LocalStore, name)))
    build(tmp_path, 23, 2)
    shards = Counter(
        (path.relative_to(tmp_path / "zarr").parts[2], path.as_posix().partition(f"{layer}/{layer}/")[2])
        for layer in ("s2", "s2_mask", "worldcover")
        for path in (tmp_path / "zarr").glob(f"*.zarr/{layer}/{layer}/c/**/0")
        if path.is_file()
    )
    assert sum(shards.values()) == 3 * (5 + 2 + 2)  # 14, 5 and 4 samples in three layers
    pixels = {
        key: n for key, n in written.items() if key[0] in ("s2", "s2_mask", "worldcover") and "c/" in key[1]
    }
    assert pixels == shards


def test_a_long_series_takes_fewer_samples_a_zarr_shard():
    spec = LayerSpec(
        "t", "imagery", "c", ("a",), ("time", "band", "y", "x"), "int16", (200, 10, 256, 256), 10, 0
    )
    assert zarr_out._per_shard(spec, 1000) == 1
    assert zarr_out._per_shard(S2, 1000) == 64
    assert zarr_out._per_shard(S2, 5) == 5


def test_zarr_refuses_what_cannot_be(tmp_path):
    receipts = woven(tmp_path, 3, 1)
    deal = make_deal(tmp_path, tmp_path / ".work", receipts, "none", 0)
    for name in sorted(zarr_out.RESERVED):
        odd = LayerSpec(name, "label", "c", (), ("y", "x"), "uint8", (16, 16), 10, 0)
        with pytest.raises(RecipeError, match=f"cannot be called {name}"):
            deal_zarr(deal, [odd])
    other = LayerSpec("s2", "imagery", "c", S2.bands, S2.dims, "uint16", S2.shape, 10, 0)
    with pytest.raises(ChipweaveError, match=r"a sample's s2 is not what .* an array of int16"):
        deal_zarr(deal, [other])
    with pytest.raises(ChipweaveError, match="lacks layer s9"):
        deal_zarr(deal, [LayerSpec("s9", "mask", "c", (), ("y", "x"), "uint8", (16, 16), 10, 0)])
    assert not list(tmp_path.glob("zarr/*"))


def test_a_shard_reads_each_sample_once(tmp_path, monkeypatch):
    receipts = woven(tmp_path)
    read = []
    monkeypatch.setattr(PartReader, "stream", spy(PartReader.stream, read))
    deal_webdataset(make_deal(tmp_path, tmp_path / ".work", receipts, "none", 0), 100)
    assert sum(args[3] for args in read) == sum(r.bytes for r in receipts)
    assert len(read) < 23
