"""A provider on loopback: pages its own way, and hands files to those who may have them (see `dialects`)."""

from __future__ import annotations

import copy
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route

from worlds.analytic import Scene
from worlds.dialects import DIALECTS, SECRETS, Item
from worlds.server import Service

SAS = "sv=2023-01-03&st=2021&se=2099&sr=c&sp=rl&sig=secret4SAS%2Bx%3D"


@dataclass
class Provider(Service):
    """A provider on loopback: pages its own way, and hands files to those who may have them.

    The scene comes last, behind items that are elsewhere. A token is good for `uses` requests (0: any number), and
    only the newest one, and none where the files are `closed`; `tokens` are the requests for one, `refusals` what was
    refused, and why.
    """

    dialect: str = ""
    scene: Scene | None = None
    store: str = ""
    uses: int = 0
    closed: bool = False
    left: int = 0
    tokens: list[dict] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def answers(self) -> list[Item]:
        """All items, as they are told."""
        items = DIALECTS[self.dialect].items(self.scene, self.url)
        if DIALECTS[self.dialect].whole:
            return items
        away = []
        for n in range(3):
            one = copy.deepcopy(items[-1]) | {
                "id": f"elsewhere-{n}",
                "bbox": [20.0 + n, 10.0, 21.0 + n, 11.0],
            }
            one["geometry"] = {
                "type": "Polygon",
                "coordinates": [[[20 + n, 10], [21 + n, 10], [21 + n, 11], [20 + n, 11], [20 + n, 10]]],
            }
            for where in (one["properties"], *one["assets"].values()):
                for key in [
                    k for k in where if k.startswith("proj:") and k not in {"proj:epsg", "proj:code"}
                ]:
                    del where[key]
            away.append(one)
        return [*away, *items]

    async def search(self, request: Request):
        asked = await request.json() if request.method == "POST" else dict(request.query_params)
        self.searches.append(asked)
        if "collections" not in asked:
            return self._no("a page of everything there is", 400)
        start = next((int(asked[k]) for k in ("next", "token", "page", "cursor", "_o") if k in asked), 0)
        items = self.answers()
        for item in items:
            here = f"{self.url}/collections/{item.get('collection', 'none')}/items/{item['id']}"
            item["links"] = [{"rel": "self", "href": here}]
        size = len(items) if DIALECTS[self.dialect].whole else self.page
        links = [{"rel": "self", "href": f"{self.url}/search"}]
        if start + size < len(items):
            links += DIALECTS[self.dialect].page(asked, start + size, f"{self.url}/search")
        page = {"type": "FeatureCollection", "features": items[start : start + size], "links": links}
        return JSONResponse(page)

    def _no(self, why: str, status: int = 403):
        self.refusals.append(why)
        return PlainTextResponse(why, status)

    def _file(self, path: str):
        self.reads.append(path)
        target = self.root / path
        return FileResponse(target) if target.is_file() else PlainTextResponse("not here", 404)

    async def open_file(self, request: Request):
        """A file that anybody may read, but nobody with a login: it went to the wrong host."""
        if "authorization" in request.headers or "sig" in request.query_params:
            return self._no("a secret went to an open file", 400)
        return self._file(request.path_params["path"])

    async def token(self, request: Request):
        self.tokens.append({"path": request.path_params["path"], "headers": dict(request.headers)})
        if request.path_params["path"] != "127/sentinel2-l2":
            return JSONResponse({"detail": "no such container"}, 404)
        self.left = self.uses
        until = datetime.now(UTC) + timedelta(hours=1)
        token = f"{SAS}{len(self.tokens)}"
        return JSONResponse({"msft:expiry": until.strftime("%Y-%m-%dT%H:%M:%SZ"), "token": token})

    async def blob(self, request: Request):
        given = request.query_params.get("sig", "")
        if given != f"secret4SAS+x={len(self.tokens)}" or not self.tokens:
            return self._no("signature")
        self.left -= 1
        if self.closed or (self.uses and self.left < 0):
            return self._no("signature")
        return self._file(request.path_params["path"])

    async def protected(self, request: Request):
        """The bearer of the token is sent on, to a host that wants no token."""
        if request.headers.get("authorization") != f"Bearer {SECRETS['EARTHDATA_TOKEN']}":
            return self._no("no bearer", 401)
        return RedirectResponse(f"{self.store}/files/{request.path_params['path']}", 303)

    async def bucket(self, request: Request):
        name, path = request.path_params["bucket"], request.path_params["path"]
        if name.startswith("deafrica-"):
            return self._no("signed") if "authorization" in request.headers else self._file(path)
        keys = {"eodata": "CDSE", "usgs-landsat": "AWS"}
        who = keys.get(name, "")
        if not who or not signed_by(
            request, SECRETS[f"{who}_ACCESS_KEY_ID"], SECRETS[f"{who}_SECRET_ACCESS_KEY"]
        ):
            return self._no(f"{name}: not signed by its key")
        if name == "usgs-landsat" and request.headers.get("x-amz-request-payer") != "requester":
            return self._no("nobody pays")
        return self._file(path)

    def app(self):
        app = super().app()
        app.router.routes[:0] = [
            Route("/files/{path:path}", self.open_file),
            Route("/sas/token/{path:path}", self.token),
            Route("/sentinel2-l2/{path:path}", self.blob),
            Route("/lp-prod-protected/{path:path}", self.protected),
            *(
                Route(f"/{{bucket:str}}/{form}/{{name:str}}", self._in_bucket(form))
                for form in ("raw", "applied")
            ),
        ]
        return app

    def _in_bucket(self, form: str):
        async def answer(request: Request):
            request.path_params["path"] = f"{form}/{request.path_params['name']}"
            return await self.bucket(request)

        return answer


def signed_by(request: Request, key: str, secret: str) -> bool:
    """Whether a request is signed by that key (AWS Signature Version 4, header form)."""
    said = request.headers.get("authorization", "")
    if not said.startswith("AWS4-HMAC-SHA256 "):
        return False
    parts = dict(p.strip().split("=", 1) for p in said.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    owner, day, region, service, end = parts["Credential"].split("/")
    if owner != key:
        return False
    names = parts["SignedHeaders"].split(";")
    query = "&".join(
        f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(request.query_params.items())
    )
    lines = [request.method, quote(request.url.path, safe="/-_.~"), query]
    lines += [f"{n}:{request.headers[n].strip()}" for n in names]
    canonical = "\n".join([*lines, "", ";".join(names), request.headers["x-amz-content-sha256"]])
    scope = f"{day}/{region}/{service}/{end}"
    told = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.headers["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    made = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(hmac.new(made, told.encode(), hashlib.sha256).hexdigest(), parts["Signature"])
