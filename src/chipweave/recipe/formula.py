"""Formulas of further bands, such as ``(nir - red) / (nir + red)``: read here, so that nothing of a recipe is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

ALIASES: Final[Mapping[str, str]] = {
    "A": "coastal", "B": "blue", "G": "green", "R": "red", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3",
    "N": "nir", "N2": "nir08", "S1": "swir16", "S2": "swir22", "VV": "vv", "VH": "vh", "HH": "hh", "HV": "hv",
}  # fmt: skip
"""Letters of the Awesome Spectral Indices catalogue (spyndex) for common names."""

FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Any], int]]] = {
    "abs": (np.abs, 1), "sqrt": (np.sqrt, 1), "exp": (np.exp, 1), "log": (np.log, 1), "log10": (np.log10, 1),
    "min": (np.minimum, 2), "max": (np.maximum, 2),
}  # fmt: skip
"""What a formula may call, and with how many values."""

_BINARY: Final[Mapping[type[ast.operator], Callable[..., Any]]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power,
}  # fmt: skip
_UNARY: Final[Mapping[type[ast.unaryop], Callable[..., Any]]] = {
    ast.USub: np.negative,
    ast.UAdd: np.positive,
}

LONGEST: Final = 1000
"""Characters of a formula."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula over bands by their common names.

    Raises
    ------
    ValueError
        It is none; the message says what is wrong.
    """

    text: str

    def __post_init__(self) -> None:
        _names(_parsed(self.text), self.text)

    @property
    def names(self) -> frozenset[str]:
        """Common names of the bands that it needs."""
        return _names(_parsed(self.text), self.text)

    def of(self, bands: Mapping[str, Doubles]) -> Doubles:
        """Its value, NaN where it has none; `bands` are physical values, NaN where there is no data."""
        with np.errstate(all="ignore"):
            value = np.asarray(_value(_parsed(self.text), bands), np.float64)
        return np.where(np.isfinite(value), value, np.nan)


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    try:
        return ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is no formula") from None


def _names(node: ast.expr, text: str) -> frozenset[str]:
    """Bands of a formula, every part of which is allowed."""
    if isinstance(node, ast.Name):
        return frozenset({ALIASES.get(node.id, node.id)})
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        return frozenset()
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _names(node.left, text) | _names(node.right, text)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _names(node.operand, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        known = FUNCTIONS.get(node.func.id)
        if known is not None and len(node.args) == known[1]:
            return frozenset().union(*(_names(arg, text) for arg in node.args))
    part = ast.get_source_segment(text, node) or text
    raise ValueError(
        f"{part!r} is not understood: bands, numbers, + - * / **, brackets, {', '.join(FUNCTIONS)} are"
    )


def _value(node: ast.expr, bands: Mapping[str, Doubles]) -> Any:
    if isinstance(node, ast.Name):
        return bands[ALIASES.get(node.id, node.id)]
    if isinstance(node, ast.Constant):
        return np.float64(node.value)  # type: ignore[arg-type]  # `_names` let numbers pass alone
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, bands), _value(node.right, bands))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, bands))
    assert isinstance(node, ast.Call)  # noqa: S101 - `_names` let nothing else pass
    assert isinstance(node.func, ast.Name)  # noqa: S101
    return FUNCTIONS[node.func.id][0](*(_value(arg, bands) for arg in node.args))
