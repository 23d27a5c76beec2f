"""Small items, and a STAC API on loopback that is told how to behave, for the tests of the catalog room."""

from __future__ import annotations

import copy
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import shapely
from shapely.geometry import mapping

from support.listening import listening

CONFORMS = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
S2_KEYS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "scl": "SCL"}


def asset(href, **more):
    return {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"], **more}


def make_item(ident="A", collection="sentinel-2-l2a", box=(8.0, 47.0, 9.0, 48.0), **change):
    """An item; `change` replaces top-level fields, and `properties` and `assets` are merged in."""
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": ident,
        "collection": collection,
        "geometry": mapping(shapely.box(*box)),
        "bbox": list(box),
        "properties": {
            "datetime": "2021-06-10T10:10:31.024Z",
            "eo:cloud_cover": 12.5,
            "platform": "sentinel-2a",
        },
        "links": [],
        "assets": {},
    }
    properties, assets = change.pop("properties", {}), change.pop("assets", None)
    item["properties"] |= properties
    item["assets"] = assets if assets is not None else s2_assets(ident)
    item |= change
    return {k: v for k, v in item.items() if v is not ...}


def s2_assets(ident, folder=".", keys=S2_KEYS):
    return {key: asset(f"{folder}/{ident}/{file}.tif") for key, file in keys.items()}


def shared_data() -> Path:
    """Folder of real files, or skip: it is not part of the repository."""
    named = os.environ.get("CHIPWEAVE_SHARED_DATA")
    path = Path(named) if named else SHARED
    if not (path / "real").is_dir():
        pytest.skip("the folder of real files is not here")
    return path


SHARED = Path(
    os.environ.get("CHIPWEAVE_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)
# Read at import: the tests clear every CHIPWEAVE_ variable.


@dataclass
class Api:
    """How the API behaves, and what it was asked.

    `get_only` refuses POST with that status; `landing` replaces fields of the landing page (None: 404);
    `status` answers every search; `fail` the first so many requests with 503; `endless` repeats the last page.
    """

    items: list[dict]
    page: int = 2
    get_only: int = 0
    landing: dict | None = field(default_factory=dict)
    status: int = 0
    fail: int = 0
    endless: bool = False
    raw: str = ""
    folder: Path | None = None
    url: str = ""
    asked: list[tuple[str, dict]] = field(default_factory=list)
    refused: int = 0

    def page_of(self, asked: dict) -> dict:
        names = asked.get("collections") or []
        found = [
            i
            for i in self.items
            if not isinstance(i, dict) or not names or i.get("collection", names[0]) in names
        ]
        found = [i for i in found if self._inside(i, asked.get("bbox"))]
        found = [i for i in found if self._in_time(i, asked.get("datetime"))]
        start, size = int(asked.get("token", 0)), min(self.page, int(asked.get("limit", 10)))
        return {
            "found": found[start : start + size],
            "next": start + size if start + size < len(found) else None,
        }

    @staticmethod
    def _inside(item, bbox) -> bool:
        if not bbox or not isinstance(item, dict) or len(item.get("bbox", [])) != 4:
            return True
        w, s, e, n = item["bbox"]
        return w <= bbox[2] and e >= bbox[0] and s <= bbox[3] and n >= bbox[1]

    @staticmethod
    def _in_time(item, interval) -> bool:
        stated = isinstance(item, dict) and item.get("properties", {}).get("datetime")
        if not interval or not stated:
            return True
        first, last = interval.split("/")
        for end in (first, last):
            assert end == ".." or "T" in end, f"a time of day is missing: {interval}"
        at = datetime.fromisoformat(stated).astimezone(UTC)
        after = first == ".." or at >= datetime.fromisoformat(first)
        return after and (last == ".." or at <= datetime.fromisoformat(last))


class _Handler(BaseHTTPRequestHandler):
    api: Api

    def log_message(self, *args):
        pass

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == "/search":
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            if "collections" in query:
                query["collections"] = query["collections"].split(",")
            if "bbox" in query:
                query["bbox"] = [float(v) for v in query["bbox"].split(",")]
            self._search("GET", query)
        elif self.api.folder is not None:
            self._file(parts.path)
        elif parts.path in {"", "/"} and self.api.landing is not None:
            self._answer(self._landing())
        else:
            self._answer({"code": "NotFound"}, 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.api.get_only or self.api.folder is not None:
            self.api.refused += 1
            self._answer({}, self.api.get_only or 501)
        else:
            self._search("POST", body)

    def _file(self, path):
        file = self.api.folder / path.lstrip("/")
        if file.is_file():
            self._answer(file.read_text(encoding="utf-8"))
        else:
            self._answer({}, 404)

    def _landing(self):
        link = {"rel": "search", "type": "application/geo+json", "href": f"{self.api.url}/search"}
        methods = ["GET"] if self.api.get_only else ["GET", "POST"]
        page = {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "world",
            "description": "world",
            "conformsTo": CONFORMS,
            "links": [link | {"method": m} for m in methods],
        }
        return {k: v for k, v in (page | self.api.landing).items() if v is not ...}

    def _search(self, method, asked):
        self.api.asked.append((method, asked))
        if self.api.fail > 0:
            self.api.fail -= 1
            self._answer({}, 503)
            return
        if self.api.status:
            self._answer({}, self.api.status)
            return
        if self.api.raw:
            self._answer(self.api.raw)
            return
        page = self.api.page_of(asked)
        links, following = [], page["next"]
        if following is None and self.api.endless:
            following = 0
        if following is not None and method == "POST":
            body = {**asked, "token": following}
            links = [{"rel": "next", "method": "POST", "href": f"{self.api.url}/search", "body": body}]
        elif following is not None:
            flat = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in asked.items()}
            query = "&".join(f"{k}={v}" for k, v in {**flat, "token": following}.items())
            links = [{"rel": "next", "href": f"{self.api.url}/search?{query}"}]
        self._answer({"type": "FeatureCollection", "features": page["found"], "links": links})

    def _answer(self, body, status=200):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve(items=(), **behaviour):
    """Serve an API on loopback for as long as the block runs."""
    api = Api(copy.deepcopy(list(items)), **behaviour)
    handler = type("Handler", (_Handler,), {"api": api})
    with listening(handler) as server:
        api.url = server.url
        yield api


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_collection(path: Path, items) -> Path:
    return write_json(path, {"type": "FeatureCollection", "features": list(items)})


def write_static(folder: Path, items) -> Path:
    """A static catalog: a catalog, a collection a name, an item a file; relative links only."""
    names = sorted({i["collection"] for i in items})
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "root", "description": "root"}
    links = [{"rel": "child", "href": f"./{n}/collection.json"} for n in names]
    # A loop, and a document that is missing: neither stops a walk.
    loop = [{"rel": "child", "href": "./catalog.json"}, {"rel": "child", "href": "./gone/catalog.json"}]
    write_json(folder / "catalog.json", {**catalog, "links": [*links, *loop]})
    for name in names:
        mine = [i for i in items if i["collection"] == name]
        entry = {
            "type": "Collection",
            "id": name,
            "stac_version": "1.0.0",
            "description": name,
            "license": "other",
        }
        up = [{"rel": "root", "href": "../catalog.json"}, {"rel": "parent", "href": "../catalog.json"}]
        down = [{"rel": "item", "href": f"./items/{i['id']}.json"} for i in mine]
        write_json(folder / name / "collection.json", {**entry, "links": [*up, *down]})
        for i in mine:
            write_json(folder / name / "items" / f"{i['id']}.json", i)
    return folder
