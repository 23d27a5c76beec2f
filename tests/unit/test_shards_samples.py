"""Samples, tar records, parts."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chipweave.errors import ChipweaveError, RecipeError
from chipweave.shards.parts import PartReader, PartWriter
from chipweave.shards.sample import Sample, decode_npy, encode_npy, sample_members
from chipweave.shards.tar import END, header, records
from worlds.littleset import sample_of

DTYPES = hnp.scalar_dtypes()
PLAIN = (0o644, 0, 0, 0, "", "")
ARRAYS = DTYPES.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def archive(*samples: Sample) -> bytes:
    return b"".join(b"".join(records(sample_members(s))[0]) for s in samples) + END


@given(ARRAYS, st.booleans())
@settings(max_examples=120, deadline=None)
def test_arrays_come_back(array, turned):
    array = array.T if turned else array
    data = b"".join(encode_npy(array))
    ours, theirs = decode_npy(data), np.load(io.BytesIO(data), allow_pickle=False)
    assert theirs.dtype == ours.dtype == array.dtype.newbyteorder("<")
    assert theirs.shape == ours.shape == array.shape
    assert ours.tobytes() == theirs.tobytes() == array.astype(ours.dtype).tobytes()


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), ARRAYS, max_size=4))
@settings(max_examples=30, deadline=None)
def test_tarfile_reads_records_where_the_index_says(arrays):
    arrays.pop("json", None)
    sample = Sample("k-1", "train", {"key": "k-1", "ü": [1.5]}, arrays)
    members = sample_members(sample)
    buffers, payloads, _, size = records(members)
    data = b"".join(buffers)
    assert len(data) == size
    assert size % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data + END)) as tar:
        found = {info.name: (info.offset_data, info.size) for info in tar.getmembers()}
        assert all(tar.extractfile(m.name).read() == m.join() for m in members)
        infos = tar.getmembers()
        assert {(i.mode, i.uid, i.gid, i.mtime, i.uname, i.gname) for i in infos} == {PLAIN}
    assert found == {m.name: payloads[m.field] for m in members}
    assert [m.name for m in members] == ["k-1.json", *(f"k-1.{name}.npy" for name in sorted(arrays))]


def test_same_sample_same_bytes():
    a, b = sample_of(3, "train"), sample_of(3, "train")
    shuffled = Sample(b.key, b.split, b.meta, dict(reversed(b.arrays.items())))
    assert archive(a) == archive(shuffled)


def test_pixels_are_not_copied():
    pixels = np.arange(12, dtype="<i2").reshape(3, 2, 2)
    view = encode_npy(pixels)[1]
    pixels[0, 0, 0] = 99
    assert view[0] == 99


def test_metadata_is_strict_compact_json_in_the_order_given():
    sample = Sample("a", "val", {"z": "é", "a": [1, 2.5]}, {})
    assert sample_members(sample)[0].join() == '{"z":"é","a":[1,2.5]}'.encode()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32(1.0), object()])
def test_metadata_that_is_not_json_is_refused(bad):
    with pytest.raises(ChipweaveError, match="metadata of chip-1 are not strict JSON"):
        sample_members(Sample("chip-1", "train", {"x": bad}, {}))


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "ä", "a b"])
def test_a_key_with_a_dot_or_worse_is_refused(key):
    with pytest.raises(ChipweaveError, match="no sample key"):
        sample_members(Sample(key, "train", {}, {}))


@pytest.mark.parametrize("layer", ["json", "S2", "s2.b", "2s", "../x"])
def test_a_layer_that_no_reader_takes_apart_is_refused(layer):
    with pytest.raises(ChipweaveError, match="no name for a layer"):
        sample_members(Sample("a", "train", {}, {layer: np.zeros(1)}))


def test_objects_are_refused_on_both_ways():
    with pytest.raises(ChipweaveError, match="cannot be stored"):
        encode_npy(np.array([{}], dtype=object))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([{}], dtype=object), version=(1, 0))
    with pytest.raises(ValueError, match="objects"):
        decode_npy(file.getvalue())


@pytest.mark.parametrize("cut", [0, 7, 9, 60, -1])
def test_a_cut_array_is_noticed(cut):
    data = b"".join(encode_npy(np.arange(10)))
    with pytest.raises(ValueError, match=r".+"):
        decode_npy(data[:cut])


def test_names_and_files_too_long_for_tar():
    assert tarfile.TarInfo.frombuf(header("a" * 100, 8**11 - 1), "utf-8", "strict").size == 8**11 - 1
    with pytest.raises(RecipeError, match="101 bytes"):
        header("a" * 101, 1)
    with pytest.raises(RecipeError, match="bytes"):
        header("a", 8**11)


def test_a_part_appears_when_it_is_closed(tmp_path):
    path = tmp_path / "parts" / "batch-000000.part"
    writer = PartWriter(path)
    entries = [writer.add(sample_of(i, "train")) for i in range(3)]
    assert not path.exists()
    assert writer.close() == entries
    data = path.read_bytes()
    assert len(data) == writer.bytes
    assert writer.close() == entries
    for i, entry in enumerate(entries):
        records_ = data[entry.offset : entry.offset + entry.size]
        assert records_ + END == archive(sample_of(i, "train"))
        offset, size = entry.members["json"]
        assert json.loads(records_[offset : offset + size])["key"] == entry.key
        offset, size = entry.members["s2"]
        assert np.array_equal(
            decode_npy(records_[offset : offset + size]), sample_of(i, "train").arrays["s2"]
        )


def test_a_part_that_fails_is_not_there(tmp_path):
    path = tmp_path / "a.part"
    with PartWriter(path) as writer:
        writer.add(sample_of(1, "train"))
        with pytest.raises(ChipweaveError, match="twice"):
            writer.add(sample_of(1, "train"))
    path.unlink()
    with pytest.raises(KeyError), PartWriter(path) as writer:
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_a_part(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    writer = PartWriter(tmp_path / "a.part")
    monkeypatch.setattr("chipweave.files.os.writev", full)
    with pytest.raises(ChipweaveError, match=r"disk full while writing .*a\.part"):
        writer.add(sample_of(1, "train"))
    assert list(tmp_path.iterdir()) == []


def test_part_reader_keeps_few_files_open_and_notices_a_short_part(tmp_path):
    for i in range(70):
        (tmp_path / f"{i}").write_bytes(bytes([i]) * 10)
    with PartReader(tmp_path) as parts:
        assert [parts.read(str(i), 2, 3) for i in range(70)] == [bytes([i]) * 3 for i in range(70)]
        assert len(parts._fds) == 64
        assert parts.read("0", 0, 0) == b""
        with pytest.raises(ChipweaveError, match="shorter"):
            parts.read("5", 8, 3)


def test_part_reader_gives_long_ranges_in_pieces(tmp_path):
    data = np.random.default_rng(0).bytes(1_300_000)
    (tmp_path / "a").write_bytes(data)
    with PartReader(tmp_path) as parts:
        pieces = [bytes(piece) for piece in parts.stream("a", 7, 1_200_000)]
        assert b"".join(pieces) == data[7:1_200_007]
        assert len(pieces) > 1
        assert list(parts.stream("a", 5, 0)) == []
        with pytest.raises(ChipweaveError, match="shorter"):
            list(parts.stream("a", 1_299_999, 2))
