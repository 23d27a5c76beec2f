"""Formulas of further bands: what they say, and that nothing else is let in."""

from __future__ import annotations

import numpy as np
import pytest

from chipweave.pixels import LayerRead
from chipweave.recipe.formula import Formula

RED, NIR = np.array([[0.1, 0.0, np.nan, 0.2]]), np.array([[0.3, 0.0, 0.5, 0.1]])
BANDS = {"red": RED, "nir": NIR}


@pytest.mark.parametrize(
    "text", ["(nir - red) / (nir + red)", "(N-R)/(N+R)", "-(red-nir)/max(nir + red, nir+red)"]
)
def test_ndvi(text):
    formula = Formula(text)
    assert formula.names == {"nir", "red"}
    np.testing.assert_allclose(formula.of(BANDS), [[0.5, np.nan, np.nan, -1 / 3]])


def test_what_it_may_hold():
    text = "2.5 * (nir - red) / (nir + 6 * red ** 2 + sqrt(abs(red)) + 1e0) + min(red, 0.15) ^ 2 - log10(1)"
    red, nir = 0.2, 0.1
    expected = 2.5 * (nir - red) / (nir + 6 * red**2 + np.sqrt(red) + 1) + 0.15**2
    np.testing.assert_allclose(Formula(text).of(BANDS)[0, 3], expected)


@pytest.mark.parametrize(
    "text",
    [
        "", "nir -", "__import__('os')", "nir.real", "nir[0]", "open('x')", "lambda: 1", "nir if red else 1", "'a'",
        "True + 1", "sqrt(nir, red)", "sqrt(x=nir)", "[n for n in nir]", "nir @ red", "nir and red", "nir < red",
        "(" * 500 + "nir" + ")" * 500, "nir" + "+nir" * 300, "1j",
    ],
)  # fmt: skip
def test_nothing_else_is_let_in(text):
    with pytest.raises(ValueError, match=r"formula|understood|longer"):
        Formula(text)


def layer(dtype="int16", physical=(0.0001, 0.0)):
    ndvi = ("ndvi", Formula("(nir - red) / (nir + red)"))
    return LayerRead(("red", "nir"), {}, 0, dtype=dtype, physical=physical, indices=(ndvi,))


def test_a_layer_has_it_behind_its_bands_in_its_own_unit():
    values = np.array([[[1000, 0, -32768, 2000]], [[3000, 0, 5000, 1000]]], np.int16)
    got = layer().with_indices(values)
    assert got.dtype == np.int16
    np.testing.assert_array_equal(got[:2], values)
    np.testing.assert_array_equal(got[2], [[5000, -32768, -32768, -3333]])


def test_of_source_values_it_is_of_what_they_mean():
    """Landsat: the offset counts."""
    scale, offset = 2.75e-5, -0.2
    physical = np.array([[[0.1]], [[0.3]]])
    values = ((physical - offset) / scale).astype(np.float32)
    got = layer("float32", (scale, offset)).with_indices(values)
    np.testing.assert_allclose(got[2] * scale + offset, 0.5, rtol=1e-4)
