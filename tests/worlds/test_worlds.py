"""The worlds and the checks themselves: the checks accept a plain weave of the files and refuse a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from worlds import analytic, checks, reference
from worlds.fields import Classes, Field, Frame

PLACES = {
    # The first is on the scenes' own grid, the second off it; both within the tile of zone 32.
    "on grid": ("EPSG:32632", 732160.0, 4988800.0, ("S2_32_0610",)),
    "off grid": ("EPSG:32632", 732163.0, 4988807.0, ("S2_32_0720",)),
    "west edge": ("EPSG:32632", 729603.0, 4990007.0, ("S2_32_0720",)),
    "hole": ("EPSG:32632", 730403.0, 4989407.0, ("S2_32_0720",)),
    "swath": ("EPSG:32632", 736103.0, 4986407.0, ("S2_32_0720",)),
    "next zone": ("EPSG:32633", 264960.0, 4988160.0, ("S2_32_0610",)),
    "two tiles": ("EPSG:32633", 265600.0, 4988160.0, ("S2_33_0610", "S2_32_0610")),
}


@pytest.fixture(scope="module")
def world(border):
    return border


def place(world, name):
    crs, x, y, ids = PLACES[name]
    sample = reference.blank_sample(crs, x, y, 64, 10.0)
    return sample, [world.scenes[i] for i in ids]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("blank", [False, True])
def test_checks_accept_a_plain_weave(world, name, blank):
    sample, scenes = place(world, name)
    reference.weave(world, scenes, sample, blank=blank)
    # Of the tiles of a datatake only those that were woven are offered: the plain weave takes what it is given.
    tally = checks.check_imagery(sample, "s2", {s.id: s for s in scenes}, blank=blank)
    checks.check_fractions(sample, "s2", blank=blank)
    assert tally.pixels > 1000
    if name in ("west edge", "hole", "swath"):
        assert tally.empty > 0
        assert tally.edge > 0


@pytest.mark.parametrize("name", PLACES)
def test_a_truth_half_a_pixel_off_is_refused(world, name):
    sample, scenes = place(world, name)
    reference.weave(world, scenes, sample)
    with pytest.raises(AssertionError, match="beyond the bound"):
        checks.check_imagery(sample, "s2", {s.id: s for s in scenes}, moved=5.0)


def test_a_blend_with_nodata_is_refused(world):
    sample, scenes = place(world, "hole")
    reference.weave(world, scenes, sample)
    wrong = sample.arrays["s2"]
    edge = (wrong[3] != checks.NODATA) & (np.roll(wrong[3], 1, axis=1) == checks.NODATA)
    assert edge.any()
    wrong[3][edge] //= 2
    with pytest.raises(AssertionError, match="beyond the bound"):
        checks.check_imagery(sample, "s2", {s.id: s for s in scenes})


def test_nodata_that_looks_like_a_value_is_refused(world):
    sample, scenes = place(world, "hole")
    reference.weave(world, scenes, sample)
    array = sample.arrays["s2"]
    array[array == checks.NODATA] = 0
    with pytest.raises(AssertionError, match="data where they should not be"):
        checks.check_imagery(sample, "s2", {s.id: s for s in scenes})


def test_a_wrong_offset_a_wrong_mask_and_a_leaking_cloud_are_refused(world):
    scenes = [world.scenes["S2_32_0720"]]
    ids = {s.id: s for s in scenes}
    sample = reference.blank_sample("EPSG:32632", 733923.0, 4991007.0, 64, 10.0)
    reference.weave(world, scenes, sample, blank=True)
    assert (sample.arrays["s2_mask"] == 1).any()
    checks.check_imagery(sample, "s2", ids, blank=True)

    good = sample.arrays["s2"].copy()
    sample.arrays["s2"] = np.where(good == checks.NODATA, good, good + 1000)
    with pytest.raises(AssertionError, match="beyond the bound"):
        checks.check_imagery(sample, "s2", ids, blank=True)
    sample.arrays["s2"] = np.where(good == checks.NODATA, 9000, good)
    with pytest.raises(AssertionError, match="data where they should not be"):
        checks.check_imagery(sample, "s2", ids, blank=True)
    sample.arrays["s2"] = good
    sample.arrays["s2_mask"] = np.where(sample.arrays["s2_mask"] == 1, 0, sample.arrays["s2_mask"]).astype(
        np.uint8
    )
    with pytest.raises(AssertionError, match="mask pixels"):
        checks.check_imagery(sample, "s2", ids, blank=True)


@pytest.mark.parametrize("name", ["on grid", "next zone"])
def test_label_check_accepts_nearest_and_refuses_a_shift(world, name):
    sample, _ = place(world, name)
    for ident, layer in (("ESA_WorldCover_10m_2021_v200_N45E012", "wc"), ("U2018_CLC2018_V2020", "clc")):
        label = world.labels[ident]
        reference.weave_label(world, label, sample, layer)
        sure, unsure = checks.check_label(sample, layer, label)
        assert sure > 10 * unsure > 0 or layer == "clc"
    right = sample.arrays["wc"]
    sample.arrays["wc"] = np.roll(right, 1, axis=1)
    with pytest.raises(AssertionError, match="wrong class"):
        checks.check_label(sample, "wc", world.labels["ESA_WorldCover_10m_2021_v200_N45E012"])


def test_files_are_point_samples_of_the_functions(world):
    """One row of a file, by rasterio and by the formula; what is stored is the rounded value plus the stored offset."""
    scene = world.scenes["S2_33_0720"]
    with rasterio.open(world.folder / scene.id / "B11.tif") as src:
        row = src.read(1)[200]
        x, y = src.transform * (np.arange(src.width) + 0.5, np.full(src.width, 200.5))
    lon, lat = analytic.lonlat(scene.crs, x, y)
    clear = row != analytic.SPIKE + 1000
    assert clear.sum() > 100
    # Half a DN by rounding.
    assert np.abs(row - 1000 - scene.truth("swir16", lon, lat))[clear].max() <= 0.5 + 1e-6


def test_derivatives_are_those_of_the_function():
    f = Field(Frame(12, 45), 10.0, ((3.0, 1500.0, 30.0, 0.4), (2.0, 900.0, 110.0, 1.0)))
    x, y = np.array([0.0, 333.0, -2000.0]), np.array([5.0, -777.0, 1234.0])
    at = lambda dx, dy: f.value(*f.frame.to_lonlat(x + dx, y + dy))  # noqa: E731
    where = f.frame.to_lonlat(x, y)
    # Central differences over 1 m are good to (2 pi / 900)^3 of an amplitude.
    np.testing.assert_allclose(
        f.gradient(*where), [at(0.5, 0) - at(-0.5, 0), at(0, 0.5) - at(0, -0.5)], atol=1e-6
    )
    fxx, fyy, fxy = f.second(*where)
    d = 10.0
    np.testing.assert_allclose(fxx, (at(d, 0) - 2 * at(0, 0) + at(-d, 0)) / d**2, atol=1e-6)
    np.testing.assert_allclose(fyy, (at(0, d) - 2 * at(0, 0) + at(0, -d)) / d**2, atol=1e-6)
    np.testing.assert_allclose(fxy, (at(d, d) - at(d, -d) - at(-d, d) + at(-d, -d)) / (4 * d**2), atol=1e-6)


def test_sure_means_that_the_disc_has_one_class():
    frame = Frame(12, 45)
    classes = Classes(
        Field(frame, 0.0, ((0.6, 2600.0, 25.0, 0.4), (0.4, 2100.0, 105.0, 2.4))), (-0.2, 0.3), (1, 2, 3)
    )
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-5000, 5000, (2, 4000))
    sure = classes.sure(*frame.to_lonlat(x, y), 100.0)
    assert 0.5 < sure.mean() < 0.95
    centre = classes.value(*frame.to_lonlat(x, y))
    for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        around = classes.value(*frame.to_lonlat(x + 100 * np.cos(turn), y + 100 * np.sin(turn)))
        assert (around == centre)[sure].all()


def test_a_degree_is_as_long_as_the_ellipsoid_says():
    from pyproj import Geod

    east, north = Frame(12, 45).metres
    geod = Geod(ellps="WGS84")
    # 1e-4: the series is good to a metre in a degree, and a chord of 0.2 degrees is not quite the arc.
    assert east == pytest.approx(geod.inv(11.9, 45, 12.1, 45)[2] / 0.2, rel=1e-4)
    assert north == pytest.approx(geod.inv(12, 44.9, 12, 45.1)[2] / 0.2, rel=1e-4)
