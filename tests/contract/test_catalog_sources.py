"""What every kind of catalog must do; and what each kind does beside."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import rustac
import stac_geoparquet.arrow

from catalog_world import make_item, serve, write_collection, write_json, write_static
from chipweave.catalog import web
from chipweave.catalog.hrefs import redact
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources import open_source
from chipweave.errors import RecipeError


@pytest.fixture(autouse=True)
def impatient(monkeypatch, request):
    """Retries without waiting, but where the waiting is the point."""
    if "nobody_listens" not in request.node.name:
        monkeypatch.setattr(web, "BACKOFF", 0.0)


JUNE = (datetime(2021, 6, 1, tzinfo=UTC), datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC))
CELL = (8.2, 47.2, 8.8, 47.8)


def _dated(ident, when, **change):
    return make_item(ident, properties={"datetime": when}, **change)


ITEMS = [
    _dated("first", "2021-06-01T00:00:00Z"),
    _dated("second", "2021-06-15T10:00:00Z"),
    _dated("last-instant", "2021-06-30T23:59:59.900Z"),
    _dated("elsewhere", "2021-06-15T10:00:00Z", box=(20.0, 47.0, 21.0, 48.0)),
    _dated("touching", "2021-06-15T10:00:00Z", box=(8.8, 47.8, 9.8, 48.8)),
    _dated("may", "2021-05-31T23:59:59.999Z"),
    _dated("july", "2021-07-01T00:00:00Z"),
    _dated("other", "2021-06-15T10:00:00Z", collection="landsat-c2-l2"),
    make_item(
        "span",
        properties={
            "datetime": None,
            "start_datetime": "2021-05-01T00:00:00Z",
            "end_datetime": "2021-06-02T00:00:00Z",
        },
    ),
]
WANTED = {"first", "second", "last-instant", "touching", "span"}


def _stac_geoparquet(path, items):
    reader = stac_geoparquet.arrow.parse_stac_items_to_arrow(items)
    stac_geoparquet.arrow.to_parquet(reader, path)
    return path


def _rustac(path, items):
    async def write():
        await rustac.write(str(path), items)

    asyncio.run(write())
    return path


@contextmanager
def _path(made):
    yield str(made)


@contextmanager
def _url(**behaviour):
    with serve(**behaviour) as api:
        yield api.url


def _ndjson(path, items):
    path.write_text("\n".join(json.dumps(i) for i in items) + "\n", encoding="utf-8")
    return path


@contextmanager
def _static_url(folder, items):
    with serve(folder=write_static(folder, items)) as api:
        yield f"{api.url}/catalog.json"


@contextmanager
def _collection_url(folder, items):
    write_collection(folder / "items.json", items)
    with serve(folder=folder) as api:
        yield f"{api.url}/items.json"


def _item_files(folder, items):
    for item in items:
        write_json(folder / "deep" / f"{item['id']}.json", item)
    write_json(folder / "package.json", {"name": "no item"})
    return folder


KINDS = {
    "api": lambda _, items: _url(items=items),
    "api, GET only, 405": lambda _, items: _url(items=items, get_only=405, landing={"links": []}),
    "api, GET only, 404": lambda _, items: _url(items=items, get_only=404, landing={"links": []}),
    "api, GET only, 501": lambda _, items: _url(items=items, get_only=501, landing={"links": []}),
    "api, GET only, as it says": lambda _, items: _url(items=items, get_only=405),
    "api without conformance": lambda _, items: _url(items=items, landing={"conformsTo": ...}),
    "api that says nothing": lambda _, items: _url(items=items, landing={"conformsTo": ..., "links": []}),
    "api without landing page": lambda _, items: _url(items=items, landing=None),
    "api that fails twice": lambda _, items: _url(items=items, fail=2),
    "api that repeats its pages": lambda _, items: _url(items=items, endless=True),
    "item collection": lambda folder, items: _path(write_collection(folder / "items.json", items)),
    "item collection, by URL": _collection_url,
    "bare list": lambda folder, items: _path(write_json(folder / "items.json", items)),
    "ndjson": lambda folder, items: _path(_ndjson(folder / "items.ndjson", items)),
    "ndjson called json": lambda folder, items: _path(_ndjson(folder / "items.json", items)),
    "stac-geoparquet": lambda folder, items: _path(_stac_geoparquet(folder / "items.parquet", items)),
    "stac-geoparquet by rustac": lambda folder, items: _path(_rustac(folder / "items.parquet", items)),
    "static catalog, folder": lambda folder, items: _path(write_static(folder / "cat", items)),
    "static catalog, file": lambda folder, items: _path(write_static(folder / "cat", items) / "catalog.json"),
    "static catalog, URL": _static_url,
    "folder of items": lambda folder, items: _path(_item_files(folder / "items", items)),
}


class TestEverySource:
    """Held by every kind of catalog."""

    @pytest.fixture(params=sorted(KINDS))
    def opened(self, request, tmp_path):
        notes = Notes()
        with KINDS[request.param](tmp_path, ITEMS) as location:
            yield open_source(location, notes), notes, location

    def test_finds_what_meets_collection_box_and_time(self, opened):
        source, _, _ = opened
        found = [f.item for f in source.search(["sentinel-2-l2a"], CELL, JUNE, 2)]
        assert sorted(i["id"] for i in found) == sorted(WANTED)

    def test_finds_all_times_without_an_interval(self, opened):
        source, _, _ = opened
        ids = {f.item["id"] for f in source.search(["sentinel-2-l2a"], CELL, None, 2)}
        assert ids == WANTED | {"may", "july"}

    def test_finds_several_collections(self, opened):
        source, _, _ = opened
        ids = {f.item["id"] for f in source.search(["landsat-c2-l2", "sentinel-2-l2a"], CELL, JUNE, 100)}
        assert ids == WANTED | {"other"}

    def test_items_are_raw(self, opened):
        source, _, location = opened
        found = next(f for f in source.search(["sentinel-2-l2a"], CELL, JUNE, 2) if f.item["id"] == "second")
        want = next(i for i in ITEMS if i["id"] == "second")
        got = {k: found.item[k] for k in ("id", "collection", "assets")}
        assert got == {k: want[k] for k in got}
        assert found.item["properties"]["eo:cloud_cover"] == 12.5
        assert datetime.fromisoformat(found.item["properties"]["datetime"]) == datetime(
            2021, 6, 15, 10, tzinfo=UTC
        )
        assert found.origin.startswith("http" if location.startswith("http") else "/")

    def test_unknown_collection_has_no_items(self, opened):
        source, _, _ = opened
        assert list(source.search(["no-such"], CELL, JUNE, 2)) == []

    def test_says_where_it_is(self, opened):
        source, notes, location = opened
        assert source.url in {location, location.rpartition("/")[0]}
        assert (source.folder is None) == location.startswith("http")
        assert not [t for t in notes.texts() if "gone" not in t and "repeats" not in t]

    def test_a_cell_across_the_date_line(self, tmp_path):
        # The cell of the contract never crosses; a box that does must still mean the short way.
        item = _dated("fiji", "2021-06-15T10:00:00Z", box=(-179.9, -17.0, -179.0, -16.0))
        with KINDS["item collection"](tmp_path, [item, *ITEMS]) as location:
            found = list(
                open_source(location, Notes()).search(
                    ["sentinel-2-l2a"], (179.5, -18.0, -179.5, -16.5), None, 9
                )
            )
        assert [f.item["id"] for f in found] == ["fiji"]


BROKEN = [
    {k: v for k, v in make_item("no-id").items() if k != "id"},
    make_item("no-assets", assets={}),
    make_item("null-assets", assets=None) | {"assets": None},
    make_item("x" * 257),
    make_item("ctrl\x1b[31m"),
    make_item("half\ud800"),
    {"type": "Feature"},
]


@pytest.mark.parametrize("kind", ["api", "item collection", "bare list", "ndjson", "folder of items"])
def test_broken_items_are_left_out_and_named(kind, tmp_path):
    broken = BROKEN if kind != "folder of items" else BROKEN[1:3]
    with KINDS[kind](tmp_path, [*broken, *ITEMS]) as location:
        notes = Notes()
        source = open_source(location, notes)
        ids = {f.item["id"] for f in source.search(["sentinel-2-l2a"], CELL, JUNE, 100)}
    assert ids == WANTED
    said = "\n".join(notes.texts())
    assert "has no assets, left out (" in said
    assert "no-assets" in said
    assert "\x1b" not in said
    assert kind == "folder of items" or "has no id" in said


def test_entries_that_are_no_items(tmp_path):
    path = tmp_path / "items.ndjson"
    path.write_text(
        '{"type": "Feature", "id": "A"\n' + json.dumps(ITEMS[0]) + "\n[1]\nnull\n", encoding="utf-8"
    )
    # The first line is no JSON by itself, so this is no NDJSON at all.
    with pytest.raises(RecipeError, match="is no JSON"):
        open_source(str(path), Notes())
    path.write_text(json.dumps(ITEMS[0]) + "\n{oops\nnull\n\n" + json.dumps(ITEMS[1]), encoding="utf-8")
    notes = Notes()
    found = list(open_source(str(path), notes).search(["sentinel-2-l2a"], CELL, None, 9))
    assert [f.item["id"] for f in found] == ["first", "second"]
    assert any("no JSON, left out (1 item: line 2)" in t for t in notes.texts())
    assert any("an entry that is no item" in t for t in notes.texts())


class TestPaths:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(RecipeError, match=r"gone\.json: no such file") as caught:
            open_source(str(tmp_path / "gone.json"), Notes())
        assert caught.value.exit_code == 3

    @pytest.mark.parametrize("content", ["", "{", "{}", "3", '{"type": "Feature"', "\x00", '{"a":' * 100_000])
    def test_no_catalog(self, tmp_path, content):
        path = tmp_path / "items.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RecipeError, match=r"items\.json"):
            open_source(str(path), Notes())

    def test_parquet_that_is_none(self, tmp_path):
        path = tmp_path / "items.parquet"
        path.write_bytes(b"PAR1 and then nothing")
        with pytest.raises(RecipeError, match=r"items\.parquet"):
            open_source(str(path), Notes())

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(RecipeError, match="without items"):
            open_source(str(tmp_path), Notes())

    def test_a_folder_of_parquet(self, tmp_path):
        _stac_geoparquet(tmp_path / "a.parquet", ITEMS[:3])
        _stac_geoparquet(tmp_path / "b.parquet", ITEMS[3:])
        found = open_source(str(tmp_path), Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 9)
        assert {f.item["id"] for f in found} == WANTED

    def test_a_single_item(self, tmp_path):
        path = write_json(tmp_path / "item.json", ITEMS[1])
        assert [
            f.item["id"] for f in open_source(str(path), Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 9)
        ] == ["second"]

    def test_items_of_old_and_incomplete_stac(self, tmp_path):
        old = make_item(
            "old",
            collection=...,
            geometry=None,
            links=...,
            stac_version="0.7.0",
            properties={"collection": "sentinel-2-l2a"},
        )
        bare = make_item(
            "projected",
            geometry=...,
            bbox=...,
            properties={"proj:epsg": 32632, "proj:bbox": [426000, 5210000, 460000, 5260000]},
        )
        nowhere = make_item("nowhere", geometry=None, bbox=...)
        unnamed = make_item("unnamed", collection=...)
        notes = Notes()
        path = write_json(tmp_path / "items.json", [old, bare, nowhere, unnamed])
        found = open_source(str(path), notes).search(["sentinel-2-l2a"], CELL, JUNE, 9)
        # One that tells nothing of its place may lie anywhere: its files are looked into later.
        assert [f.item["id"] for f in found] == ["old", "projected", "nowhere", "unnamed"]
        assert notes.texts() == []

    def test_static_links_that_lead_out_are_not_followed(self, tmp_path):
        write_json(tmp_path / "outside.json", make_item("outside"))
        write_static(tmp_path / "cat", ITEMS[:1])
        catalog = json.loads((tmp_path / "cat" / "catalog.json").read_text(encoding="utf-8"))
        outside = str(tmp_path / "outside.json")
        for href in ("../outside.json", outside, f"file://{outside}", "link.json"):
            catalog["links"].append({"rel": "item", "href": href})
        (tmp_path / "cat" / "link.json").symlink_to(tmp_path / "outside.json")
        write_json(tmp_path / "cat" / "catalog.json", catalog)
        notes = Notes()
        found = open_source(str(tmp_path / "cat"), notes).search(["sentinel-2-l2a"], CELL, None, 9)
        assert [f.item["id"] for f in found] == ["first"]
        assert sum("outside the catalog's own folder" in t for t in notes.texts()) == 2


def test_redaction():
    assert redact("https://u:p@h.org:8/a/b?sig=x#y") == "https://h.org:8/a/b"
    assert redact("s3://bucket/key?X-Amz-Signature=1") == "s3://bucket/key"
    assert redact("/a/b?c") == "/a/b?c"
    assert redact("http://[broken/x") == "http://(unreadable)"
