"""Files that are whole or not there, and one writer a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave import files
from chipweave.errors import ChipweaveError, UsageError
from chipweave.files import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    folder_lock,
    friendly_os_error,
    sha256_file,
    sweep,
    write_all,
)

FULL = Path("/dev/full")
HOLD = """
import sys
from pathlib import Path
from chipweave.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_fail(path: Path, error: Exception) -> None:
    with atomic_path(path) as temporary:
        assert (temporary.suffix, temporary.parent) == (path.suffix, path.parent)
        temporary.write_bytes(b"half")
        raise error


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "new" / "a.bin"
    atomic_write_bytes(target, b"one")
    atomic_write_text(target, "zwei ü\n")
    assert target.read_bytes() == "zwei ü\n".encode()
    assert names(target.parent) == ["a.bin"]
    assert sha256_file(target) == hashlib.sha256("zwei ü\n".encode()).hexdigest()


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_and_fail(target, RuntimeError())
    assert names(tmp_path) == ["a.png"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_plainly(tmp_path, code):
    with pytest.raises(ChipweaveError, match=r"disk full while writing .*a\.bin") as caught:
        write_and_fail(tmp_path / "a.bin", OSError(code, os.strerror(code)))
    assert caught.value.exit_code == 1
    assert "same command again" in caught.value.hint
    assert names(tmp_path) == []


@pytest.mark.skipif(not FULL.exists(), reason="needs Linux's /dev/full")
def test_a_really_full_device():
    with pytest.raises(ChipweaveError, match="disk full"), files.writing("x"), FULL.open("wb") as file:
        write_all(file.fileno(), [b"data"])


def test_what_may_not_be_written_is_a_usage_error(tmp_path):
    error = friendly_os_error(PermissionError(errno.EACCES, "Permission denied"), tmp_path)
    assert isinstance(error, UsageError)
    assert str(tmp_path) in error.message
    for number in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        assert friendly_os_error(OSError(number, "no"), tmp_path).exit_code == 2
    other = friendly_os_error(OSError(errno.EIO, "Input/output error"), tmp_path)
    assert (other.exit_code, "Input/output" in other.message) == (1, True)


def test_sweep_removes_leftovers_alone(tmp_path):
    (tmp_path / "shards").mkdir()
    kept = tmp_path / "shards" / "train-000000.tar"
    kept.write_bytes(b"x")
    left = [tmp_path / ".tmp-1-a", tmp_path / "shards" / ".tmp-2-train-000001.tar"]
    for path in left:
        path.write_bytes(b"x")
    folder = tmp_path / ".tmp-store"
    (folder / "c").mkdir(parents=True)
    assert sweep(tmp_path) == sorted([*left, folder])
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [kept.name]


def test_one_writer_a_folder_even_across_processes(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="busy") as caught, folder_lock(tmp_path):
            pass
        assert caught.value.exit_code == 2
        assert names(tmp_path) == []
        holder.kill()
    with folder_lock(tmp_path), pytest.raises(UsageError, match="busy"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


def test_lock_of_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), folder_lock(tmp_path / "none"):
        pass


def test_errors_travel_between_processes(tmp_path):
    error = friendly_os_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (again.message, again.hint) == (error.message, error.hint)


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_write_all_survives_short_writes(buffers, most):
    """The system may take fewer bytes than it was given."""
    got = bytearray()

    def short(_, views):
        joined = b"".join(views)[:most]
        got.extend(joined)
        return len(joined)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "writev", short)
        write_all(-1, buffers)
    assert bytes(got) == b"".join(buffers)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        atomic_write_text(tmp_path, "x")
    assert not list(tmp_path.parent.glob(".tmp-*"))
