"""The newest date within limits."""

from __future__ import annotations

from dataclasses import dataclass

from chipweave.plan.select.onedate import OneDate
from chipweave.plan.select.slots import Prefer


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest(OneDate):
    """One step: the newest candidate within limits; nothing older is measured."""

    prefer: Prefer = "newest"
