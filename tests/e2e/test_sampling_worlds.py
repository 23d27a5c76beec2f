"""Chips that no grid lays, on the analytic world: pixels are those of their ground, tables say where they come from."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from worlds import checks, harness, recipes

IDS = ["S2_32_0610"]
AREA = {"bbox": [11.935, 44.985, 11.965, 45.01]}


def made(tmp, world, chips: dict, *, area: dict | None = AREA, **more):
    """Build, verify, hold every pixel against the truth; the folder and its samples."""
    catalog = world.catalog(f"catalog_{tmp.name}", *IDS)
    s2 = recipes.imagery(bands=("red", "swir16"), **more.pop("s2", {}))
    mapping = recipes.recipe(catalog, area, s2, chips=chips, **{"labels": None, **more})
    out = harness.build(tmp, mapping)
    harness.succeed("verify", out)
    samples = harness.read_samples(out)
    scenes = {i: world.scenes[i] for i in IDS}
    tally = checks.Tally()
    for sample in samples.values():
        tally += checks.check_imagery(sample, "s2", scenes, blank=False)
    assert tally.pixels > 3000
    return out, samples


@pytest.fixture(scope="module")
def strided(border, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("strided")
    return made(tmp, border, {"size": 64, "sampling": {"method": "grid", "stride": 32}, "majortom": True})


def test_chips_that_overlap_have_the_same_pixels_where_they_do(strided):
    _, samples = strided
    found: dict[tuple[float, float], np.ndarray] = {}
    met = 0
    for sample in samples.values():
        values = sample.arrays["s2"]
        for i in (0, 1):
            for j in (0, 1):
                at = (sample.affine.c + 320 * j, sample.affine.f - 320 * i)
                part = values[:, 32 * i : 32 * i + 32, 32 * j : 32 * j + 32]
                if at in found:
                    np.testing.assert_array_equal(found[at], part)
                    met += 1
                found[at] = part
    assert met > len(samples)


def test_cells_stand_in_the_index(strided):
    out, _ = strided
    index = gpd.read_parquet(out / "index.parquet")
    assert index["majortom"].str.fullmatch(r"\d+[UD]_\d+[RL]").all()
    assert index["majortom"].nunique() >= 1
    names = index["majortom_row"].astype(str) + "U_" + index["majortom_col"].astype(str) + "R"
    assert names.equals(index["majortom"])
    again = out.parent / "again.parquet"
    index.to_parquet(again)
    assert gpd.read_parquet(again)["majortom"].equals(index["majortom"])


def test_a_list_of_another_builds_index_gives_its_samples_again(strided, border, tmp_path):
    out, samples = strided
    index = pd.read_parquet(out / "index.parquet", columns=["key", "crs", "transform", "height"])
    some = index.sample(9, random_state=1)
    some["key"] = [f"own-{n}" for n in range(9)]
    some.to_parquet(tmp_path / "list.parquet")
    chips = {"size": 64, "sampling": {"method": "list", "file": "list.parquet"}}
    new_out, again = made(tmp_path, border, chips, area=None)
    assert set(again) == set(some["key"])
    was = dict(zip(some["key"], index.loc[some.index, "key"], strict=True))
    for key, sample in again.items():
        np.testing.assert_array_equal(sample.arrays["s2"], samples[was[key]].arrays["s2"])
    places = pd.read_parquet(new_out / "index.parquet", columns=["key", "place"]).set_index("key")["place"]
    assert all(places[key] == was[key] for key in again)


def test_points_off_every_lattice_with_attributes_and_keys_of_their_own(border, tmp_path):
    random = np.random.default_rng(3)
    lon, lat = random.uniform(11.935, 11.965, 14), random.uniform(44.985, 45.01, 14)
    table = pd.DataFrame(
        {"lon": lon, "lat": lat, "site": [f"s{n:02d}" for n in range(14)], "height": range(14)}
    )
    table.to_csv(tmp_path / "p.csv", index=False)
    halves = [shapely.box(11.9, 44.9, 11.95, 45.1), shapely.box(11.95, 44.9, 12, 45.1)]
    frame = gpd.GeoDataFrame({"side": ["west", "east"], "weight": [1.5, None]}, geometry=halves, crs=4326)
    frame.to_file(tmp_path / "halves.gpkg")
    attributes = {
        "side": {"file": "halves.gpkg", "column": "side"},
        "weight": {"file": "halves.gpkg", "column": "weight"},
        "number": {"file": "p.csv", "column": "height", "join": "nearest"},
    }
    chips = {
        "size": 48, "lattice": {"snap": False}, "key": "p-{site}", "sampling": {"method": "points", "file": "p.csv"}
    }  # fmt: skip
    out, samples = made(tmp_path, border, chips, attributes=attributes)
    index = pd.read_parquet(out / "index.parquet").set_index("key")
    assert sorted(samples) == [f"p-s{n:02d}" for n in range(14)]
    for n in range(14):
        row = index.loc[f"p-s{n:02d}"]
        assert row["side"] == ("west" if lon[n] < 11.95 else "east")
        assert row["number"] == n
        assert (row["weight"] == 1.5) if lon[n] < 11.95 else pd.isna(row["weight"])
    ledger = harness.ledger(out)
    assert set(ledger["key"]) == set(samples)
    fractions = {(s.affine.c % 10, s.affine.f % 10) for s in samples.values()}
    assert len(fractions) == 14  # no two lie on one lattice of pixels


def test_scene_tiles_are_cut_from_the_scenes_corner(border, tmp_path):
    chips = {
        "size": 50, "key": "{scene}_{col:02d}_{row:02d}",
        "sampling": {"method": "scene_tiles", "of": "s2", "count": 20, "seed": 2},
    }  # fmt: skip
    out, samples = made(tmp_path, border, chips, area={"bbox": [11.9, 44.9, 12.1, 45.1]})
    scene = border.scenes[IDS[0]]
    assert len(samples) == 20
    for key, sample in samples.items():
        col, row = (int(v) for v in key.removeprefix(f"{IDS[0]}_").split("_"))
        assert (sample.affine.c, sample.affine.f) == (scene.x + 500 * col, scene.y - 500 * row)
        assert sample.crs == "EPSG:32632"
    lock = json.loads((out / "chipweave.lock").read_text())
    assert [s["layer"] for s in lock["searches"]] == ["s2"] * len(lock["searches"])
    # Another build of that lock searches nothing, and comes to the same.
    again = tmp_path / "again"
    harness.succeed("build", tmp_path / "recipe.yaml", "-o", again, "--workers", 0, "--lock", out)
    assert harness.digests(again)["index.parquet"] == harness.digests(out)["index.parquet"]


def test_places_are_drawn_cut_and_split(border, tmp_path):
    chips = {
        "size": 64, "subdivide": {"n": 2, "px": 30},
        "sampling": {"method": "random", "count": 12, "seed": 4, "min_distance_m": 400},
    }  # fmt: skip
    split = {"method": "blocks", "block_km": 0.5, "fractions": {"train": 0.5, "test": 0.5}, "buffer_m": 20}
    out, samples = made(
        tmp_path, border, chips, split=split, labels={"worldcover": recipes.LABELS["worldcover"]}
    )
    ledger = harness.ledger(out)
    assert len(ledger) == 48
    assert set(ledger["state"]) <= {"written", "dropped"}
    assert {s.meta["height"] for s in samples.values()} == {30}
    assert {s.arrays["worldcover"].shape for s in samples.values()} == {(30, 30)}
    assert {s.meta["split"] for s in samples.values()} == {"train", "test"}


def test_strata_are_the_classes_that_cover_most(border, tmp_path):
    quota = {"10": 2, "Cropland": 3, "80": 1}
    chips = {"size": 16, "sampling": {"method": "stratified", "by": "worldcover", "quota": quota, "seed": 5}}
    labels = {"worldcover": recipes.LABELS["worldcover"]}
    more = {"labels": labels, "area": {"bbox": [11.935, 44.985, 11.975, 45.02]}}
    out, samples = made(tmp_path, border, chips, **more)
    wanted = {10: 2, 40: 3, 80: 1}
    found = dict.fromkeys(wanted, 0)
    for sample in samples.values():
        codes, counts = np.unique(sample.arrays["worldcover"], return_counts=True)
        found[int(codes[counts.argmax()])] += 1
    chips_table = pd.read_parquet(out / "plan" / "chips.parquet")
    there = chips_table["stratum"].value_counts()
    assert found == {code: min(most, there.get(code, 0)) for code, most in wanted.items()}
    assert sum(found.values()) >= 4
    ledger = harness.ledger(out)
    assert (ledger["reason"] == "quota").sum() == len(ledger) - len(samples)
    other = tmp_path / "apart"
    other.mkdir()
    apart = {**chips["sampling"], "quota": 5, "min_distance_m": 900, "count": 8}
    _, few = made(other, border, {"size": 16, "sampling": apart}, **more)
    at = [(s.affine.c, s.affine.f) for s in few.values()]
    assert len(at) == 8
    assert min(np.hypot(a - c, b - d) for n, (a, b) in enumerate(at) for c, d in at[:n]) > 895


def test_what_cannot_be_placed_is_refused_with_3(border, tmp_path):
    catalog = border.catalog("catalog_refused", *IDS)
    for name, sampling, area, said in (
        ("a", {"method": "points", "file": "gone.csv"}, AREA, "gone.csv"),
        ("b", {"method": "scene_tiles", "of": "s2"}, None, "area"),
        ("c", {"method": "stratified", "by": "worldcover", "quota": {"lava": 3}}, AREA, "lava"),
    ):
        mapping = recipes.recipe(catalog, area, chips={"sampling": sampling})
        recipe = harness.write_recipe(tmp_path / f"{name}.yaml", mapping)
        harness.refuse(3, "plan", recipe, "-o", tmp_path / name, names=(said,))
