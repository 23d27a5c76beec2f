"""How often a provider is asked: so many requests a second, whatever the number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache


class Pace:
    """Lets callers through one after the other, evenly.

    Parameters
    ----------
    rate
        Requests a second; 0 for any number.
    clock, sleep
        Seconds that only grow, and how to wait.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._step = 1.0 / rate if rate > 0 else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        if not self._step:
            return
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._step
        if turn > now:
            self._sleep(turn - now)


@lru_cache(maxsize=64)
def pace_of(provider: str, rate: float) -> Pace:
    """Pace at which this process asks a provider, for searches and tokens alike."""
    del provider  # it only tells one pace from another
    return Pace(rate)
