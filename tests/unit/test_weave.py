"""Plan and weave of tiny local worlds: the same pixels in any tile, and what becomes of what is broken."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from chipweave import run
from chipweave.audit import verify
from chipweave.errors import PermanentSourceError, TransientSourceError, YieldError
from chipweave.model import document_spec
from chipweave.pixels import mosaic
from chipweave.plan import survey
from chipweave.plan.layers import BuildLayers, _limits, _target_area
from chipweave.weave import batch as batch_room
from chipweave.weave import mosaics, offset_warnings
from tiny import UTM, load, north_up, outline, to_lonlat, write_tif
from worlds.harness import chipweave, digests, ledger, read_samples
from worlds.stac import item, write_catalog

X, Y, SIDE = 600_000.0, 5_200_000.0, 640
NODATA = -32768


def picture(seed: int, px: int = 64) -> np.ndarray:
    """Smooth values with a seed's own level."""
    rows, cols = np.mgrid[:px, :px] * (64 / px)
    return (1000 + 500 * seed + 60 * np.sin(cols / 9 + seed) + 40 * np.cos(rows / 7)).astype(np.uint16)


def add_scene(
    folder: Path,
    name: str,
    *,
    day: int = 10,
    clouds=(),
    seed: int = 1,
    empty=(),
    hidden=(),
    time="10:00:00",
    at=0,
    **more,
) -> dict:
    """Files and item of a scene of 64 px, `at` pixels east; `clouds`, `empty`, `hidden` are slices in 20 m pixels.

    `empty` is no data in bands and SCL, `hidden` in the bands alone.
    """
    scl, red, edge = np.full((32, 32), 4, np.uint8), picture(seed), picture(seed + 1, 32)
    for window in clouds:
        scl[window] = 9
    for window in (*empty, *hidden):
        edge[window] = 0
        rows, cols = (slice(*(None if v is None else 2 * v for v in (s.start, s.stop))) for s in window)
        red[rows, cols] = 0
    for window in empty:
        scl[window] = 0
    left = X + 10 * at
    for key, array, res in (("red", red, 10), ("rededge1", edge, 20), ("scl", scl, 20)):
        write_tif(folder / name / f"{key}.tif", array, UTM, north_up(left, Y, res), 0)
    known = {"red": "red", "rededge1": "rededge1"}
    assets = {
        k: {"href": f"./{name}/{k}.tif", "type": "image/tiff", "roles": ["data"],
            **({"eo:bands": [{"name": k, "common_name": known[k]}]} if k in known else {})}
        for k in ("red", "rededge1", "scl")
    }  # fmt: skip
    properties = {"datetime": f"2021-06-{day:02d}T{time}Z", "platform": "sentinel-2a", "eo:cloud_cover": 5.0,
                  "s2:processing_baseline": "02.14", "proj:epsg": 32632}  # fmt: skip
    return item(name, "sentinel-2-l2a", UTM, (left, Y - SIDE, left + SIDE, Y), properties, assets)


def add_label(folder: Path, cols: int = 150) -> dict:
    """WorldCover-like classes in stripes from a little west of the scene on, `cols` pixels wide."""
    px = 1 / 12000
    west, south, _, north = outline(UTM, X, Y - SIDE, X + SIDE, Y).bounds
    left, top = np.floor(west / px) * px - 5 * px, np.ceil(north / px) * px + 5 * px
    rows = int((top - south) / px) + 10
    codes = np.broadcast_to(
        np.array([10, 30, 40, 50], np.uint8)[np.arange(cols) // 6 % 4], (rows, cols)
    ).copy()
    affine = north_up(left, top, px)
    write_tif(folder / "wc" / "map.tif", codes, "EPSG:4326", affine, 0)
    bounds = (left, top - rows * px, left + cols * px, top)
    properties = {
        "datetime": "2021-01-01T00:00:00Z",
        "esa_worldcover:product_version": "2.0.0",
        "proj:epsg": 4326,
    }
    return item("wc", "esa-worldcover", "EPSG:4326", bounds, properties,
                {"map": {"href": "./wc/map.tif", "type": "image/tiff", "roles": ["data"]}})  # fmt: skip


def recipe(folder: Path, items: list[dict], *, name="r", s2=None, area=None, **more):
    write_catalog(folder / "items.json", items)
    shape = area or outline(UTM, X, Y - SIDE, X + SIDE, Y)
    (folder / "aoi.geojson").write_text(json.dumps(shapely.geometry.mapping(shape)), encoding="utf-8")
    layer = {
        "collection": "sentinel-2-l2a",
        "bands": ["red", "rededge1"],
        "time": "2021-06-01/2021-06-30",
        **(s2 or {}),
    }
    mapping = {"catalog": "items.json", "area": {"geojson": "aoi.geojson"}, "imagery": {"s2": layer},
               "output": {"formats": ["webdataset"], "samples_per_shard": 8}, **more}  # fmt: skip
    return load(folder, {k: v for k, v in mapping.items() if v is not None}, f"{name}.yaml")


def build(loaded, out: Path, **more):
    run.build(loaded, out, workers=0, **more)
    return read_samples(out)


def same_samples(first: dict, other: dict) -> None:
    assert other.keys() == first.keys()
    for key, sample in first.items():
        assert sample.meta == other[key].meta
        for layer, array in sample.arrays.items():
            np.testing.assert_array_equal(array, other[key].arrays[layer])


def build_in_every_way(loaded, folder: Path) -> dict:
    """In this process, by a worker, in tiles of one chip: the same bytes, the same pixels, and verify is content."""
    first = build(loaded, folder / "one")
    run.build(loaded, folder / "two", workers=1)
    assert digests(folder / "one") == digests(folder / "two")
    same_samples(first, build(loaded, folder / "tiles", tile_px=16))
    assert chipweave("verify", folder / "one").returncode == 0
    return first


def why(fates: pd.DataFrame, state: str) -> list[tuple]:
    """Stage, reason and layer of the chips that came to that."""
    found = fates[fates["state"] == state][["stage", "reason", "layer"]]
    return sorted(found.itertuples(index=False, name=None))


def rows(out: Path, name: str) -> list[dict]:
    return pd.read_parquet(out / "plan" / f"{name}.parquet").to_dict("records")


WC = {"worldcover": {"collection": "esa-worldcover", "edition": 2021}}
WEST = np.s_[:, :16]


def test_pixels_are_the_same_in_every_tile(tmp_path):
    """Off the scenes' grid, over their edges, two scenes a datatake: tiles of one chip, of four, and of all."""
    items = [
        add_scene(tmp_path, "A", clouds=[np.s_[3:9, 4:11]], empty=[np.s_[20:25, 13:19]]),
        add_scene(tmp_path, "B", seed=2, at=24, time="10:00:20"),
        add_label(tmp_path, 260),
    ]
    wide = outline(UTM, X - 90, Y - SIDE - 50, X + 950, Y + 70)
    loaded = recipe(tmp_path, items, area=wide, labels=WC, chips={"size": 16, "lattice": {"anchor": [3, 7]}},
                    s2={"mask": "blank"})  # fmt: skip
    first = build(loaded, tmp_path / "t1", tile_px=16)
    assert {len(s.meta["layers"]["s2"]["items"][0]) for s in first.values()} == {1, 2}
    for tile_px in (32, 4096):
        other = build(loaded, tmp_path / f"t{tile_px}", tile_px=tile_px)
        same_samples(first, other)
    assert pd.read_parquet(tmp_path / "t1" / "plan" / "chips.parquet")["tile"].nunique() > 20


def test_where_few_pixels_are_missing_these_alone_are_read(tmp_path, monkeypatch):
    """Of the next scene of a mosaic; what comes out is what whole windows give, to the byte."""
    items = [
        add_scene(tmp_path, "A", clouds=[np.s_[3:9, 4:11]], empty=[np.s_[20:25, 13:15], np.s_[2:4, 20:30]]),
        add_scene(tmp_path, "B", seed=2, at=24, time="10:00:20"),
        add_scene(tmp_path, "C", seed=3, at=40, time="10:00:40"),
    ]
    wide = outline(UTM, X - 90, Y - SIDE - 50, X + 1100, Y + 70)
    loaded = recipe(tmp_path, items, area=wide, chips={"size": 16, "lattice": {"anchor": [3, 7]}},
                    s2={"min_valid": 0})  # fmt: skip
    real, read = mosaics.read_scene, []

    def watched(scene, how, crs, affine, shape):
        read.append((scene.id, shape))
        return real(scene, how, crs, affine, shape)

    monkeypatch.setattr(mosaics, "read_scene", watched)
    samples = build(loaded, tmp_path / "out", tile_px=64)
    assert {len(s.meta["layers"]["s2"]["items"][0]) for s in samples.values()} == {1, 2}
    few, read[:] = list(read), []
    monkeypatch.setattr(mosaics, "NARROW", 0)
    build(loaded, tmp_path / "right", tile_px=64)
    assert digests(tmp_path / "out") == digests(tmp_path / "right")
    assert min(min(shape) for _, shape in few) < 16
    assert all(min(shape) >= 16 for _, shape in read)
    assert sum(np.prod(shape) for _, shape in few) < sum(np.prod(shape) for _, shape in read)


def test_pictures_of_a_tile_are_gone_before_the_next_is_read(tmp_path, monkeypatch):
    """At once, not when cycles are looked for: a worker has room for one tile."""
    items = [add_scene(tmp_path, "A"), add_label(tmp_path, 260)]
    loaded = recipe(tmp_path, items, labels=WC, chips={"size": 16, "lattice": {"anchor": [3, 7]}})
    real, waiting, tiles = batch_room._weave_tile, [], []

    def watched(tasks, batch, series):
        tiles.append(sum(ref() is not None for ref in waiting))
        tile = real(tasks, batch, series)
        waiting[:] = [
            weakref.ref(values) for own in tile.pictures.values() for values, _ in own._held.values()
        ]
        return tile

    monkeypatch.setattr(batch_room, "_weave_tile", watched)
    gc.disable()
    try:
        build(loaded, tmp_path / "out", tile_px=16)
    finally:
        gc.enable()
    assert len(tiles) > 2
    assert waiting
    assert not any(tiles)


def test_on_the_scenes_grid_values_are_the_files(tmp_path):
    """`mask: blank` erases bad pixels in all bands, counts them first, and leaves the mask to say where."""
    loaded = recipe(tmp_path, [add_scene(tmp_path, "A", clouds=[np.s_[4:8, 4:8]])], s2={"mask": "blank"})
    samples = build(loaded, tmp_path / "out")
    assert len(samples) == 16
    erased = 0
    for sample in samples.values():
        col, row = round((sample.affine.c - X) / 10), round((Y - sample.affine.f) / 10)
        red, mask = sample.arrays["s2"][0].astype(int), sample.arrays["s2_mask"]
        np.testing.assert_array_equal(
            red, np.where(mask == 1, NODATA, picture(1).astype(int)[row : row + 16, col : col + 16])
        )
        np.testing.assert_array_equal(sample.arrays["s2"][1] == NODATA, mask == 1)
        said = sample.meta["layers"]["s2"]
        assert said["valid_fraction"] == 1.0
        assert said["cloud_fraction"] == (mask == 1).mean()
        erased += (mask == 1).sum()
    assert erased == 64


def test_a_chip_without_a_label_is_dropped_and_said(tmp_path):
    """The label ends in the middle of the area."""
    items = [add_scene(tmp_path, "A"), add_label(tmp_path, 60)]
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, labels=WC), out)
    fates = ledger(out)
    assert 0 < len(samples) < 16
    assert set(why(fates, "dropped")) == {("lock", "no_scene", "worldcover")}
    assert len(fates) == 16


def test_a_scene_that_ends_before_a_chip_does_not_serve_it(tmp_path):
    loaded = recipe(tmp_path, [add_scene(tmp_path, "A", at=32)], s2={"min_valid": 100})
    out = tmp_path / "out"
    assert len(build(loaded, out)) == 8
    fates = ledger(out)
    assert set(fates[fates["state"] == "dropped"]["reason"]) == {"no_scene"}


# What is broken ---------------------------------------------------------------------------------------------


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_broken_band_takes_the_next_best_scene_and_is_amended(tmp_path):
    """Survey reads masks alone, so the break shows in weave; every chip is cloudier in C than in B."""
    columns = (0, 8, 16, 24)
    items = [
        add_scene(tmp_path, "A", day=1, seed=1),
        add_scene(tmp_path, "B", day=2, seed=2, clouds=[np.s_[:, k : k + 1] for k in columns]),
        add_scene(tmp_path, "C", day=3, seed=3, clouds=[np.s_[:, k : k + 3] for k in columns]),
    ]
    cut(tmp_path / "A" / "rededge1.tif", 0.02)
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items), out)
    assert len(samples) == 16
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["items"] == [["B"]]
        col, row = round((sample.affine.c - X) / 10), round((Y - sample.affine.f) / 10)
        np.testing.assert_array_equal(sample.arrays["s2"][0], picture(2)[row : row + 16, col : col + 16])
    amended = rows(out, "amendments")
    assert {a["key"] for a in amended} == set(samples)
    assert {(a["item"], a["stage"], a["layer"]) for a in amended} == {("A", "weave", "s2")}
    assert all("rededge1.tif" in a["href"] for a in amended)
    assert (ledger(out)["state"] == "written").all()


def test_a_broken_block_costs_its_own_chips_alone(tmp_path, monkeypatch):
    real = mosaic.read_int16

    def broken_east(assets, nodata, crs, affine, shape, methods):
        red = next((a.href for a in assets if "A/red.tif" in a.href), None)
        if red and affine.c + shape[1] * affine.a > X + 320:
            raise PermanentSourceError("a block cannot be decoded", href=red)
        return real(assets, nodata, crs, affine, shape, methods)

    monkeypatch.setattr(mosaic, "read_int16", broken_east)
    items = [add_scene(tmp_path, "A", day=2), add_scene(tmp_path, "B", day=1, seed=2)]
    samples = build(recipe(tmp_path, items), tmp_path / "out", tile_px=4096)
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["items"] == [["A" if sample.affine.c < X + 320 else "B"]]


def test_chips_without_any_readable_scene_fail(tmp_path):
    """As far as `allow` lets them; the others are written."""
    items = [add_scene(tmp_path, "A"), add_scene(tmp_path, "B", day=11, at=32, seed=2)]
    (tmp_path / "A" / "red.tif").write_bytes(b"no picture")
    with pytest.raises(YieldError, match=r"8 of 16 chips failed.*red\.tif"):
        build(recipe(tmp_path, items), tmp_path / "strict")
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, name="loose", allow={"failed": 0.5}), out)
    assert len(samples) == 8
    fates = ledger(out)
    failed = fates[fates["state"] == "failed"]
    assert set(failed[["stage", "reason", "layer"]].itertuples(index=False, name=None)) == {
        ("weave", "broken", "s2")
    }
    assert failed["href"].str.endswith("A/red.tif").all()
    assert len(fates) == 16


def test_a_missing_file_is_known_in_survey_where_it_is_the_mask(tmp_path):
    items = [add_scene(tmp_path, "A", day=2), add_scene(tmp_path, "B", day=1, seed=2)]
    (tmp_path / "A" / "scl.tif").unlink()
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items), out)
    assert {s.meta["layers"]["s2"]["items"][0][0] for s in samples.values()} == {"B"}
    assert {(a["item"], a["stage"]) for a in rows(out, "amendments")} == {("A", "survey")}


def test_a_source_that_does_not_answer_leaves_its_batch_open(tmp_path, monkeypatch):
    """No chip takes another scene by accident; what is done stays done, and the end is the same to the byte."""
    items = [add_scene(tmp_path, "A", day=2), add_scene(tmp_path, "B", day=1, seed=2)]
    loaded, out = recipe(tmp_path, items), tmp_path / "out"
    real, calls = mosaics.read_scene, []

    def flaky(scene, read, crs, affine, shape):
        calls.append(affine.c)
        if affine.c >= X + 480:
            raise TransientSourceError("timed out", href="A/red.tif")
        return real(scene, read, crs, affine, shape)

    monkeypatch.setattr(mosaics, "read_scene", flaky)
    with pytest.raises(TransientSourceError, match="weave: 4 of 16 batches are open: timed out"):
        build(loaded, out, tile_px=16)
    assert len(calls) == 16, "one batch that is open does not keep the others from their work"
    assert not (out / "manifest.json").exists()
    done = sorted((out / ".work").rglob("*.json"))
    calls.clear()
    monkeypatch.setattr(mosaics, "read_scene", lambda *a: (calls.append(a[3].c), real(*a))[1])
    samples = build(loaded, out, tile_px=16)
    assert len(done) == 12
    assert calls == [X + 480] * 4
    assert {s.meta["layers"]["s2"]["items"][0][0] for s in samples.values()} == {"A"}
    monkeypatch.undo()
    build(loaded, tmp_path / "fresh", tile_px=16)
    assert digests(out) == digests(tmp_path / "fresh")


def flip(part: Path) -> None:
    """One byte in the middle of the pixels: the size stays."""
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "more"),
    [(flip, {}), (lambda part: cut(part, 0.5), {}), (Path.unlink, {}), (flip, {"shuffle": {"window": 8}})],
    ids=["flip", "cut", "gone", "flip-window"],
)
def test_a_part_that_was_spoilt_is_woven_again(tmp_path, monkeypatch, spoil, more):
    """Its receipt stands, and is not believed: a power cut may leave a file's size without its bytes."""
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 8, **more}
    loaded, out = recipe(tmp_path, [add_scene(tmp_path, "A")], output=output), tmp_path / "out"
    real, batches = batch_room.hand_out, []

    def stops(plan, number, *rest):
        batches.append(number)
        if number == 6:
            raise KeyboardInterrupt
        return real(plan, number, *rest)

    monkeypatch.setattr(batch_room, "hand_out", stops)
    with pytest.raises(KeyboardInterrupt):
        build(loaded, out, tile_px=16)
    assert batches == list(range(7))
    parts = out / ".work" / "parts"
    assert {p.name for p in parts.iterdir()} == {f"batch-{n:06d}.part" for n in range(6)}
    spoil(parts / "batch-000003.part")
    batches.clear()
    monkeypatch.setattr(batch_room, "hand_out", lambda *a: (batches.append(a[1]), real(*a))[1])
    build(loaded, out, tile_px=16)
    assert batches == [3, *range(6, 16)]
    build(loaded, tmp_path / "fresh", tile_px=16)
    assert digests(out) == digests(tmp_path / "fresh")


def test_an_open_survey_goes_on_in_other_tiles(tmp_path, monkeypatch):
    """Receipts of small tiles are none of large ones', though they have their numbers."""
    items = [
        add_scene(tmp_path, "A", clouds=[WEST]),
        add_scene(tmp_path, "B", day=1, seed=2, clouds=[np.s_[:, 16:]]),
    ]
    loaded, out = recipe(tmp_path, items, s2={"max_cloud": 50}), tmp_path / "out"
    real = survey.read_mask

    def flaky(scene, read, crs, affine, shape):
        if affine.f > Y - 100:
            raise TransientSourceError("timed out")
        return real(scene, read, crs, affine, shape)

    monkeypatch.setattr(survey, "read_mask", flaky)
    with pytest.raises(TransientSourceError, match="survey: "):
        build(loaded, out, tile_px=16)
    monkeypatch.undo()
    samples = build(loaded, out, tile_px=32)
    for sample in samples.values():
        assert sample.meta["layers"]["s2"]["items"] == [["B" if sample.affine.c < X + 320 else "A"]]
        assert sample.meta["layers"]["s2"]["cloud_fraction"] == 0
    assert len(samples) == 16


# Limits -----------------------------------------------------------------------------------------------------


def test_bands_that_hold_less_than_the_mask_said_are_a_late_drop(tmp_path):
    """`min_valid` is held against the mask in survey and against the bands in weave."""
    items = [add_scene(tmp_path, "A", empty=[np.s_[:8, :3]], hidden=[np.s_[16:24, 24:27]])]
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2={"min_valid": 90}), out)
    fates = ledger(out)
    dropped = fates[fates["state"] == "dropped"][["stage", "reason", "layer"]].itertuples(
        index=False, name=None
    )
    assert sorted(dropped) == [("survey", "valid", "s2"), ("weave", "valid", "s2")]
    assert len(samples) == 14
    late = fates[fates["stage"] == "weave"]
    assert late[late["state"] == "dropped"]["error"].item().endswith("0.6250")


def test_a_partner_whose_bands_are_empty_after_all_is_a_gap(tmp_path):
    """Its mask said that it is there: known in weave alone."""
    items = [
        add_scene(tmp_path, "A", day=24),
        add_scene(tmp_path, "B", day=14, hidden=[np.s_[:, :16]]),
        add_label(tmp_path, 260),
    ]
    base = {"collection": "sentinel-2-l2a", "bands": ["red", "rededge1"]}
    pair = {"with": "s2", "within_days": 15, "if_missing": "nodata"}
    layers = {
        "s2": {**base, "time": "2021-06-20/2021-06-30"},
        "other": {**base, "time": "2021-06-10/2021-06-18", "pair": pair},
    }
    samples = build(recipe(tmp_path, items, imagery=layers, labels=WC), tmp_path / "out")
    west = {key for key, sample in samples.items() if sample.meta["transform"][2] < X + 320}
    assert len(samples) == 16
    assert {key for key, sample in samples.items() if not sample.meta["layers"]["other"]["present"]} == west
    assert all(samples[key].meta["layers"]["other"]["items"] == [[""]] for key in west)
    assert verify(tmp_path / "out").ok


def test_the_cloudiest_chip_that_is_allowed_stays(tmp_path):
    items = [add_scene(tmp_path, "A", clouds=[np.s_[:8, :4], np.s_[8:16, :5]])]
    out = tmp_path / "out"
    samples = build(recipe(tmp_path, items, s2={"max_cloud": 50}), out)
    assert len(samples) == 15
    assert max(s.meta["layers"]["s2"]["cloud_fraction"] for s in samples.values()) == 0.5
    fates = ledger(out)
    assert list(fates[fates["state"] == "dropped"]["reason"]) == ["cloud"]


@pytest.mark.parametrize("percent", [99.9, 99.7, 0.1, 0.7, 57.3, 100, 0])
def test_limits_in_percent_are_the_shares_they_name(tmp_path, percent):
    """99.9 / 100 is 0.9990000000000001 in floats: a chip with 999 of 1000 pixels would be dropped."""
    loaded = recipe(tmp_path, [], s2={"min_valid": percent, "max_cloud": percent})
    limits = _limits(loaded, "s2")
    whole = round(percent * 10)
    assert limits.min_valid <= whole / 1000
    assert limits.max_cloud >= whole / 1000


def test_the_targets_pixel_is_measured_on_the_ground(tmp_path):
    """20 m of web Mercator at 60 N are 10 m on the ground: no coarser than a pixel of 10 m."""
    mercator = recipe(tmp_path, [], chips={"size": 16, "resolution": 20, "crs": "EPSG:3857"})
    assert _target_area(mercator, (9.0, 60.0), 20.0) == pytest.approx(100, rel=0.01)
    assert _target_area(recipe(tmp_path, []), (9.0, 60.0), 10.0) == 100
    degrees = recipe(tmp_path, [], chips={"size": 16, "resolution": 1e-4, "crs": "EPSG:4326"})
    assert _target_area(degrees, (9.0, 60.0), 1e-4) == pytest.approx(11.13 * 11.13 / 2, rel=0.01)


def test_a_limit_is_no_loss_that_allow_forbids(tmp_path):
    items = [add_scene(tmp_path, "A")]
    strict = recipe(tmp_path, items, allow={"dropped": 0.1}, split={
        "method": "blocks", "block_km": 0.2, "fractions": {"train": 0.5, "val": 0.25, "test": 0.25}, "tolerance": 1,
    })  # fmt: skip
    out = tmp_path / "out"
    samples = build(strict, out, limit=4, tile_px=16)
    assert 4 <= len(samples) <= 6
    assert {s.meta["split"] for s in samples.values()} == {"train", "val", "test"}
    assert set(why(ledger(out), "dropped")) == {("limit", "limit", "")}
    whole = build(strict, tmp_path / "whole", tile_px=16)
    assert {k: whole[k].meta["split"] for k in samples} == {k: s.meta["split"] for k, s in samples.items()}


def test_keep_rules_are_held_against_what_survey_measured(tmp_path):
    items = [add_scene(tmp_path, "A", clouds=[np.s_[:8, :4]]), add_label(tmp_path)]
    out = tmp_path / "out"
    rule = "s2.cloud_fraction < 0.1"
    build(recipe(tmp_path, items, labels=WC, keep=[rule, "worldcover.80 <= 0.0"]), out)
    assert why(ledger(out), "dropped") == [("survey", f"keep: {rule}", "s2")]


def test_a_mosaic_names_its_scenes_and_their_time(tmp_path):
    """West and east of one datatake, over midnight: the chip between them is of both, the one with more of it first."""
    items = [
        add_scene(tmp_path, "E", seed=2, at=40, day=11, time="00:00:05"),
        add_scene(tmp_path, "W", seed=1, day=10, time="23:59:50"),
    ]
    wide = outline(UTM, X, Y - SIDE, X + 1040, Y)
    over = {"time": "2021-06-10/2021-06-11", "min_valid": 100}
    loaded = recipe(tmp_path, items, area=wide, chips={"size": 24}, s2=over)
    samples = build(loaded, tmp_path / "out")
    by_col = {}
    for sample in samples.values():
        said = sample.meta["layers"]["s2"]
        by_col[round((sample.affine.c - X) / 10)] = (said["items"][0], said["datetime"])
    assert by_col[0] == (["W"], ["2021-06-10T23:59:50Z"])
    assert by_col[48] == (["E", "W"], ["2021-06-11T00:00:05Z"]) or by_col[48] == (
        ["E"],
        ["2021-06-11T00:00:05Z"],
    )
    assert by_col[72] == (["E"], ["2021-06-11T00:00:05Z"])


def test_dark_pixels_tell_of_an_offset():
    counters = {"n:s2:A": 20_000, "below:s2:A": 400, "dark:s2:A": 20_000,
                "n:s2:B": 20_000, "below:s2:B": 0, "dark:s2:B": 0,
                "n:s2:C": 20_000, "below:s2:C": 10, "dark:s2:C": 900,
                "n:s2:D": 500, "below:s2:D": 500, "dark:s2:D": 0}  # fmt: skip
    said = offset_warnings(counters)
    assert [w.split(":")[1] for w in said] == ["A", "B"]
    assert "twice" in said[0]
    assert "still in the values" in said[1]


def test_a_dataset_across_the_date_line(tmp_path):
    """Scene of zone 60 over ±180°, two rasters of classes that meet there, chips of both zones: all is found."""
    crs, px, top = "EPSG:32760", 1 / 12000, -16.9
    left, north = 819_200.0, 8_127_200.0
    scl, red = np.full((40, 40), 4, np.uint8), picture(1, 80)
    for key, array, res in (("red", red, 10), ("scl", scl, 20)):
        write_tif(tmp_path / "A" / f"{key}.tif", array, crs, north_up(left, north, res), 0)
    shape = outline(crs, left, north - 800, left + 800, north)
    assert shape.geom_type == "MultiPolygon"
    told = {
        "datetime": "2021-06-10T00:00:00Z",
        "proj:epsg": 32760,
        "proj:shape": [80, 80],
        "proj:transform": [10, 0, left, 0, -10, north],
        "s2:processing_baseline": "02.14",
    }
    bands = {
        "red": {"href": "./A/red.tif", "eo:bands": [{"common_name": "red"}]},
        "scl": {"href": "./A/scl.tif"},
    }
    own = item("A", "sentinel-2-l2a", "EPSG:4326", (179, -17, 179.5, -16.9), told, bands)
    own |= {"geometry": shapely.geometry.mapping(shape), "bbox": [179.9, -17, -179.9, -16.9]}
    items = [own]
    for name, west in (("w", 180 - 240 * px), ("e", -180.0)):
        codes = np.full((1200, 240), {"w": 10, "e": 80}[name], np.uint8)
        write_tif(tmp_path / name / "map.tif", codes, "EPSG:4326", north_up(west, top, px), 0)
        bounds = (west, top - 1200 * px, west + 240 * px, top)
        items.append(
            item(name, "esa-worldcover", "EPSG:4326", bounds,
                 {"datetime": "2021-01-01T00:00:00Z", "esa_worldcover:product_version": "2.0.0", "proj:epsg": 4326},
                 {"map": {"href": f"./{name}/map.tif"}})
        )  # fmt: skip
    s2 = {"bands": ["red"], "min_valid": 0}
    chips = {"size": 16, "lattice": {"anchor": [80, 0]}}
    samples = build(recipe(tmp_path, items, area=shape, s2=s2, labels=WC, chips=chips), tmp_path / "out")
    assert {s.crs for s in samples.values()} == {"EPSG:32760", "EPSG:32701"}
    crossing = 0
    for sample in samples.values():
        lon, _ = to_lonlat(sample.crs, *sample.centres())
        sure = np.abs(np.abs(lon) - 180) > px
        np.testing.assert_array_equal(sample.arrays["worldcover"][sure], np.where(lon > 0, 10, 80)[sure])
        crossing += bool((lon > 0).any() and (lon < 0).any())
        assert (sample.arrays["s2"] != NODATA).mean() == sample.meta["layers"]["s2"]["valid_fraction"] > 0
        w, _, e, _ = sample.meta["bbox"]
        assert (w > e) == bool((lon > 0).any() and (lon < 0).any()) or abs(abs(w) - 180) < 0.01
    assert crossing


def test_chips_of_sixty_centimetres(tmp_path):
    """0.6 is no binary number: chips join without a gap, and a plane stays one to the rounding of its values."""
    scene = add_scene(tmp_path, "A")
    rows, cols = np.mgrid[:64, :64]
    write_tif(
        tmp_path / "A" / "red.tif",
        (1000 + 40 * cols + 7 * rows).astype(np.uint16),
        UTM,
        north_up(X, Y, 10),
        0,
    )
    loaded = recipe(tmp_path, [scene], chips={"size": 64, "resolution": 0.6}, s2={"bands": ["red"], "min_valid": 100},
                    area=outline(UTM, X + 100, Y - 300, X + 300, Y - 100))  # fmt: skip
    samples = build(loaded, tmp_path / "out")
    assert len(samples) >= 25
    corners = {(round(s.affine.c / 0.6 / 64, 6), round(s.affine.f / 0.6 / 64, 6)) for s in samples.values()}
    assert len(corners) == len(samples)
    assert all(c == round(c) and r == round(r) for c, r in corners), "corners are not on the lattice"
    centres = (np.arange(64) + 0.5) * 0.6
    for sample in samples.values():
        u = (sample.affine.c + centres - X) / 10 - 0.5
        v = (Y - sample.affine.f + centres) / 10 - 0.5
        right = 1000 + 40 * u[None, :] + 7 * v[:, None]
        assert np.abs(sample.arrays["s2"][0] - right).max() <= 0.5 + 1e-6
    again = build(loaded, tmp_path / "tiles", tile_px=64)
    assert all((again[k].arrays["s2"] == s.arrays["s2"]).all() for k, s in samples.items())


def test_a_text_has_no_pixels_in_the_forecast():
    caption = document_spec("caption", "text", "txt", "words")
    assert BuildLayers((caption,), None, frozenset(), {}).sample_bytes == 1024 + 4096
