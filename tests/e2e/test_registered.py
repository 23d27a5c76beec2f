"""Scenes that lie wrong by a known part of a pixel: told, laid where they belong by one resampling, or dropped."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from chipweave.pixels.register import View, estimate
from worlds import harness, recipes
from worlds.analytic import lonlat, write_raster
from worlds.fields import Field
from worlds.ground import Ground, speckled
from worlds.places import BORDER
from worlds.sensor_world import recipe
from worlds.stac import item, write_catalog

CRS, LEFT, TOP, SIDE = "EPSG:32632", 732000.0, 4989600.0, 160
"""A scene of 1600 m; its chip of 1280 m begins at (732160, 4989440)."""

CHIP = {"size": 128, "resolution": 10}
SHIFTS = {
    "2021-06-02": (0.0, 0.0), "2021-06-07": (0.2, -0.2), "2021-06-12": (-0.5, 0.5), "2021-06-17": (1.3, -0.5)
}  # fmt: skip
"""Pixels to the right and down by which the scene of a date lies wrong; the first one is the clearest."""


def waves() -> Field:
    """Of 9 to 40 pixels in all directions: texture, with a gradient and a curvature that are known everywhere."""
    rng = np.random.default_rng(3)
    lengths, headings, turns = np.geomspace(9, 40, 30), rng.uniform(0, 360, 30), rng.uniform(0, 6.28, 30)
    return Field(
        BORDER, 3000.0,
        tuple((40 + n, 10 * n, h, t) for n, h, t in zip(lengths.tolist(), headings, turns, strict=True)),
    )  # fmt: skip


FIELD = waves()


def points(x, y, shift=(0.0, 0.0)):
    """Degrees of what is seen at points of the CRS in a scene that lies wrong."""
    return lonlat(CRS, x - 10 * shift[0], y + 10 * shift[1])


def grid(side=SIDE, res=10.0):
    at = (np.arange(side) + 0.5) * res
    return np.meshgrid(LEFT + at, TOP - at)


def optical(folder, date, shift, cloud=0):
    """Files and item of a Sentinel-2 scene; the western half of `cloud` rows in its south is cloudy."""
    stored = np.rint(FIELD.value(*points(*grid(), shift))).astype(np.uint16)
    codes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    if cloud:
        codes[-cloud // 2 :, : SIDE // 4] = 9
    name, affine = f"S2_{date}", harness.Affine(10.0, 0, LEFT, 0, -10.0, TOP)
    write_raster(folder / name / "B08.tif", stored, CRS, affine, 0)
    write_raster(folder / name / "SCL.tif", codes, CRS, affine * affine.scale(2), 0)
    assets = {
        key: {"href": f"./{name}/{key}.tif", "type": "image/tiff", "roles": ["data"]}
        for key in ("B08", "SCL")
    }
    facts = {"datetime": f"{date}T10:10:31Z", "platform": "sentinel-2a", "proj:epsg": 32632}
    facts |= {"s2:processing_baseline": "02.14", "eo:cloud_cover": float(cloud)}
    bounds = (LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP)
    return item(name, "sentinel-2-l2a", CRS, bounds, facts, assets)


def radar(folder, date, shift, ground):
    """Of a radar scene: power of two polarisations under the speckle of five looks, a fifth of the fields changed."""
    db = ground.sample((SIDE, SIDE), *shift, date=int(date[-2:]), changed=0.2 if any(shift) else 0.0)
    name, affine = f"S1_{date}", harness.Affine(10.0, 0, LEFT, 0, -10.0, TOP)
    for n, key in enumerate(("vv", "vh")):
        power = speckled(-11.0 - 6 * n + 3 * db, 5, [n, int(date[-2:])]).astype(np.float32)
        write_raster(folder / name / f"{key}.tif", power, CRS, affine, -32768.0)
    assets = {
        key: {"href": f"./{name}/{key}.tif", "type": "image/tiff", "roles": ["data"]} for key in ("vv", "vh")
    }
    facts = {"datetime": f"{date}T05:26:24Z", "platform": "sentinel-1a", "proj:epsg": 32632}
    bounds = (LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP)
    return item(name, "sentinel-1-rtc", CRS, bounds, facts, assets)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Four optical scenes and two of radar; the later ones have some cloud."""
    folder = tmp_path_factory.mktemp("crooked")
    items = [optical(folder, d, s, 18 * (n > 0)) for n, (d, s) in enumerate(SHIFTS.items())]
    ground = Ground(seed=5, size=1.5 * SIDE)
    items += [
        radar(folder, "2021-06-03", (0.0, 0.0), ground),
        radar(folder, "2021-06-15", (0.5, -1.3), ground),
    ]
    return write_catalog(folder / "items.json", items)


def nir(time, **more):
    return {"collection": "sentinel-2-l2a", "bands": ["nir"], "time": time, **more}


def area(tmp):
    return recipes.window(tmp / "aoi.geojson", CRS, LEFT + 400, TOP - 1200, LEFT + 1200, TOP - 400)


def build(tmp, catalog, layers, **more):
    out = harness.build(tmp, recipe(catalog, area(tmp), layers, chips=CHIP, **more))
    harness.succeed("verify", out)
    (sample,) = harness.read_samples(out).values()
    return sample, out


def check(sample, array):
    """Pixels are those of the ground: a linear blend, 0.05 px, and 1 DN; a cell may bend more beside its middle."""
    lon, lat = points(*sample.centres())
    (fx, fy), (fxx, fyy, _) = FIELD.gradient(lon, lat), FIELD.second(lon, lat)
    allowed = 1 + 0.5 * (np.abs(fx) + np.abs(fy)) + 1.25 * 100 / 8 * (np.abs(fxx) + np.abs(fyy))
    return (np.abs(array - FIELD.value(lon, lat)) <= allowed).mean()


@pytest.fixture(scope="module")
def laid(world, tmp_path_factory):
    layers = {"ref": nir("2021-06-02")}
    for n, date in enumerate(list(SHIFTS)[1:]):
        layers[f"d{n}"] = nir(date, register={"to": "ref", "max_shift_px": 3})
    layers["told"] = nir("2021-06-17", register={"to": "ref"})
    power = {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "unit": "dB"}
    layers |= {
        "s1": {**power, "time": "2021-06-03"},
        "later": {**power, "time": "2021-06-15", "register": {"to": "s1", "max_shift_px": 3}},
    }
    return build(tmp_path_factory.mktemp("laid"), world, layers, output={"formats": ["webdataset", "zarr"]})


def test_scenes_that_lie_wrong_are_laid_where_they_belong(laid):
    sample, _ = laid
    for n, (dx, dy) in enumerate(list(SHIFTS.values())[1:]):
        said = sample.meta["layers"][f"d{n}"]
        assert said["shift_x"][0] == pytest.approx(dx, abs=0.1)
        assert said["shift_y"][0] == pytest.approx(dy, abs=0.1)
        assert 0.5 < said["shift_confidence"][0] <= 1
        assert said["shift_corrected"] == [True]
        assert said["transform"] == sample.meta["layers"]["ref"]["transform"]
        assert check(sample, sample.arrays[f"d{n}"][0]) > 0.99
    assert check(sample, sample.arrays["told"][0]) < 0.5, "the test cannot fail"
    # What is laid onto is itself as it was read, and its mask moved with it.
    assert "shift_x" not in sample.meta["layers"]["ref"]
    assert 2 <= (sample.arrays["d2_mask"] != sample.arrays["told_mask"]).sum() < 100


def test_a_shift_that_is_only_told_moves_nothing(laid, world):
    sample, out = laid
    said = sample.meta["layers"]["told"]
    assert said["shift_corrected"] == [False]
    assert said["shift_x"] == sample.meta["layers"]["d2"]["shift_x"]
    stored = np.rint(FIELD.value(*points(*sample.centres(), SHIFTS["2021-06-17"])))
    np.testing.assert_array_equal(sample.arrays["told"][0], stored)
    index = pd.read_parquet(out / "index.parquet")
    for layer in ("told", "d0", "later"):
        for key in ("shift_x", "shift_y", "shift_confidence"):
            assert index[f"{layer}_{key}"][0].tolist() == sample.meta["layers"][layer][key]
    assert not [c for c in index.columns if c.startswith(("ref_shift", "s1_shift"))]


def test_verify_knows_that_pictures_were_moved(laid):
    """Held against their files they lie elsewhere, as they should: nothing is wrong with that."""
    _, out = laid
    done = harness.succeed("verify", out, "--alignment", "--json")
    (source,) = (c for c in json.loads(done.stdout)["checks"] if c["name"] == "source")
    seen = json.dumps(source["numbers"])
    assert "ref: " in seen
    assert "told: " in seen
    assert "d0: " not in seen, seen


def test_radar_onto_radar(laid):
    """Speckle of two dates: the shift is found, and what was moved lies there when it is measured again."""
    sample, _ = laid
    said = sample.meta["layers"]["later"]
    assert said["shift_x"][0] == pytest.approx(0.5, abs=0.1)
    assert said["shift_y"][0] == pytest.approx(-1.3, abs=0.1)
    again = estimate(View(sample.arrays["s1"], "dB"), View(sample.arrays["later"], "dB"))
    assert again.known
    assert max(abs(again.dx), abs(again.dy)) < 0.1


def test_dates_of_a_series_are_laid_onto_its_clearest_one(world, tmp_path):
    layer = nir(
        "2021-06-01/2021-06-30", select={"method": "series", "max": 5}, steps={"min": 4},
        register={"to": "s2", "max_shift_px": 3},
    )  # fmt: skip
    sample, _ = build(tmp_path, world, {"s2": layer})
    said = sample.meta["layers"]["s2"]
    assert [d[:10] for d in said["datetime"]] == [*SHIFTS, ""]
    assert said["shift_corrected"] == [False, True, True, True, False]
    assert (said["shift_x"][0], said["shift_confidence"][0]) == (0.0, 1.0)  # the others are laid onto it
    assert (said["shift_x"][4], said["shift_confidence"][4]) == (0.0, 0.0)  # a gap
    for step, (dx, dy) in enumerate(SHIFTS.values()):
        assert (said["shift_x"][step], said["shift_y"][step]) == pytest.approx((dx, dy), abs=0.1)
        assert check(sample, sample.arrays["s2"][step, 0]) > 0.99
    assert (sample.arrays["s2"][4] == -32768).all()


def test_a_chip_whose_scene_lies_too_far_off_is_dropped_late(world, tmp_path):
    layers = {"ref": nir("2021-06-02"), "far": nir("2021-06-17", register={"to": "ref", "max_shift_px": 1})}
    mapping = recipe(world, area(tmp_path), layers, chips=CHIP)
    path = harness.write_recipe(tmp_path / "r.yaml", mapping)
    harness.refuse(5, "build", path, "-o", tmp_path / "out", "--workers", 0)
    (row,) = harness.ledger(tmp_path / "out").itertuples()
    assert (row.state, row.stage, row.reason, row.layer) == ("dropped", "weave", "register", "far")
    assert "1.39 px from ref" in row.error or "1.40 px from ref" in row.error


RADAR = {"collection": "sentinel-1-rtc", "bands": ["vv"], "time": "2021-06-03"}


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ({"s2": nir("2021-06-02"), "s1": {**RADAR, "register": {"to": "s2", "max_shift_px": 2}}},
         ("imagery.s1.register.to", "s2 is of another kind", "50 neighbours", "fullest tile has 1")),
        ({"s2": nir("2021-06-02", register={"to": "s2"})}, ("imagery.s2.register.to", "it has one date")),
        ({"s2": nir("2021-06-02"), "red": {**nir("2021-06-07"), "bands": ["red"], "register": {"to": "s2"}}},
         ("imagery.red.register.to", "shares no band")),
        ({"s2": nir("2021-06-02"), "fine": nir("2021-06-07", resolution=5, register={"to": "s2"})},
         ("imagery.fine.register.to", "256 pixels of 5 m")),
        ({"a": nir("2021-06-02", register={"to": "b"}), "b": nir("2021-06-07", register={"to": "a"})},
         ("imagery.a.register.to", "a -> b -> a")),
        ({"a": nir("2021-06", select={"method": "composite"}, register={"to": "b", "max_shift_px": 1}),
          "b": nir("2021-06-07")}, ("imagery.a.register.max_shift_px", "composite")),
    ],
)  # fmt: skip
def test_what_cannot_be_told_or_moved_is_refused(world, tmp_path, layers, names):
    path = harness.write_recipe(tmp_path / "r.yaml", recipe(world, area(tmp_path), layers, chips=CHIP))
    harness.refuse(3, "plan", path, "-o", tmp_path / "out", names=names)


def test_a_recipe_that_asks_for_nothing_says_nothing(world, tmp_path):
    sample, _ = build(tmp_path, world, {"s2": nir("2021-06-02")})
    assert "shift" not in json.dumps(sample.meta)
