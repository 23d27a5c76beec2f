"""``list``: places that a table gives, with their keys: those of a published dataset, or of another build's index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyproj.exceptions import CRSError

from chipweave.errors import RecipeError
from chipweave.model import KEY
from chipweave.pixels.lattice import parse_crs
from chipweave.plan.lattices import crs_name
from chipweave.plan.sampling.base import Ask
from chipweave.plan.vectors import read_table

COLUMNS = ("key", "crs", "transform")


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Places of the table, under their own keys.

    Raises
    ------
    RecipeError
        It cannot be read, lacks a column, or holds a place that is none of the recipe's: another pixel, another
        size, another CRS, a key twice.
    """
    path, said = ask.file
    table = _table(path, said)
    keys = [str(k) for k in table["key"]]
    bad = next((k for k in keys if not KEY.fullmatch(k)), None)
    if bad is not None:
        raise RecipeError(f"{said}: key {bad!r} is not made of letters, digits, _ and -")
    twice = pd.Series(keys).duplicated()
    if twice.any():
        raise RecipeError(f"{said}: key {keys[int(np.flatnonzero(twice)[0])]!r} stands twice")
    names = _names(table["crs"], said, ask)
    corners = [_corner(t, f"{said}: {k}", ask) for k, t in zip(keys, table["transform"], strict=True)]
    for column in ("height", "width"):
        if column in table and (table[column] != ask.chips.placed).any():
            raise RecipeError(f"{said}: {column} is not always {ask.chips.placed}, as chips.size is")
    x, y = np.array(corners, np.float64).reshape(-1, 2).T
    found = pd.DataFrame({"key": keys, "crs": names, "x": x, "y": y}).astype({"key": object, "crs": object})
    for name in ask.wanted & set(table.columns) - set(found.columns):
        found[name] = table[name].to_numpy()
    yield found


def _table(path: Path, said: str) -> pd.DataFrame:
    table = read_table(path, said)
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise RecipeError(f"{said}: has no column {missing[0]}", hint=f"it needs {', '.join(COLUMNS)}")
    if table.empty:
        raise RecipeError(f"{said}: holds no row")
    return table


def _names(column: pd.Series[Any], said: str, ask: Ask) -> list[str]:
    known: dict[str, str] = {}
    for text in {str(c) for c in column}:
        try:
            known[text] = crs_name(text if not text.isdigit() else f"EPSG:{text}")
        except (CRSError, ValueError) as error:
            raise RecipeError(f"{said}: crs {text!r} is none that PROJ knows") from error
        utm = ask.chips.crs == "utm"
        if parse_crs(known[text]).utm_zone is None if utm else known[text] != crs_name(ask.chips.crs):
            raise RecipeError(
                f"{said}: crs {text!r} is not that of chips.crs: {ask.chips.crs}",
                hint="write chips.crs as the list has it; a list with several CRSs needs UTM zones",
            )
    return [known[str(c)] for c in column]


def _corner(value: Any, said: str, ask: Ask) -> tuple[float, float]:
    """Upper left corner of a transform in affine order, which must have the recipe's pixels."""
    try:
        numbers = [float(v) for v in (_parts(value) if isinstance(value, str) else value)]
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{said}: transform {value!r} is not six numbers") from error
    step = ask.chips.metres_per_pixel
    if len(numbers) not in {6, 9} or not np.isfinite(numbers).all():
        raise RecipeError(f"{said}: transform {value!r} is not six numbers")
    a, b, x, d, e, y = numbers[:6]
    if b or d or not np.allclose([a, -e], step, rtol=1e-9, atol=0):
        raise RecipeError(
            f"{said}: transform has pixels of {a:g} by {e:g}, chips.resolution is {step:g}",
            hint="the order is affine: [a, b, x of the corner, d, e, y of the corner]",
        )
    return x, y


def _parts(text: str) -> list[Any]:
    """Numbers of a text: a JSON list, or parted by commas or blanks."""
    stripped = text.strip()
    if stripped.startswith("["):
        found = json.loads(stripped)
        return found if isinstance(found, list) else []
    return stripped.strip("()").replace(",", " ").split()
