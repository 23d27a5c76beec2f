"""The demo world: one land that every product samples on its own grid, and two servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Transformer
from pystac_client import Client

from chipweave import demo
from chipweave.demo import aerial, catalogue, grids, items, land, paint, radar, servers, sky
from chipweave.demo.world import VERSION, stored
from chipweave.errors import ChipweaveError
from chipweave.files import sha256_file

SCALE, SMALL = 0.15, 0.05
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def world(earth: demo.World) -> demo.World:
    return earth


@pytest.fixture(scope="module")
def served(world: demo.World) -> Iterator[demo.Served]:
    with demo.serve(world) as addresses:
        yield addresses


def features(world: demo.World) -> list[dict[str, Any]]:
    return json.loads(world.items.read_text())["features"]


def scenes(world: demo.World) -> list[tuple[grids.Grid, int, dict[str, Any]]]:
    by_id = {item["id"]: item for item in features(world)}
    return [
        (tile, number, by_id[items.sentinel_id(tile, passing)])
        for tile in grids.sentinel_grids(SCALE)
        for number, passing in enumerate(sky.PASSES)
    ]


def read(world: demo.World, item: dict[str, Any], key: str) -> np.ndarray:
    with rasterio.open(world.folder / item["assets"][key]["href"]) as dataset:
        return dataset.read(1)


def centres(path: Path, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of every pixel centre, transformed one by one."""
    with rasterio.open(path) as dataset:
        assert dataset.crs == rasterio.crs.CRS.from_string(crs)
        cols, rows = np.meshgrid(np.arange(dataset.width) + 0.5, np.arange(dataset.height) + 0.5)
        x, y = dataset.transform * (cols, rows)
    return Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)


# -- the land ---------------------------------------------------------------------------------------------


def test_both_tiles_and_every_pass_sample_the_same_land(world: demo.World) -> None:
    """Each stored value is the land's and the sky's own at the exact centre of its pixel."""
    earth, above = land.land(7), sky.sky(7)

    @cache
    def there(tile: grids.Grid, key: str) -> tuple[Any, Any, Any]:
        """The ground under a band's pixels, its texture and its airs: the same on every date."""
        (item, *_) = (item for own, _, item in scenes(world) if own == tile)
        x, y = land.plane(*centres(world.folder / item["assets"][key]["href"], tile.crs))
        ground = earth.ground(x, y)
        return ground, paint.Texture(ground), above.air(x, y, ground.bumps)

    for tile, number, item in scenes(world):
        for key in ("red", "swir16"):
            values = read(world, item, key)
            ground, texture, airs = there(tile, key)
            air, passing = airs[number], sky.PASSES[number]
            clear = paint.paint(ground, texture, passing.time.date(), (key,))
            wanted = stored(sky.through(clear, air, (key,)), air.seen, passing.shift).reshape(values.shape)
            off = np.abs(values.astype(int) - wanted)
            # A pixel whose centre lies within a millimetre of a field's edge may fall on either side of it.
            assert (off > 2).mean() < 2e-4, (item["id"], key)


def test_land_cover_is_the_same_land(world: demo.World) -> None:
    earth = land.land(7)
    for item in features(world):
        if item["collection"] == "esa-worldcover":
            codes = read(world, item, "map")
            lon, lat = centres(world.folder / item["assets"]["map"]["href"], "EPSG:4326")
            assert (codes != earth.classes(lon, lat)).mean() < 1e-4
            assert set(np.unique(codes)) <= {10, 20, 30, 40, 50, 60, 80, 90}
            assert max(codes.shape) <= 2560


def test_the_world_has_rivers_fields_towns_and_woods() -> None:
    lon, lat = np.meshgrid(np.linspace(5.83, 6.17, 500), np.linspace(47.0, 47.12, 260))
    codes = land.land(7).classes(lon, lat)
    share = {code: (codes == code).mean() for code in (10, 20, 30, 40, 50, 60, 80, 90)}
    assert 0.15 < share[land.TREE] < 0.5
    assert 0.25 < share[land.CROP] < 0.6
    assert share[land.GRASS] > 0.08
    assert 0.02 < share[land.BUILT] < 0.15
    assert 0.005 < share[land.WATER] < 0.05
    assert min(share.values()) > 1e-4


def test_corine_generalises_the_land_cover() -> None:
    earth = land.land(7)
    lon, lat = np.meshgrid(np.linspace(5.83, 6.17, 120), np.linspace(47.0, 47.12, 80))
    codes = earth.corine(lon, lat)
    assert codes.min() >= 1
    assert codes.max() <= 44
    assert {2, 12, 18, 23, 24, 40, 41} <= set(np.unique(codes).tolist())
    fine = earth.classes(lon, lat)
    assert (fine[np.isin(codes, (23, 24, 25))] == land.TREE).mean() > 0.7
    assert (fine[codes == 12] == land.CROP).mean() > 0.7
    assert (fine[codes == 41] == land.WATER).mean() > 0.5


def test_corine_lies_on_multiples_of_100_m(world: demo.World) -> None:
    (item,) = (i for i in features(world) if i["collection"] == "corine")
    with rasterio.open(world.folder / item["assets"]["map"]["href"]) as dataset:
        assert dataset.crs.to_epsg() == 3035
        assert dataset.nodata == 0
        assert dataset.res == (100, 100)
        assert dataset.transform.c % 100 == 0
        assert dataset.transform.f % 100 == 0


def test_vegetation_has_its_seasons() -> None:
    days = np.array([165.0, 205.0])
    cereal, _ = paint.season("cereal", days)
    maize, _ = paint.season("maize", days)
    assert cereal[0] > cereal[1] + 0.3  # harvested between the dates
    assert maize[1] > maize[0] + 0.3  # grown between them


# -- the scenes -------------------------------------------------------------------------------------------


def test_scene_classification_matches_the_picture(world: demo.World) -> None:
    for _, number, item in scenes(world):
        scl = read(world, item, "scl")
        shift = sky.PASSES[number].shift
        swir, blue = (read(world, item, key).astype(int) for key in ("swir16", "blue"))
        blue = np.where((blue > 0).reshape(scl.shape[0], 2, -1, 2).all(axis=(1, 3)), blue[::2, ::2], 0)
        assert ((swir == 0) == (scl == 0)).all()  # a 20 m band and the classification share their grid
        assert set(np.unique(scl)) <= {0, 3, 4, 5, 6, 8, 9, 10}
        high, clear, water = scl == 9, np.isin(scl, (4, 5)), scl == 6
        if high.any():
            assert np.percentile(blue[high & (blue > 0)], 10) - shift > 3500
        assert np.percentile(blue[clear & (blue > 0)], 99) - shift < 3000
        if water.sum() > 50:
            assert np.median(swir[water]) - shift < 800


def test_cloud_cover_is_the_share_of_cloud_in_the_classification(world: demo.World) -> None:
    for _, _, item in scenes(world):
        scl = read(world, item, "scl")
        share = 100 * np.isin(scl, (8, 9, 10)).sum() / max((scl > 0).sum(), 1)
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(share, abs=1e-3)


def test_baseline_0400_shifts_the_stored_values(world: demo.World) -> None:
    """Dark water is near 0 before and near 1000 after; 0 stays no data."""
    seen = {"03.01": [], "04.00": []}
    for _, _, item in scenes(world):
        scl, swir = read(world, item, "scl"), read(world, item, "swir16")
        if (scl == 6).any():
            seen[item["properties"]["s2:processing_baseline"]].append(np.median(swir[scl == 6]))
        late = item["properties"]["datetime"] > "2022-01-25"
        assert item["properties"]["s2:processing_baseline"] == ("04.00" if late else "03.01")
        assert all("offset" not in a["raster:bands"][0] for a in item["assets"].values())
    assert np.median(seen["04.00"]) - np.median(seen["03.01"]) == pytest.approx(1000, abs=60)


def test_the_swath_ends_on_one_tile_of_the_full_world() -> None:
    west, east = grids.sentinel_grids()
    passing = sky.PASSES[3]
    share = []
    for tile in (west, east):
        x, y = tile.halved().points(slice(0, 800, None))
        share.append(1 - passing.sees(x, y).mean())
    assert 0.2 < share[0] < 0.45
    assert share[1] == 0
    ring = np.array(items.sentinel_item(west, passing, {0: share[0]})["geometry"]["coordinates"][0])
    assert ring[:, 0].min() > west.ring()[:, 0].min() + 0.02


def test_scenes_of_one_pass_are_of_one_datatake_and_overlap() -> None:
    west, east = grids.sentinel_grids()
    assert west.crs == "EPSG:32631"
    assert east.crs == "EPSG:32632"
    assert east.ring()[:, 0].min() < 5.99 < west.ring()[:, 0].max() - 0.02
    for passing in sky.PASSES:
        left, right = (items.sentinel_item(tile, passing, {})["properties"] for tile in (west, east))
        assert left["s2:datatake_id"] == right["s2:datatake_id"]
        assert left["datetime"] != right["datetime"]


def test_the_box_is_covered_by_the_tiles() -> None:
    west, east = grids.sentinel_grids()
    (w, s, e, n), t = grids.covered_bbox(west, east), np.linspace(0, 1, 60)
    lon = np.concatenate([w + t * (e - w)] * 2 + [np.full(60, w), np.full(60, e)])
    lat = np.concatenate([np.full(60, s), np.full(60, n)] + [s + t * (n - s)] * 2)
    inside = np.zeros(lon.shape, bool)
    for tile in (west, east):
        x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
        left, bottom, right, top = tile.bounds
        inside |= (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    assert inside.all()
    assert e - w > 0.35


def test_files_are_cogs_with_blocks_overviews_and_nodata(world: demo.World) -> None:
    for item in features(world):
        for key, asset in item["assets"].items():
            with rasterio.open(world.folder / asset["href"]) as dataset:
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert set(dataset.block_shapes) == {(256, 256)}
                told = {**item["properties"], **asset}  # catalogs say it of the item or of each asset
                raster = told.get("raster:bands", [{"data_type": "uint8"}])[
                    0
                ]  # NAIP's items say nothing of it
                assert dataset.nodata == raster.get("nodata")
                assert [dataset.height, dataset.width] == told["proj:shape"]
                assert list(dataset.transform)[:6] == pytest.approx(told["proj:transform"][:6])
                assert dataset.dtypes[0] == raster["data_type"], key


def test_items_and_collections_are_valid_stac(world: demo.World, tmp_path: Path) -> None:
    """Against the core's schemas, which rustac carries: no network."""
    found = [item | {"stac_extensions": []} for item in features(world)]
    assert len({item["id"] for item in found}) == len(found)
    for thing in [*found, *catalogue.collections(found)]:
        path = tmp_path / f"{thing['id']}.json"
        path.write_text(json.dumps(thing))
        subprocess.run([servers._rustac(), "validate", str(path)], check=True, timeout=60)
    assert all(pystac.Item.from_dict(item).id == item["id"] for item in features(world))


# -- radar and aerial pictures ----------------------------------------------------------------------------


def of(world: demo.World, collection: str) -> list[dict[str, Any]]:
    return [item for item in features(world) if item["collection"] == collection]


def test_radar_samples_the_same_land_and_its_speckle_is_noise_of_mean_one(world: demo.World) -> None:
    earth, met = land.land(7), set()
    for item in of(world, "sentinel-1-rtc"):
        number = [items.radar_id(p) for p in radar.PASSES].index(item["id"])
        passing = radar.PASSES[number]
        lon, lat = centres(world.folder / item["assets"]["vv"]["href"], f"EPSG:{passing.epsg}")
        x, y = land.plane(lon, lat)
        clean, seen = radar.backscatter(earth.ground(x, y), passing), passing.sees(x, y)
        for row, key in enumerate(radar.BANDS):
            values = read(world, item, key).ravel()
            # A millimetre at the edge of the swath.
            assert ((values == radar.NODATA) != ~seen).mean() < 1e-4
            ratio = (values / clean[row])[seen & (values != radar.NODATA)]
            # Four pixels share what amounts to one draw: five times the mean's deviation.
            assert abs(ratio.mean() - 1) < 5 * 2 / np.sqrt(radar.LOOKS * ratio.size)
            assert abs(ratio.var() - 1 / radar.LOOKS) < 0.01
        met.add(passing.state)
    assert met == {"ascending", "descending"}


def test_radar_tells_water_towns_and_woods_apart() -> None:
    lon, lat = np.meshgrid(np.linspace(5.9, 6.1, 300), np.linspace(47.0, 47.1, 200))
    ground = land.land(7).ground(*land.plane(lon, lat))
    vv, vh = 10 * np.log10(radar.backscatter(ground, radar.PASSES[0]))
    codes = land.cover(ground)
    middle = {code: np.median(vv[codes == code]) for code in (land.WATER, land.CROP, land.TREE)}
    assert middle[land.WATER] < middle[land.CROP] - 5
    assert middle[land.TREE] > middle[land.CROP] + 1
    assert np.percentile(vv[codes == land.BUILT], 75) > middle[land.TREE] + 2
    assert (vh < vv).all()
    assert -35 < vh.min() < vv.max() < 8


def test_each_date_of_sentinel_2_has_a_radar_pass_within_three_days_that_sees_everything() -> None:
    for optical in sky.PASSES:
        near = [p for p in radar.PASSES if abs((p.time - optical.time).total_seconds()) < 3 * 86_400]
        assert any(p.edge is None for p in near)


def test_radar_items_say_orbit_and_footprint(world: demo.World) -> None:
    for item in of(world, "sentinel-1-rtc"):
        properties = item["properties"]
        assert (
            properties["sat:relative_orbit"]
            == {"ascending": 88, "descending": 139}[properties["sat:orbit_state"]]
        )
    half = grids.boxed("radar", 32631, grids.lonlat_bounds(grids.sentinel_grids()), 10.0, 200.0)
    up, down = radar.PASSES[1], radar.PASSES[0]
    west = [np.array(items.radar_item(half, p)["geometry"]["coordinates"][0])[:, 0].min() for p in (down, up)]
    assert west[1] > west[0] + 0.05


def test_aerial_pictures_are_the_same_land_in_counts_and_cover_every_tile(world: demo.World) -> None:
    earth = land.land(7)
    found = of(world, "naip")
    for item in found:
        path = world.folder / item["assets"]["image"]["href"]
        lon, lat = centres(path, f"EPSG:{item['properties']['proj:epsg']}")
        with rasterio.open(path) as dataset:
            image = dataset.read()
        assert image.shape[0] == len(aerial.BANDS)
        wanted = aerial.counts(earth.ground(*land.plane(lon, lat))).reshape(image.shape)
        assert (np.abs(image.astype(int) - wanted) > 2).mean() < 2e-4
        assert 40 < image[:3].mean() < 190
    west, south, east, north = grids.lonlat_bounds(grids.sentinel_grids(SCALE))
    lon, lat = (v.ravel() for v in np.meshgrid(np.linspace(west, east, 80), np.linspace(south, north, 60)))
    inside = np.zeros(lon.shape, bool)
    for item in found:
        left, bottom, right, top = item["properties"]["proj:bbox"]
        epsg = item["properties"]["proj:epsg"]
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        inside |= (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    assert inside.all()


# -- making it --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_world_repeats_to_the_byte_where_another_was_begun_or_is_older(tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    (tmp_path / "again" / "world.json").write_text(
        json.dumps({"version": VERSION - 1, "seed": 7, "scale": SMALL})
    )
    world = demo.make_world(tmp_path / "first", scale=SMALL)
    land.land.cache_clear()
    sky.sky.cache_clear()
    again = demo.make_world(tmp_path / "again", scale=SMALL)
    assert len(features(world)) >= 10
    assert json.loads((again.folder / "world.json").read_text())["version"] == VERSION
    files = sorted(p.relative_to(world.folder) for p in world.folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again.folder) for p in again.folder.rglob("*") if p.is_file())
    assert len(files) > 8 * 6
    for path in files:
        assert sha256_file(world.folder / path) == sha256_file(again.folder / path), path


def test_a_finished_world_is_taken_as_it_is(world: demo.World) -> None:
    before = {p: p.stat().st_mtime_ns for p in world.folder.rglob("*")}
    said: list[str] = []
    assert demo.make_world(world.folder, scale=SCALE, log=said.append) == world
    assert {p: p.stat().st_mtime_ns for p in world.folder.rglob("*")} == before
    assert "already" in said[0]


# -- serving it -------------------------------------------------------------------------------------------


def test_files_answer_range_requests(world: demo.World, served: demo.Served) -> None:
    path = "S2A_31TGN_20210612_0_L2A/red.tif"
    data = (world.folder / path).read_bytes()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{served.files_url}/{path}", headers={"Range": "bytes=100-299"}
    )
    with _DIRECT.open(request) as answer:
        assert answer.status == 206
        assert answer.read() == data[100:300]
        assert answer.headers["Content-Range"] == f"bytes 100-299/{len(data)}"
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        _DIRECT.open(f"{served.files_url}/no/such.tif")
    caught.value.close()


def test_searches_by_collection_box_and_time(served: demo.Served) -> None:
    client = Client.open(served.stac_url)
    assert {c.id for c in client.get_collections()} == {
        "sentinel-2-l2a", "sentinel-1-rtc", "naip", "esa-worldcover", "corine",
    }  # fmt: skip

    def found(**query: Any) -> set[str]:
        return {item.id for item in client.search(**query).items()}

    both = (5.999, 47.05, 6.001, 47.07)
    west_only = (5.965, 47.05, 5.97, 47.07)
    june = "2021-06-01T00:00:00Z/2021-06-30T23:59:59Z"
    s2 = ["sentinel-2-l2a"]
    assert found(collections=s2, bbox=both, datetime=june) == {
        "S2A_31TGN_20210612_0_L2A",
        "S2A_32TKT_20210612_0_L2A",
    }
    assert found(collections=s2, bbox=west_only, datetime=june) == {"S2A_31TGN_20210612_0_L2A"}
    assert len(found(collections=s2, bbox=both)) == 8
    assert found(collections=s2, bbox=(7.0, 47.0, 7.1, 47.1)) == set()
    assert found(collections=["corine"], bbox=both) == {"CLC2018_demo"}
    assert len(found(collections=["sentinel-1-rtc"], bbox=both)) == len(radar.PASSES)
    assert found(collections=["naip"], bbox=both)
    assert len(found(collections=["esa-worldcover"], bbox=both)) == 1


def test_served_assets_open_over_http(served: demo.Served) -> None:
    item = next(Client.open(served.stac_url).search(collections=["sentinel-2-l2a"], limit=20).items())
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):  # noqa: SIM117 - the order matters
        with rasterio.open(item.assets["nir"].href) as dataset:
            assert dataset.read(1, window=((0, 64), (0, 64))).shape == (64, 64)


def test_an_earlier_address_is_taken_again(world: demo.World) -> None:
    with demo.serve(world) as first:
        before = (first.stac_url, first.files_url)
        with demo.serve(world, near=before) as beside:  # its ports are busy
            assert not {beside.stac_url, beside.files_url} & set(before)
    with demo.serve(world, near=before) as second:
        assert (second.stac_url, second.files_url) == before


def test_servers_stop_after_an_exception(world: demo.World) -> None:
    def use() -> None:
        with demo.serve(world) as addresses:
            gone.append(addresses)
            raise KeyError("ours")

    gone: list[demo.Served] = []
    with pytest.raises(KeyError, match="ours"):
        use()
    for url in (gone[0].stac_url, gone[0].files_url):
        with pytest.raises(urllib.error.URLError):
            _DIRECT.open(url, timeout=5)


def test_servers_end_with_a_process_that_is_killed(world: demo.World) -> None:
    code = (
        "import json, sys, time\nfrom pathlib import Path\nfrom chipweave import demo\n"
        f"world = demo.World(Path({str(world.folder)!r}), Path({str(world.items)!r}), {world.bbox})\n"
        "with demo.serve(world) as s:\n    print(json.dumps([s.stac_url, s.files_url]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while urls and time.monotonic() < end:
        try:
            with _DIRECT.open(urls[0], timeout=5):
                time.sleep(0.1)
        except urllib.error.HTTPError as answer:
            answer.close()
            time.sleep(0.1)
        except OSError:
            urls.pop(0)
    assert not urls


def test_serving_a_folder_without_a_world_says_so(tmp_path: Path) -> None:
    empty = demo.World(tmp_path, tmp_path / "items.json", (0, 0, 1, 1))
    with pytest.raises(ChipweaveError, match="holds no demo world"), demo.serve(empty):
        pass


def test_a_missing_rustac_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(servers.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(servers.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChipweaveError, match="rustac is missing"):
        servers._rustac()


def test_a_rustac_that_fails_is_quoted(
    world: demo.World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "rustac"
    broken.write_text("#!/bin/sh\necho 'cannot bind' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(servers, "_rustac", lambda: str(broken))
    with (
        pytest.raises(ChipweaveError, match="cannot bind"),
        servers._api(world.folder, "http://127.0.0.1:1", 0),
    ):
        pass
