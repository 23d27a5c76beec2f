"""Nothing that is in a file crashes the loader: it gives a recipe, or a RecipeError that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chipweave.errors import RecipeError
from chipweave.recipe import load_recipe

LEAST: dict[str, Any] = {
    "version": 1,
    "area": {"bbox": [0, 0, 1, 1]},
    "chips": {"size": 128},
    "imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["blue"]}},
}
KEYS = st.sampled_from(
    [
        *[
            "version",
            "name",
            "extends",
            "catalog",
            "area",
            "bbox",
            "chips",
            "size",
            "m",
            "px",
            "crs",
            "resolution",
        ],
        *[
            "sampling",
            "method",
            "imagery",
            "labels",
            "text",
            "s2",
            "s2_mask",
            "collection",
            "file",
            "bands",
            "time",
        ],
        *[
            "where",
            "select",
            "pair",
            "with",
            "register",
            "to",
            "keep",
            "split",
            "fractions",
            "train",
            "buffer_m",
        ],
        *[
            "output",
            "formats",
            "shuffle",
            "window",
            "catalogs",
            "local_roots",
            "parts",
            "remap",
            "legend",
            "nodata",
        ],
        *[
            "encode",
            "balance",
            "by",
            "attributes",
            "lattice",
            "anchor",
            "burn",
            "override",
            "date",
            "edition",
            "x~",
        ],
    ]
) | st.text(max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["utm", "grid", "off", "s2", "2021", "..", "s2.80 < 1", "EPSG:4326", "nan", "<", "/", "~", "auto"]
    )
)
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=6), max_leaves=25
)
PLACES = st.sampled_from(
    [
        *[
            "title",
            "name",
            "catalog",
            "area.bbox",
            "area.rule",
            "chips.size",
            "chips.crs",
            "chips.resolution",
            "keep",
        ],
        *[
            "chips.max_overlap",
            "chips.lattice",
            "imagery.s2.where",
            "imagery.s2.where.x",
            "imagery.s2.time",
            "labels",
        ],
        *[
            "imagery.s2.bands",
            "imagery.s2.resample",
            "imagery.s2.bad",
            "imagery.s2.derive",
            "imagery.s2.encode.nodata",
        ],
        *[
            "imagery.s2.select",
            "imagery.s2.max_cloud",
            "split",
            "split.seed",
            "split.override",
            "split.fractions",
        ],
        *[
            "output",
            "output.shuffle",
            "output.formats",
            "local_roots",
            "catalogs",
            "attributes",
            "balance",
            "text",
            "x",
        ],
    ]
)


def changed(changes: list[tuple[str, Any]]) -> dict[str, Any]:
    """A good recipe with some values replaced."""
    tree: dict[str, Any] = json.loads(json.dumps({**LEAST, "catalog": "earth-search"}))
    for dotted, value in changes:
        *way, last = dotted.split(".")
        inner = tree
        for key in way:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        inner[last] = value
    return tree


WORDS = st.text(min_size=1, max_size=12)
BENIGN = st.lists(
    st.tuples(st.sampled_from(["title", "description", "catalog", "imagery.s2.provider"]), WORDS)
    | st.tuples(
        st.just("imagery.s2.where"),
        st.dictionaries(
            WORDS, WORDS | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False), max_size=4
        ),
    )
    | st.tuples(st.just("split.seed"), st.integers(0, 2**40)),
    max_size=4,
).map(changed)
NEARLY = st.lists(st.tuples(PLACES, TREES | LEAVES), max_size=3).map(changed)


def load_or_refuse(folder: Path, data: bytes) -> None:
    path = folder / "fuzz.yaml"
    path.write_bytes(data)
    try:
        loaded = load_recipe(path)
    except RecipeError as error:
        assert str(error).startswith(str(path)), error  # noqa: PT017 - every outcome is looked at
        return
    assert load_recipe(path).digest == loaded.digest
    path.write_text(loaded.to_yaml(), encoding="utf-8")
    assert load_recipe(path).digest == loaded.digest


RELAXED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(st.binary(max_size=200))
@example(b"%YAML 1.2\n---\n")
@example(b"%YAML 9" + b"9" * 5000 + b".1\n---\n")
@example(b"%TAG ! x\n--- !a\n")
@example(b"&a : *a")
@example(b"{[a]: 1}")
@example(b"<<: {version: 1}")
def test_no_bytes_crash_the_loader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    load_or_refuse(tmp_path_factory.getbasetemp(), data)


@RELAXED
@given(st.text(st.sampled_from("{}[]:-,&*!|>'\"%#@`?~<= \n\tab01.\\xuU"), max_size=60))
@example('"[key]": 1')
@example("~map: 1")
@example("chips: {size: {~map: 1}}")
def test_no_yaml_crashes_the_loader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    load_or_refuse(tmp_path_factory.getbasetemp(), b"version: 1\n" + text.encode())


@RELAXED
@given(BENIGN | NEARLY | st.dictionaries(KEYS, TREES, max_size=6))
def test_no_values_crash_the_loader(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    load_or_refuse(tmp_path_factory.getbasetemp(), json.dumps(tree).encode())
