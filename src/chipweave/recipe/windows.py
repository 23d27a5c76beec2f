"""Windows of time that a recipe names: of the year, around a date, and the periods of an interval."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from chipweave.recipe.interval import EARLIEST, LATEST, duration, interval

Span = tuple[datetime, datetime]
"""First and last moment, UTC, both inclusive."""

TICK: Final = timedelta(microseconds=1)

SEASONS: Final[Mapping[str, str]] = {
    "spring": "03-01/05-31",
    "summer": "06-01/08-31",
    "autumn": "09-01/11-30",
    "winter": "12-01/02-29",
}
"""The meteorological seasons of the north; six months later in the south."""

PHASES: Final = ("greenup", "maturity", "senescence", "dormancy")
"""Days of a year of plants, at which its seasons begin."""

MOST_PERIODS: Final = 1200
"""More periods than this are a mistake: a hundred years of months."""

_OF_YEAR = re.compile(r"(\d{2})(?:-(\d{2}))?/(\d{2})(?:-(\d{2}))?", re.ASCII)
_EVERY = re.compile(r"([1-9]\d{0,4})d", re.ASCII)
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_OPPOSITE: Final = {"spring": "autumn", "summer": "winter", "autumn": "spring", "winter": "summer"}


def closed(span: Span) -> bool:
    """Whether an interval has both of its ends."""
    return span[0] > EARLIEST and span[1] < LATEST


def check_window(text: str) -> str:
    """A window of the year, ``MM-DD/MM-DD`` or ``MM/MM``, last day included, or an interval with years.

    Raises
    ------
    ValueError
        Neither of them.
    """
    match = _OF_YEAR.fullmatch(text)
    if match is None:
        if not closed(interval(text)):
            raise ValueError("a window needs both of its ends")
        return text
    first, day, last, end = (int(g) if g else None for g in match.groups())
    for month, of_month in ((first, day), (last, end)):
        if not 1 <= (month or 0) <= 12:
            raise ValueError(f"{month} is no month")
        if of_month is not None and not 1 <= of_month <= calendar.monthrange(2000, month or 1)[1]:
            raise ValueError(f"{of_month} is no day of month {month}")
    return text


def of_year(window: str) -> bool:
    """Whether a window comes again every year."""
    return _OF_YEAR.fullmatch(window) is not None


def occurrences(window: str, within: Span) -> Iterator[Span]:
    """Times at which a window of the year (see `check_window`) meets an interval, in order, each cut to it."""
    yield from (cut for cut, _ in pieces(window, within))


def pieces(window: str, within: Span) -> Iterator[tuple[Span, Span]]:
    """The same, each beside its whole."""
    match = _OF_YEAR.fullmatch(window)
    if match is None:
        spans = [interval(window)]
    else:
        first, day, last, end = (int(g) if g else None for g in match.groups())
        start_of, end_of = (first or 1, day or 1), (last or 12, end or 31)
        years = range(within[0].year - 1, within[1].year + 1)
        spans = [(_day(y, *start_of), _day(y + (end_of < start_of), *end_of, ends=True)) for y in years]
    for first_of, last_of in spans:
        start, stop = max(first_of, within[0]), min(last_of, within[1])
        if start <= stop:
            yield (start, stop), (first_of, last_of)


def _day(year: int, month: int, day: int, *, ends: bool = False) -> datetime:
    """The first moment of a day, or its last one; 29 February is the month's last day."""
    at = datetime(year, month, min(day, calendar.monthrange(year, month)[1]), tzinfo=UTC)
    return at + timedelta(days=1) - TICK if ends else at


def years_back(within: Span) -> tuple[Span, ...]:
    """An interval as years that end with it, the last one first; what is left at its beginning is the last of them."""
    parts: list[Span] = []
    stop = within[1] + TICK
    while stop > within[0]:
        start = max(_back(stop, 12), within[0])
        parts.append((start, stop - TICK))
        stop = start
    return tuple(parts)


def _back(moment: datetime, months: int) -> datetime:
    number = moment.year * 12 + moment.month - 1 - months
    year, month = divmod(number, 12)
    return moment.replace(
        year=year, month=month + 1, day=min(moment.day, calendar.monthrange(year, month + 1)[1])
    )


def seasons_of(lat: float) -> dict[str, str]:
    """Window of the year of each season at a latitude; the names stay in their order."""
    return {name: SEASONS[name if lat >= 0 else _OPPOSITE[name]] for name in SEASONS}


def check_every(text: str) -> str:
    """A length of periods: month, quarter, year, or days such as ``30d``.

    Raises
    ------
    ValueError
        None of them.
    """
    if text not in _MONTHS and not _EVERY.fullmatch(text):
        raise ValueError("give month, quarter, year, or a number of days such as 30d")
    return text


def periods(every: str, within: Span) -> tuple[tuple[str, Span], ...]:
    """Periods of an interval and their names, in order.

    Months, quarters and years are the calendar's, those at the ends cut to the interval; days are counted from its
    beginning, and a rest at its end that is no whole period is left out.

    Raises
    ------
    ValueError
        The interval holds no period, or too many.
    """
    found: list[tuple[str, Span]] = []
    months = _MONTHS.get(every)
    start = within[0]
    if months is not None:
        start = start.replace(month=(start.month - 1) // months * months + 1, day=1)
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while start <= within[1]:
        after = _back(start, -months) if months is not None else start + duration(every)
        span = max(start, within[0]), min(after - TICK, within[1])
        if months is not None or after - TICK <= within[1]:
            found.append((_name(every, start), span))
        start = after
        if len(found) > MOST_PERIODS:
            raise ValueError(f"more than {MOST_PERIODS} periods lie in it")
    if not found:
        raise ValueError(f"not one period of {every} lies in it")
    return tuple(found)


def _name(every: str, start: datetime) -> str:
    if every == "month":
        return f"{start:%Y-%m}"
    if every == "quarter":
        return f"{start:%Y}-Q{(start.month + 2) // 3}"
    return f"{start:%Y}" if every == "year" else f"{start:%Y-%m-%d}"


def around(date: Span, window: tuple[str, str], years: int = 0) -> Span:
    """A window around a chip's own date, such as ``(-30d, 30d)``; `years` later, or earlier below zero."""
    start, stop = (_back(moment, -12 * years) for moment in date)
    return _moved(start, duration(window[0])), _moved(stop, duration(window[1]))


def wider(span: Span, by: timedelta) -> Span:
    """The same on both sides by a time more."""
    return _moved(span[0], -by), _moved(span[1], by)


def _moved(moment: datetime, by: timedelta) -> datetime:
    """A moment some time later, not beyond what is counted."""
    try:
        return min(max(moment + by, EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if by < timedelta(0) else LATEST
