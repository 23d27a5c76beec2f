"""What survey and weave decode, counted: masks of the candidates that are looked at, bands of the chosen one."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from chipweave import run
from chipweave.catalog.remote import RemoteFile
from chipweave.pixels import counts, read
from chipweave.pixels.kept import Kept
from support.ranges import serving
from tiny import UTM, load, outline
from worlds.harness import read_samples
from worlds.stac import item, write_catalog

X, Y, PX, BLOCK = 600_000.0, 5_200_000.0, 1024, 128
KEYS = {"red": 10, "scl": 20}


@cache
def stored_band(key, cloudy, at) -> bytes:
    """The file of a band: the same on every date."""
    res = KEYS[key]
    side = PX * 10 // res
    rows, cols = np.mgrid[:side, :side]
    values = (1500 + rows + cols).astype("uint16") if key == "red" else np.full((side, side), 4, "uint8")
    if key == "scl" and cloudy:
        values[::32, ::32] = 9
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=side, height=side, count=1, dtype=values.dtype, crs=UTM, nodata=0,
            transform=from_origin(X + 10 * at, Y, res, res), tiled=True, blockxsize=BLOCK, blockysize=BLOCK,
            compress="deflate",
        ) as file:  # fmt: skip
            file.write(values, 1)
        return memory.read()


def scene(folder, name, day, *, cloudy=False, cloud=5.0, at=0, second=0):
    """Red at 10 m (8 x 8 blocks), SCL at 20 m (4 x 4 blocks), `at` pixels east; `cloudy` has one cloud a chip."""
    assets = {}
    for key in KEYS:
        path = folder / name / f"{key}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored_band(key, cloudy, at))
        assets[key] = {"href": f"./{name}/{key}.tif", "type": "image/tiff", "roles": ["data"]}
    assets["red"]["eo:bands"] = [{"name": "red", "common_name": "red"}]
    properties = {"datetime": f"2021-06-{day:02d}T10:00:{second:02d}Z", "platform": "sentinel-2a",
                  "eo:cloud_cover": cloud, "s2:processing_baseline": "02.14", "proj:epsg": 32632}  # fmt: skip
    bounds = (X + 10 * at, Y - PX * 10, X + 10 * (at + PX), Y)
    return item(name, "sentinel-2-l2a", UTM, bounds, properties, assets)


def recipe(folder, items, shapes, *, anchor=0, **s2):
    write_catalog(folder / "items.json", items)
    features = [{"type": "Feature", "properties": {}, "geometry": s.__geo_interface__} for s in shapes]
    (folder / "aoi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    layer = {"collection": "sentinel-2-l2a", "bands": ["red"], "time": "2021-06-01/2021-06-30", **s2}
    mapping = {"catalog": "items.json", "area": {"geojson": "aoi.geojson"}, "imagery": {"s2": layer},
               "chips": {"size": 64, "lattice": {"anchor": [X + 10 * anchor, Y]}},
               "output": {"formats": ["webdataset"]}}  # fmt: skip
    return load(folder, mapping, "r.yaml")


WHOLE = [outline(UTM, X, Y - PX * 10, X + PX * 10, Y)]


def test_masks_of_the_candidates_that_were_looked_at(tmp_path):
    """Twenty dates: the catalog's clearest is cloudy everywhere, the next one clear: two masks are read."""
    items = [scene(tmp_path, f"S{day:02d}", day, cloud=50.0 + day) for day in range(1, 19)]
    items += [scene(tmp_path, "S19", 19, cloudy=True, cloud=1.0), scene(tmp_path, "S20", 20, cloud=2.0)]
    loaded = recipe(tmp_path, items, WHOLE)
    counts.reset()
    run.plan(loaded, tmp_path / "out", workers=0)
    assert counts.decoded == 2 * 16
    counts.reset()
    run.build(loaded, tmp_path / "out", workers=0)
    assert counts.decoded == 64 + 16
    samples = read_samples(tmp_path / "out")
    assert len(samples) == 256
    assert {s.meta["layers"]["s2"]["items"][0][0] for s in samples.values()} == {"S20"}


def test_at_most_max_candidates_are_looked_at(tmp_path):
    items = [scene(tmp_path, f"S{day:02d}", day, cloudy=True) for day in range(1, 9)]
    counts.reset()
    run.plan(recipe(tmp_path, items, WHOLE, max_candidates=3), tmp_path / "out", workers=0)
    assert counts.decoded == 3 * 16


@pytest.mark.parametrize("tile_px", [128, 320, 2048])
def test_a_dense_job_decodes_each_block_once_whatever_its_tiles(tmp_path, tile_px):
    loaded = recipe(tmp_path, [scene(tmp_path, "A", 1)], WHOLE)
    counts.reset()
    run.build(loaded, tmp_path / "out", workers=0, tile_px=tile_px)
    assert counts.decoded <= 1.2 * (64 + 2 * 16)


def test_scattered_chips_decode_their_own_blocks_alone(tmp_path):
    """Chips of 64 px in blocks of 128 px: four far apart, each inside one block of either band."""
    corners = [(0, 0), (256, 640), (512, 128), (896, 896)]
    shapes = [
        outline(UTM, X + 10 * c + 200, Y - 10 * r - 440, X + 10 * c + 440, Y - 10 * r - 200)
        for r, c in corners
    ]
    loaded = recipe(tmp_path, [scene(tmp_path, "A", 1)], shapes)
    counts.reset()
    done = run.build(loaded, tmp_path / "out", workers=0)
    assert done["written"] == 4
    assert counts.decoded == 4 + 4  # weave finds the mask blocks of survey still there


@pytest.mark.parametrize("tile_px", [320, 2048])
def test_a_series_decodes_each_date_once_whatever_its_tiles(tmp_path, tile_px):
    """Chips off the blocks' lattice, so that tiles share blocks: only the border of two batches is read twice."""
    items = [scene(tmp_path, f"S{day:02d}", day) for day in range(1, 9)]
    loaded = recipe(tmp_path, items, WHOLE, select={"method": "series", "max": 8, "min_gap": "1d"})
    counts.reset()
    done = run.build(loaded, tmp_path / "out", workers=0, tile_px=tile_px)
    assert done["written"] == 256
    assert counts.decoded - 8 * 16 <= 1.2 * 8 * (64 + 16)


def test_over_a_seam_each_scene_gives_its_own_blocks(tmp_path):
    """Two scenes of one datatake that overlap by less than a chip, whose chips lie over both."""
    items = [scene(tmp_path, "A", 1), scene(tmp_path, "B", 1, at=1000, second=20)]
    both = [outline(UTM, X, Y - PX * 10, X + 10 * (PX + 1000), Y)]
    loaded = recipe(tmp_path, items, both, anchor=32, min_valid=100)
    run.plan(loaded, tmp_path / "out", workers=0)
    counts.reset()
    done = run.build(loaded, tmp_path / "out", workers=0)
    samples = read_samples(tmp_path / "out")
    assert done["written"] == len(samples) == 31 * 16
    seam = [s for s in samples.values() if len(s.meta["layers"]["s2"]["items"][0]) == 2]
    assert len(seam) == 16
    assert counts.decoded <= 1.2 * 2 * (64 + 16)


def test_blocks_that_no_tile_to_come_needs_leave_room_for_those_that_one_does(tmp_path, monkeypatch):
    """Batches of four tiles, off the blocks' lattice: room for the blocks of one row of tiles is nearly enough."""
    monkeypatch.setattr(read, "CACHE_BYTES", 560 << 10)
    loaded = recipe(tmp_path, [scene(tmp_path, "A", 1)], WHOLE, anchor=32)
    run.plan(loaded, tmp_path / "out", workers=0)
    counts.reset()
    run.build(loaded, tmp_path / "out", workers=0, tile_px=128)
    assert counts.decoded <= 1.06 * (64 + 16)


def test_what_is_kept_for_a_tile_goes_with_it():
    kept = Kept()
    for n in range(6):
        kept.keep(("a", 1, n, 0), np.zeros(100, np.uint8), 1000, far=n < 3)
    assert (len(kept), kept.bytes) == (6, 600)
    kept.end_tile()
    assert (len(kept), kept.bytes) == (3, 300)
    kept.shrink(200)
    assert [key[2] for key in kept.far] == [1, 2]


def over_http(items: list[dict], url: str) -> list[dict]:
    """The same items, whose files a server has."""
    moved = json.loads(json.dumps(items))
    for one in moved:
        for asset in one["assets"].values():
            asset["href"] = f"{url}/{asset['href'].removeprefix('./')}"
    return moved


def stored(path) -> list[int]:
    """Sizes of a file's stored blocks."""
    with rasterio.open(path) as file:
        return [
            int(file.get_tag_item(f"BLOCK_SIZE_{j}_{i}", "TIFF", bidx=1))
            for (i, j), _ in file.block_windows(1)
        ]


@pytest.fixture
def waited(monkeypatch) -> list[tuple[str, int]]:
    """What whoever reads had to ask for, and wait: file, and where the first range begins."""
    asked: list[tuple[str, int]] = []
    plain = RemoteFile._get

    def get(self, spans):
        asked.append((self.href.rpartition("/")[2], spans[0][0]))
        return plain(self, spans)

    monkeypatch.setattr(RemoteFile, "_get", get)
    return asked


HOW = {
    "one date": {},
    "series": {"select": {"method": "series", "max": 3, "min_gap": "1d"}},
    "clouds grown": {"dilate_m": 200},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("tile_px", [256, 1024])
def test_over_http_the_same_is_read_and_all_of_it_before_it_is_waited_for(tmp_path, waited, how, tile_px):
    """Three dates off the tiles' lattice: the same bytes as from disk, few more than the blocks have, none twice."""
    items = [scene(tmp_path / "files", f"S{day}", day) for day in (1, 2, 3)]
    made, decoded = {}, {}
    with serving(tmp_path / "files") as log:
        for name, own in (("disk", items), ("http", over_http(items, log.url))):
            folder = tmp_path / "files" if name == "disk" else tmp_path / "http"
            folder.mkdir(exist_ok=True)
            loaded = recipe(folder, own, WHOLE, anchor=32, **HOW[how])
            counts.reset()
            run.build(loaded, tmp_path / name / "out", workers=0, tile_px=tile_px)
            made[name] = (tmp_path / name / "out" / "shards" / "train-000000.tar").read_bytes()
            decoded[name] = counts.decoded
    assert made["http"] == made["disk"]
    assert decoded["http"] <= decoded["disk"]
    assert waited == []
    dates = 3 if how == "series" else 1
    needed = sum(
        sum(stored(tmp_path / "files" / f"S{d}" / f"{key}.tif")) for d in range(1, dates + 1) for key in KEYS
    )
    headers = len({name for name, _, _ in log.asked}) * (64 << 10)
    assert log.bytes <= 1.1 * needed + headers


def test_masks_that_are_looked_at_one_after_the_other_are_fetched_in_few_requests(tmp_path, waited):
    """Of cloudy dates one mask after the other is asked for: header, then blocks, of a whole tile at once."""
    items = [scene(tmp_path / "files", f"S{day}", day, cloudy=True) for day in (1, 2, 3)]
    with serving(tmp_path / "files") as log:
        loaded = recipe(tmp_path, over_http(items, log.url), WHOLE)
        run.plan(loaded, tmp_path / "out", workers=0)
    assert waited == []
    for day in (1, 2, 3):
        assert len(log.of(f"S{day}/scl.tif")) <= 1 + 4


def test_over_a_seam_the_second_scene_is_fetched_before_it_is_waited_for(tmp_path, waited):
    files = tmp_path / "files"
    items = [scene(files, "A", 1), scene(files, "B", 1, at=1000, second=20)]
    both = [outline(UTM, X, Y - PX * 10, X + 10 * (PX + 1000), Y)]
    with serving(files) as log:
        loaded = recipe(tmp_path, over_http(items, log.url), both, anchor=32, min_valid=100)
        done = run.build(loaded, tmp_path / "out", workers=0)
    assert done["written"] == 31 * 16
    assert waited == []
