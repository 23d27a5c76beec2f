"""A process that has imported chipweave once and forks for every call of the command line.

Each call is a process of its own, with its own arguments, environment, folder and exit code, as `python -m
chipweave` is; only the seconds that importing the libraries takes are paid once. Requests and answers are JSON lines.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import threading
import time

import numpy as np

LATE = ("PIL.JpegImagePlugin", "geopandas.io._geoarrow", "pyarrow.dataset", "pyarrow.pandas_compat")
"""What libraries import when it is first needed, which is in nearly every build."""


def preload() -> None:
    import chipweave

    for module in pkgutil.walk_packages(chipweave.__path__, "chipweave."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    warm()
    # A child that collected what was imported would copy all of its pages.
    gc.collect()
    gc.freeze()


def warm() -> None:
    """Read what nearly every call reads, and load the kernels that nearly every build needs: once, not a child each."""
    from affine import Affine
    from rasterio.io import MemoryFile

    from chipweave.catalog.collections import load_collection
    from chipweave.model import Asset
    from chipweave.pixels import fused, gdal_session, let_go
    from chipweave.pixels.bands import read_int16
    from chipweave.pixels.codes import read_codes

    for name in ("sentinel-2-l2a", "esa-worldcover", "corine"):
        load_collection(name)
    fused.whole(np.zeros((1, 2, 2), np.int16))
    fused.darkest(np.zeros((1, 2, 2), np.int16), -200, 900)
    ground = {"crs": "EPSG:32632", "transform": Affine(20, 0, 600_000, 0, -20, 5_200_000)}
    for dtype in ("uint16", "uint8"):
        with MemoryFile() as file:
            with file.open(
                driver="GTiff", width=64, height=64, count=1, dtype=dtype, nodata=0, **ground
            ) as tif:
                tif.write(np.ones((1, 64, 64), dtype))
            with gdal_session():
                for res, at in ((20.0, 0.0), (10.0, 0.0), (10.0, 3.0)):
                    grid = ("EPSG:32632", Affine(res, 0, 600_100 + at, 0, -res, 5_199_900), (16, 16))
                    if dtype == "uint16":
                        read_int16([Asset(file.name)], 0, *grid, ["bilinear"])
                    else:
                        read_codes(Asset(file.name), 0, *grid, "nearest", lambda codes, _: codes)
                let_go()


def become(request: dict) -> None:
    """In the child: what the shell would have set up."""
    os.setsid()
    for fd, name in ((1, request["stdout"]), (2, request["stderr"])):
        to = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, fd)
        os.close(to)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(request["env"])
    if request["cwd"]:
        os.chdir(request["cwd"])
    sys.argv = ["chipweave", *request["args"]]


def wait(pid: int, timeout: float) -> int:
    """Exit code as `subprocess` gives it; -9 after the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.01)


def main() -> bool:
    """Serve until the pipe closes; True in a child that shall now be chipweave."""
    preload()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    # Unbuffered on purpose: a child must not inherit a half-read pipe.
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            become(request)
            return True
        print(json.dumps({"rc": wait(pid, request["timeout"])}), file=answers, flush=True)
    return False


def leave(code: int) -> None:
    """End as the interpreter does, but without taking every module apart, which costs more than many a call."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__" and main():
    try:
        runpy.run_module("chipweave", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise  # a message, which the interpreter prints
        leave(end.code or 0)
    leave(0)
