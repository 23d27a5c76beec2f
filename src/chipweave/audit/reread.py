"""Imagery against its source, read again by another way: scene by scene, and every chip and band by itself.

A scene is judged by medians, which are exact; a chip and band by limits that lie a thousand times further than GDAL's
warp and ours do, so that what is over them is no matter of taste.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Layer
from chipweave.audit.flow import FEWEST, Flow, agreement, flow, stiff
from chipweave.audit.geometry import finite
from chipweave.audit.picked import Picked
from chipweave.audit.report import Findings
from chipweave.audit.sources import Sources, physical_of

Floats = NDArray[np.float64]
Fault = Literal["", "none", "lies", "more", "other"]
T = TypeVar("T")

SHIFT_PX = 0.1
"""Pixels that a layer may lie off its source: GDAL's warp and ours differ by a hundredth."""
ADD = 0.03
"""How much more or less a layer may have than its source, as a share of how much that varies."""
QUANTA = 3
"""The same in steps of the stored numbers, below which nothing is said."""
ALIKE = 0.5
"""What may be left between a layer and its source, as a share of how much that varies."""
BANDS, STEPS = 2, 2
"""Bands of a picture, and steps of a chip, that are read again; other chips show others."""
MANY = 64
"""Pictures of a layer up to which every step of every chip is read."""
CHIP_PX = 0.25
"""Pixels that one band of one chip may lie off; where a shift explains half of the difference."""
FAR_PX = 4.0
"""Pixels beyond which a shift is none: another picture."""
SAME = 0.75
"""Least share of a band's pixels that are near their source."""
SAME_OF_MANY = 0.5
"""The same where several items were laid over each other: their seams may run a little otherwise."""
COVERED = 0.01
"""Least share of a band's data under which its source has some."""


@dataclass(frozen=True, slots=True)
class Look:
    """One band of one picture, read again."""

    key: str
    band: str
    found: Flow | None
    fault: Fault
    step: float
    """Between two stored numbers."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """One step of an imagery layer of a chip, and what it shows."""

    key: str
    name: str
    step: int
    items: str


@dataclass
class Seen:
    """What imagery is to its source, by layer and scenes."""

    found: dict[tuple[str, str], list[Look]] = field(default_factory=lambda: defaultdict(list))
    composites: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)

    def look(self, sources: Sources, picked: Picked) -> None:
        """Read pictures of the chips again: of each scene every band, of each series every step, in turn."""
        pictures = self._pictures(picked)
        number = Counter((p.name, p.items) for p in pictures)
        turns: Counter[tuple[str, str]] = Counter()
        for picture in pictures:
            scene = picture.name, picture.items
            layer = picked.layers[picture.key][picture.name]
            known = sources.readable(layer)
            each = max(BANDS, -(-len(known) // number[scene]))
            wanted = _in_turn(known, turns[scene], each)
            turns[scene] += 1
            self.left_out["bands that come from no file of their own"] += not known
            row, array = picked.rows[picture.key], picked.arrays[picture.key][picture.name]
            own = array[picture.step] if layer["dims"][0] == "time" else array
            for band, theirs in sources.bands(picture.name, layer, row["crs"], picture.step, wanted).items():
                look = _look(sources, picture, layer, band, theirs, own[layer["bands"].index(band)])
                if look is None:
                    self.left_out["bands with too few pixels"] += 1
                else:
                    self.found[scene].append(look)

    def _pictures(self, picked: Picked) -> list[_Picture]:
        """Steps that are read, in the order of the chips."""
        usable: dict[str, dict[str, list[_Picture]]] = defaultdict(dict)
        for key in sorted(picked.arrays):
            for name, layer in picked.layers[key].items():
                if layer["kind"] != "imagery" or not layer["present"] or name not in picked.arrays[key]:
                    continue
                if "composite" in layer:
                    self.composites.add(name)
                    self.left_out["composites"] += 1
                elif "stretch" in layer:  # its numbers are each chip's own
                    self.left_out["pictures that are stretched"] += 1
                else:
                    usable[name][key] = self._steps(key, name, layer)
        out = []
        for chips in usable.values():
            number = sum(map(len, chips.values()))
            for turn, steps in enumerate(chips.values()):
                out += steps if number <= MANY else _in_turn(steps, turn, STEPS)
        return out

    def _steps(self, key: str, name: str, layer: Layer) -> list[_Picture]:
        # What was laid onto another picture lies where that one does, not where its file says.
        moved = layer.get("shift_corrected", [False] * len(layer["items"]))
        self.left_out["pictures that were laid onto others"] += sum(map(bool, moved))
        return [
            _Picture(key, name, step, "+".join(items))
            for step, items in enumerate(layer["items"])
            if any(items) and not moved[step]
        ]

    def judge(self, findings: Findings) -> dict[str, Any]:
        """Say what is wrong, scene by scene; what was measured."""
        numbers = {}
        for (name, items), looks in sorted(self.found.items()):
            what = f"{items} of {name}"
            said = findings.failed
            flows = [look for look in looks if look.found is not None]
            numbers[f"{name}: {items}"] = measured = _judge(what, flows, findings)
            # What most of a scene has is told once, by its median; its chips add what that does not see.
            kinds: tuple[Fault, ...] = ("none",) if findings.failed > said else tuple(_WORDS)
            for kind in kinds:
                _tell(what, kind, looks, findings)
            wrong = sorted({look.key for look in looks if look.fault})
            measured |= {
                "chips": len({look.key for look in looks}),
                "wrong": len(wrong),
                "looked_at": len(looks),
            }
            measured["bands"] = {
                band: _figures([look for look in flows if look.band == band])
                for band in dict.fromkeys(look.band for look in flows)
            }
        return numbers


def _in_turn(of: Sequence[T], turn: int, number: int) -> list[T]:
    """So many of a list, from where the turn before ended: all of it comes up, and soon."""
    return [of[(turn * number + k) % len(of)] for k in range(min(number, len(of)))]


def _look(
    sources: Sources, picture: _Picture, layer: Layer, band: str, theirs: Floats, codes: NDArray[Any]
) -> Look | None:
    """Hold a band against its source; None where too few of its pixels are data."""
    own = physical_of(codes, layer)
    data = np.isfinite(own)
    number = int(np.count_nonzero(data))
    if number < FEWEST:
        return None
    scale = abs(float(layer["scale"]))
    step = scale
    if np.issubdtype(codes.dtype, np.floating):
        step *= float(np.finfo(codes.dtype).eps * np.abs(codes[data]).max())
    share = float(np.mean(np.isfinite(theirs[data])))
    if share < COVERED and not (share and sources.filled(picture.name)):
        return Look(picture.key, band, None, "none", scale)
    low, high = sources.bounds(picture.name, layer, codes.dtype)
    theirs = np.clip(theirs, low, high)
    found = flow(theirs, own)
    if found is None:
        return None
    least = SAME if "+" not in picture.items else SAME_OF_MANY
    return Look(picture.key, band, found, _fault(found, theirs, own, QUANTA * step, least), scale)


def _fault(found: Flow, theirs: Floats, own: Floats, floor: float, least: float) -> Fault:
    """What is wrong with a band beyond doubt."""
    rest, constant = stiff(theirs, own)
    off = float(np.hypot(found.dx, found.dy))
    shifted = CHIP_PX < off <= FAR_PX and rest > floor and found.left * found.spread < rest / 2
    if shifted:
        return "lies"
    if agreement(theirs, own, floor) >= least:
        return ""
    return "more" if rest < abs(constant) / 4 else "other"


def _figures(looks: Sequence[Look]) -> dict[str, Any]:
    """Medians of what was found."""
    flows = [look.found for look in looks if look.found is not None]

    def middle(of: Callable[[Flow], float]) -> float:
        known = [v for f in flows if np.isfinite(v := of(f))]
        return float(np.median(known)) if known else np.nan

    return {
        "dx": finite(middle(lambda f: f.dx)), "dy": finite(middle(lambda f: f.dy)), "add": middle(lambda f: f.add),
        "spread": middle(lambda f: f.spread), "left": middle(lambda f: f.left), "looked_at": len(flows),
    }  # fmt: skip


def _judge(what: str, looks: Sequence[Look], findings: Findings) -> dict[str, Any]:
    """Hold what was found on a scene against what it may be."""
    if not looks:
        return {}
    found = _figures(looks)
    step = max(look.step for look in looks)
    dx, dy = (found[axis] or 0.0 for axis in ("dx", "dy"))
    if float(np.hypot(dx, dy)) > SHIFT_PX:
        findings.fail(f"{what} lies {dx:+.2f}, {dy:+.2f} px (right, down) off its source")
    if _brighter(found, step):
        bands = list(dict.fromkeys(look.band for look in looks))
        own = {b: _figures([look for look in looks if look.band == b]) for b in bands}
        off = [b for b in bands if _brighter(own[b], step)]
        some = [look for look in looks if look.band in off] or looks
        where = f" in {', '.join(off)}" if 0 < len(off) < len(bands) else ""
        findings.fail(f"{what} has {_figures(some)['add']:+.4g} more than its source{where}")
    if found["left"] > ALIKE:
        findings.fail(f"{what} is not what its source shows")
    return found


def _brighter(found: Mapping[str, Any], step: float) -> bool:
    return bool(abs(found["add"]) > max(ADD * found["spread"], QUANTA * step))


_WORDS: Mapping[Fault, str] = {
    "lies": "off their source by {dx:+.2f}, {dy:+.2f} px (right, down)",
    "more": "{add:+.4g} more than their source",
    "other": "not what their source shows",
    "none": "data where their source has none",
}


def _tell(what: str, kind: Fault, looks: Sequence[Look], findings: Findings) -> None:
    """Say how many chips of a scene have one fault, in which bands, and which is the first."""
    bad = [look for look in looks if look.fault == kind]
    if not bad:
        return
    first = bad[0]
    figures = {} if first.found is None else {k: getattr(first.found, k) for k in ("dx", "dy", "add")}
    bands = ", ".join(dict.fromkeys(look.band for look in bad))
    chips, of = len({look.key for look in bad}), len({look.key for look in looks})
    findings.fail(
        f"{what}: {chips} of {of} chips, first {first.key}, {'are' if kind in {'lies', 'other'} else 'have'} "
        f"{_WORDS[kind].format(**figures)} ({bands})"
    )
