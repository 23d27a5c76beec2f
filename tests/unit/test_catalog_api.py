"""STAC APIs: what is sent, how pages and refusals are met, what is told."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

import pytest

from catalog_world import make_item, serve, write_json
from chipweave.catalog import web
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources import open_source
from chipweave.errors import PermanentSourceError, TransientSourceError

JUNE = (datetime(2021, 6, 1, tzinfo=UTC), datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC))
CELL = (8.2, 47.2, 8.8, 47.8)


@pytest.fixture(autouse=True)
def impatient(monkeypatch, request):
    """Retries without waiting, but where the waiting is the point."""
    if "nobody_listens" not in request.node.name:
        monkeypatch.setattr(web, "BACKOFF", 0.0)


def _dated(ident, when, **change):
    return make_item(ident, properties={"datetime": when}, **change)


ITEMS = [
    _dated("first", "2021-06-01T00:00:00Z"),
    _dated("second", "2021-06-15T10:00:00Z"),
    _dated("last-instant", "2021-06-30T23:59:59.900Z"),
    _dated("elsewhere", "2021-06-15T10:00:00Z", box=(20.0, 47.0, 21.0, 48.0)),
    _dated("july", "2021-07-01T00:00:00Z"),
    _dated("other", "2021-06-15T10:00:00Z", collection="landsat-c2-l2"),
    _dated("wide", "2021-06-15T10:00:00Z"),
]
WANTED = {"first", "second", "last-instant", "wide"}


class TestApi:
    def test_sends_collections_box_time_and_limit_only(self):
        with serve(ITEMS) as api:
            list(open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 2))
        method, asked = api.asked[0]
        assert method == "POST"
        assert asked == {
            "collections": ["sentinel-2-l2a"],
            "bbox": list(CELL),
            "datetime": "2021-06-01T00:00:00Z/2021-07-01T00:00:00Z",
            "limit": 2,
        }

    def test_pages_until_the_end(self):
        many = [_dated(f"{i:03d}", "2021-06-15T10:00:00Z") for i in range(23)]
        for get_only in (0, 405):
            with serve(many, page=5, get_only=get_only) as api:
                found = list(open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 5))
            assert [f.item["id"] for f in found] == [i["id"] for i in many]
            assert len(api.asked) == 5
            assert {m for m, _ in api.asked} == {"GET" if get_only else "POST"}

    def test_get_is_remembered(self):
        with serve(ITEMS, get_only=405, landing={"links": []}) as api:
            source = open_source(api.url, Notes())
            list(source.search(["sentinel-2-l2a"], CELL, JUNE, 100))
            list(source.search(["sentinel-2-l2a"], CELL, JUNE, 100))
        assert [m for m, _ in api.asked] == ["GET"] * 6  # three pages each
        assert api.refused == 1

    def test_items_beyond_what_was_asked_are_left_out(self):
        with serve(ITEMS, page=100) as api:
            api.page_of = lambda _: {"found": ITEMS, "next": None}
            ids = {
                f.item["id"]
                for f in open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 100)
            }
        assert ids == WANTED | {"elsewhere"}  # boxes are held to the footprint later

    def test_an_open_interval(self):
        from chipweave.recipe.interval import interval

        with serve(ITEMS) as api:
            list(open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, interval("2021-06-01/.."), 9))
        assert api.asked[0][1]["datetime"] == "2021-06-01T00:00:00Z/.."

    def test_a_collection_that_is_refused_with_404_has_no_items(self):
        with serve(ITEMS, status=404) as api:
            notes = Notes()
            assert list(open_source(api.url, notes).search(["no-such"], CELL, JUNE, 9)) == []
        assert any("HTTP 404" in t for t in notes.texts())

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, PermanentSourceError),
            (401, PermanentSourceError),
            (403, PermanentSourceError),
            (500, TransientSourceError),
            (502, TransientSourceError),
            (429, TransientSourceError),
        ],
    )
    def test_a_refused_search(self, status, error):
        with (
            serve(ITEMS, status=status) as api,
            pytest.raises(error, match=f"/search answered HTTP {status}"),
        ):
            list(open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 9))

    @pytest.mark.parametrize("raw", ["<html>", "[1, 2]", '"text"', '{"features": 3}', "[" * 100_000])
    def test_an_answer_that_is_no_page(self, raw):
        with serve(ITEMS, raw=raw) as api, pytest.raises(PermanentSourceError, match="no page of STAC items"):
            list(open_source(api.url, Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 9))

    def test_nobody_listens(self):
        began = time.monotonic()
        with socket.socket() as held:  # bound, never listening: no server of another test can take the port
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
            with pytest.raises(TransientSourceError) as caught:
                open_source(f"http://user:hunter2@127.0.0.1:{port}/stac?token=hunter3", Notes())
        assert time.monotonic() - began < 6
        assert caught.value.exit_code == 4
        assert f"http://127.0.0.1:{port}/stac cannot be reached: connection refused" in caught.value.message
        assert "hunter" not in f"{caught.value.message} {caught.value.hint} {caught.value.href}"

    def test_a_search_that_breaks_off(self):
        with serve(ITEMS) as api:
            source = open_source(api.url, Notes())
        with pytest.raises(TransientSourceError, match="cannot be reached"):
            list(source.search(["sentinel-2-l2a"], CELL, JUNE, 9))

    def test_retries_are_not_logged_with_their_secrets(self, caplog):
        with serve(ITEMS, fail=3) as api:
            list(open_source(f"{api.url}/?token=hunter3", Notes()).search(["sentinel-2-l2a"], CELL, JUNE, 9))
        assert "hunter3" not in caplog.text

    def test_a_page_for_people(self, tmp_path):
        (tmp_path / "index.html").write_text("<html>hello</html>", encoding="utf-8")
        with serve(folder=tmp_path) as api, pytest.raises(PermanentSourceError, match="is no JSON"):
            open_source(f"{api.url}/index.html", Notes())

    def test_json_that_is_no_stac(self, tmp_path):
        write_json(tmp_path / "x.json", {"hello": 1})
        with serve(folder=tmp_path) as api, pytest.raises(PermanentSourceError, match="no STAC API"):
            open_source(f"{api.url}/x.json", Notes())
