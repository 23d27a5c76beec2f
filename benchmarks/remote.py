"""The world over HTTP: what latency costs a build, and which bytes it asks for, by the server's own log.

``python -m benchmarks.remote FOLDER MILLISECONDS`` serves a folder, prints its URL, and when its standard input ends a
JSON object: the ranges that were asked for, by file, and the most requests that were under way at once.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import builds, shared
from benchmarks.worlds import BANDS, World, catalog

DELAYS = (0, 20, 100)
"""Milliseconds from a request to its answer."""


@dataclass
class Server:
    """Answers ranges of a folder's files, each so many seconds after it was asked for."""

    folder: Path
    delay: float
    asked: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    under_way: int = 0
    most: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                try:
                    await asyncio.sleep(self.delay)
                    await self._answer(head, writer)
                finally:
                    self.under_way -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # one side has enough
        finally:
            writer.close()

    async def _answer(self, head: list[str], writer: asyncio.StreamWriter) -> None:
        name = head[0].split()[1].lstrip("/")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        path = self.folder / name
        if "/" in name or not path.is_file():
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = path.stat().st_size
        first, _, last = fields["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, size)
        self.asked[name].append((start, stop))
        writer.write(
            f"HTTP/1.1 206 Partial Content\r\nContent-Length: {stop - start}\r\n"
            f'Content-Range: bytes {start}-{stop - 1}/{size}\r\nETag: "{size}"\r\n\r\n'.encode()
        )
        await writer.drain()
        with path.open("rb") as file:
            await asyncio.get_running_loop().sendfile(writer.transport, file, start, stop - start)


async def _serve(folder: Path, delay: float) -> None:
    own = Server(folder, delay)
    listener = await asyncio.start_server(own.talk, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    listener.close()
    sys.stdout.write(json.dumps({"asked": own.asked, "most": own.most}) + "\n")


@contextmanager
def serving(folder: Path, milliseconds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve a folder from a process of its own; the mapping is filled with what it says when the block ends."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "benchmarks.remote", str(folder), str(milliseconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=shared.ROOT,
    ) as child:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the server has no pipes")
        said: dict[str, Any] = {}
        try:
            yield child.stdout.readline().strip(), said
        finally:
            child.stdin.close()
            said |= json.loads(child.stdout.readline() or "{}")


def measure(world: World, work: Path, rounds: int, *, warm: bool = True) -> dict[str, float]:
    """Throughput at each latency over that at none, in one round; bytes over those of the needed blocks.

    Parameters
    ----------
    world
        What is served: one scene on the chips' own grid, where pixels cost least, and both label products.
    work
        Scratch.
    rounds
        Their median counts; bytes are those of the last one.
    warm
        Whether a build comes before them that counts for nothing: it compiles kernels, and reads the files once.
    """
    from benchmarks.blocks import needed_bytes  # noqa: PLC0415 - its arrays are not wanted beside a build

    local = catalog(world, "A")
    ratios: dict[int, list[float]] = {delay: [] for delay in DELAYS[1:]}
    if warm:
        _build(world, local, work, 0)
    for _ in range(rounds):
        rate: dict[int, float] = {}
        for delay in DELAYS:
            rate[delay], log = _build(world, local, work, delay)
        for delay, own in ratios.items():
            own.append(rate[delay] / rate[0])
    got = {f"remote_throughput_{delay}ms": statistics.median(own) for delay, own in ratios.items()}
    bands: dict[Path, Any] = {world.path(f"A_{key}"): "bilinear" for key in BANDS.values()}
    classes = {world.path(name): "nearest" for name in ("A_SCL", "WC", "CLC")}
    asked = sum(stop - start for spans in log["asked"].values() for start, stop in spans)
    return {
        **got,
        "remote_bytes_ratio": asked / needed_bytes({**bands, **classes}, world.places),
        "remote_requests": sum(map(len, log["asked"].values())),
        "remote_requests_at_once": log["most"],
        "remote_chips_per_s": rate[0],
    }


def _build(world: World, local: Path, work: Path, delay: int) -> tuple[float, Mapping[str, Any]]:
    """Chips a second of a build without its import, and the server's log."""
    folder = work / f"{delay}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with serving(world.folder, delay) as (url, log):
        text = local.read_text("utf-8").replace(json.dumps(str(world.folder))[1:-1], url)
        (folder / "items.json").write_text(text, encoding="utf-8")
        recipe = builds.write_recipe(folder, folder / "items.json", world.places)
        _, said = builds.child(recipe, folder / "out", expect=len(world.places))
    return len(world.places) / said["wall_s"], log


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]) / 1000))
