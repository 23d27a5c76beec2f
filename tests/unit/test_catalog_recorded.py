"""Every recorded answer of a real catalog: each item becomes a scene, or is refused for a reason that is told."""

from __future__ import annotations

import json
import math

import pytest
import shapely
from pyproj import CRS

from catalog_world import SHARED, shared_data
from chipweave.catalog import LayerRequest, read_snapshot, write_snapshot
from chipweave.catalog.bands import is_picture
from chipweave.catalog.collections import load_collection, offering_at
from chipweave.catalog.hrefs import LocalRule
from chipweave.catalog.items import Reader
from chipweave.catalog.notes import Notes
from chipweave.catalog.providers import Offering, load_provider
from chipweave.catalog.sources.base import Found, Shelf
from chipweave.catalog.sources.pages import Ask, Pages, following
from chipweave.catalog.stac import assets, collection_of, defect
from chipweave.model import Band, Collection, Credit

STAC = SHARED / "real" / "stac"
FILES = sorted(p.relative_to(STAC).as_posix() for p in STAC.rglob("*.json")) if STAC.is_dir() else []

PROVIDERS = {
    "cdse": "cdse",
    "cmr-lpcloud": "lpcloud",
    "dea-australia": "dea",
    "deafrica": "deafrica",
    "earth-search-v0": "",
    "earth-search-v1": "earth-search",
    "landsatlook": "usgs",
    "planetary-computer": "planetary-computer",
}
"""Provider file by folder; the retired API has none."""

MADE_UP = "made up here"

S2_NAMES = ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-s2-l2a-cogs", "s2_l2a_c1")

SHIPPED = {
    **dict.fromkeys(S2_NAMES, "sentinel-2-l2a"),
    **{
        name: name
        for name in (
            "esa-worldcover", "sentinel-2-l1c", "landsat-c2-l2", "naip", "cop-dem-glo-30", "sentinel-1-rtc",
            "io-lulc-annual-v02",
        )
    },
    "landsat-c2l2-sr": "landsat-c2-l2",
    "HLSL30.v1.5": "hls2-l30",
    "HLSS30_2.0": "hls2-s30",
}  # fmt: skip
"""What a recipe calls the collections that are recorded, by the name that their catalog gives them."""

NOT_THERE = {
    "landsat-8": {"lwir"},
    "landsat-9": {"lwir"},
    "LANDSAT_8": {"lwir", "lwir11", "surface_temperature"},  # of another collection there
    "LANDSAT_7": {"coastal", "lwir", "lwir11", "surface_temperature"},
}
"""Bands of landsat-c2-l2 that an item of a platform lacks."""

needs_data = pytest.mark.skipif(not FILES, reason="the folder of real files is not here")


def items_of(file: str) -> list[dict]:
    held = json.loads((shared_data() / "real" / "stac" / file).read_text(encoding="utf-8"))
    return held if isinstance(held, list) else held.get("features", [held])


def _keys(item: dict) -> list[str]:
    """Assets that hold pixels, however a catalog marks them."""
    return [
        key
        for key, asset in assets(item).items()
        if not is_picture(key, asset)
        and ("data" in asset.get("roles", ()) or asset["href"].lower().endswith((".tif", ".tiff", ".jp2")))
    ]


def collection_for(item: dict) -> Collection:
    """What ships; any other is made up of the item's own keys: all of it is read."""
    name = collection_of(item)
    if name in SHIPPED:
        return load_collection(SHIPPED[name])
    if "nbart_red" in item["assets"]:
        return load_collection("ga-ls-ard-3")  # the item names no collection
    bands = tuple(Band(f"b{n}", (key,), 30.0) for n, key in enumerate(_keys(item)))
    return Collection(
        name or "unnamed", "", "imagery", bands or (Band("b0", (), 30.0),), None, Credit(MADE_UP, "", "")
    )


def read(file: str, item: dict, notes: Notes | None = None):
    collection = collection_for(item)
    provider = load_provider(PROVIDERS[file.partition("/")[0]])
    request = LayerRequest(
        "layer", collection.kind, collection, bands=tuple(b.name for b in collection.bands)
    )
    shipped = collection.credit.licence != MADE_UP
    offering = offering_at(provider, collection.name) if shipped else Offering()
    reader = Reader(
        request, collection, offering, LocalRule.of(None, ()), notes or Notes(), provider.alternate
    )
    return reader.scene(Found(item, "https://stac.example/v1"))


@needs_data
@pytest.mark.parametrize("file", FILES)
def test_every_item_is_a_scene_or_refused(file, tmp_path):
    scenes, reasons = [], set()
    for item in items_of(file):
        if why := defect(item):
            reasons.add(why)
            continue
        scenes.append(read(file, item))
        _holds(scenes[-1], item)
    assert reasons == ({"has no assets"} if "fields" in file else set())
    assert scenes or reasons or file.endswith("page3_of_3.json")
    write_snapshot(scenes, tmp_path / "scenes.parquet")
    again = read_snapshot(tmp_path / "scenes.parquet")
    assert [_row(s) for s in again] == [_row(s) for s in scenes]


def _row(scene):
    cloud = None if math.isnan(scene.cloud) else scene.cloud
    return scene.id, scene.collection, scene.time, scene.crs, cloud, scene.missing, dict(scene.assets)


def _holds(scene, item):
    """What every scene must be, whoever tells it."""
    assert scene.id == item["id"]
    assert set(scene.missing) == _missing(scene)
    assert scene.geometry.is_valid
    assert scene.geometry.area > 0
    told = shapely.box(*item["bbox"][:2], *item["bbox"][-2:])
    assert scene.geometry.intersection(told).area > 0.5 * min(scene.geometry.area, told.area)
    if scene.crs:
        CRS.from_user_input(scene.crs)
    assert scene.time.year >= 2010
    assert scene.orbit_state in {"", "ascending", "descending"}
    for asset in scene.assets.values():
        assert asset.href.startswith(("https://", "s3://", "http://"))
        assert "?" not in asset.href


def _missing(scene):
    if scene.collection == "landsat-c2-l2":
        return NOT_THERE[scene.platform]
    if scene.collection == "sentinel-1-rtc":
        return {"hh", "hv"} if "vv" in scene.assets else {"vv", "vh"}
    return set()


@needs_data
@pytest.mark.parametrize(
    ("file", "crs"),
    [
        ("cmr-lpcloud/HLSS30_2.0/search_post_20.json", ""),  # nothing stated: the header tells
        ("cdse/sentinel-2-l2a/search_4.json", "EPSG:32632"),  # proj:code of an asset
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "EPSG:32632"),  # proj:epsg of the item
        ("dea-australia/ga_ls8c_ard_3/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.json", "EPSG:32656"),
        ("earth-search-v1/cop-dem-glo-30/search_10.json", "EPSG:4326"),
    ],
)
def test_the_projection_of_each_form(file, crs):
    assert {read(file, item).crs for item in items_of(file)} == {crs}


@needs_data
@pytest.mark.parametrize(
    ("file", "scheme"),
    [
        (
            "landsatlook/landsat-c2l2-sr/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
            "s3://usgs-landsat/",
        ),
        ("cdse/sentinel-2-l2a/search_4.json", "s3://eodata/"),
        ("cmr-lpcloud/HLSS30_2.0/search_post_20.json", "https://data.lpdaac.earthdatacloud.nasa.gov/"),
        ("deafrica/s2_l2a_c1/S2B_T37MGP_20240710T073012_L2A.json", "s3://deafrica-"),
    ],
)
def test_where_files_are_taken_from(file, scheme):
    for item in items_of(file):
        assert all(a.href.startswith(scheme) for a in read(file, item).assets.values())


@needs_data
@pytest.mark.parametrize(
    ("file", "add"),
    [
        ("deafrica/s2_l2a_c1/S2B_T37MGP_20240710T073012_L2A.json", -1000.0),  # stated and meant
        ("earth-search-v0/sentinel-s2-l2a-cogs/search_1.json", 0.0),  # sentinel:boa_offset_applied
        ("earth-search-v1/multi/cql2_filter_mixed_page1.json", None),  # collection 1 states and means it
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", 0.0),
        ("planetary-computer/sentinel-2-l2a/items_limit1.json", -1000.0),
        ("cdse/sentinel-2-l2a/item_S2A_35UPU_20200301.json", -1000.0),
    ],
)
def test_the_offset_of_each_provider(file, add):
    told = {"sentinel-2-c1-l2a": -1000.0, "sentinel-2-l2a": 0.0}
    for item in items_of(file):
        if collection_of(item) in S2_NAMES:
            want = told[collection_of(item)] if add is None else add
            scene = read(file, item)
            assert {a.add for b, a in scene.assets.items() if b != "scl"} == {want}


@needs_data
@pytest.mark.parametrize("file", [f for f in FILES if "page" in f or "search" in f])
def test_the_next_link_of_every_page(file):
    """Pages continue where they were recorded, or end."""
    page = json.loads((shared_data() / "real" / "stac" / file).read_text(encoding="utf-8"))
    home = {
        "earth-search-v1": "https://earth-search.aws.element84.com/v1/search",
        "earth-search-v0": "https://earth-search.aws.element84.com/v0/search",
        "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1/search",
        "cmr-lpcloud": "https://cmr.earthdata.nasa.gov/stac/LPCLOUD/search",
        "cdse": "https://stac.dataspace.copernicus.eu/v1/search",
    }[file.partition("/")[0]]
    got = following(page, Ask(home, "POST", {"collections": ["c"]}))
    last = file.endswith("page3_of_3.json") or file.startswith("cdse")
    assert (got is None) == last
    if got is not None:
        assert got.url.partition("?")[0] == home
        assert (got.method, got.body is None) == (
            ("GET", True) if file.startswith("cmr") else ("POST", False)
        )


@needs_data
def test_one_recorded_search_of_three_pages():
    """The bodies that are sent are those that were recorded."""
    folder = "earth-search-v1/sentinel-2-l2a"
    manifest = json.loads((shared_data() / "manifest.json").read_text(encoding="utf-8"))
    held = {e["file"]: e for e in (manifest if isinstance(manifest, list) else manifest["files"])}
    pages, bodies = [], []
    for n in (1, 2, 3):
        name = f"real/stac/{folder}/search_page{n}_of_3.json"
        pages.append(json.loads((shared_data() / name).read_text(encoding="utf-8")))
        bodies.append(json.loads(held[name]["request"]["body"]))
    sent, said = [], []

    def ask(request):
        sent.append(request.body)
        return pages[len(sent) - 1]

    found = list(Pages(Ask(held[name]["request"]["uri"], "POST", bodies[0]), ask, said.append))
    assert sent == bodies
    assert len(found) == 16
    assert said == []


@needs_data
@pytest.mark.parametrize("file", FILES)
def test_no_item_is_lost_on_a_shelf(file):
    notes = Notes()
    items = items_of(file)
    shelf = Shelf.of((Found(item, "x") for item in items), notes)
    names = {collection_of(i) for i in items} or {"c"}
    found = list(shelf.search(sorted(names), (-180.0, -90.0, 180.0, 90.0), None))
    assert len(found) == sum(not defect(i) for i in items)
    assert bool(notes.texts()) == (len(found) < len(items))
