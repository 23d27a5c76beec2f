"""The process that serves a demo world: ``python -m chipweave.demo.servers FOLDER``.

One line of JSON on stdout says where, then it serves until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from chipweave.demo.catalogue import collections, with_base
from chipweave.demo.serve import HOST, free_port, stop
from chipweave.errors import ChipweaveError

_PATIENCE = 60.0  # seconds to wait for a server's first answer, on a machine that is busy
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted: one line of JSON on stdout says where."""
    parser = argparse.ArgumentParser(prog="python -m chipweave.demo.servers", description=__doc__)
    parser.add_argument("folder", type=Path, help="a world that chipweave made")
    parser.add_argument("--port", type=int, default=0, help="of the file server (default: a free one)")
    parser.add_argument("--stac-port", type=int, default=0, help="of the STAC API (default: a free one)")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started this"
    )
    options = parser.parse_args(arguments)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if options.until_stdin_closes:
        threading.Thread(target=_watch, args=(over,), daemon=True).start()
    try:
        with _files(options.folder, options.port) as files_url:
            with _api(options.folder, files_url, options.stac_port) as (stac_url, api):
                sys.stdout.write(json.dumps({"stac_url": stac_url, "files_url": files_url}) + "\n")
                sys.stdout.flush()
                while api.poll() is None and not over.wait(0.5):
                    pass
            if not over.is_set():
                sys.stderr.write(f"rustac ended by itself (exit {api.returncode})\n")
                return 1
    except ChipweaveError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _watch(over: threading.Event) -> None:
    """Set `over` when whoever started this process is gone."""
    os.read(sys.stdin.fileno(), 1)
    over.set()


@contextmanager
def _files(folder: Path, port: int) -> Iterator[str]:
    """Serve a folder's files from a thread."""
    if not (folder / "items.json").is_file():
        raise ChipweaveError(f"{folder} holds no demo world: items.json is missing")
    app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False))
    with socket.create_server((HOST, port)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://{HOST}:{listener.getsockname()[1]}"
            _wait_for(f"{url}/items.json", thread.is_alive)
            yield url
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _api(folder: Path, files_url: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve a world's items with rustac, their assets below `files_url`."""
    port = port or free_port()
    items = json.loads((folder / "items.json").read_text(encoding="utf-8"))["features"]
    with tempfile.TemporaryDirectory(prefix="chipweave-demo-") as scratch, tempfile.TemporaryFile() as said:
        papers = Path(scratch)
        for collection in collections(items):
            (papers / f"{collection['id']}.json").write_text(json.dumps(collection), encoding="utf-8")
        served = {"type": "FeatureCollection", "features": [with_base(item, files_url) for item in items]}
        (papers / "items.json").write_text(json.dumps(served), encoding="utf-8")
        command = [_rustac(), "serve", "--addr", f"{HOST}:{port}", *sorted(map(str, papers.glob("*.json")))]
        try:
            process = subprocess.Popen(  # noqa: S603 - the one from our own environment
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        except OSError as error:
            raise ChipweaveError(f"cannot start rustac ({command[0]}): {error}") from error
        with process:
            try:
                url = f"http://{HOST}:{port}"
                try:
                    _wait_for(url, lambda: process.poll() is None)
                except ChipweaveError as error:
                    said.seek(0)
                    text = said.read().decode(errors="replace").strip()
                    raise ChipweaveError(
                        f"rustac does not serve the demo's items: {text or error}"
                    ) from error
                yield url, process
            finally:
                process.terminate()
                stop(process)


def _rustac() -> str:
    """The command line program of the rustac wheel: beside this interpreter, else in the path."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        found = shutil.which("rustac", path=str(folder))
        if found:
            return found
    found = shutil.which("rustac")
    if not found:
        raise ChipweaveError(
            "the program rustac is missing: the demo's STAC API cannot start", hint="pip install rustac"
        )
    return found


def _wait_for(url: str, alive: Callable[[], bool]) -> None:
    """Return as soon as `url` answers.

    Raises
    ------
    ChipweaveError
        The server ended, or does not answer in time.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and alive():
        try:
            with _DIRECT.open(url, timeout=5):
                return
        except OSError:  # URLError is one
            time.sleep(0.05)
    raise ChipweaveError(f"no answer from {url}")


if __name__ == "__main__":
    sys.exit(main())
