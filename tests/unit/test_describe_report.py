"""The page and the Croissant file: read back as a browser and as mlcroissant read them."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import mlcroissant
import numpy as np
import pytest
import shapely
import yaml
from PIL import Image

import fakes
from chipweave.describe import summarise, svg, write_croissant, write_report
from chipweave.describe.report import NAME, page_of
from chipweave.errors import UsageError
from chipweave.shards.index import read_index

LAYERS = fakes.layer_specs(16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return fakes.make(tmp_path_factory.mktemp("report") / "ds", documents=True)


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(dataset):
    return Page(write_report(dataset).read_text(encoding="utf-8"))


def test_the_page_needs_no_network(page):
    assert not page.of("script")
    assert not page.of("link")
    assert all(not a.get("src", "data:").startswith("http") for _, a in page.tags)
    assert {a["href"] for a in page.of("a")} == {"../README.md", "../ATTRIBUTION.md", "../recipe.yaml"}


def test_every_chip_is_on_the_map_in_the_colour_of_its_split(dataset, page):
    index = read_index(dataset)
    fills = [a["fill"] for a in page.of("path")]
    for split, number in index["split"].value_counts().items():
        assert fills.count(svg.colour_of(split)) == number
    for key, split in zip(index["key"], index["split"], strict=True):
        assert f"{key} · {split}" in page.text


def test_north_is_up_and_a_square_on_the_ground_is_square():
    squares = [shapely.box(10.0, lat, 10.0 + 0.02, lat + 0.01) for lat in (60.0, 60.05)]
    drawn = svg.footprints(np.array(squares, object), ["train", "test"], ["low", "high"])
    low, high = (
        np.array([p.split(",") for p in d.split()], float) for d in re.findall(r'd="M([^Z]*)Z"', drawn)
    )
    assert high[:, 1].max() < low[:, 1].min(), "y of a picture grows downwards"
    assert np.ptp(low[:, 0]) == pytest.approx(np.ptp(low[:, 1]), rel=0.02), (
        "0.02 degrees at 60 N are 0.01 of height"
    )


def test_many_chips_become_cells_of_the_split_that_most_have():
    n = svg.MOST + 500
    x = np.linspace(0, 1, n)
    outlines = shapely.box(x, 0, x + 1e-4, 1e-4)
    drawn = svg.footprints(outlines, ["train" if v < 0.5 else "test" for v in x], [str(i) for i in range(n)])
    cells = re.findall(r'<rect x="([\d.]+)"[^>]*fill="(#\w+)"', drawn)
    assert 80 <= len(cells) <= 92
    assert cells[0][1] == svg.colour_of("train")
    assert cells[-1][1] == svg.colour_of("test")


def test_pictures_are_the_samples_own(dataset, page):
    images = page.of("img")
    assert len(images) == 6 * 2
    for image in images:
        head, data = image["src"].split(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)
    assert "covers most of it" in page.text, "the caption"


def test_the_same_folder_gives_the_same_bytes(dataset, tmp_path):
    first = write_report(dataset, tmp_path / "a.html").read_bytes()
    assert write_report(dataset, tmp_path / "b.html").read_bytes() == first


def test_hostile_names_stay_text(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "ds")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    bad = "<script>alert(1)</script>"
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "title": bad}))
    stats = json.loads((folder / "stats.json").read_text())
    stats["worldcover"]["classes"][0] |= {"name": bad, "colour": '"/><script>'}
    (folder / "stats.json").write_text(json.dumps(stats))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert not page.of("script")
    assert bad in page.text


def test_a_sealed_page_is_named_and_not_written_again(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "ds")
    write_report(folder)
    before = (folder / NAME).stat().st_mtime_ns
    assert page_of(folder) == folder / NAME
    assert (folder / NAME).stat().st_mtime_ns == before
    (folder / NAME).unlink()
    assert page_of(folder) == tmp_path / "ds-report.html"
    with pytest.raises(UsageError, match="no chipweave dataset"):
        page_of(tmp_path / "none")


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated", "ignore:.*:DeprecationWarning:rdflib")
@pytest.mark.parametrize("tars", [True, False])
def test_croissant_reads_it(tmp_path, tars):
    folder = fakes.make(tmp_path / "ds", tars=tars)
    recipe = {"name": "fake", "licence": "CC-BY-4.0", "citation": "Doe, J. (2021)"}
    summary = summarise(folder, [s.name for s in LAYERS])
    told = mlcroissant.Dataset(jsonld=str(write_croissant(folder, recipe, LAYERS, summary)))
    assert not told.metadata.issues.errors
    index = read_index(folder)
    records = list(told.records("samples"))
    assert [r["samples/key"].decode() for r in records] == index["key"].tolist()
    assert [r["samples/s2_cloud_fraction"] for r in records] == index["s2_cloud_fraction"].tolist()
    files = {d.id for d in told.metadata.distribution}
    assert files == {"index.parquet", "zarr", *(["shards"] if tars else [])}
