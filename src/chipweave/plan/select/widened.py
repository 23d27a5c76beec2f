"""The least cloudy date, in a wider time where there is none."""

from __future__ import annotations

from dataclasses import dataclass

from chipweave.plan.select.onedate import OneDate


@dataclass(frozen=True, slots=True, kw_only=True)
class Widened(OneDate):
    """One step: the least cloudy candidate of the first window that has one within limits."""
