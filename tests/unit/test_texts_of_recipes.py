"""Text layers of a recipe: their options, what does not go together, and what a grid or a layer cannot give."""

from __future__ import annotations

from pathlib import Path

import pytest

from chipweave.errors import NotBuiltError, RecipeError
from chipweave.labels.text import KINDS, text_source
from chipweave.model import Credit, LayerSpec
from chipweave.recipe.texts import TextLayer
from tiny import load
from written import COVER, LEGEND, SIZE, image_spec, label_spec

BASE = {
    "catalog": ".", "area": {"bbox": [6, 47, 6.1, 47.1]},
    "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["red"]}},
    "labels": {"corine": {"collection": "corine", "edition": 2018}},
    "attributes": {"country": {"file": "c.gpkg", "column": "name"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"kind": "vqa"}, "text.t: kind 'vqa' needs 'from'"),
        ({"kind": "vga", "from": "corine"}, "did you mean 'vqa'?"),
        ({"kind": "vqa", "from": "corin"}, "text.t.from: got 'corin', expected a layer of this recipe; did you mean"),
        ({"kind": "vqa", "from": "corine", "cuont": 3}, "text.t.cuont: unknown key; did you mean 'count'?"),
        ({"kind": "vqa", "from": "corine", "count": 0}, "text.t.count: got 0, expected more than 0"),
        ({"kind": "vqa", "from": "corine", "count": 101}, "expected at most 100"),
        ({"kind": "vqa", "from": "corine", "types": []}, "a list of at least 1"),
        ({"kind": "vqa", "from": "corine", "types": ["area", "area"]}, "text.t.types.1: 'area' stands twice"),
        ({"kind": "vqa", "from": "corine", "types": ["aera"]}, "did you mean 'area'?"),
        ({"kind": "vqa", "from": "corine", "area_bins": [5, 5]}, "text.t.area_bins.1: 5 is not more than 5 before it"),
        ({"kind": "vqa", "from": "corine", "focus": "largest"}, "text.t.focus: is no option of kind 'vqa'"),
        ({"kind": "landcover_caption", "from": "corine", "types": ["area"]}, "no option of kind 'landcover_caption'"),
        ({"kind": "osm_caption", "from": "corine", "top": 3}, "text.t.top: is no option of kind 'osm_caption'"),
        ({"kind": "metadata_caption", "min_px": 3}, "text.t.min_px: is no option of kind 'metadata_caption'"),
        ({"kind": "metadata_caption", "decimals": 7}, "expected at most 6"),
        ({"kind": "metadata_caption", "place": ["contry"]}, "text.t.place.0: got 'contry', expected an attribute"),
        ({"kind": "vqa", "from": "corine", "seed": -1}, "at least 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, text, said):
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, {**BASE, "text": {"t": text}})
    assert caught.value.exit_code == 3
    assert said in str(caught.value)


def test_names_of_further_members_are_taken(tmp_path: Path):
    caption = {"kind": "metadata_caption"}
    with pytest.raises(RecipeError, match=r"the name is taken by a member of text\.t"):
        load(tmp_path, {**BASE, "text": {"t": caption, "t_facts": caption}})
    with pytest.raises(RecipeError, match=r"the name is taken by a member of text\.corine"):
        load(
            tmp_path,
            {**BASE, "labels": {"corine_prompt": BASE["labels"]["corine"]}, "text": {"corine": caption}},
        )


def source(kind, specs, crs="utm", centre=(9.0, 60.0), rasters=(), apart=(), **options):
    wish, named = TextLayer.model_validate({"kind": kind, **options}), {s.name: s for s in specs}
    return text_source("t", wish, named, crs, centre, {"osm": "OpenStreetMap"}, rasters, apart)


OSM, COVERED = label_spec(), label_spec("cover", COVER)


@pytest.mark.parametrize("kind", ["osm_caption", "vqa"])
@pytest.mark.parametrize(
    ("crs", "why"),
    [
        ("EPSG:4326", "EPSG:4326 counts in degree, not in metre"),
        ("EPSG:3857", "EPSG:3857 has areas 4 times too large there"),
        ("EPSG:2263", "counts in US survey foot, not in metre"),
    ],
)
def test_what_measures_is_refused_on_a_grid_that_is_untrue(kind, crs, why):
    with pytest.raises(NotBuiltError) as caught:
        source(kind, [OSM], crs, **{"from": "osm"})
    assert caught.value.exit_code == 3
    assert why in str(caught.value)
    for true in ("utm", "EPSG:32632", "EPSG:3035"):
        source(kind, [OSM], true, **{"from": "osm"})


def test_what_only_counts_pixels_or_days_goes_on_any_grid():
    assert source("landcover_caption", [COVERED], "EPSG:4326", **{"from": "cover"})
    assert source("metadata_caption", [COVERED], "EPSG:3857")


def test_layers_that_cannot_be_written_from_are_refused():
    numbers = label_spec("height", None)
    with pytest.raises(RecipeError, match=r"text.t.from: s2 is imagery, and vqa is written from labels"):
        source("vqa", [image_spec(), OSM], **{"from": "s2"})
    with pytest.raises(RecipeError, match="height has no classes"):
        source("landcover_caption", [numbers], **{"from": "height"})
    with pytest.raises(
        RecipeError, match="osm holds no areas or lines, and an osm_caption is written from features"
    ):
        source("osm_caption", [OSM], rasters=["osm"], **{"from": "osm"})
    with pytest.raises(RecipeError, match=r"text.t.from: height has no classes to write about"):
        source("vqa", [numbers], rasters=["height"], **{"from": "height"})
    with pytest.raises(
        RecipeError, match=r"text.t.visible: 'biulding' is no class of osm; did you mean 'building'"
    ):
        source("osm_caption", [OSM], **{"from": "osm", "visible": {"biulding": 1.0}})
    assert source("osm_caption", [OSM], **{"from": "osm", "visible": {"Forest cover": 1.0}})
    with pytest.raises(
        RecipeError, match=r"text.t.from: all classes of osm are of ground outside, or of edges"
    ):
        source("vqa", [OSM], apart=LEGEND.codes, **{"from": "osm"})


def test_members_go_under_the_licence_of_what_they_are_written_from():
    odbl = Credit("ODbL-1.0", "https://example.org", "© somebody", share_alike=True)
    osm = LayerSpec("osm", "label", "osm", ("class",), ("y", "x"), "uint8", (SIZE, SIZE), 10.0, 0, legend=LEGEND,
                    credit=odbl)  # fmt: skip
    made = source("vqa", [image_spec(), osm], prompt=True, **{"from": "osm"}).specs
    assert [(s.name, s.kind, s.suffix, s.collection) for s in made] == [
        ("t", "text", "txt", "osm"), ("t_facts", "text", "json", "osm"), ("t_prompt", "text", "txt", "osm"),
    ]  # fmt: skip
    assert all(s.credit == odbl and s.document for s in made)
    assert [s.name for s in source("metadata_caption", [image_spec(), osm]).specs] == ["t", "t_facts"]
    assert source("metadata_caption", [image_spec(), osm]).specs[0].collection == "sentinel-2-l2a", (
        "the first layer"
    )


def test_every_kind_of_the_contract_has_one_file():
    assert set(KINDS) == {"landcover_caption", "osm_caption", "metadata_caption", "vqa"}
