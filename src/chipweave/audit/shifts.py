"""Shifts between imagery layers of one sample, by `chipweave.pixels.register`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from chipweave.audit.arrays import Array, Layer
from chipweave.audit.picked import Picked
from chipweave.audit.report import Check, Findings
from chipweave.audit.sources import physical_of
from chipweave.pixels.register import Shift, View, agree, estimate, guess

Floats = NDArray[np.float64]

FAR_PX = 0.5
"""Pixels of the coarser layer from which a shift is warned of."""
FEWEST = 3
"""Chips that must know a shift."""


def check_shifts(picked: Picked) -> Check:
    """Measure how far imagery layers of one family lie from each other, and of two families over many chips."""
    findings = Findings("shifts")
    numbers: dict[str, Any] = {}
    said = []
    names = sorted(
        {n for layers in picked.layers.values() for n, of in layers.items() if of["kind"] == "imagery"}
    )
    for a, b in combinations(names, 2):
        known, voices = _measured(picked, a, b)
        shift = agree(voices) if voices else None
        if len(known) >= FEWEST:
            dx, dy = (float(np.median([getattr(s, axis) for s in known])) for axis in ("dx", "dy"))
        elif shift is not None and shift.known:
            dx, dy = shift.dx, shift.dy
        else:
            numbers[f"{a}-{b}"] = {"known": len(known)}
            said.append(f"{a} and {b}: unknown")
            continue
        numbers[f"{a}-{b}"] = {"known": len(known), "dx": dx, "dy": dy}
        said.append(f"{b} lies {dx:+.2f}, {dy:+.2f} px (right, down) off {a}")
        if np.hypot(dx, dy) > FAR_PX:
            findings.warn(said[-1])
    return findings.check("; ".join(said) or "there are no two imagery layers", **numbers)


def _measured(picked: Picked, a: str, b: str) -> tuple[list[Shift], list[Shift]]:
    """Shifts that single chips know, and what each guesses of layers of two families."""
    known, voices = [], []
    for key in sorted(picked.arrays):
        layers, arrays = picked.layers[key], picked.arrays[key]
        views = _views(layers, arrays, a, b)
        if views is None:
            continue
        if views[0].family == views[1].family:
            shift = estimate(*views)
            if shift.known:
                known.append(shift)
        else:
            voices.append(guess(*views))
    return known, voices


def _views(
    layers: Mapping[str, Layer], arrays: Mapping[str, Array], a: str, b: str
) -> tuple[View, View] | None:
    """The same bands of both on the coarser one's grid; the first of each where they have none in common."""
    if not all(name in arrays and layers[name]["present"] for name in (a, b)):
        return None
    shared = [band for band in layers[a]["bands"] if band in layers[b]["bands"]]
    wanted = {name: shared or layers[name]["bands"][:1] for name in (a, b)}
    coarse = max((a, b), key=lambda name: layers[name]["resolution"])
    found = []
    for name in (a, b):
        planes = _bands(layers[name], arrays[name], wanted[name])
        laid = _coarsened(planes, layers[name], layers[coarse])
        if laid is None:
            return None
        found.append(View(laid, str(layers[name]["unit"])))
    return found[0], found[1]


def _bands(layer: Layer, array: Array, bands: list[str]) -> Floats:
    """(band, y, x) physical values of the first step that has any."""
    steps = array if layer["dims"][0] == "time" else array[None]
    step = next((n for n, items in enumerate(layer["items"]) if any(items)), 0)
    return physical_of(steps[step], layer)[[layer["bands"].index(band) for band in bands]]


def _coarsened(planes: Floats, own: Layer, target: Layer) -> Floats | None:
    """Mean over whole pixels of the coarser grid; None where the grids do not go into each other."""
    mine, theirs = Affine(*own["transform"]), Affine(*target["transform"])
    times = round(theirs.a / mine.a)
    height, width = target["shape"][-2:]
    col, row = ~mine * (theirs.c, theirs.f)
    c, r = round(col), round(row)
    fits = abs(theirs.a - times * mine.a) < 1e-6 and abs(col - c) < 1e-6 and abs(row - r) < 1e-6
    if (
        not fits
        or r < 0
        or c < 0
        or r + height * times > planes.shape[1]
        or c + width * times > planes.shape[2]
    ):
        return None
    cut = planes[:, r : r + height * times, c : c + width * times]
    return np.asarray(cut.reshape(len(cut), height, times, width, times).mean(axis=(2, 4)))
