"""Catalogs and files that do not answer, lie, or are not there: 4, the next-best scene, or 5."""

from __future__ import annotations

import copy
import os
import shutil
import socket
from pathlib import Path

from worlds import harness, recipes
from worlds.harness import refuse, succeed, write_recipe
from worlds.recipes import small
from worlds.server import serve
from worlds.stac import write_catalog


def test_an_unreachable_catalog_is_4(tmp_path):
    with (
        socket.socket() as held
    ):  # bound, never listening: refused, and no other test's server can take the port
        held.bind(("127.0.0.1", 0))
        mapping = small(f"http://127.0.0.1:{held.getsockname()[1]}")
        recipe = write_recipe(tmp_path / "r.yaml", mapping)
        done = refuse(4, "build", recipe, "-o", tmp_path / "out", names=("127.0.0.1",))
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
    """503 is retried, then 4, and never another scene; healed, the bytes are as if never ill."""
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
