"""Servers that go wrong on purpose: by a seed, or as they are told."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worlds.server import Service, running

KINDS = (500, 503, 429, "cut")


@dataclass
class Seeded:
    """One request in twenty goes wrong; which, and how, is a hash of the seed and of the requests so far."""

    seed: int
    share: float = 0.05
    count: int = 0
    faults: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, _path: str) -> object:
        with self.lock:
            self.count += 1
            number = int.from_bytes(hashlib.sha256(f"{self.seed}:{self.count}".encode()).digest()[:8], "big")
        if number % 10_000 >= self.share * 10_000:
            return None
        kind = KINDS[number // 10_000 % len(KINDS)]
        self.faults[kind] += 1
        return kind


class _CutError(Exception):
    """Ends a connection in the middle of an answer."""


class Faulty:
    """An ASGI application around another; `choose` says for each path what goes wrong.

    None for nothing; a status, or (status, headers); ``cut`` after half of the body; ``slow`` for a body of which a
    byte comes every tenth of a second; ``redirect:URL``.
    """

    def __init__(self, app, choose: Callable[[str], object]) -> None:
        self.app, self.choose = app, choose

    async def __call__(self, scope, receive, send) -> None:
        fault = self.choose(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self.app(scope, receive, send)
            return
        if fault in ("cut", "slow"):
            await self.app(scope, receive, self._halting(send, fault))
            return
        if isinstance(fault, str):
            status, headers = 302, {"location": fault.removeprefix("redirect:")}
        else:
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
        if status == 429:
            headers = {"retry-after": "0", **headers}
        raw = [(k.encode(), v.encode()) for k, v in {"content-length": "0", **headers}.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b""})

    @staticmethod
    def _halting(send, fault: str):
        async def halting(message) -> None:
            body = message.get("body", b"")
            if message["type"] != "http.response.body" or not body:
                await send(message)
            elif fault == "cut":
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                raise _CutError
            else:
                for n in range(len(body)):
                    await send({**message, "body": body[n : n + 1], "more_body": True})
                    await asyncio.sleep(0.1)

        return halting


@dataclass
class FaultyService(Service):
    """The catalog and its files, behind `choose`."""

    choose: Callable[[str], object] = lambda _path: None

    def app(self):
        return Faulty(super().app(), self.chosen)

    def chosen(self, path: str) -> object:
        """What goes wrong by the `choose` of now."""
        return self.choose(path)


@contextmanager
def serve_faulty(items: list[dict], root: Path, choose: Callable[[str], object] = lambda _path: None):
    """As `worlds.server.serve`; `choose` may be replaced while it runs."""
    with running(FaultyService(items, root, choose=choose)) as service:
        log = logging.getLogger("uvicorn.error")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)  # a cut answer is an exception there
        try:
            yield service
        finally:
            log.setLevel(level)
