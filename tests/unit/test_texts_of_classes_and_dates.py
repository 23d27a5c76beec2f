"""Captions of class shares and of metadata, against counts and calendars done by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from chipweave.audit.arrays import shape_of
from chipweave.labels.base import Shown
from chipweave.labels.text.landcover import bin_word, windows_of
from chipweave.labels.text.metadata import middle, season
from chipweave.labels.text.words import (
    a,
    any_of,
    are,
    area_text,
    class_name,
    compass,
    counted,
    draw,
    length_text,
    listed,
    noun,
    one_of,
    percent,
)
from chipweave.model import LayerSpec, Legend, LegendClass, Place
from written import (
    COVER,
    EQUATOR,
    NORTH,
    RES,
    SIZE,
    facts_of,
    image_spec,
    label_spec,
    place_at,
    seen_of,
    writer,
    written,
)

SPEC = label_spec("cover", COVER)


def caption(raster, spec=SPEC, where=NORTH, **options):
    return written(
        writer("landcover_caption", spec, **options), seen_of(place_at(where), raster=raster, spec=spec)
    )


def planted():
    """Top left all trees; top right half crops, half water; below crops, but for 19 pixels of mangroves."""
    raster = np.full((SIZE, SIZE), 40, np.uint8)
    raster[:32, :32] = 10
    raster[:32, 48:] = 80
    raster[63, :19] = 95
    return raster


@pytest.mark.parametrize("where", [EQUATOR, NORTH], ids=["equator", "60N"])
def test_shares_of_every_window_are_counts_of_pixels(where):
    text, document = caption(planted(), where=where, shares="percent")
    found = {(f["to"], f["of"]): f["value"] for f in facts_of(document, "share")}
    cells = SIZE * SIZE
    assert found == {
        ("image", "cropland"): round((cells - 1024 - 512 - 19) / cells, 6),
        ("image", "tree cover"): 0.25,
        ("image", "water"): 0.125,
        ("top left", "tree cover"): 1.0,
        ("top right", "cropland"): 0.5,
        ("top right", "water"): 0.5,
        ("bottom left", "cropland"): round((1024 - 19) / 1024, 6),
        ("bottom right", "cropland"): 1.0,
        ("centre", "cropland"): 0.75,
        ("centre", "tree cover"): 0.25,
    }, "19 pixels are fewer than 20, and nobody is told of them"
    sentences = [s["text"] for s in document["sentences"]]
    assert sentences[0].split(" ", 3)[3] == "62 % cropland, 25 % tree cover and 13 % water."
    assert sentences[1].split(" ", 4)[4] == "100 % tree cover."
    assert sentences[-1] in {"Overall, it is mostly cropland.", "As a whole, most of it is cropland."}
    assert text == " ".join(sentences)


def test_binned_shares_have_five_words():
    assert [bin_word(n / 100) for n in (0, 9, 10, 19, 20, 49, 50, 79, 80, 100)] == [
        "very small", "very small", "small", "small", "medium", "medium", "large", "large", "very large", "very large",
    ]  # fmt: skip
    assert bin_word(0.095) == "small", "after rounding to whole per cent, halves up"
    assert bin_word(0.0949) == "very small"
    _, document = caption(planted())
    assert [f["text"] for f in facts_of(document, "share")][:3] == ["large", "medium", "small"]
    for sentence in document["sentences"][:-1]:
        for fact in sentence["facts"]:
            assert f"{a(fact['text'])} " in sentence["text"]
            assert f" of {fact['of']}" in sentence["text"]


def test_windows_halve_and_quarter_the_chip():
    even = windows_of(64, ("quadrants", "centre"))
    ground = np.zeros((64, 64), int)
    for name, window in even.items():
        if name != "centre":
            ground[window] += 1
    assert (ground == 1).all()
    assert even["centre"] == (slice(16, 48), slice(16, 48))
    odd = windows_of(7, ("quadrants", "centre"))
    assert odd["top left"] == (slice(0, 3), slice(0, 3))
    assert odd["centre"] == (slice(1, 6), slice(1, 6)), "as much on either side"
    assert list(windows_of(8, ("centre",))) == ["centre"]


def test_options_of_windows_classes_and_pixels():
    _, document = caption(planted(), windows=["centre"], top=1, min_px=19)
    assert [s["facts"][0]["to"] for s in document["sentences"]] == ["image", "centre", "image"]
    assert len(document["sentences"][1]["facts"]) == 1
    assert "mangroves" in {f["of"] for f in facts_of(document, "share")}
    assert "less than 1 % mangroves" in caption(planted(), shares="percent", min_px=19)[0]
    _, document = caption(planted(), min_px=1025)
    assert "No class fills 1025 pixels of the top left." in [s["text"] for s in document["sentences"]]


def test_pixels_without_a_class_are_said_and_take_no_share():
    raster = planted()
    raster[:32, :32] = 0
    raster[40, 40] = 77  # no code of the legend
    _, document = caption(raster)
    [fact] = facts_of(document, "unlabelled")
    assert fact["value"] == round(1025 / 4096, 6)
    assert "No class is known for about 25 % of the image." in [s["text"] for s in document["sentences"]]
    assert facts_of(document, "share")[0]["value"] == round((4096 - 1024 - 1 - 512 - 19) / (4096 - 1025), 6)
    texts = [s["text"] for s in document["sentences"]]
    assert texts[0].startswith("The known part of the image ")
    assert texts[1] == "No class fills 20 pixels of the top left."
    assert texts[2].startswith("The top right "), "all of it is known"
    assert texts[4].startswith("The known part of the bottom right ")
    assert "cropland" in texts[-1], "58 % of all pixels"
    raster = np.where(np.arange(SIZE)[:, None] < 40, 0, planted()).astype(np.uint8)
    text, document = caption(raster)
    assert text.endswith("No class is known to cover more than half of it."), "24 of 64 rows are crops"
    assert facts_of(document, "largest")[0]["value"] == round((24 * 64 - 19) / 4096, 6)
    raster = planted()
    raster[0, 0] = 0
    assert "No class is known for less than 1 % of the image." in caption(raster)[0]
    text, document = caption(np.zeros((SIZE, SIZE), np.uint8))
    assert text == "No land cover is known here."
    assert shape_of(document) == shape_of(caption(planted())[1])


def test_a_hostile_legend_breaks_no_line():
    names = ("A\nb\u2028c", "\u202e", "x" * 5000)
    spec = label_spec(
        "cover", Legend("h", tuple(LegendClass(i + 1, n, "#000000") for i, n in enumerate(names)), 0)
    )
    raster = np.tile(np.array([1, 2, 3, 3], np.uint8), (SIZE, SIZE // 4))
    text, _ = caption(raster, spec)
    assert len(text.splitlines()) == 1
    assert all(c.isprintable() for c in text)
    assert "unnamed" in text
    assert "x" * 80 not in text


# --- where, when, by what

S2 = image_spec()
MASK = LayerSpec("s2_mask", "mask", "sentinel-2-l2a", (), ("y", "x"), "uint8", (SIZE, SIZE), RES, 255)


def shown(*datetimes, cloud=0.0, valid=1.0):
    items = tuple((f"item{i}",) if d else ("",) for i, d in enumerate(datetimes))
    return Shown("sentinel-2-l2a", ("red",), 10.0, "reflectance", datetimes, items, cloud, valid)


def told(image, bbox=(9.0, 60.0, 9.2, 60.2), columns=None, more=(MASK,), place=None, **options):
    source = writer("metadata_caption", S2, *more, **options)
    seen = seen_of(place or place_at(NORTH), imagery={"s2": image}, bbox=bbox, columns=columns)
    return written(source, seen), source.write(seen)


def test_one_image_is_told_by_date_season_place_and_cloud():
    (text, document), target = told(shown("2021-07-03T10:20:31Z", cloud=0.124), columns={"country": "Norway", "n": 3},
                                    place=None, decimals=2)  # fmt: skip
    first, second, third, last = (s["text"] for s in document["sentences"])
    assert first.split(" ", 4)[4] == "on 3 July 2021, in summer."
    assert second == "Its centre lies near 60.10° N, 9.10° E."
    assert third == "A pixel is 10 m wide, the image 640 m."
    assert last == "Clouds and their shadows cover 12 % of it."
    assert text == f"{first} {second} {third} {last}"
    assert [f["value"] for f in facts_of(document, "cloud")] == [0.124]
    assert [f["text"] for f in facts_of(document, "date")] == ["2021-07-03"]
    assert target.said["t"] == {
        "datetime": ["2021-07-03T10:20:31Z"], "items": [["item0"]], "present": True, "valid_fraction": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("month", "lat", "expected"),
    [(1, 60, "winter"), (1, -35, "summer"), (4, 60, "spring"), (4, -35, "autumn"), (7, 47, "summer"),
     (7, -47, "winter"), (10, 30, "autumn"), (10, -30, "spring"), (12, 60, "winter"), (12, -60, "summer"),
     (2, 24, "winter"), (3, 24, "spring"), (7, 10, ""), (7, -23.4, ""), (11, 0, "")],
)  # fmt: skip
def test_seasons_go_by_hemisphere(month, lat, expected):
    assert season(date(2021, month, 15), lat) == expected


def test_series_gaps_and_absent_images():
    (text, document), _ = told(
        shown("2021-12-30T10:00:00Z", "", "2021-12-01T10:00:00Z"), bbox=(9, -35, 9.1, -34.9)
    )
    assert "on 2 days from 1 December 2021 to 30 December 2021, in summer of the southern hemisphere." in text
    assert [f["text"] for f in facts_of(document, "season")] == ["summer"]
    (text, _), _ = told(shown("2021-05-30T10:00:00Z", "2021-06-02T10:00:00Z"))
    assert "summer" not in text, "two seasons: none is said"
    (text, document), target = told(shown("", ""))
    assert text.startswith("There is no image of sentinel-2-l2a here.")
    assert "loud" not in text
    assert target.said["t"]["present"] is False
    assert shape_of(document) == shape_of(told(shown("2021-05-30T10:00:00Z"))[0][1])


def test_clouds_are_told_only_where_they_were_looked_for():
    assert "No cloud covers it." in told(shown("2021-05-30T10:00:00Z"))[0][0]
    assert "less than 1 %" in told(shown("2021-05-30T10:00:00Z", cloud=0.001))[0][0]
    assert "loud" not in told(shown("2021-05-30T10:00:00Z", cloud=0.5), more=())[0][0]


def test_places_across_the_date_line_and_at_zero():
    assert middle((179.0, -1.0, -179.0, 1.0)) == (180.0, 0.0)
    assert middle((179.5, 10.0, -178.5, 11.0)) == (-179.5, 10.5)
    assert "near 0.0°, 0.0°." in told(shown("2021-05-30T10:00:00Z"), bbox=(-0.01, -0.01, 0.01, 0.01))[0][0]
    assert (
        "near 33.9° S, 18.4° W."
        in told(shown("2021-05-30T10:00:00Z"), bbox=(-18.5, -34.0, -18.3, -33.8))[0][0]
    )


def test_attributes_grids_and_labels():
    columns = {"country": "N\nor\u202eway", "none": None, "nan": float("nan"), "n": 3}
    source = writer("metadata_caption", S2, MASK, place=["country", "none", "nan", "n", "absent"])
    text, document = written(
        source, seen_of(place_at(NORTH), imagery={"s2": shown("2021-05-30T10:00:00Z")}, columns=columns)
    )
    assert "Of the place, country: N orway, n: 3." in text
    assert [f["to"] for f in facts_of(document, "attribute")] == ["country", "n"]
    degrees = Place("k", "EPSG:4326", 9.0, 60.0, 64, 0.0001)
    assert "A pixel is 0.0001° wide, the image 0.0064°." in told(shown("2021-05-30"), place=degrees)[0][0]
    wide = Place("k", "EPSG:32632", 600_000.0, 6_660_000.0, 256, 10.0)
    assert "the image 2.56 km." in told(shown("2021-05-30"), place=wide)[0][0]
    feet = Place("k", "EPSG:2263", 1_000_000.0, 200_000.0, 64, 10.0)
    assert (
        "A pixel is 10 US survey foot wide, the image 640 US survey foot."
        in told(shown("2021-05-30"), place=feet)[0][0]
    )
    label = written(writer("metadata_caption", SPEC), seen_of(place_at(NORTH), spec=SPEC))
    assert label[0].startswith("This is a label, osm, of 2021.")


# --- words


def test_words_are_drawn_evenly_and_never_by_chance():
    drawn = [draw(4, 7, f"chip{i}", "layer", "verb") for i in range(4000)]
    counts = np.bincount(drawn, minlength=4)
    assert counts.min() > 900
    assert one_of("abcd", 1, "x") == one_of("abcd", 1, "x")
    assert draw(1 << 60, 1, "x") == 187_786_206_962_993_257, "the same on every machine"


def test_numbers_for_people():
    assert [area_text(m) for m in (0.44, 3.6, 149, 9940, 9960, 123_456, 1_250_000, 9.9e7)] == [
        "0.44 m²", "3.6 m²", "150 m²", "9,900 m²", "1 ha", "12 ha", "1.2 km²", "99 km²",
    ]  # fmt: skip
    assert [length_text(m) for m in (9.96, 344, 996, 12_345)] == ["10 m", "340 m", "1 km", "12 km"]
    assert [percent(s) for s in (0, 0.004, 0.005, 0.625, 1)] == [0, 0, 1, 63, 100]
    assert [compass(d) for d in (0, 22.4, 22.6, 90, 180, 270, 337.6, 359.9, 360)] == [
        "north", "north", "north-east", "east", "south", "west", "north", "north", "north",
    ]  # fmt: skip


def test_nouns_for_people():
    names = ("building", "Buildings", "forest cover", "quarry", "school park")
    assert [counted(2, class_name(name), 2) for name in names] == [
        "2 buildings", "2 buildings", "2 areas of forest cover", "2 quarries", "2 school parks",
    ]  # fmt: skip
    assert noun("motorway", 1, 2) == "stretches of motorway"
    assert noun("mast", 0) == "point of mast"
    assert any_of("orchard") == "an orchard"
    assert any_of("residential") == "a residential area"
    assert any_of("inland water") == "any inland water"
    named = ("inland water", "wetlands", "quarries, landfill and construction", "grass")
    assert [are(name) for name in named] == ["Is", "Are", "Are", "Is"]
    assert noun("parking and squares", 2) == "area of parking and squares"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [class_name(n) for n in ("Tree cover", "NDVI", "X", "", "\n")] == [
        "tree cover",
        "NDVI",
        "x",
        "unnamed",
        "unnamed",
    ]
