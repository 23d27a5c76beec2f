"""What a second worker gives, held against what a pure CPU burn gives; and what scheduling costs.

A machine shared with others gives two processes less than twice the work of one. So builds and burns alternate, and
the builds' gain is read against the burns'.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chipweave.executor import executor

CHIPS_A_BATCH = 61
"""Of 256 px: `plan.batches.BATCH_PX` over 256²."""

SECONDS_A_CHIP = 0.012
"""CPU of a chip of 13 bands, end to end; the caller's own measurement is better."""

PAYLOAD = 4096
"""Bytes of a task, at least what a batch of a build has (a test holds that below 6 kB)."""

IDLE = 5.0
"""Seconds over which the idle scheduler is watched."""

_BURN = """
import sys
def burn(steps, x=0):
    for i in range(steps):
        x = (x * 69069 + 1) & 0xFFFFFF
sys.stdout.write("r"); sys.stdout.flush(); sys.stdin.read(1)
burn(int(sys.argv[1]))
"""


def burn(processes: int, steps: int) -> float:
    """Wall seconds of `steps` of arithmetic, dealt to so many processes; their start does not count."""
    command = [sys.executable, "-I", "-S", "-c", _BURN, str(steps // processes)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own line
        for _ in range(processes)
    ]
    for process in started:
        process.stdout.read(1)  # type: ignore[union-attr]
    begin = time.perf_counter()
    for process in started:
        process.stdin.write(b"g")  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
    codes = [process.wait() for process in started]
    took = time.perf_counter() - begin
    for process in started:
        process.stdout.close()  # type: ignore[union-attr]
    if any(codes):
        raise RuntimeError(f"a burn ended with {codes}")
    return took


def two_workers(
    build: Callable[[int, Path], None], scratch: Path, rounds: int, steps: int = 50_000_000
) -> dict[str, float]:
    """Gain of a second worker, and of a second process of pure arithmetic, in alternating runs.

    Parameters
    ----------
    build
        ``build(workers, folder)``: the same job into a new folder; its wall time counts, all of it. A job of a few
        seconds measures its own start.
    scratch
        Folder for the datasets.
    rounds
        Times that everything is run.
    steps
        Length of a burn; 50 million are some 5 s.

    Returns
    -------
    dict
        ``two_worker_speedup`` and ``cpu_burn_speedup``: medians of each round's wall with one over its wall with two.
    """
    builds, burns = [], []
    for n in range(rounds):
        walls, burnt = [], []
        # There and back, so that a drift of the machine's speed meets both alike.
        for workers in (1, 2) if n % 2 == 0 else (2, 1):
            burnt.append(burn(workers, steps))
            begin = time.perf_counter()
            build(workers, scratch / f"round-{n}-workers-{workers}")
            walls.append(time.perf_counter() - begin)
        one, two = (0, 1) if n % 2 == 0 else (1, 0)
        builds.append(walls[one] / walls[two])
        burns.append(burnt[one] / burnt[two])
    return {"two_worker_speedup": statistics.median(builds), "cpu_burn_speedup": statistics.median(burns)}


@dataclass(frozen=True)
class _Stub:
    """A batch that holds nothing."""

    number: int
    payload: bytes


def _stub(task: _Stub, seconds: float) -> int:
    time.sleep(seconds)
    return task.number


def scheduler_share(
    chips: int,
    seconds_a_chip: float = SECONDS_A_CHIP,
    squeeze: float = 20.0,
    workers: int = 2,
    idle_s: float = IDLE,
) -> float:
    """CPU of client and scheduler over CPU of the work, for a build of so many chips.

    Tasks go through the executor of a build, a batch a task, in the number that so many chips have. They sleep a
    `squeeze`-th of what a batch works: hours of burning would tell nothing more. What the client's process (client,
    scheduler and the workers' nannies: all that is not work) spends has two parts. What it spends at every task is
    measured on those tasks. What it spends while it waits is measured on the idle cluster, a second's worth, and
    counted for the seconds that the real work would take on these workers, not for the short ones of the stubs.
    Starting and stopping the cluster does not count: it is the same for any job.

    Parameters
    ----------
    chips
        Of the build.
    seconds_a_chip
        CPU of the work.
    squeeze
        How much shorter the stubs are.
    workers
        Processes.
    idle_s
        Seconds over which the idle cluster is watched.

    Returns
    -------
    float
        A share; 0.01 is 1 %.
    """
    number = max(-(-chips // CHIPS_A_BATCH), 2)
    work = chips * seconds_a_chip
    stub = partial(_stub, seconds=work / number / squeeze)
    with executor(workers, None) as run:
        warm = [_Stub(n, b"") for n in range(2 * workers)]
        list(run(stub, warm))
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(idle_s)
        idle = (time.process_time() - cpu) / (time.perf_counter() - wall)
        tasks = (_Stub(n, n.to_bytes(8, "big") * (PAYLOAD // 8)) for n in range(number))
        cpu, wall = time.process_time(), time.perf_counter()
        done = list(run(stub, tasks))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if done != list(range(number)):
        raise RuntimeError("the executor lost a task")
    at_tasks = max(cpu - idle * wall, 0.0)
    return (at_tasks + idle * work / workers) / work


def measure(
    build: Callable[[int, Path], None],
    scratch: Path,
    rounds: int = 5,
    *,
    chips: Sequence[int] = (1_000, 100_000),
    seconds_a_chip: float = SECONDS_A_CHIP,
    squeeze: float = 20.0,
    steps: int = 50_000_000,
    idle: float = IDLE,
) -> dict[str, float]:
    """All of this file's figures.

    Parameters
    ----------
    build, scratch, rounds, steps
        See `two_workers`.
    chips, seconds_a_chip, squeeze, idle
        See `scheduler_share`; the keys name the first count 1k and the last 100k, whatever they are.

    Returns
    -------
    dict
        ``two_worker_speedup, cpu_burn_speedup, scheduler_cpu_share_1k, scheduler_cpu_share_100k``.
    """
    found = two_workers(build, scratch, rounds, steps)
    for key, count in (("1k", chips[0]), ("100k", chips[-1])):
        found[f"scheduler_cpu_share_{key}"] = scheduler_share(count, seconds_a_chip, squeeze, idle_s=idle)
    return found
