"""Choose among what survey measured. Pure: figures in, a ranking out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chipweave.plan.columns import Candidate, Queue

NOT_MEASURED = "not measured: another had no bad or missing pixel, or max_candidates was reached"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a chip may be: shares between 0 and 1; None where the recipe sets no limit."""

    max_cloud: float | None
    min_valid: float | None
    max_candidates: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate and what survey found: bad share of data pixels, data share of all; NaN where not measured."""

    candidate: Candidate
    cloud: float = float("nan")
    valid: float = float("nan")
    why: str = ""

    @property
    def measured(self) -> bool:
        """Whether its mask was read."""
        return self.cloud == self.cloud  # NaN is not itself; asked millions of times

    def within(self, limits: Limits) -> bool:
        """Whether it was measured and keeps the limits."""
        return (
            self.measured
            and (limits.max_cloud is None or self.cloud <= limits.max_cloud)
            and (limits.min_valid is None or self.valid >= limits.min_valid)
            and self.valid > 0
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The ranking of one chip and layer; `reason` says why none was chosen, `error` and `href` what broke.

    `rest` are candidates that were not looked at and are not in `ranked`; their place is behind all that can serve
    and before all that cannot.
    """

    ranked: tuple[Measured, ...]
    chosen: bool
    reason: str = ""
    error: str = ""
    href: str = ""
    rest: Queue | None = None

    @property
    def best(self) -> Measured:
        """The chosen one: the first of the ranking."""
        return self.ranked[0]


def least_cloudy(measured: Sequence[Measured], limits: Limits, left: Sequence[Candidate] = ()) -> Choice:
    """Rank candidates of one chip: within limits first, then the lowest chip cloud.

    Ties: higher valid share, the chip's own CRS, newest, id (contract, section 3).

    Parameters
    ----------
    measured
        What was looked at.
    limits
        Of the layer.
    left
        What was not.
    """
    if isinstance(left, Queue) and not left.broken and any(m.measured for m in measured):
        # Seventy dates of a chip are left as they are where a few were looked at.
        return replace(_choice(measured, limits), rest=left)
    return _choice([*measured, *map(Measured, left)], limits)


def _choice(measured: Sequence[Measured], limits: Limits) -> Choice:
    ranked = sorted(measured, key=lambda m: m.candidate.scenes[0])
    ranked.sort(key=lambda m: m.candidate.time, reverse=True)
    ranked.sort(key=lambda m: _key(m, limits))
    ranked = [
        m if m.why else Measured(m.candidate, m.cloud, m.valid, _why(m, limits, first=i == 0))
        for i, m in enumerate(ranked)
    ]
    if ranked and ranked[0].within(limits):
        return Choice(tuple(ranked), chosen=True)
    broken = next((m.candidate for m in ranked if m.candidate.broken), None)
    if broken is not None:
        return Choice(
            tuple(ranked), chosen=False, reason="broken", error=broken.broken, href=broken.scenes[0]
        )
    if not ranked:
        return Choice((), chosen=False, reason="no_scene")
    enough = [m for m in ranked if m.measured and m.valid > 0 and m.valid >= (limits.min_valid or 0.0)]
    return Choice(tuple(ranked), chosen=False, reason="cloud" if enough else "valid")


_UNREAD = {same: (False, True, True, 0.0, 0.0, not same) for same in (False, True)}
_BROKEN = {same: (True, *key[1:]) for same, key in _UNREAD.items()}


def _key(m: Measured, limits: Limits) -> tuple[bool, bool, bool, float, float, bool]:
    """Not broken, within limits, measured, least cloud, most valid, the chip's own CRS."""
    c = m.candidate
    if not m.measured:
        return (_BROKEN if c.broken else _UNREAD)[c.same_crs]
    return (bool(c.broken), not m.within(limits), False, m.cloud, -m.valid, not c.same_crs)


def _why(m: Measured, limits: Limits, *, first: bool) -> str:
    if m.candidate.broken:
        return m.candidate.broken
    if not m.measured:
        return NOT_MEASURED
    if limits.min_valid is not None and m.valid < limits.min_valid:
        return f"valid {m.valid:.4f} below min_valid {limits.min_valid:.4f}"
    if m.valid == 0:
        return "no data in the chip"
    if limits.max_cloud is not None and m.cloud > limits.max_cloud:
        return f"cloud {m.cloud:.4f} above max_cloud {limits.max_cloud:.4f}"
    return "least cloudy" if first else "within limits, ranked lower"
