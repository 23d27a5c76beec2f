"""From what was placed, matched and surveyed to the table of chips: who is kept, in which split, in which batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Fate
from chipweave.plan import distance
from chipweave.plan.batches import batch_numbers, few_tiles, tile_names, tile_side
from chipweave.plan.grids import finer
from chipweave.plan.quota import stratum_of
from chipweave.plan.splits import SplitResult
from chipweave.plan.splits.blocks import assign
from chipweave.plan.surveying import Outcome, Surveyed
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.keep import Condition, parse


def label_layers_of(loaded: LoadedRecipe, labels: Sequence[str]) -> list[str]:
    """Label layers whose class shares are asked for: by a `keep` rule, or to place chips by class."""
    spoken = {c.layer for text in loaded.recipe.keep for c in parse(text)} | {loaded.recipe.chips.sampling.by}
    return [n for n in labels if n in spoken]


class ChipTable:
    """One row a place with its state, stage, reason and figures, as columns; splits are still to come.

    Parameters
    ----------
    loaded
        The recipe.
    places
        Table of places, without geometry.
    """

    def __init__(self, loaded: LoadedRecipe, places: pd.DataFrame) -> None:
        n = len(places)
        self._places, self._imagery = places, list(loaded.recipe.imagery)
        self._rules = [(text, parse(text)) for text in loaded.recipe.keep]
        self._columns = {
            name: np.full(n, "", object) for name in ("state", "stage", "layer", "href", "error")
        }
        self._columns["state"][:] = "kept"
        self._reason = places["reason"].to_numpy(dtype=object).copy()
        overlap = self._reason != ""
        self._columns["state"][overlap], self._columns["stage"][overlap] = "dropped", "place"
        self._stratum = np.full(n, -1, np.int64)
        self._strata = loaded.recipe.chips.sampling.by
        self._figures = {
            f"{layer}_{name}_fraction": np.full(n, np.nan)
            for layer in self._imagery
            for name in ("cloud", "valid")
        }

    def no_scene(self, lacking: npt.NDArray[np.integer[Any]], layers: Sequence[str]) -> None:
        """Drop the places that lack a scene: (n,) number of the layer, -1 where none is lacking."""
        rows = np.flatnonzero(lacking >= 0)
        self._columns["state"][rows], self._columns["stage"][rows] = "dropped", "lock"
        self._reason[rows] = "no_scene"
        self._columns["layer"][rows] = np.array(layers, object)[lacking[rows]]

    def settle(self, surveyed: Surveyed) -> None:
        """Write down what survey found.

        Raises
        ------
        RecipeError
            A `keep` rule names a class that the layer's legend does not have.
        """
        for row, found in zip(surveyed.rows.tolist(), surveyed.outcomes, strict=True):
            for layer in self._imagery:
                cloud, valid = found.choices[layer][4:]
                self._figures[f"{layer}_cloud_fraction"][row] = cloud
                self._figures[f"{layer}_valid_fraction"][row] = valid
            if self._strata is not None:
                self._stratum[row] = stratum_of(found.facts, self._strata)
            for name, value in _verdict(found, self._rules).items():
                (self._reason if name == "reason" else self._columns[name])[row] = value

    def frame(self) -> pd.DataFrame:
        """The table."""
        strata = {"stratum": self._stratum} if self._strata is not None else {}
        return self._places.assign(reason=self._reason, **self._columns, **self._figures, **strata)


def _verdict(found: Outcome, rules: Sequence[tuple[str, Sequence[Condition]]]) -> dict[str, str]:
    if found.error is not None:
        layer, href, error = found.error
        return {
            "state": "failed", "stage": "survey", "reason": "broken", "layer": layer, "href": href, "error": error
        }  # fmt: skip
    for layer, (chosen, reason, error, href, *_) in found.choices.items():
        if not chosen and reason:  # a partner that may be missing has none
            state = "failed" if reason == "broken" else "dropped"
            return {
                "state": state, "stage": "survey", "reason": reason, "layer": layer, "href": href, "error": error
            }  # fmt: skip
    for text, conditions in rules:
        for condition in conditions:
            if not condition.holds(_figure(found, condition)):
                return {
                    "state": "dropped", "stage": "survey", "reason": f"keep: {text}", "layer": condition.layer
                }  # fmt: skip
    return {}


def _figure(found: Outcome, condition: Condition) -> float:
    name = f"{condition.layer}.{condition.field}"
    if condition.layer in found.choices:
        cloud, valid = found.choices[condition.layer][4:]
        return {"cloud_fraction": cloud, "valid_fraction": valid, "nodata": 1 - valid}[condition.field]
    if name not in found.facts:
        codes = sorted(
            int(n.split(".")[1])
            for n in found.facts
            if n.startswith(f"{condition.layer}.") and n[-1].isdigit()
        )
        raise RecipeError(
            f"keep: {name}: {condition.layer} has no class {condition.field}", hint=f"its classes are {codes}"
        )
    return found.facts[name]


def split_chips(loaded: LoadedRecipe, chips: pd.DataFrame) -> tuple[pd.DataFrame, SplitResult | None]:
    """Add `split` and `block`; chips in the gap are dropped with reason ``buffer``.

    Raises
    ------
    YieldError
        A split that was asked for would be empty.
    """
    chips = chips.assign(split="", block="")
    kept = chips["state"] == "kept"
    split = loaded.recipe.split
    if split is None:
        chips.loc[kept, "split"] = "train"
        return chips, None
    if not kept.any():
        return chips, None
    places = chips[kept].drop_duplicates("place")  # of which there may be a chip a year
    table = places[["place", "lon", "lat"]].reset_index(drop=True)
    rings = rings_of(places)
    result = assign(
        table, rings, block_km=split.block_km, fractions=dict(split.fractions), buffer_m=float(split.buffer_m),
        buffer_drop=split.buffer_drop, tolerance=split.tolerance, seed=split.seed,
    )  # fmt: skip
    which = pd.Index(table["place"]).get_indexer(chips.loc[kept, "place"])
    chips.loc[kept, "split"] = np.asarray(result.split, object)[which]
    chips.loc[kept, "block"] = np.asarray(result.block, object)[which]
    gap = kept & (chips["split"] == "")
    chips.loc[gap, ["state", "stage", "reason"]] = ["dropped", "split", "buffer"]
    return chips, result


def rings_of(places: pd.DataFrame) -> Any:
    """Outlines of places for `plan.distance`."""
    side = (places["size"] * places["resolution"]).to_numpy(np.float64)
    return distance.rings(
        places["crs"].tolist(), places["x"].to_numpy(np.float64), places["y"].to_numpy(np.float64), side
    )


def batch_chips(
    chips: pd.DataFrame, tile_px: int | None = None, steps: int = 1, dates: int = 1, times: int = 1
) -> pd.DataFrame:
    """Add `tile` and `batch`; the batch is -1 where a chip is not kept. Rows are sorted by batch, tile, then key.

    Parameters
    ----------
    chips
        Their table.
    tile_px
        Side of a tile; no pixel depends on it.
    steps
        Dates of the longest series.
    dates
        Of a chip that becomes a composite.
    times
        Pixels of the finest layer along one of the chips'.
    """
    kept = (chips["state"] == "kept").to_numpy()
    batch = np.full(len(chips), -1, np.int64)
    tile = pd.Series("", index=chips.index, dtype=object)
    if kept.any():
        few = few_tiles(steps)
        fine = finer(chips, times)
        side = tile_side(fine[kept], tile_px, few)
        tile = tile_names(fine, side)
        batch[kept] = batch_numbers(
            pd.DataFrame({"tile": tile[kept], "size": fine["size"][kept]}), side, few, dates
        )
    key = chips["key"]
    rank = np.arange(len(chips)) if key.is_monotonic_increasing else key.rank().to_numpy()
    order = np.lexsort((rank, pd.factorize(tile, sort=True)[0], batch))
    return chips.assign(tile=tile, batch=batch).iloc[order].reset_index(drop=True)


def fates_of(chips: pd.DataFrame) -> list[Fate]:
    """Fates of the chips that are not kept: rows of the ledger."""
    rest = chips[chips["state"] != "kept"]
    return [
        Fate(*row)
        for row in rest[["key", "state", "stage", "reason", "layer", "href", "error"]].itertuples(index=False)
    ]
