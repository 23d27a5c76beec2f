"""Common windows hold every chip once, and little else."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import Place
from chipweave.pixels import blocks
from chipweave.plan.regions import SPARSE, journey, read_chips, windows

SIZE = 16


def places(cells):
    return [Place(f"{r}-{c}", "EPSG:32632", 500000 + c * 10, 5000000 - r * 10, SIZE, 10.0) for r, c in cells]


class Reader:
    """The pixel's own row and column, counted from the origin of the places."""

    def __init__(self, broken=()):
        self.calls = []
        self.broken = set(broken)

    def __call__(self, crs, affine: Affine, shape):
        assert crs == "EPSG:32632"
        row, col = round((5000000 - affine.f) / 10), round((affine.c - 500000) / 10)
        self.calls.append((row, col, *shape))
        for r, c in self.broken:
            if row <= r < row + shape[0] and col <= c < col + shape[1]:
                raise PermanentSourceError("a block cannot be decoded", href="x")
        rows, cols = np.mgrid[row : row + shape[0], col : col + shape[1]]
        return (np.stack([rows, cols]),)


def check(cells, reader):
    got = dict(read_chips(places(cells), reader))
    assert len(got) == len(cells)
    for place, arrays in got.items():
        row, col = map(int, place.key.split("-"))
        if isinstance(arrays, PermanentSourceError):
            assert any(row <= r < row + SIZE and col <= c < col + SIZE for r, c in reader.broken)
            continue
        assert arrays[0].shape == (2, SIZE, SIZE)
        assert tuple(arrays[0][:, 0, 0]) == (row, col)


def area(reader):
    return sum(h * w for _, _, h, w in reader.calls)


def test_a_dense_tile_is_one_window():
    reader = Reader()
    check([(r * SIZE, c * SIZE) for r in range(8) for c in range(8)], reader)
    assert reader.calls == [(0, 0, 8 * SIZE, 8 * SIZE)]


def test_scattered_chips_are_read_alone():
    reader = Reader()
    check([(r * 2000, c * 2000) for r in range(4) for c in range(4)], reader)
    assert area(reader) == 16 * SIZE**2


def test_two_dense_groups_far_apart_are_two_windows():
    reader = Reader()
    group = [(r * SIZE, c * SIZE) for r in range(3) for c in range(5)]
    check([*group, *((r + 900, c + 400) for r, c in group)], reader)
    assert len(reader.calls) == 2
    assert area(reader) == 2 * 15 * SIZE**2


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_windows_hold_little_else(share):
    rng = np.random.default_rng(3)
    cells = [(r * SIZE, c * SIZE) for r in range(16) for c in range(16) if rng.random() < share]
    reader = Reader()
    check(cells, reader)
    assert area(reader) <= SPARSE * len(cells) * SIZE**2


def test_chips_that_overlap_or_coincide():
    rng = np.random.default_rng(4)
    cells = sorted({(int(r), int(c)) for r, c in rng.integers(0, 90, (60, 2))})
    check(cells, Reader())
    groups = list(windows(np.array([(0, 0), (0, 0), (5, 5)]), SIZE))
    assert sorted(i for g in groups for i in g) == [0, 1, 2]


def test_a_broken_block_spoils_its_own_chips_alone():
    reader = Reader(broken=[(20, 40)])
    check([(r * SIZE, c * SIZE) for r in range(4) for c in range(4)], reader)
    assert len(reader.calls) == 17


class Listener(Reader):
    """Keeps what is said of the windows."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def __call__(self, crs, affine, shape):
        self.heard.append(blocks._current.outlook)
        return super().__call__(crs, affine, shape)


def test_what_comes_after_a_tile_is_said_of_its_windows():
    """Four tiles in a square, read from south to north: what lies beyond the square comes in the order of reading."""
    corners = [(64, 0), (64, 64), (0, 0), (0, 64)]
    tiles = [places([(r, c), (r + 32, c + 32)]) for r, c in corners]
    listener = Listener()
    with journey(tiles):
        for tile in tiles:
            assert len(list(read_chips(tile, listener))) == 2
    assert [o.coming for o in listener.heard[::2]] == [
        (True, True, False, True),
        (True, True, False, True),
        (False, False, False, True),
        (False, False, False, True),
    ]
    # Of the two chips of a tile the first goes on below and to the right, the second above and to the left.
    assert [o.rest for o in listener.heard[:2]] == [(0.0, 2.0, 0.0, 2.0), (2.0, 0.0, 2.0, 0.0)]
    list(read_chips(tiles[0], listener))
    assert listener.heard[-1].coming == blocks.READING


def test_tiles_of_another_zone_do_not_count():
    here, there = places([(0, 0)]), [Place("z", "EPSG:32633", 500000, 5000160, SIZE, 10.0)]
    listener = Listener()
    with journey([here, there], (False, False, False, False)):
        list(read_chips(here, listener))
    assert listener.heard[0].coming == (False, False, False, False)
