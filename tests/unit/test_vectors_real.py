"""Parcels of five countries in five CRSs: burned as their own CRS says, whatever the chip's."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from catalog_world import SHARED
from chipweave.labels.vectors import Reading, Rule, VectorRead
from chipweave.model import Legend, LegendClass
from chipweave.plan.lattices import utm_codes
from support.polygons import beside, held, place_at, store

PARCELS = SHARED / "real" / "parcels"
FILES = {
    "at_invekos_schlaege_2025_sample.gpkg.zip": ("EPSG:31287", "SNAR_BEZEICHNUNG"),
    "dk_2024_fiboa_sample.parquet": ("EPSG:25832", "crop:code"),
    "fi_gsaa_sample.gpkg": ("EPSG:3067", "KASVIKOODI"),
    "jp_fude_2024_sample.parquet": ("EPSG:6668", "land_type"),
    "nl_brp_2023_sample.gpkg": ("EPSG:28992", "gewascode"),
}
LEGEND = Legend("parcels", (LegendClass(1, "parcel", "#000000"),), 0)

pytestmark = pytest.mark.skipif(not PARCELS.exists(), reason="the folder of real files is not here")


@pytest.mark.parametrize("name", FILES)
def test_parcels_are_burned_as_their_own_crs_says(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    crs, column = FILES[name]
    link = tmp_path_factory.mktemp("real") / name
    link.symlink_to(PARCELS / name)
    frame = gpd.read_parquet(link) if name.endswith(".parquet") else gpd.read_file(link)
    facts = store(link, columns=(column,))
    assert (facts.crs, facts.count, facts.mended, dict(facts.dropped)) == (crs, 100, 0, {})
    outline = frame.to_crs(4326).geometry
    w, s, e, n = facts.bounds
    assert outline.within(shapely.box(w, s, e, n)).all()
    shapes = frame.geometry.force_2d().to_numpy()
    burned = 0
    for row in range(0, 100, 50):
        middle = outline.iloc[row].centroid
        zone = f"EPSG:{int(utm_codes(np.array([middle.x]), np.array([middle.y]))[0])}"
        place = place_at(middle.x, middle.y, zone, 5.0, 48)
        read = VectorRead(
            "f",
            LEGEND,
            Reading(facts.folder, (Rule(None, 1, None),), (0,), 0, None, (column,)),
            96,
            5.0,
            instances=True,
        )
        target = read.read(place, [])
        near = [k for k, shape in enumerate(outline) if shape.distance(middle) < 0.005]
        truth = np.logical_or.reduce([held(shapes[k], place, frame.crs.to_wkt()) for k in near])
        unit = 5.0 / (111_320 if frame.crs.is_geographic else 1)
        wkt = frame.crs.to_wkt()
        sure = ~np.logical_or.reduce([beside(shapes[k], place, wkt, 0.005 * unit) for k in near])
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(target.arrays["f"][sure] == 1, truth[sure])
        burned += int(truth.sum())
        told = json.loads(target.documents["f_features"])["features"]
        kept = {str(frame[column].iloc[k]) for k in near}
        assert {str(f["properties"][column]) for f in told} <= kept
    assert burned > 10
