"""Scenes whose offset a provider subtracted before it stored them in unsigned files: what was below zero is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

SHIFTED_SINCE: Final = 4.0
"""Baseline from which ESA adds 1000 to what it stores, so that reflectance below zero is kept."""


def subtracted(folder: Path, used: Mapping[str, set[str]]) -> dict[str, int]:
    """How many of the items that a layer uses had an offset that is no longer in their files, where any had.

    An item of such a baseline of which nothing is left to be subtracted has been through it at its provider.

    Parameters
    ----------
    folder
        The dataset.
    used
        Ids of items by layer.
    """
    path = folder / "plan" / "scenes.parquet"
    if not path.is_file():
        return {}
    with pq.ParquetFile(path) as file:
        bands = [field.name for field in file.schema_arrow.field("assets").type]
        adds = [f"assets.{band}.chipweave:add" for band in bands]
        table = file.read(columns=["id", "chipweave:layer", "chipweave:processed", *adds])
    found: dict[str, int] = {}
    for row in table.to_pylist():
        layer, baseline = row["chipweave:layer"], (row["chipweave:processed"] or "").partition(" ")[0]
        if row["id"] not in used.get(layer, ()) or not baseline or float(baseline) < SHIFTED_SINCE:
            continue
        own = [asset["chipweave:add"] for asset in row["assets"].values() if asset is not None]
        if not any(own):  # of the mask there is never one
            found[layer] = found.get(layer, 0) + 1
    return found
