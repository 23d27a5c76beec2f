"""Shifts that were planted exactly, and what must be called unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chipweave.pixels import register
from chipweave.pixels.register import Shift, View, agree, estimate, guess
from worlds.ground import Ground, speckled

PLANTED = [
    (0.2, 0.0),
    (0.0, -0.2),
    (-0.5, 0.5),
    (0.5, 1.3),
    (1.3, -0.2),
    (-1.3, -1.3),
    (-0.2, 1.3),
    (-1.3, 0.5),
]
NEAR = 0.1
SIDE = 192


@pytest.fixture(scope="module")
def ground():
    return Ground(seed=5, size=1.5 * SIDE)


def clouds(seed, shape=(SIDE, SIDE), count=6):
    """Round clouds, true."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    discs = zip(rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count), strict=True)
    return np.any([np.hypot(rows - y, cols - x) < 15 for y, x in discs], axis=0)


def optical(ground, dx=0.0, dy=0.0, date=0, *, gain=500.0, level=2000.0, noise=50.0, side=SIDE, cloudy=True):
    """A date of optical imagery: other light, other noise, 30 % of the fields changed, clouds masked."""
    shape = (side, side)
    values = level + gain * ground.sample(shape, dx, dy, date=date, changed=0.3 if date else 0.0)
    values += np.random.default_rng([date, 9]).normal(0.0, noise, shape)
    hidden = clouds(date, shape) if cloudy else np.zeros(shape, bool)
    return View(np.where(hidden, 9000.0, values).astype(np.float32), ok=~hidden)


def radar(ground, dx=0.0, dy=0.0, date=0, *, side=256):
    """A date of radar power, two polarisations with the speckle of five looks each."""
    db = ground.sample((side, side), dx, dy, date=date, changed=0.2 if date else 0.0)
    bands = [speckled(level + 3 * db, 5, [date, i]) for i, level in enumerate((-11.0 - date, -17.0))]
    return View(np.array(bands, np.float32), "linear")


def check(found, dx, dy, near=NEAR):
    assert found.known, found
    assert abs(found.dx - dx) <= near, found
    assert abs(found.dy - dy) <= near, found


def is_unknown(found, why=""):
    assert not found.known, found
    assert math.isnan(found.dx), found
    assert math.isnan(found.dy), found
    assert found.confidence == 0.0
    assert why in found.why


# --- what is found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dx", "dy"), PLANTED)
def test_two_dates_of_optical_imagery(ground, dx, dy):
    found = estimate(optical(ground), optical(ground, dx, dy, date=1, gain=700.0, level=1400.0))
    check(found, dx, dy)
    assert 0.5 <= found.confidence <= 1.0


@pytest.mark.parametrize(("dx", "dy"), PLANTED)
def test_two_dates_of_radar(ground, dx, dy):
    check(estimate(radar(ground), radar(ground, dx, dy, date=1)), dx, dy)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, -1.3), (-4.5, 6.2), (-7.8, 0.3)])
def test_a_clear_pair_is_found_to_a_fiftieth_of_a_pixel(ground, dx, dy):
    first, second = (View(ground.sample((128, 128), *shift)) for shift in ((0.0, 0.0), (dx, dy)))
    check(estimate(first, second), dx, dy, 0.02)


def test_the_second_seen_from_the_first_is_the_first_seen_from_the_second_turned_round(ground):
    first, second = optical(ground), optical(ground, 1.3, -0.5, date=1)
    there, back = estimate(first, second), estimate(second, first)
    assert back.dx == pytest.approx(-there.dx, abs=0.01)
    assert back.dy == pytest.approx(-there.dy, abs=0.01)


def test_the_same_arrays_give_the_same_bits(ground):
    first, second = optical(ground), optical(ground, 0.5, 0.2, date=1)
    assert estimate(first, second) == estimate(first, second)


def test_what_lies_in_both_and_does_not_move_does_not_hold_the_estimate(ground):
    """Holes at one place in both, as at a swath's edge: taken for land they would say that nothing moved."""
    first, second = optical(ground, cloudy=False), optical(ground, 1.3, -0.5, date=1, cloudy=False)
    hole = clouds(3, count=14)
    for picture in (first, second):
        picture.values[hole] = -32768
    check(estimate(*(View(v.values, ok=~hole) for v in (first, second))), 1.3, -0.5)
    wrong = estimate(first, second)
    assert not wrong.known or abs(wrong.dx - 1.3) > NEAR, "the test cannot fail"


def test_no_data_may_be_nan_or_integers_with_a_mask(ground):
    first, second = optical(ground), optical(ground, 0.5, 0.2, date=1)
    plain = estimate(first, second)
    nan = estimate(first, View(np.where(second.ok, second.values, np.nan)))
    check(nan, plain.dx, plain.dy, 1e-6)
    huge = estimate(first, View(np.where(second.ok, second.values.astype(np.float64), -1.8e308)))
    assert huge == nan
    whole = estimate(*(View(np.rint(v.values).astype(np.int16), ok=v.ok) for v in (first, second)))
    check(whole, plain.dx, plain.dy, 0.005)


def test_units_of_one_family_are_compared_alike(ground):
    first, second = radar(ground), radar(ground, 0.5, -0.2, date=1)
    in_db = View(10 * np.log10(second.values), "dB")
    plain, mixed = estimate(first, second), estimate(first, in_db)
    check(mixed, plain.dx, plain.dy, 0.001)


def test_zero_power_is_no_data(ground):
    first, second = radar(ground), radar(ground, 0.5, -0.2, date=1)
    second.values[:, 40:60] = 0.0
    check(estimate(first, second), 0.5, -0.2)


def test_bands_are_heard_together(ground):
    """Speckle differs between polarisations, the ground does not."""
    first, second = radar(ground), radar(ground, 0.5, -0.2, date=1)
    both = estimate(first, second)
    alone = [estimate(View(first.values[i], "linear"), View(second.values[i], "linear")) for i in (0, 1)]
    assert both.confidence > max(one.confidence for one in alone)


def test_the_confidence_is_what_it_says(ground):
    """1 - standard error / 0.1 px: over many noises, errors must be about as large as was said."""
    errors, said = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        first, second = (
            View(ground.sample((96, 96), dx, dy) + rng.normal(0, 0.25, (96, 96)))
            for dx, dy in ((0.0, 0.0), (0.3, -0.4))
        )
        found = estimate(first, second)
        assert found.known
        errors += [found.dx - 0.3, found.dy + 0.4]
        said.append(0.1 * (1 - found.confidence))
    actual = float(np.sqrt(np.mean(np.square(errors))))
    assert 0.5 * actual < np.mean(said) < 2.5 * actual


@pytest.mark.parametrize("shape", [(61, 97), (97, 61), (130, 127)])
def test_sides_may_be_odd_and_unequal(ground, shape):
    first, second = (View(ground.sample(shape, *shift)) for shift in ((0.0, 0.0), (-0.5, 1.3)))
    check(estimate(first, second), -0.5, 1.3)


def test_equal_pictures_lie_on_each_other(ground):
    found = estimate(optical(ground), optical(ground))
    check(found, 0.0, 0.0, 1e-6)
    assert found.confidence > 0.99


# --- what is unknown -------------------------------------------------------------------------------------------


def noise(seed, side=128):
    return np.random.default_rng(seed).normal(2000.0, 30.0, (side, side))


def test_nothing_to_see_is_unknown():
    is_unknown(estimate(View(np.full((128, 128), 1200.0)), View(np.full((128, 128), 1300.0))), "no texture")
    is_unknown(estimate(View(noise(1)), View(np.full((128, 128), 1300.0))), "no texture")


@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_unknown(seed):
    is_unknown(estimate(View(noise(seed)), View(noise(seed + 50))))
    water = [speckled(np.full((128, 128), -22.0), 5, [seed, i]) for i in (0, 1)]
    is_unknown(estimate(View(water[0], "linear"), View(water[1], "linear")))


@pytest.mark.parametrize("seed", range(4))
def test_two_places_are_unknown(seed):
    one, other = Ground(seed, size=200), Ground(seed + 50, size=200)
    is_unknown(estimate(optical(one, side=128), optical(other, date=1, side=128)))


@pytest.mark.parametrize("grain", [0.0, 15.0])
@pytest.mark.parametrize("heading", [0.0, 30.0, 90.0, 140.0])
def test_one_edge_is_unknown_for_it_may_slide_along_itself(heading, grain):
    rows, cols = np.mgrid[:128, :128] - 64.0
    across = cols * np.cos(np.radians(heading)) + rows * np.sin(np.radians(heading))
    first, second = (
        2000 + 500 * np.tanh((across - shift) / 1.2) + grain / 30 * (noise(n) - 2000)
        for n, shift in enumerate((0.0, 0.5))
    )
    is_unknown(estimate(View(first), View(second)))
    is_unknown(estimate(View(first), View(second), reach=1.0))  # where there is no room for rivals


def test_a_pattern_that_repeats_itself_is_unknown():
    """An orchard fits on itself every six pixels."""
    rows, cols = np.mgrid[:128, :128] * (2 * np.pi / 6)
    trees = [np.cos(cols - s) * np.cos(rows - s) * 300 + 0.3 * noise(n) for n, s in enumerate((0.0, 0.5))]
    is_unknown(estimate(View(trees[0]), View(trees[1])))


def test_what_lies_too_far_off_is_unknown(ground):
    first = optical(ground, cloudy=False, side=128)
    far = optical(ground, 5.0, 0.0, date=1, cloudy=False, side=128)
    check(estimate(first, far), 5.0, 0.0)
    is_unknown(estimate(first, far, reach=4.5))
    is_unknown(estimate(first, far, reach=2))


def test_too_few_pixels_are_unknown(ground):
    first, second = optical(ground), optical(ground, 0.2, 0.2, date=1)
    ok = np.zeros((SIDE, SIDE), bool)
    is_unknown(estimate(first, View(second.values, ok=ok)), "too few pixels")
    ok[:50, :50] = True
    is_unknown(estimate(View(first.values, ok=ok), View(second.values, ok=ok[::-1, ::-1])), "too few pixels")
    for rows in (24, 1):
        small = estimate(View(first.values[:rows, :90]), View(second.values[:rows, :90]))
        is_unknown(small, "smaller than")


def test_shapes_must_agree(ground):
    first, second = radar(ground, side=64), radar(ground, side=64)
    with pytest.raises(ValueError, match="against"):
        estimate(first, View(second.values[:, :50], "linear"))
    with pytest.raises(ValueError, match="against"):
        estimate(first, View(second.values[0], "linear"))


# --- optical against radar -------------------------------------------------------------------------------------


def crossed(seed, side, dx, dy):
    """Optical imagery and radar of one place: the same edges, no matter which side is the brighter one."""
    ground = Ground(seed, size=1.4 * side)
    light = View(
        2000 + 500 * ground.sample((side, side)) + np.random.default_rng(seed).normal(0, 30, (side, side))
    )
    np.random.default_rng([seed, 1]).shuffle(ground.base)
    return light, View(speckled(-12 + 3 * ground.sample((side, side), dx, dy), 5, [seed, 2]), "linear")


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, -1.3)])
def test_one_chip_of_optical_against_radar_is_unknown(ground, shift):
    is_unknown(estimate(*crossed(3, 192, *shift)), "radar against optical")
    # Even where both show the very same thing.
    is_unknown(estimate(optical(ground), View(optical(ground).values, "dB")), "radar against optical")
    # And if nobody says which is which, the pixels do not lead to a shift.
    light, power = crossed(3, 192, *shift)
    is_unknown(estimate(light, View(np.log(power.values))))


def test_many_neighbours_of_optical_and_radar_may_agree():
    light, power = crossed(7, 576, 0.5, -1.3)
    cuts = [np.s_[r : r + 72, c : c + 72] for r in range(0, 576, 72) for c in range(0, 576, 72)]
    guesses = [guess(View(light.values[c]), View(power.values[c], "linear")) for c in cuts]
    check(agree(guesses), 0.5, -1.3, 0.2)
    is_unknown(agree(guesses[:40]), "50 are needed")


def scattered(count, seed=1, reach=8.0):
    points = np.random.default_rng(seed).uniform(-reach, reach, (count, 2))
    return [Shift(float(x), float(y), 0.0) for x, y in points]


def around(x, y, count, spread=0.12, seed=2):
    points = np.random.default_rng(seed).normal((x, y), spread, (count, 2))
    return [Shift(float(x), float(y), 0.0) for x, y in points]


def test_agreement_needs_fifty_voices_and_half_of_them():
    found = agree([*around(0.4, -1.2, 40), *scattered(20)])
    check(found, 0.4, -1.2, 0.06)
    assert found.confidence == pytest.approx(40 / 60, abs=0.03)
    is_unknown(agree(around(0.4, -1.2, 49)), "49 chips")
    is_unknown(agree([*around(0.4, -1.2, 49), *[register.unknown("no texture")] * 20]), "49 chips")
    is_unknown(agree([*around(0.4, -1.2, 28), *scattered(32)]), "agree")
    is_unknown(agree(scattered(200)), "agree")
    is_unknown(agree([]))


def test_two_groups_that_differ_are_no_agreement():
    is_unknown(agree([*around(0.0, 0.0, 60), *around(3.0, 0.0, 20)]), "second group")
    check(agree([*around(0.0, 0.0, 60), *around(3.0, 0.0, 8)]), 0.0, 0.0, 0.05)


def test_the_order_of_the_chips_does_not_matter():
    voices = [*around(0.4, -1.2, 40), *scattered(20)]
    assert agree(voices) == agree(voices[::-1]) == agree(iter(voices))
