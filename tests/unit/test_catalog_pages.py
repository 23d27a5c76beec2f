"""From page to page: bodies, tokens and links, on one host, and never in a circle."""

from __future__ import annotations

import pytest

from chipweave.catalog.sources.pages import MAX_EMPTY, Ask, Pages, following
from chipweave.errors import PermanentSourceError

URL = "https://stac.example/v1/search"
ASKED = Ask(URL, "POST", {"collections": ["c"], "limit": 2})


def _page(*ids, next_link=None, **more):
    links = [] if next_link is None else [{"rel": "next", **next_link}]
    return {"features": [{"id": i, "collection": "c"} for i in ids], "links": links, **more}


@pytest.mark.parametrize(
    ("link", "want"),
    [
        # Earth Search and Planetary Computer: the whole of the next body.
        (
            {"method": "POST", "href": URL, "merge": False, "body": {"next": "2"}},
            Ask(URL, "POST", {"next": "2"}),
        ),
        ({"href": URL, "body": {"token": "t"}}, Ask(URL, "POST", {"token": "t"})),
        # Only what is new in it.
        (
            {"method": "POST", "href": URL, "merge": True, "body": {"next": "2"}},
            Ask(URL, "POST", {"collections": ["c"], "limit": 2, "next": "2"}),
        ),
        # The token in the URL, the body as it was.
        (
            {"method": "post", "href": f"{URL}?token=2"},
            Ask(f"{URL}?token=2", "POST", {"collections": ["c"], "limit": 2}),
        ),
        # CMR: a link without a method.
        ({"href": f"{URL}?cursor=abc"}, Ask(f"{URL}?cursor=abc", "GET", None)),
        ({"href": f"{URL}?_o=20", "method": "GET", "body": {"x": 1}}, Ask(f"{URL}?_o=20", "GET", None)),
        # Relative to the search.
        ({"href": "?page=2"}, Ask(f"{URL}?page=2", "GET", None)),
        ({"href": "/other/search?page=2"}, Ask("https://stac.example/other/search?page=2", "GET", None)),
        # What a proxy makes of an API's own address.
        ({"href": "http://stac.example/v1/search?page=2"}, Ask(f"{URL}?page=2", "GET", None)),
        ({"href": "http://STAC.example:8080/v1/search?page=2"}, Ask(f"{URL}?page=2", "GET", None)),
    ],
)
def test_the_next_request(link, want):
    assert following(_page("a", next_link=link), ASKED) == want


def test_no_link_no_next_page():
    assert following(_page("a"), ASKED) is None
    assert following({"features": [], "links": [{"rel": "next", "href": 3}, "x", None]}, ASKED) is None
    assert following({"features": [], "links": {"rel": "next"}}, ASKED) is None


@pytest.mark.parametrize(
    "href",
    [
        "https://evil.example/v1/search?page=2",
        "//evil.example/search",
        "https://stac.example.evil.example/v1",
        "https://stac.example@evil.example/v1",
        "https://stac.example:8443/v1/search",
        "ftp://stac.example/v1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://[broken/",
    ],
)
def test_a_link_to_another_host_is_refused(href):
    with pytest.raises(PermanentSourceError, match="leads to another host") as caught:
        following(_page("a", next_link={"href": href}), ASKED)
    assert caught.value.exit_code == 4


def test_what_the_search_was_asked_with_is_kept_in_links():
    asked = Ask("https://stac.example/search?api_key=hush&token=1", "GET", {"limit": 2})
    (got,) = [following(_page("a", next_link={"href": "https://stac.example/search?token=2"}), asked)]
    assert got == Ask("https://stac.example/search?token=2&api_key=hush", "GET", None)
    with pytest.raises(PermanentSourceError) as caught:
        following(_page("a", next_link={"href": "https://evil.example/?token=hush"}), asked)
    assert "hush" not in caught.value.message


class Api:
    """Answers from a list, or by a function of the request's number; notes what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked, self.said = answer, [], []

    def __call__(self, ask):
        self.asked.append(ask)
        return self.answer(len(self.asked) - 1)

    def ids(self):
        return [item["id"] for item in Pages(ASKED, self, self.said.append)]


def _token(n):
    return {"href": URL, "body": {"token": str(n)}}


def test_all_pages_once():
    pages = [_page("a", "b", next_link=_token(1)), _page("b", "c", next_link=_token(2)), _page("d")]
    api = Api(lambda n: pages[n])
    assert api.ids() == ["a", "b", "c", "d"]
    assert [a.body for a in api.asked] == [ASKED.body, {"token": "1"}, {"token": "2"}]
    assert api.said == []


def test_empty_pages_in_between():
    pages = [
        _page("a", next_link=_token(1)),
        _page(next_link=_token(2)),
        _page("b", next_link=_token(3)),
        _page(),
    ]
    assert Api(lambda n: pages[n]).ids() == ["a", "b"]
    api = Api(lambda n: _page(next_link=_token(n)))
    assert api.ids() == []
    assert len(api.asked) == MAX_EMPTY


@pytest.mark.parametrize(
    "answer",
    [
        # The token is ignored: always the first page, with the same link, or ever new ones.
        lambda _: _page("a", "b", next_link=_token(1)),
        lambda n: _page("a", "b", next_link=_token(n)),
        # The last page again and again.
        lambda n: _page(f"p{min(n, 3)}", next_link=_token(n)),
        # Back and forth.
        lambda n: _page(f"p{n}", next_link=_token(n % 2)),
    ],
    ids=["same token", "new tokens", "last page", "back and forth"],
)
def test_a_circle_is_ended_with_an_error(answer):
    with pytest.raises(PermanentSourceError, match="in a circle") as caught:
        Api(answer).ids()
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_pages_without_end(monkeypatch):
    monkeypatch.setattr("chipweave.catalog.sources.pages.MAX_PAGES", 7)
    api = Api(lambda n: _page(f"p{n}", next_link=_token(n)))
    with pytest.raises(PermanentSourceError, match="after 7 items"):
        api.ids()
    assert len(api.asked) == 7


def test_from_the_last_page_to_the_first_is_an_end():
    # All that there is has been given.
    api = Api(lambda n: _page(f"p{n % 3}", next_link=_token(n)))
    assert api.ids() == ["p0", "p1", "p2"]
    assert api.said == ["repeats its pages: taken as the end"]


def test_one_item_in_two_processings():
    old = {"id": "a", "collection": "c", "properties": {"s2:processing_baseline": "02.14"}}
    new = {"id": "a", "collection": "c", "properties": {"s2:processing_baseline": "05.00"}}
    pages = [{"features": [old], "links": [{"rel": "next", **_token(1)}]}, {"features": [new, old]}]
    assert list(Pages(ASKED, Api(lambda n: pages[n]), print)) == [old, new]


@pytest.mark.parametrize("told", [{"numberMatched": 5}, {"context": {"matched": 5}}])
def test_fewer_items_than_were_promised_are_told(told):
    api = Api(lambda _: _page("a", "b", **told))
    assert api.ids() == ["a", "b"]
    assert api.said == ["says that 5 items match a search, and gives 2"]
    assert Api(lambda _: _page("a", numberMatched=1)).ids() == ["a"]
