"""An audit as a picture; see `chipweave.describe.auditsheet`."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyarrow.parquet as pq
import yaml

from chipweave.audit.geometry import Spacing
from chipweave.audit.report import BROKEN, Report
from chipweave.audit.tables import RECIPE
from chipweave.errors import UsageError
from chipweave.files import atomic_write_bytes

_SHOWN = frozenset({
    "splits", "groups", "leakage", "neighbours", "scenes", "classes", "autocorrelation", "near_duplicates",
})  # fmt: skip

BUFFER = "buffer"
"""Reason by which the plan names chips of the gap."""


def draw(
    path: Path,
    folder: Path | None,
    index: gpd.GeoDataFrame,
    spacing: Spacing | None,
    buffer_m: float,
    report: Report,
    title: str = "",
) -> None:
    """Draw an audit into a PNG.

    Parameters
    ----------
    path
        Of the PNG.
    folder
        The dataset, whose plan says which chips lie in the gap; None for a table.
    index
        `split` and geometry in lon/lat; rows in the split ``gap`` are the gap's.
    spacing, buffer_m
        Distances, and what splits have to be apart, metres.
    report
        The verdicts.
    title
        Of the page; else the recipe's.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder", hint="name the PNG that is to be drawn")
    # With the picture alone: it brings matplotlib.
    from chipweave.describe.auditsheet import Distances, draw_audit  # noqa: PLC0415

    found = None
    if spacing is not None:
        found = Distances(spacing.train, spacing.among, spacing.others, buffer_m)
    gap = gap_of(folder) if folder is not None else index[index["split"] == "gap"]
    kept = index if folder is not None else index[index["split"] != "gap"]
    picture = draw_audit(kept, gap, found, _told(report), title or _title(folder), report.verdict)
    atomic_write_bytes(path, picture)


def _told(report: Report) -> list[tuple[str, str, str]]:
    """What is said of splits, and what did not pass; the names of all others."""
    fine = [c.name for c in report.checks if c.verdict == "pass" and c.name not in _SHOWN]
    told: list[tuple[str, str, str]] = [
        (c.name, c.verdict, c.text) for c in report.checks if c.name not in fine
    ]
    return [*told, ("all others", "pass", ", ".join(fine))] if fine else told


def _title(folder: Path | None) -> str:
    """The recipe's title, else its name, else the folder's."""
    if folder is None:
        return ""
    try:
        recipe = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
        return str(recipe.get("title") or recipe["name"])
    except (*BROKEN, yaml.YAMLError):
        return folder.resolve().name  # what is wrong with the recipe is told by its own check


def gap_of(folder: Path) -> gpd.GeoDataFrame | None:
    """Chips that the plan left out at borders between splits; None where there is no plan that tells."""
    try:
        chips = pq.read_table(folder / "plan" / "chips.parquet", columns=["key", "reason"]).to_pandas()
        keys = set(chips.loc[chips["reason"] == BUFFER, "key"])
        places = gpd.read_parquet(folder / "plan" / "places.parquet", columns=["key", "geometry"])
    except BROKEN:
        return None  # a stranger's dataset may have no plan: the map is drawn without its gaps
    return places[places["key"].isin(keys)]
