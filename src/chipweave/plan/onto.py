"""Which layers are laid onto which, and by what bands; refused where one chip could never tell."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from chipweave.errors import NotBuiltError, RecipeError
from chipweave.model import Collection
from chipweave.pixels import LayerRead
from chipweave.pixels.align import Onto
from chipweave.pixels.register import FAMILIES, NEIGHBOURS, SMALLEST
from chipweave.plan.select import Limits
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.imagery import Register

ALIKE = (("nir", "nir08"), ("red",), ("swir16",), ("green",), ("blue",), ("swir22",))
"""Bands by which two optical layers are held against each other, the best first; those of a group mean the same."""


def layers_onto(
    loaded: LoadedRecipe,
    collections: Mapping[str, Collection],
    reads: Mapping[str, LayerRead],
    limits: Mapping[str, Limits],
    grids: Mapping[str, tuple[int, float]],
) -> dict[str, Onto]:
    """What each layer that says `register` is laid onto, by layer.

    Parameters
    ----------
    loaded
        The recipe.
    collections, reads, limits
        Of every imagery layer.
    grids
        Pixels a side, and metres a pixel, of each.

    Raises
    ------
    RecipeError
        The two share no band, a layer of one date is to be laid onto itself, or chips are too small to tell.
    NotBuiltError
        The two are of different grids, a composite is to be moved, or the two are of different kinds and not of one
        date each.
    """
    found: dict[str, Onto] = {}
    for layer, wish in loaded.recipe.imagery.items():
        asked = wish.register_
        if not isinstance(asked, Register):
            continue
        to, where = asked.to, f"imagery.{layer}.register"
        units = [_unit(collections[name], reads[name]) for name in (layer, to)]
        kinds = [FAMILIES.get(unit, unit) for unit in units]
        _fits(where, layer, asked, limits, grids)
        many = kinds[0] != kinds[1]
        if many:
            _alone(loaded, where, layer, to, limits)
            own, other = _sharpest(reads[layer]), _sharpest(reads[to])
        else:
            own, other = _bands(where, layer, to, reads, radar=kinds[0] == "radar")
        most = float("inf") if asked.max_shift_px is None else asked.max_shift_px
        found[layer] = Onto(to, most, own, other, units[0], units[1], neighbours=many)
    return found


def enough_neighbours(reads: Mapping[str, LayerRead], chips: pd.DataFrame) -> None:
    """Refuse a plan in which optical and radar could never be laid onto each other.

    Parameters
    ----------
    reads
        Of all imagery layers.
    chips
        Columns ``state, tile``.

    Raises
    ------
    RecipeError
        No tile holds as many chips as have to agree.
    """
    layer = next((n for n, read in reads.items() if read.onto is not None and read.onto.neighbours), None)
    if layer is None:
        return
    most = int(chips.loc[chips["state"] == "kept", "tile"].value_counts().max() or 0)
    if most < NEIGHBOURS:
        onto = reads[layer].onto
        raise RecipeError(
            f"imagery.{layer}.register.to: {onto.to if onto else ''} is of another kind: of such a shift one chip "
            f"tells nothing, {NEIGHBOURS} neighbours have to agree, and the fullest tile has {most}",
            hint="leave register out, or build a larger area: some hundred chips",
        )


def _sharpest(read: LayerRead) -> tuple[int, ...]:
    """The band of a layer by which it is held against one of another kind."""
    order = [band for group in ALIKE for band in group]
    return (min(range(len(read.bands)), key=lambda n: (*(b != read.bands[n] for b in order), n)),)


def _alone(loaded: LoadedRecipe, where: str, layer: str, to: str, limits: Mapping[str, Limits]) -> None:
    """Refuse what neighbours of two kinds are not asked about."""
    several = next((n for n in (layer, to) if limits[n].rule.series), None)
    if several is not None:
        raise NotBuiltError(
            f"{where}.to: {to} is of another kind, and {several} has several dates: known, but not built yet",
            hint="take one date, or leave register out",
        )
    if isinstance(loaded.recipe.imagery[to].register_, Register):
        raise NotBuiltError(
            f"{where}.to: {to} is of another kind, and says register itself: known, but not built yet",
            hint=f"name the layer that {to} is laid onto",
        )


def _unit(collection: Collection, read: LayerRead) -> str:
    """What the values of a sample are, as `register.View` has it; codes of power are held against each other as dB."""
    if read.power:
        return "dB" if read.decibel or read.coding is not None else "linear"
    known = collection.band(read.bands[0])
    return (known.unit if known is not None else "") or collection.unit


def _fits(
    where: str,
    layer: str,
    asked: Register,
    limits: Mapping[str, Limits],
    grids: Mapping[str, tuple[int, float]],
) -> None:
    """Refuse what could tell nothing, or cannot be moved."""
    size, resolution = grids[layer]
    if asked.to == layer and not limits[layer].rule.series:
        raise RecipeError(
            f"{where}.to: {layer} is laid onto itself: it has one date",
            hint="name another layer, or take several dates: select: {method: series, max: 4}",
        )
    if grids[asked.to] != grids[layer]:
        other = f"{grids[asked.to][0]} pixels of {grids[asked.to][1]:g} m"
        raise NotBuiltError(
            f"{where}.to: {layer} has {size} pixels of {resolution:g} m, {asked.to} {other}: known, but not built yet",
            hint="give both the same resolution and extent",
        )
    if size < SMALLEST:
        raise RecipeError(
            f"{where}: chips of {size} pixels are too small to tell a shift",
            hint=f"take {SMALLEST} or more",
        )
    if limits[layer].rule.stat and asked.max_shift_px is not None:
        raise NotBuiltError(
            f"{where}.max_shift_px: moving the dates of a composite is known, but not built yet",
            hint="leave max_shift_px out: its shift is then told, and nothing moved",
        )


def _bands(
    where: str, layer: str, to: str, reads: Mapping[str, LayerRead], *, radar: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the bands that are compared, in the layer and in the other: of radar all that both have, else one."""
    own, other = reads[layer].bands, reads[to].bands
    common = [band for band in own if band in other]
    if radar and common:
        return tuple(own.index(b) for b in common), tuple(other.index(b) for b in common)
    for group in (*ALIKE, *((band,) for band in common)):
        same = [(band, band) for band in group]  # the very band before one that means the same
        for a, b in (*same, *((a, b) for a in group for b in group)):
            if a in own and b in other:
                return (own.index(a),), (other.index(b),)
    raise RecipeError(
        f"{where}.to: {to} shares no band with {layer}: edges of others lie elsewhere",
        hint=f"give both the same band, such as {own[0]}",
    )
