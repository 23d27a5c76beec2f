"""Card, credits, wids and the contact sheet."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from huggingface_hub import DatasetCard
from matplotlib.image import imread

import fakes
from chipweave.catalog.licences import (
    check_licence,
    kept_apart,
    licence_of,
    shard_set,
    spdx,
    strictest,
    wording,
)
from chipweave.describe import summarise, write_attribution, write_card, write_wids
from chipweave.describe.colours import Classes, hashed, split_colour
from chipweave.describe.licences import said
from chipweave.describe.panels import _panel, choose
from chipweave.describe.show import show
from chipweave.describe.splitmap import _rings
from chipweave.describe.summary import Summary
from chipweave.describe.text import code, link, markdown, paragraphs, plain
from chipweave.errors import RecipeError, UsageError
from chipweave.model import Credit, LayerSpec
from chipweave.shards.index import read_index

LAYERS = fakes.layer_specs(16)
RECIPE = {"name": "fake", "licence": "CC-BY-4.0", "split": {"buffer_m": 100.0}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return fakes.make(tmp_path_factory.mktemp("describe") / "ds")


@pytest.fixture(scope="module")
def summary(dataset):
    return summarise(dataset, [spec.name for spec in LAYERS])


def credit(licence, *, share_alike=False):
    return Credit(licence, "https://example.org", "text", share_alike=share_alike)


# --- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\tb\x00\x1b[31m\u202ec", "a b[31mc"),
        ("  Ünïcode ✓ ", "Ünïcode ✓"),
        (3, "3"),
    ],
)
def test_plain_has_no_control_characters(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script> & more", "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"),
        ("[a](javascript:x) `b` | c *d* _e_ $f$", r"\[a\](javascript:x) \`b\` \| c \*d\* \_e\_ \$f\$"),
        ("# not a heading", r"\# not a heading"),
        ("- not a list", r"\- not a list"),
        ("1. not a list", r"1\. not a list"),
        ("2.4.6", "2.4.6"),
        ("line\n# two", r"line \# two"),
    ],
)
def test_markdown_shows_text_as_it_is(text, expected):
    assert markdown(text) == expected


def test_links_are_only_made_to_the_web():
    assert link("a]b", "https://x.org/(a) b") == r"[a\]b](https://x.org/%28a%29%20b)"
    assert link("a", "javascript:alert(1)") == "a"
    assert link("a", "") == "a"


def test_paragraphs_and_code():
    assert paragraphs("one\nstill one\n\n\n- two\n \nthree") == "one still one\n\n\\- two\n\nthree"
    assert code("a`b|c") == r"`a'b\|c`"
    assert code("") == ""


# --- licences and credits --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("licence", "inputs", "message"),
    [
        ("CC0-1.0", [credit("CC-BY-4.0")], "asks for attribution"),
        ("cc0-1.0", [credit("CC0-1.0"), credit("LicenseRef-Copernicus-Sentinel")], "attribution"),
        ("public domain", [credit("CC-BY-4.0")], "attribution"),
        ("CC-BY-4.0", [credit("ODbL-1.0", share_alike=True)], "carries ODbL-1.0 too"),
        ("my own", [credit("ODbL-1.0", share_alike=True)], "carries ODbL-1.0 too"),
        ("CC-BY-SA-4.0", [credit("ODbL-1.0", share_alike=True)], "ODbL"),
        ("ODbL-1.0", [credit("ODbL-1.0"), credit("CC-BY-SA-4.0")], "carries CC-BY-SA-4.0 too"),
        ("CC-BY-4.0", [credit("CC-BY-NC-4.0")], "commercial"),
        ("Apache-2.0", [credit("CC BY-NC 4.0")], "commercial"),
        ("CC-BY-4.0", [credit("CC-BY-SA-4.0")], "carries CC-BY-SA-4.0 too"),
        ("CC-BY-4.0", [credit("CC-BY-ND-4.0")], "no changed versions"),
        ("CC-BY-SA-3.0", [credit("CC-BY-SA-4.0")], "carries CC-BY-SA-4.0 too"),
    ],
)
def test_a_weaker_licence_is_refused(licence, inputs, message):
    with pytest.raises(RecipeError, match=message) as caught:
        check_licence(licence, inputs)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("licence", "inputs"),
    [
        (None, [credit("CC-BY-4.0"), credit("ODbL-1.0", share_alike=True)]),
        (None, [credit("ODbL-1.0"), credit("CC-BY-SA-4.0"), credit("CC-BY-NC-4.0")]),
        ("CC-BY-SA-4.0", [credit("CC-BY-SA-3.0")]),
        ("CC0-1.0", [credit("CC0-1.0"), credit("public-domain")]),
        ("CC0-1.0", []),
        ("CC-BY-4.0", [credit("CC-BY-4.0"), credit("LicenseRef-Copernicus-Sentinel"), credit("CC0-1.0")]),
        ("odbl-1.0", [credit("ODbL-1.0", share_alike=True), credit("CC-BY-4.0")]),
        ("LicenseRef-my-own", [credit("CC-BY-4.0")]),
        ("CC-BY-NC-4.0", [credit("CC-BY-NC-4.0")]),
        ("CC-BY-NC-SA-4.0", [credit("CC-BY-NC-SA-4.0", share_alike=True), credit("CC-BY-NC-4.0")]),
        ("cc by-sa 4.0", [credit("CC-BY-SA-4.0", share_alike=True)]),
        ("my own", [credit("CC-BY-NC-4.0"), credit("somebody's")]),
    ],
)
def test_a_licence_that_is_strong_enough_passes(licence, inputs):
    check_licence(licence, inputs)


SENTINEL, LAND = credit("LicenseRef-Copernicus-Sentinel"), credit("LicenseRef-Copernicus-CLMS")


@pytest.mark.parametrize(
    ("inputs", "licence"),
    [
        ([], None),
        ([credit("CC-BY-4.0"), credit("CC0-1.0"), credit("public domain")], "CC-BY-4.0"),
        ([SENTINEL, credit("CC-BY-4.0"), LAND], "CC-BY-4.0"),
        ([SENTINEL], "LicenseRef-Copernicus-Sentinel"),
        ([SENTINEL, credit("CC0-1.0")], "LicenseRef-Copernicus-Sentinel"),
        ([SENTINEL, LAND], None),
        ([credit("CC-BY-4.0"), credit("CC-BY-NC-4.0"), SENTINEL], "CC-BY-NC-4.0"),
        ([credit("CC-BY-4.0"), credit("CC-BY-3.0")], "CC-BY-4.0"),
        ([credit("CC-BY-4.0"), credit("ODbL-1.0", share_alike=True)], "ODbL-1.0"),
        ([credit("CC-BY-SA-4.0"), credit("CC-BY-4.0")], "CC-BY-SA-4.0"),
        ([credit("house rules", share_alike=True), credit("CC-BY-4.0")], "house rules"),
        ([credit("CC-BY-NC-SA-4.0"), credit("CC-BY-NC-4.0")], "CC-BY-NC-SA-4.0"),
        ([credit("CC-BY-4.0"), credit("house rules")], None),
        ([credit("CC-BY-4.0"), credit("CC-BY-ND-4.0")], None),
        ([credit("public domain"), credit("CC0-1.0")], "CC0-1.0"),
        ([credit("PDDL-1.0"), credit("unlicense")], "PDDL-1.0"),
    ],
)
def test_the_strictest_licence_of_the_inputs_is_worked_out(inputs, licence):
    for order in (inputs, inputs[::-1]):
        layers = of(*order)
        assert strictest(order) == licence_of(None, layers) == licence
        told = said(None, layers)
        names = [markdown(c.licence) for c in inputs]
        assert markdown(licence) in told if licence else all(name in told for name in names)
    check_licence(licence, inputs)
    assert licence_of("MIT", of(*inputs)) == "MIT"
    assert said("MIT", of(*inputs)) == "Licence: MIT."


def of(*sources: Credit | None) -> list[LayerSpec]:
    """A layer of each of those credits, all in one set of shards."""
    return [dataclasses.replace(LAYERS[0], name=f"l{n}", credit=c) for n, c in enumerate(sources)] or LAYERS[
        3:
    ]


@pytest.mark.parametrize(
    ("licences", "sets"),
    [
        (["CC-BY-4.0", "ODbL-1.0", "CC0-1.0"], ["", "odbl", ""]),
        (["CC-BY-4.0", "ODbL-1.0", "CC-BY-SA-4.0", "odbl-1.0"], ["", "odbl", "cc-by-sa-4.0", "odbl"]),
        (["ODbL-1.0", "ODbL-1.0"], ["", ""]),
        (["ODbL-1.0", "CC-BY-SA-4.0"], ["", "cc-by-sa-4.0"]),
        ([None, "ODbL-1.0"], ["", "odbl"]),
        (["CC-BY-NC-4.0", "LicenseRef-house"], ["", ""]),
    ],
)
def test_layers_that_licences_keep_apart_have_a_set_of_their_own(licences, sets):
    layers = kept_apart(of(*(c and credit(c) for c in licences)))
    assert [spec.shard_set for spec in layers] == sets
    if len(set(sets)) > 1:
        assert licence_of(None, layers) is None
        told = said(None, layers)
        assert all(f"`shards{'-' * bool(own)}{own}/`" in told for own in sets)


def test_a_share_alike_licence_of_somebodys_own_names_its_set():
    assert shard_set(credit("House Rules, 2nd ed.", share_alike=True)) == "house-rules-2nd-ed"
    assert shard_set(credit("../..", share_alike=True)) == "unnamed"
    assert shard_set(credit("House Rules")) == ""


def test_spdx_identifiers_are_spelled_as_in_the_list():
    names = [
        "cc-by-4.0",
        "CC BY-NC-SA 4.0",
        "odbl",
        "apache-2.0",
        "CC0",
        "my own",
        "cc-by",
        "LicenseRef-x",
        "",
    ]
    expected = ["CC-BY-4.0", "CC-BY-NC-SA-4.0", "ODbL-1.0", "Apache-2.0", "CC0-1.0", None, None, None, None]
    assert [spdx(name) for name in names] == expected


def test_wording_has_the_real_years():
    assert (
        wording(fakes.SENTINEL, [2021, 2020, 2021]) == "Contains modified Copernicus Sentinel data 2020, 2021"
    )
    assert wording(fakes.WORLDCOVER, [2021]).endswith("Sentinel data (2021)")
    assert wording(fakes.SENTINEL, []) == "Contains modified Copernicus Sentinel data"
    assert wording(fakes.WORLDCOVER, []).endswith("Copernicus Sentinel data")
    assert wording(dataclasses.replace(fakes.SENTINEL, text="{x} {years} {0}"), [1]) == "{x} 1 {0}"


def test_attribution_names_each_source_once(tmp_path):
    years = {"s2": [2020], "s2_mask": [2020], "worldcover": [2021]}
    text = write_attribution(tmp_path, LAYERS, years).read_text(encoding="utf-8")
    assert text.count("Contains modified Copernicus Sentinel data 2020") == 1
    assert "© ESA WorldCover project / Contains modified Copernicus Sentinel data (2021)" in text
    assert "[CC-BY-4.0](https://example.org/worldcover)" in text
    assert "Zanaga, D. et al." in text
    assert r"Layers: s2, s2\_mask" in text
    assert "Share-alike" not in text
    assert "\nLicence: CC-BY-4.0, worked out as the strictest of those of the sources.\n" in text
    text = write_attribution(tmp_path, LAYERS, years, "CC-BY-NC-4.0").read_text(encoding="utf-8")
    assert "\nLicence: CC-BY-NC-4.0.\n" in text
    odd = [dataclasses.replace(LAYERS[0], credit=credit("house rules")), LAYERS[2]]
    text = write_attribution(tmp_path, odd, years).read_text(encoding="utf-8")
    assert "no single one fits all sources: CC-BY-4.0, house rules." in text


# --- summary and wids ------------------------------------------------------------------------


def test_summary_is_read_from_the_folder(dataset, summary):
    assert summary.counts == {"train": 10, "val": 6, "test": 5}
    assert list(summary.counts) == ["train", "val", "test"]
    assert summary.placed == 37
    assert summary.dropped == {"buffer": 15, "cloud": 1}
    assert summary.failed == 0
    assert summary.years == {"s2": [2021], "s2_mask": [2021], "worldcover": [2021]}
    assert summary.dates["s2"] == ("2021-07-14T11:21:09Z", "2021-07-14T11:21:09Z")
    assert summary.formats == ["webdataset", "zarr"]
    assert summary.items["worldcover"] == 1
    assert [n for _, n, _ in summary.shards["val"]] == [5, 1]
    assert summary.shards["val"][1][2] == (dataset / "shards/val-000001.tar").stat().st_size
    assert sum(summary.shares["worldcover"]["train"].values()) == pytest.approx(1, abs=0.05)
    assert summary.versions["chipweave"] == "0.1.0"


def test_wids(tmp_path):
    path = write_wids(tmp_path, "val", [("shards/val-000000.tar", 5, 1024)], "fake")
    assert path.name == "wids-val.json"
    assert json.loads(path.read_bytes()) == {
        "wids_version": 1,
        "name": "fake-val",
        "shardlist": [{"url": "shards/val-000000.tar", "nsamples": 5, "filesize": 1024}],
    }


# --- card ------------------------------------------------------------------------------------


def card(tmp_path, recipe, layers, summary):
    text = write_card(tmp_path, recipe, layers, summary).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_counts_what_was_read_and_not_what_is_made_of_it(tmp_path, summary):
    made = dataclasses.replace(LAYERS[-1], name="caption", kind="text", suffix="txt", legend=None)
    found = dataclasses.replace(summary, items={**summary.items, "caption": 3})
    _, body = card(tmp_path, RECIPE, (*LAYERS, made), found)
    (line,) = [line for line in body.splitlines() if line.startswith("Sources: ")]
    assert "`worldcover`" in line
    assert "caption" not in line
    assert "s2_mask" not in line


def test_the_card_has_what_the_hub_reads(tmp_path, summary):
    front, body = card(tmp_path, RECIPE, LAYERS, summary)
    assert front["license"] == "cc-by-4.0"
    assert front["pretty_name"] == "fake"
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["image-segmentation"]
    assert {"webdataset", "zarr", "sentinel-2-l2a", "esa-worldcover"} <= set(front["tags"])
    files = [{"split": s, "path": f"shards/{s}-*.tar"} for s in ("train", "val", "test")]
    assert front["configs"] == [{"config_name": "default", "data_files": files}]
    assert "| `train` | 10 | 47.6% | 2 |" in body
    assert "| buffer | 15 |" in body
    assert "at least 100 m apart" in body
    assert "| 95 | Mangroves | `#00cf75` |" in body
    assert (
        "| `s2` | imagery | sentinel-2-l2a | blue, green, red, nir | 4 × 16 × 16 (band, y, x) | int16 |"
        in body
    )
    assert "Contains modified Copernicus Sentinel data 2021" in body
    assert "| chipweave | 0.1.0 |" in body


OTHER = {"license": "other", "license_link": "LICENSE.md"}


@pytest.mark.parametrize(
    ("licence", "source", "expected"),
    [
        ("ODbL-1.0", "CC-BY-4.0", {"license": "odbl"}),
        ("CC BY-SA 4.0", "CC-BY-4.0", {"license": "cc-by-sa-4.0"}),
        ("odc-by-1.0", "CC-BY-4.0", {"license": "odc-by"}),
        ("My licence", "CC-BY-4.0", {**OTHER, "license_name": "my-licence"}),
        (None, "CC-BY-4.0", {"license": "cc-by-4.0"}),
        (None, "house rules", {**OTHER, "license_name": "see-attribution"}),
        (None, "LicenseRef-Copernicus-Sentinel", {**OTHER, "license_name": "licenseref-copernicus-sentinel"}),
    ],
)
def test_the_licence_goes_by_the_hubs_names(tmp_path, summary, licence, source, expected):
    layers = [*LAYERS[:2], dataclasses.replace(LAYERS[2], credit=credit(source))]
    front, body = card(tmp_path, {"licence": licence}, layers, summary)
    assert {key: front[key] for key in front if key.startswith("license")} == expected
    own = tmp_path / "LICENSE.md"
    assert own.exists() == ("license_link" in expected)
    if own.exists():
        assert said(licence, layers) in body
        assert said(licence, layers) in own.read_text(encoding="utf-8")


SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"]


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "my own: 'licence' #1", None])
@pytest.mark.parametrize("title", ["fake", "'quoted': # \"title\" & [more]", "yes", "2021"])
def test_the_hubs_library_reads_the_card(tmp_path, summary, licence, title):
    """Its server's own check is not to be had offline: its rules are held here, as its documents state them."""
    text = write_card(
        tmp_path, {"title": title, "licence": licence, "description": "---"}, LAYERS, summary
    ).read_text(encoding="utf-8")
    read = DatasetCard(text, ignore_metadata_errors=False)
    data = read.data
    assert data.pretty_name == title
    assert isinstance(data.license, str)
    assert re.fullmatch(r"[a-z0-9.-]+", data.license)
    extra = data.to_dict()
    if data.license == "other":
        assert re.fullmatch(r"[a-z0-9.-]+", extra["license_name"])
        assert extra["license_link"] in {"LICENSE", "LICENSE.md"}
    assert set(data.size_categories) <= set(SIZES)
    assert set(data.task_categories) <= {"image-segmentation", "image-feature-extraction"}
    assert all(isinstance(tag, str) for tag in extra["tags"])
    assert len(set(extra["tags"])) == len(extra["tags"])
    (config,) = extra["configs"]
    assert config["config_name"] == "default"
    assert [f["split"] for f in config["data_files"]] == ["train", "val", "test"]
    assert read.text.lstrip().startswith("# ")
    again = DatasetCard(str(read), ignore_metadata_errors=False)
    assert again.data.to_dict() == extra


@pytest.mark.parametrize(
    ("count", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (250_000, "100K<n<1M"), (2 * 10**8, "100M<n<1B")]
)
def test_size_categories(tmp_path, count, size):
    front, _ = card(tmp_path, {}, LAYERS, Summary(counts={"train": count}))
    assert front["size_categories"] == [size]
    assert "configs" not in front


def test_the_card_refuses_a_weak_licence(tmp_path, summary):
    with pytest.raises(RecipeError, match="CC0"):
        write_card(tmp_path, {"licence": "CC0-1.0"}, LAYERS, summary)
    assert list(tmp_path.iterdir()) == []


def test_the_card_is_the_same_each_time(tmp_path, summary):
    one = write_card(tmp_path, RECIPE, LAYERS, summary).read_bytes()
    assert write_card(tmp_path, RECIPE, LAYERS, summary).read_bytes() == one


def test_hostile_text_stays_text(tmp_path, summary):
    evil = "x\n---\n# <img src=x onerror=alert(1)> [go](javascript:1) | `\x1b[0m\u202e"
    legend = dataclasses.replace(
        fakes.LEGEND,
        name=evil,
        classes=(dataclasses.replace(fakes.LEGEND.classes[0], name=evil, colour=evil),),
    )
    layers = [
        dataclasses.replace(
            spec,
            collection=evil,
            bands=(evil,) * len(spec.bands),
            unit=evil,
            legend=legend if spec.legend else None,
            credit=Credit(evil, evil, evil, evil),
        )
        for spec in LAYERS
    ]
    recipe = {"title": evil, "description": evil, "citation": evil, "licence": evil, "name": evil}
    numbers = dataclasses.replace(summary, versions={evil: evil}, dropped={evil: 1})
    front, body = card(tmp_path, recipe, layers, numbers)
    assert front["pretty_name"] == plain(evil)
    credits_text = write_attribution(tmp_path, layers, {}).read_text(encoding="utf-8")
    for text in (body, credits_text):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
        outside_code = re.sub(r"`[^`\n]*`", "", re.sub(r"\\`", "", text))
        assert "<img" not in outside_code
        assert "](javascript" not in outside_code.replace(r"\]", "")
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
        assert not re.search(r"^---$", text, re.MULTILINE)
        for row in (line for line in text.splitlines() if line.startswith("| ")):
            assert len(re.findall(r"(?<!\\)\|", row)) in {3, 5, 6, 7, 11}


def test_the_card_tells_how_to_load_and_it_works(dataset, tmp_path):
    """The snippets of the card are run as they stand, in a fresh process."""
    folder = shutil.copytree(dataset, tmp_path / "ds")
    summary = summarise(folder, [spec.name for spec in LAYERS])
    text = write_card(folder, RECIPE, LAYERS, summary).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 3
    script = "\n".join(
        [
            snippets[0],
            "assert s2.shape == (4, 16, 16) and meta['split'] == 'train'",
            snippets[1],
            "import numpy",
            "assert numpy.shape(array) == (4, 16, 16)",
            snippets[2],
            "assert s2.dims == ('sample', 'band', 'y', 'x') and len(worldcover) == 10",
            f"whole = load_dataset({str(folder)!r}, streaming=True)",
            "assert sorted(whole) == ['test', 'train', 'val']",
        ]
    )
    env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- show ------------------------------------------------------------------------------------


def colours_in(path):
    picture = np.rint(imread(path)[..., :3] * 255).astype(np.int64)
    packed = np.unique(picture @ [65536, 256, 1])
    return {(c >> 16, c >> 8 & 255, c & 255) for c in packed.tolist()}


def as_rgb(colour):
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def test_the_sheet_shows_labels_in_their_colours(dataset, tmp_path):
    path = show(dataset, out=tmp_path / "sheet.png")
    assert path == tmp_path / "sheet.png"
    picture = imread(path)
    assert picture.shape[0] > 600
    assert picture.shape[1] > 1500
    found = colours_in(path)
    assert {as_rgb(c) for c in ("#006400", "#ffff4c", "#f096ff")} <= found
    assert as_rgb(split_colour("train")) in found  # the frame of a sample
    assert len(found) > 300  # imagery


def test_the_sheet_repeats_and_lies_beside_the_folder(dataset, tmp_path):
    path = show(dataset)
    assert path == dataset.parent / "ds-sheet.png"
    assert path.read_bytes() == show(dataset, out=tmp_path / "again.png").read_bytes()
    assert b"matplotlib" not in path.read_bytes()
    path.unlink()


def test_chosen_keys_are_shown(dataset, tmp_path):
    keys = read_index(dataset)["key"].tolist()
    one = show(dataset, keys[:1], tmp_path / "one.png")
    twice = show(dataset, [keys[0], keys[0]], tmp_path / "twice.png")
    other = show(dataset, keys[1:2], tmp_path / "other.png")
    assert one.read_bytes() == twice.read_bytes() != other.read_bytes()


def test_show_refuses_what_is_not_there(dataset, tmp_path):
    with pytest.raises(UsageError, match="no sample nope"):
        show(dataset, ["nope"], tmp_path / "x.png")
    with pytest.raises(UsageError, match="61 samples"):
        show(dataset, ["c00r00"] * 61, tmp_path / "x.png")
    with pytest.raises(UsageError, match="no chipweave dataset"):
        show(tmp_path, out=tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_tars_looks_the_same(dataset, tmp_path):
    folder = fakes.make(tmp_path / "ds", tars=False)
    with_tars = show(dataset, out=tmp_path / "a.png").read_bytes()
    assert show(folder, out=tmp_path / "b.png").read_bytes() == with_tars


def test_a_dataset_without_statistics_is_shown(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "ds")
    (folder / "stats.json").unlink()
    found = colours_in(show(folder, out=tmp_path / "x.png"))
    assert as_rgb(hashed(10)) in found


def frame(splits, boxes):
    geometry = [shapely.box(*b) for b in boxes]
    keys = [f"k{n:03d}" for n in range(len(splits))]
    return gpd.GeoDataFrame({"key": keys, "split": splits}, geometry=geometry, crs=4326)


def test_samples_are_spread_over_splits_and_space():
    boxes = [(x, y, x + 0.5, y + 0.5) for y in range(10) for x in range(10)]
    index = frame(["train"] * 80 + ["val"] * 19 + ["test"], boxes)
    keys = choose(index, 12)
    assert len(set(keys)) == 12
    of = [index["split"][index["key"] == key].item() for key in keys]
    assert [of.count(s) for s in ("train", "val", "test")] == [9, 2, 1]
    middles = np.array([[boxes[int(k[1:])][0], boxes[int(k[1:])][1]] for k in keys[:9]])
    apart = np.linalg.norm(middles[:, None] - middles, axis=-1)[~np.eye(9, dtype=bool)]
    assert apart.min() >= 2
    assert choose(index, 12) == keys
    assert len(choose(index.iloc[:5], 12)) == 5


def test_the_map_does_not_tear_at_180():
    _, outlines = _rings(frame(["a", "b"], [(179.9, 0, 180, 1), (-180, 0, -179.9, 1)]))
    assert min(o[:, 0].min() for o in outlines) == pytest.approx(179.9)
    assert max(o[:, 0].max() for o in outlines) == pytest.approx(180.1)


def test_a_series_shows_the_step_with_most_pixels():
    steps = np.full((3, 2, 4, 4), -1, np.int16)
    steps[1] = 5
    layer = {
        "kind": "imagery",
        "nodata": -1,
        "datetime": ["2020-01-01", "2020-02-01T10:00:00Z", ""],
        "bands": ["a", "b"],
    }
    panel = _panel("s", layer, steps, None, None)
    assert panel.date == "2020-02-01"
    assert panel.array.shape == (1, 4, 4)
    assert panel.data.all()
    radar = np.full((1, 2, 2), np.nan, np.float32)
    assert not _panel("r", {**layer, "nodata": "nan", "bands": ["vv"]}, radar, None, None).data.any()


def test_a_colour_that_is_none_is_replaced():
    classes = Classes.of(
        [{"code": 1, "name": "a\x00b", "colour": "red; x"}, {"code": 2, "colour": "#AABBCC"}]
    )
    assert classes.colour(1) == hashed(1)
    assert classes.colour(2) == "#AABBCC"
    assert classes.colour(9) == hashed(9)
    assert [classes.name(c) for c in (1, 2, 9)] == ["ab", "2", "9"]
    painted = classes.paint(np.array([[2, 9]]), np.array([[True, False]]))
    assert painted.tolist() == [[[0xAA, 0xBB, 0xCC, 255], [0, 0, 0, 0]]]
