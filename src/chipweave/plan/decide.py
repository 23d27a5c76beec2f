"""From what was placed, matched and surveyed to the table of chips: who is kept, in which split, in which batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from chipweave.errors import RecipeError
from chipweave.model import Fate, Scene
from chipweave.plan import distance
from chipweave.plan.batches import batch_numbers, tile_names
from chipweave.plan.match import candidates, label_order, match_scenes
from chipweave.plan.splits import SplitResult
from chipweave.plan.splits.blocks import assign
from chipweave.plan.survey import ChipScenes, Found, Reads
from chipweave.plan.tables import place_of
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.keep import Condition, parse


def match_chips(places: gpd.GeoDataFrame, reads: Reads) -> dict[str, ChipScenes]:
    """Candidates of every place that is not an overlap, by key."""
    own = places[places["reason"] == ""]
    footprints = dict(zip(own["key"], own.geometry, strict=True))
    crs = dict(zip(own["key"], own["crs"], strict=True))
    imagery = {
        layer: {
            key: tuple(candidates(found, footprints[key], crs[key], read.bands)) if found else ()
            for key, found in match_scenes(own, list(reads.scenes[layer].values())).items()
        }
        for layer, read in reads.imagery.items()
    }
    labels = {
        layer: {
            key: tuple(s.id for s in label_order(_whole(found, layer, reads), footprints[key], crs[key]))
            for key, found in match_scenes(own, list(reads.scenes[layer].values())).items()
        }
        for layer in reads.labels
    }
    return {
        str(row["key"]): ChipScenes(
            place_of(row),
            {n: imagery[n][row["key"]] for n in imagery},
            {n: labels[n][row["key"]] for n in labels},
        )
        for row in own.drop(columns="geometry").to_dict("records")
    }


def _whole(scenes: Sequence[Scene], layer: str, reads: Reads) -> list[Scene]:
    return [s for s in scenes if reads.labels[layer].band in s.assets]


def label_layers_of(loaded: LoadedRecipe, labels: Sequence[str]) -> list[str]:
    """Label layers that a `keep` rule speaks of."""
    spoken = {c.layer for text in loaded.recipe.keep for c in parse(text)}
    return [n for n in labels if n in spoken]


def chip_table(
    loaded: LoadedRecipe,
    places: gpd.GeoDataFrame,
    chips: Mapping[str, ChipScenes],
    found: Mapping[str, Found],
) -> pd.DataFrame:
    """One row a place with its state, stage, reason and figures; splits are still to come.

    Raises
    ------
    RecipeError
        A `keep` rule names a class that the layer's legend does not have.
    """
    rules = [(text, parse(text)) for text in loaded.recipe.keep]
    rows = []
    for place in places.drop(columns="geometry").to_dict("records"):
        row = {**place, "state": "kept", "stage": "", "layer": "", "href": "", "error": ""}
        if row["reason"]:
            row |= {"state": "dropped", "stage": "place"}
        else:
            row |= _verdict(chips[place["key"]], found[place["key"]], rules)
        for layer in loaded.recipe.imagery:
            choice = found[place["key"]].choices.get(layer) if place["key"] in found else None
            best = choice.best if choice is not None and choice.ranked else None
            row[f"{layer}_cloud_fraction"] = best.cloud if best else float("nan")
            row[f"{layer}_valid_fraction"] = best.valid if best else float("nan")
        rows.append(row)
    return pd.DataFrame(rows)


def _verdict(
    chip: ChipScenes, found: Found, rules: Sequence[tuple[str, Sequence[Condition]]]
) -> dict[str, str]:
    for layer, items in (*chip.candidates.items(), *chip.labels.items()):
        if not items:
            return {"state": "dropped", "stage": "lock", "reason": "no_scene", "layer": layer}
    if found.error is not None:
        layer, href, error = found.error
        return {
            "state": "failed",
            "stage": "survey",
            "reason": "broken",
            "layer": layer,
            "href": href,
            "error": error,
        }
    for layer, choice in found.choices.items():
        if not choice.chosen:
            state = "failed" if choice.reason == "broken" else "dropped"
            return {
                "state": state, "stage": "survey", "reason": choice.reason, "layer": layer,
                "href": choice.href, "error": choice.error,
            }  # fmt: skip
    for text, conditions in rules:
        for condition in conditions:
            if not condition.holds(_figure(found, condition)):
                return {
                    "state": "dropped",
                    "stage": "survey",
                    "reason": f"keep: {text}",
                    "layer": condition.layer,
                }
    return {}


def _figure(found: Found, condition: Condition) -> float:
    name = f"{condition.layer}.{condition.field}"
    if condition.layer in found.choices:
        best = found.choices[condition.layer].best
        return {"cloud_fraction": best.cloud, "valid_fraction": best.valid, "nodata": 1 - best.valid}[
            condition.field
        ]
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
    table = chips.loc[kept, ["place", "lon", "lat"]].reset_index(drop=True)
    rings = rings_of(chips[kept])
    result = assign(
        table, rings, block_km=split.block_km, fractions=dict(split.fractions), buffer_m=float(split.buffer_m),
        buffer_drop=split.buffer_drop, tolerance=split.tolerance, seed=split.seed,
    )  # fmt: skip
    chips.loc[kept, "split"] = result.split
    chips.loc[kept, "block"] = result.block
    gap = kept & (chips["split"] == "")
    chips.loc[gap, ["state", "stage", "reason"]] = ["dropped", "split", "buffer"]
    return chips, result


def rings_of(places: pd.DataFrame) -> Any:
    """Outlines of places for `plan.distance`."""
    side = (places["size"] * places["resolution"]).to_numpy(np.float64)
    return distance.rings(
        places["crs"].tolist(), places["x"].to_numpy(np.float64), places["y"].to_numpy(np.float64), side
    )


def batch_chips(chips: pd.DataFrame, tile_px: int | None = None) -> pd.DataFrame:
    """Add `tile` and `batch`; -1 where a chip is not kept. Rows are sorted by batch, tile, then key."""
    chips = chips.assign(tile="", batch=-1)
    kept = (chips["state"] == "kept").to_numpy()
    if kept.any():
        chips.loc[kept, "tile"] = tile_names(chips[kept], tile_px)
        chips.loc[kept, "batch"] = batch_numbers(chips[kept])
    return chips.sort_values(["batch", "tile", "key"], ignore_index=True)


def fates_of(chips: pd.DataFrame) -> list[Fate]:
    """Fates of the chips that are not kept: rows of the ledger."""
    rest = chips[chips["state"] != "kept"]
    return [
        Fate(*row)
        for row in rest[["key", "state", "stage", "reason", "layer", "href", "error"]].itertuples(index=False)
    ]
