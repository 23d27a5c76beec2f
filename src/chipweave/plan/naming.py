"""Keys of chips: the lattice's own, or by the recipe's template."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import KEY
from chipweave.plan.lattices import crs_label
from chipweave.recipe.keys import fields

LONGEST = 200
"""Characters of a key: file systems and tar headers end at 255, with the layer's name behind it."""


def number(value: float) -> str:
    """Twelve figures: 0.01 mm of a northing, 0.1 mm of a degree, and no noise of sums and products."""
    decimals = 11 - max(int(np.floor(np.log10(abs(value)))), 0) if value else 0
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if decimals else text
    return text.replace("-", "n").replace(".", "p")


def own_keys(places: pd.DataFrame) -> pd.Series[str]:
    """``CRS-X-Y-SIZE-RESOLUTION`` of the upper left corner: the same for the same place in any build."""
    labels = {crs: crs_label(crs) for crs in places["crs"].unique()}
    return pd.Series(
        [
            f"{labels[crs]}-{number(x)}-{number(y)}-{size}-{number(resolution)}"
            for crs, x, y, size, resolution in zip(
                places["crs"], places["x"], places["y"], places["size"], places["resolution"], strict=True
            )
        ],
        index=places.index,
        dtype=object,
    )


def template_keys(places: pd.DataFrame, template: str) -> pd.Series[str]:
    """Keys by a template such as ``{tile}_{col:02d}_{row:02d}``.

    Parameters
    ----------
    places
        All that a template may name, as columns; `crs` gives its short name.
    template
        As `chipweave.recipe.keys` takes it.

    Raises
    ------
    RecipeError
        It names no column, or gives something that is no key, or one key twice.
    """
    parts = fields(template)
    unknown = [name for _, name, _ in parts if name and name not in places]
    if unknown:
        known = sorted(set(places.columns) - {"geometry", "reason", "w", "s", "e", "n"})
        raise RecipeError(
            f"chips.key: {{{unknown[0]}}} is no column of these places", hint=f"there are {', '.join(known)}"
        )
    labels = {crs: crs_label(crs) for crs in places["crs"].unique()}
    columns = {name: places[name].tolist() for _, name, _ in parts if name}
    if "crs" in columns:
        columns["crs"] = [labels[c] for c in columns["crs"]]
    keys = []
    for n in range(len(places)):
        key = "".join(
            text + (_said(columns[name][n], spec, name) if name else "") for text, name, spec in parts
        )
        if not KEY.fullmatch(key) or len(key) > LONGEST:
            raise RecipeError(
                f"chips.key: {key[:LONGEST]!r} is no key: letters, digits, _ and - only, at most {LONGEST}"
            )
        keys.append(key)
    found = pd.Series(keys, index=places.index, dtype=object)
    twice = found[found.duplicated()]
    if len(twice):
        raise RecipeError(
            f"chips.key: {twice.iloc[0]!r} is the key of several places",
            hint="name in it what tells them apart, such as {crs}, {x} and {y}",
        )
    return found


def _said(value: Any, spec: str, name: str) -> str:
    """One value in a key."""
    if isinstance(value, float) and value.is_integer() and spec:
        value = int(value)
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        raise RecipeError(f"chips.key: {{{name}}} is empty for some places")
    if isinstance(value, str):
        if spec:
            raise RecipeError(f"chips.key: {{{name}:{spec}}}: {value!r} is no whole number")
        return value
    if isinstance(value, float):
        if spec:
            raise RecipeError(f"chips.key: {{{name}:{spec}}}: {value:g} is no whole number")
        return number(value)
    return format(int(value), spec)
