"""Layers with a grid of their own over one footprint: the same pixels as chips of that grid have."""

from __future__ import annotations

import numpy as np
import pytest

from worlds import harness, recipes, sensor_world

AERIAL = {"collection": "naip", "bands": ["red", "nir"], "time": "2019"}
OPTICAL = {"collection": "sentinel-2-l2a", "bands": ["red", "swir16"], "time": "2021-06-12"}
RADAR = {
    "collection": "sentinel-1-rtc", "bands": ["vv"], "unit": "dB", "pair": {"with": "s2", "within_days": 3},
}  # fmt: skip


def make(tmp, world, layers, chips, **more):
    tmp.mkdir()
    window = recipes.window(tmp / "aoi.geojson", "EPSG:32632", *sensor_world.AERIAL_AREA)
    catalog = world.catalog(f"catalog_{tmp.parent.name}_{tmp.name}")
    out = harness.build(tmp, sensor_world.recipe(catalog, window, layers, chips=chips, **more))
    harness.succeed("verify", out)
    return harness.read_samples(out)


@pytest.fixture(scope="module")
def together(sensors, tmp_path_factory):
    """12 px of 10 m: the plane at 1 m, its middle at 0.5 m, both satellites beside them."""
    layers = {
        "s2": OPTICAL,
        "s1": RADAR,
        "naip": {**AERIAL, "resolution": 1},
        "middle": {**AERIAL, "resolution": 0.5, "extent_m": 60},
        "coarse": {**OPTICAL, "resolution": 20},
    }
    return make(tmp_path_factory.mktemp("grids") / "together", sensors, layers, {"size": 12})


def corner(sample, layer):
    a, _, c, _, e, f = sample.meta["layers"][layer]["transform"]
    return a, -e, c, f


def test_every_layer_says_its_own_grid(together):
    assert len(together) >= 4
    for sample in together.values():
        a, _, x, _, _, y = sample.meta["transform"]
        assert (a, sample.meta["width"]) == (10, 12)
        shapes = {name: layer["shape"] for name, layer in sample.meta["layers"].items()}
        assert shapes == {
            "s2": [2, 12, 12], "s2_mask": [12, 12], "s1": [1, 12, 12], "naip": [2, 120, 120],
            "middle": [2, 120, 120], "coarse": [2, 6, 6], "coarse_mask": [6, 6],
        }  # fmt: skip
        for name, array in sample.arrays.items():
            assert list(array.shape) == shapes[name]
        assert corner(sample, "naip") == (1, 1, x, y)
        assert corner(sample, "coarse") == corner(sample, "coarse_mask") == (20, 20, x, y)
        assert corner(sample, "middle") == (0.5, 0.5, x + 30, y - 30)


@pytest.mark.parametrize(
    ("layer", "wish", "chips"),
    [("naip", AERIAL, {"size": 120, "resolution": 1}), ("coarse", OPTICAL, {"size": 6, "resolution": 20})],
)
def test_pixels_are_those_of_chips_of_that_grid(sensors, together, tmp_path, layer, wish, chips):
    alone = make(tmp_path / "alone", sensors, {layer: wish}, chips)
    by_corner = {corner(s, layer): s for s in alone.values()}
    assert len(alone) == len(together)
    for sample in together.values():
        other = by_corner[corner(sample, layer)]
        np.testing.assert_array_equal(sample.arrays[layer], other.arrays[layer])
        own, his = (s.meta["layers"][layer] for s in (sample, other))
        assert own["valid_fraction"] == his["valid_fraction"]


def test_the_middle_lies_in_the_middle(together):
    """0.5 m from 1 m: where both centres lie in one source pixel, halves blend to it on average."""
    for sample in together.values():
        whole, middle = (sample.arrays[n].astype(float) for n in ("naip", "middle"))
        halves = middle.reshape(2, 60, 2, 60, 2).mean(axis=(2, 4))
        inner = whole[:, 30:90, 30:90]
        data = (halves > -1000) & (inner > -1000)
        assert data.mean() > 0.9
        assert np.abs(halves - inner)[data].mean() < 2
        # A pixel off, and it would be further away.
        for moved in (whole[:, 31:91, 30:90], whole[:, 30:90, 29:89]):
            assert np.abs(halves - inner)[data].mean() < np.abs(halves - moved)[data].mean()


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ({"resolution": 7}, ("imagery.naip.resolution", "whole number", "7.05")),
        ({"extent_m": 200}, ("imagery.naip.extent_m", "more than the chip's 120 m")),
    ],
)
def test_grids_that_cannot_be_are_refused(sensors, tmp_path, own, names):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AERIAL_AREA)
    mapping = sensor_world.recipe(
        sensors.catalog(f"catalog_{tmp_path.name}"), window, {"naip": {**AERIAL, **own}}, chips={"size": 12}
    )
    harness.refuse(
        3, "plan", harness.write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=names
    )


NATIVE = {**OPTICAL, "bands": ["coastal", "red", "nir", "swir16"]}


def test_native_bands_keep_their_own_grid(sensors, tmp_path):
    """One search, one choice, three grids; copies of the files' pixels where these lie on the chips' lattice."""
    layers = {"s2": {**NATIVE, "native": True, "max_cloud": 100}, "s1": RADAR, "all": NATIVE}
    together = make(
        tmp_path / "native", sensors, layers, {"size": 12}, keep=["s2.valid_fraction > 0.1"]
    )  # fmt: skip
    assert len(together) >= 4
    for sample in together.values():
        meta = sample.meta["layers"]
        own = {
            name: (layer["bands"], layer["shape"][-1])
            for name, layer in meta.items()
            if layer["kind"] == "imagery"
        }
        assert own == {
            "s2_10m": (["red", "nir"], 12), "s2_20m": (["swir16"], 6), "s2_60m": (["coastal"], 2),
            "s1": (["vv"], 12), "all": (["coastal", "red", "nir", "swir16"], 12),
        }  # fmt: skip
        for group in ("s2_10m", "s2_20m", "s2_60m"):
            assert meta[group]["items"] == meta["all"]["items"] == [["S2_0612"]]
            assert sample.arrays[f"{group}_mask"].shape == sample.arrays[group].shape[1:]
        np.testing.assert_array_equal(sample.arrays["s2_10m"], sample.arrays["all"][1:3])
    for layer, bands, chips in (
        ("s2_20m", ["swir16"], {"size": 6, "resolution": 20}), ("s2_60m", ["coastal"], {"size": 2, "resolution": 60}),
    ):  # fmt: skip
        alone = make(tmp_path / layer, sensors, {"own": {**OPTICAL, "bands": bands}}, chips)
        by_corner = {corner(s, "own"): s for s in alone.values()}
        for sample in together.values():
            np.testing.assert_array_equal(
                sample.arrays[layer], by_corner[corner(sample, layer)].arrays["own"]
            )


def test_native_names_the_nearest_good_size(sensors, tmp_path):
    window = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", *sensor_world.AREA)
    mapping = sensor_world.recipe(
        sensors.catalog(f"catalog_{tmp_path.name}"), window, {"s2": {**NATIVE, "native": True}}
    )
    recipe = harness.write_recipe(tmp_path / "r.yaml", mapping)
    harness.refuse(
        3, "plan", recipe, "-o", tmp_path / "out", names=("imagery.s2.native", "66 pixels of 10 m")
    )
