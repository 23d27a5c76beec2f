"""A measured shift into how a layer is read: the window moves, the scene is resampled once."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine

from chipweave.pixels.register import Shift

FAR = "shift"
"""Ledger reason of a chip whose layer lies further off than the recipe believes."""

ALIKE_PX = 1e-3
"""A shift below this is none: the layer stays as it was read, copied where the grids coincide."""


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
