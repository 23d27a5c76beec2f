"""Real files: builds from STAC items made for them here, against an independent reading by GDAL."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from worlds import harness
from worlds.analytic import transformer
from worlds.checks import NODATA
from worlds.harness import Sample
from worlds.samples import CLASS_OF
from worlds.server import serve
from worlds.stac import bbox_of, footprint, write_catalog

HERE = Path(__file__).resolve()
DATA = Path(os.environ.get("CHIPWEAVE_SHARED_DATA") or HERE.parents[2].parent / "shared" / "data") / "real"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real files (CHIPWEAVE_SHARED_DATA) are not here"
)

EXETER = {
    "june02": "exe_2024-06-02_12-21-19_EPSG27700.tif",
    "june17": "exe_2024-06-17_12-21-21_UTM.tif",
    "august01": "exe_2024-08-01_12-21-19.tif",
    "august16": "exe_2024-08-16_12-21-11.tif",
    "august26": "exe_2024-08-26_12-21-11.tif",
}
EXETER_BANDS = {"blue": 1, "green": 2, "red": 3, "nir": 4}
SCL_BAD = (3, 8, 9, 10)

TERRAMESH = ("terramesh_282D_485L_3_3", "terramesh_38D_378R_2_3", "terramesh_637U_59R_1_3")
TERRAMESH_BANDS = (
    ("B01", "coastal"),
    ("B02", "blue"),
    ("B03", "green"),
    ("B04", "red"),
    ("B05", "rededge1"),
    ("B06", "rededge2"),
    ("B07", "rededge3"),
    ("B08", "nir"),
    ("B8A", "nir08"),
    ("B09", "nir09"),
    ("B11", "swir16"),
    ("B12", "swir22"),
)


def stac_item(ident: str, collection: str, path: Path, when: dict, bands=(), **properties) -> dict:
    """An item for one file with one data asset; `bands` are (name, common name or None) in the file's order."""
    with rasterio.open(path) as src:
        crs, bounds = src.crs, tuple(src.bounds)
    code = crs.to_epsg()
    geometry = footprint(crs.to_wkt(), bounds)
    asset: dict[str, object] = {
        "href": f"./{path.name}",
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
    }
    if bands:
        asset["eo:bands"] = [{"name": n, **({"common_name": c} if c else {})} for n, c in bands]
    # A CRS without a code: STAC says null, and WKT2 beside it.
    projection = (
        {"proj:epsg": code} if code else {"proj:epsg": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    )
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": ident,
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox_of(geometry),
        "properties": {**when, **projection, **properties},
        "links": [],
        "assets": {"data": asset},
    }


def inner(path: Path, metres: float) -> list[float]:
    """Bounding box of a file in degrees, that much smaller on every side."""
    with rasterio.open(path) as src:
        b, unit = src.bounds, 1.0 if src.crs.is_projected else 1 / 111_000
        d = metres * unit
        return list(transform_bounds(src.crs, "EPSG:4326", b.left + d, b.bottom + d, b.right - d, b.top - d))


# --- an independent reading ------------------------------------------------------------------------------------


def cut(sample: Sample, path: Path, index: int):
    """The part of a band around the sample, 8 pixels more on each side, its transform and CRS: quicker to warp."""
    with rasterio.open(path) as src:
        x, y = transformer(CRS.from_user_input(sample.crs).to_wkt(), src.crs.to_wkt()).transform(
            *sample.centres()
        )
        u, v = ~src.transform * (np.asarray(x), np.asarray(y))
        c0, c1 = (int(np.clip(at, 0, src.width)) for at in (u.min() - 8, u.max() + 9))
        r0, r1 = (int(np.clip(at, 0, src.height)) for at in (v.min() - 8, v.max() + 9))
        array = src.read(index, window=Window(c0, r0, c1 - c0, r1 - r0)).astype("float64")
        return array, src.transform * Affine.translation(c0, r0), src.crs


def gdal(path: Path, index: int, sample: Sample, how: str, nodata: float | None):
    """The file on the sample's grid by GDAL's warper, as float64 (NaN without data).

    `tolerance=0` turns GDAL's approximation of the transform off; otherwise it may be 0.125 px wrong.
    """
    array, affine, crs = cut(sample, path, index)
    out = np.full((sample.meta["height"], sample.meta["width"]), np.nan)
    if array.size:
        reproject(
            array,
            out,
            src_transform=affine,
            src_crs=crs,
            src_nodata=nodata,
            dst_transform=sample.affine,
            dst_crs=CRS.from_user_input(sample.crs),
            dst_nodata=np.nan,
            resampling=Resampling[how],
            tolerance=0.0,
        )
    return out


@lru_cache(maxsize=32)
def around(path: Path, index: int) -> np.ndarray:
    """Each pixel's 3 x 3 neighbourhood, (9, rows, cols), edges repeated, in the file's own type."""
    with rasterio.open(path) as src:
        padded = np.pad(src.read(index), 1, mode="edge")
        rows, cols = src.shape
    return np.stack([padded[r : r + rows, c : c + cols] for r in range(3) for c in range(3)])


@lru_cache(maxsize=64)
def _index(path: Path, crs: str, affine: Affine, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = affine * np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    with rasterio.open(path) as src:
        there = transformer(CRS.from_user_input(crs).to_wkt(), src.crs.to_wkt())
        return ~src.transform * there.transform(x, y)


def source_index(path: Path, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixel centres lie in the file: fractional column and row, whole numbers at pixel edges."""
    return _index(path, sample.crs, sample.affine, sample.meta["height"], sample.meta["width"])


def off_edges(path: Path, sample: Sample) -> np.ndarray:
    """True where the centre is farther than 0.05 px from a source pixel's edge: nearest is no matter of taste."""
    u, v = source_index(path, sample)
    return (np.abs(u - np.rint(u)) > 0.05) & (np.abs(v - np.rint(v)) > 0.05)


def compare_bilinear(out: np.ndarray, path: Path, index: int, sample: Sample, offset: int) -> int:
    """Hold a band against GDAL where no nodata is near; give the number of pixels compared."""
    expected = gdal(path, index, sample, "bilinear", 0) + offset
    near = around(path, index)
    u, v = source_index(path, sample)
    rows, cols = near.shape[1:]
    row, col = np.floor(v).astype(int), np.floor(u).astype(int)
    inside = (row >= 0) & (col >= 0) & (row < rows) & (col < cols)
    near = near[:, np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)].astype(float)
    clean = inside & (near != 0).all(axis=0) & np.isfinite(expected)
    assert (out[clean] != NODATA).all()
    # 1 DN for rounding, 0.1 px x gradient for two ways to find a coordinate (the issue). The gradient from above:
    # max - min over the 3 x 3 source pixels, which is two pixels across, either diagonal.
    error = np.abs(out - expected)
    over = clean & (error > 1 + 0.1 * np.ptp(near, axis=0))
    assert not over.any(), (
        f"{sample.key} band {index}: {over.sum()} of {clean.sum()}, worst {error[over].max():.1f}"
    )
    return int(clean.sum())


# --- Exeter ----------------------------------------------------------------------------------------------------


def exeter_catalog(folder: Path) -> Path:
    items = []
    for layer, name in EXETER.items():
        shutil.copy(DATA / "sentinel2" / "exeter_multidate" / name, folder / name)
        day, clock = name.removeprefix("exe_").split("_")[:2]
        when = {"datetime": f"{day}T{clock.removesuffix('.tif').replace('-', ':')}Z"}
        bands = [("B02", "blue"), ("B03", "green"), ("B04", "red"), ("B08", "nir"), ("SCL", None)]
        items.append(
            stac_item(
                f"S2_{layer}",
                "sentinel-2-l2a",
                folder / name,
                when,
                bands,
                **{"s2:processing_baseline": "05.10", "eo:cloud_cover": 50.0, "platform": "sentinel-2b"},
            )
        )
    return write_catalog(folder / "catalog.json", items)


def exeter_recipe(catalog: Path, chips: dict, layers: tuple[str, ...], area: dict) -> dict:
    def one(layer):
        day = EXETER[layer][4:14]
        return {
            "collection": "sentinel-2-l2a",
            "bands": list(EXETER_BANDS),
            "time": f"{day}/{day}",
            "max_cloud": 100,
            "min_valid": 0,
        }

    return {
        "version": 1,
        "name": "exeter",
        "catalog": catalog.name,
        "area": area,
        "chips": chips,
        "imagery": {layer: one(layer) for layer in layers},
        "output": {"formats": ["webdataset"], "samples_per_shard": 8},
    }


@pytest.fixture(scope="module")
def exeter(tmp_path_factory) -> tuple[Path, Path]:
    """All five dates as five layers, on one grid that is none of theirs; some chips reach beyond the files."""
    folder = tmp_path_factory.mktemp("exeter")
    catalog = exeter_catalog(folder)
    area = {"bbox": inner(folder / EXETER["august01"], 200)}
    chips = {"size": 64, "resolution": 20, "crs": "EPSG:32630"}
    return folder, harness.build(folder, exeter_recipe(catalog, chips, tuple(EXETER), area))


def test_five_dates_on_three_grids_equal_gdal(exeter):
    folder, out = exeter
    samples = harness.read_samples(out)
    assert len(samples) >= 20
    compared = dict.fromkeys(EXETER, 0)
    for k, sample in enumerate(samples.values()):
        assert sample.crs == "EPSG:32630"
        for layer, name in EXETER.items():
            meta = sample.meta["layers"][layer]
            assert meta["items"] == [[f"S2_{layer}"]]
            assert meta["datetime"][0].startswith(name[4:14])
            # Every other band of a sample, the others of the next one: GDAL's exact warp takes its time.
            for n, band in list(enumerate(meta["bands"]))[k % 2 :: 2]:
                # The offset of baseline 05.10 is still in the values: -1000.
                compared[layer] += compare_bilinear(
                    sample.arrays[layer][n], folder / name, EXETER_BANDS[band], sample, -1000
                )
    assert min(compared.values()) > 100_000, compared


def test_five_dates_are_nodata_where_the_source_pixel_is(exeter):
    """A target pixel is data where the source pixel under its centre is: with real nodata frames (0) and edges."""
    folder, out = exeter
    empty = 0
    for sample in harness.read_samples(out).values():
        for layer, name in EXETER.items():
            sure = off_edges(folder / name, sample)
            # The frame without data is the same in all bands of these files: the first and the last will do.
            for n, band in ((0, "blue"), (3, "nir")):
                under = gdal(folder / name, EXETER_BANDS[band], sample, "nearest", 0)
                np.testing.assert_array_equal(
                    (sample.arrays[layer][n] != NODATA)[sure], np.isfinite(under)[sure]
                )
                empty += (~np.isfinite(under)).sum()
    assert empty > 100


def test_masks_are_the_scene_classification(exeter):
    folder, out = exeter
    seen = set()
    for sample in harness.read_samples(out).values():
        for layer, name in EXETER.items():
            scl = np.nan_to_num(gdal(folder / name, 5, sample, "nearest", 0))
            expected = np.where(scl == 0, 255, np.isin(scl, SCL_BAD))
            mask, sure = sample.arrays[f"{layer}_mask"], off_edges(folder / name, sample)
            np.testing.assert_array_equal(mask[sure], expected[sure])
            seen |= set(np.unique(mask).tolist())
            meta = sample.meta["layers"][layer]
            data = (mask != 255).sum()
            # 1e-6: room for rounding in print.
            assert abs(meta["cloud_fraction"] - (mask == 1).sum() / max(data, 1)) < 1e-6
    assert seen == {0, 1, 255}


def test_a_grid_in_a_crs_without_a_code_is_copied_exactly(tmp_path):
    """Chips on the LAEA grid of three of the dates: values equal the file's, and the CRS is given as WKT2."""
    catalog = exeter_catalog(tmp_path)
    name = EXETER["august01"]
    with rasterio.open(tmp_path / name) as src:
        wkt = src.crs.to_wkt(version="WKT2_2019")
        area = {"bbox": inner(tmp_path / name, 700)}
    chips = {"size": 48, "resolution": 20, "crs": wkt, "lattice": {"anchor": [-3540, 3340]}}
    out = harness.build(tmp_path, exeter_recipe(catalog, chips, ("august01", "august26"), area))
    samples = harness.read_samples(out)
    assert len(samples) >= 16
    for sample in samples.values():
        assert "LAMBERT" in sample.crs.upper().replace("_", " ")
        # Equal in all that places a pixel; names and the spelling of the WKT may differ.
        assert CRS.from_wkt(sample.crs).to_dict() == CRS.from_wkt(wkt).to_dict()
        for layer in ("august01", "august26"):
            with rasterio.open(tmp_path / EXETER[layer]) as src:
                win = from_bounds(*sample.bounds, src.transform)
                stored = src.read([1, 2, 3, 4], window=win).astype(int)
                scl = src.read(5, window=win)
            np.testing.assert_array_equal(sample.arrays[layer], np.where(stored == 0, NODATA, stored - 1000))
            np.testing.assert_array_equal(
                sample.arrays[f"{layer}_mask"], np.where(scl == 0, 255, np.isin(scl, SCL_BAD))
            )


# --- TerraMesh -------------------------------------------------------------------------------------------------

LEGEND = """name: io-lulc-terramesh
nodata: 255
dtype: uint8
classes:
  - {value: 0, name: "No data", color: "#000000"}
  - {value: 1, name: "Water", color: "#419BDF"}
  - {value: 2, name: "Trees", color: "#397D49"}
  - {value: 3, name: "Grass", color: "#88B053"}
  - {value: 4, name: "Crops", color: "#E49635"}
  - {value: 5, name: "Shrub", color: "#DFC35A"}
  - {value: 6, name: "Built area", color: "#C4281B"}
  - {value: 7, name: "Bare ground", color: "#A59B8F"}
  - {value: 8, name: "Snow/ice", color: "#A8EBFF"}
  - {value: 9, name: "Rangeland", color: "#E3E2C3"}
"""
WHEN = {
    "terramesh_282D_485L_3_3": "2021-07-23",
    "terramesh_38D_378R_2_3": "2023-06-10",
    "terramesh_637U_59R_1_3": "2017-10-30",
}


def terramesh(folder: Path, place: str, *, on_grid: bool, catalog: str | None = None, **layer) -> dict:
    """A recipe for one place: twelve bands in one asset, and its land cover as a file with a legend of one's own."""
    for name in ("S2L2A.tif", "LULC.tif"):
        shutil.copy(DATA / "multisensor" / place / name, folder / name)
    (folder / "lulc.yaml").write_text(LEGEND, encoding="utf-8")
    day = WHEN[place]
    # The values have no offset any more, and no SCL comes with them.
    flags = {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True, "eo:cloud_cover": 0.0}
    item = stac_item(
        f"S2_{place}",
        "sentinel-2-l2a",
        folder / "S2L2A.tif",
        {"datetime": f"{day}T12:00:00Z"},
        TERRAMESH_BANDS,
        **flags,
    )
    write_catalog(folder / "catalog.json", [item])
    with rasterio.open(folder / "S2L2A.tif") as src:
        corner = [src.transform.c, src.transform.f]
    return {
        "version": 1,
        "name": "terramesh",
        "catalog": catalog or "catalog.json",
        "area": {"bbox": inner(folder / "S2L2A.tif", 30 if on_grid else 300)},
        "chips": {
            "size": 56,
            "resolution": 10,
            "crs": "utm",
            **({"lattice": {"anchor": corner}} if on_grid else {}),
        },
        "imagery": {
            "s2": {
                "collection": "sentinel-2-l2a",
                "bands": [common for _, common in TERRAMESH_BANDS],
                "time": f"{day}/{day}",
                "min_valid": 0,
                **layer,
            }
        },
        "labels": {"lulc": {"file": "LULC.tif", "legend": "lulc.yaml", "date": day}},
        "output": {"formats": ["webdataset"], "samples_per_shard": 8},
    }


@pytest.mark.parametrize("place", TERRAMESH)
def test_terramesh_on_its_own_grid_is_copied_exactly(place, tmp_path):
    """Northern and southern zones, origins at fractions of a metre; the two files' origins differ by a nanometre."""
    out = harness.build(tmp_path, terramesh(tmp_path, place, on_grid=True))
    samples = harness.read_samples(out)
    assert len(samples) == 16
    for sample in samples.values():
        # No SCL: clear by default, and no mask in this build.
        assert set(sample.arrays) == {"s2", "lulc"}
        assert sample.meta["layers"]["s2"]["cloud_fraction"] == 0.0
        with rasterio.open(tmp_path / "S2L2A.tif") as src:
            col, row = ~src.transform * (sample.bounds[0] + 5, sample.bounds[3] - 5)
            window = Window(int(col), int(row), 56, 56)
            np.testing.assert_array_equal(sample.arrays["s2"], src.read(window=window))
        with rasterio.open(tmp_path / "LULC.tif") as src:
            np.testing.assert_array_equal(sample.arrays["lulc"], src.read(1, window=window))
        meta = sample.meta["layers"]["lulc"]
        assert meta["legend"] == "io-lulc-terramesh"
        assert list(meta["fractions"]) == [str(c) for c in range(10)]
        for code in range(10):
            # 1e-6: room for rounding in print.
            assert abs(meta["fractions"][str(code)] - (sample.arrays["lulc"] == code).mean()) < 1e-6


@pytest.mark.parametrize("place", TERRAMESH[:1])
def test_terramesh_on_the_usual_lattice_equals_gdal(place, tmp_path):
    out = harness.build(tmp_path, terramesh(tmp_path, place, on_grid=False))
    samples = harness.read_samples(out)
    assert len(samples) >= 4
    compared = 0
    for sample in samples.values():
        for n in range(12):
            compared += compare_bilinear(sample.arrays["s2"][n], tmp_path / "S2L2A.tif", n + 1, sample, 0)
        expected = gdal(tmp_path / "LULC.tif", 1, sample, "nearest", None)
        sure = off_edges(tmp_path / "LULC.tif", sample)
        np.testing.assert_array_equal(sample.arrays["lulc"][sure], expected[sure])
    assert compared > 12 * 4 * 50 * 50


def test_without_a_mask_clouds_cannot_be_limited(tmp_path):
    mapping = terramesh(tmp_path, TERRAMESH[0], on_grid=True, max_cloud=10)
    harness.refuse(
        3, "build", harness.write_recipe(tmp_path / "r.yaml", mapping), "-o", tmp_path / "o", "--workers", 0
    )


def test_a_catalog_on_loopback_may_name_these_files_below_a_local_root(tmp_path):
    mapping = terramesh(tmp_path, TERRAMESH[2], on_grid=True)
    items = harness.strict_json((tmp_path / "catalog.json").read_bytes())["features"]
    items[0]["assets"]["data"]["href"] = str(tmp_path / "S2L2A.tif")
    with serve(items, tmp_path) as service:
        mapping["catalog"] = service.url
        mapping["local_roots"] = ["."]
        out = harness.build(tmp_path, mapping)
    assert len(harness.read_samples(out)) == 16


# --- labels alone ----------------------------------------------------------------------------------------------


def label_recipe(catalog: str, collection: str, edition: int, bbox: list[float], chips: dict) -> dict:
    return {
        "version": 1,
        "name": f"{collection}-alone",
        "catalog": catalog,
        "area": {"bbox": bbox},
        "chips": {"crs": "utm", **chips},
        "labels": {"classes": {"collection": collection, "edition": edition}},
        "output": {"formats": ["webdataset", "zarr"], "samples_per_shard": 8},
    }


def year(y: int) -> dict:
    return {
        "datetime": f"{y}-01-01T00:00:00Z",
        "start_datetime": f"{y}-01-01T00:00:00Z",
        "end_datetime": f"{y}-12-31T23:59:59Z",
    }


def classes_equal(samples: dict[str, Sample], path: Path, codes: set[int]) -> None:
    sure_pixels, seen = 0, set()
    for sample in samples.values():
        expected = gdal(path, 1, sample, "nearest", None)
        sure = off_edges(path, sample) & np.isfinite(expected)
        out = sample.arrays["classes"]
        np.testing.assert_array_equal(out[sure], expected[sure])
        sure_pixels += sure.sum()
        seen |= set(np.unique(out).tolist())
        meta = sample.meta["layers"]["classes"]
        assert sum(meta["fractions"].values()) == pytest.approx((out != meta["nodata"]).mean(), abs=1e-6)
    assert sure_pixels > 10_000
    assert codes <= seen


def test_corine_alone(tmp_path):
    """Imagery may be absent; 100 m classes on 20 m chips, nearest, from EPSG:3035."""
    path = shutil.copy(DATA / "labels" / "corine" / "clc-aachen_clipped.tif", tmp_path)
    write_catalog(tmp_path / "catalog.json", [stac_item("CLC_Aachen", "corine", Path(path), year(2018))])
    mapping = label_recipe(
        "catalog.json", "corine", 2018, [6.05, 50.72, 6.2, 50.82], {"size": 64, "resolution": 20}
    )
    out = harness.build(tmp_path, mapping)
    samples = harness.read_samples(out)
    assert len(samples) >= 40
    # Aachen in the data: urban fabric, arable land, pastures, forests.
    classes_equal(samples, Path(path), {2, 12, 18, 23})
    assert {s.meta["layers"]["classes"]["legend"] for s in samples.values()} == {"corine"}
    harness.succeed("verify", out)


def test_worldcover_alone(tmp_path):
    """A window of the full 36000 x 36000 tile around Sao Tome, on the equator: zone 32 N and its neighbour below."""
    path = shutil.copy(
        DATA / "labels" / "worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif", tmp_path
    )
    item = stac_item(
        "WC_N00E006", "esa-worldcover", Path(path), year(2021), **{"esa_worldcover:product_version": "2.0.0"}
    )
    write_catalog(tmp_path / "catalog.json", [item])
    mapping = label_recipe(
        "catalog.json", "esa-worldcover", 2021, [6.70, 0.30, 6.76, 0.36], {"size": 128, "resolution": 10}
    )
    out = harness.build(tmp_path, mapping)
    samples = harness.read_samples(out)
    assert len(samples) >= 16
    classes_equal(samples, Path(path), {10, 50, 80})
    for sample in samples.values():
        assert sample.meta["layers"]["classes"]["datetime"] == ["2021"]
    harness.succeed("verify", out)


def alone(tmp_path: Path, label: dict, bbox: list[float], chips: dict) -> dict[str, Sample]:
    mapping = {
        "version": 1, "area": {"bbox": bbox}, "chips": {"crs": "utm", **chips}, "labels": {"classes": label},
    }  # fmt: skip
    out = harness.build(tmp_path, mapping)
    harness.succeed("verify", out)
    return harness.read_samples(out)


def test_corine_of_guadeloupe_has_no_nodata_tag(tmp_path):
    """EPSG:4559, and 0 around the islands, of which nothing in the file says that it is no data: no class either."""
    path = DATA / "labels" / "corine" / "U2018_CLC2018_V2020_20u1_FR_GLP.tif"
    label = {"file": str(path), "legend": "corine", "date": 2018, "remap": "bigearthnet-19"}
    samples = alone(tmp_path, label, [-61.812, 15.929, -61.718, 16.02], {"size": 64, "resolution": 40})
    assert len(samples) >= 8
    seen = set()
    for sample in samples.values():
        stored = gdal(path, 1, sample, "nearest", None)
        sure = off_edges(path, sample) & np.isfinite(stored)
        expected = np.array([CLASS_OF.get(n, 255 if n in {0, 45} else 254) for n in range(46)])[
            np.nan_to_num(stored).astype(int)
        ]
        np.testing.assert_array_equal(sample.arrays["classes"][sure], expected[sure])
        seen |= set(np.unique(sample.arrays["classes"]).tolist())
        said = sample.meta["layers"]["classes"]
        assert said["ignored"] == pytest.approx((sample.arrays["classes"] > 18).mean())
    assert {0, 2, 8, 18, 255} <= seen


def test_cropland_data_layer(tmp_path):
    """EPSG:5070, 134 codes, no nodata tag; a legend by name."""
    path = DATA / "labels" / "usda_cdl" / "2021_30m_cdls_-106095_1807575_15000.tif"
    label = {"file": str(path), "legend": "usda-cdl", "date": 2021}
    samples = alone(tmp_path, label, [-97.2, 39.19, -97.12, 39.25], {"size": 128, "resolution": 10})
    assert len(samples) >= 8
    classes_equal(samples, path, {1, 5, 24, 176})
    assert {s.meta["layers"]["classes"]["legend"] for s in samples.values()} == {"usda-cdl"}
