"""Requests over HTTP: what is asked again, where redirects may lead, and bytes of files as they are served."""

from __future__ import annotations

import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import rasterio
import requests
from rasterio.transform import from_origin

from chipweave.catalog import web
from chipweave.catalog.hrefs import LocalRule, is_public, resolve
from chipweave.catalog.remote import LEAST, WHOLE, RemoteFile
from chipweave.errors import PermanentSourceError, TransientSourceError
from support.listening import listening

BODY = bytes(range(256)) * 1024


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


def ranged(body: bytes, **headers: str):
    """Answer ranges as a good server does."""

    def answer(request):
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        return 206, {"Content-Range": span, **headers}, part

    return answer


@contextmanager
def serve(answer):
    with listening(_Handler, answer=answer, asked=[]) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """Seconds that were slept; nobody sleeps."""
    slept: list[float] = []
    monkeypatch.setattr(web.time, "sleep", slept.append)
    return slept


def session() -> web.WebSession:
    made = web.WebSession()
    made.trust_env = False
    return made


def test_what_passes_is_asked_again_and_waits_grow(waits):
    answers = iter([(503, {}, b""), (500, {}, b""), (429, {"Retry-After": "7"}, b""), (200, {}, b"good")])
    with serve(lambda _: next(answers)) as server:
        assert session().get(server.url).content == b"good"
    assert waits == [web.BACKOFF, 2 * web.BACKOFF, 7.0]


def test_a_server_that_is_down_is_asked_five_times_then_once(waits):
    with serve(lambda _: (503, {}, b"")) as server:
        own = session()
        assert own.get(server.url).status_code == 503
        assert len(server.asked) == web.TRIES
        own.get(server.url)
        assert len(server.asked) == web.TRIES + 1
        server.answer = lambda _: (200, {}, b"")
        own.get(server.url)
        server.answer = lambda _: (503, {}, b"")
        own.get(server.url)
        assert len(server.asked) == 2 * web.TRIES + 2


def test_who_asks_for_too_long_is_not_asked_again(waits):
    with serve(lambda _: (429, {"Retry-After": f"{web.LONGEST + 1:.0f}"}, b"")) as server:
        assert session().get(server.url).status_code == 429
        later = formatdate(time.time() + 3600, usegmt=True)
        server.answer = lambda _: (503, {"Retry-After": later}, b"")
        assert session().get(server.url).status_code == 503
        assert len(server.asked) == 2
    assert waits == []


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "Wed, 99 Foo 2099 00:00:00 GMT"])
def test_a_wait_that_is_none(text):
    assert web._asked_wait({"Retry-After": text}) == 0.0


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("8.8.8.8", True), ("example.org", True), ("2606:4700::1111", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("192.168.0.1", False), ("172.16.0.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),  # noqa: S104
        ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("localhost", False), ("a.localhost", False), ("localhost.", False), ("127.0.0.1.", False),
        ("127.1", False), ("2130706433", False), ("0x7f000001", False), ("0251.254.169.254", False), ("8.8", True),
        ("8.example", True),
    ],
)  # fmt: skip
def test_public_addresses(address, is_open):
    assert is_public(address) is is_open


@pytest.mark.parametrize(
    ("here", "there", "may"),
    [
        ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b", True),
        ("http://127.0.0.1:1/a", "http://127.0.0.1:2/b", False),
        ("https://data.example.org/a", "https://8.8.8.8/b?sig=1", True),
        ("https://data.example.org/a", "http://u:p@10.0.0.1/b", False),
        ("https://data.example.org/a", "https://localhost/b", False),
        ("https://data.example.org/a", "file:///etc/passwd", False),
        ("https://data.example.org/a", "ftp://8.8.8.8/b", False),
        ("https://data.example.org/a", "http://[::1/", False),
        ("https://data.example.org/a", "http://8.8.8.8:99999/", False),
    ],
)
def test_where_a_redirect_may_lead(here, there, may):
    why = web.redirect_refusal(here, there, trust_env=False)
    assert (why == "") is may
    assert "u:p" not in why


def test_a_name_of_the_private_network_is_looked_up(monkeypatch):
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.9.8.7", 0))])
    assert "no public address" in web.redirect_refusal("https://a.org/x", "https://b.org/y", trust_env=False)
    monkeypatch.setenv("CHIPWEAVE_TRUSTED_HOSTS", "c.org, b.org")
    assert web.redirect_refusal("https://a.org/x", "https://b.org/y", trust_env=False) == ""


def test_no_secret_header_goes_to_another_host():
    with serve(lambda _: (200, {}, b"")) as other:
        with serve(lambda _: (302, {"Location": other.url}, b"")) as server:
            with pytest.raises(web.RefusedRedirectError):
                session().get(server.url, headers={"X-Api-Key": "hush"})
            assert other.asked == []
        with (
            pytest.MonkeyPatch.context() as patch,
            serve(lambda _: (302, {"Location": other.url}, b"")) as server,
        ):
            patch.setenv("CHIPWEAVE_TRUSTED_HOSTS", "127.0.0.1")
            session().get(
                server.url, headers={"X-Api-Key": "hush", "Authorization": "hush", "Range": "bytes=0-1"}
            )
        ((_, headers),) = other.asked
        assert "hush" not in str(headers)
        assert headers["Range"] == "bytes=0-1"


@pytest.mark.parametrize(
    ("there", "sent"), [("https://files.example.org/a", True), ("http://files.example.org/a", False)]
)
def test_no_login_of_the_user_s_goes_out_in_the_clear(tmp_path, monkeypatch, there, sent):
    path = tmp_path / "netrc"
    path.write_text("machine files.example.org login ada password hush\n", encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    answer = requests.Response()
    answer.request = requests.Request("GET", "https://data.example.org/a").prepare()
    onward = requests.Request("GET", there, headers={"Authorization": "of the first host"}).prepare()
    web.WebSession().rebuild_auth(onward, answer)
    assert ("Authorization" in onward.headers) is sent
    assert onward.headers.get("Authorization") != "of the first host"


def test_an_answer_that_is_too_large(waits):
    with serve(lambda _: (200, {}, b"x" * 1000)) as server, pytest.raises(web.TooLargeError):
        session().send(requests.Request("GET", server.url).prepare(), limit=999)
    assert len(server.asked) == 1


class TestRemoteFile:
    def test_gives_the_bytes_that_are_asked_for(self):
        with serve(ranged(BODY)) as server:
            file = RemoteFile(server.url)
            assert file.size == len(BODY)
            for start, count in (
                (0, 10),
                (40_000, 10),
                (40_005, 20_000),
                (len(BODY) - 5, 100),
                (len(BODY), 5),
            ):
                assert file.read(start, count) == BODY[start : start + count]

    def test_neighbours_are_one_request(self):
        with serve(ranged(BODY)) as server:
            file = RemoteFile(server.url)
            file.ahead([(60_000, 70_000), (70_100, 80_000), (200_000, 210_000)])
            assert len(server.asked) == 3
            for start, stop in ((60_000, 70_000), (70_100, 80_000), (200_000, 210_000)):
                assert file.read(start, stop - start) == BODY[start:stop]
            assert len(server.asked) == 3

    def test_what_is_read_on_and_on_comes_in_ever_larger_parts(self):
        with serve(ranged(BODY)) as server:
            file = RemoteFile(server.url)
            for start in range(40_000, 240_000, 1000):
                assert file.read(start, 1000) == BODY[start : start + 1000]
            assert len(server.asked) <= 1 + 5
            before = len(server.asked)
            file.read(33_000, 10)
            first, _, last = server.asked[-1][1]["Range"].removeprefix("bytes=").partition("-")
            assert len(server.asked) == before + 1
            assert int(last) - int(first) + 1 == LEAST

    def test_of_a_server_without_ranges(self):
        with serve(lambda _: (200, {}, BODY)) as server:
            file = RemoteFile(server.url)
            assert file.read(100_000, 10) == BODY[100_000:100_010]
            assert len(server.asked) == 1

    def test_of_a_server_that_gives_all_of_it_now_and_then(self):
        with serve(ranged(BODY)) as server:
            file = RemoteFile(server.url)
            server.answer = lambda _: (200, {}, BODY)
            assert file.read(100_001, 10) == BODY[100_001:100_011]
            assert file.read(200_001, 10) == BODY[200_001:200_011]
            assert len(server.asked) == 2

    def test_what_was_fetched_ahead_serves_all_bands_and_is_let_go_of(self):
        with serve(ranged(BODY)) as server:
            file = RemoteFile(server.url)
            first = file.held
            for _ in range(3):
                file.ahead([(60_000, 70_000), (200_000, 210_000)])
            assert len(server.asked) == 3
            file.ahead([(60_000, 70_000)])
            assert file.held == first + 10_000
            file.done(1, [], alone=True)
            assert file.held == first

    def test_of_a_server_without_ranges_that_is_too_large(self):
        large = {"Content-Length": str(WHOLE + 1)}
        with serve(lambda _: (200, large, b"")) as server, pytest.raises(PermanentSourceError, match="bytes"):
            RemoteFile(server.url)

    @pytest.mark.parametrize("status", [404, 410, 400, 416, 304])
    def test_that_is_not_there(self, status):
        with serve(lambda _: (status, {}, b"")) as server, pytest.raises(PermanentSourceError):
            RemoteFile(server.url)

    @pytest.mark.parametrize("status", [401, 403, 407, 429, 500, 503, 599])
    def test_that_may_come(self, status):
        with (
            serve(lambda _: (status, {}, b"")) as server,
            pytest.raises(TransientSourceError, match=str(status)),
        ):
            RemoteFile(server.url)

    @pytest.mark.parametrize(
        "span",
        ["bytes 5-32772/262144", "", "bytes 0-99999/10", "bytes */262144", "rows 0-1/2", "bytes 9-0/9"],
    )
    def test_of_a_server_that_gives_other_bytes(self, span):
        answer = (206, {"Content-Range": span}, BODY[:32768])
        with serve(lambda _: answer) as server, pytest.raises(PermanentSourceError, match="other bytes"):
            RemoteFile(server.url)

    def test_that_breaks_off(self):
        answer = (206, {"Content-Range": f"bytes 0-32767/{len(BODY)}"}, BODY[:100])
        with serve(lambda _: answer) as server, pytest.raises(TransientSourceError, match="broke off"):
            RemoteFile(server.url)

    def test_that_changes_while_it_is_read(self):
        with serve(ranged(BODY, ETag="a")) as server:
            file = RemoteFile(server.url)
            server.answer = ranged(BODY, ETag="b", **{"Last-Modified": "x"})
            with pytest.raises(PermanentSourceError, match="changed"):
                file.read(100_000, 10)
            server.answer = ranged(BODY[:-1], ETag="a")
            with pytest.raises(PermanentSourceError, match="changed"):
                file.read(100_000, 10)

    def test_ctrl_c_in_the_middle_is_not_lost(self, tmp_path, monkeypatch):
        """GDAL would swallow it."""
        path = tmp_path / "a.tif"
        grid = {"width": 512, "height": 512, "count": 1, "dtype": "uint16", "crs": 32632}
        with rasterio.open(
            path, "w", driver="GTiff", tiled=True, transform=from_origin(0, 512, 1, 1), **grid
        ) as out:
            out.write(np.random.default_rng(1).integers(0, 999, (1, 512, 512), np.uint16))
        from chipweave.pixels.blocks import read_block
        from chipweave.pixels.read import gdal_session, handles, source_grid

        with serve(ranged(path.read_bytes())) as server, gdal_session():
            grid = source_grid(f"{server.url}/a.tif")
            remote = handles.web.open[f"{server.url}/a.tif"]
            monkeypatch.setattr(remote, "ahead", lambda _: None)

            def interrupted(*_):
                raise KeyboardInterrupt

            monkeypatch.setattr(remote, "_get", interrupted)
            with pytest.raises(KeyboardInterrupt):
                read_block(grid, 256, 256, 16, 16)


def test_files_that_are_kept_whole_are_kept_within_bounds(tmp_path, monkeypatch):
    """Those of a server without ranges."""
    from chipweave.pixels import read, webfiles

    path = tmp_path / "a.tif"
    grid = {"width": 256, "height": 256, "count": 1, "dtype": "uint16", "crs": 32632}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(0, 256, 1, 1), **grid) as out:
        out.write(np.ones((1, 256, 256), np.uint16))
    body = path.read_bytes()
    monkeypatch.setattr(webfiles, "REMOTE_BYTES", 3 * len(body))
    with serve(lambda _: (200, {}, body)) as server, read.gdal_session():
        for n in range(6):
            read.source_grid(f"{server.url}/{n}.tif")
        assert [h.rpartition("/")[2] for h in read.handles.web.open] == ["3.tif", "4.tif", "5.tif"]
        assert len(read.handles.open) == 3


@pytest.mark.parametrize(
    ("origin", "href", "may"),
    [
        ("https://stac.example.org/v1", "http://169.254.169.254/latest", False),
        ("https://stac.example.org/v1", "http://localhost:8080/a.tif", False),
        ("https://stac.example.org/v1", "http://2852039166/latest", False),
        ("https://stac.example.org/v1", "http://127.1:8080/a.tif", False),
        ("https://stac.example.org/v1", "https://u:hush@10.0.0.1/a.tif", False),
        ("https://stac.example.org/v1", "https://8.8.8.8/a.tif", True),
        ("https://stac.example.org/v1", "https://files.example.org/a.tif", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:9090/a.tif", True),
        ("http://stac:8080", "http://10.0.0.1/a.tif", True),
        ("catalog.json", "http://10.0.0.1/a.tif", True),
    ],
)
def test_which_hosts_a_catalog_may_name(origin, href, may):
    def there():
        return resolve(href, origin=origin, self_link="", rule=LocalRule((), remote=True), item="A")

    if may:
        assert there() == href
    else:
        with pytest.raises(PermanentSourceError, match=r"item 'A' names .* no public address") as caught:
            there()
        assert "hush" not in f"{caught.value} {caught.value.href}"


def test_a_catalog_may_not_send_searches_into_the_private_network():
    from chipweave.catalog.sources.api import _endpoint

    def search(href):
        return _endpoint("https://stac.example.org/v1", {"links": [{"rel": "search", "href": href}]})[0]

    assert search("https://search.example.org/") == "https://search.example.org/"
    for href in ("http://169.254.169.254/search", "http://localhost/search", "http://127.1/search"):
        with pytest.raises(PermanentSourceError, match="no public address"):
            search(href)


def test_links_of_a_static_catalog_into_the_private_network_are_not_followed(monkeypatch):
    from chipweave.catalog.notes import Notes
    from chipweave.catalog.sources import http
    from chipweave.catalog.sources.static import walk

    asked = []

    def read_text(_, url):
        asked.append(url)
        return '{"type": "Catalog"}'

    monkeypatch.setattr(http, "read_text", read_text)
    links = [
        {"rel": "child", "href": h}
        for h in ("http://10.0.0.1/x", "http://127.1/y", "a.json", "https://b.org/c")
    ]
    notes = Notes()
    assert list(walk("https://stac.example.org/catalog.json", {"links": links}, None, notes)) == []
    assert asked == ["https://stac.example.org/a.json", "https://b.org/c"]
    assert sum("no public address" in text for text in notes.texts()) == 2
