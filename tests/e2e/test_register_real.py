"""Shifts of real imagery: dates that close a circle, shifts planted by whole pixels, optical against radar unknown."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import rasterio
from test_real import DATA, TERRAMESH

from chipweave.pixels.register import View, agree, estimate, guess

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real files (CHIPWEAVE_SHARED_DATA) are not here"
)

BURSTS = ("T137-292319-IW2", "T137-292323-IW2")


def read(path):
    with rasterio.open(path) as src:
        return src.read()


def sentinel2(date, band=3):
    """Near infrared of a date; clouds, their shadows and what lies outside taken out."""
    [path] = (DATA / "sentinel2" / "exeter_multidate").glob(f"exe_2024-{date}_*")
    values = read(path)
    return View(values[band], ok=~np.isin(values[4], (0, 3, 8, 9, 10)) & (values[band] > 0))


def hls(date, band=3):
    [path] = (DATA / "hls" / "exeter_multidate").glob(f"hls_exe_2021-{date}_*")
    values = read(path)
    return View(values[band], ok=(values[band] != -9999) & (values[4] != 255) & (values[4] & 0b1110 == 0))


def opera(burst):
    """The four dates of a burst, both polarisations."""
    folder = DATA / "sentinel1" / "opera_rtc_10SGD"
    return [
        View(np.concatenate([read(next(day.glob(f"*{burst}*_{pol}.tif"))) for pol in ("VV", "VH")]), "linear")
        for day in sorted(folder.iterdir())
    ]


def cut(view, rows, cols):
    ok = None if view.ok is None else view.ok[rows, cols]
    return View(view.values[..., rows, cols], view.unit, ok)


def terramesh(place, band=2):
    folder = DATA / "multisensor" / place
    return View(read(folder / "S2L2A.tif")[band].astype(np.float32)), View(read(folder / "S1RTC.tif"), "dB")


@pytest.mark.parametrize("burst", BURSTS)
def test_dates_of_one_burst_lie_on_each_other(burst):
    """OPERA lays its bursts on a fixed grid by precise orbits: within a tenth of its 30 m pixels."""
    for first, second in combinations(opera(burst), 2):
        found = estimate(first, second)
        assert found.known, found
        assert max(abs(found.dx), abs(found.dy)) < 0.1, found


def test_shifts_of_three_dates_close_a_circle():
    one, two, three = (sentinel2(date) for date in ("08-01", "08-16", "08-26"))
    a, b, c = estimate(one, two), estimate(two, three), estimate(one, three)
    assert a.known
    assert b.known
    assert c.known
    assert a.dx + b.dx == pytest.approx(c.dx, abs=0.1)
    assert a.dy + b.dy == pytest.approx(c.dy, abs=0.1)
    assert c.dy > 0.1, "these dates do lie apart: the test says something"


@pytest.mark.parametrize(("right", "down"), [(1, -3), (-4, 2)])
@pytest.mark.parametrize("pair", ["sentinel2", "hls", "opera"])
def test_whole_pixels_planted_in_real_dates_are_found(pair, right, down):
    if pair == "opera":
        first, second = opera(BURSTS[0])[:2]
    else:
        first, second = (
            (sentinel2("08-01"), sentinel2("08-16")) if pair == "sentinel2" else (hls("06-13"), hls("07-18"))
        )
    height, width = first.values.shape[-2:]
    rows, cols = slice(6, height - 6), slice(6, width - 6)
    plain = estimate(cut(first, rows, cols), cut(second, rows, cols))
    planted = cut(second, slice(6 - down, height - 6 - down), slice(6 - right, width - 6 - right))
    found = estimate(cut(first, rows, cols), planted)
    assert plain.known
    assert found.known
    assert found.dx - plain.dx == pytest.approx(right, abs=0.1)
    assert found.dy - plain.dy == pytest.approx(down, abs=0.1)


def blocks(values, ok, size, right=0, down=0):
    """Means over size × size pixels; their content lies that many fine pixels further right and down."""
    lines = (np.arange(values.shape[-2] // size - 4) + 2) * size - down
    columns = (np.arange(values.shape[-1] // size - 4) + 2) * size - right
    offsets = [(r, c) for r in range(size) for c in range(size)]
    picked = [np.ix_(lines + r, columns + c) for r, c in offsets]
    mean = np.mean([values[at].astype(np.float64) for at in picked], axis=0)
    return View(mean, ok=np.all([ok[at] for at in picked], axis=0))


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-1, 1), (2, -3)])
def test_half_pixels_planted_in_real_dates_are_found(right, down):
    """Pixels of 40 m from ones of 20 m: one fine pixel is half a coarse one, exactly."""
    first, second = sentinel2("08-01"), sentinel2("08-16")
    still = blocks(first.values, first.ok, 2)
    plain = estimate(still, blocks(second.values, second.ok, 2))
    found = estimate(still, blocks(second.values, second.ok, 2, right, down))
    assert plain.known
    assert found.known
    assert found.dx - plain.dx == pytest.approx(right / 2, abs=0.1)
    assert found.dy - plain.dy == pytest.approx(down / 2, abs=0.1)


@pytest.mark.parametrize("place", TERRAMESH)
def test_optical_against_radar_is_unknown(place):
    for band in (2, 3, 7, 10):
        light, radar = terramesh(place, band)
        for pol in (0, 1):
            said = estimate(light, View(radar.values[pol], "dB"))
            assert not said.known
            assert "radar" in said.why
            # A plain estimate is wrong there; ours does not speak even where nobody says what is what.
            assert not estimate(light, View(radar.values[pol])).known


def test_neighbours_of_three_places_do_not_agree_on_one_shift():
    guesses = []
    for place in TERRAMESH:
        light, radar = terramesh(place)
        corners = product(range(0, 224 - 63, 32), repeat=2)
        cuts = [(slice(r, r + 64), slice(c, c + 64)) for r, c in corners]
        own = [guess(cut(light, *at), cut(radar, *at)) for at in cuts]
        assert not agree(own).known, "36 chips have no say"
        guesses += own
    assert not agree(guesses).known
