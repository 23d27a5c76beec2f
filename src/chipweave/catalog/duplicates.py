"""One acquisition that a catalog has several times, processed again: the newest processing is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chipweave.catalog.mgrs import tile_of
from chipweave.catalog.offset import baseline_of
from chipweave.catalog.stac import Item, properties
from chipweave.model import Scene

SAME: Final = 5.0
"""Seconds within which two processings state one acquisition's time."""

_STRIP = re.compile(r"_S(\d{8}T\d{6})(?:_|$)")


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What an item is a picture of: tile, platform, the strip's own time (empty where not told), and its baseline."""

    tile: str
    platform: str
    strip: str
    baseline: float | None

    def same_as(self, other: Acquisition) -> bool:
        """Whether both are one picture, processed differently.

        A tile may be cut in two where a strip ends: its halves have strips of different times. Without these only
        another baseline tells a second processing from a second half.
        """
        if (self.tile, self.platform) != (other.tile, other.platform):
            return False
        if self.strip and other.strip:
            return self.strip == other.strip
        return None not in (self.baseline, other.baseline) and self.baseline != other.baseline


def acquisition_of(item: Item) -> Acquisition | None:
    """Acquisition that a Sentinel-2 item shows; None where it does not name its tile and platform."""
    p = properties(item)
    tile, platform = tile_of(item), p.get("platform")
    if len(tile) != 5 or not isinstance(platform, str):
        return None
    said = p.get("s2:datastrip_id")
    strip = _STRIP.search(said) if isinstance(said, str) else None
    return Acquisition(tile, platform.lower(), strip.group(1) if strip else "", baseline_of(item))


def superseded(scenes: Iterable[Scene], shown: Mapping[str, Acquisition]) -> set[str]:
    """Ids of the scenes of which another one is a newer processing.

    A scene without a band that was asked for does not take the place of one that has it.

    Parameters
    ----------
    scenes
        Of one layer.
    shown
        Acquisition by id of the scene, where it is known.
    """
    by_tile: dict[tuple[str, str], list[Scene]] = {}
    for scene in scenes:
        if (key := shown.get(scene.id)) is not None:
            by_tile.setdefault((key.tile, key.platform), []).append(scene)
    gone: set[str] = set()
    for own in by_tile.values():
        # The best first: what is kept stands against all that follow.
        own.sort(key=lambda s: (not s.missing, s.processed, s.id), reverse=True)
        kept: list[Scene] = []
        for scene in own:
            if any(_replaces(k, scene, own, shown) for k in kept):
                gone.add(scene.id)
            else:
                kept.append(scene)
    return gone


def _replaces(new: Scene, old: Scene, own: Iterable[Scene], shown: Mapping[str, Acquisition]) -> bool:
    """Whether one scene is another processed again.

    Where strips are not told, and fewer scenes were processed again than there were (a half of a tile only), nobody
    knows which: then all stay.
    """
    mine, its = shown[new.id], shown[old.id]
    if not _close(new.time, old.time) or not mine.same_as(its):
        return False
    if mine.strip and its.strip:
        return True
    together = [shown[s.id].baseline for s in own if _close(s.time, old.time)]
    return together.count(mine.baseline) >= together.count(its.baseline)


def _close(a: datetime, b: datetime) -> bool:
    return abs((a - b).total_seconds()) <= SAME
