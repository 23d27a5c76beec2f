"""From page to page of a search: by a body, a token or a link, on one host, and never in a circle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from chipweave.catalog.hrefs import redact, shown
from chipweave.catalog.sources.http import links_by_rel
from chipweave.catalog.stac import collection_of, item_id, mapping, number, properties
from chipweave.errors import PermanentSourceError

MAX_PAGES: Final = 10_000
"""Pages of one search; more than a catalog has, and fewer than for ever."""

MAX_EMPTY: Final = 3
"""Pages without items, one after the other, after which no more are asked for: some sieve after paging."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a page; `body` goes into a POST, or into the query of a GET."""

    url: str
    method: str
    body: Mapping[str, Any] | None

    @property
    def key(self) -> str:
        """What tells it from any other request."""
        return json.dumps([self.url, self.method, self.body], sort_keys=True, default=str)


def following(page: Mapping[str, Any], asked: Ask) -> Ask | None:
    """Request for the next page, None where there is none.

    A link without a method is a GET; one with a body a POST, alone or (`merge`) on top of the last body. Headers that
    a link wants to be sent are not.

    Raises
    ------
    PermanentSourceError
        The link leads to another host.
    """
    link = next(iter(links_by_rel(page, "next")), None)
    if link is None:
        return None
    body = link.get("body")
    method = str(link.get("method") or ("POST" if isinstance(body, Mapping) else "GET")).upper()
    url = _on_host(str(link["href"]), asked.url)
    if method != "POST":
        return Ask(_with_query(url, asked.url), "GET", None)
    own = mapping(body)
    return Ask(url, "POST", {**(asked.body or {}), **own} if link.get("merge") or not own else dict(own))


def _on_host(href: str, home: str) -> str:
    """Where a link leads, by the scheme, and under the name, by which its host was asked before.

    Behind a proxy an API may think that it answers http, or on another port.
    """
    try:
        url = urljoin(home, href)
        there, here = urlsplit(url), urlsplit(home)
        same = there.scheme in {"http", "https"} and (there.hostname or "") == (here.hostname or "")
        if same and there.scheme == here.scheme and there.port != here.port:
            same = False
    except ValueError:
        same = False
    if not same:
        raise PermanentSourceError(
            f"{redact(home)} leads to another host for its next page: {shown(redact(href), 200)}",
            hint="see whether that host is the catalog that you mean",
            href=redact(home),
        )
    return urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))


def _with_query(url: str, home: str) -> str:
    """The URL, with those parameters of the search's own that it lacks and that no page of results is told by."""
    parts = urlsplit(url)
    there = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    more = [(n, v) for n, v in parse_qsl(urlsplit(home).query) if n not in there and n not in _PAGING]
    query = "&".join(filter(None, [parts.query, urlencode(more)])) if more else parts.query
    return urlunsplit(parts._replace(query=query))


_PAGING: Final = frozenset({"token", "next", "page", "cursor", "offset", "_o", "startindex", "limit"})


class Pages:
    """Items of all pages of a search, each once.

    Parameters
    ----------
    first
        Request for the first page.
    ask
        Sends a request, gives the page.
    say
        Is told what is odd.
    """

    def __init__(
        self, first: Ask, ask: Callable[[Ask], Mapping[str, Any]], say: Callable[[str], None]
    ) -> None:
        self._next: Ask | None = first
        self._ask, self._say = ask, say
        self._shown = redact(first.url)
        self._asked: set[str] = set()
        self._items: set[tuple[str, ...]] = set()
        self._first: tuple[tuple[str, ...], ...] | None = None
        self._given = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items as they come, other entries of `features` too.

        Raises
        ------
        PermanentSourceError
            A page is none, leads elsewhere, or leads back.
        """
        empty, stale, matched = 0, False, None
        while (asked := self._next) is not None and empty < MAX_EMPTY:
            if asked.key in self._asked or len(self._asked) >= MAX_PAGES:
                if empty:
                    break  # in a circle, but there is nothing in it
                raise self._circle()
            self._asked.add(asked.key)
            page = self._ask(asked)
            features = page["features"]
            self._next = following(page, asked)
            matched = number(page.get("numberMatched") or mapping(page.get("context")).get("matched"))
            empty = 0 if features else empty + 1
            own = [f for f in features if not isinstance(f, dict) or _identity(f) not in self._items]
            prints = tuple(_identity(f) for f in features if isinstance(f, dict))
            if features and not own:
                if stale:
                    raise self._circle()
                if len(self._asked) > 2 and prints == self._first:
                    self._say("repeats its pages: taken as the end")
                    return
            stale = bool(features) and not own
            self._first = prints if self._first is None else self._first
            self._items.update(_identity(f) for f in own if isinstance(f, dict))
            self._given += len(own)
            yield from own
        if matched is not None and matched > self._given:
            self._say(f"says that {int(matched)} items match a search, and gives {self._given}")

    def _circle(self) -> PermanentSourceError:
        return PermanentSourceError(
            f"{self._shown} leads from page to page in a circle, after {self._given} items",
            hint="this catalog's paging is broken: search a smaller area, or use a copy of its items",
            href=self._shown,
        )


def _identity(item: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells an item from another, and from the same in another processing."""
    p = properties(item)
    when = (p.get("s2:processing_baseline"), p.get("updated"), p.get("created"))
    return (collection_of(item), item_id(item), *(str(v) for v in when))
