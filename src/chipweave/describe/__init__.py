"""A finished folder for people: card, credits, `wids` indexes, and a picture of what is inside.

The picture is in `describe.show`, imported where it is drawn: a build does not wait for matplotlib.
"""

from __future__ import annotations

from chipweave.describe.card import write_card
from chipweave.describe.credits import check_licence, write_attribution
from chipweave.describe.summary import Summary, summarise
from chipweave.describe.wids import write_wids

__all__ = ["Summary", "check_licence", "summarise", "write_attribution", "write_card", "write_wids"]
