"""What catalogs leave out, say twice or say wrongly: one small item for each."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine

from catalog_world import asset, make_item, s2_assets, serve, write_collection
from chipweave.catalog import LayerRequest, lock
from chipweave.catalog.collections import load_collection
from chipweave.catalog.footprint import extents, footprint, projected
from chipweave.catalog.mgrs import mgrs_crs, tile_corners, tile_of
from chipweave.errors import PermanentSourceError, TransientSourceError

S2 = load_collection("sentinel-2-l2a")
CELLS = [(8.0, 46.0, 11.0, 48.5)]
PRODUCT = "S2A_MSIL2A_20210610T101031_N{n}_R022_T32TMT_{made}"


def s2(catalog, **more) -> LayerRequest:
    change = {"bands": ("blue", "red", "scl"), **more}
    return LayerRequest("s2", "imagery", S2, catalog=str(catalog), **change)


def locked(tmp_path, *items, **more):
    return lock([s2(write_collection(tmp_path / "items.json", items), **more)], CELLS)


class TestTiles:
    @pytest.mark.parametrize(
        ("tile", "epsg", "left", "top"),
        [
            # Upper left corners of Sentinel-2 tiles, from recorded items.
            ("32TMT", 32632, 399960, 5300040),
            ("32UNU", 32632, 499980, 5400000),
            ("13TDE", 32613, 399960, 4500000),
            ("20EPT", 32720, 600000, 3300040),
            ("35MNM", 32735, 499980, 9200020),
            ("37MGP", 32737, 699960, 9400000),
            ("53NKG", 32653, 199980, 700020),
            ("47XML", 32647, 399960, 9100020),
            ("35UPU", 32635, 600000, 5900040),
        ],
    )
    def test_the_square_of_a_tile(self, tile, epsg, left, top):
        item = {"id": "x", "properties": {"s2:mgrs_tile": tile}}
        assert (tile_of(item), mgrs_crs(item)) == (tile, f"EPSG:{epsg}")
        corners = tile_corners(tile)
        assert abs(corners[0][0] - left) <= 60
        assert abs(corners[0][1] - top) <= 60
        assert corners[2] == (corners[0][0] + 109800, corners[0][1] - 109800)

    @pytest.mark.parametrize("tile", ["", "32T", "32TAA", "32TIO", "61TMT", "32AMT"])
    def test_no_square(self, tile):
        assert tile_corners(tile_of({"id": "x", "properties": {"s2:mgrs_tile": tile}})) == ()

    def test_an_item_without_geometry_lies_in_its_tile(self, tmp_path):
        item = make_item(PRODUCT.format(n="0500", made="20230630T022413"), geometry=None, bbox=...)
        want = projected("EPSG:32632", tile_corners("32TMT"))
        assert footprint(item, {}, "").equals(want)
        assert extents(item) == [want.bounds]
        (scene,) = locked(tmp_path, item).scenes
        assert scene.crs == "EPSG:32632"
        assert scene.geometry.equals(want)
        # And only there.
        away = make_item(item["id"].replace("32TMT", "20EPT"), geometry=None, bbox=...)
        assert locked(tmp_path, away).scenes == []

    def test_what_is_stated_comes_first(self):
        item = make_item(PRODUCT.format(n="0500", made="20230630T022413"), box=(8.0, 47.0, 8.1, 47.1))
        assert footprint(item, {}, "").area < 0.02


class TestHeaders:
    @pytest.fixture
    def tif(self, tmp_path):
        (tmp_path / "A").mkdir()
        path = tmp_path / "A" / "B02.tif"
        shape = {"width": 100, "height": 50, "count": 1, "dtype": "uint16"}
        place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5.2e6)}
        with rasterio.open(path, "w", driver="GTiff", **shape, **place) as out:
            out.write(np.ones((1, 50, 100), np.uint16))
        return path

    @pytest.mark.usefixtures("tif")
    def test_an_item_that_tells_no_place(self, tmp_path):
        got = locked(tmp_path, make_item(geometry=None, bbox=...), make_item("B", box=(30, 0, 31, 1)))
        (scene,) = got.scenes
        assert (scene.id, scene.crs) == ("A", "EPSG:32632")
        assert scene.geometry.equals(
            projected("EPSG:32632", ((5e5, 5.2e6), (501000, 5.2e6), (501000, 5199500), (5e5, 5199500)))
        )
        assert "s2: no place stated, taken from a file's header (1 item: A)" in got.warnings

    @pytest.mark.usefixtures("tif")
    def test_over_http(self, tmp_path):
        with rasterio_host(tmp_path) as url:
            item = make_item(geometry=None, bbox=..., assets=s2_assets("A", url))
            assert [s.id for s in locked(tmp_path, item).scenes] == ["A"]

    @pytest.mark.usefixtures("tif")
    def test_a_file_elsewhere(self, tmp_path):
        item = make_item(geometry=None, bbox=...)
        request = s2(write_collection(tmp_path / "items.json", [item]))
        assert lock([request], [(20.0, 0.0, 21.0, 1.0)]).scenes == []

    def test_no_file_tells_it_either(self, tmp_path):
        got = locked(tmp_path, make_item(geometry=None, bbox=...))
        assert got.scenes == []
        assert "s2: states no place on Earth, nor does a file of it, left out (1 item: A)" in got.warnings
        with serve(folder=tmp_path) as api:
            item = make_item(geometry=None, bbox=..., assets=s2_assets("A", api.url))
            assert locked(tmp_path, item).scenes == []

    def test_a_virtual_file_is_no_header(self, tmp_path, tif):
        vrt = tmp_path / "A" / "B04.vrt"
        vrt.write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1">'
                       f"<SimpleSource><SourceFilename>{tif}</SourceFilename></SimpleSource></VRTRasterBand>"
                       f"</VRTDataset>", encoding="utf-8")  # fmt: skip
        item = make_item(geometry=None, bbox=..., assets={"red": asset("./A/B04.vrt")})
        assert locked(tmp_path, item).scenes == []

    def test_a_local_file_outside_is_not_even_opened(self, tmp_path, tif):
        item = make_item(geometry=None, bbox=..., assets={"red": asset(str(tif))})
        request = s2(write_collection(tmp_path / "cat" / "items.json", [item]))
        with pytest.raises(PermanentSourceError, match="outside the catalog's own folder"):
            lock([request], CELLS)

    def test_nobody_answers_now(self, tmp_path, monkeypatch):
        monkeypatch.setattr("chipweave.catalog.web.BACKOFF", 0.0)
        item = make_item(geometry=None, bbox=..., assets=s2_assets("A", "http://127.0.0.1:9"))
        with pytest.raises(TransientSourceError):
            locked(tmp_path, item)


def rasterio_host(folder):
    """Serve the files of a folder as they are."""
    from contextlib import contextmanager

    from worlds.server import Service, running

    @contextmanager
    def run():
        with running(Service([], folder)) as service:
            yield f"{service.url}/files"

    return run()


def processed(ident, baseline, strip="20210610T101346", when="2021-06-10T10:10:31.024Z", **properties):
    said = {
        "datetime": when,
        "platform": "sentinel-2a",
        "grid:code": "MGRS-32TMT",
        "s2:processing_baseline": baseline,
        "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_S2RP_20230630T022413_S{strip}_N{baseline}"
        if strip
        else None,
    }
    return make_item(ident, properties={**said, **properties})


class TestProcessedTwice:
    @pytest.mark.parametrize("order", [1, -1])
    def test_the_newest_is_taken_and_it_is_told(self, tmp_path, order):
        items = [
            processed("S2A_32TMT_20210610_0_L2A", "02.14"),
            processed("S2A_32TMT_20210610_1_L2A", "05.00"),
        ]
        got = locked(tmp_path, *items[::order])
        assert [s.id for s in got.scenes] == ["S2A_32TMT_20210610_1_L2A"]
        assert got.scenes[0].processed.startswith("05.00")
        assert got.scenes[0].assets["red"].add == -1000.0
        assert (
            "s2: there in a newer processing too, left out (1 item: S2A_32TMT_20210610_0_L2A)" in got.warnings
        )

    def test_times_may_differ_by_a_little(self, tmp_path):
        old = processed("a", "02.14", when="2021-06-10T10:10:31.023Z")
        assert [s.id for s in locked(tmp_path, old, processed("b", "05.00")).scenes] == ["b"]

    @pytest.mark.parametrize(
        "other",
        [
            {"s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_S2RP_20230630T022413_S20210610T101523_N02.14"},
            {"grid:code": "MGRS-32TNT"},
            {"platform": "sentinel-2b"},
            {"datetime": "2021-06-10T10:12:31.024Z"},
            {"platform": None},
            {"grid:code": None},
        ],
        ids=["the other half of a tile", "tile", "platform", "time", "no platform", "no tile"],
    )
    def test_another_picture_stays(self, tmp_path, other):
        items = [processed("a", "02.14", **other), processed("b", "05.00")]
        assert len(locked(tmp_path, *items).scenes) == 2

    def test_without_strips_another_baseline_tells(self, tmp_path):
        pair = [processed("a", "02.14", strip=""), processed("b", "05.00", strip="")]
        assert [s.id for s in locked(tmp_path, *pair).scenes] == ["b"]
        halves = [processed("a", "05.00", strip=""), processed("b", "05.00", strip="")]
        assert len(locked(tmp_path, *halves).scenes) == 2

    def test_without_strips_a_half_alone_does_not_take_the_place_of_both(self, tmp_path):
        old = [processed(n, "02.14", strip="") for n in ("a", "b")]
        new = [processed(n, "05.00", strip="") for n in ("c", "d")]
        assert {s.id for s in locked(tmp_path, *old, new[0]).scenes} == {"a", "b", "c"}
        assert {s.id for s in locked(tmp_path, *old, *new).scenes} == {"c", "d"}

    def test_one_that_lacks_a_band_does_not_take_the_place(self, tmp_path):
        new = processed("b", "05.00")
        del new["assets"]["red"]
        assert [s.id for s in locked(tmp_path, processed("a", "02.14"), new).scenes] == ["a"]

    def test_three_times(self, tmp_path):
        items = [processed(n, b) for n, b in (("a", "02.14"), ("b", "03.00"), ("c", "05.00"))]
        got = locked(tmp_path, *items)
        assert [s.id for s in got.scenes] == ["c"]
        assert any("left out (2 items: a, b)" in t for t in got.warnings)


class TestHrefs:
    def test_signed_ones_are_stored_unsigned(self, tmp_path):
        signed = "https://a.blob.core.windows.net/c/B04.tif?v=2&sv=2021&se=2026&sr=c&sp=r&sig=hush%3D"
        item = make_item(assets={**s2_assets("A"), "red": asset(signed)})
        got = locked(tmp_path, item)
        assert got.scenes[0].assets["red"].href == "https://a.blob.core.windows.net/c/B04.tif?v=2"
        assert "s2: hrefs come signed or with a secret, which is not kept (1 item: A)" in got.warnings

    def test_an_alternate_is_taken_where_the_provider_says_so(self, tmp_path):
        (tmp_path / "providers").mkdir()
        (tmp_path / "providers" / "p.yaml").write_text("alternate: s3\n", encoding="utf-8")
        red = asset("https://login.org/a.tif", alternate={"s3": {"href": "s3://b/a.tif?sig=hush"}})
        odd = asset("https://login.org/b.tif", alternate={"s3": {"href": 3}, "x": []})
        item = make_item(
            assets={"red": red, "blue": odd, "scl": asset("https://login.org/c.tif", alternate="s3")}
        )
        (got,) = locked(tmp_path, item, provider="p", extra=(tmp_path,)).scenes
        assert {b: a.href for b, a in got.assets.items()} == {
            "red": "s3://b/a.tif",
            "blue": "https://login.org/b.tif",
            "scl": "https://login.org/c.tif",
        }
        (got,) = locked(tmp_path, item).scenes
        assert got.assets["red"].href == "https://login.org/a.tif"


STATED = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
FLAG = "earthsearch:boa_offset_applied"


@pytest.mark.parametrize(
    ("properties", "facts", "add"),
    [
        ({FLAG: True, "s2:processing_baseline": "05.00"}, STATED, 0.0),  # the flag before what is stated
        ({FLAG: False, "s2:processing_baseline": "05.00"}, STATED, -1000.0),
        ({FLAG: False, "s2:processing_baseline": "02.14"}, STATED, -1000.0),  # stated before the baseline
        ({FLAG: True, "s2:processing_baseline": "02.14"}, {}, 0.0),
        ({"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "05.11"}, {}, 0.0),
        ({FLAG: "yes", "s2:processing_baseline": "05.00"}, {}, -1000.0),  # no flag at all
        ({FLAG: None, "sentinel:boa_offset_applied": True, "s2:processing_baseline": "05.00"}, STATED, 0.0),
        ({"s2:processing_baseline": "05.00"}, {"raster:bands": [{"scale": 0.0001, "offset": 0}]}, 0.0),
        ({"s2:processing_baseline": "03.01"}, {}, 0.0),
        ({"processing:version": "05.00"}, {"raster:scale": 0.0001, "raster:offset": -0.1}, -1000.0),
    ],
)
def test_flags_that_contradict_each_other(tmp_path, properties, facts, add):
    """The contract's order, where no provider file says otherwise."""
    item = make_item(properties=properties)
    item["assets"]["red"] |= facts
    (scene,) = locked(tmp_path, item).scenes
    assert (scene.assets["red"].add, scene.assets["red"].gain) == (add, 1.0)


def test_a_snapshot_never_holds_a_secret(tmp_path):
    """Not even one that was frozen by an older release, and is taken over with --lock."""
    from dataclasses import replace

    from chipweave.catalog import read_snapshot, write_snapshot

    (scene,) = locked(tmp_path, make_item()).scenes
    signed = replace(
        scene.assets["red"], href="https://u:hush@a.blob.core.windows.net/c/B04.tif?se=2026&sig=hush"
    )
    write_snapshot([replace(scene, assets={"red": signed})], tmp_path / "scenes.parquet")
    (again,) = read_snapshot(tmp_path / "scenes.parquet")
    assert again.assets["red"].href == "https://a.blob.core.windows.net/c/B04.tif"
