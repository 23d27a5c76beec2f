"""Builds with OpenStreetMap, points, and records of parcels, beside imagery whose values are known."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from worlds import harness, recipes
from worlds.analytic import lonlat
from worlds.planted_osm import PlantedOsm, box

CRS = "EPSG:32632"
X, Y = 730_880.0, 4_987_520.0
"""Lower left corner of the area: four chips of 640 m."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Files of the recipe: an extract, a table of points, and parcels in another CRS."""
    folder = tmp_path_factory.mktemp("inputs")
    osm = PlantedOsm(CRS, (X, Y))
    osm.relation([osm.area(box(100, 100, 500, 400))], [osm.area(box(200, 200, 150, 150))], landuse="forest")
    osm.way([(-500, 905), (2000, 905)], highway="primary", width="30")
    osm.area(box(700, 200, 200, 100), building="yes", name="Hall")
    osm.write(folder / "planted.osm.pbf", stated="2021-05-05T00:00:00Z")
    x, y = np.array([55.0, 715.0, 1205.0]), np.array([65.0, 65.0, 1205.0])
    lon, lat = lonlat(CRS, X + x, Y + y)
    table = {"lon": lon, "lat": lat, "height": [12.5, 30.25, 7.0], "jitter_m": [10, 0, 0]}
    pd.DataFrame(table).to_csv(folder / "points.csv", index=False)
    shapes = [
        shapely.box(X + a, Y + b, X + c, Y + d) for a, b, c, d in ((100, 100, 200, 220), (600, 700, 680, 760))
    ]
    parcels = gpd.GeoDataFrame({"crop": ["wheat", "maize"]}, geometry=shapes, crs=CRS)
    parcels.to_file(folder / "parcels.gpkg")
    return folder


def recipe(catalog, inputs, tmp_path, **labels) -> dict:
    labels = labels or {
        "osm": {"file": str(inputs / "planted.osm.pbf"), "classes": "osm-landuse", "instances": True},
        "height": {"points": {"file": str(inputs / "points.csv"), "column": "height", "unit": "m"}, "date": 2019},
        "parcels": {"file": str(inputs / "parcels.gpkg"), "unit": "features", "reduce": ["median", "count", "p90"]},
    }  # fmt: skip
    area = recipes.window(tmp_path / "aoi.geojson", CRS, X + 100, Y + 100, X + 1180, Y + 1180)
    s2 = recipes.imagery(bands=("red", "nir"))
    return recipes.recipe(catalog, area, s2, labels=labels)


@pytest.fixture(scope="module")
def built(border, inputs, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("features")
    catalog = border.catalog("catalog_features", "S2_32_0610")
    return harness.build(tmp, recipe(catalog, inputs, tmp))


def samples_of(built) -> dict[str, harness.Sample]:
    """Samples of all shard sets, joined by key: what ODbL asks for lies in a set of its own."""
    found = harness.read_samples(built)
    for shard in sorted((built / "shards-odbl").glob("*.tar")):
        for sample in harness.read_shard(shard):
            found[sample.key].arrays.update(sample.arrays)
            found[sample.key].meta["layers"].update(sample.meta["layers"])
    return found


def centres(sample):
    """(x, y) of pixels' centres, metres from the area's corner."""
    a = sample.meta["transform"]
    steps = (np.arange(64) + 0.5) * 10
    return np.meshgrid(a[2] + steps - X, a[5] - steps - Y)


def test_osm_points_and_records_beside_imagery(built):
    samples = samples_of(built)
    assert len(samples) == 4
    forest = shapely.Polygon(box(100, 100, 500, 400), [box(200, 200, 150, 150)])
    layers = [
        (15, forest), (6, shapely.LineString([(-500, 905), (2000, 905)]).buffer(15)),
        (5, shapely.Polygon(box(700, 200, 200, 100))),
    ]  # fmt: skip
    burned = 0
    for sample in samples.values():
        x, y = centres(sample)
        want = np.zeros((64, 64), np.uint8)
        for code, shape in layers:
            want[shapely.contains_xy(shape, x, y)] = code
        np.testing.assert_array_equal(sample.arrays["osm"], want)
        burned += np.count_nonzero(want)
        said = sample.meta["layers"]
        assert said["osm"]["datetime"] == ["2021-05-05T00:00:00Z"]
        assert said["osm"]["legend"] == "osm-landuse"
        assert said["height"]["unit"] == "m"
        assert said["height"]["datetime"] == ["2019"]
        heights = sample.arrays["height"]
        assert heights.dtype == np.float32
        here = {
            (a, b): v for a, b, v in ((55, 65, 12.5), (715, 65, 30.25), (1205, 1205, 7.0))
            if x.min() - 5 <= a < x.max() + 5 and y.min() - 5 <= b < y.max() + 5
        }  # fmt: skip
        assert said["height"]["points"] == len(here)
        assert np.count_nonzero(~np.isnan(heights)) == len(here)
        for (a, b), value in here.items():
            assert heights[(x == a) & (y == b)].tolist() == [value]
    assert burned == 1775 + 3 * 128 + 200  # of the forest without its hole, the road, the hall
    assert "ODbL-1.0" in (built / "ATTRIBUTION.md").read_text()


def test_one_record_a_parcel_from_the_pixels_of_its_chip(built):
    samples = harness.read_samples(built)
    table = pd.read_parquet(built / "tables" / "parcels.parquet").set_index("id")
    parcels = {"wheat": (100, 100, 200, 220), "maize": (600, 700, 680, 760)}
    assert set(parcels) == {json.loads(t)["crop"] for t in table["tags"]}
    for _, row in table.iterrows():
        crop = json.loads(row["tags"])["crop"]
        sample, (w, s, e, n) = samples[row["key"]], parcels[crop]
        x, y = centres(sample)
        own = (x > w) & (x < e) & (y > s) & (y < n) & (sample.arrays["s2_mask"] == 0)
        said = sample.meta["layers"]["s2"]
        assert row["s2_datetime"].tolist() == said["datetime"]
        assert row["s2_bands"].tolist() == ["red", "nir"]
        assert row["s2_count"][0].tolist() == [own.sum()] * 2
        values = sample.arrays["s2"][:, own] * said["scale"] + said["offset"]
        assert row["s2_median"][0].tolist() == pytest.approx(np.median(values, axis=1), rel=1e-6)
        assert row["s2_p90"][0].tolist() == pytest.approx(np.percentile(values, 90, axis=1), rel=1e-6)
        assert row["share"] == pytest.approx(1.0 if crop == "wheat" else 0.5, abs=1e-3)
        assert row["area_m2"] == pytest.approx((e - w) * (n - s), rel=1e-6)
    assert harness.chipweave("verify", built).returncode == 0


@pytest.mark.parametrize(
    ("kind", "said"), [("osm_caption", "holds no areas or lines"), ("vqa", "has no classes to write about")]
)
def test_points_are_no_objects_to_write_about(border, inputs, tmp_path, kind, said):
    mapping = recipe(border.catalog("catalog_features", "S2_32_0610"), inputs, tmp_path)
    mapping["text"] = {"caption": {"kind": kind, "from": "height"}}
    path = harness.write_recipe(tmp_path / "r.yaml", mapping)
    harness.refuse(3, "plan", path, "-o", tmp_path / "out", names=("text.caption.from: height", said))


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        ({"file": "cut.osm.pbf"}, 4, "not a whole OpenStreetMap extract"),
        ({"file": "planted.osm.pbf", "classes": "osm-landus"}, 3, "did you mean 'osm-landuse'"),
        ({"file": "planted.osm.pbf", "burn": [{"value": 1}]}, 3, "`classes` says what is burned"),
        ({"file": "parcels.gpkg", "classes": "osm-landuse"}, 3, "goes with a file that ends in .pbf"),
        ({"points": {"file": "points.csv", "column": "hight"}}, 3, "did you mean 'height'"),
        (
            {"points": {"file": "points.csv", "column": "height"}, "instances": True},
            3,
            "does not go with points",
        ),
        ({"file": "parcels.gpkg", "unit": "features", "reduce": ["mode"]}, 3, "unknown statistic 'mode'"),
        ({"file": "parcels.gpkg", "reduce": ["median"]}, 3, "unit: features and reduce go together"),
        ({"file": "parcels.gpkg", "unit": "features", "reduce": ["mean"], "ignore": [1]}, 3, "is of rasters"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(border, inputs, tmp_path, labels, code, said):
    catalog = border.catalog("catalog_features", "S2_32_0610")
    data = (inputs / "planted.osm.pbf").read_bytes()
    (tmp_path / "cut.osm.pbf").write_bytes(data[:-5])
    for name in ("planted.osm.pbf", "parcels.gpkg", "points.csv"):
        (tmp_path / name).write_bytes((inputs / name).read_bytes())
    path = harness.write_recipe(tmp_path / "r.yaml", recipe(catalog, inputs, tmp_path, label=labels))
    done = harness.chipweave("plan", path, "-o", tmp_path / "out")
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
