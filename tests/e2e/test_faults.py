"""Servers that falter: asked again, the bytes are those of a quiet day; where they do not recover, 4, and on later."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from support.faults import Seeded, serve_faulty
from worlds import harness, recipes
from worlds.harness import refuse, succeed, write_recipe

BEST = "S2_32_0824"


def items_of(border) -> list[dict]:
    return border.items("S2_32_0610", "S2_33_0610", "S2_32_0720", BEST)


def mapping_of(url: str) -> dict:
    """Two zones, mosaics, labels, three bands: some two hundred requests."""
    s2 = recipes.imagery(recipes.SUMMER, ("red", "nir", "rededge1"), max_cloud=60, min_valid=50)
    output = {"formats": ["webdataset", "zarr"], "samples_per_shard": 16}
    return recipes.recipe(url, {"bbox": [11.94, 44.985, 12.05, 45.02]}, s2, output=output)


@pytest.fixture(scope="module")
def quiet(border, tmp_path_factory) -> dict[str, str]:
    """What an undisturbed build over HTTP gives."""
    tmp = tmp_path_factory.mktemp("quiet")
    with serve_faulty(items_of(border), border.folder) as service:
        out = harness.build(tmp, mapping_of(service.url))
    assert len(harness.read_samples(out)) >= 40
    return harness.digests(out)


def amended(out: Path) -> pd.DataFrame:
    """Scenes that were passed over."""
    path = out / "plan" / "amendments.parquet"
    return pd.read_parquet(path) if path.exists() else pd.DataFrame({"item": []})


def disturbed(border, tmp: Path, seed: int, quiet: dict[str, str]) -> Seeded:
    """Build with a seed's faults: every chip is written, with the same bytes, from the same scenes."""
    choose = Seeded(seed)
    with serve_faulty(items_of(border), border.folder, choose) as service:
        recipe = write_recipe(tmp / "recipe.yaml", mapping_of(service.url))
        succeed("build", recipe, "-o", tmp / "out", "--workers", 0)
    assert harness.digests(tmp / "out") == quiet
    states = harness.ledger(tmp / "out")
    assert (states["state"] == "written").sum() >= 40
    assert not (states["state"] == "failed").any()
    assert amended(tmp / "out").empty
    return choose


def test_faults_of_one_seed_change_no_byte(border, quiet, tmp_path):
    choose = disturbed(border, tmp_path, 1, quiet)
    assert choose.faults.total() >= 3
    assert choose.count >= 60


@pytest.mark.slow
def test_workers_read_the_same_and_end_in_silence(border, quiet, tmp_path):
    """A worker that ends closes its files without a word."""
    with serve_faulty(items_of(border), border.folder, Seeded(7)) as service:
        recipe = write_recipe(tmp_path / "recipe.yaml", mapping_of(service.url))
        done = succeed("build", recipe, "-o", tmp_path / "out", "--workers", 2, plain=True)
    assert harness.digests(tmp_path / "out") == quiet
    assert "Exception" not in done.stderr
    assert "ERROR" not in done.stderr


@pytest.mark.slow
def test_faults_of_twenty_seeds_change_no_byte(border, quiet, tmp_path):
    seen = set()
    for seed in range(100, 120):
        (tmp_path / str(seed)).mkdir()
        seen |= set(disturbed(border, tmp_path / str(seed), seed, quiet).faults)
    assert seen == {500, 503, 429, "cut"}


def two_dates(border) -> list[dict]:
    """June, and the cloudless August, which wins over it."""
    return [i for i in border.items("S2_32_0610", BEST) if i["collection"] == "sentinel-2-l2a"]


def small_of(url: str, **more) -> dict:
    return recipes.small(url, s2={"time": recipes.SUMMER}, **more)


@pytest.fixture(scope="module")
def calm(border, tmp_path_factory) -> dict[str, str]:
    """A build of seconds, undisturbed."""
    tmp = tmp_path_factory.mktemp("calm")
    with serve_faulty(two_dates(border), border.folder) as service:
        return harness.digests(harness.build(tmp, small_of(service.url)))


class Told:
    """Paths with a certain end go wrong: after so many good answers, so many times."""

    def __init__(self, ending: str, fault: object, good: int = 0, times: float = float("inf")) -> None:
        self.ending, self.fault, self.good, self.left = ending, fault, good, times
        self.asked = 0

    def __call__(self, path: str) -> object:
        if not path.endswith(self.ending):
            return None
        self.asked += 1
        if self.asked <= self.good or self.left <= 0:
            return None
        self.left -= 1
        return self.fault


IMPATIENT = {"CHIPWEAVE_HTTP_TIMEOUT": "0.5"}


def slow(*values: object):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        (f"{BEST}/B04.tif", (429, {"retry-after": "1"})),
        (f"{BEST}/SCL.tif", "cut"),
        ("/search", 503),
        *(slow(f"{BEST}/B04.tif", fault) for fault in (500, 503, 429, "cut")),
        *(slow("/search", fault) for fault in (500, 429, (429, {"retry-after": "1"}), "cut")),
    ],
)
def test_what_passes_is_asked_again(border, calm, tmp_path, ending, fault):
    choose = Told(ending, fault, times=2)
    with serve_faulty(two_dates(border), border.folder, choose) as service:
        out = harness.build(tmp_path, small_of(service.url))
    assert choose.left == 0
    assert harness.digests(out) == calm


LATER = (429, {"retry-after": "3600"})


@pytest.mark.parametrize(
    ("fault", "good"),
    [(503, 1), (403, 1)] + [slow(f, n) for f in (503, LATER, 403, "cut", "slow") for n in (0, 1)],
)
def test_what_does_not_pass_is_4_and_goes_on_later(border, calm, tmp_path, fault, good):
    """Never another scene by accident, nor another date; whatever had been read before."""
    choose = Told(f"{BEST}/B04.tif", fault, good)
    out, env = tmp_path / "out", harness.guarded_env(**IMPATIENT)
    with serve_faulty(two_dates(border), border.folder, choose) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small_of(service.url))
        done = refuse(4, "build", recipe, "-o", out, "--workers", 0, env=env, names=("B04.tif", "again"))
        assert len(done.stderr.splitlines()) <= 20
        assert not (out / "manifest.json").exists()
        assert amended(out).empty
        choose.left = 0
        succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == calm


@pytest.mark.parametrize("fault", [503, slow(LATER), slow("cut"), slow("slow")])
def test_a_catalog_that_does_not_recover_is_4(border, calm, tmp_path, fault):
    choose = Told("/search", fault)
    out, env = tmp_path / "out", harness.guarded_env(**IMPATIENT)
    with serve_faulty(two_dates(border), border.folder, choose) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small_of(service.url))
        refuse(4, "build", recipe, "-o", out, "--workers", 0, env=env, names=("/search",))
        choose.left = 0
        succeed("build", recipe, "-o", out, "--workers", 0)
    assert harness.digests(out) == calm


def test_one_who_asks_for_an_hour_is_not_asked_again(border, tmp_path):
    choose = Told(f"{BEST}/B04.tif", LATER)
    with serve_faulty(two_dates(border), border.folder, choose) as service:
        recipe = write_recipe(tmp_path / "r.yaml", small_of(service.url))
        refuse(4, "build", recipe, "-o", tmp_path / "out", "--workers", 0, names=("3600",))
    assert choose.asked <= 4  # once a batch


@pytest.mark.parametrize(("fault", "good"), [(404, 1), slow(410, 0), slow(400, 1)])
def test_what_is_gone_gives_way_to_the_next_best(border, tmp_path, fault, good):
    choose = Told(f"{BEST}/B04.tif", fault, good)
    with serve_faulty(two_dates(border), border.folder, choose) as service:
        out = harness.build(tmp_path, small_of(service.url))
    used = {i for s in harness.read_samples(out).values() for i in s.meta["layers"]["s2"]["items"][0]}
    assert used == {"S2_32_0610"}
    rows = amended(out)
    assert set(rows["item"]) == {BEST}
    assert rows["error"].str.contains(f"HTTP {fault}").all()
    assert set(harness.ledger(out)["state"]) == {"written"}
