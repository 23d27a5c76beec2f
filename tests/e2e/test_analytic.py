"""Every output pixel of builds on the analytic world, against the functions that the world samples."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.windows import from_bounds
from shapely.geometry import Point, Polygon, box

from worlds import checks, harness, recipes
from worlds.analytic import KEYS, lonlat, transformer
from worlds.harness import Sample
from worlds.places import BORDER, SOUTH

WC, WC_OLD, CLC = (
    "ESA_WorldCover_10m_2021_v200_N45E012",
    "ESA_WorldCover_10m_2020_v100_N45E012",
    "U2018_CLC2018_V2020",
)

NEXT_ZONE = [12.004, 44.985, 12.045, 45.03]
ZONES = [11.962, 44.965, 12.05, 45.04]
SOUTHERN = [SOUTH.lon0 - 0.016, SOUTH.lat0 - 0.016, SOUTH.lon0 + 0.016, SOUTH.lat0 + 0.016]


class Built:
    """A built dataset, its world and the scenes that its catalog had."""

    def __init__(self, out, world, ids, *, blank):
        self.out, self.world, self.blank = out, world, blank
        self.scenes = {i: world.scenes[i] for i in ids}
        self.samples = harness.read_samples(out)
        self.ledger = harness.ledger(out)

    @cached_property
    def tally(self) -> checks.Tally:
        """Check every chip, once."""
        tally = checks.Tally()
        for sample in self.samples.values():
            tally += checks.check_imagery(sample, "s2", self.scenes, blank=self.blank)
            checks.check_fractions(sample, "s2", blank=self.blank)
        return tally


def make(tmp, world, ids, area, **kwargs) -> Built:
    catalog = world.catalog(f"catalog_{tmp.name}", *ids)
    mapping = recipes.recipe(catalog, area, **kwargs)
    return Built(
        harness.build(tmp, mapping), world, ids, blank=mapping["imagery"]["s2"].get("mask") == "blank"
    )


@pytest.fixture(scope="module")
def on_grid(border, tmp_path_factory):
    """Inside the tile of zone 32, on its grid; some chips with clouds."""
    tmp = tmp_path_factory.mktemp("on_grid")
    area = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 730400, 4986600, 734800, 4990600)
    return make(tmp, border, ["S2_32_0610"], area)


@pytest.fixture(scope="module")
def off_grid(border, tmp_path_factory):
    """Anchor 3 m and 7 m off; across the western edge of the tile, a hole, clouds, and the swath edge; blanked."""
    tmp = tmp_path_factory.mktemp("off_grid")
    area = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 729000, 4985000, 736300, 4991600)
    return make(
        tmp,
        border,
        ["S2_32_0720"],
        area,
        s2=recipes.imagery(recipes.JULY, mask="blank"),
        chips={"size": 96, "lattice": {"anchor": [3, 7]}},
    )


@pytest.fixture(scope="module")
def next_zone(border, tmp_path_factory):
    """East of 12 E, where chips belong to zone 33, and only the tile of zone 32 to fill them; across its edge."""
    tmp = tmp_path_factory.mktemp("next_zone")
    return make(tmp, border, ["S2_32_0610"], {"bbox": NEXT_ZONE})


@pytest.fixture(scope="module")
def zones(border, tmp_path_factory):
    """Across 12 E, both tiles of one datatake."""
    tmp = tmp_path_factory.mktemp("zones")
    return make(
        tmp,
        border,
        ["S2_32_0610", "S2_33_0610"],
        {"bbox": ZONES},
        s2=recipes.imagery(bands=("red", "swir16")),
    )


@pytest.fixture(scope="module")
def southern(south, tmp_path_factory):
    """Zone 33 S: rows count from 10 000 000, of which 960 m is no divisor."""
    tmp = tmp_path_factory.mktemp("southern")
    labels = {"worldcover": {"collection": "esa-worldcover"}}
    return make(tmp, south, ["S2_33S_0610"], {"bbox": SOUTHERN}, chips={"size": 96}, labels=labels)


@pytest.fixture(scope="module")
def coarse(border, tmp_path_factory):
    """20 m chips: mean of 10 m bands, mode of WorldCover, copies of 20 m bands."""
    tmp = tmp_path_factory.mktemp("coarse")
    area = recipes.window(tmp / "aoi.geojson", "EPSG:32632", 729000, 4986000, 735000, 4990600)
    ids = ["S2_32_0720"]
    return make(tmp, border, ids, area, s2=recipes.imagery(recipes.JULY), chips={"resolution": 20})


ALL = ["on_grid", "off_grid", "next_zone", "zones", "southern"]


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_every_pixel_is_within_the_bound(built):
    assert len(built.samples) >= 9
    assert built.tally.pixels > 100_000


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_a_truth_half_a_pixel_off_is_out_of_bounds(built):
    """The proof that the test above can fail: with the truth moved by 5 m every chip with data is refused."""
    some = [s for s in built.samples.values() if (s.arrays["s2"][0] != checks.NODATA).mean() > 0.5]
    assert some
    for sample in some[:4]:
        with pytest.raises(AssertionError, match="beyond the bound"):
            checks.check_imagery(sample, "s2", built.scenes, blank=built.blank, moved=5.0)


def test_where_grids_coincide_values_are_copied(on_grid):
    """10 m bands on the scene's own grid equal the file, minus no offset (baseline 02.14): not one DN off."""
    compared = 0
    for sample in on_grid.samples.values():
        meta = sample.meta["layers"]["s2"]
        for n, band in enumerate(meta["bands"]):
            key, res = KEYS[band]
            if res != 10:
                continue
            with rasterio.open(on_grid.world.folder / "S2_32_0610" / f"{key}.tif") as src:
                stored = src.read(1, window=from_bounds(*sample.bounds, src.transform))
            np.testing.assert_array_equal(sample.arrays["s2"][n], stored.astype(np.int16))
            compared += stored.size
    assert compared >= 4 * 9 * 64 * 64


def test_the_edges_were_really_met(off_grid, next_zone, zones):
    """The chips of these builds do cross a tile's edge, a hole and clouds: else their bounds prove nothing."""
    for built in (off_grid, next_zone, zones):
        assert built.tally.empty > 1000, built.out
        assert built.tally.edge > 50, built.out
        assert built.tally.bad > 100, built.out


def test_mask_blank_leaves_no_cloudy_pixel(off_grid):
    erased = 0
    for sample in off_grid.samples.values():
        bad = sample.arrays["s2_mask"] == 1
        assert (sample.arrays["s2"][:, bad] == checks.NODATA).all()
        erased += bad.sum()
        # A spike is 9000 and more; with its share blanked, none may be left, or half of it by a neighbour's blend.
        meta = sample.meta["layers"]["s2"]
        if bad.any():
            assert 0 < meta["cloud_fraction"] <= 1
    assert erased > 2000


def test_mask_keep_erases_nothing(on_grid):
    """Clouds are counted and kept: the spike is still there, and the classes 1, 2, 7 and 11 count as clear."""
    spiked = 0
    for sample in on_grid.samples.values():
        bad = sample.arrays["s2_mask"] == 1
        spiked += bad.sum()
        # Inside a patch all four source pixels are spiked in every band; at its rim 20 and 60 m bands are blends.
        assert (sample.arrays["s2"][:4, bad] == 9000).all()
        assert sample.arrays["s2_mask"].max() <= 1
    assert spiked > 500


@pytest.mark.parametrize("built", ALL, indirect=True)
def test_classes_are_right_away_from_edges(built):
    sure = unsure = 0
    for sample in built.samples.values():
        for layer, ids in (("worldcover", (WC, "ESA_WorldCover_10m_2021_v200_S21E015")), ("corine", (CLC,))):
            if layer not in sample.arrays:
                continue
            label = next(built.world.labels[i] for i in ids if i in built.world.labels)
            a, b = checks.check_label(sample, layer, label)
            sure, unsure = sure + a, unsure + b
            codes = WORLDCOVER if layer == "worldcover" else tuple(range(1, 45))
            checks.check_label_figures(sample, layer, codes)
    assert sure > 10_000
    assert unsure < sure / 4


WORLDCOVER = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)


def test_coarser_grids_take_the_mean_and_the_mode(coarse):
    scene = coarse.world.scenes["S2_32_0720"]
    compared = partial = 0
    for sample in coarse.samples.values():
        array = sample.arrays["s2"]
        for n, band in enumerate(sample.meta["layers"]["s2"]["bands"]):
            if KEYS[band][1] == 60:
                continue
            expected = checks.mean_of_source(scene, band, sample)
            out = np.where(array[n] == checks.NODATA, np.nan, array[n].astype(float))
            np.testing.assert_array_equal(np.isnan(out), np.isnan(expected), f"{sample.key} {band}")
            # Half a DN: the mean of stored integers, rounded once.
            assert np.nanmax(np.abs(out - expected), initial=0) <= 0.5 + 1e-6, (sample.key, band)
            compared += np.isfinite(expected).sum()
            partial += np.isnan(expected).sum()
        # All source centres inside the target pixel lie within half its diagonal: 14.15 m.
        checks.check_label(sample, "worldcover", coarse.world.labels[WC], reach=14.15)
    assert compared > 100_000
    assert partial > 1000


# --- the target grid -------------------------------------------------------------------------------------------


def square(crs: str, west: float, north: float, step: float) -> Polygon:
    """Footprint in lon/lat, 64 points a side: a side of 1 km bends by under 1e-5 of it, a chord of 16 m by nothing."""
    t = np.linspace(0, 1, 65)[:-1] * step
    far, none = np.full(64, step), np.zeros(64)
    x = west + np.concatenate([t, far, step - t, none])
    y = north - np.concatenate([none, t, far, step - t])
    return Polygon(np.column_stack(lonlat(crs, x, y)))


def outline(sample: Sample) -> Polygon:
    west, _, east, north = sample.bounds
    return square(sample.crs, west, north, east - west)


@pytest.mark.parametrize(
    ("built", "anchor"),
    [
        ("on_grid", (0, 0)),
        ("off_grid", (3, 7)),
        ("next_zone", (0, 0)),
        ("zones", (0, 0)),
        ("southern", (0, 10_000_000)),
        ("coarse", (0, 0)),
    ],
    indirect=["built"],
)
def test_corners_lie_on_the_lattice_and_zones_are_those_of_the_centres(built, anchor):
    for sample in built.samples.values():
        west, south, east, north = sample.bounds
        step = east - west
        assert step == sample.affine.a * sample.meta["width"] == north - south
        for corner, origin in ((west, anchor[0]), (north, anchor[1])):
            assert (corner - origin) % step == 0, (sample.key, corner)
        lon, lat = lonlat(sample.crs, (west + east) / 2, (south + north) / 2)
        zone = int(np.floor((lon + 180) / 6)) + 1
        assert sample.crs == f"EPSG:{(32600 if lat >= 0 else 32700) + zone}", sample.key
        # bbox: of the outline, whose bend over a chip is below 1e-6 degrees (10 cm).
        np.testing.assert_allclose(sample.meta["bbox"], outline(sample).bounds, atol=2e-6)


@pytest.mark.parametrize("built", [*ALL, "coarse"], indirect=True)
def test_no_two_chips_overlap(built):
    shapes = [outline(s) for s in built.samples.values()]
    for a, b in itertools.combinations(shapes, 2):
        # 1e-6 of a chip: neighbours share an edge, whose points are rounded to doubles.
        assert a.intersection(b).area < 1e-6 * a.area


def candidates(area, crs: str, anchor, step: float):
    """Corners of the lattice cells of a CRS whose centre lies in the area and in the CRS's zone."""
    west, south, east, north = area.bounds
    lon, lat = np.meshgrid(np.linspace(west, east, 50), np.linspace(south, north, 50))
    x, y = transformer("EPSG:4326", crs).transform(lon, lat)
    zone = int(crs[-2:])
    for col in range(int((x.min() - anchor[0]) // step) - 1, int((x.max() - anchor[0]) // step) + 2):
        for row in range(int((y.min() - anchor[1]) // step) - 1, int((y.max() - anchor[1]) // step) + 2):
            left, bottom = anchor[0] + col * step, anchor[1] + row * step
            point = lonlat(crs, left + step / 2, bottom + step / 2)
            if int(np.floor((point[0] + 180) / 6)) + 1 == zone and area.contains(Point(point)):
                yield left, bottom + step


@pytest.mark.parametrize(
    ("built", "bbox", "anchor"),
    [
        ("next_zone", NEXT_ZONE, (0, 0)),
        ("zones", ZONES, (0, 0)),
        ("southern", SOUTHERN, (0, 10_000_000)),
    ],
    indirect=["built"],
)
def test_every_cell_whose_centre_is_in_the_area_is_placed(built, bbox, anchor):
    """An own count of the lattice: all cells of the lower zone; of the higher zone those that overlap none of them."""
    area = box(*bbox)
    sample = next(iter(built.samples.values()))
    step = sample.affine.a * sample.meta["width"]
    taken: dict[tuple[str, float, float], Polygon] = {}
    hemisphere = 32600 if bbox[1] >= 0 else 32700
    for zone in sorted({int((v + 180) // 6) + 1 for v in (bbox[0], bbox[2])}):
        crs = f"EPSG:{hemisphere + zone}"
        lower = list(taken.values())
        for left, top in candidates(area, crs, anchor, step):
            cell = square(crs, left, top, step)
            # 1e-6 of a chip: cells of two zones that overlap at all do so by more, but for freak chances.
            if not any(cell.intersection(other).area > 1e-6 * cell.area for other in lower):
                taken[(crs, left, top)] = cell
    assert {(s.crs, s.bounds[0], s.bounds[3]) for s in built.samples.values()} <= set(taken)
    # Every placed chip has a row in the ledger; those that were dropped (no scene there) are not among the samples.
    # Whether a cell that gives way to the lower zone counts as placed is left open: it may have a row that says so.
    rows = built.ledger.set_index("key")
    states = rows["state"][~((rows["state"] == "dropped") & (rows["stage"] == "place"))]
    assert len(states) == len(taken)
    assert set(states[states == "written"].index) == set(built.samples)


def test_every_point_is_covered_once(zones):
    """Points of the area half a chip within it: exactly once, but for the seam between zones: at most once there."""
    rng = np.random.default_rng(5)
    shapes = {k: outline(s) for k, s in zones.samples.items()}
    # Chips without any scene are dropped: look only where both tiles certainly reach.
    lon, lat = rng.uniform(11.968, 12.02, 3000), rng.uniform(44.988, 45.034, 3000)
    east, _ = BORDER.metres
    seam = (
        np.abs(lon - BORDER.lon0) * east < 1000
    )  # a chip's diagonal, 905 m, and the lattices' turn against each other
    count = np.array(
        [sum(p.contains(Point(a, b)) for p in shapes.values()) for a, b in zip(lon, lat, strict=True)]
    )
    assert (~seam).sum() > 500
    assert (count[~seam] == 1).all()
    assert (count <= 1).all()
    assert {s.crs for s in zones.samples.values()} == {"EPSG:32632", "EPSG:32633"}


# --- which scene ----------------------------------------------------------------------------------------------


def test_pixels_do_not_depend_on_the_area(border, on_grid, tmp_path):
    """A part of the area gives the same chips: the same keys, arrays and JSON, whatever tiles they fall into."""
    area = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", 732000, 4987300, 734000, 4989300)
    few = make(tmp_path, border, ["S2_32_0610"], area)
    assert 4 <= len(few.samples) < len(on_grid.samples)
    for key, sample in few.samples.items():
        same = on_grid.samples[key]
        assert sample.arrays.keys() == same.arrays.keys()
        for name, array in sample.arrays.items():
            np.testing.assert_array_equal(array, same.arrays[name])
        assert sample.meta["transform"] == same.meta["transform"]
        assert sample.meta["layers"] == same.meta["layers"]


def test_the_least_cloudy_date_is_taken_chip_by_chip(border, tmp_path):
    """All dates: no chip keeps a date with more bad pixels than another whole one has, whatever the catalog's figure.

    The last scene is of 31 August, 23:10: an interval includes its last day.
    """
    area = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", 730200, 4985000, 735600, 4991600)
    ids = list(border.scenes)
    built = make(
        tmp_path, border, ids, area, s2=recipes.imagery(recipes.SUMMER, min_valid=99, bands=("red", "nir"))
    )
    assert built.tally.pixels > 50_000
    offsets = set()
    for sample in built.samples.values():
        meta = sample.meta["layers"]["s2"]
        x, y = sample.centres()
        shares = {}
        for scene in border.scenes.values():
            if scene.epsg == 32632:
                code = scene.code_at(x, y)
                if (code != 0).mean() >= 0.99:
                    shares[scene.id] = np.isin(code, (3, 8, 9, 10)).sum() / (code != 0).sum()
        assert abs(meta["cloud_fraction"] - min(shares.values())) < 1e-6, (sample.key, shares, meta["items"])
        used = checks.scenes_of(sample, "s2", border.scenes)[0]
        offsets.add(used.offset)
    # Candidates are read in the order of the catalog's own figure, until one is clear and whole: by the figures of
    # this world every date is taken somewhere, so all four ways of telling the offset are met, with right pixels.
    assert offsets == {"old", "new", "applied", "stated"}
    matches = pd.read_parquet(built.out / "plan" / "matches.parquet")
    assert {
        "key",
        "layer",
        "step",
        "rank",
        "item",
        "datetime",
        "cloud_fraction",
        "valid_fraction",
        "chosen",
        "why",
    } <= set(matches.columns)
    chosen = matches[(matches["layer"] == "s2") & matches["chosen"]].groupby("key")["item"].apply(set)
    for key, sample in built.samples.items():
        assert set(sample.meta["layers"]["s2"]["items"][0]) <= chosen[key]


def test_min_valid_max_cloud_and_keep_drop_with_a_reason(border, tmp_path):
    area = recipes.window(tmp_path / "aoi.geojson", "EPSG:32632", 729000, 4985000, 736300, 4991600)
    built = make(
        tmp_path,
        border,
        ["S2_32_0720"],
        area,
        s2=recipes.imagery(recipes.JULY, bands=("red",), max_cloud=10, min_valid=99),
        labels={"worldcover": recipes.LABELS["worldcover"]},
        keep=["worldcover.80 < 0.3"],
    )
    rows = built.ledger
    assert set(rows["state"]) == {"written", "dropped"}
    reasons = rows.loc[rows["state"] == "dropped", "reason"]
    assert (reasons.str.len() > 0).all()
    # Clouds, holes and the expression: three reasons at the least, told apart.
    assert reasons.nunique() >= 3
    for sample in built.samples.values():
        meta = sample.meta["layers"]["s2"]
        assert meta["cloud_fraction"] <= 0.10
        assert meta["valid_fraction"] >= 0.99
        assert sample.meta["layers"]["worldcover"]["fractions"]["80"] < 0.3
    assert len(rows) > len(built.samples) >= 20
    assert built.tally.pixels > 50_000
