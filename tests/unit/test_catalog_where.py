"""`where`: comparisons, lists, short names."""

from __future__ import annotations

import pytest

from catalog_world import make_item
from chipweave.catalog.where import refusal

P = {
    "eo:cloud_cover": 12.5,
    "sat:orbit_state": "ascending",
    "sat:relative_orbit": 108,
    "platform": "Sentinel-2A",
    "s2:mgrs_tile": "32TMT",
    "view:off_nadir": "7",
    "proj:flag": True,
    "instruments": ["msi", "x"],
    "created": "2021-07-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({}, True),
        ({"cloud": "<20"}, True),
        ({"cloud": "< 12.5"}, False),
        ({"cloud": "<=12.5"}, True),
        ({"cloud": ">12.5"}, False),
        ({"cloud": ">=12.5"}, True),
        ({"cloud": "==12.5"}, True),
        ({"cloud": "!=12.5"}, False),
        ({"cloud": 12.5}, True),
        ({"cloud": "12.50"}, True),
        ({"eo:cloud_cover": "<1"}, False),
        ({"cloud": "<9"}, False),
        ({"cloud": "<100"}, True),
        ({"orbit": "ascending"}, True),
        ({"orbit": "Ascending"}, True),
        ({"orbit": "descending"}, False),
        ({"relative_orbit": 108}, True),
        ({"relative_orbit": [7, 108]}, True),
        ({"relative_orbit": (7, 8)}, False),
        ({"relative_orbit": ["<5", ">100"]}, True),
        ({"relative_orbit": "108"}, True),
        ({"platform": "sentinel-2a"}, True),
        ({"platform": ["sentinel-2b", "SENTINEL-2A"]}, True),
        ({"platform": "!=sentinel-2b"}, True),
        ({"platform": "sentinel-2b"}, False),
        ({"s2:mgrs_tile": "32TMT"}, True),
        ({"view:off_nadir": "<10"}, True),
        ({"created": ">2021-06"}, True),
        ({"proj:flag": True}, True),
        ({"proj:flag": False}, False),
        ({"proj:flag": "true"}, True),
        ({"proj:flag": 1}, False),
        ({"instruments": "msi"}, True),
        ({"instruments": "oli"}, False),
        ({"instruments": "!=msi"}, False),
        ({"gone": "<1"}, False),
        ({"gone": "!=1"}, True),
        ({"id": "A"}, True),
        ({"id": ["B", "C"]}, False),
        ({"cloud": "<20", "orbit": "descending"}, False),
        ({"relative_orbit": []}, False),
    ],
)
def test_table(where, kept):
    assert (refusal(make_item("A", properties=P), where) is None) == kept


def test_says_which_key_and_whether_it_is_stated():
    item = make_item(properties=P)
    assert refusal(item, {"cloud": "<20", "orbit": "descending"}) == ("orbit", False)
    assert refusal(item, {"gone": 1}) == ("gone", True)
    assert refusal(make_item(properties={"eo:cloud_cover": None}), {"cloud": "<20"}) == ("cloud", True)
