"""Editions of label products."""

from __future__ import annotations

import json

import pytest

from catalog_world import make_item, shared_data
from chipweave.catalog.collections import load_collection
from chipweave.catalog.editions import chosen_edition, edition_of
from chipweave.errors import RecipeError

WORLDCOVER, CORINE = load_collection("esa-worldcover"), load_collection("corine")
NO_TIME = {"datetime": None}


def _span(first, last):
    return {"datetime": None, "start_datetime": f"{first}T00:00:00Z", "end_datetime": f"{last}T23:59:59Z"}


@pytest.mark.parametrize(
    ("collection", "ident", "properties", "want"),
    [
        (WORLDCOVER, "x", {"esa_worldcover:product_version": "1.0.0"}, 2020),
        (
            WORLDCOVER,
            "x",
            {"esa_worldcover:product_version": "2.0.0", **_span("2020-01-01", "2020-12-31")},
            2021,
        ),
        (WORLDCOVER, "x", {"esa_worldcover:product_version": "V200"}, 2021),
        (WORLDCOVER, "x", {"edition": 2020}, 2020),
        (WORLDCOVER, "x", {"version": "v100"}, 2020),
        (WORLDCOVER, "x", {"version": "1.2.3", "datetime": "2021-01-01T00:00:00Z"}, 2021),
        (WORLDCOVER, "ESA_WorldCover_10m_2020_v100_N45E006", {}, 2020),
        (WORLDCOVER, "ESA_WorldCover_10m_2021_v200_N45E006", {"datetime": "2020-01-01T00:00:00Z"}, 2021),
        (WORLDCOVER, "x", _span("2021-01-01", "2021-12-31"), 2021),
        (WORLDCOVER, "x", {"datetime": "2019-05-05T00:00:00Z"}, 2019),
        (WORLDCOVER, "x20210", {"datetime": "2020-05-05T00:00:00Z"}, 2020),
        (WORLDCOVER, "x", NO_TIME, None),
        (CORINE, "U2018_CLC2018_V2020_20u1", {}, 2018),
        (CORINE, "U2018_CLC2012_V2020_20u1", {}, 2012),
        (CORINE, "clc_2006", NO_TIME, 2006),
        (CORINE, "x", {"corine:edition": "2018"}, 2018),
        (CORINE, "x", {"corine:edition": 2024}, 2024),
        (CORINE, "x", _span("2017-01-01", "2018-12-31"), 2018),
        (CORINE, "2012-or-2018", _span("2011-01-01", "2012-12-31"), 2012),
        (CORINE, "x", {"datetime": "2024-01-01T00:00:00Z"}, 2024),
    ],
)
def test_edition_of_an_item(collection, ident, properties, want):
    assert (
        edition_of(
            make_item(ident, collection=collection.name, properties={"datetime": None} | properties),
            collection,
        )
        == want
    )


def test_choosing():
    assert chosen_edition("wc", None, [2021, 2021]) == 2021
    assert chosen_edition("wc", 2020, [2021]) == 2020
    assert chosen_edition("wc", None, []) is None
    with pytest.raises(RecipeError, match=r"labels\.wc: the catalog has the editions 2020, 2021") as caught:
        chosen_edition("wc", None, [2021, 2020, 2021])
    assert "labels.wc.edition" in caught.value.hint


def test_recorded_worldcover():
    path = shared_data() / "real" / "stac" / "planetary-computer" / "esa-worldcover" / "items_limit1.json"
    item = json.loads(path.read_text(encoding="utf-8"))["features"][0]
    assert edition_of(item, WORLDCOVER) == 2021
