"""A STAC API and a file server with Range requests on loopback, in a thread, that can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from shapely.geometry import box, shape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _in_time(item: dict, interval: str | None) -> bool:
    if not interval:
        return True
    first, _, last = interval.partition("/")
    last = last if "/" in interval else first
    p = item["properties"]
    begin = _instant(p.get("start_datetime") or p["datetime"])
    end = _instant(p.get("end_datetime") or p["datetime"])
    after = first in ("", "..") or end >= _instant(first)
    return after and (last in ("", "..") or begin <= _instant(last))


@dataclass
class Service:
    """What is served, what was asked, and what shall go wrong.

    `status` maps the end of a file's path to the HTTP status that it answers; `searches` are the search bodies
    as they came; `reads` the paths of files.
    """

    items: list[dict]
    root: Path
    url: str = ""
    page: int = 2
    status: dict[str, int] = field(default_factory=dict)
    search_status: int = 200
    searches: list[dict] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    def _href(self, href: str) -> str:
        return f"{self.url}/files/{href.removeprefix('./')}" if href.startswith("./") else href

    def served(self, item: dict) -> dict:
        """The item with absolute hrefs."""
        out = json.loads(json.dumps(item))
        for asset in out["assets"].values():
            asset["href"] = self._href(asset["href"])
        here = f"{self.url}/collections/{item['collection']}"
        out["links"] = [
            {"rel": "self", "type": "application/geo+json", "href": f"{here}/items/{item['id']}"},
            {"rel": "collection", "type": "application/json", "href": here},
            {"rel": "root", "type": "application/json", "href": self.url},
        ]
        return out

    def collections(self) -> list[dict]:
        names = sorted({i["collection"] for i in self.items})
        return [
            {
                "type": "Collection",
                "stac_version": "1.0.0",
                "id": name,
                "description": name,
                "license": "other",
                "extent": {
                    "spatial": {"bbox": [[-180, -90, 180, 90]]},
                    "temporal": {"interval": [[None, None]]},
                },
                "links": [{"rel": "root", "type": "application/json", "href": self.url}],
            }
            for name in names
        ]

    async def landing(self, _: Request):
        links = [
            {"rel": "root", "type": "application/json", "href": self.url},
            {"rel": "self", "type": "application/json", "href": self.url},
            {"rel": "data", "type": "application/json", "href": f"{self.url}/collections"},
            {"rel": "conformance", "type": "application/json", "href": f"{self.url}/conformance"},
            {"rel": "search", "type": "application/geo+json", "href": f"{self.url}/search", "method": "GET"},
            {"rel": "search", "type": "application/geo+json", "href": f"{self.url}/search", "method": "POST"},
        ]
        return JSONResponse(
            {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "analytic",
                "description": "analytic world",
                "conformsTo": CONFORMS,
                "links": links,
            }
        )

    async def conformance(self, _: Request):
        return JSONResponse({"conformsTo": CONFORMS})

    async def list_collections(self, _: Request):
        return JSONResponse({"collections": self.collections(), "links": []})

    async def one_collection(self, request: Request):
        found = [c for c in self.collections() if c["id"] == request.path_params["name"]]
        return JSONResponse(found[0]) if found else JSONResponse({"code": "NotFound"}, 404)

    async def search(self, request: Request):
        if request.method == "POST":
            body = await request.json()
        else:
            body = dict(request.query_params)
            for key in ("collections", "ids"):
                if key in body:
                    body[key] = body[key].split(",")
            if "bbox" in body:
                body["bbox"] = [float(v) for v in body["bbox"].split(",")]
        self.searches.append(body)
        if self.search_status != 200:
            return JSONResponse({"code": "no"}, self.search_status)
        found = [i for i in self.items if self._matches(i, body)]
        start = int(body.get("token", 0))
        size = min(self.page, int(body.get("limit", self.page)))
        links = [{"rel": "root", "type": "application/json", "href": self.url}]
        if start + size < len(found):
            following = {**body, "token": str(start + size)}
            links.append(
                {
                    "rel": "next",
                    "type": "application/geo+json",
                    "href": f"{self.url}/search",
                    "method": "POST",
                    "body": following,
                }
            )
        page = [self.served(i) for i in found[start : start + size]]
        return JSONResponse({"type": "FeatureCollection", "features": page, "links": links})

    @staticmethod
    def _matches(item: dict, body: dict) -> bool:
        if body.get("collections") and item["collection"] not in body["collections"]:
            return False
        if body.get("ids") and item["id"] not in body["ids"]:
            return False
        geometry = shape(item["geometry"])
        if body.get("bbox") and not geometry.intersects(box(*body["bbox"])):
            return False
        if body.get("intersects") and not geometry.intersects(shape(body["intersects"])):
            return False
        return _in_time(item, body.get("datetime"))

    async def file(self, request: Request):
        path = request.path_params["path"]
        self.reads.append(path)
        for ending, status in self.status.items():
            if path.endswith(ending):
                return PlainTextResponse("told to fail", status)
        target = self.root / path
        if not target.is_file():
            return PlainTextResponse("not here", 404)
        return FileResponse(target)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.landing),
                Route("/conformance", self.conformance),
                Route("/collections", self.list_collections),
                Route("/collections/{name}", self.one_collection),
                Route("/search", self.search, methods=["GET", "POST"]),
                Route("/files/{path:path}", self.file),
            ]
        )


@contextmanager
def serve(items: list[dict], root: Path):
    """Serve items, and the files below `root` that they name by ``./``, until the block ends."""
    with running(Service(items, root)) as service:
        yield service


@contextmanager
def running(service):
    """Run a service on a port of its own until the block ends."""
    config = uvicorn.Config(
        service.app(),
        host="127.0.0.1",
        port=0,
        log_level="error",
        lifespan="off",
        ws="none",
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        assert thread.is_alive(), "the server died"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    service.url = f"http://127.0.0.1:{port}"
    try:
        yield service
    finally:
        server.should_exit = True
        thread.join(timeout=20)
