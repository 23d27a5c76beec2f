"""Small tasks for workers: importable there without pytest, so that a worker starts fast."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Errand:
    """A task with a name of its own."""

    number: int

    def __str__(self) -> str:
        return f"errand {self.number}"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def where(number: int) -> tuple[int, int]:
    """Its number, and the process that it ran in."""
    time.sleep(0.02)
    return number, os.getpid()


def slow_first(number: int, gate: Path) -> int:
    """The first waits until the gate is there, and leaves a file when it ends."""
    while number == 0 and not gate.exists():
        time.sleep(0.01)
    if number == 0:
        (gate.parent / "ended").touch()
    return number


def dies_once(number: int, told: Path, who: int = 3) -> int:
    """Number `who` kills its worker, the first time."""
    if number == who and not told.exists():
        told.touch()
        _die()
    time.sleep(0.02)
    return number


def takes_all_along(number: int, folder: Path) -> int:
    """Number 3 kills all workers, once, when the first three are done and nobody has fetched their results."""
    told = folder / "told"
    if not told.exists():
        (folder / f"{os.getpid()}.pid").touch()
        if number == 3:
            time.sleep(0.3)
            told.touch()
            for path in folder.glob("*.pid"):
                if path.stem != str(os.getpid()):
                    os.kill(int(path.stem), signal.SIGKILL)
            _die()
        while number > 3 and not told.exists():
            time.sleep(0.01)
    return number


def dies_always(errand: Errand, who: int = 3) -> int:
    """Number `who` kills its worker."""
    if errand.number == who:
        _die()
    return errand.number


def refuses(number: int) -> int:
    """Raises what a task may raise."""
    if number == 5:
        raise ValueError("number 5 will not do")
    return number


def weave_or_die(batch, work):
    """`weave.weave_task`, but batch 2 kills its worker."""
    from chipweave.weave import weave_task

    if batch.number == 2:
        _die()
    return weave_task(batch, work)


def weave_till_told(batch, work):
    """`weave.weave_task`, but batch 3 leaves a file, does not go on before that is removed, and comes to nothing."""
    from chipweave.weave import weave_task

    if batch.number != 3:
        return weave_task(batch, work)
    waits = work / "waits"
    waits.touch()
    while waits.exists():
        time.sleep(0.05)
    return 0


def compile_all(go: Path, out: Path) -> None:
    """Compile kernels when `go` appears; write how many were found in the cache, and how many were not."""
    import numpy as np

    from chipweave.pixels import kernels

    Path(f"{out}.ready").touch()
    while not go.exists():
        time.sleep(0.001)
    nodes = np.zeros((3, 3))
    u, v = kernels.fixed_coordinates(nodes, nodes, 0, 0, 0, 0, 4, 4, 4, 0, 0)
    kernels.nearest(
        np.zeros((4, 4)), np.ones((4, 4), bool), 0, 0, u, v, np.zeros((4, 4)), np.zeros((4, 4), bool)
    )
    stats = [getattr(kernels, n).stats for n in dir(kernels) if hasattr(getattr(kernels, n), "py_func")]
    hits, misses = (sum(sum(getattr(s, w).values()) for s in stats) for w in ("cache_hits", "cache_misses"))
    out.write_text(f"{hits} {misses}")
