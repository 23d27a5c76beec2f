"""Choose among what survey measured: rules side by side, each a file; pure, figures in, a ranking out."""

from __future__ import annotations

from chipweave.plan.select.looking import NOWHEN, Look, When
from chipweave.plan.select.ranking import (
    NOT_MEASURED,
    Choice,
    LeastCloudy,
    Limits,
    Measured,
    Rule,
    least_cloudy,
)
from chipweave.plan.select.series import Series

__all__ = [
    "NOT_MEASURED", "NOWHEN", "Choice", "LeastCloudy", "Limits", "Look", "Measured", "Rule", "Series", "When",
    "least_cloudy",
]  # fmt: skip
