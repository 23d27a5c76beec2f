"""How each label and text layer of a recipe is made: decided once a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chipweave.catalog import LayerRequest
from chipweave.catalog.collections import load_collection
from chipweave.errors import NotBuiltError, RecipeError
from chipweave.labels import LabelRead, TextSource
from chipweave.labels.points import PointsRead
from chipweave.labels.text import text_source
from chipweave.labels.vectors import VectorRead
from chipweave.model import LayerSpec, Scene
from chipweave.plan.classes import check_age, raster_label
from chipweave.plan.osm_labels import osm_label
from chipweave.plan.point_labels import point_label
from chipweave.plan.table_labels import FEATURES, table_label
from chipweave.plan.targets import LabelSource
from chipweave.plan.vector_labels import refuse_vector_keys, vector_label
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.data import listing


def label_source(
    loaded: LoadedRecipe,
    request: LayerRequest,
    scenes: Sequence[Scene],
    areas: Mapping[str, float],
    target: float,
    loader: str,
    stores: Path | None,
    places: Path | None = None,
) -> LabelSource:
    """How one label layer is made.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    scenes
        Its sources: of a vector file one, which lies everywhere.
    areas, target
        Ground areas of a source pixel by band, and of a target pixel, m².
    loader
        Who reads rasters: see `pixels.loaders`.
    stores
        Folder for what is made of a vector source before chips are read from it.
    places
        Table of the build's places, whose attributes may say how their vectors are burned.

    Raises
    ------
    RecipeError
        What it asks for cannot be had of its source.
    """
    check_age(loaded, request, scenes)
    if request.form != "raster" and loaded.recipe.labels[request.layer].cleanup is not None:
        raise RecipeError(
            f"labels.{request.layer}.cleanup: of rasters; these are features, which are not noisy"
        )
    if loaded.recipe.labels[request.layer].unit == FEATURES and stores is not None:
        return table_label(loaded, request, stores)
    if request.form == "vector" and stores is not None:
        return vector_label(loaded, request, stores, places)
    if request.form == "osm" and stores is not None:
        return osm_label(loaded, request, scenes, stores)
    if request.form == "points" and stores is not None:
        return point_label(loaded, request, stores)
    refuse_vector_keys(loaded, request)
    if request.form == "raster":
        return raster_label(loaded, request, scenes, areas, target, loader)
    raise NotBuiltError(
        f"labels.{request.layer}: {request.form} labels: known, but not built yet",
        hint="leave the layer out, or wait for a version that has it",
    )


def text_sources(
    loaded: LoadedRecipe,
    specs: Sequence[LayerSpec],
    centre: tuple[float, float],
    labels: Mapping[str, LabelSource],
) -> dict[str, TextSource]:
    """What writes each text layer, by name.

    Parameters
    ----------
    loaded
        The recipe.
    specs
        All imagery and label members.
    centre
        (lon, lat) of the middle of the area.
    labels
        How label layers are made, by name.

    Raises
    ------
    RecipeError, NotBuiltError
        What a text asks for cannot be had of its layer, or of the chips' grid.
    """
    if not loaded.recipe.text:
        return {}
    known = listing("collections", loaded.catalogs)
    named = {s.collection for s in specs if s.collection in known}
    titles = {name: load_collection(name, loaded.catalogs).title for name in named}
    by_name = {spec.name: spec for spec in specs}
    crs = loaded.recipe.chips.crs
    rasters = [name for name, label in labels.items() if isinstance(label, LabelRead | PointsRead)]
    return {
        name: text_source(
            name, wish, by_name, crs, centre, titles, rasters, _apart(labels.get(wish.from_ or ""))
        )
        for name, wish in loaded.recipe.text.items()
    }


def _apart(source: LabelSource | None) -> set[int]:
    """Codes that vectors burn where no feature is, as they are written: outside of all, and on their edges."""
    if not isinstance(source, VectorRead):
        return set()
    ways = (source.reading, *source.others)
    codes = {way.outside for way in ways} | {way.boundary.value for way in ways if way.boundary is not None}
    table = {} if source.recode is None else dict(source.recode.pairs)
    return {table.get(code, code) for code in codes}
