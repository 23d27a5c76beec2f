"""From a recipe to what each layer asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from catalog_world import make_item, write_collection
from chipweave.catalog import load_legend, request_legend, requests
from chipweave.errors import RecipeError
from chipweave.recipe import load_recipe


@pytest.fixture
def make(tmp_path):
    write_collection(tmp_path / "items.json", [make_item()])

    def build(catalog="items.json", s2=None, labels=None, **top):
        mapping = {
            "version": 1,
            "area": {"bbox": [8, 47, 9, 48]},
            "chips": {"size": 128, "resolution": 10},
            "imagery": {}
            if s2 is False
            else {
                "s2": {
                    "collection": "sentinel-2-l2a",
                    "bands": ["red", "nir"],
                    "time": "2021-06-01/2021-08-31",
                }
                | (s2 or {})
            },
            "labels": labels or {},
        } | top
        if catalog is not None:
            mapping["catalog"] = catalog
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")
        return requests(load_recipe(tmp_path / "recipe.yaml"))

    return build


def test_an_imagery_layer(make, tmp_path):
    (got,) = make(s2={"where": {"cloud": "<20"}})
    assert (got.layer, got.kind, got.bands, got.provider) == ("s2", "imagery", ("red", "nir", "scl"), "")
    assert got.catalog == str(tmp_path / "items.json")
    assert got.time == (
        datetime(2021, 6, 1, tzinfo=UTC),
        datetime(2021, 8, 31, 23, 59, 59, 999999, tzinfo=UTC),
    )
    assert dict(got.where) == {"cloud": "<20"}
    assert got.collection
    assert got.collection.name == "sentinel-2-l2a"


def test_label_layers_in_order(make):
    got = make(
        labels={"wc": {"collection": "esa-worldcover", "edition": 2021}, "clc": {"collection": "corine"}}
    )
    assert [(r.layer, r.kind, r.bands, r.edition, r.time) for r in got[1:]] == [
        ("wc", "label", ("map",), 2021, None),
        ("clc", "label", ("classes",), None, None),
    ]
    assert request_legend(got[1]) == load_legend("worldcover", Path())
    assert request_legend(got[2]).name == "corine"


def test_keys_and_the_mask_are_canonical(make):
    assert make(s2={"bands": ["B04", "nir"]})[0].bands == ("red", "nir", "scl")
    assert make(s2={"bands": ["scl", "red"]})[0].bands == ("scl", "red")
    with pytest.raises(RecipeError, match="'B04' is 'red'"):
        make(s2={"bands": ["red", "B04"]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"s2": {"bands": ["red", "nirr"]}}, r"imagery\.s2\.bands: unknown band 'nirr'; did you mean 'nir'"),
        (
            {"s2": {"collection": "sentinel-2"}},
            r"imagery\.s2\.collection: unknown collection 'sentinel-2'; did you mean",
        ),
        ({"s2": {"collection": "corine"}}, "'corine' belongs under labels"),
        ({"labels": {"land": {"collection": "sentinel-2-l2a"}}}, "belongs under imagery"),
        ({"catalog": None}, r"imagery\.s2: (no catalog|catalog: missing)"),
        ({"catalog": "gone.json"}, r"imagery\.s2\.catalog: .*gone\.json: no such file"),
        ({"catalog": "earth-serch"}, "unknown provider 'earth-serch'; did you mean 'earth-search'"),
        ({"catalog": "s3://bucket/x"}, "not an http"),
        ({"catalog": "ftp://u:hunter2@x/y?hunter2"}, "ftp://x/y: not an http"),
        ({"provider": "earth-serch"}, "did you mean 'earth-search'"),
        ({"s2": {"provider": "nobody"}}, "unknown provider 'nobody'"),
    ],
)
def test_wrong_recipes(make, change, said):
    with pytest.raises(RecipeError, match=said) as caught:
        make(**change)
    assert caught.value.exit_code == 3
    assert "hunter2" not in caught.value.message


def test_providers(make):
    assert make(catalog="earth-search")[0].catalog == "https://earth-search.aws.element84.com/v1"
    assert make(catalog="earth-search")[0].provider == "earth-search"
    assert make(catalog="https://earth-search.aws.element84.com/v1/")[0].provider == "earth-search"
    assert make(catalog="http://127.0.0.1:1")[0].provider == ""
    assert make(catalog="http://127.0.0.1:1", provider="earth-search")[0].provider == "earth-search"
    assert make(provider="planetary-computer")[0].provider == "planetary-computer"
    # A layer's own catalog is not described by the top provider.
    both = make(provider="planetary-computer", s2={"catalog": "http://127.0.0.1:1"})
    assert both[0].provider == ""
    assert (
        make(s2={"catalog": "items.json", "provider": "earth-search"}, catalog=None)[0].provider
        == "earth-search"
    )


@pytest.mark.parametrize(
    "catalog", ["planetary-computer", "https://planetarycomputer.microsoft.com/api/stac/v1/"]
)
def test_a_catalog_whose_files_are_signed(make, catalog):
    (got,) = make(catalog=catalog)
    assert (got.provider, got.catalog.rstrip("/")) == (
        "planetary-computer",
        "https://planetarycomputer.microsoft.com/api/stac/v1",
    )


def test_a_folder_called_like_a_provider(make, tmp_path):
    (tmp_path / "earth-search").mkdir()
    assert make(catalog="./earth-search")[0].catalog == str(tmp_path / "earth-search")
    assert make(catalog="earth-search")[0].catalog.startswith("https")


def test_local_roots(make, tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPWEAVE_LOCAL_ROOTS", "/from/env")
    assert make(local_roots="data")[0].local_roots == (tmp_path / "data", Path("/from/env"))


def test_a_user_s_catalogs_folder(make, tmp_path):
    folder = tmp_path / "mine" / "providers"
    folder.mkdir(parents=True)
    (folder / "here.yaml").write_text("endpoint: http://127.0.0.1:1/stac\n", encoding="utf-8")
    (got,) = make(catalog="here", catalogs=["mine"])
    assert (got.catalog, got.provider) == ("http://127.0.0.1:1/stac", "here")


def test_a_label_file(make, tmp_path):
    with rasterio.open(
        tmp_path / "lc.tif",
        "w",
        driver="GTiff",
        height=16,
        width=16,
        count=1,
        dtype="uint8",
        crs="EPSG:3035",
        transform=Affine(100, 0, 4e6, 0, -100, 3e6),
    ) as out:
        out.write(np.arange(256, dtype=np.uint8).reshape(16, 16) % 4, 1)
    (got,) = make(catalog=None, s2=False, labels={"lc": {"file": "lc.tif", "date": 2018, "nodata": 0}})
    assert (got.collection, got.file, got.bands, got.nodata, got.date) == (
        None,
        tmp_path / "lc.tif",
        ("classes",),
        0,
        "2018",
    )
    legend = request_legend(got)
    assert (legend.name, legend.codes, legend.nodata) == ("lc", (1, 2, 3), 0)
    (got,) = make(catalog=None, s2=False, labels={"lc": {"file": "lc.tif", "legend": "worldcover"}})
    assert request_legend(got).name == "worldcover"
