"""Wrong input: each a short error with the contract's exit code and no traceback; and what must not be an error."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import geopandas as gpd
import pytest
import yaml
from shapely.geometry import box
from worlds import harness, recipes
from worlds.analytic import write_catalog
from worlds.harness import refuse, succeed, write_recipe
from worlds.server import serve

AREA = {"bbox": [11.935, 44.99, 11.955, 45.005]}
"""About 1.6 x 1.7 km within every scene of June and July of zone 32: 4 to 9 chips."""


def small(catalog: object, **more) -> dict:
    """A build of seconds: one band, no labels."""
    area = more.pop("area", AREA)
    s2 = recipes.imagery(**{"bands": ("red",), **more.pop("s2", {})})
    return recipes.recipe(catalog, area, s2, **{"labels": None, **more})


@pytest.fixture(scope="module")
def june(border) -> Path:
    return border.catalog("catalog_june", "S2_32_0610")


@pytest.fixture(scope="module")
def finished(june, tmp_path_factory) -> tuple[Path, Path]:
    """A recipe and its finished dataset: copy it before harming it."""
    tmp = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(tmp / "recipe.yaml", small(june))
    out = tmp / "out"
    succeed("build", recipe, "-o", out, "--workers", 0)
    return recipe, out


def set_key(mapping: dict, dotted: str, value) -> dict:
    made = copy.deepcopy(mapping)
    at = made
    *way, last = dotted.split(".")
    for step in way:
        at = at.setdefault(step, {})
    at[last] = value
    return made


# --- the recipe: 3 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dotted", "value", "named"),
    [
        ("chips.resolutoin", 10, ("resolutoin", "resolution")),
        ("imagery.s2.max_clouds", 10, ("max_clouds", "max_cloud")),
        ("licence_", "x", ("licence_", "licence")),
    ],
)
@pytest.mark.parametrize("command", ["check", "build"])
def test_an_unknown_key_is_named_with_its_nearest(june, tmp_path, dotted, value, named, command):
    recipe = write_recipe(tmp_path / "recipe.yaml", set_key(small(june), dotted, value))
    refuse(3, command, recipe, *(["-o", tmp_path / "out"] if command == "build" else []), names=named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dotted", "value", "named"),
    [
        ("imagery.s2.pair", {"with": "other", "within_days": 10}, "imagery.s2.pair"),
        ("imagery.s2.select.method", "composite", "select"),
        ("chips.sampling.method", "majortom", "sampling"),
        ("split", {"method": "kfold"}, "split"),
        ("area", {"country": "PRT"}, "area.country"),
        ("output.formats", ["parquet"], "output.formats"),
        ("text", {"t": {"kind": "landcover_caption", "from": "worldcover"}}, "text"),
        ("balance", {"by": "worldcover", "max_ratio": 3}, "balance"),
        ("imagery.s2.dilate_m", 100, "dilate_m"),
    ],
)
def test_a_key_whose_room_is_not_built_is_refused_by_name(june, tmp_path, dotted, value, named):
    """`build` and `plan` refuse it; `check` only warns; `schema` knows it. Once its room is built, drop its line here."""
    mapping = small(june, labels={"worldcover": {"collection": "esa-worldcover", "edition": 2021}})
    mapping["imagery"]["other"] = mapping["imagery"]["s2"].copy()
    recipe = write_recipe(tmp_path / "recipe.yaml", set_key(mapping, dotted, value))
    done = refuse(3, "plan", recipe, "-o", tmp_path / "out", names=(named,))
    assert len(done.stderr.splitlines()) <= 12
    checked = succeed("check", recipe)
    assert named in checked.stdout + checked.stderr


def test_schema_knows_what_is_not_built(tmp_path):
    schema = json.loads(succeed("schema").stdout)
    text = json.dumps(schema)
    for key in ("pair", "register", "majortom", "landcover_caption", "dilate_m", "scene_labels", "balance"):
        assert f'"{key}"' in text, key


def test_an_unknown_band_is_named(june, tmp_path):
    mapping = small(june)
    mapping["imagery"]["s2"]["bands"] = ["red", "infrared"]
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    refuse(3, "build", recipe, "-o", tmp_path / "out", names=("infrared",))


def test_an_unknown_collection_is_named_with_its_nearest(june, tmp_path):
    mapping = set_key(small(june), "imagery.s2.collection", "sentinel-2-l2")
    refuse(3, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=("sentinel-2-l2a",))


def test_an_ambiguous_edition_lists_the_choices(border, tmp_path):
    mapping = small(border.catalog("catalog_all"), labels={"worldcover": {"collection": "esa-worldcover"}})
    refuse(3, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=("2020", "2021"))


def test_yaml_that_is_none_says_where(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("version: 1\nname: [x\ncatalog: y\n", encoding="utf-8")
    refuse(3, "check", path, names=("recipe.yaml", "3"))


def test_a_value_of_the_wrong_kind_says_file_and_line(june, tmp_path):
    mapping = set_key(small(june), "chips.resolution", "ten")
    path = write_recipe(tmp_path / "recipe.yaml", mapping)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "resolution: ten" in text)
    refuse(3, "check", path, names=("recipe.yaml", str(line), "resolution"))


def test_a_recipe_that_is_not_there(tmp_path):
    done = harness.chipweave("build", tmp_path / "no.yaml", "-o", tmp_path / "out")
    assert done.returncode in (2, 3), done.stderr
    assert "no.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_mask_blank_over_a_scene_without_a_mask(border, tmp_path):
    """What cannot be judged is not judged clear: 3, before any pixel is written."""
    items = border.items("S2_32_0610")
    del items[0]["assets"]["scl"]
    catalog = write_catalog(border.folder / "catalog_no_scl.json", items)
    mapping = small(catalog, s2={"mask": "blank"})
    refuse(3, "build", write_recipe(tmp_path / "a.yaml", mapping), "-o", tmp_path / "a", "--workers", 0, names=("s2",))
    mapping = small(catalog, s2={"max_cloud": 10})
    refuse(3, "build", write_recipe(tmp_path / "b.yaml", mapping), "-o", tmp_path / "b", "--workers", 0, names=("s2",))
    # Without either it counts as clear, with a warning, and no mask is written.
    mapping = small(catalog)
    del mapping["imagery"]["s2"]["max_cloud"]
    done = succeed("build", write_recipe(tmp_path / "c.yaml", mapping), "-o", tmp_path / "c", "--workers", 0)
    assert "S2_32_0610" in done.stderr or "mask" in done.stderr
    for sample in harness.read_samples(tmp_path / "c").values():
        assert set(sample.arrays) == {"s2"}
        assert sample.meta["layers"]["s2"]["cloud_fraction"] == 0.0


# --- the area: 3 and 5 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", '{"type": "Feat', '{"type": "FeatureCollection", "features": []}'])
def test_an_area_file_that_is_missing_or_empty(june, tmp_path, text):
    if text is not None:
        (tmp_path / "no.geojson").write_text(text, encoding="utf-8")
    recipe = write_recipe(tmp_path / "recipe.yaml", small(june, area={"geojson": "no.geojson"}))
    refuse(3, "build", recipe, "-o", tmp_path / "out", "--workers", 0, names=("no.geojson",))


def test_a_refused_recipe_does_not_claim_the_folder(june, tmp_path):
    """Mended, it builds by the very same command: what was refused before it placed a chip has made no dataset."""
    good = small(june, area={"geojson": "aoi.geojson"})
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    again = ("build", recipe, "-o", out, "--workers", 0)
    write_recipe(recipe, set_key(good, "imagery.s2.bands", ["infrared"]))
    refuse(3, *again)
    write_recipe(recipe, good)
    refuse(3, *again, names=("aoi.geojson",))
    window = {"type": "Feature", "properties": {}, "geometry": box(*AREA["bbox"]).__geo_interface__}
    (tmp_path / "aoi.geojson").write_text(json.dumps(window), encoding="utf-8")
    succeed(*again)


def test_an_area_in_another_crs_is_reprojected_and_one_without_is_refused(june, tmp_path):
    frame = gpd.GeoDataFrame({"name": ["in", "out"]}, geometry=[box(*AREA["bbox"]), box(5, 5, 6, 6)], crs=4326)
    frame.to_crs(3035).to_file(tmp_path / "area.gpkg", layer="districts")
    with pytest.warns(UserWarning, match="crs"):
        frame.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    mapping = small(june, area={"file": "area.gpkg", "layer": "districts", "where": "name = 'in'"})
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    succeed("build", recipe, "-o", out, "--workers", 0)
    west, south, east, north = AREA["bbox"]
    samples = harness.read_samples(out)
    assert len(samples) >= 4
    for sample in samples.values():
        a, b, c, d = sample.meta["bbox"]
        # Centres are inside the area; 1e-3 degrees (80 m) for the outline, which bends on its way through EPSG:3035.
        assert west - 1e-3 < (a + c) / 2 < east + 1e-3
        assert south - 1e-3 < (b + d) / 2 < north + 1e-3
    mapping = small(june, area={"file": "bare.shp"})
    refuse(3, "build", write_recipe(tmp_path / "b.yaml", mapping), "-o", tmp_path / "b", names=("bare.shp",))


@pytest.mark.parametrize("bbox", [[11.95, 45.0, 11.93, 44.9], [11.9, 95, 11.95, 96]])
def test_an_area_that_is_none(june, tmp_path, bbox):
    refuse(3, "check", write_recipe(tmp_path / "recipe.yaml", small(june, area={"bbox": bbox})), names=("bbox",))


def test_an_area_without_a_scene_is_5(june, tmp_path):
    mapping = small(june, area={"bbox": [20.0, 40.0, 20.03, 40.03]})
    refuse(5, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", "--workers", 0)
    mapping = small(june, s2={"time": "2019-06-01/2019-06-30"})
    refuse(5, "build", write_recipe(tmp_path / "t.yaml", mapping), "-o", tmp_path / "out2", "--workers", 0)


# --- sources: 4, next-best, 5 ----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_an_unreachable_catalog_is_4(tmp_path):
    mapping = small(f"http://127.0.0.1:{free_port()}")
    done = refuse(4, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=("127.0.0.1",))
    assert len(done.stderr.splitlines()) <= 20


def test_a_catalog_path_that_is_not_there(tmp_path):
    """The contract leaves open whether the recipe (3) or the source (4) is at fault; the path is named."""
    mapping = small(tmp_path / "no.json")
    done = harness.chipweave("build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out")
    assert done.returncode in (3, 4), done.stderr
    assert "no.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_catalog_that_refuses_is_4(border, tmp_path):
    with serve(border.items("S2_32_0610"), border.folder) as service:
        service.search_status = 403
        recipe = write_recipe(tmp_path / "r.yaml", small(service.url))
        refuse(4, "build", recipe, "-o", tmp_path / "out", "--workers", 0)


def test_a_remote_catalog_may_not_name_local_files(border, tmp_path):
    """Only below `local_roots`; else 4, and the item is named. Symlinks are resolved first."""
    items = border.items("S2_32_0610")
    for asset in items[0]["assets"].values():
        asset["href"] = str(border.folder / asset["href"].removeprefix("./"))
    with serve(items, border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small(service.url))
        refuse(4, "build", recipe, "-o", tmp_path / "a", "--workers", 0, names=("S2_32_0610",))
        env = harness.guarded_env(CHIPWEAVE_LOCAL_ROOTS=str(tmp_path / "nowhere"))
        refuse(4, "build", recipe, "-o", tmp_path / "b", "--workers", 0, env=env, names=("S2_32_0610",))
        inside = tmp_path / "inside"
        inside.mkdir()
        (inside / "link").symlink_to(border.folder)
        hidden = copy.deepcopy(items)
        for asset in hidden[0]["assets"].values():
            asset["href"] = asset["href"].replace(str(border.folder), str(inside / "link"))
        service.items = hidden
        env = harness.guarded_env(CHIPWEAVE_LOCAL_ROOTS=str(inside))
        refuse(4, "build", recipe, "-o", tmp_path / "c", "--workers", 0, env=env, names=("S2_32_0610",))
        service.items = items
        roots = os.pathsep.join([str(tmp_path / "nowhere"), str(border.folder)])
        env = harness.guarded_env(CHIPWEAVE_LOCAL_ROOTS=roots)
        succeed("build", recipe, "-o", tmp_path / "d", "--workers", 0, env=env)


def test_a_catalog_file_may_not_name_files_outside_its_folder(border, tmp_path):
    items = border.items("S2_32_0610")
    for asset in items[0]["assets"].values():
        asset["href"] = str(border.folder / asset["href"].removeprefix("./"))
    catalog = write_catalog(tmp_path / "catalog.json", items)
    recipe = write_recipe(tmp_path / "r.yaml", small(catalog))
    refuse(4, "build", recipe, "-o", tmp_path / "a", "--workers", 0, names=("S2_32_0610",))


BOTH = {"time": recipes.SUMMER}


def used_items(out: Path) -> set[str]:
    samples = harness.read_samples(out)
    assert samples
    return {i for s in samples.values() for i in s.meta["layers"]["s2"]["items"][0]}


def two_dates(border, better: str = "S2_32_0824") -> list[dict]:
    """June, and the cloudless August, which wins over it wherever both are clear (newest)."""
    items = border.items("S2_32_0610", better)
    return [i for i in items if i["collection"] == "sentinel-2-l2a"]


def test_without_harm_the_later_date_wins(border, tmp_path):
    catalog = write_catalog(border.folder / "two.json", two_dates(border))
    out = harness.build(tmp_path, small(catalog, s2=BOTH))
    assert used_items(out) == {"S2_32_0824"}


def test_an_item_without_the_asset_gives_way_to_the_next_best(border, tmp_path):
    items = two_dates(border)
    del items[1]["assets"]["red"]
    catalog = write_catalog(border.folder / "lacking.json", items)
    out = harness.build(tmp_path, small(catalog, s2=BOTH))
    assert used_items(out) == {"S2_32_0610"}
    assert set(harness.ledger(out)["state"]) == {"written"}


def test_no_item_with_the_asset_fails_the_chips_and_allow_decides(border, tmp_path):
    items = two_dates(border)
    for item in items:
        del item["assets"]["red"]
    catalog = write_catalog(border.folder / "lacking_all.json", items)
    mapping = small(catalog, s2=BOTH)
    recipe = write_recipe(tmp_path / "r.yaml", mapping)
    refuse(5, "build", recipe, "-o", tmp_path / "a", "--workers", 0)
    rows = harness.ledger(tmp_path / "a")
    assert set(rows["state"]) == {"failed"}
    assert (rows["error"].str.len() > 0).all()


def test_a_missing_file_gives_way_and_the_verdict_is_kept(border, tmp_path):
    """404: permanent, so the next-best scene; told in the lock's amendments."""
    with serve(two_dates(border), border.folder) as service:
        service.status["S2_32_0824/B04.tif"] = 404
        out = harness.build(tmp_path, small(service.url, s2=BOTH))
    assert used_items(out) == {"S2_32_0610"}
    assert (out / "plan" / "amendments.parquet").exists()
    import pandas as pd

    text = pd.read_parquet(out / "plan" / "amendments.parquet").to_string(max_colwidth=200)
    assert "S2_32_0824" in text
    assert harness.chipweave("verify", out).returncode == 0


def test_a_truncated_file_gives_way(border, tmp_path):
    """The header is whole, blocks at the end are not: no row of zeros, another scene instead."""
    folder = tmp_path / "files"
    shutil.copytree(border.folder / "S2_32_0610", folder / "S2_32_0610")
    shutil.copytree(border.folder / "S2_32_0824", folder / "S2_32_0824")
    whole = (folder / "S2_32_0824" / "B04.tif").read_bytes()
    (folder / "S2_32_0824" / "B04.tif").write_bytes(whole[: len(whole) // 5])
    catalog = write_catalog(folder / "catalog.json", two_dates(border))
    # South in the tile, so beyond the cut: GDAL writes blocks row by row.
    mapping = small(catalog, s2=BOTH, area={"bbox": [11.93, 44.976, 11.955, 44.988]})
    out = harness.build(tmp_path, mapping)
    assert used_items(out) == {"S2_32_0610"}
    from worlds import checks

    for sample in harness.read_samples(out).values():
        checks.check_imagery(sample, "s2", {"S2_32_0610": border.scenes["S2_32_0610"]})


def test_some_chips_fail_and_allow_decides(border, tmp_path):
    """The only scene loses a file: failed by the default `allow` (5), accepted where the recipe allows it.

    A dataset with failed chips whose files are consistent verifies with 0 and says so.
    """
    west, east = border.items("S2_32_0610", "S2_33_0610")[:2]
    east["assets"]["red" if "red" in east["assets"] else "B04"]["href"] = "./nowhere/B04.tif"
    catalog = write_catalog(border.folder / "half.json", [west, east])
    # West of 11.963 only the tile of zone 32 reaches, east of 12.036 only that of zone 33.
    area = {"bbox": [11.945, 44.99, 12.07, 45.0]}
    recipe = write_recipe(tmp_path / "a.yaml", small(catalog, area=area))
    refuse(5, "build", recipe, "-o", tmp_path / "a", "--workers", 0)
    recipe = write_recipe(tmp_path / "b.yaml", small(catalog, area=area, allow={"failed": 0.9}))
    succeed("build", recipe, "-o", tmp_path / "b", "--workers", 0)
    rows = harness.ledger(tmp_path / "b").set_index("key")
    failed = rows[rows["state"] == "failed"]
    assert len(failed) >= 4
    assert failed["href"].str.contains("nowhere").all()
    assert (failed["layer"] == "s2").all()
    assert len(rows[rows["state"] == "written"]) >= 2
    done = succeed("verify", tmp_path / "b")
    assert "failed" in done.stdout + done.stderr


def test_a_passing_failure_is_4_and_the_next_run_completes(border, tmp_path):
    """503 is retried, then the build stops with 4, and never takes another scene; healed, the bytes are as if never ill."""
    with serve(two_dates(border), border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small(service.url, s2=BOTH))
        succeed("build", recipe, "-o", tmp_path / "well", "--workers", 0)
        service.status["S2_32_0824/B04.tif"] = 503
        refuse(4, "build", recipe, "-o", tmp_path / "ill", "--workers", 0)
        assert not (tmp_path / "ill" / "manifest.json").exists()
        service.status.clear()
        succeed("build", recipe, "-o", tmp_path / "ill", "--workers", 0)
    assert used_items(tmp_path / "ill") == {"S2_32_0824"}
    assert harness.digests(tmp_path / "ill") == harness.digests(tmp_path / "well")


# --- folders: 2, 0, 6 ------------------------------------------------------------------------------------------


def test_a_folder_of_another_recipe_is_2_and_untouched(finished, june, tmp_path):
    _, out = finished
    before = harness.tree(out)
    other = write_recipe(tmp_path / "other.yaml", small(june, s2={"bands": ("nir",)}))
    refuse(2, "build", other, "-o", out, "--workers", 0, names=(str(out),))
    assert harness.tree(out) == before


def test_a_folder_that_is_no_dataset_of_ours_is_2(finished, tmp_path):
    recipe, _ = finished
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not touch", encoding="utf-8")
    refuse(2, "build", recipe, "-o", out, "--workers", 0, names=(str(out),))
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_a_finished_folder_is_0_and_untouched(finished):
    recipe, out = finished
    before = harness.tree(out)
    succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.tree(out) == before
    succeed("verify", out)
    assert harness.tree(out) == before


def test_two_builds_at_once_the_second_is_2(border, tmp_path):
    """Busy is an OS lock held by a living process: while the first runs 2, after it was killed the folder is free."""
    with serve(border.items("S2_32_0610"), border.folder) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small(service.url))
        out = tmp_path / "out"
        first = harness.start("build", recipe, "-o", out, "--workers", 0)
        deadline = time.monotonic() + 60
        while not service.searches and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGSTOP)
        try:
            assert first.poll() is None, "the first build was done too soon to be met"
            refuse(2, "build", recipe, "-o", out, "--workers", 0, names=("out",))
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.communicate()
        succeed("build", recipe, "-o", out, "--workers", 0)
        succeed("verify", out)


@pytest.mark.parametrize("command", ["verify", "show"])
def test_what_is_no_dataset_is_2(tmp_path, command):
    (tmp_path / "x").mkdir()
    refuse(2, command, tmp_path / "x")
    refuse(2, command, tmp_path / "not there")


def test_no_command_and_no_recipe_are_2():
    assert harness.chipweave("weave").returncode == 2
    assert harness.chipweave("build").returncode == 2


def corrupted(finished, tmp_path) -> Path:
    out = tmp_path / "copy"
    shutil.copytree(finished[1], out)
    return out


def test_a_changed_byte_in_a_shard_is_6(finished, tmp_path):
    out = corrupted(finished, tmp_path)
    shard = sorted((out / "shards").glob("*.tar"))[0]
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)
    refuse(6, "verify", out, names=(shard.name,))


def test_a_missing_a_cut_and_a_stray_file_are_6(finished, tmp_path):
    out = corrupted(finished, tmp_path)
    shard = sorted((out / "shards").glob("*.tar"))[0]
    body = shard.read_bytes()
    shard.unlink()
    refuse(6, "verify", out, names=(shard.name,))
    shard.write_bytes(body[:-512])
    refuse(6, "verify", out, names=(shard.name,))
    shard.write_bytes(body)
    succeed("verify", out)
    (out / "index.parquet").unlink()
    refuse(6, "verify", out, names=("index.parquet",))


# --- the rest of the command line ------------------------------------------------------------------------------


def test_check_needs_no_network_and_no_data(tmp_path):
    """A missing data file and a room not built are warnings and 0; a catalog is never asked."""
    mapping = small("http://127.0.0.1:9/none", area={"geojson": "later.geojson"})
    mapping["imagery"]["s2"]["dilate_m"] = 100
    done = succeed("check", write_recipe(tmp_path / "r.yaml", mapping))
    said = done.stdout + done.stderr
    assert "later.geojson" in said
    assert "imagery.s2.dilate_m" in said


def test_extends_merges_and_set_comes_last(june, tmp_path):
    write_recipe(tmp_path / "base.yaml", small(june))
    child = write_recipe(tmp_path / "child.yaml", {"extends": "base.yaml", "chips": {"size": 32}, "title": "Child"})
    out = tmp_path / "out"
    succeed("build", child, "-o", out, "--workers", 0, "--set", "imagery.s2.bands=[nir, red]", "--set", "chips.size=48")
    sample = next(iter(harness.read_samples(out).values()))
    assert sample.meta["layers"]["s2"]["bands"] == ["nir", "red"]
    assert (sample.meta["height"], sample.meta["width"]) == (48, 48)
    resolved = yaml.safe_load((out / "recipe.yaml").read_text())
    assert resolved["chips"]["size"] == 48
    refuse(3, "check", child, "--set", "chips.sise=3", names=("sise", "size"))


def test_plan_then_build_in_the_same_folder(june, finished, tmp_path):
    recipe, done = finished
    out = tmp_path / "out"
    planned = succeed("plan", recipe, "-o", out)
    assert not list(out.glob("shards/*"))
    for name in ("places", "scenes", "chips", "matches"):
        assert (out / "plan" / f"{name}.parquet").exists(), name
    count = len(harness.read_samples(done))
    assert str(count) in planned.stdout
    succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == harness.digests(done)


def test_limit_takes_fewer_chips_and_changes_no_assignment(border, tmp_path):
    catalog = border.catalog("catalog_limit", "S2_32_0610", "S2_33_0610")
    split = {"method": "blocks", "block_km": 1, "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "tolerance": 0.5}
    mapping = small(catalog, area={"bbox": [11.925, 44.98, 12.07, 45.035]}, split=split)
    recipe = write_recipe(tmp_path / "r.yaml", mapping)
    succeed("build", recipe, "-o", tmp_path / "all", "--workers", 0)
    succeed("build", recipe, "-o", tmp_path / "few", "--workers", 0, "--limit", 5)
    every, few = harness.read_samples(tmp_path / "all"), harness.read_samples(tmp_path / "few")
    assert 1 <= len(few) < len(every)
    for key, sample in few.items():
        assert sample.meta == every[key].meta
        for name, array in sample.arrays.items():
            assert (array == every[key].arrays[name]).all()
    succeed("verify", tmp_path / "few")


@pytest.mark.parametrize("command", ["check", "plan", "build", "verify", "schema", "recipes"])
def test_json_is_one_object_on_stdout(finished, tmp_path, command):
    recipe, out = finished
    args = {
        "check": [recipe],
        "plan": [recipe, "-o", tmp_path / "plan"],
        "build": [recipe, "-o", tmp_path / "out", "--workers", 0],
        "verify": [out],
        "schema": [],
        "recipes": [],
    }[command]
    done = succeed(command, *args, "--json")
    assert isinstance(harness.strict_json(done.stdout.encode()), dict)


def test_json_speaks_of_errors_too(tmp_path):
    """Still at most one object on stdout; the exit code is the same."""
    done = refuse(2, "verify", tmp_path / "none", "--json")
    if done.stdout.strip():
        assert isinstance(harness.strict_json(done.stdout.encode()), dict)


def test_no_colours_in_a_pipe(finished):
    done = harness.chipweave("verify", finished[1], env={k: v for k, v in harness.guarded_env().items() if k != "NO_COLOR"})
    assert "\x1b[" not in done.stdout + done.stderr


def test_new_and_recipes(tmp_path):
    listed = succeed("recipes").stdout
    assert "demo" in listed
    succeed("new", "mine", cwd=tmp_path)
    (made,) = [p for p in tmp_path.rglob("*.yaml") if "mine" in p.as_posix()]
    succeed("check", made)


def test_python_is_the_same_as_the_command_line(finished, tmp_path):
    """`import chipweave as cw` as in the contract, in a process of its own."""
    recipe, out = finished
    code = (
        "import sys, chipweave as cw\n"
        "recipe = cw.load_recipe(sys.argv[1])\n"
        "cw.build(recipe, sys.argv[2], workers=0)\n"
        "ds = cw.open_dataset(sys.argv[2])\n"
        "assert cw.splits\n"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe), str(tmp_path / "out")],
        env=harness.guarded_env(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert harness.digests(tmp_path / "out") == harness.digests(out)
