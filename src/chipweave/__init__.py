"""chipweave: Earth observation archives in, verified ML-ready shards out.

>>> import chipweave as cw
>>> recipe = cw.load_recipe("recipe.yaml")  # doctest: +SKIP
>>> cw.build(recipe, "out", workers=2)  # doctest: +SKIP
>>> dataset = cw.open_dataset("out")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chipweave import splits
    from chipweave.audit import verify
    from chipweave.describe.show import show
    from chipweave.plan.coverage import coverage
    from chipweave.recipe import load_recipe
    from chipweave.run import build
    from chipweave.shards.reader import Reader as open_dataset  # noqa: N813 - a call, to its users

# Arrow's own allocator keeps tens of megabytes for every megabyte that was asked of it; this must be said before Arrow
# is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = version("chipweave")
__all__ = ["__version__", "build", "coverage", "load_recipe", "open_dataset", "show", "splits", "verify"]

# Imported when first asked for: `import chipweave` costs nothing, and the command line answers at once.
_HOMES = {
    "build": ("chipweave.run", "build"),
    "coverage": ("chipweave.plan.coverage", "coverage"),
    "load_recipe": ("chipweave.recipe", "load_recipe"),
    "open_dataset": ("chipweave.shards.reader", "Reader"),
    "show": ("chipweave.describe.show", "show"),
    "splits": ("chipweave.splits", ""),
    "verify": ("chipweave.audit", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chipweave' has no attribute {name!r}")
    home, attribute = _HOMES[name]
    module = import_module(home)
    return getattr(module, attribute) if attribute else module
