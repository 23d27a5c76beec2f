"""Locking: every layer searched, sieved, sorted, told."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from catalog_world import asset, make_item, serve, shared_data, write_collection, write_json
from chipweave.catalog import LayerRequest, lock, web
from chipweave.catalog.collections import load_collection
from chipweave.errors import PermanentSourceError, RecipeError, TransientSourceError
from chipweave.recipe.interval import interval

S2, WORLDCOVER, CORINE = map(load_collection, ("sentinel-2-l2a", "esa-worldcover", "corine"))
CELLS = [(8.0, 47.0, 9.0, 48.0), (9.0, 47.0, 10.0, 48.0)]
CENTRE = (8.5, 47.5)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "BACKOFF", 0.0)


def _s2(catalog, **change):
    base = LayerRequest(
        "s2",
        "imagery",
        S2,
        str(catalog),
        bands=("blue", "red", "scl"),
        time=interval("2021-06-01/2021-06-30"),
    )
    return dataclasses.replace(base, **change)


def _label(catalog, collection=WORLDCOVER, layer="wc", **change):
    base = LayerRequest(layer, "label", collection, str(catalog), bands=(collection.bands[0].name,))
    return dataclasses.replace(base, **change)


def _wc(ident, year, **change):
    span = {
        "datetime": None,
        "start_datetime": f"{year}-01-01T00:00:00Z",
        "end_datetime": f"{year}-12-31T23:59:59Z",
    }
    return make_item(
        ident, "esa-worldcover", properties=span, assets={"map": asset(f"{ident}.tif")}, **change
    )


def _remote(*items):
    """Items whose files lie on a server: a remote catalog may not name local ones."""
    return [
        i | {"assets": {k: a | {"href": f"https://cog.example/{a['href']}"} for k, a in i["assets"].items()}}
        for i in items
    ]


def test_scenes_are_sorted_and_once(tmp_path):
    wide = make_item("wide", box=(8.5, 47, 9.5, 48))
    late = make_item("late", properties={"datetime": "2021-06-20T00:00:00Z"})
    twin = make_item("twin", properties={"datetime": "2021-06-20T00:00:00Z"})
    path = write_collection(tmp_path / "i.json", [twin, late, wide, _wc("w1", 2021)])
    got = lock([_s2(path), _label(path)], CELLS, CENTRE)
    assert [(s.layer, s.id) for s in got.scenes] == [
        ("s2", "wide"),
        ("s2", "late"),
        ("s2", "twin"),
        ("wc", "w1"),
    ]
    assert [(s["layer"], s["found"]) for s in got.searches] == [("s2", 3), ("s2", 3), ("wc", 1), ("wc", 1)]
    assert got.searches[0] == {
        "layer": "s2",
        "url": str(path),
        "collection": "sentinel-2-l2a",
        "bbox": [8.0, 47.0, 9.0, 48.0],
        "interval": "2021-06-01T00:00:00Z/2021-07-01T00:00:00Z",
        "found": 3,
    }
    assert got.searches[-1]["interval"] == ""
    json.dumps(got.searches)


def test_labels_have_no_time(tmp_path):
    with serve(_remote(_wc("w1", 2021)), page=10) as api:
        got = lock([_label(api.url)], CELLS[:1], CENTRE)
    assert [s.id for s in got.scenes] == ["w1"]
    assert got.scenes[0].time == datetime(2021, 1, 1, tzinfo=UTC)
    assert "datetime" not in api.asked[0][1]


def test_an_api_cell_by_cell_gives_the_same_as_a_file(tmp_path):
    items = _remote(*[make_item(f"{i:02d}", box=(7 + i * 0.25, 47, 7.5 + i * 0.25, 47.5)) for i in range(16)])
    cells = [(8 + i * 0.25, 47.0, 8.25 + i * 0.25, 47.25) for i in range(8)]
    file = lock([_s2(write_collection(tmp_path / "i.json", items))], cells, CENTRE)
    with serve(items, page=2) as api:
        got = lock([_s2(api.url)], cells, CENTRE)
        again = lock([_s2(api.url)], cells[::-1], CENTRE)
    assert got.scenes == file.scenes == again.scenes
    assert [s.id for s in got.scenes] == [f"{i:02d}" for i in range(2, 13)]
    assert [s["found"] for s in got.searches] == [s["found"] for s in again.searches][::-1]
    assert {tuple(a["bbox"]) for _, a in api.asked} == {tuple(map(float, c)) for c in cells}


def test_where_and_time_are_held_here(tmp_path):
    items = [
        make_item("clear", properties={"eo:cloud_cover": 5}),
        make_item("cloudy", properties={"eo:cloud_cover": 50}),
        make_item("unknown", properties={"eo:cloud_cover": None}),
        make_item("last", properties={"datetime": "2021-06-30T23:59:59.999999Z"}),
        make_item("after", properties={"datetime": "2021-07-01T00:00:00Z"}),
    ]
    with serve(_remote(*items), page=10) as api:
        api.page_of = lambda _: {"found": api.items, "next": None}
        got = lock([_s2(api.url, where={"cloud": "<20"})], CELLS[:1], CENTRE)
    assert {s.id for s in got.scenes} == {"clear", "last"}
    assert "s2: cloud not stated, so where.cloud is not met (1 item: unknown)" in got.warnings
    assert set(api.asked[0][1]) == {"collections", "bbox", "datetime", "limit"}


def test_what_an_api_answers_beyond_the_cells_is_left_out():
    items = _remote(make_item("here"), make_item("far", box=(30, 47, 31, 48)))
    with serve(items, page=10) as api:
        api.page_of = lambda _: {"found": api.items, "next": None}
        assert [s.id for s in lock([_s2(api.url)], CELLS, CENTRE).scenes] == ["here"]


def test_gaps_are_told_once_with_their_number(tmp_path):
    items = [make_item(f"i{n}", assets={"B02": asset("b.tif")}) for n in range(5)]
    got = lock([_s2(write_collection(tmp_path / "i.json", items))], CELLS, CENTRE)
    assert len(got.scenes) == 5
    assert got.warnings == [
        "s2: neither offset nor processing baseline stated, no offset applied (5 items: i0, i1, i2, ...)",
        "s2: no asset for band red (5 items: i0, i1, i2, ...)",
        "s2: no scl, counted as clear (5 items: i0, i1, i2, ...)",
    ]


def test_the_newer_of_two_items_with_one_id(tmp_path):
    old = make_item("A", properties={"updated": "2021-07-01T00:00:00Z", "eo:cloud_cover": 1})
    new = make_item("A", properties={"updated": "2021-08-01T00:00:00Z", "eo:cloud_cover": 2})
    for order in ([old, new], [new, old]):
        (scene,) = lock([_s2(write_collection(tmp_path / "i.json", order))], CELLS, CENTRE).scenes
        assert scene.cloud == 2


def test_nothing_found_says_what_the_catalog_holds(tmp_path):
    path = write_collection(tmp_path / "i.json", [make_item("A", "sentinel-s2-l2a-cogs")])
    got = lock([_s2(path)], CELLS, CENTRE)
    assert got.scenes == []
    assert got.warnings == [
        f"s2: no scene of sentinel-2-l2a at {path} near 8.50, 47.50 (lon, lat); it holds sentinel-s2-l2a-cogs"
    ]


def test_refused_items_are_told_and_left_out(tmp_path):
    items = [
        make_item("good"),
        make_item("bad", assets={"red": asset("a\x07.tif")}),
        make_item("timeless", properties={"datetime": None}),
    ]
    got = lock([_s2(write_collection(tmp_path / "i.json", items), time=None)], CELLS, CENTRE)
    assert [s.id for s in got.scenes] == ["good"]
    assert "s2: has an unusable href in asset 'red', left out (1 item: bad)" in got.warnings
    assert "s2: states no time, left out (1 item: timeless)" in got.warnings


class TestEditions:
    ITEMS = (_wc("a2020", 2020), _wc("b2021", 2021), _wc("c2021", 2021))

    def test_must_be_chosen(self, tmp_path):
        path = write_collection(tmp_path / "i.json", self.ITEMS)
        with pytest.raises(RecipeError, match=r"labels\.wc: the catalog has the editions 2020, 2021"):
            lock([_label(path)], CELLS, CENTRE)
        assert [s.id for s in lock([_label(path, edition=2021)], CELLS, CENTRE).scenes] == ["b2021", "c2021"]
        assert {s.edition for s in lock([_label(path, edition=2020)], CELLS, CENTRE).scenes} == {"2020"}

    def test_one_needs_no_choice(self, tmp_path):
        got = lock([_label(write_collection(tmp_path / "i.json", self.ITEMS[1:]))], CELLS, CENTRE)
        assert [s.edition for s in got.scenes] == ["2021", "2021"]
        assert got.warnings == []

    def test_elsewhere_does_not_count(self, tmp_path):
        items = [_wc("far", 2020, box=(30, 47, 31, 48)), *self.ITEMS[1:]]
        assert len(lock([_label(write_collection(tmp_path / "i.json", items))], CELLS, CENTRE).scenes) == 2

    def test_none_of_what_is_asked(self, tmp_path):
        got = lock([_label(write_collection(tmp_path / "i.json", self.ITEMS), edition=2015)], CELLS, CENTRE)
        assert got.scenes == []
        assert "wc: the catalog has no edition 2015 here, only 2020, 2021" in got.warnings


class TestLocalFiles:
    def test_below_the_catalog_s_own_folder(self, tmp_path):
        (got,) = lock(
            [_s2(write_collection(tmp_path / "cat" / "i.json", [make_item()]))], CELLS, CENTRE
        ).scenes
        assert got.assets["red"].href == str(tmp_path / "cat" / "A" / "B04.tif")

    def test_outside_needs_a_root(self, tmp_path):
        item = make_item(assets={"red": asset(str(tmp_path / "data" / "B04.tif"))})
        path = write_collection(tmp_path / "cat" / "i.json", [item])
        (tmp_path / "data").mkdir()
        with pytest.raises(PermanentSourceError, match="item 'A'") as caught:
            lock([_s2(path)], CELLS, CENTRE)
        assert caught.value.exit_code == 4
        assert lock([_s2(path, local_roots=(tmp_path / "data",))], CELLS, CENTRE).scenes[0].assets["red"].href

    @pytest.mark.parametrize("static", [False, True])
    def test_a_loopback_catalog_is_remote(self, tmp_path, static):
        href = str(tmp_path / "B04.tif")
        item = make_item(assets={"red": asset(href), "scl": asset(f"file://{href}")})
        write_json(tmp_path / "i.json", item)
        with serve([item], folder=tmp_path if static else None) as api:
            url = f"{api.url}/i.json" if static else api.url
            with pytest.raises(PermanentSourceError, match="item 'A' names the local file"):
                lock([_s2(url)], CELLS, CENTRE)
            with pytest.raises(PermanentSourceError):
                lock([_s2(url, local_roots=(tmp_path / "gone",))], CELLS, CENTRE)
            (got,) = lock([_s2(url, local_roots=(tmp_path / "gone", tmp_path))], CELLS, CENTRE).scenes
        assert got.assets["red"].href == got.assets["scl"].href == href

    def test_an_item_that_is_not_meant_harms_nobody(self, tmp_path):
        evil = make_item("evil", assets={"red": asset("/etc/passwd")}, properties={"eo:cloud_cover": 99})
        path = write_collection(tmp_path / "i.json", [make_item(), evil])
        assert len(lock([_s2(path, where={"cloud": "<20"})], CELLS, CENTRE).scenes) == 1


class TestProviders:
    PC = make_item(
        "S2A_MSIL2A_20210610T101031_N0500_R022_T32TMT_20230101T000000",
        assets={"B02": asset("b.tif"), "B04": asset("r.tif"), "SCL": asset("s.tif")},
    )

    @pytest.mark.parametrize(
        ("provider", "add"), [("", -1000.0), ("planetary-computer", -1000.0), ("earth-search", 0.0)]
    )
    def test_the_rule_of_a_provider_can_be_forced(self, tmp_path, provider, add):
        item = json.loads(json.dumps(self.PC))
        item["properties"]["earthsearch:boa_offset_applied"] = provider == "earth-search"
        (got,) = lock(
            [_s2(write_collection(tmp_path / "i.json", [item]), provider=provider)], CELLS, CENTRE
        ).scenes
        assert got.assets["red"].add == add
        assert got.assets["scl"].add == 0
        assert got.missing == ()

    def test_a_collection_of_another_name(self, tmp_path):
        (tmp_path / "providers").mkdir()
        (tmp_path / "providers" / "v0.yaml").write_text(
            "collections: {sentinel-2-l2a: {name: [sentinel-s2-l2a-cogs, other]}}\n", encoding="utf-8"
        )
        path = write_collection(tmp_path / "i.json", [make_item("A", "sentinel-s2-l2a-cogs"), make_item("B")])
        got = lock([_s2(path, provider="v0", extra=(tmp_path,))], CELLS, CENTRE)
        assert [(s.id, s.collection) for s in got.scenes] == [("A", "sentinel-2-l2a")]
        assert got.searches[0]["collection"] == "sentinel-s2-l2a-cogs, other"

    def test_at_an_api_its_names_are_asked_for(self, tmp_path):
        (tmp_path / "providers").mkdir()
        (tmp_path / "providers" / "v0.yaml").write_text(
            "collections: {sentinel-2-l2a: {name: sentinel-s2-l2a-cogs}}\n", encoding="utf-8"
        )
        with serve(_remote(make_item("A", "sentinel-s2-l2a-cogs"))) as api:
            got = lock([_s2(api.url, provider="v0", extra=(tmp_path,))], CELLS, CENTRE)
        assert [s.id for s in got.scenes] == ["A"]
        assert api.asked[0][1]["collections"] == ["sentinel-s2-l2a-cogs"]


class TestSources:
    def test_unreachable(self):
        with serve() as api:
            url = api.url
        with pytest.raises(TransientSourceError, match=f"{url} cannot be reached"):
            lock([_s2(url)], CELLS, CENTRE)

    def test_a_catalog_is_opened_once(self):
        with serve(_remote(make_item(), _wc("w", 2021)), page=10) as api:
            lock([_s2(api.url), _label(api.url)], CELLS, CENTRE)
        assert len(api.asked) == 4

    def test_a_missing_path(self, tmp_path):
        with pytest.raises(RecipeError, match="no such file"):
            lock([_s2(tmp_path / "gone.json")], CELLS, CENTRE)

    def test_an_error_in_one_of_many_cells(self):
        with (
            serve(_remote(make_item()), status=500) as api,
            pytest.raises(TransientSourceError, match="HTTP 500"),
        ):
            lock([_s2(api.url)], CELLS * 4, CENTRE)

    def test_secrets_stay_out_of_searches_and_warnings(self):
        with serve([make_item("A", "other")]) as api:
            url = api.url.replace("http://", "http://user:hunter2@") + "/?token=hunter2"
            got = lock([_s2(url)], CELLS, CENTRE)
        assert "hunter2" not in json.dumps([got.searches, got.warnings])
        assert got.searches[0]["url"] == f"{api.url}/"


RECORDED = [
    # file, provider, scenes, of them with every band, the offset of red
    # Each scene is there twice: only the newer processing is taken.
    ("earth-search-v1/sentinel-2-l2a/search_page1_of_3.json", "", 5, 0.0),
    ("earth-search-v1/sentinel-2-l2a/search_page2_of_3.json", "earth-search", 3, 0.0),
    ("earth-search-v1/sentinel-2-l2a/search_page3_of_3.json", "", 0, None),
    ("earth-search-v1/multi/sentinel-2-l2a_and_landsat-c2-l2.json", "", 1, 0.0),
    ("earth-search-v1/multi/cql2_filter_mixed_page1.json", "", 2, 0.0),
    ("planetary-computer/sentinel-2-l2a/items_list.json", "planetary-computer", 4, -1000.0),
    ("planetary-computer/sentinel-2-l2a/items_limit1.json", "", 1, -1000.0),
    ("planetary-computer/sentinel-2-l2a/site2_2020_jun_jul_35MNM.json", "", 13, 0.0),
    ("cdse/sentinel-2-l2a/search_4.json", "", 4, -1000.0),
    ("cdse/sentinel-2-l2a/item_S2A_35UPU_20200301.json", "", 1, -1000.0),
    ("earth-search-v1/cop-dem-glo-30/search_fields_without_assets_geometry.json", "", 0, None),
    ("landsatlook/landsat-c2l2-sr/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json", "", 0, None),
]
GLOBE = [(-180.0, -90.0, 0.0, 90.0), (0.0, -90.0, 180.0, 90.0)]


@pytest.mark.parametrize(("file", "provider", "count", "add"), RECORDED)
def test_recorded_answers(file, provider, count, add):
    path = shared_data() / "real" / "stac" / file
    bands = tuple(b.name for b in S2.bands)
    got = lock([_s2(path, provider=provider, bands=bands, time=None)], GLOBE, (0.0, 0.0)).scenes
    assert len(got) == count
    for scene in got:
        assert scene.missing == ()
        assert scene.crs.startswith("EPSG:32")
        assert 0.01 < scene.geometry.area < 8
        assert {a.add for b, a in scene.assets.items() if b != "scl"} == {add}
        assert scene.assets["scl"].add == 0
        assert 0 <= scene.cloud <= 100
        assert scene.processed[:2] in {"02", "05"}


def test_every_recorded_page_can_be_read():
    folder = shared_data() / "real" / "stac"
    for path in sorted(folder.rglob("*.json")):
        got = lock([_s2(path, time=None), _label(path)], GLOBE, (0.0, 0.0))
        assert all(s.geometry.is_valid for s in got.scenes)


def test_recorded_worldcover():
    path = shared_data() / "real" / "stac" / "planetary-computer" / "esa-worldcover" / "items_limit1.json"
    (got,) = lock([_label(path)], GLOBE, (0.0, 0.0)).scenes
    assert (got.edition, got.crs, list(got.assets)) == ("2021", "EPSG:4326", ["map"])
    assert got.assets["map"].href.endswith("_Map.tif")
    assert got.assets["map"].nodata == 0
