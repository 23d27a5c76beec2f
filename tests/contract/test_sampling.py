"""What every way of placing chips keeps. A new method adds a class at the end with its own `sampling`."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, ClassVar

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from chipweave.pixels.lattice import reproject
from chipweave.plan.area import AreaOfInterest
from chipweave.plan.lattices import utm_zones
from chipweave.plan.place import place_chips, search_cells
from chipweave.plan.sampling import METHODS
from tiny import assets, load, north_up, outline, scene, write_tif

KEY = re.compile(r"[A-Za-z0-9_-]+")
GEOD = pyproj.Geod(ellps="WGS84")

SITES = {
    "alps": (9.0, 47.0, 9.5, 47.3),
    "two zones": (11.8, 45.0, 12.2, 45.2),
    "equator": (8.8, -0.2, 9.2, 0.2),
    "south": (18.0, -34.2, 18.5, -33.9),
    "norway": (2.8, 60.0, 3.2, 60.2),
    "svalbard": (20.0, 78.4, 22.0, 78.7),
    "date line": (179.8, -17.2, -179.8, -16.9),
    "high": (100.0, 82.0, 103.0, 82.3),
}


def area_of(bbox: tuple[float, float, float, float], rule: str = "centre") -> AreaOfInterest:
    w, s, e, n = bbox
    boxes = ((w, s, e, n),) if w < e else ((w, s, 180.0, n), (-180.0, s, e, n))
    return AreaOfInterest(shapely.union_all([shapely.box(*b) for b in boxes]), rule, boxes)


def spread(bbox: tuple[float, float, float, float], n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Points on a skew raster over a box and a little beyond."""
    w, s, e, north = bbox
    e += 360.0 * (e < w)
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(-0.05, 1.05, n), np.linspace(-0.05, 1.05, n)))
    lon = w + (e - w) * (u + 0.013 * v)
    return np.where(lon > 180, lon - 360, lon), s + (north - s) * (v + 0.017 * u)


LAID: dict[tuple[type, str], gpd.GeoDataFrame] = {}
FEW = ("alps", "date line", "svalbard")
"""Sites for what lays places again and again."""


def pytest_generate_tests(metafunc):
    """The sites of each method: what is not laid at one is no test there."""
    for name, known in (("site", SITES), ("few", FEW)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, [k for k in known if k in metafunc.cls.sites])


class SamplingContract:
    """Inherit, and say how the method is asked for."""

    method: ClassVar[str]
    grows: ClassVar[bool] = True
    """A larger area has all places of a smaller one."""
    apart_m: ClassVar[int] = 6000
    """What some of 40 places are nearer than; where a method draws till it has 40, they have room for it."""

    sites: ClassVar[tuple[str, ...]] = tuple(SITES)

    def sampling(self, folder, bbox) -> dict[str, Any]:  # noqa: ARG002
        """Options of the method for a box; files go to the folder."""
        return {}

    def scenes(self, folder, bbox) -> list[Any]:  # noqa: ARG002
        return []

    def places(self, folder, site: str, rule: str = "centre", **more) -> gpd.GeoDataFrame:
        bbox = SITES[site]
        own = {"method": self.method, **self.sampling(folder, bbox), **more.pop("sampling", {})}
        chips = {"size": 32, "resolution": 10, **more, "sampling": own}
        loaded = load(folder, {"area": {"bbox": [0, 0, 1, 1]}, "chips": chips})
        return place_chips(loaded, area_of(bbox, rule), self.scenes(folder, bbox))

    @pytest.fixture
    def frame(self, site, tmp_path_factory):
        """Places of a site as the method lays them by itself."""
        return self.laid(site, tmp_path_factory)

    def laid(self, site: str, factory) -> gpd.GeoDataFrame:
        if (type(self), site) not in LAID:
            LAID[type(self), site] = self.places(factory.mktemp("laid"), site)
        return LAID[type(self), site]

    def test_keys_are_well_formed_unique_sorted_and_repeat(self, tmp_path, site, frame):
        keys = frame["key"].tolist()
        assert len(keys) >= 3
        assert all(KEY.fullmatch(k) for k in keys)
        assert keys == sorted(set(keys))
        assert frame["place"].is_unique
        pd.testing.assert_frame_equal(
            pd.DataFrame(frame.drop(columns="geometry")),
            pd.DataFrame(self.places(tmp_path, site).drop(columns="geometry")),
        )

    def test_centres_lie_in_the_area_and_footprints_around_them(self, site, frame):
        area = area_of(SITES[site])
        lon, lat = frame["lon"].to_numpy(), frame["lat"].to_numpy()
        assert area.holds_points(lon, lat).all()
        assert shapely.intersects_xy(frame.geometry.to_numpy(), lon, lat).all()
        for row in frame.iloc[:: max(1, len(frame) // 40)].itertuples():
            half = row.size * row.resolution / 2
            at = reproject(np.array([row.x + half]), np.array([row.y - half]), row.crs, "EPSG:4326")
            assert (row.lon, row.lat) == pytest.approx((at[0][0], at[1][0]), abs=1e-9)
            area_m2 = abs(GEOD.geometry_area_perimeter(row.geometry)[0])
            assert area_m2 == pytest.approx((2 * half) ** 2, rel=0.02)

    def test_count_and_seed_choose(self, tmp_path, few):
        def keys(seed):
            return tuple(self.places(tmp_path, few, sampling={"count": 2, "seed": seed})["key"])

        two = keys(1)
        assert len(two) == 2
        assert keys(1) == two
        assert {keys(seed) for seed in range(2, 5)} != {two}

    def test_places_keep_their_distance(self, tmp_path, few):
        far = self.places(tmp_path, few, sampling={"count": 40, "min_distance_m": self.apart_m})
        lon, lat = far["lon"].tolist(), far["lat"].tolist()
        for i, j in itertools.combinations(range(len(far)), 2):
            assert GEOD.inv(lon[i], lat[i], lon[j], lat[j])[2] >= self.apart_m - 1e-3
        assert 1 <= len(far) <= 40

    def test_none_comes_near_what_is_excluded(self, tmp_path, tmp_path_factory, few):
        all_of_them = self.laid(few, tmp_path_factory)
        at = all_of_them.iloc[len(all_of_them) // 2]
        gpd.GeoDataFrame(geometry=[shapely.Point(at.lon, at.lat)], crs=4326).to_file(tmp_path / "x.geojson")
        frame = self.places(tmp_path, few, sampling={"exclude": {"near": "x.geojson", "m": 2500}})
        assert len(frame) >= 1
        if self.grows:
            assert len(frame) < len(all_of_them)
        for row in frame.iloc[:: max(1, len(frame) // 100)].itertuples():
            ring = shapely.get_coordinates(shapely.segmentize(row.geometry, 1e-4))
            away = GEOD.inv(*ring.T, np.full(len(ring), at.lon), np.full(len(ring), at.lat))[2]
            assert away.min() > 2500 - 3  # a zone's plane is off by a thousandth at most

    @pytest.mark.parametrize("rule", ["within", "intersects"])
    def test_the_other_rules_of_the_area_hold(self, tmp_path, rule):
        frame = self.places(tmp_path, "alps", rule=rule)
        box = area_of(SITES["alps"]).geometry
        shares = shapely.area(shapely.intersection(frame.geometry.to_numpy(), box)) / shapely.area(
            frame.geometry.to_numpy()
        )
        assert shares.min() > {"within": 1 - 1e-9, "intersects": 0}[rule]

    def test_searches_hold_every_footprint(self, frame):
        cells = shapely.union_all([shapely.box(*c) for c in search_cells(frame)])
        kept = frame[frame["reason"] == ""]
        assert shapely.covers(cells.buffer(1e-9), kept.geometry.to_numpy()).all()

    def test_a_chip_is_cut_into_parts_that_fill_its_corner(self, tmp_path):
        whole = self.places(tmp_path, "alps", sampling={"count": 3})
        parts = self.places(tmp_path, "alps", sampling={"count": 3}, subdivide={"n": 3, "px": 10})
        assert len(parts) == 9 * len(whole)
        assert set(parts["size"]) == {10}
        assert parts["key"].is_unique
        corners = {(c, x + 100 * i, y - 100 * j) for c, x, y in whole[["crs", "x", "y"]].itertuples(index=False)
                   for i in range(3) for j in range(3)}  # fmt: skip
        assert set(parts[["crs", "x", "y"]].itertuples(index=False, name=None)) == corners


class LatticeContract(SamplingContract):
    """Of methods that take neither CRS nor corners from elsewhere: chips lie on the lattice of their zone."""

    def test_chips_are_in_the_zone_of_their_centre(self, frame):
        zones = utm_zones(frame["lon"].to_numpy(), frame["lat"].to_numpy())
        codes = zones + np.where(frame["lat"] >= 0, 32600, 32700)
        assert frame["crs"].tolist() == [f"EPSG:{c}" for c in codes]

    def test_corners_lie_on_the_pixel_lattice(self, frame):
        steps = frame[["x", "y"]].to_numpy() / 10
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)

    def test_corners_count_from_the_anchor(self, tmp_path, few):
        frame = self.places(tmp_path, few, lattice={"anchor": "landsat"}, size=16, resolution=30)
        steps = (frame[["x", "y"]].to_numpy() - 15) / 30
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)


class TestGrid(LatticeContract):
    method = "grid"

    def sampling(self, folder, bbox):  # noqa: ARG002
        return {"stride": 300}


class TestMajorTom(LatticeContract):
    method = "majortom"
    sites = ("alps", "two zones", "equator", "south", "svalbard", "date line", "high")


class TestLandGrid(LatticeContract):
    method = "land_grid"

    def sampling(self, folder, bbox):  # noqa: ARG002
        return {"km": 4.2}


class TestRandom(LatticeContract):
    method = "random"
    grows = False
    apart_m = 3500

    def sampling(self, folder, bbox):  # noqa: ARG002
        return {"count": 30}


class TestPoints(LatticeContract):
    method = "points"

    def sampling(self, folder, bbox):
        lon, lat = spread(bbox)
        pd.DataFrame({"lon": lon, "lat": lat}).to_csv(folder / "p.csv", index=False)
        return {"file": "p.csv"}

    def test_the_order_of_the_file_does_not_matter(self, tmp_path, few):
        lon, lat = spread(SITES[few])
        pd.DataFrame({"lon": lon, "lat": lat})[::-1].to_csv(tmp_path / "q.csv", index=False)
        for more in ({}, {"jitter_m": 300.0}, {"count": 5}, {"min_distance_m": 9000}):
            one = self.places(tmp_path, few, sampling=more)
            two = self.places(tmp_path, few, sampling={**more, "file": "q.csv"})
            assert one["key"].tolist() == two["key"].tolist()


class TestFeatures(LatticeContract):
    method = "features"

    def sampling(self, folder, bbox):
        lon, lat = spread(bbox)
        shapes = [
            shapely.box(x - 0.002, y - 0.001, x + 0.002, y + 0.001) for x, y in zip(lon, lat, strict=True)
        ]
        gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=4326).to_file(folder / "f.gpkg")
        return {"file": "f.gpkg", "centre": "bounds"}


class TestCities(LatticeContract):
    method = "cities"
    grows = False
    apart_m = 3500

    def sampling(self, folder, bbox):
        lon, lat = spread(bbox, 2)
        pd.DataFrame({"city": list("abcd"), "longitude": lon, "latitude": lat}).to_csv(
            folder / "c.csv", index=False
        )
        return {"file": "c.csv", "std_km": 8, "count": 25}


class TestList(SamplingContract):
    method = "list"

    def sampling(self, folder, bbox):
        lon, lat = spread(bbox)
        codes = utm_zones(lon, lat) + np.where(lat >= 0, 32600, 32700)
        rows = []
        for k, (code, a, b) in enumerate(zip(codes.tolist(), lon, lat, strict=True)):
            x, y = (float(v[0]) for v in reproject(np.array([a]), np.array([b]), "EPSG:4326", f"EPSG:{code}"))
            transform = json.dumps([10, 0, round(x, 2), 0, -10, round(y, 2)])
            rows.append({"key": f"p{k}", "crs": f"EPSG:{code}", "transform": transform})
        pd.DataFrame(rows).to_csv(folder / "l.csv", index=False)
        return {"file": "l.csv"}


class TestSceneTiles(SamplingContract):
    method = "scene_tiles"
    sites = ("alps", "south", "svalbard", "equator", "high")

    def sampling(self, folder, bbox):  # noqa: ARG002
        return {"of": "s2"}

    def scenes(self, folder, bbox):
        w, s, e, n = bbox
        code = int(utm_zones(np.array([(w + e) / 2]), np.array([(s + n) / 2]))[0]) + (
            32600 if n > 0.3 else 32700
        )
        crs = f"EPSG:{code}"
        x, y = (
            float(v[0]) for v in reproject(np.array([(w + e) / 2]), np.array([(s + n) / 2]), "EPSG:4326", crs)
        )
        found = []
        for name, dx in (("a", 0.0), ("b", 2010.0)):
            path = write_tif(
                folder / f"{name}.tif", np.ones((80, 70), np.uint8), crs, north_up(x + dx, y, 60)
            )
            shape = outline(crs, x + dx, y - 4800, x + dx + 4200, y)
            found.append(scene(name, shape, crs=crs, assets=assets(blue=path)))
        return found

    def places(self, folder, site, rule="centre", **more):
        bbox = SITES[site]
        own = {"method": self.method, **self.sampling(folder, bbox), **more.pop("sampling", {})}
        chips = {"size": 32, "resolution": 10, **more, "sampling": own}
        layer = {"collection": "sentinel-2-l2a", "bands": ["blue"], "catalog": "."}
        loaded = load(folder, {"area": {"bbox": [0, 0, 1, 1]}, "chips": chips, "imagery": {"s2": layer}})
        return place_chips(loaded, area_of(bbox, rule), self.scenes(folder, bbox))


def test_every_method_has_a_contract():
    """But `stratified`, which is a grid until the survey: tests/e2e/test_sampling_worlds.py."""
    kinds = {
        c.method
        for kind in (SamplingContract, LatticeContract)
        for c in kind.__subclasses__()
        if "method" in vars(c)
    }
    assert kinds == set(METHODS) - {"stratified"}
