"""Dates laid over each other until no pixel is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chipweave.plan.select.onedate import OneDate


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic(OneDate):
    """One step: candidates within `max_cloud` in the order of the ranking, the next only where pixels are missing.

    `min_valid` is held against the picture that they make together.
    """

    laid: ClassVar[bool] = True
