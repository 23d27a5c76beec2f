"""Alignment: shifts, constants and edges against pictures whose every value is known."""

from __future__ import annotations

import numpy as np
import pytest

from chipweave.audit.edges import check_edges
from chipweave.audit.flow import flow
from chipweave.audit.grids import Grids
from chipweave.audit.picked import Picked
from chipweave.audit.shifts import check_shifts

PX = 64


def field(x, y, band: int = 0):
    """Ground on which every point has a value: x and y in pixels."""
    return (
        0.2
        + 0.05 * np.sin(x / (7 + band) + y / 19)
        + 0.04 * np.cos(y / 9 - x / 31)
        + 0.01 * np.sin(x * y / 300)
    )


def seen(dx: float = 0.0, dy: float = 0.0, pixel: float = 1.0, px: int = PX, band: int = 0) -> np.ndarray:
    """The ground as a picture that lies (dx, dy) right of and below where it says."""
    at = (np.arange(px) + 0.5) * pixel
    x, y = np.meshgrid(at - dx, at - dy)
    return field(x, y, band)


@pytest.mark.parametrize(
    ("dx", "dy", "add"), [(0, 0, 0), (0.5, 0, 0), (0, -0.5, 0.1), (0.3, 0.4, -0.1), (1, 0, 0)]
)
def test_shift_and_constant_are_told_apart(dx, dy, add):
    found = flow(seen(), seen(dx, dy) + add)
    assert (found.dx, found.dy) == (pytest.approx(dx, abs=0.03), pytest.approx(dy, abs=0.03))
    assert found.add == pytest.approx(add, abs=1e-3)
    assert found.left < 0.05


def test_gaps_clouds_and_flat_pictures_do_not_mislead():
    first, second = seen(), seen(0.5)
    second[10:20, 10:20] = 0.9  # a cloud that only one has
    first[:, :9] = np.nan
    assert flow(first, second).dx == pytest.approx(0.5, abs=0.05)
    assert flow(np.full((PX, PX), np.nan), first) is None
    flat = flow(np.full((PX, PX), 0.2), np.full((PX, PX), 0.3))
    assert np.isnan(flat.dx)
    assert flat.add == pytest.approx(0.1)
    stripes = np.tile(np.sin(np.arange(PX) / 5), (PX, 1))
    assert np.isnan(flow(stripes, stripes).dx)  # along them any shift fits
    assert flow(seen(), np.random.default_rng(0).normal(0.2, 0.05, (PX, PX))).left > 0.5


def layer(kind: str, array, resolution: float = 10.0, **more) -> dict:
    shape = list(array.shape)
    return {
        "kind": kind, "present": True, "dims": ["band", "y", "x"] if len(shape) == 3 else ["y", "x"], "shape": shape,
        "bands": ["red"], "resolution": resolution, "transform": [resolution, 0.0, 5e5, 0.0, -resolution, 4e6],
        "nodata": "nan", "scale": 1.0, "offset": 0.0, "unit": "reflectance", "items": [["A"]], **more,
    }  # fmt: skip


def picked(samples: list[dict[str, tuple[dict, np.ndarray]]]) -> Picked:
    keys = [f"k{n}" for n in range(len(samples))]
    own = Picked(frozenset(keys))
    for key, sample in zip(keys, samples, strict=True):
        row = {"key": key, "transform": [10.0, 0.0, 5e5, 0.0, -10.0, 4e6], "height": PX, "width": PX}
        own.see(row, {n: of[0] for n, of in sample.items()}, {n: of[1] for n, of in sample.items()})
    return own


def fields_and_map(number: int, dx: int = 0, dy: int = 0) -> dict:
    """A patchwork of fields, and its map, which lies (dx, dy) pixels off."""
    rng = np.random.default_rng(number)
    side = PX + 16
    codes = rng.integers(1, 6, (side // 4, side // 4)).repeat(4, 0).repeat(4, 1)
    tone = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5])[codes] + rng.normal(0, 0.01, codes.shape)
    cut = np.s_[8 : 8 + PX, 8 : 8 + PX]
    classes = np.roll(codes, (dy, dx), (0, 1))[cut].astype(np.uint8)
    return {
        "s2": (layer("imagery", tone[cut][None]), tone[cut][None]),
        "cover": (layer("label", classes, legend="x", nodata=0), classes),
    }


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -1), (-2, 1)])
def test_edges_of_labels_tell_how_far_they_lie_off(dx, dy):
    check = check_edges(picked([fields_and_map(n, dx, dy) for n in range(6)]))
    assert check.numbers["cover"]["dx"] == pytest.approx(dx, abs=0.2)
    assert check.numbers["cover"]["dy"] == pytest.approx(dy, abs=0.2)
    assert check.verdict == ("pass" if (dx, dy) == (0, 0) else "warn")


def test_labels_that_have_nothing_to_do_with_the_imagery_tell_nothing():
    mixed = [{**fields_and_map(n), "cover": fields_and_map(n + 50)["cover"]} for n in range(6)]
    check = check_edges(picked(mixed))
    assert check.verdict == "pass"
    assert "none that the imagery shares" in check.text
    assert check_edges(picked([])).verdict == "pass"


def rough(px: int, pixel: float, dx: float = 0.0) -> np.ndarray:
    """A picture with edges everywhere, in pixels of `pixel` tens of metres."""
    at = (np.arange(px) + 0.5) * pixel
    x, y = np.meshgrid(at - dx, at)
    waves = [
        np.sin(x * np.cos(a) / (1 + a) + y * np.sin(a) / (1.3 + a) + 9 * a) for a in np.linspace(0.1, 3, 9)
    ]
    return 0.3 + 0.02 * np.sum(waves, axis=0)


@pytest.mark.parametrize("dx", [0.0, 1.0])
def test_layers_of_two_resolutions_are_laid_onto_each_other(dx):
    coarse, fine = rough(PX, 1.0)[None], rough(2 * PX, 0.5, dx)[None]
    sample = {"s2": (layer("imagery", coarse), coarse), "aerial": (layer("imagery", fine, 5.0), fine)}
    check = check_shifts(picked([sample] * 4))
    # Of the second by name, which is the coarse one: it lies where the fine one does not.
    assert check.numbers["aerial-s2"]["dx"] == pytest.approx(-dx, abs=0.1)
    assert check.verdict == ("warn" if dx else "pass")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"transform": [10.0, 0.0, 5e5 + 5, 0.0, -10.0, 4e6]}, "0.5 px off"),
        ({"resolution": 20.0}, "says 20"),
        ({"transform": [10.0, 1.0, 5e5, 0.0, -10.0, 4e6]}, "not north-up"),
    ],
)
def test_grids_of_members(more, words):
    array = np.zeros((1, PX, PX))
    grids = Grids()
    row = {"key": "k", "transform": [10.0, 0.0, 5e5, 0.0, -10.0, 4e6], "height": PX, "width": PX}
    grids.see(row, {"s2": {**layer("imagery", array), **more}}, {"s2": array})
    check = grids.check()
    assert check.verdict == ("fail" if words else "pass")
    assert words in check.text
