"""Whether pixels are where they belong: against their source, between layers, and labels against what they label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Layer
from chipweave.audit.edges import check_edges
from chipweave.audit.flow import Flow, flow
from chipweave.audit.geometry import finite
from chipweave.audit.picked import Picked
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.shifts import check_shifts
from chipweave.audit.sources import Sources, physical_of
from chipweave.errors import ChipweaveError
from chipweave.pixels import gdal_session

Floats = NDArray[np.float64]

SHIFT_PX = 0.1
"""Pixels that a layer may lie off its source: GDAL's warp and ours differ by a hundredth."""
ADD = 0.03
"""How much more or less a layer may have than its source, as a share of how much that varies."""
QUANTA = 3
"""The same in steps of the stored numbers, below which nothing is said."""
BANDS = 2
"""Bands of a chip that are read again; another chip of the same scene shows others."""
ALIKE = 0.5
"""What may be left between a layer and its source, as a share of how much that varies."""
REACH = 2
"""Pixels over which labels are laid to and fro."""
GAIN = 0.005
"""Share of pixels by which labels must fit better elsewhere than where they are."""
FIT = 0.9
"""Share of pixels in which labels should agree with their source."""


def check_alignment(folder: Path, picked: Picked) -> list[Check]:
    """Look at a sample of chips: ``source``, ``labels``, ``shifts``, ``edges``.

    Parameters
    ----------
    folder
        The dataset.
    picked
        Chips that were kept.
    """
    return [*_against_source(folder, picked), check_shifts(picked), check_edges(picked)]


def _against_source(folder: Path, picked: Picked) -> list[Check]:
    try:
        sources = Sources.of(folder)
    except (ChipweaveError, *BROKEN):
        why = "the dataset has no snapshot of its scenes (plan/scenes.parquet) that could be read"
        return [Check("source", "skip", why), Check("labels", "skip", why)]
    seen, fits, maps = _Seen(), _Fits(), replace(sources, unreached={})
    with gdal_session():
        for key in sorted(picked.arrays):
            for name, layer in picked.layers[key].items():
                array = picked.arrays[key].get(name)
                if array is None or not layer["present"]:
                    continue
                if layer["kind"] == "imagery":
                    seen.see(sources, picked.rows[key], name, layer, array)
                elif layer["kind"] == "label" and "legend" in layer and array.ndim == 2:
                    fits.see(maps, picked.rows[key], name, layer, array)
    return [seen.check(sources), fits.check(maps)]


@dataclass
class _Seen:
    """What imagery is to its source, by layer and scenes."""

    found: dict[tuple[str, str], list[tuple[Flow, float]]] = field(default_factory=lambda: defaultdict(list))
    composites: set[str] = field(default_factory=set)
    turns: Counter[tuple[str, str]] = field(default_factory=Counter)

    def see(
        self, sources: Sources, row: Mapping[str, Any], name: str, layer: Layer, array: NDArray[Any]
    ) -> None:
        if "composite" in layer:
            self.composites.add(name)
            return
        if "stretch" in layer:
            return  # its numbers are each chip's own
        steps = array if layer["dims"][0] == "time" else array[None]
        # What was laid onto another picture lies where that one does, not where its file says.
        moved = layer.get("shift_corrected", [False] * len(layer["items"]))
        step = next((n for n, items in enumerate(layer["items"]) if any(items) and not moved[n]), None)
        if step is None:
            return
        turn = self.turns[name, "+".join(layer["items"][step])]
        self.turns[name, "+".join(layer["items"][step])] += 1
        known, count = layer["bands"], len(layer["bands"])
        wanted = list(dict.fromkeys(known[(turn + k * -(-count // BANDS)) % count] for k in range(BANDS)))
        bands = sources.bands(name, layer, row["crs"], step, wanted)
        own = physical_of(steps[step], layer)
        for band, theirs in bands.items():
            found = flow(theirs, own[layer["bands"].index(band)])
            if found is not None:
                self.found[name, "+".join(layer["items"][step])].append((found, abs(float(layer["scale"]))))

    def check(self, sources: Sources) -> Check:
        findings = Findings("source")
        numbers: dict[str, Any] = {}
        for (name, items), flows in sorted(self.found.items()):
            numbers[f"{name}: {items}"] = _judge(f"{items} of {name}", flows, findings)
        for name in sorted(self.composites):
            findings.warn(f"{name} is made of many dates, and was not read again")
        told = (
            f"{len(numbers)} scenes read again by GDAL: pixels lie where they belong, and have their values"
        )
        return _told(findings, sources, told, numbers)


def _judge(what: str, flows: Sequence[tuple[Flow, float]], findings: Findings) -> dict[str, Any]:
    """Hold what was found on a scene against what it may be."""
    known = [f for f, _ in flows if np.isfinite(f.dx)]
    dx, dy = (
        float(np.median([getattr(f, axis) for f in known])) if known else np.nan for axis in ("dx", "dy")
    )
    add = float(np.median([f.add for f, _ in flows]))
    spread = float(np.median([f.spread for f, _ in flows]))
    left = float(np.median([f.left for f, _ in flows]))
    step = max(scale for _, scale in flows)
    off = float(np.hypot(dx, dy))
    if off > SHIFT_PX:
        findings.fail(f"{what} lies {dx:+.2f}, {dy:+.2f} px (right, down) off its source")
    if abs(add) > max(ADD * spread, QUANTA * step):
        findings.fail(f"{what} has {add:+.4g} more than its source")
    if left > ALIKE:
        findings.fail(f"{what} is not what its source shows")
    return {
        "dx": finite(dx), "dy": finite(dy), "add": add, "spread": spread, "left": left, "looked_at": len(flows),
    }  # fmt: skip


@dataclass
class _Fits:
    """How labels agree with their source where they are and a few pixels off, by layer."""

    pairs: dict[str, dict[tuple[int, int], dict[tuple[int, int], int]]] = field(default_factory=dict)

    def see(
        self, sources: Sources, row: Mapping[str, Any], name: str, layer: Layer, array: NDArray[Any]
    ) -> None:
        theirs = sources.classes(name, layer, row["crs"])
        if theirs is None:
            return
        own = self.pairs.setdefault(name, {})
        inside = (slice(REACH, -REACH),) * 2
        middle = array[inside]
        ok = middle != int(layer["nodata"])
        for dy in range(-REACH, REACH + 1):
            for dx in range(-REACH, REACH + 1):
                # A label that lies (dx, dy) off has at a pixel what its source has that far before it.
                there = np.roll(theirs, (dy, dx), (0, 1))[inside]
                both = ok & np.isfinite(there)
                codes = there[both].astype(np.int64) * 65_536 + middle[both].astype(np.int64)
                counts = own.setdefault((dx, dy), defaultdict(int))
                for code, number in zip(*np.unique(codes, return_counts=True), strict=True):
                    counts[divmod(int(code), 65_536)] += int(number)

    def check(self, sources: Sources) -> Check:
        findings = Findings("labels")
        numbers: dict[str, Any] = {}
        for name, pairs in sorted(self.pairs.items()):
            fits = {shift: _agreement(counts) for shift, counts in pairs.items()}
            here, best = fits[0, 0], max(fits, key=lambda shift: (fits[shift], shift == (0, 0)))
            numbers[name] = {"dx": best[0], "dy": best[1], "agreement": here, "best": fits[best]}
            if best != (0, 0) and fits[best] > here + GAIN:
                findings.fail(
                    f"{name} lies {best[0]:+d}, {best[1]:+d} px (right, down) off its source: {fits[best]:.1%} of the "
                    f"pixels fit there, {here:.1%} where they are"
                )
            elif here < FIT:
                findings.warn(f"{here:.1%} of the pixels of {name} are what their source says")
        told = f"{', '.join(numbers)} read again by GDAL: labels lie where they belong"
        return _told(findings, sources, told, numbers)


def _agreement(counts: Mapping[tuple[int, int], int]) -> float:
    """Share of pixels that have what most pixels of their source's code have: whatever codes were made of codes."""
    best: dict[int, int] = defaultdict(int)
    for (code, _), number in counts.items():
        best[code] = max(best[code], number)
    total = sum(counts.values())
    return sum(best.values()) / total if total else 1.0


def _told(findings: Findings, sources: Sources, told: str, numbers: Mapping[str, Any]) -> Check:
    """A verdict, with what could not be reached; a skip where nothing could."""
    missing = len(sources.unreached)
    first = next(iter(sources.unreached.items()), ("", ""))
    if not numbers and not findings.warned:
        if missing:
            return Check(
                findings.name,
                "skip",
                f"no source could be read: {first[0]}: {first[1]}",
                {"unreached": missing},
            )
        why = f": {', '.join(sorted(sources.drawn))} come from no raster" if sources.drawn else ""
        return Check(findings.name, "skip", f"there is nothing to read again{why}", {})
    if missing:
        findings.warn(f"{missing} files could not be read, first {first[0]}: {first[1]}")
    return findings.check(told, scenes=dict(numbers), unreached=missing)
