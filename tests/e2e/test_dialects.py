"""The same recipe through every dialect of one scene: the same values, every lock opened, no secret kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from worlds.dialects import DIALECTS, HUSHED, SECRETS, local_catalog, provider_file, write_files
from worlds.harness import chipweave, guarded_env, read_samples, succeed, write_recipe
from worlds.providers import Provider
from worlds.recipes import imagery, small, window
from worlds.server import running

LEADS = {"CHIPWEAVE_TRUSTED_HOSTS": "127.0.0.1"}
"""On this machine a server may lead to another one."""

BANDS = ("blue", "red", "rededge1", "coastal")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialects")
    return folder, write_files(folder)


def _recipe(folder: Path, catalog: object, **more) -> Path:
    area = window(folder / "aoi.geojson", "EPSG:32632", 734500, 4986900, 737100, 4989400)
    s2 = imagery(bands=BANDS, max_cloud=60)
    return write_recipe(folder / "recipe.yaml", small(catalog, area=area, s2=s2, **more))


@pytest.fixture(scope="module")
def wanted(files, tmp_path_factory):
    """Samples of a build from files of this machine."""
    folder, scene = files
    tmp = tmp_path_factory.mktemp("wanted")
    out = tmp / "out"
    succeed("build", _recipe(tmp, local_catalog(folder, scene)), "-o", out, "--workers", 0)
    samples = read_samples(out)
    assert len(samples) > 3
    return samples


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_dialect_gives_the_same_values(name, files, wanted, tmp_path):
    folder, scene = files
    store = Provider([], folder, dialect=name, scene=scene)
    provider = Provider([], folder, dialect=name, scene=scene)
    out = tmp_path / "out"
    with running(store), running(provider):
        provider.store = store.url
        catalogs = provider_file(name, tmp_path, provider.url)
        recipe = _recipe(tmp_path, provider.url, **({"catalogs": [str(catalogs)]} if catalogs else {}))
        done = succeed("build", recipe, "-o", out, "--workers", 0, env=guarded_env(**SECRETS, **LEADS))
    assert provider.refusals == store.refusals == []
    samples = read_samples(out)
    assert set(samples) == set(wanted)
    for key, sample in samples.items():
        assert set(sample.arrays) == set(wanted[key].arrays)
        for layer, values in sample.arrays.items():
            np.testing.assert_array_equal(values, wanted[key].arrays[layer], err_msg=f"{key} {layer}")
    assert not [t for t in (done.stdout + done.stderr).split() if any(h in t for h in HUSHED)]
    _no_secret(out)


def _no_secret(out: Path) -> None:
    """No file holds a secret, not even compressed ones."""
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        said = path.read_bytes()
        if path.suffix == ".parquet":
            said += repr(pd.read_parquet(path).to_dict("records")).encode()
        assert not [h for h in HUSHED if h.encode() in said], path


def test_tokens_that_end_during_a_build_are_renewed_by_its_workers(files, wanted, tmp_path):
    folder, scene = files
    out = tmp_path / "out"
    provider = Provider([], folder, dialect="planetary-computer", scene=scene, uses=3)
    with running(provider):
        catalogs = provider_file("planetary-computer", tmp_path, provider.url)
        recipe = _recipe(tmp_path, provider.url, catalogs=[str(catalogs)])
        succeed("build", recipe, "-o", out, "--workers", 1, env=guarded_env(**SECRETS))
    assert len(provider.tokens) > 2
    assert set(provider.refusals) == {"signature"}
    samples = read_samples(out)
    for key, sample in wanted.items():
        np.testing.assert_array_equal(samples[key].arrays["s2"], sample.arrays["s2"])
    _no_secret(out)


def test_the_reference_loaders_open_the_same_locks(files, wanted, tmp_path):
    folder, scene = files
    out = tmp_path / "out"
    provider = Provider([], folder, dialect="planetary-computer", scene=scene)
    with running(provider):
        catalogs = provider_file("planetary-computer", tmp_path, provider.url)
        recipe = _recipe(tmp_path, provider.url, catalogs=[str(catalogs)])
        succeed("build", recipe, "-o", out, "--workers", 0, "--loader", "odc", env=guarded_env(**SECRETS))
    assert provider.refusals == []
    samples = read_samples(out)
    for key, sample in wanted.items():
        # Its warp rounds otherwise.
        np.testing.assert_allclose(samples[key].arrays["s2"], sample.arrays["s2"], atol=1)
    _no_secret(out)


def test_a_token_that_is_refused_leaves_the_build_open(files, wanted, tmp_path):
    """Exit 4, and nobody is told the token; the next run goes on."""
    folder, scene = files
    out = tmp_path / "out"
    provider = Provider([], folder, dialect="planetary-computer", scene=scene, closed=True)
    with running(provider):
        catalogs = provider_file("planetary-computer", tmp_path, provider.url)
        recipe = _recipe(tmp_path, provider.url, catalogs=[str(catalogs)])
        refused = chipweave("build", recipe, "-o", out, "--workers", 0, env=guarded_env(**SECRETS))
        assert refused.returncode == 4, refused.stderr
        assert "HTTP 403" in refused.stderr
        assert not [h for h in HUSHED if h in refused.stdout + refused.stderr]
        _no_secret(out)
        provider.closed = False
        succeed("build", recipe, "-o", out, "--workers", 0, env=guarded_env(**SECRETS))
    assert set(read_samples(out)) == set(wanted)


def test_without_its_secret_a_build_says_what_is_missing_and_goes_on_later(files, wanted, tmp_path):
    folder, scene = files
    out = tmp_path / "out"
    provider = Provider([], folder, dialect="cdse", scene=scene)
    with running(provider):
        recipe = _recipe(
            tmp_path, provider.url, catalogs=[str(provider_file("cdse", tmp_path, provider.url))]
        )
        done = chipweave("build", recipe, "-o", out, "--workers", 0, env=guarded_env())
        assert done.returncode == 4
        assert "CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY not set" in done.stderr
        assert "Traceback" not in done.stderr
        succeed("build", recipe, "-o", out, "--workers", 0, env=guarded_env(**SECRETS, **LEADS))
    assert set(read_samples(out)) == set(wanted)
