"""How many places have a partner, and how far in time: told from the catalog alone, before a pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from chipweave.plan.columns import Floats, Matched
from chipweave.plan.select.paired import Paired
from chipweave.plan.surveying import Survey

SAMPLE = 20_000
"""Places that are looked at: evenly spread, where there are more."""

BUCKETS = 8
"""Days that are told apart."""

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class PairYield:
    """What a pair of layers promises.

    Parameters
    ----------
    layer, partner
        The pair.
    within
        Largest difference in days.
    places, looked_at
        How many there are, and how many were looked at.
    gaps
        (looked_at,) days between the nearest two dates of a place; NaN where either layer has none.
    """

    layer: str
    partner: str
    within: float
    places: int
    gaps: Floats

    @property
    def looked_at(self) -> int:
        """Places that were looked at."""
        return len(self.gaps)

    @property
    def served(self) -> int:
        """Of these, how many have a partner."""
        return int((self.gaps <= self.within).sum())

    def histogram(self) -> dict[str, int]:
        """Places by the days between the nearest two dates."""
        days = np.floor(self.gaps[np.isfinite(self.gaps)]).astype(np.int64)
        low = {f"{n}": int((days == n).sum()) for n in range(BUCKETS)}
        return {
            **low,
            f"{BUCKETS} and more": int((days >= BUCKETS).sum()),
            "none": int(np.isnan(self.gaps).sum()),
        }

    def __str__(self) -> str:
        share = 100 * self.served / max(self.looked_at, 1)
        of = (
            f"{self.looked_at} places"
            if self.looked_at == self.places
            else (f"{self.looked_at} of {self.places} places, evenly taken")
        )
        gaps = ", ".join(f"{name}: {count}" for name, count in self.histogram().items() if count)
        return (
            f"{self.layer} within {self.within:g} days of {self.partner}: {self.served} of {of} ({share:.1f} %) "
            f"at best; days between the nearest two: {gaps}"
        )


def pair_yields(survey: Survey) -> list[PairYield]:
    """Yield of every pair of layers of a build, by the catalog's dates: clouds and swaths are not looked at."""
    own = np.flatnonzero((survey.places["reason"] == "").to_numpy())
    if len(own) > SAMPLE:
        own = own[np.linspace(0, len(own) - 1, SAMPLE).astype(np.int64)]
    found = []
    for layer, limits in survey.reads.limits.items():
        rule = limits.rule
        if isinstance(rule, Paired):
            gaps = _gaps(survey.candidates_of(layer, own), survey.candidates_of(rule.partner, own))
            days = rule.within.total_seconds() / _DAY
            found.append(
                PairYield(layer, rule.partner, days, int((survey.places["reason"] == "").sum()), gaps)
            )
    return found


def _gaps(one: Matched, other: Matched) -> Floats:
    """Days between the nearest two dates of each chip; NaN where either has none."""
    out = np.full(len(one), np.nan)
    seconds = [
        np.array([datetime.fromisoformat(t).timestamp() for t in m.times], np.float64)[m.scenes[m.start[:-1]]]
        for m in (one, other)
    ]
    for chip in range(len(one)):
        a = seconds[0][one.first[chip] : one.first[chip + 1]]
        b = np.sort(seconds[1][other.first[chip] : other.first[chip + 1]])
        if not len(a) or not len(b):
            continue
        at = np.searchsorted(b, a)
        before, after = b[np.maximum(at - 1, 0)], b[np.minimum(at, len(b) - 1)]
        out[chip] = float(np.minimum(np.abs(a - before), np.abs(a - after)).min()) / _DAY
    return out
