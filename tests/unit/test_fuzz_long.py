"""Documents of any shape: a recipe, an item, a page and a catalog are read, or refused by an error of ours."""

from __future__ import annotations

import json

import pytest
import test_catalog_items as items
import test_recipe_fuzz as recipes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalog_world import make_item
from chipweave.catalog.notes import Notes
from chipweave.catalog.sources import open_source
from chipweave.catalog.sources.http import links_by_rel
from chipweave.catalog.sources.pages import Ask, following
from chipweave.errors import ChipweaveError

LONG = settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
SHORT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

ITEMS = st.tuples(
    st.dictionaries(items.FIELDS, items.JSON, max_size=2),
    st.dictionaries(items.PROPERTIES, items.JSON, max_size=3),
).map(lambda t: make_item(properties=t[1], **t[0]))
LINKS = st.lists(
    st.fixed_dictionaries(
        {"rel": st.sampled_from(["next", "child", "item", "self"])},
        optional={
            "href": st.sampled_from(["../../x.json", "/etc/passwd", "a.json", "file:///x", "http://[", "\x00"]),
            "method": items.JSON, "body": items.JSON, "merge": items.JSON,
        },
    ),
    max_size=3,
)  # fmt: skip
PAGES = st.dictionaries(
    st.sampled_from(
        ["type", "features", "links", "id", "assets", "properties", "conformsTo", "numberMatched"]
    ),
    items.JSON | st.lists(ITEMS | items.JSON, max_size=3) | LINKS,
    max_size=5,
)
DOCUMENTS = PAGES | st.lists(ITEMS | items.JSON, max_size=3) | ITEMS | items.JSON
TEXTS = DOCUMENTS.map(json.dumps) | st.text(max_size=60) | st.lists(DOCUMENTS.map(json.dumps)).map("\n".join)


def read_or_refuse(folder, text: str) -> None:
    """A catalog in a file: what it gives are items, or it is refused."""
    path = folder / "fuzz.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = list(
            open_source(str(path), Notes()).search(["sentinel-2-l2a"], (-180, -90, 180, 90), None, 9)
        )
    except ChipweaveError:
        return
    assert all(isinstance(f.item, dict) for f in found)


def follow_or_refuse(page: dict) -> None:
    """The request that a page asks for next goes to the same host, or nowhere."""
    list(links_by_rel(page, "next"))
    try:
        asked = following(page, Ask("https://a.org/search?token=1", "POST", {"limit": 1}))
    except ChipweaveError:
        return
    assert asked is None or asked.url.startswith("https://a.org/")


@SHORT
@given(TEXTS)
@example('{"type": []}')
@example('{"links": [{"rel": "child", "href": "\\u0000"}, {"rel": "item", "href": "%00"}]}')
def test_no_document_breaks_a_catalog(tmp_path_factory, text):
    read_or_refuse(tmp_path_factory.getbasetemp(), text)


@SHORT
@given(PAGES)
def test_no_page_leads_away(page):
    follow_or_refuse(page)


@pytest.mark.slow
@LONG
@given(TEXTS)
def test_no_document_breaks_a_catalog_for_long(tmp_path_factory, text):
    read_or_refuse(tmp_path_factory.getbasetemp(), text)


@pytest.mark.slow
@LONG
@given(PAGES)
def test_no_page_leads_away_for_long(page):
    follow_or_refuse(page)


@pytest.mark.slow
@LONG
@given(
    st.binary(max_size=400)
    | st.text(st.sampled_from("{}[]:-,&*!|>'\"%#@`?~<= \n\tab01.\\xuU"), max_size=120).map(
        lambda text: b"version: 1\n" + text.encode()
    )
    | (recipes.BENIGN | recipes.NEARLY).map(lambda tree: json.dumps(tree).encode())
)
def test_no_recipe_breaks_the_loader_for_long(tmp_path_factory, data):
    recipes.load_or_refuse(tmp_path_factory.getbasetemp(), data)


@pytest.mark.slow
@LONG
@given(
    st.dictionaries(items.FIELDS, items.JSON, max_size=3),
    st.dictionaries(items.PROPERTIES, items.JSON, max_size=6),
    st.dictionaries(items.FACTS, items.JSON, max_size=6),
)
def test_no_item_breaks_the_reader_for_long(tmp_path_factory, top, properties, facts):
    items.test_no_item_breaks_the_reader.hypothesis.inner_test(tmp_path_factory, top, properties, facts)
