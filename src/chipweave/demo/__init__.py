"""The demo world: a small synthetic Earth with its own STAC API.

>>> from chipweave import demo
>>> world = demo.make_world(Path("world"))  # doctest: +SKIP
>>> with demo.serve(world) as served:  # doctest: +SKIP
...     print(served.stac_url)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chipweave.demo.serve import Served, serve

if TYPE_CHECKING:
    from chipweave.demo.world import World, make_world

__all__ = ["Served", "World", "make_world", "serve"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the process of the servers needs no arrays.
    if name not in {"World", "make_world"}:
        raise AttributeError(f"module 'chipweave.demo' has no attribute {name!r}")
    return getattr(import_module("chipweave.demo.world"), name)
