"""What splits are to be alike in: classes, regions, years, as columns of amounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.errors import RecipeError
from chipweave.plan.splits.base import Ints, Names, coded
from chipweave.plan.splits.groups import one_value

Floats = NDArray[np.float64]
Amounts = NDArray[np.floating[Any]]

_MOST = 200
"""Values of a column that are strata of their own; more are numbers, and cut into tenths."""
_RARE = 0.01
"""Strata with less of the ground than this cannot be held to be alike; their distance is told apart."""


@dataclass(frozen=True, slots=True)
class Far:
    """How far strata are from being alike in all splits, in words and figures."""

    text: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Strata:
    """Amounts of strata at places: shares of classes, or which value of a column a place has.

    Parameters
    ----------
    names
        (c,) such as ``worldcover.80`` or ``country=PRT``.
    parts
        One entry a column or layer: (n, k) shares, or (n,) numbers of its k values.
    widths
        k of each.
    """

    names: tuple[str, ...]
    parts: tuple[Floats | Ints, ...]
    widths: tuple[int, ...]

    def sums(self, which: Ints, number: int, kind: type[np.floating[Any]] = np.float64) -> Amounts:
        """(number, c) amounts of places that go together, `which` (n,) saying with whom; -1 with nobody."""
        own = which >= 0
        out, column = np.empty((number, sum(self.widths)), kind), 0
        for part, width in zip(self.parts, self.widths, strict=True):
            if part.ndim == 1:
                counts = np.bincount(which[own] * width + part[own], minlength=number * width)
                out[:, column : column + width] = counts.reshape(number, width)
            else:
                for k in range(width):
                    out[:, column + k] = np.bincount(which[own], part[own, k], number)
            column += width
        return out

    def values(self) -> Floats:
        """(n, c) amounts place by place."""
        return np.concatenate(
            [p if p.ndim == 2 else np.eye(k)[p] for p, k in zip(self.parts, self.widths, strict=True)], axis=1
        )


def strata_of(rows: pd.DataFrame, names: Sequence[str]) -> Strata:
    """Strata of places.

    Parameters
    ----------
    rows
        Places; a name is a column, or a layer whose class shares are columns ``layer.code``.
    names
        What to balance.

    Raises
    ------
    RecipeError
        No such column, or one of more than 200 values that are no numbers.
    """
    parts: list[Floats | Ints] = []
    widths: list[int] = []
    labels: list[str] = []
    for name in names:
        shares = [c for c in rows.columns if str(c).startswith(f"{name}.")]
        if name in rows:
            codes, values = _values(rows[name], name)
            parts.append(codes)
            widths.append(len(values))
            labels += [f"{name}={value}" for value in values]
        elif shares:
            words = [c for c in shares if not pd.api.types.is_numeric_dtype(rows[c])]
            if words:
                raise RecipeError(
                    f"split: column {words[0]!r} holds no numbers",
                    hint=f"columns {name}.<class> are shares of classes",
                )
            used = [c for c in shares if float(rows[c].sum()) > 0]
            parts.append(np.nan_to_num(rows[used].to_numpy(float)))
            widths.append(len(used))
            labels += [str(c) for c in used]
        else:
            raise RecipeError(f"split: there is no column {name!r}, nor columns {name}.<class>, to go by")
    return Strata(tuple(labels), tuple(parts), tuple(widths))


def _values(column: pd.Series, name: str) -> tuple[Ints, list[str]]:
    """(n,) numbers of a column's values, and these as text, sorted."""
    codes, known = pd.factorize(one_value(column, name), use_na_sentinel=True)
    if len(known) > _MOST:
        if not pd.api.types.is_numeric_dtype(column):
            raise RecipeError(
                f"split.stratify: {name} has {len(known)} values: too many to be alike in all splits",
                hint=f"a column with at most {_MOST} values, or numbers",
            )
        numbers = column.to_numpy(float, na_value=np.nan)
        edges = np.quantile(numbers[np.isfinite(numbers)], np.linspace(0, 1, 11)[1:-1])
        codes = np.where(codes < 0, -1, np.searchsorted(edges, numbers, "right"))
        known = pd.Index([f"tenth{k + 1}" for k in range(10)])
    texts = [str(v) for v in known]
    codes = codes.astype(np.int64)
    if (codes < 0).any():
        codes, texts = np.where(codes < 0, len(texts), codes), [*texts, "(none)"]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], [texts[k] for k in order]


def farthest(strata: Strata, split: Names, fractions: Mapping[str, float]) -> Far:
    """How the kept amount of each stratum is shared, against the fractions."""
    names = list(fractions)
    known, codes = coded(split)
    number = {name: k for k, name in enumerate(names)}
    which = np.array([number.get(name, -1) for name in known.tolist()], np.int64)[codes]
    kept = strata.sums(which, len(names))
    labels = strata.names
    whole = kept.sum(axis=0)
    there = whole > 0
    off = np.zeros_like(kept)
    off[:, there] = kept[:, there] / whole[there] - np.array([fractions[n] for n in names])[:, None]
    common = there & (whole >= _RARE * whole.sum() / max(len(strata.parts), 1))
    if not common.any():
        return Far("there is nothing to balance", {"worst": 0.0})
    worst = np.abs(off).max(axis=0)
    far = int(np.argmax(np.where(common, worst, -1)))
    who = int(np.argmax(np.abs(off[:, far])))
    text = (
        f"farthest from alike is {labels[far]}, of which {names[who]} has {kept[who, far] / whole[far]:.1%} "
        f"where {fractions[names[who]]:.1%} would be its part"
    )
    rare = int(np.sum(there & ~common))
    if rare:
        text += f"; {rare} rare ones are not counted"
    figures = {
        "worst": round(float(worst[far]), 6), "mean": round(float(worst[common].mean()), 6),
        "stratum": labels[far], "split": names[who],
        "shares": {
            s: {n: round(float(kept[k, c] / whole[c]), 6) for k, n in enumerate(names)}
            for c, s in enumerate(labels) if there[c]
        },
    }  # fmt: skip
    return Far(text, figures)
