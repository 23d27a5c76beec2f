"""A login by the user's netrc: GDAL follows redirects, and keeps the session's cookies in a file of this process."""

from __future__ import annotations

import atexit
import netrc
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from chipweave.catalog.secrets import keep_secret


def netrc_options(machine: str) -> Mapping[str, str] | None:
    """Options with which GDAL logs in; None where no netrc has a login for the machine.

    The file is the one that ``NETRC`` names, else ``~/.netrc``.
    """
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc.netrc(str(path)).authenticators(machine)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    if found is None:
        return None
    keep_secret(found[2] or "")
    cookies = _cookies(os.getpid())
    return {
        "GDAL_HTTP_NETRC": "YES",
        "GDAL_HTTP_NETRC_FILE": str(path),
        "GDAL_HTTP_COOKIEFILE": cookies,
        "GDAL_HTTP_COOKIEJAR": cookies,
    }


@cache
def _cookies(process: int) -> str:
    """A file of this process alone, readable by its user alone, gone with it."""
    handle, name = tempfile.mkstemp(prefix=f"chipweave-{process}-", suffix=".cookies")
    os.close(handle)
    atexit.register(Path(name).unlink, missing_ok=True)
    return name
