"""From what was placed, matched and surveyed to the table of chips: who is kept, in which split, in which batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Fate
from chipweave.plan.batches import batch_numbers, few_tiles, tile_names, tile_side
from chipweave.plan.even import COLUMN
from chipweave.plan.grids import finer
from chipweave.plan.quota import stratum_of
from chipweave.plan.rules import read_in_survey, rules_of, voting_on
from chipweave.plan.splitting import label_layers
from chipweave.plan.surveying import Outcome, Surveyed
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.keep import Condition


def label_layers_of(loaded: LoadedRecipe, labels: Sequence[str]) -> list[str]:
    """Label layers whose class shares are asked for: by a rule, to place chips by class, or to split them."""
    spoken = read_in_survey(loaded) | label_layers(loaded)
    spoken |= {voting for name, voting in voting_on(loaded).items() if name in spoken}
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
        self._rules = rules_of(loaded)
        self._columns = {
            name: np.full(n, "", object) for name in ("state", "stage", "layer", "href", "error")
        }
        self._columns["state"][:] = "kept"
        self._reason = places["reason"].to_numpy(dtype=object).copy()
        overlap = self._reason != ""
        self._columns["state"][overlap], self._columns["stage"][overlap] = "dropped", "place"
        # Columns of the class that covers most of a chip, and their layers.
        balance = loaded.recipe.balance.by if loaded.recipe.balance is not None else None
        asked = {"stratum": loaded.recipe.chips.sampling.by, COLUMN: balance}
        self._prevails = {c: layer for c, layer in asked.items() if layer in loaded.recipe.labels}
        self._classes = {c: np.full(n, -1, np.int64) for c in self._prevails}
        self._shared = tuple(f"{name}." for name in sorted(label_layers(loaded)))
        self._shares: dict[str, npt.NDArray[np.float64]] = {}
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
            for column, layer in self._prevails.items():
                self._classes[column][row] = stratum_of(found.facts, layer)
            if self._shared:
                self._share(row, found.facts)
            for name, value in _verdict(found, self._rules).items():
                (self._reason if name == "reason" else self._columns[name])[row] = value

    def _share(self, row: int, facts: Mapping[str, float]) -> None:
        """Class shares of a chip, for the split: columns ``layer.code``."""
        for name, share in facts.items():
            if name.startswith(self._shared) and name.rpartition(".")[2].isdigit():
                if name not in self._shares:
                    self._shares[name] = np.zeros(len(self._places))
                self._shares[name][row] = share

    def frame(self) -> pd.DataFrame:
        """The table."""
        shares = {name: self._shares[name] for name in sorted(self._shares)}
        return self._places.assign(
            reason=self._reason, **self._columns, **self._figures, **self._classes, **shares
        )


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
    for reason, conditions in rules:
        for condition in conditions:
            if not condition.holds(_figure(found, condition)):
                return {
                    "state": "dropped", "stage": "survey", "reason": reason, "layer": condition.layer
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
