"""The snapshot: lossless, the same bytes, and stac-geoparquet to others."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, datetime

import geopandas as gpd
import pyarrow.parquet as pq
import pystac
import pytest
import rustac
import shapely
import stac_geoparquet.arrow
from hypothesis import given, settings
from hypothesis import strategies as st

from chipweave.catalog import read_snapshot, write_snapshot
from chipweave.errors import UsageError
from chipweave.model import Asset, Scene

WKT = 'LOCAL_CS["somewhere"]'
SQUARE = shapely.box(8.1, 47.2, 9.3, 48.4)
TWO = shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])

SCENES = [
    Scene(
        "s2",
        "B",
        "sentinel-2-l2a",
        datetime(2021, 6, 10, 10, 10, 31, 24123, tzinfo=UTC),
        SQUARE,
        "EPSG:32632",
        12.345,
        "sentinel-2a",
        "05.00 x",
        "",
        {
            "red": Asset("https://x/r.tif", 3, 2.0, -1000.0, 0.0),
            "blue": Asset("/a/b.tif", 1, 1.0, 0.1, math.nan),
        },
        ("scl",),
    ),
    Scene("s2", "A", "sentinel-2-l2a", datetime(1999, 1, 1, tzinfo=UTC), TWO, WKT, missing=("red", "blue")),
    Scene(
        "wc",
        "A",
        "esa-worldcover",
        datetime(2021, 1, 1, tzinfo=UTC),
        SQUARE,
        edition="2021",
        assets={"map": Asset("s3://b/k.tif")},
    ),
    Scene(
        "s2", "A", "sentinel-2-l2a", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), SQUARE, cloud=0.0
    ),
]


def _plain(scene):
    """A scene with its NaNs as text: NaN equals nothing."""
    return json.loads(
        json.dumps(
            [
                scene.layer,
                scene.id,
                scene.collection,
                scene.time.isoformat(),
                scene.geometry.wkb_hex,
                scene.crs,
                scene.cloud,
                scene.platform,
                scene.processed,
                scene.edition,
                scene.missing,
                [[b, a.href, a.index, a.gain, a.add, a.nodata] for b, a in scene.assets.items()],
            ]
        ),
        parse_constant=str,
    )


def _same(left, right):
    assert [_plain(s) for s in left] == [_plain(s) for s in right]


@pytest.mark.parametrize("scenes", [SCENES, SCENES[::-1], SCENES[:1], SCENES[1:2], []])
def test_lossless_and_in_order(tmp_path, scenes):
    write_snapshot(scenes, tmp_path / "scenes.parquet")
    got = read_snapshot(tmp_path / "scenes.parquet")
    _same(got, scenes)
    for one in got:
        assert one.time.utcoffset().total_seconds() == 0


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
ASSETS = st.builds(Asset, NAMES, st.integers(1, 99), st.floats(), st.floats(), st.none() | st.floats())
MADE = st.builds(
    Scene,
    NAMES,
    NAMES,
    NAMES,
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([SQUARE, TWO]),
    st.sampled_from(["", "EPSG:3035", WKT]),
    st.just(math.nan) | st.floats(0, 100),
    NAMES,
    NAMES,
    NAMES,
    st.dictionaries(st.sampled_from(["red", "map", "scl", "a b", "ä"]), ASSETS, max_size=3),
    st.lists(NAMES, max_size=2).map(tuple),
)


@settings(deadline=None)
@given(st.lists(MADE, max_size=4))
def test_lossless_for_any_scenes(tmp_path_factory, scenes):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    write_snapshot(scenes, path)
    _same(read_snapshot(path), scenes)


def test_same_scenes_same_bytes(tmp_path):
    for name in "ab":
        write_snapshot(SCENES, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_snapshot(SCENES[::-1], tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_geopandas_reads_and_rewrites_it(tmp_path):
    write_snapshot(SCENES, tmp_path / "scenes.parquet")
    frame = gpd.read_parquet(tmp_path / "scenes.parquet")
    assert frame.crs.to_epsg() in {4326, None}
    assert list(frame["id"]) == [s.id for s in SCENES]
    assert frame.geometry.iloc[1].equals(TWO)
    assert len(gpd.read_parquet(tmp_path / "scenes.parquet", bbox=(8, 47, 8.2, 48))) == 3
    frame.to_parquet(tmp_path / "again.parquet")
    assert list(gpd.read_parquet(tmp_path / "again.parquet")["id"]) == [s.id for s in SCENES]


def test_stac_geoparquet_and_rustac_read_it(tmp_path):
    path = tmp_path / "scenes.parquet"
    write_snapshot(SCENES, path)
    items = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)))
    assert [i["id"] for i in items] == [s.id for s in SCENES]
    assert items[0]["assets"]["red"]["href"] == "https://x/r.tif"
    assert items[0]["properties"]["proj:code"] == "EPSG:32632"
    assert items[0]["bbox"] == list(SQUARE.bounds)

    async def read():
        return await rustac.read(str(path))

    features = asyncio.run(read())["features"]
    assert [f["id"] for f in features] == [s.id for s in SCENES]
    for feature in features:
        feature["assets"] = {k: v for k, v in feature["assets"].items() if v}
        item = pystac.Item.from_dict(feature)
        assert item.geometry["type"] in {"Polygon", "MultiPolygon"}
    assert features[0]["properties"]["eo:cloud_cover"] == 12.345


def test_a_snapshot_is_a_catalog_again(tmp_path):
    from chipweave.catalog.notes import Notes
    from chipweave.catalog.sources import open_source

    write_snapshot(SCENES, tmp_path / "scenes.parquet")
    found = list(
        open_source(str(tmp_path / "scenes.parquet"), Notes()).search(
            ["esa-worldcover"], (8, 47, 9, 48), None, 9
        )
    )
    assert [f.item["id"] for f in found] == ["A"]
    assert found[0].item["assets"] == {
        "map": {
            "href": "s3://b/k.tif",
            "roles": ["data"],
            "chipweave:index": 1,
            "chipweave:gain": 1.0,
            "chipweave:add": 0.0,
        }
    }


def test_no_snapshot(tmp_path):
    with pytest.raises(UsageError, match="is no snapshot"):
        read_snapshot(tmp_path / "gone.parquet")
    (tmp_path / "x.parquet").write_bytes(b"x")
    with pytest.raises(UsageError, match="is no snapshot"):
        read_snapshot(tmp_path / "x.parquet")
    gpd.GeoDataFrame({"a": [1]}, geometry=[SQUARE]).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(UsageError, match="is no snapshot"):
        read_snapshot(tmp_path / "y.parquet")
