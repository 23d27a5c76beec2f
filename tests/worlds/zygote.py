"""A process that has imported chipweave once and forks for every call of the command line.

Each call is a process of its own, with its own arguments, environment, folder and exit code, as `python -m
chipweave` is; only the seconds that importing the libraries takes are paid once. Requests and answers are JSON lines.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import time


def preload() -> None:
    import chipweave

    for module in pkgutil.walk_packages(chipweave.__path__, "chipweave."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


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


if __name__ == "__main__" and main():
    runpy.run_module("chipweave", run_name="__main__", alter_sys=True)
