"""A measured shift into how a layer is read: the window moves, the scene is resampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from affine import Affine

from chipweave.pixels.register import Shift

FAR = "register"
"""Ledger reason of a chip whose layer lies further off than the recipe believes."""

ALIKE_PX = 1e-3
"""A shift below this is none: the layer stays as it was read, copied where the grids coincide."""


@dataclass(frozen=True, slots=True)
class Onto:
    """What a layer is laid onto, and by what the two are held against each other.

    Parameters
    ----------
    to
        The layer that stays; the layer itself where the dates of a series are laid onto its clearest one.
    max_shift_px
        The longest shift that is believed; infinite where shifts are told and nothing is moved.
    bands, others
        Bands of the layer, and of the one that stays, by number.
    unit, other
        What their values are, of which `View.family` is made.
    neighbours
        Whether the two are of different kinds: only many chips together say how far they lie apart.
    """

    to: str
    max_shift_px: float
    bands: tuple[int, ...]
    others: tuple[int, ...]
    unit: str
    other: str
    neighbours: bool = False

    @property
    def corrects(self) -> bool:
        """Whether pictures are moved."""
        return math.isfinite(self.max_shift_px)


@dataclass(frozen=True, slots=True)
class Laid:
    """How far a picture lay right of and below where it belongs, in pixels, and whether it was moved.

    Of an unknown shift all are 0; of what the others are laid onto the shift is 0 and the confidence 1.
    """

    x: float = 0.0
    y: float = 0.0
    confidence: float = 0.0
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """How a layer is read after its shift was measured.

    Parameters
    ----------
    affine
        The window's, to read with; the sample keeps its own.
    moved
        Whether it differs from the sample's, so that the layer has to be read again.
    drop
        Why the chip is dropped instead; empty where it is not.
    """

    affine: Affine
    moved: bool
    drop: str = ""


def move(affine: Affine, shift: Shift, max_shift_px: float) -> Move:
    """Where to read a layer that lies `shift` from the one that it is laid onto.

    What belongs at pixel (x, y) is found at (x + dx, y + dy): the window is moved by as much, on the ground, and the
    scene is resampled straight onto it. Pixels that were read to measure the shift are not resampled again. An
    unknown shift moves nothing.

    Parameters
    ----------
    affine
        Of the sample's grid: (col, row) to CRS.
    shift
        In pixels of that grid.
    max_shift_px
        What the recipe believes, as the length of the shift.
    """
    if not shift.known:
        return Move(affine, moved=False)
    length = (shift.dx**2 + shift.dy**2) ** 0.5
    if length > max_shift_px:
        return Move(affine, moved=False, drop=FAR)
    if length < ALIKE_PX:
        return Move(affine, moved=False)
    return Move(affine * Affine.translation(shift.dx, shift.dy), moved=True)
