"""The demo world: a small synthetic Earth with its own STAC API.

>>> from chipweave import demo
>>> world = demo.make_world(Path("world"))  # doctest: +SKIP
>>> with demo.serve(world) as served:  # doctest: +SKIP
...     print(served.stac_url)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chipweave.demo.serve import Served, serve
    from chipweave.demo.world import World, make_world

__all__ = ["Served", "World", "make_world", "serve"]

# Imported when first asked for: the process of the servers needs no arrays.
_HOMES = {"Served": "serve", "serve": "serve", "World": "world", "make_world": "world"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chipweave.demo' has no attribute {name!r}")
    return getattr(import_module(f"chipweave.demo.{_HOMES[name]}"), name)
