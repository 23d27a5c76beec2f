"""Runs tasks here, on processes of this machine, or on a Dask cluster: the only place that knows Dask.

A task is seconds of work and a few kilobytes; its result is as small, never pixels. Tasks are submitted as others
finish, so a scheduler holds a window of them, however many there are.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, TypeVar

from chipweave.errors import ChipweaveError, TransientSourceError, UsageError
from chipweave.pixels import keep_open
from chipweave.pixels.ahead import ahead
from chipweave.plan.planning import Executor

log = logging.getLogger("chipweave")

T = TypeVar("T")
R = TypeVar("R")

WINDOW = 4
"""Tasks in flight a thread of a worker: one at work, the others so that it never waits for the next."""

AHEAD = 16
"""Results a thread that may wait for an earlier task's: then nothing more is submitted before that one is done."""

DEATHS = 3
"""Workers that a task may kill. What killed one is tried again with no other task beside it, so none is blamed for
another's fault."""

ANSWER_S = 10.0
"""Seconds within which a scheduler must answer."""

LOOK = 5.0
"""Seconds after which the workers are counted again: they may come and go."""

PRELOAD = ("chipweave.weave", "chipweave.plan.planning", "distributed.worker", "distributed.nanny")
"""What workers need: imported once by the process that they are forked from, not once a worker."""

SETTINGS = {
    # What goes wrong in a task comes back with it; what workers say while they shut down helps nobody.
    "logging": {"distributed": "critical"},
    # The first death brings the task back here, see `DEATHS`.
    "distributed.scheduler.allowed-failures": 0,
    # Watching costs as much as scheduling where tasks take seconds.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.client.scheduler-info-interval": "30s",
    # Spawned workers would each import all libraries anew: seconds of CPU.
    "distributed.worker.multiprocessing-method": "forkserver",
}


def _serial(function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
    waiting = iter(tasks)
    task = next(waiting, None)
    while task is not None:
        following = next(waiting, None)
        if following is not None and hasattr(following, "coming"):
            ahead.then(following.digest, following.coming)  # type: ignore[attr-defined]
        yield function(task)
        task = following


@contextmanager
def executor(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """Serial where `workers` is 0, the Dask cluster at `scheduler`, else processes of this machine.

    Parameters
    ----------
    workers
        Processes of one thread each; None is one a core. They start with the first tasks, and never more of them
        than there are tasks; a single task is run here.
    scheduler
        Address of a running scheduler, such as ``tcp://host:8786``; its workers must see the output folder.

    Raises
    ------
    TransientSourceError
        The scheduler does not answer.
    UsageError
        Its address is none.
    """
    if workers == 0 and scheduler is None:
        with keep_open():  # neighbouring batches share files and blocks
            yield _serial
        return
    with ExitStack() as stack:
        if scheduler is not None:
            yield _Dask(stack.enter_context(_connected(scheduler)), f"the Dask scheduler at {scheduler}")
        else:
            yield _Local(workers or os.cpu_count() or 1, stack)


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    from distributed import Client  # noqa: PLC0415 - a second of import that serial builds save
    from distributed.comm.addressing import resolve_address  # noqa: PLC0415

    # A scheduler that goes down is a traceback there, after which `_lost` says it in a line.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        # A client that refuses its address stays open; collected while the next one starts, it locks that one out.
        resolve_address(scheduler)
        client = Client(scheduler, timeout=ANSWER_S, set_as_default=False)
    except OSError as error:
        raise TransientSourceError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    except ValueError as error:
        raise UsageError(
            f"--scheduler {scheduler}: {error}", hint="an address is like tcp://10.0.0.1:8786"
        ) from error
    with client:
        if not client.nthreads():
            log.warning("%s has no workers yet: waiting for some", scheduler)
        if "dashboard" in client.scheduler_info().get("services", {}):
            log.info("dashboard: %s", client.dashboard_link)
        yield client


@contextmanager
def _cluster(count: int) -> Iterator[tuple[Any, Any]]:
    """A cluster of `count` processes of this machine and its client; both end with the block."""
    import dask  # noqa: PLC0415
    from distributed import Client, LocalCluster  # noqa: PLC0415
    from distributed.utils import get_mp_context  # noqa: PLC0415

    # `silence_logs` quiets handlers of Dask's own, and it has none where the root logger has one (as Prefect's has).
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(SETTINGS):
        get_mp_context().set_forkserver_preload(list(PRELOAD))
        watched = importlib.util.find_spec("bokeh") is not None
        with (
            LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, memory_limit=0, silence_logs=logging.ERROR,
                dashboard_address="127.0.0.1:0",  # any free port; without bokeh there is no page to point to
                # The process that workers are forked from may be older than what the caller has set since.
                env=dict(os.environ), preload=[__name__],
            ) as cluster,
            Client(cluster, set_as_default=False) as client,  # the caller may use Dask for something else
        ):  # fmt: skip
            client.register_plugin(_stays_open())
            if watched and "dashboard" in cluster.scheduler.services:
                log.info("dashboard: %s", cluster.dashboard_link)
            yield cluster, client


def dask_setup(_worker: object) -> None:
    """Dask calls this in every local worker: Ctrl-C reaches all processes, and is for the build, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The process that workers are forked from read Dask's settings before ours: a heartbeat that finds the scheduler
    # gone would be a traceback.
    for name in (
        "distributed",
        *(n for n in logging.root.manager.loggerDict if n.startswith("distributed.")),
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _stays_open() -> Any:
    """Plugin by which a worker, which lives no longer than the build, keeps files and blocks from task to task."""
    from distributed import WorkerPlugin  # noqa: PLC0415

    class StaysOpen(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            worker.chipweave_files = ExitStack()
            worker.chipweave_files.enter_context(keep_open())

    return StaysOpen()


class _Local:
    """Processes of this machine: none before the first tasks come, no more than there are tasks."""

    def __init__(self, most: int, stack: ExitStack) -> None:
        self._most, self._stack, self._started = most, stack, 0
        self._cluster: Any = None
        self._dask: _Dask | None = None

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        needed = min(self._most, len(tasks)) if isinstance(tasks, Sized) else self._most
        if self._dask is None and needed <= 1 and isinstance(tasks, Sized) and len(tasks) <= 1:
            yield from _serial(function, tasks)
            return
        if self._dask is None:
            self._cluster, client = self._stack.enter_context(_cluster(needed))
            self._dask = _Dask(client, "the local Dask scheduler")
        elif needed > self._started:
            self._cluster.scale(needed)
        self._started = max(self._started, needed)
        yield from self._dask(function, tasks)


class _Dask:
    """Runs tasks on the workers of a client, in whatever order; their results come in the tasks' order."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        flight = _Flight(self._client, self._name, function, enumerate(tasks))
        try:
            yield from flight.results()
        finally:
            flight.stop()


class _Flight:
    """One run over tasks: those in flight, results that wait for their turn, and tasks that killed a worker."""

    def __init__(
        self, client: Any, name: str, function: Callable[[Any], Any], tasks: Iterator[tuple[int, Any]]
    ) -> None:
        self._client, self._name, self._function, self._tasks = client, name, function, tasks
        self._flying: dict[Any, tuple[int, Any]] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._finished: dict[int, tuple[Any, Any]] = {}
        self._done: dict[int, Any] = {}
        self._deaths: dict[int, int] = {}
        self._suspects: deque[tuple[int, Any]] = deque()
        self._alone = False
        self._turn = 0
        self._threads = 1
        self._looked = -LOOK

    def results(self) -> Iterator[Any]:
        """Results in the tasks' order."""
        self._fill()
        while self._flying or self._finished:
            if self._flying:
                self._land(self._wait())
            self._fill()
            # One question for several results: each costs the scheduler as much as a task.
            if len(self._finished) >= self._group or not self._flying:
                self._gather()
            while self._turn in self._done:
                yield self._done.pop(self._turn)
                self._turn += 1
            if not self._flying:  # all waited for the first: now there is room again
                self._fill()

    def stop(self) -> None:
        """Let go of what is still in flight."""
        if self._flying:
            self._client.cancel(list(self._flying))
            self._flying.clear()

    def _fill(self) -> None:
        """Submit up to the window; nothing while there are suspects, which then go one by one."""
        if self._suspects:
            if not self._flying:
                self._alone = True
                self._submit([self._suspects.popleft()])
            return
        self._alone = False
        self._count()
        if len(self._flying) + self._group > WINDOW * self._threads:
            return  # several at once, as with results
        waiting = len(self._flying) + len(self._finished) + len(self._done)
        room = min(WINDOW * self._threads - len(self._flying), (WINDOW + AHEAD) * self._threads - waiting)
        self._submit(list(islice(self._tasks, max(room, 0))))

    @property
    def _group(self) -> int:
        """Tasks that are submitted, and results that are fetched, at once; half the window is still at work then."""
        return WINDOW // 2 * self._threads

    def _submit(self, numbered: Sequence[tuple[int, Any]]) -> None:
        if not numbered:
            return
        futures = self._client.map(self._function, [task for _, task in numbered], pure=False)
        for future, pair in zip(futures, numbered, strict=True):
            self._flying[future] = pair
            future.add_done_callback(self._landed.put)

    def _gather(self) -> None:
        """Fetch what is finished; what went down with its worker since is awaited: the scheduler does it again."""
        with self._reachable():
            found = self._client.gather(
                {n: future for n, (_, future) in self._finished.items()}, errors="skip"
            )
        for number, (task, future) in self._finished.items():
            if future.status in {"error", "cancelled"}:
                self._failed(number, task, future, blamed=False)
            else:
                self._done[number] = found[number]
        self._finished.clear()

    def _wait(self) -> Any:
        while True:
            try:
                return self._landed.get(timeout=LOOK)
            except queue.Empty:
                self._count()
                if not self._alone:
                    self._fill()

    def _count(self) -> None:
        """Threads of all workers, asked for now and then: a cluster's may come and go."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        with self._reachable():
            self._threads = max(1, sum(self._client.nthreads().values()))

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # CommClosedError and TimeoutError are
            raise self._lost() from error

    def _lost(self) -> TransientSourceError:
        return TransientSourceError(
            f"{self._name} is gone", hint="run the same command again: finished batches are kept"
        )

    def _land(self, future: Any) -> None:
        """Keep a result, be it lost since (`_gather` sees to that)."""
        number, task = self._flying.pop(future)
        if future.status in {"error", "cancelled"}:
            self._failed(number, task, future, blamed=self._alone)
        else:
            self._finished[number] = (task, future)

    def _failed(self, number: int, task: object, future: Any, *, blamed: bool) -> None:
        """A task that killed its worker is a suspect from now on; what else went wrong is raised.

        Raises
        ------
        ChipweaveError
            It killed too many.
        TransientSourceError
            The scheduler is gone.
        """
        from distributed import KilledWorker  # noqa: PLC0415

        if future.status == "cancelled":
            raise self._lost()
        error = future.exception()
        if not isinstance(error, KilledWorker):
            future.result()  # raises it, with its traceback there
        deaths = self._deaths[number] = self._deaths.get(number, 0) + 1 + error.allowed_failures
        if blamed and deaths >= DEATHS:
            raise ChipweaveError(
                f"{_label(number, task)} killed its worker {deaths} times: out of memory, or a crash in a library",
                hint="give workers more memory, or see what happens with --workers 0; finished batches are kept",
            ) from error
        log.warning("%s lost its worker: it is done again", _label(number, task))
        self._suspects.append((number, task))


def _label(number: int, task: object) -> str:
    """What a task calls itself, where it does."""
    return f"task {number}" if type(task).__str__ is object.__str__ else str(task)
