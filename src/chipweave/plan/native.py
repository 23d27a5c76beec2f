"""``native: true``: one layer becomes one a resolution, each on its source's own grid; all take the same scenes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chipweave.catalog.collections import load_collection
from chipweave.errors import NotBuiltError, RecipeError
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.imagery import Imagery, Pair, Register
from chipweave.recipe.timing import Select


def split_native(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe with such layers as groups, ``<layer>_10m`` and so on; what names the layer means its finest group.

    Raises
    ------
    RecipeError
        A chip's side is no multiple of a band's pixel, or a group's name is taken.
    NotBuiltError
        It stands beside keys that are not built with it.
    """
    recipe = loaded.recipe
    if not any(wish.native for wish in recipe.imagery.values()):
        return loaded
    layers: dict[str, Imagery] = {}
    finest: dict[str, str] = {}
    for name, wish in recipe.imagery.items():
        groups = _groups(loaded, name, wish) if wish.native else {name: wish}
        finest[name] = next(iter(groups))
        layers |= groups
    if len(layers) != sum(len(_by_gsd(loaded, n, w)) if w.native else 1 for n, w in recipe.imagery.items()):
        raise RecipeError("imagery: a group of a native layer has the name of another layer")
    return replace(loaded, recipe=recipe.model_copy(update=_renamed(loaded, layers, finest)))


def _by_gsd(loaded: LoadedRecipe, name: str, wish: Imagery) -> dict[float, tuple[str, ...]]:
    """Bands of a layer by their pixel's side, the finest first."""
    collection = load_collection(wish.collection, loaded.catalogs)
    found: dict[float, tuple[str, ...]] = {}
    for asked in wish.bands:
        band = collection.band(asked)
        if band is None:
            raise RecipeError(f"imagery.{name}.bands: {collection.name} has no band {asked!r}")
        found[band.gsd] = (*found.get(band.gsd, ()), asked)
    return {gsd: found[gsd] for gsd in sorted(found)}


def _groups(loaded: LoadedRecipe, name: str, wish: Imagery) -> dict[str, Imagery]:
    where = f"imagery.{name}.native"
    for key in ("resolution", "extent_m", "derive", "encode", "register_"):
        if key in wish.model_fields_set:
            name_of = key.rstrip("_")
            raise NotBuiltError(
                f"{where}: beside {name_of}: known, but not built yet", hint=f"leave {name_of} out"
            )
    if wish.select.stat is not None:
        raise NotBuiltError(f"{where}: a composite of several resolutions: known, but not built yet")
    chips, groups = loaded.recipe.chips, _by_gsd(loaded, name, wish)
    side = chips.pixels * chips.metres_per_pixel
    _fits(where, side, chips.metres_per_pixel, list(groups))
    finest = f"{name}_{min(groups):g}m".replace(".", "p")
    out: dict[str, Imagery] = {}
    for gsd, bands in groups.items():
        own: dict[str, Any] = {"bands": bands, "native": False, "resolution": float(gsd)}
        if isinstance(wish.resample, dict):
            own["resample"] = {band: how for band, how in wish.resample.items() if band in bands}
        group = f"{name}_{gsd:g}m".replace(".", "p")
        if group != finest:
            # The very scenes of the finest group: its own moments, and nothing beside them.
            pair = Pair.model_validate({"with": finest, "within_days": 0})
            own |= {"pair": pair, "select": Select(), "steps": None, "widen": None, "max_cloud": None}
        out[group] = wish.model_copy(update=own)
    return out


def _fits(where: str, side: float, resolution: float, pixels: list[float]) -> None:
    """Refuse a side that is no multiple of every pixel, and name the nearest that is."""
    if all(abs(side / p - round(side / p)) < 1e-9 for p in pixels):
        return
    for step in range(1, 100_000):
        for size in (round(side / resolution) - step, round(side / resolution) + step):
            if size > 0 and all(
                abs(size * resolution / p - round(size * resolution / p)) < 1e-9 for p in pixels
            ):
                raise RecipeError(
                    f"{where}: {side:g} m are no whole number of pixels of {', '.join(f'{p:g} m' for p in pixels)}",
                    hint=f"the nearest chip size that is: {size} pixels of {resolution:g} m",
                )
    raise RecipeError(f"{where}: no chip of {resolution:g} m pixels holds whole pixels of {pixels}")


def _renamed(
    loaded: LoadedRecipe, layers: Mapping[str, Imagery], finest: Mapping[str, str]
) -> dict[str, Any]:
    """What of the recipe names layers, with the groups' names."""
    recipe = loaded.recipe
    moved = {old: new for old, new in finest.items() if old != new}
    imagery = {}
    for name, wish in layers.items():
        own: dict[str, Any] = {}
        if wish.pair is not None and wish.pair.with_ in moved:
            own["pair"] = wish.pair.model_copy(update={"with_": moved[wish.pair.with_]})
        if wish.select.to in moved:
            own["select"] = wish.select.model_copy(update={"to": moved[str(wish.select.to)]})
        if isinstance(wish.register_, Register) and wish.register_.to in moved:
            own["register_"] = wish.register_.model_copy(update={"to": moved[wish.register_.to]})
        imagery[name] = wish.model_copy(update=own) if own else wish
    keep = recipe.keep
    for old, new in moved.items():
        keep = tuple(re.sub(rf"\b{old}\.(?=[a-z])", f"{new}.", text) for text in keep)
    sampling = recipe.chips.sampling
    named = {key: moved[v] for key in ("of", "by") if (v := getattr(sampling, key, None)) in moved}
    chips = (
        recipe.chips.model_copy(update={"sampling": sampling.model_copy(update=named)})
        if named
        else recipe.chips
    )
    return {"imagery": imagery, "keep": keep, "chips": chips}
