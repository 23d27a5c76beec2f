"""Places where nothing is: as many as asked for, away from all features, near their own, and told apart."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from chipweave.errors import RecipeError
from chipweave.plan.area import AreaOfInterest
from chipweave.plan.place import place_chips
from tiny import load

AREA = (24.0, 60.0, 26.0, 61.0)


def placed(folder: Path, **sampling) -> gpd.GeoDataFrame:
    document = {
        "version": 1, "name": "kilns", "area": {"bbox": list(AREA)},
        "chips": {"size": 64, "resolution": 10, "crs": "utm", "sampling": {"file": "kilns.gpkg", **sampling}},
        "labels": {"a": {"file": "a.tif"}},
    }  # fmt: skip
    loaded = load(folder, document)
    return place_chips(loaded, AreaOfInterest(shapely.box(*AREA), "centre", (AREA,)))


@pytest.mark.parametrize("method", ["points", "features"])
def test_negatives_keep_away_from_every_feature_and_stay_near_their_own(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(8)
    at = shapely.points(rng.uniform(24.2, 25.8, 40), rng.uniform(60.1, 60.9, 40))
    shapes = at if method == "points" else shapely.buffer(at, 0.004)
    frame = gpd.GeoDataFrame({"kind": ["kiln", "mill"] * 20}, geometry=shapes, crs=4326)
    frame.to_file(tmp_path / "kilns.gpkg")
    wish = {"method": method, "where": "kind = 'kiln'", "seed": 3}
    places = placed(tmp_path, **wish, negatives={"per": 3, "away_m": 2000, "within_m": 9000})
    assert places.groupby("negative").size().to_dict() == {False: 20, True: 60}
    metric = frame.to_crs(32635)
    chips = places.to_crs(32635)
    for chip, negative in zip(chips.geometry, places["negative"], strict=True):
        near = metric.distance(chip)
        assert (near.min() > 1990) == negative
        own = metric[metric["kind"] == "kiln"].distance(chip.centroid).min()
        assert own < 9100
    alone = placed(tmp_path, **wish)
    assert "negative" not in alone
    assert sorted(places.loc[~places["negative"], "key"]) == sorted(alone["key"])
    again = placed(tmp_path, **wish, negatives={"per": 3, "away_m": 2000, "within_m": 9000})
    assert again["key"].tolist() == places["key"].tolist()
    other = placed(tmp_path, **{**wish, "seed": 4}, negatives={"per": 3, "away_m": 2000, "within_m": 9000})
    assert set(other["key"]) != set(places["key"])


def test_negatives_that_find_no_room_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gpd.GeoDataFrame(geometry=shapely.points([25.0], [60.5]), crs=4326).to_file(tmp_path / "kilns.gpkg")
    places = placed(tmp_path, method="points", negatives={"away_m": 90_000, "within_m": 95_000})
    assert places["negative"].tolist() == [False]
    assert "1 of 1 negatives found no room" in caplog.text


def test_other_methods_have_no_negatives(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is no option of method 'list'"):
        placed(tmp_path, method="list", negatives={"away_m": 1})
