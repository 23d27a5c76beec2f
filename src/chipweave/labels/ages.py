"""How far in time a label lies from the imagery beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from chipweave.recipe.interval import interval

AGE = "age_days"
"""How the figure is called."""

DAYS_A_YEAR = 365.25
"""Of the Julian year."""

UNKNOWN = -1.0
"""Age where the label, or all imagery, has no date."""

_DAY = timedelta(days=1)


def age_days(label: str, images: Iterable[str]) -> float:
    """Days between what a label shows and the image of its chip that lies farthest from it.

    A label shows all of its time: of the edition 2021 all images of 2021 are 0 days away.

    Parameters
    ----------
    label
        A year, a month or a day; empty where it has none.
    images
        Moments in ISO 8601; empty ones are passed over.
    """
    times = [datetime.fromisoformat(text) for text in images if text]
    if not label or not times:
        return UNKNOWN
    first, last = interval(label)
    return max(_apart(time if time.tzinfo else time.replace(tzinfo=UTC), first, last) for time in times)


def days_between(label: str, time: tuple[datetime, datetime]) -> float:
    """Days between what a label shows and the nearest moment of an interval of imagery."""
    first, last = interval(label)
    return max((first - time[1]) / _DAY, (time[0] - last) / _DAY, 0.0)


def _apart(time: datetime, first: datetime, last: datetime) -> float:
    return max((first - time) / _DAY, (time - last) / _DAY, 0.0)


def days_of(limit: float | str) -> float:
    """`max_label_age` in days: a number is years, a text such as ``400d`` or ``12h`` a duration."""
    if not isinstance(limit, str):
        return limit * DAYS_A_YEAR
    match = re.fullmatch(r"(\d+)([dh])", limit)
    if match is None:
        raise ValueError(f"{limit!r} is no duration such as 400d")
    return int(match[1]) / (1 if match[2] == "d" else 24)
