"""`encoding: blosc2`: smaller shards with the same arrays, for every reader."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import blosc2
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chipweave.audit import verify
from chipweave.describe.loading import DECODER
from chipweave.describe.show import show
from chipweave.errors import ChipweaveError, VerifyError
from chipweave.shards.blosc import decode_b2, encode_b2
from chipweave.shards.reader import Reader
from chipweave.shards.sample import Sample, decode_array, encode_npy, sample_members
from fakes import make, reseal
from worlds.harness import guarded_env
from worlds.littleset import LAYERS, SAR, build, sample_of

COUNT = 23


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same samples in both encodings."""
    folder = tmp_path_factory.mktemp("blosc2")
    for encoding in ("npy", "blosc2"):
        build(folder / encoding, COUNT, 3, layers=(*LAYERS, SAR), per_shard=8, encoding=encoding)
    return folder / "npy", folder / "blosc2"


@given(
    hnp.arrays(
        st.sampled_from(["int16", "uint16", "uint8", "int8", "float32", "float64", ">i2", "int64"]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=9),
    )
)
@settings(max_examples=100, deadline=None)
def test_an_array_comes_back_and_its_bytes_repeat(array):
    packed = encode_b2(array)
    assert packed == encode_b2(np.asfortranarray(array))
    back = decode_b2(packed, array.dtype.newbyteorder("=").name, array.shape)
    assert back.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array)
    raw = np.frombuffer(blosc2.decompress2(packed), array.dtype.newbyteorder("<"))
    np.testing.assert_array_equal(raw.reshape(array.shape), array)


def test_the_chunk_is_what_the_contract_says():
    array = np.arange(20_000, dtype=np.int16)
    packed = encode_b2(array)
    # The header of a chunk: version, LZ4's version, flags, width of a value, bytes held.
    assert (packed[0], packed[3]) == (5, 2)
    assert int.from_bytes(packed[4:8], "little") == array.nbytes
    assert sorted(packed[16:22]) == [0, 0, 0, 0, 0, blosc2.Filter.BITSHUFFLE.value]  # six filters
    assert packed[2] >> 5 == blosc2.Codec.LZ4.value


def test_what_is_no_chunk_is_refused():
    packed = encode_b2(np.arange(4000, dtype=np.int16).reshape(50, 80))
    for data, dtype, shape in (
        (b"", "int16", (50, 80)),
        (packed[:40], "int16", (50, 80)),
        (packed[:-1], "int16", (50, 80)),
        (packed + b"\0", "int16", (50, 80)),
        (packed, "int16", (50, 81)),
        (packed, "int32", (50, 80)),
        (packed[:60] + bytes(len(packed) - 60), "int16", (50, 80)),
        (b"\x93NUMPY" + packed[6:], "int16", (50, 80)),
        (bytes(len(packed)), "int16", (50, 80)),
    ):
        with pytest.raises(ValueError, match=r"chunk|npy"):
            decode_array(data, dtype, shape)
    with pytest.raises(ChipweaveError, match="cannot be stored"):
        encode_b2(np.array([object()]))


def test_either_encoding_is_told_from_its_first_byte():
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for data in (encode_b2(array), b"".join(encode_npy(array))):
        np.testing.assert_array_equal(decode_array(memoryview(data), "uint16", (3, 4)), array)
    with pytest.raises(ValueError, match="not of uint8"):
        decode_array(b"".join(encode_npy(array)), "uint8", (3, 4))


def test_json_is_the_same_and_members_are_called_b2():
    sample = sample_of(1, "train")
    plain, packed = sample_members(sample), sample_members(sample, "blosc2")
    assert plain[0] == packed[0]
    assert [m.name for m in packed[1:]] == [m.name.replace(".npy", ".b2") for m in plain[1:]]
    assert all(m.size == len(m.join()) for m in packed)


def test_reader_and_zarr_give_the_same_arrays(pair):
    npy, b2 = pair
    with Reader(npy) as one, Reader(b2) as other:
        assert one.keys == other.keys
        for key in one.keys:
            (meta, arrays), (meta_b2, arrays_b2) = one.read(key), other.read(key)
            assert meta == meta_b2
            for name, array in arrays.items():
                assert arrays_b2[name].dtype == array.dtype
                np.testing.assert_array_equal(arrays_b2[name], array)
            xr.testing.assert_identical(one.to_xarray(key), other.to_xarray(key))
    for path in sorted((npy / "zarr").rglob("*")):
        if path.is_file():
            assert (b2 / path.relative_to(npy)).read_bytes() == path.read_bytes()


def test_the_index_differs_in_offsets_and_sizes_alone(pair):
    one, other = (Reader(folder).index for folder in pair)
    moved = [c for c in one.columns if c.endswith(("_offset", "_size"))]
    assert one.drop(columns=moved).equals(other.drop(columns=moved))


def five_lines() -> str:
    """The decoder that the dataset's card shows."""
    return "\n".join(DECODER)


WEBDATASET = """
import glob, json, sys, webdataset as wds
out = {}
data = wds.WebDataset(sorted(glob.glob(sys.argv[1] + "/shards/*.tar")), shardshuffle=False).decode().map(decode_b2)
for s in data:
    out[s["__key__"]] = {k: [str(v.dtype), list(v.shape), float(abs(v[v == v].astype("f8")).sum())]
                         for k, v in s.items() if k.endswith(".npy")}
print(json.dumps(out))
"""

HUGGING_FACE = """
import glob, json, sys
import datasets
datasets.disable_progress_bars()
files = {"train": sorted(glob.glob(sys.argv[1] + "/shards/train-*.tar"))}
out = {}
for streaming in (False, True):
    for s in datasets.load_dataset("webdataset", data_files=files, split="train", streaming=streaming):
        s = decode_b2(s)
        out.setdefault(s["__key__"], []).append(
            {k: [str(v.dtype), list(v.shape), float(abs(v[v == v].astype("f8")).sum())]
             for k, v in s.items() if k.endswith(".npy")})
print(json.dumps(out))
"""


def python(script: str, folder: Path, tmp: Path) -> dict:
    env = guarded_env(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=str(tmp))
    done = subprocess.run(
        [sys.executable, "-c", five_lines() + script, str(folder)],
        capture_output=True, text=True, env=env, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(key: str, split: str) -> dict:
    arrays = sample_of(int(key[-3:]), split, (*LAYERS, SAR)).arrays
    return {
        f"{name}.npy": [str(a.dtype), list(a.shape), float(np.abs(a[a == a].astype("f8")).sum())]  # noqa: PLR0124
        for name, a in arrays.items()
    }


def test_webdataset_reads_it_with_the_decoder_of_the_readme(pair, tmp_path):
    got = python(WEBDATASET, pair[1], tmp_path)
    assert len(got) == COUNT
    for key, fields in got.items():
        assert fields == told(key, "train")


def test_hugging_face_gives_the_bytes_and_the_json(pair, tmp_path):
    got = python(HUGGING_FACE, pair[1], tmp_path)
    assert len(got) == 14
    for key, twice in got.items():
        assert twice == [told(key, "train")] * 2


def test_a_fake_dataset_verifies_shows_and_is_smaller(tmp_path):
    plain, packed = make(tmp_path / "npy", px=64), make(tmp_path / "b2", px=64, encoding="blosc2")
    report = verify(packed)
    assert report.ok, report.to_text()
    assert [c.name for c in report.checks] == [c.name for c in verify(plain).checks]
    assert len(report.checks) == 16
    assert all(c.verdict != "fail" for c in report.checks)
    show(packed, out=tmp_path / "b2.png")
    assert (tmp_path / "b2.png").stat().st_size > 10_000
    sizes = [sum(p.stat().st_size for p in (f / "shards").iterdir()) for f in (plain, packed)]
    assert sizes[1] < 0.67 * sizes[0]


def test_verify_holds_members_against_the_recipe(tmp_path):
    folder = make(tmp_path, encoding="blosc2", zarr=False)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("encoding: blosc2", "encoding: npy"))
    reseal(folder)
    assert verify(folder)["members"].verdict == "fail"


def test_verify_and_reader_find_a_spoilt_member(tmp_path):
    folder = make(tmp_path, encoding="blosc2", zarr=False)
    shard = folder / "shards" / "train-000000.tar"
    with tarfile.open(shard) as tar:
        member = next(m for m in tar if m.name.endswith(".s2.b2"))
    data = bytearray(shard.read_bytes())
    data[member.offset_data + 4] ^= 1  # bytes held
    shard.write_bytes(data)
    reseal(folder)
    assert verify(folder)["members"].verdict == "fail"
    with Reader(folder) as reader, pytest.raises(VerifyError, match=r"s2 of .* is broken"):
        reader.read(member.name.partition(".")[0])


def test_real_grain_takes_two_thirds_of_the_bytes():
    from benchmarks.shards import make_samples

    samples: list[Sample] = make_samples(2)
    sizes = [
        sum(m.size for s in samples for m in sample_members(s, encoding)) for encoding in ("npy", "blosc2")
    ]
    assert sizes[1] <= 0.67 * sizes[0]
