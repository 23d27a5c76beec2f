"""Collections, providers and legends: our own files, and a user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from chipweave.catalog.collections import load_collection, offering_at
from chipweave.catalog.legends import legend_of_file, load_legend
from chipweave.catalog.providers import UNKNOWN, all_providers, load_provider, provider_at
from chipweave.errors import RecipeError
from chipweave.recipe.data import listing

S2_BANDS = (
    "coastal",
    "blue",
    "green",
    "red",
    "rededge1",
    "rededge2",
    "rededge3",
    "nir",
    "nir08",
    "nir09",
    "swir16",
    "swir22",
)


def _yaml(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return path


def test_every_file_that_ships_can_be_read():
    for name in listing("collections"):
        held = load_collection(name)
        assert held.name == name
        assert held.credit.licence
        assert held.credit.text
        assert held.kind == "imagery" or not held.legend or load_legend(held.legend, Path()).codes
    assert [p.name for p in all_providers()] == list(listing("providers"))
    for name in listing("legends"):
        assert load_legend(name, Path()).name == name


def test_sentinel_2():
    held = load_collection("sentinel-2-l2a")
    assert tuple(b.name for b in held.bands) == (*S2_BANDS, "scl")
    assert held.mask
    assert (held.mask.band, held.mask.bad, held.mask.nodata) == ("scl", (3, 8, 9, 10), (0,))
    assert (held.scale, held.nodata, held.offset_rule) == (0.0001, 0, "sentinel-2")
    for name, key in (("red", "B04"), ("nir08", "B8A"), ("coastal", "B01_60m"), ("scl", "SCL_20m")):
        assert held.band(key) is held.band(name)
    assert held.band("B10") is None
    keys = [k for b in held.bands for k in {k.lower() for k in (b.name, *b.keys)}]
    assert len(keys) == len(set(keys)), "one key names two bands"


def test_labels():
    worldcover, corine = load_collection("esa-worldcover"), load_collection("corine")
    assert (worldcover.legend, worldcover.editions) == ("worldcover", (2020, 2021))
    assert (corine.legend, corine.editions) == ("corine", (1990, 2000, 2006, 2012, 2018))
    legend = load_legend("corine", Path())
    assert legend.codes == tuple(range(1, 45))
    assert (legend.nodata, legend.dtype) == (0, "uint8")
    assert (legend.classes[0].name, legend.classes[0].colour) == ("Continuous urban fabric", "#e6004d")
    assert legend.classes[-1].name == "Sea and ocean"
    legend = load_legend("worldcover", Path())
    assert legend.codes == (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
    assert legend.nodata == 0


def test_unknown_names_tell_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'sentinel-2-l2a'") as caught:
        load_collection("sentinel2-l2a")
    assert "corine" in caught.value.hint
    with pytest.raises(RecipeError, match="did you mean 'earth-search'"):
        load_provider("earthsearch")
    with pytest.raises(RecipeError, match="did you mean 'worldcover'"):
        load_legend("worldcovr", Path())
    assert load_provider("") is UNKNOWN


def test_provider_by_its_endpoint():
    for url in ("https://earth-search.aws.element84.com/v1", "https://earth-search.aws.element84.com/v1/"):
        assert provider_at(url).name == "earth-search"
    assert provider_at("https://earth-search.aws.element84.com/v0") is UNKNOWN
    assert provider_at("http://127.0.0.1:8080") is UNKNOWN


def test_a_user_adds_a_provider_with_one_file(tmp_path):
    mine = {
        "endpoint": "https://stac.example/v0",
        "collections": {
            "sentinel-2-l2a": {
                "name": ["s2-cogs", "s2-c1"],
                "offset": "stated",
                "keys": {"red": ["mine-r", "B4x"]},
            }
        },
    }
    _yaml(tmp_path / "providers" / "mine.yaml", mine)
    held = load_collection("sentinel-2-l2a", [tmp_path])
    assert held.band("B4x") is held.band("red")
    offering = offering_at(load_provider("mine", [tmp_path]), "sentinel-2-l2a", [tmp_path])
    assert (offering.name, offering.offset) == (("s2-cogs", "s2-c1"), "stated")
    assert offering.keys == {"red": ("mine-r", "B4x")}
    # What its file does not mention goes by the canonical name.
    assert offering_at(load_provider("mine", [tmp_path]), "corine", [tmp_path]).name == ("corine",)
    assert provider_at("https://stac.example/v0/", [tmp_path]).name == "mine"


def test_a_user_adds_a_collection_with_one_file(tmp_path):
    mine = {
        "kind": "label",
        "bands": [{"name": "map", "gsd": 30}],
        "legend": "mine",
        "credit": {"licence": "CC0-1.0", "text": "me"},
        "providers": {"earth-search": {"name": "their-lulc", "keys": {"map": "lulc"}}},
    }
    _yaml(tmp_path / "collections" / "my-lulc.yaml", mine)
    held = load_collection("my-lulc", [tmp_path])
    assert held.bands[0].keys == ("lulc",)
    assert offering_at(load_provider("earth-search"), "my-lulc", [tmp_path]).name == ("their-lulc",)
    assert offering_at(UNKNOWN, "my-lulc", [tmp_path]).name == ("my-lulc",)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("collections", {"kind": "image"}, r"bad\.yaml:1: kind"),
        ("collections", {"kind": "label", "bands": [], "credit": {"licence": "x", "text": "y"}}, "bands"),
        (
            "collections",
            {"kind": "label", "bands": [{"name": "a", "gsd": 0}], "credit": {"licence": "x", "text": "y"}},
            r"bands\.0\.gsd",
        ),
        ("providers", {"endpont": "x"}, "endpont"),
        ("providers", {"collections": {"sentinel-2-l2a": {"offset": "magic"}}}, "unknown offset rule"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_key(tmp_path, kind, value, said):
    _yaml(tmp_path / kind / "bad.yaml", value)
    with pytest.raises(RecipeError, match=said):
        (load_collection if kind == "collections" else load_provider)("bad", [tmp_path])


class TestLegendFiles:
    def _load(self, tmp_path, value):
        return load_legend("my.yaml", _yaml(tmp_path / "my.yaml", value).parent)

    def test_is_lenient(self, tmp_path):
        legend = self._load(
            tmp_path,
            {
                "classes": [
                    {"code": 7, "name": "b", "colour": "#AABBCC"},
                    {"value": 3, "name": "a", "color": "112233"},
                    {"index": 12, "name": "c"},
                ]
            },
        )
        assert legend.name == "my"
        assert legend.codes == (3, 7, 12)
        assert [c.colour for c in legend.classes[:2]] == ["#112233", "#aabbcc"]
        assert (legend.nodata, legend.dtype) == (0, "uint8")

    def test_value_comes_before_code(self, tmp_path):
        classes = [{"value": 1, "code": "111", "name": "a"}, {"value": 2, "code": "112", "name": "b"}]
        assert self._load(tmp_path, {"id": "clc", "classes": classes}).codes == (1, 2)
        legend = self._load(tmp_path, {"id": "clc", "classes": [{"code": "111", "name": "a"}]})
        assert (legend.name, legend.codes) == ("clc", (111,))

    def test_nodata(self, tmp_path):
        zero = [{"value": 0, "name": "zero"}, {"value": 1, "name": "one"}]
        assert self._load(tmp_path, {"classes": zero}).nodata == 255
        assert self._load(tmp_path, {"classes": zero, "nodata": {"raster": [48]}}).nodata == 255
        legend = self._load(tmp_path, {"classes": zero, "nodata": 0})
        assert (legend.nodata, legend.codes) == (0, (1,))
        legend = self._load(tmp_path, {"classes": zero, "nodata": 65535})
        assert legend.dtype == "uint16"
        both = [{"value": v, "name": str(v)} for v in (0, 255)]
        assert self._load(tmp_path, {"classes": both}).nodata == 65535

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ({"classes": []}, "classes"),
            ({"name": "x"}, "classes"),
            ({"classes": [{"value": 1}]}, r"classes\.0\.name"),
            ({"classes": [{"name": "a"}]}, "'a' has no value"),
            ({"classes": [{"value": 70000, "name": "a"}]}, "65535"),
            ({"classes": [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]}, "1 stands twice"),
            ({"classes": [{"value": 0, "name": "a"}], "nodata": 0}, "no class"),
            ({"classes": [{"value": 1, "name": "a"}], "nodata": -1}, "nodata -1"),
        ],
    )
    def test_wrong_ones(self, tmp_path, value, said):
        with pytest.raises(RecipeError, match=said):
            self._load(tmp_path, value)

    def test_a_user_replaces_ours(self, tmp_path):
        _yaml(tmp_path / "legends" / "worldcover.yaml", {"classes": [{"value": 5, "name": "five"}]})
        assert load_legend("worldcover", Path(), [tmp_path]).codes == (5,)


class TestLegendOfARaster:
    def _write(self, path, array, nodata=None):
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=array.shape[0],
            width=array.shape[1],
            count=1,
            dtype=array.dtype,
            crs="EPSG:3035",
            transform=Affine(100, 0, 4e6, 0, -100, 3e6),
            nodata=nodata,
            tiled=True,
            blockxsize=16,
            blockysize=16,
        ) as out:
            out.write(array, 1)
        return path

    def test_codes_that_it_holds(self, tmp_path):
        array = np.zeros((40, 40), np.uint8)
        array[5, 5], array[39, 39], array[0, 0] = 7, 3, 9
        path = self._write(tmp_path / "a.tif", array, nodata=9)
        legend = legend_of_file(path, "mine")
        assert (legend.name, legend.codes, legend.nodata) == ("mine", (0, 3, 7), 9)
        assert [c.name for c in legend.classes] == ["0", "3", "7"]
        assert legend_of_file(path, "mine", nodata=0).codes == (3, 7, 9)
        path = self._write(tmp_path / "b.tif", array)
        assert legend_of_file(path, "mine", nodata=float("nan")).nodata == 255

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.full((16, 16), 1.5, np.float32), "float32"),
            (np.full((16, 16), -3, np.int16), "-3"),
            (np.arange(400, dtype=np.uint16).reshape(20, 20), "more than 256"),
            (np.full((16, 16), 70000, np.int32), "70000"),
        ],
    )
    def test_that_is_no_map_of_classes(self, tmp_path, array, said):
        with pytest.raises(RecipeError, match=said):
            legend_of_file(self._write(tmp_path / "a.tif", array), "mine")

    def test_without_data_or_no_raster(self, tmp_path):
        with pytest.raises(RecipeError, match="holds no data"):
            legend_of_file(self._write(tmp_path / "a.tif", np.zeros((16, 16), np.uint8), nodata=0), "mine")
        (tmp_path / "b.tif").write_text("no", encoding="utf-8")
        with pytest.raises(RecipeError, match="cannot be read"):
            legend_of_file(tmp_path / "b.tif", "mine")

    def test_too_large(self, tmp_path):
        path = tmp_path / "big.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=25000,
            width=20000,
            count=1,
            dtype="uint8",
            crs="EPSG:3035",
            transform=Affine(100, 0, 4e6, 0, -100, 3e6),
            sparse_ok=True,
            tiled=True,
        ):
            pass
        with pytest.raises(RecipeError, match="million pixels") as caught:
            legend_of_file(path, "mine")
        assert "legend" in caught.value.hint
