"""An S3 store on loopback, and its objects, read with no code of ours."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worlds import harness

SECRET = "planted-secret-key-of-a-store"  # noqa: S105 - planted: tests look for it
BUCKET = "bucket"


@dataclass(frozen=True)
class Objects:
    """A running store."""

    port: int

    def url(self, prefix: str) -> str:
        """Of a dataset in it."""
        return f"s3://{BUCKET}/{prefix}"

    def env(self, scratch: Path, **extra: str) -> dict[str, str]:
        """For a subprocess: credentials, endpoint, and the scratch in which it builds."""
        return harness.guarded_env(
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.port}", CHIPWEAVE_SCRATCH=str(scratch), **extra,
        )  # fmt: skip

    def below(self, prefix: str):
        """All that lies below a prefix, as obstore sees it."""
        from obstore.store import S3Store

        return S3Store(
            BUCKET, prefix=prefix, region="us-east-1", endpoint=f"http://127.0.0.1:{self.port}",
            client_options={"allow_http": True}, access_key_id="test", secret_access_key=SECRET,
        )  # fmt: skip

    def read(self, prefix: str) -> dict[str, bytes]:
        """All objects below a prefix, by name."""
        import obstore

        store = self.below(prefix)
        names = [meta["path"] for page in obstore.list(store) for meta in page]
        return {name: bytes(obstore.get(store, name).bytes()) for name in names}

    def digests(self, prefix: str) -> dict[str, str]:
        """SHA-256 of what must be byte-equal, as `harness.digests` gives for a folder."""
        found = self.read(prefix).items()
        return {n: hashlib.sha256(b).hexdigest() for n, b in found if n.startswith(harness.BYTE_EQUAL)}


@contextmanager
def serve_objects(log: Path) -> Iterator[Objects]:
    """Moto's server with one bucket, in a process of its own; `log` gets a line a request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=out,
            stderr=out,
            env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    made = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    made.request("PUT", f"/{BUCKET}")
                    made.getresponse().read()
                    made.close()
                    break
                except ConnectionError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            yield Objects(port)
        finally:
            process.kill()
            process.wait()
