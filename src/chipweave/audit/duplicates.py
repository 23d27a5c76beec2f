"""Pictures that are nearly the same: a perceptual hash and band statistics of each sample, and who resembles whom.

A sample leaves eight bytes of hash and two numbers a band, whatever its size, so memory grows with samples and never
with pixels. The hash is that of low frequencies (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions"): one bit a coefficient of the cosine transform, whether it lies above their median.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.arrays import Array, Layer, data_of, nodata_of
from chipweave.audit.report import Check, Findings
from chipweave.audit.sites import side

Floats = NDArray[np.float64]

SIDE = 32
"""Pixels to which a picture is averaged before it is transformed."""
LOW = 8
"""Frequencies a side: 64 bits."""
BITS = 5
"""Bits in which near-duplicates may differ; two pictures of different places differ in about 32."""
ALIKE = 0.02
"""How far band means and deviations may differ, in deviations of theirs over all samples."""
LOOK = 64
"""Samples nearest by band statistics that a sample is held against: what is a near-duplicate is among them."""
LEAST = 0.5
"""Share of the pixels that have to be data."""


@lru_cache(maxsize=8)
def _cosines(size: int) -> Floats:
    """(LOW, size) lowest cosines, the constant one left out of what follows."""
    k, x = np.arange(LOW)[:, None], np.arange(size)[None]
    return np.asarray(np.cos(np.pi * (2 * x + 1) * k / (2 * size)))


def perceptual_hash(picture: Floats) -> int:
    """Hash of a picture (y, x) without gaps: 64 bits, the first always 0."""
    small = _averaged(picture)
    c = _cosines(small.shape[0]), _cosines(small.shape[1])
    found = (c[0] @ small @ c[1].T).ravel()[1:]
    # Rounded: what differs in the last digit only must not decide a bit.
    found = np.round(found / max(np.abs(found).max(), 1e-300), 9)
    bits = found > np.median(found)
    return int(np.packbits(np.concatenate([[False], bits])).view(">u8")[0])


def _averaged(picture: Floats) -> Floats:
    rows, cols = (np.linspace(0, n, min(n, SIDE) + 1).astype(int) for n in picture.shape)
    sums = np.add.reduceat(np.add.reduceat(picture, rows[:-1], axis=0), cols[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(cols)))


@dataclass
class Fingerprints:
    """Fingerprints of samples, taken as they are read: see `chipweave.audit.scan.Watcher`.

    Of each sample the first imagery layer that has enough data, and of a series its first date that has.
    """

    keys: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    figures: array[float] = field(default_factory=lambda: array("d"))
    widths: array[int] = field(default_factory=lambda: array("H"))
    bare: int = 0

    def see(self, row: Mapping[str, Any], layers: Mapping[str, Layer], arrays: Mapping[str, Array]) -> None:
        """Take in a sample."""
        for name in sorted(arrays):
            if layers[name]["kind"] != "imagery" or not layers[name]["present"]:
                continue
            taken = _taken(arrays[name], layers[name])
            if taken is not None:
                self.keys.append(row["key"])
                self.splits.append(side(row["split"], row["fold"]))
                self.layers.append(name)
                self.hashes.append(taken[0])
                self.figures.extend(taken[1])
                self.widths.append(len(taken[1]))
                return
        self.bare += 1

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


def _taken(values: Array, layer: Layer) -> tuple[int, list[float]] | None:
    """Hash, and mean and deviation of each band; None where there is too little to tell it from others."""
    nodata = nodata_of(layer)
    for plane in values if layer["dims"][0] == "time" else values[None]:
        ok = data_of(plane, nodata) & np.isfinite(plane)
        whole = ok.all(axis=0)
        if min(whole.shape) < LOW or whole.mean() < LEAST:
            continue
        own = plane[:, whole].astype(float)
        mean, spread = own.mean(axis=1), own.std(axis=1)
        if not spread.any():
            continue
        scaled = (plane - mean[:, None, None]) / np.where(spread > 0, spread, 1.0)[:, None, None]
        picture = np.where(whole, scaled, 0.0).mean(axis=0)
        if np.ptp(picture) <= 0:
            continue
        return perceptual_hash(picture), [*mean.tolist(), *spread.tolist()]
    return None


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
