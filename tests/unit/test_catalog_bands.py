"""Which asset holds a band."""

from __future__ import annotations

import json

import pytest

from catalog_world import asset, make_item, shared_data
from chipweave.catalog.bands import find_bands, is_picture
from chipweave.catalog.collections import load_collection, offering_at
from chipweave.catalog.providers import UNKNOWN, load_provider

S2 = load_collection("sentinel-2-l2a")
ALL = tuple(b.name for b in S2.bands)


def _find(assets, *wanted, collection=S2, keys=None, **change):
    hits = find_bands(make_item(assets=assets, **change), wanted, collection, keys or {})
    return {band: (hit.key, hit.index) for band, hit in hits.items()}


def _eo(*names, key="name"):
    return [{key: n} for n in names]


def test_keys_of_known_providers():
    for key in ("red", "B04", "b04", "B4", "RED", "B04_10m", "T32TMT_20200305T103021_B04_10m"):
        assert _find({"x": asset("x.tif"), key: asset("r.tif")}, "red") == {"red": (key, 1)}


def test_neighbours_are_not_mixed_up():
    assets = {k: asset(f"{k}.tif") for k in ("B08", "B8A", "B09", "B05", "B06", "B07", "SCL")}
    assert _find(assets, "nir", "nir08", "nir09", "rededge1", "rededge2", "rededge3", "scl") == {
        "nir": ("B08", 1),
        "nir08": ("B8A", 1),
        "nir09": ("B09", 1),
        "rededge1": ("B05", 1),
        "rededge2": ("B06", 1),
        "rededge3": ("B07", 1),
        "scl": ("SCL", 1),
    }


def test_common_names_of_single_band_assets():
    for listing in (
        {"eo:bands": [{"name": "B04", "common_name": "red"}]},
        {"bands": [{"eo:common_name": "red"}]},
        {"bands": [{"name": "red"}]},
        {"eo:bands": [{"name": "B04"}]},
    ):
        assert _find({"one": asset("1.tif", **listing), "two": asset("2.tif")}, "red") == {"red": ("one", 1)}


def test_a_vague_common_name_does_not_match():
    assets = {
        k: asset(f"{k}.tif", **{"eo:bands": [{"name": n, "common_name": "rededge"}]})
        for k, n in (("x", "B07"), ("y", "B05"), ("z", "B06"))
    }
    assert _find(assets, "rededge1", "rededge2", "rededge3") == {
        "rededge1": ("y", 1),
        "rededge2": ("z", 1),
        "rededge3": ("x", 1),
    }


def test_stack_index_is_the_place_in_the_list():
    stack = {"data": asset("x.tif", **{"eo:bands": _eo("B02", "B03", "B04", "B08", "SCL")})}
    assert _find(stack, "nir", "blue", "scl", "swir16") == {
        "nir": ("data", 4),
        "blue": ("data", 1),
        "scl": ("data", 5),
    }
    stack = {"data": asset("x.tif", bands=_eo("blue", "green", "red", key="eo:common_name"))}
    assert _find(stack, "red") == {"red": ("data", 3)}


def test_stack_of_old_stac_points_into_the_item():
    bands = [{"name": "B02", "common_name": "blue"}, {"name": "B04", "common_name": "red"}]
    assets = {"a": asset("a.tif", **{"eo:bands": [1]}), "b": asset("b.tif", **{"eo:bands": [0]})}
    assert _find(assets, "red", "blue", properties={"eo:bands": bands}) == {"red": ("a", 1), "blue": ("b", 1)}


def test_two_listings_are_one():
    listing = {"bands": _eo("b1", "b2"), "eo:bands": [{"common_name": "blue"}, {"common_name": "red"}]}
    assert _find({"x": asset("x.tif", **listing)}, "red") == {"red": ("x", 2)}


def test_a_key_comes_before_a_single_band_before_a_stack():
    stack = asset("s.tif", **{"eo:bands": _eo("red", "green")})
    single = asset("1.tif", **{"eo:bands": _eo("red")})
    assert _find({"a": stack, "b": single, "red": asset("r.tif")}, "red") == {"red": ("red", 1)}
    assert _find({"a": stack, "b": single}, "red") == {"red": ("b", 1)}
    assert _find({"a": stack, "b": single}, "green") == {"green": ("a", 2)}


@pytest.mark.parametrize("order", [1, -1])
def test_the_finest_and_no_jpeg2000(order):
    def find(**assets):
        return _find(dict(list(assets.items())[::order]), "red")["red"][0]

    assert find(B04_20m=asset("2.jp2"), B04_10m=asset("1.jp2"), B04_60m=asset("6.jp2")) == "B04_10m"
    assert find(B04=asset("1.tif"), B04_20m=asset("2.tif")) == "B04"
    assert find(B4=asset("1.tif", gsd=60), b04=asset("2.tif", gsd=10)) == "B4"  # exact before any case
    assert (
        find(
            **{"red-jp2": asset("r.jp2", type="image/jp2", **{"eo:bands": _eo("red")}), "red": asset("r.tif")}
        )
        == "red"
    )
    listed = {"eo:bands": _eo("red")}
    assert find(x=asset("r.tif", gsd=20, **listed), y=asset("s.tif", gsd=10, **listed)) == "y"
    assert (
        find(x=asset("r.tif", gsd=20, **listed), y=asset("s.tif", **listed)) == "y"
    )  # as the collection says: 10 m
    assert find(x=asset("r.jp2", type="", **listed), y=asset("r.tif", gsd=20, **listed)) == "y"


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("visual", {}),
        ("overview", {"roles": ["overview"]}),
        ("thumbnail", {}),
        ("TCI_10m", {}),
        ("rendered_preview", {}),
        ("visual-jp2", {}),
        ("picture", {"roles": ["visual"]}),
        ("picture", {"type": "image/png", "roles": []}),
        ("thumbnail_0", {}),
        ("thumbnail:nbart", {}),
    ],
)
def test_pictures_hold_no_band(key, more):
    picture = asset("tci.tif", **({"eo:bands": _eo("red", "green", "blue")} | more))
    assert is_picture(key, picture)
    assert _find({key: picture}, "red", "scl") == {}


def test_provider_keys_come_first():
    assets = {"red": asset("wrong.tif"), "band-of-mine": asset("right.tif")}
    assert _find(assets, "red", keys={"red": ("band-of-mine",)}) == {"red": ("band-of-mine", 1)}
    assert _find({"red": asset("r.tif")}, "red", keys={"red": ("band-of-mine",)}) == {"red": ("red", 1)}


class TestTheOnlyDataAsset:
    CORINE = load_collection("corine")

    @pytest.mark.parametrize(
        "only",
        [
            {},
            {"roles": []},
            {"roles": [], "type": ""},
            {"bands": [{"name": "b1"}]},
            {"eo:bands": [{"name": "Band1"}]},
        ],
    )
    def test_needs_no_key(self, only):
        assets = {
            "U2018_CLC2018": asset("clc.tif") | only,
            "thumbnail": asset("t.png", type="image/png", roles=["thumbnail"]),
            "metadata": asset("m.xml", type="application/xml", roles=["metadata"]),
        }
        assert _find(assets, "classes", collection=self.CORINE) == {"classes": ("U2018_CLC2018", 1)}

    def test_two_data_assets_do(self):
        assets = {"a": asset("a.tif"), "b": asset("b.tif")}
        assert _find(assets, "classes", collection=self.CORINE) == {}

    def test_one_band_beside_the_mask(self):
        assets = {"analytic": asset("a.tif"), "SCL": asset("s.tif")}
        assert _find(assets, "red", "scl") == {"red": ("analytic", 1), "scl": ("SCL", 1)}
        assert _find(assets, "red", "blue", "scl") == {"scl": ("SCL", 1)}

    def test_is_not_taken_for_another_band(self):
        assert _find({"B08": asset("n.tif")}, "red") == {}
        assert _find({"x": asset("n.tif", **{"eo:bands": _eo("nir")})}, "red") == {}
        assert _find({"x": asset("n.tif", **{"eo:bands": _eo("q", "r", "s")})}, "red") == {}


@pytest.mark.parametrize(
    ("file", "provider", "keys"),
    [
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "earth-search", {b: b for b in ALL}),
        ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "", {b: b for b in ALL}),
        (
            "planetary-computer/sentinel-2-l2a/items_list.json",
            "planetary-computer",
            {"red": "B04", "nir08": "B8A", "scl": "SCL"},
        ),
        (
            "planetary-computer/sentinel-2-l2a/items_list.json",
            "",
            {"red": "B04", "rededge2": "B06", "scl": "SCL"},
        ),
        (
            "cdse/sentinel-2-l2a/search_4.json",
            "",
            {"red": "B04_10m", "swir16": "B11_20m", "scl": "SCL_20m", "nir09": "B09_60m"},
        ),
        (
            "earth-search-v0/sentinel-s2-l2a-cogs/search_1.json",
            "",
            {"red": "B04", "rededge3": "B07", "scl": "SCL"},
        ),
    ],
)
def test_recorded_answers(file, provider, keys):
    document = json.loads((shared_data() / "real" / "stac" / file).read_text(encoding="utf-8"))
    items = document if isinstance(document, list) else document["features"]
    known = load_provider(provider) if provider else UNKNOWN
    for one in items:
        hits = find_bands(one, ALL, S2, offering_at(known, "sentinel-2-l2a").keys)
        assert set(hits) == set(ALL)
        assert {b: hits[b].key for b in keys} == keys
