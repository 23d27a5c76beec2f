"""Pictures that are nearly the same: samples' fingerprints, and who resembles whom.

A sample leaves eight bytes of hash and two numbers a band (`chipweave.pixels.fingerprint`), whatever its size, so
memory grows with samples and never with pixels.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Array, Layer, nodata_of
from chipweave.audit.report import Check, Findings
from chipweave.audit.sites import side
from chipweave.pixels.fingerprint import Fingerprint, fingerprint

Floats = NDArray[np.float64]

BITS = 5
"""Bits in which near-duplicates may differ; two pictures of different places differ in about 32."""
ALIKE = 0.02
"""How far band means and deviations may differ, in deviations of theirs over all samples."""
LOOK = 64
"""Samples nearest by band statistics that a sample is held against: what is a near-duplicate is among them."""


@dataclass
class Fingerprints:
    """Fingerprints of samples, taken as they are read: see `chipweave.audit.scan.Watcher`.

    Of each sample the first imagery layer by name that has enough data, and of a series its first date that has.
    """

    keys: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    figures: array[float] = field(default_factory=lambda: array("f"))
    widths: array[int] = field(default_factory=lambda: array("H"))
    bare: int = 0

    def see(self, row: Mapping[str, Any], layers: Mapping[str, Layer], arrays: Mapping[str, Array]) -> None:
        """Take in a sample."""
        pictures = (
            (name, arrays[name], nodata_of(layers[name]))
            for name in sorted(arrays)
            if layers[name]["kind"] == "imagery" and layers[name]["present"]
        )
        self.add(row["key"], side(row["split"], row["fold"]), fingerprint(pictures))

    def add(self, key: str, split: str, found: Fingerprint | None) -> None:
        """Take in the fingerprint of a sample; None if it has no picture to speak of."""
        if found is None:
            self.bare += 1
            return
        self.keys.append(key)
        self.splits.append(split)
        self.layers.append(found.layer)
        self.hashes.append(found.bits)
        self.figures.extend(found.figures.tolist())
        self.widths.append(len(found.figures))

    def pairs(self) -> list[tuple[int, int, int]]:
        """Near-duplicates of two splits: numbers of the two, and bits in which they differ; the most alike first."""
        names, widths = np.array(self.layers), np.asarray(self.widths, np.int64)
        ends = np.cumsum(widths)
        figures, hashes = np.asarray(self.figures, float), np.asarray(self.hashes, np.uint64)
        groups = np.unique(self.splits, return_inverse=True)[1] if self.splits else np.empty(0, np.int64)
        found: list[tuple[int, int, int]] = []
        for layer in np.unique(names):
            for width in np.unique(widths[names == layer]):
                rows = np.flatnonzero((names == layer) & (widths == width))
                if len(rows) > 1:
                    own = figures[(ends[rows] - width)[:, None] + np.arange(width)]
                    found += _alike(rows, own, hashes[rows], groups[rows])
        return sorted(found, key=lambda pair: (pair[2], pair[0], pair[1]))


def _alike(
    rows: NDArray[np.int64], figures: Floats, hashes: NDArray[np.uint64], groups: NDArray[np.integer]
) -> list[tuple[int, int, int]]:
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    scale = figures.std(axis=0) * ALIKE
    tree = cKDTree(figures / np.where(scale > 0, scale, 1.0))
    found: dict[tuple[int, int], int] = {}
    for start in range(0, len(rows), 4096):
        part = np.arange(start, min(start + 4096, len(rows)))
        gaps, others = tree.query(tree.data[part], k=min(LOOK, len(rows)), p=np.inf, distance_upper_bound=1.0)
        mine = np.repeat(part, gaps.shape[1])
        other = np.asarray(others, np.int64).ravel()
        near = np.isfinite(gaps.ravel()) & (mine != other)
        mine, other = mine[near], other[near]
        apart = groups[mine] != groups[other]
        mine, other = mine[apart], other[apart]
        bits = np.bitwise_count(hashes[mine] ^ hashes[other])
        for a, b, n in zip(mine[bits <= BITS], other[bits <= BITS], bits[bits <= BITS], strict=True):
            one, two = sorted((int(rows[a]), int(rows[b])))
            found[one, two] = int(n)
    return [(a, b, n) for (a, b), n in found.items()]


def check_near_duplicates(prints: Fingerprints, limit: float | None = None) -> Check:
    """Report samples that nearly repeat one of another split.

    Parameters
    ----------
    prints
        Of all samples.
    limit
        Largest share of samples that may.
    """
    findings = Findings("near_duplicates")
    pairs = prints.pairs()
    samples = {k for a, b, _ in pairs for k in (a, b)}
    total = len(prints.keys)
    share = len(samples) / total if total else 0.0
    for a, b, bits in pairs:
        one, two = (f"{prints.keys[k]} ({prints.splits[k]})" for k in (a, b))
        findings.warn(f"{one} and {two} look alike ({bits} of 63 bits differ)")
    if limit is not None and share > limit:
        findings.fail(f"{share:.1%} of the samples nearly repeat one of another split, more than {limit:.1%}")
    return findings.check(
        f"none of {total} pictures nearly repeats one of another split",
        pairs=len(pairs), samples=len(samples), share=share, pictures=total, bare=prints.bare,
        examples=_examples(prints, pairs),
    )  # fmt: skip


def _examples(prints: Fingerprints, pairs: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    return [{"one": prints.keys[a], "two": prints.keys[b], "bits": n} for a, b, n in pairs[:20]]
