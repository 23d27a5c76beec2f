"""From the table of chips to their splits: what the recipe's `split` asks, with the columns that it goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chipweave.errors import RecipeError, YieldError
from chipweave.plan import distance
from chipweave.plan.earlier import Ids, of_places, read_assignment
from chipweave.plan.splits import METHODS, Options, Pins, SplitResult, split_places
from chipweave.plan.splits.base import PERIOD, Stability
from chipweave.plan.splits.inside_tile import BOUNDS, CENTRE
from chipweave.plan.splits.listed import SYNONYMS
from chipweave.plan.splits.spans import period_names, spans_between, spans_of
from chipweave.plan.times import date_column, time_column
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.outcome import Split

TILE = "scene_tile"
"""Column of places with the tile that a scene is of; the bounds stand beside it (`scene_tiles`)."""

TILE_COLUMNS = (TILE, *BOUNDS)
"""What places need for ``inside_tile``."""

_LIST = "split:list"
_TIME = "split:time"
_GROUP = "split:group"


def places_columns(split: Split | None) -> frozenset[str]:
    """Columns of places that a recipe's split needs beside attributes."""
    if split is None:
        return frozenset()
    if split.method == "inside_tile":
        return frozenset(TILE_COLUMNS)
    return frozenset({TILE} if split.by == "tile" else {"majortom"} if split.by == "majortom" else set())


def label_layers(loaded: LoadedRecipe) -> frozenset[str]:
    """Label layers whose class shares the split asks for."""
    split, labels = loaded.recipe.split, loaded.recipe.labels
    if split is None:
        return frozenset()
    asked = {name for name in split.strata if name in labels and not split.fixed}
    if split.kept_m is None:
        asked |= set(labels)
    return frozenset(asked)


def options_of(
    split: Split, labels: Sequence[str] = (), error_m: float = 0.0, by: str | None = None
) -> Options:
    """Options of a method as a recipe's `split` says them.

    Parameters
    ----------
    split
        Of the recipe.
    labels
        Layers whose class shares are there, for ``buffer_m: auto``.
    error_m
        How far places may be off.
    by
        Column that the method goes by, where it is not `split.by`.
    """
    periods = None
    if split.periods is not None:
        periods = spans_of(split.periods)
    elif split.cutoffs is not None:
        periods = spans_between(split.cutoffs, split.names)
    said = split.said
    return Options(
        fractions=said if periods is None or (said and set(said) == set(periods)) else None,
        seed=split.seed, buffer_m=split.kept_m, buffer_drop=split.buffer_drop, tolerance=split.tolerance,
        error_m=error_m if split.keeps else 0.0, stratify=split.strata if split.deals else (),
        labels=tuple(labels), by=split.by if by is None else by, block_km=split.block_km, cells=split.cells,
        bands=split.bands, band_km=split.band_km, angle_deg=split.angle_deg, cell_deg=split.cell_deg,
        jitter=split.jitter, cluster=split.cluster, k=split.k, link_m=split.link_m, periods=periods,
        space=split.space, folds=split.folds,
    )  # fmt: skip


def stability_of(split: Split) -> Stability:
    """Whether a place keeps its split in a dataset that grows, or has to be pinned: see `Method.stability`."""
    return "pinned" if split.space else METHODS[split.method].stability


def split_chips(loaded: LoadedRecipe, chips: pd.DataFrame) -> tuple[pd.DataFrame, SplitResult | None]:
    """Add `split`, `block` and, for folds, `fold`; chips in the gap are dropped with reason ``buffer``.

    Columns of class shares (``layer.code``), which only splits need, are taken out.

    Raises
    ------
    YieldError
        A split that was asked for would be empty.
    RecipeError
        What the split goes by is not there.
    """
    chips, shares = _apart(chips.assign(split="", block=""))
    kept = chips["state"] == "kept"
    split = loaded.recipe.split
    if split is None:
        chips.loc[kept, "split"] = "train"
        return chips, None
    if not kept.any():
        return chips, None
    own = chips[kept].join(shares)
    places, options = _asked(loaded, split, own)
    table = places.drop(columns=["size", "resolution", "x", "y"]).reset_index(drop=True)
    pins = _pins(loaded, split, own)
    result = split_places(table, rings_of(places), method=split.method, options=options, pins=pins)
    which = pd.Index(table["place"]).get_indexer(own["place"])
    names = np.asarray(result.split, object)[which]
    reasons = np.asarray(result.reasons, object)[which]
    if split.method == "time" and options.periods is not None:  # a place may have chips of several times
        period = period_names(own[_TIME], options.periods)
        late = (names != "") & (period != names)
        names[late], reasons[late] = "", PERIOD
    for name in split.names:
        if not (names == name).any():
            raise YieldError(
                f"a split stays empty: none of {len(own)} chips goes to {name}",
                hint="see what the method goes by, and split.fractions",
            )
    chips.loc[kept, "split"] = names
    chips.loc[kept, "block"] = np.asarray(result.block, object)[which]
    if result.fold is not None:
        chips["fold"] = np.int64(-1)
        chips.loc[kept, "fold"] = np.where(names == "", -1, result.fold[which])
    out = kept & (chips["split"] == "")
    chips.loc[out, ["state", "stage"]] = ["dropped", "split"]
    chips.loc[out, "reason"] = reasons[names == ""]
    return chips, _told(result, split)


def _apart(chips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The chips without their class shares, and these."""
    shares = [c for c in chips.columns if "." in str(c)]
    return chips.drop(columns=shares), chips[shares]


def _told(result: SplitResult, split: Split) -> SplitResult:
    return replace(
        result,
        notes=(*split.unheard(), *result.notes),
        figures={
            "method": split.method,
            "stability": stability_of(split),
            "shares": dict(result.shares),
            **result.figures,
        },
    )


def _asked(loaded: LoadedRecipe, split: Split, chips: pd.DataFrame) -> tuple[pd.DataFrame, Options]:
    """One row a place with the columns that its split goes by, and the options."""
    by = None
    if split.method == "time":
        chips[_TIME] = chips[_dated(loaded, split, chips)]
        by = _TIME
    elif split.method == "list" and split.file is not None:
        chips[_LIST] = _listed(loaded, split, chips)
        by = _LIST
    elif split.by == "tile":
        by = TILE
    places = chips.drop_duplicates("place")  # of which there may be a chip a year
    if split.method == "time" and len(places) < len(chips):
        dates = chips.groupby("place", sort=False)[_TIME].agg(list)
        places = places.assign(**{_TIME: dates.reindex(places["place"]).to_numpy()})
    wanted = {"place", "lon", "lat", "crs", "x", "y", "size", "resolution", by or split.by, *split.strata}
    wanted |= {c for c in places.columns if "." in str(c)} | set(loaded.recipe.attributes) & {split.error}
    if split.method == "inside_tile":
        places = _tiled(places)
        wanted |= {"tile", *BOUNDS, *CENTRE}
    if split.error is not None and split.keeps:
        places = places.assign(error_m=pd.to_numeric(places[split.error], errors="coerce"))
        wanted |= {"error_m"}
    labels = [n for n in loaded.recipe.labels if any(str(c).startswith(f"{n}.") for c in places.columns)]
    options = options_of(split, labels, loaded.recipe.chips.sampling.jitter_m, by)
    return places[[c for c in places.columns if c in wanted]], options


def _tiled(places: pd.DataFrame) -> pd.DataFrame:
    """Places with their tile and their centroid in its CRS, which is their own."""
    missing = [c for c in TILE_COLUMNS if c not in places]
    if missing:
        raise RecipeError(
            "split.method: inside_tile needs chips that are cut out of tiles",
            hint="chips.sampling: {method: scene_tiles, of: <layer>}",
        )
    half = (places["size"] * places["resolution"]).to_numpy(float) / 2
    return places.assign(tile=places[TILE], centroid_x=places["x"] + half, centroid_y=places["y"] - half)


def _dated(loaded: LoadedRecipe, split: Split, chips: pd.DataFrame) -> str:
    """Column with the dates that splits go by."""
    timed = [n for n in loaded.recipe.imagery if time_column(n) in chips or date_column(n) in chips]
    if split.by in chips:
        return str(split.by)
    layers = [n for n in timed if split.by in {None, n}]
    if not layers:
        named = (
            f"layer {split.by} has chips without times of their own"
            if split.by
            else "no layer's chips have times"
        )
        raise RecipeError(
            f"split.by: {named}",
            hint="name an attribute with a date, or give a layer `time: {column:, window:}`",
        )
    return next(c for c in (date_column(layers[0]), time_column(layers[0])) if c in chips)


def _listed(loaded: LoadedRecipe, split: Split, chips: pd.DataFrame) -> pd.Series:
    """The list's split of every chip, by its key or its place."""
    said = f"split.file: {split.file}"
    by_key, by_place = read_assignment(
        loaded.resolve(str(split.file)), said, key=split.key, column=split.column
    )
    places = of_places(by_key, by_place or by_key, chips["key"], chips["place"], said)
    return chips["place"].astype(str).map(places)


def _pins(loaded: LoadedRecipe, split: Split, chips: pd.DataFrame) -> Pins:
    """What `override` and `previous` say."""
    keys, places = chips["key"], chips["place"]
    earlier: dict[str, str] = {}
    if split.previous is not None:
        said = f"split.previous: {split.previous}"
        earlier = of_places(*read_assignment(loaded.resolve(split.previous), said), keys, places, said)
    return overridden(split, keys, places, earlier, loaded.resolve)


def overridden(
    split: Split,
    keys: pd.Series,
    places: pd.Series,
    earlier: Mapping[str, str],
    resolve: Callable[[str], Path],
    ids: Ids | None = None,
) -> Pins:
    """An earlier assignment, and what `split.override` says beside it: of keys, of places, else of units."""
    notes = []
    if split.previous is not None and not earlier:
        notes.append(
            f"split.previous: {split.previous} has none of these {places.nunique()} places: all are dealt"
        )
    if split.override is None:
        return Pins(earlier=earlier, notes=tuple(notes))
    if isinstance(split.override, str):
        said = f"split.override: {split.override}"
        by_key, by_place = read_assignment(resolve(split.override), said, ids=ids)
    else:
        said = "split.override"
        by_key = {str(k): SYNONYMS.get(str(v), str(v)) for k, v in split.override.items()}
        by_place = by_key
    known = {*keys.astype(str), *places.astype(str)}
    units = {name: where for name, where in {**by_place, **by_key}.items() if name not in known}
    pinned = of_places(by_key, by_place, keys, places, said)
    return Pins(pinned, units, earlier, strict=isinstance(split.override, dict), notes=tuple(notes))


def rings_of(places: pd.DataFrame) -> Any:
    """Outlines of places for `plan.distance`."""
    side = (places["size"] * places["resolution"]).to_numpy(np.float64)
    return distance.rings(
        places["crs"].tolist(), places["x"].to_numpy(np.float64), places["y"].to_numpy(np.float64), side
    )
