"""One picture of all clear pixels of a time."""

from __future__ import annotations

from dataclasses import dataclass

from chipweave.plan.select.onedate import OneDate


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite(OneDate):
    """One step: every candidate within `max_cloud` gives its clear pixels to a statistic.

    `min_valid` is held against the picture that they make together.
    """

    stat: str = "median"
