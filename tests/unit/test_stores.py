"""One builder a dataset in a store, and a store's errors in a user's words."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from chipweave.errors import RecipeError, TransientSourceError, UsageError, VerifyError
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


@pytest.fixture
def clock(monkeypatch):
    """Leases whose thread sleeps through the test, and a clock that the test sets: a machine that was asleep."""
    now = [0.0]
    monkeypatch.setattr(lease, "LEASE_S", 60.0)
    monkeypatch.setattr(lease, "_now", lambda: now[0])
    return now


def taken(store: Store) -> None:
    """Another builder takes the lease."""
    _, tag = store.read(LEASE)
    assert store.write(LEASE, b'{"holder": "another"}', over=tag) is not None


def test_a_builder_that_slept_writes_nothing_over_the_next_ones(store, tmp_path, clock):
    with Lease(store, tmp_path / "one"):
        store.check()
        taken(store)
        clock[0] += 61
        with pytest.raises(UsageError, match="another build has taken"):
            store.check()


def test_a_builder_that_slept_goes_on_where_nobody_took_its_lease(store, tmp_path, clock):
    with Lease(store, tmp_path / "one"):
        before = store.read(LEASE)
        clock[0] += 61
        store.check()
        assert store.read(LEASE) != before, "it is renewed before anything is written"
    assert store.read(LEASE) is None


def test_a_builder_that_slept_does_not_give_anothers_lease_back(store, tmp_path, clock):
    with Lease(store, tmp_path / "one"):
        taken(store)
        clock[0] += 61
    assert store.read(LEASE)[0] == b'{"holder": "another"}'


def test_a_renewal_whose_answer_was_lost_is_no_other_build(store, tmp_path, clock, monkeypatch):
    write = store.write

    def lost(name, data, **how):
        write(name, data, **how)
        raise TransientSourceError("no answer")

    with Lease(store, tmp_path / "one"):
        clock[0] += 31
        monkeypatch.setattr(store, "write", lost)
        with pytest.raises(TransientSourceError):
            store.check()
        monkeypatch.setattr(store, "write", write)
        store.check()
    assert store.read(LEASE) is None


def test_a_store_that_fails_at_the_end_does_not_hide_what_was_wrong(store, tmp_path, clock, monkeypatch):
    def fails(_name):
        raise TransientSourceError("no answer")

    monkeypatch.setattr(store, "delete", fails)
    with pytest.raises(RecipeError, match="the recipe is wrong"), Lease(store, tmp_path / "one"):
        raise RecipeError("the recipe is wrong")


def test_a_tag_is_all_that_stores_ask_for(store, monkeypatch):
    """Google's compare the version, the others the e_tag."""
    modes = []

    def put(_store, _name, _data, mode):
        modes.append(mode)
        return {"e_tag": "tag", "version": "7"}

    monkeypatch.setattr("obstore.put", put)
    store.write("a", b"", over=store.write("a", b""))
    assert modes == ["create", {"e_tag": "tag", "version": "7"}]


def test_a_store_that_knows_no_conditions_is_refused(store, tmp_path, monkeypatch):
    put = obstore.put
    monkeypatch.setattr("obstore.put", lambda objects, name, data, **_: put(objects, name, data))
    with pytest.raises(UsageError, match="asked not to"), Lease(store, tmp_path / "one"):
        pass
    assert store.read(LEASE) is None


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


def test_a_build_that_was_cut_after_its_manifest_leaves_no_note(store, tmp_path, monkeypatch):
    done = home_of(store, tmp_path / "one", *homes.FINISHED)
    monkeypatch.setattr(store, "delete", lambda _: pytest.fail("cut"))
    with pytest.raises(pytest.fail.Exception):
        done.built()
    monkeypatch.undo()
    assert store.read(homes.PUTTING) is not None
    again = homes.RemoteHome(store, tmp_path / "two")
    again.fetch()
    assert again.kept
    assert store.read(homes.PUTTING) is None


def plan_of(store: Store, folder: Path, text: str) -> homes.RemoteHome:
    """A home with a plan of which every file holds a text and its name."""
    for name in homes.PLAN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + name)
    return homes.RemoteHome(store, folder)


def cut_at(calls: int, right):
    """A method of the store that fails after some calls."""
    done = []

    def wrong(*args):
        done.append(args)
        if len(done) > calls:
            raise TransientSourceError("cut")
        return right(*args)

    return wrong


@pytest.mark.parametrize("calls", range(len(homes.PLAN)))
def test_a_plan_that_was_half_fetched_is_fetched_again(store, tmp_path, monkeypatch, calls):
    plan_of(store, tmp_path / "one", "a").planned()
    second = homes.RemoteHome(store, tmp_path / "two")
    monkeypatch.setattr(store, "fetch", cut_at(calls, store.fetch))
    with pytest.raises(TransientSourceError):
        second.fetch()
    monkeypatch.undo()
    second.fetch()
    assert [(tmp_path / "two" / name).read_text() for name in homes.PLAN] == [f"a{n}" for n in homes.PLAN]


@pytest.mark.parametrize("calls", range(len(homes.PLAN)))
def test_a_plan_that_was_half_put_is_not_taken_for_whole(store, tmp_path, monkeypatch, calls):
    """Chips are the same in both plans, and the other files differ."""
    plan_of(store, tmp_path / "one", "a").planned()
    second = plan_of(store, tmp_path / "two", "b")
    (tmp_path / "two" / homes.PLAN[-1]).write_text(f"a{homes.PLAN[-1]}")
    monkeypatch.setattr(store, "put", cut_at(calls, store.put))
    with pytest.raises(TransientSourceError):
        second.planned()
    monkeypatch.undo()
    assert store.read(homes.PLAN[-1]) is None


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


@pytest.mark.parametrize(
    "url",
    ["abfs://box:secret-in-url@account.dfs.core.windows.net/data", "s3://key:secret-in-url@bucket/data"],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="no user") as caught:
        address(url)
    assert "secret-in-url" not in str(caught.value)


def test_which_addresses_are_urls():
    assert is_url("s3://bucket/data")
    assert is_url(Path("s3://bucket/data")), "a path takes one of the slashes"
    assert address(Path("s3://bucket/data/")) == "s3://bucket/data"
    assert not any(map(is_url, ["data", "/data", "./s3", "a:b", "data/s3:/x"]))


ENTRY = {"bytes": 1, "sha256": "0"}


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[" * 100_000,
        b'{"files": []}',
        *(
            json.dumps({"files": {n: ENTRY}}).encode()
            for n in ("../a", "/a", "a//b", "a\0", "\ud800", "a" * 300)
        ),
    ],
)
def test_a_manifest_behind_http_that_is_none_is_6(body, monkeypatch):
    """Nothing is fetched by its word."""
    monkeypatch.setattr(homes.WebStore, "read", lambda *_: (body, None))
    monkeypatch.setattr(homes.WebStore, "fetch", lambda *_: pytest.fail("it was believed"))
    with pytest.raises(VerifyError, match="manifest"), homes.copied("http://127.0.0.1:9/data"):
        pass
