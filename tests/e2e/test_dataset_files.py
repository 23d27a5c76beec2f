"""The files beside the shards: index, statistics, manifest, card."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from worlds import harness, recipes
from worlds.samples import ring


def test_index_is_readable_and_rewritable_by_geopandas(reference, samples, tmp_path):
    out, _, _ = reference
    index = gpd.read_parquet(out / "index.parquet")
    assert index.crs.to_epsg() == 4326
    assert index.index.name is None
    assert set(index["key"]) == set(samples)
    assert index["key"].is_unique
    index.to_parquet(tmp_path / "again.parquet")
    again = gpd.read_parquet(tmp_path / "again.parquet")
    assert list(again.columns) == list(index.columns)
    assert len(again) == len(index)
    expected = {
        "key",
        "place",
        "split",
        "fold",
        "shard",
        "json_offset",
        "json_size",
        "geometry",
        "crs",
        "transform",
    }
    expected |= {"height", "width", "majortom", "licences", "s2_cloud_fraction"}
    for layer in ("s2", "worldcover", "corine"):
        expected |= {f"{layer}_{c}" for c in ("offset", "size", "datetime", "items", "valid_fraction")}
    expected |= {f"{layer}_{c}" for layer in ("worldcover", "corine") for c in ("fractions", "scene_labels")}
    assert expected <= set(index.columns), expected - set(index.columns)


def test_index_tells_where_every_member_lies(reference, samples):
    """Offsets and sizes give a member's bytes without the tar; columns say what the JSON says."""
    out, _, _ = reference
    import io

    for row in gpd.read_parquet(out / "index.parquet").to_dict("records"):
        sample = samples[row["key"]]
        body = (out / row["shard"]).read_bytes()
        text = body[row["json_offset"] : row["json_offset"] + row["json_size"]]
        assert harness.strict_json(text) == sample.meta
        for layer in ("s2", "s2_mask", "worldcover", "corine"):
            at, size = row[f"{layer}_offset"], row[f"{layer}_size"]
            np.testing.assert_array_equal(np.load(io.BytesIO(body[at : at + size])), sample.arrays[layer])
        assert row["split"] == sample.meta["split"]
        assert row["crs"] == sample.crs
        assert list(row["transform"]) == sample.meta["transform"]
        assert row["geometry"].is_valid
        np.testing.assert_allclose(row["geometry"].bounds, sample.meta["bbox"], atol=1e-6)
        layers = sample.meta["layers"]
        assert row["s2_cloud_fraction"] == layers["s2"]["cloud_fraction"]
        assert [list(step) for step in row["s2_items"]] == layers["s2"]["items"]
        assert list(row["s2_datetime"]) == layers["s2"]["datetime"]
        assert row["worldcover_fractions"] == layers["worldcover"]["fractions"]
        assert list(row["corine_scene_labels"]) == layers["corine"]["scene_labels"]


def test_stats_are_those_of_the_arrays_of_train(reference, samples):
    stats = harness.strict_json((reference[0] / "stats.json").read_bytes())
    train = [s for s in samples.values() if s.meta["split"] == "train"]
    text = json.dumps(stats)
    for n, band in enumerate(recipes.BANDS):
        values = np.concatenate([s.arrays["s2"][n].ravel() for s in train]).astype(float)
        values = values[values != -32768]
        found = _find(stats, band)
        assert found["count"] == values.size
        # Integer sums are exact; the rest is double rounding, and as many digits as are printed.
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert found["std"] == pytest.approx(values.std(), rel=1e-4)
        assert (found["min"], found["max"]) == (values.min(), values.max())
        for name, q in (("p01", 1), ("p02", 2), ("p50", 50), ("p98", 98), ("p99", 99)):
            # A histogram's bin decides how fine a percentile is: at most 1 % of the band's range is asked.
            assert abs(found[name] - np.percentile(values, q)) <= 0.01 * np.ptp(values) + 1, (band, name)
    assert "worldcover" in text
    assert "corine" in text


def _find(tree, name):
    """The mapping of that band in the statistics, wherever it stands."""
    if isinstance(tree, dict):
        if name in tree and isinstance(tree[name], dict) and "mean" in tree[name]:
            return tree[name]
        if tree.get("band", tree.get("name")) == name and "mean" in tree:
            return tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            found = _find(part, name)
            if found:
                return found
    return None


def test_manifest_names_every_file_with_its_sum(reference):
    import hashlib

    out, _, _ = reference
    manifest = harness.strict_json((out / "manifest.json").read_bytes())
    assert set(manifest) == {"version", "files"}
    assert set(manifest["files"]) == set(harness.tree(out)) - {"manifest.json"}
    for path, told in manifest["files"].items():
        body = (out / path).read_bytes()
        assert told == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}, path


def test_card_and_credits_name_the_sources_and_the_real_years(reference):
    out, _, _ = reference
    credit = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "Contains modified Copernicus Sentinel data 2021" in credit
    assert "ESA WorldCover" in credit
    assert "European Environment Agency" in credit
    assert (out / "README.md").read_text(encoding="utf-8").strip()
    assert (out / "recipe.yaml").exists()
    assert (out / "chipweave.lock").exists()


def test_every_sample_is_a_stac_item(reference, samples):
    out, _, _ = reference
    items = harness.strict_json((out / "stac" / "collection.json").read_bytes())["assets"]["items"]
    table = pq.read_table(out / "stac" / items["href"])
    assert table["id"].to_pylist() == gpd.read_parquet(out / "index.parquet")["key"].tolist()
    assert set(table["id"].to_pylist()) == set(samples)
    for key, assets in zip(table["id"].to_pylist(), table["assets"].to_pylist(), strict=True):
        with (out / "stac" / assets["json"]["href"]).open("rb") as file:
            file.seek(assets["json"]["chipweave:offset"])
            assert harness.strict_json(file.read(assets["json"]["chipweave:size"]))["key"] == key


def test_geometry_is_the_footprint(reference, samples):
    for row in gpd.read_parquet(reference[0] / "index.parquet").itertuples():
        sample = samples[row.key]
        lon, lat = ring(sample)
        # 1e-5 of a chip: the outline may have fewer points than this one, and sides bend that much.
        true = shapely.Polygon(np.column_stack([lon, lat]))
        assert row.geometry.symmetric_difference(true).area < 1e-4 * true.area
