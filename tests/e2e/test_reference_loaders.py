"""Builds by the reference loaders on the analytic world: the checks that native stands, and nearly native's pixels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from worlds import checks, harness, recipes
from worlds.harness import refuse, succeed, write_recipe

LOADERS = ("odc", "stackstac")
WC, CLC = "ESA_WorldCover_10m_2021_v200_N45E012", "U2018_CLC2018_V2020"


def area_of(case: str, tmp: Path) -> tuple[dict, list[str], dict]:
    """Area, scenes and the rest of a recipe: small, but with edges, holes and clouds in it."""
    if case == "on_grid":
        return (
            recipes.window(tmp / "aoi.geojson", "EPSG:32632", 730400, 4986600, 732400, 4988600),
            ["S2_32_0610"],
            {},
        )
    if case == "off_grid":
        area = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 729000, 4987000, 732500, 4991000)
        chips = {"size": 96, "lattice": {"anchor": [3, 7]}}
        return area, ["S2_32_0720"], {"s2": recipes.imagery(recipes.JULY, mask="blank"), "chips": chips}
    if case == "next_zone":
        return {"bbox": [12.016, 44.988, 12.036, 45.01]}, ["S2_32_0610"], {}
    if case == "zones":
        bands = recipes.imagery(bands=("red", "swir16"))
        return {"bbox": [11.985, 44.98, 12.03, 45.01]}, ["S2_32_0610", "S2_33_0610"], {"s2": bands}
    area = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 729000, 4986000, 733000, 4989000)
    return area, ["S2_32_0720"], {"s2": recipes.imagery(recipes.JULY), "chips": {"resolution": 20}}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["next_zone", "on_grid", "off_grid", "zones", "coarse"])
def test_every_pixel_is_within_the_bound(border, tmp_path, case):
    area, ids, more = area_of(case, tmp_path)
    mapping = recipes.recipe(border.catalog(f"catalog_loaders_{case}", *ids), area, **more)
    blank = case == "off_grid"
    scenes = {i: border.scenes[i] for i in ids}
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    built = {}
    for loader in (*LOADERS, "native"):
        out = tmp_path / loader
        succeed("build", recipe, "-o", out, "--workers", 0, "--loader", loader)
        succeed("verify", out)
        built[loader] = harness.read_samples(out)
    for loader in LOADERS:
        tally = checks.Tally()
        for sample in built[loader].values():
            if case == "coarse":
                check_means(sample, border, ids[0])
                continue
            tally += checks.check_imagery(sample, "s2", scenes, blank=blank)
            checks.check_fractions(sample, "s2", blank=blank)
            for layer, label in (("worldcover", WC), ("corine", CLC)):
                sure, unsure = checks.check_label(sample, layer, border.labels[label])
                assert sure > unsure
        assert case == "coarse" or tally.pixels > 50_000
        assert case not in {"off_grid", "next_zone"} or (tally.empty > 500 and tally.edge > 20)
        compare(built[loader], built["native"], exact=case in {"on_grid", "coarse"})


def check_means(sample, world, scene: str) -> None:
    for n, band in enumerate(sample.meta["layers"]["s2"]["bands"]):
        if band == "coastal":
            continue
        expected = checks.mean_of_source(world.scenes[scene], band, sample)
        out = np.where(sample.arrays["s2"][n] == checks.NODATA, np.nan, sample.arrays["s2"][n].astype(float))
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected), f"{sample.key} {band}")
        assert np.nanmax(np.abs(out - expected), initial=0) <= 0.5 + 1e-6
    checks.check_label(sample, "worldcover", world.labels[WC], reach=14.15)


def compare(ours: dict, native: dict, *, exact: bool) -> None:
    """The same chips; pixels that are copied or counted to the bit (bands of 10 m), the others nearly."""
    assert ours.keys() == native.keys()
    assert len(ours) >= 4
    for key, sample in ours.items():
        other = native[key]
        assert sample.meta["layers"]["s2"]["items"] == other.meta["layers"]["s2"]["items"]
        if exact:
            np.testing.assert_array_equal(sample.arrays["s2"][:4], other.arrays["s2"][:4])
            np.testing.assert_array_equal(sample.arrays["worldcover"] == 0, other.arrays["worldcover"] == 0)
        differ = np.mean(sample.arrays["s2"].astype(float) - other.arrays["s2"])
        assert abs(differ) < 1, key


@pytest.fixture
def small(june, tmp_path) -> Path:
    return write_recipe(tmp_path / "recipe.yaml", recipes.small(june))


def test_the_lock_says_who_read(small, tmp_path):
    """Loader and versions stand in `chipweave.lock`; a repeat is untouched, another loader is refused."""
    out = tmp_path / "out"
    succeed("build", small, "-o", out, "--workers", 0, "--loader", "stackstac")
    lock = json.loads((out / "chipweave.lock").read_text())
    assert lock["loader"] == "stackstac"
    assert lock["versions"]["stackstac"]
    before = harness.tree(out)
    succeed("build", small, "-o", out, "--workers", 0, "--loader", "stackstac")
    refuse(2, "build", small, "-o", out, "--workers", 0, names=("stackstac",))
    refuse(2, "plan", small, "-o", out, "--workers", 0, "--loader", "odc", names=("stackstac",))
    assert harness.tree(out) == before


def test_a_folder_stays_with_the_loader_it_was_begun_with(small, finished, tmp_path):
    """A plan's masks were read by it; native is what a folder without a word was begun with."""
    out = tmp_path / "out"
    succeed("plan", small, "-o", out, "--workers", 0, "--loader", "odc")
    refuse(2, "build", small, "-o", out, "--workers", 0, names=("--loader odc",))
    succeed("build", small, "-o", out, "--workers", 0, "--loader", "odc")
    old = tmp_path / "old"
    shutil.copytree(finished[1], old)
    lock = json.loads((old / "chipweave.lock").read_text())
    assert lock.pop("loader") == "native"
    (old / "chipweave.lock").write_text(json.dumps(lock))
    succeed("build", finished[0], "-o", old, "--workers", 0)
    refuse(2, "build", finished[0], "-o", old, "--workers", 0, "--loader", "odc", names=("native",))


@pytest.mark.slow
def test_pixels_of_a_loader_do_not_depend_on_workers(border, tmp_path):
    mapping = recipes.small(
        border.catalog("catalog_loaders_workers", "S2_32_0610"), area={"bbox": [12.004, 44.985, 12.03, 45.01]}
    )
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    found = []
    for workers in (0, 2):
        out = tmp_path / str(workers)
        succeed("build", recipe, "-o", out, "--workers", workers, "--loader", "odc")
        found.append(harness.digests(out))
    assert found[0] == found[1]
    assert found[0]


def test_a_loader_that_is_not_known_is_a_wrong_call(small, tmp_path):
    refuse(
        2,
        "build",
        small,
        "-o",
        tmp_path / "out",
        "--loader",
        "gdal",
        names=("gdal", "native", "odc", "stackstac"),
    )
    assert not (tmp_path / "out").exists()
