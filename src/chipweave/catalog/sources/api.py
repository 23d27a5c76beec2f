"""STAC APIs, through pystac-client's item search."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pystac_client.exceptions import APIError
from pystac_client.item_search import ItemSearch

from chipweave.catalog.footprint import boxes
from chipweave.catalog.hrefs import UnusableHrefError, check_host, is_http, joined, redact
from chipweave.catalog.notes import Notes
from chipweave.catalog.pace import pace_of
from chipweave.catalog.providers import UNKNOWN, Provider
from chipweave.catalog.sources.base import Box, Found, Interval, named, overlaps, rfc3339
from chipweave.catalog.sources.http import as_source_error, links_by_rel, make_io, status_of
from chipweave.catalog.sources.pages import Ask, Pages
from chipweave.catalog.stac import collection_of, defect
from chipweave.errors import PermanentSourceError

_NO_POST = frozenset({403, 404, 405, 415, 501})
"""What APIs answer to a POST where they know GET only."""


def answers(url: str) -> bool:
    """Whether something answers item searches below a URL, with or without saying so.

    Raises
    ------
    TransientSourceError
        Nothing answers at all.
    """
    search, _ = _endpoint(url, {})
    for method in ("POST", "GET"):
        try:
            page = make_io(url).read_json(search, method=method, parameters={"limit": 1})
        except APIError as error:
            if status_of(error) is None:
                raise as_source_error(error, search) from None
            continue
        except (ValueError, RecursionError):
            continue
        if isinstance(page, dict) and isinstance(page.get("features"), list):
            return True
    return False


def is_api(landing: Mapping[str, Any]) -> bool:
    """Whether a landing page is that of an API: it says what it conforms to, or where to search."""
    return bool(landing.get("conformsTo")) or bool(links_by_rel(landing, "search"))


class ApiSource:
    """A STAC API. Requests carry collections, box, time and limit; everything else is sieved by the caller.

    Parameters
    ----------
    url
        Of the landing page.
    landing
        The landing page, or an empty mapping where there is none: then ``/search`` is asked below the URL.
    notes
        Where broken items are noted.
    provider
        Who answers.
    """

    concurrent = True
    folder: Path | None = None

    def __init__(
        self, url: str, landing: Mapping[str, Any], notes: Notes, provider: Provider = UNKNOWN
    ) -> None:
        self.url = redact(url)
        self._sure = bool(landing)
        self._location = url
        self._notes = notes
        self._search, self._method = _endpoint(url, landing)
        self._method = provider.method or self._method
        self._pace = pace_of(provider.name, provider.rate)
        self._local = threading.local()

    def search(
        self, collections: Sequence[str], bbox: Box, interval: Interval | None, limit: int
    ) -> Iterator[Found]:
        """Search, page by page; see `Source`. A collection that the API does not know has no items."""
        for box in boxes(bbox):
            for entry, item in enumerate(self._items(collections, box, interval, limit), start=1):
                if why := defect(item):
                    self._notes.of(f"{self.url}: {why}, left out", named(item, entry))
                elif collection_of(item) in {*collections, ""} and overlaps(item, interval):
                    yield Found(item, self._location)

    def _items(
        self, collections: Sequence[str], box: Box, interval: Interval | None, limit: int
    ) -> Iterator[dict[str, Any]]:
        method = self._method
        asked = {
            "collections": list(collections),
            "bbox": list(box),
            "datetime": rfc3339(interval),
            "limit": limit,
        }
        try:
            yield from self._pages(method, asked)
        except _FirstPageError as first:
            if method == "GET" or status_of(first.error) not in _NO_POST:
                yield from self._refused(first.error, collections)
                return
            try:
                yield from self._pages("GET", asked)
            except _FirstPageError as second:
                yield from self._refused(second.error, collections)
                return
            self._method = "GET"

    def _refused(self, error: APIError, collections: Sequence[str]) -> Iterator[dict[str, Any]]:
        if status_of(error) != 404 or not self._sure:
            raise as_source_error(error, self._search)
        self._notes.say(
            f"{redact(self._search)} answered HTTP 404 for {', '.join(collections)}: taken as no items"
        )
        yield from ()

    def _pages(self, method: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Items of all pages."""
        if not hasattr(self._local, "io"):
            self._local.io = make_io(self._location)
        search = ItemSearch(self._search, method=method, stac_io=self._local.io, **asked)
        # The first page is asked for by pystac-client, so that parameters are written as it writes them.
        first = Ask(self._search, method, search.get_parameters())
        yield from Pages(
            first,
            lambda ask: self._page(ask, first=ask is first),
            lambda text: self._notes.say(f"{self.url} {text}"),
        )

    def _page(self, ask: Ask, *, first: bool) -> Mapping[str, Any]:
        self._pace.wait()
        try:
            page = self._local.io.read_json(ask.url, method=ask.method, parameters=ask.body)
        except APIError as error:
            if first:
                raise _FirstPageError(error) from None
            raise as_source_error(error, self._search) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._no_page(type(error).__name__) from None
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise self._no_page("no features")
        return page

    def _no_page(self, why: str) -> PermanentSourceError:
        shown = redact(self._search)
        return PermanentSourceError(f"{shown} answered with no page of STAC items ({why})", href=shown)


class _FirstPageError(Exception):
    """The first page of a search was refused."""

    def __init__(self, error: APIError) -> None:
        super().__init__()
        self.error = error


def _endpoint(url: str, landing: Mapping[str, Any]) -> tuple[str, str]:
    """Search URL of an API, and the method to begin with."""
    links = links_by_rel(landing, "search")
    methods = {str(link.get("method") or "GET").upper() for link in links}
    parts = urlsplit(url)
    default = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/search", parts.query, ""))
    try:
        found = joined(f"{url.rstrip('/')}/", links[0]["href"]) if links else default
        check_host(found, url, redact(url))
    except UnusableHrefError:
        found = default
    # Old APIs give one link without a method and answer POST all the same; only a clear GET is believed.
    only_get = bool(links) and methods == {"GET"} and all(link.get("method") for link in links)
    return (found if is_http(found) else default), "GET" if only_get else "POST"
