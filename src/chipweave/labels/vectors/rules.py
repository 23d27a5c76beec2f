"""What of a layer is burned with which code: rules in order, and the legend that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from chipweave.errors import RecipeError
from chipweave.labels.base import NO_CLASS

HIGHEST: Final = 65_535
"""Largest code: classes are uint8 or uint16."""

MAX_CODES: Final = 1000
"""Codes of a layer: every sample's JSON has a share of each."""

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: which features are burned, with which code, and how.

    Parameters
    ----------
    where
        Condition on fields, as in SQL; all features without.
    value, column
        The code, or the field that holds it: one of both.
    buffer_m
        Metres on the ground by which features are made wider, or narrower where it is below 0.
    all_touched
        Burn every pixel that an area shares ground with, and not only those whose centre it holds.
    said
        How an error names it, such as ``labels.fields.burn.0``.
    """

    where: str | None
    value: int | None
    column: str | None
    buffer_m: float = 0.0
    all_touched: bool = False
    said: str = ""

    @property
    def picks(self) -> tuple[str | None, int | None, str | None]:
        """What tells features and their codes; rules that agree in it share a column of the store."""
        return self.where, self.value, self.column


def codes_of(
    rule: Rule,
    hit: npt.NDArray[np.bool_] | None,
    columns: Mapping[str, pa.Array],
    ids: npt.NDArray[np.int64],
    names: Mapping[str, int],
) -> Codes:
    """Code of each feature by one rule; `NO_CLASS` where the rule passes it over, or its field is null.

    Parameters
    ----------
    rule
        The rule.
    hit
        Which features its condition takes; None for all.
    columns, ids
        Fields of the features, and their numbers, for errors.
    names
        Of classes, to their codes: what a field of text may hold instead of a code.

    Raises
    ------
    RecipeError
        A field that holds no code, or one beyond 0..65535.
    """
    if rule.column is None:
        out = np.full(len(ids), rule.value, np.int32)
    else:
        out = _coded(rule, columns[rule.column], ids, names, hit)
    if hit is not None:
        out[~hit] = NO_CLASS
    return out


def _coded(
    rule: Rule,
    column: pa.Array,
    ids: npt.NDArray[np.int64],
    names: Mapping[str, int],
    hit: npt.NDArray[np.bool_] | None,
) -> Codes:
    some = ~np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False), np.bool_)
    if hit is not None:
        some &= hit
    out = np.full(len(column), NO_CLASS, np.int32)
    rows = np.flatnonzero(some)
    held = column.take(pa.array(rows))
    if pa.types.is_string(held.type) or pa.types.is_large_string(held.type):
        known = {text: _number(text, names) for text in pc.unique(held).to_pylist()}
        values = np.array([known[text] for text in held.to_pylist()], np.float64)
    else:
        values = held.to_numpy(zero_copy_only=False).astype(np.float64)
    bad = ~((values >= 0) & (values <= HIGHEST) & (values == np.floor(values)))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise RecipeError(
            f"{rule.said}.column: feature {ids[rows[at]]} has {rule.column} {held[at].as_py()!r}, which is no code "
            f"from 0 to {HIGHEST}",
            hint="name a field of codes, give a legend whose classes are called as the field says, or burn by `where`",
        )
    out[rows] = values.astype(np.int32)
    return out


def _number(text: str, names: Mapping[str, int]) -> float:
    if text in names:
        return float(names[text])
    bare = text.strip()
    return float(bare) if bare.isascii() and bare.isdigit() and len(bare) <= 9 else float("nan")


def class_names(rules: Sequence[Rule], codes: Sequence[Sequence[int]], layer: str) -> dict[int, str]:
    """Names of the codes that rules burn, for a layer without a legend.

    Parameters
    ----------
    rules, codes
        The rules, and what each burns.
    layer
        What all features are called where nothing tells them apart.
    """
    found: dict[int, list[str]] = {}
    for rule, own in zip(rules, codes, strict=True):
        for code in own:
            name = str(code) if rule.column is not None else rule.where or layer
            if name not in found.setdefault(code, []):
                found[code].append(name)
    return {code: " or ".join(texts)[:200] for code, texts in sorted(found.items())}
