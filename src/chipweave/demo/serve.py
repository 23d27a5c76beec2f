"""The demo world on loopback: a STAC API (rustac) and a file server that answers Range requests.

Both run in one helper process (`chipweave.demo.servers`), which ends them when the process that asked for them is
gone, however it went: their life hangs on a pipe, not on good manners.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chipweave.errors import ChipweaveError

if TYPE_CHECKING:
    from chipweave.demo.world import World

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """Where a world is served: the STAC API, and the root of the files."""

    stac_url: str
    files_url: str


@contextmanager
def serve(world: World, *, near: tuple[str, str] | None = None) -> Iterator[Served]:
    """Serve a world on two loopback ports, and stop at the end of the block.

    Parameters
    ----------
    near
        Addresses (STAC, files) of an earlier time: their ports are taken again where they are free.

    Raises
    ------
    ChipweaveError
        A server did not start.
    """
    command = [sys.executable, "-m", "chipweave.demo.servers", str(world.folder), "--until-stdin-closes"]
    for option, url in zip(("--stac-port", "--port"), near or (), strict=False):
        command += [option, str(free_port(urlsplit(url).port or 0))]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        with process:
            try:
                assert process.stdout is not None  # noqa: S101 - for the type checker
                line = process.stdout.readline()
                if not line:
                    errors.seek(0)
                    said = errors.read().decode(errors="replace").strip() or f"exit {process.wait()}"
                    raise ChipweaveError(f"the demo's servers did not start: {said.splitlines()[-1]}")
                yield Served(**json.loads(line))
            finally:
                stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not."""
    if process.stdin is not None:
        process.stdin.close()
    elif process.poll() is None:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(wanted: int = 0) -> int:
    """`wanted` if it is free, else any port that is."""
    try:
        with socket.create_server((HOST, wanted)) as listener:
            port: int = listener.getsockname()[1]
            return port
    except OSError:
        if not wanted:
            raise
        return free_port()
