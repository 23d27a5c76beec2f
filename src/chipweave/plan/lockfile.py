"""`chipweave.lock`: whose folder this is, what was searched, which versions, when. Times stand here alone."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyproj
import rasterio

from chipweave.errors import UsageError
from chipweave.files import atomic_write_text
from chipweave.pixels import loaders

NAME = "chipweave.lock"
PACKAGES = (
    "chipweave",
    "numpy",
    "numba",
    "rasterio",
    "pyproj",
    "shapely",
    "zarr",
    "pyarrow",
    "geopandas",
    "odc-geo",
)
"""Packages whose versions decide about bytes."""


@dataclass(slots=True)
class LockFile:
    """Contents of `chipweave.lock`."""

    name: str
    sha256: str
    limit: int | None = None
    loader: str = loaders.DEFAULT
    searches: list[dict[str, Any]] = field(default_factory=list)
    methods: dict[str, dict[str, str]] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)

    def stamp(self, what: str) -> None:
        """Note when something happened."""
        self.times[what] = datetime.now(UTC).isoformat(timespec="seconds")

    def save(self, folder: Path) -> None:
        """Write it into a dataset's folder."""
        content = {"version": 1, "recipe": {"name": self.name, "sha256": self.sha256}}
        rest = {k: v for k, v in asdict(self).items() if k not in {"name", "sha256"}}
        atomic_write_text(folder / NAME, json.dumps({**content, **rest}, indent=1, ensure_ascii=False) + "\n")


def versions(loader: str = loaders.DEFAULT) -> dict[str, str]:
    """Versions of what decides about bytes where pixels are read by that loader."""
    found = {name: version(name) for name in (*PACKAGES, *loaders.distributions(loader))}
    return {
        **found,
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "proj": pyproj.__proj_version__,
    }


def read_lock(folder: Path) -> LockFile | None:
    """Lock of a folder, or None where it has none.

    Raises
    ------
    UsageError
        The file is not one of ours.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        own = {k: content[k] for k in ("limit", "searches", "methods", "warnings", "versions", "times")}
        own["loader"] = content.get("loader", loaders.DEFAULT)
        own["split"] = content.get("split", {})
        return LockFile(name=content["recipe"]["name"], sha256=content["recipe"]["sha256"], **own)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(f"{path} is damaged: {error}", hint="build into another folder") from error
