"""Splits of places that are near each other only inside one split. Pure: tables in, names out."""

from __future__ import annotations

from chipweave.plan.splits.base import BufferDrop, SplitMethod, SplitResult, gap, yielding_order
from chipweave.plan.splits.blocks import assign, block_ids

__all__ = ["BufferDrop", "SplitMethod", "SplitResult", "assign", "block_ids", "gap", "yielding_order"]
