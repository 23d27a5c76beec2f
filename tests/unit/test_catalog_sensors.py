"""Every sensor: which file and place a band is, in which numbers, of which time; and what is not read, and why."""

from __future__ import annotations

import copy
import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
import yaml

from catalog_world import asset, make_item, shared_data, write_collection
from chipweave.catalog import LayerRequest, lock, requests
from chipweave.catalog.access import opening
from chipweave.catalog.collections import load_collection, offered_by, offering_at, refusal_of
from chipweave.catalog.hrefs import LocalRule
from chipweave.catalog.items import Reader, RefusedItemError
from chipweave.catalog.notes import Notes
from chipweave.catalog.platforms import landsat_toa, platform_of, track_of
from chipweave.catalog.providers import UNKNOWN, load_provider
from chipweave.catalog.request import DATELESS, admit
from chipweave.catalog.sources.base import Found
from chipweave.errors import RecipeError
from chipweave.pixels import LayerRead, gdal_session, read_scene
from chipweave.pixels.read import source_grid
from chipweave.plan.values import value_rule
from chipweave.recipe import load_recipe
from chipweave.recipe.data import catalogs_root, listing

OLI = ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22"]
TM = [b for b in OLI if b != "coastal"]


def recorded(file: str, n: int = 0) -> dict:
    held = json.loads((shared_data() / "real" / "stac" / file).read_text(encoding="utf-8"))
    return (held if isinstance(held, list) else held.get("features", [held]))[n]


def scene_of(item, name, bands, provider="", origin="https://stac.example/v1", notes=None, rule=None):
    known = load_provider(provider)
    collection = load_collection(name)
    request = LayerRequest("layer", collection.kind, collection, bands=tuple(bands))
    rule = rule or LocalRule.of(None, ())
    reader = Reader(request, collection, offering_at(known, name), rule, notes or Notes(), known.alternate)
    return reader.scene(Found(item, origin))


def files(scene) -> dict[str, str]:
    """The end of each band's file name."""
    return {band: a.href.rpartition("_T1_")[2] for band, a in scene.assets.items()}


# What is recorded


@pytest.mark.parametrize(
    ("file", "provider", "bands", "first"),
    [
        ("landsatlook/landsat-c2l2-sr/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json", "usgs", OLI, 1),
        ("landsatlook/landsat-c2l2-sr/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json", "usgs", TM, 1),
        ("planetary-computer/landsat-c2-l2/items_limit1.json", "planetary-computer", OLI, 1),
    ],
)
def test_landsat_bands_are_the_files_of_their_satellite(file, provider, bands, first):
    found = files(scene_of(recorded(file), "landsat-c2-l2", [*bands, "qa_pixel"], provider))
    numbers = [1, 2, 3, 4, 5, 7] if bands is TM else list(range(first, 8))
    expected = {b: f"SR_B{n}.TIF" for b, n in zip(bands, numbers, strict=True)}
    assert found == {**expected, "qa_pixel": "QA_PIXEL.TIF"}


@pytest.mark.parametrize(("platform", "bands", "red", "nir"), [
    ("landsat-9", OLI, "SR_B4", "SR_B5"), ("LANDSAT_8", OLI, "SR_B4", "SR_B5"),
    ("landsat-7", TM, "SR_B3", "SR_B4"), ("LANDSAT_5", TM, "SR_B3", "SR_B4"), ("landsat-4", TM, "SR_B3", "SR_B4"),
])  # fmt: skip
def test_numbers_mean_what_they_mean_on_their_satellite(platform, bands, red, nir):
    """A catalog whose keys are numbers: SR_B4 is red on one satellite, and near infrared on another."""
    numbered = {f"SR_B{n}": asset(f"https://x.example/a_T1_SR_B{n}.TIF") for n in range(1, 8)}
    item = make_item("A", "ls", assets=numbered, properties={"platform": platform})
    scene = scene_of(item, "landsat-c2-l2", ["red", "nir08", "swir16"])
    assert files(scene)["red"] == f"{red}.TIF"
    assert files(scene)["nir08"] == f"{nir}.TIF"
    assert files(scene)["swir16"] == ("SR_B6.TIF" if bands is OLI else "SR_B5.TIF")


def test_numbers_in_listings_and_in_names_of_files():
    """Whether an asset's key, its listing or the end of its key has the number."""
    listed = {
        f"x{n}": asset(f"https://x.example/a_T1_SR_B{n}.TIF", **{"eo:bands": [{"name": f"SR_B{n}"}]})
        for n in range(1, 8)
    }
    ending = {
        f"LE07_L2SP_044033_T1_SR_B{n}": asset(f"https://x.example/a_T1_SR_B{n}.TIF") for n in range(1, 8)
    }
    for held in (listed, ending):
        item = make_item("A", "ls", assets=held, properties={"platform": "landsat-7"})
        assert files(scene_of(item, "landsat-c2-l2", ["nir08", "red"])) == {
            "nir08": "SR_B4.TIF",
            "red": "SR_B3.TIF",
        }


def test_a_number_says_nothing_where_the_satellite_is_not_told():
    item = make_item(
        "A",
        "ls",
        assets={"SR_B4": asset("https://x.example/a.TIF"), "SR_B5": asset("https://x.example/b.TIF")},
    )
    item["properties"].pop("platform")
    assert scene_of(item, "landsat-c2-l2", ["red", "nir08"]).missing == ("red", "nir08")
    item["id"] = "LE07_L2SP_044033_20210329_20210424_02_T1"
    assert platform_of(item) == "landsat-7"
    assert scene_of(item, "landsat-c2-l2", ["nir08"]).assets["nir08"].href.endswith("a.TIF")


def test_the_same_numbers_of_hls_differ_by_half():
    for file, name, nir in (
        ("cmr-lpcloud/HLSS30_2.0/search_post_20.json", "hls2-s30", "B8A"),
        ("cmr-lpcloud/HLSL30.v1.5/item_collection_10.json", "hls2-l30", "B05"),
    ):
        item = recorded(file)
        got = scene_of(item, name, ["red", "nir08", "swir16", "fmask"], "lpcloud")
        ends = [got.assets[b].href.split(".")[-2] for b in ("red", "nir08", "swir16", "fmask")]
        assert ends == ["B04", nir, "B11" if name == "hls2-s30" else "B06", "Fmask"]
        assert got.crs == "", "nothing is stated: the file's header tells"


def test_naip_bands_are_places_in_one_file():
    for n in range(4):
        item = recorded("planetary-computer/naip/items_list.json", n)
        got = scene_of(item, "naip", ["nir", "red", "green", "blue"], "planetary-computer")
        assert [got.assets[b].index for b in ("red", "green", "blue", "nir")] == [1, 2, 3, 4]
        assert len({a.href for a in got.assets.values()}) == 1
        assert got.crs == f"EPSG:{item['properties']['proj:epsg']}"


def test_radar_tells_its_orbit():
    got = scene_of(
        recorded("planetary-computer/sentinel-1-rtc/items_limit1.json"),
        "sentinel-1-rtc",
        ["vv", "vh"],
        "planetary-computer",
    )
    assert (got.orbit_state, got.relative_orbit, got.crs) == ("descending", 80, "EPSG:32634")
    assert got.assets["vh"].nodata == -32768
    assert got.assets["vh"].href.endswith("iw-vh.rtc.tiff")


def test_a_track_by_a_products_name():
    """Bursts of OPERA and Sentinel-2 products name it where catalogs do not; what is no number is none."""
    burst = "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0"
    item = make_item(burst, "c", assets={"VV": asset("https://x.example/v.tif")})
    item["properties"].pop("platform")
    got = scene_of(item, "opera-rtc-s1", ["vv"])
    assert (got.relative_orbit, got.platform, got.orbit_state) == (137, "sentinel-1a", "")
    product = "S2B_MSIL2A_20250731T131909_N0511_R095_T20EPT_20250731T143919.SAFE"
    assert track_of(make_item("A", properties={"s2:product_uri": product})) == 95
    assert track_of(make_item(product)) == 95
    assert track_of(make_item(product, properties={"sat:relative_orbit": 12})) == 12
    for wrong in ("many", -3, 0, 2.5, 1e99, True, [1]):
        assert track_of(make_item("A", properties={"sat:relative_orbit": wrong})) is None


def test_level_1c_and_collection_1_state_their_offset_and_mean_it():
    for n in range(10):
        item = recorded("earth-search-v1/multi/cql2_filter_mixed_page1.json", n)
        name = item["collection"]
        if name in {"sentinel-2-l1c", "sentinel-2-c1-l2a"}:
            bands = [b.name for b in load_collection(name).bands]
            got = scene_of(item, name, bands, "earth-search")
            assert got.missing == ()
            adds = {b: a.add for b, a in got.assets.items()}
            assert adds.pop("scl", 0.0) == 0.0
            assert set(adds.values()) == {-1000.0}
            assert ("cirrus" in bands) == (name == "sentinel-2-l1c")


def test_an_annual_map_is_of_its_first_year():
    """An item of 2023 ends as 2024 begins."""
    for n in range(4):
        item = recorded("planetary-computer/io-lulc-annual-v02/items_list.json", n)
        got = scene_of(item, "io-lulc-annual-v02", ["classes"], "planetary-computer")
        assert got.edition == item["id"].split("-")[1] == item["properties"]["start_datetime"][:4]


# What is not read


def test_level_1_of_satellites_without_one_scale_is_refused():
    item = recorded("planetary-computer/landsat-c2-l1/items_limit1.json")
    with pytest.raises(
        RefusedItemError, match="of landsat-5, whose scale stands in each scene's own metadata"
    ):
        scene_of(item, "landsat-c2-l1", ["red", "green"], "planetary-computer")


def test_level_1_is_reflectance_for_the_sun_where_it_stood():
    item = make_item(assets={"B4": asset("https://x.example/a.TIF"), "qa_pixel": asset("https://x.example/q.TIF")},
                     properties={"platform": "landsat-8", "view:sun_elevation": 30.0})  # fmt: skip
    got = scene_of(item, "landsat-c2-l1", ["red", "qa_pixel"])
    source = 20000 * got.assets["red"].gain + got.assets["red"].add
    assert source * 0.00002 - 0.1 == pytest.approx((20000 * 0.00002 - 0.1) / math.sin(math.radians(30)))
    assert (got.assets["qa_pixel"].gain, got.assets["qa_pixel"].add) == (1.0, 0.0)
    for height in (None, -3.0, 0.0, 91.0, "nan"):
        item["properties"]["view:sun_elevation"] = height
        with pytest.raises(ValueError, match="how high the sun stood"):
            landsat_toa(item, 0.00002, -0.1)


@pytest.fixture
def make(tmp_path):
    """Requests of a recipe with one layer."""

    def build(layer, catalog="items.json", **top):
        write_collection(tmp_path / "items.json", [make_item()])
        mapping = {
            "version": 1, "catalog": catalog, "area": {"bbox": [8, 47, 9, 48]}, "chips": {"size": 16, "resolution": 10},
            "imagery": {"layer": layer}, **top,
        }  # fmt: skip
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
        return requests(load_recipe(tmp_path / "recipe.yaml"))

    return build


def test_grd_is_refused_unless_it_is_served_on_a_map(make, tmp_path):
    layer = {"collection": "sentinel-1-grd", "bands": ["vv"]}
    for catalog in ("items.json", "planetary-computer"):
        with pytest.raises(RecipeError, match="neither calibrated nor terrain-corrected") as caught:
            make(layer, catalog)
        assert "sentinel-1-rtc" in caught.value.hint
        assert "local" in caught.value.hint
    with pytest.raises(RecipeError, match="neither calibrated nor terrain-corrected"):
        admit(load_recipe(tmp_path / "recipe.yaml"))
    own = tmp_path / "mine" / "providers" / "archive.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "endpoint: https://x.example/v1\ncollections:\n  sentinel-1-grd: {projected: true}\n",
        encoding="utf-8",
    )
    (got,) = make(layer, "archive", catalogs=["mine"])
    assert got.collection.name == "sentinel-1-grd"
    admit(load_recipe(tmp_path / "recipe.yaml"))
    assert refusal_of(UNKNOWN, "sentinel-1-rtc") is None


# Collections without a date


def _dem(ident, west, **properties):
    found = make_item(
        ident,
        "cop-dem-glo-30",
        (west, 47.0, west + 1, 48.0),
        assets={"data": asset("https://x.example/d.tif")},
    )
    found["properties"] = properties
    return found


def _locked(make, tmp_path, layer, items):
    (request,) = make(layer)
    write_collection(tmp_path / "items.json", items)
    return lock([request], [(8.0, 47.0, 9.9, 48.0)])


def test_tiles_of_terrain_have_no_date(make, tmp_path):
    """Of whatever date a catalog says, outside the layer's time or none at all: they are one picture."""
    items = [
        _dem("A", 8.0, datetime="2021-04-22T00:00:00Z"),
        _dem("B", 9.0, datetime="2019-01-01T00:00:00Z"),
        _dem("C", 9.5, datetime=None),
    ]
    layer = {"collection": "cop-dem-glo-30", "bands": ["elevation"], "time": "2022-06-01/2022-08-31"}
    found = _locked(make, tmp_path, layer, items)
    assert [s.id for s in found.scenes] == ["A", "B", "C"]
    assert {s.time for s in found.scenes} == {datetime(2021, 4, 22, tzinfo=UTC)}
    assert "layer: cop-dem-glo-30 is of no date, its time chooses nothing" in found.warnings
    del layer["time"]
    alone = _locked(make, tmp_path, layer, items[2:])
    assert [s.time for s in alone.scenes] == [DATELESS]
    assert not any("chooses nothing" in w for w in alone.warnings)


def test_other_layers_are_chosen_by_time(make, tmp_path):
    item = make_item(
        "A", "naip", assets={"image": asset("https://x.example/d.tif", **{"eo:bands": [{"name": "Red"}]})}
    )
    layer = {"collection": "naip", "bands": ["red"], "time": "2022-06-01/2022-08-31"}
    assert _locked(make, tmp_path, layer, [item]).scenes == []
    assert _locked(make, tmp_path, {**layer, "time": "2021"}, [item]).scenes


def test_an_item_without_any_of_the_bands_is_no_scene(make, tmp_path):
    """One acquisition is two items where reflectance and temperature are filed apart."""
    both = [
        make_item(
            "A_SR",
            "landsat-c2-l2",
            assets={"red": asset("https://x.example/r.tif"), "qa_pixel": asset("https://x.example/q.tif")},
        ),
        make_item(
            "A_ST",
            "landsat-c2-l2",
            assets={"lwir11": asset("https://x.example/t.tif"), "qa_pixel": asset("https://x.example/q.tif")},
        ),
    ]
    for bands, ident in ((["red"], "A_SR"), (["surface_temperature"], "A_ST")):
        found = _locked(make, tmp_path, {"collection": "landsat-c2-l2", "bands": bands}, copy.deepcopy(both))
        assert [s.id for s in found.scenes] == [ident]
        assert any("none of the layer's bands, left out" in w for w in found.warnings)


# What ships


@pytest.mark.parametrize("name", listing("collections"))
def test_every_collection_says_what_its_numbers_are(name):
    known = load_collection(name)
    assert known.credit.licence
    assert known.credit.text
    assert len({b.name for b in known.bands}) == len(known.bands)
    for offering in offered_by(name).values():
        assert set(offering.keys) <= {b.name for b in known.bands}
        for keys in offering.platforms.values():
            assert set(keys) <= {b.name for b in known.bands}
    if known.kind == "label":
        assert known.legend or known.unit in {"m", "Mg/ha", "nW/cm2/sr"}, "classes, or numbers of a unit"
        return
    mask = known.mask.band if known.mask else ""
    assert not mask or known.band(mask)
    for band in known.bands:
        if band.name != mask:
            rule = value_rule("x", known, [band.name], "native")
            assert (rule.dtype == "int16") == ((band.unit or known.unit) in {"reflectance", "DN"})


def test_providers_of_a_collection_are_known():
    known = set(listing("providers"))
    for path in (catalogs_root() / "collections").glob("*.yaml"):
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(held.get("providers", {})) <= known, path.name


def test_the_terrains_bucket_is_open_to_anybody():
    got = scene_of(
        recorded("earth-search-v1/cop-dem-glo-30/search_10.json"),
        "cop-dem-glo-30",
        ["elevation"],
        "earth-search",
    )
    href = got.assets["elevation"].href
    assert href.startswith("s3://copernicus-dem-30m/")
    options = opening(href).options
    assert (options["AWS_NO_SIGN_REQUEST"], options["AWS_REGION"]) == ("YES", "eu-central-1")


# Real pixels


def layer_read(name, bands, methods="bilinear"):
    """As plan decides it."""
    known = load_collection(name)
    values = value_rule("layer", known, bands, "native")
    mask = {known.mask.band: "nearest"} if known.mask else {}
    return LayerRead(
        tuple(bands), dict.fromkeys(bands, methods) | mask, known.nodata, known.mask, dtype=values.dtype,
        scales=values.scales, power=values.power,
    )  # fmt: skip


def on_own_grid(scene, read):
    """All of a scene on the grid of its first band."""
    own = scene.assets[read.bands[0]]
    with gdal_session():
        grid = source_grid(own.href, own.index)
        return read_scene(scene, read, grid.grid.crs, grid.grid.affine, grid.shape)


def local_scene(folder, name, assets, **more):
    item = make_item("A", name, assets=assets, **more)
    bands = [b.name for b in load_collection(name).bands]
    return scene_of(item, name, bands, origin=str(folder / "items.json"), rule=LocalRule.of(folder, ()))


def raw(path, index=1):
    import rasterio

    with rasterio.open(path) as source:
        return source.read(index)


def test_landsat_crop_with_its_quality_bits():
    stem = "LC08_L2SP_008059_20191201_20200825_02_T1"
    folder = shared_data() / "real" / "landsat" / stem
    keys = {"red": "SR_B4", "nir08": "SR_B5", "lwir11": "ST_B10", "qa_pixel": "QA_PIXEL"}
    held = {k: asset(f"./{stem}_{v}.TIF") for k, v in keys.items()}
    scene = local_scene(folder, "landsat-c2-l2", held, properties={"platform": "LANDSAT_8"})
    got = on_own_grid(scene, layer_read("landsat-c2-l2", ["red", "nir08"]))
    for values, key in zip(got.values, ("SR_B4", "SR_B5"), strict=True):
        stored = raw(folder / f"{stem}_{key}.TIF").astype(np.float64)
        physical = stored * 0.0000275 - 0.2
        data = stored != 0
        assert values.dtype == np.int16
        np.testing.assert_array_equal(values == -32768, ~data)
        assert np.abs(values[data] * 0.0001 - physical[data]).max() <= 0.00005 + 1e-12
    qa = raw(folder / f"{stem}_QA_PIXEL.TIF")
    bad = ((qa >> 1) | (qa >> 2) | (qa >> 3) | (qa >> 4)) & 1
    np.testing.assert_array_equal(got.mask, np.where(qa & 1, 255, bad))
    assert {0, 1, 255} == set(np.unique(got.mask))
    heat = on_own_grid(scene, layer_read("landsat-c2-l2", ["surface_temperature"])).values[0]
    stored = raw(folder / f"{stem}_ST_B10.TIF").astype(np.float64)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, np.where(stored == 0, np.nan, stored * 0.00341802 + 149.0), rtol=1e-6)


def test_reflectance_and_heat_are_no_bands_of_one_layer():
    with pytest.raises(RecipeError, match="red is in reflectance, lwir11 in K"):
        value_rule("x", load_collection("landsat-c2-l2"), ["red", "lwir11"], "native")


def test_hls_crops_with_fmask():
    folder = shared_data() / "real" / "hls" / "exeter_multidate"
    seen = set()
    for path in sorted(folder.glob("*.tif")):
        listed = [{"name": n} for n in ("B02", "B03", "B04", "B08", "Fmask")]
        scene = local_scene(folder, "hls2-s30", {"stack": asset(f"./{path.name}", bands=listed)})
        got = on_own_grid(scene, layer_read("hls2-s30", ["red", "nir"]))
        for values, index in zip(got.values, (3, 4), strict=True):
            stored = raw(path, index)
            np.testing.assert_array_equal(values, np.where(stored == -9999, -32768, stored))
        fmask = raw(path, 5)
        bad = np.isin(fmask & 0b1110, [2, 4, 6, 8, 10, 12, 14])
        np.testing.assert_array_equal(got.mask, np.where((fmask == 255) | (fmask == -9999), 255, bad))
        seen |= set(np.unique(got.mask))
    assert {0, 1} <= seen


def test_naip_of_two_years_on_one_grid():
    """The second year begins two metres further south: it is blended onto the first one's pixels."""
    folder = shared_data() / "real" / "naip" / "prairie_pothole_multidate"
    listed = [{"name": n} for n in ("Red", "Green", "Blue", "NIR")]
    old, new = (
        local_scene(folder, "naip", {"image": asset(f"./{p.name}", **{"eo:bands": listed})})
        for p in sorted(folder.glob("*.tif"))
    )
    read = layer_read("naip", ["nir", "red"])
    first = on_own_grid(old, read)
    path = min(folder.glob("*.tif"))
    for values, index in zip(first.values, (4, 1), strict=True):
        stored = raw(path, index).astype(np.int16)
        np.testing.assert_array_equal(values, np.where(stored == 0, -32768, stored))
    assert first.mask is None
    with gdal_session():
        grid = source_grid(old.assets["red"].href, 1)
        second = read_scene(new, read, grid.grid.crs, grid.grid.affine, grid.shape)
    stored = raw(sorted(folder.glob("*.tif"))[1], 1).astype(np.float64)
    blend = 0.4 * stored[:-1] + 0.6 * stored[1:]  # row r of the first lies at r - 0.4 of the second
    known = (stored[:-1] > 0) & (stored[1:] > 0)
    ours = second.values[1][1 : 1 + len(blend)].astype(np.float64)
    assert np.abs(ours - blend)[known].max() <= 0.5 + 1e-9
    assert known.mean() > 0.9


def test_opera_bursts_are_linear_power():
    folder = shared_data() / "real" / "sentinel1" / "opera_rtc_10SGD" / "2021-11-19"
    for vv in sorted(folder.glob("*_VV.tif")):
        stem = vv.name.removesuffix("_VV.tif")
        held = {k: asset(f"./{stem}_{k}.tif") for k in ("VV", "VH")}
        scene = local_scene(folder, "opera-rtc-s1", held)
        read = layer_read("opera-rtc-s1", ["vv", "vh"])
        assert scene.missing == ("hh", "hv", "mask")
        got = on_own_grid(scene, read)
        for values, key in zip(got.values, ("VV", "VH"), strict=True):
            stored = raw(folder / f"{stem}_{key}.tif")
            np.testing.assert_array_equal(values, np.where(stored > 0, stored, np.nan))
        assert 0.0 < np.nanmedian(got.values[0]) < 1.0, "no decibels"
        # The item lacks its mask: its data counts as clear.
        assert set(np.unique(got.mask)) <= {0, 255}


def test_heights_in_metres():
    folder = shared_data() / "real" / "multisensor" / "terramesh_637U_59R_1_3"
    scene = local_scene(folder, "cop-dem-glo-30", {"data": asset("./DEM.tif")})
    got = on_own_grid(scene, layer_read("cop-dem-glo-30", ["elevation"]))
    assert got.values.dtype == np.float32
    np.testing.assert_array_equal(got.values[0], raw(folder / "DEM.tif"))
