"""Datasets built from the world of all sensors, and what every sensor's tests ask of theirs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pytest

from worlds import harness, recipes, sensor_checks, sensor_world
from worlds.checks import Tally
from worlds.sensor_world import Sensors


class Built:
    """A built dataset; `layer` is the one that is looked at."""

    def __init__(self, out: Path, world: Sensors, layer: str) -> None:
        self.out, self.world, self.layer = out, world, layer
        self.samples = harness.read_samples(out)

    @cached_property
    def tally(self) -> Tally:
        """Check every pixel of the layer, and of its mask where there is one; once."""
        tally = Tally()
        for sample in self.samples.values():
            found = sensor_checks.check_layer(sample, self.layer, self.world.shots)
            if f"{self.layer}_mask" in sample.arrays:
                found.bad = sensor_checks.check_mask(sample, self.layer, self.world.shots)
            tally += found
        return tally

    def fails_when_moved(self, metres: float) -> None:
        """The proof that `tally` can fail: a truth that lies so far east is out of bounds."""
        full = [s for s in self.samples.values() if s.meta["layers"][self.layer]["valid_fraction"] > 0.5]
        assert full
        for sample in full[:4]:
            with pytest.raises(AssertionError, match="beyond the bound"):
                sensor_checks.check_layer(sample, self.layer, self.world.shots, moved=metres)


def make(tmp: Path, world: Sensors, layers: dict, *, area=sensor_world.AREA, **more) -> Built:
    """Build the layers, of which the first is looked at; `area` in EPSG:32632."""
    catalog = world.catalog(f"catalog_{tmp.name}")
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", *area)
    out = harness.build(tmp, sensor_world.recipe(catalog, window, layers, **more))
    return Built(out, world, next(iter(layers)))
