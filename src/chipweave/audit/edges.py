"""Edges of labels against those of the imagery: where classes change, pictures change too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.picked import Picked
from chipweave.audit.report import Check, Findings
from chipweave.audit.sources import physical_of

Floats = NDArray[np.float64]

REACH = 4
"""Pixels over which edges are laid to and fro."""
FEWEST = 2000
"""Edges of labels that must be there on each axis."""
CLEAR = 1.1
"""How much more the imagery must change at edges of labels than elsewhere, where it changes most."""
FAR_PX = 0.75
"""Pixels from which a shift is warned of."""


@dataclass
class _Sums:
    """How much the imagery changes so many pixels from edges of a label, on one axis."""

    change: Floats = field(default_factory=lambda: np.zeros(2 * REACH + 1))
    edges: int = 0


def check_edges(picked: Picked) -> Check:
    """Report how far labels lie off the edges of the imagery, by layer; coarse labels have none that would tell."""
    findings = Findings("edges")
    sums: dict[str, tuple[_Sums, _Sums]] = defaultdict(lambda: (_Sums(), _Sums()))
    for name, classes, change in _pairs(picked):
        for axis, own in zip((1, 0), sums[name], strict=True):
            _add(own, classes, change, axis)
    numbers: dict[str, Any] = {}
    said = []
    for name, (across, down) in sorted(sums.items()):
        found = [_peak(own) for own in (across, down)]
        numbers[name] = {
            "dx": found[0], "dy": found[1], "edges": [across.edges, down.edges],
            "change_x": _profile(across), "change_y": _profile(down),
        }  # fmt: skip
        if None in found:
            said.append(f"{name}: too few edges, or none that the imagery shares")
            continue
        dx, dy = (float(v or 0.0) for v in found)
        said.append(f"edges of {name} lie {dx:+.1f}, {dy:+.1f} px (right, down) off those of the imagery")
        if max(abs(dx), abs(dy)) >= FAR_PX:
            findings.warn(said[-1])
    return findings.check("; ".join(said) or "no labels on a grid of imagery", **numbers)


def _pairs(picked: Picked) -> Iterator[tuple[str, NDArray[Any], Floats]]:
    """Labels, and imagery on the same grid: (y, x) codes, and (band, y, x) values."""
    for key in sorted(picked.arrays):
        layers, arrays = picked.layers[key], picked.arrays[key]
        images = [n for n in sorted(arrays) if layers[n]["kind"] == "imagery" and layers[n]["present"]]
        for name in sorted(arrays):
            layer, array = layers[name], arrays[name]
            if layer["kind"] != "label" or "legend" not in layer or array.ndim != 2:
                continue
            same = [
                n
                for n in images
                if (layers[n]["transform"], arrays[n].shape[-2:]) == (layer["transform"], array.shape)
            ]
            if same:
                image = arrays[same[0]]
                plane = image if layers[same[0]]["dims"][0] != "time" else image[0]
                yield name, array, physical_of(plane, layers[same[0]])


def _add(own: _Sums, classes: NDArray[Any], values: Floats, axis: int) -> None:
    """Add the changes near edges between a pixel and the next on one axis."""
    edge = np.diff(classes.astype(np.int64), axis=axis) != 0
    change = np.abs(np.diff(values, axis=axis + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = (
            np.nanmean(change, axis=(1, 2), keepdims=True)
            if np.isfinite(change).any()
            else np.ones((1, 1, 1))
        )
        scaled = (change / np.where(usual > 0, usual, np.nan)).mean(axis=0)
    scaled = np.where(np.isfinite(scaled), scaled, 1.0)
    length = edge.shape[axis]
    if length <= 2 * REACH:
        return
    inner = np.take(edge, np.arange(REACH, length - REACH), axis=axis)
    own.edges += int(inner.sum())
    for number in range(2 * REACH + 1):
        there = np.take(scaled, np.arange(number, length - 2 * REACH + number), axis=axis)
        own.change[number] += float(there[inner].sum())


def _profile(own: _Sums) -> list[float]:
    return [float(v) for v in own.change / max(own.edges, 1)]


def _peak(own: _Sums) -> float | None:
    """Pixels by which a label lies right of or below the imagery; None where nothing tells."""
    if own.edges < FEWEST:
        return None
    profile = own.change / own.edges
    at = int(np.argmax(profile))
    if at in (0, 2 * REACH) or profile[at] < CLEAR * float(np.median(profile)):
        return None
    before, here, after = profile[at - 1 : at + 2]
    bend = before - 2 * here + after
    fine = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(REACH - at - fine)
