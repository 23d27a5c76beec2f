"""Files behind a login: opened with secrets from the environment, renewed in time, and told by no message."""

from __future__ import annotations

import base64
import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
import stamina
import yaml
from affine import Affine

from chipweave.catalog import access, secrets, tokens
from chipweave.catalog.pace import Pace
from chipweave.catalog.providers import all_providers, load_provider
from chipweave.errors import PermanentSourceError, RecipeError, TransientSourceError
from chipweave.pixels import gdal_session, source_grid
from chipweave.pixels.blocks import read_block
from chipweave.pixels.read import handles
from support.listening import listening

HUSH = "hush-hush-4711"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No token and no file of another test; no secret of whoever runs this."""
    tokens._kept.clear()
    handles.close()
    monkeypatch.setattr("chipweave.catalog.web.BACKOFF", 0.0)
    for name in ("AWS_REQUEST_PAYER", "AWS_ACCESS_KEY_ID", "EARTHDATA_TOKEN", "CDSE_ACCESS_KEY_ID", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    yield
    handles.close()


class Host(BaseHTTPRequestHandler):
    """A host that answers with what its `answer` says: status, headers, body. Notes paths and headers."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        status, headers, body = self.server.answer(self)
        span = self.headers.get("Range", "")
        if status == 200 and span.startswith("bytes="):
            first, _, last = span[6:].partition("-")
            start, end = int(first), min(int(last or len(body)), len(body) - 1)
            headers = {**headers, "Content-Range": f"bytes {start}-{end}/{len(body)}"}
            status, body = 206, body[start : end + 1]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as the library wants it


@contextmanager
def host(answer):
    with listening(Host, answer=answer, seen=[]) as server:
        yield server


def provider(folder: Path, *rules: dict, name: str = "mine", **more) -> tuple[Path]:
    """Write a provider file with these rules; the folders for `gdal_session`."""
    path = folder / "catalogs" / "providers" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"access": list(rules), **more}), encoding="utf-8")
    return (folder / "catalogs",)


@pytest.fixture(scope="module")
def cog(tmp_path_factory):
    """Bytes of a small GeoTIFF of several blocks."""
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    profile = {
        "driver": "GTiff",
        "width": 1024,
        "height": 1024,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32632",
    }
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(path, "w", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **profile, **tiled) as out:
        out.write(np.random.default_rng(1).integers(0, 9999, (1, 1024, 1024), np.uint16))
    return path.read_bytes()


class TestRules:
    def test_every_shipped_provider_says_how_its_files_are_reached(self):
        names = {p.name for p in all_providers()}
        assert names >= {"earth-search", "planetary-computer", "cdse", "usgs", "lpcloud", "deafrica", "dea"}
        for held in all_providers():
            assert held.access, held.name
            assert held.endpoint.startswith("https://")
            assert 0 < held.rate <= 20

    def test_what_anybody_may_read_is_opened_as_it_is(self):
        for href in (
            "https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/B04.tif",
            "http://127.0.0.1:8080/a.tif?v=1",
            "https://h.org:port/x",
        ):
            assert access.opening(href) == access.Opening(href)
        with pytest.raises(PermanentSourceError, match="is no URL"):
            access.opening("https://[broken/x")

    @pytest.mark.parametrize(
        ("bucket", "want"),
        [
            ("deafrica-sentinel-2", {"AWS_REGION": "af-south-1", "AWS_NO_SIGN_REQUEST": "YES"}),
            ("dea-public-data", {"AWS_REGION": "ap-southeast-2", "AWS_NO_SIGN_REQUEST": "YES"}),
            ("sentinel-cogs", {"AWS_REGION": "us-west-2", "AWS_NO_SIGN_REQUEST": "YES"}),
            ("of-nobody", {}),
        ],
    )
    def test_buckets(self, bucket, want):
        got = access.opening(f"s3://{bucket}/a/B04.tif")
        assert (got.name, dict(got.options)) == (f"/vsis3/{bucket}/a/B04.tif", want)

    def test_keys_of_a_service_of_its_own(self, monkeypatch):
        monkeypatch.setenv("CDSE_ACCESS_KEY_ID", "who")
        monkeypatch.setenv("CDSE_SECRET_ACCESS_KEY", f"{HUSH}\n")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of another account")
        got = access.opening("s3://eodata/a.jp2")
        assert dict(got.options) == {
            "AWS_REGION": "default",
            "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
            "AWS_HTTPS": "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_NO_SIGN_REQUEST": "NO",
            "AWS_ACCESS_KEY_ID": "who",
            "AWS_SECRET_ACCESS_KEY": HUSH,
            "AWS_SESSION_TOKEN": "",
        }

    @pytest.mark.parametrize(
        ("href", "names"),
        [
            ("s3://eodata/a.jp2", ["CDSE_ACCESS_KEY_ID", "CDSE_SECRET_ACCESS_KEY"]),
            (
                "https://data.lpdaac.earthdatacloud.nasa.gov/a.tif",
                ["EARTHDATA_TOKEN", "urs.earthdata.nasa.gov"],
            ),
            ("s3://usgs-landsat/a.TIF", ["is billed", "AWS_REQUEST_PAYER=requester"]),
        ],
    )
    def test_what_is_missing_is_named(self, href, names, tmp_path, monkeypatch):
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        with pytest.raises(TransientSourceError) as caught:
            access.opening(href)
        said = f"{caught.value.message} {caught.value.hint}"
        assert all(name in said for name in [href, *names])

    def test_whoever_agrees_to_pay_may_read(self, monkeypatch):
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        got = access.opening("s3://usgs-landsat/a.TIF")
        assert dict(got.options) == {"AWS_REGION": "us-west-2", "AWS_REQUEST_PAYER": "requester"}

    def test_secrets_are_not_sent_in_the_clear(self, monkeypatch):
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        for href in (
            "http://data.lpdaac.earthdatacloud.nasa.gov/a.tif",
            "http://sentinel2l2a01.blob.core.windows.net/c/a.tif",
        ):
            with pytest.raises(PermanentSourceError, match="not sent without https"):
                access.opening(href)

    @pytest.mark.parametrize(
        "href",
        [
            "https://data.lpdaac.earthdatacloud.nasa.gov.evil.example/a.tif",
            "https://evil.example/data.lpdaac.earthdatacloud.nasa.gov/a.tif",
            "https://evil.example?data.lpdaac.earthdatacloud.nasa.gov",
            "https://xdata.lpdaac.earthdatacloud.nasa.gov/a.tif",
        ],
    )
    def test_hosts_that_look_alike_get_no_secret(self, href, monkeypatch):
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        assert access.opening(href) == access.Opening(href)

    @pytest.mark.parametrize("netloc", ["evil.example\\@{}", "evil.example@{}", "evil.example:x@{}", "{}:"])
    def test_hosts_that_are_read_in_two_ways_get_no_secret(self, netloc, monkeypatch):
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        href = f"https://{netloc.format('lpdaac.earthdata.nasa.gov')}/a.tif"
        with pytest.raises(PermanentSourceError, match="not clear"):
            access.opening(href)

    def test_a_user_s_rule_comes_first(self, tmp_path):
        rule = {"kind": "s3", "buckets": ["usgs-landsat"], "signed": False, "endpoint": "http://127.0.0.1:1"}
        catalogs = provider(tmp_path, rule, name="zzz")
        with access.rules_of(catalogs):
            got = access.opening("s3://usgs-landsat/a.TIF")
        assert (got.options["AWS_S3_ENDPOINT"], got.options["AWS_HTTPS"]) == ("127.0.0.1:1", "NO")
        with pytest.raises(TransientSourceError, match="billed"):
            access.opening("s3://usgs-landsat/a.TIF")

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ({"kind": "magic", "hosts": ["a.org"]}, "magic"),
            ({"kind": "bearer", "hosts": ["a.org"], "token": "my-secret-token"}, "token"),
            ({"kind": "bearer", "hosts": [], "token": "TOKEN"}, "hosts"),
            ({"kind": "sas", "hosts": ["a.org"], "endpoint": "file:///etc"}, "endpoint"),
            ({"kind": "s3", "buckets": ["b"], "endpoint": "https://key:secret@host"}, "endpoint"),
            ({"kind": "s3", "buckets": ["b"], "password": "x"}, "password"),
        ],
    )
    def test_rules_that_are_refused(self, rule, said, tmp_path):
        with pytest.raises(RecipeError, match=said):
            load_provider("mine", provider(tmp_path, rule))


def sas_host(cog, life=3600.0):
    """A host that gives tokens below /sas and files below /data to those who have the newest one."""

    def answer(request):
        path = urlsplit(request.path).path
        if path.startswith("/sas/"):
            request.server.given += 1
            until = datetime.now(UTC) + timedelta(seconds=request.server.life)
            token = f"se=x&sp=r&sig={HUSH}{request.server.given}%2Bq%3D"
            body = f'{{"msft:expiry": "{until:%Y-%m-%dT%H:%M:%S.%fZ}", "token": "{token}"}}'
            return 200, {}, body.encode()
        good = f"sig={HUSH}{request.server.given}%2Bq%3D" in request.path
        request.server.refused += not good
        return (200, {}, cog) if good else (403, {}, b"AuthenticationFailed")

    @contextmanager
    def run():
        with host(answer) as server:
            server.given, server.refused, server.life = 0, 0, life
            yield server

    return run()


def sas_rule(url: str, **more) -> dict:
    return {"kind": "sas", "hosts": [urlsplit(url).netloc], "endpoint": f"{url}/sas/token", **more}


def asked(server, prefix: str) -> int:
    return sum(path.startswith(prefix) for path, _ in server.seen)


class TestSas:
    def test_one_token_a_container(self, cog, tmp_path, monkeypatch):
        monkeypatch.setenv("MY_KEY", HUSH)
        with sas_host(cog) as server:
            catalogs = provider(tmp_path, sas_rule(server.url, key="MY_KEY", header="X-My-Key"))
            with gdal_session(catalogs):
                for name in ("a", "b"):
                    source = source_grid(f"{server.url}/data/{name}.tif")
                    assert source.href == f"{server.url}/data/{name}.tif"
            signs = [(p, h) for p, h in server.seen if p.startswith("/sas/")]
            assert [p for p, _ in signs] == ["/sas/token/127/data"]
            assert signs[0][1]["X-My-Key"] == HUSH
            # The key goes to whoever signs, and to nobody else.
            assert all("X-My-Key" not in h for p, h in server.seen if p.startswith("/data/"))

    def test_threads_ask_once(self, cog, tmp_path):
        with sas_host(cog) as server:
            catalogs = provider(tmp_path, sas_rule(server.url))

            def sign():
                with access.rules_of(catalogs):
                    access.opening(f"{server.url}/data/a.tif")

            threads = [threading.Thread(target=sign) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert asked(server, "/sas/") == 1

    def test_renewed_shortly_before_its_end(self, cog, tmp_path, monkeypatch):
        now = [datetime.now(UTC).timestamp()]
        monkeypatch.setattr("time.time", lambda: now[0])
        with sas_host(cog) as server:
            catalogs = provider(tmp_path, sas_rule(server.url))
            href = f"{server.url}/data/a.tif"
            with gdal_session(catalogs):
                source = source_grid(href)
                read_block(source, 0, 0, 256, 256)
                assert server.given == 1
                now[0] += 3600 - tokens.MARGIN - 5
                read_block(source, 256, 256, 256, 256)
                assert server.given == 1
                now[0] += 10
                got = read_block(source, 512, 512, 256, 256)
                assert server.given == 2  # before the end, and the file is open under the new one
            assert got.any()
            assert server.refused == 0

    def test_a_token_that_is_refused_is_fetched_anew(self, cog, tmp_path):
        with sas_host(cog) as server:
            catalogs = provider(tmp_path, sas_rule(server.url))
            with gdal_session(catalogs):
                source = source_grid(f"{server.url}/data/a.tif")
                server.given += 1  # the host no longer takes the first one
                assert read_block(source, 768, 768, 256, 256).any()
            assert asked(server, "/sas/") == 2

    def test_tokens_are_asked_for_at_the_provider_s_pace(self, cog, tmp_path, monkeypatch):
        waits = []
        pace = Pace(2.0, lambda: 0.0, waits.append)
        monkeypatch.setattr(
            access, "pace_of", lambda name, rate: pace if (name, rate) == ("mine", 2.0) else None
        )
        with sas_host(cog) as server, access.rules_of(provider(tmp_path, sas_rule(server.url), rate=2)):
            for container in ("a", "b", "a", "c"):
                access.opening(f"{server.url}/{container}/x.tif")
        assert waits == [0.5, 1.0]

    def test_a_container_that_needs_none(self, cog, tmp_path):
        with host(lambda r: (404, {}, b"{}") if "/sas/" in r.path else (200, {}, cog)) as server:
            with gdal_session(provider(tmp_path, sas_rule(server.url))):
                source_grid(f"{server.url}/data/a.tif")
                source_grid(f"{server.url}/data/b.tif")
            assert asked(server, "/sas/") == 1

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (403, b"{}", TransientSourceError),
            (429, b"{}", TransientSourceError),
            (500, b"{}", TransientSourceError),
            (302, b"{}", PermanentSourceError),
            # No fault of the scene, whose place another one would take.
            (200, b"<html>", TransientSourceError),
            (200, b"[]", TransientSourceError),
            (200, b'{"token": ""}', TransientSourceError),
            (200, b'{"token": "a b"}', TransientSourceError),
            (200, b'{"token": "x\\nHost: evil"}', TransientSourceError),
            (200, b'{"token": "sig=abcdef", "msft:expiry": "2001-01-01T00:00:00Z"}', TransientSourceError),
        ],
    )
    def test_answers_that_are_no_token(self, status, body, error, tmp_path):
        with (
            host(lambda _: (status, {"Location": "http://127.0.0.1:9/"}, body)) as server,
            access.rules_of(provider(tmp_path, sas_rule(server.url))),
            pytest.raises(error, match="/sas/token/127/data"),
        ):
            access.opening(f"{server.url}/data/a.tif")

    def test_a_service_that_is_away(self, tmp_path):
        with (
            access.rules_of(provider(tmp_path, sas_rule("http://127.0.0.1:9"))),
            pytest.raises(TransientSourceError, match="cannot be reached for a token"),
        ):
            access.opening("http://127.0.0.1:9/data/a.tif")


class TestBuckets:
    @pytest.mark.parametrize("good", [0, 1])
    @pytest.mark.parametrize("status", [503, 429, 403])
    def test_a_service_that_falters_is_no_fault_of_the_scene(self, cog, tmp_path, status, good):
        """In the middle of a file GDAL tells only that bytes are missing."""
        stamina.set_testing(True, attempts=3)
        try:
            with host(
                lambda r: (200, {}, cog) if len(r.server.seen) <= good else (status, {}, b"")
            ) as server:
                rule = {"kind": "s3", "buckets": ["bucket"], "endpoint": server.url, "signed": False}
                with (
                    gdal_session(provider(tmp_path, rule)),
                    rasterio.Env(GDAL_HTTP_MAX_RETRY="0"),
                    pytest.raises(TransientSourceError, match=str(status)),
                ):
                    read_block(source_grid("s3://bucket/a.tif"), 512, 512, 256, 256)
        finally:
            stamina.set_testing(False)

    def test_a_file_that_breaks_off_gives_way(self, cog, tmp_path):
        stamina.set_testing(True, attempts=3)
        try:
            with host(lambda _: (200, {}, cog[: len(cog) // 2])) as server:
                rule = {"kind": "s3", "buckets": ["bucket"], "endpoint": server.url, "signed": False}
                with gdal_session(provider(tmp_path, rule)), pytest.raises(PermanentSourceError):
                    read_block(source_grid("s3://bucket/a.tif"), 768, 768, 256, 256)
        finally:
            stamina.set_testing(False)


class TestBearer:
    def test_the_token_stays_with_its_host(self, cog, tmp_path, monkeypatch):
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        monkeypatch.setenv("CHIPWEAVE_TRUSTED_HOSTS", "127.0.0.1")
        with host(lambda _: (200, {}, cog)) as store:

            def answer(request):
                ok = request.headers.get("Authorization") == f"Bearer {HUSH}"
                return (
                    (303, {"Location": f"{store.url}{request.path}?X-Amz-Signature=1"}, b"")
                    if ok
                    else (401, {}, b"")
                )

            with host(answer) as server:
                rule = {"kind": "bearer", "hosts": [urlsplit(server.url).netloc], "token": "EARTHDATA_TOKEN"}
                with gdal_session(provider(tmp_path, rule)):
                    source = source_grid(f"{server.url}/a.tif")
                    assert read_block(source, 0, 0, 1024, 1024).any()
                    # A file of another host, in the same session.
                    source_grid(f"{store.url}/open.tif")
            assert store.seen
            assert all("Authorization" not in headers for _, headers in store.seen)

    def test_no_netrc_takes_the_place_of_a_token(self, cog, tmp_path, monkeypatch):
        path = tmp_path / "netrc"
        path.write_text("default login ada password other-secret\n", encoding="utf-8")
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        monkeypatch.setattr("chipweave.catalog.remote.is_loopback", lambda _: False)  # else no netrc is read
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        with host(lambda _: (200, {}, cog)) as server:
            rule = {"kind": "bearer", "hosts": [urlsplit(server.url).netloc], "token": "EARTHDATA_TOKEN"}
            with gdal_session(provider(tmp_path, rule)):
                monkeypatch.setattr(access, "_private", lambda *_: None)
                source_grid(f"{server.url}/a.tif")
            with gdal_session():  # http, and a file that anybody may read
                source_grid(f"{server.url}/open.tif")
        assert {h.get("Authorization") for p, h in server.seen if p == "/a.tif"} == {f"Bearer {HUSH}"}
        assert {h.get("Authorization") for p, h in server.seen if p == "/open.tif"} == {None}

    def test_a_page_instead_of_a_file_is_no_fault_of_the_scene(self, tmp_path, monkeypatch):
        """That is how some servers ask for a login that is over; of others it is what they have."""
        monkeypatch.setenv("EARTHDATA_TOKEN", HUSH)
        with host(lambda _: (200, {}, b"<!DOCTYPE html><title>Log in</title>")) as server:
            rule = {"kind": "bearer", "hosts": [urlsplit(server.url).netloc], "token": "EARTHDATA_TOKEN"}
            with (
                gdal_session(provider(tmp_path, rule)),
                pytest.raises(TransientSourceError, match="gives a page"),
            ):
                source_grid(f"{server.url}/a.tif")
            with gdal_session(), pytest.raises(PermanentSourceError, match="neither GeoTIFF"):
                source_grid(f"{server.url}/a.tif")

    def test_a_login_by_netrc(self, cog, tmp_path, monkeypatch):
        """The file's host sends to the login, which wants a password and sends back with a cookie."""
        path = tmp_path / "netrc"
        path.write_text(f"machine 127.0.0.1 login ada password {HUSH}\n", encoding="utf-8")
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))
        # On this machine neither proxies nor logins of the user's are looked up.
        monkeypatch.setattr("chipweave.catalog.remote.is_loopback", lambda _: False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        basic = base64.b64encode(f"ada:{HUSH}".encode()).decode()

        def answer(request):
            parts = urlsplit(request.path)
            if parts.path == "/login":
                if request.headers.get("Authorization") != f"Basic {basic}":
                    return 401, {"WWW-Authenticate": "Basic"}, b""
                return 302, {"Location": f"{server.url}{parts.query}", "Set-Cookie": "session=1; Path=/"}, b""
            if "session=1" not in request.headers.get("Cookie", ""):
                return 302, {"Location": f"{server.url}/login?{parts.path}"}, b""
            return 200, {}, cog

        with host(answer) as server:
            rule = {
                "kind": "bearer",
                "hosts": [urlsplit(server.url).netloc],
                "token": "UNSET",
                "login": "127.0.0.1",
            }
            with gdal_session(provider(tmp_path, rule)):
                assert read_block(source_grid(f"{server.url}/a.tif"), 0, 0, 256, 256).any()
            assert asked(server, "/login") < len(server.seen)


class TestSilence:
    """No secret in a message, a log or a traceback."""

    def test_errors_and_logs(self, cog, tmp_path, caplog):
        caplog.set_level(logging.DEBUG)
        with sas_host(cog) as server:
            server.given = 5

            def refuse(request):
                return (404, {}, b"gone") if request.path.startswith("/data") else answer(request)

            answer, server.answer = server.answer, refuse
            with (
                gdal_session(provider(tmp_path, sas_rule(server.url))),
                pytest.raises(PermanentSourceError) as caught,
            ):
                source_grid(f"{server.url}/data/a.tif")
        import traceback

        told = "".join(traceback.format_exception(caught.value))
        assert f"{server.url}/data/a.tif" in caught.value.message
        for text in (told, caplog.text, repr(caught.value.__dict__)):
            assert HUSH not in text

    def test_options_are_not_logged(self, cog, tmp_path, monkeypatch, caplog):
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("MY_TOKEN", HUSH)
        with host(lambda _: (200, {}, cog)) as server:
            rule = {"kind": "bearer", "hosts": [urlsplit(server.url).netloc], "token": "MY_TOKEN"}
            with gdal_session(provider(tmp_path, rule)):
                source_grid(f"{server.url}/a.tif")
        assert HUSH not in caplog.text

    def test_scrub(self):
        secrets.keep_secret("sv=1&sig=abcdefghijklmnop%2B%3D")
        assert secrets.scrub("x sv=1&sig=abcdefghijklmnop%2B%3D y") == "x *** y"
        assert "abcdefghijklmnop" not in secrets.scrub("only abcdefghijklmnop+= here")
        assert secrets.keep_secret("abc") == "abc"
        assert secrets.scrub("abc") == "abc"
