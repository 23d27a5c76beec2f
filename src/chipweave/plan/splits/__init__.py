"""Splits of places that are near each other only inside one split. Pure: tables in, names out."""

from __future__ import annotations

from chipweave.plan.splits.base import (
    BufferDrop,
    Method,
    SplitMethod,
    SplitResult,
    Units,
    gap,
    yielding_order,
)
from chipweave.plan.splits.blocks import assign, block_ids
from chipweave.plan.splits.methods import METHODS, split_places
from chipweave.plan.splits.options import Options
from chipweave.plan.splits.pins import Pins

__all__ = [
    "METHODS", "BufferDrop", "Method", "Options", "Pins", "SplitMethod", "SplitResult", "Units", "assign", "block_ids",
    "gap", "split_places", "yielding_order",
]  # fmt: skip
