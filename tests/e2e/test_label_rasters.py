"""Raster labels on a planted map: every one of CORINE's 44 codes as BigEarthNet's 19 classes, remaps, ages, heights."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.features
import shapely

from chipweave.catalog.footprint import projected
from tiny import UTM, north_up, write_tif
from worlds import harness
from worlds.samples import CLASS_OF, CLC

X, Y, PX, ROWS, COLS = 600_000.0, 5_250_000.0, 40, 4, 6
WIDTH, HEIGHT = PX * COLS, PX * ROWS

IMAGE = datetime(2021, 6, 10, 10, tzinfo=UTC)


def _map() -> np.ndarray:
    """The planted map: chips in rows, the first few as the rules need them."""
    rng = np.random.default_rng(6)
    chips = [np.repeat(rng.choice(np.arange(1, 45), 4), PX * PX // 4) for _ in range(ROWS * COLS)]
    chips[0] = np.resize(np.arange(1, 45), PX * PX)
    chips[1] = np.repeat([23, 4], [1200, 400])
    chips[2] = np.repeat([23, 4], [1201, 399])
    chips[3] = np.repeat([12, 33, 0], [1200, 320, 80])
    chips[4] = np.repeat([12, 60], [1590, 10])
    chips[5] = np.repeat([44, 12, 13], [800, 480, 320])
    rows = [np.hstack([c.reshape(PX, PX) for c in chips[r * COLS : (r + 1) * COLS]]) for r in range(ROWS)]
    return np.vstack(rows).astype(np.uint8)


def write_features(path, features):
    frame = gpd.GeoDataFrame([p for _, p in features], geometry=[g for g, _ in features], crs=UTM)
    frame.to_file(path, driver="GPKG")


def _item(ident, collection, when, **files):
    ring = ((X, Y), (X + 10 * WIDTH, Y), (X + 10 * WIDTH, Y - 10 * HEIGHT), (X, Y - 10 * HEIGHT))
    outline = projected(UTM, ring)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": ident, "collection": collection, "links": [],
        "bbox": list(outline.bounds), "geometry": json.loads(json.dumps(outline.__geo_interface__)),
        "properties": {"datetime": when},
        "assets": {k: {"href": f"./{v}.tif", "type": "image/tiff", "roles": ["data"]} for k, v in files.items()},
    }  # fmt: skip


REMAPPED = {1: 7, 2: 7, 12: 3, 13: 3, 44: 255}
LABELS = {
    "corine": {"collection": "corine", "edition": 2018, "scene_labels": {"remap": "bigearthnet-19"}},
    "ben": {"collection": "corine", "edition": 2018, "remap": "bigearthnet-19", "max_label_age": 3},
    "few": {"collection": "corine", "edition": 2018, "remap": REMAPPED, "ignore": [7]},
    "most": {
        "collection": "corine", "edition": 2018, "ignore": [23],
        "scene_labels": {"rule": "majority", "min_fraction": 0.3},
    },
    "height": {"file": "height.tif", "unit": "m", "date": 2020},
    "terrain": {"collection": "cop-dem-glo-30"},
    "warmth": {"file": "warmth.tif", "date": "2021-06"},
    "polygons": {
        "file": "clc.gpkg", "legend": "corine", "date": 2018, "burn": [{"column": "Code_18"}],
        "scene_labels": {"remap": "bigearthnet-19"},
    },
    "fields": {"file": "fields.gpkg", "date": 2018, "burn": [{"value": 1}], "instances": True},
    "clean": {"collection": "corine", "edition": 2018, "cleanup": {"segments": "fields"}, "ignore": [44]},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(7)
    arrays = {
        "clc": _map(),
        "dem": rng.normal(500, 50, (HEIGHT, WIDTH)).astype(np.float32),
        "height": rng.integers(0, 80, (2 * HEIGHT, 2 * WIDTH)).astype(np.uint8),
        "warmth": rng.normal(15, 3, (HEIGHT // 4, WIDTH // 4)).astype(np.float32),
        "red": np.full((HEIGHT, WIDTH), 9000, np.uint16),
    }
    arrays["height"][: 2 * PX, : 2 * PX] = 255
    sides = {"height": 5.0, "warmth": 40.0}
    for name, array in arrays.items():
        nodata = {"height": 255, "clc": 0}.get(name)
        write_tif(folder / f"{name}.tif", array, UTM, north_up(X, Y, sides.get(name, 10.0)), nodata)
    with rasterio.open(folder / "height.tif", "r+") as out:
        out.scales, out.offsets = (0.5,), (-1.0,)
    known = np.isin(arrays["clc"], range(1, 45))
    found = rasterio.features.shapes(arrays["clc"], known, transform=north_up(X, Y, 10.0))
    shapes = [(shapely.geometry.shape(s), {"Code_18": CLC[int(code) - 1]}) for s, code in found]
    write_features(folder / "clc.gpkg", shapes)
    squares = [
        (shapely.box(X + 80 * c, Y - 80 * r - 80, X + 80 * c + 80, Y - 80 * r), {"name": f"{r}-{c}"})
        for r in range(HEIGHT // 8) for c in range(WIDTH // 8) if (r + c) % 3
    ]  # fmt: skip
    write_features(folder / "fields.gpkg", squares)
    items = [
        _item("U2018_CLC2018_V2020", "corine", "2018-07-01T00:00:00Z", map="clc"),
        _item("D", "cop-dem-glo-30", "2015-01-01T00:00:00Z", data="dem"),
        _item("L", "landsat-c2-l2", IMAGE.isoformat(), SR_B3="red"),
    ]
    (folder / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8"
    )
    return folder, arrays


def _recipe(folder, labels, **more):
    corners = ((X + 5, Y - 5), (X + 10 * WIDTH - 5, Y - 5), (X + 10 * WIDTH - 5, Y - 10 * HEIGHT + 5))
    outline = projected(UTM, (*corners, (X + 5, Y - 10 * HEIGHT + 5)))
    recipe = {
        "version": 1, "catalog": str(folder / "items.json"),
        "area": {"bbox": list(outline.bounds), "rule": "centre"},
        "chips": {"size": PX, "resolution": 10, "lattice": {"anchor": [X, Y]}, "crs": UTM},
        "imagery": {"l": {"collection": "landsat-c2-l2", "bands": ["red"], "time": "2021"}},
        "labels": labels, "output": {"formats": ["webdataset", "zarr"]}, **more,
    }  # fmt: skip
    return harness.write_recipe(folder / "recipe.yaml", recipe)


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    folder, arrays = world
    out = tmp_path_factory.mktemp("built") / "out"
    done = harness.succeed("build", _recipe(folder, LABELS), "-o", out, "--workers", 0)
    return out, arrays, harness.read_samples(out), done.stderr


def _window(sample):
    a = sample.meta["transform"]
    col, row = round((a[2] - X) / 10), round((Y - a[5]) / 10)
    return np.s_[row : row + PX, col : col + PX], row // PX * COLS + col // PX


def test_the_reference_map_and_the_multi_labels(built):
    """`ben` is the map in 19 classes; the scene labels beside CORINE's own codes are its classes that have a pixel."""
    _, arrays, samples, _ = built
    assert len(samples) == ROWS * COLS
    truth = np.full(256, 254, np.uint8)
    truth[0] = truth[45:] = 255
    for value, number in CLASS_OF.items():
        truth[value] = number
    assert len(CLASS_OF) == 32
    seen = set()
    for sample in samples.values():
        window, _ = _window(sample)
        stored = arrays["clc"][window]
        seen |= set(np.unique(stored).tolist())
        expected = truth[stored]
        np.testing.assert_array_equal(sample.arrays["ben"], expected)
        np.testing.assert_array_equal(sample.arrays["corine"], np.where(stored > 44, 0, stored))
        present = [int((expected == n).any()) for n in range(19)]
        corine, ben = sample.meta["layers"]["corine"], sample.meta["layers"]["ben"]
        assert corine["scene_labels"] == ben["scene_labels"] == present
        assert (corine["legend"], corine["scene_legend"]) == ("corine", "bigearthnet-19")
        assert (ben["legend"], ben["nodata"], ben["unlabeled"]) == ("bigearthnet-19", 255, 254)
        assert list(corine["fractions"]) == [str(n) for n in range(1, 45)]
        shares = {str(n): (expected == n).sum() / expected.size for n in range(19)}
        assert corine["scene_fractions"] == ben["fractions"] == pytest.approx(shares)
        assert corine["ignored"] == ben["ignored"] == pytest.approx((expected > 18).mean())
        assert ben["valid_fraction"] == pytest.approx((expected != 255).mean())
    assert set(range(1, 45)) <= seen


def test_polygons_of_level_3_codes_say_the_same(built):
    """Burned at pixel centres; where no polygon lies there is no class, and BigEarthNet counts it so."""
    _, _, samples, _ = built
    for sample in samples.values():
        np.testing.assert_array_equal(sample.arrays["polygons"], sample.arrays["corine"])
        raster, vector = sample.meta["layers"]["corine"], sample.meta["layers"]["polygons"]
        for what in ("scene_labels", "scene_legend", "scene_fractions", "ignored", "fractions", "age_days"):
            assert vector[what] == raster[what], what


def test_fields_vote(built):
    """A field's pixels are what most of them were, 44 having no vote; between fields nothing changes."""
    _, _, samples, _ = built
    for sample in samples.values():
        before, after = sample.arrays["corine"], sample.arrays["clean"]
        fields = sample.arrays["fields_instances"]
        expected, agreed, voters = before.copy(), 0, 0
        for number in set(np.unique(fields).tolist()) - {0}:
            own = (fields == number) & np.isin(before, range(1, 44))
            if own.any():
                counts = np.bincount(before[own])
                agreed, voters = agreed + counts.max(), voters + own.sum()
                if counts.max() >= 0.5 * own.sum():
                    expected[own] = counts.argmax()
        np.testing.assert_array_equal(after, expected)
        said = sample.meta["layers"]["clean"]
        assert said["agreement"] == pytest.approx(agreed / voters if voters else 1.0)
        assert said["changed"] == pytest.approx((after != before).mean())
    assert any((s.arrays["clean"] != s.arrays["corine"]).any() for s in samples.values())


def test_codes_that_no_legend_knows_are_said(built):
    _, _, samples, stderr = built
    assert "labels.corine: 10 pixels hold codes that its legend does not know" in stderr
    sample = next(s for s in samples.values() if _window(s)[1] == 4)
    assert sample.meta["layers"]["corine"]["ignored"] == pytest.approx(10 / 1600)


def test_codes_to_codes(built):
    _, arrays, samples, stderr = built
    assert "labels.few.remap: not listed, so unlabeled: 3, 4, 5, 6, 7 and 34 more" in stderr
    for sample in samples.values():
        stored = arrays["clc"][_window(sample)[0]]
        expected = np.full(stored.shape, 254, np.uint8)
        for code, to in REMAPPED.items():
            expected[stored == code] = to
        expected[(stored == 0) | (stored > 44)] = 255
        np.testing.assert_array_equal(sample.arrays["few"], expected)
        said = sample.meta["layers"]["few"]
        assert list(said["fractions"]) == ["3", "7"]
        assert said["fractions"]["7"] == pytest.approx((expected == 7).mean())
        assert (said["ignore"], said["scene_labels"]) == ([7], [int((expected == 3).any()), 0])
        assert said["ignored"] == pytest.approx((expected != 3).mean())


def test_majority_of_what_is_not_ignored(built):
    _, arrays, samples, _ = built
    for sample in samples.values():
        stored = arrays["clc"][_window(sample)[0]]
        counts = np.array([(stored == n).sum() for n in range(1, 45)])
        counts[22] = 0
        counts[counts < 0.3 * stored.size] = 0
        expected = np.zeros(44, int)
        if counts.any():
            expected[counts.argmax()] = 1
        assert sample.meta["layers"]["most"]["scene_labels"] == expected.tolist()


def test_numbers_have_a_unit(built):
    """Stored halves of a metre, at half the pixel, become means; a float file needs no unit, heights have no date."""
    out, arrays, samples, _ = built
    stats = json.loads((out / "stats.json").read_text())
    total = []
    for sample in samples.values():
        (rows, cols), number = _window(sample)
        fine = arrays["height"][2 * rows.start : 2 * rows.stop, 2 * cols.start : 2 * cols.stop].astype(
            np.float64
        )
        got, said = sample.arrays["height"], sample.meta["layers"]["height"]
        mean = fine.reshape(PX, 2, PX, 2).mean(axis=(1, 3)) * 0.5 - 1
        if number == 0:
            assert np.isnan(got).all()
            assert said["valid_fraction"] == 0
        else:
            np.testing.assert_allclose(got, mean, rtol=0, atol=1e-5)
            total.append(got)
        assert (said["unit"], said["dtype"], said["nodata"], said["scale"]) == ("m", "float32", "nan", 1.0)
        assert said["dims"] == ["y", "x"]
        assert "fractions" not in said
        np.testing.assert_array_equal(sample.arrays["terrain"], arrays["dem"][rows, cols])
        assert sample.meta["layers"]["terrain"]["unit"] == "m"
        assert sample.meta["layers"]["terrain"]["datetime"] == [""]
        inner = arrays["warmth"][rows.start // 4 : rows.stop // 4, cols.start // 4 : cols.stop // 4]
        warm = sample.arrays["warmth"]
        # Bilinear: centres of 40 m pixels lie between four of 10 m.
        between = warm[1::4, 1::4] + warm[2::4, 2::4] + warm[1::4, 2::4] + warm[2::4, 1::4]
        np.testing.assert_allclose(
            between[1:-1, 1:-1] / 4,
            _smooth(arrays["warmth"])[
                rows.start // 4 + 1 : rows.stop // 4 - 1, cols.start // 4 + 1 : cols.stop // 4 - 1
            ],
            atol=1e-4,
        )
        assert inner.shape == (10, 10)
    assert stats["height"]["value"]["count"] == sum(a.size for a in total)
    assert stats["height"]["value"]["mean"] == pytest.approx(np.mean(total), rel=1e-6)


def _smooth(coarse):
    """Mean over the four pixels nearest to the centre of a coarse one, 5 m from it each way."""
    padded = np.pad(coarse.astype(np.float64), 1, mode="edge")
    out = np.zeros(coarse.shape)
    for i, a in ((-1, 0.0625), (0, 0.875), (1, 0.0625)):
        for j, b in ((-1, 0.0625), (0, 0.875), (1, 0.0625)):
            out += a * b * padded[1 + i : 1 + i + coarse.shape[0], 1 + j : 1 + j + coarse.shape[1]]
    return out


def test_the_time_between_label_and_image(built):
    out, _, samples, _ = built
    days = (IMAGE - datetime(2019, 1, 1, tzinfo=UTC)).total_seconds() / 86400
    ages = {
        "corine": days,
        "ben": days,
        "height": (IMAGE - datetime(2021, 1, 1, tzinfo=UTC)).total_seconds() / 86400,
        "warmth": 0.0,
    }
    for sample in samples.values():
        for name, age in ages.items():
            assert sample.meta["layers"][name]["age_days"] == pytest.approx(age, abs=1e-3)
        assert "age_days" not in sample.meta["layers"]["terrain"]
    index = pq.read_table(out / "index.parquet")
    assert {
        "clean_agreement",
        "corine_age_days",
        "corine_ignored",
        "corine_scene_fractions",
        "corine_scene_labels",
    } <= set(index.column_names)
    assert len(index["corine_scene_labels"][0].as_py()) == 19
    assert len(index["corine_fractions"][0].as_py()) == 44


def test_verify_says_so(built):
    harness.succeed("verify", built[0])


def test_patches_without_labels_are_left_out(world, tmp_path):
    """BigEarthNet's rule: a quarter of the patch or more without a class, no polygon there included."""
    folder, arrays = world
    labels = {"corine": LABELS["corine"]}
    out = tmp_path / "out"
    harness.succeed(
        "plan", _recipe(folder, labels, keep=["corine.ignored < 0.25"]), "-o", out, "--set", "imagery="
    )
    chips = pq.read_table(out / "plan" / "chips.parquet").to_pandas()
    truth = np.isin(arrays["clc"], list(CLASS_OF)).reshape(ROWS, PX, COLS, PX).mean(axis=(1, 3))
    kept = dict(zip(zip(chips["y"], chips["x"], strict=True), chips["state"] == "kept", strict=True))
    for (y, x), state in kept.items():
        row, col = round((Y - y) / 10 / PX), round((x - X) / 10 / PX)
        assert state == (1 - truth[row, col] < 0.25), (row, col)
    assert not kept[Y, X + 10 * PX]
    assert kept[Y, X + 20 * PX]
    assert not kept[Y, X + 30 * PX]


def test_the_same_as_a_key_of_the_layer(world, tmp_path):
    folder, _ = world
    scene = {"remap": "bigearthnet-19", "exclude_ignored_above": 0.2499}
    labels = {
        "corine": {**LABELS["corine"], "scene_labels": scene},
        "most": {**LABELS["most"], "max_label_age": 2.44},
    }
    out = tmp_path / "out"
    harness.chipweave(
        "plan", _recipe(folder, labels), "-o", out
    )  # none is left: every label is 891.4 days old
    chips = pq.read_table(out / "plan" / "chips.parquet").to_pandas()
    assert set(chips["reason"]) == {"ignored", "label_age"}
    dropped = chips[chips["reason"] == "ignored"]
    assert set(dropped["layer"]) == {"corine"}
    assert set(chips[chips["reason"] == "label_age"]["layer"]) == {"most"}
    assert (Y, X + 10 * PX) in set(zip(dropped["y"], dropped["x"], strict=True))


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ({"remap": "worldcover"}, ("worldcover", "corine")),
        ({"remap": "bigearthnet-20"}, ("bigearthnet-19",)),
        ({"remap": {99: 1}}, ("labels.corine.remap", "99")),
        ({"ignore": [99]}, ("labels.corine.ignore", "99")),
        ({"resample": "mean"}, ("labels.corine.resample",)),
        ({"max_label_age": "100d"}, ("labels.corine.max_label_age", "2018")),
        ({"max_label_age": "long"}, ("labels.corine.max_label_age",)),
        ({"scene_labels": {"rule": "fraction"}}, ("min_fraction",)),
        ({"unit": "m"}, ("labels.corine.unit",)),
    ],
)
def test_what_cannot_be_is_refused(world, tmp_path, label, names):
    folder, _ = world
    labels = {"corine": {"collection": "corine", "edition": 2018, **label}}
    harness.refuse(3, "plan", _recipe(folder, labels), "-o", tmp_path / "out", names=names)
