"""One build holds a dataset in a store at a time: an object that it writes anew while it lives."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Final, Self

from chipweave.errors import ChipweaveError, UsageError
from chipweave.files import atomic_write_text
from chipweave.stores.store import Store, Tag

log = logging.getLogger("chipweave")

LEASE: Final = ".chipweave.lease"

LEASE_S = 60.0
"""Seconds after which a lease that was not renewed is another's to take. Nobody's clock is asked: who wants it watches
whether it changes."""


class Lease:
    """One builder of a dataset at a time: an object that its holder writes anew while it lives.

    The builder of the same scratch, which an earlier one left behind when it was killed, takes it over at once: the
    scratch has an OS lock. Any other waits until the lease was not renewed for `LEASE_S`. A store that does not know
    conditional puts is refused.

    Parameters
    ----------
    store
        Of the dataset.
    holder
        File that names the scratch; made where it is missing.
    """

    def __init__(self, store: Store, holder: Path) -> None:
        self._store = store
        if not holder.exists():
            atomic_write_text(holder, secrets.token_hex(8))
        self._name = holder.read_text(encoding="utf-8")
        self._tag: Tag | None = None
        self._renewed = 0.0
        self._unanswered: list[bytes] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lost = ""
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._renewed = _now()
        self._tag = self._store.write(LEASE, self._content()) or self._take()
        if self._store.write(LEASE, self._content()) is not None:
            self._store.delete(LEASE)
            raise UsageError(
                f"{self._store.url}: the store writes over what is there although it is asked not to: "
                "two builds could hold a dataset",
                hint="build into a folder, and copy that",
            )
        self._store.check = self.check
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self.check()
            self._store.delete(LEASE)
        except ChipweaveError as error:
            # Not raised: what the build ended with is to be heard, and nobody renews the lease any more.
            log.warning("%s; the lease is not given back", error.message)

    def check(self) -> None:
        """Raise where the lease is another's by now, or may be: an old one is renewed before anything is written.

        Raises
        ------
        UsageError
            It is another's.
        TransientSourceError
            The store does not answer.
        """
        with self._lock:
            if not self._lost and _now() - self._renewed > LEASE_S / 2:
                self._renew()
        if self._lost:
            raise UsageError(f"{self._store.url}: {self._lost}", hint="see which build runs, and wait for it")

    def _content(self) -> bytes:
        # The number makes each renewal another object: a tag is its bytes' in most stores.
        return json.dumps({"holder": self._name, "renewal": secrets.token_hex(8)}).encode()

    def _take(self) -> Tag:
        """Take over what is our own scratch's, or what nobody renews."""
        deadline: float | None = None
        seen: Tag | None = None
        while True:
            self._renewed = _now()
            found = self._store.read(LEASE)
            if found is None:
                tag = self._store.write(LEASE, self._content())
            else:
                data, now = found
                if not _is_holder(data, self._name):
                    if seen and now != seen:
                        raise UsageError(
                            f"{self._store.url} is busy: another chipweave process is building it",
                            hint="wait until it is done, or name another prefix",
                        )
                    if deadline is None:
                        log.info("%s: a build that may be gone holds it; waiting to see", self._store.url)
                        seen, deadline = now, time.monotonic() + LEASE_S
                    if time.monotonic() < deadline:
                        time.sleep(min(1.0, LEASE_S / 10))
                        continue
                tag = self._store.write(LEASE, self._content(), over=now)
            if tag is not None:
                return tag

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(LEASE_S / 4):
            try:
                with self._lock:
                    self._renew()
            except ChipweaveError as error:
                log.info("%s; the lease was not renewed", error.message)  # `check` raises where it matters

    def _renew(self) -> None:
        """Write the lease anew; under the lock."""
        while True:
            begun, content = _now(), self._content()
            self._unanswered.append(content)
            tag = self._store.write(LEASE, content, over=self._tag)
            if tag is not None:
                self._tag, self._renewed = tag, begun
                self._unanswered.clear()
                return
            # A store may have written what it gave no answer to.
            found = self._store.read(LEASE)
            if found is None or found[0] not in self._unanswered:
                self._lost = "another build has taken the dataset"
                return
            self._tag = found[1]


def _now() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where there is one: others do not sleep with it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _is_holder(data: bytes, name: str) -> bool:
    try:
        return bool(json.loads(data)["holder"] == name)
    except (ValueError, KeyError, TypeError):
        return False
