"""One Prefect server for all tests of flows, on loopback; what a checkout's user has set does not steer it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator

import pytest

from worlds.harness import guarded_env

# Prefect reads its settings when it is imported, which happens below this line alone.
for _name in [n for n in os.environ if n.startswith("PREFECT_")]:
    del os.environ[_name]
_HOME = tempfile.TemporaryDirectory()
os.environ |= {
    "PREFECT_HOME": _HOME.name,
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
}


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[str]:
    """Address of a server with an empty database; it cannot leave this machine either."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        for name, value in guarded_env().items():
            patch.setenv(name, value)
        with prefect_test_harness(server_startup_timeout=120):
            yield PREFECT_API_URL.value()
    # Prefect gives the root logger a handler, which would write what the tests of others expect not to see.
    for handler in [h for h in logging.root.handlers if type(h).__module__.startswith("prefect.")]:
        logging.root.removeHandler(handler)
