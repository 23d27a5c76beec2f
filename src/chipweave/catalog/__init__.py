"""Where scenes come from: requests, searches and their frozen snapshot. The only room that talks to STAC."""

from __future__ import annotations

from chipweave.catalog.collections import load_collection
from chipweave.catalog.legends import legend_of_file, load_legend
from chipweave.catalog.request import LayerRequest, request_legend, requests
from chipweave.catalog.search import LockResult, lock
from chipweave.catalog.snapshot import read_snapshot, write_snapshot

__all__ = [
    "LayerRequest",
    "LockResult",
    "legend_of_file",
    "load_collection",
    "load_legend",
    "lock",
    "read_snapshot",
    "request_legend",
    "requests",
    "write_snapshot",
]
