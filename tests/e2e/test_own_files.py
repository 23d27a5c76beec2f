"""A build of files alone: an aerial photo of one's own, heights without a date, and Landsat with its quality bits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from chipweave.catalog.footprint import projected
from chipweave.shards.reader import Reader
from tiny import UTM, north_up, write_tif
from worlds import harness

X, Y, SIDE = 600_000.0, 5_250_000.0, 960
"""Upper left corner, and metres of a side."""


def item(ident, collection, files, **properties):
    """Of files below the catalog's folder, by asset key."""
    ring = ((X, Y), (X + SIDE, Y), (X + SIDE, Y - SIDE), (X, Y - SIDE))
    outline = projected(UTM, ring)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": ident, "collection": collection, "links": [],
        "bbox": list(outline.bounds), "geometry": json.loads(json.dumps(outline.__geo_interface__)),
        "properties": {"datetime": "2021-06-10T10:00:00Z", **properties},
        "assets": {k: {"href": f"./{v}.tif", "type": "image/tiff", "roles": ["data"]} for k, v in files.items()},
    }  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(5)
    wide = SIDE // 30
    red = rng.integers(7500, 20000, (wide, wide)).astype(np.uint16)
    red[:2] = 0
    qa = rng.choice(np.array([21824, 21952, 22280, 23888], np.uint16), red.shape, p=[0.6, 0.3, 0.06, 0.04])
    qa[red == 0] = 1
    heights = rng.normal(500, 50, (wide, wide)).astype(np.float32)
    for name, array in (("red", red), ("qa", qa), ("dem", heights)):
        write_tif(folder / f"{name}.tif", array, UTM, north_up(X, Y, 30.0))
    photo = rng.integers(1, 255, (4, SIDE // 10, SIDE // 10)).astype(np.uint8)
    (folder / "photos").mkdir()
    for year, shift in ((2019, 0), (2021, 1)):
        with rasterio.open(
            folder / "photos" / f"dop_{year}-07-01.tif", "w", driver="GTiff", count=4, dtype="uint8", crs=UTM,
            height=photo.shape[1], width=photo.shape[2], transform=north_up(X, Y, 10.0), photometric="RGB",
        ) as out:  # fmt: skip
            out.write(photo - shift)
    items = [
        item(
            "L",
            "landsat-c2-l2",
            {"SR_B3": "red", "QA_PIXEL": "qa"},
            platform="LANDSAT_7",
            **{"eo:cloud_cover": 9},
        ),
        item("D", "cop-dem-glo-30", {"data": "dem"}, datetime="2015-01-01T00:00:00Z"),
    ]
    (folder / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8"
    )
    centre = projected(UTM, ((X + 300, Y - 300), (X + 600, Y - 300), (X + 600, Y - 600), (X + 300, Y - 600)))
    recipe = {
        "version": 1, "catalog": "items.json", "area": {"bbox": list(centre.bounds), "rule": "intersects"},
        "chips": {"size": 8, "resolution": 30, "lattice": {"anchor": [X, Y]}, "crs": UTM},
        "imagery": {
            "landsat": {"collection": "landsat-c2-l2", "bands": ["red"], "time": "2021", "dilate_m": 45},
            "dem": {"collection": "cop-dem-glo-30", "bands": ["elevation"]},
            "photo": {"collection": "local", "catalog": "photos", "bands": ["red", "b4"], "time": "2021"},
        },
    }  # fmt: skip
    path = harness.write_recipe(folder / "recipe.yaml", recipe)
    out = tmp_path_factory.mktemp("built") / "out"
    harness.succeed("build", path, "-o", out, "--workers", 0)
    return out, {"red": red, "qa": qa, "dem": heights, "photo": photo - 1}


def test_every_chip_is_the_files(built):
    out, truth = built
    with Reader(out) as reader:
        assert len(reader.keys) >= 4
        for key in reader.keys:
            meta, arrays = reader.read(key)
            col, row = round((meta["transform"][2] - X) / 30), round((Y - meta["transform"][5]) / 30)
            window = np.s_[row : row + 8, col : col + 8]
            stored = truth["red"][window].astype(np.float64)
            expected = np.where(stored == 0, -32768, np.rint(stored * 0.275 - 2000))
            assert np.abs(arrays["landsat"][0] - expected).max() <= 1
            np.testing.assert_array_equal(arrays["dem"][0], truth["dem"][window])
            fine = truth["photo"][[0, 3], 3 * row : 3 * row + 24, 3 * col : 3 * col + 24].astype(np.float64)
            mean = fine.reshape(2, 8, 3, 8, 3).mean(axis=(2, 4))
            assert np.abs(arrays["photo"] - mean).max() <= 0.5 + 1e-9


def test_bad_pixels_have_grown_across_chips(built):
    out, truth = built
    bad, fill = (truth["qa"] & 0b11110) > 0, (truth["qa"] & 1) > 0
    near = np.argwhere(bad)
    grown = np.zeros(bad.shape, np.uint8)
    for r in range(len(bad)):
        for c in range(len(bad)):
            grown[r, c] = (30 * np.hypot(near[:, 0] - r, near[:, 1] - c) <= 45).any()
    grown[fill] = 255
    with Reader(out) as reader:
        for key in reader.keys:
            meta, arrays = reader.read(key)
            col, row = round((meta["transform"][2] - X) / 30), round((Y - meta["transform"][5]) / 30)
            np.testing.assert_array_equal(arrays["landsat_mask"], grown[row : row + 8, col : col + 8])
            data = arrays["landsat_mask"] != 255
            share = (arrays["landsat_mask"] == 1).sum() / max(data.sum(), 1)
            assert meta["layers"]["landsat"]["cloud_fraction"] == pytest.approx(share, abs=1e-6)


def test_what_a_sample_says_of_them(built):
    out, _ = built
    with Reader(out) as reader:
        layers = reader.read(reader.keys[0])[0]["layers"]
    said = {n: (v["unit"], v["dtype"], v["scale"], v["collection"], v["datetime"]) for n, v in layers.items()}
    assert said["landsat"] == ("reflectance", "int16", 0.0001, "landsat-c2-l2", ["2021-06-10T10:00:00Z"])
    assert said["dem"] == ("m", "float32", 1.0, "cop-dem-glo-30", ["2015-01-01T00:00:00Z"])
    assert said["photo"][:4] == ("DN", "int16", 1.0, "local")
    assert said["photo"][4][0].startswith("2021-07-01")
    assert harness.chipweave("verify", out).returncode == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "local" in card
    assert "Airbus" in (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
