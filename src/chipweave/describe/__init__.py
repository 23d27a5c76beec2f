"""A finished folder for people: card, credits, `wids` indexes, and a picture of what is inside."""

from __future__ import annotations

from chipweave.describe.card import write_card
from chipweave.describe.credits import check_licence, write_attribution
from chipweave.describe.show import show
from chipweave.describe.summary import Summary, summarise
from chipweave.describe.wids import write_wids

__all__ = ["Summary", "check_licence", "show", "summarise", "write_attribution", "write_card", "write_wids"]
