"""The table of places: which columns it has, and what further ones may hold."""

from __future__ import annotations

import math
from typing import Any

COLUMNS = (
    "key", "place", "crs", "x", "y", "size", "resolution", "lon", "lat", "w", "s", "e", "n", "reason",
)  # fmt: skip
"""Columns that every table of places has, beside its geometry; attributes and Major TOM cells may follow."""


def plain(value: Any) -> Any:
    """A value of such a further column as JSON holds it: no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
