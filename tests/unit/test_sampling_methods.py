"""Ways of placing chips, each against its own rule; what they have in common is in tests/contract/test_sampling.py."""

from __future__ import annotations

import json
import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_world import shared_data
from chipweave.catalog.mgrs import tile_corners
from chipweave.errors import RecipeError
from chipweave.model import Place
from chipweave.pixels.lattice import reproject
from chipweave.plan import place
from chipweave.plan.area import EVERYWHERE, AreaOfInterest
from chipweave.plan.majortom import EqualGrid
from chipweave.plan.naming import template_keys
from chipweave.plan.place import place_chips
from chipweave.plan.regions import frames
from chipweave.plan.thin import Thinner, first_come, turns
from chipweave.recipe.keys import fields
from tiny import LAEA, assets, load, north_up, outline, scene, write_tif

GEOD = pyproj.Geod(ellps="WGS84")
BOX = (9.0, 47.0, 9.3, 47.2)
BLUE = {"collection": "sentinel-2-l2a", "bands": ["blue"], "catalog": "x"}


def area_of(*bbox: float) -> AreaOfInterest:
    return AreaOfInterest(shapely.box(*bbox), "centre", (bbox,))


def places(folder, chips, area=None, scenes=(), **more):
    mapping = {"area": {"bbox": [0, 0, 1, 1]}, "chips": {"size": 64, "resolution": 10, **chips}, **more}
    return place_chips(load(folder, mapping), area or area_of(*BOX), scenes)


def points(folder, lon, lat, name="p.csv", **columns) -> str:
    pd.DataFrame({"lon": lon, "lat": lat, **columns}).to_csv(folder / name, index=False)
    return name


# Major TOM --------------------------------------------------------------------------------------------------


def published(lon: float, lat: float, km: float = 10.0) -> tuple[str, float, float]:
    """Name and south-west corner of a point's cell, as the published grid works it out: by lists and a search."""
    radius = 6378.137
    lats = np.linspace(-90, 90, math.ceil(math.pi * radius / km) + 1)[:-1]
    lats = np.sort(np.mod(lats, 180) - 90)
    zero = int(np.searchsorted(lats, 0))
    row = int(np.searchsorted(lats, lat)) - 1
    south = float(lats[row])
    count = math.ceil(2 * math.pi * radius * math.cos(south * math.pi / 180) / km)
    lons = np.sort(np.mod(np.linspace(-180, 180, count + 1)[:-1], 360) - 180)
    middle = int(np.searchsorted(lons, -1e-9))
    col = int(np.searchsorted(lons, lon)) - 1
    col = col if col >= 0 else len(lons) - 1
    up = f"{row - zero}U" if row >= zero else f"{zero - row}D"
    right = f"{col - middle}R" if col >= middle else f"{middle - col}L"
    return f"{up}_{right}", float(lons[col]), south


def test_cell_names_and_corners_are_the_published_ones():
    random = np.random.default_rng(5)
    lat = np.degrees(np.arcsin(random.uniform(-0.996, 0.996, 3000)))
    lon = random.uniform(-180, 180, 3000)
    lon[:600] = random.choice([-1, 1], 600) * random.uniform(179.9, 180, 600)
    grid = EqualGrid()
    names, cells = grid.names_at(lon, lat)
    west, south = grid.corner(cells)
    wanted = [published(a, b) for a, b in zip(lon.tolist(), lat.tolist(), strict=True)]
    assert names == [name for name, _, _ in wanted]
    np.testing.assert_allclose(west, [w for _, w, _ in wanted], atol=1e-9)
    np.testing.assert_allclose(south, [s for _, _, s in wanted], atol=1e-9)
    assert grid.rows == 2004
    assert len(set(names)) > 2700


@pytest.mark.parametrize("km", [23.0, 100.0, 777.0])
def test_other_distances_count_rows_and_columns_the_same_way(km):
    """With an odd number of columns a strip at the date line belongs to the last one."""
    random = np.random.default_rng(6)
    lat, lon = random.uniform(-80, 80, 2000), random.uniform(-180, 180, 2000)
    lon[:200] = random.uniform(-180, -179, 200)
    names, _ = EqualGrid(km).names_at(lon, lat)
    assert names == [published(a, b, km)[0] for a, b in zip(lon.tolist(), lat.tolist(), strict=True)]


def test_there_is_no_cell_beyond_85_degrees():
    names, _ = EqualGrid().names_at(np.array([0.1, 0.1, 0.1]), np.array([85.2, -85.3, 84.9]))
    assert [bool(n) for n in names] == [False, False, True]


@pytest.mark.parametrize("bbox", [BOX, (-0.2, -0.2, 0.2, 0.2), (179.5, 60.0, 180.0, 60.3)])
def test_major_tom_places_a_chip_in_the_middle_of_each_cell(tmp_path, bbox):
    found = places(tmp_path, {"sampling": {"method": "majortom"}}, area_of(*bbox))
    assert len(found) >= 4
    assert found["majortom"].is_unique
    for row in found.itertuples():
        name, west, south = published(row.lon, row.lat)
        assert row.majortom == name
        own = EqualGrid().cell_of(np.array([row.lon]), np.array([row.lat]))
        assert (row.majortom_row, row.majortom_col) == (own.row[0], own.col[0])
        x, y = (float(v[0]) for v in reproject(np.array([west]), np.array([south]), "EPSG:4326", row.crs))
        assert (row.x + 320, row.y - 320) == pytest.approx((x + 5000, y + 5000), abs=5.001)
    # Every cell but those at the rim of the box, once.
    w, s, e, n = bbox
    inner = EqualGrid().within(w, s, e, n)
    lon, lat = EqualGrid().centre(inner)
    deep = area_of(w + 0.02, s + 0.02, e - 0.02, n - 0.02).holds_points(lon, lat)
    assert {name for name, ok in zip(inner.names, deep, strict=True) if ok} <= set(found["majortom"])


@pytest.mark.parametrize("name", ["282D_485L_3_3", "38D_378R_2_3", "637U_59R_1_3"])
def test_the_patches_of_a_published_dataset_come_out_to_the_millimetre(tmp_path, name):
    """TerraMesh cuts Major TOM's patches of 1068 px in 4 by 4; its names are cell, column, row."""
    path = shared_data() / "real" / "multisensor" / f"terramesh_{name}" / "S2L2A.tif"
    if not path.exists():
        pytest.skip("../shared is not there")
    with rasterio.open(path) as file:
        crs, affine = f"EPSG:{file.crs.to_epsg()}", file.transform
    lon, lat = (float(v[0]) for v in reproject(np.array([affine.c]), np.array([affine.f]), crs, "EPSG:4326"))
    chips = {
        "size": 1068, "lattice": {"snap": False}, "subdivide": {"n": 4, "px": 264}, "max_overlap": 1,
        "key": "{majortom}_{part_col}_{part_row}", "sampling": {"method": "majortom"},
    }  # fmt: skip
    found = places(tmp_path, chips, area_of(lon - 0.15, lat - 0.15, lon + 0.15, lat + 0.15)).set_index("key")
    row = found.loc[name]
    assert row.crs == crs
    assert (row.x, row.y) == pytest.approx((affine.c, affine.f), abs=1e-3)


def test_any_method_gets_cell_columns(tmp_path):
    plain = places(tmp_path, {})
    assert "majortom" not in plain
    named = places(tmp_path, {"majortom": True})
    assert named["key"].tolist() == plain["key"].tolist()
    wanted = [published(a, b)[0] for a, b in zip(named["lon"], named["lat"], strict=True)]
    assert named["majortom"].tolist() == wanted


def test_land_grid_is_the_equal_distance_grid_of_its_step(tmp_path):
    found = places(tmp_path, {"sampling": {"method": "land_grid", "km": 3}}, area_of(*BOX))
    lon, lat = found["lon"].to_numpy(), found["lat"].to_numpy()
    apart = np.sort([[GEOD.inv(a, b, c, d)[2] for c, d in zip(lon, lat, strict=True)]
                     for a, b in zip(lon, lat, strict=True)], axis=1)  # fmt: skip
    assert np.median(apart[:, 1]) == pytest.approx(3000, rel=0.02)
    assert len(found) == pytest.approx(22_800 * 22_200 / 3000**2, rel=0.15)


# Scene tiles ------------------------------------------------------------------------------------------------


def tile_scene(folder, ident: str, crs: str, x: float, y: float, px: int = 1830):
    path = folder / f"{ident}.tif"
    write_tif(path, np.zeros((px, px), np.uint8), crs, north_up(x, y, 60))
    return scene(ident, outline(crs, x, y - 60 * px, x + 60 * px, y), crs=crs, assets=assets(blue=path))


S2 = {"imagery": {"s2": {"collection": "sentinel-2-l2a", "bands": ["blue"], "catalog": "."}}}


def test_scene_tiles_are_rebens_patches(tmp_path):
    """Tile 33UUP begins at (300 000, 5 400 000): 91 by 91 patches of 1200 m, counted from there."""
    ident = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    left, top = tile_corners("33UUP")[0]
    assert abs(left - 300_000) < 60
    assert abs(top - 5_400_000) < 60
    chips = {
        "size": {"m": 1200, "px": 120}, "key": "{scene}_{col:02d}_{row:02d}",
        "sampling": {"method": "scene_tiles", "of": "s2"},
    }  # fmt: skip
    found = places(
        tmp_path, chips, EVERYWHERE, [tile_scene(tmp_path, ident, "EPSG:32633", 300_000, 5_400_000)], **S2
    )
    assert len(found) == 91 * 91
    patch = found.set_index("key").loc[f"{ident}_26_57"]
    assert (patch.crs, patch.x, patch.y) == ("EPSG:32633", 300_000 + 26 * 1200, 5_400_000 - 57 * 1200)
    assert found["x"].max() == 300_000 + 90 * 1200
    assert found["y"].min() == 5_400_000 - 90 * 1200
    assert f"{ident}_00_00" in set(found["key"])


@pytest.mark.parametrize(
    ("tile", "epsg", "left", "top"),
    [
        # Column F of zone 31 (set A to H) is the 6th, 600 km; row S, counted from A, the 17th: 1600 of 2000 km, and in
        # band U (48 to 56 degrees) 5600 to 5700 km. Sentinel-2 begins a tile at its square's upper left.
        ("31UFS", 32631, 600_000, 5_700_000),
        # Column N of zone 29 (set J to R) is the 5th, 500 km; row D the 4th: 300 km of 2000, in band S 4300 to 4400 km.
        # Neither 500 000 nor 4 400 000 is a multiple of 60 m: the tile begins at the next ones outside.
        ("29SND", 32629, 499_980, 4_400_040),
    ],
)  # fmt: skip
def test_real_tiles_begin_where_the_military_grid_has_them(tmp_path, tile, epsg, left, top):
    """By hand from the letters; patches of 1200 m are counted from there, the ninety-second column is cut off."""
    corner = tile_corners(tile)[0]
    assert max(abs(corner[0] - left), abs(corner[1] - top)) < 60
    ident = f"S2B_MSIL2A_20170924T093029_N9999_R136_T{tile}"
    chips = {
        "size": {"m": 1200, "px": 120}, "key": "{tile}_{col:02d}_{row:02d}",
        "sampling": {"method": "scene_tiles", "of": "s2"},
    }  # fmt: skip
    scenes = [tile_scene(tmp_path, ident, f"EPSG:{epsg}", left, top)]
    found = places(tmp_path, chips, EVERYWHERE, scenes, **S2).set_index("key")
    assert len(found) == 91 * 91
    for col, row in ((0, 0), (90, 0), (0, 90), (90, 90), (26, 57)):
        patch = found.loc[f"{tile}_{col:02d}_{row:02d}"]
        assert (patch.crs, patch.x, patch.y) == (f"EPSG:{epsg}", left + 1200 * col, top - 1200 * row)
    # 91 patches are 109.2 km of 109.8.
    assert found["x"].max() + 1200 == left + 109_200


def test_dates_of_one_tile_give_each_place_once_and_tiles_stay_in_their_zone(tmp_path):
    scenes = [
        tile_scene(tmp_path, f"S2_{d}_T{t}", crs, x, y, 100)
        for d in ("20210601", "20210606")
        for t, crs, x, y in (
            ("32UMU", "EPSG:32632", 399_960, 5_400_000),
            ("32UNU", "EPSG:32632", 499_980, 5_400_000),
        )
    ]
    chips = {"size": 64, "resolution": 10, "sampling": {"method": "scene_tiles", "of": "s2"}}
    found = places(tmp_path, chips, EVERYWHERE, scenes, **S2)
    assert len(found) == 2 * 9 * 9
    assert set(found["crs"]) == {"EPSG:32632"}
    with pytest.raises(RecipeError, match="no scene of s2"):
        places(tmp_path, chips, EVERYWHERE, [], **S2)


# Grid with a stride -----------------------------------------------------------------------------------------


def test_a_stride_of_half_a_chip_gives_four_times_as_many(tmp_path):
    whole, half = places(tmp_path, {}), places(tmp_path, {"sampling": {"method": "grid", "stride": 32}})
    assert set(whole["key"]) < set(half["key"])
    assert len(half) == pytest.approx(4 * len(whole), rel=0.1)
    steps = half[["x", "y"]].to_numpy() / 320
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    wide = places(tmp_path, {"sampling": {"method": "grid", "stride": 192}})
    assert set(wide["key"]) < set(whole["key"])
    assert len(wide) == pytest.approx(len(whole) / 9, rel=0.3)


# Points and features ----------------------------------------------------------------------------------------


def test_a_point_is_in_the_middle_of_its_chip(tmp_path):
    name = points(tmp_path, [9.1, 9.2], [47.1, 47.15])
    snapped = places(tmp_path, {"sampling": {"method": "points", "file": name}})
    free = places(tmp_path, {"lattice": {"snap": False}, "sampling": {"method": "points", "file": name}})
    for frame, limit in ((snapped, 7.2), (free, 0.01)):
        assert sorted(frame["lon"].round(3)) == [9.1, 9.2]
        for row in frame.itertuples():
            want = min(((9.1, 47.1), (9.2, 47.15)), key=lambda p, row=row: abs(p[0] - row.lon))
            assert GEOD.inv(row.lon, row.lat, *want)[2] < limit
    assert not set(free["key"]) & set(snapped["key"])


def test_points_choose_by_where_and_keep_file_columns_in_keys(tmp_path):
    name = points(tmp_path, [9.1, 9.2, 9.25], [47.1] * 3, kind=["a", "b", "a"], number=[1, 2, 3])
    sampling = {"method": "points", "file": name, "where": "kind = 'a'"}
    found = places(tmp_path, {"sampling": sampling, "key": "{kind}-{number:03d}"})
    assert found["key"].tolist() == ["a-001", "a-003"]
    assert "kind" not in found
    with pytest.raises(RecipeError, match="where"):
        places(tmp_path, {"sampling": {**sampling, "where": "nothing = 'a'"}})


def test_a_features_centre_is_its_own_or_that_of_its_bounds(tmp_path):
    crescent = shapely.Point(9.1, 47.1).buffer(0.02).difference(shapely.Point(9.11, 47.1).buffer(0.02))
    split = shapely.MultiPolygon(
        [shapely.box(179.99, -17, 180, -16.98), shapely.box(-180, -17, -179.98, -16.98)]
    )
    for shape, where in ((crescent, "inside"), (split, (-179.995, -16.99))):
        gpd.GeoDataFrame({"n": [1]}, geometry=[shape], crs=4326).to_file(tmp_path / "f.gpkg")
        got = {}
        for centre in ("point", "bounds"):
            sampling = {"method": "features", "file": "f.gpkg", "centre": centre}
            row = places(tmp_path, {"sampling": sampling}, EVERYWHERE).iloc[0]
            got[centre] = (row.lon, row.lat)
        if where == "inside":
            assert shape.buffer(1e-4).covers(shapely.Point(got["point"]))
            w, s, e, n = shape.bounds
            assert got["bounds"] == pytest.approx(((w + e) / 2, (s + n) / 2), abs=1e-4)
        else:
            assert got["point"] == pytest.approx(where, abs=1e-4)
            assert got["bounds"] == pytest.approx(where, abs=1e-4)
    with pytest.raises(RecipeError, match="no points"):
        places(tmp_path, {"sampling": {"method": "points", "file": "f.gpkg"}}, EVERYWHERE)


def test_jitter_moves_each_point_by_at_most_so_much_and_evenly_over_the_disc(tmp_path):
    lon, lat = (a.ravel() for a in np.meshgrid(np.linspace(9.02, 9.28, 20), np.linspace(47.02, 47.18, 20)))
    name = points(tmp_path, lon, lat)
    sampling = {"method": "points", "file": name, "jitter_m": 200.0}
    free = {"lattice": {"snap": False}, "size": 4, "key": "p{num}"}
    pd.DataFrame({"lon": lon, "lat": lat, "num": range(400)}).to_csv(tmp_path / name, index=False)
    found = places(tmp_path, {**free, "sampling": sampling})
    order = found["key"].str[1:].astype(int).to_numpy()
    away = GEOD.inv(lon[order], lat[order], found["lon"].to_numpy(), found["lat"].to_numpy())[2]
    assert len(found) == 400
    assert away.max() <= 200.01
    assert np.mean(away < 200 / math.sqrt(2)) == pytest.approx(0.5, abs=0.08)
    other = places(tmp_path, {**free, "sampling": {**sampling, "seed": 1}})
    assert (other.set_index("key")["x"] != found.set_index("key")["x"]).mean() > 0.99


def test_points_beyond_utm_are_left_out_and_said(tmp_path, caplog):
    name = points(tmp_path, [9.1, 9.1], [47.1, 88.0])
    found = places(tmp_path, {"sampling": {"method": "points", "file": name}}, EVERYWHERE)
    assert len(found) == 1
    assert "1 places lie where utm is not defined" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no columns lon and lat"),
        ("lon,lat\n9.1,x\n", "no numbers"),
        ("lon,lat\n9.1,\n", "row 1 has no"),
        ("lon,lat\n", "holds no geometry"),
        ("lon,lat\n912,47\n", "not in lon/lat"),
    ],
)
def test_tables_that_hold_no_points_are_refused(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(RecipeError, match=said):
        places(tmp_path, {"sampling": {"method": "points", "file": "p.csv"}})
    with pytest.raises(RecipeError, match="no such file"):
        places(tmp_path, {"sampling": {"method": "points", "file": "q.csv"}})


# Drawn places -----------------------------------------------------------------------------------------------


def test_random_places_are_even_over_the_ground(tmp_path):
    """Between 0° and 60° N lies sin(60°) of the northern ground: halves of it are told apart by area, not degrees."""
    area = area_of(10.0, 0.0, 40.0, 60.0)
    found = places(tmp_path, {"size": 16, "sampling": {"method": "random", "count": 2000}}, area)
    half = math.degrees(math.asin(math.sin(math.radians(60)) / 2))
    assert np.mean(found["lat"] < half) == pytest.approx(0.5, abs=0.04)
    assert np.mean(found["lon"] < 25) == pytest.approx(0.5, abs=0.04)


def test_random_places_do_not_count_overlapping_boxes_twice(tmp_path):
    ring = shapely.box(9, 47, 10, 48).difference(shapely.box(9.1, 47.1, 9.9, 47.9))
    inner = shapely.box(9.4, 47.4, 9.6, 47.6)
    area = AreaOfInterest(shapely.MultiPolygon([ring, inner]), "centre")
    found = places(tmp_path, {"size": 8, "sampling": {"method": "random", "count": 1500}}, area)
    share = np.mean(shapely.contains_xy(inner, found["lon"], found["lat"]))
    assert share == pytest.approx(inner.area / area.geometry.area, abs=0.03)


def test_drawn_places_do_not_overlap_unless_they_may(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(place, "PATIENCE", 10)
    small = area_of(11.95, 45.0, 12.05, 45.06)  # two zones meet in it
    packed = places(tmp_path, {"sampling": {"method": "random", "count": 300}}, small)
    assert "there is room for" in caplog.text
    shapes = packed.to_crs("EPSG:32633").geometry.to_numpy()
    i, j = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    i, j = i[i < j], j[i < j]
    assert (shapely.area(shapely.intersection(shapes[i], shapes[j])) / 640**2 < 1e-3).all()
    assert packed["crs"].nunique() == 2
    loose = places(tmp_path, {"max_overlap": 0.5, "sampling": {"method": "random", "count": 80}}, small)
    assert len(loose) > len(packed) / 2
    free = places(tmp_path, {"max_overlap": 1, "sampling": {"method": "random", "count": 300}}, small)
    assert len(free) == 300


def test_more_of_them_begin_with_the_same_ones(tmp_path):
    few = places(tmp_path, {"size": 8, "sampling": {"method": "random", "count": 20}})
    many = places(tmp_path, {"size": 8, "sampling": {"method": "random", "count": 6000}})
    assert set(few["key"]) < set(many["key"])
    assert len(many) == 6000


def test_places_around_cities_are_normal_in_metres(tmp_path):
    name = points(tmp_path, [10.0], [65.0], city=["x"])
    sampling = {"method": "cities", "file": name, "std_km": 10, "count": 3000}
    found = places(tmp_path, {"size": 8, "max_overlap": 1, "sampling": sampling}, EVERYWHERE)
    azimuth, _, far = GEOD.inv(np.full(3000, 10.0), np.full(3000, 65.0), found["lon"], found["lat"])
    east, north = far * np.sin(np.radians(azimuth)), far * np.cos(np.radians(azimuth))
    for part in (east, north):
        assert np.std(part) == pytest.approx(10_000, rel=0.05)
        assert abs(np.mean(part)) < 600
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.05


def test_cities_need_to_know_how_many_and_how_far(tmp_path):
    name = points(tmp_path, [9.1], [47.1])
    for more, said in (({"count": 3}, "std_km: is missing"), ({"std_km": 3}, "count: is missing")):
        with pytest.raises(RecipeError, match=said):
            places(tmp_path, {"sampling": {"method": "cities", "file": name, **more}})


def test_cities_far_from_the_area_are_refused(tmp_path):
    name = points(tmp_path, [100.0], [10.0])
    with pytest.raises(RecipeError, match="none of its 1 cities"):
        places(tmp_path, {"sampling": {"method": "cities", "file": name, "std_km": 5, "count": 3}})


# Distances --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=80))
def test_first_come_is_one_after_another(n, pairs):
    edges = sorted({(min(a, b) % n, max(a, b) % n) for a, b in pairs if min(a, b) % n < max(a, b) % n})
    i, j = (np.array([e[k] for e in edges], np.int64) for k in (0, 1))
    stays: list[int] = []
    for k in range(n):
        if not any((a, k) in edges for a in stays):
            stays.append(k)
    assert np.flatnonzero(first_come(n, i, j)).tolist() == stays


def scattered(n: int, seed: int, wide: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x, y = 500_000 + random.uniform(0, wide, n), 5_200_000 + random.uniform(0, wide, n)
    lon, lat = reproject(x + 50, y - 50, "EPSG:32632", "EPSG:4326")
    return pd.DataFrame(
        {"crs": "EPSG:32632", "x": x, "y": y, "size": 10, "resolution": 10.0, "lon": lon, "lat": lat}
    )


@pytest.mark.parametrize(("metres", "overlap"), [(700.0, None), (0.0, 0.0), (80.0, 0.3), (250.0, 0.0)])
@pytest.mark.parametrize("pieces", [1, 4])
def test_thinning_keeps_who_an_endless_loop_would_keep(metres, overlap, pieces):
    table = scattered(600, 3, 3800.0)
    thinner = Thinner(metres, overlap)
    parts = np.array_split(np.arange(len(table)), pieces)
    found = np.concatenate([thinner.add(table.iloc[part]) for part in parts])
    kept: list[int] = []
    lon, lat, x, y = (table[c].to_numpy() for c in ("lon", "lat", "x", "y"))
    for k in range(len(table)):
        far = GEOD.inv(np.full(len(kept), lon[k]), np.full(len(kept), lat[k]), lon[kept], lat[kept])[2]
        dx, dy = np.abs(x[kept] - x[k]), np.abs(y[kept] - y[k])
        share = np.maximum(100 - dx, 0) * np.maximum(100 - dy, 0) / 100**2
        if (np.asarray(far) >= metres).all() and (overlap is None or (share <= max(overlap, 1e-6)).all()):
            kept.append(k)
    assert np.flatnonzero(found).tolist() == kept


def test_thinning_looks_at_few_pairs_where_places_are_dense(monkeypatch):
    """50 000 places, all within each other's distance, are 1.25 milliard pairs."""
    looked = []
    clash = Thinner._clash

    def counted(self, one, i, two, j):
        looked.append(len(i))
        return clash(self, one, i, two, j)

    monkeypatch.setattr(Thinner, "_clash", counted)
    assert Thinner(50_000.0, None).add(scattered(50_000, 4, 5000.0)).sum() == 1
    assert sum(looked) < 1_000_000


def test_who_stays_does_not_hang_on_order_or_company(tmp_path):
    table = scattered(300, 5, 9000.0)
    assert (turns(table[::-1], 3)[::-1] == turns(table, 3)).all()
    assert (turns(table, 3) != turns(table, 4)).all()
    assert len(set(turns(table, 0).tolist())) == 300


def test_polygons_are_stayed_away_from_and_touching_is_allowed(tmp_path):
    whole = places(tmp_path, {"crs": "EPSG:32632"})
    at = whole.loc[((whole["lon"] - 9.15) ** 2 + (whole["lat"] - 47.1) ** 2).idxmin()]
    own = shapely.box(at.x, at.y - 640, at.x + 640, at.y)
    gpd.GeoDataFrame(geometry=[own], crs="EPSG:32632").to_file(tmp_path / "x.gpkg")
    for m, gone in ((0, 1), (1, 9), (639, 9), (641, 21)):
        exclude = {"near": "x.gpkg", "m": m}
        left = places(tmp_path, {"crs": "EPSG:32632", "sampling": {"method": "grid", "exclude": exclude}})
        assert len(whole) - len(left) == gone, m


# Lists ------------------------------------------------------------------------------------------------------


def listed(folder, rows, **chips):
    pd.DataFrame(rows).to_csv(folder / "l.csv", index=False)
    return places(folder, {"sampling": {"method": "list", "file": "l.csv"}, **chips}, EVERYWHERE)


ROW = {"key": "b", "crs": "EPSG:32632", "transform": json.dumps([10, 0, 500_003.5, 0, -10, 5_200_000])}


def test_a_list_gives_its_places_and_keys(tmp_path):
    other = {"key": "a-1", "crs": "32733", "transform": "10 0 500000 0 -10 6200000 0 0 1"}
    found = listed(tmp_path, [ROW, other])
    assert found[["key", "crs", "x", "y"]].to_numpy().tolist() == [
        ["a-1", "EPSG:32733", 500_000, 6_200_000],
        ["b", "EPSG:32632", 500_003.5, 5_200_000],
    ]
    assert found["place"].tolist() == ["32733-500000-6200000-64-10", "32632-500003p5-5200000-64-10"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "b/c"}, "not made of letters"),
        ({"crs": "EPSG:99999"}, "none that PROJ knows"),
        ({"crs": "EPSG:3035"}, "not that of chips.crs"),
        ({"transform": "[20, 0, 5, 0, -20, 5]"}, "pixels of 20 by -20"),
        ({"transform": "[5, 10, 0, 5, 0, -10]"}, "pixels of 5"),
        ({"transform": "[10, 1, 5, 0, -10, 5]"}, "transform has"),
        ({"transform": "nowhere"}, "six numbers"),
        ({"transform": "[10, 0, NaN, 0, -10, 3]"}, "six numbers"),
        ({"transform": "{}"}, "six numbers"),
        ({"width": 32}, "width is not always 64"),
    ],
)
def test_lists_of_other_places_are_refused(tmp_path, change, said):
    with pytest.raises(RecipeError, match=said):
        listed(tmp_path, [{**ROW, **change}])
    with pytest.raises(RecipeError, match="stands twice"):
        listed(tmp_path, [ROW, ROW])
    with pytest.raises(RecipeError, match="no column transform"):
        listed(tmp_path, [{"key": "a", "crs": "EPSG:32632"}])


def test_names_that_look_like_numbers_stay_names(tmp_path):
    """Keys, codes with leading zeros, and NA beside other texts; NA among numbers is nothing."""
    (tmp_path / "l.csv").write_text(
        'key,crs,transform\n0012,EPSG:32632,"10 0 500000 0 -10 5200000"\n12E4,32632,"10 0 510000 0 -10 5200000"\n'
    )
    (tmp_path / "k.csv").write_text("key,region,county,metres\n0012,NA,01001,1.5\n12E4,EU,02003,NA\n")
    names = ("region", "county", "metres")
    found = places(
        tmp_path, {"sampling": {"method": "list", "file": "l.csv"}}, EVERYWHERE,
        attributes={name: {"file": "k.csv", "column": name} for name in names},
    )  # fmt: skip
    assert found["key"].tolist() == ["0012", "12E4"]
    assert found[["region", "county"]].to_numpy().tolist() == [["NA", "01001"], ["EU", "02003"]]
    assert found["metres"].iloc[0] == 1.5
    assert found["metres"].isna().tolist() == [False, True]


def test_a_time_is_found_by_whole_numbers_that_stand_in_a_column_with_gaps(tmp_path):
    points(tmp_path, [9.1, 9.2], [47.1, 47.1], field=[5, None])
    points(tmp_path, [9.1, 9.2], [47.1, 47.1], "a.csv", field=[5.0, None])
    (tmp_path / "t.csv").write_text("field,time\n5,2021-03\n6,2021-04\n")
    found = places(
        tmp_path, {"sampling": {"method": "points", "file": "p.csv"}}, EVERYWHERE,
        attributes={"field": {"file": "a.csv", "column": "field", "join": "nearest"}},
        imagery={"s2": {**BLUE, "time": {"table": "t.csv", "by": "field"}}},
    )  # fmt: skip
    told = dict(zip(found["field"].fillna(-1).tolist(), found["s2_time"], strict=True))
    assert told[5].startswith("2021-03-01")
    assert told[-1] == ""


def test_the_table_of_another_build_is_a_list(tmp_path):
    whole = places(tmp_path, {"crs": LAEA})
    step = whole["resolution"].to_numpy()
    whole["transform"] = [
        [r, 0.0, x, 0.0, -r, y] for r, x, y in zip(step, whole["x"], whole["y"], strict=True)
    ]
    whole.to_parquet(tmp_path / "index.parquet")
    sampling = {"method": "list", "file": "index.parquet"}
    again = places(tmp_path, {"crs": LAEA, "sampling": sampling}, EVERYWHERE)
    assert again[["key", "place", "x", "y"]].equals(whole[["key", "place", "x", "y"]])


# Keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["abc", "{a b}", "{a.b}", "{a[0]}", "{a:>99999999}", "{0}", "{", "a/{x}", "{x!r}", "{}"]
)
def test_templates_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"neither of letters|no \{column\}"):
        fields(text)


def test_a_template_names_columns(tmp_path):
    frame = places(tmp_path, {"key": "z{crs}_{col}_{row:06d}"})
    assert frame["key"].iloc[0].startswith("z32632_")
    for row in frame.itertuples():
        _, col, line = row.key.split("_")
        assert (int(col) * 640, (int(line) + 1) * 640) == (row.x, row.y)
    assert frame["place"].iloc[0].endswith("-64-10")
    assert places(tmp_path, {"key": "{majortom}-{x}-{y}"})["key"].is_unique
    with pytest.raises(RecipeError, match=r"chips\.key: \{tile\} is no column"):
        places(tmp_path, {"key": "{tile}"})
    with pytest.raises(RecipeError, match="the key of several places"):
        places(tmp_path, {"key": "{col}"})
    table = frame.assign(name="ä b", number=1.5, nothing=None)
    for template, said in (
        ("{name}", "is no key"),
        ("{number:03d}", "no whole number"),
        ("{nothing}", "is empty"),
    ):
        with pytest.raises(RecipeError, match=said):
            template_keys(table, template)


# Attributes -------------------------------------------------------------------------------------------------


def test_attributes_come_from_the_feature_around_or_the_nearest_one(tmp_path):
    west, east = shapely.box(9.0, 46.9, 9.1, 47.3), shapely.box(9.2, 46.9, 9.4, 47.3)
    frame = gpd.GeoDataFrame(
        {"name": ["w", "e"], "num": [1, 2], "part": [0.25, 0.5], "on": [True, False]},
        geometry=[west, east],
        crs=4326,
    )
    frame.to_file(tmp_path / "a.gpkg")
    frame.to_parquet(tmp_path / "a.parquet")
    wishes = {
        "inside": {"file": "a.gpkg", "column": "name"},
        "near": {"file": "a.gpkg", "column": "name", "join": "nearest"},
        "num": {"file": "a.parquet", "column": "num"},
        "part": {"file": "a.gpkg", "column": "part", "join": "nearest"},
        "flag": {"file": "a.parquet", "column": "on"},
    }
    found = places(tmp_path, {}, attributes=wishes)
    lon = found["lon"]
    assert found["inside"].isna().equals((lon > 9.1) & (lon < 9.2))
    assert (found["inside"].dropna() == np.where(lon < 9.15, "w", "e")[found["inside"].notna()]).all()
    clear = (lon - 9.15).abs() > 0.002
    assert (found.loc[clear, "near"] == np.where(lon < 9.15, "w", "e")[clear]).all()
    assert found["near"].notna().all()
    assert (found["part"] == found["near"].map({"w": 0.25, "e": 0.5})).all()
    assert (found["num"].dropna() == found["inside"].dropna().map({"w": 1, "e": 2})).all()
    assert str(found["flag"].dtype) == "boolean"
    found.to_parquet(tmp_path / "places.parquet")
    back = gpd.read_parquet(tmp_path / "places.parquet")
    assert back["num"].dropna().astype(int).tolist() == found["num"].dropna().tolist()


def test_the_nearest_point_is_so_on_the_ground_and_over_the_date_line(tmp_path):
    """At 60° N a degree of longitude is half as long: a point 0.03° east is nearer than one 0.02° north."""
    points(tmp_path, [179.98, -179.93], [60.0, 60.02], "t.csv", which=["west", "east"])
    points(tmp_path, [-179.99], [60.0], "p.csv")
    found = places(
        tmp_path, {"sampling": {"method": "points", "file": "p.csv"}}, EVERYWHERE,
        attributes={"which": {"file": "t.csv", "column": "which", "join": "nearest"}},
    )  # fmt: skip
    assert found["which"].tolist() == ["west"]


def test_countries_of_real_outlines(tmp_path):
    """As reBEN does it: a patch takes the nearest country, even when it lies at sea; and across the date line."""
    file = shared_data() / "real" / "boundaries" / "ne_50m_admin_0_countries" / "ne_50m_admin_0_countries.shp"
    where = {
        "AUT": (16.37, 48.21),
        "PRT": (-10.4, 38.7),
        "FJI": (-179.6, -17.4),
        "NOR": (15.6, 78.2),
        "ATA": (0.1, -75),
    }
    lon, lat = zip(*where.values(), strict=True)
    name = points(tmp_path, lon, lat, iso=list(where))
    wishes = {join: {"file": str(file), "column": "ADM0_A3", "join": join} for join in ("within", "nearest")}
    chips = {"key": "{iso}", "sampling": {"method": "points", "file": name}}
    found = places(tmp_path, chips, EVERYWHERE, attributes=wishes).set_index("key")
    assert found["nearest"].to_dict() == {iso: iso for iso in where}
    assert found["within"].isna().to_dict() == {iso: iso in {"PRT", "FJI"} for iso in where}


def test_ecoregions_of_real_outlines(tmp_path):
    """Each place is in the ecoregion whose outline, as shapely reads it, contains its centre."""
    file = shared_data() / "real" / "boundaries" / "ecoregions2017_simplified" / "Ecoregions2017.shp"
    where = {"jura": (6.0, 47.06), "taiga": (25.9, 61.5), "alps": (9.8, 46.6), "atlantic": (-30.0, 40.0)}
    lon, lat = zip(*where.values(), strict=True)
    name = points(tmp_path, lon, lat, called=list(where))
    wish = {
        "eco": {"file": str(file), "column": "ECO_NAME"},
        "biome": {"file": str(file), "column": "BIOME_NUM"},
    }
    chips = {"key": "{called}", "sampling": {"method": "points", "file": name}}
    found = places(tmp_path, chips, EVERYWHERE, attributes=wish).set_index("key")
    regions = gpd.read_file(file)
    for key, at in where.items():
        own = regions[regions.contains(shapely.Point(at))]
        assert (
            found.loc[key, ["eco", "biome"]].dropna().tolist()
            == own[["ECO_NAME", "BIOME_NUM"]].to_numpy().ravel().tolist()
        )
    assert found["eco"].nunique() == 3
    assert found["eco"].isna().to_dict() == {key: key == "atlantic" for key in where}


def test_a_table_of_keys_gives_attributes_by_key(tmp_path):
    keys = places(tmp_path, {})["key"].tolist()
    table = pd.DataFrame({"key": keys[:5], "date": pd.Timestamp("2021-06-01"), "x1": range(5)})
    table.to_parquet(tmp_path / "k.parquet")
    wishes = {"day": {"file": "k.parquet", "column": "date"}, "x1": {"file": "k.parquet", "column": "x1"}}
    found = places(tmp_path, {}, attributes=wishes).set_index("key")
    assert found["day"].dropna().tolist() == ["2021-06-01T00:00:00"] * 5
    assert found.loc[keys[:5], "x1"].tolist() == [0, 1, 2, 3, 4]
    assert found["x1"].isna().sum() == len(keys) - 5


def test_attributes_that_are_none_are_refused(tmp_path):
    frame = gpd.GeoDataFrame({"a": [b"x"], "geometry": [shapely.box(9, 47, 10, 48)]}, crs=4326)
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match="no text, numbers or flags"):
        places(tmp_path, {}, attributes={"a": {"file": "a.parquet", "column": "a"}})
    with pytest.raises(RecipeError, match="no column 'b'"):
        places(tmp_path, {}, attributes={"a": {"file": "a.parquet", "column": "b"}})
    for name, said in (("key", "a column of every dataset"), ("worldcover_x", "columns of layer worldcover")):
        with pytest.raises(RecipeError, match=said):
            places(tmp_path, {}, attributes={name: {"file": "a.parquet", "column": "a"}})


# What surrounds them ----------------------------------------------------------------------------------------


def test_a_recipes_digest_follows_the_files_of_its_places(tmp_path):
    points(tmp_path, [9.1], [47.1])
    points(tmp_path, [9.1], [47.1], "q.csv", kind=["a"])
    mapping = {
        "chips": {
            "size": 16,
            "sampling": {"method": "points", "file": "p.csv", "exclude": {"near": "q.csv", "m": 1}},
        },
        "attributes": {"a": {"file": "q.csv", "column": "kind", "join": "nearest"}},
    }
    before = load(tmp_path, mapping).digest
    assert load(tmp_path, mapping).digest == before
    points(tmp_path, [9.1], [47.1], "q.csv", kind=["b"])
    between = load(tmp_path, mapping).digest
    points(tmp_path, [9.2], [47.1])
    assert len({before, between, load(tmp_path, mapping).digest}) == 3


@pytest.mark.parametrize(
    ("chips", "said"),
    [
        ({"sampling": {"method": "random"}}, "needs 'count'"),
        ({"sampling": {"method": "land_grid"}}, "needs 'km'"),
        ({"sampling": {"method": "scene_tiles", "of": "s3"}}, "a layer of this recipe|another layer"),
        ({"sampling": {"method": "scene_tiles"}}, "needs 'of'"),
        ({"lattice": {"snap": False}}, "places no chip at a point"),
        ({"subdivide": {"n": 3, "px": 6}}, "more than the chip's 16"),
        ({"key": "{x.y}"}, "a template such as"),
        ({"crs": "EPSG:3035", "sampling": {"method": "scene_tiles", "of": "s2"}}, "in their scene's CRS"),
    ],
)
def test_recipes_that_cannot_be_placed_are_refused(tmp_path, chips, said):
    mapping = {"area": {"bbox": [0, 0, 1, 1]}, "chips": {"size": 16, "resolution": 10, **chips}}
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, {**mapping, **(S2 if "s2" in str(chips) else {})})


def test_chips_of_several_pixel_lattices_share_no_window():
    """A common window would move some of them by half a pixel."""
    own = [Place(f"p{k}", "EPSG:32632", 500_000 + 160 * k + dx, 5_200_000.0, 16, 10.0)
           for k, dx in enumerate([0.0, 5.0, 0.0, 5.0, 1e-6])]  # fmt: skip
    groups = sorted(tuple(f.group.tolist()) for f in frames(own, None))
    for group in groups:
        assert len({round(own[k].x % 10, 3) % 10 for k in group}) == 1
    assert sorted(k for g in groups for k in g) == [0, 1, 2, 3, 4]
    for frame in frames(own, None):
        for k, (row, col) in zip(frame.group, frame.at, strict=True):
            x, y = frame.affine * (int(col), int(row))
            assert (x, y) == pytest.approx((own[k].x, own[k].y), abs=1e-5)
