"""What a picture looks like, in few bytes: a perceptual hash, and mean and deviation of each band.

The hash is that of low frequencies (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"):
one bit a coefficient of the cosine transform, whether it lies above their median. Large pictures are thinned first:
what is nearly the same stays so, and it costs little beside weaving a sample.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 32
"""Pixels to which a picture is averaged before it is transformed."""
LOW = 8
"""Frequencies a side: 64 bits."""
LEAST = 0.5
"""Share of the pixels that have to be data."""
_THINNED = 2 * SIDE
"""Rows and columns that are looked at, at least, where there are as many."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of a sample.

    Parameters
    ----------
    layer
        Whose picture it is of.
    bits
        The hash, 64 bits, the first always 0.
    figures
        (2 × bands,) means, then deviations, as stored; float32.
    """

    layer: str
    bits: int
    figures: NDArray[np.float32]

    def text(self) -> str:
        """In a line; `told` reads it."""
        figures = base64.b64encode(self.figures.astype("<f4").tobytes()).decode()
        return f"{self.layer} {self.bits:016x} {figures}"

    @classmethod
    def told(cls, text: str) -> Fingerprint:
        """From its line.

        Raises
        ------
        ValueError
            It is none.
        """
        layer, bits, figures = text.split(" ")
        try:
            found = np.frombuffer(base64.b64decode(figures, validate=True), "<f4").astype(np.float32)
        except binascii.Error as error:
            raise ValueError(f"no fingerprint: {text}") from error
        return cls(layer, int(bits, 16), found)


def fingerprint(pictures: Iterable[tuple[str, NDArray[Any], float]]) -> Fingerprint | None:
    """Fingerprint of the first picture that has enough data, of a series of its first date; None if there is none.

    Parameters
    ----------
    pictures
        Imagery layers of a sample: name, (band, y, x) or (time, band, y, x) as stored, and no-data value.
    """
    for name, values, nodata in pictures:
        for plane in values if values.ndim == 4 else values[None]:
            taken = _taken(plane, nodata)
            if taken is not None:
                return Fingerprint(name, *taken)
    return None


def _taken(plane: NDArray[Any], nodata: float) -> tuple[int, NDArray[np.float32]] | None:
    """Hash, and mean and deviation of each band; None where there is too little to tell it from others."""
    step = max(1, min(plane.shape[1:]) // _THINNED)
    plane = plane[:, step // 2 :: step, step // 2 :: step]
    whole = _whole(plane, nodata)
    count = np.count_nonzero(whole)
    if min(whole.shape) < LOW or count < LEAST * whole.size:
        return None
    own = plane.astype(np.float64).reshape(len(plane), -1)
    if count < whole.size:
        own = own[:, whole.ravel()]
    mean = own.mean(axis=1)
    own -= mean[:, None]
    spread = np.sqrt(np.einsum("bn,bn->b", own, own) / count)
    if not spread.any():
        return None
    # The sum of the bands, each in deviations from its mean, as one picture.
    picture = np.zeros(whole.shape)
    picture[whole] = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0) @ own
    if np.ptp(picture) <= 0:
        return None
    return perceptual_hash(picture), np.concatenate([mean, spread]).astype(np.float32)


def _whole(plane: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """(y, x) where all bands are data, and numbers."""
    known = np.isfinite(plane) if plane.dtype.kind == "f" else np.ones(plane.shape, bool)
    if not math.isnan(nodata):
        known &= plane != nodata
    return np.asarray(known.all(axis=0), bool)


def perceptual_hash(picture: Floats) -> int:
    """Hash of a picture (y, x) without gaps: 64 bits, the first always 0."""
    small = _averaged(picture)
    c = _cosines(small.shape[0]), _cosines(small.shape[1])
    found = (c[0] @ small @ c[1].T).ravel()[1:]
    # Rounded: what differs in the last digit only must not decide a bit.
    found = np.round(found / max(np.abs(found).max(), 1e-300), 9)
    bits = found > np.median(found)
    return int(np.packbits(np.concatenate([[False], bits])).view(">u8")[0])


@lru_cache(maxsize=8)
def _cosines(size: int) -> Floats:
    """(LOW, size) lowest cosines, the constant one left out of what follows."""
    k, x = np.arange(LOW)[:, None], np.arange(size)[None]
    return np.asarray(np.cos(np.pi * (2 * x + 1) * k / (2 * size)))


def _averaged(picture: Floats) -> Floats:
    rows, cols = (np.linspace(0, n, min(n, SIDE) + 1).astype(int) for n in picture.shape)
    sums = np.add.reduceat(np.add.reduceat(picture, rows[:-1], axis=0), cols[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(cols)))
