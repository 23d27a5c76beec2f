"""Labels against their source, read again by another way: all of a layer, those of each item, and every chip.

Where codes were copied they are held against each other as they are. Where a recipe made others of them, pixels fit
that have what most pixels of their source's code have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Layer
from chipweave.audit.picked import Picked
from chipweave.audit.report import Findings
from chipweave.audit.sources import Sources

Shift = tuple[int, int]
Pairs = Mapping[tuple[int, int], int]
"""Pixels by (code of the source, code of the label)."""

REACH = 2
"""Pixels over which labels are laid to and fro."""
GAIN = 0.005
"""Share of pixels by which labels must fit better elsewhere than where they are."""
OF_CHIP = 0.02
"""The same of one chip."""
FIT = 0.9
"""Share of pixels in which labels should agree with their source."""
SAME = 0.9
"""The same, below which they are not it; where codes were copied."""
FEWEST = 200
"""Pixels of a chip or a code of which anything is said."""
COVERED = 0.01
"""Least share of a chip's classes under which its source has some."""
_HERE = (0, 0)
_CODES = 65_536


@dataclass(frozen=True)
class Tile:
    """The labels of one chip: their pairs where they are, and as far off as `REACH`."""

    key: str
    items: str
    copied: bool
    pairs: Mapping[Shift, Pairs]


@dataclass(frozen=True, slots=True)
class _Fit:
    """How labels fit where they are, where they fit best, and how many pixels were held against each other."""

    here: float
    best: float
    shift: Shift
    pixels: int

    def lies(self, gain: float) -> bool:
        """Whether they fit better elsewhere."""
        return self.shift != _HERE and self.best > self.here + gain

    def clearly(self, gain: float) -> bool:
        """The same beyond doubt: half of what does not fit does so there."""
        return self.pixels >= FEWEST and self.lies(gain) and 1 - self.best < (1 - self.here) / 2


@dataclass
class Fits:
    """How labels agree with their source where they are and a few pixels off, by layer."""

    tiles: dict[str, list[Tile]] = field(default_factory=lambda: defaultdict(list))
    bare: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Chips with classes where their source has none."""

    def look(self, sources: Sources, picked: Picked) -> None:
        """Read the labels of the chips again."""
        for key in sorted(picked.arrays):
            for name, layer in picked.layers[key].items():
                array = picked.arrays[key].get(name)
                plain = layer["kind"] == "label" and "legend" in layer and layer["present"]
                if plain and array is not None and array.ndim == 2:
                    self._see(sources, picked.rows[key], name, layer, array)

    def _see(
        self, sources: Sources, row: Mapping[str, Any], name: str, layer: Layer, array: NDArray[Any]
    ) -> None:
        theirs = sources.classes(name, layer, row["crs"])
        if theirs is None:
            return
        own = array != int(layer["nodata"])
        number = np.count_nonzero(own)
        if number >= FEWEST and np.count_nonzero(own & np.isfinite(theirs)) < COVERED * number:
            self.bare[name].append(row["key"])
            return
        copied = sources.copied(name, layer)
        # A copied code that is gone counts too: only what the legend does not know may be no data.
        known = np.isin(theirs, [int(code) for code in layer.get("fractions", {})]) if copied else own
        pairs = {
            (dx, dy): _pairs(array, known, theirs, dx, dy, copied=copied)
            for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)
        }  # fmt: skip
        self.tiles[name].append(Tile(row["key"], "+".join(layer["items"][0]), copied, pairs))

    def judge(self, findings: Findings) -> dict[str, Any]:
        """Say what is wrong, layer by layer; what was measured."""
        for name, keys in sorted(self.bare.items()):
            chips = f"{len(keys)} of {len(keys) + len(self.tiles[name])} chips"
            findings.fail(f"{name}: {chips}, first {keys[0]}, have classes where their source has none")
        return {name: _judge(name, tiles, findings) for name, tiles in sorted(self.tiles.items()) if tiles}


def _pairs(
    array: NDArray[Any],
    known: NDArray[np.bool_],
    theirs: NDArray[np.float64],
    dx: int,
    dy: int,
    *,
    copied: bool,
) -> Pairs:
    inside = (slice(REACH, -REACH),) * 2
    # A label that lies (dx, dy) off has at a pixel what its source has that far before it.
    there = np.roll(theirs, (dy, dx), (0, 1))[inside]
    both = (np.roll(known, (dy, dx), (0, 1)) if copied else known)[inside] & np.isfinite(there)
    codes = there[both].astype(np.int64) * _CODES + array[inside][both].astype(np.int64)
    found = zip(*np.unique(codes, return_counts=True), strict=True)
    return {divmod(int(code), _CODES): int(number) for code, number in found}


def _summed(all_pairs: Iterable[Pairs]) -> Pairs:
    out: dict[tuple[int, int], int] = defaultdict(int)
    for pairs in all_pairs:
        for pair, number in pairs.items():
            out[pair] += number
    return out


def _fit(tiles: Sequence[Tile]) -> _Fit:
    of = {shift: _summed(t.pairs[shift] for t in tiles) for shift in tiles[0].pairs}
    share = equal if tiles[0].copied else agreement
    fits = {shift: share(pairs) for shift, pairs in of.items()}
    best = max(fits, key=lambda shift: (fits[shift], shift == _HERE))
    return _Fit(fits[_HERE], fits[best], best, sum(of[_HERE].values()))


def _judge(name: str, tiles: Sequence[Tile], findings: Findings) -> dict[str, Any]:
    """Say what is wrong with a layer: with all of it, else with the labels of an item, else with chips."""
    all_of_it, copied = _fit(tiles), tiles[0].copied
    by_item: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        by_item[tile.items].append(tile)
    items = {item: _fit(own) for item, own in by_item.items()}
    chips = {tile.key: _fit([tile]) for tile in tiles}
    # Of other codes some fit better elsewhere by chance: then they are told as what they are.
    if all_of_it.clearly(GAIN) if copied else all_of_it.lies(GAIN):
        _lies(name, all_of_it, findings)
    else:
        told = {item for item, fit in items.items() if fit.clearly(GAIN)}
        for item in sorted(told):
            _lies(f"{name} of {item}, {len(by_item[item])} chips,", items[item], findings)
        rest = {tile.key: chips[tile.key] for tile in tiles if tile.items not in told}
        moved = {key: fit for key, fit in rest.items() if fit.clearly(OF_CHIP)}
        if moved:
            first = next(iter(moved))
            _lies(
                f"{name}: {len(moved)} of {len(chips)} chips, the first of which, {first},",
                moved[first],
                findings,
            )
        if copied and not told:
            other = [k for k, f in rest.items() if k not in moved and f.pixels >= FEWEST and f.here < SAME]
            _other(name, tiles, all_of_it, other, findings)
        elif all_of_it.here < FIT:
            findings.warn(f"{all_of_it.here:.1%} of the pixels of {name} are what their source says")
    return {
        **_figures(all_of_it), "copied": copied, "chips": len(tiles),
        "items": {item: _figures(fit) for item, fit in sorted(items.items())},
    }  # fmt: skip


def _figures(fit: _Fit) -> dict[str, Any]:
    return {"dx": fit.shift[0], "dy": fit.shift[1], "agreement": fit.here, "best": fit.best}


def _lies(what: str, fit: _Fit, findings: Findings) -> None:
    findings.fail(
        f"{what} lies {fit.shift[0]:+d}, {fit.shift[1]:+d} px (right, down) off its source: {fit.best:.1%} of the "
        f"pixels fit there, {fit.here:.1%} where they are"
    )


def _other(name: str, tiles: Sequence[Tile], fit: _Fit, other: Sequence[str], findings: Findings) -> None:
    """Say where codes that were copied are not those of their source: in a class, in chips, or here and there."""
    lost = _lost_codes(_summed(tile.pairs[_HERE] for tile in tiles))
    for code, (most, share) in sorted(lost.items()):
        findings.fail(
            f"{name} has {most} where its source has {code}: {share:.1%} of those pixels are the same"
        )
    if other:
        findings.fail(
            f"{name}: {len(other)} of {len(tiles)} chips, first {other[0]}, have other classes than their source: "
            f"{fit.here:.1%} of all pixels are the same"
        )
    elif not lost and fit.here < FIT:
        findings.warn(f"{fit.here:.1%} of the pixels of {name} are what their source says")


def _lost_codes(pairs: Pairs) -> dict[int, tuple[int, float]]:
    """Codes of the source that most of their pixels do not have: what most have instead, and how many do have it."""
    by_code: dict[int, dict[int, int]] = defaultdict(dict)
    for (code, own), number in pairs.items():
        by_code[code][own] = number
    out = {}
    for code, found in by_code.items():
        total = sum(found.values())
        if total >= FEWEST and found.get(code, 0) < total / 2:
            out[code] = max(found, key=found.__getitem__), found.get(code, 0) / total
    return out


def equal(pairs: Pairs) -> float:
    """Share of pixels that have their source's own code."""
    total = sum(pairs.values())
    return sum(number for (code, own), number in pairs.items() if code == own) / total if total else 1.0


def agreement(pairs: Pairs) -> float:
    """Share of pixels that have what most pixels of their source's code have: whatever codes were made of codes."""
    best: dict[int, int] = defaultdict(int)
    for (code, _), number in pairs.items():
        best[code] = max(best[code], number)
    total = sum(pairs.values())
    return sum(best.values()) / total if total else 1.0
