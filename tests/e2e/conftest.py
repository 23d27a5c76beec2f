"""Datasets that several files of end-to-end tests look at, built once a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worlds import recipes
from worlds.harness import read_samples, succeed, write_recipe
from worlds.server import serve


@pytest.fixture(scope="session")
def reference(wide, tmp_path_factory):
    """Built from a STAC API on loopback; also what was asked of the API."""
    world, squares = wide
    tmp = tmp_path_factory.mktemp("reference")
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in squares]
    (tmp / "aoi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with serve(world.items(), world.folder) as service:
        (tmp / "recipe.yaml").write_text(
            recipes.REFERENCE.replace("http://127.0.0.1:8080", service.url), encoding="utf-8"
        )
        out = tmp / "out"
        done = succeed("build", tmp / "recipe.yaml", "-o", out, "--workers", 0, plain=True)
        yield out, service, done


@pytest.fixture(scope="session")
def samples(reference):
    return read_samples(reference[0])


@pytest.fixture
def built(request):
    """The dataset whose fixture the parameter names."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def june(border) -> Path:
    """A catalog of one clear scene."""
    return border.catalog("catalog_june", "S2_32_0610")


@pytest.fixture(scope="session")
def finished(june, tmp_path_factory) -> tuple[Path, Path]:
    """A small recipe and its finished dataset: copy it before harming it."""
    tmp = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(tmp / "recipe.yaml", recipes.small(june))
    out = tmp / "out"
    succeed("build", recipe, "-o", out, "--workers", 0)
    return recipe, out
