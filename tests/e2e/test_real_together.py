"""Real layers of one place beside each other, and real dates laid onto each other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import rasterio
from test_real import DATA, TERRAMESH, TERRAMESH_BANDS, WHEN
from test_real_sensors import OWN, at, build, fetch, item

from chipweave.pixels.register import View, estimate

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real files (CHIPWEAVE_SHARED_DATA) are not here"
)


def place(folder, name):
    """Sentinel-2, Sentinel-1 and heights of one of TerraMesh's places: items, and files by layer."""
    own = folder / "own" / "collections" / "terramesh-s1.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(OWN, encoding="utf-8")
    s2, s1, dem = fetch(
        folder, *(DATA / "multisensor" / name / f"{n}.tif" for n in ("S2L2A", "S1RTC", "DEM"))
    )
    flags = {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True}
    items = [
        item(
            "S2",
            "sentinel-2-l2a",
            {"data": s2},
            f"{WHEN[name]}T12:00:00Z",
            [b for _, b in TERRAMESH_BANDS],
            **flags,
        ),
        item("S1", "terramesh-s1", {"data": s1}, f"{WHEN[name]}T05:40:00Z", ("vv", "vh")),
        item("DEM", "cop-dem-glo-30", {"data": dem}, "2021-04-22T00:00:00Z"),
    ]
    return items, {"s2": s2, "s1": s1, "dem": dem}


@pytest.mark.parametrize("name", TERRAMESH[1:2])
def test_terramesh_has_both_sentinels_and_heights_on_one_grid(name, tmp_path):
    """Copies of all three files' pixels; radar is the pass that goes with the optical date."""
    items, files = place(tmp_path, name)
    layers = {
        "s2": {"collection": "sentinel-2-l2a", "bands": ["blue", "red", "nir", "swir16"], "time": WHEN[name]},
        "s1": {"collection": "terramesh-s1", "bands": ["vv", "vh"], "pair": {"with": "s2", "within_days": 3}},
        "dem": {"collection": "cop-dem-glo-30", "bands": ["data"]},
    }
    with rasterio.open(files["dem"]) as dem:
        assert dem.count == 1
    layers["dem"]["bands"] = ["elevation"]
    samples = build(tmp_path, items, files["s2"], layers, {"size": 66, "resolution": 10}, catalogs=["own"])
    assert len(samples) >= 9
    common = [b for _, b in TERRAMESH_BANDS]
    for sample in samples.values():
        assert set(sample.arrays) == set(layers)
        assert {n: sample.meta["layers"][n]["unit"] for n in layers} == {
            "s2": "reflectance",
            "s1": "dB",
            "dem": "m",
        }
        for n, band in enumerate(layers["s2"]["bands"]):
            stored = at(files["s2"], sample, common.index(band) + 1)
            np.testing.assert_array_equal(sample.arrays["s2"][n], stored)
        for n in range(2):
            np.testing.assert_allclose(sample.arrays["s1"][n], at(files["s1"], sample, n + 1), atol=1e-4)
        np.testing.assert_allclose(sample.arrays["dem"][0], at(files["dem"], sample), atol=1e-3)


@pytest.mark.slow
def test_real_dates_of_a_series_are_laid_onto_the_clearest(tmp_path):
    """Three dates of Sentinel-2 in August that lie up to a fifth of a 20 m pixel apart; afterwards they do not."""
    paths = fetch(tmp_path, *sorted((DATA / "sentinel2" / "exeter_multidate").glob("exe_2024-08-*")))
    with rasterio.open(paths[0]) as src:
        crs = src.crs.to_wkt(version="WKT2_2019")
    bands = ("blue", "green", "red", "nir", "scl")
    items = [
        item(p.stem, "sentinel-2-l2a", {"data": p}, f"{p.stem[4:14]}T12:21:00Z", bands,
             **{"proj:wkt2": crs, "s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False})
        for p in paths
    ]  # fmt: skip
    layer = {
        "collection": "sentinel-2-l2a", "bands": ["red", "nir"], "time": "2024-08-01/2024-08-31", "max_cloud": 60,
        "select": {"method": "series", "max": 3}, "steps": {"min": 2, "max": 3},
    }  # fmt: skip
    layers = {"as_it_is": layer, "laid": {**layer, "register": {"to": "laid", "max_shift_px": 1.5}}}
    chips = {"size": 128, "resolution": 20, "crs": crs}
    samples = build(tmp_path, items, paths[0], layers, chips)
    before, after = [], []
    for sample in samples.values():
        said = sample.meta["layers"]["laid"]
        moved = [n for n, yes in enumerate(said["shift_corrected"]) if yes]
        (stays,) = (n for n, c in enumerate(said["shift_confidence"]) if c == 1.0)
        for n, layer in product(moved, ("as_it_is", "laid")):
            mask = sample.arrays[f"{layer}_mask"]
            first, second = (
                View(
                    sample.arrays[layer][k, 1].astype(float),
                    ok=(mask[k] == 0) & (sample.arrays[layer][k, 1] != -32768),
                )
                for k in (stays, n)
            )
            found = estimate(first, second)
            if layer == "as_it_is":
                assert (found.dx, found.dy) == pytest.approx(
                    (said["shift_x"][n], said["shift_y"][n]), abs=1e-6
                )
                before.append(np.hypot(found.dx, found.dy))
            elif found.known:
                after.append(np.hypot(found.dx, found.dy))
    assert len(before) >= 4
    assert max(before) > 0.15, "these dates do lie apart: the test says something"
    assert len(after) >= len(before) - 1
    assert max(after) < 0.1
    assert np.median(after) < 0.3 * np.median(before)
