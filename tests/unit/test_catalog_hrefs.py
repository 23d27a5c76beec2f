"""Hrefs: resolved as STAC means them, and local files only where they are allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.catalog.hrefs import (
    LocalRule,
    UnusableHrefError,
    env_roots,
    is_clean,
    redact,
    resolve,
    scheme_of,
    shown,
)
from chipweave.errors import PermanentSourceError

API = "https://stac.example/v1"
SELF = "https://stac.example/v1/collections/c/items/A"


@pytest.fixture
def world(tmp_path):
    """A catalog's folder with a file, and another file beside the folder."""
    (tmp_path / "cat" / "sub").mkdir(parents=True)
    for name in ("cat/a.tif", "cat/sub/b c.tif", "secret.tif"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def _remote(href, roots=(), self_link=SELF, origin=API):
    return resolve(href, origin=origin, self_link=self_link, rule=LocalRule.of(None, roots), item="A")


def _local(world, href, roots=(), self_link=""):
    rule = LocalRule.of(world / "cat", roots)
    return resolve(href, origin=str(world / "cat" / "items.json"), self_link=self_link, rule=rule, item="A")


@pytest.mark.parametrize("href", ["https://x.org/a.tif?v=1", "http://x.org/a.tif", "s3://bucket/a.tif"])
def test_urls_stay_as_they_are(world, href):
    assert _remote(href) == href
    assert _local(world, href) == href


@pytest.mark.parametrize(
    ("href", "want"),
    [
        ("https://a.b/c.tif?sv=1&se=2&sp=r&sig=hush", "https://a.b/c.tif"),
        ("https://a.b/c.tif?v=2&SE=2&SIG=hush", "https://a.b/c.tif?v=2"),
        (
            "https://a.b/c.tif?st=1&v=2",
            "https://a.b/c.tif?st=1&v=2",
        ),  # no signature: these mean something else
        ("https://a.b/c?X-Amz-Signature=hush&X-Amz-Date=1&versionId=3", "https://a.b/c?versionId=3"),
        ("s3://b/c?AWSAccessKeyId=hush&Signature=hush&Expires=4", "s3://b/c"),
        ("https://a.b/c?Policy=hush&Signature=hush&Key-Pair-Id=hush", "https://a.b/c"),
        ("https://u:hush@a.b/c.tif#hush", "https://a.b/c.tif"),
        ("https://a.b/c?access_token=hush&file=2", "https://a.b/c?file=2"),
        ("https://a.b/c?subscription-key=hush;n=1", "https://a.b/c?n=1"),
        ("https://a.b/c?%74oken=hush", "https://a.b/c"),
        ("https://a.b/download?key=S2A/B04.tif", "https://a.b/download?key=S2A/B04.tif"),
        ("https://a.b/q?path=a%20b&x", "https://a.b/q?path=a%20b&x"),
    ],
)
def test_no_secret_is_kept(world, href, want):
    assert _remote(href) == _local(world, href) == want
    assert _remote(want) == want


@pytest.mark.parametrize(
    ("href", "self_link", "want"),
    [
        ("a.tif", SELF, "https://stac.example/v1/collections/c/items/a.tif"),
        ("./a.tif", SELF, "https://stac.example/v1/collections/c/items/a.tif"),
        ("../a.tif", SELF, "https://stac.example/v1/collections/c/a.tif"),
        ("a.tif", "", "https://stac.example/a.tif"),
        ("a.tif", "./deep/A.json", "https://stac.example/deep/a.tif"),
        ("a.tif", "s3://bucket/A.json", "https://stac.example/a.tif"),
    ],
)
def test_relative_in_a_remote_catalog(href, self_link, want):
    assert _remote(href, self_link=self_link) == want


@pytest.mark.parametrize(
    ("href", "want"),
    [
        ("a.tif", "a.tif"),
        ("./a.tif", "a.tif"),
        ("sub/b c.tif", "sub/b c.tif"),
        ("sub/b%20c.tif", "sub/b c.tif"),
        ("sub/../a.tif", "a.tif"),
        ("not/yet.tif", "not/yet.tif"),
    ],
)
def test_relative_in_a_local_catalog(world, href, want):
    assert _local(world, href) == str(world / "cat" / want)


def test_local_file_wins_over_a_published_self_link(world):
    assert _local(world, "a.tif", self_link=SELF) == str(world / "cat" / "a.tif")
    assert _local(world, "gone.tif", self_link=SELF) == "https://stac.example/v1/collections/c/items/gone.tif"
    assert _local(world, "b c.tif", self_link="./sub/A.json") == str(world / "cat" / "sub" / "b c.tif")


def test_absolute_and_file_urls_below_the_folder(world):
    path = world / "cat" / "sub" / "b c.tif"
    for href in (str(path), path.as_uri(), f"file://localhost{path}".replace(" ", "%20")):
        assert _local(world, href) == str(path)


@pytest.mark.parametrize(
    "kind", ["absolute", "file", "dots", "symlink", "folder symlink", "sibling", "root itself"]
)
def test_escapes_from_a_local_catalog(world, kind):
    (world / "cat" / "link.tif").symlink_to(world / "secret.tif")
    (world / "cat" / "up").symlink_to(world)
    (world / "cat-sibling").mkdir()
    href = {
        "absolute": str(world / "secret.tif"),
        "file": (world / "secret.tif").as_uri(),
        "dots": "../secret.tif",
        "symlink": "link.tif",
        "folder symlink": "up/secret.tif",
        "sibling": str(world / "cat-sibling" / "x.tif"),
        "root itself": str(world / "cat"),
    }[kind]
    with pytest.raises(PermanentSourceError, match="item 'A' names the local file") as caught:
        _local(world, href)
    assert caught.value.exit_code == 4
    assert "outside the catalog's own folder" in caught.value.message
    if kind != "root itself":
        assert Path(_local(world, href, roots=[world])).parent.exists()


def test_a_remote_catalog_names_local_files_only_below_the_roots(world):
    href = str(world / "cat" / "a.tif")
    for bad in (href, Path(href).as_uri()):
        with pytest.raises(PermanentSourceError, match="only below local_roots"):
            _remote(bad)
        with pytest.raises(PermanentSourceError, match="only below local_roots"):
            _remote(bad, roots=[world / "nowhere"])
        assert _remote(bad, roots=[world / "nowhere", world / "cat"]) == href
    (world / "cat" / "link.tif").symlink_to(world / "secret.tif")
    with pytest.raises(PermanentSourceError):
        _remote(str(world / "cat" / "link.tif"), roots=[world / "cat"])
    # A self link that is a local path does not open the door either.
    with pytest.raises(PermanentSourceError):
        _remote("a.tif", self_link=str(world / "cat" / "A.json"))
    assert _remote("a.tif", self_link=str(world / "cat" / "A.json"), roots=[world]) == href


def test_a_root_that_is_a_symlink(world):
    (world / "alias").symlink_to(world / "cat")
    assert _remote(str(world / "cat" / "a.tif"), roots=[world / "alias"]) == str(world / "cat" / "a.tif")
    assert _remote(str(world / "alias" / "a.tif"), roots=[world / "cat"]) == str(world / "cat" / "a.tif")


@pytest.mark.parametrize(
    "href",
    [
        "/vsicurl/http://x.org/a.tif",
        "/vsizip/a.zip",
        "//vsimem/a",
        "/VSIS3/b/a.tif",
        "file:///vsimem/a.tif",
        "file://host/a.tif",
        "file:a.tif",
        "file:///a%00b",
    ],
)
def test_virtual_paths_and_odd_files_are_refused(world, href):
    for roots in ([], [Path("/")]):
        with pytest.raises(PermanentSourceError):
            _remote(href, roots=roots)
        with pytest.raises(PermanentSourceError):
            _local(world, href, roots=roots)


@pytest.mark.parametrize(
    "href", ["gs://b/a.tif", "az://b/a", "ftp://x/a", "data:image/png;base64,AA", "javascript:x"]
)
def test_schemes_that_are_not_read(world, href):
    with pytest.raises(UnusableHrefError):
        _local(world, href)


def test_roots_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CHIPWEAVE_LOCAL_ROOTS", raising=False)
    assert env_roots() == ()
    monkeypatch.setenv("CHIPWEAVE_LOCAL_ROOTS", os.pathsep.join(["", str(tmp_path), " ", "/x y"]))
    assert env_roots() == (tmp_path, Path("/x y"))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "a", "sub", "up", "x.tif", "%2e%2e", "//"]), min_size=1, max_size=8)
)
def test_nothing_leads_out_of_the_folder(tmp_path_factory, parts):
    base = tmp_path_factory.getbasetemp() / "escape"
    (base / "cat" / "sub").mkdir(parents=True, exist_ok=True)
    if not (base / "cat" / "up").is_symlink():
        (base / "cat" / "up").symlink_to(base)
    rule = LocalRule.of(base / "cat", ())
    try:
        there = resolve(
            "/".join(parts), origin=str(base / "cat" / "i.json"), self_link="", rule=rule, item="A"
        )
    except PermanentSourceError:
        return
    assert Path(there).resolve().is_relative_to((base / "cat").resolve())


@pytest.mark.parametrize("bad", ["a\x00b", "a\nb", "\x1b[0m", "\u202egpj", "\ud800", "\x85"])
def test_texts_that_may_not_be_stored(bad):
    assert not is_clean(bad)
    assert is_clean(shown(bad))


def test_shown_is_short():
    assert shown("x" * 500) == "x" * 77 + "..."
    assert is_clean("S2A_32TMT äöü 日本")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("http://x", "http"),
        ("FILE:/x", "file"),
        ("a/b", ""),
        ("/a:b", ""),
        ("S2A:B04.tif", ""),
        ("C:\\x", ""),
    ],
)
def test_schemes(text, want):
    assert scheme_of(text) == want


@settings(deadline=None)
@given(st.text(alphabet="abc", min_size=1), st.text(alphabet="xyz0123", min_size=1))
def test_redaction_keeps_no_secret(path, secret):
    shown_url = redact(f"https://user:{secret}Q@host.org/{path}?sig={secret}Q#{secret}Q")
    assert shown_url == f"https://host.org/{path}"
