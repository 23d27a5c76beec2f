"""Files of a folder over HTTP, with a log of the ranges that were asked for and of how many were under way at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from support.listening import listening


@dataclass
class Log:
    """What was asked for: (file, start, stop) in order; `meet` makes requests wait for each other.

    `status` is given a path with its query, and where the range begins.
    """

    folder: Path
    url: str = ""
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    most: int = 0
    status: Callable[[str, int], int] = lambda _name, _start: 206
    meet: threading.Barrier | None = None
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, name: str, start: int, stop: int) -> None:
        with self._lock:
            self.asked.append((name, start, stop))
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        if self.meet is not None:
            try:
                self.meet.wait(20)
            except threading.BrokenBarrierError:
                self.meet = None  # nobody else came: whoever asked has `most` to look at

    def end(self) -> None:
        with self._lock:
            self._under_way -= 1

    def of(self, name: str) -> list[tuple[int, int]]:
        """Ranges of one file."""
        return [(start, stop) for own, start, stop in self.asked if own == name]

    @property
    def bytes(self) -> int:
        return sum(stop - start for _, start, stop in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        log: Log = self.server.log
        name = self.path.lstrip("/").partition("?")[0]
        path = log.folder / name
        size = path.stat().st_size if path.is_file() else 0
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, size)
        log.begin(name, start, stop)
        status = log.status(self.path.lstrip("/"), start) if size else 404
        body = b""
        if status == 206:
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(stop - start)
        log.end()  # before the answer: who has it may ask again
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Log]:
    """Serve a folder until the block ends."""
    log = Log(folder)
    with listening(_Handler, log=log) as server:
        log.url = server.url
        yield log
