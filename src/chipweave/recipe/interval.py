"""Time intervals as a recipe writes them, in UTC, the last day included."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Final

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
"""What an open end stands for: inside the range of every time type that a table may use."""

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_TICK = timedelta(microseconds=1)


def interval(text: str) -> tuple[datetime, datetime]:
    """First and last moment of an interval.

    Parameters
    ----------
    text
        ``2021-06-01/2021-08-31``; one date alone is that day. Instead of a day also a year, a month, or an
        RFC 3339 time (without an offset it is UTC); ``..`` is an open end.

    Returns
    -------
    start, end
        Timezone-aware, UTC. `end` is inclusive: a day ends at 23:59:59.999999. Open ends are `EARLIEST` and
        `LATEST`.

    Raises
    ------
    ValueError
        Not an interval, or it ends before it begins; the text says which.
    """
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2:
        raise ValueError("more than one '/'")
    if len(parts) == 1 and parts[0] in {"..", ""}:
        raise ValueError("no date in it")
    first, last = parts[0], parts[-1]
    start = EARLIEST if first == ".." else _span(first)[0]
    end = LATEST if last == ".." else _span(last)[1]
    if end < start:
        raise ValueError("it ends before it begins")
    return start, end


def _span(text: str) -> tuple[datetime, datetime]:
    """First and last moment of a year, a month, a day or an instant."""
    match = _DATE.fullmatch(text)
    if not match:
        return (_instant(text),) * 2
    year, month, day = (int(g) if g else None for g in match.groups())
    if year is None or not EARLIEST.year <= year <= LATEST.year:
        raise ValueError(f"{text!r} is not between {EARLIEST.year} and {LATEST.year}")
    try:
        start = datetime(year, 1 if month is None else month, 1 if day is None else day, tzinfo=UTC)
        month = 12 if month is None else month
        end = datetime(year, month, calendar.monthrange(year, month)[1] if day is None else day, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text!r} is no date of the calendar") from None
    return start, end + timedelta(days=1) - _TICK


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date") from None
    if "T" not in text.upper() and " " not in text:
        raise ValueError(f"{text!r} is no date")
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{text!r} is not between {EARLIEST.year} and {LATEST.year}")
    return moment


def duration(text: str) -> timedelta:
    """Time that a text such as ``30d`` or ``12h`` names."""
    number, unit = int(text[:-1]), text[-1]
    return timedelta(days=number) if unit == "d" else timedelta(hours=number)
