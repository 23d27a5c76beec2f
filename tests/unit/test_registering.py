"""Layers of two kinds: what neighbours say together, by the scenes that they share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from chipweave.model import Place
from chipweave.pixels import LayerRead
from chipweave.pixels.align import Onto
from chipweave.pixels.register import Shift, unknown
from chipweave.weave import registering
from chipweave.weave.pictures import GAP, Drawn, Picture, Step
from chipweave.weave.registering import agreements, pictures_of

SIDE = 4
READ = LayerRead(("red",), {"red": "nearest"}, None)


@dataclass
class Woven:
    """Stands for the pictures of one layer: flat ones, whose value is the chip's number."""

    layer: str
    read: LayerRead
    items: dict[str, str] = field(default_factory=dict)
    moved: list[Place] = field(default_factory=list)
    limits = SimpleNamespace(rule=SimpleNamespace(series=False, need=1))

    def of(self, place):
        item = self.items[place.key]
        step = Step((item,), "2021-06-01T00:00:00Z", 1.0) if item else GAP
        return Picture(np.full((1, SIDE, SIDE), int(place.key), np.int16), None, (step,))

    def scenes_of(self, key):
        return {0: (self.items[key],)}

    def drawn_at(self, place, items):
        self.moved.append(place)
        return Drawn(Step(items, "", 1.0), np.full((1, SIDE, SIDE), -1, np.int16), None, 1.0)


def places(n):
    return [Place(str(k), "EPSG:32632", 40.0 * k, 0.0, SIDE, 10.0) for k in range(n)]


@pytest.fixture
def woven(monkeypatch):
    """120 chips: of the first 60 radar lies (1.5, -0.5) off, of 40 others nobody knows, 20 are of a third scene."""
    monkeypatch.setattr(registering, "guess", voice)
    items = {str(k): "S1_a" if k < 60 else "S1_b" if k < 100 else "S1_c" for k in range(120)}
    items["7"] = ""
    onto = Onto("s2", 3.0, (0,), (0,), "dB", "reflectance", neighbours=True)
    return {
        "s2": Woven("s2", READ, {str(k): "S2" for k in range(120)}),
        "s1": Woven("s1", replace(READ, onto=onto), items),
    }


def voice(first, second):
    number = int(first.values.max())
    if number % 9 == 0:
        return unknown("no texture")
    if 60 <= number < 100:
        rng = np.random.default_rng(number)
        return Shift(*rng.uniform(-8, 8, 2).tolist(), 0.0)
    return Shift(1.5, -0.5, 0.0)


def test_chips_of_the_same_scenes_agree(woven):
    said = agreements(places(120), woven)
    assert ("s1", "7") not in said, "a gap has no say"
    near = [said["s1", str(k)] for k in range(60) if k != 7]
    assert {(s.dx, s.dy) for s in near} == {(1.5, -0.5)}, "also those without a voice"
    assert near[0].confidence == 1.0
    assert not any(said["s1", str(k)].known for k in range(60, 120)), (
        "40 that differ, and 20 that are too few"
    )
    assert not any(s.known for s in agreements(places(50), woven).values()), "44 voices"


def test_what_they_agree_on_moves_each_of_them(woven):
    chips = places(120)
    said = agreements(chips, woven)
    moved = pictures_of(chips[9], woven, said)["s1"]
    assert (moved.laid[0].x, moved.laid[0].y, moved.laid[0].moved) == (1.5, -0.5, True)
    assert (moved.values == -1).all()
    (there,) = woven["s1"].moved
    assert (there.x, there.y) == (chips[9].x + 15, chips[9].y + 5)
    for key in (7, 80, 110):
        stays = pictures_of(chips[key], woven, said)["s1"]
        assert (stays.laid[0].confidence, stays.laid[0].moved) == (0.0, False)
        assert (stays.values == key).all()
    assert len(woven["s1"].moved) == 1
    # One chip alone is never believed.
    assert not pictures_of(chips[9], woven)["s1"].laid[0].moved
