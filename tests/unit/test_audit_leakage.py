"""Leakage: distances, likeness and near-duplicates against values that can be computed."""

from __future__ import annotations

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Geod

from chipweave.audit import verify
from chipweave.audit.autocorrelation import check_autocorrelation
from chipweave.audit.duplicates import BITS, Fingerprints, check_near_duplicates
from chipweave.audit.figures import check_classes, check_scenes, jensen_shannon
from chipweave.audit.geometry import check_geometry, check_neighbours, nearest, spacing
from chipweave.audit.limits import Limits
from chipweave.audit.outline import rings_of
from chipweave.audit.sites import Classes, Sites
from chipweave.pixels.fingerprint import Fingerprint, fingerprint, perceptual_hash
from chipweave.plan.distance import distances, rings
from fakes import make

GEOD = Geod(ellps="WGS84")
SIDE = 1280.0


def grid(n: int, splits, *, crs: str = "EPSG:32629", **more) -> Sites:
    """n x n neighbouring squares of 1280 m, row by row; `splits` by row and column."""
    row, col = (a.ravel() for a in np.mgrid[:n, :n])
    x, y = 500_000 + col * SIDE, 4_400_000 - row * SIDE
    keys = np.array([f"r{r:02d}c{c:02d}" for r, c in zip(row, col, strict=True)])
    names = np.array([splits(r, c) for r, c in zip(row, col, strict=True)])
    kept = names != ""
    own = {"keys": keys[kept], "splits": names[kept], "places": keys[kept], **more}
    return Sites(**{**own, "rings": rings([crs] * int(kept.sum()), x[kept], y[kept], SIDE)})


def at_random(_row, _col, rng=np.random.default_rng(7)):  # noqa: B008 - one stream for all calls
    return rng.choice(["train", "val", "test"], p=[0.6, 0.2, 0.2])


def in_halves(row, _col):
    return "" if row == 5 else "train" if row < 5 else "test"


# --- distances -------------------------------------------------------------------------------


def test_the_nearest_of_two_splits_is_that_of_all_pairs():
    rng = np.random.default_rng(3)
    n = 60
    x, y = 500_000 + rng.uniform(0, 60_000, n), 4_400_000 + rng.uniform(0, 60_000, n)
    outlines, groups = rings(["EPSG:32629"] * n, x, y, 900.0), rng.integers(0, 3, n)
    i, j = np.triu_indices(n, 1)
    apart = groups[i] != groups[j]
    metres = distances(outlines, i[apart], j[apart])
    found = nearest(outlines, groups)
    assert found.metres == pytest.approx(metres.min())
    assert {found.one, found.two} == {int(i[apart][metres.argmin()]), int(j[apart][metres.argmin()])}
    assert nearest(outlines, np.zeros(n, int)) is None


def test_a_gap_of_one_chip_is_measured_as_the_geodesic_does():
    check = check_geometry(grid(10, in_halves), 640.0, wrong=True)
    assert check.verdict == "pass"
    west = gpd.GeoSeries(
        gpd.points_from_xy([500_000] * 2, [4_400_000 - 5 * SIDE, 4_400_000 - 6 * SIDE]), crs=32629
    )
    lonlat = west.to_crs(4326)
    true = GEOD.inv(lonlat.x[0], lonlat.y[0], lonlat.x[1], lonlat.y[1])[2]
    assert check.numbers["nearest_m"] == pytest.approx(true, abs=0.02)
    assert check.numbers["between_m"].keys() == {"train-test"}


def test_what_comes_too_close_overlaps_or_shares_a_place_fails_or_warns():
    sites = grid(10, in_halves)
    assert "less than 1281 m" in check_geometry(sites, 1281.0, wrong=True).text
    assert check_geometry(sites, 1281.0, wrong=True).verdict == "fail"
    assert check_geometry(sites, 1281.0, wrong=False).verdict == "warn"
    assert check_geometry(replace(sites, error_m=np.full(90, 310.0)), 640.0, wrong=True).verdict == "pass"
    off = np.where(sites.splits == "test", 350.0, 310.0)
    jittered = check_geometry(replace(sites, error_m=off), 640.0, wrong=True)
    assert jittered.verdict == "fail"
    assert "less than 640 m and the 660 m that both may lie off" in jittered.text
    moved = grid(10, in_halves)
    moved.rings[-1] = moved.rings[0]
    moved.places[-1] = moved.places[0]
    check = check_geometry(moved, 0.0, wrong=True)
    assert check.numbers["overlapping"] == 1
    assert "is in 2 splits" in check.text


def test_a_random_split_lies_among_train_and_halves_do_not():
    sites = grid(20, at_random)
    check = check_neighbours(spacing(sites))
    assert check.verdict == "warn"
    assert "test is leaking: half of it has a sample of train within 1,28" in check.text
    assert check.numbers["test"]["ratio"] == pytest.approx(1.0, abs=1e-3)
    apart = grid(10, in_halves)
    check = check_neighbours(spacing(apart))
    assert check.verdict == "pass"
    assert check.numbers["test"]["median_m"] == pytest.approx(3.5 * SIDE, rel=1e-3)
    assert check.numbers["train_median_m"] == pytest.approx(SIDE, rel=1e-3)


def test_folds_are_held_against_each_other():
    apart = grid(12, lambda r, _c: "" if r % 4 == 3 else f"fold {r // 4}")
    check = check_neighbours(spacing(apart))
    assert check.verdict == "pass"
    assert check.numbers["fold 1"]["median_m"] == pytest.approx(2 * SIDE, rel=1e-3)
    mixed = grid(12, lambda r, c: f"fold {(r + c) % 3}")
    assert "fold 0 lies among the others" in check_neighbours(spacing(mixed)).text


def test_chips_of_one_place_do_not_make_train_dense():
    sites = grid(6, lambda r, _c: "train" if r < 3 else "test")
    twice = Sites(*(np.concatenate([a, a]) for a in (sites.keys, sites.splits, sites.places, sites.rings)))
    assert check_neighbours(spacing(twice)).numbers == check_neighbours(spacing(sites)).numbers


# --- outlines of any geometry ----------------------------------------------------------------


def test_outlines_of_polygons_are_those_of_the_plan():
    x, y = np.array([500_000.0, 503_000]), np.array([4_400_000.0, 4_390_000])
    series = gpd.GeoSeries(shapely.box(x, y - SIDE, x + SIDE, y), crs=32629)
    ours, theirs = rings_of(series), rings(["EPSG:32629"] * 2, x, y, SIDE)
    assert distances(ours, np.array([0]), np.array([1])) == pytest.approx(
        distances(theirs, np.array([0]), np.array([1])), abs=0.01
    )


@pytest.mark.parametrize(
    ("shapes", "metres"),
    [
        ([shapely.Point(0, 0), shapely.Point(0, 5000)], 5000),
        ([shapely.Point(0, 0), shapely.box(-10, 300, 10, 400)], 300),
        ([shapely.LineString([(0, 0), (0, 100)]), shapely.Point(700, 50)], 700),
        ([shapely.Point(0, 0).buffer(100, quad_segs=64), shapely.Point(600, 0)], 500),
        ([shapely.Polygon([(0, 0), (50, 100), (100, 0)]), shapely.box(400, 0, 500, 100)], 300),
        ([shapely.MultiPoint([(0, 0), (90, 0)]), shapely.Point(190, 0)], 100),
    ],
    ids=["points", "point and box", "line", "circle", "triangle", "several"],
)
def test_any_geometry_is_measured(shapes, metres):
    # Metres about a point of the equator: what the plane says holds there.
    crs = "+proj=aeqd +lat_0=0 +lon_0=10 +datum=WGS84"
    outlines = rings_of(gpd.GeoSeries(shapes, crs=crs))
    assert outlines.shape[1] % 4 == 0
    assert distances(outlines, np.array([0]), np.array([1]))[0] == pytest.approx(metres, rel=2e-3, abs=0.1)


def test_a_geometry_on_both_sides_of_the_date_line_is_one():
    fiji = shapely.MultiPolygon(
        [shapely.box(179.99, -17, 180, -16.99), shapely.box(-180, -17, -179.99, -16.99)]
    )
    outlines = rings_of(gpd.GeoSeries([fiji, shapely.box(-179.98, -17, -179.97, -16.99)], crs=4326))
    assert distances(outlines, np.array([0]), np.array([1]))[0] == pytest.approx(0.01 * 106_500, rel=0.01)


# --- figures ---------------------------------------------------------------------------------


def test_jensen_shannon_by_hand():
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.0, 1])) == pytest.approx(1.0)
    assert jensen_shannon(np.array([0.25, 0.75]), np.array([0.25, 0.75])) == 0.0
    # M = (.75, .25): ½ (log2 4/3) + ½ (½ log2 2/3 + ½ log2 2) = 0.3113 bits
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.5, 0.5])) == pytest.approx(
        np.sqrt(0.311278), abs=1e-5
    )


def shared(sites: Sites) -> Sites:
    """Samples of which each row of the grid shows a scene of its own, all of one date."""
    frame = pd.DataFrame({"row": np.arange(len(sites)), "name": [key[:3] for key in sites.keys]})
    day = frame.assign(name="2021-06-07")
    return Sites(sites.keys, sites.splits, sites.places, sites.rings, scenes={"s2": frame}, dates={"s2": day})


def test_shared_scenes_are_told_and_fail_only_where_the_recipe_says_so():
    sites = shared(grid(6, lambda _r, c: "train" if c < 3 else "test"))
    check = check_scenes(sites)
    assert check.verdict == "pass"
    assert check.numbers["s2"] == {"scenes": 6, "shared": 6, "dates": 1, "shared_dates": 1}
    assert check_scenes(sites, 0.5).verdict == "fail"
    assert check_scenes(sites, by_scene=True).verdict == "warn"
    assert check_scenes(sites, by_time=True).verdict == "warn"
    rows = shared(grid(6, lambda r, _c: "train" if r < 3 else "test"))
    assert check_scenes(rows, 0.0, by_scene=True).verdict == "pass"
    assert check_scenes(rows, by_time=True).verdict == "warn"


def classed(sites: Sites, share) -> Sites:
    first = np.array([share(int(k[1:3]), int(k[4:6])) for k in sites.keys], float)
    shares = np.stack([first, 1 - first], axis=1)
    return Sites(
        sites.keys, sites.splits, sites.places, sites.rings, classes={"cover": Classes(("10", "80"), shares)}
    )


def test_class_distances_are_told_and_fail_at_a_threshold():
    sites = classed(grid(10, in_halves), lambda r, _c: r < 5)
    check = check_classes(sites)
    assert check.verdict == "pass"
    assert check.numbers["cover"]["jensen_shannon"] == {"train-test": pytest.approx(1.0)}
    assert check.numbers["cover"]["lacking"] == {"train": ["80"], "test": ["10"]}
    assert check_classes(sites, 0.9).verdict == "fail"


def test_likeness_is_measured_and_fails_at_a_threshold():
    sites = classed(grid(20, at_random), lambda r, c: 0.5 + 0.5 * np.sin(r / 3) * np.sin(c / 3))
    check = check_autocorrelation(sites, 640.0, Limits())
    found = check.numbers["cover"]
    assert check.verdict == "pass"
    assert found["morans_i"] > 0.7
    assert found["across"] > 0.7
    assert 3 * SIDE < found["range_m"] < 12 * SIDE  # a quarter of a wave is 4.7 chips
    json.dumps(check.numbers, allow_nan=False)
    assert check_autocorrelation(sites, 640.0, Limits(morans_i=0.3)).verdict == "fail"
    assert check_autocorrelation(sites, 640.0, Limits(variogram=1.0)).verdict == "fail"
    assert check_autocorrelation(sites, 50_000.0, Limits(variogram=1.0)).verdict == "pass"
    rng = np.random.default_rng(5)
    noise = classed(grid(20, at_random), lambda _r, _c: rng.random())
    assert abs(check_autocorrelation(noise, 0.0, Limits()).numbers["cover"]["across"]) < 0.2


def test_few_places_and_one_class_say_so():
    few = classed(grid(3, in_halves), lambda _r, _c: 1.0)
    assert "too few to say" in check_autocorrelation(few, 0.0, Limits()).text
    one = classed(grid(10, in_halves), lambda _r, _c: 1.0)
    check = check_autocorrelation(one, 0.0, Limits(morans_i=0.1, variogram=1.0))
    assert check.verdict == "pass"
    assert check.numbers["cover"]["morans_i"] is None


# --- near-duplicates -------------------------------------------------------------------------


def scenery(seed: int, px: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:px, :px]
    out = 2000 + rng.normal(0, 300, 3)[:, None, None] + np.zeros((3, px, px))
    for _ in range(12):
        a, b, phase = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0, 6)
        out += rng.normal(0, 150, 3)[:, None, None] * np.sin(a * x + b * y + phase)
    return np.rint(out).astype(np.int16)


def seen(pictures) -> Fingerprints:
    prints = Fingerprints()
    layer = {"kind": "imagery", "present": True, "dims": ["band", "y", "x"], "nodata": -32768}
    for number, (array, split) in enumerate(pictures):
        prints.see({"key": f"k{number:02d}", "split": split, "fold": -1}, {"s2": layer}, {"s2": array})
    return prints


def test_a_picture_and_its_noisy_copy_are_found_and_others_are_not():
    pictures = [(scenery(n), "train") for n in range(40)] + [(scenery(n + 100), "test") for n in range(20)]
    assert check_near_duplicates(seen(pictures)).verdict == "pass"
    noise = np.random.default_rng(1).integers(-8, 9, (3, 64, 64))
    pictures.append(((scenery(5) + noise).astype(np.int16), "test"))
    pictures.append(((scenery(6) + noise).astype(np.int16), "train"))  # of one split: no leak
    check = check_near_duplicates(seen(pictures))
    assert check.verdict == "warn"
    assert [(e["one"], e["two"]) for e in check.numbers["examples"]] == [("k05", "k60")]
    assert check_near_duplicates(seen(pictures), 0.5).verdict == "warn"
    assert check_near_duplicates(seen(pictures), 0.01).verdict == "fail"


def test_hashes_hold_under_brightness_and_noise_and_differ_between_places():
    first = scenery(1)[0].astype(float)
    assert perceptual_hash(first) == perceptual_hash(first * 1.3 + 200)
    bits = [
        (perceptual_hash(first) ^ perceptual_hash(scenery(n)[0].astype(float))).bit_count()
        for n in range(2, 30)
    ]
    assert min(bits) > 10


@pytest.mark.parametrize("px", [64, 100, 257, 512])
def test_a_fingerprint_tells_places_apart_at_any_size_and_survives_a_line(px):
    rng = np.random.default_rng(px)
    first = fingerprint([("s2", scenery(1, px), -32768)])
    assert first is not None
    holes = scenery(1, px)
    holes[:, : px // 10] = -32768
    noisy = (scenery(1, px) + rng.integers(-8, 9, (3, px, px))).astype(np.int16)
    alike, other = (fingerprint([("s2", array, -32768)]) for array in (noisy, scenery(2, px)))
    assert (first.bits ^ alike.bits).bit_count() <= BITS
    assert (first.bits ^ other.bits).bit_count() > 10
    assert first.figures == pytest.approx(
        [*scenery(1, px).mean((1, 2)), *scenery(1, px).std((1, 2))], rel=0.05
    )
    assert fingerprint([("s2", holes, -32768)]).figures == pytest.approx(first.figures, rel=0.2)
    again = Fingerprint.told(first.text())
    assert (again.layer, again.bits, again.figures.tolist()) == ("s2", first.bits, first.figures.tolist())
    for wrong in ("", "s2 1", "s2 xyz AAAA", "s2 0 AAA", "s2 0 AA=="):
        with pytest.raises(ValueError, match=r"unpack|invalid literal|no fingerprint|multiple"):
            Fingerprint.told(wrong)


def test_flat_and_empty_pictures_are_nobodys_duplicates():
    flat, empty = np.full((3, 64, 64), 500, np.int16), np.full((3, 64, 64), -32768, np.int16)
    prints = seen(
        [(flat, "train"), (flat, "test"), (empty, "train"), (empty, "test"), (flat[:, :4, :4], "val")]
    )
    assert prints.bare == 5
    assert check_near_duplicates(prints).verdict == "pass"
    assert check_near_duplicates(Fingerprints(), 0.0).verdict == "pass"


# --- all of it on a dataset ------------------------------------------------------------------


def test_leakage_of_a_dataset_in_json_words_and_a_picture(tmp_path):
    folder = make(tmp_path / "ds", zarr=False)
    report = verify(folder, leakage=True, picture=tmp_path / "audit.png")
    names = [c.name for c in report.checks]
    assert names[names.index("leakage") :] == [
        "leakage", "neighbours", "scenes", "classes", "autocorrelation", "near_duplicates",
    ]  # fmt: skip
    assert report.ok
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["verdict"] == report.verdict
    assert report["scenes"].numbers["s2"]["scenes"] > 1
    assert (tmp_path / "audit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_one_chip_under_two_keys_of_one_split_is_told(tmp_path):
    def change(woven):
        one, two = [w for w in woven if w.sample.split == "train"][:2]
        two.facts["place"] = one.facts["place"]
        two.sample.arrays.update(one.sample.arrays)
        return woven

    check = verify(make(tmp_path / "ds", change, zarr=False))["leakage"]
    assert "are one place with the same pixels" in check.text
    assert check.verdict == "warn"
