"""What docs/catalogs.md says of providers is what their files say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from chipweave.catalog.access import CONSENT
from chipweave.catalog.collections import LOCAL, load_collection
from chipweave.catalog.providers import all_providers, load_provider
from chipweave.recipe.imagery import Imagery

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "catalogs.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("` "): [c.strip() for c in cells[1:]]
    for line in PAGE.splitlines()
    if line.startswith("| `") and (cells := line.strip("|").split("|"))
}


def test_every_provider_has_its_row():
    assert set(ROWS) == {p.name for p in all_providers()}
    for provider in all_providers():
        title, s2, worldcover, _, env = ROWS[provider.name]
        assert title.split(" (")[0].split(" by ")[0] in provider.title or provider.title in title
        assert (s2 == "yes") == ("sentinel-2-l2a" in provider.collections)
        assert (worldcover == "yes") == ("esa-worldcover" in provider.collections)
        named = {v for rule in provider.access for v in rule.model_dump().values() if isinstance(v, str)}
        wanted = {v for v in named if re.fullmatch(r"[A-Z][A-Z0-9_]+", v)}
        assert set(re.findall(r"`([A-Z][A-Z0-9_]+)`", env)) == wanted
        main = provider.name == "usgs"
        assert (f"{CONSENT[0]}={CONSENT[1]}" in env) == main


def test_the_provider_on_the_page_is_one(tmp_path):
    *_, text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "providers" / "archive.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    got = load_provider("archive", (tmp_path,))
    assert [rule.kind for rule in got.access] == ["open", "bearer", "s3"]
    assert (got.rate, got.page, got.method, got.alternate) == (5, 250, "GET", "s3")
    assert set(yaml.safe_load(text)) >= {"endpoint", "access", "collections"}


def test_the_collection_on_the_page_is_one(tmp_path):
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    path = tmp_path / "collections" / "my-mosaic.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    got = load_collection("my-mosaic", (tmp_path,))
    assert got.mask is not None
    assert got.mask.bits
    assert [b.keys for b in got.bands] == [("b3",), ("b4",), ("b5",)]


def test_the_layer_on_the_page_is_one():
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    assert Imagery.model_validate(yaml.safe_load(text)["imagery"]["photo"]).collection == LOCAL
