"""A measured shift is laid into the read: one resampling, held against an analytic field."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from chipweave.pixels.align import FAR, move
from chipweave.pixels.lattice import Grid
from chipweave.pixels.register import Shift, View, estimate, unknown
from chipweave.pixels.resample import resample
from worlds.fields import Field, Frame

CRS = "EPSG:32633"
SIDE = 128
MARGIN = 16
CHIP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


FRAME = Frame(15.0, 45.0)


def smooth():
    """Waves of 9 to 40 pixels in all directions: gradient and curvature are known everywhere."""
    rng = np.random.default_rng(3)
    return Field(
        FRAME,
        2000.0,
        tuple(
            (float(40 + length), 10.0 * length, float(heading), float(turn))
            for length, heading, turn in zip(
                np.geomspace(9, 40, 30), rng.uniform(0, 360, 30), rng.uniform(0, 6.28, 30), strict=True
            )
        ),
    )


FIELD = smooth()


def points(side, right=0.0, down=0.0, margin=0):
    """Degrees of a grid's centres; what is sampled there lies that far right and down of where it belongs."""
    rows, cols = np.mgrid[:side, :side] - float(margin)
    return FRAME.to_lonlat(10 * (cols - right), -10 * (rows - down))


def bilinear(stored, affine):
    """The chip's window, moved or not, from a scene of the same pixels that is a margin wider on every side."""
    scene = Grid(CRS, CHIP * Affine.translation(-MARGIN, -MARGIN))

    def read(row, col, height, width):
        block = stored[row : row + height, col : col + width]
        return block, np.ones(block.shape, bool)

    grid, row, col = Grid.anchored(CRS, affine)
    values, ok = resample(
        scene, stored.shape, grid, (row, col, SIDE, SIDE), "bilinear", read, np.dtype(np.float32)
    )
    assert ok.all()
    return values


@pytest.mark.parametrize(("dx", "dy"), [(0.5, -1.3), (-0.2, 0.5), (1.3, 0.0), (2.0, -3.0)])
def test_a_scene_that_lies_wrong_is_read_where_its_pixels_are(dx, dy):
    wide = SIDE + 2 * MARGIN
    stored = FIELD.value(*points(wide, dx, dy, MARGIN)).astype(np.float32)
    truth = FIELD.value(*points(SIDE))
    stays = 900 + 0.6 * truth + np.random.default_rng(1).normal(0, 5, truth.shape)
    as_it_is = bilinear(stored, CHIP)
    found = move(CHIP, estimate(View(stays), View(as_it_is)), max_shift_px=5.0)
    assert found.moved
    assert not found.drop

    corrected = bilinear(stored, found.affine)
    fx, fy = FIELD.gradient(*points(SIDE))
    fxx, fyy, _ = FIELD.second(*points(SIDE))
    # One linear blend and a twentieth of a pixel; a quarter more, for a cell may bend more beside its middle.
    allowed = 1 + 0.5 * (np.abs(fx) + np.abs(fy)) + 1.25 * 100 / 8 * (np.abs(fxx) + np.abs(fyy))
    assert (np.abs(corrected - truth) <= allowed).mean() > 0.99
    assert (np.abs(as_it_is - truth) <= allowed).mean() < 0.7, "the test cannot fail"

    again = estimate(View(stays), View(corrected))
    assert again.known
    assert max(abs(again.dx), abs(again.dy)) < 0.05


def test_whole_pixels_move_without_any_resampling():
    wide = SIDE + 2 * MARGIN
    stored = FIELD.value(*points(wide)).astype(np.float32)
    found = move(CHIP, Shift(2.0, -3.0, 1.0), max_shift_px=5.0)
    moved = bilinear(stored, found.affine)
    np.testing.assert_array_equal(
        moved, stored[MARGIN - 3 : MARGIN - 3 + SIDE, MARGIN + 2 : MARGIN + 2 + SIDE]
    )


def test_an_unknown_shift_and_none_at_all_move_nothing():
    for shift in (unknown("no texture"), Shift(0.0, 0.0, 1.0), Shift(0.0004, -0.0004, 1.0)):
        found = move(CHIP, shift, max_shift_px=2.0)
        assert found.affine == CHIP
        assert not found.moved
        assert not found.drop


def test_a_shift_beyond_belief_drops_the_chip():
    found = move(CHIP, Shift(1.6, -1.3, 0.9), max_shift_px=2.0)
    assert found.drop == FAR
    assert found.affine == CHIP
    assert not found.moved
    assert not move(CHIP, Shift(1.5, -1.3, 0.9), max_shift_px=2.0).drop
