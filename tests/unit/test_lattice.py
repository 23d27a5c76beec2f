"""Coordinates on the lattice: the same in every window, and where PROJ says."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.pixels.kernels import FAR, SNAP
from chipweave.pixels.lattice import Grid, make_lattice, parse_crs, reproject, same_crs
from tiny import LAEA, north_up

DEGREE = 1 / 12000

# of (CRS, corner of a window, resolution), onto (CRS, its grid's corner, resolution)
CASES = {
    "utm to next utm": (
        ("EPSG:32633", 263_000.0, 4_990_000.0, 10.0),
        ("EPSG:32632", 729_960.0, 4_992_000.0, 10.0),
    ),
    "utm to degrees": (("EPSG:32632", 731_003.0, 4_990_007.0, 10.0), ("EPSG:4326", 11.9, 45.1, DEGREE)),
    "fine utm to degrees": (("EPSG:32632", 731_003.0, 4_990_007.0, 0.6), ("EPSG:4326", 11.9, 45.1, DEGREE)),
    "degrees to utm": (("EPSG:4326", 11.95, 45.05, DEGREE), ("EPSG:32632", 729_960.0, 4_992_000.0, 10.0)),
    "75 N to laea": (
        ("EPSG:32635", 520_000.0, 8_325_000.0, 10.0),
        ("EPSG:3035", 4_800_000.0, 6_000_000.0, 100.0),
    ),
    "75 N from laea": (
        ("EPSG:3035", 4_950_000.0, 5_850_000.0, 100.0),
        ("EPSG:32635", 500_000.0, 8_400_000.0, 10.0),
    ),
    "75 N to degrees": (("EPSG:32635", 520_000.0, 8_325_000.0, 10.0), ("EPSG:4326", 27.0, 75.2, DEGREE)),
    "own laea to utm": ((LAEA, -20_000.0, 30_000.0, 10.0), ("EPSG:32632", 480_000.0, 5_320_000.0, 20.0)),
    "utm to own laea": (("EPSG:32632", 500_000.0, 5_290_000.0, 10.0), (LAEA, -20_000.0, 50_000.0, 20.0)),
    "south": (("EPSG:32733", 263_001.5, 7_790_000.0, 10.0), ("EPSG:32734", 1_000.0, 7_800_000.0, 10.0)),
    "large pixels": (("EPSG:32632", 500_000.0, 5_290_000.0, 1000.0), ("EPSG:4326", 8.0, 48.0, DEGREE)),
    "large degrees": (("EPSG:4326", 8.0, 48.0, 0.01), ("EPSG:32632", 400_000.0, 5_400_000.0, 10.0)),
}


def grids(case):
    (crs, x, y, res), (onto, left, top, pixel) = CASES[case]
    grid, row, col = Grid.anchored(crs, north_up(x, y, res))
    return grid, row, col, Grid(onto, north_up(left, top, pixel))


@pytest.mark.parametrize("case", CASES)
def test_coordinates_are_where_proj_says(case):
    of, row, col, onto = grids(case)
    qu, qv = make_lattice(of, onto, row, col, 80, 110).fixed()
    cols, rows = np.meshgrid(col + np.arange(110) + 0.5, row + np.arange(80) + 0.5)
    x, y = of.affine * (cols, rows)
    x, y = pyproj.Transformer.from_crs(of.crs, onto.crs, always_xy=True).transform(x, y)
    u, v = ~onto.affine * (x, y)
    assert np.ptp(u) > 3
    assert np.abs(qu / SNAP - u).max() < 0.01
    assert np.abs(qv / SNAP - v).max() < 0.01


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_windows_that_share_a_pixel_see_the_same_coordinate(case, data):
    of, row, col, onto = grids(case)
    whole = make_lattice(of, onto, row, col, 90, 90).fixed()
    r, c = data.draw(st.integers(0, 85)), data.draw(st.integers(0, 85))
    h, w = data.draw(st.integers(1, 90 - r)), data.draw(st.integers(1, 90 - c))
    part = make_lattice(of, onto, row + r, col + c, h, w)
    for mine, theirs in zip(part.fixed(), whole, strict=True):
        np.testing.assert_array_equal(mine, theirs[r : r + h, c : c + w])
    u, v = (q[r : r + h, c : c + w] / SNAP for q in whole)
    assert part.bounds() == (u.min(), v.min(), u.max(), v.max())


@pytest.mark.parametrize(
    ("anchor", "res"),
    [
        ((0, 0), 10),
        ((3, 7), 10),
        ((15, 15), 30),
        ((3, 7), 0.6),
        ((0.1, 0.2), 0.3),
        ((0, 0), 1e-4),
        ((0.00003, 0), 1e-4),
    ],
)
@settings(max_examples=40, deadline=None)
@given(st.integers(-40_000, 40_000), st.integers(-40_000, 40_000), st.integers(1, 300))
def test_all_windows_of_a_lattice_have_one_grid(anchor, res, i, j, size):
    """Corners with the float noise that sums and products give are the same grid to the last bit."""
    scale = 128 if res >= 0.3 else 1
    x, y = anchor[0] + i * scale * res, anchor[1] + j * (scale * res)
    grid, row, col = Grid.anchored("EPSG:32632", north_up(x, y, res))
    zero, row0, col0 = Grid.anchored("EPSG:32632", north_up(anchor[0], anchor[1], res))
    assert grid == zero
    assert (row - row0, col - col0) == (-j * scale, i * scale)
    left, top = grid.affine * (col, row)
    assert abs(left - x) < 1e-6 * res
    assert abs(top - y) < 1e-6 * res
    # A chip of the lattice, cut from a window that begins elsewhere.
    shifted, row1, col1 = Grid.anchored("EPSG:32632", north_up(x + size * res, y - size * res, res))
    assert shifted == grid
    assert (row1 - row, col1 - col) == (size, size)


def test_what_does_not_map_is_far_away_and_spoils_nothing_else():
    """A window of EPSG:3035 that reaches beyond the disc of the Earth keeps what lies on it."""
    of, row, col = Grid.anchored("EPSG:3035", north_up(4_000_000.0, 3_000_000.0, 100_000.0))
    onto = Grid("EPSG:4326", north_up(-180.0, 90.0, 1.0))
    lattice = make_lattice(of, onto, row, col, 3, 200, centre=180)
    qu, qv = lattice.fixed()
    gone = qu == FAR
    np.testing.assert_array_equal(gone, qv == FAR)
    np.testing.assert_array_equal(gone.all(axis=0), np.arange(200) >= 130)
    lon, lat = reproject(np.array([4_050_000.0]), np.array([2_950_000.0]), "EPSG:3035", "EPSG:4326")
    # Steps of a pixel of 100 km: the middle of a cell is a kilometre off, no more.
    assert abs(qu[0, 0] / SNAP - (lon[0] + 180)) < 0.02
    assert abs(qv[0, 0] / SNAP - (90 - lat[0])) < 0.02
    assert lattice.bounds() is not None


def test_a_window_that_maps_nowhere_has_no_bounds():
    of = Grid("EPSG:3035", north_up(3e7, 3e7, 10.0))
    assert make_lattice(of, Grid("EPSG:32632", north_up(0, 0, 10.0)), 0, 0, 20, 20).bounds() is None


@pytest.mark.parametrize("left", [177.0, -180.0])
def test_longitudes_go_on_across_the_date_line(left):
    """A tile of 3 degrees on either side of ±180°, seen from a window across it in zone 60."""
    of, row, col = Grid.anchored("EPSG:32760", north_up(815_000.0, 8_200_000.0, 10.0))
    onto = Grid("EPSG:4326", north_up(left, -16.0, DEGREE))
    lattice = make_lattice(of, onto, row, col, 70, 1200, centre=18_000)
    qu, _ = lattice.fixed()
    cols, rows = np.meshgrid(col + np.arange(1200) + 0.5, row + np.arange(70) + 0.5)
    x, y = of.affine * (cols, rows)
    lon, _ = pyproj.Transformer.from_crs(of.crs, onto.crs, always_xy=True).transform(x, y)
    assert lon.max() > 179.99
    assert lon.min() < -179.99
    u = (np.where(lon < 0, lon + 360, lon) - (left % 360)) / DEGREE
    assert np.abs(qu / SNAP - u).max() < 0.01
    low, _, high, _ = lattice.bounds()
    assert high - low < 1400


@settings(max_examples=25, deadline=None)
@given(st.floats(-179.99, 179.99), st.floats(-60, 60))
def test_a_raster_of_the_whole_globe_has_every_longitude_once(lon, lat):
    onto = Grid("EPSG:4326", north_up(-180.0, 90.0, 0.25))
    zone = int((lon + 180) // 6) + 1
    crs = f"EPSG:{32600 + zone}"
    x, y = reproject(np.array([lon]), np.array([lat]), "EPSG:4326", crs)
    of, row, col = Grid.anchored(crs, north_up(np.floor(x[0]) - 0.5, np.floor(y[0]) + 0.5, 1.0))
    qu, qv = make_lattice(of, onto, row, col, 2, 2, centre=720).fixed()
    assert (qu >= 0).all()
    assert (qu < 1440 * SNAP).all()
    there = reproject(np.floor(x), np.floor(y), crs, "EPSG:4326")
    assert abs(qu[0, 0] / SNAP - (there[0][0] + 180) / 0.25) % 1440 < 1e-4
    assert abs(qv[0, 0] / SNAP - (90 - there[1][0]) / 0.25) < 1e-4


def test_a_crs_is_the_same_under_all_its_names():
    assert same_crs("EPSG:32632", parse_crs("EPSG:32632").to_wkt())
    assert not same_crs("EPSG:32632", "EPSG:32633")
    assert not same_crs(LAEA, "EPSG:3035")
