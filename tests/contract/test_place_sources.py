"""What every label source that is made place by place must do; a new one joins by a line in `SOURCES`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from chipweave.catalog.legends import legend_of_names
from chipweave.labels import PlaceSource, Target
from chipweave.labels.osm import OsmRead, load_scheme, prepare_osm
from chipweave.labels.osm.source import BURNED, OBJECT, REACH, TAGS
from chipweave.labels.points import PointsRead, open_points, prepare_points
from chipweave.labels.tables import TableRead
from chipweave.labels.vectors import Reading, Rule, VectorRead, prepare_store
from chipweave.model import Place, Scene
from worlds.harness import strict_json
from worlds.planted_osm import PlantedOsm, box

CRS, X, Y, SIZE, RES = "EPSG:32635", 500_000.0, 6_652_320.0, 32, 10.0
HERE = Place("here", CRS, X, Y, SIZE, RES)
BESIDE = Place("beside", CRS, X + 320, Y, SIZE, RES)
AWAY = Place("away", CRS, X, Y + 32_000, SIZE, RES)
"""Chips at 60 degrees north: with features, with a part of one, without any."""

EARTH = shapely.box(-180, -90, 180, 90)
SCENE = Scene("a", "file", "a", datetime(2021, 1, 1, tzinfo=UTC), EARTH, edition="2021")


def _parcels(folder: Path) -> Path:
    shapes = [shapely.box(X + a, Y - 300 + a, X + a + 90, Y - 220 + a) for a in (10, 120, 270)]
    path = folder / "parcels.parquet"
    table = {"crop": ["a", "b", None], "code": [1, 2, 3], "ha": [0.5, np.nan, np.inf]}
    gpd.GeoDataFrame(table, geometry=shapes, crs=CRS).to_parquet(path)
    return path


def vectors(folder: Path) -> PlaceSource:
    facts = prepare_store(
        _parcels(folder), [Rule(None, None, "code")], folder / "s", said="f", columns=["crop", "ha"]
    )
    reading = Reading(facts.folder, (Rule(None, None, "code"),), (0,), 0, None, ("crop", "ha"))
    legend = legend_of_names("a", {1: "x", 2: "y", 3: "z"})
    return VectorRead("a", legend, reading, SIZE, RES, instances=True, distance=True, boxes=True)


def osm(folder: Path) -> PlaceSource:
    p = PlantedOsm(CRS, (X, Y - 320))
    p.area(box(10, 20, 200, 100), landuse="forest")
    p.way([(-50, 160), (700, 160)], highway="primary")
    scheme = load_scheme("osm-landuse", Path())
    facts, reach = prepare_osm(p.write(folder / "a.osm.pbf"), scheme, folder / "s", "f")
    reading = Reading(facts.folder, (BURNED,), (0,), 0, None, (OBJECT, TAGS, REACH))
    return OsmRead(
        "a", scheme.legend, reading, SIZE, RES, instances=True, boxes=True, collection="osm", reach_m=reach
    )


def _points(folder: Path, column: str, codes: dict[str, int] | None) -> tuple[Path, bool]:
    x, y = np.array([15.0, 18.0, 305.0, 330.0]), np.array([15.0, 12.0, 100.0, 100.0])
    at = gpd.GeoSeries(gpd.points_from_xy(X + x, Y - 320 + y), crs=CRS).to_crs(4326)
    table = pd.DataFrame(
        {"lon": at.x, "lat": at.y, "h": [1.5, 2.5, 9.0, 3.0], "c": list("aabb"), "jitter_m": 10}
    )
    table.to_csv(folder / "p.csv", index=False)
    opened = replace(open_points(folder / "p.csv", "f", column), codes=codes)
    return prepare_points(opened, folder / "s").folder, opened.jittered


def numbers(folder: Path) -> PlaceSource:
    store, jittered = _points(folder, "h", None)
    return PointsRead("a", store, None, SIZE, RES, unit="m", diameter_m=25.0, jittered=jittered)


def classes(folder: Path) -> PlaceSource:
    store, jittered = _points(folder, "c", {"a": 1, "b": 2})
    return PointsRead("a", store, legend_of_names("a", {1: "a", 2: "b"}), SIZE, RES, jittered=jittered)


def records(folder: Path) -> PlaceSource:
    facts = prepare_store(
        _parcels(folder), [Rule(None, 1, None)], folder / "s", said="f", columns=["crop", "ha"]
    )
    return TableRead("a", facts.folder, ("median", "count"), ("crop", "ha"))


SOURCES: tuple[Callable[[Path], PlaceSource], ...] = (vectors, osm, numbers, classes, records)


@pytest.fixture(scope="module", params=SOURCES, ids=lambda make: make.__name__)
def source(request, tmp_path_factory) -> PlaceSource:
    return request.param(tmp_path_factory.mktemp(request.param.__name__))


def read(source: PlaceSource, place: Place) -> Target:
    target = source.read(place, [SCENE])
    return source.with_imagery(target, place, {}) if isinstance(source, TableRead) else target


def test_its_members_are_as_it_says(source):
    for place in (HERE, BESIDE, AWAY):
        target = read(source, place)
        assert {s.name for s in source.specs if not s.document} == set(target.arrays)
        assert {s.name for s in source.specs if s.document} == set(target.documents)
        assert set(target.said) == {s.name for s in source.specs}
        assert source.specs[0].name == "a"
        for spec in source.specs:
            if spec.document:
                assert isinstance(strict_json(target.documents[spec.name]), dict)
                continue
            array = target.arrays[spec.name]
            assert (array.dtype, array.shape) == (np.dtype(spec.dtype), spec.shape)
            if spec.legend is not None:
                assert set(np.unique(array)) <= {spec.legend.nodata, *spec.legend.codes}
        assert all(isinstance(v, float) for v in target.facts.values())


def test_it_says_the_same_keys_and_types_of_every_chip(source):
    def kinds(target: Target):
        return {name: [(k, type(v)) for k, v in said.items()] for name, said in target.said.items()}

    here = read(source, HERE)
    assert kinds(here) == kinds(read(source, BESIDE)) == kinds(read(source, AWAY))
    for said in here.said.values():
        assert said["datetime"] == ["2021"]
        assert said["items"] == [["file"]]
        assert {"present", "valid_fraction"} <= set(said)
        assert None not in said.values()
        assert [] not in said.values()


def test_it_finds_what_lies_in_the_chip_and_nothing_where_nothing_lies(source):
    here, away = read(source, HERE), read(source, AWAY)
    if here.arrays:
        nodata = source.specs[0].nodata
        empty = np.isnan(away.arrays["a"]) if np.isnan(nodata) else away.arrays["a"] == nodata
        assert empty.all()
        assert here.arrays["a"].tobytes() != away.arrays["a"].tobytes()
    assert any(here.documents[n] != away.documents[n] for n in here.documents)


def test_it_gives_the_same_bytes_in_any_order_and_process(source):
    first = [read(source, p) for p in (HERE, BESIDE, AWAY)]
    sent = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert sent == source
    again = [read(sent, p) for p in (AWAY, BESIDE, HERE)][::-1]
    for one, two in zip(first, again, strict=True):
        assert {n: a.tobytes() for n, a in one.arrays.items()} == {
            n: a.tobytes() for n, a in two.arrays.items()
        }
        assert (one.documents, one.said, one.facts) == (two.documents, two.said, two.facts)
