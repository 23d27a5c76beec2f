"""What commands say: a build's yield; on stderr bars on a terminal, lines elsewhere, or JSON objects for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TextIO

from chipweave.progress import EXTRA, Step

EVERY_S: Final = 5.0
"""Seconds between two lines of a stage that goes on; its first and its last are always said."""


_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but for tab and line end, and those that turn text round: a title from a catalog must not move
the cursor or colour the screen."""


_USER: Final = re.compile(r"([a-z][a-z0-9+.-]*:/{1,3})[^\s/@'\"\\]+@", re.IGNORECASE)
_SIGNED: Final = re.compile(
    r"([?&](?:sig|signature|token|access_token|key|api_?key|x-amz-[a-z-]+|x-goog-[a-z-]+)=)[^\s&'\"\\]+",
    re.IGNORECASE,
)
"""Users and signatures of URLs: what a recipe has in the wrong place is shown without them."""


class LogFormat(StrEnum):
    """How log records are written."""

    TEXT = "text"
    JSON = "json"


def step_of(record: logging.LogRecord) -> Step | None:
    """How far a stage is, where the record says that."""
    return getattr(record, EXTRA, None)


class Seldom(logging.Filter):
    """Lets of a stage's steps the first, the last, and one every few seconds pass."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        step = step_of(record)
        if step is None:
            return True
        now = time.monotonic()
        if step.last or now - self._said.get(step.stage, -EVERY_S) >= EVERY_S:
            self._said[step.stage] = now
            return True
        return False


class Plain(logging.Formatter):
    """The message alone, without what steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        return harmless(super().format(record))


def harmless(text: str) -> str:
    """The text with control characters shown as question marks, and without secrets of URLs."""
    return _STEERING.sub("?", _unsigned(text))


def _unsigned(text: str) -> str:
    return _SIGNED.sub(r"\1…", _USER.sub(r"\1", text))


class Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, message; of a stage also how far it is."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        step = step_of(record)
        if step is not None:
            said |= {"stage": step.stage, "done": step.done, "total": step.total, "unit": step.what}
            said |= {} if step.chips is None else {"chips": step.chips}
        return _unsigned(json.dumps(said | getattr(record, "facts", {}), ensure_ascii=False))


class Bars(logging.Handler):
    """Draws the stage at work as a bar with its rate and the time that is left; all else scrolls by above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - only terminals need it
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        super().__init__()
        self._console = Console(file=stream, highlight=False, markup=False)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(), console=self._console, transient=True, redirect_stdout=False,
            redirect_stderr=False,
        )  # fmt: skip
        self._tasks: dict[str, tuple[Any, float]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, or move its stage's bar."""
        step = step_of(record)
        if step is None:
            self._console.print(harmless(record.getMessage()), soft_wrap=True)
            return
        if not self._tasks:
            self._bars.start()
        if step.stage not in self._tasks:
            task = self._bars.add_task(step.stage, total=step.total or None, said="")
            self._tasks[step.stage] = (task, time.monotonic())
        task, since = self._tasks[step.stage]
        took = time.monotonic() - since
        self._bars.update(task, completed=step.done, said=_rate(step, took))
        if step.last:
            self._bars.remove_task(task)
            del self._tasks[step.stage]
            if not self._tasks:
                self._bars.stop()
            self._console.print(f"{step} in {_time(took)}", soft_wrap=True)

    def close(self) -> None:
        """Take the bars away and give the cursor back."""
        self._bars.stop()
        self._tasks.clear()
        super().close()


def _rate(step: Step, took: float) -> str:
    count, unit = (step.done, step.what) if step.chips is None else (step.chips, "chips")
    of = f"/{step.total:,}" if step.total else ""
    return f"{step.done:,}{of} {step.what}" + (f", {count / took:,.0f} {unit}/s" if took > 1 else "")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_handler: logging.Handler = logging.NullHandler()


def begin(form: LogFormat, *, quiet: bool) -> None:
    """Write what chipweave logs to stderr from now on.

    Parameters
    ----------
    form
        Text, as bars on a terminal, or JSON.
    quiet
        Warnings and errors alone.
    """
    global _handler  # noqa: PLW0603 - there is one stderr
    if form is LogFormat.TEXT and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet:
        _handler = Bars(sys.stderr)
    else:
        _handler = logging.StreamHandler(sys.stderr)
        _handler.addFilter(Seldom())
        _handler.setFormatter(Json() if form is LogFormat.JSON else Plain())
    logging.lastResort = _handler  # what libraries warn of, in the same form
    logging.getLogger("stamina").setLevel(logging.ERROR)  # of retries: what comes of them is told
    logger = logging.getLogger("chipweave")
    logger.handlers[:] = [_handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def end() -> None:
    """Take what was drawn off the terminal."""
    _handler.close()


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError  # pragma: no cover - the loop returns


def _counts(title: str, counts: Mapping[str, int]) -> list[str]:
    return [title, *(f"  {name:<28} {n:>8,}" for name, n in counts.items())] if counts else []


def yield_text(result: Mapping[str, Any]) -> str:
    """What a plan or a build came to, for a person."""
    done = result["state"] == "built"
    lines = [f"{result['folder']}: {'built' if done else 'planned'}"]
    rows = {"placed": result["placed"], "written" if done else "kept": result["written" if done else "kept"]}
    if result["failed"]:
        rows["failed"] = result["failed"]
    lines += [f"  {name:<28} {n:>8,}" for name, n in rows.items()]
    lines += _counts("dropped, by reason", result["dropped"]) + _counts("by split", result["splits"])
    lines.append(f"{'size' if done else 'expected size'}: {_size(result['bytes'])}")
    return "\n".join(lines)


def in_json() -> bool:
    """Whether stderr is written as JSON."""
    return isinstance(_handler.formatter, Json)


def refuse(facts: dict[str, Any], *, as_json: bool) -> None:
    """Say why a command did nothing: on stderr, and as an object on stdout where results go there as JSON.

    Parameters
    ----------
    facts
        ``error, message, hint, exit``.
    as_json
        Whether results are JSON.
    """
    if as_json:
        sys.stdout.write(_unsigned(json.dumps(facts)) + "\n")
        sys.stdout.flush()
    complain(
        "\n".join([f"error: {facts['message']}", *([f"  {facts['hint']}"] if facts["hint"] else [])]), facts
    )


def complain(text: str, facts: dict[str, Any]) -> None:
    """Say on stderr why a command failed: text, or in JSON logs an object with these facts."""
    end()
    if in_json():
        record = logging.makeLogRecord(
            {
                "levelname": "ERROR",
                "msg": facts["message"],
                "facts": {k: v for k, v in facts.items() if k != "message"},
            }
        )
        text = Json().format(record)
    else:
        text = harmless(text)
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
