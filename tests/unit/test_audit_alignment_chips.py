"""Alignment of single chips, bands, steps and items: faults of a few must not vanish among many that are sound."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from chipweave.audit.fits import Fits
from chipweave.audit.picked import Picked
from chipweave.audit.report import Findings
from chipweave.audit.reread import Seen
from chipweave.audit.sources import Sources

PX = 48
BANDS = ("blue", "green", "red")


class Told(Sources):
    """Sources whose pixels each layer of a test holds itself, under `truth`."""

    def readable(self, layer):
        return list(layer["bands"])

    def bands(self, name, layer, crs, step, wanted):  # noqa: ARG002
        return {band: layer["truth"][step][layer["bands"].index(band)] for band in wanted}

    def classes(self, name, layer, crs):  # noqa: ARG002
        return layer["truth"].astype(float)

    def copied(self, name, layer):  # noqa: ARG002
        return layer["legend"] == "own"


def ground(number: int, band: int, step: int = 0) -> np.ndarray:
    """Reflectance of a chip, in steps of 1e-4."""
    x, y = np.meshgrid(np.arange(PX) + 37.0 * number, np.arange(PX) + 11.0 * number)
    waves = 0.04 * np.sin(x / (5 + band) + y / 13 + step) + 0.03 * np.cos(y / (6 + step) - x / 17 + band)
    return np.round((0.3 + waves) / 1e-4) * 1e-4


def pictures(chips: int = 8, steps: int = 1) -> Picked:
    keys = [f"k{n}" for n in range(chips)]
    picked = Picked(frozenset(keys))
    for number, key in enumerate(keys):
        truth = np.stack([[ground(number, b, s) for b in range(len(BANDS))] for s in range(steps)])
        layer = {
            "kind": "imagery", "present": True, "dims": ["time", "band", "y", "x"], "bands": list(BANDS),
            "items": [[f"scene{s}"] for s in range(steps)], "scale": 1e-4, "offset": 0.0, "nodata": -32768,
            "truth": truth,
        }  # fmt: skip
        picked.see({"key": key, "crs": ""}, {"s2": layer}, {"s2": np.rint(truth / 1e-4).astype(np.int16)})
    return picked


def of_pictures(picked: Picked):
    seen, findings = Seen(), Findings("source")
    seen.look(Told({}, {}), picked)
    numbers = seen.judge(findings)
    return findings.check("", scenes=numbers)


def array_of(picked: Picked, number: int) -> np.ndarray:
    return picked.arrays[f"k{number}"]["s2"]  # of one step: (1, band, y, x)


def rolled(picked):
    array_of(picked, 3)[0, :] = np.roll(array_of(picked, 3)[0], 1, axis=-1)


def flipped(picked):
    array_of(picked, 3)[0] = array_of(picked, 3)[0, :, ::-1].copy()


def swapped(picked):
    one, two = array_of(picked, 3).copy(), array_of(picked, 4).copy()
    array_of(picked, 3)[:], array_of(picked, 4)[:] = two, one


def zeroed(picked):
    array_of(picked, 3)[:] = 0


def brighter(picked):
    array_of(picked, 3)[:] += 300


def exchanged(picked):
    for arrays in picked.arrays.values():
        arrays["s2"][:] = arrays["s2"][:, [2, 1, 0]].copy()


def elsewhere(picked):
    picked.layers["k3"]["s2"]["truth"][:] = np.nan


@pytest.mark.parametrize(
    ("change", "words", "chips"),
    [
        (rolled, "off their source by +1", "1 of 8"),
        (flipped, "not what their source shows", "1 of 8"),
        (swapped, "not what their source shows", "2 of 8"),
        (zeroed, "first k3", "1 of 8"),
        (brighter, "+0.03 more than their source", "1 of 8"),
        (exchanged, "(blue, red)", "8 of 8"),
        (elsewhere, "have data where their source has none", "1 of 8"),
    ],
)
def test_one_chip_or_band_among_many(change, words, chips):
    picked = pictures()
    assert of_pictures(picked).verdict == "pass"
    change(picked)
    check = of_pictures(picked)
    assert check.verdict == "fail"
    assert words in check.text
    assert chips in check.text
    assert check.numbers["scenes"]["s2: scene0"]["chips"] == 8


def test_bands_that_are_off_are_named_and_not_averaged_with_others():
    picked = pictures()
    for arrays in picked.arrays.values():
        arrays["s2"][:, :2] += 1000
    assert "has +0.1 more than its source in blue, green" in of_pictures(picked).text


@pytest.mark.parametrize(("chips", "steps"), [(4, 3), (40, 3)])
def test_every_band_and_step_comes_up(chips, steps):
    picked = pictures(chips, steps)
    found = of_pictures(picked).numbers["scenes"]
    assert set(found) == {f"s2: scene{s}" for s in range(steps)}
    assert all(set(of["bands"]) == set(BANDS) for of in found.values())
    read = sum(of["looked_at"] for of in found.values())
    assert read <= chips * min(steps, 2 if chips * steps > 64 else steps) * len(BANDS)
    for arrays in picked.arrays.values():
        arrays["s2"][1:] += 1000
    assert "scene1 of s2 has +0.1 more" in of_pictures(picked).text


def test_flat_pictures_rounding_clipping_and_gaps_are_no_faults():
    picked = pictures()
    rng = np.random.default_rng(0)
    array, truth = array_of(picked, 0), picked.layers["k0"]["s2"]["truth"]
    truth[:] = 0.02 + rng.integers(-1, 2, truth.shape) * 1e-4  # water, and a rounding of one's own
    array[:] = np.rint(truth / 1e-4) + rng.integers(-1, 2, truth.shape)
    array_of(picked, 1)[:, :, :30] = -32768  # clouds that were erased
    picked.layers["k2"]["s2"]["truth"][:, :, :20] += 5.0  # too bright for 16 bits
    array_of(picked, 2)[:, :, :20] = 32767
    check = of_pictures(picked)
    assert check.verdict == "pass", check.text


def test_a_clip_of_the_recipe_is_no_fault_and_no_excuse_elsewhere():
    recipe = {"imagery": {"s2": {"encode": {"clip": [0, 10_000], "dtype": "uint8", "scale": 0.0255}}}}
    own = Sources({}, {}, recipe=recipe)
    layer = {"scale": 1 / 0.0255 * 1e-4, "offset": 0.0}
    assert own.bounds("s2", layer, np.dtype("uint8")) == (0.0, pytest.approx(1.0))
    assert own.bounds("s2_10m", layer, np.dtype("uint8")) == (0.0, pytest.approx(1.0))
    assert own.bounds("s1", {"scale": 1e-4, "offset": 0.0}, np.dtype("int16"))[1] == pytest.approx(3.2767)


# --- labels ----------------------------------------------------------------------------------


def maps(legend: str, chips: int = 8) -> Picked:
    keys = [f"k{n}" for n in range(chips)]
    picked = Picked(frozenset(keys))
    for number, key in enumerate(keys):
        codes = (
            np.random.default_rng(number).integers(1, 5, (PX // 6, PX // 6)).repeat(6, 0).repeat(6, 1) * 10
        )
        layer = {
            "kind": "label", "present": True, "legend": legend, "nodata": 0, "items": [["a" if number < 6 else "b"]],
            "fractions": dict.fromkeys(("10", "20", "30", "40"), 0.0), "truth": codes,
        }  # fmt: skip
        array = codes // 10 if legend != "own" else codes.copy()
        picked.see({"key": key, "crs": ""}, {"cover": layer}, {"cover": array.astype(np.uint8)})
    return picked


def of_maps(picked: Picked):
    fits, findings = Fits(), Findings("labels")
    fits.look(Told({}, {}), picked)
    numbers = fits.judge(findings)
    return findings.check("", scenes=numbers)


def spoilt(legend: str, change, *numbers: int):
    picked = copy.deepcopy(maps(legend))
    for number in numbers:
        array = picked.arrays[f"k{number}"]["cover"]
        array[:] = change(array.copy())
    return of_maps(picked)


def merged(array):
    array[array == 20] = 10
    return array


@pytest.mark.parametrize("legend", ["own", "made of it"])
def test_labels_of_one_item_and_of_one_chip_that_lie_off(legend):
    assert of_maps(maps(legend)).verdict == "pass"
    item = spoilt(legend, lambda a: np.roll(a, 1, 1), 6, 7)
    assert item.verdict == "fail"
    assert "cover of b, 2 chips, lies +1, +0 px" in item.text
    chip = spoilt(legend, lambda a: np.roll(a, -1, 0), 2)
    assert chip.verdict == "fail"
    assert "cover: 1 of 8 chips, the first of which, k2, lies +0, -1 px" in chip.text


def test_codes_that_were_copied_are_held_against_themselves():
    everywhere = range(8)
    assert (
        "cover has 40 where its source has 10"
        in spoilt("own", lambda a: np.full_like(a, 40), *everywhere).text
    )
    assert "cover has 10 where its source has 20: 0.0%" in spoilt("own", merged, *everywhere).text
    assert "1 of 8 chips, first k2, have other classes" in spoilt("own", lambda a: a.T, 2).text
    # A remap may merge.
    made = spoilt("made of it", lambda a: np.minimum(a, 3), *everywhere)
    assert made.verdict == "pass"


def test_labels_where_their_source_has_none():
    picked = maps("own")
    truth = picked.layers["k2"]["cover"]["truth"].astype(float)
    truth[:] = np.nan
    picked.layers["k2"]["cover"]["truth"] = truth
    check = of_maps(picked)
    assert check.verdict == "fail"
    assert "1 of 8 chips, first k2, have classes where their source has none" in check.text


@pytest.mark.parametrize(
    ("said", "copied"),
    [
        ({"collection": "esa-worldcover", "edition": 2021}, True),
        ({"collection": "esa-worldcover", "remap": {10: 1}}, False),
        ({"collection": "esa-worldcover", "cleanup": {"min_px": 3}}, False),
    ],
)
def test_which_labels_have_the_codes_of_their_source(said, copied):
    own = Sources({}, {}, recipe={"labels": {"cover": said}})
    layer = {"collection": "esa-worldcover", "legend": "worldcover"}
    assert own.copied("cover", layer) is copied
    assert own.copied("cover", {**layer, "legend": "corine"}) is False
    assert own.copied("other", layer) is False
