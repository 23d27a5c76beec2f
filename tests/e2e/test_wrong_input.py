"""A wrong recipe or area: a short error with the contract's exit code, and no traceback."""

from __future__ import annotations

import json

import geopandas as gpd
import pytest
from shapely.geometry import box

from worlds import harness
from worlds.harness import refuse, succeed, write_recipe
from worlds.recipes import AREA, set_key, small
from worlds.stac import write_catalog


@pytest.mark.parametrize(
    ("dotted", "value", "named"),
    [
        ("chips.resolutoin", 10, ("resolutoin", "resolution")),
        ("imagery.s2.max_clouds", 10, ("max_clouds", "max_cloud")),
        ("licence_", "x", ("licence_", "licence")),
    ],
)
@pytest.mark.parametrize("command", ["check", "build"])
def test_an_unknown_key_is_named_with_its_nearest(june, tmp_path, dotted, value, named, command):
    recipe = write_recipe(tmp_path / "recipe.yaml", set_key(small(june), dotted, value))
    refuse(3, command, recipe, *(["-o", tmp_path / "out"] if command == "build" else []), names=named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dotted", "value", "named"),
    [
        ("area", {"country": "PRT"}, "area.country"),
        ("output.formats", ["parquet"], "output.formats"),
        ("parts", ["other.yaml"], "parts"),
    ],
)
def test_a_key_whose_room_is_not_built_is_refused_by_name(june, tmp_path, dotted, value, named):
    """`plan` refuses it, `check` only warns, `schema` knows it. Once its room is built, drop its line here."""
    mapping = small(june, labels={"worldcover": {"collection": "esa-worldcover", "edition": 2021}})
    mapping["imagery"]["other"] = mapping["imagery"]["s2"].copy()
    recipe = write_recipe(tmp_path / "recipe.yaml", set_key(mapping, dotted, value))
    done = refuse(3, "plan", recipe, "-o", tmp_path / "out", names=(named,))
    assert len(done.stderr.splitlines()) <= 12
    checked = succeed("check", recipe)
    assert named in checked.stdout + checked.stderr


def test_schema_knows_what_is_not_built(tmp_path):
    schema = json.loads(succeed("schema").stdout)
    text = json.dumps(schema)
    for key in ("pair", "register", "majortom", "landcover_caption", "dilate_m", "scene_labels", "balance"):
        assert f'"{key}"' in text, key


def test_an_unknown_band_is_named(june, tmp_path):
    mapping = small(june)
    mapping["imagery"]["s2"]["bands"] = ["red", "infrared"]
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    refuse(3, "build", recipe, "-o", tmp_path / "out", names=("infrared",))


def test_an_unknown_collection_is_named_with_its_nearest(june, tmp_path):
    mapping = set_key(small(june), "imagery.s2.collection", "sentinel-2-l2")
    refuse(
        3,
        "build",
        write_recipe(tmp_path / "r.yaml", mapping),
        "-o",
        tmp_path / "out",
        names=("sentinel-2-l2a",),
    )


def test_an_ambiguous_edition_lists_the_choices(border, tmp_path):
    mapping = small(border.catalog("catalog_all"), labels={"worldcover": {"collection": "esa-worldcover"}})
    refuse(
        3, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", names=("2020", "2021")
    )


def test_yaml_that_is_none_says_where(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("version: 1\nname: [x\ncatalog: y\n", encoding="utf-8")
    refuse(3, "check", path, names=("recipe.yaml", "3"))


def test_a_value_of_the_wrong_kind_says_file_and_line(june, tmp_path):
    mapping = set_key(small(june), "chips.resolution", "ten")
    path = write_recipe(tmp_path / "recipe.yaml", mapping)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "resolution: ten" in text)
    refuse(3, "check", path, names=("recipe.yaml", str(line), "resolution"))


def test_a_recipe_that_is_not_there(tmp_path):
    done = harness.chipweave("build", tmp_path / "no.yaml", "-o", tmp_path / "out")
    assert done.returncode in (2, 3), done.stderr
    assert "no.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_mask_blank_over_a_scene_without_a_mask(border, tmp_path):
    """What cannot be judged is not judged clear: 3, before any pixel is written."""
    items = border.items("S2_32_0610")
    del items[0]["assets"]["scl"]
    catalog = write_catalog(border.folder / "catalog_no_scl.json", items)
    mapping = small(catalog, s2={"mask": "blank"})
    refuse(
        3,
        "build",
        write_recipe(tmp_path / "a.yaml", mapping),
        "-o",
        tmp_path / "a",
        "--workers",
        0,
        names=("s2",),
    )
    mapping = small(catalog, s2={"max_cloud": 10})
    refuse(
        3,
        "build",
        write_recipe(tmp_path / "b.yaml", mapping),
        "-o",
        tmp_path / "b",
        "--workers",
        0,
        names=("s2",),
    )
    # Without either it counts as clear, with a warning, and no mask is written.
    mapping = small(catalog)
    del mapping["imagery"]["s2"]["max_cloud"]
    done = succeed("build", write_recipe(tmp_path / "c.yaml", mapping), "-o", tmp_path / "c", "--workers", 0)
    assert "S2_32_0610" in done.stderr or "mask" in done.stderr
    for sample in harness.read_samples(tmp_path / "c").values():
        assert set(sample.arrays) == {"s2"}
        assert sample.meta["layers"]["s2"]["cloud_fraction"] == 0.0


@pytest.mark.parametrize(
    "text", [None, "", '{"type": "Feat', '{"type": "FeatureCollection", "features": []}']
)
def test_an_area_file_that_is_missing_or_empty(june, tmp_path, text):
    if text is not None:
        (tmp_path / "no.geojson").write_text(text, encoding="utf-8")
    recipe = write_recipe(tmp_path / "recipe.yaml", small(june, area={"geojson": "no.geojson"}))
    refuse(3, "build", recipe, "-o", tmp_path / "out", "--workers", 0, names=("no.geojson",))


def test_a_refused_recipe_does_not_claim_the_folder(june, tmp_path):
    """Mended, it builds by the very same command: what was refused before it placed a chip has made no dataset."""
    good = small(june, area={"geojson": "aoi.geojson"})
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    again = ("build", recipe, "-o", out, "--workers", 0)
    write_recipe(recipe, set_key(good, "imagery.s2.bands", ["infrared"]))
    refuse(3, *again)
    write_recipe(recipe, good)
    refuse(3, *again, names=("aoi.geojson",))
    window = {"type": "Feature", "properties": {}, "geometry": box(*AREA["bbox"]).__geo_interface__}
    (tmp_path / "aoi.geojson").write_text(json.dumps(window), encoding="utf-8")
    succeed(*again)


def test_an_area_in_another_crs_is_reprojected_and_one_without_is_refused(june, tmp_path):
    frame = gpd.GeoDataFrame(
        {"name": ["in", "out"]}, geometry=[box(*AREA["bbox"]), box(5, 5, 6, 6)], crs=4326
    )
    frame.to_crs(3035).to_file(tmp_path / "area.gpkg", layer="districts")
    with pytest.warns(UserWarning, match="crs"):
        frame.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    mapping = small(june, area={"file": "area.gpkg", "layer": "districts", "where": "name = 'in'"})
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "recipe.yaml", mapping)
    succeed("build", recipe, "-o", out, "--workers", 0)
    west, south, east, north = AREA["bbox"]
    samples = harness.read_samples(out)
    assert len(samples) >= 4
    for sample in samples.values():
        a, b, c, d = sample.meta["bbox"]
        # Centres are inside the area; 1e-3 degrees (80 m) for the outline, which bends on its way through EPSG:3035.
        assert west - 1e-3 < (a + c) / 2 < east + 1e-3
        assert south - 1e-3 < (b + d) / 2 < north + 1e-3
    mapping = small(june, area={"file": "bare.shp"})
    refuse(3, "build", write_recipe(tmp_path / "b.yaml", mapping), "-o", tmp_path / "b", names=("bare.shp",))


@pytest.mark.parametrize("bbox", [[11.95, 45.0, 11.93, 44.9], [11.9, 95, 11.95, 96]])
def test_an_area_that_is_none(june, tmp_path, bbox):
    refuse(
        3, "check", write_recipe(tmp_path / "recipe.yaml", small(june, area={"bbox": bbox})), names=("bbox",)
    )


def test_an_area_without_a_scene_is_5(june, tmp_path):
    mapping = small(june, area={"bbox": [20.0, 40.0, 20.03, 40.03]})
    refuse(5, "build", write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "out", "--workers", 0)
    mapping = small(june, s2={"time": "2019-06-01/2019-06-30"})
    refuse(5, "build", write_recipe(tmp_path / "t.yaml", mapping), "-o", tmp_path / "out2", "--workers", 0)
