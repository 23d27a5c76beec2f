"""The benchmark of shards runs, and both of its sides do the same job. Nothing here is timed."""

from __future__ import annotations

import math
import tarfile

import numpy as np
from benchmarks import shards

from chipweave.shards.tar import END


def test_it_gives_its_ratios(tmp_path):
    got = shards.measure(tmp_path / "scratch", rounds=1, samples=3)
    for name in ("writer_vs_shardwriter", "random_read_vs_geotiff", "random_read_vs_zarr"):
        assert {name, f"{name}_blosc2"} <= set(got)
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in got.values())
    assert 0 < got["blosc2_bytes_vs_npy"] < 1


def test_both_writers_write_the_same_files(tmp_path):
    samples = shards.make_samples(2)
    part = shards.write_part(tmp_path / "ours.tar", samples)
    with (tmp_path / "ours.tar").open("ab") as file:
        file.write(END)
    shards.write_with_webdataset(tmp_path, samples)
    found = []
    for path in (tmp_path / "ours.tar", tmp_path / "own-000000.tar"):
        with tarfile.open(path) as tar:
            found.append({m.name: tar.extractfile(m).read() for m in tar})
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * 4
    arrays = [name for name in ours if name.endswith(".npy")]
    assert all(ours[name] == theirs[name] for name in arrays)
    assert part.bytes == (tmp_path / "ours.tar").stat().st_size - len(END)


def test_samples_differ_and_have_the_types_of_the_job():
    one, two = shards.make_samples(2)
    assert {name: (a.dtype.name, len(a)) for name, a in one.arrays.items()} == {
        "lab": ("uint8", 3),
        "s1": ("float32", 2),
        "s2": ("uint16", 10),
    }
    assert not np.array_equal(one.arrays["s2"], two.arrays["s2"])
