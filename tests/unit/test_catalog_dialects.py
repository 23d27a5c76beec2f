"""The providers that the end-to-end tests play are shaped like what was recorded of them."""

from __future__ import annotations

import json

import pytest
import yaml

from catalog_world import SHARED
from chipweave.catalog.providers import load_provider
from worlds.dialects import DIALECTS, provider_file, scenes

STAC = SHARED / "real" / "stac"
URL = "http://127.0.0.1:1"

RECORDED = {
    "earth-search": "earth-search-v1/sentinel-2-l2a/search_page1_of_3.json",
    "earth-search-v0": "earth-search-v0/sentinel-s2-l2a-cogs/search_1.json",
    "planetary-computer": "planetary-computer/sentinel-2-l2a/items_limit1.json",
    "cdse": "cdse/sentinel-2-l2a/item_S2A_35UPU_20200301.json",
    "lpcloud": "cmr-lpcloud/HLSS30_2.0/search_post_20.json",
    "usgs": "landsatlook/landsat-c2l2-sr/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
    "deafrica": "deafrica/s2_l2a_c1/S2B_T37MGP_20240710T073012_L2A.json",
    "dea": "dea-australia/ga_ls8c_ard_3/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.json",
}
PAGES = {
    "earth-search": RECORDED["earth-search"],
    "earth-search-v0": RECORDED["earth-search-v0"],
    "planetary-computer": "planetary-computer/naip/search_page1.json",
    "lpcloud": RECORDED["lpcloud"],
}

needs_data = pytest.mark.skipif(not STAC.is_dir(), reason="the folder of real files is not here")


def _recorded(file: str) -> tuple[dict, dict]:
    page = json.loads((STAC / file).read_text(encoding="utf-8"))
    return page, page["features"][0] if "features" in page else page


@needs_data
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_items_have_no_field_that_the_provider_does_not_state(name):
    _, real = _recorded(RECORDED[name])
    item = DIALECTS[name].items(scenes()[0], URL)[-1]
    assert item["stac_version"] == real["stac_version"]
    assert ("collection" in item) == ("collection" in real)
    assert set(item["properties"]) <= set(real["properties"])
    fields = {field for a in real["assets"].values() for field in a} | {"href"}
    assert {field for a in item["assets"].values() for field in a} <= fields
    # How bands are listed, and the projection: as there.
    for field in ("bands", "eo:bands", "raster:bands", "raster:offset", "proj:code", "alternate", "type"):
        assert any(field in a for a in item["assets"].values()) == _data_has(real, field), field


def _data_has(real: dict, field: str) -> bool:
    return any(
        field in a
        for key, a in real["assets"].items()
        if "data" in a.get("roles", ()) or key in {"browse", "red", "B04"}
    )


@needs_data
@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_go_on_as_the_provider_s_do(name):
    page, _ = _recorded(PAGES[name])
    (real,) = [link for link in page["links"] if link["rel"] == "next"]
    (mine,) = DIALECTS[name].page({"collections": ["c"], "limit": 2}, 2, f"{URL}/search")
    for field in ("method", "merge", "body"):
        assert (field in mine) == (field in real), field
    assert mine.get("merge") == real.get("merge")
    assert bool("?" in mine["href"]) == bool("?" in real["href"])


@pytest.mark.parametrize("name", sorted(n for n, d in DIALECTS.items() if d.provider))
def test_the_provider_in_use_is_the_one_that_ships(name, tmp_path):
    """Hosts and endpoints aside, and the Sentinel-2 that three of them do not have."""
    folder = provider_file(name, tmp_path, URL)
    mine, real = load_provider(name, (folder,)), load_provider(name)
    assert (mine.method, mine.alternate, mine.page) == (real.method, real.alternate, real.page)
    assert [r.kind for r in mine.access] == [r.kind for r in real.access]
    for a, b in zip(mine.access, real.access, strict=True):
        moved = {"hosts", "endpoint"}
        assert a.model_dump(exclude=moved) == b.model_dump(exclude=moved)
    if not DIALECTS[name].more:
        assert mine.collections == real.collections
    # A provider is data: nothing else was written.
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [f"{name}.yaml"]
    assert yaml.safe_load((folder / "providers" / f"{name}.yaml").read_text(encoding="utf-8"))
