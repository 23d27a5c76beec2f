"""Ways of reading pixels, behind one Protocol and one contract test: `--loader native|odc|stackstac`.

`native` is the fast one. The others let odc-stac's engine and stackstac read and warp, as references: they are
always given an explicit grid, type and nodata, and are held to the same rules.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from chipweave.errors import UsageError
from chipweave.pixels.loaders.base import Loader

DEFAULT = "native"

_KNOWN = {
    "native": ("chipweave.pixels.loaders.native", "rasterio", ()),
    "odc": ("chipweave.pixels.loaders.odc", "odc.loader", ("odc-stac", "odc-loader")),
    "stackstac": ("chipweave.pixels.loaders.stackstac", "stackstac", ("stackstac",)),
}
"""By name: our module, the package that it needs, and the distributions that bring it, the first by its own."""

NAMES = tuple(_KNOWN)


def check(name: str) -> None:
    """Whether there is such a loader, without importing it.

    Raises
    ------
    UsageError
        There is none of that name, or its package is not installed.
    """
    if name not in _KNOWN:
        raise UsageError(f"--loader {name}: there is no such loader", hint=f"there are {', '.join(NAMES)}")
    _, package, wanted = _KNOWN[name]
    if find_spec(package) is None:
        raise UsageError(
            f"--loader {name} needs the package {wanted[0]}, which is not installed",
            hint=f"pip install {wanted[0]}, or leave --loader out: {DEFAULT} is the default",
        )


def distributions(name: str) -> tuple[str, ...]:
    """Distributions beside chipweave's own whose versions decide about the bytes that a loader gives."""
    return _KNOWN[name][2]


def get(name: str) -> Loader:
    """Loader of that name; its package is imported at the first call.

    Raises
    ------
    UsageError
        See `check`.
    """
    check(name)
    loader: Loader = import_module(_KNOWN[name][0]).load
    return loader


__all__ = ["DEFAULT", "NAMES", "Loader", "check", "distributions", "get"]
