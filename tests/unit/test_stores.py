"""One builder a dataset in a store, and a store's errors in a user's words."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from chipweave.errors import UsageError
from chipweave.stores import homes, lease
from chipweave.stores.lease import LEASE, Lease
from chipweave.stores.store import Store, address, is_url


@pytest.fixture
def store() -> Store:
    return Store("s3://bucket/data", MemoryStore())


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 0.4)


def test_a_lease_is_given_back(store, tmp_path):
    with Lease(store, tmp_path / "holder"):
        assert store.read(LEASE) is not None
    assert store.read(LEASE) is None


def test_a_second_builder_is_refused_while_the_first_lives(store, tmp_path):
    with (
        Lease(store, tmp_path / "one"),
        pytest.raises(UsageError, match="busy"),
        Lease(store, tmp_path / "two"),
    ):
        pass
    with Lease(store, tmp_path / "two"):
        pass


def test_what_a_killed_builder_left_is_taken_by_the_same_scratch_at_once(store, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 60.0)
    (tmp_path / "holder").write_text("mine")
    store.write(LEASE, json.dumps({"holder": "mine"}).encode())
    begin = time.monotonic()
    with Lease(store, tmp_path / "holder"):
        pass
    assert time.monotonic() - begin < 30, "it waited for its own lease"


@pytest.mark.parametrize("left", [b'{"holder": "another"}', b"no JSON", b"[]", b"\xff"])
def test_what_a_killed_builder_left_is_taken_by_another_when_nobody_renews_it(store, tmp_path, left):
    store.write(LEASE, left)
    with Lease(store, tmp_path / "holder"):
        assert store.read(LEASE)[0] != left


def test_a_lease_that_another_took_stops_the_first(store, tmp_path):
    held = Lease(store, tmp_path / "one")
    with held:
        _, tag = store.read(LEASE)
        while store.write(LEASE, b"{}", over=tag) is None:  # it was renewed in between
            _, tag = store.read(LEASE)
        deadline = time.monotonic() + 20
        while threading.active_count() and held._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(UsageError, match="another build has taken"):
            store.check()
    assert store.read(LEASE)[0] == b"{}", "the other's lease stays"


def home_of(store: Store, folder: Path, *names: str) -> homes.RemoteHome:
    """A home with a finished dataset of some files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "manifest.json").unlink(missing_ok=True)
    homes.manifest.write_manifest(folder)
    return homes.RemoteHome(store, folder)


def test_a_build_that_was_cut_while_it_put_leaves_nothing_of_its_own(store, tmp_path, monkeypatch):
    """Files of the first build that the second does not have are removed, and no name is listed for it."""
    first = home_of(store, tmp_path / "one", "a", "shards/old.tar")
    put = store.put

    def cut(name, path, sha256):
        if name == "manifest.json":
            raise KeyboardInterrupt
        put(name, path, sha256)

    monkeypatch.setattr(store, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        first.built()
    monkeypatch.undo()
    assert store.read("shards/old.tar") is not None
    home_of(store, tmp_path / "two", "a", "shards/new.tar").built()
    assert store.read("shards/old.tar") is None
    assert store.read("shards/new.tar") == (b"shards/new.tar", store.read("shards/new.tar")[1])
    assert store.read(homes.PUTTING) is None


def test_what_is_there_is_not_put_again(store, tmp_path, monkeypatch):
    home_of(store, tmp_path / "one", "a", "b").built()
    again = homes.RemoteHome(store, tmp_path / "one")
    monkeypatch.setattr(store, "holds", lambda *_: True)
    monkeypatch.setattr(store, "put", lambda *_: pytest.fail("put again"))
    again.built()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a/./b"])
def test_a_manifest_that_leads_out_of_its_dataset_is_refused(name):
    data = json.dumps({"files": {name: {"bytes": 1, "sha256": "0"}}}).encode()
    with pytest.raises(UsageError, match="outside"):
        homes._files(data, "s3://bucket/data")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"files": []}', b'{"files": {"a": {}}}', b"\xff"])
def test_a_manifest_that_is_none_is_refused(data):
    with pytest.raises(UsageError, match="damaged"):
        homes._files(data, "s3://bucket/data")


def test_which_addresses_are_urls():
    assert is_url("s3://bucket/data")
    assert is_url(Path("s3://bucket/data")), "a path takes one of the slashes"
    assert address(Path("s3://bucket/data/")) == "s3://bucket/data"
    assert not any(map(is_url, ["data", "/data", "./s3", "a:b", "data/s3:/x"]))
