"""Points as sparse rasters and documents, from every kind of file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from chipweave.catalog.legends import legend_of_names
from chipweave.errors import RecipeError
from chipweave.labels.points import PointsRead, Values, open_points, prepare_points
from chipweave.labels.points.source import covered, means, modes
from chipweave.labels.points.tables import values_of
from chipweave.model import Place, Scene
from chipweave.plan.point_labels import names_of
from chipweave.recipe.crosscheck import crosscheck

PLACE = Place("a", "EPSG:32635", 500_000.0, 6_652_080.0, 8, 10.0)
"""80 m on a side at 60 degrees north."""

SCENE = Scene(
    "p", "points", "p", datetime(2018, 6, 1, tzinfo=UTC), shapely.box(-180, -90, 180, 90), edition="2018-06"
)

# Metres right of and above the lower left corner: two in one pixel, one where four pixels meet, two outside.
AT = [(5.0, 5.0), (7.0, 7.0), (40.0, 40.0), (75.0, 3.0), (81.0, 5.0), (-0.5, 40.0)]
NUMBERS = [1.5, 3.0, 10.0, math.nan, 99.0, 98.0]
CLASSES = ["B11", "A10", "B11", "A10", "B11", "B11"]


@pytest.fixture
def table() -> pd.DataFrame:
    to_lonlat = pyproj.Transformer.from_crs(32635, 4326, always_xy=True)
    lon, lat = to_lonlat.transform([PLACE.x + x for x, _ in AT], [PLACE.y - 80 + y for _, y in AT])
    return pd.DataFrame({
        "Lon": lon, "Latitude": lat, "agbd": NUMBERS, "lc1": CLASSES, "code": [3, 3, 7, 7, 3, 3],
        "jitter_m": [0, 2000, 500, 10_000, 0, 0],
    })  # fmt: skip


def reading(path, tmp_path, column: str, *, classes: dict[int, str] | None = None, **how) -> PointsRead:
    points = open_points(path, "labels.p.points.file: p", column)
    legend = legend_of_names("p", classes) if classes else None
    if classes:
        points = replace(points, codes={name: code for code, name in classes.items()})
    store = prepare_points(points, tmp_path / "stores")
    return PointsRead("p", store.folder, legend, 8, 10.0, jittered=points.jittered, **how)


def written(table: pd.DataFrame, tmp_path, suffix: str):
    path = tmp_path / f"points{suffix}"
    if suffix in {".csv", ".tsv"}:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        geometry = gpd.points_from_xy(table["Lon"], table["Latitude"], crs=4326)
        gpd.GeoDataFrame(table, geometry=geometry).to_crs(3067).to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".gpkg"])
def test_numbers_lie_where_their_points_do_and_nowhere_else(table, tmp_path, suffix):
    read = reading(written(table, tmp_path, suffix), tmp_path, "agbd", unit="Mg/ha")
    target = read.read(PLACE, [SCENE])
    array = target.arrays["p"]
    want = np.full((8, 8), np.nan, np.float32)
    want[7, 0] = 2.25  # the mean of two
    want[4, 4] = 10.0  # on the corner: right of and below it
    # A centimetre of play: of coordinates brought there and back, and the corner is one pixel's or another's.
    corner = array[3:5, 3:5]
    assert np.count_nonzero(corner == 10.0) == 1
    np.testing.assert_array_equal(
        np.delete(array.ravel(), [27, 28, 35, 36]), np.delete(want.ravel(), [27, 28, 35, 36])
    )
    assert read.specs[0].unit == "Mg/ha"
    assert array.dtype == np.float32
    said = target.said["p"]
    assert (said["points"], said["jitter_m"], said["datetime"]) == (
        3,
        2000.0,
        ["2018-06"],
    )  # one has no value
    assert said["valid_fraction"] == 2 / 64
    assert target.facts["points"] == 3
    found = json.loads(target.documents["p_points"])["features"]
    assert [f["properties"]["value"] for f in found] == [1.5, 3.0, 10.0]
    assert [(f["properties"]["row"], f["properties"]["col"]) for f in found][:2] == [(7, 0), (7, 0)]
    assert [f["properties"]["jitter_m"] for f in found] == [0.0, 2000.0, 500.0]
    lon, lat = found[0]["geometry"]["coordinates"]
    assert (lon, lat) == (
        pytest.approx(table["Lon"][0], abs=2e-7),
        pytest.approx(table["Latitude"][0], abs=2e-7),
    )


def test_classes_by_name_with_the_most_frequent_of_a_pixel(table, tmp_path):
    path = written(table, tmp_path, ".csv")
    read = reading(path, tmp_path, "lc1", classes={4: "A10", 9: "B11"})
    target = read.read(PLACE, [SCENE])
    classes = target.arrays["p"]
    assert classes.dtype == np.uint8
    assert classes[7, 0] == 4  # one each: the lower code
    assert classes[7, 7] == 4
    assert np.count_nonzero(classes) == 3
    assert target.said["p"]["fractions"] == {"4": 2 / 64, "9": 1 / 64}
    assert json.loads(target.documents["p_points"])["features"][0]["properties"]["class"] == "B11"
    assert [s.name for s in read.specs] == ["p", "p_points"]


def test_a_footprint_covers_pixels_whose_centre_lies_in_its_circle(table, tmp_path):
    read = reading(written(table, tmp_path, ".csv"), tmp_path, "agbd", diameter_m=22.0)
    array = read.read(PLACE, [SCENE]).arrays["p"]
    assert (array[3:5, 3:5] == 10.0).all()  # centres 7.1 m from the corner
    assert array[7, 7] == 99.0  # the point lies 6 m beyond the chip's edge, its footprint reaches in
    assert array[6, 0] == 2.25
    assert np.isnan(array[0]).all()


def test_a_chip_without_points_says_the_same_keys(table, tmp_path):
    read = reading(written(table, tmp_path, ".csv"), tmp_path, "agbd", diameter_m=25.0)
    here, away = read.read(PLACE, [SCENE]), read.read(replace(PLACE, y=PLACE.y + 1000), [SCENE])
    assert {k: list(v) for k, v in here.said.items()} == {k: list(v) for k, v in away.said.items()}
    assert np.isnan(away.arrays["p"]).all()
    assert json.loads(away.documents["p_points"]) == {"type": "FeatureCollection", "features": []}


def test_jitter_that_is_no_length_is_unknown(table, tmp_path):
    path = written(table.assign(jitter_m=[math.inf, -5.0, math.nan, 0, 0, 0]), tmp_path, ".gpkg")
    target = reading(path, tmp_path, "agbd").read(PLACE, [SCENE])
    found = json.loads(target.documents["p_points"])["features"]
    assert [f["properties"]["jitter_m"] for f in found] == [None, None, None]
    assert target.said["p"]["jitter_m"] == 0.0
    path = written(table.assign(jitter_m="far"), tmp_path, ".csv")
    with pytest.raises(RecipeError, match="column jitter_m holds text"):
        reading(path, tmp_path, "agbd")


def test_what_a_column_holds(table, tmp_path):
    path = written(table, tmp_path, ".csv")
    assert values_of(open_points(path, "p", "lc1")) == Values(numbers=False, whole=True, texts=("A10", "B11"))
    assert values_of(open_points(path, "p", "code")) == Values(numbers=True, whole=True, texts=("3", "7"))
    assert not values_of(open_points(path, "p", "agbd")).whole
    assert names_of(Values(numbers=True, whole=True, texts=("3", "7"))) == {3: "3", 7: "7"}
    assert names_of(Values(numbers=False, whole=True, texts=("A10", "B11"))) == {1: "A10", 2: "B11"}
    assert names_of(Values(numbers=False, whole=True, texts=("01", "1", "7"))) == {1: "01", 2: "1", 3: "7"}


def test_broken_tables_are_refused_with_what_is_wrong(table, tmp_path):
    path = written(table, tmp_path, ".csv")
    with pytest.raises(RecipeError, match="no such file"):
        open_points(tmp_path / "none.csv", "labels.p.points.file: none.csv", "agbd")
    with pytest.raises(RecipeError, match="did you mean 'agbd'"):
        open_points(path, "labels.p.points.file: p", "abgd")
    table.drop(columns="Lon").to_csv(tmp_path / "away.csv")
    with pytest.raises(RecipeError, match="has no columns lon and lat"):
        open_points(tmp_path / "away.csv", "p", "agbd")
    with pytest.raises(RecipeError, match="holds text, no numbers"):
        prepare_points(open_points(path, "p", "lc1"), tmp_path)
    with pytest.raises(RecipeError, match="'B11', which is no class"):
        reading(path, tmp_path, "lc1", classes={1: "A10"})
    table.assign(Lon=385_000.0).to_csv(tmp_path / "metres.csv")
    with pytest.raises(RecipeError, match="not in lon/lat"):
        prepare_points(open_points(tmp_path / "metres.csv", "p", "agbd"), tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"lon,lat,agbd\n\xff\xfe,1,2\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        prepare_points(open_points(tmp_path / "bytes.csv", "p", "agbd"), tmp_path)
    shapes = gpd.GeoDataFrame({"agbd": [1.0]}, geometry=[shapely.box(25, 60, 26, 61)], crs=4326)
    shapes.to_file(tmp_path / "areas.gpkg")
    with pytest.raises(RecipeError, match="is a polygon, no point"):
        prepare_points(open_points(tmp_path / "areas.gpkg", "p", "agbd"), tmp_path)
    table.assign(agbd=math.nan).to_csv(tmp_path / "none.csv")
    with pytest.raises(RecipeError, match="holds no value"):
        values_of(open_points(tmp_path / "none.csv", "p", "agbd"))


def test_means_and_modes():
    where = np.array([2, 2, 0, 2, 2])
    np.testing.assert_array_equal(
        means(where, np.array([1.0, 2.0, 5.0, 3.0, 6.0]), 4), [5, np.nan, 3, np.nan]
    )
    assert modes(where, np.array([7, 3, 9, 7, 3]), 4, 255).tolist() == [9, 255, 3, 255]
    assert modes(where, np.array([7, 3, 9, 7, 7]), 4, 255).tolist() == [9, 255, 7, 255]
    pixels, which = covered(np.array([0.5, 7.99]), np.array([0.5, 4.0]), 0.0, 8)
    assert (pixels.tolist(), which.tolist()) == ([0, 39], [0, 1])


@pytest.mark.parametrize("radius", [7.9, 8.5, 40.0, 3000.0])
def test_wide_footprints_are_looked_at_within_the_chip_alone(radius):
    """Of 10 km at 10 m a footprint has 800 000 pixels, of which a chip has few."""
    rng = np.random.default_rng(4)
    u, v = rng.uniform(-radius - 2, 12 + radius + 2, (2, 30))
    rows, cols = np.mgrid[0:12, 0:12]
    truth = {
        (int(r) * 12 + int(c), k)
        for k in range(30)
        for r, c in zip(*np.nonzero(np.hypot(cols + 0.5 - u[k], rows + 0.5 - v[k]) <= radius), strict=True)
    }
    pixels, which = covered(u, v, radius, 12)
    assert (np.diff(which) >= 0).all()
    assert set(zip(pixels.tolist(), which.tolist(), strict=True)) == truth
    assert len(pixels) == len(truth)


def test_names_of_further_members_are_taken():
    points = {"points": {"file": "p.csv", "column": "c"}}
    raw = {"area": {"bbox": [0, 0, 1, 1]}, "labels": {"p": points, "p_points": {"collection": "corine"}}}
    assert [p.text for p in crosscheck(raw)] == ["the name is taken by a member of labels.p"]
    raw["labels"]["p"] = {"file": "p.gpkg"}
    assert not crosscheck(raw)
