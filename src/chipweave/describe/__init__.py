"""A finished folder for people: card, credits, `wids` indexes, STAC items, Croissant, a page, and a picture of it.

The picture is in `describe.show`, imported where it is drawn: a build does not wait for matplotlib.
"""

from __future__ import annotations

from chipweave.describe.card import write_card
from chipweave.describe.credits import write_attribution
from chipweave.describe.croissant import write_croissant
from chipweave.describe.report import write_report
from chipweave.describe.stac import write_stac
from chipweave.describe.summary import Summary, summarise
from chipweave.describe.wids import write_wids

__all__ = [
    "Summary",
    "summarise",
    "write_attribution",
    "write_card",
    "write_croissant",
    "write_report",
    "write_stac",
    "write_wids",
]
